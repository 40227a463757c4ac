//! The end of retention.
//!
//! It owns the one loop that removes expired responses (D-25).

use tidemark_store::WriteError;
use tokio::time::MissedTickBehavior;

use crate::error::Error;
use crate::runs::faults;
use crate::runs::handle::Runs;

/// The most responses that one look at the index finds.
const BATCH: usize = 256;

impl Runs {
    /// Removes expired responses every [`sweep_period`](crate::runs::Options::sweep_period), until the tasks shall stop. A
    /// pass that fails is logged, and the next one tries again.
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
                    Ok(0) => {}
                    Ok(count) => tracing::info!(count, "expired responses were removed"),
                    Err(error) => tracing::warn!(%error, "expired responses could not be removed"),
                },
            }
        }
    }

    /// Removes what has expired by now; returns how many responses that were.
    pub(super) async fn sweep_once(&self) -> Result<usize, Error> {
        let mut count = 0;
        loop {
            let expired = self.0.store.expired(self.0.clock.now(), BATCH).await.map_err(Error::internal)?;
            if expired.is_empty() {
                return Ok(count);
            }
            for log in expired {
                match self.remove(log).await {
                    Ok(()) => {
                        self.0.meters.swept.increment();
                        count += 1;
                    }
                    Err(WriteError::NotFound) => {}
                    Err(error) => return Err(faults::of_write(error)),
                }
            }
        }
    }
}
