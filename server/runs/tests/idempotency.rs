//! Creates with a key (D-35, S-6).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tidemark_proto::v1::ErrorCode;
use tidemark_store::Seq;
use tokio::runtime::Builder;

use super::*;
use crate::runs::testing::{stop, text};
use crate::runs::{Cancelled, OnRepeat, OnRestart, ResponseId, Status};

/// The name of the record of alice's key `k`.
const RECORD: &[u8] = b"idempotency\0alice\0k";

/// How many creates with one key come at once.
const CROWD: usize = 100;

fn keyed(request: CreateRequest) -> CreateRequest {
    CreateRequest { idempotency_key: Some("k".into()), ..request }
}

fn other_body() -> CreateRequest {
    CreateRequest { extra: r#"{"temperature":1}"#.into(), ..keyed(request()) }
}

fn backend_failure() -> Error {
    Error::new(ErrorCode::BackendError, "no").with_retry_after(Duration::from_secs(9))
}

async fn code(room: &Room, request: CreateRequest) -> ErrorCode {
    room.runs.create(&alice(), request).await.unwrap_err().code()
}

impl Room {
    /// Another process over the same store, one that was not there when the first one ran.
    fn next(&self, acts: impl IntoIterator<Item = Act>) -> Self {
        room_over(Arc::clone(&self.store), Arc::clone(&self.clock), acts, Options::default())
    }

    async fn has_record(&self) -> bool {
        self.store.record(RECORD).await.unwrap().is_some()
    }
}

/// Part of check 16 of the acceptance checks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_equal_creates_is_one_response_and_one_question() {
    let room = Arc::new(room([text("a"), Act::Hold, text("b"), stop()]));
    let calls: Vec<_> = (0..CROWD)
        .map(|number| {
            let (room, tasks) = (Arc::clone(&room), room.tasks.clone());
            tasks.spawn(async move {
                let created = room.create(keyed(request())).await;
                let (id, replayed) = (created.snapshot.id, created.replayed);
                let bytes: Vec<Bytes> = if number % 2 == 0 {
                    vec![room.runs.wait_terminal(created).await.unwrap().json]
                } else {
                    let events = all(room.runs.read(created).await.unwrap()).await.unwrap();
                    events.into_iter().map(|event| event.data).collect()
                };
                (id, replayed, bytes)
            })
        })
        .collect();
    room.script.go_on();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap());
    }
    assert_eq!(room.script.asked().len(), 1);
    assert_eq!(answers.iter().filter(|(_, replayed, _)| !replayed).count(), 1);
    assert_eq!(room.meters.replayed.get(), CROWD as u64 - 1);
    for (id, _, bytes) in &answers {
        let like = answers.iter().find(|(_, _, other)| other.len() == bytes.len());
        assert_eq!((id, Some(bytes)), (&answers[0].0, like.map(|(_, _, bytes)| bytes)));
    }
    assert_eq!(room.store.logs_of(alice().owner(), None, 10).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_reads_and_waits_like_the_first_and_does_not_count_as_live() {
    let options = Options { max_live: 1, ..Options::default() };
    let room = room_with([text("a"), Act::Hold, text("b"), stop()], options, Caps::default());
    let first = room.create(keyed(request())).await;
    assert!(!first.replayed);
    let second = room.create(keyed(request())).await;
    assert!(second.replayed);
    assert_eq!((second.snapshot.id, second.snapshot.status), (first.snapshot.id, Status::InProgress));
    let reader = room.runs.read(room.create(keyed(request())).await).await.unwrap();
    assert_eq!(code(&room, request()).await, ErrorCode::Overloaded, "one without a key is a new one");
    room.script.go_on();
    let (first, second, events) =
        tokio::join!(room.runs.wait_terminal(first), room.runs.wait_terminal(second), all(reader));
    assert_eq!(first.unwrap().json, second.unwrap().json);
    let events = events.unwrap();
    assert_eq!(kinds(&events).first(), Some(&"created"));
    assert_eq!(kinds(&events).last(), Some(&"completed"));
    let later = room.run(keyed(request())).await;
    assert_eq!(later.status, Status::Completed);
    assert_eq!(room.script.asked().len(), 1);
}

/// Check 9 of the acceptance checks.
#[tokio::test(start_paused = true)]
async fn another_request_with_the_key_is_refused_and_another_owner_is_not() {
    let room = room([text("a"), stop()]);
    let id = room.run(keyed(request())).await.id;
    let error = room.runs.create(&alice(), other_body()).await.unwrap_err();
    assert_eq!((error.code(), error.param()), (ErrorCode::IdempotencyKeyReused, Some("idempotency_key")));
    let foreign = room.runs.create(&bob(), other_body()).await.unwrap();
    assert!(!foreign.replayed && foreign.snapshot.id != id);
    let other_key = CreateRequest { idempotency_key: Some("K".into()), ..request() };
    assert!(!room.create(other_key).await.replayed);
    assert_eq!(room.run(keyed(request())).await.id, id);
}

#[tokio::test(start_paused = true)]
async fn a_key_of_a_wrong_form_is_refused_before_anything_is_done() {
    let room = room([text("a"), stop()]);
    for key in ["", "a b", "\u{e4}", &"k".repeat(256)] {
        let request = CreateRequest { idempotency_key: Some(key.into()), ..request() };
        let error = room.runs.create(&alice(), request).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidIdempotencyKey, "{key:?}");
        assert_eq!(error.param(), Some("idempotency_key"));
    }
    let twice = CreateRequest { extra: r#"{"seed":1,"seed":1}"#.into(), ..keyed(request()) };
    let error = room.runs.create(&alice(), twice).await.unwrap_err();
    assert_eq!((error.code(), error.param()), (ErrorCode::InvalidRequest, Some("seed")));
    assert!(room.script.asked().is_empty() && !room.has_record().await);
}

/// Check 18 of the acceptance checks.
#[tokio::test(start_paused = true)]
async fn a_failure_without_output_frees_the_key() {
    let first = room([Act::Queue, Act::Fail(backend_failure())]);
    let created = first.create(keyed(request())).await;
    let waiting = first.create(keyed(request())).await;
    let failed = created.snapshot.id;
    first.script.go_on();
    for created in [created, waiting] {
        let ended = first.runs.wait_terminal(created).await.unwrap();
        assert_eq!((ended.id, ended.status), (failed, Status::Failed));
        assert_eq!(ended.fault.unwrap().retry_after(), Some(Duration::from_secs(9)), "both learn the same");
    }
    // Another request may use it as well.
    let second = first.next([text("a"), stop()]);
    let mended = second.run(other_body()).await;
    assert_eq!(mended.status, Status::Completed);
    assert_ne!(mended.id, failed);
    assert_eq!(code(&second, keyed(request())).await, ErrorCode::IdempotencyKeyReused);
    // The failed response goes; the record is not its own any more.
    second.runs.delete(&alice(), &failed.to_string()).await.unwrap();
    assert!(second.has_record().await);
}

#[tokio::test(start_paused = true)]
async fn a_failure_with_output_and_one_for_good_keep_the_key() {
    let refused = Error::invalid("input", "the backend does not take it");
    for acts in [vec![text("a"), Act::Fail(backend_failure())], vec![Act::Refuse(refused)]] {
        let first = room(acts);
        let failed = first.run(keyed(request())).await;
        assert_eq!(failed.status, Status::Failed);
        let second = first.next([text("a"), stop()]);
        let again = second.create(keyed(request())).await;
        assert!(again.replayed);
        assert_eq!(again.snapshot.json, failed.json);
        assert!(second.script.asked().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn one_who_went_away_too_early_may_come_again_and_one_who_cancelled_gets_what_was_cancelled() {
    let first = room([Act::Hang]);
    let left = first.create(keyed(unstored())).await.snapshot.id.to_string();
    let reader = first.attach(&left, None).await;
    tokio::time::sleep(Options::default().disconnect_grace).await;
    drop(reader);
    tokio::time::sleep(Options::default().disconnect_grace * 2).await;
    assert_eq!(first.get(&left).await.status, Status::Cancelled(Cancelled::ClientDisconnected));
    let second = first.next([text("a"), stop()]);
    assert!(!second.create(keyed(unstored())).await.replayed);

    let first = room([Act::Hang]);
    let created = first.create(keyed(request())).await;
    let cancelled = first.runs.cancel(&alice(), &created.snapshot.id.to_string()).await.unwrap();
    let second = first.next([text("a"), stop()]);
    assert_eq!(second.run(keyed(request())).await.json, cancelled.json);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_is_refused_while_it_would_wait_if_that_is_wanted() {
    let options = Options { on_repeat: OnRepeat::Refuse, ..Options::default() };
    let room = room_with([text("a"), Act::Hold, stop()], options, Caps::default());
    let first = room.create(keyed(request())).await;
    let repeat = room.create(keyed(request())).await;
    let error = room.runs.wait_terminal(repeat).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::IdempotencyRequestInProgress);
    assert_eq!(error.response_id(), Some(first.snapshot.id.to_string().as_str()));
    assert!(error.retry_after().is_some());
    // The other request beats the running one, and one who streams need not wait.
    assert_eq!(code(&room, other_body()).await, ErrorCode::IdempotencyKeyReused);
    let reader = room.runs.read(room.create(keyed(request())).await).await.unwrap();
    room.script.go_on();
    let (ended, events) = tokio::join!(room.runs.wait_terminal(first), all(reader));
    assert_eq!(kinds(&events.unwrap()).last(), Some(&"completed"));
    assert_eq!(room.run(keyed(request())).await.json, ended.unwrap().json);
}

#[tokio::test(start_paused = true)]
async fn a_record_goes_with_its_response() {
    let room = room([text("a"), stop()]);
    let first = room.run(keyed(unstored())).await.id;
    assert!(room.has_record().await);
    room.runs.delete(&alice(), &first.to_string()).await.unwrap();
    assert!(!room.has_record().await);

    let second = room.run(keyed(unstored())).await.id;
    assert_ne!(second, first);
    // Expired, and not swept yet: the key is free, and the sweep leaves the record of the next response alone.
    tokio::time::advance(Duration::from_secs(601)).await;
    let third = room.run(keyed(unstored())).await.id;
    assert_ne!(third, second);
    assert_eq!(room.runs.sweep_once().await.unwrap().removed, 1);
    assert_eq!(room.run(keyed(unstored())).await.id, third);
    tokio::time::advance(Duration::from_secs(601)).await;
    assert_eq!(room.runs.sweep_once().await.unwrap().removed, 1);
    assert!(!room.has_record().await);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_goes_on_after_its_position_and_a_new_response_begins_at_its_beginning() {
    let room = room([text("a"), text("b"), stop()]);
    let after = Some(Seq::new(4));
    let seqs = |events: Vec<Event>| events.iter().map(|event| event.seq.get()).collect::<Vec<_>>();
    let first = room.create(keyed(request())).await.after(after);
    let events = seqs(all(room.runs.read(first).await.unwrap()).await.unwrap());
    assert_eq!(events, (0..10).collect::<Vec<_>>());
    let repeat = room.create(keyed(request())).await.after(after);
    assert_eq!(seqs(all(room.runs.read(repeat).await.unwrap()).await.unwrap()), (5..10).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_repeat_whose_events_are_gone_is_told_before_its_stream_begins() {
    let caps = Caps { entries: Some(4), ..Caps::default() };
    let room = room_with([text("a"), text("b"), text("c"), stop()], Options::default(), caps);
    let ended = room.run(keyed(request())).await;
    let error = room.runs.read(room.create(keyed(request())).await).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::OffsetLost);
    let latest = room.create(keyed(request())).await.after(ended.head.frontier.watermark);
    assert_eq!(all(room.runs.read(latest).await.unwrap()).await.unwrap().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_is_served_while_new_responses_are_refused() {
    let room = room([text("a"), stop()]);
    let ended = room.run(keyed(request())).await;
    room.runs.drain(Duration::ZERO).await;
    assert_eq!(code(&room, request()).await, ErrorCode::Draining);
    assert_eq!(room.run(keyed(request())).await.json, ended.json);
}

#[tokio::test(start_paused = true)]
async fn a_refused_create_leaves_the_key_free() {
    let room = room([text("a"), stop()]);
    let unknown = CreateRequest { model: "n".into(), ..keyed(request()) };
    assert_eq!(code(&room, unknown).await, ErrorCode::ModelNotFound);
    let orphan = CreateRequest { previous_response_id: Some("resp_x".into()), ..keyed(request()) };
    assert_eq!(code(&room, orphan).await, ErrorCode::PreviousResponseNotFound);
    assert!(!room.has_record().await);
    assert!(!room.create(keyed(request())).await.replayed);
}

#[tokio::test(start_paused = true)]
async fn records_that_cannot_be_read_stop_the_create_before_the_backend_is_asked() {
    let store = Arc::new(MemoryStore::new(Caps::default()));
    let broken = Arc::new(AtomicBool::new(true));
    let seen = Arc::clone(&broken);
    let fails = move |call| call == Call::Record && seen.load(Ordering::SeqCst);
    let room = room_behind(Faulty { store, fails }, Arc::default(), [text("a"), stop()], Options::default());
    let error = room.runs.create(&alice(), keyed(request())).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::IdempotencyUnavailable);
    assert!(room.script.asked().is_empty());
    room.run(request()).await;
    broken.store(false, Ordering::SeqCst);
    room.run(keyed(request())).await;
    assert_eq!(room.script.asked().len(), 2);
}

/// Output that is written in two steps.
fn pieces() -> [Act; 4] {
    [text("a"), Act::Wait(Duration::from_secs(1)), text("b"), stop()]
}

/// The process dies after each of its writes in turn; whatever stands then, a repeat in the next process makes or finds one response
/// that completes, and no other has any output. Check 15 of the acceptance checks.
#[test]
fn a_crash_between_any_two_steps_leaves_a_key_that_works() {
    let mut deaths = 0;
    for writes in 0.. {
        let (store, clock) = (Arc::new(MemoryStore::new(Caps::default())), Arc::new(TestClock::default()));
        let done = Arc::new(AtomicUsize::new(0));
        let process = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let survived = process.block_on(async {
            let counted = Arc::clone(&done);
            let is_write = |call| matches!(call, Call::Create | Call::Append | Call::PutRecord | Call::Purge);
            let fails = move |call| is_write(call) && counted.fetch_add(1, Ordering::SeqCst) >= writes;
            let faulty = Faulty { store: Arc::clone(&store), fails };
            let room = room_behind(faulty, Arc::clone(&clock), pieces(), Options::default());
            let Ok(created) = room.runs.create(&alice(), keyed(request())).await else { return false };
            room.runs.wait_terminal(created).await.is_ok_and(|ended| ended.status == Status::Completed)
        });
        drop(process);
        let store = Arc::try_unwrap(store).expect("the process is gone, and every task with it");
        repeat_after_crash(Arc::new(store.reopen()), clock, survived, writes);
        if survived {
            break;
        }
        deaths += 1;
    }
    assert!(deaths >= 4, "before the record, the log, the events, the end: {deaths}");
}

fn repeat_after_crash(store: Arc<MemoryStore>, clock: Arc<TestClock>, ended: bool, writes: usize) {
    let process = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    process.block_on(async {
        let room = room_over(store, clock, pieces(), Options::default());
        room.runs.recover().await.unwrap();
        let before = room.store.logs_of(alice().owner(), None, 10).await.unwrap();
        let had_output = match before.first() {
            Some(log) => {
                let snapshot = room.get(&ResponseId::of_log(*log).to_string()).await;
                object(&snapshot)["output"].as_array().is_some_and(|output| !output.is_empty())
            }
            None => false,
        };
        let repeat = room.run(keyed(request())).await;
        let found = before.contains(&repeat.id.log());
        assert_eq!(found, had_output, "after {writes} writes");
        assert_eq!(repeat.status == Status::Completed, ended || !found, "after {writes} writes");
        assert_eq!(room.run(keyed(request())).await.id, repeat.id);
        assert_eq!(room.script.asked().len(), usize::from(!found));
        room.runs.delete(&alice(), &repeat.id.to_string()).await.unwrap();
        assert!(!room.has_record().await, "after {writes} writes");
    });
}

#[test]
fn a_response_that_is_tried_again_after_a_crash_keeps_its_key() {
    let process = || Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let first = process();
    let (store, clock, id) = first.block_on(async {
        let room = room([Act::Hang]);
        let id = room.create(keyed(background())).await.snapshot.id;
        (room.store, room.clock, id)
    });
    drop(first);
    let store = Arc::new(Arc::try_unwrap(store).expect("the process is gone").reopen());
    process().block_on(async {
        let options = Options { on_restart: OnRestart::Retry, ..Options::default() };
        let room = room_over(store, clock, [text("again"), stop()], options);
        room.runs.recover().await.unwrap();
        let repeat = room.run(keyed(background())).await;
        assert_eq!((repeat.id, repeat.status), (id, Status::Completed));
        room.runs.delete(&alice(), &id.to_string()).await.unwrap();
        assert!(!room.has_record().await, "the log still says that it has a key");
    });
}
