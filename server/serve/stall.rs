//! Cuts an HTTP/2 stream whose client takes nothing (D-7).
//!
//! It owns the clock of a single stream. Below, `io.rs` sees only whole connections: a client that keeps one stream's window shut
//! while the others flow looks alive there, and HTTP does not ask a body for more while it cannot send what it has. So the clock
//! lies around the task of the stream, not in its body: [`StreamTasks`] spawns the task, [`watch`] lets the body say whether HTTP
//! has something that it could not send yet. It must never know what is sent.
//!
//! What is left when a body has been taken whole lies in HTTP's own buffer, at most [`PIECE_BYTES`] and the trailers of a stream,
//! until the client takes it or its connection ends.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::Version;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::rt::Executor;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::telemetry::Counter;

/// A body hands over pieces of at most this size: a client is alive that takes one of them within the time.
const PIECE_BYTES: usize = 16 << 10;

tokio::task_local! {
    /// What the task of an HTTP/2 stream has handed over.
    static HANDED: Cell<Handed>;
}

/// How far a body has come.
#[derive(Clone, Copy, Debug, Default)]
struct Handed {
    /// Frames handed over so far.
    frames: u64,
    /// Whether HTTP has not asked again since the last one: it could not send it yet.
    unsent: bool,
}

/// Spawns the tasks of HTTP/2 streams, each with its clock.
#[derive(Clone, Debug)]
pub(super) struct StreamTasks {
    /// Where they are counted.
    pub(super) tracker: TaskTracker,
    /// Ends them all.
    pub(super) cut: CancellationToken,
    /// How long a client may take nothing of a stream.
    pub(super) limit: Duration,
    /// Streams that were cut.
    pub(super) stalled: Counter,
}

impl<F> Executor<F> for StreamTasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let Self { tracker, cut, limit, stalled } = self.clone();
        tracker.spawn(async move {
            let in_time = HANDED.scope(Cell::default(), in_time(stream, limit));
            if cut.run_until_cancelled(in_time).await == Some(false) {
                stalled.increment();
                tracing::info!("a stream was cut: its client took nothing of it for too long");
            }
        });
    }
}

/// Drives a stream to its end; false if it was given up. Dropping a stream resets it and lets go of all that it holds.
async fn in_time(stream: impl Future<Output = ()>, limit: Duration) -> bool {
    let mut stream = pin!(stream);
    let mut clock: Option<(u64, Pin<Box<Sleep>>)> = None;
    poll_fn(|cx| {
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(true);
        }
        let Handed { frames, unsent } = HANDED.with(Cell::get);
        clock = clock.take().filter(|(since, _)| unsent && *since == frames);
        if !unsent {
            return Poll::Pending;
        }
        let (_, clock) = clock.get_or_insert_with(|| (frames, Box::pin(sleep(limit))));
        clock.as_mut().poll(cx).map(|()| false)
    })
    .await
}

/// Lets the body of a reply say how far it has come, over HTTP/2: over HTTP/1 a stalled client is a stalled connection.
pub(super) async fn watch(request: Request, next: Next) -> Response {
    let watched = request.version() == Version::HTTP_2;
    let reply = next.run(request).await;
    if watched { reply.map(|body| Body::new(Watched { body, rest: Bytes::new() })) } else { reply }
}

/// A body in small pieces.
struct Watched {
    body: Body,
    /// What is left of the last frame.
    rest: Bytes,
}

impl Watched {
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return other,
            }
        }
        let length = self.rest.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let frame = this.next(cx);
        let unsent = matches!(frame, Poll::Ready(Some(Ok(_))));
        // Not there when the reply is sent by another task than that of the stream.
        let _ = HANDED.try_with(|handed| {
            let frames = handed.get().frames.wrapping_add(u64::from(unsent));
            handed.set(Handed { frames, unsent });
        });
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower().saturating_add(rest));
        if let Some(upper) = body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::middleware::from_fn;
    use axum::routing::get;
    use futures_util::stream;
    use http_body_util::BodyExt;
    use tokio::time::Instant;
    use tower::ServiceExt;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    fn watched(body: Body) -> Watched {
        Watched { body, rest: Bytes::new() }
    }

    async fn run(stream: impl Future<Output = ()>) -> (bool, u64) {
        let begun = Instant::now();
        let whole = HANDED.scope(Cell::default(), in_time(stream, LIMIT)).await;
        (whole, begun.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_is_not_taken_in_time_ends_the_stream() {
        let mut body = watched(Body::from("x"));
        let stalls = async {
            body.frame().await.unwrap().unwrap();
            std::future::pending().await
        };
        assert_eq!(run(stalls).await, (false, 30));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_with_nothing_to_send_may_wait_for_ever() {
        let mut body = watched(Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>()));
        let waits = async {
            let _ = tokio::time::timeout(LIMIT * 100, body.frame()).await;
        };
        assert_eq!(run(waits).await, (true, 3000));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_a_piece_at_a_time_is_alive() {
        let mut body = watched(Body::from(vec![7; PIECE_BYTES * 3 + 1]));
        let slow = async {
            let mut lengths = Vec::new();
            while let Some(frame) = body.frame().await {
                lengths.push(frame.unwrap().into_data().unwrap().len());
                tokio::time::sleep(LIMIT - Duration::from_secs(1)).await;
            }
            assert_eq!(lengths, [PIECE_BYTES, PIECE_BYTES, PIECE_BYTES, 1]);
        };
        assert_eq!(run(slow).await, (true, 4 * 29));
    }

    #[tokio::test]
    async fn over_http_1_a_reply_is_left_alone() {
        const LENGTH: usize = PIECE_BYTES * 2;
        let app = Router::new().route("/", get(async || vec![7; LENGTH])).layer(from_fn(watch));
        for (version, first) in [(Version::HTTP_11, LENGTH), (Version::HTTP_2, PIECE_BYTES)] {
            let request = Request::builder().version(version).body(Body::empty()).unwrap();
            let mut body = app.clone().oneshot(request).await.unwrap().into_body();
            assert_eq!(body.size_hint().exact(), Some(LENGTH as u64));
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap().len(), first);
            assert_eq!(body.is_end_stream(), first == LENGTH);
        }
    }
}
