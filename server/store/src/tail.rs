//! Following a log.

use std::any::Any;
use std::fmt;

use tokio::sync::watch;

use crate::types::{Frontier, Seq};

/// Follows the frontier of one log. While it lives, the log stays cheap to read.
pub struct Tail {
    frontier: watch::Receiver<Frontier>,
    _pin: Box<dyn Any + Send + Sync>,
}

impl Tail {
    /// A tail that follows `frontier` and keeps `pin` alive.
    pub fn new(frontier: watch::Receiver<Frontier>, pin: Box<dyn Any + Send + Sync>) -> Self {
        Self { frontier, _pin: pin }
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
