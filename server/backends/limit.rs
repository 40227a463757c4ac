//! How much a backend is asked to do at once.
//!
//! It owns a backend's places: so many generations under way, so many waiting, and no more. It must never know what is generated.

use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::Stream;
use tidemark_proto::v1::ErrorCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::{Backend, Generation, Model, Step, Steps};
use crate::error::Error;

/// When to try again after the queue was found full.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A backend that does a bounded number of generations at once; further ones wait, in the order they came, in a bounded queue.
///
/// A generation holds its place until its [`Steps`] are dropped.
#[derive(Debug)]
pub struct Limited {
    name: String,
    backend: Arc<dyn Backend>,
    /// How long one may wait.
    patience: Duration,
    /// One permit for each generation under way or waiting.
    places: Arc<Semaphore>,
    /// One permit for each generation under way.
    running: Arc<Semaphore>,
}

impl Limited {
    /// The backend of this name with `max_concurrency` generations under way and `queue` waiting, each for at most `patience`.
    pub fn new(
        name: &str,
        backend: Arc<dyn Backend>,
        max_concurrency: NonZeroUsize,
        queue: usize,
        patience: Duration,
    ) -> Self {
        let running = max_concurrency.get().min(Semaphore::MAX_PERMITS);
        let places = running.saturating_add(queue).min(Semaphore::MAX_PERMITS);
        Self {
            name: name.to_owned(),
            backend,
            patience,
            places: Arc::new(Semaphore::new(places)),
            running: Arc::new(Semaphore::new(running)),
        }
    }

    fn overloaded(&self, what: &str) -> Error {
        let message = format!("backend `{}` is busy and {what}", self.name);
        Error::new(ErrorCode::Overloaded, message).with_retry_after(RETRY_AFTER)
    }

    async fn place(&self) -> Result<Place, Error> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| self.overloaded("its queue is full"))?;
        let running =
            timeout(self.patience, Arc::clone(&self.running).acquire_owned()).await.map_err(|_| {
                self.overloaded(&format!("had no place within queue_timeout ({:?})", self.patience))
            })?;
        let running = running.map_err(Error::internal)?;
        Ok(Place { _running: running, _place: place })
    }
}

#[async_trait]
impl Backend for Limited {
    async fn models(&self) -> Result<Vec<Model>, Error> {
        self.backend.models().await
    }

    async fn generate(&self, generation: Arc<Generation>) -> Result<Steps, Error> {
        let place = self.place().await?;
        let steps = self.backend.generate(generation).await?;
        Ok(Box::pin(Placed { steps, _place: place }))
    }
}

/// A place under way. Fields are dropped in this order, so that whoever moves up finds the queue as full as it was.
#[derive(Debug)]
struct Place {
    _running: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
}

struct Placed {
    steps: Steps,
    _place: Place,
}

impl Stream for Placed {
    type Item = Result<Step, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.steps.as_mut().poll_next(context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::{FutureExt, StreamExt, future, stream};

    use super::*;
    use crate::backends::Finish;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Counts what it is asked; each answer is one step and then silence.
    #[derive(Debug, Default)]
    struct Counting(AtomicUsize);

    #[async_trait]
    impl Backend for Counting {
        async fn models(&self) -> Result<Vec<Model>, Error> {
            Ok(Vec::new())
        }

        async fn generate(&self, _: Arc<Generation>) -> Result<Steps, Error> {
            self.0.fetch_add(1, Ordering::SeqCst);
            let first = stream::iter([Ok(Step::Finish(Finish::Stop))]);
            Ok(Box::pin(first.chain(stream::once(future::pending()))))
        }
    }

    fn limited(max_concurrency: usize, queue: usize) -> (Arc<Counting>, Limited) {
        let backend = Arc::new(Counting::default());
        let places = NonZeroUsize::new(max_concurrency).unwrap();
        (Arc::clone(&backend), Limited::new("b", backend, places, queue, PATIENCE))
    }

    fn generation() -> Arc<Generation> {
        Arc::new(Generation {
            api: crate::backends::Api::Responses,
            model: "m".to_owned(),
            items: Vec::new(),
            earlier: 0,
            instructions: None,
            params: Default::default(),
            metadata: Default::default(),
        })
    }

    #[tokio::test]
    async fn one_more_than_the_queue_is_overloaded() {
        let (backend, limited) = limited(2, 1);
        let _first = limited.generate(generation()).await.unwrap();
        let mut second = limited.generate(generation()).await.unwrap();
        let mut waiting = limited.generate(generation());
        assert!((&mut waiting).now_or_never().is_none());

        let error = limited.generate(generation()).await.err().unwrap();
        assert_eq!(error.code(), ErrorCode::Overloaded);
        assert_eq!(error.retry_after(), Some(RETRY_AFTER));
        assert_eq!(backend.0.load(Ordering::SeqCst), 2, "who waits has not asked the backend");

        assert_eq!(second.next().await.unwrap().unwrap(), Step::Finish(Finish::Stop));
        assert!(
            (&mut waiting).now_or_never().is_none(),
            "a finished answer holds its place until it is dropped"
        );
        drop(second);
        drop(waiting.await.unwrap());
        assert_eq!(backend.0.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn who_stops_waiting_gives_the_place_back() {
        let (backend, limited) = limited(1, 1);
        let running = limited.generate(generation()).await.unwrap();
        let mut waiting = limited.generate(generation());
        assert!((&mut waiting).now_or_never().is_none());
        drop(waiting);
        let mut waiting = limited.generate(generation());
        assert!((&mut waiting).now_or_never().is_none(), "there was room to wait");
        drop(running);
        drop(waiting.await.unwrap());
        assert_eq!(backend.0.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_turned_away_and_gives_the_place_back() {
        let (backend, limited) = limited(1, 1);
        let running = limited.generate(generation()).await.unwrap();
        let began = tokio::time::Instant::now();
        let error = limited.generate(generation()).await.err().unwrap();
        assert_eq!((error.code(), began.elapsed()), (ErrorCode::Overloaded, PATIENCE));
        assert!(error.message().contains("queue_timeout (60s)"), "{error}");
        let mut waiting = limited.generate(generation());
        assert!((&mut waiting).now_or_never().is_none(), "there was room to wait");
        drop(running);
        drop(waiting.await.unwrap());
        assert_eq!(backend.0.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn without_a_queue_nobody_waits() {
        let (_, limited) = limited(1, 0);
        let running = limited.generate(generation()).await.unwrap();
        assert_eq!(limited.generate(generation()).await.err().unwrap().code(), ErrorCode::Overloaded);
        drop(running);
        drop(limited.generate(generation()).await.unwrap());
    }
}
