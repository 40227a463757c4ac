//! The scenarios of compaction.

use std::sync::Arc;

use bytes::Bytes;

use super::{Tested, append, create, id, payload, spawn};
use crate::api::{Append, Close, Entry, ReadError, ReadLimit, WriteError};
use crate::compaction::{Compact, Span};
use crate::types::{LogId, Seq, UnixMillis};

/// A compaction of the entries from `from` on, made from what the log is now: a span for each of `lasts`.
pub async fn compact(store: &Tested, id: LogId, from: u64, lasts: &[u64]) -> Compact {
    let generation = store.head(id).await.unwrap().unwrap().generation;
    let span = |last: &u64| Span { last: Seq::new(*last), payload: run(*last) };
    let spans = lasts.iter().map(span).collect();
    Compact { id, generation, from: Seq::new(from), spans, settles: false }
}

/// The payload of a run that ends at `last`, different for each.
pub fn run(last: u64) -> Bytes {
    Bytes::from(format!("run to {last}"))
}

fn as_appended(seq: u64) -> Entry {
    Entry { first: Seq::new(seq), seq: Seq::new(seq), payload: payload(seq) }
}

fn as_run(first: u64, last: u64) -> Entry {
    Entry { first: Seq::new(first), seq: Seq::new(last), payload: run(last) }
}

/// Asserts that this is what a log that was compacted reads as, from every position, in pages of any size.
async fn assert_entries(store: &Tested, id: LogId, expected: &[Entry]) {
    let end = expected.last().unwrap().seq;
    for after in std::iter::once(None).chain((0..=end.get()).map(|seq| Some(Seq::new(seq)))) {
        for entries in [1, 3, 64] {
            let (mut position, limit) = (after, ReadLimit { entries, ..ReadLimit::default() });
            while position < Some(end) {
                for entry in store.read(id, position, limit).await.unwrap().entries {
                    let next = Seq::after(position);
                    assert!(entry.first <= next && next <= entry.seq, "{entry:?} after {position:?}");
                    assert!(expected.contains(&entry), "{entry:?} after {position:?}");
                    position = Some(entry.seq);
                }
            }
        }
    }
}

/// Scenario: runs of entries become one each, at the beginning, in the middle and over older runs, of an open and of a closed
/// log. Numbers, the frontier and all other entries stay.
pub async fn spans_take_the_place_of_entries(store: Tested) {
    let id = id();
    create(&store, id).await;
    let before = store.append(append(&store, id, 1, 300)).await.unwrap();
    let head = store.compact(compact(&store, id, 10, &[99, 100, 149]).await).await.unwrap();
    assert_eq!((head.generation, head.retained_entries), (1, 300 - 140 + 3));
    assert_eq!((head.frontier, head.epoch, head.status), (before.frontier, before.epoch, before.status));
    let kept: u64 = (0..10).chain(150..300).map(|seq| payload(seq).len() as u64).sum();
    let runs: u64 = [99, 100, 149].iter().map(|last| run(*last).len() as u64).sum();
    assert_eq!(head.retained_bytes, kept + runs);
    let front = (0..10).map(as_appended);
    let runs = [as_run(10, 99), as_run(100, 100), as_run(101, 149)];
    let expected: Vec<_> = front.chain(runs).chain((150..300).map(as_appended)).collect();
    assert_entries(&store, id, &expected).await;

    store.append(append(&store, id, 300, 302)).await.unwrap();
    store.compact(compact(&store, id, 0, &[4, 149]).await).await.unwrap();
    let close = Some(Close { compacts_at: None, expires_at: None });
    store.append(Append { close, ..append(&store, id, 302, 303) }).await.unwrap();
    // Has an index catch up.
    store.open_logs(None, 1).await.unwrap();
    let head = store.compact(compact(&store, id, 5, &[249]).await).await.unwrap();
    assert_eq!((head.generation, head.retained_entries, head.frontier.closed), (3, 2 + 53, true));
    let runs = [as_run(0, 4), as_run(5, 249)];
    let expected: Vec<_> = runs.into_iter().chain((250..303).map(as_appended)).collect();
    assert_entries(&store, id, &expected).await;
    assert_eq!(store.head(id).await.unwrap().unwrap(), head);
    assert_eq!(store.document(id).await.unwrap(), "document");
}

/// Scenario: a compaction of what is not (any more) there, or that is no tiling, changes nothing; one winner of many.
pub async fn a_compaction_is_fenced_by_its_generation(store: Tested) {
    let id = id();
    create(&store, id).await;
    store.append(append(&store, id, 1, 50)).await.unwrap();
    let stale = compact(&store, id, 0, &[20]).await;
    store.compact(compact(&store, id, 5, &[9]).await).await.unwrap();
    assert_eq!(store.compact(stale).await.unwrap_err(), WriteError::Changed { generation: 1 });
    let beyond = compact(&store, id, 10, &[50]).await;
    assert_eq!(store.compact(beyond).await.unwrap_err(), WriteError::Changed { generation: 1 });
    for (from, lasts) in [(20, &[][..]), (20, &[19]), (20, &[25, 25]), (20, &[30, 25]), (6, &[20]), (0, &[7])]
    {
        let wrong = compact(&store, id, from, lasts).await;
        let refused = store.compact(wrong).await.unwrap_err();
        assert!(matches!(refused, WriteError::Invalid(_)), "{from} {lasts:?}: {refused:?}");
    }
    let unknown = Compact { id: self::id(), ..compact(&store, id, 10, &[11]).await };
    assert_eq!(store.compact(unknown).await.unwrap_err(), WriteError::NotFound);
    let head = store.head(id).await.unwrap().unwrap();
    assert_eq!((head.generation, head.retained_entries), (1, 50 - 4));

    let mut won = 0;
    let racers = race(&store, &compact(&store, id, 10, &[29]).await);
    for racer in racers {
        won += usize::from(racer.await.unwrap());
    }
    assert_eq!(won, 1);
    assert_eq!(store.head(id).await.unwrap().unwrap().retained_entries, 50 - 4 - 19);
}

fn race(store: &Tested, compact: &Compact) -> Vec<tokio::task::JoinHandle<bool>> {
    let racer = |_| {
        let (store, compact) = (Arc::clone(store), compact.clone());
        spawn(async move { store.compact(compact).await.is_ok() })
    };
    (0..20).map(racer).collect()
}

/// Scenario: what was compacted counts as what it has become, so that more fits under the caps; the runs of long ago go first.
pub async fn a_compaction_makes_room(store: Tested) {
    let id = id();
    create(&store, id).await;
    store.append(append(&store, id, 1, 10)).await.unwrap();
    store.compact(compact(&store, id, 0, &[3, 7]).await).await.unwrap();
    let head = store.append(append(&store, id, 10, 16)).await.unwrap();
    assert_eq!((head.frontier.watermark, head.retained_entries), (None, 10));
    let head = store.append(append(&store, id, 16, 17)).await.unwrap();
    assert_eq!((head.frontier.watermark, head.retained_entries), (Some(Seq::new(3)), 10));
    let gone = compact(&store, id, 0, &[7]).await;
    assert_eq!(store.compact(gone).await.unwrap_err(), WriteError::Changed { generation: 1 });
    let ReadError::Lost(lost) = store.read(id, Some(Seq::new(2)), ReadLimit::default()).await.unwrap_err()
    else {
        panic!("a position inside of what was evicted")
    };
    assert_eq!((lost.watermark, lost.earliest), (Some(Seq::new(3)), Seq::new(4)));
    let expected: Vec<_> = std::iter::once(as_run(4, 7)).chain((8..17).map(as_appended)).collect();
    let read = store.read(id, Some(Seq::new(3)), ReadLimit::default()).await.unwrap();
    assert_eq!(read.entries, expected);
}

/// Scenario: a closed log is due for its last compaction and, once that is done, for its purge. There may be nothing to replace.
pub async fn a_last_compaction_is_due_once(store: Tested) {
    let ids: Vec<LogId> = (0..3).map(|_| id()).collect();
    for (id, compacts_at) in ids.iter().zip([Some(100), Some(50), None]) {
        create(&store, *id).await;
        let compacts_at = compacts_at.map(UnixMillis);
        let close = Some(Close { compacts_at, expires_at: Some(UnixMillis(200)) });
        let head = store.append(Append { close, ..append(&store, *id, 1, 9) }).await.unwrap();
        assert_eq!((head.compacts_at, head.due_at()), (compacts_at, compacts_at.or(Some(UnixMillis(200)))));
    }
    assert_eq!(store.due(UnixMillis(49), 10).await.unwrap(), []);
    assert_eq!(store.due(UnixMillis(100), 10).await.unwrap(), [ids[1], ids[0]]);
    for (id, lasts) in ids.iter().zip([&[7][..], &[]]) {
        let settled = Compact { settles: true, ..compact(&store, *id, 0, lasts).await };
        let head = store.compact(settled).await.unwrap();
        assert_eq!((head.generation, head.compacts_at, head.expires_at), (1, None, Some(UnixMillis(200))));
    }
    assert_eq!(store.due(UnixMillis(199), 10).await.unwrap(), []);
    let mut due = store.due(UnixMillis(200), 10).await.unwrap();
    due.sort_unstable();
    assert_eq!(due, ids);
    store.purge(ids[0]).await.unwrap();
    assert_eq!(store.due(UnixMillis(200), 10).await.unwrap().len(), 2);
}
