//! A chat that passes through: asked for in a chat's words, answered in them.
//!
//! It owns what of the request is the gateway's own, and when an answer of several choices is whole. Chunks keep all that they say.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::request::StreamOptions;
use super::stream::{ChunkUsage, Delta, chunk_of};
use crate::backends::openai::answer::{Progress, Read};
use crate::backends::openai::failure::Failures;
use crate::backends::sse::Event;
use crate::backends::{Finish, Generation, Step};
use crate::error::Error;
use crate::json::Node;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: &'a [Box<RawValue>],
    stream: bool,
    stream_options: StreamOptions,
    #[serde(flatten)]
    params: &'a BTreeMap<String, Box<RawValue>>,
}

/// The JSON text of the chat request for a chat. Fields keep their bytes.
pub(super) fn body(generation: &Generation) -> Result<Vec<u8>, Error> {
    let Generation { model, items: messages, params, .. } = generation;
    let stream_options = StreamOptions { include_usage: true };
    serde_json::to_vec(&Body { model, messages, stream: true, stream_options, params })
        .map_err(Error::internal)
}

/// Reads the chunks of one answer, of as many choices as were asked for.
#[derive(Debug)]
pub(in crate::backends::openai) struct Reader {
    failures: Failures,
    progress: Progress,
    choices: usize,
    /// Those that have said why they ended.
    ended: BTreeSet<u64>,
    /// The reason for the end of all, as far as they have ended.
    finish: Finish,
}

/// What of a chunk the gateway must understand.
#[derive(Deserialize)]
struct Chunk<'a> {
    choices: Option<Vec<Choice>>,
    usage: Option<ChunkUsage>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice {
    index: Option<u64>,
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

impl Reader {
    pub(in crate::backends::openai) fn new(choices: usize, failures: Failures) -> Self {
        Self {
            failures,
            progress: Progress::Answering,
            choices,
            ended: BTreeSet::new(),
            finish: Finish::Stop,
        }
    }

    fn note_end(&mut self, choice: u64, reason: &str) {
        self.ended.insert(choice);
        // One that was cut makes the answer as a whole one that was.
        self.finish = match (reason, self.finish) {
            ("content_filter", _) | (_, Finish::ContentFilter) => Finish::ContentFilter,
            ("length", _) | (_, Finish::MaxOutputTokens) => Finish::MaxOutputTokens,
            _ => Finish::Stop,
        };
    }
}

impl Read for Reader {
    fn progress(&self) -> Progress {
        self.progress
    }

    /// A chunk.
    ///
    /// # Errors
    /// `backend_error` for what is not a chunk, more of the answer after the end, and an error that the server reports.
    fn read(&mut self, event: Event<'_>, steps: &mut VecDeque<Step>) -> Result<(), Error> {
        let Some(data) = chunk_of(event, &self.failures)? else {
            if self.progress == Progress::Answering {
                steps.push_back(Step::Finish(self.finish));
            }
            self.progress = Progress::Done;
            return Ok(());
        };
        let malformed = |problem| self.failures.malformed(problem, data);
        let chunk: Chunk<'_> = serde_json::from_str(data).map_err(malformed)?;
        if let Some(error) = chunk.error {
            return Err(self.failures.reported(error.get()));
        }
        let mut node = Node::parse(data).map_err(malformed)?;
        let choices = chunk.choices.unwrap_or_default();
        if self.progress == Progress::Finished {
            if choices.iter().any(|choice| choice.delta.as_ref().is_some_and(Delta::says)) {
                let error = self.failures.malformed("more of the answer after its end", data);
                steps.push_back(Step::Chunk(node));
                return Err(error);
            }
            // Some servers repeat the reason beside what was used.
            node.set("choices", Node::list(Vec::new()));
            steps.extend(chunk.usage.map(|_| Step::Chunk(node)));
            return Ok(());
        }
        steps.push_back(Step::Chunk(node));
        for Choice { index, finish_reason, .. } in choices {
            if let Some(reason) = finish_reason.filter(|reason| !reason.is_empty()) {
                self.note_end(index.unwrap_or(0), &reason);
            }
        }
        if self.ended.len() >= self.choices {
            self.progress = Progress::Finished;
            steps.push_back(Step::Finish(self.finish));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;

    fn reader(choices: usize) -> Reader {
        Reader::new(choices, Failures::new("b", None, Duration::from_secs(1)))
    }

    fn read(reader: &mut Reader, data: &str) -> Result<Vec<Step>, Error> {
        let mut steps = VecDeque::new();
        reader.read(Event { name: "message", data }, &mut steps)?;
        Ok(steps.into())
    }

    fn piece(index: u64, text: &str, reason: Option<&str>) -> Value {
        json!({"choices": [{"index": index, "delta": {"content": text}, "finish_reason": reason}]})
    }

    #[test]
    fn an_answer_is_whole_when_each_choice_has_ended() {
        let mut reader = reader(2);
        assert_eq!(read(&mut reader, &piece(0, "a", Some("stop")).to_string()).unwrap().len(), 1);
        assert_eq!(reader.progress(), Progress::Answering);
        let last = read(&mut reader, &piece(1, "b", Some("length")).to_string()).unwrap();
        assert_eq!(last[1], Step::Finish(Finish::MaxOutputTokens), "one that was cut is enough");
        assert_eq!(reader.progress(), Progress::Finished);
        let usage = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}});
        let counted = read(&mut reader, &usage.to_string()).unwrap();
        let expected = json!({"choices": [], "usage": {"prompt_tokens": 1}}).to_string();
        assert_eq!(
            counted,
            [Step::Chunk(Node::parse(&expected).unwrap())],
            "a reason that is repeated is not"
        );
        assert!(read(&mut reader, &piece(0, "", None).to_string()).unwrap().is_empty());
        assert!(read(&mut reader, &piece(0, "more", None).to_string()).is_err());
    }

    #[test]
    fn done_is_an_end_without_a_reason() {
        let mut reader = reader(1);
        read(&mut reader, &piece(0, "a", None).to_string()).unwrap();
        assert_eq!(read(&mut reader, "[DONE]").unwrap(), [Step::Finish(Finish::Stop)]);
        assert_eq!(reader.progress(), Progress::Done);
    }

    #[test]
    fn what_is_no_chunk_is_an_error() {
        for data in [
            "",
            "x",
            "[]",
            r#"{"choices":1}"#,
            r#"{"choices":[{"delta":{"content":1}}]}"#,
            r#"{"usage":1}"#,
            r#"{"error":{"message":"no"}}"#,
        ] {
            assert!(read(&mut reader(1), data).is_err(), "{data}");
        }
    }
}
