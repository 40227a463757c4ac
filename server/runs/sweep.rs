//! The end of retention.
//!
//! It owns the one loop that compacts the logs of ended responses for the last time and removes expired ones (D-25). A pass that is
//! cut off, by a fault or by the end of the process, is gone on with by the next one.

use futures_util::{StreamExt, TryStreamExt, stream};
use tidemark_store::{Head, LogId};
use tokio::time::MissedTickBehavior;

use crate::error::Error;
use crate::runs::handle::Runs;
use crate::runs::idempotency::has_key;
use crate::runs::{compact, faults};

/// The most responses that one look at the index finds; those of them that have expired go in one write.
const BATCH: usize = 1024;

/// So many logs are compacted, or lose their record of a key, at a time, so that they share their syncs.
const AT_ONCE: usize = 16;

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Swept {
    /// Responses whose events were merged for the last time.
    pub(super) compacted: usize,
    /// Responses that were removed.
    pub(super) removed: usize,
}

impl Runs {
    /// Does what is due every [`sweep_period`](crate::runs::Options::sweep_period), until the tasks shall stop: that ends it
    /// between two logs or within the merge of one. A pass that fails is logged, and the next one tries again.
    pub async fn sweep(&self) {
        let mut ticks = tokio::time::interval(self.0.options.sweep_period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.0.tasks.stopping() => return,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                () = self.0.tasks.stopping() => return,
                swept = self.sweep_once() => match swept {
                    Ok(Swept { compacted: 0, removed: 0 }) => {}
                    Ok(Swept { compacted, removed }) => {
                        tracing::info!(compacted, removed, "responses at the end of their retention");
                    }
                    Err(error) => tracing::warn!(%error, "what is due could not be compacted or removed"),
                },
            }
        }
    }

    /// Does what is due by now.
    pub(super) async fn sweep_once(&self) -> Result<Swept, Error> {
        let (shared, mut swept) = (&self.0, Swept::default());
        loop {
            let now = shared.clock.now();
            let due = shared.store.due(now, BATCH).await.map_err(Error::internal)?;
            if due.is_empty() {
                return Ok(swept);
            }
            let heads = shared.store.heads(&due).await.map_err(Error::internal)?;
            let (sessions, heads): (Vec<_>, Vec<_>) = heads.into_iter().partition(|(_, head)| head.endless);
            for (log, head) in &sessions {
                shared.sessions.expire(*log, head).await?;
            }
            let has_expired = |head: &Head| head.expires_at.is_some_and(|at| at <= now);
            let (expired, left): (Vec<_>, Vec<_>) =
                heads.into_iter().partition(|(_, head)| has_expired(head));
            swept.removed += self.remove_all(&expired).await?;
            let logs = stream::iter(left).map(|(log, _)| compact::compact_last(shared, log));
            swept.compacted += logs.buffer_unordered(AT_ONCE).try_fold(0, async |sum, _| Ok(sum + 1)).await?;
        }
    }

    /// Removes logs, and before them the records of the keys that they were created with; returns how many there were.
    async fn remove_all(&self, logs: &[(LogId, Head)]) -> Result<usize, Error> {
        let keyed: Vec<LogId> = logs.iter().filter(|(_, head)| has_key(head)).map(|(log, _)| *log).collect();
        let forgotten = stream::iter(keyed).map(|log| self.forget_key(log)).buffer_unordered(AT_ONCE);
        forgotten.try_collect::<()>().await.map_err(faults::of_write)?;
        let ids: Vec<LogId> = logs.iter().map(|(log, _)| *log).collect();
        let removed = self.0.store.purge_many(&ids).await.map_err(faults::of_write)?;
        self.0.meters.swept.add(removed as u64);
        Ok(removed)
    }
}
