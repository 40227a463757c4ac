//! An event as it lies in the log.
//!
//! It owns the encoding of events: one byte with the length of the type, the type, then the data as one line of JSON, exactly
//! the bytes that SSE sends (D-4). JSON is written here, once; reading back is slicing. An entry that was appended is one event;
//! what stands for many is of `compact/`.

use std::io::Write as _;

use bytes::Bytes;
use serde::Serialize;
use tidemark_store::Seq;

use crate::error::Error;
use crate::json::Node;

/// The types of events that the gateway writes or understands.
pub(super) mod kind {
    pub(crate) const CREATED: &str = "response.created";
    pub(crate) const QUEUED: &str = "response.queued";
    pub(crate) const IN_PROGRESS: &str = "response.in_progress";
    pub(crate) const ITEM_ADDED: &str = "response.output_item.added";
    pub(crate) const ITEM_DONE: &str = "response.output_item.done";
    pub(crate) const PART_ADDED: &str = "response.content_part.added";
    pub(crate) const PART_DONE: &str = "response.content_part.done";
    pub(crate) const TEXT_DELTA: &str = "response.output_text.delta";
    pub(crate) const TEXT_DONE: &str = "response.output_text.done";
    pub(crate) const REFUSAL_DELTA: &str = "response.refusal.delta";
    pub(crate) const REFUSAL_DONE: &str = "response.refusal.done";
    pub(crate) const REASONING_DELTA: &str = "response.reasoning_text.delta";
    pub(crate) const REASONING_DONE: &str = "response.reasoning_text.done";
    pub(crate) const ARGUMENTS_DELTA: &str = "response.function_call_arguments.delta";
    pub(crate) const ARGUMENTS_DONE: &str = "response.function_call_arguments.done";
    pub(crate) const ANNOTATION_ADDED: &str = "response.output_text.annotation.added";
    /// The name that the Open Responses specification gives to [`REASONING_DELTA`].
    pub(crate) const OPEN_REASONING_DELTA: &str = "response.reasoning.delta";
    pub(crate) const OPEN_REASONING_DONE: &str = "response.reasoning.done";
    pub(crate) const SUMMARY_PART_ADDED: &str = "response.reasoning_summary_part.added";
    pub(crate) const SUMMARY_PART_DONE: &str = "response.reasoning_summary_part.done";
    pub(crate) const SUMMARY_DELTA: &str = "response.reasoning_summary_text.delta";
    pub(crate) const SUMMARY_DONE: &str = "response.reasoning_summary_text.done";
    pub(crate) const MCP_ARGUMENTS_DELTA: &str = "response.mcp_call_arguments.delta";
    pub(crate) const CUSTOM_INPUT_DELTA: &str = "response.custom_tool_call_input.delta";
    pub(crate) const CODE_DELTA: &str = "response.code_interpreter_call_code.delta";
    pub(crate) const COMPLETED: &str = "response.completed";
    pub(crate) const INCOMPLETE: &str = "response.incomplete";
    pub(crate) const FAILED: &str = "response.failed";
    /// A piece of a chat.
    pub(crate) const CHAT_CHUNK: &str = "chat.completion.chunk";
    /// What a chat has used, in the form of a chunk: not everybody wants it.
    pub(crate) const CHAT_USAGE: &str = "chat.completion.usage";
    pub(crate) const CHAT_CREATED: &str = "chat.completion.created";
    pub(crate) const CHAT_IN_PROGRESS: &str = "chat.completion.in_progress";
    pub(crate) const CHAT_COMPLETED: &str = "chat.completion.completed";
    pub(crate) const CHAT_INCOMPLETE: &str = "chat.completion.incomplete";
    pub(crate) const CHAT_FAILED: &str = "chat.completion.failed";
}

/// An outbox is full at this many events; those of one step may pass it.
const MAX_EVENTS: usize = 64;

/// It is full at this many bytes, too; those of one step may pass it.
const MAX_BYTES: usize = 256 << 10;

/// The bytes that one delta usually needs: room that an outbox keeps to write in.
const USUAL_BYTES: usize = 512;

/// An event as a reader gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its number.
    pub seq: Seq,
    /// Its OpenAI name: ASCII, at most 255 bytes.
    pub kind: Box<str>,
    /// One line of JSON: a slice of the entry, not a copy.
    pub data: Bytes,
}

impl Event {
    /// Reads one event.
    ///
    /// # Errors
    /// `internal` if it is none of ours.
    pub(super) fn decode(seq: Seq, payload: &Bytes) -> Result<Self, Error> {
        let (kind, data) =
            decode(payload).ok_or_else(|| Error::internal("an entry of a log is not an event"))?;
        Ok(Self { seq, kind: kind.into(), data })
    }
}

/// Takes an event apart: its type and its data, both slices of `payload`. `None` if it is none of ours.
pub(super) fn decode(payload: &Bytes) -> Option<(&str, Bytes)> {
    let length = usize::from(*payload.first()?);
    let kind = std::str::from_utf8(payload.get(1..=length)?).ok()?;
    Some((kind, payload.slice(1 + length..)))
}

/// What all deltas of one place say besides their number and their text: written once, and copied into each of them.
#[derive(Debug)]
pub(super) struct Mold {
    /// All that comes before the number: the type as it lies in the log, and the data up to there.
    begin: Box<[u8]>,
    /// What comes between the number and the delta.
    place: Box<str>,
}

impl Mold {
    /// The mold of events of this type; `place` has fields, and comes between the number and the delta.
    ///
    /// # Errors
    /// `internal` if it is no object.
    pub(super) fn new<T: Serialize>(kind: &'static str, place: &T) -> Result<Self, Error> {
        let object = serde_json::to_string(place).map_err(Error::internal)?;
        let members = object.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let members = members.ok_or_else(|| Error::internal("a place is no object"))?;
        let mut begin = vec![u8::try_from(kind.len()).map_err(Error::internal)?];
        write!(begin, r#"{kind}{{"type":"{kind}","sequence_number":"#).map_err(Error::internal)?;
        Ok(Self { begin: begin.into(), place: format!(r#",{members},"delta":"#).into() })
    }
}

/// Events on their way into the log, numbered in the order they were pushed.
#[derive(Debug)]
pub(super) struct Outbox {
    next: Seq,
    payloads: Vec<Bytes>,
    /// Length of `payloads`.
    bytes: usize,
    /// Where an event is written before it is as long as it will be: the log's tail keeps it, in memory of just that size.
    draft: Vec<u8>,
}

#[derive(Serialize)]
struct Framed<'a, T> {
    r#type: &'a str,
    sequence_number: u64,
    #[serde(flatten)]
    body: &'a T,
}

/// Writes an event as it lies in the log: `type`, `sequence_number` and the fields of `body`.
pub(super) fn encode<T: Serialize>(kind: &str, seq: Seq, body: &T) -> Result<Bytes, Error> {
    let mut payload = Vec::with_capacity(USUAL_BYTES);
    write(&mut payload, kind, seq, body)?;
    Ok(payload.into())
}

/// Writes an event that has no `type` and no number of its own, as it lies in the log.
pub(super) fn encode_plain<T: Serialize>(kind: &str, data: &T) -> Result<Bytes, Error> {
    let mut payload = Vec::with_capacity(USUAL_BYTES);
    write_plain(&mut payload, kind, data)?;
    Ok(payload.into())
}

fn write<T: Serialize>(out: &mut Vec<u8>, kind: &str, seq: Seq, body: &T) -> Result<(), Error> {
    let framed = Framed { r#type: kind, sequence_number: seq.get(), body };
    write_plain(out, kind, &framed)
}

/// The type, and data as it is.
fn write_plain<T: Serialize>(out: &mut Vec<u8>, kind: &str, data: &T) -> Result<(), Error> {
    out.push(u8::try_from(kind.len()).map_err(Error::internal)?);
    out.extend_from_slice(kind.as_bytes());
    serde_json::to_writer(out, data).map_err(Error::internal)
}

impl Outbox {
    /// Without events; the first one will be `next`.
    pub(super) fn new(next: Seq) -> Self {
        Self { next, payloads: Vec::new(), bytes: 0, draft: Vec::new() }
    }

    /// Writes the next event.
    pub(super) fn push<T: Serialize>(&mut self, kind: &str, body: &T) -> Result<(), Error> {
        self.draft.clear();
        write(&mut self.draft, kind, self.next, body)?;
        self.add_draft();
        Ok(())
    }

    /// Writes an event that has no `type` and no number of its own: `data` alone, as a chunk of a chat.
    pub(super) fn push_plain<T: Serialize>(&mut self, kind: &str, data: &T) -> Result<(), Error> {
        self.draft.clear();
        write_plain(&mut self.draft, kind, data)?;
        self.add_draft();
        Ok(())
    }

    /// Writes the next delta of a place, as [`Self::push`] would; absent `logprobs` are left out.
    pub(super) fn push_delta(
        &mut self,
        mold: &Mold,
        delta: &str,
        logprobs: Option<&[Node]>,
    ) -> Result<(), Error> {
        let out = &mut self.draft;
        out.clear();
        out.extend_from_slice(&mold.begin);
        serde_json::to_writer(&mut *out, &self.next.get()).map_err(Error::internal)?;
        out.extend_from_slice(mold.place.as_bytes());
        serde_json::to_writer(&mut *out, delta).map_err(Error::internal)?;
        if let Some(logprobs) = logprobs {
            out.extend_from_slice(br#","logprobs":"#);
            serde_json::to_writer(&mut *out, logprobs).map_err(Error::internal)?;
        }
        out.push(b'}');
        self.add_draft();
        Ok(())
    }

    fn add_draft(&mut self) {
        self.payloads.push(Bytes::copy_from_slice(&self.draft));
        self.bytes = self.bytes.saturating_add(self.draft.len());
        self.draft.shrink_to(USUAL_BYTES);
        self.next = self.next.next();
    }

    /// Takes the last event back, as if it had not been pushed.
    pub(super) fn retract(&mut self) {
        if let Some(payload) = self.payloads.pop() {
            self.bytes = self.bytes.saturating_sub(payload.len());
            self.next = Seq::new(self.next.get().saturating_sub(1));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.payloads.len()
    }

    /// How many bytes the events have.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.payloads.is_empty()
    }

    /// Whether no further step may be written here before a take.
    pub(super) fn is_full(&self) -> bool {
        self.payloads.len() >= MAX_EVENTS || self.bytes >= MAX_BYTES
    }

    /// Takes all events out; the next one goes on with the number after the last.
    pub(super) fn take(&mut self) -> Vec<Bytes> {
        self.bytes = 0;
        std::mem::take(&mut self.payloads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Body<'a> {
        delta: &'a str,
        logprobs: [(); 0],
    }

    #[test]
    fn an_event_is_one_line_and_reads_back_without_a_copy() {
        let mut outbox = Outbox::new(Seq::new(7));
        outbox.push(kind::TEXT_DELTA, &Body { delta: "a\nb", logprobs: [] }).unwrap();
        let payload = outbox.take().remove(0);
        let (found, data) = decode(&payload).unwrap();
        assert_eq!(found, "response.output_text.delta");
        let line =
            r#"{"type":"response.output_text.delta","sequence_number":7,"delta":"a\nb","logprobs":[]}"#;
        assert_eq!(data, line);
        assert_eq!(data.as_ptr(), payload[1 + found.len()..].as_ptr(), "a slice of the entry");
    }

    #[test]
    fn a_delta_from_a_mold_is_as_it_would_be_without() {
        #[derive(Serialize)]
        struct Place<'a> {
            item_id: &'a str,
            output_index: usize,
        }
        #[derive(Serialize)]
        struct Delta<'a> {
            #[serde(flatten)]
            place: Place<'a>,
            delta: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            logprobs: Option<&'a [Node]>,
        }
        let place = || Place { item_id: "m\"1", output_index: 3 };
        let mold = Mold::new(kind::TEXT_DELTA, &place()).unwrap();
        let token = [Node::parse(r#"{"token":"a","logprob":-0.50}"#).unwrap()];
        for (delta, logprobs) in [("a\n\"ß", None), ("", Some(&[][..])), ("a", Some(&token[..]))] {
            let mut outbox = Outbox::new(Seq::new(7));
            outbox.push_delta(&mold, delta, logprobs).unwrap();
            outbox.push(kind::TEXT_DELTA, &Delta { place: place(), delta, logprobs }).unwrap();
            let [molded, whole] = outbox.take().try_into().unwrap();
            let text = |payload: Bytes| String::from_utf8(payload.to_vec()).unwrap();
            assert_eq!(text(molded).replace(":7,", ":8,"), text(whole));
        }
    }

    #[test]
    fn numbers_go_on_after_a_take() {
        let mut outbox = Outbox::new(Seq::FIRST);
        for expected in 0..3 {
            outbox.push(kind::TEXT_DELTA, &Body { delta: "x", logprobs: [] }).unwrap();
            let payload = outbox.take().remove(0);
            let text = String::from_utf8(payload.to_vec()).unwrap();
            assert!(text.contains(&format!("\"sequence_number\":{expected}")), "{text}");
        }
        assert!(outbox.is_empty());
    }

    #[test]
    fn an_event_that_was_taken_back_leaves_no_hole() {
        let mut outbox = Outbox::new(Seq::new(4));
        outbox.push(kind::TEXT_DELTA, &Body { delta: "x", logprobs: [] }).unwrap();
        outbox.retract();
        outbox.retract();
        outbox.push(kind::TEXT_DELTA, &Body { delta: "y", logprobs: [] }).unwrap();
        let text = String::from_utf8(outbox.take().remove(0).to_vec()).unwrap();
        assert!(text.contains(r#""sequence_number":4,"delta":"y""#), "{text}");
    }

    #[test]
    fn an_outbox_is_full_by_number_or_by_bytes_until_it_is_emptied() {
        let long = "x".repeat(MAX_BYTES);
        for (delta, count) in [("x", MAX_EVENTS), (long.as_str(), 1)] {
            let mut outbox = Outbox::new(Seq::FIRST);
            for _ in 0..count {
                assert!(!outbox.is_full());
                outbox.push(kind::TEXT_DELTA, &Body { delta, logprobs: [] }).unwrap();
            }
            assert!(outbox.is_full());
            outbox.retract();
            assert!(!outbox.is_full());
            outbox.take();
            outbox.push(kind::TEXT_DELTA, &Body { delta: "x", logprobs: [] }).unwrap();
            assert!(!outbox.is_full());
        }
    }

    #[test]
    fn what_is_not_an_event_is_refused() {
        for bytes in [&b""[..], b"\x05abc", b"\x02\xff\xfe{}"] {
            assert_eq!(decode(&Bytes::copy_from_slice(bytes)), None);
        }
    }
}
