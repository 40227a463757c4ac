//! Open logs that nobody drives: found at boot, or left by a run that broke down.
//!
//! It owns their end: each gets a terminal event with the output that its events amount to (D-23), or, if it had none and
//! retries are on, a new run under the same id.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use tidemark_store::{Append, Close, Head, LogId, ReadError, ReadLimit, Seq, WriteError};

use crate::auth::Principal;
use crate::error::Error;
use crate::runs::create::{Tenure, generation, supervise};
use crate::runs::document::Document;
use crate::runs::event::Outbox;
use crate::runs::faults;
use crate::runs::fold::Fold;
use crate::runs::handle::{Runs, Shared};
use crate::runs::id::ResponseId;
use crate::runs::object::{Body, State, Template};
use crate::runs::options::OnRestart;
use crate::runs::run::{Question, Run};
use crate::runs::status::{Ending, Status};

/// Open logs are looked for in pages of this many.
const PAGE: usize = 256;

/// So many logs are ended at a time, so that they share their syncs.
const AT_ONCE: usize = 64;

/// A log that is appended to by somebody else is looked at again so many times.
const TRIES: usize = 8;

impl Runs {
    /// Ends or restarts every response that an earlier process left running. To be called once, before the first caller.
    /// Returns how many there were.
    ///
    /// # Errors
    /// `internal` for a log that cannot be read or understood, `storage_unavailable`: the process must not serve then.
    pub async fn recover(&self) -> Result<usize, Error> {
        let (mut after, mut count) = (None, 0);
        loop {
            let page = self.0.store.open_logs(after, PAGE).await.map_err(Error::internal)?;
            let Some(last) = page.last() else { return Ok(count) };
            after = Some(*last);
            let found = stream::iter(page).map(|log| self.recover_one(log)).buffer_unordered(AT_ONCE);
            count += found.try_fold(0, async |sum, was_left| Ok(sum + usize::from(was_left))).await?;
        }
    }

    /// Returns whether the log was left by an earlier process.
    async fn recover_one(&self, log: LogId) -> Result<bool, Error> {
        let shared = &self.0;
        let id = ResponseId::of_log(log);
        let Some(head) = shared.store.head(log).await.map_err(Error::internal)? else { return Ok(false) };
        if head.frontier.closed || head.epoch >= shared.store.epoch() {
            return Ok(false);
        }
        let restarted = shared.options.on_restart == OnRestart::Retry && self.restart(id, head).await?;
        if !restarted {
            fail(shared, id, &faults::restarted()).await?;
        }
        Ok(true)
    }

    /// Starts a response again under the same id, if it had put out nothing and can be asked again.
    async fn restart(&self, id: ResponseId, head: Head) -> Result<bool, Error> {
        let shared = &self.0;
        let fold = fold(shared, id, &head).await?;
        let Some(status) = Status::from_byte(head.status).filter(|_| !fold.produced()) else {
            return Ok(false);
        };
        let document = stored(shared, id).await?;
        let principal = Principal::local(head.owner.clone());
        let routed = shared.models.route(&document.model).await;
        let earlier = self.earlier_items(&principal, &document).await;
        let slot = shared.live.admit(&head.owner);
        let (Ok((backend, model)), Ok(earlier), Ok(slot)) = (routed, earlier, slot) else { return Ok(false) };
        let template = Template::new(id, &document)?;
        let question = Question { backend, generation: generation(&document, model, earlier) };
        // Nobody is attached yet: the grace begins now.
        let (registered, doorstep, _) = shared.live.register(id.log());
        let asked = fold.asked();
        let mut run = Run::new(Arc::clone(shared), id, &document, template, head, status, doorstep);
        let drive = async move { run.drive(question, asked).await };
        shared.tasks.spawn(supervise(Arc::clone(shared), id, Tenure::new(registered, slot), drive));
        Ok(true)
    }
}

/// Ends an open log as failed, with the output that its events amount to. A log that was ended meanwhile stays as it is.
///
/// # Errors
/// `internal` if the log cannot be read or understood, `storage_unavailable`.
pub(super) async fn fail(shared: &Shared, id: ResponseId, fault: &Error) -> Result<(), Error> {
    for _ in 0..TRIES {
        let head = shared.store.head(id.log()).await.map_err(Error::internal)?;
        let Some(head) = head.filter(|head| !head.frontier.closed) else { return Ok(()) };
        match shared.store.append(last_append(shared, id, &head, fault).await?).await {
            Ok(_) | Err(WriteError::Closed | WriteError::NotFound | WriteError::Fenced { .. }) => {
                return Ok(());
            }
            Err(WriteError::Moved { .. }) => {}
            Err(other) => return Err(faults::of_write(other)),
        }
    }
    Err(Error::internal("a log without a run does not stand still"))
}

async fn last_append(shared: &Shared, id: ResponseId, head: &Head, fault: &Error) -> Result<Append, Error> {
    let document = stored(shared, id).await?;
    let output = fold(shared, id, head).await?.into_broken_off();
    let ending = Ending::Failed(fault.clone());
    let status = ending.status();
    let template = Template::new(id, &document)?;
    let state =
        State { status, completed_at: None, error: ending.error(), output: output.items(), usage: None };
    let mut outbox = Outbox::new(head.frontier.committed.next());
    outbox.push(ending.event(), &Body { response: &template.at(state) })?;
    Ok(Append {
        id: id.log(),
        epoch: shared.store.epoch(),
        expected_last: head.frontier.committed,
        status: Some(status.to_byte()),
        entries: outbox.take(),
        close: Some(Close { expires_at: shared.expiry(document.store) }),
    })
}

async fn stored(shared: &Shared, id: ResponseId) -> Result<Document, Error> {
    let bytes = shared.store.document(id.log()).await.map_err(Error::internal)?;
    Document::decode(&bytes)
}

/// Folds all that is left of a log.
async fn fold(shared: &Shared, id: ResponseId, head: &Head) -> Result<Fold, Error> {
    let mut fold = Fold::default();
    // The cursor of a process that is gone was never rolled back: what the log has now is all there is.
    let mut after: Option<Seq> = head.frontier.watermark;
    loop {
        let batch = match shared.store.read(id.log(), after, ReadLimit::default()).await {
            Ok(batch) => batch,
            Err(ReadError::Lost(lost)) if lost.watermark > after => {
                after = lost.watermark;
                continue;
            }
            Err(error) => return Err(Error::internal(error)),
        };
        let Some(last) = batch.entries.last() else { return Ok(fold) };
        after = Some(last.seq);
        for entry in &batch.entries {
            fold.apply(&entry.payload)?;
        }
    }
}
