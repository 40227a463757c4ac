//! How commands to the writer are answered.

use tokio::sync::oneshot;

use super::log::Pin;
use crate::api::{Appended, Version, WriteError};

/// Where the answer to a command goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, WriteError>>;

/// An answer; nobody may be waiting for it any more.
pub(crate) enum Answer {
    Head(Reply<Appended>, Result<Appended, WriteError>, Pin),
    Purge(Reply<usize>, Result<usize, WriteError>),
    Record(Reply<Option<Version>>, Result<Option<Version>, WriteError>),
}

impl Answer {
    pub(crate) fn send(self) {
        match self {
            Self::Head(reply, result, _pin) => drop(reply.send(result)),
            Self::Purge(reply, result) => drop(reply.send(result)),
            Self::Record(reply, result) => drop(reply.send(result)),
        }
    }
}
