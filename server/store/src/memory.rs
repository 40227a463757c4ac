//! The twin of the embedded store in memory, for tests of its users and as the model it is checked against.
//!
//! It owns plain maps behind one lock. It keeps every promise of [`Store`] but durability.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::api::{
    Append, Appended, Batch, Caps, Entry, Health, MAX_BATCH_ENTRIES, MAX_RECORD_KEY_BYTES,
    MAX_RECORD_VALUE_BYTES, NewLog, ReadError, ReadLimit, Record, Store, Submitted, Usage, Version,
    WriteError,
};
use crate::compaction::{Compact, Span};
use crate::quota::{Kept, Quotas};
use crate::retained::Retained;
use crate::tail::Tail;
use crate::types::{Frontier, Head, LogId, Owner, Seq, UnixMillis};

/// A [`Store`] that forgets everything when it is dropped.
#[derive(Debug)]
pub struct MemoryStore {
    caps: Caps,
    quotas: Quotas,
    epoch: u64,
    health: watch::Sender<Health>,
    /// Each acknowledgement of an append takes one.
    acks: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    logs: HashMap<LogId, Log>,
    records: BTreeMap<Vec<u8>, Record>,
    versions: u64,
    free_bytes: Option<u64>,
}

#[derive(Debug)]
struct Log {
    head: Head,
    document: Bytes,
    entries: VecDeque<Entry>,
    retained: Retained,
    frontier: watch::Sender<Frontier>,
}

impl MemoryStore {
    /// An empty store of epoch 1.
    pub fn new(caps: Caps) -> Self {
        let (health, _) = watch::channel(Health::Serving);
        let acks = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        Self { caps, quotas: Quotas::default(), epoch: 1, health, acks, state: Mutex::default() }
    }

    /// Acknowledges no append from now on but those that [`Self::give_acks`] lets through. They are done and seen all the same.
    pub fn withhold_acks(&self) {
        self.acks.forget_permits(Semaphore::MAX_PERMITS);
    }

    /// Lets so many acknowledgements of appends through.
    pub fn give_acks(&self, count: usize) {
        self.acks.add_permits(count);
    }

    /// The same with quotas.
    #[must_use]
    pub fn with_quotas(self, quotas: Quotas) -> Self {
        Self { quotas, ..self }
    }

    /// Says from now on that its disk has this many bytes left; absent = it has none, as at first.
    pub fn set_free_bytes(&self, free: Option<u64>) {
        self.state().free_bytes = free;
    }

    /// The same logs, as a process that starts after this one was killed would find them: the epoch is one higher.
    #[must_use]
    pub fn reopen(self) -> Self {
        Self { epoch: self.epoch + 1, health: watch::channel(Health::Serving).0, ..self }
    }

    /// Fails from now on as if a write had failed.
    pub fn poison(&self, reason: &str) {
        self.health.send_replace(Health::Poisoned { reason: reason.to_owned() });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writable(&self) -> Result<MutexGuard<'_, State>, WriteError> {
        self.health.borrow().check()?;
        Ok(self.state())
    }
}

impl State {
    /// What an owner keeps; absent = all of them.
    fn kept(&self, owner: Option<&Owner>) -> Kept {
        let mut kept = Kept::default();
        for log in self.logs.values().filter(|log| owner.is_none_or(|owner| log.head.owner == *owner)) {
            kept.logs += 1;
            kept.bytes += log.head.retained_bytes + log.document.len() as u64;
        }
        kept
    }
}

impl Log {
    fn push(&mut self, caps: &Caps, payloads: Vec<Bytes>) {
        for payload in payloads {
            let seq = if self.entries.is_empty() { Seq::FIRST } else { self.head.frontier.committed.next() };
            self.retained.push(caps, seq, 1, payload.len() as u64);
            self.entries.push_back(Entry { first: seq, seq, payload });
            self.head.frontier.committed = seq;
        }
        self.evict(caps);
    }

    fn evict(&mut self, caps: &Caps) {
        let evicted = if self.head.endless { None } else { self.retained.evict(caps) };
        if let Some(watermark) = evicted {
            self.head.frontier.watermark = Some(watermark);
            self.entries.retain(|entry| entry.seq > watermark);
        }
        self.head.retained_entries = self.retained.entries();
        self.head.retained_bytes = self.retained.bytes();
    }

    fn compact(&mut self, caps: &Caps, compact: Compact) -> Result<(), WriteError> {
        self.head.check_compact(&compact)?;
        if let Some(through) = compact.through() {
            let begin = self.entries.partition_point(|entry| entry.first < compact.from);
            let end = self.entries.partition_point(|entry| entry.seq <= through);
            let starts = self.entries.get(begin).is_some_and(|entry| entry.first == compact.from);
            let ends = end.checked_sub(1).and_then(|last| self.entries.get(last));
            if !starts || ends.is_none_or(|entry| entry.seq != through) {
                return Err(WriteError::Invalid("a compaction begins and ends where entries do"));
            }
            let behind = self.entries.split_off(end);
            self.entries.truncate(begin);
            let mut first = compact.from;
            for Span { last, payload } in compact.spans {
                self.entries.push_back(Entry { first, seq: last, payload });
                first = last.next();
            }
            self.entries.extend(behind);
            self.retained = Retained::default();
            for entry in &self.entries {
                self.retained.push(caps, entry.seq, 1, entry.payload.len() as u64);
            }
            self.evict(caps);
        }
        self.head.generation += 1;
        if compact.settles {
            self.head.compacts_at = None;
        }
        Ok(())
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    fn free_bytes(&self) -> Option<u64> {
        self.state().free_bytes
    }

    fn usage(&self) -> Usage {
        let state = self.state();
        let (logs, kept) = (&state.logs, state.kept(None));
        let log_bytes = logs.values().map(|log| log.retained.bytes()).sum();
        let logs_in_memory = logs.len() as u64;
        Usage { log_bytes, live_bytes: log_bytes, logs_in_memory, kept, ..Usage::default() }
    }

    fn caps(&self) -> Caps {
        self.caps
    }

    async fn usage_of(&self, owner: &Owner) -> Result<Kept, ReadError> {
        Ok(self.state().kept(Some(owner)))
    }

    async fn create(&self, new: NewLog) -> Result<Head, WriteError> {
        check_batch(&new.entries)?;
        let mut state = self.writable()?;
        if state.logs.contains_key(&new.id) {
            return Err(WriteError::Exists);
        }
        let bytes = new.entries.iter().map(Bytes::len).sum::<usize>() + new.document.len();
        let with_it = |kept: Kept| Kept { logs: kept.logs + 1, bytes: kept.bytes + bytes as u64 };
        let (own, total) = (with_it(state.kept(Some(&new.owner))), with_it(state.kept(None)));
        self.quotas.check(own, total).map_err(WriteError::Full)?;
        let due = new.endless;
        let head = Head {
            status: new.status,
            epoch: self.epoch,
            endless: due.is_some(),
            compacts_at: due.and_then(|due| due.compacts_at),
            expires_at: due.and_then(|due| due.expires_at),
            ..Head::new(new.owner, new.created_at)
        };
        let (sender, _) = watch::channel(head.frontier);
        let mut log = Log {
            head,
            document: new.document,
            entries: VecDeque::new(),
            retained: Retained::default(),
            frontier: sender,
        };
        log.push(&self.caps, new.entries);
        log.frontier.send_replace(log.head.frontier);
        let head = log.head.clone();
        state.logs.insert(new.id, log);
        Ok(head)
    }

    async fn submit(&self, append: Append) -> Result<Submitted, WriteError> {
        check_batch(&append.entries)?;
        let mut state = self.writable()?;
        let log = state.logs.get_mut(&append.id).ok_or(WriteError::NotFound)?;
        check_append(&log.head, append.epoch, append.expected_last)?;
        log.push(&self.caps, append.entries);
        log.head.epoch = append.epoch;
        if let Some(status) = append.status {
            log.head.status = status;
        }
        if let Some(close) = append.close {
            log.head.frontier.closed = !log.head.endless;
            log.head.compacts_at = close.compacts_at;
            log.head.expires_at = close.expires_at;
        }
        log.frontier.send_replace(log.head.frontier);
        let appended = Appended { head: log.head.clone(), at: Instant::now() };
        let acks = Arc::clone(&self.acks);
        Ok(Submitted::new(async move {
            // Nobody closes it.
            let _ = acks.acquire_owned().await.map(OwnedSemaphorePermit::forget);
            Ok(appended)
        }))
    }

    async fn compact(&self, compact: Compact) -> Result<Head, WriteError> {
        compact.check()?;
        let mut state = self.writable()?;
        let log = state.logs.get_mut(&compact.id).ok_or(WriteError::NotFound)?;
        log.compact(&self.caps, compact)?;
        log.frontier.send_replace(log.head.frontier);
        Ok(log.head.clone())
    }

    async fn head(&self, id: LogId) -> Result<Option<Head>, ReadError> {
        Ok(self.state().logs.get(&id).map(|log| log.head.clone()))
    }

    async fn heads(&self, ids: &[LogId]) -> Result<Vec<(LogId, Head)>, ReadError> {
        let state = self.state();
        Ok(ids.iter().filter_map(|id| Some((*id, state.logs.get(id)?.head.clone()))).collect())
    }

    async fn document(&self, id: LogId) -> Result<Bytes, ReadError> {
        self.state().logs.get(&id).map(|log| log.document.clone()).ok_or(ReadError::NotFound)
    }

    async fn read(&self, id: LogId, after: Option<Seq>, limit: ReadLimit) -> Result<Batch, ReadError> {
        let state = self.state();
        let log = state.logs.get(&id).ok_or(ReadError::NotFound)?;
        log.head.check_position(after)?;
        let from = log.entries.partition_point(|entry| entry.seq < Seq::after(after));
        let mut bytes = 0;
        let within = |entry: &&Entry| {
            let first = bytes == 0;
            bytes += entry.payload.len().max(1);
            first || bytes <= limit.bytes
        };
        let entries =
            log.entries.iter().skip(from).take(limit.entries.max(1)).take_while(within).cloned().collect();
        Ok(Batch { entries, frontier: log.head.frontier })
    }

    async fn tail(&self, id: LogId) -> Result<Tail, ReadError> {
        let state = self.state();
        let log = state.logs.get(&id).ok_or(ReadError::NotFound)?;
        Ok(Tail::new(log.frontier.subscribe(), Box::new(())))
    }

    async fn purge(&self, id: LogId) -> Result<(), WriteError> {
        let log = self.writable()?.logs.remove(&id).ok_or(WriteError::NotFound)?;
        log.frontier.send_modify(|frontier| frontier.gone = true);
        Ok(())
    }

    async fn purge_many(&self, ids: &[LogId]) -> Result<usize, WriteError> {
        check_many(ids)?;
        let mut removed = 0;
        for id in ids {
            match self.purge(*id).await {
                Ok(()) => removed += 1,
                Err(WriteError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }

    async fn open_logs(&self, after: Option<LogId>, limit: usize) -> Result<Vec<LogId>, ReadError> {
        let state = self.state();
        let open = state.logs.iter().filter(|(id, log)| !log.head.is_settled() && Some(**id) > after);
        let mut ids: Vec<LogId> = open.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids.truncate(limit);
        Ok(ids)
    }

    async fn logs_of(
        &self,
        owner: &Owner,
        before: Option<LogId>,
        limit: usize,
    ) -> Result<Vec<LogId>, ReadError> {
        let state = self.state();
        let listed = |id: &LogId, log: &Log| {
            log.head.owner == *owner && !log.head.endless && before.is_none_or(|before| *id < before)
        };
        let mut ids: Vec<LogId> =
            state.logs.iter().filter(|(id, log)| listed(id, log)).map(|(id, _)| *id).collect();
        ids.sort_unstable_by(|one, other| other.cmp(one));
        ids.truncate(limit);
        Ok(ids)
    }

    async fn due(&self, now: UnixMillis, limit: usize) -> Result<Vec<LogId>, ReadError> {
        let state = self.state();
        let due =
            state.logs.iter().filter_map(|(id, log)| Some((log.head.due_at().filter(|at| *at <= now)?, *id)));
        let sorted: BTreeMap<(UnixMillis, LogId), ()> = due.map(|key| (key, ())).collect();
        Ok(sorted.into_keys().map(|(_, id)| id).take(limit).collect())
    }

    async fn record(&self, key: &[u8]) -> Result<Option<Record>, ReadError> {
        Ok(self.state().records.get(key).cloned())
    }

    async fn put_record(
        &self,
        key: &[u8],
        expected: Option<Version>,
        value: Option<Bytes>,
    ) -> Result<Version, WriteError> {
        check_record(key, value.as_ref())?;
        let mut state = self.writable()?;
        let found = state.records.get(key).map(|record| record.version);
        if found != expected {
            return Err(WriteError::Conflict { found });
        }
        state.versions += 1;
        let version = Version(state.versions);
        match value {
            Some(value) => state.records.insert(key.to_vec(), Record { version, value }),
            None => state.records.remove(key),
        };
        Ok(version)
    }

    async fn close(&self) {
        self.health.send_replace(Health::Closed);
    }

    async fn records(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Record)>, ReadError> {
        let state = self.state();
        // As cheap as the embedded store's: not all records are looked at for a page of them.
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let listed = state.records.range::<[u8], _>((from, Bound::Unbounded));
        let found = listed.take_while(|(key, _)| key.starts_with(prefix)).take(limit);
        Ok(found.map(|(key, record)| (Bytes::copy_from_slice(key), record.clone())).collect())
    }
}

pub(crate) fn check_batch(entries: &[Bytes]) -> Result<(), WriteError> {
    match entries.len() {
        0 => Err(WriteError::Invalid("a batch has at least one entry")),
        1..=MAX_BATCH_ENTRIES => Ok(()),
        _ => Err(WriteError::Invalid("a batch has at most 4096 entries")),
    }
}

pub(crate) fn check_many(ids: &[LogId]) -> Result<(), WriteError> {
    if ids.len() > MAX_BATCH_ENTRIES {
        return Err(WriteError::Invalid("a batch has at most 4096 logs"));
    }
    Ok(())
}

pub(crate) fn check_record(key: &[u8], value: Option<&Bytes>) -> Result<(), WriteError> {
    if key.is_empty() || key.len() > MAX_RECORD_KEY_BYTES {
        return Err(WriteError::Invalid("the key of a record has 1 to 1024 bytes"));
    }
    if value.is_some_and(|value| value.len() > MAX_RECORD_VALUE_BYTES) {
        return Err(WriteError::Invalid("the value of a record has at most 4096 bytes"));
    }
    Ok(())
}

/// Whether an append may follow this head.
pub(crate) fn check_append(head: &Head, epoch: u64, expected_last: Seq) -> Result<(), WriteError> {
    if head.frontier.gone {
        return Err(WriteError::NotFound);
    }
    if head.frontier.closed {
        return Err(WriteError::Closed);
    }
    if epoch < head.epoch {
        return Err(WriteError::Fenced { epoch: head.epoch });
    }
    if expected_last != head.frontier.committed {
        return Err(WriteError::Moved { last: head.frontier.committed });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing::Tested;

    fn make(caps: Caps, quotas: Quotas) -> (Tested, ()) {
        (Arc::new(MemoryStore::new(caps).with_quotas(quotas)), ())
    }

    crate::store_suite!(make);
}
