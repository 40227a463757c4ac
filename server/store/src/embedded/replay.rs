//! Replay: what the log says and the index does not cover yet.
//!
//! It owns what each frame does to a log that is found in the index or was made by a frame before, in the order of the log. It
//! decides between a torn tail, which is cut off, and damage, which is refused. Frames whose entries are gone may be missing: every
//! frame of a log says all of where that stands.

use std::collections::HashSet;
use std::path::Path;

use bytes::Bytes;

use super::OpenError;
use super::backlog::Work;
use super::change::{Append, Change, Create, PutRecord, Rewrite};
use super::codec::Malformed;
use super::disk::File;
use super::frame::{Frame, Lsn};
use super::index::IndexError;
use super::log::{OriginAt, Pin, Stored};
use super::rewrite::{Look, Range, rewritten};
use super::segment::{Found, Scan};
use super::shared::{Cell, Shared};
use super::stub;
use super::writer::{Effect, extent_of, new_stored, show};
use crate::api::{ReadError, Version, WriteError};
use crate::types::{LogId, Seq};

/// The index is brought up to date when this many bytes were replayed, so that a rebuild needs little memory.
const REPLAY_STEP_BYTES: u64 = 32 << 20;

/// A replay under way.
pub(crate) struct Replay<'a> {
    shared: &'a Shared,
    work: Work,
    /// Logs that frames speak of, but whose making neither the log nor the index has shown.
    orphans: HashSet<LogId>,
    covered: Lsn,
    indexed: Lsn,
}

pub(crate) fn from_covered(found: &[Found], covered: Lsn) -> impl Iterator<Item = &Found> {
    found.iter().filter(move |segment| segment.end > covered)
}

impl<'a> Replay<'a> {
    /// A replay of what lies at and behind `covered`.
    pub(crate) fn new(shared: &'a Shared, covered: Lsn) -> Self {
        Self { shared, work: Work::default(), orphans: HashSet::new(), covered, indexed: covered }
    }

    /// Brings the index up to the end of the log, which is returned, after cutting off a torn tail. `None` if the log speaks of logs
    /// that the index should have and does not.
    pub(crate) fn run(mut self, found: &[Found]) -> Result<Option<Lsn>, OpenError> {
        // What a process wrote and did not come to sync must not be in the index before it is durable.
        let newest = self.shared.segments.sync_newest();
        newest.map_err(OpenError::io("sync the log in", self.shared.segments.dir()))?;
        let newest = found.last().map_or(Lsn(0), |last| last.base);
        let mut end = self.covered;
        for segment in from_covered(found, self.covered) {
            let path = self.shared.segments.path(segment.base);
            if segment.is_stub {
                for frame in stub::read(&path)? {
                    self.apply(&frame).map_err(|problem| problem.of(&path, frame.lsn, segment.base))?;
                }
                end = segment.end;
                continue;
            }
            let mut scan = Scan::open(&self.shared.segments, segment.base, self.covered)?;
            while let Some(frame) = scan.next() {
                self.apply(&frame).map_err(|problem| problem.of(&path, frame.lsn, segment.base))?;
                if scan.reached().since(self.indexed) >= REPLAY_STEP_BYTES {
                    self.index_to(scan.reached())?;
                }
            }
            end = scan.reached();
            if scan.has_rest() {
                if segment.base != newest || scan.rest_was_durable() {
                    let problem = "a frame is damaged and good ones follow it".to_owned();
                    return Err(damaged(&path, end, segment.base, problem));
                }
                cut(&path, end.since(segment.base))?;
            }
        }
        if !self.orphans.is_empty() {
            return Ok(None);
        }
        self.index_to(end)?;
        // What is used from now on comes from the index, with all that memory keeps of an open log.
        self.shared.logs.clear();
        self.shared.accounts.begin(&self.shared.index).map_err(|error| OpenError::index(&error))?;
        Ok(Some(end))
    }

    fn index_to(&mut self, through: Lsn) -> Result<(), OpenError> {
        self.indexed = through;
        self.shared
            .index_work(std::mem::take(&mut self.work), through)
            .map_err(|error| OpenError::index(&error))
    }

    fn apply(&mut self, frame: &Frame) -> Result<(), ApplyError> {
        match Change::read(frame.kind, &frame.payload).map_err(ApplyError::NotUnderstood)? {
            Change::Open { .. } => {}
            Change::Create(create) => self.apply_create(&create, frame)?,
            Change::Append(append) => self.apply_append(&append, frame)?,
            Change::Rewrite(rewrite) => self.apply_rewrite(&rewrite, frame)?,
            Change::Purge(purge) => match self.known(purge.id)? {
                Some((pin, mut stored)) if stored.changed_in < frame.lsn => {
                    stored.head.frontier.gone = true;
                    stored.changed_in = frame.lsn;
                    show(
                        &self.shared.logs,
                        &self.shared.accounts,
                        &pin,
                        stored,
                        Effect::None,
                        &mut self.work,
                    );
                }
                _ => drop(self.orphans.remove(&purge.id)),
            },
            Change::Record(record) => self.apply_record(&record, frame)?,
        }
        Ok(())
    }

    fn apply_create(&mut self, create: &Create, frame: &Frame) -> Result<(), ApplyError> {
        if self.known(create.id)?.is_some() {
            return Ok(());
        }
        let pin = self.make(create.id)?;
        let mut stored = new_stored(&create.origin, frame.lsn);
        stored.origin.length = frame.len() as u64;
        let extent = extent_of(Seq::FIRST, &create.entries, frame.lsn, frame.len() as u64);
        create.standing.apply(&mut stored, extent.last, frame.lsn);
        // No payloads for the tail: they would hold the whole segment in memory.
        show(
            &self.shared.logs,
            &self.shared.accounts,
            &pin,
            stored,
            Effect::Appended(extent, Vec::new()),
            &mut self.work,
        );
        Ok(())
    }

    fn apply_append(&mut self, append: &Append, frame: &Frame) -> Result<(), ApplyError> {
        let Some((pin, mut stored)) = self.known(append.id)? else {
            self.orphans.insert(append.id);
            return Ok(());
        };
        if stored.changed_in < frame.lsn {
            let extent = extent_of(append.first, &append.entries, frame.lsn, frame.len() as u64);
            append.standing.apply(&mut stored, extent.last, frame.lsn);
            show(
                &self.shared.logs,
                &self.shared.accounts,
                &pin,
                stored,
                Effect::Appended(extent, Vec::new()),
                &mut self.work,
            );
        }
        Ok(())
    }

    fn apply_rewrite(&mut self, rewrite: &Rewrite, frame: &Frame) -> Result<(), ApplyError> {
        let known = self.known(rewrite.id)?;
        let (pin, mut stored) = match (known, &rewrite.moved) {
            (Some(known), _) => known,
            (None, Some(moved)) => {
                self.orphans.remove(&rewrite.id);
                let stored = Stored { since: moved.since, ..new_stored(&moved.origin, Lsn(0)) };
                (self.make(rewrite.id)?, stored)
            }
            (None, None) => {
                self.orphans.insert(rewrite.id);
                return Ok(());
            }
        };
        if stored.changed_in >= frame.lsn {
            return Ok(());
        }
        let effect = self.place(&pin, rewrite, frame)?;
        let length = frame.len() as u64;
        if let Some(moved) = &rewrite.moved {
            let bytes = moved.origin.document.inline_len();
            stored.origin = OriginAt { lsn: frame.lsn, length, bytes };
        }
        rewrite.standing.apply(&mut stored, rewrite.committed, frame.lsn);
        show(&self.shared.logs, &self.shared.accounts, &pin, stored, effect, &mut self.work);
        Ok(())
    }

    /// What spans do to the extents of a log, of which the index has to have all that came before.
    fn place(&self, pin: &Pin, rewrite: &Rewrite, frame: &Frame) -> Result<Effect, ApplyError> {
        let Some(last) = rewrite.spans.last() else { return Ok(Effect::None) };
        if pin.state().dirty {
            self.shared.index_one(pin)?;
        }
        let range = Range { from: rewrite.from, through: last.last };
        let look = if rewrite.merges {
            Look::at_edges(self.shared, pin.id, range).map_err(ReadError::from)?
        } else {
            Look::default()
        };
        let placed = rewritten(rewrite, &look, frame.lsn, frame.len() as u64);
        Ok(placed.map_or(Effect::None, Effect::Rewritten))
    }

    fn apply_record(&mut self, record: &PutRecord, frame: &Frame) -> Result<(), ApplyError> {
        let known = self.shared.index.record(&record.key)?;
        if known.is_some_and(|known| known.lsn >= frame.lsn) {
            return Ok(());
        }
        // Copies, so that the memory of a whole segment does not stay for a few bytes.
        let copy = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
        let (key, value) = (copy(&record.key), record.value.as_ref().map(copy));
        let version = Version(record.version.unwrap_or(frame.lsn.0));
        let (since, length) = (record.since.unwrap_or(frame.lsn), frame.len() as u64);
        self.shared.set_record(key.clone(), Cell { version, value, since, lsn: frame.lsn, length });
        self.work.records.push(key);
        Ok(())
    }

    /// The log as it stands, from memory or from the index; `None` if nothing is known of it.
    fn known(&mut self, id: LogId) -> Result<Option<(Pin, Stored)>, IndexError> {
        if self.shared.logs.get(id).is_err() {
            self.shared.index.heal(id)?;
        }
        let Some(pin) = self.shared.pin(id)? else { return Ok(None) };
        let stored = pin.state().committed.clone();
        Ok(stored.map(|stored| (pin, stored)))
    }

    fn make(&self, id: LogId) -> Result<Pin, Malformed> {
        self.shared.pin_new(id).map_err(|_: WriteError| Malformed("a log made twice"))
    }
}

#[derive(Debug, thiserror::Error)]
enum ApplyError {
    #[error(transparent)]
    NotUnderstood(Malformed),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Unreadable(#[from] ReadError),
}

impl ApplyError {
    /// The same about a frame at `lsn`, in the file that begins at `base`.
    fn of(&self, path: &Path, lsn: Lsn, base: Lsn) -> OpenError {
        let (position, problem) = (lsn.since(base), self.to_string());
        match self {
            Self::NotUnderstood(_) => OpenError::NotUnderstood { path: path.to_owned(), position, problem },
            _ => damaged(path, lsn, base, problem),
        }
    }
}

fn damaged(path: &Path, lsn: Lsn, base: Lsn, problem: String) -> OpenError {
    OpenError::Damaged { path: path.to_owned(), position: lsn.since(base), problem }
}

/// Cuts off what a crash left half-written.
fn cut(path: &Path, length: u64) -> Result<(), OpenError> {
    tracing::warn!(path = %path.display(), length, "a torn write at the end of the log is cut off");
    let file = File::open(path).map_err(OpenError::io("open", path))?;
    // The length is part of what this syncs: without it the bytes could not be read.
    file.set_len(length).and_then(|()| file.sync_data()).map_err(OpenError::io("cut", path))
}
