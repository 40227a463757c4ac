//! Refusals that several rooms have, each written once, and what the store's errors mean to a caller.

use std::time::Duration;

use tidemark_proto::v1::ErrorCode;
use tidemark_store::{Full, WriteError};

use crate::error::Error;

/// When to try again while the process is replaced.
const AFTER_RESTART: Duration = Duration::from_secs(5);

/// When to try again while the disk or a quota of what is stored is full: the sweeper or an operator must make room.
const AFTER_SWEEP: Duration = Duration::from_secs(60);

pub(crate) fn draining() -> Error {
    Error::new(ErrorCode::Draining, "the gateway is shutting down; connect again")
        .with_retry_after(AFTER_RESTART)
}

/// What an owner, or all of them, may store is used up (D-18).
fn stored_full(full: Full) -> Error {
    let (code, text) = match full {
        Full::OwnerLogs => {
            (ErrorCode::QuotaExceeded, "as many of your responses are stored as may be; delete some")
        }
        Full::OwnerBytes => {
            (ErrorCode::QuotaExceeded, "your stored responses are as large as they may be; delete some")
        }
        Full::Logs => (ErrorCode::Overloaded, "the gateway stores as many responses as it may"),
        Full::Bytes => (ErrorCode::Overloaded, "the gateway stores as many bytes of responses as it may"),
    };
    Error::new(code, text).with_retry_after(AFTER_SWEEP)
}

pub(crate) fn storage_full() -> Error {
    Error::new(ErrorCode::StorageFull, "the disk of the gateway is almost full").with_retry_after(AFTER_SWEEP)
}

fn poisoned(reason: &str) -> Error {
    Error::new(ErrorCode::StorageUnavailable, "the store has failed and the gateway is about to stop")
        .with_retry_after(AFTER_RESTART)
        .with_cause(reason)
}

/// What a failed write means to a caller, where the log that was written to was there.
pub(crate) fn of_write(error: WriteError) -> Error {
    match error {
        WriteError::Full(full) => stored_full(full),
        WriteError::Poisoned(reason) => poisoned(&reason),
        other => Error::internal(other),
    }
}
