//! From our errors to gRPC status.
//!
//! It owns the only such mapping: the code's row in `tidemark_proto::errors` gives the status, the error gives the details
//! (D-6). What is only for the operator is logged here, where every error passes, and never sent.

use std::collections::HashMap;
use std::time::Duration;

use tidemark_proto::errors::{DOMAIN, Retry};
use tidemark_proto::names::detail;
use tidemark_proto::v1::ErrorCode;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::error::Error;

/// What `RetryInfo` says where another try helps and the error does not say when.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The value of [`detail::REASON`] for a position that a power cut took (D-16).
const ROLLED_BACK: &str = "rolled_back";

/// The status of an error, with `ErrorInfo`, and `RetryInfo` and `BadRequest` where they apply.
pub fn status(error: &Error) -> Status {
    let row = error.code().row();
    log(error);
    let mut details = ErrorDetails::with_error_info(row.code, DOMAIN, metadata(error));
    match row.retry {
        Retry::Later => {
            details.set_retry_info(Some(error.retry_after().unwrap_or(RETRY_AFTER)));
        }
        Retry::Never | Retry::Unsaid => {
            if let Some(wait) = error.retry_after() {
                details.set_retry_info(Some(wait));
            }
        }
    }
    if let Some(param) = error.param() {
        details.add_bad_request_violation(param, error.message());
    }
    let grpc = if error.is_of_dead_credential() { Code::Unauthenticated } else { row.grpc };
    Status::with_error_details(grpc, error.message(), details)
}

/// The status of a call that came without a principal: the listener let it through by mistake, so it is refused (D-34).
pub fn unauthorized() -> Status {
    status(&Error::new(ErrorCode::Unauthorized, "no valid credential came with this call"))
}

fn metadata(error: &Error) -> HashMap<String, String> {
    let mut metadata = HashMap::new();
    let mut put = |key: &str, value: String| metadata.insert(key.to_owned(), value);
    if let Some(param) = error.param() {
        put(detail::PARAM, param.to_owned());
    }
    if let Some(id) = error.response_id() {
        put(detail::RESPONSE_ID, id.to_owned());
    }
    if let Some(scope) = error.scope() {
        put(detail::SCOPE, scope.to_owned());
    }
    if let Some(lost) = error.lost() {
        put(detail::EARLIEST, lost.earliest.to_string());
        put(detail::COMMITTED, lost.committed.to_string());
        if let Some(watermark) = lost.watermark {
            put(detail::WATERMARK, watermark.to_string());
        }
        if lost.rolled_back {
            put(detail::REASON, ROLLED_BACK.to_owned());
        }
    }
    metadata
}

fn log(error: &Error) {
    match error.code() {
        ErrorCode::Internal | ErrorCode::Unspecified => tracing::error!(%error, "a call failed"),
        ErrorCode::StorageUnavailable | ErrorCode::StorageFull => {
            tracing::warn!(%error, "a call was refused")
        }
        _ => tracing::debug!(error = error.for_log(), param = error.param(), "a call was refused"),
    }
    if let Some(quote) = error.quote() {
        tracing::trace!(quote, "what was refused");
    }
}

#[cfg(test)]
mod tests {
    use tidemark_store::{Lost, Seq};

    use super::*;

    #[test]
    fn every_code_keeps_its_status_and_name() {
        for code in ErrorCode::ALL {
            let status = status(&Error::new(code, "text"));
            let info = status.get_error_details().error_info().unwrap().clone();
            assert_eq!(status.code(), code.row().grpc);
            assert_eq!((info.reason.as_str(), info.domain.as_str()), (code.code(), "tidemark"));
            let has_retry = status.get_error_details().retry_info().is_some();
            assert_eq!(has_retry, code.row().retry == Retry::Later, "{code:?}");
        }
    }

    #[test]
    fn a_wrong_field_is_a_violation_and_a_cause_stays_here() {
        let status = status(&Error::invalid("model", "is required").with_cause("secret"));
        let details = status.get_error_details();
        let violation = &details.bad_request().unwrap().field_violations[0];
        assert_eq!((violation.field.as_str(), violation.description.as_str()), ("model", "is required"));
        assert_eq!(details.error_info().unwrap().metadata[detail::PARAM], "model");
        assert!(!format!("{status:?}").contains("secret"));
    }

    #[test]
    fn a_lost_position_says_from_where_to_go_on() {
        let (watermark, earliest) = (Some(Seq::new(4)), Seq::new(5));
        let lost = Lost { watermark, earliest, committed: Seq::new(9), rolled_back: true };
        let error = Error::new(ErrorCode::OffsetLost, "gone").with_lost(lost);
        let metadata = status(&error).get_error_details().error_info().unwrap().metadata.clone();
        let expected = [("watermark", "4"), ("earliest", "5"), ("committed", "9"), ("reason", "rolled_back")];
        assert_eq!(metadata.len(), expected.len());
        for (key, value) in expected {
            assert_eq!(metadata[key], value);
        }
    }
}
