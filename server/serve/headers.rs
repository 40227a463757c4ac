//! What every reply tells a browser (O-10): not to guess types, not to pass on where it was, and not to keep anything.
//!
//! It owns these headers. It must never know what is answered; a reply that says itself how long it may be kept is believed.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{CACHE_CONTROL, REFERRER_POLICY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
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

/// Says in a reply that asks for a credential who gives one (RFC 9728, B-33). gRPC replies have status 200, and are told apart by theirs.
pub(super) async fn point(
    State(metadata): State<Option<HeaderValue>>,
    request: Request,
    next: Next,
) -> Response {
    let mut reply = next.run(request).await;
    let Some(metadata) = metadata else { return reply };
    let challenge = reply.headers().get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
    let unauthenticated = reply.headers().get("grpc-status").is_some_and(|status| status == "16");
    let parameter = metadata.to_str().unwrap_or_default();
    let pointed = match challenge {
        Some("Bearer") => format!("Bearer resource_metadata=\"{parameter}\""),
        Some(bearer) if bearer.starts_with("Bearer ") => {
            format!("{bearer}, resource_metadata=\"{parameter}\"")
        }
        None if unauthenticated => format!("Bearer resource_metadata=\"{parameter}\""),
        _ => return reply,
    };
    if let Ok(pointed) = HeaderValue::from_str(&pointed) {
        reply.headers_mut().insert(WWW_AUTHENTICATE, pointed);
    }
    reply
}

/// Puts them on a reply.
pub(super) async fn protect(mut reply: Response) -> Response {
    for (name, value) in ALWAYS {
        reply.headers_mut().insert(name, value);
    }
    reply.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    reply
}
