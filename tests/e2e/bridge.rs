//! The bridge alone over a network channel (D-2): what it does as the gateway does, and what only it can meet.
//!
//! The whole of the REST tests runs over it too: see `TIDEMARK_TEST_BRIDGE` in `tests/common/server.rs`.

use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tidemark_proto::names::OWNER;

use crate::common::bridge::Bridge;
use crate::common::rest::{Client, bytes_of, text_of};
use crate::common::server::Server;

/// A gateway with the demo backend, a client of it, and one of a bridge in front of it.
struct Pair {
    server: Server,
    bridge: Bridge,
    direct: Client,
    bridged: Client,
}

fn pair(bridge_config: &str) -> Pair {
    let server = Server::start("");
    let bridge = Bridge::start_with(&server.gateway_url(), bridge_config);
    let (direct, bridged) = (Client::new(&server.gateway_url()), Client::new(&bridge.url()));
    Pair { server, bridge, direct, bridged }
}

fn paced(events: &str, rate: &str) -> Value {
    json!({"model": "demo", "input": "one two three", "metadata": {"demo.events": events, "demo.rate": rate}})
}

#[tokio::test]
async fn replies_are_the_same_bytes_as_from_the_gateway_itself() {
    let pair = pair("");
    let id = pair.bridged.background(paced("20", "0")).await;
    pair.bridged.ended(&id).await;
    let delete = reqwest::Method::DELETE;
    for path in [
        format!("responses/{id}"),
        format!("responses/{id}?stream=true"),
        format!("responses/{id}?stream=true&starting_after=5&event_ids=true"),
        format!("responses/{id}?stream=true&starting_after=5x"),
        format!("responses/{id}/input_items?order=asc&limit=1000"),
        format!("responses/{id}/input_items?after=msg_1"),
        "responses?limit=1".to_owned(),
        "responses?cursor=x".to_owned(),
        "responses/resp_1".to_owned(),
        "models".to_owned(),
        "models/none".to_owned(),
        "nowhere".to_owned(),
    ] {
        for prefix in ["/v1/", "/"] {
            let ask = |client: &Client| bytes_of(client.get(&format!("{prefix}{path}")));
            assert_eq!(ask(&pair.bridged).await, ask(&pair.direct).await, "{path}");
        }
    }
    for (method, path) in [
        (delete.clone(), "/v1/responses/resp_1"),
        (delete, "/v1/models"),
        (reqwest::Method::OPTIONS, "/v1/responses"),
        (reqwest::Method::HEAD, "/v1/models"),
    ] {
        let ask = |client: &Client| bytes_of(client.request(method.clone(), path));
        assert_eq!(ask(&pair.bridged).await, ask(&pair.direct).await, "{method} {path}");
    }
}

#[tokio::test]
async fn a_response_is_created_read_resumed_listed_and_deleted() {
    let pair = pair("");
    let (direct, bridged) = (pair.direct.of("ada"), pair.bridged.of("ada"));
    let mut body = paced("40", "200");
    body["stream"] = true.into();
    let mut stream = bridged.stream(&body).await;
    let id = stream.headers["x-tidemark-response-id"].to_str().unwrap().to_owned();
    let mut last = 0;
    while last < 9 {
        last = stream.frame().await.unwrap().seq();
    }
    drop(stream);
    let rest = bridged.resume(&id, Some(last)).await.rest().await;
    let (done, events) = rest.split_last().unwrap();
    assert!(done.is_done());
    let numbers: Vec<u64> = events.iter().map(crate::common::rest::Frame::seq).collect();
    assert_eq!(numbers, (last + 1..last + 1 + numbers.len() as u64).collect::<Vec<_>>());
    assert_eq!(events.last().unwrap().event.as_deref(), Some("response.completed"));
    assert_eq!(text_of(&bridged.snapshot(&id).await), text_of(&direct.snapshot(&id).await));

    let (_, list) = Client::json(bridged.get("/v1/responses")).await;
    assert_eq!((&list["first_id"], &list["has_more"]), (&json!(id), &json!(false)));
    let path = format!("/v1/responses/{id}");
    let foreign = pair.bridged.of("bob");
    assert_eq!(Client::json(foreign.get(&path)).await.0, 404);
    assert_eq!(Client::json(foreign.request(reqwest::Method::DELETE, &path)).await.0, 404);
    let (status, deleted) = Client::json(bridged.request(reqwest::Method::DELETE, &path)).await;
    assert_eq!((status, deleted), (200, json!({"id": id, "object": "response", "deleted": true})));
    assert_eq!(Client::json(direct.get(&path)).await.0, 404);
    assert_eq!(Client::json(bridged.request(reqwest::Method::DELETE, &path)).await.0, 404);
}

#[tokio::test]
async fn a_stop_through_the_bridge_stops_the_run() {
    let pair = pair("");
    let id = pair.bridged.background(paced("4000", "50")).await;
    let (status, cancelled) = pair.bridged.cancel(&id).await;
    assert_eq!((status, &cancelled["status"]), (200, &json!("cancelled")));
    assert_eq!(pair.direct.snapshot(&id).await, cancelled);
}

#[tokio::test]
async fn the_bridge_keeps_strangers_pages_and_large_bodies_away_itself() {
    let pair = pair("[server]\nbody_limit = \"1KiB\"\n");
    let page = pair.bridged.get("/v1/models").header("origin", "https://evil.example");
    let (status, refusal) = Client::json(page).await;
    assert_eq!((status, &refusal["error"]["code"]), (403, &json!("forbidden_origin")));
    let large = json!({"model": "demo", "input": "x".repeat(2000)});
    assert_eq!(Client::json(pair.bridged.post("/v1/responses", &large)).await.0, 413);
    assert_eq!(Client::json(pair.direct.post("/v1/responses", &large)).await.0, 200);
    let (status, refusal) = Client::json(pair.bridged.get("/v1/models").header(OWNER, "a b")).await;
    assert_eq!((status, &refusal["error"]["param"]), (400, &json!(OWNER)), "the gateway says so");
}

#[tokio::test]
async fn a_gateway_that_goes_ends_streams_in_silence_and_is_503_from_then_on() {
    let mut pair = pair("");
    let mut body = paced("4000", "50");
    body["stream"] = true.into();
    let mut stream = pair.bridged.stream(&body).await;
    stream.frame().await.unwrap();
    pair.server.kill();
    let rest = stream.rest().await;
    assert!(rest.iter().all(|frame| !frame.is_done() && frame.event.as_deref() != Some("error")), "{rest:?}");
    let reply = pair.bridged.get("/v1/models").send().await.unwrap();
    assert_eq!(reply.status(), 503);
    assert_eq!(reply.headers()["retry-after"], "1");
    let reply: Value = serde_json::from_str(&reply.text().await.unwrap()).unwrap();
    assert_eq!(reply["error"]["code"], "overloaded");
}

#[tokio::test]
async fn a_signal_lets_open_calls_end_and_cuts_streams_after_the_drain() {
    let mut pair = pair("[server]\ndrain = \"1s\"\n");
    let mut body = paced("4000", "50");
    body["stream"] = true.into();
    let mut stream = pair.bridged.stream(&body).await;
    let first = stream.frame().await.unwrap();
    let id = first.json()["response"]["id"].as_str().unwrap().to_owned();
    pair.bridge.signal(Signal::SIGTERM);
    let rest = stream.rest().await;
    assert!(!rest.is_empty() && rest.iter().all(|frame| !frame.is_done()), "events until the cut, no [DONE]");
    assert_eq!(pair.bridge.wait().code(), Some(0));
    assert_eq!(pair.direct.snapshot(&id).await["status"], "in_progress", "the run is not the bridge's");
}

#[test]
fn a_bridge_that_makes_no_sense_does_not_start() {
    for (args, said) in [
        (&["bridge"][..], "--gateway <URL>"),
        (&["bridge", "--gateway", "https://gate:4700"], "TLS is not there yet"),
        (&["bridge", "--gateway", "http://gate:1", "--listen", "0.0.0.0:0"], "--insecure-no-auth"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_tidemark")).args(args).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
}
