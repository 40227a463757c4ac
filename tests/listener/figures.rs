//! The figures of the admin port.

use serde_json::json;

use crate::common::rest::Client;
use crate::common::server::{How, Server};
use crate::until;

/// The page.
pub(crate) async fn page(server: &Server) -> String {
    let url = format!("{}/metrics", server.admin_url());
    let reply = Client::new(&url).get("").send().await.unwrap();
    let kind = reply.headers()["content-type"].to_str().unwrap().to_owned();
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    reply.text().await.unwrap()
}

/// One value, by its name with labels; 0 if it is not there yet.
pub(crate) async fn value(server: &Server, name: &str) -> f64 {
    let page = page(server).await;
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

#[tokio::test]
async fn a_response_leaves_its_traces() {
    let server = Server::start_as("", How { admin: true, ..How::default() });
    let client = Client::new(&server.gateway_url());
    let stream = json!({"model": "demo", "input": "one two three", "stream": true});
    let frames = client.stream(&stream).await.rest().await;
    let (status, _) = Client::json(client.get("/v1/responses/resp_unknown")).await;
    assert_eq!(status, 404);
    let events = frames.len() as f64 - 1.0;
    for (name, expected) in [
        ("tidemark_live_responses", 0.0),
        ("tidemark_readers", 0.0),
        ("tidemark_responses_ended_total{status=\"completed\"}", 1.0),
        ("tidemark_events_appended_total", events),
        ("tidemark_first_output_seconds_count", 1.0),
        ("tidemark_calls_total{route=\"/v1/responses\",status=\"2xx\"}", 1.0),
        ("tidemark_calls_total{route=\"/v1/responses/{id}\",status=\"4xx\"}", 1.0),
    ] {
        // A reply is counted a moment after its client has it.
        until(name, async || (value(&server, name).await == expected).then_some(())).await;
    }
    assert!(value(&server, "tidemark_append_seconds_count").await >= 2.0);
    assert!(value(&server, "tidemark_log_bytes").await > events * 20.0);
    assert!(value(&server, "tidemark_free_bytes").await > 0.0);
    assert!(value(&server, "tidemark_connections").await >= 1.0, "the one that asks");
    until("the index", async || (value(&server, "tidemark_index_lag_bytes").await == 0.0).then_some(()))
        .await;
}
