//! What a reader that goes away means for its response (D-26).

use std::time::Duration;

use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::common::rest::{Client, Stream, id_of};
use crate::common::scripted::{Act, Gate, answer, chunk};
use crate::common::server::patience;
use crate::setup::{Stage, ask, ask_streamed, until};

const SHORT_GRACE: &str = "[runs]\ndisconnect_grace = \"500ms\"\n";

/// A stage with a backend that says "a" and, when the gate is open, "b".
async fn gated(settings: &str) -> (Stage, Gate) {
    let gate = Gate::new();
    let acts = [vec![chunk("a"), Act::Await(gate.clone())], answer(["b"])].concat();
    (Stage::set([("m", acts)], "", settings).await, gate)
}

/// The stream of a response that may not be kept, and its id.
async fn unstored(client: &Client) -> (Stream, String) {
    let mut body = ask_streamed("m");
    body["store"] = false.into();
    let mut stream = client.stream(&body).await;
    let begun = stream.take(5).await;
    (stream, id_of(&begun))
}

#[tokio::test]
async fn a_stored_foreground_response_goes_on_and_is_resumed() {
    let (stage, gate) = gated("[runs]\ndisconnect_grace = \"1ms\"\n").await;
    let mut stream = stage.client.stream(&ask_streamed("m")).await;
    let begun = stream.take(5).await;
    let id = id_of(&begun);
    drop(stream);
    until("the server sees the reader go", async || stage.server.log().contains("whole=false").then_some(()))
        .await;
    gate.open();
    assert_eq!(stage.client.ended(&id).await["status"], "completed");
    let rest = stage.client.resume(&id, Some(4)).await.events().await;
    assert_eq!([begun, rest].concat(), stage.client.whole(&id).await);
}

#[tokio::test]
async fn an_unstored_response_that_nobody_reads_is_cancelled_after_the_grace() {
    let (stage, _gate) = gated(SHORT_GRACE).await;
    let (stream, id) = unstored(&stage.client).await;
    drop(stream);
    timeout(patience(), stage.backend.until_dropped(1)).await.unwrap();
    let ended = stage.client.ended(&id).await;
    assert_eq!(ended["status"], "cancelled");
    let whole = stage.client.whole(&id).await;
    assert_eq!(whole.last().unwrap().name(), "response.incomplete");
}

#[tokio::test]
async fn a_reader_that_comes_back_within_the_grace_keeps_it_running() {
    let (stage, gate) = gated("[runs]\ndisconnect_grace = \"3s\"\n").await;
    let (mut stream, id) = unstored(&stage.client).await;
    for _ in 0..3 {
        drop(stream);
        stream = stage.client.resume(&id, Some(3)).await;
        assert_eq!(stream.take(1).await[0].seq(), 4, "the delta is read again");
    }
    // Longer than the grace: the reader that is there counts.
    sleep(Duration::from_secs(4)).await;
    gate.open();
    assert_eq!(stream.events().await.last().unwrap().name(), "response.completed");
}

#[tokio::test]
async fn an_unstored_background_response_needs_no_reader_and_is_gone_after_its_retention() {
    let (stage, gate) = gated(&format!("{SHORT_GRACE}[retention]\nunstored = \"2s\"\n")).await;
    let mut body = ask("m");
    body["store"] = false.into();
    let id = stage.client.background(body).await;
    // Longer than the grace.
    sleep(Duration::from_secs(1)).await;
    gate.open();
    assert_eq!(stage.client.ended(&id).await["status"], "completed");
    let path = format!("/v1/responses/{id}");
    until("the response is gone", async || {
        (Client::json(stage.client.get(&path)).await.0 == 404).then_some(())
    })
    .await;
    let (_, gone) = Client::json(stage.client.get(&path)).await;
    assert_eq!(gone["error"]["code"], json!("not_found"));
}
