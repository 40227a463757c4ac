//! Stopping by signal.

use nix::sys::signal::Signal;
use serde_json::json;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::common::rest::{Client, id_of, text_of};
use crate::common::scripted::{Act, answer, chunk};
use crate::grpc::channel;
use crate::setup::{Stage, ask, ask_streamed, demo, paced, paced_stream, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_does_not_end_in_time_fails_and_its_reader_sees_that() {
    let acts = vec![chunk("a"), Act::HangForever];
    let mut stage = Stage::set([("m", acts)], "", "[server]\ndrain = \"1s\"\n").await;
    let mut stream = stage.client.stream(&ask_streamed("m")).await;
    let mut seen = stream.take(5).await;
    let id = id_of(&seen);
    let mut health = HealthClient::new(channel(&stage.server).await)
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(health.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    stage.server.signal(Signal::SIGTERM);
    assert_eq!(health.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    drop(health);
    seen.extend(stream.events().await);
    assert_eq!(stage.server.wait().code(), Some(0));

    stage.server.restart();
    let client = Client::new(&stage.server.url());
    assert_eq!(client.whole(&id).await, seen);
    let last = seen.last().unwrap().json();
    assert_eq!(last["response"]["error"]["code"], "gateway_restarted");
    assert_eq!(client.resume(&id, Some(2)).await.events().await, seen[3..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_will_be_tried_again_sends_its_reader_away_without_an_end() {
    let settings = "[server]\ndrain = \"1s\"\n[runs]\non_restart = \"retry\"\n";
    let mut stage = Stage::set([("m", vec![Act::HangForever])], "", settings).await;
    stage.backend.script("m", answer(["again"]));
    let id = stage.client.background(ask("m")).await;
    let mut stream = stage.client.resume(&id, None).await;
    let seen = stream.take(2).await;
    until("the backend is asked", async || (!stage.backend.asked().is_empty()).then_some(())).await;
    stage.server.signal(Signal::SIGTERM);
    assert_eq!(stream.rest().await, [], "no [DONE]: the reader shall come back");
    assert_eq!(stage.server.wait().code(), Some(0));

    stage.server.restart();
    let client = Client::new(&stage.server.url());
    let rest = client.resume(&id, Some(1)).await.events().await;
    assert_eq!([seen, rest].concat(), client.whole(&id).await);
    let ended = client.snapshot(&id).await;
    assert_eq!((text_of(&ended).as_str(), &ended["status"]), ("again", &json!("completed")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_ends_in_time_is_waited_for() {
    let (mut server, client) = demo("[server]\ndrain = \"1h\"\n");
    let mut stream = client.stream(&paced_stream(60, 30)).await;
    let begun = stream.take(5).await;
    server.signal(Signal::SIGINT);
    let seen = [begun, stream.events().await].concat();
    assert_eq!(seen.last().unwrap().name(), "response.completed");
    assert_eq!(server.wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_waits_for_nothing() {
    let (mut server, client) = demo("[server]\ndrain = \"1h\"\n");
    let id = client.background(paced(100_000, 10)).await;
    server.signal(Signal::SIGTERM);
    until("the shutdown begins", async || {
        server.log().contains("a second signal waits for nothing").then_some(())
    })
    .await;
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
    server.restart();
    let client = Client::new(&server.url());
    assert_eq!(client.snapshot(&id).await["error"]["code"], "gateway_restarted");
    client.whole(&id).await;
}
