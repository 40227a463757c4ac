//! Looking at a store that nobody has open: what is counted, and what is found to be wrong.

use super::*;
use crate::embedded::index::Index;

/// Checks `dir`; returns what was gone through, and the problems.
pub(super) fn check(dir: &Path) -> (Checked, Vec<Problem>) {
    let mut problems = Vec::new();
    let checked = EmbeddedStore::check(dir, &mut |problem| problems.push(problem)).unwrap();
    assert_eq!(checked.problems, problems.len() as u64);
    (checked, problems)
}

fn index_of(dir: &Path) -> Index {
    Index::open(&dir.join("index"), 1 << 20).unwrap()
}

/// Changes the index behind the back of the store, and returns what a check finds wrong then.
fn found_in_index(dir: &Path, change: impl FnOnce(&Index)) -> String {
    let index = index_of(dir);
    change(&index);
    drop(index);
    let (_, problems) = check(dir);
    assert!(!problems.is_empty() && problems.iter().all(|problem| problem.remedy == Remedy::Rebuild));
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

/// A directory with one log whose document and one entry lie in blob files.
async fn with_blobs() -> (tempfile::TempDir, LogId) {
    let (store, dir) = make(Caps::default(), Durability::Sync);
    let log = id();
    let new = crate::api::NewLog {
        id: log,
        owner: owner(),
        created_at: UnixMillis(1),
        status: 1,
        document: vec![1; 100_000].into(),
        entries: vec!["small".into()],
        endless: None,
    };
    store.create(new).await.unwrap();
    let entries = vec![vec![2u8; 100_000].into()];
    store.append(Append { entries, ..append(&store, log, 1, 2) }).await.unwrap();
    (dir, log)
}

fn blobs(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.join("blobs")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { dirs.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_store_says_how_much_it_holds() {
    let (dir, ..) = written().await;
    let stats = EmbeddedStore::stats(dir.path()).unwrap();
    let log_bytes: u64 = segments(dir.path()).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert_eq!((stats.segments, stats.log_bytes, stats.blobs, stats.blob_bytes), (1, log_bytes, 0, 0));
    assert!(stats.index_bytes > 0 && stats.free_bytes > 0);
    let index = stats.index.unwrap();
    assert_eq!((index.logs, index.open_logs, index.entries, index.records), (2, 1, 400, 1));
    assert_eq!(index.lag_bytes, 0);
    assert!(index.bytes > 0 && index.live_bytes > index.bytes && index.live_bytes <= log_bytes);

    let (dir, _) = with_blobs().await;
    let stats = EmbeddedStore::stats(dir.path()).unwrap();
    assert_eq!((stats.blobs, stats.blob_bytes), (2, 200_000));
    assert_eq!(stats.index.unwrap().bytes, 200_005);
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let stats = EmbeddedStore::stats(dir.path()).unwrap();
    assert_eq!(stats.index.unwrap_err(), "there is none");
    assert!(!dir.path().join("index").exists(), "a look makes nothing");
}

#[tokio::test]
async fn a_whole_store_has_no_problem_and_stays_as_it_is() {
    let (dir, closed, open) = written().await;
    let before = fs::read(&segments(dir.path())[0]).unwrap();
    let (checked, problems) = check(dir.path());
    assert_eq!(problems, []);
    assert_eq!((checked.logs, checked.entries, checked.torn_bytes), (2, 400, 0));
    assert!(checked.frames > 60);
    assert_eq!(fs::read(&segments(dir.path())[0]).unwrap(), before);
    assert_written(&reopen(dir.path()), closed, open).await;

    let (dir, log) = with_blobs().await;
    let (checked, problems) = check(dir.path());
    assert_eq!((checked.blobs, problems), (2, vec![]));
    let store = reopen(dir.path());
    store.purge(log).await.unwrap();
    drop(store);
    let (checked, problems) = check(dir.path());
    assert_eq!((checked.logs, checked.blobs, problems), (0, 0, vec![]));
}

#[tokio::test]
async fn damage_in_the_log_is_found_wherever_it_is() {
    let (dir, ..) = written().await;
    let path = segments(dir.path()).remove(0);
    let whole = fs::read(&path).unwrap();
    let (sound, _) = check(dir.path());
    for at in [100, whole.len() / 2, whole.len() - 200] {
        let mut damaged = whole.clone();
        damaged[at] ^= 4;
        fs::write(&path, &damaged).unwrap();
        let (checked, problems) = check(dir.path());
        let first = problems.first().unwrap();
        assert_eq!((&first.path, first.remedy), (&path, Remedy::Restore), "{first}");
        let position = first.position.unwrap();
        assert!(position <= at as u64 && position + 8000 > at as u64, "{first}");
        assert_eq!(checked.frames, sound.frames - 1, "what follows is checked too");
    }
    fs::write(&path, &whole[..whole.len() - 3]).unwrap();
    let (checked, problems) = check(dir.path());
    assert!(checked.torn_bytes > 0);
    // The index has seen more than what is left.
    assert_eq!(problems.first().map(|problem| problem.remedy), Some(Remedy::RestoreOrRebuild));
}

#[tokio::test]
async fn a_blob_that_is_damaged_or_gone_is_named() {
    let (dir, log) = with_blobs().await;
    for (nth, path) in blobs(dir.path()).into_iter().enumerate() {
        if nth == 0 {
            fs::write(&path, vec![9; 100_000]).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
        let (_, problems) = check(dir.path());
        let last = problems.iter().find(|problem| problem.path == path).unwrap();
        assert_eq!((problems.len(), last.remedy), (nth + 1, Remedy::RestoreOrDelete));
        assert!(last.problem.contains(&log.to_string()), "{last}");
    }
}

#[tokio::test]
async fn an_index_that_says_something_else_than_the_log_is_found() {
    let (dir, closed, open) = written().await;
    let dir = dir.path();
    let missing = found_in_index(dir, |index| drop(index.remove_log(closed).unwrap()));
    assert!(missing.contains(&format!("it does not have log {closed}")), "{missing}");
    EmbeddedStore::rebuild(dir, Options::default()).unwrap();
    assert_eq!(check(dir).1, []);

    let hole = found_in_index(dir, |index| drop(index.drop_extents(open, Seq::new(70)).unwrap()));
    assert!(hole.contains(&format!("where entry 0 of log {open} lies")), "{hole}");
    EmbeddedStore::rebuild(dir, Options::default()).unwrap();

    let stale = found_in_index(dir, |index| {
        let mut stored = index.head(open).unwrap().unwrap();
        stored.changed_in = stored.since;
        index.put_head(open, Some(&stored), &stored).unwrap();
    });
    assert!(stale.contains(&format!("does not have the change of log {open}")), "{stale}");
    EmbeddedStore::rebuild(dir, Options::default()).unwrap();

    let record = found_in_index(dir, |index| drop(index.put_record(b"key", None).unwrap()));
    assert!(record.contains("1 records are missing"), "{record}");

    let stored = purged(dir, closed).await;
    let removed = found_in_index(dir, |index| index.put_head(closed, None, &stored).unwrap());
    assert!(removed.contains(&format!("log {closed}, which was removed")), "{removed}");

    fs::write(dir.join("index").join("db"), b"garbage").unwrap();
    let (checked, problems) = check(dir);
    assert_eq!((checked.logs, problems.len()), (0, 1));
    assert!(problems[0].to_string().contains("`tidemark store rebuild`"), "{}", problems[0]);
}

/// Removes a log; returns what the index knew of it before.
async fn purged(dir: &Path, log: LogId) -> crate::embedded::log::Stored {
    drop(reopen(dir));
    let stored = index_of(dir).head(log).unwrap().unwrap();
    let store = reopen(dir);
    store.purge(log).await.unwrap();
    store.close().await;
    stored
}

#[tokio::test]
async fn a_directory_in_use_or_without_a_store_is_refused() {
    let (_store, dir) = make(Caps::default(), Durability::Sync);
    let empty = tempfile::tempdir().unwrap();
    let look = |dir: &Path| {
        let checked = EmbeddedStore::check(dir, &mut |_| ()).unwrap_err();
        (EmbeddedStore::stats(dir).unwrap_err().to_string(), checked.to_string())
    };
    let (stats, checked) = look(dir.path());
    assert_eq!(stats, checked);
    assert!(stats.contains(&format!("(pid {})", std::process::id())), "{stats}");
    let (stats, checked) = look(empty.path());
    assert_eq!(stats, checked);
    assert!(stats.ends_with("holds no store"), "{stats}");
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0, "a look makes nothing");
}
