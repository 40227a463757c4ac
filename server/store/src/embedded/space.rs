//! How much of each segment is live: what the index still points to.
//!
//! It owns the counts, one per segment, in memory and in the index. They are hints that say where to look for space: a crash may
//! leave them wrong by what one index run had counted, a scan of the segment sets them right ([`cleaner`](super::cleaner)).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::frame::Lsn;
use super::index::{Index, IndexError};
use super::log::{Extent, OriginAt};
use super::segment::Segments;

/// Live bytes by the LSN that a segment begins at.
#[derive(Debug, Default)]
pub(crate) struct Space {
    live: Mutex<BTreeMap<Lsn, u64>>,
    /// Segments that hold entries of logs that were purged, and since when, at the latest. After a start that is not known, and
    /// every segment is taken for one.
    purged: Mutex<BTreeMap<Lsn, Instant>>,
}

/// What an index run makes live and dead: position of a frame, bytes, whether they come or go.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    changes: Vec<(Lsn, i64)>,
    purged: Vec<Lsn>,
}

impl Delta {
    pub(crate) fn add_frame(&mut self, lsn: Lsn, bytes: u64) {
        self.changes.push((lsn, i64::try_from(bytes).unwrap_or(i64::MAX)));
    }

    pub(crate) fn drop_frame(&mut self, lsn: Lsn, bytes: u64) {
        self.changes.push((lsn, -i64::try_from(bytes).unwrap_or(i64::MAX)));
    }

    /// Says that the frame there holds what was purged.
    pub(crate) fn purge(&mut self, lsn: Lsn) {
        self.purged.push(lsn);
    }

    pub(crate) fn add_extent(&mut self, extent: &Extent) {
        self.add_frame(extent.lsn, extent.live_bytes());
    }

    pub(crate) fn drop_extent(&mut self, extent: &Extent) {
        self.drop_frame(extent.lsn, extent.live_bytes());
    }

    pub(crate) fn add_origin(&mut self, origin: &OriginAt) {
        self.add_frame(origin.lsn, origin.live_bytes());
    }

    pub(crate) fn drop_origin(&mut self, origin: &OriginAt) {
        self.drop_frame(origin.lsn, origin.live_bytes());
    }
}

impl Space {
    /// As the index knows it.
    pub(crate) fn load(index: &Index) -> Result<Self, IndexError> {
        let live: BTreeMap<Lsn, u64> = index.live()?.into_iter().collect();
        let now = Instant::now();
        let purged = live.keys().map(|base| (*base, now)).collect();
        Ok(Self { live: Mutex::new(live), purged: Mutex::new(purged) })
    }

    fn purged(&self) -> MutexGuard<'_, BTreeMap<Lsn, Instant>> {
        self.purged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For how long the segment at `base` has held what was purged.
    pub(crate) fn purged_for(&self, base: Lsn) -> Option<Duration> {
        self.purged().get(&base).map(Instant::elapsed)
    }

    /// Says that the segment at `base` holds nothing that was purged.
    pub(crate) fn set_pure(&self, base: Lsn) {
        self.purged().remove(&base);
    }

    fn live(&self) -> MutexGuard<'_, BTreeMap<Lsn, u64>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what an index run did, in memory and in the index.
    pub(crate) fn count(&self, index: &Index, segments: &Segments, delta: Delta) -> Result<(), IndexError> {
        for base in delta.purged.into_iter().filter_map(|lsn| segments.base_of(lsn)) {
            self.purged().entry(base).or_insert_with(Instant::now);
        }
        let mut sums: BTreeMap<Lsn, i64> = BTreeMap::new();
        for (lsn, bytes) in delta.changes {
            if let Some(base) = segments.base_of(lsn) {
                let sum = sums.entry(base).or_default();
                *sum = sum.saturating_add(bytes);
            }
        }
        for (base, bytes) in sums {
            let now = self.live().get(&base).copied().unwrap_or(0).saturating_add_signed(bytes);
            self.set(index, base, Some(now))?;
        }
        Ok(())
    }

    /// Sets the live bytes of the segment at `base`; absent = it is gone.
    pub(crate) fn set(&self, index: &Index, base: Lsn, bytes: Option<u64>) -> Result<(), IndexError> {
        index.put_live(base, bytes)?;
        match bytes {
            Some(bytes) => self.live().insert(base, bytes),
            None => self.live().remove(&base),
        };
        Ok(())
    }

    /// The live bytes of the segment at `base`, about.
    pub(crate) fn of(&self, base: Lsn) -> u64 {
        self.live().get(&base).copied().unwrap_or(0)
    }

    /// The live bytes of all segments, about.
    pub(crate) fn total(&self) -> u64 {
        self.live().values().sum()
    }
}
