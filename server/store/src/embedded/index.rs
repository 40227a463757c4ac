//! The index: sled, so that a log's head and the place of an entry are found without reading the log.
//!
//! It owns every call of sled, and keeps to what is safe there (D-38): one `Db`, plain inserts by one thread, `flush` and an
//! `fdatasync` of our own. It is derived from the log and may be thrown away at any time.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::account::Count;
use super::codec::{Malformed, Reader, put_varint};
use super::frame::Lsn;
use super::keys::{self, Covered, StoredRecord};
use super::log::{Extent, LogState, Rewritten, Stored};
use crate::api::Record;
use crate::types::{LogId, Owner, Seq, UnixMillis};

/// What sled said, or what is wrong with what it gave back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexError {
    #[error("sled: {0}")]
    Sled(#[from] sled::Error),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("sync of {path}: {source}")]
    Sync { path: PathBuf, source: io::Error },
}

type Result<T> = std::result::Result<T, IndexError>;

#[derive(Debug)]
pub(crate) struct Index {
    db: sled::Db,
    file: PathBuf,
}

impl Index {
    pub(crate) fn open(dir: &Path, cache_bytes: u64) -> Result<Self> {
        let db =
            sled::Config::new().path(dir).cache_capacity(cache_bytes).flush_every_ms(Some(500)).open()?;
        Ok(Self { db, file: dir.join("db") })
    }

    fn insert(&self, key: impl AsRef<[u8]>, value: impl Into<sled::IVec>) -> Result<Option<sled::IVec>> {
        #[cfg(test)]
        self.may_fail()?;
        Ok(self.db.insert(key, value)?)
    }

    fn remove(&self, key: impl AsRef<[u8]>) -> Result<Option<sled::IVec>> {
        #[cfg(test)]
        self.may_fail()?;
        Ok(self.db.remove(key)?)
    }

    /// Lets a test have any change of the index fail.
    #[cfg(test)]
    fn may_fail(&self) -> Result<()> {
        let failed = super::disk::faults::before(super::disk::faults::Op::Index, &self.file);
        failed.map_err(|source| IndexError::Sync { path: self.file.clone(), source })
    }

    pub(crate) fn covered(&self) -> Result<Option<Covered>> {
        Ok(self.db.get(keys::COVERED)?.map(|value| Covered::decode(&value)).transpose()?)
    }

    /// Makes everything inserted so far durable, and that it covers the log up to there.
    pub(crate) fn set_covered(&self, covered: Covered) -> Result<()> {
        self.insert(keys::COVERED, covered.encode())?;
        self.sync()
    }

    /// Makes everything inserted so far durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.db.flush()?;
        // sled's flush does not reach the disk (storage.md); this does.
        #[cfg(test)]
        self.may_fail()?;
        let synced = File::open(&self.file).and_then(|file| file.sync_data());
        synced.map_err(|source| IndexError::Sync { path: self.file.clone(), source })
    }

    pub(crate) fn head(&self, id: LogId) -> Result<Option<Stored>> {
        Ok(self.db.get(keys::head(id))?.map(|value| keys::decode_head(&value)).transpose()?)
    }

    /// The highest id of all logs, or `None` if there are none.
    pub(crate) fn newest_log(&self) -> Result<Option<LogId>> {
        let all = keys::head(LogId::from_bytes([0; 16]))..=keys::head(LogId::from_bytes([u8::MAX; 16]));
        let newest = self.db.range(all).keys().next_back().transpose()?;
        Ok(newest.and_then(|key| keys::last_id(&key)))
    }

    /// What memory needs of a log that is taken up again.
    pub(crate) fn load(&self, id: LogId, caps: &crate::api::Caps) -> Result<Option<LogState>> {
        let Some(stored) = self.head(id)? else { return Ok(None) };
        let mut state = LogState::new(Some(stored.clone()));
        if stored.head.endless {
            let mut extents = self.open_extents(id)?;
            extents.retain(|extent| extent.lsn <= stored.changed_in);
            state.open_extents = extents;
        } else if !stored.head.frontier.closed {
            let from = Seq::after(stored.head.frontier.watermark);
            for record in self.extent_records(id, from) {
                let mut extents = record?;
                // What lies behind the head was written by an index run that is under way: memory has it.
                extents.retain(|extent| extent.lsn <= stored.changed_in);
                for extent in extents.iter().filter(|extent| extent.last >= from) {
                    let entries = extent.entries.min(extent.last.get() - from.get() + 1);
                    state.retained.push(caps, extent.last, entries, extent.bytes);
                }
                if !extents.is_empty() {
                    state.open_extents = extents;
                }
            }
            state.retained.settle(stored.head.retained_entries, stored.head.retained_bytes);
            if is_full(&state.open_extents) {
                state.open_extents.clear();
            }
        }
        Ok(Some(state))
    }

    /// Writes the head of a log and what finds it, where `before` was; the head comes last, so that a head says that the rest is
    /// there.
    pub(crate) fn put_head(&self, id: LogId, before: Option<&Stored>, stored: &Stored) -> Result<()> {
        let head = &stored.head;
        if before.is_none() && !head.endless {
            self.insert(keys::owner(&head.owner, id), &[])?;
        }
        if before.is_none() && !head.is_settled() {
            self.insert(keys::open(id), &[])?;
        }
        let was_open = before.is_none_or(|before| !before.head.is_settled());
        if head.frontier.closed && was_open {
            self.remove(keys::open(id))?;
        }
        let (due_before, due) = (before.and_then(|before| before.head.due_at()), head.due_at());
        if let Some(at) = due_before.filter(|_| due_before != due) {
            self.remove(keys::due(at, id))?;
        }
        if let Some(at) = due.filter(|_| due_before != due) {
            self.insert(keys::due(at, id), &[])?;
        }
        self.insert(keys::head(id), keys::encode_head(stored))?;
        Ok(())
    }

    /// Adds frames to a log's extents; returns the frames of the last record if it is not full.
    pub(crate) fn put_extents(&self, id: LogId, open: Vec<Extent>, new: &[Extent]) -> Result<Vec<Extent>> {
        if new.is_empty() {
            return Ok(open);
        }
        let mut all = open;
        all.extend_from_slice(new);
        let mut last = &[][..];
        for record in records(&all) {
            self.put_extent_record(id, record)?;
            last = record;
        }
        Ok(if is_full(last) { Vec::new() } else { last.to_vec() })
    }

    fn put_extent_record(&self, id: LogId, extents: &[Extent]) -> Result<()> {
        if let Some(first) = extents.first() {
            self.insert(keys::extent(id, first.first), keys::encode_extents(extents))?;
        }
        Ok(())
    }

    /// Puts what was written again in its place; returns what it took the place of.
    pub(crate) fn replace_extents(&self, id: LogId, rewritten: &Rewritten) -> Result<Vec<Extent>> {
        let Rewritten { extent: new, left, right, .. } = rewritten;
        let (mut stale, mut all, mut dropped, mut after) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for item in self.extent_items(id, new.first, new.last) {
            let (key, extents) = item?;
            stale.push(key);
            for extent in extents {
                if extent.last < new.first {
                    all.push(extent);
                } else if extent.first > new.last {
                    after.push(extent);
                } else {
                    dropped.push(extent);
                }
            }
        }
        all.extend(left.iter().chain([new]).chain(right));
        all.append(&mut after);
        // The new ones first: who reads meanwhile finds the entries in one form or the other.
        let mut written = BTreeSet::new();
        for record in records(&all) {
            self.put_extent_record(id, record)?;
            written.extend(record.first().map(|extent| keys::extent(id, extent.first)));
        }
        for key in stale.iter().filter(|key| !written.contains(&key.to_vec())) {
            self.remove(key)?;
        }
        Ok(dropped)
    }

    /// The last record of a log's extents if it is not full.
    pub(crate) fn open_extents(&self, id: LogId) -> Result<Vec<Extent>> {
        let range = keys::extent(id, Seq::FIRST)..=keys::extent(id, Seq::new(u64::MAX));
        let Some(last) = self.db.range(range).next_back() else { return Ok(Vec::new()) };
        let (key, value) = last?;
        let extents = keys::decode_extents(&key, &value)?;
        Ok(if is_full(&extents) { Vec::new() } else { extents })
    }

    /// Drops the records of extents that lie at or below `watermark` as a whole; returns what they held.
    pub(crate) fn drop_extents(&self, id: LogId, watermark: Seq) -> Result<Vec<Extent>> {
        let mut dropped = Vec::new();
        for item in self.extent_items(id, Seq::FIRST, watermark) {
            let (key, mut extents) = item?;
            if extents.last().is_none_or(|last| last.last <= watermark) {
                self.remove(key)?;
                dropped.append(&mut extents);
            }
        }
        Ok(dropped)
    }

    /// Takes away what a crash left of an index run that did not come to the head of the log: the log will say it again.
    pub(crate) fn heal(&self, id: LogId) -> Result<()> {
        let changed_in = self.head(id)?.map(|stored| stored.changed_in);
        for item in self.extent_items(id, Seq::FIRST, Seq::new(u64::MAX)) {
            let (key, extents) = item?;
            let known = |extent: &&Extent| changed_in.is_some_and(|changed_in| extent.lsn <= changed_in);
            let kept: Vec<Extent> = extents.iter().filter(known).copied().collect();
            if kept.len() < extents.len() {
                self.remove(key)?;
                self.put_extents(id, Vec::new(), &kept)?;
            }
        }
        Ok(())
    }

    /// Forgets a log; returns what was known of it.
    pub(crate) fn remove_log(&self, id: LogId) -> Result<(Option<Stored>, Vec<Extent>)> {
        let mut dropped = Vec::new();
        for item in self.extent_items(id, Seq::FIRST, Seq::new(u64::MAX)) {
            let (key, mut extents) = item?;
            self.remove(key)?;
            dropped.append(&mut extents);
        }
        let stored = self.head(id)?;
        if let Some(Stored { head, .. }) = &stored {
            if let Some(at) = head.due_at() {
                self.remove(keys::due(at, id))?;
            }
            if !head.is_settled() {
                self.remove(keys::open(id))?;
            }
            self.remove(keys::owner(&head.owner, id))?;
            self.remove(keys::head(id))?;
        }
        Ok((stored, dropped))
    }

    /// The frames of a log from the one that holds `from` on, a record at a time.
    pub(crate) fn extent_records(&self, id: LogId, from: Seq) -> impl Iterator<Item = Result<Vec<Extent>>> {
        self.extent_items(id, from, Seq::new(u64::MAX)).map(|item| Ok(item?.1))
    }

    /// The records of extents from the one that holds `from` on to the one that holds `through`, with their keys.
    fn extent_items(
        &self,
        id: LogId,
        from: Seq,
        through: Seq,
    ) -> impl Iterator<Item = Result<(sled::IVec, Vec<Extent>)>> {
        let start = keys::extent(id, from);
        // The first seq needs no look for the record that it may lie within.
        let within = (from > Seq::FIRST)
            .then(|| self.db.range(keys::extent(id, Seq::FIRST)..=start.clone()).next_back())
            .flatten();
        let rest = if within.is_some() { Bound::Excluded(start) } else { Bound::Included(start) };
        let rest = self.db.range((rest, Bound::Included(keys::extent(id, through))));
        within.into_iter().chain(rest).map(|item| {
            let (key, value) = item?;
            let extents = keys::decode_extents(&key, &value)?;
            Ok((key, extents))
        })
    }

    /// How many bytes of each segment are live, about.
    pub(crate) fn live(&self) -> Result<Vec<(Lsn, u64)>> {
        let mut live = Vec::new();
        for item in self.db.range(vec![keys::LIVE]..vec![keys::LIVE + 1]) {
            let (key, value) = item?;
            if let Some(base) = keys::live_base(&key) {
                live.push((base, Reader::new(Bytes::copy_from_slice(&value)).varint()?));
            }
        }
        Ok(live)
    }

    /// Sets how many bytes of the segment at `base` are live; absent = there is no such segment.
    pub(crate) fn put_live(&self, base: Lsn, bytes: Option<u64>) -> Result<()> {
        match bytes {
            Some(bytes) => {
                let mut value = Vec::new();
                put_varint(&mut value, bytes);
                self.insert(keys::live(base), value)?
            }
            None => self.remove(keys::live(base))?,
        };
        Ok(())
    }

    /// The heads of all logs with an id greater than `after`, in the order of ids.
    pub(crate) fn heads(&self, after: Option<LogId>) -> impl Iterator<Item = Result<(LogId, Stored)>> {
        let start = after.map_or_else(|| vec![keys::HEAD], keys::head);
        let all = self.db.range(start..vec![keys::HEAD + 1]);
        let heads = all.map(|item| {
            let (key, value) = item?;
            let id = keys::last_id(&key).ok_or(Malformed("a head without an id"))?;
            Ok((id, keys::decode_head(&value)?))
        });
        heads.filter(move |item| !item.as_ref().is_ok_and(|(id, _)| Some(*id) == after))
    }

    /// What an owner keeps; absent = all of them.
    pub(crate) fn count_of(&self, owner: Option<&Owner>) -> Result<Option<Count>> {
        Ok(self.db.get(keys::count(owner))?.map(|value| keys::decode_count(&value)).transpose()?)
    }

    pub(crate) fn put_count(&self, owner: Option<&Owner>, count: &Count) -> Result<()> {
        self.insert(keys::count(owner), keys::encode_count(count))?;
        Ok(())
    }

    /// Forgets an owner that keeps nothing.
    pub(crate) fn remove_count(&self, owner: &Owner) -> Result<()> {
        self.remove(keys::count(Some(owner)))?;
        Ok(())
    }

    /// What each owner keeps, that keeps something.
    pub(crate) fn counts(&self) -> impl Iterator<Item = Result<(Owner, Count)>> {
        self.db.range(vec![keys::COUNT]..vec![keys::COUNT + 1]).map(|item| {
            let (key, value) = item?;
            let owner = keys::count_owner(&key).ok_or(Malformed("a count of nobody"))?;
            Ok((owner, keys::decode_count(&value)?))
        })
    }

    /// How many keys of a kind there are. Goes through all of them.
    pub(crate) fn count(&self, kind: u8) -> Result<u64> {
        let mut count = 0;
        for key in self.db.range(vec![kind]..vec![kind + 1]).keys() {
            let _ = key?;
            count += 1;
        }
        Ok(count)
    }

    /// Whether there is such a key.
    pub(crate) fn has(&self, key: &[u8]) -> Result<bool> {
        Ok(self.db.contains_key(key)?)
    }

    pub(crate) fn open_logs(&self, after: Option<LogId>, limit: usize) -> Result<Vec<LogId>> {
        let start = after.map_or_else(|| vec![keys::OPEN], keys::open);
        let range = self.db.range(start..vec![keys::OPEN + 1]).keys();
        let ids = range.map(|key| Ok(key.map(|key| keys::last_id(&key).filter(|id| Some(*id) > after))?));
        ids.filter_map(Result::transpose).take(limit).collect()
    }

    /// The highest id first.
    pub(crate) fn logs_of(&self, owner: &Owner, before: Option<LogId>, limit: usize) -> Result<Vec<LogId>> {
        ids(self.db.range(keys::owner_range(owner, before)).keys().rev().take(limit))
    }

    pub(crate) fn due(&self, now: UnixMillis, limit: usize) -> Result<Vec<LogId>> {
        let end = keys::due(UnixMillis(now.0.saturating_add(1)), LogId::from_bytes([0; 16]));
        ids(self.db.range(vec![keys::DUE]..end).keys().take(limit))
    }

    pub(crate) fn record(&self, name: &[u8]) -> Result<Option<StoredRecord>> {
        Ok(self.db.get(keys::record(name))?.map(|value| keys::decode_record(&value)).transpose()?)
    }

    /// Records by the prefix of their keys, in the order of keys.
    pub(crate) fn records(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Record)>> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(keys::record(after)));
        let first = Bound::Included(keys::record(prefix));
        // The later of the two is where the range begins.
        let start = if after.is_some_and(|after| after >= prefix) { from } else { first };
        let range = self.db.range((start, Bound::Unbounded));
        let whole = keys::record(prefix);
        let within = range.take_while(|item| item.as_ref().map_or(true, |(key, _)| key.starts_with(&whole)));
        let decoded = within.take(limit).map(|item| {
            let (key, value) = item?;
            Ok((keys::record_name(&key), keys::decode_record(&value)?.record))
        });
        decoded.collect()
    }

    /// Sets or removes a record; returns what was there.
    pub(crate) fn put_record(
        &self,
        name: &[u8],
        record: Option<&StoredRecord>,
    ) -> Result<Option<StoredRecord>> {
        let before = match record {
            Some(record) => self.insert(keys::record(name), keys::encode_record(record))?,
            None => self.remove(keys::record(name))?,
        };
        Ok(before.map(|value| keys::decode_record(&value)).transpose()?)
    }
}

/// The ids that these keys end with.
fn ids(keys: impl Iterator<Item = sled::Result<sled::IVec>>) -> Result<Vec<LogId>> {
    keys.filter_map(|key| key.map(|key| keys::last_id(&key)).transpose()).map(|id| Ok(id?)).collect()
}

/// Cuts extents into those of each record: it takes no more frames when it is full, and has no gap. A log has a gap where frames
/// that were evicted had left the disk before a rebuild.
fn records(extents: &[Extent]) -> impl Iterator<Item = &[Extent]> {
    let mut entries = 0;
    extents.chunk_by(move |extent, next| {
        entries += extent.entries;
        let goes_on = entries < keys::EXTENT_ENTRIES && extent.last.next() == next.first;
        if !goes_on {
            entries = 0;
        }
        goes_on
    })
}

/// Whether a record of these extents takes no more frames.
fn is_full(extents: &[Extent]) -> bool {
    extents.iter().map(|extent| extent.entries).sum::<u64>() >= keys::EXTENT_ENTRIES
}
