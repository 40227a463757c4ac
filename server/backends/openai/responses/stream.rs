//! Events of the Responses API as steps.
//!
//! It owns which events are about the answer and which about the response as a whole, and what the latter say of the outcome. It
//! must never know how the events came.

use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::backends::openai::MAX_EVENT;
use crate::backends::openai::answer::{Progress, Read};
use crate::backends::openai::failure::Failures;
use crate::backends::sse::{DecodeError, Event};
use crate::backends::{Finish, ItemEvent, Step, Usage};
use crate::error::Error;
use crate::json::Node;

/// The largest event that repeats what others have said: 16 MiB. It holds an output (at most 8 MiB, D-18) and the echo of a
/// request. Any other event has at most [`MAX_EVENT`].
pub(in crate::backends::openai) const MAX_WHOLE_EVENT: usize = 16 << 20;

/// The name of an event that does not say its own.
const UNNAMED: &str = "message";

const ITEM_DONE: &str = "response.output_item.done";

/// Reads the events of one answer.
#[derive(Debug)]
pub(in crate::backends::openai) struct Reader {
    failures: Failures,
    progress: Progress,
    /// How many items were said to be done.
    done: usize,
}

/// An event about the response as a whole.
#[derive(Deserialize)]
struct Whole<'a> {
    #[serde(borrow)]
    response: Outcome<'a>,
}

#[derive(Deserialize)]
struct Outcome<'a> {
    output: Option<Vec<Node>>,
    usage: Option<Tokens>,
    incomplete_details: Option<Details>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Details {
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Tokens {
    #[serde(default)]
    input_tokens: u64,
    #[serde(default)]
    output_tokens: u64,
    total_tokens: Option<u64>,
    input_tokens_details: Option<InputDetails>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Default, Deserialize)]
struct InputDetails {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
struct OutputDetails {
    reasoning_tokens: Option<u64>,
}

impl Reader {
    /// The error for an event that is not the protocol.
    pub(super) fn malformed(&self, problem: &str, data: &str) -> Error {
        self.failures.malformed(problem, data)
    }

    pub(in crate::backends::openai) fn new(failures: Failures) -> Self {
        Self { failures, progress: Progress::Answering, done: 0 }
    }

    /// The response has come to its end, for this reason.
    fn finish(
        &mut self,
        finish: Finish,
        outcome: Outcome<'_>,
        steps: &mut VecDeque<Step>,
    ) -> Result<(), Error> {
        for (index, item) in outcome.output.into_iter().flatten().enumerate().skip(self.done) {
            // A server may tell of items at the end alone.
            let mut data = Node::object();
            data.set("output_index", Node::of(&index)?);
            data.set("item", item);
            steps.extend(ItemEvent::new(ITEM_DONE.to_owned(), data).map(Step::Event));
        }
        steps.extend(outcome.usage.map(|usage| Step::Usage(usage.into())));
        steps.push_back(Step::Finish(finish));
        self.progress = Progress::Done;
        Ok(())
    }

    fn outcome<'a>(&self, data: &'a str) -> Result<Outcome<'a>, Error> {
        let whole: Whole<'a> =
            serde_json::from_str(data).map_err(|problem| self.failures.malformed(problem, data))?;
        Ok(whole.response)
    }

    /// The reason of a response that is incomplete.
    fn cut(&self, outcome: &Outcome<'_>) -> Result<Finish, Error> {
        let reason = outcome.incomplete_details.as_ref().and_then(|details| details.reason.as_deref());
        match reason {
            Some("max_output_tokens") => Ok(Finish::MaxOutputTokens),
            Some("content_filter") => Ok(Finish::ContentFilter),
            other => Err(self.failures.finish_reason(other.unwrap_or("none was given"))),
        }
    }
}

impl Read for Reader {
    fn progress(&self) -> Progress {
        self.progress
    }

    /// An event of the Responses API.
    ///
    /// # Errors
    /// `backend_error` for what is none, for `[DONE]` before the end, and for what the server reports as a failure;
    /// `event_too_large`.
    fn read(&mut self, event: Event<'_>, steps: &mut VecDeque<Step>) -> Result<(), Error> {
        let Event { name, data } = event;
        if data.trim_ascii() == "[DONE]" {
            return Err(self.failures.cut_off());
        }
        let mut node = Node::parse(data).map_err(|problem| self.failures.malformed(problem, data))?;
        let said = node.get("type").and_then(|kind| Some(kind.as_str()?.into_owned()));
        let kind = said.or_else(|| (name != UNNAMED).then(|| name.to_owned()));
        let kind = kind.ok_or_else(|| self.failures.malformed("an event without a type", data))?;
        if data.len() > MAX_EVENT && !is_whole(&kind) {
            return Err(self.failures.decode(DecodeError::TooLarge { limit: MAX_EVENT }));
        }
        match kind.as_str() {
            // What these say, the gateway says itself; a `keepalive` is of the one connection.
            "response.created" | "response.queued" | "response.in_progress" | "keepalive" => Ok(()),
            "response.completed" => self.finish(Finish::Stop, self.outcome(data)?, steps),
            "response.incomplete" => {
                let outcome = self.outcome(data)?;
                self.finish(self.cut(&outcome)?, outcome, steps)
            }
            "response.failed" => {
                let outcome = self.outcome(data)?;
                steps.extend(outcome.usage.map(|usage| Step::Usage(usage.into())));
                Err(self.failures.reported(outcome.error.map_or("no error was given", RawValue::get)))
            }
            "response.cancelled" => Err(self.failures.finish_reason("cancelled")),
            "error" => Err(self.failures.reported(data)),
            _ => {
                self.done += usize::from(kind == ITEM_DONE);
                let event = ItemEvent::new(kind, node);
                let event = event.ok_or_else(|| self.failures.malformed("not an event", data))?;
                steps.push_back(Step::Event(event));
                Ok(())
            }
        }
    }
}

/// Whether an event repeats what others have said, so that it may be as large as all of them.
fn is_whole(kind: &str) -> bool {
    let of_response = ["created", "queued", "in_progress", "completed", "incomplete", "failed"];
    kind.ends_with(".done") || kind.strip_prefix("response.").is_some_and(|rest| of_response.contains(&rest))
}

impl From<Tokens> for Usage {
    fn from(tokens: Tokens) -> Self {
        let Tokens { input_tokens, output_tokens, .. } = tokens;
        let input = tokens.input_tokens_details.unwrap_or_default();
        let output = tokens.output_tokens_details.unwrap_or_default();
        Self {
            input_tokens,
            cached_tokens: input.cached_tokens.unwrap_or(0),
            cache_write_tokens: input.cache_write_tokens.unwrap_or(0),
            output_tokens,
            reasoning_tokens: output.reasoning_tokens.unwrap_or(0),
            total_tokens: tokens.total_tokens.unwrap_or_else(|| input_tokens.saturating_add(output_tokens)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidemark_proto::v1::ErrorCode;

    use super::*;

    /// What comes out of these events, and the error that ends them.
    fn read(events: &[(&str, &str)]) -> (Vec<Step>, Option<Error>, Progress) {
        let mut reader = Reader::new(Failures::new("local", None, Duration::from_secs(1)));
        let mut steps = VecDeque::new();
        for (name, data) in events {
            if let Err(error) = reader.read(Event { name, data }, &mut steps) {
                return (steps.into(), Some(error), reader.progress());
            }
        }
        (steps.into(), None, reader.progress())
    }

    fn event(kind: &str, data: &str) -> Step {
        Step::Event(ItemEvent::new(kind.to_owned(), Node::parse(data).unwrap()).unwrap())
    }

    #[test]
    fn events_of_the_answer_pass_and_those_of_the_response_become_its_outcome() {
        let delta = r#"{"type":"response.output_text.delta","item_id":"m","delta":"a","new":1.0}"#;
        let (steps, error, progress) = read(&[
            ("response.created", r#"{"type":"response.created","response":{"id":"r"}}"#),
            ("message", r#"{"type":"response.queued","response":{}}"#),
            ("response.in_progress", r#"{"response":{}}"#),
            ("message", r#"{"type":"keepalive","sequence_number":2}"#),
            ("response.output_text.delta", delta),
            ("vendor:thing", r#"{"x":1}"#),
            (
                "message",
                r#"{"type":"response.completed","response":{"output":[{"type":"message","id":"m"}],"usage":{"input_tokens":3,
                "input_tokens_details":{"cached_tokens":1,"cache_write_tokens":2},"output_tokens":4,"output_tokens_details":{"reasoning_tokens":null}}}}"#,
            ),
        ]);
        let usage = Usage {
            input_tokens: 3,
            cached_tokens: 1,
            cache_write_tokens: 2,
            output_tokens: 4,
            reasoning_tokens: 0,
            total_tokens: 7,
        };
        let expected = [
            event("response.output_text.delta", delta),
            event("vendor:thing", r#"{"x":1}"#),
            event(ITEM_DONE, r#"{"output_index":0,"item":{"type":"message","id":"m"}}"#),
            Step::Usage(usage),
            Step::Finish(Finish::Stop),
        ];
        assert_eq!(steps, expected);
        assert_eq!((error.is_none(), progress), (true, Progress::Done));
    }

    #[test]
    fn an_item_that_was_done_is_not_told_again() {
        let done = r#"{"type":"response.output_item.done","output_index":0,"item":{"id":"m"}}"#;
        let completed = r#"{"type":"response.completed","response":{"output":[{"id":"m"}]}}"#;
        let (steps, ..) = read(&[("message", done), ("message", completed)]);
        assert_eq!(steps, [event(ITEM_DONE, done), Step::Finish(Finish::Stop)]);
    }

    #[test]
    fn limits_are_ends_and_faults_are_errors_that_keep_what_was_used() {
        for (reason, finish) in
            [("max_output_tokens", Finish::MaxOutputTokens), ("content_filter", Finish::ContentFilter)]
        {
            let data = format!(
                r#"{{"type":"response.incomplete","response":{{"incomplete_details":{{"reason":"{reason}"}}}}}}"#
            );
            assert_eq!(read(&[("message", &data)]).0, [Step::Finish(finish)]);
        }
        for (data, words, cause, steps) in [
            (
                r#"{"type":"response.failed","response":{"usage":{"input_tokens":1},"error":{"code":"server_error","message":"why"}}}"#,
                "reported an error",
                "why",
                1,
            ),
            (r#"{"type":"response.failed","response":{}}"#, "reported an error", "no error", 0),
            (r#"{"type":"error","code":"x","message":"why"}"#, "reported an error", "why", 0),
            (r#"{"type":"error","error":{"message":"why"}}"#, "reported an error", "why", 0),
            (r#"{"type":"response.incomplete","response":{"status":"cancelled"}}"#, "not known", "none", 0),
            (r#"{"type":"response.cancelled","response":{}}"#, "not known", "cancelled", 0),
            (r#"{"type":"response.completed"}"#, "not the protocol", "response", 0),
            (r#"{"type":"response\nx"}"#, "not the protocol", "not an event", 0),
            (r#"{"x":1}"#, "not the protocol", "without a type", 0),
            ("[]", "not the protocol", "without a type", 0),
            ("<html>", "not the protocol", "html", 0),
            ("[DONE]", "in the middle", "", 0),
        ] {
            let (found, error, progress) = read(&[("message", data)]);
            let error = error.unwrap();
            assert_eq!((error.code(), found.len()), (ErrorCode::BackendError, steps), "{data}");
            assert!(error.message().contains(words), "{data}: {error}");
            assert!(error.quote().unwrap_or_default().contains(cause), "{data}: {error}");
            assert!(!error.message().contains("why"));
            assert_eq!(progress, Progress::Answering);
        }
    }

    #[test]
    fn only_what_repeats_others_may_be_larger_than_an_event() {
        let data = |kind: &str| format!(r#"{{"type":"{kind}","x":"{}"}}"#, "x".repeat(MAX_EVENT));
        let (_, error, _) = read(&[("message", &data("response.output_text.delta"))]);
        assert_eq!(error.unwrap().code(), ErrorCode::EventTooLarge);
        for kind in ["response.output_text.done", "response.output_item.done", "response.created"] {
            assert!(read(&[("message", &data(kind))]).1.is_none(), "{kind}");
        }
    }
}
