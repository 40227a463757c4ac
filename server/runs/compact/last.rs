//! The last compaction of a response that has ended (D-25).
//!
//! It owns the way through a whole log in windows of bounded size. What was done stays done when it is interrupted, and is not in
//! the way of the next try.

use tidemark_store::{Compact, Head, LogId, MAX_BATCH_ENTRIES, ReadLimit, Seq, WriteError};

use super::live::merged;
use super::merge::Form;
use crate::error::Error;
use crate::runs::faults;
use crate::runs::handle::Shared;

/// How much of a log is merged at once.
const WINDOW: ReadLimit = ReadLimit { entries: MAX_BATCH_ENTRIES, bytes: 4 << 20 };

/// Brings a closed log into its smallest form: one delta for each run, without tables of cuts. A log that cannot be read is left as
/// it is; in any case it is not due any more.
///
/// # Errors
/// `storage_unavailable`.
pub(in crate::runs) async fn compact(shared: &Shared, log: LogId) -> Result<(), Error> {
    let Ok(Some(head)) = shared.store.head(log).await else { return settle(shared, log).await };
    match windows(shared, log, head).await {
        Ok(()) => Ok(()),
        Err(error) => {
            shared.store.health().borrow().check().map_err(faults::of_write)?;
            tracing::warn!(%log, %error, "the events of an ended response could not be merged; they stay as they are");
            settle(shared, log).await
        }
    }
}

async fn windows(shared: &Shared, log: LogId, mut head: Head) -> Result<(), Error> {
    let committed = head.frontier.committed;
    let mut from = Seq::after(head.frontier.watermark);
    loop {
        let _turn = shared.merging.acquire().await.map_err(Error::internal)?;
        let batch = shared.store.read(log, from.previous(), WINDOW).await.map_err(Error::internal)?;
        let through = batch.entries.last().map(|entry| entry.seq);
        let through = through.ok_or_else(|| Error::internal("a closed log has no last event"))?;
        let settles = through >= committed;
        let payloads: Vec<_> = batch.entries.iter().map(|entry| entry.payload.clone()).collect();
        let (_, spans) = merged(batch.entries, Form::Minimal).await?;
        // The last run may go on in the next window.
        let next =
            spans.len().checked_sub(2).and_then(|index| spans.get(index)).map_or(through, |span| span.last);
        let same = spans.len() == payloads.len()
            && spans.iter().zip(&payloads).all(|(span, old)| span.payload == *old);
        let spans = if same { Vec::new() } else { spans };
        if settles || !same {
            let compact = Compact { id: log, generation: head.generation, from, spans, settles };
            head = shared.compact(compact).await.map_err(Error::internal)?;
        }
        if settles {
            return Ok(());
        }
        from = next.next();
    }
}

/// Leaves a log as it is, for good.
async fn settle(shared: &Shared, log: LogId) -> Result<(), Error> {
    let head = shared.store.head(log).await.map_err(Error::internal)?;
    let Some(head) = head else { return Ok(()) };
    let compact =
        Compact { id: log, generation: head.generation, from: Seq::FIRST, spans: Vec::new(), settles: true };
    match shared.compact(compact).await {
        Ok(_) | Err(WriteError::NotFound) => Ok(()),
        Err(error) => Err(faults::of_write(error)),
    }
}
