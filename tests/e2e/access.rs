//! Access while a stream is open (D-33, U-10), over SSE and gRPC.

use std::time::Instant;

use serde_json::json;
use tidemark_proto::v1::ResumeRequest;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::Code;
use tonic_types::StatusExt;

use crate::common::rest::{Client, Frame, Stream};
use crate::common::server::patience;
use crate::grpc::responses;
use crate::keys::{Gate, with_bearer};
use crate::setup::paced;

/// How many streams of one key are open at once, and how many of them over SSE.
const STREAMS: usize = 1000;
const OVER_SSE: usize = 200;

/// How many gRPC streams share a connection.
const ON_ONE_CONNECTION: usize = 50;

/// How long the losses may take on a slow machine, in seconds: less than the period of [`tidemark::auth::Lease`], so that streams that
/// are only looked at by the clock are noticed.
const AT_ONCE: u64 = 10;

/// The last frames of a stream whose reader lost access: one error, with the number of the last event before it, and the end.
fn assert_forbidden(frames: &[Frame]) {
    let [.., event, error, done] = frames else { panic!("too short: {frames:?}") };
    let body = error.json();
    assert_eq!((error.name(), &body["code"]), ("error", &json!("STREAM_FORBIDDEN")), "{error:?}");
    assert_eq!(body["error"]["code"], "STREAM_FORBIDDEN");
    assert_eq!(error.seq(), event.seq());
    assert!(done.is_done());
    assert_eq!(frames.iter().filter(|frame| frame.name() == "error").count(), 1);
}

/// Reads a stream to its end, which must be that of one that lost access.
async fn ended((mut frames, stream): (Vec<Frame>, Stream)) {
    frames.extend(timeout(patience(), stream.rest()).await.unwrap());
    assert_forbidden(&frames);
}

#[tokio::test]
async fn check_12_a_disabled_key_ends_a_thousand_open_streams_at_once_and_no_others() {
    let gate = Gate::new();
    let made = gate.key("acme", &["responses.read", "responses.write"]).await;
    let (client, same_owner) = (gate.with(&made), gate.user("acme").await);
    // An event a second: nearly every stream is waiting when access is lost.
    let id = client.background(paced(600, 1)).await;
    let mut ends = JoinSet::new();
    let mut opened = Vec::new();
    for _ in 0..OVER_SSE {
        let mut stream = client.resume(&id, None).await;
        let first = stream.frame().await.unwrap();
        ends.spawn(async move {
            let mut frames = vec![first];
            frames.extend(stream.rest().await);
            assert_forbidden(&frames);
        });
    }
    for number in 0..STREAMS - OVER_SSE {
        if number % ON_ONE_CONNECTION == 0 {
            opened.push(responses(&gate.server).await);
        }
        let resume = ResumeRequest { id: id.clone(), ..ResumeRequest::default() };
        let stream = opened.last_mut().unwrap().resume(with_bearer(resume, &made.key)).await.unwrap();
        let mut stream = stream.into_inner();
        assert!(stream.message().await.unwrap().is_some());
        ends.spawn(async move {
            let status = loop {
                match stream.message().await {
                    Ok(message) => assert!(message.is_some(), "the run goes on"),
                    Err(status) => break status,
                }
            };
            assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
            assert_eq!(status.get_details_error_info().unwrap().reason, "STREAM_FORBIDDEN");
        });
    }
    let mut other = same_owner.resume(&id, None).await;
    let first = other.frame().await.unwrap();
    gate.change(&made, "disable").await;
    let start = Instant::now();
    timeout(patience(), ends.join_all()).await.unwrap();
    let took = start.elapsed();
    println!("{STREAMS} streams ended within {} ms", took.as_millis());
    assert!(took.as_secs() < AT_ONCE, "{took:?}");
    assert_eq!(first.seq(), 0);
    assert!(other.frame().await.is_some(), "another key of the same owner reads on");
    assert_eq!(same_owner.snapshot(&id).await["status"], "in_progress", "the run goes on");
    assert_eq!(same_owner.cancel(&id).await.0, 200);
    assert_eq!(other.rest().await.iter().filter(|frame| frame.is_terminal()).count(), 1);
}

#[tokio::test]
async fn a_stream_ends_when_its_key_or_ticket_is_deleted_replaced_or_over() {
    let gate = Gate::new();
    let owner = gate.user("acme").await;
    let id = owner.background(paced(2000, 20)).await;
    let open = async |client: Client| {
        let mut stream = client.resume(&id, None).await;
        (stream.take(2).await, stream)
    };
    let deleted = gate.key("acme", &["responses.read"]).await;
    let replaced = gate.key("acme", &["responses.read"]).await;
    let soon = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() + 6;
    let over = gate.make(&json!({"owner": "acme", "scopes": ["responses.read"], "expires_at": soon})).await;
    let maker = gate.key("acme", &["responses.read"]).await;
    let path = format!("/v1/responses/{id}/tickets");
    let ticket = async |seconds: u32| {
        let body = json!({"lifetime_seconds": seconds});
        let (_, made) = Client::json(gate.with(&maker).post(&path, &body)).await;
        gate.with_ticket(made["ticket"].as_str().unwrap())
    };
    let (of_maker, short) = (ticket(3600).await, ticket(6).await);
    let streams = tokio::join!(
        open(gate.with(&deleted)),
        open(gate.with(&replaced)),
        open(gate.with(&over)),
        open(of_maker),
        open(short),
    );
    let delete = gate.operator.request(reqwest::Method::DELETE, &format!("/v1/keys/{}", deleted.id));
    assert_eq!(delete.send().await.unwrap().status(), 200);
    gate.change(&replaced, "rotate").await;
    ended(streams.0).await;
    ended(streams.1).await;
    ended(streams.2).await;
    ended(streams.4).await;
    gate.change(&maker, "disable").await;
    ended(streams.3).await;
    assert_eq!(owner.snapshot(&id).await["status"], "in_progress", "only the readers have ended");
    owner.cancel(&id).await;
}
