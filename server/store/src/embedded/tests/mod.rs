//! The embedded store against the shared suite, and over restarts, damage and lost indexes.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::api::{Append, Close, NewLog, ReadError, ReadLimit, Store as _, WriteError};
use crate::testing::{Tested, append, assert_reads, create, id, new_log, owner, read_all};
use crate::types::{LogId, Seq, UnixMillis};

mod faults;
mod fixture;
mod inspect;
#[cfg(feature = "shuttle")]
mod interleavings;
mod killed;
mod model;
mod space;

mod both_durabilities {
    mod sync {
        use super::super::*;

        crate::store_suite!(|caps, quotas| limited(caps, quotas, Durability::Sync));
    }

    mod os {
        use super::super::*;

        crate::store_suite!(|caps, quotas| limited(caps, quotas, Durability::Os));
    }
}

fn make(caps: Caps, durability: Durability) -> (Tested, tempfile::TempDir) {
    limited(caps, Quotas::default(), durability)
}

fn limited(caps: Caps, quotas: Quotas, durability: Durability) -> (Tested, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { durability, caps, quotas, ..Options::default() };
    (Arc::new(EmbeddedStore::open(dir.path(), options).unwrap()), dir)
}

fn reopen(dir: &Path) -> Tested {
    Arc::new(EmbeddedStore::open(dir, Options::default()).unwrap())
}

/// A directory with one log of 300 entries, closed, and one of 100, open; the process that wrote it has ended.
async fn written() -> (tempfile::TempDir, LogId, LogId) {
    let (store, dir) = make(Caps::default(), Durability::Sync);
    let (closed, open) = (id(), id());
    create(&store, closed).await;
    create(&store, open).await;
    for seq in (1..100).step_by(3) {
        store.append(append(&store, closed, seq, seq + 3)).await.unwrap();
        store.append(append(&store, open, seq, seq + 3)).await.unwrap();
    }
    let close = Some(Close { compacts_at: None, expires_at: Some(UnixMillis(77)) });
    store.append(Append { close, ..append(&store, closed, 100, 300) }).await.unwrap();
    store.put_record(b"key", None, Some("value".into())).await.unwrap();
    (dir, closed, open)
}

async fn assert_written(store: &Tested, closed: LogId, open: LogId) {
    assert_reads(store, closed, 0, 300).await;
    assert_reads(store, open, 0, 100).await;
    assert_eq!(store.open_logs(None, 10).await.unwrap(), [open]);
    assert_eq!(store.due(UnixMillis(77), 10).await.unwrap(), [closed]);
    assert_eq!(store.logs_of(&owner(), None, 10).await.unwrap(), [open, closed]);
    assert_eq!(store.record(b"key").await.unwrap().unwrap().value, "value");
    let head = store.head(closed).await.unwrap().unwrap();
    assert_eq!((head.frontier.closed, head.retained_entries), (true, 300));
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(dir.join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[tokio::test]
async fn everything_is_there_after_a_restart_and_the_log_goes_on() {
    let (dir, closed, open) = written().await;
    for restart in 0..3 {
        let store = reopen(dir.path());
        assert_written(&store, closed, open).await;
        assert_eq!(store.epoch(), 2 + restart);
    }
    let store = reopen(dir.path());
    store.append(append(&store, open, 100, 200)).await.unwrap();
    assert_reads(&store, open, 50, 200).await;
    drop(store);
    assert_reads(&reopen(dir.path()), open, 0, 200).await;
}

#[tokio::test]
async fn an_id_of_an_earlier_process_is_taken_and_a_lower_one_that_is_free_is_not() {
    let free = id();
    let (dir, closed, open) = written().await;
    let store = reopen(dir.path());
    for taken in [closed, open] {
        assert_eq!(store.create(new_log(taken, owner())).await, Err(WriteError::Exists));
    }
    create(&store, free).await;
    assert_eq!(store.create(new_log(free, owner())).await, Err(WriteError::Exists));
}

#[tokio::test]
async fn an_index_that_is_gone_or_will_not_open_is_made_anew() {
    let (dir, closed, open) = written().await;
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    assert_written(&reopen(dir.path()), closed, open).await;
    for name in ["db", "conf"] {
        fs::write(dir.path().join("index").join(name), b"garbage").unwrap();
        assert_written(&reopen(dir.path()), closed, open).await;
    }
    EmbeddedStore::rebuild(dir.path(), Options::default()).unwrap();
    assert_written(&reopen(dir.path()), closed, open).await;
}

#[tokio::test]
async fn an_index_behind_the_log_catches_up() {
    let (dir, _, open) = written().await;
    let old = dir.path().join("index.old");
    copy_dir(&dir.path().join("index"), &old);
    let store = reopen(dir.path());
    store.append(append(&store, open, 100, 150)).await.unwrap();
    drop(store);
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    fs::rename(&old, dir.path().join("index")).unwrap();
    assert_reads(&reopen(dir.path()), open, 0, 150).await;
}

#[tokio::test]
async fn a_log_whose_end_is_gone_is_refused_until_that_is_given_up() {
    let (dir, closed, open) = written().await;
    let newest = segments(dir.path()).pop().unwrap();
    let before = fs::read(&newest).unwrap();
    let store = reopen(dir.path());
    store.append(append(&store, open, 100, 150)).await.unwrap();
    drop(store);
    fs::write(&newest, before).unwrap();
    let error = EmbeddedStore::open(dir.path(), Options::default()).unwrap_err();
    assert!(matches!(error, OpenError::EndMissing { end, covered, .. } if end < covered), "{error}");
    EmbeddedStore::rebuild(dir.path(), Options::default()).unwrap();
    assert_written(&reopen(dir.path()), closed, open).await;
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_torn_tail_is_cut_off_at_any_length() {
    let (dir, closed, open) = written().await;
    let path = segments(dir.path()).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    let store = reopen(dir.path());
    store.append(append(&store, open, 100, 110)).await.unwrap();
    drop(store);
    let longer = fs::read(&path).unwrap();
    // What is torn was never in an index.
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    // The last frame is the append; the one before it is the opening of the epoch.
    for keep in [whole.len() + 1, whole.len() + 19, longer.len() - 1, longer.len() - 100] {
        fs::write(&path, &longer[..keep]).unwrap();
        let store = reopen(dir.path());
        assert_written(&store, closed, open).await;
        store.append(append(&store, open, 100, 101)).await.unwrap();
        drop(store);
        assert_reads(&reopen(dir.path()), open, 0, 101).await;
        fs::remove_dir_all(dir.path().join("index")).unwrap();
    }
}

#[tokio::test]
async fn a_flipped_bit_before_good_frames_is_refused() {
    let (dir, ..) = written().await;
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let path = segments(dir.path()).remove(0);
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 200).unwrap();
    file.write_all_at(&[byte[0] ^ 4], 200).unwrap();
    let error = EmbeddedStore::open(dir.path(), Options::default()).unwrap_err();
    assert!(matches!(&error, OpenError::Damaged { position, .. } if *position <= 200), "{error}");
    let size = fs::metadata(&path).unwrap().len();
    assert!(size > 200, "nothing was cut off");
}

#[tokio::test]
async fn damage_under_a_read_is_an_error_and_never_a_hole() {
    let (dir, closed, _) = written().await;
    let store = reopen(dir.path());
    let path = segments(dir.path()).remove(0);
    let bytes = fs::read(&path).unwrap();
    let at = bytes.windows(8).position(|window| window == b"entry 5 ").unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"X", at as u64).unwrap();
    let error = store.read(closed, None, ReadLimit::default()).await.unwrap_err();
    assert!(matches!(error, ReadError::Broken(_)), "{error}");
}

#[tokio::test]
async fn a_missing_segment_is_refused() {
    let (dir, ..) = written().await;
    let path = segments(dir.path()).remove(0);
    let end = fs::metadata(&path).unwrap().len();
    segment::create(&dir.path().join("log"), frame::Lsn(end + 64)).unwrap();
    let error = EmbeddedStore::open(dir.path(), Options::default()).unwrap_err();
    assert!(error.to_string().contains("a segment is missing"), "{error}");
}

#[tokio::test]
async fn a_missing_blob_is_an_error_of_its_reader_only() {
    let (store, dir) = make(Caps::default(), Durability::Sync);
    let (large, other) = (id(), id());
    create(&store, large).await;
    create(&store, other).await;
    let entries = vec![vec![1u8; 100_000].into()];
    store.append(Append { entries, ..append(&store, large, 1, 2) }).await.unwrap();
    fs::remove_dir_all(dir.path().join("blobs")).unwrap();
    assert!(matches!(
        store.read(large, Some(Seq::FIRST), ReadLimit::default()).await,
        Err(ReadError::Broken(_))
    ));
    assert_reads(&store, other, 0, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_that_found_no_room_is_not_in_the_way_of_the_next_try() {
    let quota = crate::quota::Quota { logs: Some(0), bytes: None };
    let (store, _dir) =
        limited(Caps::default(), Quotas { owner: quota, ..Quotas::default() }, Durability::Os);
    let log = id();
    for _ in 0..2000 {
        let refused = store.create(new_log(log, owner())).await;
        assert!(matches!(refused, Err(WriteError::Full(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn an_endless_log_goes_on_after_a_power_cut_may_have_taken_some_of_it() {
    let (store, dir) = make(Caps::default(), Durability::Os);
    let log = id();
    let due = Some(Close { compacts_at: None, expires_at: None });
    store.create(NewLog { endless: due, ..new_log(log, owner()) }).await.unwrap();
    store.append(append(&store, log, 1, 10)).await.unwrap();
    drop(store);
    for last in 10..13 {
        let store = reopen(dir.path());
        let head = store.append(append(&store, log, last, last + 1)).await.unwrap();
        assert_eq!((head.recovered_through, head.epoch), (None, store.epoch()));
        assert_reads(&store, log, 0, last + 1).await;
        let batch = store.read(log, Some(Seq::new(last)), ReadLimit::default()).await.unwrap();
        assert_eq!(batch.entries, [], "a reader that has everything waits");
    }
}

#[tokio::test]
async fn a_directory_in_use_is_refused() {
    let (_store, dir) = make(Caps::default(), Durability::Sync);
    let error = EmbeddedStore::open(dir.path(), Options::default()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert!(matches!(EmbeddedStore::rebuild(dir.path(), Options::default()), Err(OpenError::InUse { .. })));
}

#[tokio::test]
async fn what_a_power_cut_may_have_taken_reads_as_rolled_back() {
    let (store, dir) = make(Caps::default(), Durability::Os);
    let log = id();
    create(&store, log).await;
    store.append(append(&store, log, 1, 10)).await.unwrap();
    drop(store);
    let store = reopen(dir.path());
    let head = store.append(append(&store, log, 10, 11)).await.unwrap();
    assert_eq!(head.recovered_through, Some(Seq::new(9)));
    let Err(ReadError::Lost(lost)) = store.read(log, Some(Seq::new(10)), ReadLimit::default()).await else {
        panic!("a position beyond what was recovered")
    };
    assert!(lost.rolled_back);
    let batch = store.read(log, Some(Seq::new(9)), ReadLimit::default()).await.unwrap();
    assert_eq!(batch.entries.len(), 1);
    drop(store);
    let store = reopen(dir.path());
    assert_eq!(store.head(log).await.unwrap().unwrap().recovered_through, Some(Seq::new(9)));
}

#[tokio::test]
async fn a_purge_and_its_blobs_stay_gone_after_a_rebuild() {
    let (store, dir) = make(Caps::default(), Durability::Sync);
    let log = id();
    create(&store, log).await;
    let entries = vec![vec![1u8; 100_000].into()];
    store.append(Append { entries, ..append(&store, log, 1, 2) }).await.unwrap();
    store.purge(log).await.unwrap();
    store.open_logs(None, 1).await.unwrap();
    let blobs: Vec<_> = fs::read_dir(dir.path().join("blobs")).unwrap().collect();
    let left: usize =
        blobs.into_iter().map(|shard| fs::read_dir(shard.unwrap().path()).unwrap().count()).sum();
    assert_eq!(left, 0);
    drop(store);
    for _ in 0..2 {
        let store = reopen(dir.path());
        assert_eq!(store.head(log).await.unwrap(), None);
        drop(store);
        fs::remove_dir_all(dir.path().join("index")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_roll_and_a_log_over_several_reads_back_also_after_a_rebuild() {
    let (store, dir) = make(Caps { entries: None, bytes: None }, Durability::Os);
    let log = id();
    create(&store, log).await;
    let big = |seq: u64| bytes::Bytes::from(vec![(seq % 251) as u8; 60_000]);
    let mut next = 1;
    while segments(dir.path()).len() < 3 {
        let entries = (next..next + 64).map(big).collect();
        store.append(Append { entries, ..append(&store, log, next, next + 1) }).await.unwrap();
        next += 64;
    }
    let check = async |store: &Tested| {
        let mut expected = 1;
        let mut position = Some(Seq::FIRST);
        while expected < next {
            let batch = store.read(log, position, ReadLimit { entries: 50, bytes: 4 << 20 }).await.unwrap();
            for entry in &batch.entries {
                assert_eq!((entry.seq.get(), &entry.payload), (expected, &big(expected)));
                expected += 1;
            }
            position = batch.entries.last().map(|entry| entry.seq);
        }
    };
    check(&store).await;
    drop(store);
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let options = Options { caps: Caps { entries: None, bytes: None }, ..Options::default() };
    let store: Tested = Arc::new(EmbeddedStore::open(dir.path(), options).unwrap());
    check(&store).await;
}

#[tokio::test]
async fn logs_that_ended_and_endless_ones_leave_memory() {
    let (store, dir) = make(Caps::default(), Durability::Sync);
    drop(store);
    let store = Arc::new(EmbeddedStore::open(dir.path(), Options::default()).unwrap());
    let tested: Tested = store.clone();
    let mut ids = Vec::new();
    for _ in 0..200 {
        let id = id();
        create(&tested, id).await;
        let close = Some(Close { compacts_at: None, expires_at: None });
        tested.append(Append { close, ..append(&tested, id, 1, 2) }).await.unwrap();
        ids.push(id);
        let endless = self::id();
        tested.create(NewLog { endless: close, ..new_log(endless, owner()) }).await.unwrap();
        tested.append(append(&tested, endless, 1, 2)).await.unwrap();
        ids.push(endless);
    }
    tested.open_logs(None, 1).await.unwrap();
    for id in ids {
        assert_eq!(read_all(&tested, id, None).await.len(), 2);
    }
    assert_eq!(store.usage().logs_in_memory, 0);
}
