//! What went wrong, in the words of the OpenAI API: the one map from a gRPC status to HTTP.
//!
//! It owns envelope, status and headers of every refusal, also of those the bridge makes itself, and the `error` frame of a
//! stream. It must never know why a call failed beyond what the status says; codes and numbers come from
//! `tidemark_proto::errors`.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use tidemark_proto::errors::{DOMAIN, Retry};
use tidemark_proto::names::{self, detail};
use tidemark_proto::v1::ErrorCode;
use tonic::{Code, Status};
use tonic_types::{ErrorInfo, StatusExt as _};

/// How long a caller is asked to wait before another try, when the gateway does not say.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// A refusal. It knows nothing of the request: [`render`] adds the request id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure(Box<Inner>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    code: ErrorCode,
    message: String,
    param: Option<String>,
    retry_after: Option<Duration>,
    response_id: Option<String>,
    lost: Option<Lost>,
    scope: Option<String>,
}

/// From where a reader can go on, with `offset_lost` only (D-20).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Lost {
    #[serde(skip_serializing_if = "Option::is_none")]
    watermark: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    earliest: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    committed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Failure {
    /// A refusal with a text for the caller.
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            code,
            message: message.into(),
            param: None,
            retry_after: None,
            response_id: None,
            lost: None,
            scope: None,
        }))
    }

    /// A field, parameter or header that is wrong: `message` says what would be right.
    pub(crate) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message).with_param(param)
    }

    /// The gateway answered something that the contract does not know; the caller learns nothing but that.
    pub(crate) fn broken_contract(what: &'static str) -> Self {
        tracing::error!(what, "the gateway broke the contract");
        Self::new(ErrorCode::Internal, INTERNAL_MESSAGE)
    }

    /// Names the field, parameter or header that is wrong.
    pub(crate) fn with_param(mut self, param: impl Into<String>) -> Self {
        self.0.param = Some(param.into());
        self
    }

    /// Names the response that the failed call made.
    pub(crate) fn with_response_id(mut self, id: impl Into<String>) -> Self {
        self.0.response_id = Some(id.into());
        self
    }

    /// Calls the parameter `to` if the gateway, which has other words for some, calls it `from`.
    pub(crate) fn rename_param(self, from: &str, to: &str) -> Self {
        if self.0.param.as_deref() == Some(from) { self.with_param(to) } else { self }
    }

    /// The HTTP reply. `request_id` goes into the envelope if it is readable text.
    fn reply(&self, request_id: Option<&HeaderValue>) -> Response {
        let request_id = request_id.and_then(|id| id.to_str().ok());
        let body = self.envelope(request_id);
        let mut reply = Response::new(Body::from(body));
        *reply.status_mut() =
            StatusCode::from_u16(self.0.code.row().http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        self.put_headers(reply.headers_mut());
        reply
    }

    /// The envelope: the body of a reply, and the last frame of a chat that failed after its first (D-10).
    pub(crate) fn envelope(&self, request_id: Option<&str>) -> Bytes {
        #[derive(Serialize)]
        struct Envelope<'a> {
            error: Object<'a>,
        }
        json(&Envelope { error: self.object(request_id) })
    }

    /// The data of the `error` frame that ends a stream: the flat form of OpenAI and the nested one of Open Responses in one
    /// object (W-17, D-11). `last` is the last seq that was delivered (S-1).
    pub(crate) fn frame_data(&self, last: u64) -> Bytes {
        #[derive(Serialize)]
        struct Frame<'a> {
            r#type: &'static str,
            sequence_number: u64,
            code: &'static str,
            message: &'a str,
            param: Option<&'a str>,
            error: Object<'a>,
        }
        json(&Frame {
            r#type: "error",
            sequence_number: last,
            code: self.0.code.code(),
            message: &self.0.message,
            param: self.0.param.as_deref(),
            error: self.object(None),
        })
    }

    fn object<'a>(&'a self, request_id: Option<&'a str>) -> Object<'a> {
        let row = self.0.code.row();
        Object {
            message: &self.0.message,
            r#type: row.kind,
            param: self.0.param.as_deref(),
            code: row.code,
            request_id,
            lost: self.0.lost.as_ref(),
        }
    }

    /// What `WWW-Authenticate` says (RFC 6750), where a credential is missing or lacks a scope.
    fn challenge(&self) -> Option<HeaderValue> {
        match (self.0.code, &self.0.scope) {
            (ErrorCode::Unauthorized, _) => Some(HeaderValue::from_static("Bearer")),
            (ErrorCode::InsufficientScope, Some(scope)) => {
                let text = format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"");
                HeaderValue::from_str(&text).ok()
            }
            _ => None,
        }
    }

    fn put_headers(&self, headers: &mut HeaderMap) {
        let row = self.0.code.row();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(challenge) = self.challenge() {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        match row.retry {
            // SDKs try a 409 again unless they are told not to (D-14, W-32); the other refusals they leave alone.
            Retry::Never if row.http == StatusCode::CONFLICT.as_u16() => {
                headers
                    .insert(HeaderName::from_static(names::SHOULD_RETRY), HeaderValue::from_static("false"));
            }
            Retry::Later => put_retry_after(headers, self.0.retry_after.unwrap_or(DEFAULT_RETRY_AFTER)),
            // Not ours to say, but a backend may have said it.
            Retry::Unsaid => self.0.retry_after.into_iter().for_each(|wait| put_retry_after(headers, wait)),
            Retry::Never => {}
        }
        if let Some(id) = self.0.response_id.as_deref().and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.insert(HeaderName::from_static(names::RESPONSE_ID), id);
        }
    }

    /// The refusal that a status stands for: by our own reason if it carries one, else by the gRPC code alone.
    pub(crate) fn of_status(status: &Status) -> Self {
        match reason(status) {
            Some((code, info)) => Self::of_reason(code, &info, status),
            None => {
                tracing::warn!(code = ?status.code(), message = status.message(), "call failed without a reason");
                let (code, message) = foreign(status.code());
                Self::new(code, message)
            }
        }
    }

    fn of_reason(code: ErrorCode, info: &ErrorInfo, status: &Status) -> Self {
        let text = |key: &str| info.metadata.get(key).cloned();
        let number = |key: &str| info.metadata.get(key).and_then(|value| value.parse().ok());
        let lost = (code == ErrorCode::OffsetLost).then(|| Lost {
            watermark: number(detail::WATERMARK),
            earliest: number(detail::EARLIEST),
            committed: number(detail::COMMITTED),
            reason: text(detail::REASON),
        });
        Self(Box::new(Inner {
            code,
            message: status.message().to_owned(),
            param: text(detail::PARAM),
            retry_after: status.get_details_retry_info().and_then(|info| info.retry_delay),
            response_id: text(detail::RESPONSE_ID),
            lost,
            scope: text(detail::SCOPE),
        }))
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::of_status(&status)
    }
}

impl IntoResponse for Failure {
    /// A reply without a body that carries the failure to [`render`].
    fn into_response(self) -> Response {
        let mut reply = Response::new(Body::empty());
        *reply.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        reply.extensions_mut().insert(self);
        reply
    }
}

/// The error object of the envelope and of the frame.
#[derive(Serialize)]
struct Object<'a> {
    message: &'a str,
    r#type: &'static str,
    param: Option<&'a str>,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    lost: Option<&'a Lost>,
}

/// What the end of a stream that was already being sent means to its reader.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The gateway drains or the way to it broke: nothing is said, the reader resumes (D-10).
    Resume,
    /// The reader is told in a last frame.
    Fault(Failure),
}

impl From<Status> for Ending {
    fn from(status: Status) -> Self {
        let resume = match reason(&status) {
            Some((code, _)) => code == ErrorCode::Draining,
            None => is_break(status.code()),
        };
        if resume { Self::Resume } else { Self::Fault(Failure::from(status)) }
    }
}

/// The layer around all routes: writes the envelope of a failure, with the request's id (U-14).
pub(crate) async fn render(request: Request, next: Next) -> Response {
    let request_id = request.headers().get(names::REQUEST_ID).cloned();
    let mut reply = next.run(request).await;
    match reply.extensions_mut().remove::<Failure>() {
        Some(failure) => failure.reply(request_id.as_ref()),
        None => reply,
    }
}

/// The reply to a REST request that the listener refuses before it reaches the bridge, in the same envelope: `status` must carry
/// an `ErrorInfo` with one of our codes. The request id, if given, is part of the envelope (U-14).
pub fn error_reply(status: &Status, request_id: Option<&HeaderValue>) -> Response {
    Failure::of_status(status).reply(request_id)
}

const INTERNAL_MESSAGE: &str = "the gateway failed to do this; the request id leads to the reason";

/// Our own code and its details, if the status carries one.
fn reason(status: &Status) -> Option<(ErrorCode, ErrorInfo)> {
    let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN)?;
    Some((ErrorCode::from_code(&info.reason)?, info))
}

/// What a status without our reason is called: one that the transport or a proxy made. Its own text may speak of addresses
/// behind the bridge, so it is not passed on.
fn foreign(code: Code) -> (ErrorCode, &'static str) {
    match code {
        Code::Unavailable | Code::ResourceExhausted => {
            (ErrorCode::Overloaded, "the gateway cannot be reached or has no room now")
        }
        Code::DeadlineExceeded => (ErrorCode::BackendTimeout, "the gateway did not answer in time"),
        Code::Unauthenticated => (ErrorCode::Unauthorized, "no valid credential came with the request"),
        Code::PermissionDenied => (ErrorCode::InsufficientScope, "the credential does not allow this"),
        Code::NotFound => (ErrorCode::NotFound, "there is no such thing"),
        Code::InvalidArgument => (ErrorCode::InvalidRequest, "the gateway does not accept this request"),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss => (ErrorCode::Internal, INTERNAL_MESSAGE),
    }
}

/// Whether a status without our reason, in mid-stream, may come from a connection that broke: a reset, a lost peer, a message
/// cut short. The others come back at every try.
fn is_break(code: Code) -> bool {
    match code {
        Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => false,
    }
}

/// `Retry-After` in whole seconds, rounded up and at least 1, and the exact time in milliseconds (D-14).
fn put_retry_after(headers: &mut HeaderMap, wait: Duration) {
    let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1);
    headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    headers.insert(HeaderName::from_static(names::RETRY_AFTER_MS), HeaderValue::from(millis));
}

/// One of our own values as JSON. Strings and numbers written to memory cannot fail; if they did, the empty body would show it.
pub(crate) fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::fmt::Write as _;

    use http_body_util::BodyExt as _;
    use tonic_types::ErrorDetails;

    use super::*;

    fn ours(code: ErrorCode, metadata: &[(&str, &str)], retry: Option<Duration>) -> Status {
        let metadata: HashMap<_, _> =
            metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let mut details = ErrorDetails::with_error_info(code.code(), DOMAIN, metadata);
        if retry.is_some() {
            details.set_retry_info(retry);
        }
        Status::with_error_details(code.row().grpc, "what happened", details)
    }

    async fn print(reply: Response) -> String {
        let (parts, body) = reply.into_parts();
        let mut headers: Vec<_> =
            parts.headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
        headers.sort();
        let body = body.collect().await.unwrap().to_bytes();
        format!("{} {}\n  {}\n", parts.status.as_u16(), headers.join("; "), String::from_utf8_lossy(&body))
    }

    #[tokio::test]
    async fn the_table_of_errors() {
        let id = HeaderValue::from_static("req-1");
        let mut table = String::new();
        for code in ErrorCode::ALL {
            let reply = print(error_reply(&ours(code, &[], None), Some(&id))).await;
            writeln!(table, "{reply}").unwrap();
        }
        insta::assert_snapshot!(table);
    }

    #[tokio::test]
    async fn details_reach_the_envelope_and_the_headers() {
        let lost = ours(
            ErrorCode::OffsetLost,
            &[
                ("param", "starting_after"),
                ("watermark", "41"),
                ("earliest", "42"),
                ("committed", "99"),
                ("reason", "rolled_back"),
                ("response_id", "resp_1"),
            ],
            None,
        );
        assert_eq!(
            print(error_reply(&lost, None)).await,
            "409 content-type: \"application/json\"; x-should-retry: \"false\"; x-tidemark-response-id: \"resp_1\"\n  \
             {\"error\":{\"message\":\"what happened\",\"type\":\"invalid_request_error\",\"param\":\"starting_after\",\
             \"code\":\"offset_lost\",\"watermark\":41,\"earliest\":42,\"committed\":99,\"reason\":\"rolled_back\"}}\n",
        );
    }

    #[tokio::test]
    async fn retry_times_are_rounded_up_and_at_least_a_second() {
        for (wait, seconds, millis) in [
            (None, "1", "1000"),
            (Some(Duration::ZERO), "1", "0"),
            (Some(Duration::from_millis(20)), "1", "20"),
            (Some(Duration::from_millis(2000)), "2", "2000"),
            (Some(Duration::from_millis(2001)), "3", "2001"),
        ] {
            let reply = error_reply(&ours(ErrorCode::Overloaded, &[], wait), None);
            assert_eq!(reply.headers()["retry-after"], seconds, "{wait:?}");
            assert_eq!(reply.headers()["retry-after-ms"], millis, "{wait:?}");
        }
        let busy = error_reply(&ours(ErrorCode::BackendError, &[], Some(Duration::from_secs(7))), None);
        assert_eq!(
            (busy.status().as_u16(), busy.headers()["retry-after"].as_bytes()),
            (502, b"7".as_slice())
        );
        let unsaid = error_reply(&ours(ErrorCode::BackendError, &[], None), None);
        assert!(!unsaid.headers().contains_key("retry-after"));
    }

    #[test]
    fn a_status_without_our_reason_tells_nothing_of_itself() {
        let secret = "tcp connect error: 10.0.0.7:4700";
        let mut statuses: Vec<_> = (0..=16).map(|code| Status::new(Code::from_i32(code), secret)).collect();
        let info = |reason: &str, domain: &str| ErrorDetails::with_error_info(reason, domain, HashMap::new());
        statuses.push(Status::with_error_details(Code::NotFound, secret, info("not_found", "elsewhere")));
        statuses.push(Status::with_error_details(Code::NotFound, secret, info("newer_code", DOMAIN)));
        for status in statuses {
            let failure = Failure::of_status(&status);
            assert!(!failure.0.message.contains("10.0.0.7"), "{status:?}");
            assert_eq!(failure.0.code, foreign(status.code()).0, "{status:?}");
        }
    }

    #[test]
    fn only_a_drain_and_a_broken_connection_end_a_stream_in_silence() {
        for code in ErrorCode::ALL {
            let resumes = Ending::from(ours(code, &[], None)) == Ending::Resume;
            assert_eq!(resumes, code == ErrorCode::Draining, "{code:?}");
        }
        for (code, ending) in [
            (Code::Unavailable, Ending::Resume),
            (Code::Unknown, Ending::Resume),
            (Code::Internal, Ending::Resume),
            (Code::OutOfRange, Ending::Fault(Failure::new(ErrorCode::Internal, INTERNAL_MESSAGE))),
        ] {
            assert_eq!(Ending::from(Status::new(code, "x")), ending, "{code:?}");
        }
    }
}
