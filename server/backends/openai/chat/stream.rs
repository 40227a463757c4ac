//! Chat chunks as steps.
//!
//! It owns what a chunk means and what a whole answer is. It must never know how the chunks came.

use std::borrow::Cow;
use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::backends::openai::answer::{Progress, Read};
use crate::backends::openai::failure::Failures;
use crate::backends::sse::Event;
use crate::backends::{Finish, Step, Text, Usage};
use crate::error::Error;
use crate::json::Node;

/// How many tool calls one answer may have.
const MAX_CALLS: usize = 1024;

/// The data of the last event of a stream.
const DONE: &str = "[DONE]";

/// Reads the chunks of one answer.
#[derive(Debug)]
pub(in crate::backends::openai) struct Reader {
    failures: Failures,
    progress: Progress,
    calls: Vec<Call>,
}

/// A tool call that has begun.
#[derive(Debug)]
struct Call {
    /// The number that the server gave it.
    number: u32,
    id: Option<String>,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    usage: Option<ChunkUsage>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice {
    delta: Option<Delta>,
    logprobs: Option<Logprobs>,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
pub(super) struct Delta {
    content: Option<String>,
    refusal: Option<String>,
    reasoning_content: Option<String>,
    reasoning: Option<String>,
    tool_calls: Option<Vec<CallDelta>>,
    annotations: Option<Vec<Node>>,
}

/// The tokens of a chunk have the form that the Responses API gives them, too.
#[derive(Default, Deserialize)]
struct Logprobs {
    content: Option<Vec<Node>>,
}

#[derive(Deserialize)]
struct CallDelta {
    index: Option<u32>,
    id: Option<String>,
    function: Option<FunctionDelta>,
}

#[derive(Default, Deserialize)]
struct FunctionDelta {
    name: Option<String>,
    arguments: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct ChunkUsage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
    total_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct CompletionDetails {
    reasoning_tokens: Option<u64>,
}

impl Delta {
    /// Whether it adds anything to an answer.
    pub(super) fn says(&self) -> bool {
        let texts = [&self.content, &self.refusal, &self.reasoning_content, &self.reasoning];
        let any = |list: Option<usize>| list.is_some_and(|length| length > 0);
        texts.into_iter().flatten().any(|text| !text.is_empty())
            || any(self.tool_calls.as_ref().map(Vec::len))
            || any(self.annotations.as_ref().map(Vec::len))
    }
}

impl Reader {
    pub(in crate::backends::openai) fn new(failures: Failures) -> Self {
        Self { failures, progress: Progress::Answering, calls: Vec::new() }
    }

    fn delta(&mut self, delta: Delta, logprobs: Logprobs, steps: &mut VecDeque<Step>) -> Result<(), Error> {
        let said = |text: Option<String>| text.filter(|text| !text.is_empty());
        // Two names for one thing; a server that sends both says the same in both.
        steps.extend(said(delta.reasoning_content).or_else(|| said(delta.reasoning)).map(Step::Reasoning));
        let logprobs = logprobs.content.unwrap_or_default();
        steps.extend(said(delta.content).map(|text| Step::Text(Text { text, logprobs })));
        steps.extend(delta.annotations.into_iter().flatten().map(annotation).map(Step::Annotation));
        steps.extend(said(delta.refusal).map(Step::Refusal));
        for call in delta.tool_calls.into_iter().flatten() {
            steps.extend(self.call(call)?);
        }
        Ok(())
    }

    /// A piece of a tool call. A piece with a new id begins a new call, whatever its number: some servers give all calls the same
    /// number, and some none.
    fn call(&mut self, delta: CallDelta) -> Result<Option<Step>, Error> {
        let FunctionDelta { name, arguments } = delta.function.unwrap_or_default();
        let arguments = arguments.unwrap_or_default();
        let id = delta.id.filter(|id| !id.is_empty());
        let found = match delta.index {
            Some(number) => self.calls.iter().rposition(|call| call.number == number),
            None => self.calls.len().checked_sub(1),
        };
        let same = found.filter(|at| id.is_none() || self.calls.get(*at).is_some_and(|call| call.id == id));
        if let Some(at) = same {
            let step = Step::ToolCall { index: index(at), id: None, name: None, arguments };
            return Ok(
                (!matches!(&step, Step::ToolCall { arguments, .. } if arguments.is_empty())).then_some(step)
            );
        }
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Err(self.failures.malformed("a tool call begins without a name", &arguments));
        };
        let at = self.calls.len();
        if at >= MAX_CALLS {
            return Err(self.failures.malformed("too many tool calls", &name));
        }
        self.calls.push(Call { number: delta.index.unwrap_or_else(|| index(at)), id: id.clone() });
        Ok(Some(Step::ToolCall { index: index(at), id, name: Some(name), arguments }))
    }

    fn finish(&mut self, reason: &str, steps: &mut VecDeque<Step>) -> Result<(), Error> {
        let finish = match reason {
            "stop" | "tool_calls" | "function_call" => Finish::Stop,
            "length" => Finish::MaxOutputTokens,
            "content_filter" => Finish::ContentFilter,
            other => return Err(self.failures.finish_reason(other)),
        };
        // Some servers repeat the reason beside what was used.
        if self.progress == Progress::Answering {
            self.progress = Progress::Finished;
            steps.push_back(Step::Finish(finish));
        }
        Ok(())
    }
}

/// The chunk that an event of the stream carries; absent = the answer has ended.
///
/// # Errors
/// What the server reports.
pub(super) fn chunk_of<'a>(event: Event<'a>, failures: &Failures) -> Result<Option<&'a str>, Error> {
    match event.data {
        data if event.name == "error" => Err(failures.reported(data)),
        data if data.trim_ascii() == DONE => Ok(None),
        data => Ok(Some(data)),
    }
}

impl Read for Reader {
    fn progress(&self) -> Progress {
        self.progress
    }

    /// A chunk.
    ///
    /// # Errors
    /// `backend_error` for what is not a chunk, more text after the end, and an error that the server reports.
    fn read(&mut self, event: Event<'_>, steps: &mut VecDeque<Step>) -> Result<(), Error> {
        let Some(data) = chunk_of(event, &self.failures)? else {
            if self.progress == Progress::Answering {
                steps.push_back(Step::Finish(Finish::Stop));
            }
            self.progress = Progress::Done;
            return Ok(());
        };
        let chunk: Chunk<'_> =
            serde_json::from_str(data).map_err(|problem| self.failures.malformed(problem, data))?;
        if let Some(error) = chunk.error {
            return Err(self.failures.reported(error.get()));
        }
        // Only one answer is asked for, so only one can come.
        if let Some(choice) = chunk.choices.and_then(|choices| choices.into_iter().next()) {
            let before = steps.len();
            self.delta(choice.delta.unwrap_or_default(), choice.logprobs.unwrap_or_default(), steps)?;
            if self.progress == Progress::Finished && steps.len() > before {
                return Err(self.failures.malformed("more of the answer after its end", data));
            }
            if let Some(reason) = choice.finish_reason.filter(|reason| !reason.is_empty()) {
                self.finish(&reason, steps)?;
            }
        }
        steps.extend(chunk.usage.map(|usage| Step::Usage(usage.into())));
        Ok(())
    }
}

/// An annotation of a chat holds its fields in a member that is called as its type; the Responses API has them beside the type.
fn annotation(mut annotation: Node) -> Node {
    let kind = annotation.get("type").and_then(|kind| kind.as_str().map(Cow::into_owned));
    if let Some(fields) = kind.and_then(|kind| annotation.remove(&kind)) {
        annotation.extend(fields);
    }
    annotation
}

/// [`MAX_CALLS`] fits.
fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

impl From<ChunkUsage> for Usage {
    fn from(usage: ChunkUsage) -> Self {
        let ChunkUsage { prompt_tokens, completion_tokens, .. } = usage;
        Self {
            input_tokens: prompt_tokens,
            cached_tokens: usage.prompt_tokens_details.and_then(|details| details.cached_tokens).unwrap_or(0),
            cache_write_tokens: 0,
            output_tokens: completion_tokens,
            reasoning_tokens: usage
                .completion_tokens_details
                .and_then(|details| details.reasoning_tokens)
                .unwrap_or(0),
            total_tokens: usage
                .total_tokens
                .unwrap_or_else(|| prompt_tokens.saturating_add(completion_tokens)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidemark_proto::v1::ErrorCode;

    use super::*;

    fn reader() -> Reader {
        Reader::new(Failures::new("local", None, Duration::from_secs(1)))
    }

    /// What comes out of these chunks, and how the answer ends.
    fn read(chunks: &[&str]) -> (Vec<Step>, Result<Progress, Error>) {
        let mut reader = reader();
        let mut steps = VecDeque::new();
        for chunk in chunks {
            if let Err(error) = reader.read(event(chunk), &mut steps) {
                return (steps.into(), Err(error));
            }
        }
        let end = match reader.progress() {
            Progress::Answering => Err(reader.failures.cut_off()),
            progress => Ok(progress),
        };
        (steps.into(), end)
    }

    fn event(data: &str) -> Event<'_> {
        Event { name: "message", data }
    }

    fn text(text: &str) -> Step {
        Step::Text(text.into())
    }

    fn call(index: u32, begin: Option<(&str, &str)>, arguments: &str) -> Step {
        let (id, name) = begin.unzip();
        Step::ToolCall {
            index,
            id: id.map(str::to_owned),
            name: name.map(str::to_owned),
            arguments: arguments.to_owned(),
        }
    }

    const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

    #[test]
    fn an_answer_is_text_an_end_and_what_was_used() {
        let (steps, end) = read(&[
            r#"{"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":null},"finish_reason":null}],"new":{"x":[1]}}"#,
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null}],"usage":null}"#,
            r#"{"choices":[{"delta":{"content":"Grü"}}]}"#,
            r#"{"choices":[{"delta":{"content":"\u00df\n"},"finish_reason":""}]}"#,
            STOP,
            r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,"prompt_tokens_details":{"cached_tokens":1},"completion_tokens_details":{"reasoning_tokens":null}},"timings":{}}"#,
            "[DONE]",
        ]);
        let usage = Usage {
            input_tokens: 3,
            cached_tokens: 1,
            cache_write_tokens: 0,
            output_tokens: 2,
            reasoning_tokens: 0,
            total_tokens: 5,
        };
        assert_eq!(steps, [text("Grü"), text("ß\n"), Step::Finish(Finish::Stop), Step::Usage(usage)]);
        assert_eq!(end.unwrap(), Progress::Done);
    }

    #[test]
    fn refusals_and_both_names_of_reasoning_are_kept() {
        let (steps, _) = read(&[
            r#"{"choices":[{"delta":{"reasoning_content":"a","reasoning":"a"}}]}"#,
            r#"{"choices":[{"delta":{"reasoning":"b","content":"c","refusal":"d"}}]}"#,
        ]);
        let reasoning = |text: &str| Step::Reasoning(text.to_owned());
        assert_eq!(steps, [reasoning("a"), reasoning("b"), text("c"), Step::Refusal("d".to_owned())]);
    }

    #[test]
    fn logprobs_and_annotations_go_with_their_text() {
        let (steps, _) = read(&[
            r#"{"choices":[{"delta":{"content":"a"},"logprobs":{"content":[{"token":"a","logprob":-0.50,"bytes":[97],"top_logprobs":[]}],"refusal":null}}]}"#,
            r#"{"choices":[{"delta":{"annotations":[{"type":"url_citation","url_citation":{"url":"u","end_index":1}},{"type":"own","x":1}]}}]}"#,
        ]);
        let node = |text| Node::parse(text).unwrap();
        let logprobs = vec![node(r#"{"token":"a","logprob":-0.50,"bytes":[97],"top_logprobs":[]}"#)];
        let expected = [
            Step::Text(Text { text: "a".to_owned(), logprobs }),
            Step::Annotation(node(r#"{"type":"url_citation","url":"u","end_index":1}"#)),
            Step::Annotation(node(r#"{"type":"own","x":1}"#)),
        ];
        assert_eq!(steps, expected);
    }

    #[test]
    fn reasons_become_ends_and_come_once() {
        for (reason, finish) in [
            ("stop", Finish::Stop),
            ("tool_calls", Finish::Stop),
            ("function_call", Finish::Stop),
            ("length", Finish::MaxOutputTokens),
            ("content_filter", Finish::ContentFilter),
        ] {
            let chunk =
                format!(r#"{{"choices":[{{"delta":{{"content":"x"}},"finish_reason":"{reason}"}}]}}"#);
            let again = format!(
                r#"{{"choices":[{{"delta":{{"content":""}},"finish_reason":"{reason}"}}],"usage":{{"prompt_tokens":1,"completion_tokens":2}}}}"#
            );
            let (steps, end) = read(&[&chunk, &again]);
            let usage = Usage { input_tokens: 1, output_tokens: 2, total_tokens: 3, ..Usage::default() };
            assert_eq!(steps, [text("x"), Step::Finish(finish), Step::Usage(usage)], "{reason}");
            assert_eq!(end.unwrap(), Progress::Finished, "complete without [DONE]");
        }
    }

    #[test]
    fn done_without_a_reason_is_an_end() {
        let (steps, end) = read(&[r#"{"choices":[{"delta":{"content":"x"}}]}"#, " [DONE] "]);
        assert_eq!(steps, [text("x"), Step::Finish(Finish::Stop)]);
        assert_eq!(end.unwrap(), Progress::Done);
    }

    #[test]
    fn tool_calls_are_told_apart() {
        let delta = |calls: &str| format!(r#"{{"choices":[{{"delta":{{"tool_calls":[{calls}]}}}}]}}"#);
        let (steps, _) = read(&[
            &delta(r#"{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}"#),
            &delta(r#"{"index":0,"function":{"arguments":"{\"x\":"}}"#),
            &delta(
                r#"{"index":1,"id":"b","function":{"name":"g","arguments":"{}"}},{"index":0,"id":"a","function":{"name":"f","arguments":"1}"}}"#,
            ),
            &delta(r#"{"index":1,"id":"","function":{"name":null,"arguments":" "}}"#),
            &delta(r#"{"index":1}"#),
        ]);
        let expected = [
            call(0, Some(("a", "f")), ""),
            call(0, None, "{\"x\":"),
            call(1, Some(("b", "g")), "{}"),
            call(0, None, "1}"),
            call(1, None, " "),
        ];
        assert_eq!(steps, expected);

        for number in [r#""index":0,"#, ""] {
            let (steps, _) = read(&[
                &delta(&format!(r#"{{{number}"id":"a","function":{{"name":"f","arguments":"1"}}}}"#)),
                &delta(&format!(r#"{{{number}"id":"b","function":{{"name":"f","arguments":"2"}}}}"#)),
                &delta(&format!(r#"{{{number}"function":{{"arguments":"3"}}}}"#)),
            ]);
            let expected =
                [call(0, Some(("a", "f")), "1"), call(1, Some(("b", "f")), "2"), call(1, None, "3")];
            assert_eq!(steps, expected, "{number}");
        }
    }

    #[test]
    fn what_is_not_the_protocol_is_an_error_with_its_text_as_the_quote() {
        let table: [(&[&str], &str); 9] = [
            (&["<html>secret page</html>"], "not the protocol"),
            (&["{"], "not the protocol"),
            (&["[]"], "not the protocol"),
            (&[r#"{"choices":[{"delta":{"content":7}}]}"#], "not the protocol"),
            (&[r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a"}]}}]}"#], "not the protocol"),
            (&[STOP, r#"{"choices":[{"delta":{"content":"more"}}]}"#], "not the protocol"),
            (&[r#"{"error":{"message":"secret"}}"#], "reported an error"),
            (&[r#"{"choices":[{"delta":{},"finish_reason":"abort"}]}"#], "not known"),
            (&[], "in the middle"),
        ];
        for (chunks, words) in table {
            let error = read(chunks).1.unwrap_err();
            assert_eq!(error.code(), ErrorCode::BackendError);
            assert!(error.message().contains(words), "{chunks:?}: {error}");
            assert!(!error.message().contains("secret"));
        }
        assert!(read(&[r#"{"error":{"message":"why"}}"#]).1.unwrap_err().quote().unwrap().contains("why"));
        assert_eq!(read(&[r#"{"error":null,"choices":null}"#, STOP]).1.unwrap(), Progress::Finished);
    }

    #[test]
    fn the_number_of_tool_calls_is_bounded() {
        let mut reader = reader();
        let mut steps = VecDeque::new();
        let chunk = |id| {
            format!(
                r#"{{"choices":[{{"delta":{{"tool_calls":[{{"id":"{id}","function":{{"name":"f"}}}}]}}}}]}}"#
            )
        };
        for id in 0..MAX_CALLS {
            reader.read(event(&chunk(id)), &mut steps).unwrap();
        }
        assert_eq!(
            reader.read(event(&chunk(MAX_CALLS)), &mut steps).unwrap_err().code(),
            ErrorCode::BackendError
        );
    }
}
