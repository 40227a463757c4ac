//! Index runs: what memory knows is written to sled, behind the acknowledgement.
//!
//! It owns the order of these writes: counts before extents, extents before heads, the log before both, and what the index no
//! longer points to leaves the disk last. It also counts what a run makes live and dead in each segment ([`Space`](super::space::Space)). A run never waits for
//! the writer.

use bytes::Bytes;

use super::account;
use super::backlog::Work;
use super::change::{Durability, Payload};
use super::index::IndexError;
use super::keys::{Covered, StoredRecord};
use super::log::{Extent, Log, Rewritten, Stored};
use super::read;
use super::shared::{Cell, Shared};
use super::space::Delta;
use crate::api::Record;
use crate::types::Seq;

impl Shared {
    /// Brings the index up to where `covered` says: `work` is all that changed since the last run.
    pub(crate) fn index_work(&self, work: Work, covered: Covered) -> Result<(), IndexError> {
        let unfinished = Unfinished { shared: self, work };
        self.index_all(&unfinished.work, covered)?;
        unfinished.finish();
        self.backlog.set_covered(covered.lsn);
        Ok(())
    }

    fn index_all(&self, work: &Work, covered: Covered) -> Result<(), IndexError> {
        let logs: Vec<LogChange<'_>> = work.logs.iter().filter_map(|pin| LogChange::take(pin)).collect();
        let records = self.cells(&work.records);
        if self.options.durability == Durability::Os {
            // What was taken may be newer than that. Were it not synced before sled has it, a power cut could leave an
            // index that is ahead of the log.
            let synced = self.segments.sync_newest();
            synced.map_err(|source| IndexError::Sync { path: self.segments.dir().to_owned(), source })?;
        }
        let mut delta = Delta::default();
        let mut logs = logs.into_iter();
        while logs.len() > 0 {
            self.index_group(logs.by_ref().take(account::GROUP).collect(), &mut delta)?;
        }
        for (key, cell) in records {
            self.index_record(&key, cell, &mut delta)?;
        }
        self.space.count(&self.index, &self.segments, delta)?;
        self.index.set_covered(covered)
    }

    /// Writes what memory has of one log to the index, without making that durable.
    pub(crate) fn index_one(&self, log: &Log) -> Result<(), IndexError> {
        let mut delta = Delta::default();
        if let Some(change) = LogChange::take(log) {
            // It stays on the list: it says what the index run at the end covers.
            log.state().dirty = true;
            self.index_group(vec![change], &mut delta)?;
        }
        self.space.count(&self.index, &self.segments, delta)
    }

    /// Counts for their owners what logs keep, then writes the logs.
    fn index_group(&self, group: Vec<LogChange<'_>>, delta: &mut Delta) -> Result<(), IndexError> {
        let before = group.iter().map(|change| self.index.head(change.log.id));
        let before: Vec<Option<Stored>> = before.collect::<Result<_, _>>()?;
        let counted: Vec<account::Change> = group
            .iter()
            .zip(&before)
            .map(|(change, before)| account::Change::to(change.log.id, before.as_ref(), &change.stored))
            .collect();
        let emptied = self.accounts.count(&self.index, &counted)?;
        for (change, before) in group.into_iter().zip(before) {
            self.index_log(change, before.as_ref(), delta)?;
        }
        emptied.iter().try_for_each(|owner| self.index.remove_count(owner))
    }

    /// Writes one log, of which the index has `before`.
    fn index_log(
        &self,
        change: LogChange<'_>,
        before: Option<&Stored>,
        delta: &mut Delta,
    ) -> Result<(), IndexError> {
        let LogChange { log, stored, new, rewritten, open, indexed_watermark } = change;
        if stored.head.frontier.gone {
            return self.unindex_log(log, &stored, delta);
        }
        // Extents before the head: a head in the index says that its extents are there too.
        let mut open = self.index.put_extents(log.id, open, &new)?;
        new.iter().for_each(|extent| delta.add_extent(extent));
        for rewritten in &rewritten {
            self.index_rewritten(log, &stored, rewritten, delta)?;
        }
        let watermark = stored.head.frontier.watermark;
        if let Some(watermark) = watermark.filter(|_| watermark > indexed_watermark) {
            let dropped = self.index.drop_extents(log.id, watermark)?;
            self.drop_blobs(log, &stored, &dropped, None);
            dropped.iter().for_each(|extent| delta.drop_extent(extent));
        }
        if !rewritten.is_empty() {
            open = self.index.open_extents(log.id)?;
        }
        self.index.put_head(log.id, before, &stored)?;
        if before.map(|before| before.origin) != Some(stored.origin) {
            before.iter().for_each(|before| delta.drop_origin(&before.origin));
            delta.add_origin(&stored.origin);
        }
        let mut state = log.state();
        for rewritten in rewritten.iter().filter(|rewritten| rewritten.merges) {
            state.tail.forget_through(&self.logs.tails, rewritten.extent.last);
        }
        state.unindexed.drain(..new.len());
        state.rewritten.drain(..rewritten.len());
        state.rewriting = state.rewriting.saturating_sub(rewritten.len());
        state.open_extents = open;
        state.indexed_watermark = watermark;
        Ok(())
    }

    fn index_rewritten(
        &self,
        log: &Log,
        stored: &Stored,
        rewritten: &Rewritten,
        delta: &mut Delta,
    ) -> Result<(), IndexError> {
        let Rewritten { extent, left, right, merges } = rewritten;
        let dropped = self.index.replace_extents(log.id, rewritten)?;
        if *merges {
            self.drop_blobs(log, stored, &dropped, Some((extent.first, extent.last)));
        }
        dropped.iter().for_each(|extent| delta.drop_extent(extent));
        if *merges && stored.head.endless {
            // What was taken out of a log that stays must leave the disk like what was purged.
            dropped.iter().for_each(|extent| delta.purge(extent.lsn));
        }
        [Some(extent), left.as_ref(), right.as_ref()]
            .into_iter()
            .flatten()
            .for_each(|extent| delta.add_extent(extent));
        Ok(())
    }

    fn unindex_log(&self, log: &Log, stored: &Stored, delta: &mut Delta) -> Result<(), IndexError> {
        let (indexed, dropped) = self.index.remove_log(log.id)?;
        indexed.iter().for_each(|indexed| delta.drop_origin(&indexed.origin));
        delta.purge(stored.origin.lsn);
        for extent in &dropped {
            delta.drop_extent(extent);
            delta.purge(extent.lsn);
        }
        // What the index had not seen yet is dead from the beginning.
        log.state().unindexed.iter().for_each(|extent| delta.purge(extent.lsn));
        if stored.has_blobs {
            let removed = self.blobs.remove_all(log.id);
            removed.map_err(|source| IndexError::Sync { path: self.segments.dir().to_owned(), source })?;
        }
        let mut state = log.state();
        state.unindexed.clear();
        state.rewritten.clear();
        state.rewriting = 0;
        Ok(())
    }

    /// Removes the blobs that only entries of these extents had, within `range` if there is one. A blob that stays by a fault of
    /// the disk is harmless, and goes with its log.
    fn drop_blobs(&self, log: &Log, stored: &Stored, dropped: &[Extent], range: Option<(Seq, Seq)>) {
        if !stored.has_blobs {
            return;
        }
        for extent in dropped {
            let Ok(entries) = read::read_extent(&self.segments, log.id, extent) else { continue };
            for entry in entries {
                let within = range.is_none_or(|(first, last)| entry.first >= first && entry.last <= last);
                if let Payload::Blob(blob) = entry.payload
                    && within
                    && let Err(error) = self.blobs.remove(log.id, blob)
                {
                    tracing::warn!(log = %log.id, %error, "a blob that is not needed any more could not be removed");
                }
            }
        }
    }

    fn index_record(&self, key: &Bytes, cell: Cell, delta: &mut Delta) -> Result<(), IndexError> {
        let Cell { version, value, since, lsn, length } = cell;
        let record =
            value.map(|value| StoredRecord { record: Record { version, value }, since, lsn, length });
        let before = self.index.put_record(key, record.as_ref())?;
        before.iter().for_each(|before| delta.drop_frame(before.lsn, before.length));
        record.iter().for_each(|record| delta.add_frame(record.lsn, record.length));
        self.forget_record(key, lsn);
        Ok(())
    }
}

/// What an index run is to bring into the index. A run that fails gives it back: what the index does not have must stay in memory, or
/// a log that was removed would be found again.
struct Unfinished<'a> {
    shared: &'a Shared,
    work: Work,
}

impl Unfinished<'_> {
    fn finish(mut self) {
        self.work = Work::default();
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.shared.backlog.put_back(std::mem::take(&mut self.work));
    }
}

/// What the index does not have of one log yet.
struct LogChange<'a> {
    log: &'a Log,
    stored: Stored,
    new: Vec<Extent>,
    rewritten: Vec<Rewritten>,
    open: Vec<Extent>,
    indexed_watermark: Option<Seq>,
}

impl<'a> LogChange<'a> {
    /// Takes the log off the indexer's list; `None` if it was never made.
    fn take(log: &'a Log) -> Option<Self> {
        let mut state = log.state();
        state.dirty = false;
        let stored = state.committed.clone()?;
        let open = std::mem::take(&mut state.open_extents);
        let indexed_watermark = state.indexed_watermark;
        let (new, rewritten) = (state.unindexed.clone(), state.rewritten.clone());
        Some(Self { log, stored, new, rewritten, open, indexed_watermark })
    }
}
