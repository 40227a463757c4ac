//! Following a history: the first page and what comes after it, resets, removals, positions after a power cut.

use std::path::Path;

use tidemark_store::embedded::Durability;
use tokio::task::JoinSet;

use super::*;

async fn watch(sessions: &Sessions, after: &str) -> Watcher {
    sessions.watch(&owner(), KEY, View::Messages, 2, after).await.unwrap()
}

async fn sight(watcher: &mut Watcher) -> Sight {
    tokio::time::timeout(Duration::from_secs(600), watcher.next()).await.unwrap().unwrap().unwrap()
}

async fn first_page(watcher: &mut Watcher) -> HistoryPage {
    match sight(watcher).await {
        Sight::Page(page) => page,
        other => panic!("{other:?}"),
    }
}

async fn news(watcher: &mut Watcher) -> (Vec<HistoryItem>, Vec<(Seq, String)>, String) {
    match sight(watcher).await {
        Sight::News { items, removed, position } => (items, removed, position),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn o_22_o_32_the_first_page_and_then_what_comes_and_nothing_lies_between() {
    let sessions = room().await;
    for number in 1..=3 {
        add(&sessions, number, true).await;
    }
    let mut watcher = watch(&sessions, "").await;
    let page = first_page(&mut watcher).await;
    assert_eq!(seqs(&page.items), [2, 3]);
    add(&sessions, 4, true).await;
    add(&sessions, 5, false).await;
    add(&sessions, 6, true).await;
    let (items, _, position) = news(&mut watcher).await;
    assert_eq!((seqs(&items), ids(&items)), (vec![4, 6], vec!["item_4", "item_6"]));
    // From the page, from an item, from the end: behind each exactly what is left.
    for (after, expected) in
        [(&page.position.unwrap(), vec![4, 6]), (&items[0].position, vec![6]), (&position, vec![])]
    {
        let mut resumed = watch(&sessions, after).await;
        if expected.is_empty() {
            assert!(matches!(sight(&mut resumed).await, Sight::Heartbeat { .. }));
        } else {
            assert_eq!(seqs(&news(&mut resumed).await.0), expected);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_begins_the_page_anew_a_removal_is_told_and_a_deleted_session_ends_the_watch() {
    let sessions = room().await;
    let old = add(&sessions, 1, true).await;
    let mut watcher = watch(&sessions, "").await;
    first_page(&mut watcher).await;
    sessions.remove_item(&owner(), KEY, "item_1").await.unwrap();
    let (items, removed, _) = news(&mut watcher).await;
    assert_eq!((items, removed), (vec![], vec![(Seq::new(1), "item_1".to_owned())]));
    sessions.reset(&owner(), KEY).await.unwrap();
    let page = first_page(&mut watcher).await;
    assert_eq!((page.generation, page.items.len()), (1, 0));
    let mut late = watch(&sessions, &old.position).await;
    assert_eq!(first_page(&mut late).await.generation, 1, "what was seen before the reset is gone");
    add(&sessions, 2, true).await;
    assert_eq!(seqs(&news(&mut watcher).await.0), [1]);
    sessions.delete(&owner(), KEY).await.unwrap();
    assert_eq!(watcher.next().await.unwrap_err().code(), ErrorCode::NotFound);
    assert!(watcher.next().await.unwrap().is_none(), "nothing follows");
}

#[tokio::test(start_paused = true)]
async fn o_24_a_watcher_that_has_nothing_gets_heartbeats_and_the_end_of_the_gateway_sends_it_away() {
    let closing = CancellationToken::new();
    let (store, clock) = (Arc::new(MemoryStore::new(Caps::default())), Arc::<TestClock>::default());
    let sessions = Sessions::new(store, clock, Options::default(), closing.clone(), Gauge::default());
    sessions.create(&owner(), Some(KEY), BTreeMap::new(), b"").await.unwrap();
    let mut watcher = watch(&sessions, "").await;
    first_page(&mut watcher).await;
    let start = tokio::time::Instant::now();
    for beats in 1..=3 {
        assert!(matches!(sight(&mut watcher).await, Sight::Heartbeat { .. }));
        assert_eq!(start.elapsed().as_secs(), 15 * beats);
    }
    closing.cancel();
    assert_eq!(watcher.next().await.unwrap_err().code(), ErrorCode::Draining);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_watchers_of_one_session_see_the_same() {
    let sessions = room().await;
    let mut watching = JoinSet::new();
    for _ in 0..1000 {
        let mut watcher = watch(&sessions, "").await;
        watching.spawn(async move {
            let mut got: Vec<u64> = seqs(&first_page(&mut watcher).await.items);
            while got.last() != Some(&100) {
                match watcher.next().await.unwrap().unwrap() {
                    Sight::News { items, .. } => got.extend(seqs(&items)),
                    Sight::Page(_) => panic!("a second page"),
                    Sight::Heartbeat { .. } => {}
                }
            }
            got
        });
    }
    for number in 1..=100 {
        add(&sessions, number, true).await;
    }
    for got in watching.join_all().await {
        let first = got[0];
        assert!(first <= 100 && got == (first..=100).collect::<Vec<_>>(), "{got:?}");
    }
    assert_eq!(sessions.0.readers.get(), 0);
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn open(dir: &Path) -> Arc<dyn Store> {
    let options = tidemark_store::embedded::Options { durability: Durability::Os, ..Default::default() };
    Arc::new(EmbeddedStore::open(dir, options).unwrap())
}

/// The numbers of a history that goes on after a power cut are given again: a position names the append that it saw, too.
#[tokio::test]
async fn with_durability_os_a_position_that_a_power_cut_took_is_told_from_one_that_it_left() {
    let (dir, cut) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let clock = Arc::<TestClock>::default();
    let sessions = over(open(dir.path()), &clock);
    sessions.create(&owner(), Some(KEY), BTreeMap::new(), b"").await.unwrap();
    let mut kept = vec![add(&sessions, 1, true).await, add(&sessions, 2, true).await];
    // Written, so that the secret of the cursors is there too.
    page(&sessions, View::Messages, 1, "").await;
    copy_dir(dir.path(), cut.path());
    let mut lost = Vec::new();
    for number in 3..8 {
        lost.push(add(&sessions, number, true).await);
    }
    drop(sessions);
    for restart in 0..3 {
        let sessions = over(open(cut.path()), &clock);
        kept.push(add(&sessions, 10 + restart, true).await);
        for item in &lost {
            let error = sessions.watch(&owner(), KEY, View::Messages, 0, &item.position).await.unwrap_err();
            assert_eq!(error.code(), ErrorCode::OffsetLost, "{item:?}");
            assert!(error.lost().unwrap().rolled_back);
        }
        for (index, item) in kept.iter().enumerate() {
            let mut watcher = watch(&sessions, &item.position).await;
            let rest: Vec<u64> = kept[index + 1..].iter().map(|item| item.seq.get()).collect();
            if !rest.is_empty() {
                assert_eq!(seqs(&news(&mut watcher).await.0), rest);
            }
        }
        assert_eq!(seqs(&page(&sessions, View::All, 0, "").await.items), seqs(&kept));
    }
}
