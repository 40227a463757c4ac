//! Streams that are handed over in this process, beside those that are read from the wire: nobody can tell.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use tidemark_bridge::{Clients, Options, router};
use tidemark_proto::MAX_MESSAGE_BYTES;
use tidemark_proto::v1::{ErrorCode, Gap};
use tonic::Status;
use tower::util::MapResponse;

use crate::fake::{Fake, ID, Script, Step, event, status};
use crate::http::{ask, get, post, send};

/// The body of a reply that nobody may read.
struct Unread(tonic::body::Body);

impl Body for Unread {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        unreachable!("the body of a stream that could be handed over is read: {:?}", self.0)
    }
}

type Reply = Response<tonic::body::Body>;

/// A bridge in the process of the fake that must not read the body of any reply.
fn handed(fake: &Fake) -> Router {
    let unread = |reply: Reply| reply.map(Unread);
    router(Clients::new(MapResponse::new(fake.services(), unread)), Options::default())
}

/// One that finds nothing but bodies.
fn wire(fake: &Fake) -> Router {
    let bare = |mut reply: Reply| {
        reply.extensions_mut().clear();
        reply
    };
    router(Clients::new(MapResponse::new(fake.services(), bare)), Options::default())
}

fn scripts() -> Vec<Script> {
    let seen = || Step::Events(vec![event(3, "response.created"), event(4, "chat.completion.chunk")]);
    let lost = [("param", "starting_after"), ("watermark", "41"), ("earliest", "42"), ("committed", "99")];
    let mut failures: Vec<_> = ErrorCode::ALL.into_iter().map(|code| status(code, &[])).collect();
    failures.push(status(ErrorCode::OffsetLost, &lost));
    failures.push(status(ErrorCode::BackendError, &[("response_id", ID)]));
    failures.extend([
        Status::out_of_range("bare, 100 % ö\n"),
        Status::internal(""),
        Status::unavailable("x"),
    ]);

    let mut large = event(5, "chat.completion.chunk");
    large.data = vec![b'x'; MAX_MESSAGE_BYTES].into();
    let gap = Gap { from: 5, to: 8 };
    let mut streams = vec![
        vec![],
        vec![seen(), Step::Heartbeat, Step::Events(vec![event(9, "chat.completion.completed")])],
        vec![Step::Heartbeat, seen()],
        vec![Step::Gap(gap, vec![event(9, "a")]), Step::Gap(gap, vec![])],
        vec![seen(), Step::Events(vec![large]), seen()],
    ];
    for failure in &failures {
        streams.push(vec![seen(), Step::Fail(failure.clone()), seen()]);
        streams.push(vec![Step::Fail(failure.clone()), seen()]);
    }
    let streams = streams.into_iter().map(|steps| Script { steps, ..Script::default() });
    let refusals = failures.into_iter().map(|failure| Script { open: Err(failure), ..Script::default() });
    let replayed = Script { replayed: true, steps: vec![seen()], ..Script::default() };
    streams.chain(refusals).chain([replayed]).collect()
}

fn requests() -> Vec<Request<axum::body::Body>> {
    let create = r#"{"stream":true}"#;
    vec![
        get(&format!("/v1/responses/{ID}?stream=true&starting_after=2&event_ids=true&on_gap=earliest")),
        get(&format!("/v1/responses/{ID}?stream=true")),
        get(&format!("/v1/chat/completions/{ID}?stream=true")),
        post("/v1/responses", create),
        post("/v1/chat/completions", create),
    ]
}

#[tokio::test]
async fn what_is_handed_over_and_what_the_wire_brings_are_the_same_bytes() {
    for script in scripts() {
        let steps = script.steps.len();
        let fake = Fake::new(script);
        let (remote, _server) = fake.remote().await;
        let ways = [handed(&fake), wire(&fake), remote];
        for number in 0..requests().len() {
            let mut replies = Vec::new();
            for way in &ways {
                replies.push(ask(way, requests().swap_remove(number)).await);
            }
            let shown = |reply: &str| reply.chars().take(500).collect::<String>();
            for other in &replies[1..] {
                assert!(other == &replies[0], "{steps} steps:\n{}\n{}", shown(&replies[0]), shown(other));
            }
        }
    }
}

#[tokio::test]
async fn a_body_that_is_dropped_drops_what_was_handed_over() {
    let fake = Fake::streaming(vec![Step::Events(vec![event(0, "chat.completion.chunk")]), Step::Hang]);
    let bridge = handed(&fake);
    for request in requests() {
        let unread = send(&bridge, request).await.into_body();
        fake.until_open(1).await;
        drop(unread);
        fake.until_open(0).await;
    }
    for request in requests() {
        let mut read = send(&bridge, request).await.into_body();
        assert!(read.frame().await.is_some());
        fake.until_open(1).await;
        drop(read);
        fake.until_open(0).await;
    }
}
