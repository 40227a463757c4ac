//! The responses that are running in this process.
//!
//! It owns the limits on their number, the way to reach the task of one, and the count of its readers. All of it is given back
//! by dropping.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tidemark_store::{LogId, Owner};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::runs::faults;
use crate::runs::handle::Snapshot;
use crate::telemetry::{Gauge, Held};

/// The most messages that wait for a run; senders wait beyond it.
const MAILBOX: usize = 16;

/// What can be asked of a run.
#[derive(Debug)]
pub(super) enum Message {
    /// The response as it is in the log.
    Snapshot(oneshot::Sender<Result<Snapshot, Error>>),
    /// Stop. There is no answer: the log is right, once the run has ended.
    Cancel,
}

/// All live responses.
#[derive(Debug)]
pub(super) struct Live {
    max: usize,
    max_per_owner: Option<usize>,
    count: Gauge,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    total: usize,
    of_owner: HashMap<Owner, usize>,
    runs: HashMap<LogId, Handle>,
}

/// The right to run one response.
#[derive(Debug)]
pub(super) struct Slot {
    live: Arc<Live>,
    owner: Owner,
    _counted: Held,
}

/// The way to a run.
#[derive(Clone, Debug)]
pub(super) struct Handle {
    mailbox: mpsc::Sender<Message>,
    readers: watch::Sender<usize>,
    ended: CancellationToken,
    fault: Fault,
}

/// The run's end of its [`Handle`].
#[derive(Debug)]
pub(super) struct Doorstep {
    pub(super) mailbox: mpsc::Receiver<Message>,
    pub(super) readers: watch::Receiver<usize>,
    pub(super) fault: Fault,
}

/// Why a run failed, once it has, for the callers who wait for it: the log keeps the code and the message, but neither the
/// parameter that is wrong nor when to try again.
pub(super) type Fault = Arc<OnceLock<Error>>;

/// A run that can be found by its id.
#[derive(Debug)]
pub(super) struct Registered {
    live: Arc<Live>,
    log: LogId,
    ended: CancellationToken,
}

/// Counts as a reader of a live response until it is dropped (D-26).
#[derive(Debug)]
pub(super) struct Attachment(watch::Sender<usize>);

impl Live {
    /// None yet; `count` shows how many there are.
    pub(super) fn new(max: usize, max_per_owner: Option<usize>, count: Gauge) -> Self {
        Self { max, max_per_owner, count, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the right to run one more response of `owner`.
    ///
    /// # Errors
    /// `overloaded`, `quota_exceeded`.
    pub(super) fn admit(self: &Arc<Self>, owner: &Owner) -> Result<Slot, Error> {
        let mut state = self.state();
        if state.total >= self.max {
            return Err(faults::overloaded());
        }
        let of_owner = state.of_owner.get(owner).copied().unwrap_or(0);
        if self.max_per_owner.is_some_and(|max| of_owner >= max) {
            return Err(faults::quota_exceeded());
        }
        state.total += 1;
        state.of_owner.insert(owner.clone(), of_owner + 1);
        Ok(Slot { live: Arc::clone(self), owner: owner.clone(), _counted: self.count.hold() })
    }

    /// Makes a run known. The attachment counts its creator as a reader.
    pub(super) fn register(self: &Arc<Self>, log: LogId) -> (Registered, Doorstep, Attachment) {
        let (mailbox, messages) = mpsc::channel(MAILBOX);
        let (readers, count) = watch::channel(0);
        let (ended, fault) = (CancellationToken::new(), Fault::default());
        let handle = Handle { mailbox, readers, ended: ended.clone(), fault: Fault::clone(&fault) };
        let attachment = handle.attach();
        self.state().runs.insert(log, handle);
        let registered = Registered { live: Arc::clone(self), log, ended };
        (registered, Doorstep { mailbox: messages, readers: count, fault }, attachment)
    }

    /// The way to a run, if it is live here.
    pub(super) fn find(&self, log: LogId) -> Option<Handle> {
        self.state().runs.get(&log).cloned()
    }

    /// Everything that is live now.
    pub(super) fn all(&self) -> Vec<Handle> {
        self.state().runs.values().cloned().collect()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.live.state();
        state.total = state.total.saturating_sub(1);
        if let Some(count) = state.of_owner.get_mut(&self.owner) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                state.of_owner.remove(&self.owner);
            }
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.live.state().runs.remove(&self.log);
        self.ended.cancel();
    }
}

impl Handle {
    /// Counts one more reader.
    pub(super) fn attach(&self) -> Attachment {
        self.readers.send_modify(|count| *count += 1);
        Attachment(self.readers.clone())
    }

    /// Why it failed, once it has.
    pub(super) fn fault(&self) -> Fault {
        Fault::clone(&self.fault)
    }

    /// The response as it is in the log, or `None` if the run ends meanwhile.
    ///
    /// # Errors
    /// `internal`.
    pub(super) async fn snapshot(&self) -> Result<Option<Snapshot>, Error> {
        let (reply, answer) = oneshot::channel();
        if self.mailbox.send(Message::Snapshot(reply)).await.is_err() {
            return Ok(None);
        }
        answer.await.ok().transpose()
    }

    /// Asks the run to stop and waits until it has ended, for this or another reason.
    pub(super) async fn cancel(&self) {
        // A run that does not take messages any more is about to end.
        let _ = self.mailbox.send(Message::Cancel).await;
        self.ended().await;
    }

    /// Waits until the run has ended.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use tidemark_proto::v1::ErrorCode;

    use super::*;

    fn owner(name: &str) -> Owner {
        Owner::new(name).unwrap()
    }

    #[test]
    fn slots_are_bounded_in_total_and_per_owner_and_come_back_by_dropping() {
        let live = Arc::new(Live::new(3, Some(2), Gauge::default()));
        let code = |result: Result<Slot, Error>| result.unwrap_err().code();
        let _first = live.admit(&owner("a")).unwrap();
        let second = live.admit(&owner("a")).unwrap();
        assert_eq!(code(live.admit(&owner("a"))), ErrorCode::QuotaExceeded);
        let _third = live.admit(&owner("b")).unwrap();
        assert_eq!(code(live.admit(&owner("b"))), ErrorCode::Overloaded);
        drop(second);
        assert!(live.admit(&owner("a")).is_ok());
    }

    #[tokio::test]
    async fn a_run_that_is_gone_is_not_found_and_whoever_waits_for_it_goes_on() {
        let live = Arc::new(Live::new(1, None, Gauge::default()));
        let log = LogId::from_bytes([1; 16]);
        let (registered, doorstep, attachment) = live.register(log);
        assert_eq!(*doorstep.readers.borrow(), 1);
        drop(attachment);
        assert_eq!(*doorstep.readers.borrow(), 0);
        let handle = live.find(log).unwrap();
        drop(doorstep);
        assert!(handle.snapshot().await.unwrap().is_none());
        drop(registered);
        handle.cancel().await;
        assert!(live.find(log).is_none() && live.all().is_empty());
    }
}
