//! Random histories: the embedded store must answer like its twin in memory, whatever happened to its process or its index.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::*;
use crate::api::{Entry, NewLog, Store, WriteError};
use crate::compaction::{Compact, Span};
use crate::memory::MemoryStore;
use crate::quota::Quota;
use crate::testing::owner;
use crate::types::{Head, Seq, UnixMillis};

/// One thing that happens. Logs and records are named by small numbers, so that things meet.
#[derive(Clone, Debug)]
enum Event {
    Create {
        log: u8,
        entries: Vec<u32>,
    },
    Append {
        log: u8,
        entries: Vec<u32>,
        close: Option<u64>,
    },
    /// An append that expects the log elsewhere.
    Misplaced {
        log: u8,
    },
    /// Entries, chosen by their places among those that can be read, are merged by `group`.
    Compact {
        log: u8,
        places: (prop::sample::Index, prop::sample::Index),
        group: usize,
        size: u32,
    },
    Purge {
        log: u8,
    },
    Put {
        key: u8,
        value: Option<u8>,
        stale: bool,
    },
    /// The index catches up.
    Index,
    /// Segments that are mostly dead leave the disk.
    Clean,
    Reopen,
    ReopenWithoutIndex,
}

const CAPS: Caps = Caps { entries: Some(40), bytes: Some(300_000) };

/// Of six logs, some have no room.
const QUOTAS: Quotas =
    Quotas { owner: Quota { logs: Some(4), bytes: None }, total: Quota { logs: None, bytes: None } };

/// Of the logs, this one is endless.
const ENDLESS: u8 = 5;

/// So small that a history fills some, and they get cleaned.
const SEGMENT_BYTES: u64 = 1500;

fn sizes() -> impl Strategy<Value = Vec<u32>> {
    let size = prop_oneof![20 => 0u32..400, 1 => 60_000u32..140_000];
    prop::collection::vec(size, 1..12)
}

fn event() -> impl Strategy<Value = Event> {
    let log = 0u8..6;
    prop_oneof![
        4 => (log.clone(), sizes()).prop_map(|(log, entries)| Event::Create { log, entries }),
        16 => (log.clone(), sizes(), prop_oneof![6 => Just(None), 1 => (0u64..100).prop_map(Some)])
            .prop_map(|(log, entries, close)| Event::Append { log, entries, close }),
        1 => log.clone().prop_map(|log| Event::Misplaced { log }),
        4 => (log.clone(), any::<(prop::sample::Index, prop::sample::Index)>(), 1usize..9, 0u32..90_000)
            .prop_map(|(log, places, group, size)| Event::Compact { log, places, group, size }),
        1 => log.prop_map(|log| Event::Purge { log }),
        3 => (0u8..4, any::<Option<u8>>(), any::<bool>()).prop_map(|(key, value, stale)| Event::Put { key, value, stale }),
        2 => Just(Event::Index),
        3 => Just(Event::Clean),
        1 => Just(Event::Reopen),
        1 => Just(Event::ReopenWithoutIndex),
    ]
}

/// Both stores, and the directory of the one on disk.
struct Both {
    dir: tempfile::TempDir,
    disk: Option<EmbeddedStore>,
    model: MemoryStore,
    /// The id that each number stands for now: an id is never used twice.
    ids: BTreeMap<u8, LogId>,
    /// Logs that were open when the store was opened again: their frames are evicted as a whole from then on, so that the
    /// watermark may be above the model's.
    survivors: BTreeSet<LogId>,
    /// Logs with merged entries: how these fall into units of eviction differs.
    compacted: BTreeSet<LogId>,
    /// The version of each record in either store.
    versions: BTreeMap<u8, (crate::api::Version, crate::api::Version)>,
}

impl Both {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (disk, model) = (Some(open(dir.path())), MemoryStore::new(CAPS).with_quotas(QUOTAS));
        let (survivors, compacted) = (BTreeSet::new(), BTreeSet::new());
        Self { dir, disk, model, ids: BTreeMap::new(), survivors, compacted, versions: BTreeMap::new() }
    }

    fn disk(&self) -> &EmbeddedStore {
        self.disk.as_ref().unwrap()
    }

    async fn apply(&mut self, event: Event) {
        match event {
            Event::Create { log, entries } => {
                let id = *self.ids.entry(log).or_insert_with(id);
                let (owner, created_at) = (owner(), UnixMillis(7));
                let document = vec![log; 10 + entries.len() * 9000].into();
                let endless =
                    (log == ENDLESS).then_some(Close { compacts_at: None, expires_at: Some(UnixMillis(9)) });
                let (status, entries) = (log, payloads(&entries));
                let new = NewLog { id, owner, created_at, status, document, entries, endless };
                let (disk, model) = (self.disk().create(new.clone()).await, self.model.create(new).await);
                self.same(id, &disk, &model);
            }
            Event::Append { log, entries, close } => {
                let last = self.last(log).await;
                let close = close.map(|at| Close { compacts_at: None, expires_at: Some(UnixMillis(at)) });
                self.append(log, last, payloads(&entries), close).await;
            }
            Event::Misplaced { log } => {
                let wrong = self.last(log).await.next();
                self.append(log, wrong, payloads(&[1]), None).await;
            }
            Event::Compact { log, places, group, size } => self.compact(log, places, group, size).await,
            Event::Purge { log } => {
                let Some(id) = self.ids.remove(&log) else { return };
                assert_eq!(self.disk().purge(id).await, self.model.purge(id).await);
            }
            Event::Put { key, value, stale } => self.put(key, value, stale).await,
            Event::Index => drop(self.disk().open_logs(None, 1).await.unwrap()),
            Event::Clean => drop(self.disk().clean().await.unwrap()),
            Event::Reopen => self.reopen().await,
            Event::ReopenWithoutIndex => {
                self.disk = None;
                fs::remove_dir_all(self.dir.path().join("index")).unwrap();
                self.reopen().await;
            }
        }
    }

    async fn reopen(&mut self) {
        self.disk = None;
        self.disk = Some(open(self.dir.path()));
        self.survivors.extend(self.model.open_logs(None, 100).await.unwrap());
    }

    async fn last(&self, log: u8) -> Seq {
        let Some(id) = self.ids.get(&log) else { return Seq::FIRST };
        self.model.head(*id).await.unwrap().map_or(Seq::FIRST, |head| head.frontier.committed)
    }

    async fn append(&self, log: u8, expected_last: Seq, entries: Vec<bytes::Bytes>, close: Option<Close>) {
        let id = self.ids.get(&log).copied().unwrap_or_else(id);
        let append =
            |epoch| Append { id, epoch, expected_last, status: None, entries: entries.clone(), close };
        let disk = self.disk().append(append(self.disk().epoch())).await;
        let model = self.model.append(append(self.model.epoch())).await;
        self.same(id, &disk, &model);
    }

    /// The first seq that can be read of both.
    async fn first(&self, id: LogId) -> Option<Seq> {
        let disk = self.disk().head(id).await.unwrap()?.frontier.watermark;
        Some(Seq::after(disk.max(self.model.head(id).await.unwrap()?.frontier.watermark)))
    }

    async fn compact(
        &mut self,
        log: u8,
        places: (prop::sample::Index, prop::sample::Index),
        group: usize,
        size: u32,
    ) {
        let Some(id) = self.ids.get(&log).copied() else { return };
        let Some(first) = self.first(id).await else { return };
        let entries = rest(self.disk(), id, first.previous(), ReadLimit::default()).await;
        let places = [places.0, places.1].map(|place| place.index(entries.len()));
        let (begin, end) = (places[0].min(places[1]), places[0].max(places[1]));
        let from = entries[begin].first;
        let span = |entries: &[Entry]| {
            let last = entries.last().unwrap().seq;
            Span { last, payload: vec![(last.get() % 251) as u8; size as usize].into() }
        };
        let spans: Vec<Span> = entries[begin..=end].chunks(group).map(span).collect();
        let generation = self.model.head(id).await.unwrap().unwrap().generation;
        let compact = Compact { id, generation, from, spans, settles: false };
        let stale = Compact { generation: generation + 1, ..compact.clone() };
        assert_eq!(self.disk().compact(stale.clone()).await, self.model.compact(stale).await);
        self.compacted.insert(id);
        let (disk, model) = (self.disk().compact(compact.clone()).await, self.model.compact(compact).await);
        assert!(disk.is_ok(), "{disk:?}");
        self.same(id, &disk, &model);
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
            if survived {
                (head.frontier.watermark, head.retained_entries, head.retained_bytes) = (None, 0, 0);
            }
            head
        };
        assert_eq!(disk.as_ref().map(visible), model.as_ref().map(visible));
    }

    async fn put(&mut self, key: u8, value: Option<u8>, stale: bool) {
        let expected = self.versions.get(&key).copied().filter(|_| !stale);
        let value = value.map(|byte| bytes::Bytes::from(vec![byte; 30]));
        let name = [b'k', key];
        let disk = self.disk().put_record(&name, expected.map(|both| both.0), value.clone()).await;
        let model = self.model.put_record(&name, expected.map(|both| both.1), value.clone()).await;
        assert_eq!(disk.is_ok(), model.is_ok(), "{disk:?} {model:?}");
        if let (Ok(disk), Ok(model)) = (disk, model) {
            match value {
                Some(_) => self.versions.insert(key, (disk, model)),
                None => self.versions.remove(&key),
            };
        }
    }

    /// Everything that can be asked has the same answer.
    async fn compare(&self) {
        for id in self.ids.values() {
            let (disk, model) = (self.disk().head(*id).await.unwrap(), self.model.head(*id).await.unwrap());
            assert_eq!(disk.is_some(), model.is_some());
            let (Some(disk), Some(model)) = (disk, model) else { continue };
            self.same(*id, &Ok(disk.clone()), &Ok(model));
            assert_eq!(self.disk().document(*id).await, self.model.document(*id).await);
            let (first, end) = (self.first(*id).await.unwrap().get(), disk.frontier.committed.get() + 2);
            if let Some(lost) = Seq::after(disk.frontier.watermark).get().checked_sub(2) {
                assert!(
                    self.disk().read(*id, Seq::new(lost).previous(), ReadLimit::default()).await.is_err()
                );
            }
            for from in (first..end).step_by(7).chain([end.saturating_sub(3).max(first), end]) {
                let after = Seq::new(from).previous();
                let limit = ReadLimit { entries: 5 + usize::try_from(from % 9).unwrap(), bytes: 3000 };
                let (disk, model) =
                    (rest(self.disk(), *id, after, limit).await, rest(&self.model, *id, after, limit).await);
                assert_eq!(disk, model, "after {after:?}");
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
        let listed = self.disk().logs_of(&owner(), None, 100).await.unwrap();
        let endless = self.ids.get(&ENDLESS).copied();
        let is_there = endless.map(|id| self.disk().head(id));
        let is_there = match is_there {
            Some(head) => head.await.unwrap().is_some(),
            None => false,
        };
        for id in listed.into_iter().chain(endless.filter(|_| is_there)) {
            bytes += self.disk().head(id).await.unwrap().unwrap().retained_bytes;
            bytes += self.disk().document(id).await.unwrap().len() as u64;
        }
        assert_eq!(kept.bytes, bytes);
    }
}

/// Everything after a position: a read may return less than its limit, but something as long as there is something.
async fn rest(store: &impl Store, id: LogId, mut after: Option<Seq>, limit: ReadLimit) -> Vec<Entry> {
    let mut entries = Vec::new();
    loop {
        let batch = store.read(id, after, limit).await.unwrap();
        assert!(batch.entries.len() <= limit.entries);
        let Some(last) = batch.entries.last() else {
            assert!(after >= Some(batch.frontier.committed));
            return entries;
        };
        after = Some(last.seq);
        entries.extend(batch.entries);
    }
}

fn open(dir: &Path) -> EmbeddedStore {
    EmbeddedStore::open(
        dir,
        Options {
            caps: CAPS,
            quotas: QUOTAS,
            segment_bytes: SEGMENT_BYTES,
            purged_stays: Duration::ZERO,
            ..Options::default()
        },
    )
    .unwrap()
}

fn payloads(sizes: &[u32]) -> Vec<bytes::Bytes> {
    sizes.iter().map(|size| vec![(size % 251) as u8; *size as usize].into()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn random_histories_read_like_the_twin_in_memory(events in prop::collection::vec(event(), 1..120)) {
        Runtime::new().unwrap().block_on(async {
            let mut both = Both::new();
            for event in events {
                both.apply(event).await;
            }
            both.compare().await;
            both.reopen().await;
            both.compare().await;
            both.disk = None;
            let checked = EmbeddedStore::check(both.dir.path(), &mut |problem| panic!("{problem}"));
            assert_eq!(checked.unwrap().problems, 0);
        });
    }
}
