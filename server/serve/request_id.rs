//! The id of a request.
//!
//! It owns which inbound id is taken over and that every reply carries one. It must never know what is asked.

use std::fmt;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue};
use tidemark_proto::names::REQUEST_ID;
use uuid::Uuid;

/// The longest inbound id that is taken over, in bytes.
const MAX_BYTES: usize = 128;

const HEADER: HeaderName = HeaderName::from_static(REQUEST_ID);

/// The id of a request, in its extensions and in its `x-request-id` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id: 1 to 128 visible ASCII characters, no comma.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The id that came with a request, if it may be taken over: one value, and what [`Self::as_str`] promises.
    fn inbound(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(HEADER).iter();
        let value = values.next().filter(|_| values.next().is_none())?;
        let bytes = value.as_bytes();
        let plain = bytes.iter().all(|byte| byte.is_ascii_graphic() && *byte != b',');
        ((1..=MAX_BYTES).contains(&bytes.len()) && plain).then(|| Self(value.clone()))
    }
}

/// Where new request ids come from.
#[derive(Clone)]
pub struct RequestIds(Arc<dyn Fn() -> Uuid + Send + Sync>);

impl RequestIds {
    /// Ids from this source; a test gives a fixed one.
    pub fn new(source: impl Fn() -> Uuid + Send + Sync + 'static) -> Self {
        Self(Arc::new(source))
    }

    fn next(&self) -> RequestId {
        let mut text = Uuid::encode_buffer();
        let text = (self.0)().hyphenated().encode_lower(&mut text);
        RequestId(HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("unknown")))
    }
}

impl Default for RequestIds {
    fn default() -> Self {
        Self::new(Uuid::now_v7)
    }
}

impl fmt::Debug for RequestIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestIds")
    }
}

/// Gives the request its id, and the reply the same one.
pub(super) async fn assign(State(ids): State<RequestIds>, mut request: Request, next: Next) -> Response {
    let id = RequestId::inbound(request.headers()).unwrap_or_else(|| ids.next());
    request.headers_mut().insert(HEADER, id.0.clone());
    request.extensions_mut().insert(id.clone());
    let mut reply = next.run(request).await;
    reply.headers_mut().insert(HEADER, id.0);
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inbound(values: &[&[u8]]) -> Option<String> {
        let values = values.iter().map(|value| (HEADER, HeaderValue::from_bytes(value).unwrap()));
        RequestId::inbound(&values.collect()).map(|id| id.as_str().to_owned())
    }

    #[test]
    fn an_inbound_id_is_taken_over_only_if_it_is_one_plain_word() {
        assert_eq!(inbound(&[b"abc-1.2_~!"]).as_deref(), Some("abc-1.2_~!"));
        assert!(inbound(&[&[b'a'; MAX_BYTES]]).is_some());
        let too_long = [b'a'; MAX_BYTES + 1];
        let wrong: [&[&[u8]]; 7] = [&[], &[b""], &[b"a,b"], &[b"a b"], &[b"a\tb"], &[b"\xff"], &[&too_long]];
        for values in wrong {
            assert_eq!(inbound(values), None, "{values:?}");
        }
        assert_eq!(inbound(&[b"a", b"a"]), None, "given twice");
    }

    #[test]
    fn new_ids_differ() {
        let ids = RequestIds::default();
        assert_ne!(ids.next(), ids.next());
        assert_eq!(ids.next().as_str().len(), 36);
    }
}
