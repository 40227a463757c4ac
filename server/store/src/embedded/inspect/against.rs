//! The index against the log: whether it has what the log says, and no more.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::KnownIndex;
use crate::embedded::account::{self, Count};
use crate::embedded::change::Change;
use crate::embedded::frame::Lsn;
use crate::embedded::index::{Index, IndexError};
use crate::embedded::keys;
use crate::embedded::log::Stored;
use crate::quota::Kept;
use crate::types::{LogId, Owner};

/// Compares frame after frame with an index, as far as that covers the log.
///
/// It holds the ids of logs that the index does not know until their removal is seen: 16 bytes for each log that was purged and
/// whose frames are still on the disk; and as many for each log that changed since the index covers the log.
pub(super) struct Against<'a> {
    known: &'a KnownIndex,
    unknown: HashSet<LogId>,
    unknown_records: HashSet<Bytes>,
    ahead: Ahead,
}

/// What the log says beyond what the index covers. A crash may have come in the middle of an index run, so that the index has a part
/// of it; the next start goes on from there, and until then there is nothing to compare.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    logs: HashSet<LogId>,
    /// How many logs are found by their owner and do not exist yet.
    found: u64,
}

impl Ahead {
    pub(super) fn has(&self, id: LogId) -> bool {
        self.logs.contains(&id)
    }
}

impl<'a> Against<'a> {
    pub(super) fn new(known: &'a KnownIndex) -> Self {
        Self { known, unknown: HashSet::new(), unknown_records: HashSet::new(), ahead: Ahead::default() }
    }

    /// Sees the frame at `lsn`; returns what the index says otherwise.
    pub(super) fn see(&mut self, lsn: Lsn, change: &Change) -> Result<Option<String>, IndexError> {
        if lsn >= self.known.covered.lsn {
            self.see_ahead(change)?;
            return Ok(None);
        }
        match change {
            Change::Open { .. } => Ok(None),
            Change::Create(create) => self.see_log(create.id, lsn),
            Change::Append(append) => self.see_log(append.id, lsn),
            Change::Rewrite(rewrite) => self.see_log(rewrite.id, lsn),
            Change::Purge(purge) => {
                self.unknown.remove(&purge.id);
                let is_there = self.known.index.head(purge.id)?.is_some();
                Ok(is_there.then(|| format!("it has log {}, which was removed", purge.id)))
            }
            Change::Record(record) => self.see_record(&record.key, record.value.is_some(), lsn),
        }
    }

    fn see_ahead(&mut self, change: &Change) -> Result<(), IndexError> {
        let index = &self.known.index;
        match change {
            Change::Open { .. } => {}
            Change::Create(create) => {
                let is_found = index.has(&keys::owner(&create.origin.owner, create.id))?;
                self.ahead.found += u64::from(is_found && index.head(create.id)?.is_none());
                self.ahead.logs.insert(create.id);
            }
            Change::Append(append) => drop(self.ahead.logs.insert(append.id)),
            Change::Rewrite(rewrite) => drop(self.ahead.logs.insert(rewrite.id)),
            Change::Purge(purge) => {
                self.unknown.remove(&purge.id);
                self.ahead.logs.insert(purge.id);
            }
            Change::Record(record) => drop(self.unknown_records.remove(&record.key)),
        }
        Ok(())
    }

    fn see_log(&mut self, id: LogId, lsn: Lsn) -> Result<Option<String>, IndexError> {
        let Some(stored) = self.known.index.head(id)? else {
            self.unknown.insert(id);
            return Ok(None);
        };
        Ok((stored.changed_in < lsn).then(|| format!("it does not have the change of log {id} at {lsn}")))
    }

    fn see_record(&mut self, key: &Bytes, exists: bool, lsn: Lsn) -> Result<Option<String>, IndexError> {
        match self.known.index.record(key)? {
            Some(record) if record.lsn < lsn => Ok(Some(format!("it has an old record, not that at {lsn}"))),
            Some(_) => Ok(None),
            None => {
                if exists {
                    // A copy: the key itself is a part of the frame's whole segment.
                    self.unknown_records.insert(Bytes::copy_from_slice(key));
                } else {
                    self.unknown_records.remove(key);
                }
                Ok(None)
            }
        }
    }

    /// What the index does not have although the log never says that it was removed; and what it need not have.
    pub(super) fn end(self) -> (Vec<String>, Ahead) {
        let logs = self.unknown.into_iter().map(|id| format!("it does not have log {id}"));
        let records = self.unknown_records.len();
        let records = (records > 0).then(|| format!("{records} records are missing in it"));
        (logs.chain(records).collect(), self.ahead)
    }
}

/// What is missing of the keys that find a log.
pub(super) fn finds(index: &Index, id: LogId, stored: &Stored) -> Result<Vec<String>, IndexError> {
    let head = &stored.head;
    let mut missing = Vec::new();
    let mut need = |is_right: bool, what: &str| {
        if !is_right {
            missing.push(format!("log {id} is not found {what}"));
        }
    };
    need(index.has(&keys::owner(&head.owner, id))? != head.endless, "by its owner, or is and shall not");
    need(index.has(&keys::open(id))? != head.is_settled(), "as what it is, open or closed");
    if let Some(at) = head.due_at() {
        need(index.has(&keys::due(at, id))?, "when it is due");
    }
    Ok(missing)
}

/// What owners keep, by the heads of their logs. Takes memory for each owner.
#[derive(Debug, Default)]
pub(super) struct Sums {
    owners: HashMap<Owner, Kept>,
    total: Kept,
}

impl Sums {
    pub(super) fn add(&mut self, stored: &Stored) {
        let of_owner = self.owners.entry(stored.head.owner.clone()).or_default();
        for sum in [of_owner, &mut self.total] {
            sum.change(None, account::size(stored));
        }
    }

    /// What the counts of the index say otherwise.
    pub(super) fn against(mut self, index: &Index) -> Result<Vec<String>, IndexError> {
        let mut wrong = Vec::new();
        for item in index.counts() {
            let (owner, count) = item?;
            let sum = self.owners.remove(&owner).unwrap_or_default();
            if let Some((is, says)) = differs(index, sum, &count)? {
                wrong.push(format!("it says that {owner} keeps {says}, its logs say {is}"));
            }
        }
        let uncounted = self.owners.keys().map(|owner| format!("it does not say what {owner} keeps"));
        wrong.extend(uncounted);
        let total = index.count_of(None)?.unwrap_or_default();
        if let Some((is, says)) = differs(index, self.total, &total)? {
            wrong.push(format!("it says that all owners keep {says}, the logs say {is}"));
        }
        Ok(wrong)
    }
}

/// What a count should be and what it is, unless these are the same. A crash may have come between a count and the heads that it
/// counted; the next start goes on from there.
fn differs(index: &Index, sum: Kept, count: &Count) -> Result<Option<(String, String)>, IndexError> {
    let mut expected = sum;
    for (id, counted) in &count.counted {
        expected.change(index.head(*id)?.as_ref().and_then(account::size), *counted);
    }
    let text = |kept: Kept| format!("{} logs with {} bytes", kept.logs, kept.bytes);
    Ok((expected != count.kept).then(|| (text(expected), text(count.kept))))
}

/// What finds logs that do not exist; `logs` do.
pub(super) fn counts(index: &Index, logs: u64, ahead: &Ahead) -> Result<Option<String>, IndexError> {
    let found = index.count(keys::OWNER)?.saturating_sub(ahead.found);
    Ok((found > logs).then(|| format!("owners have {found} logs, of which only {logs} exist")))
}
