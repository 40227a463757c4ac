//! Something that seldom has news, beside something that often has.
//!
//! It owns that nothing is polled which has not called. A task that waits for many things polls them all whenever one has something,
//! and touches the memory of each, which for thousands of live responses lies in no cache any more. It must never know what is
//! waited for.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Polls what it holds once at first, and then only when that has called.
pub struct Dormant<T> {
    sleeper: T,
    bell: Arc<Bell>,
    /// That of `bell`.
    waker: Waker,
}

/// What the sleeper wakes.
#[derive(Debug)]
struct Bell {
    rung: AtomicBool,
    /// The task that waits.
    task: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl<T> Dormant<T> {
    /// Lets it sleep until it is polled for the first time.
    pub fn new(sleeper: T) -> Self {
        let bell = Arc::new(Bell { rung: AtomicBool::new(true), task: AtomicWaker::new() });
        let waker = Waker::from(Arc::clone(&bell));
        Self { sleeper, bell, waker }
    }

    /// Polls it, if it has called since it was last pending. What was ready is polled again next time: there may be more.
    pub fn poll_with<R>(
        &mut self,
        context: &mut Context<'_>,
        poll: impl FnOnce(&mut T, &mut Context<'_>) -> Poll<R>,
    ) -> Poll<R> {
        // Before the look at the bell, so that no call comes between the two unnoticed.
        self.bell.task.register(context.waker());
        if !self.bell.rung.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        let polled = poll(&mut self.sleeper, &mut Context::from_waker(&self.waker));
        if polled.is_ready() {
            self.bell.rung.store(true, Ordering::Release);
        }
        polled
    }

    /// What it holds. A change that makes it ready without a call of its own needs a [`Self::ring`].
    pub fn sleeper(&mut self) -> &mut T {
        &mut self.sleeper
    }

    /// Has it polled next time. Whoever waits for it is not woken: it polls again by itself.
    pub fn ring(&self) {
        self.bell.rung.store(true, Ordering::Release);
    }
}

impl<T> fmt::Debug for Dormant<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dormant").field("bell", &self.bell).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::Pin;
    use std::time::Duration;

    use futures_util::{FutureExt as _, Stream, stream};
    use tokio::sync::mpsc;
    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;

    type Numbers = Pin<Box<dyn Stream<Item = u32> + Send>>;

    /// Numbers as they are sent, and how often they were asked for.
    struct Counted {
        numbers: Numbers,
        polls: usize,
    }

    fn counted() -> (mpsc::UnboundedSender<u32>, Dormant<Counted>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let numbers = stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
        (sender, Dormant::new(Counted { numbers: Box::pin(numbers), polls: 0 }))
    }

    async fn next(dormant: &mut Dormant<Counted>) -> Option<u32> {
        poll_fn(|context| {
            dormant.poll_with(context, |counted, context| {
                counted.polls += 1;
                counted.numbers.as_mut().poll_next(context)
            })
        })
        .await
    }

    #[tokio::test]
    async fn it_is_polled_at_first_and_then_only_when_it_has_called() {
        let (sender, mut dormant) = counted();
        for _ in 0..5 {
            assert_eq!(next(&mut dormant).now_or_never(), None);
        }
        assert_eq!(dormant.sleeper().polls, 1);
        sender.send(1).unwrap();
        sender.send(2).unwrap();
        assert_eq!((next(&mut dormant).await, next(&mut dormant).await), (Some(1), Some(2)));
        for _ in 0..5 {
            assert_eq!(next(&mut dormant).now_or_never(), None);
        }
        assert_eq!(dormant.sleeper().polls, 4, "what was ready is asked once more");
        dormant.ring();
        assert_eq!(next(&mut dormant).now_or_never(), None);
        assert_eq!(dormant.sleeper().polls, 5);
    }

    #[tokio::test]
    async fn whoever_waits_last_is_woken() {
        let (sender, mut dormant) = counted();
        assert_eq!(timeout(Duration::from_millis(1), next(&mut dormant)).await.ok(), None);
        let mut waits = JoinSet::new();
        waits.spawn(async move { next(&mut dormant).await });
        tokio::task::yield_now().await;
        sender.send(7).unwrap();
        assert_eq!(timeout(Duration::from_secs(10), waits.join_all()).await.unwrap(), [Some(7)]);
    }

    #[test]
    fn no_call_is_lost_whenever_it_comes() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        runtime.block_on(async {
            for _ in 0..2000 {
                let (sender, mut dormant) = counted();
                let mut tasks = JoinSet::new();
                tasks.spawn(async move {
                    assert_eq!((next(&mut dormant).await, next(&mut dormant).await), (Some(1), Some(2)));
                });
                tasks.spawn(async move {
                    sender.send(1).unwrap();
                    sender.send(2).unwrap();
                });
                tasks.join_all().await;
            }
        });
    }
}
