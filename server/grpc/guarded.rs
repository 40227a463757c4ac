//! A reader for as long as whoever reads has access (D-33).
//!
//! It owns that nothing goes out once access is lost, and how that is said. It must never decide whether it is: a [`Lease`] does.

use tidemark_proto::v1::ErrorCode;
use tonic::Status;

use crate::auth::{Access, Lease, Principal};
use crate::error::Error;
use crate::grpc::status::status;
use crate::runs::{Delivery, Reader};

/// What is read, piece by piece.
pub(super) trait Source {
    /// A piece.
    type Item;

    /// The next piece; `None` at the end. Cancel safe; nothing follows an error.
    fn next(&mut self) -> impl Future<Output = Result<Option<Self::Item>, Error>> + Send;
}

impl Source for Reader {
    type Item = Delivery;

    async fn next(&mut self) -> Result<Option<Delivery>, Error> {
        Self::next(self).await
    }
}

/// A reader and the access of who reads.
#[derive(Debug)]
pub(super) struct Guarded<R = Reader> {
    reader: R,
    lease: Lease,
    ended: bool,
}

impl<R: Source> Guarded<R> {
    /// Guards a reader, whose opening may have taken long: access is checked again before anything is sent (O-31).
    ///
    /// # Errors
    /// Those of [`Lease::check`]: nothing was sent yet, so the call is refused like any other.
    pub(super) async fn new(reader: R, access: Access, principal: Principal) -> Result<Self, Status> {
        let mut lease = Lease::new(access, principal);
        lease.check().await.map_err(|error| status(&error))?;
        Ok(Self { reader, lease, ended: false })
    }

    /// The next item of the stream. Nothing follows an error. The run goes on whatever becomes of its reader.
    pub(super) async fn next(&mut self) -> Option<Result<R::Item, Status>> {
        if self.ended {
            return None;
        }
        let item = self.pull().await.transpose();
        self.ended = !matches!(item, Some(Ok(_)));
        item.map(|item| item.map_err(|error| status(&error)))
    }

    async fn pull(&mut self) -> Result<Option<R::Item>, Error> {
        let delivery = tokio::select! {
            // A reader that has something at hand does not begin to wait for a loss: it looks, below.
            biased;
            delivery = self.reader.next() => delivery?,
            error = self.lease.lost() => return Err(forbidden(&error)),
        };
        if delivery.is_some() {
            self.lease.check().await.map_err(|error| forbidden(&error))?;
        }
        Ok(delivery)
    }
}

/// What a stream says whose reader lost access (U-1). If that cannot be found out, it says so, and the reader may come again.
fn forbidden(why: &Error) -> Error {
    let text = "access to this stream was lost while it was open";
    match why.code() {
        ErrorCode::Unauthorized => Error::new(ErrorCode::StreamForbidden, text).of_dead_credential(),
        ErrorCode::InsufficientScope => Error::new(ErrorCode::StreamForbidden, text),
        _ => why.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use secrecy::ExposeSecret as _;
    use tidemark_proto::v1::responses_service_server::ResponsesService;
    use tidemark_proto::v1::sessions_service_server::SessionsService;
    use tidemark_proto::v1::{CreateRequest, GetRequest, ListHistoryRequest, ListRequest, Wait};
    use tidemark_store::memory::MemoryStore;
    use tidemark_store::{Caps, Owner};
    use tokio::time::Instant;
    use tonic::{Code, Request};
    use tonic_types::StatusExt as _;

    use super::*;
    use crate::auth::{Directory, Mode, NewKey, Presented, Scopes};
    use crate::grpc::{Responses, SessionsOf};
    use crate::runs::testing::{Act, OneModel, Script, TestClock, stop, text};
    use crate::runs::{OnGap, Options, Runs};
    use crate::sessions::View;
    use crate::tasks::Tasks;
    use crate::telemetry::RunMeters;

    struct Room {
        runs: Runs,
        directory: Directory,
        access: Access,
        reader: Principal,
        key: String,
    }

    /// A room with a key of alice that may do what an application does, and a backend that plays `acts`.
    async fn room(acts: impl IntoIterator<Item = Act>) -> (Room, Arc<Script>) {
        let (store, clock) = (Arc::new(MemoryStore::new(Caps::default())), Arc::new(TestClock::default()));
        let directory = Directory::new(store.clone(), clock.clone(), Tasks::new());
        let access = Access::new(Mode::Keys { operator: None }, directory.clone());
        let scopes = Scopes::parse("responses.read responses.write").unwrap();
        let new = NewKey { owner: Owner::new("alice"), scopes, expires_at: None };
        let (key, info) = directory.create_key(&operator(), new).await.unwrap();
        let shown = key.reveal();
        let presented = Presented { bearer: Some(shown.expose_secret()), ..Presented::default() };
        let reader = access.identify(presented).await.unwrap();
        let script = Script::new(acts);
        let models = Arc::new(OneModel(Arc::clone(&script)));
        let runs = Runs::new(store, models, clock, Tasks::new(), Options::default(), RunMeters::default());
        (Room { runs, directory, access, reader, key: info.id.to_string() }, script)
    }

    fn operator() -> Principal {
        Principal::operator(Owner::new("operator").unwrap())
    }

    fn create() -> CreateRequest {
        let input = Some(tidemark_proto::v1::create_request::Input::Text("hi".into()));
        CreateRequest { model: "m".into(), input, ..CreateRequest::default() }
    }

    impl Room {
        async fn disable(&self) {
            self.directory.set_key_disabled(&operator(), &self.key, true).await.unwrap();
        }

        async fn attach(&self, id: &str) -> Reader {
            self.runs.attach(&self.reader, id, None, OnGap::Fail).await.unwrap()
        }

        async fn begin(&self) -> String {
            let created = self.runs.create(&self.reader, create()).await.unwrap();
            created.snapshot.id.to_string()
        }

        fn service(&self) -> Responses {
            Responses::new(self.runs.clone(), self.access.clone())
        }

        fn call<T>(&self, message: T) -> Request<T> {
            let mut request = Request::new(message);
            request.extensions_mut().insert(self.reader.clone());
            request
        }
    }

    fn reason(status: &Status) -> (Code, String) {
        (status.code(), status.get_details_error_info().unwrap().reason)
    }

    #[tokio::test(start_paused = true)]
    async fn check_13_access_lost_during_the_first_read_shows_nothing() {
        let (room, script) = room([text("secret"), Act::Hold, stop()]).await;
        let id = room.begin().await;
        let opening = room.attach(&id).await;
        let reader = room.attach(&id).await;
        let mut open = Guarded::new(reader, room.access.clone(), room.reader.clone()).await.unwrap();
        let service = room.service();
        let waiting = service.create(room.call(CreateRequest { wait: Wait::Terminal.into(), ..create() }));
        let lose = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            room.disable().await;
            script.go_on();
            script.go_on();
        };
        let (waited, ()) = tokio::join!(waiting, lose);
        let refused = (Code::Unauthenticated, "unauthorized".to_owned());
        assert_eq!(reason(&waited.unwrap_err()), refused, "the whole answer was there by then");
        let opened = Guarded::new(opening, room.access.clone(), room.reader.clone()).await;
        assert_eq!(reason(&opened.unwrap_err()), refused);
        let first = open.next().await.unwrap().unwrap_err();
        assert_eq!(reason(&first), (Code::Unauthenticated, "STREAM_FORBIDDEN".to_owned()));
        assert!(open.next().await.is_none(), "nothing follows");
        // The listener knew the caller before the key was disabled.
        let get = service.get(room.call(GetRequest { id, ..Default::default() })).await.map(drop);
        let list = service.list(room.call(ListRequest::default())).await.map(drop);
        for read in [get, list] {
            assert_eq!(reason(&read.unwrap_err()), refused);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn check_13_a_history_shows_nothing_when_access_is_lost_during_the_first_read() {
        let (room, _) = room([text("secret"), stop()]).await;
        let (sessions, owner) = (room.runs.sessions().clone(), room.reader.owner().clone());
        let items = br#"[{"role":"user","content":"secret"}]"#;
        sessions.create(&owner, Some("k"), Default::default(), items).await.unwrap();
        let watch = async || sessions.watch(&owner, "k", View::All, 0, "").await.unwrap();
        let (opening, watcher) = (watch().await, watch().await);
        let mut open = Guarded::new(watcher, room.access.clone(), room.reader.clone()).await.unwrap();
        room.disable().await;
        let refused = (Code::Unauthenticated, "unauthorized".to_owned());
        let opened = Guarded::new(opening, room.access.clone(), room.reader.clone()).await;
        assert_eq!(reason(&opened.map(drop).unwrap_err()), refused);
        let first = open.next().await.unwrap().unwrap_err();
        assert_eq!(reason(&first), (Code::Unauthenticated, "STREAM_FORBIDDEN".to_owned()));
        assert!(open.next().await.is_none(), "nothing follows");
        let service = SessionsOf::new(sessions.clone(), room.access.clone());
        let page = ListHistoryRequest { key: "k".into(), ..Default::default() };
        let page = service.list_history(room.call(page)).await;
        assert_eq!(reason(&page.map(drop).unwrap_err()), refused);
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_waiting_streams_end_at_once_and_the_run_goes_on() {
        let (room, script) = room([text("x"), Act::Hold, stop()]).await;
        let id = room.begin().await;
        let mut ends = tokio::task::JoinSet::new();
        for _ in 0..1000 {
            let reader = room.attach(&id).await;
            let mut guarded = Guarded::new(reader, room.access.clone(), room.reader.clone()).await.unwrap();
            assert!(guarded.next().await.unwrap().is_ok());
            ends.spawn(async move {
                loop {
                    match guarded.next().await.unwrap() {
                        Ok(_) => {}
                        Err(status) => return (reason(&status), guarded.next().await.is_none()),
                    }
                }
            });
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let start = Instant::now();
        room.disable().await;
        let forbidden = ((Code::Unauthenticated, "STREAM_FORBIDDEN".to_owned()), true);
        assert!(ends.join_all().await.into_iter().all(|end| end == forbidden));
        assert_eq!(start.elapsed(), Duration::ZERO, "no timer was waited for");
        script.go_on();
        room.directory.set_key_disabled(&operator(), &room.key, false).await.unwrap();
        let mut again =
            Guarded::new(room.attach(&id).await, room.access.clone(), room.reader.clone()).await.unwrap();
        while let Some(delivery) = again.next().await {
            delivery.unwrap();
        }
    }

    #[test]
    fn what_was_lost_is_said_and_what_cannot_be_found_out_may_be_tried_again() {
        let lost = |code| status(&forbidden(&Error::new(code, "why")));
        let name = "STREAM_FORBIDDEN".to_owned();
        assert_eq!(reason(&lost(ErrorCode::Unauthorized)), (Code::Unauthenticated, name.clone()));
        assert_eq!(reason(&lost(ErrorCode::InsufficientScope)), (Code::PermissionDenied, name));
        let unknown = (Code::Unavailable, "storage_unavailable".to_owned());
        assert_eq!(reason(&lost(ErrorCode::StorageUnavailable)), unknown);
    }
}
