//! Space: what leaves the disk and when, and that nothing else does (D-39).

use std::time::Duration;

use super::*;
use crate::api::{NewLog, Version};
use crate::compaction::{Compact, Span};
use crate::testing::payload;

const SEGMENT_BYTES: u64 = 16 << 10;

fn options() -> Options {
    Options { segment_bytes: SEGMENT_BYTES, ..Options::default() }
}

fn small(dir: &Path) -> Arc<EmbeddedStore> {
    Arc::new(EmbeddedStore::open(dir, options()).unwrap())
}

fn rebuilt(dir: &Path) -> Arc<EmbeddedStore> {
    EmbeddedStore::rebuild(dir, options()).unwrap();
    small(dir)
}

/// A closed log of 20 entries that expires at `at`.
async fn stored(store: &Arc<EmbeddedStore>, at: u64) -> LogId {
    let (tested, log): (Tested, LogId) = (store.clone(), id());
    create(&tested, log).await;
    let close = Some(Close { compacts_at: None, expires_at: Some(UnixMillis(at)) });
    store.append(Append { close, ..append(&tested, log, 1, 20) }).await.unwrap();
    log
}

/// Removes what has expired by `now`.
async fn expire(store: &EmbeddedStore, now: u64) {
    let now = UnixMillis(now);
    loop {
        let due = store.due(now, 100).await.unwrap();
        if due.is_empty() {
            return;
        }
        assert_eq!(store.purge_many(&due).await.unwrap(), due.len());
    }
}

/// Makes the segments before this moment old ones, which the index covers.
async fn roll(store: &Arc<EmbeddedStore>, dir: &Path) {
    let newest = segments(dir).pop();
    while segments(dir).pop() == newest {
        let log = stored(store, 0).await;
        store.purge(log).await.unwrap();
    }
    store.open_logs(None, 1).await.unwrap();
}

/// Cleans, if the cleaner was not faster.
async fn clean(store: &EmbeddedStore) {
    store.clean().await.unwrap();
    assert!(store.usage().cleaned_bytes > 0);
}

fn log_bytes(dir: &Path) -> u64 {
    segments(dir).iter().map(|path| fs::metadata(path).unwrap().len()).sum()
}

async fn assert_intact(store: &Arc<EmbeddedStore>, log: LogId) {
    let tested: Tested = store.clone();
    assert_reads(&tested, log, 0, 20).await;
    assert_eq!(store.document(log).await.unwrap(), "document");
}

#[tokio::test]
async fn what_has_expired_leaves_the_disk_and_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = small(dir.path());
    let mut logs = Vec::new();
    for _ in 0..300 {
        logs.push(stored(&store, 10).await);
    }
    let before = segments(dir.path());
    assert!(before.len() > 5);
    expire(&store, 10).await;
    roll(&store, dir.path()).await;
    clean(&store).await;
    assert!(before.iter().all(|path| !path.exists()));
    assert!(log_bytes(dir.path()) <= 2 * SEGMENT_BYTES, "{:?}", store.usage());
    assert!(store.usage().cleaned_bytes >= before.len() as u64 * SEGMENT_BYTES);
    drop(store);
    let store = rebuilt(dir.path());
    for log in logs {
        assert_eq!(store.head(log).await.unwrap(), None);
    }
}

#[tokio::test]
async fn what_lives_on_is_copied_forward_with_all_that_belongs_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = small(dir.path());
    let version = store.put_record(b"kept", None, Some("value".into())).await.unwrap();
    let large = id();
    let (owner, created_at) = (owner(), UnixMillis(3));
    let (document, entries) = (vec![7; 90_000].into(), vec![vec![8; 80_000].into(), payload(1)]);
    store
        .create(NewLog { id: large, owner, created_at, status: 4, document, entries, endless: None })
        .await
        .unwrap();
    let mut kept = Vec::new();
    for number in 0..300 {
        let log = stored(&store, if number % 5 == 0 { 1000 } else { 10 }).await;
        kept.extend((number % 5 == 0).then_some(log));
    }
    let heads = async |store: &EmbeddedStore| {
        let mut heads = Vec::new();
        for log in &kept {
            heads.push(store.head(*log).await.unwrap().unwrap());
        }
        heads
    };
    let (old, before) = (segments(dir.path()), heads(&store).await);
    expire(&store, 10).await;
    roll(&store, dir.path()).await;
    clean(&store).await;
    assert!(old.iter().all(|path| !path.exists()), "{old:?}");
    let mut store = store;
    for restart in 0..3 {
        assert_eq!(heads(&store).await, before);
        for log in &kept {
            assert_intact(&store, *log).await;
        }
        assert_eq!(store.document(large).await.unwrap(), vec![7; 90_000]);
        let tested: Tested = store.clone();
        let read = read_all(&tested, large, None).await;
        assert_eq!(read, [(0, vec![8; 80_000].into()), (1, payload(1))]);
        let record = store.record(b"kept").await.unwrap().unwrap();
        assert_eq!((record.version, &record.value[..]), (version, &b"value"[..]));
        drop((store, tested));
        store = if restart == 0 { small(dir.path()) } else { rebuilt(dir.path()) };
    }
    let conflict = store.put_record(b"kept", Some(Version(version.0 + 1)), None).await;
    assert!(conflict.is_err(), "the version is still checked");
    store.put_record(b"kept", Some(version), None).await.unwrap();
}

/// A store whose first segment lives on while the tombstones of what it held lie in one that has left the disk.
async fn with_a_stub(dir: &Path) -> (Arc<EmbeddedStore>, Vec<LogId>, LogId) {
    let store = small(dir);
    let removed = stored(&store, 10).await;
    store.put_record(b"removed", None, Some("value".into())).await.unwrap();
    let mut kept = Vec::new();
    while segments(dir).len() < 2 {
        kept.push(stored(&store, 1000).await);
    }
    expire(&store, 10).await;
    let version = store.record(b"removed").await.unwrap().unwrap().version;
    store.put_record(b"removed", Some(version), None).await.unwrap();
    roll(&store, dir).await;
    roll(&store, dir).await;
    clean(&store).await;
    (store, kept, removed)
}

#[tokio::test]
async fn what_was_removed_stays_removed_when_its_tombstone_leaves_the_disk_first() {
    let dir = tempfile::tempdir().unwrap();
    let (store, kept, removed) = with_a_stub(dir.path()).await;
    let stub = &segments(dir.path())[1];
    let length = fs::metadata(stub).unwrap().len();
    assert!((41..1000).contains(&length), "a stub with two tombstones has {length} bytes");
    drop(store);
    let store = rebuilt(dir.path());
    assert_eq!(store.head(removed).await.unwrap(), None);
    assert_eq!(store.record(b"removed").await.unwrap(), None);
    for log in kept {
        assert_intact(&store, log).await;
    }
    expire(&store, 1000).await;
    roll(&store, dir.path()).await;
    clean(&store).await;
    assert!(!stub.exists() && segments(dir.path()).len() <= 2, "stubs go with the segments before them");
}

#[tokio::test]
async fn a_stub_that_is_missing_or_damaged_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(with_a_stub(dir.path()).await);
    let stub = segments(dir.path()).remove(1);
    let bytes = fs::read(&stub).unwrap();
    fs::remove_file(&stub).unwrap();
    let error = EmbeddedStore::open(dir.path(), options()).unwrap_err();
    assert!(error.to_string().contains("a segment is missing"), "{error}");
    let mut damaged = bytes.clone();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(&stub, damaged).unwrap();
    let error = EmbeddedStore::rebuild(dir.path(), options()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    fs::write(&stub, bytes).unwrap();
    rebuilt(dir.path());
}

#[tokio::test]
async fn what_a_death_left_of_the_making_of_a_stub_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, kept, _) = with_a_stub(dir.path()).await;
    drop(store);
    let stub = segments(dir.path()).remove(1);
    let end = segments(dir.path()).remove(2);
    let base: u64 = stub.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let end: u64 = end.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    // A segment that the stub took in and that was not removed yet, and a stub that was not finished.
    let within = frame::Lsn(base + (end - base) / 2);
    drop(segment::create(&dir.path().join("log"), within).unwrap());
    fs::write(dir.path().join("log").join("00000000000000000777.new"), b"half").unwrap();
    let store = small(dir.path());
    for log in kept {
        assert_intact(&store, log).await;
    }
    assert!(segments(dir.path()).iter().all(|path| path.extension().unwrap() == "log"));
    assert!(!segments(dir.path()).iter().any(|path| path.to_str().unwrap().contains(&within.0.to_string())));
}

#[tokio::test]
async fn an_index_that_is_older_than_what_left_the_disk_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (index, old) = (dir.path().join("index"), dir.path().join("index.old"));
    let store = small(dir.path());
    let kept = stored(&store, 1000).await;
    let removed = stored(&store, 10).await;
    drop(store);
    copy_dir(&index, &old);
    let store = small(dir.path());
    for _ in 0..100 {
        stored(&store, 10).await;
    }
    expire(&store, 10).await;
    roll(&store, dir.path()).await;
    clean(&store).await;
    drop(store);
    fs::remove_dir_all(&index).unwrap();
    fs::rename(&old, &index).unwrap();
    let store = small(dir.path());
    assert_intact(&store, kept).await;
    assert_eq!(store.head(removed).await.unwrap(), None);
    assert_eq!(store.logs_of(&owner(), None, 10).await.unwrap(), [kept]);
}

#[tokio::test]
async fn blobs_of_merged_entries_leave_the_disk_and_others_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = small(dir.path());
    let (tested, log): (Tested, LogId) = (store.clone(), id());
    create(&tested, log).await;
    for seq in 1..5 {
        let entries = vec![vec![seq as u8; 100_000].into()];
        store.append(Append { entries, ..append(&tested, log, seq, seq + 1) }).await.unwrap();
    }
    let blobs = || {
        let of_log = dir.path().join("blobs").join(&log.to_string()[30..]).join(log.to_string());
        fs::read_dir(of_log).unwrap().count()
    };
    assert_eq!(blobs(), 4);
    let spans = vec![Span { last: Seq::new(3), payload: vec![9; 70_000].into() }];
    let compact = Compact { id: log, generation: 0, from: Seq::new(2), spans, settles: false };
    store.compact(compact).await.unwrap();
    assert_eq!(blobs(), 3);
    let expected = [(1, vec![1; 100_000].into()), (3, vec![9; 70_000].into()), (4, vec![4; 100_000].into())];
    assert_eq!(read_all(&tested, log, Some(Seq::FIRST)).await, expected);
    drop((store, tested));
    let tested: Tested = rebuilt(dir.path());
    assert_eq!(read_all(&tested, log, Some(Seq::FIRST)).await, expected);
    assert_eq!(blobs(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_find_everything_while_segments_move() {
    let dir = tempfile::tempdir().unwrap();
    let store = small(dir.path());
    let mut kept = vec![stored(&store, 1_000_000).await];
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let first = kept[0];
    let reader = std::thread::spawn({
        let (store, stop, runtime) = (store.clone(), stop.clone(), tokio::runtime::Handle::current());
        move || {
            let mut reads = 0u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                runtime.block_on(assert_intact(&store, first));
                reads += 1;
            }
            reads
        }
    });
    for round in 0..30 {
        for number in 0..30 {
            kept.extend((number == 0).then_some(stored(&store, 1_000_000).await));
            stored(&store, round).await;
        }
        expire(&store, round).await;
        store.clean().await.unwrap();
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(reader.join().unwrap() > 0);
    for log in kept {
        assert_intact(&store, log).await;
    }
    assert!(store.usage().cleaned_bytes > 10 * SEGMENT_BYTES);
}

/// A week in steps of an hour: what is stored is kept for two days, what is not for an hour. In steps, not in time: the store has
/// no clock.
#[tokio::test]
async fn in_a_week_of_stored_and_unstored_responses_the_disk_holds_no_more_than_twice_what_lives() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { durability: Durability::Os, ..options() };
    let store = Arc::new(EmbeddedStore::open(dir.path(), options).unwrap());
    for hour in 1..=7 * 24 {
        for _ in 0..12 {
            stored(&store, hour + 48).await;
            stored(&store, hour + 1).await;
        }
        expire(&store, hour).await;
        store.clean().await.unwrap();
        let (live, disk) = (store.usage().live_bytes, log_bytes(dir.path()));
        let open_segment = SEGMENT_BYTES;
        assert!(disk <= 2 * live + open_segment, "hour {hour}: {disk} bytes for {live} that live");
        assert!(hour < 48 || disk <= 2 * live, "hour {hour}: {disk} bytes for {live} that live");
    }
    expire(&store, 1000).await;
    roll(&store, dir.path()).await;
    clean(&store).await;
    assert!(log_bytes(dir.path()) <= 2 * SEGMENT_BYTES);
}

#[tokio::test]
async fn the_cleaner_works_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let store = small(dir.path());
    for _ in 0..100 {
        stored(&store, 10).await;
    }
    let before = segments(dir.path());
    expire(&store, 10).await;
    roll(&store, dir.path()).await;
    for _ in 0..600 {
        if before.iter().all(|path| !path.exists()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("a minute, and {:?}", store.usage());
}

#[tokio::test]
async fn what_was_deleted_leaves_the_disk_however_much_lives_beside_it() {
    leaves_the_disk(None).await;
}

#[tokio::test]
async fn what_was_taken_out_of_an_endless_log_leaves_the_disk_like_what_was_deleted() {
    leaves_the_disk(Some(Close { compacts_at: None, expires_at: None })).await;
}

/// A log is deleted, or an entry of it is replaced if it is an endless one.
async fn leaves_the_disk(endless: Option<Close>) {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { purged_stays: Duration::from_millis(1), ..Options::default() };
    let store = Arc::new(EmbeddedStore::open(dir.path(), options).unwrap());
    let mut kept = Vec::new();
    for _ in 0..10 {
        kept.push(stored(&store, 1000).await);
    }
    let (secret, log) = ("a text that must not stay", id());
    let (owner, created_at, entries) = (owner(), UnixMillis(1), vec![secret.into(), "last".into()]);
    let document = if endless.is_some() { "".into() } else { secret.into() };
    store.create(NewLog { id: log, owner, created_at, status: 0, document, entries, endless }).await.unwrap();
    let is_there = || {
        let holds = |path: &PathBuf| {
            // The cleaner may take it away meanwhile.
            fs::read(path).unwrap_or_default().windows(secret.len()).any(|window| window == secret.as_bytes())
        };
        segments(dir.path()).iter().any(holds)
    };
    assert!(is_there());
    if endless.is_some() {
        let spans = vec![Span { last: Seq::FIRST, payload: "".into() }];
        let compact = Compact { id: log, generation: 0, from: Seq::FIRST, spans, settles: false };
        store.compact(compact).await.unwrap();
    } else {
        store.purge(log).await.unwrap();
    }
    for _ in 0..600 {
        if !is_there() {
            for log in kept {
                assert_intact(&store, log).await;
            }
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("a minute, and {:?}", store.usage());
}
