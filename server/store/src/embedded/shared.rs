//! What the writer, the indexer and the callers share.
//!
//! The writer alone changes logs and records; the indexer alone changes the index ([`indexer`](super::indexer)). What the one hands to
//! the other is in the [`backlog`](super::backlog).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use super::Options;
use super::account::Accounts;
use super::backlog::Backlog;
use super::blob::Blobs;
use super::change::Durability;
use super::frame::Lsn;
use super::index::{Index, IndexError};
use super::keys::Covered;
use super::log::{LogState, Logs, Pin};
use super::segment::Segments;
use super::space::Space;
use super::sync::{Mutex, MutexGuard};
use crate::api::{Health, Record, Version, WriteError};
use crate::types::{LogId, Owner};

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) epoch: u64,
    /// What an epoch lower than ours may have lost.
    pub(crate) previous: Durability,
    pub(crate) logs: Arc<Logs>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) index: Index,
    pub(crate) segments: Segments,
    pub(crate) blobs: Blobs,
    pub(crate) space: Space,
    pub(crate) health: watch::Sender<Health>,
    records: Mutex<Records>,
    /// What changed and is not in the index yet.
    pub(crate) backlog: Backlog,
}

/// Records that the index does not have yet.
#[derive(Debug, Default)]
struct Records {
    cells: HashMap<Bytes, Cell>,
    removals: u64,
}

/// A record, or that there is none, since a version.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) version: Version,
    pub(crate) value: Option<Bytes>,
    /// Where the key was set first since it last did not exist.
    pub(crate) since: Lsn,
    /// The frame that says so: at the version, or a copy of that.
    pub(crate) lsn: Lsn,
    /// The length of the frame.
    pub(crate) length: u64,
}

/// A record that exists: its version, and where its key was set first since it last did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) version: Version,
    pub(crate) since: Lsn,
}

/// What a caller found when it looked a record up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    chain: Option<Chain>,
    removals: u64,
}

impl Cell {
    pub(crate) fn chain(&self) -> Option<Chain> {
        self.value.as_ref().map(|_| Chain { version: self.version, since: self.since })
    }
}

impl Shared {
    pub(crate) fn new(
        options: Options,
        opened: Covered,
        previous: Durability,
        index: Index,
        segments: Segments,
        blobs: Blobs,
        space: Space,
    ) -> Self {
        Self {
            options,
            epoch: opened.epoch,
            previous,
            logs: Logs::new(),
            accounts: Accounts::new(options.quotas),
            index,
            segments,
            blobs,
            space,
            health: watch::channel(Health::Serving).0,
            records: Mutex::default(),
            backlog: Backlog::new(opened.lsn),
        }
    }

    /// Fails every later write (D-24). The first reason stays.
    pub(crate) fn poison(&self, reason: &str) {
        self.health.send_if_modified(|health| {
            let first = *health == Health::Serving;
            if first {
                tracing::error!(reason, "the store is poisoned");
                *health = Health::Poisoned { reason: reason.to_owned() };
            }
            first
        });
    }

    pub(crate) fn check_health(&self) -> Result<(), WriteError> {
        self.health.borrow().check()
    }

    /// Says that no write will be taken any more, and that this is as it should be.
    pub(crate) fn set_closed(&self) {
        self.health.send_if_modified(|health| {
            let serving = *health == Health::Serving;
            if serving {
                *health = Health::Closed;
            }
            serving
        });
    }

    /// The log, from memory or from the index. Blocks on the disk.
    pub(crate) fn pin(&self, id: LogId) -> Result<Option<Pin>, IndexError> {
        let mut absent = match self.logs.get(id) {
            Ok(pin) => return Ok(Some(pin)),
            Err(absent) => absent,
        };
        loop {
            let Some(state) = self.index.load(id, &self.options.caps)? else { return Ok(None) };
            match self.logs.insert(absent, id, state) {
                Ok(pin) => return Ok(Some(pin)),
                Err(moved_on) => absent = moved_on,
            }
        }
    }

    /// A place in memory for a log that is about to be made.
    pub(crate) fn pin_new(&self, id: LogId) -> Result<Pin, WriteError> {
        let mut absent = self.logs.get(id).err().ok_or(WriteError::Exists)?;
        loop {
            match self.logs.insert(absent, id, LogState::new(None)) {
                Ok(pin) => return Ok(pin),
                Err(moved_on) => absent = moved_on,
            }
        }
    }

    /// The logs of an owner, the highest id first: those of the index and those that it does not have yet, without those that it
    /// still has. Blocks on the disk.
    pub(crate) fn logs_of(
        &self,
        owner: &Owner,
        before: Option<LogId>,
        limit: usize,
    ) -> Result<Vec<LogId>, IndexError> {
        // Memory first: a log that leaves it meanwhile is in the index by then.
        let in_memory = self.logs.of_owner(owner);
        let gone = in_memory.iter().filter(|(_, exists)| !exists).count();
        let indexed = self.index.logs_of(owner, before, limit.saturating_add(gone))?;
        let mut ids = BTreeSet::from_iter(indexed);
        for (id, exists) in in_memory {
            if !exists {
                ids.remove(&id);
            } else if before.is_none_or(|before| id < before) {
                ids.insert(id);
            }
        }
        Ok(ids.into_iter().rev().take(limit).collect())
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The record in memory: `Some(None)` says that it is known not to exist.
    pub(crate) fn record_in_memory(&self, key: &[u8]) -> Option<Option<Record>> {
        let records = self.records();
        let cell = records.cells.get(key)?;
        Some(cell.value.clone().map(|value| Record { version: cell.version, value }))
    }

    /// Records by the prefix of their keys, in the order of keys: those of the index and those that it does not have yet, without
    /// those that it still has. Blocks on the disk.
    pub(crate) fn records_with(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Record)>, IndexError> {
        let listed = |key: &Bytes| key.starts_with(prefix) && after.is_none_or(|after| **key > *after);
        // Memory first: a record that leaves it meanwhile is in the index by then.
        let in_memory: Vec<(Bytes, Cell)> = {
            let records = self.records();
            let cells = records.cells.iter().filter(|(key, _)| listed(key));
            cells.map(|(key, cell)| (key.clone(), cell.clone())).collect()
        };
        let gone = in_memory.iter().filter(|(_, cell)| cell.value.is_none()).count();
        let indexed = self.index.records(prefix, after, limit.saturating_add(gone))?;
        let mut found = BTreeMap::from_iter(indexed);
        for (key, Cell { version, value, .. }) in in_memory {
            match value {
                Some(value) => found.insert(key, Record { version, value }),
                None => found.remove(&key),
            };
        }
        Ok(found.into_iter().take(limit).collect())
    }

    /// Looks a record up for a put of it. Blocks on the disk.
    pub(crate) fn see_record(&self, key: &[u8]) -> Result<Seen, IndexError> {
        let removals = self.records().removals;
        let stored = self.index.record(key)?;
        let chain = stored.map(|stored| Chain { version: stored.record.version, since: stored.since });
        Ok(Seen { chain, removals })
    }

    /// What a put must be checked against, or `None` if `seen` is out of date.
    pub(crate) fn record_chain(&self, key: &[u8], seen: Seen) -> Option<Option<Chain>> {
        let records = self.records();
        match records.cells.get(key) {
            Some(cell) => Some(cell.chain()),
            None => (records.removals == seen.removals).then_some(seen.chain),
        }
    }

    pub(crate) fn set_record(&self, key: Bytes, cell: Cell) {
        self.records().cells.insert(key, cell);
    }

    /// The records of these keys that memory has.
    pub(crate) fn cells(&self, keys: &[Bytes]) -> Vec<(Bytes, Cell)> {
        let known = self.records();
        keys.iter().filter_map(|key| Some((key.clone(), known.cells.get(key)?.clone()))).collect()
    }

    /// Lets a record go from memory that the index has now, unless it was put again.
    pub(crate) fn forget_record(&self, key: &Bytes, lsn: Lsn) {
        let mut records = self.records();
        if records.cells.get(key).is_some_and(|now| now.lsn == lsn) {
            records.cells.remove(key);
            records.removals += 1;
        }
    }
}
