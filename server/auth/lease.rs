//! Access for as long as a stream is open (D-33).
//!
//! It owns when access is looked at again: when a key or a user has changed, when it ends by itself, and every [`PERIOD`]. What
//! cannot be checked is lost.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::alarm::Alarm;
use crate::auth::{Access, Principal};
use crate::dormant::Dormant;
use crate::error::Error;

/// How long access is taken for granted while nothing has changed.
const PERIOD: Duration = Duration::from_secs(15);

/// The access of one principal.
#[derive(Debug)]
pub struct Lease {
    access: Access,
    principal: Principal,
    /// The epoch that access was last found in; absent = it was not looked at yet.
    epoch: Option<u64>,
    due: Instant,
    occasions: Dormant<Occasions>,
}

/// What makes it worth a look.
struct Occasions {
    news: Pin<Box<dyn Stream<Item = ()> + Send>>,
    /// Set to when access is no longer taken for granted.
    alarm: Alarm,
}

impl Lease {
    /// The access of this principal. The first [`Self::check`] is a full one, so that nothing is missed between the two.
    pub fn new(access: Access, principal: Principal) -> Self {
        let due = Instant::now() + PERIOD;
        let occasions = Occasions { news: Box::pin(changes(access.news())), alarm: Alarm::new(due) };
        Self { access, principal, epoch: None, due, occasions: Dormant::new(occasions) }
    }

    /// Whether no key and no user has changed since access was last found: one load.
    pub fn is_current(&self) -> bool {
        self.epoch == Some(self.access.epoch())
    }

    /// Whether access is still there. Asked before everything that is sent. Cancel safe.
    ///
    /// # Errors
    /// `unauthorized`, `insufficient_scope`; `storage_unavailable` if it cannot be found out.
    pub async fn check(&mut self) -> Result<(), Error> {
        if self.is_current() && Instant::now() < self.due { Ok(()) } else { self.look().await }
    }

    /// Waits until access is lost, and says why, as [`Self::check`] does. Cancel safe.
    pub async fn lost(&mut self) -> Error {
        loop {
            if let Err(error) = self.check().await {
                return error;
            }
            let occasions = &mut self.occasions;
            poll_fn(|context| occasions.poll_with(context, Occasions::poll)).await;
        }
    }

    async fn look(&mut self) -> Result<(), Error> {
        // Read before access is: what changes meanwhile is looked at again.
        let epoch = self.access.epoch();
        self.access.check(&self.principal).await?;
        self.epoch = Some(epoch);
        let left = self.access.time_left(&self.principal).map_or(PERIOD, |left| left.min(PERIOD));
        self.due = Instant::now() + left;
        self.occasions.sleeper().alarm.set(self.due);
        self.occasions.ring();
        Ok(())
    }
}

impl Occasions {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.news.as_mut().poll_next(context).is_ready() {
            return Poll::Ready(());
        }
        self.alarm.poll(context)
    }
}

/// An item for every change.
fn changes(news: watch::Receiver<()>) -> impl Stream<Item = ()> + Send {
    // There is no end of news: the access that is held beside this has the other end.
    stream::unfold(news, async |mut news| news.changed().await.ok().map(|()| ((), news)))
}
