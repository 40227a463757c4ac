//! Requests to a bridge and replies as text.

use axum::Router;
use axum::body::Body;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use crate::fake::Fake;

/// Both ways to the fake, and what keeps the second one alive.
pub(crate) async fn both(fake: &Fake) -> (Vec<(&'static str, Router)>, impl Drop) {
    let (remote, server) = fake.remote().await;
    (vec![("in process", fake.local()), ("over a socket", remote)], server)
}

pub(crate) fn get(uri: &str) -> Request<Body> {
    request(Method::GET, uri, Body::empty())
}

pub(crate) fn post(uri: &str, body: impl Into<Body>) -> Request<Body> {
    let mut request = request(Method::POST, uri, body.into());
    request.headers_mut().insert("content-type", "application/json".parse().unwrap());
    request
}

pub(crate) fn request(method: Method, uri: &str, body: Body) -> Request<Body> {
    Request::builder().method(method).uri(uri).body(body).unwrap()
}

/// Sends a request and returns the reply, its body unread.
pub(crate) async fn send(router: &Router, request: Request<Body>) -> Response<Body> {
    router.clone().oneshot(request).await.unwrap()
}

/// Sends a request and returns the whole reply as text: status, sorted headers, an empty line, body. A content length is
/// compared with the body and left out.
pub(crate) async fn ask(router: &Router, request: Request<Body>) -> String {
    let (mut parts, body) = send(router, request).await.into_parts();
    let declared = parts.headers.remove("content-length");
    let mut headers: Vec<_> =
        parts.headers.iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap())).collect();
    headers.sort();
    let body = body.collect().await.unwrap().to_bytes();
    if let (Some(declared), false) = (declared, body.is_empty()) {
        assert_eq!(declared, body.len().to_string());
    }
    format!("{}\n{}\n{}", parts.status.as_u16(), headers.concat(), std::str::from_utf8(&body).unwrap())
}

/// Sends a request and returns each chunk of the reply's body.
pub(crate) async fn chunks(router: &Router, request: Request<Body>) -> Vec<String> {
    let mut body = send(router, request).await.into_body();
    let mut chunks = Vec::new();
    while let Some(frame) = body.frame().await {
        chunks.push(String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap());
    }
    chunks
}
