//! Restarts and shutdowns.

use std::time::Duration;

use tidemark_proto::v1::ErrorCode;
use tidemark_store::Store;
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::runs::testing::{stop, text};
use crate::runs::{OnRestart, Status};

const SECOND: Duration = Duration::from_secs(1);

fn process() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

fn retry() -> Options {
    Options { on_restart: OnRestart::Retry, ..Options::default() }
}

/// Runs a first process until `committed` is reached, kills it, and gives what a second one finds.
fn killed(
    acts: Vec<Act>,
    request: CreateRequest,
    committed: u64,
) -> (Arc<MemoryStore>, Arc<TestClock>, String) {
    let first = process();
    let (store, clock, id) = first.block_on(async {
        let room = room(acts);
        let id = room.create(request).await.snapshot.id.to_string();
        while room.get(&id).await.head.frontier.committed.get() < committed {
            tokio::task::yield_now().await;
        }
        (room.store, room.clock, id)
    });
    drop(first);
    let store = Arc::try_unwrap(store).expect("the process is gone, and every task with it");
    (Arc::new(store.reopen()), clock, id)
}

/// Part of check 1 of the acceptance checks.
#[test]
fn what_was_running_fails_with_the_output_that_was_logged() {
    let (store, clock, id) = killed(vec![text("so "), text("far"), Act::Hang], background(), 6);
    process().block_on(async {
        let room = room_over(store, clock, [], Options::default());
        assert_eq!(room.runs.recover().await.unwrap(), 1);
        let ended = room.get(&id).await;
        assert_eq!(ended.status, Status::Failed);
        let object = object(&ended);
        assert_eq!(object["error"]["code"], "gateway_restarted");
        assert_eq!(object["output"][0]["content"][0]["text"], "so far");
        assert_eq!(object["output"][0]["status"], "incomplete");
        let events = room.events(&id).await;
        assert_eq!(kinds(&events).last(), Some(&"failed"));
        assert_eq!(data(&events[7])["sequence_number"], 7);
        assert!(ended.head.expires_at.is_some());
        assert_eq!(room.runs.recover().await.unwrap(), 0, "nothing is left to do");
    });
}

#[test]
fn a_response_without_output_starts_again_under_its_id_if_that_is_wanted() {
    let (store, clock, id) = killed(vec![Act::Queue], background(), 1);
    process().block_on(async {
        let room = room_over(store, clock, [text("second try"), stop()], retry());
        assert_eq!(room.runs.recover().await.unwrap(), 1);
        let events = room.events(&id).await;
        assert_eq!(kinds(&events)[..4], ["created", "queued", "in_progress", "output_item.added"]);
        let seqs: Vec<u64> = events.iter().map(|event| event.seq.get()).collect();
        assert_eq!(seqs, (0..seqs.len() as u64).collect::<Vec<u64>>());
        assert_eq!(object(&room.get(&id).await)["output"][0]["content"][0]["text"], "second try");
    });
}

#[test]
fn in_progress_is_not_said_twice() {
    let (store, clock, id) = killed(vec![Act::Hang], request(), 1);
    process().block_on(async {
        let room = room_over(store, clock, [text("x"), stop()], retry());
        room.runs.recover().await.unwrap();
        assert_eq!(kinds(&room.events(&id).await)[..3], ["created", "in_progress", "output_item.added"]);
    });
}

#[test]
fn a_response_with_output_or_without_a_model_is_not_tried_again() {
    let gone = CreateRequest { model: "m".into(), ..background() };
    let (store, clock, id) = killed(vec![text("x"), Act::Hang], gone, 5);
    process().block_on(async {
        let room = room_over(store, clock, [text("again"), stop()], retry());
        room.runs.recover().await.unwrap();
        assert_eq!(room.get(&id).await.status, Status::Failed);
        assert!(room.script.asked().is_empty());
    });
}

#[test]
fn more_open_logs_than_a_page_are_all_ended() {
    let first = process();
    let store = first.block_on(async {
        let room = room([Act::Hang]);
        for _ in 0..300 {
            room.create(request()).await;
        }
        room.store
    });
    drop(first);
    let store = Arc::new(Arc::try_unwrap(store).expect("the process is gone").reopen());
    process().block_on(async {
        let room = room_over(Arc::clone(&store), Arc::new(TestClock::default()), [], Options::default());
        assert_eq!(room.runs.recover().await.unwrap(), 300);
        assert_eq!(store.open_logs(None, 10).await.unwrap(), []);
    });
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_those_that_end_in_time() {
    let room = room([text("x"), Act::Wait(SECOND * 5), stop()]);
    let created = room.create(request()).await;
    let reader = room.runs.read(created).await.unwrap();
    let runs = room.runs.clone();
    let draining = room.tasks.spawn(async move { runs.drain(SECOND * 30).await });
    tokio::time::sleep(SECOND).await;
    assert_eq!(room.runs.create(&alice(), request()).await.unwrap_err().code(), ErrorCode::Draining);
    assert_eq!(kinds(&all(reader).await.unwrap()).last(), Some(&"completed"));
    draining.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_does_not_end_in_time_fails_and_its_readers_see_that() {
    let room = room([text("x"), Act::Hang]);
    let created = room.create(request()).await;
    let reader = room.runs.read(created).await.unwrap();
    let start = tokio::time::Instant::now();
    room.runs.drain(SECOND * 30).await;
    assert_eq!(start.elapsed().as_secs(), 30);
    let events = all(reader).await.unwrap();
    let last = events.last().unwrap();
    assert_eq!(data(last)["response"]["error"]["code"], "gateway_restarted");
}

#[tokio::test(start_paused = true)]
async fn what_will_be_tried_again_stays_open_and_its_readers_are_sent_away() {
    let room = room_with([Act::Queue], retry(), tidemark_store::Caps::default());
    let created = room.create(background()).await;
    let id = created.snapshot.id;
    let reader = room.runs.read(created).await.unwrap();
    room.runs.drain(SECOND).await;
    assert_eq!(all(reader).await.unwrap_err().code(), ErrorCode::Draining);
    assert_eq!(room.store.open_logs(None, 10).await.unwrap(), [id.log()]);
    let error = room.runs.get(&alice(), &id.to_string()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Draining);
}
