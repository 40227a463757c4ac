//! The writes of this room.
//!
//! It owns that each is counted: how many events, how long they took to become durable, how responses end, how often logs are
//! compacted. It must never decide
//! what is written.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tidemark_store::{Append, Appended, Compact, Head, NewLog, Submitted, WriteError};

use crate::runs::handle::Shared;
use crate::runs::status::Status;

/// An append that is under way. It is counted when it is found to be durable, with the time that this took and not the time
/// until somebody asked.
#[derive(Debug)]
pub(super) struct InFlight {
    submitted: Submitted,
    shared: Arc<Shared>,
    events: usize,
    begun: Instant,
}

impl Future for InFlight {
    type Output = Result<Appended, WriteError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let appended = ready!(Pin::new(&mut self.submitted).poll(context))?;
        self.shared.count(self.events, appended.at.saturating_duration_since(self.begun));
        let head = &appended.head;
        if let Some(status) = Status::from_byte(head.status).filter(|_| head.frontier.closed) {
            self.shared.meters.ended.increment(status.name());
        }
        Poll::Ready(Ok(appended))
    }
}

impl Shared {
    /// Makes the log of a response.
    ///
    /// # Errors
    /// Those of [`Store::create`](tidemark_store::Store::create).
    pub(super) async fn create_log(&self, new: NewLog) -> Result<Head, WriteError> {
        let (events, begun) = (new.entries.len(), Instant::now());
        let head = self.store.create(new).await?;
        self.count(events, begun.elapsed());
        Ok(head)
    }

    /// Hands an append to the log of a response to the store.
    ///
    /// # Errors
    /// Those of [`Store::submit`](tidemark_store::Store::submit).
    pub(super) async fn submit(self: &Arc<Self>, append: Append) -> Result<InFlight, WriteError> {
        let (events, begun) = (append.entries.len(), Instant::now());
        let submitted = self.store.submit(append).await?;
        Ok(InFlight { submitted, shared: Arc::clone(self), events, begun })
    }

    /// Appends to the log of a response.
    ///
    /// # Errors
    /// Those of [`Store::append`](tidemark_store::Store::append).
    pub(super) async fn append(self: &Arc<Self>, append: Append) -> Result<Head, WriteError> {
        Ok(self.submit(append).await?.await?.head)
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

    fn count(&self, events: usize, took: Duration) {
        self.meters.append.observe(took);
        self.meters.events.add(events as u64);
    }
}
