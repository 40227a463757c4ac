//! What memory holds of one log, and the table of the logs that memory holds.
//!
//! A log is here while it is open, shall end and was used, while the index lags behind it, and while somebody reads it; nothing stays for
//! a log that merely exists. Whoever uses a log holds a [`Pin`]; the last pin to go takes the log out of the table.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use super::change::Payload;
use super::frame::Lsn;
use super::rewrite::Fence;
use super::sync::{AtomicUsize, Mutex, MutexGuard, Ordering};
use crate::api::{Caps, Entry};
use crate::retained::Retained;
use crate::types::{Frontier, Head, LogId, Owner, Seq};

/// The most bytes of payload and bookkeeping that the tail of one log holds in memory while there is room (D-39, ADR 0007): more
/// than three batches of a backend that is faster than its readers, who would else find the end of a batch on the disk.
const MAX_TAIL_BYTES: usize = 64 << 10;

/// There is room as long as all tails together hold no more than this, in bytes.
const ROOMY_TAILS_BYTES: usize = 32 << 20;

/// The most bytes that the tail of one log holds when there is none: with these, ten thousand live logs fit.
const MAX_CRAMPED_TAIL_BYTES: usize = 16 << 10;

/// What one entry of a tail costs besides its payload, in bytes.
const TAIL_ENTRY_OVERHEAD: usize = 64;

/// The most bytes that all tails together hold in memory.
const MAX_TAILS_BYTES: usize = 192 << 20;

/// What a frame costs on the disk besides payloads, in bytes, about.
const FRAME_OVERHEAD_BYTES: u64 = 48;

/// Entries of one log that lie in one frame. A frame that was written over in part has an extent for each part that is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) first: Seq,
    pub(crate) last: Seq,
    /// How many entries cover these seqs.
    pub(crate) entries: u64,
    /// The payload bytes, in blobs too.
    pub(crate) bytes: u64,
    pub(crate) lsn: Lsn,
    /// The length of the frame.
    pub(crate) length: u64,
}

impl Extent {
    /// Where the frame ends.
    pub(crate) fn end(&self) -> Lsn {
        Lsn(self.lsn.0.saturating_add(self.length))
    }

    /// What it keeps live in its segment, in bytes, about.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.bytes.saturating_add(FRAME_OVERHEAD_BYTES).min(self.length)
    }
}

/// The frame that says where a log comes from, and holds its document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OriginAt {
    pub(crate) lsn: Lsn,
    /// The length of the frame.
    pub(crate) length: u64,
    /// The bytes of the document that lie in it.
    pub(crate) bytes: u64,
}

impl OriginAt {
    /// What it keeps live in its segment, in bytes, about.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.bytes.saturating_add(FRAME_OVERHEAD_BYTES).min(self.length)
    }
}

/// Entries that were written again, and what is left of the frames that held more than these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rewritten {
    pub(crate) extent: Extent,
    pub(crate) left: Option<Extent>,
    pub(crate) right: Option<Extent>,
    /// Whether other payloads took the place of the old ones: blobs of these go.
    pub(crate) merges: bool,
}

/// A head, and what the store keeps beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) head: Head,
    pub(crate) origin: OriginAt,
    /// The length of the document, wherever it lies.
    pub(crate) document_bytes: u64,
    /// Where the log was made: no frame of it lies before.
    pub(crate) since: Lsn,
    /// The frame that changed the log last.
    pub(crate) changed_in: Lsn,
    /// Whether the log has blob files.
    pub(crate) has_blobs: bool,
}

impl Stored {
    /// What the log keeps for its owner: the document and the entries that can be read, in bytes.
    pub(crate) fn kept_bytes(&self) -> u64 {
        self.document_bytes.saturating_add(self.head.retained_bytes)
    }
}

/// One log in memory.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) id: LogId,
    pub(crate) frontier: watch::Sender<Frontier>,
    /// How many pins hold it. Only who holds its shard may raise this from 0.
    pins: AtomicUsize,
    state: Mutex<LogState>,
}

/// What changes of a log in memory.
#[derive(Debug)]
pub(crate) struct LogState {
    /// What is durable and may be shown; absent while the log is being made.
    pub(crate) committed: Option<Stored>,
    /// What the writer has put into a group that is not durable yet; absent = the same as `committed`.
    pub(crate) staged: Option<Stored>,
    /// Which entries count against the caps. Only kept up for an open log.
    pub(crate) retained: Retained,
    /// The newest entries.
    pub(crate) tail: TailBuffer,
    /// Appended frames that are not in the index yet.
    pub(crate) unindexed: Vec<Extent>,
    /// What was written again and is not so in the index yet. It was in the index before: until then that is read.
    pub(crate) rewritten: Vec<Rewritten>,
    pub(crate) fence: Fence,
    /// How often entries were written again that the index does not have yet, durable or not.
    pub(crate) rewriting: usize,
    /// The frames of the last, not yet full record of extents in the index.
    pub(crate) open_extents: Vec<Extent>,
    /// The watermark up to which the index has dropped extents.
    pub(crate) indexed_watermark: Option<Seq>,
    /// Whether the log is on the indexer's list.
    pub(crate) dirty: bool,
}

impl Log {
    pub(crate) fn new(id: LogId, state: LogState) -> Self {
        let unborn = Frontier { committed: Seq::FIRST, watermark: None, closed: false, gone: true };
        let frontier = state.committed.as_ref().map_or(unborn, |stored| stored.head.frontier);
        Self { id, frontier: watch::channel(frontier).0, pins: AtomicUsize::new(0), state: Mutex::new(state) }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogState {
    /// The state of a log that is as `committed` says, or does not exist yet.
    pub(crate) fn new(committed: Option<Stored>) -> Self {
        let indexed_watermark = committed.as_ref().and_then(|stored| stored.head.frontier.watermark);
        Self {
            committed,
            staged: None,
            retained: Retained::default(),
            tail: TailBuffer::default(),
            unindexed: Vec::new(),
            rewritten: Vec::new(),
            fence: Fence::default(),
            rewriting: 0,
            open_extents: Vec::new(),
            indexed_watermark,
            dirty: false,
        }
    }

    /// Counts new entries, against the caps if these hold for the log.
    pub(crate) fn retain(&mut self, head: &Head, caps: &Caps, first: Seq, entries: &[Payload]) -> Retains {
        let count = entries.len() as u64;
        let last = Seq::new(first.get().saturating_add(count.saturating_sub(1)));
        if head.endless {
            let bytes = entries.iter().map(Payload::len).fold(head.retained_bytes, u64::saturating_add);
            let entries = head.retained_entries.saturating_add(count);
            return Retains { last, watermark: None, entries, bytes };
        }
        for (offset, entry) in (0u64..).zip(entries) {
            self.retained.push(caps, Seq::new(first.get().saturating_add(offset)), 1, entry.len());
        }
        let watermark = self.retained.evict(caps);
        Retains { last, watermark, entries: self.retained.entries(), bytes: self.retained.bytes() }
    }

    /// What the next command of the writer must be checked against.
    pub(crate) fn latest(&self) -> Option<&Stored> {
        self.staged.as_ref().or(self.committed.as_ref())
    }

    /// Whether nothing but the index is needed to answer for this log.
    fn is_idle(&self) -> bool {
        let ended = |stored: &Stored| stored.head.is_settled() || stored.head.frontier.gone;
        !self.dirty
            && self.staged.is_none()
            && self.unindexed.is_empty()
            && self.committed.as_ref().is_none_or(ended)
    }
}

/// What a log retains with new entries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retains {
    pub(crate) last: Seq,
    /// Absent = nothing had to go.
    pub(crate) watermark: Option<Seq>,
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

/// The newest entries of a log, dense, in memory.
#[derive(Debug, Default)]
pub(crate) struct TailBuffer {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl TailBuffer {
    /// Takes an entry, and lets the oldest go while the tail, or all tails together, are too large.
    pub(crate) fn push(&mut self, pool: &AtomicUsize, seq: Seq, payload: Bytes) {
        let cost = payload.len() + TAIL_ENTRY_OVERHEAD;
        self.bytes += cost;
        let mut total = pool.fetch_add(cost, Ordering::Relaxed) + cost;
        self.entries.push_back(Entry { first: seq, seq, payload });
        let most = if total <= ROOMY_TAILS_BYTES { MAX_TAIL_BYTES } else { MAX_CRAMPED_TAIL_BYTES };
        while self.bytes > most || (total > MAX_TAILS_BYTES && !self.entries.is_empty()) {
            let Some(entry) = self.entries.pop_front() else { break };
            let cost = entry.payload.len() + TAIL_ENTRY_OVERHEAD;
            self.bytes -= cost;
            total = pool.fetch_sub(cost, Ordering::Relaxed) - cost;
        }
    }

    /// Forgets everything: what comes next does not follow what is here.
    pub(crate) fn clear(&mut self, pool: &AtomicUsize) {
        pool.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = 0;
        self.entries.clear();
    }

    /// Forgets the entries up to `through`: they read differently now.
    pub(crate) fn forget_through(&mut self, pool: &AtomicUsize, through: Seq) {
        while self.entries.front().is_some_and(|entry| entry.seq <= through) {
            let Some(entry) = self.entries.pop_front() else { break };
            let cost = entry.payload.len() + TAIL_ENTRY_OVERHEAD;
            self.bytes -= cost;
            pool.fetch_sub(cost, Ordering::Relaxed);
        }
    }

    /// The entries from `from` on, or `None` if the tail begins later.
    pub(crate) fn from(&self, from: Seq) -> Option<impl Iterator<Item = &Entry>> {
        let first = self.entries.front()?.seq;
        let skip = usize::try_from(from.get().checked_sub(first.get())?).ok()?;
        Some(self.entries.iter().skip(skip))
    }
}

/// How many parts the table has, so that tasks seldom wait for each other.
const SHARDS: usize = 64;

/// The logs in memory.
#[derive(Debug)]
pub(crate) struct Logs {
    shards: Vec<Mutex<Shard>>,
    /// The bytes in all tails.
    pub(crate) tails: AtomicUsize,
}

#[derive(Debug, Default)]
struct Shard {
    logs: HashMap<LogId, Arc<Log>>,
    /// How often a log was taken out; who read the index meanwhile must read it again.
    removals: u64,
}

/// Holds a log in memory.
#[derive(Debug)]
pub(crate) struct Pin {
    log: Arc<Log>,
    logs: Arc<Logs>,
}

/// Proof of a look into the table that did not find a log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Absent {
    removals: u64,
}

impl Logs {
    pub(crate) fn new() -> Arc<Self> {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Arc::new(Self { shards, tails: AtomicUsize::new(0) })
    }

    fn shard(&self, id: LogId) -> MutexGuard<'_, Shard> {
        let [.., last] = *id.as_bytes();
        let shard = self.shards.get(usize::from(last) % SHARDS).or_else(|| self.shards.first());
        match shard {
            Some(shard) => shard.lock().unwrap_or_else(PoisonError::into_inner),
            None => unreachable!("the table has {SHARDS} parts"),
        }
    }

    pub(crate) fn len(&self) -> usize {
        let length = |shard: &Mutex<Shard>| shard.lock().unwrap_or_else(PoisonError::into_inner).logs.len();
        self.shards.iter().map(length).sum()
    }

    /// Every log of an owner that memory holds, but for endless ones, and whether it still exists.
    pub(crate) fn of_owner(&self, owner: &Owner) -> Vec<(LogId, bool)> {
        let mut found = Vec::new();
        for shard in &self.shards {
            for (id, log) in &shard.lock().unwrap_or_else(PoisonError::into_inner).logs {
                let state = log.state();
                let listed = |stored: &&Stored| stored.head.owner == *owner && !stored.head.endless;
                if let Some(stored) = state.committed.as_ref().filter(listed) {
                    found.push((*id, !stored.head.frontier.gone));
                }
            }
        }
        found
    }

    /// A pin more; the caller holds the log's shard, or a pin.
    fn pin(self: &Arc<Self>, log: &Arc<Log>) -> Pin {
        log.pins.fetch_add(1, Ordering::Relaxed);
        Pin { log: Arc::clone(log), logs: Arc::clone(self) }
    }

    /// Takes out every log that nothing pins: the index has them all.
    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.logs.retain(|_, log| log.pins.load(Ordering::Acquire) > 0);
            shard.removals += 1;
        }
    }

    /// The log, if memory holds it.
    pub(crate) fn get(self: &Arc<Self>, id: LogId) -> Result<Pin, Absent> {
        let shard = self.shard(id);
        shard.logs.get(&id).map(|log| self.pin(log)).ok_or(Absent { removals: shard.removals })
    }

    /// Puts in a log as the index had it after `absent` was seen; an error if the index may have moved on meanwhile.
    pub(crate) fn insert(
        self: &Arc<Self>,
        absent: Absent,
        id: LogId,
        state: LogState,
    ) -> Result<Pin, Absent> {
        let mut shard = self.shard(id);
        if let Some(log) = shard.logs.get(&id) {
            return Ok(self.pin(log));
        }
        if shard.removals != absent.removals {
            return Err(Absent { removals: shard.removals });
        }
        let log = Arc::new(Log::new(id, state));
        shard.logs.insert(id, Arc::clone(&log));
        Ok(self.pin(&log))
    }
}

impl Clone for Pin {
    fn clone(&self) -> Self {
        self.logs.pin(&self.log)
    }
}

impl std::ops::Deref for Pin {
    type Target = Log;

    fn deref(&self) -> &Log {
        &self.log
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        // What the other pins did to the log comes before this one takes it out.
        if self.log.pins.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        let mut shard = self.logs.shard(self.log.id);
        // Somebody may have got it again before the shard was ours; then that pin is the last, or it took the log out already.
        let is_here = shard.logs.get(&self.log.id).is_some_and(|log| Arc::ptr_eq(log, &self.log));
        if is_here && self.log.pins.load(Ordering::Acquire) == 0 && self.log.state().is_idle() {
            shard.logs.remove(&self.log.id);
            shard.removals += 1;
            self.log.state().tail.clear(&self.logs.tails);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(length: usize) -> Bytes {
        Bytes::from(vec![0; length])
    }

    #[test]
    fn a_tail_keeps_the_newest_entries_within_its_bounds() {
        let pool = AtomicUsize::new(0);
        let mut tail = TailBuffer::default();
        for seq in 0..1000 {
            tail.push(&pool, Seq::new(seq), bytes(200));
            assert!(pool.load(Ordering::Relaxed) <= MAX_TAIL_BYTES);
        }
        assert!(tail.from(Seq::new(700)).is_none());
        assert!(tail.from(Seq::new(800)).is_some());
        let newest: Vec<u64> = tail.from(Seq::new(998)).unwrap().map(|entry| entry.seq.get()).collect();
        assert_eq!(newest, [998, 999]);
        assert_eq!(tail.from(Seq::new(1000)).unwrap().count(), 0);
        tail.forget_through(&pool, Seq::new(998));
        assert!(tail.from(Seq::new(998)).is_none() && tail.from(Seq::new(999)).is_some());
        tail.push(&pool, Seq::new(1000), bytes(MAX_TAIL_BYTES));
        assert!(tail.from(Seq::new(1000)).is_none(), "an entry above the bound is read from disk");
        assert_eq!(pool.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn ten_thousand_tails_fit_whatever_the_first_ones_hold() {
        let pool = AtomicUsize::new(0);
        let mut tails: Vec<TailBuffer> = (0..10_000).map(|_| TailBuffer::default()).collect();
        for tail in &mut tails {
            for seq in 0..300 {
                tail.push(&pool, Seq::new(seq), Bytes::from_static(&[0; 200]));
            }
            assert!(tail.bytes > MAX_CRAMPED_TAIL_BYTES * 9 / 10, "its readers find something");
        }
        let most = |tail: &TailBuffer| tail.bytes <= MAX_CRAMPED_TAIL_BYTES;
        assert!(!most(&tails[0]) && most(&tails[9_999]));
        assert!(pool.load(Ordering::Relaxed) <= MAX_TAILS_BYTES);
    }

    #[test]
    fn a_log_leaves_memory_with_its_last_pin_and_stale_looks_at_the_index_are_refused() {
        let logs = Logs::new();
        let id = LogId::from_bytes([1; 16]);
        let absent = logs.get(id).unwrap_err();
        let first = logs.insert(absent, id, LogState::new(None)).unwrap();
        let second = logs.get(id).unwrap();
        drop(first);
        assert!(logs.get(id).is_ok());
        drop(second);
        assert!(logs.get(id).is_err());
        let retry = logs.insert(absent, id, LogState::new(None)).unwrap_err();
        assert!(logs.insert(retry, id, LogState::new(None)).is_ok());
    }

    #[test]
    fn of_pins_that_go_at_the_same_time_one_takes_the_log_out() {
        let logs = Logs::new();
        let id = LogId::from_bytes([3; 16]);
        for _ in 0..200 {
            let absent = logs.get(id).unwrap_err();
            let pin = logs.insert(absent, id, LogState::new(None)).unwrap();
            std::thread::scope(|scope| {
                for pin in [pin.clone(), pin.clone(), pin] {
                    let logs = Arc::clone(&logs);
                    scope.spawn(move || {
                        drop(pin);
                        drop(logs.get(id));
                    });
                }
            });
            assert_eq!(logs.len(), 0);
        }
    }

    #[test]
    fn an_open_log_or_one_the_index_does_not_have_stays() {
        let logs = Logs::new();
        let id = LogId::from_bytes([2; 16]);
        let pin = logs.insert(logs.get(id).unwrap_err(), id, LogState::new(None)).unwrap();
        pin.state().dirty = true;
        drop(pin);
        logs.get(id).unwrap().state().dirty = false;
        assert!(logs.get(id).is_err());
    }
}
