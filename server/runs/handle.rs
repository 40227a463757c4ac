//! The door of the room.
//!
//! It owns the one look-up of ids (D-30): every path to a response goes through [`Runs::look_up`], which takes the principal.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tidemark_store::{Close, Head, LogId, ReadLimit, Seq, Store, UnixMillis, WriteError};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::auth::Principal;
use crate::backends::{Api, Model};
use crate::clock::{Clock, millis};
use crate::error::Error;
use crate::runs::create::Created;
use crate::runs::document::api_of;
use crate::runs::event::decode;
use crate::runs::faults;
use crate::runs::id::ResponseId;
use crate::runs::idempotency::Turns;
use crate::runs::live::{Fault, Handle, Live};
use crate::runs::models::Models;
use crate::runs::options::{OnRepeat, Options};
use crate::runs::reader::{OnGap, Reader};
use crate::runs::status::Status;
use crate::sessions::Sessions;
use crate::tasks::Tasks;
use crate::telemetry::RunMeters;

/// The log that a malformed id is looked up as: no id source makes it.
const NO_LOG: LogId = LogId::from_bytes([0; 16]);

/// The most merges at once, each of some MiB: they share the processors with everything else.
const MERGES_AT_ONCE: usize = 2;

/// All responses: creates, finds, reads and stops them. Clones share the same responses.
#[derive(Clone, Debug)]
pub struct Runs(pub(super) Arc<Shared>);

/// What the parts of the room share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) models: Arc<dyn Models>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tasks: Tasks,
    pub(super) options: Options,
    pub(super) meters: RunMeters,
    pub(super) live: Arc<Live>,
    /// The right to hold the events of a log in memory and to merge them.
    pub(super) merging: Semaphore,
    pub(super) turns: Arc<Turns>,
    pub(super) sessions: Sessions,
    /// No new responses.
    pub(super) draining: CancellationToken,
    /// Runs that are still there must end.
    pub(super) halt: CancellationToken,
    /// Readers that have nothing left to send must end.
    pub(super) closing: CancellationToken,
}

/// A response at one moment, as it is in the log.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its id.
    pub id: ResponseId,
    /// Where it stands.
    pub status: Status,
    /// Where its log stands.
    pub head: Head,
    /// The response object as one line of JSON, with all output so far.
    pub json: Bytes,
    /// Why it failed, with all that the object has no field for. Only for the caller who made it and waited for its end.
    pub fault: Option<Error>,
}

/// Which response is meant.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    id: &'a str,
    api: Option<Api>,
}

impl<'a> Wanted<'a> {
    /// The one with this id, in either form (S-4), if it is of this API; absent = of any.
    pub fn of(id: &'a str, api: Option<Api>) -> Self {
        Self { id, api }
    }
}

impl<'a> From<&'a str> for Wanted<'a> {
    fn from(id: &'a str) -> Self {
        Self::of(id, None)
    }
}

impl<'a> From<&'a String> for Wanted<'a> {
    fn from(id: &'a String) -> Self {
        Self::of(id, None)
    }
}

/// A response that the caller may see.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) id: ResponseId,
    pub(super) head: Head,
}

/// The data of an event that carries the response object.
#[derive(Deserialize)]
struct Carrier {
    response: Box<RawValue>,
}

impl Snapshot {
    /// In whose words it is.
    pub fn api(&self) -> Api {
        api_of(self.head.status)
    }

    /// Its id in those words.
    pub fn public_id(&self) -> String {
        self.id.in_words_of(self.api())
    }
}

impl Shared {
    /// The end of the log of a response that ends now: how long its events are kept, and how long all of it (D-25).
    pub(super) fn close(&self, store: bool) -> Close {
        let (retention, now) = (&self.options.retention, self.clock.now());
        let at = |kept| UnixMillis(now.0.saturating_add(millis(kept)));
        let expires_at = if store { retention.responses } else { retention.unstored }.map(at);
        // What goes soon after is not worth the work.
        let compacts_at = retention.events.map(at).filter(|at| expires_at.is_none_or(|end| *at < end));
        Close { compacts_at, expires_at }
    }
}

impl Runs {
    /// The room over a store. Call [`Runs::recover`] before the first caller gets in.
    pub fn new(
        store: Arc<dyn Store>,
        models: Arc<dyn Models>,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
        options: Options,
        meters: RunMeters,
    ) -> Self {
        let live = Arc::new(Live::new(options.max_live, options.max_live_per_owner, meters.live.clone()));
        let closing = CancellationToken::new();
        let of_sessions = options.sessions.clone();
        let sessions = Sessions::new(
            Arc::clone(&store),
            Arc::clone(&clock),
            of_sessions,
            closing.clone(),
            meters.readers.clone(),
        );
        Self(Arc::new(Shared {
            store,
            models,
            clock,
            tasks,
            options,
            meters,
            live,
            merging: Semaphore::new(MERGES_AT_ONCE),
            turns: Arc::default(),
            sessions,
            draining: CancellationToken::new(),
            halt: CancellationToken::new(),
            closing,
        }))
    }

    /// The sessions that responses belong to.
    pub fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    /// The models that can be asked, each with the name of its backend, sorted by id.
    pub async fn models(&self) -> Vec<(Model, String)> {
        let mut models = self.0.models.list().await;
        models.sort_by(|(one, _), (other, _)| one.id.cmp(&other.id));
        models
    }

    /// The response as it is now, with all output so far; never ahead of the log (D-16).
    ///
    /// # Errors
    /// `not_found`, `draining`, `storage_unavailable`.
    pub async fn get<'a>(
        &self,
        principal: &Principal,
        wanted: impl Into<Wanted<'a>>,
    ) -> Result<Snapshot, Error> {
        let found = self.look_up(principal, wanted.into()).await?;
        self.snapshot(found).await
    }

    /// The id of a response that the caller may see.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn locate(&self, principal: &Principal, id: &str) -> Result<ResponseId, Error> {
        Ok(self.look_up(principal, id.into()).await?.id)
    }

    /// Stops a running response, foreground or background (D-13); a finished one is returned unchanged. Returns when the
    /// terminal event is durable.
    ///
    /// # Errors
    /// `not_found`, `draining`, `storage_unavailable`.
    pub async fn cancel<'a>(
        &self,
        principal: &Principal,
        wanted: impl Into<Wanted<'a>>,
    ) -> Result<Snapshot, Error> {
        let found = self.look_up(principal, wanted.into()).await?;
        self.stop(&found).await;
        let found = self.look_again(found.id).await?;
        self.snapshot(found).await
    }

    /// Removes a response for good and returns the id that it had; a running one is cancelled first (S-3). Its readers end with
    /// `not_found` unless they have had the terminal event by then.
    ///
    /// # Errors
    /// `not_found`, also for a response that was removed before; `storage_unavailable`.
    pub async fn delete<'a>(
        &self,
        principal: &Principal,
        wanted: impl Into<Wanted<'a>>,
    ) -> Result<String, Error> {
        let found = self.look_up(principal, wanted.into()).await?;
        self.stop(&found).await;
        self.remove(found.id.log()).await.map_err(faults::of_write)?;
        Ok(found.id.in_words_of(api_of(found.head.status)))
    }

    /// Removes a log, and before it the record of the key that it was created with.
    pub(super) async fn remove(&self, log: LogId) -> Result<(), WriteError> {
        self.forget_key(log).await?;
        self.0.store.purge(log).await
    }

    /// Cancels the run of a response, if it has one, and waits for its end.
    async fn stop(&self, found: &Found) {
        if !found.head.frontier.closed
            && let Some(run) = self.0.live.find(found.id.log())
        {
            run.cancel().await;
        }
    }

    /// A reader of the events after a position (absent = all). It counts as a reader until it is dropped (D-26).
    ///
    /// # Errors
    /// `not_found`; `offset_lost` if events after the position are gone, unless `on_gap` says to go on behind them.
    pub async fn attach<'a>(
        &self,
        principal: &Principal,
        wanted: impl Into<Wanted<'a>>,
        after: Option<Seq>,
        on_gap: OnGap,
    ) -> Result<Reader, Error> {
        let found = self.look_up(principal, wanted.into()).await?;
        let attachment = self.0.live.find(found.id.log()).map(|run| run.attach());
        let reader = Reader::open(&self.0, found.id, after, on_gap, attachment).await?;
        reader.check(&found.head).await?;
        Ok(reader)
    }

    /// A reader of a response that was just created, from its first event or from where [`Created::after`] says.
    ///
    /// # Errors
    /// `offset_lost` for a repeat if events after the position are gone; `internal`, `storage_unavailable`.
    pub async fn read(&self, created: Created) -> Result<Reader, Error> {
        let Created { snapshot, attachment, after, .. } = created;
        let reader = Reader::open(&self.0, snapshot.id, after, OnGap::Fail, attachment).await?;
        reader.check(&snapshot.head).await?;
        Ok(reader)
    }

    /// A response that was found, for one who would have made it otherwise.
    pub(super) async fn join(&self, found: Found) -> Result<Created, Error> {
        let run = self.0.live.find(found.id.log());
        let attachment = run.as_ref().map(Handle::attach);
        let fault = run.map_or_else(Fault::default, |run| run.fault());
        let snapshot = self.snapshot(found).await?;
        Ok(Created { snapshot, replayed: true, attachment, after: None, fault })
    }

    /// Waits until a response that was just created has ended. Waiting counts as reading.
    ///
    /// # Errors
    /// `draining` if the gateway stops first, `storage_unavailable`; `idempotency_request_in_progress` for a repeat, if
    /// [`Options::on_repeat`] says so.
    pub async fn wait_terminal(&self, created: Created) -> Result<Snapshot, Error> {
        let Created { snapshot, replayed, attachment, fault, after: _ } = created;
        let (id, name) = (snapshot.id, snapshot.public_id());
        if replayed && self.0.options.on_repeat == OnRepeat::Refuse && !snapshot.status.is_terminal() {
            return Err(faults::idempotency_in_progress(name));
        }
        if let Some(run) = self.0.live.find(id.log()) {
            run.ended().await;
        }
        drop(attachment);
        let found = self.look_again(id).await?;
        let snapshot = self.snapshot(found).await.map_err(|error| error.with_response_id(name))?;
        let fault = fault.get().filter(|_| snapshot.status == Status::Failed).cloned();
        Ok(Snapshot { fault, ..snapshot })
    }

    /// Ends the room: no new responses; waits for those that run until `patience` is over, then ends them with
    /// `gateway_restarted`, except those that will be tried again. Readers get all that was logged, then `draining`.
    pub async fn drain(&self, patience: Duration) {
        self.0.draining.cancel();
        if tokio::time::timeout(patience, self.all_ended()).await.is_err() {
            self.0.halt.cancel();
            self.all_ended().await;
        }
        self.0.closing.cancel();
    }

    async fn all_ended(&self) {
        loop {
            let runs = self.0.live.all();
            if runs.is_empty() {
                return;
            }
            for run in runs {
                run.ended().await;
            }
        }
    }

    /// The one look-up: unknown, foreign, expired and malformed ids, and responses of another API, are the same error after the
    /// same work (D-30).
    pub(super) async fn look_up(&self, principal: &Principal, wanted: Wanted<'_>) -> Result<Found, Error> {
        let parsed = wanted.id.parse::<ResponseId>();
        let found = self.find(principal, parsed.map_or(NO_LOG, ResponseId::log)).await?;
        let fits =
            |found: &Found| parsed.is_ok() && wanted.api.is_none_or(|api| api == api_of(found.head.status));
        found.filter(fits).ok_or_else(faults::not_found)
    }

    /// The response of a log, if this principal may see it: the check behind [`Self::look_up`] and every list.
    pub(super) async fn find(&self, principal: &Principal, log: LogId) -> Result<Option<Found>, Error> {
        let head = self.0.store.head(log).await.map_err(Error::internal)?;
        let now = self.0.clock.now();
        let visible = |head: &Head| {
            principal.may_see(&head.owner, log)
                // The log of a session is no response.
                && !head.endless
                && !head.frontier.gone
                && head.expires_at.is_none_or(|at| at > now)
        };
        Ok(head.filter(visible).map(|head| Found { id: ResponseId::of_log(log), head }))
    }

    /// The state of a response that was found before.
    async fn look_again(&self, id: ResponseId) -> Result<Found, Error> {
        let head = self.0.store.head(id.log()).await.map_err(Error::internal)?;
        head.map(|head| Found { id, head }).ok_or_else(faults::not_found)
    }

    /// A response that was found, as it is now.
    pub(super) async fn snapshot(&self, found: Found) -> Result<Snapshot, Error> {
        if found.head.frontier.closed {
            return self.finished(found).await;
        }
        if let Some(run) = self.0.live.find(found.id.log()) {
            if let Some(snapshot) = run.snapshot().await? {
                return Ok(snapshot);
            }
            run.ended().await;
        }
        let found = self.look_again(found.id).await?;
        if found.head.frontier.closed { self.finished(found).await } else { Err(self.without_run()) }
    }

    /// A finished response: the one that its terminal event carries.
    pub(super) async fn finished(&self, found: Found) -> Result<Snapshot, Error> {
        let Found { id, head } = found;
        let last = ReadLimit { entries: 1, ..ReadLimit::default() };
        let batch = self.0.store.read(id.log(), head.frontier.committed.previous(), last).await;
        let batch = batch.map_err(|error| faults::of_read(id, error))?;
        let payload = batch.entries.first().map(|entry| &entry.payload);
        let (_, data) =
            payload.and_then(decode).ok_or_else(|| Error::internal("a closed log has no last event"))?;
        let carrier: Carrier = serde_json::from_slice(&data).map_err(Error::internal)?;
        let status = Status::from_byte(head.status).filter(|status| status.is_terminal());
        let status =
            status.ok_or_else(|| Error::internal(format!("status {:#x} of a closed log", head.status)))?;
        Ok(Snapshot {
            id,
            status,
            head,
            json: Box::<str>::from(carrier.response).into_string().into(),
            fault: None,
        })
    }

    /// Why a log is open and nobody drives it.
    fn without_run(&self) -> Error {
        match self.0.store.health().borrow().check() {
            Err(error) => faults::of_write(error),
            Ok(()) if self.0.draining.is_cancelled() => faults::draining(),
            Ok(()) => Error::internal("an open log has no run"),
        }
    }
}
