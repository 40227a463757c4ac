//! Server-sent events: the stream of a call as a body.
//!
//! It owns the frames (D-9, D-10, W-19…W-21): one chunk per message, a frame never split, LF only, what the end of the stream
//! looks like. It must never know what an event says: its bytes were written when it entered the log (D-4).

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{Stream, stream};
use http::{HeaderName, HeaderValue, header};
use serde::Serialize;
use tidemark_proto::v1::{CreateStreamResponse, Event, Gap, ResumeResponse};
use tonic::Status;

use crate::error::{self, Ending, Failure};
use crate::messages::Messages;

/// How long the headers of a resumed stream wait for its first message, so that a refusal that comes as the first thing in the
/// stream still gets an HTTP status of its own (D-20). A reader that is up to date has nothing to get, and goes on without.
const FIRST_MESSAGE_WAIT: Duration = Duration::from_secs(1);

/// What follows the last event of every stream that ended as it should, or with an `error` frame (W-20).
pub(crate) const DONE: &[u8] = b"data: [DONE]\n\n";

/// What an empty message becomes (W-21). No blank line follows: behind a frame with an `id:`, decoders that are not quite by the book
/// (that of the OpenAI SDK for Python) would take it for an event without data.
pub(crate) const HEARTBEAT: &[u8] = b": heartbeat\n";

/// The name of the frame that tells of lost events (D-20).
pub(crate) const GAP_TYPE: &str = "tidemark:gap";

/// More than all that a frame has besides its type and data: `event: `, `\nid: ` with a number, `\ndata: `, two line ends.
const FRAME_OVERHEAD: usize = 48;

/// What a message of either stream brings.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) events: Vec<Event>,
    pub(crate) gap: Option<Gap>,
}

impl From<CreateStreamResponse> for Batch {
    fn from(message: CreateStreamResponse) -> Self {
        Self { events: message.events, gap: None }
    }
}

impl From<ResumeResponse> for Batch {
    fn from(message: ResumeResponse) -> Self {
        Self { events: message.events, gap: message.gap }
    }
}

/// How a stream begins.
#[derive(Debug)]
pub(crate) enum First<M> {
    /// With a message.
    Message(M),
    /// It ended without one: the reader has everything.
    Ended,
    /// With nothing yet.
    Nothing,
}

/// Waits for the beginning of a stream, at most [`FIRST_MESSAGE_WAIT`].
///
/// # Errors
/// If the stream failed before its first message.
pub(crate) async fn first<M>(messages: &mut Messages<M>) -> Result<First<M>, Status> {
    match tokio::time::timeout(FIRST_MESSAGE_WAIT, messages.message()).await {
        Ok(Ok(Some(message))) => Ok(First::Message(message)),
        Ok(Ok(None)) => Ok(First::Ended),
        Ok(Err(status)) => Err(status),
        Err(_) => Ok(First::Nothing),
    }
}

/// The reply that streams `first` and then the rest of `messages`. Dropping its body drops the call.
pub(crate) fn reply<M>(first: First<M>, messages: Messages<M>, frames: Box<dyn Frames>) -> Response
where
    M: Into<Batch> + Send + 'static,
{
    let first = match first {
        First::Message(message) => Some(message.into()),
        First::Nothing | First::Ended => None,
    };
    event_stream(stream::unfold(Some(Reader { first, messages, frames }), next_chunk))
}

/// The reply that streams these chunks, each of whole frames.
pub(crate) fn event_stream(
    chunks: impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static,
) -> Response {
    let mut reply = Response::new(Body::from_stream(chunks));
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies that know this header pass each chunk on at once.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    reply
}

/// A stream being sent.
struct Reader<M> {
    /// Read before the headers went out.
    first: Option<Batch>,
    messages: Messages<M>,
    frames: Box<dyn Frames>,
}

async fn next_chunk<M: Into<Batch>>(
    reader: Option<Reader<M>>,
) -> Option<(Result<Bytes, Infallible>, Option<Reader<M>>)> {
    let mut reader = reader?;
    loop {
        let batch = match reader.first.take() {
            Some(batch) => batch,
            None => match reader.messages.message().await {
                Ok(Some(message)) => message.into(),
                Ok(None) => return last(reader.frames.end()),
                Err(status) => match Ending::from(status) {
                    Ending::Resume => return None,
                    Ending::Fault(failure) => return last(reader.frames.fault(&failure)),
                },
            },
        };
        let chunk = reader.frames.batch(&batch);
        if !chunk.is_empty() {
            return Some((Ok(chunk), Some(reader)));
        }
    }
}

/// The end of a body; empty bytes are not sent.
fn last<R>(chunk: Bytes) -> Option<(Result<Bytes, Infallible>, Option<R>)> {
    (!chunk.is_empty()).then_some((Ok(chunk), None))
}

/// Writes what a stream brings, in the form of one API, and remembers what the reader has.
pub(crate) trait Frames: Send {
    /// Everything that a message brings; nothing if the reader is not to see it.
    fn batch(&mut self, batch: &Batch) -> Bytes;

    /// The last bytes of a stream that failed.
    fn fault(&self, failure: &Failure) -> Bytes;

    /// The last bytes of a stream that ended as it should, if there are any.
    fn end(&self) -> Bytes;
}

/// Frames of the Responses API: named events.
#[derive(Debug)]
pub(crate) struct EventFrames {
    event_ids: bool,
    last: Option<u64>,
}

impl EventFrames {
    /// For a reader that has everything up to `after`; `event_ids` turns `id:` lines on (D-9).
    pub(crate) fn new(event_ids: bool, after: Option<u64>) -> Self {
        Self { event_ids, last: after }
    }

    /// The number that frames repeat which are not in the log, so that no cursor moves (S-1).
    fn last(&self) -> u64 {
        self.last.unwrap_or(0)
    }
}

impl Frames for EventFrames {
    /// One chunk with everything a message brings; a heartbeat if that is nothing.
    fn batch(&mut self, batch: &Batch) -> Bytes {
        if batch.events.is_empty() && batch.gap.is_none() {
            return Bytes::from_static(HEARTBEAT);
        }
        let events = batch.events.iter().map(|event| event.r#type.len() + event.data.len() + FRAME_OVERHEAD);
        let mut chunk = BytesMut::with_capacity(events.sum());
        if let Some(gap) = &batch.gap {
            self.frame(&mut chunk, GAP_TYPE, &gap_data(gap, self.last()));
        }
        for event in &batch.events {
            self.last = Some(event.seq);
            self.frame(&mut chunk, &event.r#type, &event.data);
        }
        chunk.freeze()
    }

    fn fault(&self, failure: &Failure) -> Bytes {
        let mut chunk = BytesMut::new();
        self.frame(&mut chunk, "error", &failure.frame_data(self.last()));
        chunk.put_slice(DONE);
        chunk.freeze()
    }

    fn end(&self) -> Bytes {
        Bytes::from_static(DONE)
    }
}

impl EventFrames {
    fn frame(&self, chunk: &mut BytesMut, kind: &str, data: &[u8]) {
        chunk.put_slice(b"event: ");
        chunk.put_slice(kind.as_bytes());
        if let Some(last) = self.last.filter(|_| self.event_ids) {
            chunk.put_slice(b"\nid: ");
            chunk.put_slice(last.to_string().as_bytes());
        }
        chunk.put_slice(b"\ndata: ");
        chunk.put_slice(data);
        chunk.put_slice(b"\n\n");
    }
}

/// What the frame of a gap says; `last` is the last number that was delivered.
pub(crate) fn gap_data(gap: &Gap, last: u64) -> Bytes {
    #[derive(Serialize)]
    struct Data {
        r#type: &'static str,
        sequence_number: u64,
        from: u64,
        to: u64,
    }
    error::json(&Data { r#type: GAP_TYPE, sequence_number: last, from: gap.from, to: gap.to })
}

#[cfg(test)]
mod tests {
    use tidemark_proto::v1::ErrorCode;

    use super::*;

    fn event(seq: u64, kind: &str) -> Event {
        Event { seq, r#type: kind.to_owned(), data: format!("{{\"sequence_number\":{seq}}}").into() }
    }

    fn batch(events: Vec<Event>, gap: Option<Gap>) -> Batch {
        Batch { events, gap }
    }

    #[test]
    fn a_batch_is_one_chunk_of_whole_frames() {
        let mut frames = EventFrames::new(false, None);
        let chunk =
            frames.batch(&batch(vec![event(0, "response.created"), event(1, "response.queued")], None));
        assert_eq!(
            chunk,
            "event: response.created\ndata: {\"sequence_number\":0}\n\nevent: response.queued\ndata: {\"sequence_number\":1}\n\n",
        );
    }

    #[test]
    fn the_room_of_a_chunk_is_reserved_at_once() {
        let longest = u64::MAX;
        let event = event(longest, "t");
        let mut chunk = BytesMut::new();
        EventFrames::new(true, Some(longest)).frame(&mut chunk, &event.r#type, &event.data);
        assert!(chunk.len() <= event.r#type.len() + event.data.len() + FRAME_OVERHEAD);
    }

    #[test]
    fn an_empty_message_is_a_heartbeat() {
        assert_eq!(EventFrames::new(true, Some(4)).batch(&batch(Vec::new(), None)), ": heartbeat\n");
    }

    #[test]
    fn a_gap_comes_before_its_events_and_repeats_the_last_number() {
        let mut frames = EventFrames::new(true, Some(4));
        let chunk = frames.batch(&batch(vec![event(9, "x")], Some(Gap { from: 5, to: 8 })));
        assert_eq!(
            chunk,
            "event: tidemark:gap\nid: 4\ndata: {\"type\":\"tidemark:gap\",\"sequence_number\":4,\"from\":5,\"to\":8}\n\n\
             event: x\nid: 9\ndata: {\"sequence_number\":9}\n\n",
        );
    }

    #[test]
    fn a_fault_repeats_the_last_number_and_is_done() {
        let failure = Failure::new(ErrorCode::Internal, "broken");
        let data = |last: u64| {
            format!(
                "{{\"type\":\"error\",\"sequence_number\":{last},\"code\":\"internal\",\"message\":\"broken\",\"param\":null,\
                 \"error\":{{\"message\":\"broken\",\"type\":\"server_error\",\"param\":null,\"code\":\"internal\"}}}}"
            )
        };
        let untouched = EventFrames::new(true, None).fault(&failure);
        assert_eq!(untouched, format!("event: error\ndata: {}\n\ndata: [DONE]\n\n", data(0)));

        let mut frames = EventFrames::new(true, None);
        frames.batch(&batch(vec![event(6, "x")], None));
        assert_eq!(
            frames.fault(&failure),
            format!("event: error\nid: 6\ndata: {}\n\ndata: [DONE]\n\n", data(6))
        );
    }
}
