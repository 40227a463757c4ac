//! Open logs that nobody drives: found at boot, or left by a run that broke down.
//!
//! It owns their end: each gets a terminal event with the output that its events amount to (D-23), or, if it had none and
//! retries are on, a new run under the same id. What cannot be read any more is left out and said in the log; only a store that
//! takes no writes stops the start.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use tidemark_store::{Append, Head, LogId, ReadError, ReadLimit, Seq, WriteError};

use crate::auth::Principal;
use crate::error::Error;
use crate::runs::author::{Author, Moment, Standing};
use crate::runs::create::{Tenure, generation, supervise};
use crate::runs::document::{Document, MARKS, api_of};
use crate::runs::event::Outbox;
use crate::runs::faults;
use crate::runs::fold::Fold;
use crate::runs::handle::{Runs, Shared};
use crate::runs::id::ResponseId;
use crate::runs::options::OnRestart;
use crate::runs::run::{Question, Run};
use crate::runs::status::{Ending, Status};

/// Open logs are looked for in pages of this many.
const PAGE: usize = 256;

/// So many logs are ended at a time, so that they share their syncs.
const AT_ONCE: usize = 64;

/// A log that is appended to by somebody else is looked at again so many times.
const TRIES: usize = 8;

/// What recovery found to do about one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// Nothing: it is closed, or of this process.
    Nothing,
    /// It was left by an earlier process, and is not any more.
    Recovered,
    /// It was left by an earlier process, and still is.
    Stuck,
}

impl Runs {
    /// Ends or restarts every response that an earlier process left running, and lets those enter their sessions that had ended and
    /// not yet done so. To be called once, before the first caller.
    /// Returns how many there were. One that cannot be ended stays open, is named in the log and counted.
    ///
    /// # Errors
    /// `internal` if the open logs cannot be listed, `storage_unavailable`: the process must not serve then.
    pub async fn recover(&self) -> Result<usize, Error> {
        self.0.sessions.recover().await?;
        let (mut after, mut count) = (None, 0);
        loop {
            let page = self.0.store.open_logs(after, PAGE).await.map_err(Error::internal)?;
            let Some(last) = page.last() else { break };
            after = Some(*last);
            let found = stream::iter(page).map(|log| self.recover_one(log)).buffer_unordered(AT_ONCE);
            count += found.try_fold(0, async |sum, found| Ok(sum + self.count(found))).await?;
        }
        self.enter_left().await?;
        Ok(count)
    }

    fn count(&self, found: Found) -> usize {
        let meters = &self.0.meters;
        match found {
            Found::Nothing => return 0,
            Found::Recovered => meters.recovered.increment(),
            Found::Stuck => meters.unrecovered.increment(),
        }
        1
    }

    /// # Errors
    /// `storage_unavailable`.
    async fn recover_one(&self, log: LogId) -> Result<Found, Error> {
        let id = ResponseId::of_log(log);
        let recovered = self.end_or_restart(id).await;
        // A store that has failed is no fault of this log.
        self.0.store.health().borrow().check().map_err(faults::of_write)?;
        Ok(recovered.unwrap_or_else(|error| {
            tracing::error!(response = %id, %error, "a response of an earlier process could not be ended; it stays open");
            Found::Stuck
        }))
    }

    async fn end_or_restart(&self, id: ResponseId) -> Result<Found, Error> {
        let shared = &self.0;
        let Some(head) = shared.store.head(id.log()).await.map_err(Error::internal)? else {
            return Ok(Found::Nothing);
        };
        if head.frontier.closed || head.epoch >= shared.store.epoch() {
            return Ok(Found::Nothing);
        }
        if shared.options.on_restart == OnRestart::Retry {
            match self.restart(id, head).await {
                Ok(true) => return Ok(Found::Recovered),
                Ok(false) => {}
                Err(error) => tracing::warn!(response = %id, %error, "a response cannot be tried again"),
            }
        }
        fail(shared, id, &faults::restarted()).await?;
        Ok(Found::Recovered)
    }

    /// Starts a response again under the same id, if it had put out nothing and can be asked again.
    async fn restart(&self, id: ResponseId, head: Head) -> Result<bool, Error> {
        let shared = &self.0;
        let (fold, whole) = fold(shared, id, &head).await;
        whole?;
        let Some(status) = Status::from_byte(head.status).filter(|_| !fold.produced()) else {
            return Ok(false);
        };
        let document = stored(shared, id).await?;
        let principal = Principal::local(head.owner.clone());
        let routed = shared.models.route(&document.model).await;
        let earlier = self.earlier_items(&principal, &document).await;
        let slot = shared.live.admit(&head.owner);
        let (Ok((backend, model)), Ok(earlier), Ok(slot)) = (routed, earlier, slot) else { return Ok(false) };
        let author = Author::new(&shared.clock, shared.options.max_output_bytes, id, &document)?;
        let question = Question { backend, generation: generation(&document, model, earlier) };
        // Nobody is attached yet: the grace begins now.
        let (registered, doorstep, _) = shared.live.register(id.log());
        let asked = fold.asked();
        let mut run = Run::new(Arc::clone(shared), id, &document, author, head, status, doorstep);
        let drive = Box::pin(async move { run.drive(question, asked).await });
        shared.tasks.spawn(supervise(Arc::clone(shared), id, Tenure::new(registered, slot), drive));
        Ok(true)
    }
}

/// Ends an open log as failed, with the output that its events amount to, as far as they can be read. A log that was ended
/// meanwhile stays as it is.
///
/// # Errors
/// `internal` if not even the head can be read or the log does not stand still, `storage_unavailable`.
pub(super) async fn fail(shared: &Arc<Shared>, id: ResponseId, fault: &Error) -> Result<(), Error> {
    for _ in 0..TRIES {
        let head = shared.store.head(id.log()).await.map_err(Error::internal)?;
        let Some(head) = head.filter(|head| !head.frontier.closed) else { return Ok(()) };
        match shared.append(last_append(shared, id, &head, fault).await?).await {
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
    let (document, mut author) = readable_request(shared, id, head).await?;
    let (fold, whole) = fold(shared, id, head).await;
    if let Err(error) = whole {
        tracing::error!(response = %id, %error, "a log cannot be read whole; the response ends with what was read");
    }
    author.restore(fold.into_broken_off())?;
    let ending = Ending::Failed(fault.clone());
    let standing = Standing { status: ending.status(), completed_at: None, error: ending.error() };
    let mut outbox = Outbox::new(head.frontier.committed.next());
    author.tell(Moment::Ended, standing, &mut outbox)?;
    Ok(Append {
        id: id.log(),
        epoch: shared.store.epoch(),
        expected_last: head.frontier.committed,
        status: Some(standing.status.to_byte() | (head.status & MARKS)),
        entries: outbox.take(),
        close: Some(shared.close(document.store)),
    })
}

/// The request and who writes its response, or what stands for a request that cannot be read.
async fn readable_request(shared: &Shared, id: ResponseId, head: &Head) -> Result<(Document, Author), Error> {
    let limit = shared.options.max_output_bytes;
    let read = stored(shared, id).await.and_then(|document| {
        let author = Author::new(&shared.clock, limit, id, &document)?;
        Ok((document, author))
    });
    match read {
        Ok(readable) => Ok(readable),
        Err(error) => {
            tracing::error!(response = %id, %error, "a stored request cannot be read; its response ends without it");
            let document = Document::lost(api_of(head.status), head.created_at);
            let author = Author::new(&shared.clock, limit, id, &document)?;
            Ok((document, author))
        }
    }
}

async fn stored(shared: &Shared, id: ResponseId) -> Result<Document, Error> {
    let bytes = shared.store.document(id.log()).await.map_err(Error::internal)?;
    Document::decode(&bytes)
}

/// Folds all that is left of a log, up to the first entry that cannot be read or understood, and says whether there was one.
async fn fold(shared: &Shared, id: ResponseId, head: &Head) -> (Fold, Result<(), Error>) {
    let mut fold = Fold::new(api_of(head.status));
    // The cursor of a process that is gone was never rolled back: what the log has now is all there is.
    let mut after: Option<Seq> = head.frontier.watermark;
    loop {
        let batch = match shared.store.read(id.log(), after, ReadLimit::default()).await {
            Ok(batch) => batch,
            Err(ReadError::Lost(lost)) if lost.watermark > after => {
                after = lost.watermark;
                continue;
            }
            Err(error) => return (fold, Err(Error::internal(error))),
        };
        let Some(last) = batch.entries.last() else { return (fold, Ok(())) };
        after = Some(last.seq);
        if let Err(error) = batch.entries.iter().try_for_each(|entry| fold.apply(&entry.payload)) {
            return (fold, Err(error));
        }
    }
}
