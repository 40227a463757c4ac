//! One reader of a response.
//!
//! It owns a cursor and nothing else: it pulls from the log at its own pace, so that a slow reader costs one delivery of memory
//! and slows nobody (D-22). It ends only after it has delivered the terminal event.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tidemark_store::{Batch, Entry, Head, Lost, ReadError, ReadLimit, Seq, Tail};
use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::alarm::{Alarm, HEARTBEAT};
use crate::dormant::Dormant;
use crate::error::Error;
use crate::runs::compact::{self, Position, Refusal};
use crate::runs::event::Event;
use crate::runs::faults;
use crate::runs::handle::Shared;
use crate::runs::id::ResponseId;
use crate::runs::live::Attachment;
use crate::telemetry::Held;

/// What a reader wants when events after its position are gone (D-20).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnGap {
    /// `offset_lost`.
    Fail,
    /// To be told once, and to go on from the earliest event that is left. A position that was rolled back still fails.
    Earliest,
}

/// A stretch of events that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first lost event.
    pub from: Seq,
    /// The last lost event.
    pub to: Seq,
}

/// What a reader gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The next events.
    Events {
        /// In order: 1 to 64 entries of the log, at most 64 KiB unless the first alone is larger. A merged entry is an event for each
        /// part that grew.
        events: Vec<Event>,
        /// The highest durable seq at that moment.
        committed: Seq,
        /// What is gone before the first of them.
        gap: Option<Gap>,
    },
    /// Nothing came for [`HEARTBEAT`].
    Heartbeat {
        /// The highest durable seq at that moment.
        committed: Seq,
    },
}

/// A cursor in the log of one response.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    id: ResponseId,
    tail: Tail,
    position: Position,
    /// What was committed when the reader had everything; there is nothing to read before that moves.
    drained: Option<Seq>,
    /// Whether anything was delivered.
    begun: bool,
    on_gap: OnGap,
    gap: Option<Gap>,
    silence: Dormant<Silence>,
    ended: bool,
    /// Held for its drop.
    _attachment: Option<Attachment>,
    _counted: Held,
}

/// What comes if no event does.
#[derive(Debug)]
struct Silence {
    heartbeat: Alarm,
    /// The end of the gateway.
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Silence {
    /// Ready when it is time for a heartbeat; an error if there will be nothing more.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.closing.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(faults::draining()));
        }
        self.heartbeat.poll(context).map(Ok)
    }
}

impl Reader {
    pub(super) async fn open(
        shared: &Arc<Shared>,
        id: ResponseId,
        after: Option<Seq>,
        on_gap: OnGap,
        attachment: Option<Attachment>,
    ) -> Result<Self, Error> {
        let tail = shared.store.tail(id.log()).await.map_err(|error| faults::of_read(id, error))?;
        let silence = Silence {
            heartbeat: Alarm::new(Instant::now() + HEARTBEAT),
            // A token of its own: all readers would else wait in one list, behind one lock.
            closing: Box::pin(shared.closing.child_token().cancelled_owned()),
        };
        Ok(Self {
            shared: Arc::clone(shared),
            id,
            tail,
            // Whoever has nothing has nothing.
            position: Position { after, exact: after.is_none() },
            drained: None,
            begun: false,
            on_gap,
            gap: None,
            silence: Dormant::new(silence),
            ended: false,
            _attachment: attachment,
            _counted: shared.meters.readers.hold(),
        })
    }

    /// Whether the reader can begin where it wants to, so that a refusal comes before the first message of a stream.
    pub(super) async fn check(&self, head: &Head) -> Result<(), Error> {
        let begins = match head.check_position(self.position.after) {
            // Only what was compacted can refuse a position that is not lost as a whole.
            Ok(()) if head.generation > 0 && !self.position.exact => self.read_one().await,
            other => other,
        };
        match begins {
            Err(ReadError::Lost(lost)) if self.may_skip(lost).is_some() => Ok(()),
            other => other.map_err(|error| faults::of_read(self.id, error)),
        }
    }

    async fn read_one(&self) -> Result<(), ReadError> {
        let limit = ReadLimit { entries: 1, ..ReadLimit::default() };
        let batch = self.shared.store.read(self.id.log(), self.position.after, limit).await?;
        self.events(&batch).map(drop)
    }

    /// The response that is read.
    pub fn id(&self) -> ResponseId {
        self.id
    }

    /// The next delivery, or `None` once the terminal event was delivered, or the position is at or past it. Cancel safe: what
    /// was not returned is returned by the next call.
    ///
    /// # Errors
    /// `offset_lost` if eviction has overtaken the reader, `draining` if the gateway stops before the response ends,
    /// `not_found` if the response was removed. Nothing follows an error.
    pub async fn next(&mut self) -> Result<Option<Delivery>, Error> {
        if self.ended {
            return Ok(None);
        }
        let result = self.pull().await;
        // Never earlier than before: the alarm calls by itself.
        self.silence.sleeper().heartbeat.set(Instant::now() + HEARTBEAT);
        self.ended |= !matches!(result, Ok(Some(_)));
        result
    }

    async fn pull(&mut self) -> Result<Option<Delivery>, Error> {
        loop {
            if let Some(committed) = self.drained
                && let Some(heartbeat) = self.wait(committed).await?
            {
                return Ok(Some(heartbeat));
            }
            let after = self.position.after;
            let read = match self.tail.recent(after, ReadLimit::default()) {
                Some(batch) => Ok(batch),
                None => {
                    let limit = if self.begun { ReadLimit::default() } else { ReadLimit::FIRST };
                    self.shared.store.read(self.id.log(), after, limit).await
                }
            };
            let (batch, events) = match read.and_then(|batch| Ok((self.events(&batch)?, batch))) {
                Ok((events, batch)) => (batch, events),
                Err(ReadError::Lost(lost)) => {
                    self.skip(lost)?;
                    continue;
                }
                Err(error) => return Err(faults::of_read(self.id, error)),
            };
            let committed = batch.frontier.committed;
            if let Some(last) = batch.entries.last() {
                self.begun = true;
                self.ended = batch.frontier.closed && last.seq == committed;
                self.position = Position { after: Some(last.seq), exact: true };
                self.drained = (last.seq == committed).then_some(committed);
                return Ok(Some(Delivery::Events { events, committed, gap: self.gap.take() }));
            }
            if batch.frontier.closed {
                return Ok(None);
            }
            self.drained = Some(committed);
        }
    }

    /// The events of a batch that was read from the position.
    fn events(&self, batch: &Batch) -> Result<Vec<Event>, ReadError> {
        let (mut events, mut position) = (Vec::with_capacity(batch.entries.len()), self.position);
        for entry in &batch.entries {
            events.extend(compact::events(entry, position).map_err(|refusal| match refusal {
                Refusal::Broken(error) => ReadError::Broken(error.to_string()),
                Refusal::Inside => ReadError::Lost(Lost {
                    watermark: Some(entry.seq),
                    earliest: entry.seq.next(),
                    committed: batch.frontier.committed,
                    rolled_back: false,
                }),
            })?);
            position = Position { after: Some(entry.seq), exact: true };
        }
        Ok(events)
    }

    /// Waits for more; a heartbeat if nothing came for too long.
    async fn wait(&mut self, committed: Seq) -> Result<Option<Delivery>, Error> {
        let frontier = tokio::select! {
            // What is in the log comes before a heartbeat or the end.
            biased;
            frontier = self.tail.past(self.position.after) => frontier,
            silent = poll_fn(|context| self.silence.poll_with(context, Silence::poll)) => {
                return silent.map(|()| Some(Delivery::Heartbeat { committed }));
            }
        };
        let moved = frontier.committed >= Seq::after(self.position.after) || frontier.closed || frontier.gone;
        if !moved {
            // The store let go of the log while it is open: it has stopped.
            return Err(Error::internal("the store does not follow an open log any more"));
        }
        Ok(None)
    }

    fn may_skip(&self, lost: Lost) -> Option<Seq> {
        lost.watermark.filter(|_| self.on_gap == OnGap::Earliest && !lost.rolled_back)
    }

    /// Goes on behind lost events, if the reader wants that.
    fn skip(&mut self, lost: Lost) -> Result<(), Error> {
        let Some(to) = self.may_skip(lost) else { return Err(faults::offset_lost(self.id, lost)) };
        let from = self.gap.map_or_else(|| Seq::after(self.position.after), |gap| gap.from);
        self.gap = Some(Gap { from, to });
        self.position = Position { after: Some(to), exact: true };
        Ok(())
    }
}

/// All events of an entry of a response's log, for whoever reads the log itself.
///
/// # Errors
/// `internal` if the entry is none of ours.
pub fn events_of(entry: &Entry) -> Result<Vec<Event>, Error> {
    let start = Position { after: None, exact: true };
    compact::events(entry, start).map_err(|refusal| match refusal {
        Refusal::Inside => Error::internal("the start of an entry lies inside of it"),
        Refusal::Broken(error) => error,
    })
}
