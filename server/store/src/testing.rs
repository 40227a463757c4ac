//! The test-suite that every implementation of [`Store`] passes (D-3).
//!
//! [`store_suite!`](crate::store_suite) makes one test of each scenario; its argument makes an empty store with given limits, and
//! whatever must live as long as the store.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use crate::api::{Append, Caps, Close, Health, NewLog, ReadError, ReadLimit, Store, WriteError};
use crate::types::{Head, LogId, Owner, Seq, UnixMillis};

mod compaction;
mod endless;
mod quotas;
mod records;

pub use compaction::*;
pub use endless::*;
pub use quotas::*;
pub use records::*;

/// Makes a test of each scenario for a store; `$make` is a function from [`Caps`] and [`Quotas`](crate::Quotas) to
/// `(Arc<dyn Store>, guard)`.
#[macro_export]
macro_rules! store_suite {
    ($make:expr) => {
        $crate::store_suite!($make; a_log_reads_back_as_it_was_appended, an_append_is_fenced_by_position_and_epoch,
            a_closed_log_takes_nothing, appends_that_nobody_waits_for_are_done_in_order, caps_evict_from_the_front_and_raise_the_watermark,
            a_large_entry_and_document_read_back, reads_keep_their_limits, a_tail_follows_to_the_end,
            many_readers_see_the_same, a_purged_log_is_unknown, many_logs_are_purged_together, open_and_due_logs_are_found, spans_take_the_place_of_entries,
            a_compaction_is_fenced_by_its_generation, a_compaction_makes_room, a_last_compaction_is_due_once,
            the_logs_of_an_owner_are_found_newest_first, records_compare_and_set,
            records_are_found_by_the_prefix_of_their_keys, concurrent_puts_of_a_record_have_one_winner,
            concurrent_appends_at_one_position_have_one_winner, bad_batches_are_refused, a_closed_store_takes_nothing,
            what_owners_keep_is_counted, a_full_quota_refuses_new_logs_alone, a_full_quota_of_bytes_refuses_new_logs_alone,
            an_endless_log_goes_on,
            concurrent_creates_never_pass_a_quota);
    };
    ($make:expr; $($name:ident),+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let (caps, quotas) =
                ($crate::testing::caps_of(stringify!($name)), $crate::testing::quotas_of(stringify!($name)));
            let (store, _guard) = ($make)(caps, quotas);
            $crate::testing::$name(store).await;
        })+
    };
}

#[expect(clippy::disallowed_methods, reason = "tests wait for what they spawn")]
fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> tokio::task::JoinHandle<T> {
    tokio::spawn(task)
}

/// A store under test.
pub type Tested = Arc<dyn Store>;

/// The caps that a scenario runs with.
pub fn caps_of(scenario: &str) -> Caps {
    match scenario {
        "caps_evict_from_the_front_and_raise_the_watermark" => Caps { entries: Some(5), bytes: None },
        "an_endless_log_goes_on" => Caps { entries: Some(5), bytes: Some(20) },
        "a_compaction_makes_room" => Caps { entries: Some(10), bytes: None },
        _ => Caps::default(),
    }
}

/// A new id.
pub fn id() -> LogId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    LogId::from_bytes((u128::from(NEXT.fetch_add(1, Ordering::Relaxed)) << 64 | 0x7777).to_be_bytes())
}

/// The owner of all logs here.
pub fn owner() -> Owner {
    Owner::new("acme").unwrap()
}

/// The payload of entry `seq`, different for each.
pub fn payload(seq: u64) -> Bytes {
    Bytes::from(format!("entry {seq} {}", "x".repeat((seq % 50) as usize)))
}

/// Makes a log with entry 0.
pub async fn create(store: &Tested, id: LogId) -> Head {
    create_for(store, id, owner()).await
}

/// Makes a log of `owner` with entry 0.
pub async fn create_for(store: &Tested, id: LogId, owner: Owner) -> Head {
    store.create(new_log(id, owner)).await.unwrap()
}

/// A log of `owner` with entry 0, to be made.
pub fn new_log(id: LogId, owner: Owner) -> NewLog {
    let created_at = UnixMillis(1_800_000_000_000);
    NewLog {
        id,
        owner,
        created_at,
        status: 1,
        document: Bytes::from("document"),
        entries: vec![payload(0)],
        endless: None,
    }
}

/// The append of entries `from..to`.
pub fn append(store: &Tested, id: LogId, from: u64, to: u64) -> Append {
    let entries = (from..to).map(payload).collect();
    Append { id, epoch: store.epoch(), expected_last: Seq::new(from - 1), status: None, entries, close: None }
}

/// Everything that can be read after `after`.
pub async fn read_all(store: &Tested, id: LogId, after: Option<Seq>) -> Vec<(u64, Bytes)> {
    let (mut position, mut found) = (after, Vec::new());
    loop {
        let batch = store.read(id, position, ReadLimit::default()).await.unwrap();
        let Some(last) = batch.entries.last() else { return found };
        position = Some(last.seq);
        found.extend(batch.entries.into_iter().map(|entry| (entry.seq.get(), entry.payload)));
    }
}

/// Asserts that entries `from..to` are what is read after `from - 1`.
pub async fn assert_reads(store: &Tested, id: LogId, from: u64, to: u64) {
    let expected: Vec<_> = (from..to).map(|seq| (seq, payload(seq))).collect();
    assert_eq!(read_all(store, id, Seq::new(from).previous()).await, expected);
}

/// Scenario: an append goes on when its caller does, and later ones come behind it.
pub async fn appends_that_nobody_waits_for_are_done_in_order(store: Tested) {
    let id = id();
    create(&store, id).await;
    let dropped = store.submit(append(&store, id, 1, 3)).await.unwrap();
    drop(dropped);
    let late = store.submit(append(&store, id, 3, 4)).await.unwrap();
    let last = store.submit(append(&store, id, 4, 9)).await.unwrap();
    assert_eq!(last.await.unwrap().head.frontier.committed, Seq::new(8));
    assert_reads(&store, id, 0, 9).await;
    let late = late.await.unwrap();
    assert_eq!(late.head.frontier.committed, Seq::new(3), "the log as that append left it");
    let lost = async { store.submit(append(&store, id, 4, 5)).await?.await };
    assert!(matches!(lost.await, Err(WriteError::Moved { .. })));
}

/// Scenario: what was appended, in batches of all sizes, reads back from every position.
pub async fn a_log_reads_back_as_it_was_appended(store: Tested) {
    let id = id();
    let head = create(&store, id).await;
    assert_eq!((head.frontier.committed, head.status, head.owner), (Seq::FIRST, 1, owner()));
    let mut next = 1;
    for size in [1, 2, 3, 64, 65, 200, 1, 700] {
        let head = store.append(append(&store, id, next, next + size)).await.unwrap();
        next += size;
        assert_eq!(head.frontier.committed, Seq::new(next - 1));
    }
    for from in [0, 1, 2, 3, 4, 63, 64, 65, 66, 130, 334, 335, 336, 337, next - 1, next] {
        assert_reads(&store, id, from, next).await;
    }
    assert_eq!(store.read(id, Some(Seq::new(next + 5)), ReadLimit::default()).await.unwrap().entries, []);
    assert_eq!(store.document(id).await.unwrap(), "document");
    assert_eq!(store.head(id).await.unwrap().unwrap().retained_entries, next);
}

/// Scenario: an append at another position, or of an earlier epoch, changes nothing.
pub async fn an_append_is_fenced_by_position_and_epoch(store: Tested) {
    let id = id();
    create(&store, id).await;
    let moved = store.append(append(&store, id, 3, 5)).await.unwrap_err();
    assert_eq!(moved, WriteError::Moved { last: Seq::FIRST });
    let next = Append { epoch: store.epoch() + 1, status: Some(9), ..append(&store, id, 1, 2) };
    assert_eq!(store.append(next).await.unwrap().status, 9);
    let fenced = store.append(append(&store, id, 2, 3)).await.unwrap_err();
    assert_eq!(fenced, WriteError::Fenced { epoch: store.epoch() + 1 });
    assert_reads(&store, id, 0, 2).await;
    let unknown = Append { id: self::id(), ..append(&store, id, 2, 3) };
    assert_eq!(store.append(unknown).await.unwrap_err(), WriteError::NotFound);
}

/// Scenario: the last entry and the end come in one step, and nothing follows.
pub async fn a_closed_log_takes_nothing(store: Tested) {
    let id = id();
    create(&store, id).await;
    let close = Some(Close { compacts_at: None, expires_at: Some(UnixMillis(5)) });
    let head = store.append(Append { close, status: Some(3), ..append(&store, id, 1, 3) }).await.unwrap();
    assert_eq!((head.frontier.closed, head.status, head.expires_at), (true, 3, Some(UnixMillis(5))));
    assert_eq!(store.append(append(&store, id, 3, 4)).await.unwrap_err(), WriteError::Closed);
    assert_eq!(store.head(id).await.unwrap().unwrap(), head);
    assert_reads(&store, id, 0, 3).await;
}

/// Scenario: 20 entries under a cap of 5 leave 15 to 19; a position below the watermark is lost, one at it is not (L-25).
pub async fn caps_evict_from_the_front_and_raise_the_watermark(store: Tested) {
    let id = id();
    create(&store, id).await;
    for seq in 1..20 {
        store.append(append(&store, id, seq, seq + 1)).await.unwrap();
    }
    let head = store.head(id).await.unwrap().unwrap();
    assert_eq!((head.frontier.watermark, head.retained_entries), (Some(Seq::new(14)), 5));
    assert_reads(&store, id, 15, 20).await;
    for lost in [None, Some(Seq::FIRST), Some(Seq::new(13))] {
        let Err(ReadError::Lost(lost)) = store.read(id, lost, ReadLimit::default()).await else {
            panic!("{lost:?}")
        };
        assert_eq!(
            (lost.watermark, lost.earliest, lost.rolled_back),
            (Some(Seq::new(14)), Seq::new(15), false)
        );
        assert_eq!(lost.committed, Seq::new(19));
    }
    store.append(append(&store, id, 20, 40)).await.unwrap();
    assert_reads(&store, id, 35, 40).await;
    assert_eq!(store.document(id).await.unwrap(), "document");
}

/// Scenario: payloads of 300 KiB and a document of 1 MiB are like small ones.
pub async fn a_large_entry_and_document_read_back(store: Tested) {
    let id = id();
    let (document, large) = (Bytes::from(vec![7; 1 << 20]), Bytes::from(vec![8; 300 << 10]));
    let entries = vec![payload(0), large.clone(), payload(2)];
    let (owner, created_at) = (owner(), UnixMillis(1));
    let new = NewLog { id, owner, created_at, status: 0, document: document.clone(), entries, endless: None };
    store.create(new).await.unwrap();
    let entries = vec![large.clone(), payload(4)];
    store.append(Append { entries, ..append(&store, id, 3, 4) }).await.unwrap();
    let expected = vec![(0, payload(0)), (1, large.clone()), (2, payload(2)), (3, large), (4, payload(4))];
    assert_eq!(read_all(&store, id, None).await, expected);
    assert_eq!(store.document(id).await.unwrap(), document);
}

/// Scenario: a read returns no more than asked for, and at least one entry.
pub async fn reads_keep_their_limits(store: Tested) {
    let id = id();
    create(&store, id).await;
    store.append(append(&store, id, 1, 500)).await.unwrap();
    let few = store.read(id, None, ReadLimit { entries: 7, bytes: 1 << 20 }).await.unwrap();
    assert_eq!(few.entries.len(), 7);
    let small = store.read(id, Some(Seq::new(9)), ReadLimit { entries: 100, bytes: 50 }).await.unwrap();
    let bytes: usize = small.entries.iter().map(|entry| entry.payload.len()).sum();
    assert!(bytes <= 50 && !small.entries.is_empty());
    let one = store.read(id, Some(Seq::new(9)), ReadLimit { entries: 100, bytes: 1 }).await.unwrap();
    assert_eq!(one.entries.len(), 1);
}

/// Scenario: a tail wakes for every append and for the end.
pub async fn a_tail_follows_to_the_end(store: Tested) {
    let id = id();
    create(&store, id).await;
    let mut tail = store.tail(id).await.unwrap();
    assert_eq!(tail.past(None).await.committed, Seq::FIRST);
    assert!(timeout(Duration::from_millis(50), tail.past(Some(Seq::FIRST))).await.is_err());
    let writer = Arc::clone(&store);
    let appends = spawn(async move {
        for seq in 1..50 {
            let close = (seq == 49).then_some(Close { compacts_at: None, expires_at: None });
            writer.append(Append { close, ..append(&writer, id, seq, seq + 1) }).await.unwrap();
        }
    });
    let mut position = Some(Seq::FIRST);
    loop {
        let frontier = tail.past(position).await;
        let batch = store.read(id, position, ReadLimit::default()).await.unwrap();
        assert!(batch.frontier.committed >= frontier.committed);
        if let Some(last) = batch.entries.last() {
            assert_eq!(batch.entries[0].seq, Seq::after(position));
            position = Some(last.seq);
        }
        if batch.frontier.closed && position == Some(batch.frontier.committed) {
            break;
        }
    }
    assert_eq!(position, Some(Seq::new(49)));
    appends.await.unwrap();
    assert!(matches!(store.tail(self::id()).await, Err(ReadError::NotFound)));
}

/// Scenario: readers with cursors of their own get the same entries while they are written.
pub async fn many_readers_see_the_same(store: Tested) {
    let id = id();
    create(&store, id).await;
    let readers: Vec<_> = (0..20u64)
        .map(|reader| {
            let store = Arc::clone(&store);
            spawn(async move {
                let mut tail = store.tail(id).await.unwrap();
                let (mut position, mut seen) = (None, Vec::new());
                while position != Some(Seq::new(999)) {
                    tail.past(position).await;
                    let limit = ReadLimit { entries: 1 + reader as usize, bytes: 1 << 20 };
                    for entry in store.read(id, position, limit).await.unwrap().entries {
                        position = Some(entry.seq);
                        seen.push((entry.seq.get(), entry.payload));
                    }
                }
                seen
            })
        })
        .collect();
    for seq in (1..1000).step_by(9) {
        store.append(append(&store, id, seq, seq + 9)).await.unwrap();
    }
    let expected: Vec<_> = (0..1000).map(|seq| (seq, payload(seq))).collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), expected);
    }
}

/// Scenario: after a purge a log reads as one that never was, also to who follows it.
pub async fn a_purged_log_is_unknown(store: Tested) {
    let id = id();
    create(&store, id).await;
    let mut tail = store.tail(id).await.unwrap();
    store.purge(id).await.unwrap();
    assert!(tail.past(Some(Seq::FIRST)).await.gone);
    drop(tail);
    assert_eq!(store.head(id).await.unwrap(), None);
    assert_eq!(store.read(id, None, ReadLimit::default()).await.unwrap_err(), ReadError::NotFound);
    assert_eq!(store.document(id).await.unwrap_err(), ReadError::NotFound);
    assert_eq!(store.purge(id).await.unwrap_err(), WriteError::NotFound);
    assert_eq!(store.append(append(&store, id, 1, 2)).await.unwrap_err(), WriteError::NotFound);
    assert_eq!(store.open_logs(None, 10).await.unwrap(), []);
}

/// Scenario: open logs are listed in pages; closed ones are found when they expire, oldest expiry first.
pub async fn open_and_due_logs_are_found(store: Tested) {
    let ids: Vec<LogId> = (0..5).map(|_| id()).collect();
    for id in &ids {
        create(&store, *id).await;
    }
    let page = store.open_logs(None, 3).await.unwrap();
    assert_eq!(page, ids[..3]);
    assert_eq!(store.open_logs(page.last().copied(), 3).await.unwrap(), ids[3..]);
    for (id, at) in [(ids[0], 300), (ids[1], 100), (ids[2], 200)] {
        let close = Some(Close { compacts_at: None, expires_at: Some(UnixMillis(at)) });
        store.append(Append { close, ..append(&store, id, 1, 2) }).await.unwrap();
    }
    assert_eq!(store.open_logs(None, 10).await.unwrap(), ids[3..]);
    assert_eq!(store.due(UnixMillis(99), 10).await.unwrap(), []);
    assert_eq!(store.due(UnixMillis(200), 10).await.unwrap(), [ids[1], ids[2]]);
    assert_eq!(store.due(UnixMillis(1000), 1).await.unwrap(), [ids[1]]);
    store.purge(ids[1]).await.unwrap();
    assert_eq!(store.due(UnixMillis(1000), 10).await.unwrap(), [ids[2], ids[0]]);
}

/// Scenario: logs are looked up and purged together; those that are gone are passed over.
pub async fn many_logs_are_purged_together(store: Tested) {
    let mut ids: Vec<LogId> = (0..6).map(|_| id()).collect();
    for id in &ids[..5] {
        create(&store, *id).await;
        let close = Some(Close { compacts_at: None, expires_at: Some(UnixMillis(10)) });
        store.append(Append { close, ..append(&store, *id, 1, 2) }).await.unwrap();
    }
    let heads = store.heads(&ids).await.unwrap();
    assert_eq!(heads.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids[..5]);
    assert!(heads.iter().all(|(_, head)| head.frontier.closed));
    assert_eq!(store.purge_many(&[ids[0], ids[3], ids[5]]).await.unwrap(), 2);
    assert_eq!(store.purge_many(&[ids[0], ids[3]]).await.unwrap(), 0);
    assert_eq!(store.purge_many(&[]).await.unwrap(), 0);
    ids = vec![ids[1], ids[2], ids[4]];
    assert_eq!(store.due(UnixMillis(1000), 10).await.unwrap(), ids);
    assert_eq!(store.heads(&ids).await.unwrap().len(), 3);
    assert!(matches!(store.purge_many(&vec![ids[0]; 5000]).await, Err(WriteError::Invalid(_))));
}

/// Scenario: the logs of one owner are listed in pages, whether the index has them yet or not, and not those of owners with
/// similar names.
pub async fn the_logs_of_an_owner_are_found_newest_first(store: Tested) {
    let mut ids: Vec<LogId> = (0..7).map(|_| id()).collect();
    for (index, id) in ids.iter().enumerate() {
        create(&store, *id).await;
        for similar in ["acm", "acme!", "acme~"] {
            create_for(&store, self::id(), Owner::new(similar).unwrap()).await;
        }
        if index == 3 {
            // Has the index catch up with what was made so far.
            store.open_logs(None, 1).await.unwrap();
        }
    }
    let close = Some(Close { compacts_at: None, expires_at: None });
    store.append(Append { close, ..append(&store, ids[1], 1, 2) }).await.unwrap();
    ids.reverse();
    for indexed in [false, true] {
        if indexed {
            store.open_logs(None, 1).await.unwrap();
        }
        assert_eq!(store.logs_of(&owner(), None, 100).await.unwrap(), ids);
        for size in 1..=7 {
            let mut paged = Vec::new();
            loop {
                let page = store.logs_of(&owner(), paged.last().copied(), size).await.unwrap();
                assert!(page.len() <= size);
                if page.is_empty() {
                    break;
                }
                paged.extend(page);
            }
            assert_eq!(paged, ids);
        }
    }
    let purged = ids.remove(2);
    store.purge(purged).await.unwrap();
    assert_eq!(store.logs_of(&owner(), None, 4).await.unwrap(), ids[..4]);
    assert_eq!(store.logs_of(&owner(), Some(purged), 2).await.unwrap(), ids[2..4]);
    store.open_logs(None, 1).await.unwrap();
    assert_eq!(store.logs_of(&owner(), None, 100).await.unwrap(), ids);
    assert_eq!(store.logs_of(&Owner::new("nobody").unwrap(), None, 100).await.unwrap(), []);
}

/// Scenario: of 50 appends at one position one wins, and its entries are what is read.
pub async fn concurrent_appends_at_one_position_have_one_winner(store: Tested) {
    let id = id();
    create(&store, id).await;
    let appends: Vec<_> = (0..50u64)
        .map(|n| {
            let store = Arc::clone(&store);
            spawn(async move {
                let entries = vec![Bytes::from(format!("writer {n}"))];
                let close = Some(Close { compacts_at: None, expires_at: None });
                store.append(Append { entries, close, ..append(&store, id, 1, 2) }).await.map(|_| n)
            })
        })
        .collect();
    let mut winners = Vec::new();
    for append in appends {
        winners.extend(append.await.unwrap());
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(read_all(&store, id, Some(Seq::FIRST)).await, [(1, format!("writer {}", winners[0]).into())]);
}

/// Scenario: what is outside the bounds is refused, and an id is used once.
pub async fn bad_batches_are_refused(store: Tested) {
    let id = id();
    create(&store, id).await;
    let empty = Append { entries: vec![], ..append(&store, id, 1, 2) };
    assert!(matches!(store.append(empty).await, Err(WriteError::Invalid(_))));
    let many = Append { entries: vec![payload(1); 5000], ..append(&store, id, 1, 2) };
    assert!(matches!(store.append(many).await, Err(WriteError::Invalid(_))));
    assert!(matches!(store.put_record(b"", None, None).await, Err(WriteError::Invalid(_))));
    let large = Some(Bytes::from(vec![0; 5000]));
    assert!(matches!(store.put_record(b"key", None, large).await, Err(WriteError::Invalid(_))));
    assert_eq!(store.create(new_log(id, owner())).await.unwrap_err(), WriteError::Exists);
}

/// Scenario: a store that was closed answers reads of nothing new and takes no writes.
pub async fn a_closed_store_takes_nothing(store: Tested) {
    let id = id();
    create(&store, id).await;
    let mut health = store.health();
    assert_eq!(*health.borrow_and_update(), Health::Serving);
    store.close().await;
    assert_eq!(*health.borrow_and_update(), Health::Closed);
    assert!(matches!(store.append(append(&store, id, 1, 2)).await, Err(WriteError::Poisoned(_))));
    assert!(matches!(store.put_record(b"key", None, None).await, Err(WriteError::Poisoned(_))));
    assert_reads(&store, id, 0, 1).await;
}
