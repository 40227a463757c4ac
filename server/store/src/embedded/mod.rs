//! The store in one data directory: a segmented log, and sled as its index.
//!
//! ```text
//! data directory
//! ├── lock                one process at a time
//! ├── log/<LSN>.log       segments: every change, in order; the truth. Stubs stand for those that have left the disk
//! ├── blobs/xx/<id>/<n>   payloads above 64 KiB, written before the log refers to them
//! └── index/              sled: heads, extents, records; derived from the log
//! ```
//!
//! The way of an append: the caller writes large payloads to blob files and hands a command to the [`writer`]; the writer checks it
//! against memory, writes and syncs a group, shows it and answers; the [`indexer`] follows behind. [`open`] has what the index does
//! not cover replayed ([`replay`]). Entries may be written again later ([`rewrite`]): merged, or by the [`cleaner`], which takes
//! segments off the disk of which little is live.

mod account;
mod backlog;
mod blob;
mod change;
mod cleaner;
mod codec;
mod copier;
mod disk;
mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod index;
mod indexer;
mod inspect;
mod keys;
mod log;
mod newest;
mod open;
mod pace;
mod read;
mod replay;
mod reply;
mod rewrite;
mod segment;
mod shared;
mod space;
mod standing;
mod store;
mod stub;
mod submit;
mod sync;
mod threads;
mod tip;
mod writer;

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, io};

pub use change::Durability;
pub use inspect::{Checked, IndexStats, Problem, Remedy, Stats};
pub use store::EmbeddedStore;

use crate::api::Caps;
use crate::quota::Quotas;

/// How an embedded store works.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// When a write is acknowledged (D-16).
    pub durability: Durability,
    /// The limits of every log.
    pub caps: Caps,
    /// What owners may keep.
    pub quotas: Quotas,
    /// A segment of the log takes nothing more when it is this long, in bytes. Space is given back by the segment.
    pub segment_bytes: u64,
    /// How long entries of a purged log may stay on the disk before the segment that holds them is cleaned, however much of it is
    /// live.
    pub purged_stays: Duration,
    /// How much memory sled may use to hold parts of the index, in bytes.
    pub index_cache_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::Sync,
            caps: Caps::default(),
            quotas: Quotas::default(),
            segment_bytes: 64 << 20,
            purged_stays: Duration::from_secs(30 * 60),
            index_cache_bytes: 64 << 20,
        }
    }
}

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use by another process{}; stop that first, or use another data directory", dir.display(), PidText(*pid))]
    InUse {
        /// The data directory.
        dir: PathBuf,
        /// The number of that process, if it has said it.
        pid: Option<u32>,
    },
    /// There is nothing to work on.
    #[error("{} holds no store", dir.display())]
    NoStore {
        /// The data directory.
        dir: PathBuf,
    },
    /// The disk does not give back what was acknowledged. Nothing was changed.
    #[error("{} is damaged at byte {position}: {problem}; restore the data directory from a copy", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        position: u64,
        /// What is wrong.
        problem: String,
    },
    /// A file of the log is gone, and its index knows of what lives in it. Nothing was changed.
    #[error(
        "{} is not there: a segment is missing; restore the data directory from a copy, or give up what is missing with \
         `tidemark store rebuild`",
        path.display()
    )]
    SegmentMissing {
        /// The file.
        path: PathBuf,
    },
    /// The log ends before what its index has seen of it: the end of it is gone, with what was acknowledged there. Nothing was
    /// changed.
    #[error(
        "{} ends at {end}, but its index has seen it up to {covered}: the end of the log is missing; restore the data \
         directory from a copy, or give up what is missing with `tidemark store rebuild`",
        log.display()
    )]
    EndMissing {
        /// The directory of the log.
        log: PathBuf,
        /// Where the log ends, in bytes.
        end: u64,
        /// Up to where the index has seen it, in bytes.
        covered: u64,
    },
    /// A part of the log is whole, and says what this program does not know. Nothing was changed.
    #[error(
        "{} at byte {position} is not damaged, but says what this program does not know ({problem}); use the version of the \
         program that wrote it",
        path.display()
    )]
    NotUnderstood {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        position: u64,
        /// What is not known.
        problem: String,
    },
    /// Another version of this program wrote it. Nothing was changed.
    #[error("{} has format {found}, this program knows {known}; use the version of the program that wrote it", path.display())]
    OtherVersion {
        /// The file.
        path: PathBuf,
        /// The format of the file.
        found: u32,
        /// The format that this program reads and writes.
        known: u32,
    },
    /// An operation on the disk failed.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A fresh index could not be made.
    #[error("cannot make the index: {0}")]
    Index(String),
}

/// A process, in words that follow "another process".
struct PidText(Option<u32>);

impl fmt::Display for PidText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |pid| write!(f, " (pid {pid})"))
    }
}

impl OpenError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }

    fn index(error: &index::IndexError) -> Self {
        Self::Index(error.to_string())
    }
}

#[cfg(test)]
mod tests;
