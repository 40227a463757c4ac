//! How responses end, and what refuses to begin.

use std::time::Duration;

use tidemark_proto::v1::{CreateRequest, ErrorCode};
use tidemark_store::{Caps, Store};

use super::*;
use crate::backends::{Finish, Step};
use crate::runs::testing::{stop, text};
use crate::runs::{Cancelled, Incomplete, Retention, Status};

const SECOND: Duration = Duration::from_secs(1);

fn fault() -> Error {
    Error::new(ErrorCode::BackendUnreachable, "no connection")
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_refuses_fails_the_response_without_output() {
    let room = room([Act::Refuse(fault())]);
    let failed = room.run(background()).await;
    assert_eq!(failed.status, Status::Failed);
    let object = object(&failed);
    assert_eq!(object["error"]["code"], "backend_unreachable");
    assert_eq!(object["error"]["message"], "no connection");
    assert_eq!(object["output"], serde_json::json!([]));
    let events = room.events(&failed.id.to_string()).await;
    assert_eq!(kinds(&events), ["created", "queued", "in_progress", "failed"]);
}

#[tokio::test(start_paused = true)]
async fn a_fault_after_output_keeps_the_output_as_incomplete() {
    for (act, code) in [(Act::Fail(fault()), "backend_unreachable"), (Act::Wait(SECOND), "backend_error")] {
        let room = room([text("half"), act]);
        let failed = room.run(request()).await;
        let object = object(&failed);
        assert_eq!((failed.status, object["error"]["code"].as_str()), (Status::Failed, Some(code)));
        assert_eq!(object["output"][0]["status"], "incomplete");
        assert_eq!(object["output"][0]["content"][0]["text"], "half");
    }
}

#[tokio::test(start_paused = true)]
async fn how_the_stream_closes_does_not_matter_once_the_backend_has_finished() {
    let room = room([text("x"), stop(), Act::Fail(fault())]);
    assert_eq!(room.run(request()).await.status, Status::Completed);
}

#[tokio::test(start_paused = true)]
async fn limits_of_the_backend_are_named() {
    let cases = [
        (Finish::MaxOutputTokens, Incomplete::MaxOutputTokens),
        (Finish::ContentFilter, Incomplete::ContentFilter),
    ];
    for (finish, reason) in cases {
        let room = room([text("x"), Act::Give(Step::Finish(finish))]);
        let ended = room.run(request()).await;
        assert_eq!(ended.status, Status::Incomplete(reason));
        let object = object(&ended);
        assert_eq!(object["incomplete_details"]["reason"], reason.wire_reason());
        assert_eq!(object["output"][0]["status"], "incomplete");
    }
}

#[tokio::test(start_paused = true)]
async fn too_much_output_ends_the_response_and_the_backend() {
    let options = Options { max_output_bytes: 1000, ..Options::default() };
    let room = room_with((0..100).map(|_| text(&"x".repeat(100))), options, Caps::default());
    let ended = room.run(request()).await;
    assert_eq!(ended.status, Status::Incomplete(Incomplete::MaxOutputBytes));
    let object = object(&ended);
    assert_eq!(object["incomplete_details"]["reason"], "max_output_tokens", "S-1");
    assert_eq!(object["output"][0]["content"][0]["text"].as_str().unwrap().len(), 700);
    assert_eq!(room.script.running(), 0);
    let events = room.events(&ended.id.to_string()).await;
    assert_eq!(
        kinds(&events)[events.len() - 4..],
        ["output_text.done", "content_part.done", "output_item.done", "incomplete"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_that_takes_too_long_fails() {
    for acts in [vec![Act::Queue], vec![text("x"), Act::Hang]] {
        let room = room(acts);
        let start = tokio::time::Instant::now();
        let ended = room.run(request()).await;
        assert_eq!(object(&ended)["error"]["code"], "backend_timeout");
        assert_eq!(start.elapsed().as_secs(), 3600);
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_run_fails_that_response_with_what_was_logged() {
    let room = room([text("logged"), Act::Wait(SECOND), Act::Panic]);
    let ended = room.run(request()).await;
    let object = object(&ended);
    assert_eq!((ended.status, object["error"]["code"].as_str()), (Status::Failed, Some("internal")));
    assert_eq!(object["output"][0]["content"][0]["text"], "logged");
    assert_eq!(object["output"][0]["status"], "incomplete");
    let events = room.events(&ended.id.to_string()).await;
    assert_eq!(kinds(&events).last(), Some(&"failed"));
}

#[tokio::test(start_paused = true)]
async fn nobody_reads_an_unstored_response_and_it_is_cancelled_after_the_grace() {
    let room = room([text("x"), Act::Hang]);
    let created = room.create(unstored()).await;
    let id = created.snapshot.id.to_string();
    drop(created);
    tokio::time::sleep(SECOND * 14).await;
    let reader = room.attach(&id, None).await;
    tokio::time::sleep(SECOND * 60).await;
    assert_eq!(room.get(&id).await.status, Status::InProgress, "a reader ends the grace");
    drop(reader);
    tokio::time::sleep(SECOND * 14).await;
    assert_eq!(room.get(&id).await.status, Status::InProgress, "each grace is whole");
    tokio::time::sleep(SECOND * 2).await;
    let ended = room.get(&id).await;
    assert_eq!(ended.status, Status::Cancelled(Cancelled::ClientDisconnected));
    assert_eq!(object(&ended)["status"], "cancelled");
    assert_eq!(room.script.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_disconnect_never_stops_a_stored_or_background_response() {
    for request in [request(), CreateRequest { background: true, ..unstored() }] {
        let room = room([text("x"), Act::Wait(SECOND * 600), stop()]);
        let id = room.create(request).await.snapshot.id.to_string();
        tokio::time::sleep(SECOND * 601).await;
        assert_eq!(room.get(&id).await.status, Status::Completed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_whose_caller_goes_away_is_whole() {
    let room = room([text("x"), stop()]);
    let principal = alice();
    let mut create = Box::pin(room.runs.create(&principal, request()));
    let polled = futures_util::poll!(create.as_mut());
    assert!(polled.is_pending());
    drop(create);
    room.tasks.ended().await;
    let log = tidemark_store::LogId::from_bytes(1_u128.to_be_bytes());
    assert!(room.store.head(log).await.unwrap().unwrap().frontier.closed);
}

#[tokio::test(start_paused = true)]
async fn live_responses_are_bounded_and_the_room_comes_back() {
    let options = Options { max_live: 2, max_live_per_owner: Some(1), ..Options::default() };
    let room = room_with([Act::Hang], options, Caps::default());
    let first = room.create(request()).await.snapshot.id.to_string();
    let code = |result: Result<Created, Error>| result.unwrap_err().code();
    assert_eq!(code(room.runs.create(&alice(), request()).await), ErrorCode::QuotaExceeded);
    let _second = room.runs.create(&bob(), request()).await.unwrap();
    let carol = Principal::local(Owner::new("carol").unwrap());
    let error = room.runs.create(&carol, request()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Overloaded);
    assert!(error.retry_after().is_some());
    room.runs.cancel(&alice(), &first).await.unwrap();
    assert!(room.runs.create(&carol, request()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_poisoned_store_refuses_creates_and_stops_runs() {
    let room = room([Act::Hold, text("x"), stop()]);
    let created = room.create(request()).await;
    // The run has logged all it can before the store fails.
    while room.get(&created.snapshot.id.to_string()).await.head.frontier.committed.get() < 1 {
        tokio::task::yield_now().await;
    }
    room.store.poison("disk");
    room.script.go_on();
    let error = room.runs.wait_terminal(created).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::StorageUnavailable);
    let error = room.runs.create(&alice(), request()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::StorageUnavailable);
    assert!(!error.message().contains("disk"), "the cause is for the operator");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_model_makes_no_response() {
    let room = room([stop()]);
    let error =
        room.runs.create(&alice(), CreateRequest { model: "x".into(), ..request() }).await.unwrap_err();
    assert_eq!((error.code(), error.param()), (ErrorCode::ModelNotFound, Some("model")));
    assert!(room.script.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn retention_counts_from_the_end_and_the_sweeper_removes() {
    let retention = Retention { events: None, responses: Some(SECOND * 3000), unstored: Some(SECOND * 100) };
    let options = Options { retention, ..Options::default() };
    let room = room_with([Act::Wait(SECOND * 50), text("x"), stop()], options, Caps::default());
    let stored = room.run(request()).await;
    let unstored = room.run(unstored()).await;
    let sweeper = room.runs.clone();
    room.tasks.spawn(async move { sweeper.sweep().await });
    tokio::time::sleep(SECOND * 99).await;
    assert!(room.store.head(unstored.id.log()).await.unwrap().is_some());
    tokio::time::sleep(SECOND * 61).await;
    assert!(room.store.head(unstored.id.log()).await.unwrap().is_none());
    assert!(room.store.head(stored.id.log()).await.unwrap().is_some());
    tokio::time::sleep(SECOND * 3000).await;
    assert!(room.store.head(stored.id.log()).await.unwrap().is_none());
    room.tasks.stop();
    room.tasks.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_a_removed_response_ends_with_not_found() {
    let room = room([text("x"), Act::Hang]);
    let created = room.create(request()).await;
    let mut reader = room.runs.read(created).await.unwrap();
    reader.next().await.unwrap();
    room.store.purge(reader.id().log()).await.unwrap();
    let error = loop {
        match reader.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a removed response is no finished one"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), ErrorCode::NotFound);
}
