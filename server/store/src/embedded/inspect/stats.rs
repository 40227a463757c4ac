//! How much a store holds.

use std::fs;
use std::io;
use std::path::Path;

use super::{KnownIndex, Parts};
use crate::embedded::OpenError;
use crate::embedded::index::IndexError;
use crate::embedded::keys;

/// How much a store holds, as its files say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Files of the log.
    pub segments: u64,
    /// Their bytes.
    pub log_bytes: u64,
    /// Files of large payloads.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// The bytes of the index.
    pub index_bytes: u64,
    /// What the disk has left for new data, in bytes.
    pub free_bytes: u64,
    /// What the index says; an error is why it cannot be used.
    pub index: Result<IndexStats, String>,
}

/// What the index of a store says. All of it is right for the log up to where the index covers it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexStats {
    /// Logs that exist.
    pub logs: u64,
    /// Those of them that are not closed.
    pub open_logs: u64,
    /// Entries that can be read.
    pub entries: u64,
    /// Bytes of payload that can be read, with the documents.
    pub bytes: u64,
    /// Records that exist.
    pub records: u64,
    /// What of the log is still needed, in bytes, about.
    pub live_bytes: u64,
    /// How far the index is behind the log, in bytes.
    pub lag_bytes: u64,
}

/// Counts what is in the directory `dir`. Takes some seconds for each million logs.
pub(super) fn stats(dir: &Path) -> Result<Stats, OpenError> {
    let parts = Parts::open(dir)?;
    let (segments, log_bytes) = size_of(&parts.layout.log())?;
    let (blobs, blob_bytes) = size_of(&parts.layout.blobs())?;
    let (_, index_bytes) = size_of(&parts.layout.index())?;
    let disk =
        rustix::fs::statvfs(dir).map_err(|error| OpenError::io("ask for the space of", dir)(error.into()))?;
    let end = parts.end();
    let index = match &parts.index {
        Ok(known) => {
            Ok(of_index(known, end.since(known.covered.lsn)).map_err(|error| OpenError::index(&error))?)
        }
        Err(why) => Err(why.to_string()),
    };
    Ok(Stats {
        segments,
        log_bytes,
        blobs,
        blob_bytes,
        index_bytes,
        free_bytes: disk.f_bavail.saturating_mul(disk.f_frsize),
        index,
    })
}

fn of_index(known: &KnownIndex, lag_bytes: u64) -> Result<IndexStats, IndexError> {
    let index = &known.index;
    let mut stats = IndexStats { lag_bytes, ..IndexStats::default() };
    for item in index.heads(None) {
        let (_, stored) = item?;
        stats.logs += 1;
        stats.open_logs += u64::from(!stored.head.is_settled());
        stats.entries += stored.head.retained_entries;
        stats.bytes = stats.bytes.saturating_add(stored.kept_bytes());
    }
    stats.records = index.count(keys::RECORD)?;
    stats.live_bytes = index.live()?.into_iter().map(|(_, bytes)| bytes).sum();
    Ok(stats)
}

/// How many files a directory has below it, and their bytes. None there is fine.
fn size_of(dir: &Path) -> Result<(u64, u64), OpenError> {
    let (mut files, mut bytes) = (0, 0);
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.map_err(OpenError::io("list", &dir))?,
        };
        for entry in entries {
            let entry = entry.map_err(OpenError::io("list", &dir))?;
            let about = entry.metadata().map_err(OpenError::io("read the size of", &entry.path()))?;
            if about.is_dir() {
                dirs.push(entry.path());
            } else {
                files += 1;
                bytes += about.len();
            }
        }
    }
    Ok((files, bytes))
}
