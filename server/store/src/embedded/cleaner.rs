//! Cleaning: segments that are mostly dead leave the disk (D-39).
//!
//! It owns which segment goes and when. A segment of which less than half is live is scanned; what is live in it is written again,
//! each log as a whole, by commands like any other; once the index has that, the file goes. So does one that has held entries of a
//! purged log for too long, however much of it is live: what was deleted must not stay. The scan decides, not the counts: a
//! frame is live if the index points to it. What only says that something was removed stays in a [`stub`](super::stub) as long as
//! older segments hold what it removed.
//!
//! It must never be in the way of acknowledgements: it writes little at a time, waits until that is durable, and then as long again.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::OpenError;
use super::change::{Change, KIND_APPEND, KIND_CREATE, KIND_PURGE, KIND_RECORD, KIND_REWRITE};
use super::codec::Malformed;
use super::copier::{Copier, Stopped};
use super::frame::{Frame, Lsn};
use super::index::IndexError;
use super::log::Stored;
use super::read::entries_of;
use super::segment::{Scan, Sealed};
use super::shared::Shared;
use super::writer::Command;
use super::{keys::StoredRecord, stub};
use crate::types::{LogId, Seq};

/// How often the counts are looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// Stubs are joined as long as they hold no more than this many tombstones together.
const MAX_JOINED_TOMBSTONES: usize = 1 << 15;

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CleanError {
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("cannot take a segment off the disk: {0}")]
    Io(#[from] std::io::Error),
    #[error("the store stops")]
    Stopped,
}

impl From<Stopped> for CleanError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// What asks the cleaner to end, and tells what it did.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    stop: Mutex<bool>,
    changed: Condvar,
    cleaned: AtomicU64,
    /// Two passes at a time would clean the same segments.
    pass: Mutex<()>,
}

impl Signal {
    pub(crate) fn stop(&self) {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    fn is_stopped(&self) -> bool {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes of all segments that have left the disk since the store was opened.
    pub(crate) fn cleaned(&self) -> u64 {
        self.cleaned.load(Ordering::Relaxed)
    }

    /// Waits; whether it is time to end.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(stop, time, |stop| !*stop);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// What a segment holds.
#[derive(Debug, Default)]
struct Contents {
    /// With the number of their entries.
    logs: HashMap<LogId, u64>,
    records: HashSet<Bytes>,
    tombstones: Vec<Frame>,
}

/// What of a segment is live.
#[derive(Debug, Default)]
struct Live {
    logs: Vec<LogId>,
    records: Vec<(Bytes, StoredRecord)>,
    bytes: u64,
    /// Whether it holds something of a log that does not exist any more, or of an endless one that does not read so any more.
    impure: bool,
}

/// What of one log is live in a segment.
#[derive(Clone, Copy, Debug)]
struct LiveLog {
    bytes: u64,
    entries: u64,
    /// Whether anything of it lies there that is needed.
    lives: bool,
}

/// Cleans the segments of one store.
#[derive(Debug)]
pub(crate) struct Cleaner {
    shared: Arc<Shared>,
    signal: Arc<Signal>,
    copier: Copier,
}

impl Cleaner {
    pub(crate) fn new(shared: Arc<Shared>, signal: Arc<Signal>, copier: Copier) -> Self {
        Self { shared, signal, copier }
    }

    /// Cleans from time to time until it is asked to end.
    pub(crate) fn run(&self) {
        while !self.signal.wait(PERIOD) {
            match self.pass() {
                Ok(_) => {}
                Err(CleanError::Stopped) => return,
                // What could not be cleaned stays: nothing is lost but space.
                Err(error) => tracing::warn!(%error, "space could not be given back"),
            }
        }
    }

    /// Looks at every segment once, the oldest first; returns how many have left the disk.
    pub(crate) fn pass(&self) -> Result<usize, CleanError> {
        let passed = self.look_at_all();
        // What could not be read stays as it is; after what could not be changed nobody knows what is on the disk (D-24).
        if let Err(error @ (CleanError::Io(_) | CleanError::Index(_))) = &passed {
            self.shared.poison(&error.to_string());
        }
        passed
    }

    fn look_at_all(&self) -> Result<usize, CleanError> {
        let _one = self.signal.pass.lock().unwrap_or_else(PoisonError::into_inner);
        let covered = self.shared.backlog.covered();
        let mut gone = 0;
        for segment in self.shared.segments.sealed() {
            let is_due =
                is_mostly_dead(segment, self.shared.space.of(segment.base)) || self.is_impure(segment.base);
            if segment.end <= covered && is_due && self.clean(segment)? {
                gone += 1;
            }
        }
        if let Some(base) = self.shared.segments.newest().filter(|newest| self.is_impure(*newest)) {
            // It can be cleaned when it takes no more.
            self.copier.send(Command::Roll { base })?;
        }
        if gone > 0 {
            self.condense()?;
        }
        Ok(gone)
    }

    /// Whether the segment has held entries of purged logs for too long.
    fn is_impure(&self, base: Lsn) -> bool {
        let stays = self.shared.options.purged_stays;
        self.shared.space.purged_for(base).is_some_and(|time| time >= stays)
    }

    /// Whether the segment has left the disk.
    fn clean(&self, segment: Sealed) -> Result<bool, CleanError> {
        let began = Instant::now();
        let contents = self.scan(segment)?;
        let mut live = self.live(segment, contents.logs, contents.records)?;
        let is_pure = !live.impure;
        if is_pure {
            self.shared.space.set_pure(segment.base);
        }
        if is_mostly_dead(segment, live.bytes) || (!is_pure && self.is_impure(segment.base)) {
            self.copier.copy(&live.logs, &live.records)?;
            // Also without a copy: what makes the segment dead must be durable in the index before the file goes.
            self.shared.backlog.catch_up().map_err(|_| CleanError::Stopped)?;
            let logs = live.logs.drain(..).map(|id| (id, 0));
            let records = live.records.drain(..).map(|(key, _)| key).collect();
            live = self.live(segment, logs.collect(), records)?;
        }
        self.shared.space.set(&self.shared.index, segment.base, Some(live.bytes))?;
        if !live.is_empty() {
            return Ok(false);
        }
        // An index that says that something lives where no file is tells that the file was lost.
        self.shared.index.sync()?;
        self.remove(segment, contents.tombstones)?;
        self.shared.space.set(&self.shared.index, segment.base, None)?;
        self.shared.space.set_pure(segment.base);
        self.signal.cleaned.fetch_add(segment.bytes(), Ordering::Relaxed);
        tracing::debug!(segment = %segment.base, took = ?began.elapsed(), "a segment has left the disk");
        Ok(true)
    }

    fn scan(&self, segment: Sealed) -> Result<Contents, CleanError> {
        let mut scan = Scan::open(&self.shared.segments, segment.base, segment.base)?;
        let mut contents = Contents::default();
        for frame in scan.by_ref() {
            match frame.kind {
                KIND_CREATE | KIND_APPEND | KIND_REWRITE => {
                    let (id, entries) = entries_of(Change::read(frame.kind, &frame.payload)?);
                    let id = id.ok_or(Malformed("a frame without an id"))?;
                    *contents.logs.entry(id).or_default() += entries.len() as u64;
                }
                KIND_PURGE => contents.tombstones.push(frame.alone()),
                KIND_RECORD => {
                    let Change::Record(record) = Change::read(frame.kind, &frame.payload)? else { continue };
                    match record.value {
                        Some(_) => drop(contents.records.insert(Bytes::copy_from_slice(&record.key))),
                        None => contents.tombstones.push(frame.alone()),
                    }
                }
                _ => {}
            }
        }
        if scan.reached() < segment.end {
            let path = self.shared.segments.path(segment.base);
            let position = scan.reached().since(segment.base);
            let problem = "a frame is damaged".to_owned();
            return Err(OpenError::Damaged { path, position, problem }.into());
        }
        Ok(contents)
    }

    /// What of these lies in the segment, as the index says. All of it was there when the segment was covered, so memory knows
    /// nothing that the index does not but what makes more of it dead.
    fn live(
        &self,
        segment: Sealed,
        logs: HashMap<LogId, u64>,
        records: HashSet<Bytes>,
    ) -> Result<Live, CleanError> {
        let mut live = Live::default();
        for (id, entries) in logs {
            if self.signal.is_stopped() {
                return Err(CleanError::Stopped);
            }
            let Some(stored) = self.shared.index.head(id)? else {
                live.impure = true;
                continue;
            };
            let of_log = self.live_of_log(segment, id, &stored)?;
            live.impure |= stored.head.endless && of_log.entries < entries;
            live.bytes += of_log.bytes;
            if of_log.lives {
                live.logs.push(id);
            }
        }
        for key in records {
            let stored = self.shared.index.record(&key)?;
            if let Some(stored) = stored.filter(|stored| segment.holds(stored.lsn)) {
                live.bytes += stored.length;
                live.records.push((key, stored));
            }
        }
        // In the order of ids, which is about that of their making: neighbours stay neighbours.
        live.logs.sort_unstable();
        Ok(live)
    }

    /// What of a log is live in the segment.
    fn live_of_log(&self, segment: Sealed, id: LogId, stored: &Stored) -> Result<LiveLog, CleanError> {
        let mut live = LiveLog { bytes: 0, entries: 0, lives: segment.holds(stored.changed_in) };
        if segment.holds(stored.origin.lsn) {
            (live.bytes, live.lives) = (stored.origin.live_bytes(), true);
        }
        let from = Seq::after(stored.head.frontier.watermark);
        for record in self.shared.index.extent_records(id, from) {
            let extents = record?;
            for extent in extents.iter().filter(|extent| extent.last >= from && segment.holds(extent.lsn)) {
                live.bytes += extent.live_bytes();
                live.entries += extent.entries;
                live.lives = true;
            }
        }
        Ok(live)
    }

    /// Takes a segment without live data off the disk.
    fn remove(&self, segment: Sealed, tombstones: Vec<Frame>) -> Result<(), CleanError> {
        let segments = &self.shared.segments;
        if !segments.holds_any(Lsn::default(), segment.base, segment.base) {
            segments.remove_before(segment.end)?;
            return Ok(());
        }
        let (mut range, mut taken_in, mut needed) =
            (segment, Vec::new(), self.needed(tombstones, segment.base)?);
        for stub in segments.stubs() {
            if stub.end != range.base && stub.base != range.end {
                continue;
            }
            let mut frames = self.needed(stub::read(&segments.path(stub.base))?, segment.base)?;
            if frames.len() + needed.len() > MAX_JOINED_TOMBSTONES {
                continue;
            }
            range = Sealed { base: range.base.min(stub.base), end: range.end.max(stub.end) };
            taken_in.push(stub);
            needed.append(&mut frames);
        }
        needed.sort_unstable_by_key(|frame| frame.lsn);
        // The file of the segment goes last, with those of the stubs: the new stub says that it stands for all of them.
        taken_in.push(segment);
        segments.replace(range, &taken_in, &needed)?;
        Ok(())
    }

    /// The tombstones of which an older segment than the one at `gone` may still hold what they removed.
    fn needed(&self, tombstones: Vec<Frame>, gone: Lsn) -> Result<Vec<Frame>, CleanError> {
        let mut needed = Vec::new();
        for frame in tombstones {
            let since = match Change::read(frame.kind, &frame.payload)? {
                Change::Purge(purge) => Some(purge.since),
                Change::Record(record) => record.since,
                _ => None,
            };
            if since.is_some_and(|since| self.shared.segments.holds_any(since, frame.lsn, gone)) {
                needed.push(frame);
            }
        }
        Ok(needed)
    }

    /// Lets stubs go that no segment lies before, and tombstones that are not needed any more.
    fn condense(&self) -> Result<(), CleanError> {
        let segments = &self.shared.segments;
        for stub in segments.stubs() {
            if !segments.holds_any(Lsn::default(), stub.base, stub.base) {
                segments.remove_before(stub.end)?;
                continue;
            }
            let frames = stub::read(&segments.path(stub.base))?;
            let count = frames.len();
            let needed = self.needed(frames, stub.base)?;
            if needed.len() < count {
                segments.replace(stub, &[], &needed)?;
            }
        }
        Ok(())
    }
}

impl Live {
    fn is_empty(&self) -> bool {
        self.logs.is_empty() && self.records.is_empty()
    }
}

/// Whether a segment with this much live data is to be cleaned.
fn is_mostly_dead(segment: Sealed, live: u64) -> bool {
    live.saturating_mul(2) < segment.bytes()
}
