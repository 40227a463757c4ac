//! A process that dies, and the one after it.

use std::fs::{self, OpenOptions};
use std::path::Path;

use serde_json::{Value, json};

use crate::common::rest::{Client, id_of, text_of, text_of_deltas};
use crate::common::scripted::{Act, answer, chunk};
use crate::setup::{Stage, ask, ask_streamed, until};

#[tokio::test]
async fn check_1_after_kill_nine_every_event_is_there_and_the_response_has_ended() {
    let mut stage = Stage::with("m", vec![chunk("Hel"), chunk("lo"), Act::HangForever]).await;
    let mut stream = stage.client.stream(&ask_streamed("m")).await;
    let seen = stream.take(6).await;
    let id = id_of(&seen);
    stage.server.kill();
    assert!(stream.frame().await.is_none(), "no [DONE] from a dead server");
    stage.server.restart();
    let client = Client::new(&stage.server.url());
    let rest = client.resume(&id, Some(5)).await.events().await;
    let whole = client.whole(&id).await;
    assert_eq!([seen, rest].concat(), whole);
    let last = whole.last().unwrap().json();
    assert_eq!(last["type"], "response.failed");
    assert_eq!(last["response"]["error"]["code"], "gateway_restarted");
    assert_eq!((text_of(&last["response"]), text_of_deltas(&whole)), ("Hello".into(), "Hello".into()));
    assert_eq!(stage.backend.asked().len(), 1, "it is not asked again");
}

/// The backend answers while the server starts: it is asked which models it has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_without_output_starts_again_if_that_is_wanted() {
    let mut stage = Stage::set([("m", vec![Act::HangForever])], "", "[runs]\non_restart = \"retry\"\n").await;
    stage.backend.script("m", answer(["again"]));
    let id = stage.client.background(ask("m")).await;
    until("the backend is asked", async || (!stage.backend.asked().is_empty()).then_some(())).await;
    stage.server.kill();
    stage.server.restart();
    let client = Client::new(&stage.server.url());
    let ended = client.ended(&id).await;
    assert_eq!((text_of(&ended).as_str(), &ended["status"]), ("again", &json!("completed")));
    let kinds: Vec<_> = client.whole(&id).await.iter().map(|frame| frame.name().to_owned()).collect();
    let begun = ["response.created", "response.queued", "response.in_progress", "response.output_item.added"];
    assert_eq!(kinds[..4], begun, "nothing is said twice");
}

/// Cuts the end off the newest file of a log, as a power cut does that the system had not written back before.
fn cut_log(data_dir: &Path, bytes: u64) {
    let files = fs::read_dir(data_dir.join("log")).unwrap().map(|entry| entry.unwrap().path());
    let newest = files.max().unwrap();
    let file = OpenOptions::new().write(true).open(newest).unwrap();
    file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
}

#[tokio::test]
async fn with_durability_os_a_position_that_a_power_cut_took_back_is_an_error() {
    let acts = vec![chunk("a"), chunk("b"), chunk("c"), Act::HangForever];
    let mut stage = Stage::set([("m", acts)], "", "[server]\ndurability = \"os\"\n").await;
    let mut stream = stage.client.stream(&ask_streamed("m")).await;
    let seen = stream.take(7).await;
    let id = id_of(&seen);
    stage.server.kill();
    cut_log(&stage.server.data_dir(), 1);
    stage.server.restart();
    let client = Client::new(&stage.server.url());
    let whole = client.whole(&id).await;
    let kept = whole.len() - 1;
    assert!(kept < seen.len(), "the cut took events");
    assert_eq!(whole[..kept], seen[..kept], "what is left is unchanged");

    let path = format!("/v1/responses/{id}?stream=true&starting_after=6");
    let reply = client.get(&path).send().await.unwrap();
    assert_eq!(
        (reply.status().as_u16(), reply.headers()["x-should-retry"].to_str().unwrap()),
        (409, "false")
    );
    let error = &reply.json::<Value>().await.unwrap()["error"];
    assert_eq!((&error["code"], &error["reason"]), (&json!("offset_lost"), &json!("rolled_back")));
    let rest = client.resume(&id, Some(kept as u64 - 1)).await.events().await;
    assert_eq!(rest, whole[kept..], "a position that is still right goes on");
}
