//! What the endpoints answer to apps: JSON, and refusals in the form of RFC 6749.

use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, PRAGMA, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use tidemark_proto::names::SHOULD_RETRY;

use crate::auth::grants::{Refusal, RefusalCode};

/// The answer that says `value`.
pub(super) fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    // Structures of texts and numbers: there is nothing that JSON could not express.
    let body = serde_json::to_vec(value).unwrap_or_default();
    let mut reply = Response::new(Bytes::from(body).into());
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    reply
}

#[derive(Serialize)]
struct Body<'r> {
    error: &'static str,
    error_description: &'r str,
}

/// The answer that says no to an app.
pub(super) fn refusal(refusal: &Refusal) -> Response {
    note(refusal);
    let body = Body { error: refusal.code().name(), error_description: refusal.text() };
    let mut reply = json(status(refusal), &body);
    // A device shall ask again, but not at once; its client's library knows when.
    let again = [RefusalCode::AuthorizationPending, RefusalCode::SlowDown].contains(&refusal.code());
    if reply.status().is_client_error() && refusal.retry_after().is_none() && !again {
        reply.headers_mut().insert(HeaderName::from_static(SHOULD_RETRY), HeaderValue::from_static("false"));
    }
    put_retry_after(&mut reply, refusal);
    reply
}

/// The status of an answer that says no.
pub(super) fn status(refusal: &Refusal) -> StatusCode {
    StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Says when another try makes sense.
pub(super) fn put_retry_after(reply: &mut Response, refusal: &Refusal) {
    let unavailable = (refusal.status() == 503).then_some(Duration::from_secs(1));
    let Some(wait) = refusal.retry_after().or(unavailable) else { return };
    let seconds = wait.as_millis().div_ceil(1000).max(1);
    if let Ok(seconds) = HeaderValue::from_str(&seconds.to_string()) {
        reply.headers_mut().insert(RETRY_AFTER, seconds);
    }
}

/// Tells the operator of what is a fault of ours.
pub(super) fn note(refusal: &Refusal) {
    if refusal.status() >= 500 {
        tracing::warn!(error = refusal.for_log(), "the authorization server could not do what it was asked");
    }
}

/// Sends a browser on by a GET, whatever it came with.
pub(super) fn see_other(location: &str) -> Response {
    let mut reply = Response::new(Bytes::new().into());
    *reply.status_mut() = StatusCode::SEE_OTHER;
    // A URL is ASCII: there is nothing that a header could not hold.
    if let Ok(location) = HeaderValue::from_str(location) {
        reply.headers_mut().insert(LOCATION, location);
    }
    reply
}
