//! Following a log.

use std::fmt;

use tokio::sync::watch;

use crate::api::{Batch, ReadLimit};
use crate::types::{Frontier, Seq};

/// What a store holds of a log for as long as somebody follows it.
pub trait Held: Send + Sync {
    /// The entries after a position, if they are at hand; `None` says to ask [`Store::read`](crate::Store::read).
    fn recent(&self, after: Option<Seq>, limit: ReadLimit) -> Option<Batch>;
}

/// Nothing is ever at hand.
impl Held for () {
    fn recent(&self, _: Option<Seq>, _: ReadLimit) -> Option<Batch> {
        None
    }
}

/// Follows the frontier of one log. While it lives, the log stays cheap to read.
pub struct Tail {
    frontier: watch::Receiver<Frontier>,
    log: Box<dyn Held>,
}

impl Tail {
    /// A tail that follows `frontier` and holds `log`.
    pub fn new(frontier: watch::Receiver<Frontier>, log: Box<dyn Held>) -> Self {
        Self { frontier, log }
    }

    /// The entries after a position, as [`Store::read`](crate::Store::read) would give them, if that needs no waiting.
    pub fn recent(&self, after: Option<Seq>, limit: ReadLimit) -> Option<Batch> {
        self.log.recent(after, limit)
    }

    /// How far the log has come.
    pub fn frontier(&self) -> Frontier {
        *self.frontier.borrow()
    }

    /// Waits until the frontier is past `position`, or the log is closed or gone, and returns it.
    ///
    /// Cancel safe.
    pub async fn past(&mut self, position: Option<Seq>) -> Frontier {
        let next = Seq::after(position);
        // An error means that the log left the memory of the store: what was seen last is what there is.
        let reached = |now: &Frontier| now.committed >= next || now.closed || now.gone;
        let _ = self.frontier.wait_for(reached).await;
        self.frontier()
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail").field("frontier", &*self.frontier.borrow()).finish_non_exhaustive()
    }
}
