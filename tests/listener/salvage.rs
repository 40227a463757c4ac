//! A start over a log with a damaged frame that the index covers already.

use std::fs;
use std::os::unix::fs::FileExt;

use serde_json::json;

use crate::common::rest::{Client, text_of};
use crate::common::server::{How, Server};
use crate::{figures, until};

#[tokio::test]
async fn a_response_that_cannot_be_read_whole_fails_and_the_server_starts() {
    let mut server = Server::start_as("", How { admin: true, ..How::default() });
    let client = Client::new(&server.gateway_url());
    let metadata = json!({"demo.rate": "20", "demo.events": "8000"});
    let id = client.background(json!({"model": "demo-long", "input": "go", "metadata": metadata})).await;
    let mut stream = client.resume(&id, None).await;
    let words = loop {
        let frame = stream.frame().await.unwrap();
        if frame.seq() == 100 {
            break frame.json()["delta"].as_str().unwrap().to_owned();
        }
    };
    let needle = format!("\"delta\":\"{words}\",");
    let before = figures::value(&server, "tidemark_log_bytes").await;
    // An event is seen a moment before the figure moves: once it has moved again, it has moved for this event too.
    let end = until("the log grows", async || {
        let now = figures::value(&server, "tidemark_log_bytes").await;
        (now > before).then_some(now)
    })
    .await;
    until("the index has this event", async || {
        let lag = figures::value(&server, "tidemark_index_lag_bytes").await;
        (figures::value(&server, "tidemark_log_bytes").await - lag >= end).then_some(())
    })
    .await;
    server.kill();
    damage(&server, &needle);
    server.restart();
    let ended = Client::new(&server.gateway_url()).snapshot(&id).await;
    assert_eq!((&ended["status"], &ended["error"]["code"]), (&"failed".into(), &"gateway_restarted".into()));
    assert!(!text_of(&ended).is_empty(), "what could be read is kept: {ended}");
    assert!(server.log().contains("cannot be read whole"), "{}", server.log());
    assert_eq!(figures::value(&server, "tidemark_responses_recovered_total").await, 1.0);
}

/// Changes a byte of the log where `needle` was written last.
fn damage(server: &Server, needle: &str) {
    let segment = fs::read_dir(server.data_dir().join("log")).unwrap().next().unwrap().unwrap().path();
    let bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(needle.len()).rposition(|found| found == needle.as_bytes()).unwrap();
    let file = fs::OpenOptions::new().write(true).open(segment).unwrap();
    file.write_all_at(b"#", at as u64).unwrap();
}
