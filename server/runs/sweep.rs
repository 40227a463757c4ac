//! The end of retention.
//!
//! It owns the one loop that compacts the logs of ended responses for the last time and removes expired ones (D-25). A pass that is
//! cut off, by a fault or by the end of the process, is gone on with by the next one.

use futures_util::{StreamExt, TryStreamExt, stream};
use tidemark_store::{LogId, WriteError};
use tokio::time::MissedTickBehavior;

use crate::error::Error;
use crate::runs::handle::Runs;
use crate::runs::{compact, faults};

/// The most responses that one look at the index finds.
const BATCH: usize = 256;

/// So many logs are worked on at a time, so that they share their syncs.
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
        let mut swept = Swept::default();
        loop {
            let due = self.0.store.due(self.0.clock.now(), BATCH).await.map_err(Error::internal)?;
            if due.is_empty() {
                return Ok(swept);
            }
            let logs = stream::iter(due).map(|log| self.settle(log)).buffer_unordered(AT_ONCE);
            swept = logs.try_fold(swept, async |sum, done| Ok(sum.and(done))).await?;
        }
    }

    /// Does what is due for one log.
    async fn settle(&self, log: LogId) -> Result<Swept, Error> {
        let shared = &self.0;
        let Some(head) = shared.store.head(log).await.map_err(Error::internal)? else {
            return Ok(Swept::default());
        };
        if head.expires_at.is_none_or(|at| at > shared.clock.now()) {
            compact::compact_last(shared, log).await?;
            return Ok(Swept { compacted: 1, removed: 0 });
        }
        match shared.store.purge(log).await {
            Ok(()) => shared.meters.swept.increment(),
            Err(WriteError::NotFound) => return Ok(Swept::default()),
            Err(error) => return Err(faults::of_write(error)),
        }
        Ok(Swept { compacted: 0, removed: 1 })
    }
}

impl Swept {
    fn and(self, other: Self) -> Self {
        Self { compacted: self.compacted + other.compacted, removed: self.removed + other.removed }
    }
}
