//! How a response begins.
//!
//! It owns the order of a create: may there be one, is the request right, who serves it, what came before, then the log, then
//! the run. A create whose caller goes away is done whole or not at all, because a task of its own does it.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt;
use serde_json::value::RawValue;
use tidemark_proto::v1::CreateRequest;
use tidemark_store::{NewLog, Owner};
use tokio::sync::oneshot;

use crate::auth::Principal;
use crate::backends::Generation;
use crate::error::Error;
use crate::runs::document::Document;
use crate::runs::handle::{Runs, Shared, Snapshot};
use crate::runs::id::ResponseId;
use crate::runs::live::{Attachment, Doorstep, Fault, Registered, Slot};
use crate::runs::object::Template;
use crate::runs::run::{Question, Run, first_events};
use crate::runs::{faults, recover, request};

/// A response that was just made. Its maker counts as a reader until this is dropped.
#[derive(Debug)]
pub struct Created {
    /// The response as it began.
    pub snapshot: Snapshot,
    pub(super) attachment: Attachment,
    pub(super) fault: Fault,
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
}

impl Runs {
    /// Makes a response and starts it. Returns when its first events are durable.
    ///
    /// # Errors
    /// `draining`, `storage_unavailable`, `storage_full`, `overloaded`, `quota_exceeded`, `invalid_request`, `model_not_found`,
    /// `no_backend`, `previous_response_not_found`, `previous_response_not_terminal`.
    pub async fn create(&self, principal: &Principal, request: CreateRequest) -> Result<Created, Error> {
        self.may_begin()?;
        let shared = &self.0;
        let document = request::check(request, shared.clock.now().0 / 1000)?;
        let (backend, model) = shared.models.route(&document.model).await?;
        let slot = shared.live.admit(principal.owner())?;
        let earlier = self.earlier_items(principal, &document).await?;
        let question = Question { backend, generation: generation(&document, model, earlier) };
        let id = ResponseId::from_bytes(shared.clock.new_id());
        let (registered, doorstep, attachment) = shared.live.register(id.log());
        // A drain sees every run that is registered before it looks; this one looks after it was registered.
        if shared.draining.is_cancelled() {
            return Err(faults::draining());
        }
        let fault = Fault::clone(&doorstep.fault);
        let birth = Birth { id, owner: principal.owner().clone(), document, question, doorstep };
        let (tell, told) = oneshot::channel();
        let tenure = Tenure::new(registered, slot);
        // On the heap once, and not a second time inside of the task that sees to it.
        let begin = Box::pin(begin(Arc::clone(shared), birth, tell));
        shared.tasks.spawn(supervise(Arc::clone(shared), id, tenure, begin));
        let snapshot = told.await.map_err(|_| Error::internal("a run ended before it began"))??;
        Ok(Created { snapshot, attachment, fault })
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
        model,
        items,
        earlier: earlier_items,
        instructions: document.instructions.clone(),
        params: document.params.clone(),
        metadata: document.metadata.clone(),
    }
}

async fn begin(
    shared: Arc<Shared>,
    birth: Birth,
    tell: oneshot::Sender<Result<Snapshot, Error>>,
) -> Result<(), Error> {
    let mut run = match log_first_events(&shared, &birth).await {
        Ok((template, head, status)) => {
            Run::new(shared, birth.id, &birth.document, template, head, status, birth.doorstep)
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
) -> Result<(Template, tidemark_store::Head, crate::runs::Status), Error> {
    let template = Template::new(birth.id, &birth.document)?;
    let (entries, status) = first_events(&template, birth.document.background)?;
    let new = NewLog {
        id: birth.id.log(),
        owner: birth.owner.clone(),
        created_at: shared.clock.now(),
        status: status.to_byte(),
        document: birth.document.encode()?,
        entries,
    };
    let head = shared.create_log(new).await.map_err(faults::of_write)?;
    Ok((template, head, status))
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
    if let Err(error) = recover::fail(&shared, id, &fault).await {
        tracing::error!(response = %id, %error, "a response could not be ended");
    }
    drop(tenure);
}
