//! A disk that is full or fails.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::common::rest::{Client, Frame, Stream, id_of};
use crate::common::server::{How, Server};
use crate::setup::{demo, paced, paced_stream};

/// How many responses stream while the disk fails.
const STREAMS: usize = 4;

/// Files may grow to 8 MiB: the log gets there first.
const SMALL_DISK: &str = "trap '' XFSZ; ulimit -f 8192";

/// So that what is left of a log is all of it.
const NO_EVICTION: &str = "[limits]\nevents_per_response = 1000000\n";

/// Reads until the stream ends; returns the events, and the code of the `error` frame if there was one.
async fn read_on(mut stream: Stream) -> (Vec<Frame>, Option<Value>) {
    let mut seen = Vec::new();
    let mut error = None;
    while let Some(frame) = stream.frame().await {
        if frame.name() == "error" {
            error = Some(frame.json()["code"].clone());
        } else if !frame.is_done() {
            seen.push(frame);
        }
    }
    (seen, error)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_cannot_be_written_stops_the_process_and_loses_nothing_it_has_shown() {
    let mut server = Server::start_as(NO_EVICTION, How { prefix: Some(SMALL_DISK), ..How::default() });
    let client = Client::new(&server.url());
    let finished = client.background(paced(5, 0)).await;
    client.ended(&finished).await;
    let before = client.whole(&finished).await;
    let mut readers = JoinSet::new();
    for _ in 0..STREAMS {
        let stream = client.stream(&paced_stream(1_000_000, 0)).await;
        readers.spawn(read_on(stream));
    }
    let mut shown = BTreeMap::new();
    for (seen, error) in readers.join_all().await {
        assert!(error.is_none_or(|code| code == "storage_unavailable"));
        assert!(!seen.last().unwrap().is_terminal(), "nothing ends that the log cannot hold");
        let id = id_of(&seen);
        shown.insert(id, seen);
    }
    // Until it is gone it takes nothing new.
    if let Ok(reply) = client.post("/v1/responses", &paced(1, 0)).send().await {
        assert_eq!(reply.status(), 503);
    }
    assert_eq!(server.wait().code(), Some(3), "{}", server.log());

    server.unwrap_shell();
    server.restart();
    let client = Client::new(&server.url());
    assert_eq!(client.whole(&finished).await, before);
    assert_eq!(shown.len(), STREAMS);
    for (id, seen) in shown {
        let whole = client.whole(&id).await;
        assert_eq!(whole[..seen.len()], seen, "{id}");
        assert_eq!(whole.last().unwrap().json()["response"]["error"]["code"], "gateway_restarted");
    }
}

#[tokio::test]
async fn below_min_free_there_is_nothing_new_and_all_that_is_there_can_be_read() {
    let (mut server, client) = demo("");
    let id = client.background(paced(5, 0)).await;
    client.ended(&id).await;
    let before = client.whole(&id).await;
    server.kill();
    server.configure("[store]\nmin_free = \"1024GiB\"\n");
    server.restart();
    let client = Client::new(&server.url());
    for body in [paced(1, 0), paced_stream(1, 0)] {
        let reply = client.post("/v1/responses", &body).send().await.unwrap();
        assert_eq!(reply.status(), 503);
        let wait: u64 = reply.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!(wait >= 1);
        assert_eq!(reply.json::<Value>().await.unwrap()["error"]["code"], json!("storage_full"));
    }
    assert_eq!(client.whole(&id).await, before);
    assert_eq!(client.cancel(&id).await.0, 200);
}
