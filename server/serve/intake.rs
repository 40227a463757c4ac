//! Bounds the time that a request's body may take (D-7).
//!
//! It owns the pace: a body may rest for the header timeout, and must come at [`MIN_BYTES_PER_SECOND`] on the whole. The error of
//! a body that does not is a [`tonic::Status`], which gRPC and the bridge both find and answer with. Only time spent waiting for
//! the client counts. It must never know what the bytes mean.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tidemark_proto::v1::ErrorCode;
use tokio::time::{Instant, Sleep, sleep};

use crate::error::Error;
use crate::grpc;
use crate::telemetry::Counter;

/// The slowest a body may come on the whole.
const MIN_BYTES_PER_SECOND: u64 = 4 << 10;

/// How request bodies are bounded.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// How long a client may send nothing of a body.
    pub(super) patience: Duration,
    /// Bodies that came too slowly.
    pub(super) slow: Counter,
}

/// Bounds the body of a request, if it has one.
pub(super) async fn bound(State(pace): State<Pace>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    next.run(request.map(|body| Body::new(Paced { body, left: pace.patience, waiting: None, pace }))).await
}

/// A body with a clock.
struct Paced {
    body: Body,
    /// How long the client may make us wait from now on; never more than the patience.
    left: Duration,
    waiting: Option<Waiting>,
    pace: Pace,
}

struct Waiting {
    since: Instant,
    clock: Pin<Box<Sleep>>,
}

impl Paced {
    fn came(&mut self, bytes: usize) {
        let waited = self.waiting.take().map_or(Duration::ZERO, |waiting| waiting.since.elapsed());
        let earned = Duration::from_micros(1_000_000_u64.saturating_mul(bytes as u64) / MIN_BYTES_PER_SECOND);
        self.left = self.left.saturating_sub(waited).saturating_add(earned).min(self.pace.patience);
    }

    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<axum::Error> {
        let left = self.left;
        let begin = || Waiting { since: Instant::now(), clock: Box::pin(sleep(left)) };
        self.waiting.get_or_insert_with(begin).clock.as_mut().poll(cx).map(|()| {
            self.pace.slow.increment();
            let text = "the body of the request came too slowly";
            axum::Error::new(grpc::status(&Error::new(ErrorCode::RequestTimeout, text)))
        })
    }
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Pending => this.wait(cx).map(|error| Some(Err(error))),
            Poll::Ready(frame) => {
                let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
                this.came(data.map_or(0, Bytes::len));
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::BodyExt;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A body that sends `bytes` each time after `pause`, `times` times.
    fn dripping(bytes: usize, pause: Duration, times: usize) -> (Paced, Counter) {
        let chunks = stream::unfold(times, move |left: usize| async move {
            let left = left.checked_sub(1)?;
            tokio::time::sleep(pause).await;
            Some((Ok::<_, std::io::Error>(Bytes::from(vec![0; bytes])), left))
        });
        let pace = Pace { patience: PATIENCE, slow: Counter::default() };
        let slow = pace.slow.clone();
        (Paced { body: Body::from_stream(chunks), left: PATIENCE, waiting: None, pace }, slow)
    }

    async fn ended(mut body: Paced) -> (Result<(), axum::Error>, u64) {
        let begun = Instant::now();
        while let Some(frame) = body.frame().await {
            if let Err(error) = frame {
                return (Err(error), begun.elapsed().as_secs());
            }
        }
        (Ok(()), begun.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_drip_and_a_silence_are_ended_with_a_typed_error() {
        for (bytes, pause, after) in [(1, Duration::from_secs(1), 10), (1 << 20, PATIENCE * 2, 10)] {
            let (body, slow) = dripping(bytes, pause, 1000);
            let (outcome, took) = ended(body).await;
            let error = outcome.unwrap_err();
            let status = std::error::Error::source(&error).unwrap().downcast_ref::<tonic::Status>().unwrap();
            assert_eq!((status.code(), took, slow.get()), (tonic::Code::DeadlineExceeded, after, 1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_at_the_slowest_pace_may_take_long() {
        let (body, slow) = dripping(5 * MIN_BYTES_PER_SECOND as usize, Duration::from_secs(5), 100);
        let (outcome, took) = ended(body).await;
        assert!(outcome.is_ok());
        assert_eq!((took, slow.get()), (500, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_asks_does_not_count() {
        let (mut body, slow) = dripping(1, Duration::from_millis(1), 3);
        while let Some(frame) = body.frame().await {
            frame.unwrap();
            tokio::time::sleep(PATIENCE * 3).await;
        }
        assert_eq!(slow.get(), 0);
    }
}
