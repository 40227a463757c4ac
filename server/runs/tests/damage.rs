//! Recovery of logs that cannot be read or understood.

use bytes::Bytes;
use tidemark_store::{LogId, NewLog, UnixMillis};

use super::faulty::{Call, Faulty};
use super::*;
use crate::runs::testing::{stop, text};
use crate::runs::{OnRestart, ResponseId, Status};

/// Responses that a process left running: one with this document behind each set of entries.
async fn left(document: &'static [u8], logs: &[&[&'static [u8]]]) -> Arc<MemoryStore> {
    let store = MemoryStore::new(Caps::default());
    for (id, entries) in (1_u128..).zip(logs) {
        let new = NewLog {
            id: LogId::from_bytes(id.to_be_bytes()),
            owner: Owner::new("alice").unwrap(),
            created_at: UnixMillis(7000),
            status: Status::InProgress.to_byte(),
            document: Bytes::from_static(document),
            entries: entries.iter().map(|entry| Bytes::from_static(entry)).collect(),
            endless: None,
        };
        store.create(new).await.unwrap();
    }
    Arc::new(store.reopen())
}

fn id(number: u128) -> String {
    ResponseId::from_bytes(number.to_be_bytes()).to_string()
}

const CREATED: &[u8] = b"\x10response.created{}";
const ADDED: &[u8] = b"\x1aresponse.output_item.added{\"output_index\":0,\"item\":{\"id\":\"msg_1\",\"type\":\"message\",\
\"status\":\"in_progress\",\"role\":\"assistant\",\"content\":[{\"type\":\"output_text\",\"text\":\"so far\",\"annotations\":[],\"logprobs\":[]}]}}";

#[tokio::test(start_paused = true)]
async fn what_cannot_be_understood_is_left_out_and_the_response_fails_visibly() {
    let store = left(b"no document", &[&[CREATED, ADDED, b"\xff"], &[b""]]).await;
    let room = room_over(store, Arc::new(TestClock::default()), [text("x"), stop()], options());
    assert_eq!(room.runs.recover().await.unwrap(), 2);
    for (number, output) in [(1, "so far"), (2, "")] {
        let ended = room.get(&id(number)).await;
        let object = object(&ended);
        assert_eq!((ended.status, &object["error"]["code"]), (Status::Failed, &"gateway_restarted".into()));
        assert_eq!((&object["model"], &object["created_at"]), (&"unknown".into(), &7.into()));
        let text = object["output"].pointer("/0/content/0/text").map_or("", |text| text.as_str().unwrap());
        assert_eq!(text, output);
    }
    assert_eq!((room.meters.recovered.get(), room.meters.unrecovered.get()), (2, 0));
}

fn options() -> Options {
    Options { on_restart: OnRestart::Retry, ..Options::default() }
}

#[tokio::test(start_paused = true)]
async fn a_log_whose_head_cannot_be_read_stays_open_and_holds_up_nobody() {
    let store = left(b"no document", &[&[CREATED], &[CREATED]]).await;
    let broken = LogId::from_bytes(1_u128.to_be_bytes());
    let faulty = Faulty { store: Arc::clone(&store), fails: move |call| call == Call::Head(broken) };
    let room = room_behind(faulty, Arc::new(TestClock::default()), [], Options::default());
    assert_eq!(room.runs.recover().await.unwrap(), 2);
    assert_eq!((room.meters.recovered.get(), room.meters.unrecovered.get()), (1, 1));
    assert_eq!(store.open_logs(None, 10).await.unwrap(), [broken]);
    assert_eq!(room.get(&id(2)).await.status, Status::Failed);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_has_failed_stops_the_start() {
    let store = left(b"no document", &[&[CREATED]]).await;
    store.poison("the disk is gone");
    let room = room_over(store, Arc::new(TestClock::default()), [], Options::default());
    let error = room.runs.recover().await.unwrap_err();
    assert_eq!(error.code(), tidemark_proto::v1::ErrorCode::StorageUnavailable);
}

#[tokio::test(start_paused = true)]
async fn what_happens_is_counted() {
    let room = room([text("x"), stop()]);
    let first = room.run(request()).await;
    let reader = room.attach(&first.id.to_string(), None).await;
    let RunMeters { live, readers, ended, events, append, first_output, backend_errors, .. } =
        room.meters.clone();
    assert_eq!((live.get(), readers.get()), (0, 1));
    drop(reader);
    assert_eq!(readers.get(), 0);
    assert_eq!(events.get(), first.head.frontier.committed.get() + 1);
    assert_eq!(ended.all(), [("completed", 1)]);
    assert!(append.count() >= 2, "created, and the rest");
    assert_eq!((first_output.count(), backend_errors.all().len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_fails_is_counted_by_its_code() {
    let code = tidemark_proto::v1::ErrorCode::BackendUnreachable;
    let room = room([Act::Refuse(Error::new(code, "nobody there"))]);
    room.run(request()).await;
    assert_eq!(room.meters.backend_errors.all(), [("backend_unreachable", 1)]);
    assert_eq!((room.meters.ended.all(), room.meters.first_output.count()), (vec![("failed", 1)], 0));
}
