//! The writes of this room.
//!
//! It owns that each is counted: how many events, how long they took to become durable, how responses end, how often logs are
//! compacted. It must never decide
//! what is written.

use tidemark_store::{Append, Compact, Head, NewLog, WriteError};
use tokio::time::Instant;

use crate::runs::handle::Shared;
use crate::runs::status::Status;

impl Shared {
    /// Makes the log of a response.
    ///
    /// # Errors
    /// Those of [`Store::create`](tidemark_store::Store::create).
    pub(super) async fn create_log(&self, new: NewLog) -> Result<Head, WriteError> {
        let (events, begun) = (new.entries.len(), Instant::now());
        let head = self.store.create(new).await?;
        self.count(events, begun);
        Ok(head)
    }

    /// Appends to the log of a response.
    ///
    /// # Errors
    /// Those of [`Store::append`](tidemark_store::Store::append).
    pub(super) async fn append(&self, append: Append) -> Result<Head, WriteError> {
        let (events, begun) = (append.entries.len(), Instant::now());
        let head = self.store.append(append).await?;
        self.count(events, begun);
        if let Some(status) = Status::from_byte(head.status).filter(|_| head.frontier.closed) {
            self.meters.ended.increment(status.name());
        }
        Ok(head)
    }

    /// Puts merged events into the place of others.
    ///
    /// # Errors
    /// Those of [`Store::compact`](tidemark_store::Store::compact).
    pub(super) async fn compact(&self, compact: Compact) -> Result<Head, WriteError> {
        let head = self.store.compact(compact).await?;
        self.meters.compactions.increment();
        Ok(head)
    }

    fn count(&self, events: usize, begun: Instant) {
        self.meters.append.observe(begun.elapsed());
        self.meters.events.add(events as u64);
    }
}
