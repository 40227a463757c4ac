//! From the steps of a backend to the events of a chat.
//!
//! It owns the order of the events and the limit of the output. Pieces of an answer become chunks of one choice; chunks of a backend
//! that speaks the chat dialect become ours and are otherwise left as they are. Either way a chunk is added to the answer and
//! written by the same lines.

use serde::Serialize;

use super::answer::{Answer, number};
use super::object::{Body, Template, tokens};
use crate::backends::{Finish, Step, Text};
use crate::error::Error;
use crate::json::Node;
use crate::runs::author::Standing;
use crate::runs::compose::{Stop, breach, misplaced};
use crate::runs::document::Document;
use crate::runs::event::{Outbox, kind};
use crate::runs::id::ResponseId;
use crate::runs::status::{Ending, Incomplete};

/// Accumulates the answer of a chat and writes its events.
#[derive(Debug)]
pub(in crate::runs) struct Composer {
    template: Template,
    answer: Answer,
    /// The most bytes of output, as JSON text.
    limit: usize,
    size: usize,
    finish: Option<Finish>,
}

/// A choice of a chunk that the gateway makes of a piece.
fn choice(index: Node, delta: Node, tokens: Option<Vec<Node>>, finish_reason: Option<&str>) -> Node {
    let mut choice = Node::object();
    choice.set("index", index);
    choice.set("delta", delta);
    choice.set(
        "logprobs",
        tokens.map_or_else(Node::null, |tokens| {
            let mut logprobs = Node::object();
            logprobs.set("content", Node::list(tokens));
            logprobs.set("refusal", Node::null());
            logprobs
        }),
    );
    choice.set("finish_reason", finish_reason.map_or_else(Node::null, Node::text));
    choice
}

#[derive(Serialize)]
struct Call<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

impl Composer {
    /// Without output. `limit` is in bytes of JSON text.
    ///
    /// # Errors
    /// `internal` if the request was not checked.
    pub(in crate::runs) fn new(id: ResponseId, document: &Document, limit: usize) -> Result<Self, Error> {
        let template = Template::new(id, document)?;
        Ok(Self { template, answer: Answer::default(), limit, size: 0, finish: None })
    }

    /// Goes on from an answer that was read back from a log.
    pub(in crate::runs) fn restore(&mut self, answer: Answer) {
        self.answer = answer;
    }

    /// Whether nothing was put out.
    pub(in crate::runs) fn is_silent(&self) -> bool {
        self.answer.is_empty()
    }

    /// Why the backend stopped, once it has said so.
    pub(in crate::runs) fn finish(&self) -> Option<Finish> {
        self.finish
    }

    /// The object as one line of JSON.
    pub(in crate::runs) fn object(&self, standing: &Standing<'_>) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(&self.template.at(standing, &self.answer)).map_err(Error::internal)
    }

    /// Writes an event that carries the whole object.
    pub(in crate::runs) fn tell(
        &self,
        kind: &str,
        standing: &Standing<'_>,
        outbox: &mut Outbox,
    ) -> Result<(), Error> {
        outbox.push(kind, &Body { response: &self.template.at(standing, &self.answer) })
    }

    /// Takes in one step and writes what it means to `outbox`.
    pub(in crate::runs) fn apply(&mut self, step: Step, outbox: &mut Outbox) -> Result<(), Stop> {
        match step {
            Step::Usage(usage) => {
                self.answer.set_usage(tokens(usage)?);
                Ok(())
            }
            Step::Chunk(chunk) => self.chunk(chunk, outbox),
            _ if self.finish.is_some() => Err(went_on()),
            Step::Finish(finish) => {
                self.finish = Some(finish);
                Ok(self.close(reason(finish), outbox)?)
            }
            piece => self.piece(piece, outbox),
        }
    }

    /// Brings the choices to their end, for a chat that ended by itself or at a limit, and says what was used.
    pub(in crate::runs) fn end(&mut self, ending: &Ending, outbox: &mut Outbox) -> Result<(), Error> {
        match ending {
            Ending::Completed => self.close(None, outbox)?,
            Ending::Incomplete(Incomplete::MaxOutputTokens | Incomplete::MaxOutputBytes) => {
                self.close(reason(Finish::MaxOutputTokens), outbox)?;
            }
            Ending::Incomplete(Incomplete::ContentFilter) => {
                self.close(reason(Finish::ContentFilter), outbox)?;
            }
            // Nobody knows what these have used, and their choices have no end.
            Ending::Failed(_) | Ending::Cancelled(_) => return Ok(()),
        }
        let Some(usage) = self.answer.usage() else { return Ok(()) };
        let mut chunk = self.frame(Vec::new());
        chunk.set("usage", usage.clone());
        outbox.push_plain(kind::CHAT_USAGE, &chunk)
    }

    fn chunk(&mut self, mut chunk: Node, outbox: &mut Outbox) -> Result<(), Stop> {
        // Of the one connection to the backend.
        chunk.remove("obfuscation");
        let usage = chunk.remove("usage").filter(Node::is_object);
        let counts = usage.is_some();
        usage.into_iter().for_each(|usage| self.answer.set_usage(usage));
        let is_empty = chunk.get("choices").and_then(Node::items).is_none_or(|choices| choices.is_empty());
        match self.finish {
            // What was used is told at the end, to those who want to know.
            _ if is_empty && counts => Ok(()),
            None => {
                self.template.stamp(&mut chunk);
                self.put(chunk, outbox)
            }
            Some(_) => Err(went_on()),
        }
    }

    fn piece(&mut self, piece: Step, outbox: &mut Outbox) -> Result<(), Stop> {
        let mut logprobs = Vec::new();
        let (member, value) = match piece {
            Step::Text(Text { text, logprobs: of_text }) => {
                logprobs = of_text;
                ("content", Node::text(text))
            }
            Step::Refusal(text) => ("refusal", Node::text(text)),
            Step::Reasoning(text) => ("reasoning_content", Node::text(text)),
            Step::Annotation(annotation) => ("annotations", Node::list(vec![nested(annotation)])),
            Step::ToolCall { index, id, name, arguments } => {
                let function = Function { name: name.as_deref(), arguments: &arguments };
                let kind = id.is_some().then_some("function");
                ("tool_calls", Node::of(&[Call { index, id: id.as_deref(), r#type: kind, function }])?)
            }
            Step::Event(_) | Step::Chunk(_) | Step::Usage(_) | Step::Finish(_) => {
                return Err(misplaced().into());
            }
        };
        let mut delta = self.delta();
        delta.set(member, value);
        let tokens = (!logprobs.is_empty()).then_some(logprobs);
        let chunk = self.frame(vec![choice(Node::of(&0)?, delta, tokens, None)]);
        self.put(chunk, outbox)
    }

    /// An empty delta; the first one says who speaks.
    fn delta(&self) -> Node {
        let mut delta = Node::object();
        if self.answer.is_empty() {
            delta.set("role", Node::text("assistant"));
        }
        delta
    }

    fn frame(&self, choices: Vec<Node>) -> Node {
        let mut chunk = Node::object();
        self.template.stamp(&mut chunk);
        chunk.set("choices", Node::list(choices));
        chunk
    }

    /// Writes a chunk that is within the limit.
    fn put(&mut self, mut chunk: Node, outbox: &mut Outbox) -> Result<(), Stop> {
        let size = self.size.saturating_add(output_bytes(&mut chunk));
        if size > self.limit {
            return Err(Stop::Limit);
        }
        self.size = size;
        self.introduce(&mut chunk);
        self.write(chunk, outbox)
    }

    /// Says who speaks where a choice begins and the backend did not: the SDK for Node takes no answer without it.
    fn introduce(&self, chunk: &mut Node) {
        let begun = |choice: &mut Node| self.answer.has(number(choice));
        let choices = chunk.get("choices").and_then(Node::items).into_iter().flatten();
        for choice in choices {
            if !begun(choice)
                && let Some(delta) = choice.get("delta").filter(|delta| delta.is_object())
                && delta.get("role").is_none_or(|role| role.is_null())
            {
                delta.set("role", Node::text("assistant"));
            }
        }
    }

    fn write(&mut self, chunk: Node, outbox: &mut Outbox) -> Result<(), Stop> {
        outbox.push_plain(kind::CHAT_CHUNK, &chunk)?;
        self.answer.take_in(chunk).map_err(|problem| {
            outbox.retract();
            breach(problem)
        })
    }

    /// Says of all choices that have not ended why they do: `reason`, or that they are whole. There is one choice at least.
    fn close(&mut self, reason: Option<&'static str>, outbox: &mut Outbox) -> Result<(), Error> {
        let open = if self.answer.is_empty() { vec![(0, false)] } else { self.answer.open() };
        for (index, called) in open {
            let whole = if called { "tool_calls" } else { "stop" };
            let ended = choice(Node::of(&index)?, self.delta(), None, Some(reason.unwrap_or(whole)));
            let chunk = self.frame(vec![ended]);
            self.write(chunk, outbox).map_err(|_| misplaced())?;
        }
        Ok(())
    }
}

/// What a chat calls this reason; `None` for an answer that is whole.
fn reason(finish: Finish) -> Option<&'static str> {
    match finish {
        Finish::Stop => None,
        Finish::MaxOutputTokens => Some("length"),
        Finish::ContentFilter => Some("content_filter"),
    }
}

fn went_on() -> Stop {
    breach("the backend went on after it had said that it was done")
}

/// What a chunk adds to the output: the values of its deltas, their tokens, and names that are not of the contract. Of a text that
/// is what is between its quotes: those are there once, however many pieces it comes in.
fn output_bytes(chunk: &mut Node) -> usize {
    const KNOWN: [&str; 5] = ["content", "reasoning_content", "refusal", "role", "tool_calls"];
    let value = |(name, node): &(Box<str>, Node)| {
        let name = if KNOWN.contains(&&**name) { 0 } else { name.len() };
        let quotes = if node.is_text() { 2 } else { 0 };
        name + node.json_len().saturating_sub(quotes)
    };
    let mut bytes = 0;
    for choice in chunk.get("choices").and_then(Node::items).into_iter().flatten() {
        bytes += choice.get("delta").map_or(0, |delta| delta.entries().iter().map(value).sum());
        bytes += choice.get("logprobs").map_or(0, |logprobs| logprobs.json_len());
    }
    bytes
}

/// An annotation of the Responses API has its fields beside the type; a chat holds them in a member that is called as the type.
fn nested(mut annotation: Node) -> Node {
    let Some(kind) = annotation.get("type").and_then(|kind| Some(kind.as_str()?.into_owned())) else {
        return annotation;
    };
    annotation.remove("type");
    let mut outer = Node::object();
    outer.set("type", Node::text(&*kind));
    outer.set(&kind, annotation);
    outer
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use tidemark_store::Seq;

    use super::*;
    use crate::backends::{Api, Usage};
    use crate::runs::event::decode;
    use crate::runs::fold::{Content, Fold};
    use crate::runs::status::Status;
    use crate::runs::testing::document;

    fn composer(limit: usize) -> (Composer, Outbox) {
        let document = Document { api: Api::Chat, store: false, ..document() };
        (Composer::new(ResponseId::from_bytes([1; 16]), &document, limit).unwrap(), Outbox::new(Seq::FIRST))
    }

    fn taken(outbox: &mut Outbox) -> Vec<(String, Value)> {
        let event = |payload| {
            let (kind, data) = decode(&payload).unwrap();
            (kind.to_owned(), serde_json::from_slice(&data).unwrap())
        };
        outbox.take().into_iter().map(event).collect()
    }

    fn object(composer: &Composer) -> Value {
        serde_json::from_slice(&composer.object(&Standing::at(Status::InProgress)).unwrap()).unwrap()
    }

    fn chunk(chunk: &Value) -> Step {
        Step::Chunk(Node::parse(&chunk.to_string()).unwrap())
    }

    #[test]
    fn pieces_become_chunks_of_one_choice() {
        let (mut composer, mut outbox) = composer(usize::MAX);
        let logprobs = vec![Node::parse(r#"{"token":"a"}"#).unwrap()];
        let call = |id: Option<&str>, arguments: &str| Step::ToolCall {
            index: 0,
            id: id.map(str::to_owned),
            name: id.map(|_| "f".to_owned()),
            arguments: arguments.to_owned(),
        };
        let citation = Node::parse(r#"{"type":"url_citation","url":"u"}"#).unwrap();
        for step in [
            Step::Reasoning("hm".to_owned()),
            Step::Text(Text { text: "a".to_owned(), logprobs }),
            Step::Annotation(citation),
            call(Some("c"), ""),
            call(None, "{}"),
            Step::Finish(Finish::Stop),
            Step::Usage(Usage { total_tokens: 3, ..Usage::default() }),
        ] {
            composer.apply(step, &mut outbox).unwrap();
        }
        composer.end(&Ending::Completed, &mut outbox).unwrap();
        let events = taken(&mut outbox);
        let deltas: Vec<Value> = events.iter().map(|(_, data)| data["choices"][0]["delta"].clone()).collect();
        assert_eq!(deltas[0], json!({"role": "assistant", "reasoning_content": "hm"}));
        assert_eq!(deltas[1], json!({"content": "a"}));
        assert_eq!(
            deltas[2],
            json!({"annotations": [{"type": "url_citation", "url_citation": {"url": "u"}}]})
        );
        let begin =
            json!({"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}});
        assert_eq!(deltas[3], json!({ "tool_calls": [begin] }));
        assert_eq!(deltas[4], json!({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}));
        assert_eq!(
            events[1].1["choices"][0]["logprobs"],
            json!({"content": [{"token": "a"}], "refusal": null})
        );
        assert_eq!(events[5].1["choices"][0]["finish_reason"], "tool_calls");
        let (kind, last) = events.last().unwrap();
        assert_eq!(
            (kind.as_str(), &last["choices"], &last["usage"]["total_tokens"]),
            (kind::CHAT_USAGE, &json!([]), &json!(3))
        );
        let message = &object(&composer)["choices"][0]["message"];
        assert_eq!(
            (&message["content"], &message["tool_calls"][0]["function"]["arguments"]),
            (&json!("a"), &json!("{}"))
        );
    }

    #[test]
    fn an_empty_answer_has_one_choice_and_a_failed_one_none() {
        let (mut whole, mut outbox) = composer(usize::MAX);
        whole.apply(Step::Finish(Finish::Stop), &mut outbox).unwrap();
        assert_eq!(object(&whole)["choices"][0]["finish_reason"], "stop");
        let (mut failed, mut outbox) = composer(usize::MAX);
        failed.end(&Ending::Failed(Error::internal("x")), &mut outbox).unwrap();
        assert!(outbox.is_empty() && failed.is_silent());
        assert_eq!(object(&failed)["choices"], json!([]));
    }

    #[test]
    fn at_the_limit_every_choice_that_is_open_was_cut() {
        let (mut composer, mut outbox) = composer(7);
        let piece = |index: u64, text: &str| {
            chunk(&json!({"choices": [{"index": index, "delta": {"content": text}}]}))
        };
        composer.apply(piece(0, "abc"), &mut outbox).unwrap();
        composer.apply(piece(1, "defg"), &mut outbox).unwrap();
        assert!(matches!(composer.apply(piece(1, "x"), &mut outbox), Err(Stop::Limit)));
        composer.end(&Ending::Incomplete(Incomplete::MaxOutputBytes), &mut outbox).unwrap();
        let told = object(&composer);
        for (index, text) in [(0, "abc"), (1, "defg")] {
            let choice = &told["choices"][index];
            assert_eq!(
                (&choice["message"]["content"], &choice["finish_reason"]),
                (&json!(text), &json!("length"))
            );
        }
    }

    #[test]
    fn after_the_end_only_what_was_used_is_taken() {
        let (mut composer, mut outbox) = composer(usize::MAX);
        composer.apply(Step::Finish(Finish::Stop), &mut outbox).unwrap();
        composer.apply(chunk(&json!({"choices": [], "usage": {"total_tokens": 1}})), &mut outbox).unwrap();
        for more in [chunk(&json!({"choices": [{"delta": {"content": "x"}}]})), Step::Text("x".into())] {
            assert!(matches!(composer.apply(more, &mut outbox), Err(Stop::Fault(_))));
        }
    }

    fn step() -> impl Strategy<Value = Step> {
        let piece = |(index, name, text): (u64, &str, String)| {
            chunk(
                &json!({"x": text, "choices": [{"index": index, "delta": {name: text}, "logprobs": {"content": [text]}}]}),
            )
        };
        let call = |(index, number, id, text): (u64, u64, u8, String)| {
            let id = ["", "a", "b"][usize::from(id)];
            let call = json!({"index": number, "id": id, "function": {"name": "f", "arguments": text}});
            chunk(&json!({"choices": [{"index": index, "delta": {"tool_calls": [call]}}]}))
        };
        let names = prop::sample::select(vec!["content", "refusal", "reasoning_content", "x_new", "role"]);
        prop_oneof![
            (0..3_u64, names, ".{0,5}").prop_map(piece),
            (0..2_u64, 0..3_u64, 0..3_u8, ".{0,5}").prop_map(call),
            ".{0,5}".prop_map(|text| Step::Text(text.into())),
        ]
    }

    proptest! {
        #[test]
        fn the_folded_log_is_the_answer_of_the_run_that_wrote_it(steps in prop::collection::vec(step(), 0..30), whole: bool) {
            let (mut composer, mut outbox) = composer(usize::MAX);
            for step in steps {
                composer.apply(step, &mut outbox).unwrap();
            }
            if whole {
                composer.apply(Step::Finish(Finish::MaxOutputTokens), &mut outbox).unwrap();
                composer.end(&Ending::Completed, &mut outbox).unwrap();
            }
            let mut fold = Fold::new(Api::Chat);
            for payload in outbox.take() {
                fold.apply(&payload).unwrap();
            }
            let told = object(&composer);
            let Content::Chat(answer) = fold.into_broken_off() else { panic!("a chat") };
            composer.restore(answer);
            prop_assert_eq!(object(&composer), told);
        }
    }
}
