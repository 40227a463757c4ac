//! The writer: the one thread that changes logs and records.
//!
//! It takes every command that is pending, checks each against what the commands before it left, and writes them as one group:
//! one `write`, one `fdatasync`, no timer (D-36). Only then are the changes shown and the commands answered, refusals included:
//! a refusal may rest on a change that is not durable yet. It never reads the disk.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::change::{self, Change, Durability, Payload};
use super::frame::{self, Lsn};
use super::log::{Extent, LogState, Pin, Stored};
use super::segment::{self, SEGMENT_BYTES};
use super::shared::{Seen, Shared, Work};
use crate::api::{self, Appended, Version, WriteError};
use crate::memory::check_append;
use crate::types::{Frontier, Head, Seq};

/// A group takes no further command when it has this many bytes.
const MAX_GROUP_BYTES: usize = 8 << 20;

/// A group takes no further command when it has this many.
const MAX_GROUP_COMMANDS: usize = 8192;

/// How many commands may wait for the writer.
pub(crate) const QUEUE_COMMANDS: usize = 16_384;

type Reply<T> = oneshot::Sender<Result<T, WriteError>>;

/// What the writer can be asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    Create { pin: Pin, create: change::Create, reply: Reply<Appended> },
    Append { pin: Pin, append: api::Append, entries: Vec<Payload>, reply: Reply<Appended> },
    Purge { pin: Pin, reply: Reply<()> },
    Record(PutRecord),
    Close { reply: oneshot::Sender<()> },
}

/// A put of a record. The answer `None` says that `seen` was out of date: look again.
#[derive(Debug)]
pub(crate) struct PutRecord {
    pub(crate) key: Bytes,
    pub(crate) expected: Option<Version>,
    pub(crate) value: Option<Bytes>,
    pub(crate) seen: Seen,
    pub(crate) reply: Reply<Option<Version>>,
}

/// What a command will have done when its group is durable.
#[derive(Debug)]
enum Staged {
    Log(Box<StagedLog>),
    Purged { pin: Pin, stored: Box<Stored>, reply: Reply<()> },
    Record { key: Bytes, version: Version, value: Option<Bytes>, reply: Reply<Option<Version>> },
    LogRefused { reply: Reply<Appended>, error: WriteError, _pin: Pin },
    PurgeRefused { reply: Reply<()>, error: WriteError },
    RecordAnswered { reply: Reply<Option<Version>>, answer: Result<Option<Version>, WriteError> },
}

#[derive(Debug)]
struct StagedLog {
    pin: Pin,
    stored: Stored,
    extent: Extent,
    entries: Vec<Payload>,
    reply: Reply<Appended>,
}

#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    file: Arc<File>,
    base: Lsn,
    end: Lsn,
    durable: Lsn,
    bytes: Vec<u8>,
    group: Vec<Staged>,
}

impl Writer {
    /// Continues the segment `file`, which begins at `base` and is durable up to `end`.
    pub(crate) fn new(shared: Arc<Shared>, file: Arc<File>, base: Lsn, end: Lsn) -> Self {
        Self { shared, file, base, end, durable: end, bytes: Vec::new(), group: Vec::new() }
    }

    /// Serves commands until the last sender is gone, or asked to close, or a write fails.
    pub(crate) fn run(mut self, commands: &mut mpsc::Receiver<Command>) {
        while let Some(first) = commands.blocking_recv() {
            if let Err(error) = self.roll_if_full() {
                self.shared.poison(&format!("cannot begin a new segment: {error}"));
                return;
            }
            let mut closing = self.stage(first);
            while closing.is_none()
                && self.bytes.len() < MAX_GROUP_BYTES
                && self.group.len() < MAX_GROUP_COMMANDS
                && let Ok(command) = commands.try_recv()
            {
                closing = self.stage(command);
            }
            if let Err(error) = self.commit(closing.is_some()) {
                self.shared.poison(&format!("cannot write to the log: {error}"));
                return;
            }
            self.publish();
            if let Some(reply) = closing {
                self.shared.set_closed();
                let _ = reply.send(());
                return;
            }
            self.shared.wait_for_index();
        }
        let _ = self.file.sync_data();
    }

    fn roll_if_full(&mut self) -> io::Result<()> {
        if self.end.since(self.base) < SEGMENT_BYTES {
            return Ok(());
        }
        self.file.sync_data()?;
        self.base = self.end;
        self.file = self.shared.segments.add(self.base)?;
        self.end = Lsn(self.base.0.saturating_add(segment::HEADER_BYTES));
        self.durable = self.end;
        Ok(())
    }

    fn stage(&mut self, command: Command) -> Option<oneshot::Sender<()>> {
        let staged = match command {
            Command::Create { pin, create, reply } => self.stage_create(pin, create, reply),
            Command::Append { pin, append, entries, reply } => {
                self.stage_append(pin, &append, entries, reply)
            }
            Command::Purge { pin, reply } => self.stage_purge(pin, reply),
            Command::Record(put) => self.stage_record(put),
            Command::Close { reply } => return Some(reply),
        };
        self.group.push(staged);
        None
    }

    /// Adds a frame to the group; returns where it will lie.
    fn write_frame(&mut self, change: &Change) -> Option<(Lsn, u64)> {
        let lsn = self.end.plus(self.bytes.len());
        let begun = frame::begin(&mut self.bytes);
        change.put(&mut self.bytes);
        let length = frame::finish(&mut self.bytes, begun, change.kind(), lsn, self.durable)?;
        Some((lsn, length as u64))
    }

    fn stage_create(&mut self, pin: Pin, mut create: change::Create, reply: Reply<Appended>) -> Staged {
        let caps = self.shared.options.caps;
        let mut state = pin.state();
        if state.latest().is_some() {
            drop(state);
            return Staged::LogRefused { reply, error: WriteError::Exists, _pin: pin };
        }
        let (last, watermark) = retain(&mut state, &caps, Seq::FIRST, &create.entries);
        create.watermark = watermark;
        let change = Change::Create(create);
        let written = self.write_frame(&change);
        let Change::Create(create) = change else { unreachable!("it was just made") };
        let Some((lsn, length)) = written else {
            drop(state);
            return Staged::LogRefused { reply, error: TOO_LARGE, _pin: pin };
        };
        let head = Head {
            owner: create.owner,
            created_at: create.created_at,
            frontier: Frontier { committed: last, watermark, closed: false, gone: false },
            status: create.status,
            epoch: create.epoch,
            recovered_through: None,
            expires_at: None,
            retained_entries: state.retained.entries(),
            retained_bytes: state.retained.bytes(),
        };
        let has_blobs = create.document.is_blob() || create.entries.iter().any(Payload::is_blob);
        let stored = Stored { head, created_in: (lsn, length), changed_in: lsn, has_blobs };
        state.staged = Some(stored.clone());
        drop(state);
        let extent = extent_of(Seq::FIRST, &create.entries, lsn, length);
        Staged::Log(Box::new(StagedLog { pin, stored, extent, entries: create.entries, reply }))
    }

    fn stage_append(
        &mut self,
        pin: Pin,
        append: &api::Append,
        entries: Vec<Payload>,
        reply: Reply<Appended>,
    ) -> Staged {
        let caps = self.shared.options.caps;
        let mut state = pin.state();
        let checked = state.latest().ok_or(WriteError::NotFound).and_then(|stored| {
            check_append(&stored.head, append.epoch, append.expected_last)?;
            Ok(stored.clone())
        });
        let mut stored = match checked {
            Ok(stored) => stored,
            Err(error) => {
                drop(state);
                return Staged::LogRefused { reply, error, _pin: pin };
            }
        };
        let first = append.expected_last.next();
        let (last, watermark) = retain(&mut state, &caps, first, &entries);
        let takes_over = append.epoch > stored.head.epoch;
        let recovered_through =
            (takes_over && self.shared.previous == Durability::Os).then_some(stored.head.frontier.committed);
        let change = Change::Append(change::Append {
            id: append.id,
            epoch: append.epoch,
            first,
            status: append.status,
            watermark,
            recovered_through,
            close: append.close.map(|close| close.expires_at),
            entries,
        });
        let written = self.write_frame(&change);
        let Change::Append(change) = change else { unreachable!("it was just made") };
        let Some((lsn, length)) = written else {
            drop(state);
            return Staged::LogRefused { reply, error: TOO_LARGE, _pin: pin };
        };
        apply_append(&mut stored, &change, last, lsn);
        stored.head.retained_entries = state.retained.entries();
        stored.head.retained_bytes = state.retained.bytes();
        state.staged = Some(stored.clone());
        drop(state);
        let extent = extent_of(first, &change.entries, lsn, length);
        Staged::Log(Box::new(StagedLog { pin, stored, extent, entries: change.entries, reply }))
    }

    fn stage_purge(&mut self, pin: Pin, reply: Reply<()>) -> Staged {
        let mut state = pin.state();
        let known = state.latest().filter(|stored| !stored.head.frontier.gone).cloned();
        let written = known.and_then(|stored| Some((stored, self.write_frame(&Change::Purge(pin.id))?)));
        let Some((mut stored, (lsn, _))) = written else {
            return Staged::PurgeRefused { reply, error: WriteError::NotFound };
        };
        stored.head.frontier.gone = true;
        stored.changed_in = lsn;
        state.staged = Some(stored.clone());
        drop(state);
        Staged::Purged { pin, stored: Box::new(stored), reply }
    }

    fn stage_record(&mut self, put: PutRecord) -> Staged {
        let PutRecord { key, expected, value, seen, reply } = put;
        let in_group = self.group.iter().rev().find_map(|staged| match staged {
            Staged::Record { key: other, version, value, .. } if *other == key => {
                Some(value.as_ref().map(|_| *version))
            }
            _ => None,
        });
        let Some(found) = in_group.or_else(|| self.shared.record_version(&key, seen)) else {
            return Staged::RecordAnswered { reply, answer: Ok(None) };
        };
        if found != expected {
            return Staged::RecordAnswered { reply, answer: Err(WriteError::Conflict { found }) };
        }
        match self.write_frame(&Change::Record { key: key.clone(), value: value.clone() }) {
            Some((lsn, _)) => Staged::Record { key, version: Version(lsn.0), value, reply },
            None => Staged::RecordAnswered { reply, answer: Err(TOO_LARGE) },
        }
    }

    /// Makes the group durable.
    fn commit(&mut self, closing: bool) -> io::Result<()> {
        if !self.bytes.is_empty() {
            self.file.write_all_at(&self.bytes, self.end.since(self.base))?;
        }
        if (self.shared.options.durability == Durability::Sync && !self.bytes.is_empty()) || closing {
            self.file.sync_data()?;
            self.durable = self.end.plus(self.bytes.len());
        }
        self.end = self.end.plus(self.bytes.len());
        self.bytes.clear();
        self.bytes.shrink_to(MAX_GROUP_BYTES);
        Ok(())
    }

    /// Shows what is durable now, and answers.
    fn publish(&mut self) {
        let mut work = Work::default();
        let mut answers = Vec::with_capacity(self.group.len());
        let at = Instant::now();
        for staged in self.group.drain(..) {
            match staged {
                Staged::Log(staged) => {
                    let StagedLog { pin, stored, extent, entries, reply } = *staged;
                    let head = stored.head.clone();
                    show(&self.shared, &pin, stored, Some((extent, entries)), &mut work);
                    answers.push(Answer::Head(reply, Ok(Appended { head, at }), pin));
                }
                Staged::Purged { pin, stored, reply } => {
                    show(&self.shared, &pin, *stored, None, &mut work);
                    answers.push(Answer::Purge(reply, Ok(())));
                }
                Staged::Record { key, version, value, reply } => {
                    self.shared.set_record(key.clone(), version, value);
                    work.records.push(key);
                    answers.push(Answer::Record(reply, Ok(Some(version))));
                }
                Staged::LogRefused { reply, error, _pin } => {
                    answers.push(Answer::Head(reply, Err(error), _pin))
                }
                Staged::PurgeRefused { reply, error } => answers.push(Answer::Purge(reply, Err(error))),
                Staged::RecordAnswered { reply, answer } => answers.push(Answer::Record(reply, answer)),
            }
        }
        self.shared.add_work(work, self.end);
        for answer in answers {
            answer.send();
        }
    }
}

const TOO_LARGE: WriteError = WriteError::Invalid("the batch is larger than a frame of the log");

/// An answer; nobody may be waiting for it any more.
enum Answer {
    Head(Reply<Appended>, Result<Appended, WriteError>, Pin),
    Purge(Reply<()>, Result<(), WriteError>),
    Record(Reply<Option<Version>>, Result<Option<Version>, WriteError>),
}

impl Answer {
    fn send(self) {
        match self {
            Self::Head(reply, result, _pin) => drop(reply.send(result)),
            Self::Purge(reply, result) => drop(reply.send(result)),
            Self::Record(reply, result) => drop(reply.send(result)),
        }
    }
}

/// Counts new entries against the caps; returns the last seq, and the watermark if entries had to go.
fn retain(state: &mut LogState, caps: &api::Caps, first: Seq, entries: &[Payload]) -> (Seq, Option<Seq>) {
    let mut last = first;
    for (offset, entry) in (0u64..).zip(entries) {
        last = Seq::new(first.get().saturating_add(offset));
        state.retained.push(caps, last, 1, entry.len());
    }
    (last, state.retained.evict(caps))
}

pub(crate) fn extent_of(first: Seq, entries: &[Payload], lsn: Lsn, length: u64) -> Extent {
    let bytes = entries.iter().map(Payload::len).sum();
    Extent { first, entries: entries.len() as u64, bytes, lsn, length }
}

/// What an append makes of a head.
pub(crate) fn apply_append(stored: &mut Stored, append: &change::Append, last: Seq, lsn: Lsn) {
    let head = &mut stored.head;
    head.frontier.committed = last;
    head.frontier.watermark = append.watermark.or(head.frontier.watermark);
    head.epoch = append.epoch;
    head.status = append.status.unwrap_or(head.status);
    head.recovered_through = append.recovered_through.or(head.recovered_through);
    if let Some(expires_at) = append.close {
        head.frontier.closed = true;
        head.expires_at = expires_at;
    }
    stored.changed_in = lsn;
    stored.has_blobs |= append.entries.iter().any(Payload::is_blob);
}

/// Makes a durable change of a log visible.
pub(crate) fn show(
    shared: &Shared,
    pin: &Pin,
    stored: Stored,
    entries: Option<(Extent, Vec<Payload>)>,
    work: &mut Work,
) {
    let frontier = stored.head.frontier;
    let mut state = pin.state();
    if state.staged.as_ref().is_some_and(|staged| staged.changed_in == stored.changed_in) {
        state.staged = None;
    }
    state.committed = Some(stored);
    if let Some((extent, payloads)) = entries {
        state.unindexed.push(extent);
        let seqs = (extent.first.get()..).map(Seq::new);
        for (seq, payload) in seqs.zip(payloads) {
            match payload {
                Payload::Inline(bytes) => state.tail.push(&shared.logs.tails, seq, bytes),
                Payload::Blob(_) => state.tail.clear(&shared.logs.tails),
            }
        }
    }
    if !state.dirty {
        state.dirty = true;
        work.logs.push(pin.clone());
    }
    drop(state);
    pin.frontier.send_replace(frontier);
}
