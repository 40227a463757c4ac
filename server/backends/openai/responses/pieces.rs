//! Events of the Responses API as pieces of an answer, for a caller who speaks of chats.
//!
//! It owns which event is a piece of text, of a refusal, of reasoning or of a tool call. What was not told in pieces is told when its
//! item is done; items of other types have no word in a chat and are passed over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::stream::Reader;
use crate::backends::openai::answer::{Progress, Read};
use crate::backends::sse::Event;
use crate::backends::{ItemEvent, Step, Text};
use crate::error::Error;
use crate::json::Node;

const TEXT: &str = "response.output_text.delta";
const REFUSAL: &str = "response.refusal.delta";
const ARGUMENTS: &str = "response.function_call_arguments.delta";

/// Events that bring a piece of an answer; those that are not named above bring reasoning.
const PIECES: [&str; 6] = [
    TEXT,
    REFUSAL,
    ARGUMENTS,
    "response.reasoning_text.delta",
    "response.reasoning.delta",
    "response.reasoning_summary_text.delta",
];

/// Reads the events of one answer.
#[derive(Debug)]
pub(in crate::backends::openai) struct Pieces {
    reader: Reader,
    /// The places of items whose text was told in pieces.
    told: BTreeSet<u64>,
    /// The tool calls that have begun: the place of each, and its number.
    calls: BTreeMap<u64, u32>,
}

impl Pieces {
    pub(in crate::backends::openai) fn new(reader: Reader) -> Self {
        Self { reader, told: BTreeSet::new(), calls: BTreeMap::new() }
    }

    /// # Errors
    /// What is wrong with the event: nothing of an answer is lost without a word.
    fn take(&mut self, event: ItemEvent, steps: &mut VecDeque<Step>) -> Result<(), &'static str> {
        let (kind, mut data) = event.into_parts();
        let place = data.get("output_index").and_then(|index| index.as_u64()).unwrap_or(0);
        match kind.as_str() {
            "response.output_item.added" => {
                let mut item = data.remove("item").filter(Node::is_object).ok_or("an item that is none")?;
                self.begin_call(place, &mut item, steps);
            }
            "response.output_item.done" => {
                let item = data.remove("item").filter(Node::is_object).ok_or("an item that is none")?;
                self.whole_item(place, item, steps);
            }
            "response.output_text.annotation.added" => {
                steps.extend(data.remove("annotation").map(Step::Annotation));
            }
            kind if PIECES.contains(&kind) => {
                let text = text(&mut data, "delta").ok_or("a piece that is no text")?;
                let logprobs = data.get("logprobs").and_then(Node::items).map(std::mem::take);
                let logprobs = logprobs.unwrap_or_default();
                steps.push_back(self.piece(kind, place, text, logprobs)?);
            }
            _ => {}
        }
        Ok(())
    }

    fn piece(
        &mut self,
        kind: &str,
        place: u64,
        text: String,
        logprobs: Vec<Node>,
    ) -> Result<Step, &'static str> {
        let step = match kind {
            TEXT => Step::Text(Text { text, logprobs }),
            REFUSAL => Step::Refusal(text),
            ARGUMENTS => {
                let index = *self.calls.get(&place).ok_or("arguments of a call that was not begun")?;
                Step::ToolCall { index, id: None, name: None, arguments: text }
            }
            _ => Step::Reasoning(text),
        };
        self.told.insert(place);
        Ok(step)
    }

    /// The beginning of a tool call, with the arguments that came with it.
    fn begin_call(&mut self, place: u64, item: &mut Node, steps: &mut VecDeque<Step>) {
        if self.calls.contains_key(&place) || kind_of(item).as_deref() != Some("function_call") {
            return;
        }
        let (id, name) = (text(item, "call_id"), text(item, "name"));
        let arguments = text(item, "arguments").unwrap_or_default();
        let index = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
        self.calls.insert(place, index);
        if !arguments.is_empty() {
            self.told.insert(place);
        }
        steps.push_back(Step::ToolCall { index, id, name, arguments });
    }

    /// An item that is done: what of it was not told yet.
    fn whole_item(&mut self, place: u64, mut item: Node, steps: &mut VecDeque<Step>) {
        self.begin_call(place, &mut item, steps);
        if self.told.contains(&place) {
            return;
        }
        let call = self.calls.get(&place).copied();
        match (kind_of(&mut item).as_deref(), call) {
            (Some("function_call"), Some(index)) => {
                let arguments = text(&mut item, "arguments").filter(|arguments| !arguments.is_empty());
                let rest = |arguments| Step::ToolCall { index, id: None, name: None, arguments };
                steps.extend(arguments.map(rest));
            }
            (Some("message"), _) => steps.extend(parts(&mut item, "content").filter_map(|mut part| {
                let logprobs = part.get("logprobs").and_then(Node::items).map(std::mem::take);
                let logprobs = logprobs.unwrap_or_default();
                text(&mut part, "text")
                    .map(|text| Step::Text(Text { text, logprobs }))
                    .or_else(|| text(&mut part, "refusal").map(Step::Refusal))
            })),
            (Some("reasoning"), _) => {
                let said: Vec<Node> = parts(&mut item, "content").collect();
                let said = if said.is_empty() { parts(&mut item, "summary").collect() } else { said };
                steps.extend(
                    said.into_iter().filter_map(|mut part| text(&mut part, "text").map(Step::Reasoning)),
                );
            }
            _ => {}
        }
    }
}

fn parts(item: &mut Node, member: &str) -> impl Iterator<Item = Node> + use<> {
    item.get(member).and_then(Node::items).map(std::mem::take).unwrap_or_default().into_iter()
}

fn kind_of(item: &mut Node) -> Option<String> {
    item.get("type").and_then(|kind| Some(kind.as_str()?.into_owned()))
}

/// Takes a text out of a member.
fn text(object: &mut Node, member: &str) -> Option<String> {
    object.get(member).and_then(|text| text.string().map(std::mem::take))
}

impl Read for Pieces {
    fn progress(&self) -> Progress {
        self.reader.progress()
    }

    fn read(&mut self, event: Event<'_>, steps: &mut VecDeque<Step>) -> Result<(), Error> {
        let mut events = VecDeque::new();
        let read = self.reader.read(event, &mut events);
        for step in events {
            match step {
                Step::Event(told) => {
                    self.take(told, steps).map_err(|problem| self.reader.malformed(problem, event.data))?;
                }
                other => steps.push_back(other),
            }
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::backends::openai::failure::Failures;

    fn pieces(events: &[Value]) -> Vec<Step> {
        let mut pieces =
            Pieces::new(Reader::new(Failures::new("b", None, std::time::Duration::from_secs(1))));
        let mut steps = VecDeque::new();
        for event in events {
            pieces.read(Event { name: "message", data: &event.to_string() }, &mut steps).unwrap();
        }
        steps.into()
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

    #[test]
    fn deltas_are_pieces_and_their_done_events_are_not() {
        let item =
            |item: Value| json!({"type": "response.output_item.added", "output_index": 1, "item": item});
        let steps = pieces(&[
            json!({"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "hm"}),
            json!({"type": "response.output_item.done", "output_index": 0, "item": {"type": "reasoning", "summary": [{"text": "hm"}]}}),
            item(json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": ""})),
            json!({"type": "response.function_call_arguments.delta", "output_index": 1, "delta": "{}"}),
            json!({"type": "response.output_item.done", "output_index": 1, "item": {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}}),
            json!({"type": "response.output_text.delta", "output_index": 2, "delta": "a", "logprobs": [{"token": "a"}]}),
            json!({"type": "response.output_text.done", "output_index": 2, "text": "a"}),
            json!({"type": "response.refusal.delta", "output_index": 2, "delta": "no"}),
            json!({"type": "response.web_search_call.searching", "output_index": 3}),
        ]);
        let logprobs = vec![Node::parse(r#"{"token":"a"}"#).unwrap()];
        let expected = [
            Step::Reasoning("hm".to_owned()),
            call(0, Some(("c", "f")), ""),
            call(0, None, "{}"),
            Step::Text(Text { text: "a".to_owned(), logprobs }),
            Step::Refusal("no".to_owned()),
        ];
        assert_eq!(steps, expected);
    }

    #[test]
    fn an_item_that_comes_whole_is_told_whole() {
        let done = |place: u64, item: Value| json!({"type": "response.output_item.done", "output_index": place, "item": item});
        let steps = pieces(&[
            done(0, json!({"type": "reasoning", "content": [{"text": "r"}], "summary": [{"text": "s"}]})),
            done(
                1,
                json!({"type": "message", "content": [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "no"}]}),
            ),
            done(2, json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"})),
            done(3, json!({"type": "web_search_call"})),
        ]);
        let expected = [
            Step::Reasoning("r".to_owned()),
            Step::Text("a".into()),
            Step::Refusal("no".to_owned()),
            call(0, Some(("c", "f")), "{}"),
        ];
        assert_eq!(steps, expected);
    }
}
