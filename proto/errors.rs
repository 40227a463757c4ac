//! The one table of errors: stable code, gRPC status, HTTP status, OpenAI `type`, and whether another try can help.

use tonic::Code;

use crate::v1::ErrorCode;

/// The domain of every `google.rpc.ErrorInfo` that the gateway sends.
pub const DOMAIN: &str = "tidemark";

/// What another try of the same request can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same request fails again; SDKs that would try anyway are told not to.
    Never,
    /// Worth a try after the time in `Retry-After` and `retry-after-ms`.
    Later,
    /// Nothing is said: the client's own rule holds.
    Unsaid,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// `ErrorInfo.reason` and `error.code`.
    pub code: &'static str,
    /// The gRPC status.
    pub grpc: Code,
    /// The HTTP status, where the error comes before the body.
    pub http: u16,
    /// `error.type` in the OpenAI envelope.
    pub kind: &'static str,
    /// Whether another try helps.
    pub retry: Retry,
}

const INVALID: &str = "invalid_request_error";
const SERVER: &str = "server_error";
const TOO_MANY: &str = "too_many_requests";

const fn row(code: &'static str, grpc: Code, http: u16, kind: &'static str, retry: Retry) -> Row {
    Row { code, grpc, http, kind, retry }
}

impl ErrorCode {
    /// Every code that can be sent.
    pub const ALL: [Self; 39] = [
        Self::InvalidRequest,
        Self::InvalidCursor,
        Self::ConflictingCursor,
        Self::Unauthorized,
        Self::InsufficientScope,
        Self::NotFound,
        Self::ModelNotFound,
        Self::PreviousResponseNotFound,
        Self::PreviousResponseNotTerminal,
        Self::MethodNotAllowed,
        Self::OffsetLost,
        Self::PayloadTooLarge,
        Self::QuotaExceeded,
        Self::Overloaded,
        Self::StorageFull,
        Self::StorageUnavailable,
        Self::Draining,
        Self::NoBackend,
        Self::BackendError,
        Self::BackendUnreachable,
        Self::BackendTimeout,
        Self::EventTooLarge,
        Self::MaxOutputBytes,
        Self::GatewayRestarted,
        Self::ClientDisconnected,
        Self::StreamForbidden,
        Self::Internal,
        Self::ForbiddenOrigin,
        Self::RequestTimeout,
        Self::InvalidIdempotencyKey,
        Self::IdempotencyKeyReused,
        Self::IdempotencyRequestInProgress,
        Self::IdempotencyUnavailable,
        Self::AmbiguousCredentials,
        Self::AuthRateLimited,
        Self::RateLimited,
        Self::CursorStale,
        Self::SessionFull,
        Self::SessionExists,
    ];

    /// The row of this code. `Unspecified` reads as `internal`.
    pub const fn row(self) -> Row {
        match self {
            Self::InvalidRequest => row("invalid_request", Code::InvalidArgument, 400, INVALID, Retry::Never),
            Self::InvalidCursor => row("invalid_cursor", Code::InvalidArgument, 400, INVALID, Retry::Never),
            Self::ConflictingCursor => {
                row("conflicting_cursor", Code::InvalidArgument, 400, INVALID, Retry::Never)
            }
            Self::InvalidIdempotencyKey => {
                row("invalid_idempotency_key", Code::InvalidArgument, 400, INVALID, Retry::Never)
            }
            Self::AmbiguousCredentials => {
                row("ambiguous_credentials", Code::InvalidArgument, 400, INVALID, Retry::Never)
            }
            Self::Unauthorized => {
                row("unauthorized", Code::Unauthenticated, 401, "authentication_error", Retry::Never)
            }
            Self::InsufficientScope => {
                row("insufficient_scope", Code::PermissionDenied, 403, "permission_error", Retry::Never)
            }
            Self::ForbiddenOrigin => {
                row("forbidden_origin", Code::PermissionDenied, 403, "permission_error", Retry::Never)
            }
            Self::NotFound => row("not_found", Code::NotFound, 404, INVALID, Retry::Never),
            Self::ModelNotFound => row("model_not_found", Code::NotFound, 404, INVALID, Retry::Never),
            Self::PreviousResponseNotFound => {
                row("previous_response_not_found", Code::NotFound, 404, INVALID, Retry::Never)
            }
            Self::MethodNotAllowed => {
                row("method_not_allowed", Code::Unimplemented, 405, INVALID, Retry::Never)
            }
            Self::RequestTimeout => {
                row("request_timeout", Code::DeadlineExceeded, 408, INVALID, Retry::Unsaid)
            }
            Self::PreviousResponseNotTerminal => {
                row("previous_response_not_terminal", Code::FailedPrecondition, 409, INVALID, Retry::Never)
            }
            Self::CursorStale => row("cursor_stale", Code::FailedPrecondition, 409, INVALID, Retry::Never),
            Self::SessionFull => row("session_full", Code::FailedPrecondition, 409, INVALID, Retry::Never),
            Self::SessionExists => row("session_exists", Code::AlreadyExists, 409, INVALID, Retry::Never),
            Self::OffsetLost => row("offset_lost", Code::OutOfRange, 409, INVALID, Retry::Never),
            Self::IdempotencyKeyReused => {
                row("idempotency_key_reused", Code::AlreadyExists, 409, INVALID, Retry::Never)
            }
            Self::IdempotencyRequestInProgress => {
                row("idempotency_request_in_progress", Code::Aborted, 409, INVALID, Retry::Later)
            }
            Self::PayloadTooLarge => {
                row("payload_too_large", Code::ResourceExhausted, 413, INVALID, Retry::Never)
            }
            Self::QuotaExceeded => {
                row("quota_exceeded", Code::ResourceExhausted, 429, TOO_MANY, Retry::Later)
            }
            Self::AuthRateLimited => {
                row("auth_rate_limited", Code::ResourceExhausted, 429, TOO_MANY, Retry::Later)
            }
            Self::RateLimited => row("rate_limited", Code::ResourceExhausted, 429, TOO_MANY, Retry::Later),
            Self::Internal | Self::Unspecified => row("internal", Code::Internal, 500, SERVER, Retry::Unsaid),
            Self::BackendError => row("backend_error", Code::Unavailable, 502, SERVER, Retry::Unsaid),
            Self::BackendUnreachable => {
                row("backend_unreachable", Code::Unavailable, 502, SERVER, Retry::Unsaid)
            }
            Self::EventTooLarge => {
                row("event_too_large", Code::ResourceExhausted, 502, SERVER, Retry::Unsaid)
            }
            Self::Overloaded => row("overloaded", Code::Unavailable, 503, SERVER, Retry::Later),
            Self::StorageFull => row("storage_full", Code::Unavailable, 503, SERVER, Retry::Later),
            Self::StorageUnavailable => {
                row("storage_unavailable", Code::Unavailable, 503, SERVER, Retry::Later)
            }
            Self::IdempotencyUnavailable => {
                row("idempotency_unavailable", Code::Unavailable, 503, SERVER, Retry::Later)
            }
            Self::Draining => row("draining", Code::Unavailable, 503, SERVER, Retry::Later),
            Self::NoBackend => row("no_backend", Code::Unavailable, 503, SERVER, Retry::Later),
            Self::BackendTimeout => {
                row("backend_timeout", Code::DeadlineExceeded, 504, SERVER, Retry::Unsaid)
            }
            // The rest is said inside a stream or a response object; the HTTP status is for a proxy that must have one.
            Self::MaxOutputBytes => {
                row("max_output_bytes", Code::ResourceExhausted, 500, SERVER, Retry::Never)
            }
            Self::GatewayRestarted => row("gateway_restarted", Code::Unavailable, 502, SERVER, Retry::Unsaid),
            Self::ClientDisconnected => row("client_disconnected", Code::Aborted, 499, SERVER, Retry::Never),
            Self::StreamForbidden => {
                row("STREAM_FORBIDDEN", Code::PermissionDenied, 403, "permission_error", Retry::Never)
            }
        }
    }

    /// The stable machine code, for example `offset_lost`.
    pub const fn code(self) -> &'static str {
        self.row().code
    }

    /// The code with this name, or `None` if it is not one of ours.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.code() == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_listed_once_and_named_after_its_enum_value() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_code(code.code()), Some(code));
            let name = code.as_str_name().trim_start_matches("ERROR_CODE_");
            assert!(code.code().eq_ignore_ascii_case(name), "{name}");
        }
        let last = (0..).take_while(|n| ErrorCode::try_from(*n).is_ok()).count();
        assert_eq!(ErrorCode::ALL.len() + 1, last, "a code is missing from ALL");
    }
}
