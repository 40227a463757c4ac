//! What belongs to somebody else does not exist (D-30).

use serde_json::{Value, json};
use tidemark_proto::names::{OWNER, REQUEST_ID};
use tidemark_proto::v1::{CancelRequest, GetRequest, ResumeRequest};
use tonic::{Code, Request, Status};

use crate::common::rest::{Client, bytes_of};
use crate::common::scripted::{Act, answer, chunk};
use crate::grpc::{responses, text_request};
use crate::setup::{Stage, ask, until};

/// An id that nobody has.
const UNKNOWN: &str = "resp_00000000000000000000000000000000";

/// Everything that a caller can ask about an id, with the refusal that comes.
async fn rest_refusals(client: &Client, id: &str) -> Vec<String> {
    let path = format!("/v1/responses/{id}");
    let mut continued = ask("m");
    continued["previous_response_id"] = id.into();
    let requests = [
        client.get(&path),
        client.get(&format!("{path}?stream=true")),
        client.get(&format!("{path}?stream=true&starting_after=2")),
        client.request(reqwest::Method::POST, &format!("{path}/cancel")),
        client.post("/v1/responses", &continued),
    ];
    let mut refusals = Vec::new();
    for request in requests {
        refusals.push(bytes_of(request).await);
    }
    refusals
}

fn call<T>(message: T, owner: &'static str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(OWNER, owner.parse().unwrap());
    request.metadata_mut().insert(REQUEST_ID, "the-same".parse().unwrap());
    request
}

fn status_bytes(status: &Status) -> String {
    let mut metadata = status.metadata().clone();
    metadata.remove("date");
    format!("{:?} {:?} {:?} {:?}", status.code(), status.message(), status.details(), metadata)
}

/// The same over gRPC.
async fn grpc_refusals(stage: &Stage, owner: &'static str, id: &str) -> Vec<String> {
    let mut client = responses(&stage.server).await;
    let id = id.to_owned();
    let get = client.get(call(GetRequest { id: id.clone(), ..Default::default() }, owner)).await.unwrap_err();
    assert_eq!(get.code(), Code::NotFound);
    let cancel =
        client.cancel(call(CancelRequest { id: id.clone(), ..Default::default() }, owner)).await.unwrap_err();
    let resume = ResumeRequest { id: id.clone(), ..ResumeRequest::default() };
    let resume = client.resume(call(resume, owner)).await.unwrap_err();
    let mut create = text_request("m", "x");
    create.previous_response_id = Some(id);
    let create = client.create(call(create, owner)).await.unwrap_err();
    [get, cancel, resume, create].iter().map(status_bytes).collect()
}

#[tokio::test]
async fn check_2_a_foreign_response_is_the_same_bytes_as_an_unknown_one_everywhere() {
    let acts = [("done", answer(["x"])), ("m", vec![chunk("a"), Act::HangForever])];
    let stage = Stage::set(acts, "", "").await;
    let (alice, bob) = (stage.client.of("alice"), stage.client.of("bob"));
    let running = alice.background(ask("m")).await;
    let done = alice.background(ask("done")).await;
    alice.ended(&done).await;
    let generations = || stage.backend.asked().len();
    until("both were asked for", async || (generations() == 2).then_some(())).await;

    let unknown = rest_refusals(&bob, UNKNOWN).await;
    for refusal in &unknown {
        assert!(refusal.starts_with("404 "), "{refusal}");
    }
    assert!(unknown[4].contains("previous_response_not_found"), "{}", unknown[4]);
    let unknown_over_grpc = grpc_refusals(&stage, "bob", UNKNOWN).await;
    for id in [&running, &done, "resp_not-even-an-id"] {
        assert_eq!(rest_refusals(&bob, id).await, unknown);
        assert_eq!(grpc_refusals(&stage, "bob", id).await, unknown_over_grpc);
    }
    assert_eq!(rest_refusals(&stage.client, &done).await, unknown, "whoever names no owner is another one");
    assert_eq!(alice.snapshot(&running).await["status"], "in_progress", "bob has stopped nothing");
    assert_eq!(generations(), 2, "no backend was asked for bob");
}

#[tokio::test]
async fn an_expired_response_is_the_same_bytes_as_an_unknown_one() {
    let stage = Stage::set([("m", answer(["x"]))], "", "[retention]\nunstored = \"1s\"\n").await;
    let mut body = ask("m");
    body["store"] = false.into();
    let (_, response) = Client::json(stage.client.post("/v1/responses", &body)).await;
    let id = response["id"].as_str().unwrap();
    let path = format!("/v1/responses/{id}");
    until("it expires", async || (Client::json(stage.client.get(&path)).await.0 == 404).then_some(())).await;
    assert_eq!(rest_refusals(&stage.client, id).await, rest_refusals(&stage.client, UNKNOWN).await);
}

#[tokio::test]
async fn an_owner_that_is_no_owner_is_refused() {
    let stage = Stage::set([("m", answer(["x"]))], "", "").await;
    for bad in ["", "with blank", "ünlaut", &"x".repeat(1000)] {
        let request = stage.client.get("/v1/models").header(OWNER, bad.as_bytes());
        let (status, reply): (u16, Value) = Client::json(request).await;
        assert_eq!((status, &reply["error"]["code"]), (400, &json!("invalid_request")), "{bad}");
    }
}
