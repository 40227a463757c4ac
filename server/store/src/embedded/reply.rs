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
            Self::Head(reply, result, pin) => {
                // Whoever is refused may try again at once: then nothing of the first try may be in the way.
                let _pin = result.is_ok().then_some(pin);
                drop(reply.send(result));
            }
            Self::Purge(reply, result) => drop(reply.send(result)),
            Self::Record(reply, result) => drop(reply.send(result)),
        }
    }
}
