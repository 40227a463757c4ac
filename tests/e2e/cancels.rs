//! Stopping a response.

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::common::rest::{Client, id_of, text_of};
use crate::common::scripted::{Act, chunk};
use crate::common::server::patience;
use crate::setup::{Stage, ask_streamed, demo, many, paced, paced_stream};

/// How many runs are cancelled about when they end.
const RACES: usize = 200;

#[tokio::test]
async fn a_cancel_in_mid_stream_stops_the_backend_and_ends_every_reader() {
    let stage = Stage::with("m", vec![chunk("Hel"), chunk("lo"), Act::HangForever]).await;
    for background in [true, false] {
        let gone = stage.backend.dropped();
        let mut body = ask_streamed("m");
        body["background"] = background.into();
        let mut stream = stage.client.stream(&body).await;
        let mut seen = stream.take(if background { 7 } else { 6 }).await;
        let id = id_of(&seen);
        let (status, cancelled) = stage.client.cancel(&id).await;
        assert_eq!((status, &cancelled["status"]), (200, &json!("cancelled")));
        assert_eq!(text_of(&cancelled), "Hello", "what was put out stays");
        for field in ["completed_at", "error", "incomplete_details", "usage"] {
            assert_eq!(cancelled[field], Value::Null, "{field}");
        }
        assert_eq!(cancelled["output"][0]["status"], "in_progress");
        timeout(patience(), stage.backend.until_dropped(gone + 1)).await.unwrap();
        seen.extend(stream.events().await);
        let last = seen.last().unwrap();
        assert_eq!((last.name(), &last.json()["response"]), ("response.incomplete", &cancelled));
        assert_eq!(stage.client.whole(&id).await, seen);
        assert_eq!(stage.client.cancel(&id).await, (200, cancelled), "twice is once");
    }
}

#[tokio::test]
async fn a_finished_response_is_not_changed_by_a_cancel() {
    let (_server, client) = demo("");
    let (_, done) = Client::json(client.post("/v1/responses", &paced(2, 0))).await;
    let id = done["id"].as_str().unwrap();
    let before = client.whole(id).await;
    assert_eq!(client.cancel(id).await, (200, done.clone()));
    assert_eq!(client.whole(id).await, before);
}

/// One run that is cancelled when so many of its events were seen.
async fn cancelled_at(client: Client, at: usize) {
    let mut stream = client.stream(&paced_stream(5, 0)).await;
    let begun = stream.take(at).await;
    let id = id_of(&begun);
    let ((status, answered), rest) = tokio::join!(client.cancel(&id), stream.events());
    assert_eq!(status, 200);
    let whole = client.whole(&id).await;
    assert_eq!([begun, rest].concat(), whole);
    let last = whole.last().unwrap();
    assert_eq!(last.json()["response"], answered, "the answer to the cancel is the end");
    let expected = match last.name() {
        "response.completed" => "completed",
        _ => "cancelled",
    };
    assert_eq!(answered["status"], expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_6_a_cancel_that_races_with_completion_leaves_one_terminal_event() {
    let (_server, client) = demo("[server]\ndurability = \"os\"\n");
    many(RACES, |number| cancelled_at(client.clone(), 1 + number % 12)).await;
}
