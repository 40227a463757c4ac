//! Reading entries: from the tail in memory if it reaches back far enough, else from the segment files.

use std::io;

use bytes::Bytes;

use super::change::{Change, Payload};
use super::index::IndexError;
use super::log::{Extent, Log, Stored};
use super::shared::Shared;
use crate::api::{Batch, Entry, ReadError, ReadLimit};
use crate::types::{LogId, Seq};

/// What a look into memory gave.
pub(crate) enum Looked {
    /// All that was asked for.
    Found(Batch),
    /// The entries from here on lie on the disk.
    OnDisk(Stored),
}

/// The entries after `after`, as far as memory has them.
pub(crate) fn look(log: &Log, after: Option<Seq>, limit: ReadLimit) -> Result<Looked, ReadError> {
    let state = log.state();
    let stored = state.committed.as_ref().ok_or(ReadError::NotFound)?;
    stored.head.check_position(after)?;
    let frontier = stored.head.frontier;
    let from = Seq::after(after);
    if from > frontier.committed {
        return Ok(Looked::Found(Batch { entries: Vec::new(), frontier }));
    }
    let Some(tail) = state.tail.from(from) else { return Ok(Looked::OnDisk(stored.clone())) };
    let mut budget = Budget::new(limit);
    let entries: Vec<Entry> = tail.take_while(|entry| budget.take(entry.payload.len())).cloned().collect();
    if entries.is_empty() {
        Ok(Looked::OnDisk(stored.clone()))
    } else {
        Ok(Looked::Found(Batch { entries, frontier }))
    }
}

/// Counts what a read may still return.
struct Budget {
    entries: usize,
    bytes: usize,
    first: bool,
}

impl Budget {
    fn new(limit: ReadLimit) -> Self {
        Self { entries: limit.entries.max(1), bytes: limit.bytes, first: true }
    }

    /// Whether an entry of `bytes` bytes still fits; the first one always does.
    fn take(&mut self, bytes: usize) -> bool {
        if self.entries == 0 || (!self.first && bytes > self.bytes) {
            return false;
        }
        self.first = false;
        self.entries -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
        true
    }
}

/// The entries after `after` of a log that stood as `stored` says, from the disk. Blocks.
pub(crate) fn read_disk(
    shared: &Shared,
    log: &Log,
    stored: &Stored,
    after: Option<Seq>,
    limit: ReadLimit,
) -> Result<Batch, ReadError> {
    let frontier = stored.head.frontier;
    let from = Seq::after(after);
    let mut budget = Budget::new(limit);
    let mut entries = Vec::new();
    for extent in extents(shared, log, from, limit).map_err(|error| broken(&error))? {
        let payloads = read_extent(shared, log, &extent)?;
        for (seq, payload) in (extent.first.get()..).map(Seq::new).zip(payloads) {
            if seq < from {
                continue;
            }
            if seq > frontier.committed || !budget.take(usize::try_from(payload.len()).unwrap_or(usize::MAX))
            {
                return Ok(Batch { entries, frontier });
            }
            entries.push(Entry { first: seq, seq, payload: load(shared, log.id, payload)? });
        }
    }
    if entries.is_empty() {
        return Err(ReadError::Broken(format!("log {} has no entry {from}", log.id)));
    }
    Ok(Batch { entries, frontier })
}

/// The frames that hold the entries from `from` on, as many as a read within `limit` can need.
fn extents(shared: &Shared, log: &Log, from: Seq, limit: ReadLimit) -> Result<Vec<Extent>, IndexError> {
    // Memory before the index: what has left memory meanwhile is in the index.
    let in_memory: Vec<Extent> = {
        let state = log.state();
        let skip = state.unindexed.partition_point(|extent| extent.last() < from);
        state.unindexed.iter().skip(skip).take(limit.entries.max(1)).copied().collect()
    };
    let first_in_memory = in_memory.first().map(|extent| extent.first);
    if first_in_memory.is_some_and(|first| first <= from) {
        return Ok(in_memory);
    }
    let mut found = Vec::new();
    let (mut entries, mut bytes) = (0, 0);
    for record in shared.index.extent_records(log.id, from) {
        for extent in record? {
            if first_in_memory.is_some_and(|first| extent.first >= first) {
                break;
            }
            if extent.last() >= from {
                entries += extent.entries;
                bytes += extent.bytes;
                found.push(extent);
            }
        }
        // One frame more than the limit: the first may begin before `from`.
        if entries > limit.entries as u64 + super::keys::EXTENT_ENTRIES || bytes > 2 * limit.bytes as u64 {
            return Ok(found);
        }
    }
    found.extend(in_memory);
    Ok(found)
}

fn read_extent(shared: &Shared, log: &Log, extent: &Extent) -> Result<Vec<Payload>, ReadError> {
    let length = usize::try_from(extent.length).unwrap_or(usize::MAX);
    let frame = shared.segments.read(extent.lsn, length).map_err(|error| unreadable(log, &error))?;
    let (id, first, entries) = match Change::read(frame.kind, &frame.payload)
        .map_err(|error| broken(&error))?
    {
        Change::Create(create) => (create.id, Seq::FIRST, create.entries),
        Change::Append(append) => (append.id, append.first, append.entries),
        _ => return Err(ReadError::Broken(format!("the index of log {} points to something else", log.id))),
    };
    if id != log.id || first != extent.first {
        return Err(ReadError::Broken(format!("the index of log {} points to another", log.id)));
    }
    Ok(entries)
}

/// The document of a log. Blocks.
pub(crate) fn read_document(shared: &Shared, log: &Log, stored: &Stored) -> Result<Bytes, ReadError> {
    let (lsn, length) = stored.created_in;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let frame = shared.segments.read(lsn, length).map_err(|error| unreadable(log, &error))?;
    match Change::read(frame.kind, &frame.payload).map_err(|error| broken(&error))? {
        Change::Create(create) if create.id == log.id => load(shared, log.id, create.document),
        _ => Err(ReadError::Broken(format!("the index of log {} points to something else", log.id))),
    }
}

fn load(shared: &Shared, id: LogId, payload: Payload) -> Result<Bytes, ReadError> {
    match payload {
        Payload::Inline(bytes) => Ok(bytes),
        Payload::Blob(blob) => shared.blobs.read(id, blob).map_err(|error| broken(&error)),
    }
}

/// A file that is missing is no fault if the log was purged while it was read.
fn unreadable(log: &Log, error: &io::Error) -> ReadError {
    let gone = log.state().committed.as_ref().is_none_or(|stored| stored.head.frontier.gone);
    if gone { ReadError::NotFound } else { broken(error) }
}

pub(crate) fn broken(error: &impl std::fmt::Display) -> ReadError {
    ReadError::Broken(error.to_string())
}
