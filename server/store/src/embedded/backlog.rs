//! What the writer hands to the indexer.
//!
//! It owns the list of what changed and is not in the index yet, and who waits for whom: the writer when the index lags too far
//! behind, the indexer when there is nothing to do, anybody who must find in the index what is durable now. It must never know what
//! an index is.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::frame::Lsn;
use super::log::Pin;
use super::sync::{Condvar, Mutex, MutexGuard};

/// The writer waits when the index lags behind by this many bytes of the log.
pub(crate) const MAX_LAG_BYTES: u64 = 256 << 20;

/// The indexer does not wait for more when it lags behind by this many bytes of the log.
const EAGER_LAG_BYTES: u64 = 16 << 20;

/// How long the indexer lets changes gather, so that many entries of a log make one write.
const GATHER: Duration = Duration::from_millis(500);

/// No index run will follow, and the index does not have everything: what it says may be out of date.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the index is behind the log and stays there")]
pub(crate) struct Behind;

/// The list, and who waits at it.
#[derive(Debug)]
pub(crate) struct Backlog {
    list: Mutex<List>,
    changed: Condvar,
}

/// What the indexer has to do.
#[derive(Debug, Default)]
struct List {
    work: Work,
    through: Lsn,
    covered: Lsn,
    hurry: bool,
    closing: bool,
    /// Whether the indexer ended: nobody may wait for it.
    ended: bool,
}

/// Logs and records that changed since the last run.
#[derive(Debug, Default)]
pub(crate) struct Work {
    pub(crate) logs: Vec<Pin>,
    pub(crate) records: Vec<Bytes>,
}

impl Work {
    fn is_empty(&self) -> bool {
        self.logs.is_empty() && self.records.is_empty()
    }
}

impl Backlog {
    /// Nothing is to be done; the index covers the log up to `covered`.
    pub(crate) fn new(covered: Lsn) -> Self {
        let list = List { through: covered, covered, ..List::default() };
        Self { list: Mutex::new(list), changed: Condvar::new() }
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, list: MutexGuard<'a, List>) -> MutexGuard<'a, List> {
        self.changed.wait(list).unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the indexer what changed, and that the log is durable up to `through`.
    pub(crate) fn add(&self, mut work: Work, through: Lsn) {
        let mut list = self.list();
        let idle = list.work.is_empty();
        // A log that changes again before an index run is on the list already.
        if idle && work.is_empty() {
            return;
        }
        list.work.logs.append(&mut work.logs);
        list.work.records.append(&mut work.records);
        list.through = through;
        if idle || through.since(list.covered) >= EAGER_LAG_BYTES {
            self.changed.notify_all();
        }
    }

    /// Keeps what no index run has finished, and with it the logs in memory.
    pub(crate) fn put_back(&self, mut work: Work) {
        let mut list = self.list();
        list.work.logs.append(&mut work.logs);
        list.work.records.append(&mut work.records);
    }

    /// How far the log is durable, and by how many bytes of it the index lags behind.
    pub(crate) fn progress(&self) -> (Lsn, u64) {
        let list = self.list();
        (list.through, list.through.since(list.covered))
    }

    /// Waits until the index lags behind by no more than [`MAX_LAG_BYTES`].
    pub(crate) fn wait_for_index(&self) {
        let mut list = self.list();
        while list.through.since(list.covered) > MAX_LAG_BYTES && !list.ended {
            list = self.wait(list);
        }
    }

    /// Waits until the index has everything that is durable now. Blocks for some milliseconds.
    ///
    /// # Errors
    /// [`Behind`] if it will never have.
    pub(crate) fn catch_up(&self) -> Result<(), Behind> {
        let mut list = self.list();
        let target = list.through;
        while list.covered < target {
            if list.ended {
                return Err(Behind);
            }
            list.hurry = true;
            self.changed.notify_all();
            list = self.wait(list);
        }
        Ok(())
    }

    /// Asks the indexer to end when nothing is left to do.
    pub(crate) fn close(&self) {
        self.list().closing = true;
        self.changed.notify_all();
    }

    /// Says that no index run will follow.
    pub(crate) fn end(&self) {
        self.list().ended = true;
        self.changed.notify_all();
    }

    /// Waits for work; `None` when the store is closing and nothing is left.
    pub(crate) fn next(&self) -> Option<(Work, Lsn)> {
        let mut list = self.list();
        while list.work.is_empty() {
            if list.closing {
                return None;
            }
            list = self.wait(list);
        }
        let deadline = Instant::now() + GATHER;
        loop {
            let lag = list.through.since(list.covered);
            let left = deadline.saturating_duration_since(Instant::now());
            if list.closing || list.hurry || lag >= EAGER_LAG_BYTES || left.is_zero() {
                break;
            }
            let waited = self.changed.wait_timeout(list, left).unwrap_or_else(PoisonError::into_inner);
            list = waited.0;
        }
        list.hurry = false;
        Some((std::mem::take(&mut list.work), list.through))
    }

    /// Says that the index covers the log up to `through`.
    pub(crate) fn set_covered(&self, through: Lsn) {
        self.list().covered = through;
        self.changed.notify_all();
    }

    /// How far the index covers the log.
    pub(crate) fn covered(&self) -> Lsn {
        self.list().covered
    }
}
