//! What may be stored, and what becomes of the rest of the room when it is full; the sweeper among many.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use tidemark_proto::v1::ErrorCode;
use tidemark_store::embedded::{Durability, EmbeddedStore, Options as StoreOptions};
use tidemark_store::{Append, Close, LogId, NewLog, Quota, Quotas, Seq, UnixMillis};
use tokio::time::timeout;

use super::*;
use crate::runs::testing::{stop, text};
use crate::runs::{Retention, Status};

const SECOND: Duration = Duration::from_secs(1);

/// How long anything may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn stored(owner: u64, total: u64) -> Arc<MemoryStore> {
    let logs = |logs| Quota { logs: Some(logs), bytes: None };
    let quotas = Quotas { owner: logs(owner), total: logs(total) };
    Arc::new(MemoryStore::new(Caps::default()).with_quotas(quotas))
}

async fn refused(room: &Room, principal: &Principal) -> Error {
    room.runs.create(principal, request()).await.unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn a_full_quota_refuses_the_new_response_and_touches_no_live_one() {
    let acts = [Act::Hold, text("x"), stop()];
    let room = room_over(stored(2, 3), Arc::default(), acts, Options::default());
    let (first, second) = (room.create(request()).await, room.create(request()).await);
    let error = refused(&room, &alice()).await;
    assert_eq!(error.code(), ErrorCode::QuotaExceeded);
    assert!(error.message().contains("stored") && error.retry_after().is_some(), "{error}");
    let _third = room.runs.create(&bob(), request()).await.unwrap();
    let error = refused(&room, &bob()).await;
    assert_eq!(error.code(), ErrorCode::Overloaded);
    assert!(error.message().contains("stores") && error.retry_after().is_some(), "{error}");

    let id = first.snapshot.id.to_string();
    for created in [first, second] {
        room.script.go_on();
        assert_eq!(room.runs.wait_terminal(created).await.unwrap().status, Status::Completed);
    }
    assert_eq!(room.script.asked().len(), 3, "what is refused asks nobody");
    assert_eq!(refused(&room, &alice()).await.code(), ErrorCode::Overloaded, "what has ended is stored");
    room.runs.delete(&alice(), &id).await.unwrap();
    assert!(room.runs.create(&alice(), request()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn with_little_room_on_the_disk_there_is_nothing_new_while_runs_and_the_sweeper_go_on() {
    let retention = Retention { responses: Some(SECOND * 100), ..Retention::default() };
    let options = Options { min_free_bytes: Some(1000), retention, ..Options::default() };
    let room = room_with([Act::Hold, text("x"), stop()], options, Caps::default());
    room.store.set_free_bytes(Some(1000));
    let (ended, running) = (room.create(request()).await, room.create(request()).await);
    room.script.go_on();
    let old = room.runs.wait_terminal(ended).await.unwrap().id.log();
    room.store.set_free_bytes(Some(999));
    let error = refused(&room, &alice()).await;
    assert_eq!(error.code(), ErrorCode::StorageFull);
    assert!(error.retry_after().is_some());

    tokio::time::sleep(SECOND * 200).await;
    assert_eq!(room.runs.sweep_once().await.unwrap().removed, 1);
    assert!(room.store.head(old).await.unwrap().is_none());
    room.script.go_on();
    assert_eq!(room.runs.wait_terminal(running).await.unwrap().status, Status::Completed);
    assert_eq!(refused(&room, &alice()).await.code(), ErrorCode::StorageFull);
    room.store.set_free_bytes(Some(1000));
    assert!(room.runs.create(&alice(), request()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_running_response_never_expires() {
    let retention = Retention { events: Some(SECOND), responses: Some(SECOND), unstored: Some(SECOND) };
    let options = Options { retention, max_time: SECOND * 90_000, ..Options::default() };
    let room = room_with([Act::Wait(SECOND * 80_000), stop()], options, Caps::default());
    let created = [room.create(request()).await, room.create(unstored()).await];
    tokio::time::sleep(SECOND * 79_000).await;
    assert_eq!(room.runs.sweep_once().await.unwrap().removed, 0);
    for created in created {
        let ended = room.runs.wait_terminal(created).await.unwrap();
        assert_eq!(ended.status, Status::Completed);
    }
    tokio::time::sleep(SECOND * 2).await;
    assert_eq!(room.runs.sweep_once().await.unwrap().removed, 2);
}

/// How many logs are due at once.
const DUE: u64 = 100_000;

/// Makes closed logs that have expired long ago.
async fn make_due(store: &EmbeddedStore) {
    let make = async |number: u64| {
        let id = LogId::from_bytes(u128::from(number + 1).to_be_bytes());
        let new = NewLog {
            id,
            owner: Owner::new("alice").unwrap(),
            created_at: UnixMillis(1),
            status: Status::Completed.to_byte(),
            document: "{}".into(),
            entries: vec!["x".into()],
            endless: None,
        };
        store.create(new).await.unwrap();
        let close = Some(Close { compacts_at: None, expires_at: Some(UnixMillis(2)) });
        let (epoch, expected_last) = (store.epoch(), Seq::FIRST);
        let last = Append { id, epoch, expected_last, status: None, entries: vec!["y".into()], close };
        store.append(last).await.unwrap();
    };
    stream::iter(0..DUE).map(make).buffer_unordered(512).for_each(async |()| ()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_among_100_000_due_responses_ends_when_it_is_asked_to() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { durability: Durability::Os, ..StoreOptions::default() };
    let store = Arc::new(EmbeddedStore::open(dir.path(), options).unwrap());
    make_due(&store).await;
    let (tasks, meters) = (Tasks::new(), RunMeters::default());
    let runs = Runs::new(
        Arc::clone(&store) as Arc<dyn Store>,
        Arc::new(OneModel(Script::new([]))),
        Arc::new(TestClock::default()),
        tasks.clone(),
        Options::default(),
        meters.clone(),
    );
    tasks.spawn(async move { runs.sweep().await });
    let begun = async {
        while meters.swept.get() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, begun).await.unwrap();
    tasks.stop();
    timeout(SECOND, tasks.ended()).await.expect("it ends within a second");
    let left = store.usage_of(&Owner::new("alice").unwrap()).await.unwrap().logs;
    assert!(left > 0 && left < DUE, "{left} are left");
    store.close().await;
}
