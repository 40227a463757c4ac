//! The refusals of this room, each written once, and what the store's errors mean to a caller of it.

use std::time::Duration;

use tidemark_proto::v1::ErrorCode;
use tidemark_store::{Lost, ReadError, WriteError};

use crate::error::Error;
use crate::faults;
pub(super) use crate::faults::{draining, storage_full};
use crate::runs::id::ResponseId;

/// When to try again after a refusal that ends as soon as another response does.
const SOON: Duration = Duration::from_secs(1);

/// Unknown, foreign, expired and malformed ids: the same bytes (D-30).
pub(super) fn not_found() -> Error {
    Error::new(ErrorCode::NotFound, "no response with this id")
}

pub(super) fn previous_not_found() -> Error {
    Error::new(ErrorCode::PreviousResponseNotFound, "no response with this id")
        .with_param("previous_response_id")
}

pub(super) fn previous_running() -> Error {
    let text = "the response that previous_response_id names is still running";
    Error::new(ErrorCode::PreviousResponseNotTerminal, text).with_param("previous_response_id")
}

pub(super) fn invalid_idempotency_key() -> Error {
    let text = "an idempotency key has 1 to 255 visible ASCII characters";
    Error::new(ErrorCode::InvalidIdempotencyKey, text).with_param("idempotency_key")
}

pub(super) fn idempotency_key_reused() -> Error {
    let text = "this idempotency key was used with another request; a new request needs a new key";
    Error::new(ErrorCode::IdempotencyKeyReused, text).with_param("idempotency_key")
}

pub(super) fn idempotency_in_progress(id: String) -> Error {
    let text = "the response of this idempotency key is still running";
    Error::new(ErrorCode::IdempotencyRequestInProgress, text)
        .with_param("idempotency_key")
        .with_retry_after(SOON)
        .with_response_id(id)
}

pub(super) fn idempotency_unavailable(cause: ReadError) -> Error {
    let text = "the records of idempotency keys cannot be read; nothing was begun";
    Error::new(ErrorCode::IdempotencyUnavailable, text).with_retry_after(SOON).with_cause(cause)
}

pub(super) fn overloaded() -> Error {
    Error::new(ErrorCode::Overloaded, "too many responses are running").with_retry_after(SOON)
}

pub(super) fn quota_exceeded() -> Error {
    Error::new(ErrorCode::QuotaExceeded, "too many of your responses are running").with_retry_after(SOON)
}

pub(super) fn restarted() -> Error {
    Error::new(ErrorCode::GatewayRestarted, "the gateway was restarted while the response was running")
}

pub(super) fn max_time(limit: Duration) -> Error {
    let text = format!("the response took longer than the {} s it may take", limit.as_secs());
    Error::new(ErrorCode::BackendTimeout, text)
}

pub(super) fn cut_off() -> Error {
    Error::new(ErrorCode::BackendError, "the backend's answer broke off")
}

pub(super) fn offset_lost(id: ResponseId, lost: Lost) -> Error {
    let text =
        format!("events after this position are gone; the first that can be read is {}", lost.earliest);
    Error::new(ErrorCode::OffsetLost, text)
        .with_param("starting_after")
        .with_lost(lost)
        .with_response_id(id.to_string())
}

/// What a failed read means to a caller who may see the response.
pub(super) fn of_read(id: ResponseId, error: ReadError) -> Error {
    match error {
        ReadError::NotFound => not_found(),
        ReadError::Lost(lost) => offset_lost(id, lost),
        other => Error::internal(other),
    }
}

/// What a failed write means to a caller.
pub(super) fn of_write(error: WriteError) -> Error {
    match error {
        WriteError::NotFound => not_found(),
        other => faults::of_write(other),
    }
}
