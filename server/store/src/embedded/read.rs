//! Reading entries: from the tail in memory if it reaches back far enough, else from the segment files.

use std::io;
use std::time::Duration;

use bytes::Bytes;

use super::change::{Change, Origin, Payload};
use super::frame::{Frame, Lsn};
use super::frames::Frames;
use super::index::IndexError;
use super::log::{Extent, Log, Pin, Stored};
use super::segment::Segments;
use super::shared::Shared;
use crate::api::{Batch, Entry, ReadError, ReadLimit};
use crate::tail::Held;
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

impl Held for Pin {
    fn recent(&self, after: Option<Seq>, limit: ReadLimit) -> Option<Batch> {
        match look(self, after, limit) {
            Ok(Looked::Found(batch)) => Some(batch),
            // Who asks for it will be told what is wrong.
            Ok(Looked::OnDisk(_)) | Err(_) => None,
        }
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

/// The entries after `after`, wherever they lie. Blocks.
pub(crate) fn read_disk(
    shared: &Shared,
    log: &Log,
    stored: Stored,
    after: Option<Seq>,
    limit: ReadLimit,
) -> Result<Batch, ReadError> {
    let (mut stored, mut looks) = (stored, 1);
    loop {
        match read_segments(shared, log, &stored, after, limit) {
            // The segment was cleaned since the index was asked: it knows by now where the entries are.
            Err(Fault::Missing(_)) if looks < MAX_LOOKS => looks += 1,
            result => return result.map_err(ReadError::from),
        }
        std::thread::sleep(LOOK_AGAIN);
        stored = match look(log, after, limit)? {
            Looked::Found(batch) => return Ok(batch),
            Looked::OnDisk(stored) => stored,
        };
    }
}

/// How often a place is looked up before a file that is missing counts as lost.
const MAX_LOOKS: usize = 20;

/// How long to wait before: an index run changes what it knows of one log within this time.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Why something could not be read.
#[derive(Debug)]
pub(crate) enum Fault {
    /// There is no such file any more: it may lie elsewhere by now.
    Missing(String),
    /// The disk does not give back what was written.
    Broken(String),
}

impl Fault {
    fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing(error.to_string()),
            _ => Self::Broken(error.to_string()),
        }
    }

    pub(crate) fn broken(error: &impl std::fmt::Display) -> Self {
        Self::Broken(error.to_string())
    }
}

impl From<Fault> for ReadError {
    fn from(fault: Fault) -> Self {
        let (Fault::Missing(problem) | Fault::Broken(problem)) = fault;
        Self::Broken(problem)
    }
}

fn read_segments(
    shared: &Shared,
    log: &Log,
    stored: &Stored,
    after: Option<Seq>,
    limit: ReadLimit,
) -> Result<Batch, Fault> {
    let frontier = stored.head.frontier;
    let from = Seq::after(after);
    let mut budget = Budget::new(limit);
    let mut entries = Vec::new();
    let extents = extents(shared, log, from, limit).map_err(|error| Fault::broken(&error))?;
    let mut frames = Frames::of(&shared.segments, &extents, limit.entries);
    while let Some(frame) = frames.next() {
        let (extent, frame) = frame.map_err(|error| Fault::of_io(&error))?;
        for entry in entries_in(&frame, log.id, extent)? {
            if entry.last < from {
                continue;
            }
            let bytes = usize::try_from(entry.payload.len()).unwrap_or(usize::MAX);
            if entry.last > frontier.committed || !budget.take(bytes) {
                return Ok(Batch { entries, frontier });
            }
            let payload = load(shared, log.id, entry.payload)?;
            entries.push(Entry { first: entry.first, seq: entry.last, payload });
        }
    }
    if entries.is_empty() {
        return Err(Fault::Missing(format!("log {} has no entry {from}", log.id)));
    }
    Ok(Batch { entries, frontier })
}

/// The frames that hold the entries from `from` on, as many as a read within `limit` can need.
fn extents(shared: &Shared, log: &Log, from: Seq, limit: ReadLimit) -> Result<Vec<Extent>, IndexError> {
    // Memory before the index: what has left memory meanwhile is in the index.
    let in_memory: Vec<Extent> = {
        let state = log.state();
        let skip = state.unindexed.partition_point(|extent| extent.last < from);
        state.unindexed.iter().skip(skip).take(limit.entries.max(1)).copied().collect()
    };
    let mut chain = Chain { next: from, extents: Vec::new(), entries: 0, bytes: 0 };
    if in_memory.first().is_none_or(|extent| extent.first > from) {
        for record in shared.index.extent_records(log.id, from) {
            chain.add(&record?);
            // One frame more than the limit: the first may begin before `from`.
            if chain.entries > (limit.entries as u64).saturating_add(super::keys::EXTENT_ENTRIES)
                || chain.bytes > (limit.bytes as u64).saturating_mul(2)
            {
                return Ok(chain.extents);
            }
        }
    }
    chain.add(&in_memory);
    Ok(chain.extents)
}

/// Extents that follow each other. What does not follow was being written by an index run when it was read.
struct Chain {
    next: Seq,
    extents: Vec<Extent>,
    entries: u64,
    bytes: u64,
}

impl Chain {
    fn add(&mut self, extents: &[Extent]) {
        for extent in extents {
            if extent.first <= self.next && extent.last >= self.next {
                self.next = extent.last.next();
                self.entries += extent.entries;
                self.bytes = self.bytes.saturating_add(extent.bytes);
                self.extents.push(*extent);
            }
        }
    }
}

/// An entry of a frame.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) first: Seq,
    pub(crate) last: Seq,
    pub(crate) payload: Payload,
}

/// The entries of a frame that an extent stands for. Blocks.
pub(crate) fn read_extent(segments: &Segments, id: LogId, extent: &Extent) -> Result<Vec<Placed>, Fault> {
    entries_in(&read_frame(segments, extent.lsn, extent.length)?, id, extent)
}

/// The entries in its frame that an extent stands for.
fn entries_in(frame: &Frame, id: LogId, extent: &Extent) -> Result<Vec<Placed>, Fault> {
    let (found, mut entries) = entries_of(change_in(frame)?);
    entries.retain(|entry| entry.first >= extent.first && entry.last <= extent.last);
    let edges = entries.first().zip(entries.last()).map(|(first, last)| (first.first, last.last));
    if found != Some(id) || edges != Some((extent.first, extent.last)) {
        return Err(Fault::Broken(format!("the index of log {id} points to something else")));
    }
    Ok(entries)
}

/// The entries that a change puts into a log.
pub(crate) fn entries_of(change: Change) -> (Option<LogId>, Vec<Placed>) {
    let dense = |first: Seq, payloads: Vec<Payload>| {
        let seqs = (first.get()..).map(Seq::new);
        seqs.zip(payloads).map(|(seq, payload)| Placed { first: seq, last: seq, payload }).collect()
    };
    match change {
        Change::Create(create) => (Some(create.id), dense(Seq::FIRST, create.entries)),
        Change::Append(append) => (Some(append.id), dense(append.first, append.entries)),
        Change::Rewrite(rewrite) => {
            let mut first = rewrite.from;
            let placed = rewrite.spans.into_iter().map(|span| {
                let placed = Placed { first, last: span.last, payload: span.payload };
                first = span.last.next();
                placed
            });
            (Some(rewrite.id), placed.collect())
        }
        Change::Open { .. } | Change::Purge(_) | Change::Record(_) => (None, Vec::new()),
    }
}

fn read_frame(segments: &Segments, lsn: Lsn, length: u64) -> Result<Frame, Fault> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    segments.read(lsn, length).map_err(|error| Fault::of_io(&error))
}

/// What a frame says.
fn change_in(frame: &Frame) -> Result<Change, Fault> {
    Change::read(frame.kind, &frame.payload).map_err(|error| Fault::broken(&error))
}

/// The document of a log. Blocks.
pub(crate) fn read_document(shared: &Shared, log: &Log) -> Result<Bytes, ReadError> {
    let mut looks = 1;
    loop {
        let stored = log.state().committed.clone().filter(|stored| !stored.head.frontier.gone);
        let origin = read_origin(&shared.segments, log.id, &stored.ok_or(ReadError::NotFound)?);
        match origin.and_then(|origin| load(shared, log.id, origin.document)) {
            Err(Fault::Missing(_)) if looks < MAX_LOOKS => looks += 1,
            result => return result.map_err(ReadError::from),
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Where a log comes from. Blocks.
pub(crate) fn read_origin(segments: &Segments, id: LogId, stored: &Stored) -> Result<Origin, Fault> {
    let origin = match change_in(&read_frame(segments, stored.origin.lsn, stored.origin.length)?)? {
        Change::Create(create) if create.id == id => Some(create.origin),
        Change::Rewrite(rewrite) if rewrite.id == id => rewrite.moved.map(|moved| moved.origin),
        _ => None,
    };
    origin.ok_or_else(|| Fault::Broken(format!("the index of log {id} points to something else")))
}

fn load(shared: &Shared, id: LogId, payload: Payload) -> Result<Bytes, Fault> {
    match payload {
        Payload::Inline(bytes) => Ok(bytes),
        Payload::Blob(blob) => shared.blobs.read(id, blob).map_err(|error| Fault::of_io(&error)),
    }
}

pub(crate) fn broken(error: &impl std::fmt::Display) -> ReadError {
    ReadError::Broken(error.to_string())
}
