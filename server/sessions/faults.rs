//! The refusals of this room, each written once.

use tidemark_proto::v1::ErrorCode;
use tidemark_store::{Lost, Seq};

use crate::error::Error;

/// Unknown, foreign and expired sessions: the same bytes (D-30).
pub(super) fn not_found() -> Error {
    Error::new(ErrorCode::NotFound, "no session with this key")
}

pub(super) fn no_item() -> Error {
    Error::new(ErrorCode::NotFound, "no item with this id")
}

pub(super) fn no_such_item() -> Error {
    Error::new(ErrorCode::InvalidCursor, "no item of this session has the id that after names")
        .with_param("after")
}

pub(super) fn exists(param: &str) -> Error {
    Error::new(ErrorCode::SessionExists, "a session with this key exists").with_param(param)
}

pub(super) fn stale(param: &str) -> Error {
    let text =
        "the history that this position was given for is not there any more; begin with the newest page";
    Error::new(ErrorCode::CursorStale, text).with_param(param)
}

pub(super) fn rolled_back(committed: Seq) -> Error {
    let text =
        "the newest items that this position has seen were lost in a power cut; begin with the newest page";
    let lost = Lost { watermark: None, earliest: Seq::FIRST, committed, rolled_back: true };
    Error::new(ErrorCode::OffsetLost, text).with_param("after").with_lost(lost)
}

pub(super) fn full(what: &str) -> Error {
    let text = format!(
        "the history of the session has {what}, which is as much as it may; reset it, or use another"
    );
    Error::new(ErrorCode::SessionFull, text)
}

pub(super) fn too_many(most: u64) -> Error {
    let text = format!("you have {most} sessions, which is as many as may be; delete some");
    Error::new(ErrorCode::QuotaExceeded, text)
}

pub(super) fn too_long(most: usize) -> Error {
    let text = format!("the session has more than {} MiB, which is more than a model is given", most >> 20);
    Error::invalid("session", text)
}
