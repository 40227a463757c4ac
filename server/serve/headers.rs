//! What every reply tells a browser (O-10): not to guess types, not to pass on where it was, and not to keep anything.
//!
//! It owns these headers. It must never know what is answered; a reply that says itself how long it may be kept is believed.

use axum::response::Response;
use http::header::{CACHE_CONTROL, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue};

/// On every reply, whatever it says itself.
const ALWAYS: [(HeaderName, HeaderValue); 3] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=()"),
    ),
];

/// Puts them on a reply.
pub(super) async fn protect(mut reply: Response) -> Response {
    for (name, value) in ALWAYS {
        reply.headers_mut().insert(name, value);
    }
    reply.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    reply
}
