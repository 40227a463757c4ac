//! The writer: the one thread that changes logs and records.
//!
//! It takes every command that is pending, checks each against what the commands before it left, and writes them as one group:
//! one `write`, one `fdatasync` (D-36), as far apart as [`pace`](super::pace) says. Only then are the changes shown and the commands
//! answered, refusals included: a refusal may rest on a change that is not durable yet. It never reads the disk.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::account::{Accounts, Hold};
use super::backlog::Work;
use super::change::{self, Change, Durability, Origin, Payload, Purge};
use super::frame::{self, Lsn};
use super::log::{Extent, Logs, OriginAt, Pin, Rewritten, Stored};
use super::pace::Pace;
use super::reply::Answer;
pub(crate) use super::reply::Reply;
use super::rewrite::PutSpans;
use super::segment;
use super::shared::{Cell, Chain, Seen, Shared};
use super::standing::{End, Standing};
use super::tip::Tip;
use crate::api::{self, Appended, Version, WriteError};
use crate::memory::check_append;
use crate::types::{Head, Seq};

/// A group takes no further command when it has this many bytes.
const MAX_GROUP_BYTES: usize = 8 << 20;

/// A group takes no further command when it has this many.
const MAX_GROUP_COMMANDS: usize = 8192;

/// How many commands may wait for the writer.
pub(crate) const QUEUE_COMMANDS: usize = 16_384;

/// What the writer can be asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    Create {
        pin: Pin,
        create: NewLog,
        reply: Reply<Appended>,
    },
    Append {
        pin: Pin,
        append: api::Append,
        entries: Vec<Payload>,
        reply: Reply<Appended>,
    },
    Rewrite(Box<PutSpans>),
    /// The answer says how many of them there were.
    Purge {
        pins: Vec<Pin>,
        reply: Reply<usize>,
    },
    Record(PutRecord),
    /// What follows the next group goes into a new segment, if the newest one still begins at `base`.
    Roll {
        base: Lsn,
    },
    Close {
        reply: oneshot::Sender<()>,
    },
}

/// A log to be made: its payloads are where they shall lie.
#[derive(Debug)]
pub(crate) struct NewLog {
    pub(crate) status: u8,
    pub(crate) end: End,
    pub(crate) origin: Origin,
    pub(crate) entries: Vec<Payload>,
    /// What finds out whether there is room for it; absent = there is no quota.
    pub(crate) hold: Option<Hold>,
}

/// A put of a record. The answer `None` says that `seen` was out of date: look again.
#[derive(Debug)]
pub(crate) struct PutRecord {
    pub(crate) key: Bytes,
    pub(crate) expected: Option<Version>,
    pub(crate) value: Option<Bytes>,
    /// Whether the record is only written again, and keeps its version.
    pub(crate) is_copy: bool,
    pub(crate) seen: Seen,
    pub(crate) reply: Reply<Option<Version>>,
}

/// What a command will have done when its group is durable.
#[derive(Debug)]
pub(crate) enum Staged {
    Log(Box<StagedLog>),
    Purged { logs: Vec<(Pin, Stored)>, reply: Reply<usize> },
    Record { key: Bytes, cell: Cell, reply: Reply<Option<Version>> },
    LogRefused { reply: Reply<Appended>, error: WriteError, _pin: Pin },
    RecordAnswered { reply: Reply<Option<Version>>, answer: Result<Option<Version>, WriteError> },
}

#[derive(Debug)]
pub(crate) struct StagedLog {
    pub(crate) pin: Pin,
    pub(crate) stored: Stored,
    pub(crate) effect: Effect,
    pub(crate) reply: Reply<Appended>,
}

/// What a change does to the entries of a log.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Nothing.
    None,
    /// These follow the last one. The tail takes the payloads that are given.
    Appended(Extent, Vec<Payload>),
    /// Entries lie elsewhere now.
    Rewritten(Rewritten),
}

#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    tip: Tip,
    pace: Pace,
    durable: Lsn,
    bytes: Vec<u8>,
    group: Vec<Staged>,
    /// The places of new logs in the group, until these are shown.
    holds: Vec<Hold>,
    /// Whether the next group begins a new segment, however long this one is.
    rolls: bool,
}

impl Writer {
    /// Continues the log at `tip`, up to where it is durable.
    pub(crate) fn new(shared: Arc<Shared>, tip: Tip) -> Self {
        let (durable, durability) = (tip.end(), shared.options.durability);
        Self {
            shared,
            tip,
            pace: Pace::of(durability),
            durable,
            bytes: Vec::new(),
            group: Vec::new(),
            holds: Vec::new(),
            rolls: false,
        }
    }

    /// Serves commands until the last sender is gone, or asked to close, or a write fails.
    pub(crate) fn run(mut self, commands: &mut mpsc::Receiver<Command>) {
        while let Some(first) = commands.blocking_recv() {
            if let Err(error) = self.roll_if_full() {
                self.shared.poison(&format!("cannot begin a new segment: {error}"));
                return;
            }
            self.pace.begin();
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
            self.pace.end(self.group.len(), !commands.is_empty());
            self.publish();
            if let Some(reply) = closing {
                self.shared.set_closed();
                let _ = reply.send(());
                return;
            }
            self.shared.backlog.wait_for_index();
        }
        let _ = self.tip.seal();
    }

    fn roll_if_full(&mut self) -> io::Result<()> {
        if !self.tip.is_full() && !std::mem::take(&mut self.rolls) {
            return Ok(());
        }
        self.tip.seal()?;
        let base = self.tip.end();
        let (file, begin) = (self.shared.segments.add(base)?, base.plus(segment::HEADER_BYTES as usize));
        self.tip = Tip::new(file, base, begin, self.shared.options.segment_bytes)?;
        self.durable = self.tip.end();
        // Every segment says its epoch, so that none before it is needed to know that.
        let opened = Change::Open { epoch: self.shared.epoch, durability: self.shared.options.durability };
        let _ = self.write_frame(&opened);
        Ok(())
    }

    fn stage(&mut self, command: Command) -> Option<oneshot::Sender<()>> {
        let staged = match command {
            Command::Create { pin, create, reply } => self.stage_create(pin, create, reply),
            Command::Append { pin, append, entries, reply } => {
                self.stage_append(pin, &append, entries, reply)
            }
            Command::Rewrite(put) => self.stage_rewrite(*put),
            Command::Purge { pins, reply } => self.stage_purge(pins, reply),
            Command::Record(put) => self.stage_record(put),
            Command::Roll { base } => {
                self.rolls |= base == self.tip.base();
                return None;
            }
            Command::Close { reply } => return Some(reply),
        };
        self.group.push(staged);
        None
    }

    /// Where the next frame will lie.
    pub(crate) fn next_lsn(&self) -> Lsn {
        self.tip.end().plus(self.bytes.len())
    }

    /// Adds a frame to the group; returns where it will lie.
    pub(crate) fn write_frame(&mut self, change: &Change) -> Option<(Lsn, u64)> {
        let lsn = self.next_lsn();
        let begun = frame::begin(&mut self.bytes);
        change.put(&mut self.bytes);
        let length = frame::finish(&mut self.bytes, begun, change.kind(), lsn, self.durable)?;
        Some((lsn, length as u64))
    }

    fn stage_create(&mut self, pin: Pin, create: NewLog, reply: Reply<Appended>) -> Staged {
        let caps = self.shared.options.caps;
        let mut state = pin.state();
        if state.latest().is_some() {
            drop(state);
            return Staged::LogRefused { reply, error: WriteError::Exists, _pin: pin };
        }
        let NewLog { status, end, origin, entries, mut hold } = create;
        let lsn = self.next_lsn();
        let mut stored = new_stored(&origin, lsn);
        let bytes = entries.iter().map(Payload::len).fold(stored.document_bytes, u64::saturating_add);
        if let Some(Err(error)) = hold.as_mut().map(|hold| hold.admit(bytes)) {
            drop(state);
            return Staged::LogRefused { reply, error, _pin: pin };
        }
        self.holds.extend(hold);
        stored.head.endless = matches!(end, End::Endless(_));
        let retained = state.retain(&stored.head, &caps, Seq::FIRST, &entries);
        let last = retained.last;
        let standing = Standing {
            status,
            epoch: self.shared.epoch,
            watermark: retained.watermark,
            retained_entries: retained.entries,
            retained_bytes: retained.bytes,
            end,
            has_blobs: origin.document.is_blob() || entries.iter().any(Payload::is_blob),
            ..Standing::of(&stored)
        };
        standing.apply(&mut stored, last, lsn);
        let change = Change::Create(change::Create { id: pin.id, origin, standing, entries });
        let written = self.write_frame(&change);
        let Change::Create(create) = change else { unreachable!("it was just made") };
        let Some((lsn, length)) = written else {
            drop(state);
            return Staged::LogRefused { reply, error: TOO_LARGE, _pin: pin };
        };
        stored.origin.length = length;
        state.staged = Some(stored.clone());
        drop(state);
        let extent = extent_of(Seq::FIRST, &create.entries, lsn, length);
        let effect = Effect::Appended(extent, create.entries);
        Staged::Log(Box::new(StagedLog { pin, stored, effect, reply }))
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
        let retained = state.retain(&stored.head, &caps, first, &entries);
        let last = retained.last;
        let takes_over = append.epoch > stored.head.epoch && !stored.head.endless;
        let rolled_back =
            (takes_over && self.shared.previous == Durability::Os).then_some(stored.head.frontier.committed);
        let before = Standing::of(&stored);
        let standing = Standing {
            status: append.status.unwrap_or(before.status),
            epoch: append.epoch,
            watermark: retained.watermark.or(before.watermark),
            recovered_through: rolled_back.or(before.recovered_through),
            retained_entries: retained.entries,
            retained_bytes: retained.bytes,
            end: before.end.after_append(append.close),
            has_blobs: before.has_blobs || entries.iter().any(Payload::is_blob),
            ..before
        };
        standing.apply(&mut stored, last, self.next_lsn());
        let change = Change::Append(change::Append { id: append.id, first, standing, entries });
        let written = self.write_frame(&change);
        let Change::Append(change) = change else { unreachable!("it was just made") };
        let Some((lsn, length)) = written else {
            drop(state);
            return Staged::LogRefused { reply, error: TOO_LARGE, _pin: pin };
        };
        state.staged = Some(stored.clone());
        drop(state);
        let extent = extent_of(first, &change.entries, lsn, length);
        let effect = Effect::Appended(extent, change.entries);
        Staged::Log(Box::new(StagedLog { pin, stored, effect, reply }))
    }

    fn stage_purge(&mut self, pins: Vec<Pin>, reply: Reply<usize>) -> Staged {
        let mut logs = Vec::with_capacity(pins.len());
        for pin in pins {
            let mut state = pin.state();
            let known = state.latest().filter(|stored| !stored.head.frontier.gone).cloned();
            let Some(mut stored) = known else { continue };
            let purge = Change::Purge(Purge { id: pin.id, since: stored.since });
            let Some((lsn, _)) = self.write_frame(&purge) else { continue };
            stored.head.frontier.gone = true;
            stored.changed_in = lsn;
            state.staged = Some(stored.clone());
            drop(state);
            logs.push((pin, stored));
        }
        Staged::Purged { logs, reply }
    }

    fn stage_record(&mut self, put: PutRecord) -> Staged {
        let PutRecord { key, expected, value, is_copy, seen, reply } = put;
        let in_group = self.group.iter().rev().find_map(|staged| match staged {
            Staged::Record { key: other, cell, .. } if *other == key => Some(cell.chain()),
            _ => None,
        });
        let Some(found) = in_group.or_else(|| self.shared.record_chain(&key, seen)) else {
            return Staged::RecordAnswered { reply, answer: Ok(None) };
        };
        let version = found.map(|chain: Chain| chain.version);
        if version != expected {
            return Staged::RecordAnswered { reply, answer: Err(WriteError::Conflict { found: version }) };
        }
        let since = found.map(|chain| chain.since);
        let copied = version.filter(|_| is_copy);
        let put = change::PutRecord { key, since, version: copied.map(|version| version.0), value };
        let change = Change::Record(put);
        let written = self.write_frame(&change);
        let Change::Record(change::PutRecord { key, value, .. }) = change else {
            unreachable!("it was just made")
        };
        let Some((lsn, length)) = written else {
            return Staged::RecordAnswered { reply, answer: Err(TOO_LARGE) };
        };
        let version = copied.unwrap_or(Version(lsn.0));
        let cell = Cell { version, value, since: since.unwrap_or(lsn), lsn, length };
        Staged::Record { key, cell, reply }
    }

    /// Makes the group durable.
    fn commit(&mut self, closing: bool) -> io::Result<()> {
        if !self.bytes.is_empty() {
            let sync = self.shared.options.durability == Durability::Sync;
            self.tip.write(&mut self.bytes, sync)?;
            self.bytes.shrink_to(MAX_GROUP_BYTES);
            if sync {
                self.durable = self.tip.end();
            }
        }
        if closing {
            self.tip.seal()?;
            self.durable = self.tip.end();
        }
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
                    let StagedLog { pin, stored, effect, reply } = *staged;
                    let head = stored.head.clone();
                    show(&self.shared.logs, &self.shared.accounts, &pin, stored, effect, &mut work);
                    answers.push(Answer::Head(reply, Ok(Appended { head, at }), pin));
                }
                Staged::Purged { logs, reply } => {
                    answers.push(Answer::Purge(reply, Ok(logs.len())));
                    for (pin, stored) in logs {
                        show(&self.shared.logs, &self.shared.accounts, &pin, stored, Effect::None, &mut work);
                    }
                }
                Staged::Record { key, cell, reply } => {
                    let version = cell.version;
                    self.shared.set_record(key.clone(), cell);
                    work.records.push(key);
                    answers.push(Answer::Record(reply, Ok(Some(version))));
                }
                Staged::LogRefused { reply, error, _pin } => {
                    answers.push(Answer::Head(reply, Err(error), _pin))
                }
                Staged::RecordAnswered { reply, answer } => answers.push(Answer::Record(reply, answer)),
            }
        }
        self.holds.clear();
        self.shared.backlog.add(work, self.tip.end());
        for answer in answers {
            answer.send();
        }
    }
}

pub(crate) const TOO_LARGE: WriteError = WriteError::Invalid("the batch is larger than a frame of the log");

pub(crate) fn extent_of(first: Seq, entries: &[Payload], lsn: Lsn, length: u64) -> Extent {
    let bytes = entries.iter().map(Payload::len).sum();
    let count = entries.len() as u64;
    let last = Seq::new(first.get().saturating_add(count.saturating_sub(1)));
    Extent { first, last, entries: count, bytes, lsn, length }
}

/// A log that comes from `origin`, before anything is said of where it stands; the frame at `lsn` makes it.
pub(crate) fn new_stored(origin: &Origin, lsn: Lsn) -> Stored {
    let head = Head::new(origin.owner.clone(), origin.created_at);
    let document_bytes = origin.document.len();
    let origin = OriginAt { lsn, length: 0, bytes: origin.document.inline_len() };
    Stored { head, origin, document_bytes, since: lsn, changed_in: lsn, has_blobs: false }
}

/// Makes a durable change of a log visible.
pub(crate) fn show(
    logs: &Logs,
    accounts: &Accounts,
    pin: &Pin,
    stored: Stored,
    effect: Effect,
    work: &mut Work,
) {
    let frontier = stored.head.frontier;
    let mut state = pin.state();
    if state.staged.as_ref().is_some_and(|staged| staged.changed_in == stored.changed_in) {
        state.staged = None;
    }
    accounts.show(state.committed.as_ref(), &stored);
    state.committed = Some(stored);
    match effect {
        Effect::None => {}
        Effect::Rewritten(rewritten) => state.rewritten.push(rewritten),
        Effect::Appended(extent, payloads) => {
            state.unindexed.push(extent);
            let seqs = (extent.first.get()..).map(Seq::new);
            for (seq, payload) in seqs.zip(payloads) {
                match payload {
                    Payload::Inline(bytes) => state.tail.push(&logs.tails, seq, bytes),
                    Payload::Blob(_) => state.tail.clear(&logs.tails),
                }
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
