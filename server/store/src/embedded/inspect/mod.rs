//! Looking at a store as a whole, for its operator: mostly at one that no process has open.
//!
//! It owns what is counted and what is checked. It must never change the log or what the index says; only an index that is there is
//! opened.

mod against;
mod check;
mod stats;

use std::path::Path;
use std::sync::Arc;

pub use check::{Checked, Problem, Remedy};
pub use stats::{IndexStats, Stats};

use super::frame::Lsn;
use super::index::{Index, IndexError};
use super::keys::Covered;
use super::open::{Layout, Lock};
use super::read::broken;
use super::segment::{self, Found, Segments};
use super::store::blocking;
use super::{EmbeddedStore, OpenError};
use crate::api::ReadError;
use crate::types::LogId;

/// How much memory sled may use for a look at the index, in bytes.
const INDEX_CACHE_BYTES: u64 = 64 << 20;

impl EmbeddedStore {
    /// Counts what the store in `dir` holds: it must not be open. Changes nothing, and takes some seconds for each million logs.
    ///
    /// # Errors
    /// All of [`OpenError`].
    pub fn stats(dir: &Path) -> Result<Stats, OpenError> {
        stats::stats(dir)
    }

    /// Reads everything in `dir` and compares the index with the log; the store must not be open. Changes nothing. `report` gets
    /// each problem as it is found.
    ///
    /// # Errors
    /// All of [`OpenError`]; [`OpenError::Damaged`] if the files do not even make one log.
    pub fn check(dir: &Path, report: &mut dyn FnMut(Problem)) -> Result<Checked, OpenError> {
        check::check(dir, report)
    }

    /// The logs of all owners: at most `limit`, with an id greater than `after`, in the order of ids.
    ///
    /// # Errors
    /// [`ReadError::Broken`].
    pub async fn logs(&self, after: Option<LogId>, limit: usize) -> Result<Vec<LogId>, ReadError> {
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            shared.backlog.catch_up().map_err(|error| broken(&error))?;
            let ids = shared.index.heads(after).map(|item| Ok(item?.0)).take(limit);
            ids.collect::<Result<_, IndexError>>().map_err(|error| broken(&error))
        })
        .await
    }
}

/// What is in a data directory. It belongs to this process as long as the value lives.
struct Parts {
    layout: Layout,
    found: Vec<Found>,
    segments: Segments,
    index: Result<KnownIndex, Unusable>,
    _lock: Lock,
}

/// Why an index cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
enum Unusable {
    /// The next start makes it anew.
    #[error("{0}")]
    Index(String),
    /// It is whole, and the log is not.
    #[error("it has seen the log up to {covered}: the end of the log is missing")]
    EndMissing { covered: Lsn },
}

impl Unusable {
    fn remedy(&self) -> Remedy {
        match self {
            Self::Index(_) => Remedy::Rebuild,
            Self::EndMissing { .. } => Remedy::RestoreOrRebuild,
        }
    }
}

/// An index that can be used.
struct KnownIndex {
    index: Index,
    covered: Covered,
}

impl Parts {
    fn open(dir: &Path) -> Result<Self, OpenError> {
        let layout = Layout::new(dir);
        let lock = layout.take_existing()?;
        let found = segment::list(&layout.log())?;
        let segments = Segments::new(layout.log(), &found);
        let index = known_index(&layout, end_of(&found));
        Ok(Self { layout, found, segments, index, _lock: lock })
    }

    /// Where the last byte of the log lies.
    fn end(&self) -> Lsn {
        end_of(&self.found)
    }
}

fn end_of(found: &[Found]) -> Lsn {
    found.last().map_or(Lsn(0), |last| last.end)
}

/// The index, or why it cannot be used.
fn known_index(layout: &Layout, end: Lsn) -> Result<KnownIndex, Unusable> {
    let unusable = |why: &dyn std::fmt::Display| Unusable::Index(why.to_string());
    // sled would make one.
    if !layout.index().join("db").exists() {
        return Err(unusable(&"there is none"));
    }
    let index = Index::open(&layout.index(), INDEX_CACHE_BYTES).map_err(|error| unusable(&error))?;
    match index.covered().map_err(|error| unusable(&error))? {
        Some(covered) if covered.lsn <= end => Ok(KnownIndex { index, covered }),
        Some(covered) => Err(Unusable::EndMissing { covered: covered.lsn }),
        None => Err(unusable(&"it does not say what it covers")),
    }
}
