//! The index: sled, so that a log's head and the place of an entry are found without reading the log.
//!
//! It owns every call of sled, and keeps to what is safe there (D-38): one `Db`, plain inserts by one thread, `flush` and an
//! `fdatasync` of our own. It is derived from the log and may be thrown away at any time.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::codec::Malformed;
use super::keys::{self, Covered};
use super::log::{Extent, LogState, Stored};
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

    pub(crate) fn covered(&self) -> Result<Option<Covered>> {
        Ok(self.db.get(keys::COVERED)?.map(|value| Covered::decode(&value)).transpose()?)
    }

    /// Makes everything inserted so far durable, then says that it covers the log up to there.
    pub(crate) fn set_covered(&self, covered: Covered) -> Result<()> {
        self.db.insert(keys::COVERED, covered.encode())?;
        self.db.flush()?;
        // sled's flush does not reach the disk (storage.md); this does.
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
        if !stored.head.frontier.closed {
            let from = Seq::after(stored.head.frontier.watermark);
            for record in self.extent_records(id, from) {
                // What lies behind the head was written by an index run that a crash cut short; it will be written again.
                let mut extents = record?;
                extents.retain(|extent| extent.lsn <= stored.changed_in);
                for extent in extents.iter().filter(|extent| extent.last() >= from) {
                    let entries = extent.entries.min(extent.last().get() - from.get() + 1);
                    state.retained.push(caps, extent.last(), entries, extent.bytes);
                }
                if !extents.is_empty() {
                    state.open_extents = extents;
                }
            }
            if spans(&state.open_extents) >= keys::EXTENT_ENTRIES {
                state.open_extents.clear();
            }
        }
        Ok(Some(state))
    }

    /// Writes the head of a log and what is found by it.
    pub(crate) fn put_head(&self, id: LogId, stored: &Stored, is_new: bool) -> Result<()> {
        let head = &stored.head;
        self.db.insert(keys::head(id), keys::encode_head(stored))?;
        if is_new {
            self.db.insert(keys::owner(&head.owner, id), &[])?;
        }
        if head.frontier.closed {
            self.db.remove(keys::open(id))?;
            if let Some(at) = head.expires_at {
                self.db.insert(keys::expiry(at, id), &[])?;
            }
        } else if is_new {
            self.db.insert(keys::open(id), &[])?;
        }
        Ok(())
    }

    /// Adds frames to a log's extents; returns the frames of the last record if it is not full.
    pub(crate) fn put_extents(
        &self,
        id: LogId,
        mut open: Vec<Extent>,
        new: &[Extent],
    ) -> Result<Vec<Extent>> {
        let mut changed = false;
        for extent in new {
            open.push(*extent);
            changed = true;
            if spans(&open) >= keys::EXTENT_ENTRIES {
                self.put_extent_record(id, &open)?;
                open.clear();
                changed = false;
            }
        }
        if changed {
            self.put_extent_record(id, &open)?;
        }
        Ok(open)
    }

    fn put_extent_record(&self, id: LogId, extents: &[Extent]) -> Result<()> {
        if let Some(first) = extents.first() {
            self.db.insert(keys::extent(id, first.first), keys::encode_extents(extents))?;
        }
        Ok(())
    }

    /// Drops the records of extents that lie at or below `watermark` as a whole.
    pub(crate) fn drop_extents(&self, id: LogId, watermark: Seq) -> Result<()> {
        let range = self.db.range(keys::extent(id, Seq::FIRST)..=keys::extent(id, watermark));
        for item in range {
            let (key, value) = item?;
            let last = keys::decode_extents(&key, &value)?.last().map(Extent::last);
            if last.is_none_or(|last| last <= watermark) {
                self.db.remove(key)?;
            }
        }
        Ok(())
    }

    /// Forgets a log.
    pub(crate) fn remove_log(&self, id: LogId, stored: &Stored) -> Result<()> {
        for item in self.db.range(keys::extent(id, Seq::FIRST)..=keys::extent(id, Seq::new(u64::MAX))) {
            self.db.remove(item?.0)?;
        }
        if let Some(at) = stored.head.expires_at {
            self.db.remove(keys::expiry(at, id))?;
        }
        self.db.remove(keys::open(id))?;
        self.db.remove(keys::owner(&stored.head.owner, id))?;
        self.db.remove(keys::head(id))?;
        Ok(())
    }

    /// The frames of a log from the one that holds `from` on, a record at a time.
    pub(crate) fn extent_records(&self, id: LogId, from: Seq) -> impl Iterator<Item = Result<Vec<Extent>>> {
        let start = keys::extent(id, from);
        let lower = self.db.range(keys::extent(id, Seq::FIRST)..=start.clone()).next_back();
        let start = match lower {
            Some(Ok((key, _))) => key.to_vec(),
            Some(Err(_)) | None => start,
        };
        let range = self.db.range(start..=keys::extent(id, Seq::new(u64::MAX)));
        range.map(|item| {
            let (key, value) = item?;
            Ok(keys::decode_extents(&key, &value)?)
        })
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

    pub(crate) fn expired(&self, now: UnixMillis, limit: usize) -> Result<Vec<LogId>> {
        let end = keys::expiry(UnixMillis(now.0.saturating_add(1)), LogId::from_bytes([0; 16]));
        ids(self.db.range(vec![keys::EXPIRY]..end).keys().take(limit))
    }

    pub(crate) fn record(&self, name: &[u8]) -> Result<Option<Record>> {
        Ok(self.db.get(keys::record(name))?.map(|value| keys::decode_record(&value)).transpose()?)
    }

    pub(crate) fn put_record(&self, name: &[u8], record: Option<&Record>) -> Result<()> {
        match record {
            Some(record) => self.db.insert(keys::record(name), keys::encode_record(record))?,
            None => self.db.remove(keys::record(name))?,
        };
        Ok(())
    }
}

/// The ids that these keys end with.
fn ids(keys: impl Iterator<Item = sled::Result<sled::IVec>>) -> Result<Vec<LogId>> {
    keys.filter_map(|key| key.map(|key| keys::last_id(&key)).transpose()).map(|id| Ok(id?)).collect()
}

fn spans(extents: &[Extent]) -> u64 {
    extents.iter().map(|extent| extent.entries).sum()
}
