//! The frames of a chat.
//!
//! It owns what of a log its reader sees: the chunks, what was used if that is wanted, and how it ended. Every frame has an `id:`,
//! that of `[DONE]` and of the error too, so that whoever has the last one has everything (S-4, D-10).

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidemark_proto::v1::ErrorCode;

use crate::error::{self, Failure};
use crate::sse::{Batch, DONE, Frames, GAP_TYPE, HEARTBEAT, gap_data};

/// More than all that a frame has besides its data: `id: ` with a number, `\ndata: `, two line ends.
const FRAME_OVERHEAD: usize = 40;

/// What an event of a chat is to its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A piece of the answer.
    Chunk,
    /// What was used.
    Usage,
    /// The end of an answer that is whole, was cut or was stopped.
    Done,
    /// The end of one that failed.
    Failed,
    /// Nothing.
    Hidden,
}

impl Kind {
    pub(super) fn of(event: &str) -> Self {
        match event {
            "chat.completion.chunk" => Self::Chunk,
            "chat.completion.usage" => Self::Usage,
            "chat.completion.completed" | "chat.completion.incomplete" => Self::Done,
            "chat.completion.failed" => Self::Failed,
            _ => Self::Hidden,
        }
    }
}

/// The data of an event that carries the object of a chat that failed.
#[derive(Deserialize)]
struct Failed<'a> {
    #[serde(borrow)]
    response: Object<'a>,
}

#[derive(Deserialize)]
struct Object<'a> {
    id: String,
    #[serde(borrow)]
    error: &'a RawValue,
}

#[derive(Deserialize)]
struct Fault {
    message: String,
    code: String,
    param: Option<String>,
}

/// Why a chat failed, as its terminal event says.
pub(super) fn failure(event: &[u8]) -> Failure {
    let broken = || Failure::broken_contract("the event of a failed chat does not say why");
    let Ok(Failed { response }) = serde_json::from_slice(event) else { return broken() };
    let Ok(fault) = serde_json::from_str::<Fault>(response.error.get()) else { return broken() };
    let code = ErrorCode::from_code(&fault.code).unwrap_or(ErrorCode::Internal);
    let failure = Failure::new(code, fault.message).with_response_id(response.id);
    match fault.param {
        Some(param) => failure.with_param(param),
        None => failure,
    }
}

/// Unnamed frames, for readers of Chat Completions.
#[derive(Debug)]
pub(crate) struct ChunkFrames {
    include_usage: bool,
    last: Option<u64>,
    /// Whether the end was told.
    ended: bool,
}

impl ChunkFrames {
    /// For a reader that has everything up to `after`.
    pub(crate) fn new(include_usage: bool, after: Option<u64>) -> Self {
        Self { include_usage, last: after, ended: false }
    }

    /// The last frame of a chat that failed after its first: the envelope of the error.
    fn failed(&self, chunk: &mut BytesMut, event: &[u8]) {
        #[derive(Serialize)]
        struct Envelope<'a> {
            error: &'a RawValue,
        }
        let data = match serde_json::from_slice(event) {
            Ok(Failed { response }) => error::json(&Envelope { error: response.error }),
            Err(_) => failure(event).envelope(None),
        };
        self.frame(chunk, &data);
    }

    fn id(&self, chunk: &mut BytesMut) {
        if let Some(last) = self.last {
            chunk.put_slice(b"id: ");
            chunk.put_slice(last.to_string().as_bytes());
            chunk.put_u8(b'\n');
        }
    }

    fn frame(&self, chunk: &mut BytesMut, data: &[u8]) {
        self.id(chunk);
        chunk.put_slice(b"data: ");
        chunk.put_slice(data);
        chunk.put_slice(b"\n\n");
    }
}

impl Frames for ChunkFrames {
    fn batch(&mut self, batch: &Batch) -> Bytes {
        if batch.events.is_empty() && batch.gap.is_none() {
            return Bytes::from_static(HEARTBEAT);
        }
        let room = batch.events.iter().map(|event| event.data.len() + FRAME_OVERHEAD).sum();
        let mut chunk = BytesMut::with_capacity(room);
        if let Some(gap) = &batch.gap {
            // Only for those who have asked for it, so a name does no harm.
            chunk.put_slice(format!("event: {GAP_TYPE}\n").as_bytes());
            self.frame(&mut chunk, &gap_data(gap, self.last.unwrap_or(0)));
        }
        for event in &batch.events {
            self.last = Some(event.seq);
            match Kind::of(&event.r#type) {
                Kind::Chunk => self.frame(&mut chunk, &event.data),
                Kind::Usage if self.include_usage => self.frame(&mut chunk, &event.data),
                Kind::Usage | Kind::Hidden => {}
                Kind::Done => {
                    self.ended = true;
                    self.id(&mut chunk);
                    chunk.put_slice(DONE);
                }
                Kind::Failed => {
                    self.ended = true;
                    self.failed(&mut chunk, &event.data);
                }
            }
        }
        chunk.freeze()
    }

    fn fault(&self, failure: &Failure) -> Bytes {
        let mut chunk = BytesMut::new();
        self.frame(&mut chunk, &failure.envelope(None));
        chunk.freeze()
    }

    fn end(&self) -> Bytes {
        Bytes::from_static(if self.ended { b"" } else { DONE })
    }
}

#[cfg(test)]
mod tests {
    use tidemark_proto::v1::{Event, Gap};

    use super::*;

    fn event(seq: u64, kind: &str, data: &str) -> Event {
        Event { seq, r#type: format!("chat.completion.{kind}"), data: data.to_owned().into() }
    }

    fn batch(events: Vec<Event>) -> Batch {
        Batch { events, gap: None }
    }

    const FAILED: &str = r#"{"type":"t","response":{"id":"chatcmpl-1","error":{"message":"m","type":"server_error","param":"n","code":"backend_error"}}}"#;

    #[test]
    fn a_reader_sees_chunks_and_the_end_and_every_frame_has_an_id() {
        let events = || {
            batch(vec![
                event(0, "created", "{}"),
                event(1, "in_progress", "{}"),
                event(2, "chunk", "{\"a\":1}"),
                event(3, "usage", "{\"u\":1}"),
                event(4, "completed", "{}"),
            ])
        };
        let mut frames = ChunkFrames::new(false, None);
        assert_eq!(frames.batch(&events()), "id: 2\ndata: {\"a\":1}\n\nid: 4\ndata: [DONE]\n\n");
        assert_eq!(frames.end(), "", "one [DONE] is enough");
        let with_usage = ChunkFrames::new(true, None).batch(&events());
        assert_eq!(with_usage, "id: 2\ndata: {\"a\":1}\n\nid: 3\ndata: {\"u\":1}\n\nid: 4\ndata: [DONE]\n\n");
    }

    #[test]
    fn what_is_hidden_is_nothing_and_a_silence_is_a_heartbeat() {
        let mut frames = ChunkFrames::new(true, None);
        assert_eq!(frames.batch(&batch(vec![event(0, "created", "{}")])), "");
        assert_eq!(frames.batch(&batch(Vec::new())), ": heartbeat\n");
        assert_eq!(frames.end(), "data: [DONE]\n\n", "a reader that has everything");
    }

    #[test]
    fn a_failure_is_one_frame_with_the_envelope_and_no_done() {
        let mut frames = ChunkFrames::new(false, Some(6));
        let told = frames.batch(&batch(vec![event(7, "failed", FAILED)]));
        assert_eq!(
            told,
            "id: 7\ndata: {\"error\":{\"message\":\"m\",\"type\":\"server_error\",\"param\":\"n\",\"code\":\"backend_error\"}}\n\n"
        );
        assert_eq!(frames.end(), "");
        let fault = frames.fault(&Failure::new(ErrorCode::Internal, "x"));
        assert_eq!(
            fault,
            "id: 7\ndata: {\"error\":{\"message\":\"x\",\"type\":\"server_error\",\"param\":null,\"code\":\"internal\"}}\n\n"
        );
    }

    #[test]
    fn a_failure_before_the_first_chunk_names_the_response() {
        let expected =
            Failure::new(ErrorCode::BackendError, "m").with_param("n").with_response_id("chatcmpl-1");
        assert_eq!(failure(FAILED.as_bytes()), expected);
        for broken in ["", "{}", r#"{"response":{"id":"x","error":null}}"#] {
            let told = format!("{:?}", failure(broken.as_bytes()));
            assert!(told.contains("Internal"), "{told}");
        }
    }

    #[test]
    fn a_gap_is_told_to_those_who_asked() {
        let gap = Some(Gap { from: 5, to: 8 });
        let told =
            ChunkFrames::new(false, Some(4)).batch(&Batch { events: vec![event(9, "chunk", "{}")], gap });
        assert_eq!(
            told,
            "event: tidemark:gap\nid: 4\ndata: {\"type\":\"tidemark:gap\",\"sequence_number\":4,\"from\":5,\"to\":8}\n\nid: 9\ndata: {}\n\n"
        );
    }
}
