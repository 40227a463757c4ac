//! Reading a request's body: its type and its size.
//!
//! It owns the bounds on what a caller may send. It must never know what the bytes mean.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tidemark_proto::v1::ErrorCode;
use tonic::Status;

use crate::error::Failure;

/// How much of a body beyond the limit is read and thrown away, in bytes, so that a client that only reads after it has written
/// sees the refusal and not a reset connection.
const DRAIN_BYTES: usize = 32 << 20;

/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// The whole body of a JSON request, at most `limit` bytes.
///
/// # Errors
/// `invalid_request` if the content type is not JSON (none at all is taken for JSON) or the body breaks off,
/// `payload_too_large` beyond the limit, and whatever status the body itself ends with.
pub(crate) async fn read_json(parts: &Parts, body: Body, limit: usize) -> Result<Bytes, Failure> {
    require_json(&parts.headers)?;
    if declared_length(&parts.headers).is_some_and(|length| length > limit as u64) {
        // A client that waits for `100 Continue` has sent nothing yet, and need not.
        if !parts.headers.contains_key(header::EXPECT) {
            drain(body).await;
        }
        return Err(too_large(limit));
    }
    collect(body, limit).await
}

/// The body of a request that may leave it out, in a form of ours.
///
/// # Errors
/// Those of [`read_json`] and [`parse`].
pub(crate) async fn read_optional<T>(parts: &Parts, body: Body, limit: usize) -> Result<T, Failure>
where
    T: Default + DeserializeOwned,
{
    let body = read_json(parts, body, limit).await?;
    if body.is_empty() { Ok(T::default()) } else { parse(&body) }
}

/// A body in a form of ours. What is wrong is said with line and column, and without the caller's text.
pub(crate) fn parse<'b, T: Deserialize<'b>>(body: &'b Bytes) -> Result<T, Failure> {
    // Serde would take a list of the values alone for an object.
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(Failure::new(ErrorCode::InvalidRequest, "the body must be a JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| {
        let place = format!("line {} column {}", error.line(), error.column());
        let what = if error.is_data() {
            "has a field that is missing, unknown or of the wrong type"
        } else {
            "is not JSON"
        };
        Failure::new(ErrorCode::InvalidRequest, format!("the body {what} ({place})"))
    })
}

async fn collect(mut body: Body, limit: usize) -> Result<Bytes, Failure> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken_off(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > limit - whole.len() {
            drop(whole);
            drain(body).await;
            return Err(too_large(limit));
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// Why a body cannot be read: what a layer in front of the bridge says, else that it broke off.
fn broken_off(error: &axum::Error) -> Failure {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if let Some(status) = error.downcast_ref::<Status>() {
            return Failure::of_status(status);
        }
        cause = error.source();
    }
    Failure::new(ErrorCode::InvalidRequest, "the body broke off")
}

async fn drain(mut body: Body) {
    let mut left = DRAIN_BYTES;
    let all = async {
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Either way the caller gets the same refusal.
    let _ = tokio::time::timeout(DRAIN_TIME, all).await;
}

fn too_large(limit: usize) -> Failure {
    Failure::new(ErrorCode::PayloadTooLarge, format!("the body is larger than {limit} bytes"))
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn require_json(headers: &HeaderMap) -> Result<(), Failure> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    if value.to_str().is_ok_and(is_json) {
        return Ok(());
    }
    Err(Failure::invalid(header::CONTENT_TYPE.as_str(), "the content type must be `application/json`"))
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence
        .strip_prefix("application/")
        .is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures_util::stream;

    use super::*;

    #[test]
    fn json_types_are_accepted_with_parameters_and_in_any_case() {
        for good in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/problem+json",
            "application/json ;a=b",
        ] {
            assert!(is_json(good), "{good}");
        }
        for bad in
            ["", "text/json", "text/plain", "application/jsonl", "application/x-www-form-urlencoded", "json"]
        {
            assert!(!is_json(bad), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_body_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
        assert_eq!(collect(Body::from(vec![b'a'; 8]), 8).await.unwrap().len(), 8);
        assert_eq!(collect(Body::from(vec![b'a'; 9]), 8).await, Err(too_large(8)));
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_refused() {
        let chunks = stream::iter([Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("reset"))]);
        let refusal = collect(Body::from_stream(chunks), 8).await.unwrap_err();
        assert_eq!(refusal, Failure::new(ErrorCode::InvalidRequest, "the body broke off"));
    }

    #[tokio::test]
    async fn a_body_that_ends_with_a_status_is_refused_with_that() {
        let status = || Status::not_found("somewhere");
        let body = Body::new(Body::from_stream(stream::iter([Err::<Bytes, _>(status())])));
        assert_eq!(collect(body, 8).await, Err(Failure::of_status(&status())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_left_after_a_while() {
        let start = tokio::time::Instant::now();
        let endless = stream::unfold((), async |()| {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b"aaaa")), ()))
        });
        assert_eq!(collect(Body::from_stream(endless), 8).await, Err(too_large(8)));
        assert!(start.elapsed() < DRAIN_TIME * 2, "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn a_body_far_beyond_the_limit_is_not_read_to_its_end() {
        let endless = stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b'a'; 4096])));
        assert_eq!(collect(Body::from_stream(endless), 8).await, Err(too_large(8)));
    }
}
