//! What a process leaves that ends without a word: a log that goes on with zeros.

use super::inspect::check;
use super::*;

/// A store of one log of 100 entries, and what a kill at this moment leaves of its log.
async fn killed() -> (Tested, tempfile::TempDir, tempfile::TempDir, LogId) {
    let (store, dir) = make(Caps::default(), Durability::Sync);
    let log = id();
    create(&store, log).await;
    store.append(append(&store, log, 1, 50)).await.unwrap();
    store.append(append(&store, log, 50, 100)).await.unwrap();
    let left = tempfile::tempdir().unwrap();
    copy_dir(&dir.path().join("log"), &left.path().join("log"));
    (store, dir, left, log)
}

/// The only segment, and where its frames end.
fn tail(dir: &Path) -> (PathBuf, Vec<u8>, usize) {
    let path = segments(dir).remove(0);
    let bytes = fs::read(&path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    (path, bytes, end)
}

#[tokio::test]
async fn the_log_goes_on_where_the_zeros_begin_and_a_store_that_is_closed_has_none() {
    let (_store, _dir, left, log) = killed().await;
    let (path, before, end) = tail(left.path());
    assert!(before.len() > end + 1000, "there are zeros");
    for next in 100..103 {
        let store = reopen(left.path());
        assert_reads(&store, log, 0, next).await;
        store.append(append(&store, log, next, next + 1)).await.unwrap();
        drop(store);
    }
    let (_, after, _) = tail(left.path());
    assert_eq!(after[..end], before[..end]);
    assert!(after.len() < before.len(), "a close leaves none");
    fs::write(&path, &before).unwrap();
    fs::remove_dir_all(left.path().join("index")).unwrap();
    assert_reads(&reopen(left.path()), log, 0, 100).await;
    assert_eq!(check(left.path()).1, []);
}

#[tokio::test]
async fn zeros_are_neither_torn_nor_damaged() {
    let (_store, _dir, left, _) = killed().await;
    drop(reopen(left.path()));
    let (path, whole, _) = tail(left.path());
    fs::write(&path, [&whole[..], &[0; 5000]].concat()).unwrap();
    let (checked, problems) = check(left.path());
    assert_eq!((checked.torn_bytes, problems), (0, vec![]));
    let lag = EmbeddedStore::stats(left.path()).unwrap().index.unwrap().lag_bytes;
    assert!(lag < 100, "the opening, and not the zeros: {lag}");
}

#[tokio::test]
async fn a_torn_write_among_zeros_is_cut_off_and_damage_before_them_is_refused() {
    let (_store, _dir, left, log) = killed().await;
    let (path, whole, end) = tail(left.path());
    for (from, length) in [(0, 1), (0, 30), (700, 1), (4000, 5000)] {
        let mut torn = whole.clone();
        torn[end + from..end + from + length].fill(7);
        fs::write(&path, &torn).unwrap();
        let store = reopen(left.path());
        assert_reads(&store, log, 0, 100).await;
        store.append(append(&store, log, 100, 101)).await.unwrap();
        drop(store);
        fs::remove_dir_all(left.path().join("index")).unwrap();
        assert_reads(&reopen(left.path()), log, 0, 101).await;
        fs::remove_dir_all(left.path().join("index")).unwrap();
    }
    let mut damaged = whole.clone();
    damaged[200] ^= 4;
    fs::write(&path, &damaged).unwrap();
    let error = EmbeddedStore::open(left.path(), Options::default()).unwrap_err();
    assert!(matches!(&error, OpenError::Damaged { position, .. } if *position <= 200), "{error}");
}

#[tokio::test]
async fn a_log_that_has_zeros_where_the_index_knows_frames_is_refused() {
    let (store, dir, left, log) = killed().await;
    store.append(append(&store, log, 100, 110)).await.unwrap();
    drop(store);
    // The log is an old one, and the index knows more.
    copy_dir(&dir.path().join("index"), &left.path().join("index"));
    let error = EmbeddedStore::open(left.path(), Options::default()).unwrap_err();
    assert!(matches!(error, OpenError::EndMissing { .. }), "{error}");
    EmbeddedStore::rebuild(left.path(), Options::default()).unwrap();
    assert_reads(&reopen(left.path()), log, 0, 100).await;
}

#[tokio::test]
async fn a_segment_that_is_full_and_one_with_durability_os_have_no_zeros() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 20_000, ..Options::default() };
    let store: Tested = Arc::new(EmbeddedStore::open(dir.path(), options).unwrap());
    let log = id();
    create(&store, log).await;
    let mut next = 1;
    while segments(dir.path()).len() < 3 {
        store.append(append(&store, log, next, next + 10)).await.unwrap();
        next += 10;
    }
    for (path, next) in segments(dir.path()).iter().zip(&segments(dir.path())[1..]) {
        let begin = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap();
        assert_eq!(fs::metadata(path).unwrap().len(), begin(next) - begin(path));
    }
    let left = tempfile::tempdir().unwrap();
    copy_dir(&dir.path().join("log"), &left.path().join("log"));
    let newest = segments(left.path()).pop().unwrap();
    let with_zeros = fs::metadata(&newest).unwrap().len();
    let options = Options { durability: Durability::Os, ..options };
    let store: Tested = Arc::new(EmbeddedStore::open(left.path(), options).unwrap());
    assert!(fs::metadata(&newest).unwrap().len() < with_zeros);
    assert_reads(&store, log, 0, next).await;
}
