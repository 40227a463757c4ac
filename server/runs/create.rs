//! How a response begins.
//!
//! It owns the order of a create: is the request right, is it a repeat, may there be one more, who serves it, what came before,
//! then the log, then the run. A create whose caller goes away is done whole or not at all, because a task of its own does it.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt;
use serde_json::value::RawValue;
use tidemark_proto::v1::CreateRequest;
use tidemark_store::{NewLog, Owner, Seq};
use tokio::sync::oneshot;

use crate::auth::{Principal, Scope};
use crate::backends::Generation;
use crate::error::Error;
use crate::runs::author::Author;
use crate::runs::document::Document;
use crate::runs::handle::{Runs, Shared, Snapshot};
use crate::runs::id::ResponseId;
use crate::runs::idempotency::{Claim, Reservation};
use crate::runs::live::{Attachment, Doorstep, Fault, Registered, Slot};
use crate::runs::run::{Question, Run};
use crate::runs::{faults, recover, request};

/// A response that was just made, or that an earlier create with the same idempotency key has made. Its maker counts as a reader
/// until this is dropped.
#[derive(Debug)]
pub struct Created {
    /// The response as it began; that of a repeat as it is now.
    pub snapshot: Snapshot,
    /// Whether an earlier create has made it (D-35).
    pub replayed: bool,
    /// None if nothing runs any more.
    pub(super) attachment: Option<Attachment>,
    /// What a repeat has read already.
    pub(super) after: Option<Seq>,
    pub(super) fault: Fault,
}

impl Created {
    /// Lets a repeat go on after the position that it has from the create before. For a new response it means nothing.
    #[must_use]
    pub fn after(self, position: Option<Seq>) -> Self {
        Self { after: position.filter(|_| self.replayed), ..self }
    }
}

/// What a run holds as long as it lives, for its drop.
#[derive(Debug)]
pub(super) struct Tenure {
    _registered: Registered,
    _slot: Slot,
}

impl Tenure {
    pub(super) fn new(registered: Registered, slot: Slot) -> Self {
        Self { _registered: registered, _slot: slot }
    }
}

/// A response that is not in the log yet.
struct Birth {
    id: ResponseId,
    owner: Owner,
    document: Document,
    question: Question,
    doorstep: Doorstep,
    reservation: Option<Reservation>,
}

impl Runs {
    /// Makes a response and starts it. Returns when its first events are durable. A repeat of an earlier create, which its
    /// idempotency key says, makes none and gets the one of that create.
    ///
    /// # Errors
    /// `draining`, `storage_unavailable`, `storage_full`, `overloaded`, `quota_exceeded`, `invalid_request`, `model_not_found`,
    /// `no_backend`, `previous_response_not_found`, `previous_response_not_terminal`; with a session `insufficient_scope`, `not_found`,
    /// `session_full`; with a key also `invalid_idempotency_key`,
    /// `idempotency_key_reused`, `idempotency_unavailable`.
    pub async fn create(&self, principal: &Principal, request: CreateRequest) -> Result<Created, Error> {
        if !request.session.is_empty() {
            principal.require(Scope::SessionsWrite)?;
        }
        let claim = Claim::of(principal.owner(), &request);
        let document = request::check(request, self.0.clock.now().0 / 1000)?;
        match claim? {
            Some(claim) => self.create_once(principal, document, claim).await,
            None => self.begin(principal, document, None).await,
        }
    }

    /// Makes the response of a checked request.
    pub(super) async fn begin(
        &self,
        principal: &Principal,
        mut document: Document,
        reservation: Option<Reservation>,
    ) -> Result<Created, Error> {
        self.may_begin()?;
        let shared = &self.0;
        let (backend, model) = shared.models.route(&document.model).await?;
        let slot = shared.live.admit(principal.owner())?;
        if let Some(key) = document.joins.take() {
            let member = shared.sessions.join(principal.owner(), &key, document.items.len()).await?;
            document.session = Some(member);
        }
        let earlier = self.earlier_items(principal, &document).await?;
        let question = Question { backend, generation: generation(&document, model, earlier) };
        let id = ResponseId::from_bytes(shared.clock.new_id());
        let (registered, doorstep, attachment) = shared.live.register(id.log());
        // A drain sees every run that is registered before it looks; this one looks after it was registered.
        if shared.draining.is_cancelled() {
            return Err(faults::draining());
        }
        let fault = Fault::clone(&doorstep.fault);
        let owner = principal.owner().clone();
        let birth = Birth { id, owner, document, question, doorstep, reservation };
        let (tell, told) = oneshot::channel();
        let tenure = Tenure::new(registered, slot);
        // On the heap once, and not a second time inside of the task that sees to it.
        let born = Box::pin(bear(Arc::clone(shared), birth, tell));
        shared.tasks.spawn(supervise(Arc::clone(shared), id, tenure, born));
        let snapshot = told.await.map_err(|_| Error::internal("a run ended before it began"))??;
        Ok(Created { snapshot, replayed: false, attachment: Some(attachment), after: None, fault })
    }

    fn may_begin(&self) -> Result<(), Error> {
        let shared = &self.0;
        if shared.draining.is_cancelled() {
            return Err(faults::draining());
        }
        shared.store.health().borrow().check().map_err(faults::of_write)?;
        let is_low = |min: u64| shared.store.free_bytes().is_some_and(|free| free < min);
        if shared.options.min_free_bytes.is_some_and(is_low) {
            return Err(faults::storage_full());
        }
        Ok(())
    }
}

/// What a backend is asked for a request, after the items of the responses it continues.
pub(super) fn generation(document: &Document, model: String, earlier: Vec<Box<RawValue>>) -> Generation {
    let earlier_items = earlier.len();
    let mut items = earlier;
    items.extend(document.items.iter().cloned());
    Generation {
        api: document.api,
        model,
        items,
        earlier: earlier_items,
        instructions: document.instructions.clone(),
        params: document.params.clone(),
        metadata: document.metadata.clone(),
    }
}

async fn bear(
    shared: Arc<Shared>,
    birth: Birth,
    tell: oneshot::Sender<Result<Snapshot, Error>>,
) -> Result<(), Error> {
    let logged = log_first_events(&shared, &birth).await;
    // From here on a repeat finds the log.
    drop(birth.reservation);
    let mut run = match logged {
        Ok((author, head, status)) => {
            Run::new(shared, birth.id, &birth.document, author, head, status, birth.doorstep)
        }
        Err(error) => {
            let _ = tell.send(Err(error));
            return Ok(());
        }
    };
    // A caller that has gone no longer counts as a reader; the run goes by that.
    let _ = tell.send(run.snapshot());
    // The request may be large, and the answer may take an hour.
    drop(birth.document);
    run.drive(birth.question, false).await
}

async fn log_first_events(
    shared: &Shared,
    birth: &Birth,
) -> Result<(Author, tidemark_store::Head, crate::runs::Status), Error> {
    let limit = shared.options.max_output_bytes;
    let mut author = Author::new(&shared.clock, limit, birth.id, &birth.document)?;
    let (entries, status) = author.first_events(birth.document.background)?;
    if let Some(reservation) = &birth.reservation {
        reservation.write(shared, birth.id).await?;
    }
    if birth.document.session.is_some() {
        shared.sessions.announce(birth.id.log()).await?;
    }
    let new = NewLog {
        id: birth.id.log(),
        owner: birth.owner.clone(),
        created_at: shared.clock.now(),
        status: status.to_byte() | birth.document.mark(),
        document: birth.document.encode()?,
        entries,
        endless: None,
    };
    match shared.create_log(new).await {
        Ok(head) => Ok((author, head, status)),
        Err(error) => {
            if birth.document.session.is_some() {
                // If that fails too, the next start finds that there is no such response.
                let _ = shared.sessions.forget(birth.id.log()).await;
            }
            Err(faults::of_write(error))
        }
    }
}

/// Sees a run to its end. One that panics or fails inside is ended here, from its log (D-24).
pub(super) async fn supervise(
    shared: Arc<Shared>,
    id: ResponseId,
    tenure: Tenure,
    run: Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>,
) {
    let fault = match AssertUnwindSafe(run).catch_unwind().await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error,
        Err(_) => Error::internal("a run panicked"),
    };
    tracing::error!(response = %id, error = %fault, "a run broke down");
    let ended = match recover::fail(&shared, id, &fault).await {
        Ok(()) => shared.enter_again(id).await,
        Err(error) => Err(error),
    };
    if let Err(error) = ended {
        tracing::error!(response = %id, %error, "a response could not be ended");
    }
    drop(tenure);
}
