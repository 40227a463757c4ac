//! The task that drives one response.
//!
//! It owns the way from the backend's first step to the terminal event, and is the only appender of its log. What it tells
//! others is never ahead of what is committed, because it answers only between two appends. It goes on composing while an append
//! is under way, and asks what became of that only when there is something to append again.

use std::sync::Arc;

use tidemark_store::{Append, Appended, Head, WriteError};

use crate::backends::{Backend, Finish, Generation};
use crate::dormant::Dormant;
use crate::error::Error;
use crate::runs::author::{Author, Moment, Standing};
use crate::runs::compact::{Compactor, Load};
use crate::runs::compose::Stop;
use crate::runs::document::Document;
use crate::runs::event::Outbox;
use crate::runs::faults;
use crate::runs::feed::Feed;
use crate::runs::handle::{Shared, Snapshot};
use crate::runs::id::ResponseId;
use crate::runs::journal::InFlight;
use crate::runs::live::{Doorstep, Fault};
use crate::runs::options::OnRestart;
use crate::runs::outside::{Outside, Outsider, interruption, outside};
use crate::runs::status::{Ending, Incomplete, Status};
use crate::sessions::Membership;

/// What a run asks its backend.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) generation: Generation,
}

/// One response on its way.
#[derive(Debug)]
pub(super) struct Run {
    shared: Arc<Shared>,
    id: ResponseId,
    author: Author,
    /// Whether the response is kept for long after its end.
    store: bool,
    /// What the head of the log keeps besides the status.
    mark: u8,
    /// The session that the response enters at its end.
    session: Option<Membership>,
    outbox: Outbox,
    compactor: Compactor,
    /// Where the log stands, as of the last append that is known to be durable, or of a compaction after it.
    head: Head,
    status: Status,
    /// The append after that.
    in_flight: Option<Flight>,
    /// When it was asked for; absent once there was output.
    silent_since: Option<std::time::Instant>,
    /// Seldom has anything to say.
    outside: Dormant<Outside>,
    fault: Fault,
}

/// An append that is under way.
#[derive(Debug)]
struct Flight {
    append: InFlight,
    /// The status that it brings.
    status: Status,
    load: Load,
}

/// What a run does after something came from outside.
#[derive(Debug)]
enum Flow {
    Go,
    End(Ending),
    /// Stop and leave the log open: it is tried again after the restart.
    Leave,
}

impl Run {
    /// The run of a log that stands at `head`, with a status that was committed.
    pub(super) fn new(
        shared: Arc<Shared>,
        id: ResponseId,
        document: &Document,
        author: Author,
        head: Head,
        status: Status,
        doorstep: Doorstep,
    ) -> Self {
        let outbox = Outbox::new(head.frontier.committed.next());
        let compactor = Compactor::new(&shared, id.log(), &head);
        let grace = document.needs_reader().then_some(shared.options.disconnect_grace);
        let fault = Fault::clone(&doorstep.fault);
        let outside = Dormant::new(outside(doorstep, grace, shared.options.max_time, &shared.halt));
        Self {
            shared,
            id,
            author,
            store: document.store,
            mark: document.mark(),
            session: document.session.clone(),
            outbox,
            compactor,
            head,
            status,
            in_flight: None,
            silent_since: Some(std::time::Instant::now()),
            outside,
            fault,
        }
    }

    /// Asks the backend and brings the response to its end. `asked` tells that the log says so already.
    ///
    /// # Errors
    /// `internal` if the run cannot go on; its log is still open then.
    pub(super) async fn drive(&mut self, question: Question, asked: bool) -> Result<(), Error> {
        let answer = self.ask(question).await;
        if !asked && !matches!(answer, Err(Flow::End(Ending::Cancelled(_)) | Flow::Leave)) {
            let standing = Standing::at(Status::InProgress);
            self.author.tell(Moment::InProgress, standing, &mut self.outbox)?;
        }
        match answer {
            Ok(mut feed) => self.follow(&mut feed).await,
            Err(Flow::End(ending)) => self.finish(ending).await,
            Err(Flow::Leave | Flow::Go) => Ok(()),
        }
    }

    /// The response as it is in the log.
    pub(super) fn snapshot(&mut self) -> Result<Snapshot, Error> {
        let json = self.author.object(Standing::at(self.status))?;
        Ok(Snapshot { id: self.id, status: self.status, head: self.head.clone(), json, fault: None })
    }

    /// Waits until the backend has accepted the question, or something else ends the wait.
    async fn ask(&mut self, question: Question) -> Result<Feed, Flow> {
        let mut asking = question.backend.generate(Arc::new(question.generation));
        loop {
            let event = tokio::select! {
                steps = &mut asking => {
                    return steps.map(Feed::new).map_err(|error| Flow::End(self.blame_backend(error)));
                }
                event = interruption(&mut self.outside) => event,
            };
            match self.hear(event) {
                Flow::Go => {}
                other => return Err(other),
            }
        }
    }

    /// Turns the backend's steps into events of the log until something ends that.
    async fn follow(&mut self, feed: &mut Feed) -> Result<(), Error> {
        loop {
            // While the log has no room the backend waits (D-19).
            let held_up = self.must_wait();
            let may_append = !held_up && !self.outbox.is_empty() && self.in_flight.is_none();
            if may_append && !self.submit(None).await? {
                return Ok(());
            }
            let flow = tokio::select! {
                event = interruption(&mut self.outside) => {
                    if !self.flush().await? {
                        return Ok(());
                    }
                    self.hear(event)
                }
                merged = self.compactor.done() => {
                    self.merged(merged);
                    Flow::Go
                }
                () = feed.ready(), if !held_up && !self.is_full() => self.compose(feed)?,
                result = outcome(&mut self.in_flight), if !self.outbox.is_empty() => {
                    if !self.settled(result)? {
                        return Ok(());
                    }
                    Flow::Go
                }
            };
            match flow {
                Flow::Go => {}
                Flow::End(ending) => return self.finish(ending).await,
                Flow::Leave => return Ok(()),
            }
        }
    }

    /// What was composed since the last append.
    fn composed(&self) -> Load {
        Load { entries: self.outbox.len() as u64, bytes: self.outbox.bytes() as u64 }
    }

    /// Whether no further step may be composed before an append.
    fn is_full(&self) -> bool {
        self.outbox.is_full() || self.compactor.is_enough(self.composed())
    }

    /// Whether what is to be appended would push out what can still be merged.
    fn must_wait(&mut self) -> bool {
        let in_flight = self.in_flight.as_ref().map_or_else(Load::default, |flight| flight.load);
        let pending = self.composed().and(in_flight);
        self.compactor.must_wait(&self.head, pending)
    }

    /// Waits until the log has room for what was composed.
    async fn make_room(&mut self) {
        while self.must_wait() {
            let merged = self.compactor.done().await;
            self.merged(merged);
        }
    }

    /// Takes note of where the log stands after a compaction.
    fn merged(&mut self, head: Option<Head>) {
        // An append that was committed after the compaction knows of it.
        if let Some(head) = head.filter(|head| head.generation > self.head.generation) {
            self.head = head;
        }
    }

    fn hear(&mut self, event: Outsider) -> Flow {
        match event {
            Outsider::Asks(reply) => {
                // Whoever asked may have gone.
                let _ = reply.send(self.snapshot());
                Flow::Go
            }
            Outsider::Ends(ending) => Flow::End(ending),
            Outsider::Halt if self.may_retry() => Flow::Leave,
            Outsider::Halt => Flow::End(Ending::Failed(faults::restarted())),
        }
    }

    fn may_retry(&self) -> bool {
        self.shared.options.on_restart == OnRestart::Retry && self.author.is_silent()
    }

    /// Turns the steps that are here into events.
    fn compose(&mut self, feed: &mut Feed) -> Result<Flow, Error> {
        while !self.is_full() {
            let Some(step) = feed.take() else {
                return Ok(feed.end().map_or(Flow::Go, |end| Flow::End(self.verdict(end))));
            };
            match self.author.apply(step, &mut self.outbox) {
                Ok(()) => {}
                Err(Stop::Limit) => return Ok(Flow::End(Ending::Incomplete(Incomplete::MaxOutputBytes))),
                Err(Stop::Fault(error)) => return Ok(Flow::End(Ending::Failed(error))),
            }
        }
        Ok(Flow::Go)
    }

    /// What the end of the backend's stream means. Once it has said why it stopped, how it closes does not matter (S-3).
    fn verdict(&self, end: &Result<(), Error>) -> Ending {
        match (self.author.finish(), end) {
            (Some(Finish::Stop), _) => Ending::Completed,
            (Some(Finish::MaxOutputTokens), _) => Ending::Incomplete(Incomplete::MaxOutputTokens),
            (Some(Finish::ContentFilter), _) => Ending::Incomplete(Incomplete::ContentFilter),
            (None, Ok(())) => self.blame_backend(faults::cut_off()),
            (None, Err(error)) => self.blame_backend(error.clone()),
        }
    }

    fn blame_backend(&self, error: Error) -> Ending {
        self.shared.meters.backend_errors.increment(error.code().code());
        // A backend knows only that an item came before those of this request.
        let of_session = self.session.is_some() && error.param() == Some("previous_response_id");
        Ending::Failed(if of_session { error.with_param("session") } else { error })
    }

    /// Commits what is left, the terminal event and the status as one step (D-17).
    async fn finish(&mut self, ending: Ending) -> Result<(), Error> {
        if let Some(error) = ending.error() {
            tracing::info!(response = %self.id, error = error.for_log(), "a response failed");
            if let Some(quote) = error.quote() {
                tracing::trace!(response = %self.id, quote, "what the backend said");
            }
            // Nobody else sets it.
            let _ = self.fault.set(error.clone());
        }
        self.author.end(&ending, &mut self.outbox)?;
        let status = ending.status();
        let completed_at = (status == Status::Completed).then(|| self.shared.clock.now().0 / 1000);
        let standing = Standing { status, completed_at, error: ending.error() };
        self.author.tell(Moment::Ended, standing, &mut self.outbox)?;
        let settled = self.settle().await?;
        // Held from before anybody can see the end until the response is in the history.
        let session = match &self.session {
            Some(session) => {
                let owner = self.head.owner.clone();
                Some((self.shared.sessions.entering(&owner, session).await?, owner, session.clone()))
            }
            None => None,
        };
        let ours = settled && self.submit(Some(ending.status())).await?;
        if !ours || !self.settle().await? {
            return Ok(());
        }
        match session {
            Some((entering, owner, session)) => {
                self.shared.enter(self.id, &owner, &session, &entering, false).await
            }
            None => Ok(()),
        }
    }

    /// Hands the events that are here to the store; nothing may be under way. False if the log is no longer ours.
    async fn submit(&mut self, ending: Option<Status>) -> Result<bool, Error> {
        // Every append but the last of a run that was queued leaves the response in progress.
        let status = ending.unwrap_or(Status::InProgress);
        self.make_room().await;
        let load = self.composed();
        let append = Append {
            id: self.id.log(),
            epoch: self.shared.store.epoch(),
            expected_last: self.head.frontier.committed,
            status: Some(status.to_byte() | self.mark),
            entries: self.outbox.take(),
            close: ending.map(|_| self.shared.close(self.store)),
        };
        match self.shared.submit(append).await {
            Ok(append) => {
                self.in_flight = Some(Flight { append, status, load });
                Ok(true)
            }
            Err(reason) => self.refused(reason),
        }
    }

    /// Waits for the append that is under way, if there is one. False if the log is no longer ours.
    async fn settle(&mut self) -> Result<bool, Error> {
        if self.in_flight.is_none() {
            return Ok(true);
        }
        let result = outcome(&mut self.in_flight).await;
        self.settled(result)
    }

    /// Waits until everything that was composed is in the log. False if the log is no longer ours.
    async fn flush(&mut self) -> Result<bool, Error> {
        while self.settle().await? {
            if self.outbox.is_empty() {
                return Ok(true);
            }
            if !self.submit(None).await? {
                break;
            }
        }
        Ok(false)
    }

    /// Takes note of what became of the append that was under way.
    fn settled(&mut self, result: Result<Appended, WriteError>) -> Result<bool, Error> {
        let flight = self.in_flight.take();
        match result {
            Ok(Appended { head, at }) => {
                // A compaction that was committed after the append knows of it.
                if head.generation >= self.head.generation {
                    self.head = head;
                }
                if let Some(Flight { status, load, .. }) = flight {
                    self.status = status;
                    self.compactor.appended(load);
                }
                self.note_output(at);
                Ok(true)
            }
            Err(reason) => self.refused(reason),
        }
    }

    fn refused(&self, reason: WriteError) -> Result<bool, Error> {
        match reason {
            WriteError::Invalid(what) => Err(Error::internal(what)),
            // Somebody else ended the log, or nothing can be written any more: the log is right (D-17, D-24).
            reason => {
                tracing::warn!(response = %self.id, %reason, "a run gives up its log");
                Ok(false)
            }
        }
    }

    fn note_output(&mut self, at: std::time::Instant) {
        if !self.author.is_silent()
            && let Some(begun) = self.silent_since.take()
        {
            self.shared.meters.first_output.observe(at.saturating_duration_since(begun));
        }
    }
}

/// What becomes of the append that is under way; waits for ever if there is none. Cancel safe.
async fn outcome(in_flight: &mut Option<Flight>) -> Result<Appended, WriteError> {
    match in_flight {
        Some(flight) => (&mut flight.append).await,
        None => std::future::pending().await,
    }
}
