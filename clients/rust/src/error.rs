//! What can become of a call.
//!
//! It owns which failed try is worth another one (F-5). It must never know how long one waits for it.

use std::collections::HashMap;
use std::time::Duration;

use tidemark_proto::errors::DOMAIN;
use tidemark_proto::names::detail;
use tidemark_proto::v1::ErrorCode;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The reason of an `offset_lost` after a power cut.
const ROLLED_BACK: &str = "rolled_back";

/// A call that failed for good.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The gateway, or something in front of it, said no.
    #[error(transparent)]
    Refused(Box<Refused>),
    /// Events after the position are gone. [`OnGap::Earliest`](crate::OnGap::Earliest) goes on behind them.
    #[error(transparent)]
    OffsetLost(OffsetLost),
    /// No sign of the gateway for `patience`; a reader can be opened again at its position.
    #[error("{0} (unreachable)")]
    Unreachable(String),
    /// The call took longer than its `timeout`; what it asked for may have happened.
    #[error("the call took longer than its timeout (timeout)")]
    TimedOut,
    /// An address, a credential, an owner or a setting that can be none; says which.
    #[error("{0} (invalid_setting)")]
    InvalidSetting(String),
}

/// A no of the gateway; `docs/errors/` has a page for each code.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message} ({code})")]
pub struct Refused {
    /// The stable code, or the name of the gRPC status if it was not the gateway that said no.
    pub code: String,
    /// For people.
    pub message: String,
    /// The gRPC status.
    pub status: Code,
    /// Details by name: `param`, `scope`, `response_id`, …
    pub details: HashMap<String, String>,
}

/// Events after a position are gone.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message} (offset_lost)")]
pub struct OffsetLost {
    /// For people.
    pub message: String,
    /// The first event that can be read.
    pub earliest: u64,
    /// The highest event that is durable.
    pub committed: u64,
    /// The highest event that is gone; absent if the position itself never was (any more).
    pub watermark: Option<u64>,
    /// Whether a power cut took what was read (`durability = "os"`).
    pub rolled_back: bool,
}

impl Error {
    /// The stable code: that of the gateway, `unreachable`, `timeout` or `invalid_setting`.
    pub fn code(&self) -> &str {
        match self {
            Self::Refused(refused) => &refused.code,
            Self::OffsetLost(_) => ErrorCode::OffsetLost.code(),
            Self::Unreachable(_) => "unreachable",
            Self::TimedOut => "timeout",
            Self::InvalidSetting(_) => "invalid_setting",
        }
    }
}

/// One try that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The error that it is if there is no other try.
    pub(crate) error: Error,
    /// Whether another try may help.
    pub(crate) again: bool,
    /// The least time before it.
    pub(crate) wait: Duration,
}

impl Failure {
    /// A connection that was lost.
    pub(crate) fn lost(message: impl Into<String>) -> Self {
        Self { error: Error::Unreachable(message.into()), again: true, wait: Duration::ZERO }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let Some(info) = details.error_info().filter(|info| info.domain == DOMAIN) else {
            return of_no_gateway(&status);
        };
        let wait = details.retry_info().map(|info| info.retry_delay.unwrap_or_default());
        let error = if info.reason == ErrorCode::OffsetLost.code() {
            Error::OffsetLost(lost_position(&status, &info.metadata))
        } else {
            refused(&status, info.reason.clone(), info.metadata.clone())
        };
        Self { error, again: wait.is_some(), wait: wait.unwrap_or_default() }
    }
}

/// A status that the gateway did not send: of the transport, or of a proxy.
fn of_no_gateway(status: &Status) -> Failure {
    match status.code() {
        Code::Unavailable
        | Code::Unknown
        | Code::Internal
        | Code::Cancelled
        | Code::Aborted
        | Code::DataLoss
        | Code::DeadlineExceeded => Failure::lost(status.message()),
        code => Failure {
            error: refused(status, written(code), HashMap::new()),
            again: false,
            wait: Duration::ZERO,
        },
    }
}

/// `PermissionDenied` as the gateway would write it: `permission_denied`.
fn written(code: Code) -> String {
    let name = format!("{code:?}");
    let letters = name.char_indices().flat_map(|(at, letter)| {
        let between = (at > 0 && letter.is_ascii_uppercase()).then_some('_');
        between.into_iter().chain([letter.to_ascii_lowercase()])
    });
    letters.collect()
}

fn refused(status: &Status, code: String, details: HashMap<String, String>) -> Error {
    let message = status.message().to_owned();
    Error::Refused(Box::new(Refused { code, message, status: status.code(), details }))
}

fn lost_position(status: &Status, details: &HashMap<String, String>) -> OffsetLost {
    let number = |name: &str| details.get(name).and_then(|text| text.parse().ok());
    OffsetLost {
        message: status.message().to_owned(),
        earliest: number(detail::EARLIEST).unwrap_or_default(),
        committed: number(detail::COMMITTED).unwrap_or_default(),
        watermark: number(detail::WATERMARK),
        rolled_back: details.get(detail::REASON).is_some_and(|reason| reason == ROLLED_BACK),
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn of_gateway(code: ErrorCode, wait: Option<Duration>) -> Failure {
        let mut details = ErrorDetails::with_error_info(code.code(), DOMAIN, HashMap::new());
        if wait.is_some() {
            details.set_retry_info(wait);
        }
        Status::with_error_details(code.row().grpc, "text", details).into()
    }

    #[test]
    fn the_gateway_says_what_is_worth_another_try() {
        let later = of_gateway(ErrorCode::Draining, Some(Duration::from_secs(2)));
        assert_eq!((later.again, later.wait, later.error.code()), (true, Duration::from_secs(2), "draining"));
        for code in [ErrorCode::NotFound, ErrorCode::StreamForbidden, ErrorCode::BackendUnreachable] {
            let failure = of_gateway(code, None);
            assert_eq!((failure.again, failure.error.code()), (false, code.code()));
        }
    }

    #[test]
    fn what_no_gateway_has_said_is_a_lost_connection_or_a_no() {
        for code in [Code::Unavailable, Code::Unknown, Code::Internal, Code::Cancelled] {
            let failure = Failure::from(Status::new(code, "broken"));
            assert_eq!((failure.again, failure.error.code()), (true, "unreachable"));
        }
        for code in
            [Code::PermissionDenied, Code::Unauthenticated, Code::Unimplemented, Code::InvalidArgument]
        {
            assert!(!Failure::from(Status::new(code, "no")).again, "{code:?}");
        }
    }
}
