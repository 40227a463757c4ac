//! Both stores, and what they must agree on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::super::*;
use super::Event;
use super::change::{Change, Done, Versions};
use crate::api::{Entry, NewLog, Store};
use crate::compaction::{Compact, Span};
use crate::embedded::disk::faults::{Plan, Script};
use crate::memory::MemoryStore;
use crate::quota::Quota;
use crate::types::Head;

const CAPS: Caps = Caps { entries: Some(40), bytes: Some(300_000) };

/// Of six logs, some have no room.
const QUOTAS: Quotas =
    Quotas { owner: Quota { logs: Some(4), bytes: None }, total: Quota { logs: None, bytes: None } };

/// Of the logs, this one is endless.
const ENDLESS: u8 = 5;

/// So small that a history fills some, and they get cleaned.
const SEGMENT_BYTES: u64 = 1500;

/// The disk failed; nobody knows yet whether what was under way is on it.
#[derive(Debug)]
struct Crashed;

/// Both stores, and the directory of the one on disk.
pub(super) struct Both {
    pub(super) dir: tempfile::TempDir,
    durability: Durability,
    disk: Option<EmbeddedStore>,
    model: MemoryStore,
    /// The id that each number stands for now: an id is never used twice.
    ids: BTreeMap<u8, LogId>,
    /// Logs that were open when the store was opened again: their frames are evicted as a whole from then on, so that the
    /// watermark may be above the model's.
    survivors: BTreeSet<LogId>,
    /// Logs with merged entries: how these fall into units of eviction differs.
    compacted: BTreeSet<LogId>,
    /// How the disk is about to fail, and whether the power goes then.
    pub(super) plan: Option<(Arc<Plan>, bool)>,
    /// The change that the disk was making when it failed.
    under_way: Option<Change>,
    versions: BTreeMap<u8, Versions>,
}

impl Both {
    pub(super) fn new(durability: Durability) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (disk, model) = (Some(open(dir.path(), durability)), MemoryStore::new(CAPS).with_quotas(QUOTAS));
        let (survivors, compacted) = (BTreeSet::new(), BTreeSet::new());
        Self {
            dir,
            durability,
            disk,
            model,
            ids: BTreeMap::new(),
            survivors,
            compacted,
            plan: None,
            under_way: None,
            versions: BTreeMap::new(),
        }
    }

    fn disk(&self) -> &EmbeddedStore {
        self.disk.as_ref().unwrap()
    }

    /// Has both stores do the same, and goes on after a crash.
    pub(super) async fn apply(&mut self, event: Event) {
        if let Err(Crashed) = self.attempt(event).await {
            self.recover().await;
        }
    }

    async fn attempt(&mut self, event: Event) -> Result<(), Crashed> {
        match event {
            Event::Create { log, entries } => {
                let id = *self.ids.entry(log).or_insert_with(id);
                let (owner, created_at) = (owner(), UnixMillis(7));
                let document = vec![log; 10 + entries.len() * 9000].into();
                let (status, entries) = (log, payloads(&entries));
                let due = Close { compacts_at: None, expires_at: Some(UnixMillis(9)) };
                let endless = (log == ENDLESS).then_some(due);
                let new = NewLog { id, owner, created_at, status, document, entries, endless };
                self.change(Change::Create(new)).await
            }
            Event::Append { log, entries, close } => {
                let at = self.last(log).await;
                // Every other log has a last compaction before its end.
                let compacts = |at: u64| UnixMillis(at / 2);
                let close = close.map(|at| Close {
                    compacts_at: (at % 2 == 0).then_some(compacts(at)),
                    expires_at: Some(UnixMillis(at)),
                });
                self.append(log, at, payloads(&entries), close).await
            }
            Event::Misplaced { log } => {
                let wrong = self.last(log).await.next();
                self.append(log, wrong, payloads(&[1]), None).await
            }
            Event::Compact { log, places, group, size } => self.compact(log, places, group, size).await,
            Event::Purge { log } => {
                let Some(id) = self.ids.get(&log).copied() else { return Ok(()) };
                self.change(Change::Purge(id)).await
            }
            Event::Expire { now } => self.expire(UnixMillis(now)).await,
            Event::Resume { log, place } => self.resume(log, place).await,
            Event::Put { key, value, stale } => {
                let expected = self.versions.get(&key).copied().filter(|_| !stale);
                let value = value.map(|byte| bytes::Bytes::from(vec![byte; 30]));
                self.change(Change::Put { key, expected, value }).await
            }
            Event::Index => self.readable(self.disk().open_logs(None, 1).await).map(drop),
            Event::Clean => self.readable(self.disk().clean().await).map(drop),
            Event::Reopen => {
                self.recover().await;
                Ok(())
            }
            Event::ReopenWithoutIndex => {
                self.end();
                fs::remove_dir_all(self.dir.path().join("index")).unwrap();
                self.begin().await;
                Ok(())
            }
            Event::Rebuild => {
                self.end();
                EmbeddedStore::rebuild(self.dir.path(), options(self.durability)).unwrap();
                self.begin().await;
                Ok(())
            }
            Event::Crash { area, nth, fault, cut } => {
                if self.plan.is_none() {
                    let script = Script { area, nth, fault, for_good: true };
                    self.plan = Some((Plan::set(self.dir.path(), Some(script)), cut));
                }
                Ok(())
            }
        }
    }

    /// Has both stores make a change, and compares their answers.
    async fn change(&mut self, change: Change) -> Result<(), Crashed> {
        self.under_way = Some(change.clone());
        let disk = change.clone().of(self.disk(), |both| both.0).await;
        if let Err(WriteError::Poisoned(reason)) = &disk {
            assert!(self.plan.is_some(), "{reason}");
            return Err(Crashed);
        }
        self.under_way = None;
        let model = change.clone().of(&self.model, |both| both.1).await;
        match (&change, disk, model) {
            (Change::Put { key, value, .. }, Ok(Done::Put(disk)), Ok(Done::Put(model))) => match value {
                Some(_) => drop(self.versions.insert(*key, (disk, model))),
                None => drop(self.versions.remove(key)),
            },
            (Change::Put { .. }, disk, model) => {
                assert_eq!(disk.is_ok(), model.is_ok(), "{disk:?} {model:?}")
            }
            (Change::Purge(id), disk, model) => {
                assert_eq!(disk.is_ok(), model.is_ok(), "{disk:?} {model:?}");
                self.forget(*id);
            }
            (Change::Create(_) | Change::Append(_) | Change::Compact(_), disk, model) => {
                let id = change.log().unwrap();
                self.compacted.extend(matches!(change, Change::Compact(_)).then_some(id));
                self.same(id, &disk.map(Done::head), &model.map(Done::head));
            }
        }
        Ok(())
    }

    /// An id is never used twice.
    fn forget(&mut self, id: LogId) {
        self.ids.retain(|_, known| *known != id);
    }

    /// What cannot be read is the fault of the disk, if that was to fail.
    fn readable<T>(&self, read: Result<T, ReadError>) -> Result<T, Crashed> {
        read.map_err(|error| {
            assert!(self.plan.is_some() && matches!(error, ReadError::Broken(_)), "{error}");
            Crashed
        })
    }

    /// Ends the process, with what the disk was about to do, and begins another one.
    pub(super) async fn recover(&mut self) {
        self.end();
        self.begin().await;
    }

    pub(super) fn end(&mut self) {
        self.disk = None;
        if let Some((plan, cut)) = self.plan.take() {
            plan.take_back();
            // With `os` a cut takes what was acknowledged.
            if cut && self.durability == Durability::Sync {
                plan.cut_power();
            }
        }
    }

    async fn begin(&mut self) {
        self.disk = Some(open(self.dir.path(), self.durability));
        self.settle().await;
        self.survivors.extend(self.model.open_logs(None, 100).await.unwrap());
    }

    /// Has the model make the change that was under way when the disk failed, if it is on the disk: it is so as a whole, or not at all.
    async fn settle(&mut self) {
        let Some(change) = self.under_way.take() else { return };
        if let Change::Put { key, value, .. } = &change {
            let found = self.disk().record(&[b'k', *key]).await.unwrap();
            let before = self.model.record(&[b'k', *key]).await.unwrap();
            if found.as_ref().map(|found| &found.value) == before.map(|before| before.value).as_ref() {
                return;
            }
            assert_eq!(found.as_ref().map(|found| &found.value), value.as_ref());
            let Ok(Done::Put(model)) = change.clone().of(&self.model, |both| both.1).await else {
                panic!("{change:?}")
            };
            match found {
                Some(found) => drop(self.versions.insert(*key, (found.version, model))),
                None => drop(self.versions.remove(key)),
            }
            return;
        }
        let id = change.log().unwrap();
        let place = |head: Option<Head>| {
            head.map(|head| {
                (head.frontier.committed, head.frontier.closed, head.generation, head.compacts_at)
            })
        };
        let (disk, model) = (self.disk().head(id).await.unwrap(), self.model.head(id).await.unwrap());
        if place(disk) != place(model) {
            change.clone().of(&self.model, |both| both.1).await.unwrap();
            match change {
                Change::Compact(_) => drop(self.compacted.insert(id)),
                Change::Purge(_) => self.forget(id),
                Change::Create(_) | Change::Append(_) | Change::Put { .. } => {}
            }
        }
    }

    async fn last(&self, log: u8) -> Seq {
        let Some(id) = self.ids.get(&log) else { return Seq::FIRST };
        self.model.head(*id).await.unwrap().map_or(Seq::FIRST, |head| head.frontier.committed)
    }

    async fn append(
        &mut self,
        log: u8,
        expected_last: Seq,
        entries: Vec<bytes::Bytes>,
        close: Option<Close>,
    ) -> Result<(), Crashed> {
        let id = self.ids.get(&log).copied().unwrap_or_else(id);
        self.change(Change::Append(Append { id, epoch: 0, expected_last, status: None, entries, close }))
            .await
    }

    /// The first seq that can be read of both.
    async fn first(&self, id: LogId) -> Result<Option<Seq>, Crashed> {
        let disk = self.readable(self.disk().head(id).await)?;
        let model = self.model.head(id).await.unwrap();
        let watermark = |head: Head| head.frontier.watermark;
        Ok(disk.zip(model).map(|(disk, model)| Seq::after(watermark(disk).max(watermark(model)))))
    }

    async fn compact(
        &mut self,
        log: u8,
        places: (prop::sample::Index, prop::sample::Index),
        group: usize,
        size: u32,
    ) -> Result<(), Crashed> {
        let Some(id) = self.ids.get(&log).copied() else { return Ok(()) };
        let Some(first) = self.first(id).await? else { return Ok(()) };
        let entries = self.readable(rest(self.disk(), id, first.previous(), ReadLimit::default()).await)?;
        if entries.is_empty() {
            return Ok(());
        }
        let places = [places.0, places.1].map(|place| place.index(entries.len()));
        let (begin, end) = (places[0].min(places[1]), places[0].max(places[1]));
        let from = entries[begin].first;
        let span = |entries: &[Entry]| {
            let last = entries.last().unwrap().seq;
            Span { last, payload: vec![(last.get() % 251) as u8; size as usize].into() }
        };
        let spans: Vec<Span> = entries[begin..=end].chunks(group).map(span).collect();
        let head = self.model.head(id).await.unwrap().unwrap();
        let compact = Compact { id, generation: head.generation, from, spans, settles: head.frontier.closed };
        let stale = Compact { generation: head.generation + 1, ..compact.clone() };
        self.change(Change::Compact(stale)).await?;
        self.change(Change::Compact(compact)).await
    }

    /// What is due goes, as the sweeper has it: first the last compaction, then all of the log.
    async fn expire(&mut self, now: UnixMillis) -> Result<(), Crashed> {
        let due = self.readable(self.disk().due(now, 100).await)?;
        assert_eq!(due, self.model.due(now, 100).await.unwrap());
        for id in due {
            let head = self.model.head(id).await.unwrap().unwrap();
            if head.compacts_at.is_some() {
                let (generation, from) = (head.generation, Seq::FIRST);
                let settle = Compact { id, generation, from, spans: Vec::new(), settles: true };
                self.change(Change::Compact(settle)).await?;
            }
            if head.expires_at.is_some_and(|at| at <= now) {
                self.change(Change::Purge(id)).await?;
            }
        }
        Ok(())
    }

    /// A reader comes with a position that both have: it gets the same from both.
    async fn resume(&self, log: u8, place: prop::sample::Index) -> Result<(), Crashed> {
        let Some(id) = self.ids.get(&log).copied() else { return Ok(()) };
        let Some(first) = self.first(id).await? else { return Ok(()) };
        let committed = self.last(log).await.get();
        let from = first.get() + place.index(usize::try_from(committed + 2 - first.get()).unwrap()) as u64;
        let limit = ReadLimit { entries: 7, bytes: 3000 };
        let after = Seq::new(from).previous();
        let disk = self.readable(rest(self.disk(), id, after, limit).await)?;
        self.same_entries(&disk, &rest(&self.model, id, after, limit).await.unwrap(), after);
        let tail = self.readable(self.disk().tail(id).await)?;
        assert_eq!(tail.frontier().committed.get(), committed);
        Ok(())
    }

    /// Asserts that both stores say the same of a log, as far as they must.
    fn same(&self, id: LogId, disk: &Result<Head, WriteError>, model: &Result<Head, WriteError>) {
        let compacted = self.compacted.contains(&id);
        let survived = compacted || self.survivors.contains(&id);
        if !compacted && let (Ok(disk), Ok(model)) = (disk, model) {
            assert!(
                disk.frontier.watermark >= model.frontier.watermark
                    && disk.retained_entries <= model.retained_entries
            );
        }
        let visible = |head: &Head| {
            // Only the store on disk has new epochs.
            let mut head = Head { epoch: 0, ..head.clone() };
            if self.durability == Durability::Os {
                head.recovered_through = None;
            }
            if survived {
                (head.frontier.watermark, head.retained_entries, head.retained_bytes) = (None, 0, 0);
            }
            head
        };
        assert_eq!(disk.as_ref().map(visible), model.as_ref().map(visible));
    }

    /// With `os` a position beyond what a start has found is refused for good: nobody knows which of two entries it stands for.
    fn same_entries(&self, disk: &[Entry], model: &[Entry], after: Option<Seq>) {
        match self.durability {
            Durability::Sync => assert_eq!(disk, model, "after {after:?}"),
            Durability::Os => assert!(model.starts_with(disk), "after {after:?}: {disk:?}, not {model:?}"),
        }
    }

    /// Everything that can be asked has the same answer.
    pub(super) async fn compare(&self) {
        for id in self.ids.values() {
            let (disk, model) = (self.disk().head(*id).await.unwrap(), self.model.head(*id).await.unwrap());
            assert_eq!(disk.is_some(), model.is_some());
            let (Some(disk), Some(model)) = (disk, model) else { continue };
            self.same(*id, &Ok(disk.clone()), &Ok(model));
            assert_eq!(self.disk().document(*id).await, self.model.document(*id).await);
            let (first, end) =
                (self.first(*id).await.unwrap().unwrap().get(), disk.frontier.committed.get() + 2);
            if let Some(lost) = Seq::after(disk.frontier.watermark).get().checked_sub(2) {
                assert!(
                    self.disk().read(*id, Seq::new(lost).previous(), ReadLimit::default()).await.is_err()
                );
            }
            for from in (first..end).step_by(7).chain([end.saturating_sub(3).max(first), end]) {
                let after = Seq::new(from).previous();
                let limit = ReadLimit { entries: 5 + usize::try_from(from % 9).unwrap(), bytes: 3000 };
                let disk = rest(self.disk(), *id, after, limit).await.unwrap();
                self.same_entries(&disk, &rest(&self.model, *id, after, limit).await.unwrap(), after);
            }
        }
        assert_eq!(
            self.disk().logs_of(&owner(), None, 100).await,
            self.model.logs_of(&owner(), None, 100).await
        );
        assert_eq!(self.disk().open_logs(None, 100).await, self.model.open_logs(None, 100).await);
        self.compare_kept().await;
        let now = UnixMillis(50);
        assert_eq!(self.disk().due(now, 100).await, self.model.due(now, 100).await);
        for key in 0..4 {
            let (disk, model) =
                (self.disk().record(&[b'k', key]).await, self.model.record(&[b'k', key]).await);
            assert_eq!(disk.unwrap().map(|record| record.value), model.unwrap().map(|record| record.value));
        }
    }
}

impl Both {
    /// What the owner keeps is what its logs say.
    async fn compare_kept(&self) {
        let (kept, model) = (self.disk().usage_of(&owner()).await.unwrap(), self.model.usage().kept);
        assert_eq!((kept.logs, self.disk().usage().kept), (model.logs, kept));
        let mut bytes = 0;
        let mut logs = self.disk().logs_of(&owner(), None, 100).await.unwrap();
        if let Some(id) = self.ids.get(&ENDLESS).copied()
            && self.disk().head(id).await.unwrap().is_some()
        {
            logs.push(id);
        }
        for id in logs {
            bytes += self.disk().head(id).await.unwrap().unwrap().retained_bytes;
            bytes += self.disk().document(id).await.unwrap().len() as u64;
        }
        assert_eq!(kept.bytes, bytes);
    }
}

/// Everything after a position: a read may return less than its limit, but something as long as there is something.
async fn rest(
    store: &impl Store,
    id: LogId,
    mut after: Option<Seq>,
    limit: ReadLimit,
) -> Result<Vec<Entry>, ReadError> {
    let mut entries = Vec::new();
    loop {
        let batch = match store.read(id, after, limit).await {
            Err(ReadError::Lost(lost)) if lost.rolled_back => return Ok(entries),
            batch => batch?,
        };
        assert!(batch.entries.len() <= limit.entries);
        let Some(last) = batch.entries.last() else {
            assert!(after >= Some(batch.frontier.committed));
            return Ok(entries);
        };
        after = Some(last.seq);
        entries.extend(batch.entries);
    }
}

fn options(durability: Durability) -> Options {
    Options {
        durability,
        caps: CAPS,
        quotas: QUOTAS,
        segment_bytes: SEGMENT_BYTES,
        purged_stays: Duration::ZERO,
        ..Options::default()
    }
}

fn open(dir: &Path, durability: Durability) -> EmbeddedStore {
    EmbeddedStore::open(dir, options(durability)).unwrap()
}

fn payloads(sizes: &[u32]) -> Vec<bytes::Bytes> {
    sizes.iter().map(|size| vec![(size % 251) as u8; *size as usize].into()).collect()
}
