//! REST over the services in this process: it takes the streams that they hand over.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes};
use http::{Method, Response, header};
use http_body::Frame;
use http_body_util::BodyExt as _;
use tidemark_bridge::{Clients, router};
use tower::ServiceExt as _;
use tower::util::MapResponse;

use super::*;
use crate::grpc::contract;

/// The body of a reply that nobody may read.
struct Unread(tonic::body::Body);

impl http_body::Body for Unread {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        unreachable!("the body of a stream that could be handed over is read: {:?}", self.0)
    }
}

type Reply = Response<tonic::body::Body>;

/// REST that must not read the body of a gRPC reply, and REST that finds nothing else.
fn both(runs: Runs) -> (Router, Router) {
    let redirects = RedirectRules::default();
    let services = contract(Services { runs, directory: directory(), access: access(), redirects });
    let handed = MapResponse::new(services.clone(), |reply: Reply| reply.map(Unread));
    let wire = MapResponse::new(services, |mut reply: Reply| {
        reply.extensions_mut().clear();
        reply
    });
    let rest = |clients| router(clients, tidemark_bridge::Options::default());
    (rest(Clients::new(handed)), rest(Clients::new(wire)))
}

async fn ask(rest: &Router, method: Method, path: &str, body: &'static str) -> Response<Body> {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "text/event-stream")
        .extension(Principal::local(Owner::new("alice").unwrap()));
    let reply = rest.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    assert!(reply.status().is_success(), "{path}: {}", reply.status());
    reply
}

async fn text_of(reply: Response<Body>) -> String {
    String::from_utf8(reply.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

const RESPONSE: &str = r#"{"model":"m","input":"hi","stream":true}"#;
const CHAT: &str = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}"#;

#[tokio::test(start_paused = true)]
async fn rest_in_this_process_takes_streams_of_responses_as_they_are() {
    for (path, body) in [("/v1/responses", RESPONSE), ("/v1/chat/completions", CHAT)] {
        let (handed, wire) = both(runs([text("a"), Act::Wait(Duration::from_secs(20)), text("b"), stop()]));
        let created = ask(&handed, Method::POST, path, body).await;
        let id = created.headers()["x-tidemark-response-id"].to_str().unwrap().to_owned();
        let live = text_of(created).await;
        assert!(live.contains(": heartbeat\n") && live.ends_with("data: [DONE]\n\n"), "{live}");
        let resume = format!("{path}/{id}?stream=true");
        let resumed = text_of(ask(&handed, Method::GET, &resume, "").await).await;
        assert_eq!(resumed, live.replace(": heartbeat\n", ""));
        assert_eq!(resumed, text_of(ask(&wire, Method::GET, &resume, "").await).await);
    }
}

#[tokio::test(start_paused = true)]
async fn rest_in_this_process_takes_histories_as_they_are() {
    let (handed, wire) = both(runs([]));
    let session = r#"{"id":"k","items":[{"role":"user","content":"hi"}]}"#;
    ask(&wire, Method::POST, "/v1/sessions", session).await;
    let mut seen = Vec::new();
    for rest in [&handed, &wire] {
        let mut body = ask(rest, Method::GET, "/v1/sessions/k/history", "").await.into_body();
        let mut frame = async || body.frame().await.unwrap().unwrap().into_data().unwrap();
        seen.push([frame().await, frame().await, frame().await]);
    }
    assert!(seen[0][1].starts_with(b"event: history\n"), "{:?}", seen[0]);
    assert_eq!(seen[0][2], ": heartbeat\n");
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test(start_paused = true)]
async fn a_rest_reader_that_hangs_up_no_longer_counts_as_one() {
    let (handed, wire) = both(runs([text("x"), Act::Hang]));
    let body = r#"{"model":"m","input":"hi","stream":true,"store":false}"#;
    let created = ask(&handed, Method::POST, "/v1/responses", body).await;
    let path = format!("/v1/responses/{}", created.headers()["x-tidemark-response-id"].to_str().unwrap());
    let get = async || text_of(ask(&wire, Method::GET, &path, "").await).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(get().await.contains(r#""status":"in_progress""#));
    drop(created);
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert!(get().await.contains(r#""status":"cancelled""#));
}
