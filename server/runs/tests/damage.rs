//! Recovery of logs that cannot be read or understood.

use async_trait::async_trait;
use bytes::Bytes;
use tidemark_store::{
    Append, Batch, Compact, Head, Health, Kept, LogId, NewLog, Purged, ReadError, ReadLimit, Record, Seq,
    Tail, UnixMillis, Usage, Version, WriteError,
};
use tokio::sync::watch;

use super::*;
use crate::runs::testing::{stop, text};
use crate::runs::{OnRestart, ResponseId, Status};

/// A store that cannot give back the head of one log.
#[derive(Debug)]
struct Broken(Arc<MemoryStore>, LogId);

#[async_trait]
impl Store for Broken {
    fn epoch(&self) -> u64 {
        self.0.epoch()
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.0.health()
    }

    fn free_bytes(&self) -> Option<u64> {
        self.0.free_bytes()
    }

    fn usage(&self) -> Usage {
        self.0.usage()
    }

    fn caps(&self) -> Caps {
        self.0.caps()
    }

    async fn usage_of(&self, owner: &Owner) -> Result<Kept, ReadError> {
        self.0.usage_of(owner).await
    }

    async fn create(&self, new: NewLog) -> Result<Head, WriteError> {
        self.0.create(new).await
    }

    async fn append(&self, append: Append) -> Result<Head, WriteError> {
        self.0.append(append).await
    }

    async fn compact(&self, compact: Compact) -> Result<Head, WriteError> {
        self.0.compact(compact).await
    }

    async fn head(&self, id: LogId) -> Result<Option<Head>, ReadError> {
        if id == self.1 { Err(ReadError::Broken("on purpose".into())) } else { self.0.head(id).await }
    }

    async fn document(&self, id: LogId) -> Result<Bytes, ReadError> {
        self.0.document(id).await
    }

    async fn read(&self, id: LogId, after: Option<Seq>, limit: ReadLimit) -> Result<Batch, ReadError> {
        self.0.read(id, after, limit).await
    }

    async fn tail(&self, id: LogId) -> Result<Tail, ReadError> {
        self.0.tail(id).await
    }

    async fn purge(&self, id: LogId) -> Result<(), WriteError> {
        self.0.purge(id).await
    }

    async fn purge_expired(&self, ids: &[LogId], now: UnixMillis) -> Result<Purged, WriteError> {
        self.0.purge_expired(ids, now).await
    }

    async fn open_logs(&self, after: Option<LogId>, limit: usize) -> Result<Vec<LogId>, ReadError> {
        self.0.open_logs(after, limit).await
    }

    async fn logs_of(
        &self,
        owner: &Owner,
        before: Option<LogId>,
        limit: usize,
    ) -> Result<Vec<LogId>, ReadError> {
        self.0.logs_of(owner, before, limit).await
    }

    async fn due(&self, now: UnixMillis, limit: usize) -> Result<Vec<LogId>, ReadError> {
        self.0.due(now, limit).await
    }

    async fn record(&self, key: &[u8]) -> Result<Option<Record>, ReadError> {
        self.0.record(key).await
    }

    async fn put_record(
        &self,
        key: &[u8],
        expected: Option<Version>,
        value: Option<Bytes>,
    ) -> Result<Version, WriteError> {
        self.0.put_record(key, expected, value).await
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

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
    let broken = Broken(Arc::clone(&store), LogId::from_bytes(1_u128.to_be_bytes()));
    let (clock, meters) = (Arc::new(TestClock::default()), RunMeters::default());
    let models = Arc::new(OneModel(Script::new([])));
    let runs = Runs::new(Arc::new(broken), models, clock, Tasks::new(), Options::default(), meters.clone());
    assert_eq!(runs.recover().await.unwrap(), 2);
    assert_eq!((meters.recovered.get(), meters.unrecovered.get()), (1, 1));
    assert_eq!(store.open_logs(None, 10).await.unwrap(), [LogId::from_bytes(1_u128.to_be_bytes())]);
    assert_eq!(runs.get(&alice(), &id(2)).await.unwrap().status, Status::Failed);
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
