//! What interrupts a run.
//!
//! It owns the waits for everything but the backend: questions, a cancel, the time limit, the last reader's going, the end of the
//! gateway. It must never know what the run makes of it.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::dormant::Dormant;
use crate::error::Error;
use crate::runs::faults;
use crate::runs::handle::Snapshot;
use crate::runs::live::{Doorstep, Message};
use crate::runs::status::{Cancelled, Ending};

/// What reaches a run from elsewhere than its backend.
#[derive(Debug)]
pub(super) enum Outsider {
    Asks(oneshot::Sender<Result<Snapshot, Error>>),
    Ends(Ending),
    Halt,
}

/// Everything that can interrupt a run, without an end.
pub(super) type Outside = Pin<Box<dyn Stream<Item = Outsider> + Send>>;

/// What interrupts a run whose backend is given so much time, and, if there is a `grace`, for as long without a reader.
pub(super) fn outside(
    doorstep: Doorstep,
    grace: Option<Duration>,
    max_time: Duration,
    halt: &CancellationToken,
) -> Outside {
    let sources = Sources::new(doorstep, grace, max_time, halt);
    Box::pin(stream::unfold(sources, async |mut sources| Some((sources.next().await, sources))))
}

/// Waits for the next interruption. Cancel safe.
pub(super) async fn interruption(outside: &mut Dormant<Outside>) -> Outsider {
    let next =
        poll_fn(|context| outside.poll_with(context, |outside, context| outside.as_mut().poll_next(context)));
    match next.await {
        Some(outsider) => outsider,
        None => std::future::pending().await,
    }
}

/// Where interruptions come from.
#[derive(Debug)]
struct Sources {
    mailbox: mpsc::Receiver<Message>,
    readers: watch::Receiver<usize>,
    /// How long the run goes on without a reader; absent = it needs none.
    grace: Option<Duration>,
    /// When it stops for want of a reader.
    lonely_until: Option<Instant>,
    max_time: Duration,
    out_of_time: Pin<Box<Sleep>>,
    /// The end of the gateway; registered once, not at every wait.
    halted: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Sources {
    fn new(
        doorstep: Doorstep,
        grace: Option<Duration>,
        max_time: Duration,
        halt: &CancellationToken,
    ) -> Self {
        let Doorstep { mailbox, readers, fault: _ } = doorstep;
        let out_of_time = Box::pin(sleep(max_time));
        // A token of its own: all runs would else wait in one list, behind one lock.
        let halted = Box::pin(halt.child_token().cancelled_owned());
        let mut sources = Self { mailbox, readers, grace, lonely_until: None, max_time, out_of_time, halted };
        sources.count_readers();
        sources
    }

    /// Waits for the next interruption.
    async fn next(&mut self) -> Outsider {
        loop {
            let far = self.out_of_time.deadline();
            tokio::select! {
                Some(message) = self.mailbox.recv() => return match message {
                    Message::Snapshot(reply) => Outsider::Asks(reply),
                    Message::Cancel => Outsider::Ends(Ending::Cancelled(Cancelled::ByRequest)),
                },
                () = &mut self.out_of_time => {
                    return Outsider::Ends(Ending::Failed(faults::max_time(self.max_time)));
                }
                () = &mut self.halted => return Outsider::Halt,
                Ok(()) = self.readers.changed(), if self.grace.is_some() => self.count_readers(),
                () = sleep_until(self.lonely_until.unwrap_or(far)), if self.lonely_until.is_some() => {
                    return Outsider::Ends(Ending::Cancelled(Cancelled::ClientDisconnected));
                }
            }
        }
    }

    /// Starts the grace when the last reader has gone, and ends it when one is back.
    fn count_readers(&mut self) {
        let nobody = *self.readers.borrow_and_update() == 0;
        self.lonely_until = match (self.grace, self.lonely_until) {
            (Some(grace), None) if nobody => Some(Instant::now() + grace),
            (_, running) if nobody => running,
            _ => None,
        };
    }
}
