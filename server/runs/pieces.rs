//! From pieces of an answer (text, reasoning, tool calls) to the events of the Responses API.
//!
//! It owns the order of these events (W-a4) and which item and part is open.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::backends::{Step, Text};
use crate::error::Error;
use crate::json::{Node, escaped_len};
use crate::runs::compose::{Draft, Extent, ITEM_BYTES, Stop, breach, misplaced};
use crate::runs::event::{Mold, Outbox, kind};
use crate::runs::item::{Item, PartKind, Status};
use crate::runs::output::Parts;

/// The most tool calls of one answer. It bounds the events of one append, because all calls end together.
const MAX_TOOL_CALLS: usize = 128;

/// How much text of the part that grows may lie beside the output, in bytes. To find its place in there for every delta costs more
/// than to write it.
const FRESH_BYTES: usize = 4 << 10;

/// What of an answer is open.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// The part that grows, in the last item.
    part: Option<OpenPart>,
    /// The calls that are not done, by the index the backend gave them.
    calls: BTreeMap<u32, Call>,
}

#[derive(Debug)]
struct OpenPart {
    id: String,
    output_index: usize,
    content_index: usize,
    kind: PartKind,
    deltas: Mold,
    /// What has come and is not in the output yet.
    fresh: Text,
}

#[derive(Debug)]
struct Call {
    id: String,
    name: String,
    output_index: usize,
}

/// Where in the output a piece belongs.
#[derive(Clone, Copy, Serialize)]
struct Place<'a> {
    item_id: &'a str,
    output_index: usize,
    content_index: usize,
}

#[derive(Serialize)]
struct ItemBody<'a> {
    output_index: usize,
    item: &'a Node,
}

#[derive(Serialize)]
struct PartBody<'a> {
    #[serde(flatten)]
    place: Place<'a>,
    part: &'a Node,
}

#[derive(Serialize)]
struct TextDone<'a> {
    #[serde(flatten)]
    place: Place<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a Node>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'a Node>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<&'a Node>,
}

#[derive(Serialize)]
struct AnnotationAdded<'a> {
    #[serde(flatten)]
    place: Place<'a>,
    annotation_index: usize,
    annotation: &'a Node,
}

#[derive(Serialize)]
struct ArgumentsDelta<'a> {
    item_id: &'a str,
    output_index: usize,
    delta: &'a str,
}

#[derive(Serialize)]
struct ArgumentsDone<'a> {
    item_id: &'a str,
    output_index: usize,
    name: &'a str,
    arguments: &'a Node,
}

impl OpenPart {
    fn new(id: String, output_index: usize, content_index: usize, kind: PartKind) -> Result<Self, Error> {
        let deltas = match kind {
            PartKind::Text => kind::TEXT_DELTA,
            PartKind::Refusal => kind::REFUSAL_DELTA,
            PartKind::Reasoning => kind::REASONING_DELTA,
            PartKind::Summary => kind::SUMMARY_DELTA,
        };
        let deltas = Mold::new(deltas, &Place { item_id: &id, output_index, content_index })?;
        Ok(Self { id, output_index, content_index, kind, deltas, fresh: Text::default() })
    }

    /// Adds what is fresh to the output.
    fn settle(&mut self, draft: &mut Draft) -> Result<(), Error> {
        let Text { text, logprobs } = &mut self.fresh;
        let part =
            draft.output.part(self.output_index, self.content_index, self.kind)?.ok_or_else(misplaced)?;
        let all = part.get(self.kind.member()).and_then(|all| all.string()).ok_or_else(misplaced)?;
        all.push_str(text);
        text.clear();
        if !logprobs.is_empty() {
            let all = part.get("logprobs").and_then(|all| all.items()).ok_or_else(misplaced)?;
            all.append(logprobs);
        }
        Ok(())
    }

    fn place(&self) -> Place<'_> {
        Place { item_id: &self.id, output_index: self.output_index, content_index: self.content_index }
    }
}

impl Pieces {
    /// Takes in one piece.
    pub(super) fn apply(&mut self, piece: Step, draft: &mut Draft, outbox: &mut Outbox) -> Result<(), Stop> {
        match piece {
            Step::Text(text) => self.text(PartKind::Text, text, draft, outbox),
            Step::Refusal(text) => self.text(PartKind::Refusal, text.into(), draft, outbox),
            Step::Reasoning(text) => self.text(PartKind::Reasoning, text.into(), draft, outbox),
            Step::Annotation(annotation) => self.annotation(annotation, draft, outbox),
            Step::ToolCall { index, id, name, arguments } => {
                self.call(index, id.zip(name), &arguments, draft, outbox)
            }
            // The composer takes these itself; a chunk is for a chat alone.
            Step::Event(_) | Step::Chunk(_) | Step::Usage(_) | Step::Finish(_) => Err(misplaced().into()),
        }
    }

    /// Brings the output up to date.
    pub(super) fn settle(&mut self, draft: &mut Draft) -> Result<(), Error> {
        self.part.as_mut().map_or(Ok(()), |open| open.settle(draft))
    }

    /// Ends all open items.
    pub(super) fn close(
        &mut self,
        extent: Extent,
        draft: &mut Draft,
        outbox: &mut Outbox,
    ) -> Result<(), Error> {
        // Calls lie before an item that grows: the one that was opened last.
        let mut calls: Vec<Call> = std::mem::take(&mut self.calls).into_values().collect();
        calls.sort_unstable_by_key(|call| call.output_index);
        for call in calls {
            close_call(&call, extent.status(call.output_index, &draft.output), draft, outbox)?;
        }
        let last = draft.output.len().saturating_sub(1);
        self.close_item(extent.status(last, &draft.output), draft, outbox)
    }

    fn text(
        &mut self,
        kind: PartKind,
        piece: Text,
        draft: &mut Draft,
        outbox: &mut Outbox,
    ) -> Result<(), Stop> {
        let Text { text, mut logprobs } = piece;
        if text.is_empty() {
            return Ok(());
        }
        draft.grow(escaped_len(&text) + logprobs.iter().map(Node::json_len).sum::<usize>())?;
        let open = self.open(kind, draft, outbox)?;
        let of_text = (kind == PartKind::Text).then_some(logprobs.as_slice());
        outbox.push_delta(&open.deltas, &text, of_text)?;
        open.fresh.text.push_str(&text);
        open.fresh.logprobs.append(&mut logprobs);
        if open.fresh.text.len() >= FRESH_BYTES {
            open.settle(draft)?;
        }
        Ok(())
    }

    fn annotation(&mut self, annotation: Node, draft: &mut Draft, outbox: &mut Outbox) -> Result<(), Stop> {
        draft.grow(annotation.json_len())?;
        let open = self.open(PartKind::Text, draft, outbox)?;
        let part = draft.output.part(open.output_index, open.content_index, PartKind::Text)?;
        let all = part.and_then(|part| part.get("annotations")).and_then(|all| all.items());
        let all = all.ok_or_else(misplaced)?;
        let body =
            AnnotationAdded { place: open.place(), annotation_index: all.len(), annotation: &annotation };
        outbox.push(kind::ANNOTATION_ADDED, &body)?;
        all.push(annotation);
        Ok(())
    }

    /// The part of this kind that grows: the one that does already, or a new one, in the item that grows if it fits there, else
    /// in a new item.
    fn open(
        &mut self,
        kind: PartKind,
        draft: &mut Draft,
        outbox: &mut Outbox,
    ) -> Result<&mut OpenPart, Stop> {
        let open = match self.part.take() {
            Some(open) if open.kind == kind => open,
            Some(open) if open.kind != PartKind::Reasoning && kind != PartKind::Reasoning => {
                draft.grow(ITEM_BYTES)?;
                let open = close_part(open, draft, outbox)?;
                let next = OpenPart::new(open.id, open.output_index, open.content_index + 1, kind)?;
                add_part(next, draft, outbox)?
            }
            other => {
                self.part = other;
                draft.grow(ITEM_BYTES)?;
                self.close_item(Status::Completed, draft, outbox)?;
                let (id, output_index) =
                    (open_item(kind, draft, outbox)?, draft.output.len().saturating_sub(1));
                add_part(OpenPart::new(id, output_index, 0, kind)?, draft, outbox)?
            }
        };
        Ok(self.part.insert(open))
    }

    fn call(
        &mut self,
        index: u32,
        begin: Option<(String, String)>,
        arguments: &str,
        draft: &mut Draft,
        outbox: &mut Outbox,
    ) -> Result<(), Stop> {
        draft.grow(escaped_len(arguments))?;
        if !self.calls.contains_key(&index) {
            let call = self.open_call(begin, draft, outbox)?;
            self.calls.insert(index, call);
        }
        if arguments.is_empty() {
            return Ok(());
        }
        let Call { id, output_index, .. } = self.calls.get(&index).ok_or_else(misplaced)?;
        let body = ArgumentsDelta { item_id: id, output_index: *output_index, delta: arguments };
        outbox.push(kind::ARGUMENTS_DELTA, &body)?;
        let all = draft.output.item(*output_index).and_then(|item| item.get("arguments"));
        all.and_then(|all| all.string()).ok_or_else(misplaced)?.push_str(arguments);
        Ok(())
    }

    fn open_call(
        &mut self,
        begin: Option<(String, String)>,
        draft: &mut Draft,
        outbox: &mut Outbox,
    ) -> Result<Call, Stop> {
        let Some((call_id, name)) = begin else {
            return Err(breach("the backend began a tool call without its id and name"));
        };
        if self.calls.len() == MAX_TOOL_CALLS {
            return Err(breach(format!(
                "the backend made more than {MAX_TOOL_CALLS} tool calls in one answer"
            )));
        }
        draft.grow(ITEM_BYTES + escaped_len(&call_id) + escaped_len(&name))?;
        self.close_item(Status::Completed, draft, outbox)?;
        let (id, output_index) = (draft.new_id("fc_"), draft.output.len());
        let status = Status::InProgress;
        let item = Item::FunctionCall { id: &id, status, call_id: &call_id, name: &name, arguments: "" };
        add_item(&item, draft, outbox)?;
        Ok(Call { id, name, output_index })
    }

    /// Ends the part and the item that grow, if there is one.
    fn close_item(&mut self, to: Status, draft: &mut Draft, outbox: &mut Outbox) -> Result<(), Error> {
        let Some(open) = self.part.take() else { return Ok(()) };
        let open = close_part(open, draft, outbox)?;
        item_done(open.output_index, to, draft, outbox)
    }
}

fn open_item(kind: PartKind, draft: &mut Draft, outbox: &mut Outbox) -> Result<String, Error> {
    let status = Status::InProgress;
    let id = match kind {
        PartKind::Text | PartKind::Refusal => draft.new_id("msg_"),
        PartKind::Reasoning | PartKind::Summary => draft.new_id("rs_"),
    };
    let item = match kind {
        PartKind::Text | PartKind::Refusal => {
            Item::Message { id: &id, status, role: "assistant", content: [] }
        }
        PartKind::Reasoning | PartKind::Summary => {
            Item::Reasoning { id: &id, status, summary: [], content: [] }
        }
    };
    add_item(&item, draft, outbox)?;
    Ok(id)
}

fn add_item(item: &Item<'_>, draft: &mut Draft, outbox: &mut Outbox) -> Result<(), Error> {
    let item = Node::of(item)?;
    outbox.push(kind::ITEM_ADDED, &ItemBody { output_index: draft.output.len(), item: &item })?;
    draft.output.push(item);
    Ok(())
}

fn add_part(open: OpenPart, draft: &mut Draft, outbox: &mut Outbox) -> Result<OpenPart, Error> {
    let part = open.kind.empty()?;
    outbox.push(kind::PART_ADDED, &PartBody { place: open.place(), part: &part })?;
    draft.output.parts(open.output_index, Parts::Content).ok_or_else(misplaced)?.push(part);
    Ok(open)
}

fn close_part(mut open: OpenPart, draft: &mut Draft, outbox: &mut Outbox) -> Result<OpenPart, Error> {
    open.settle(draft)?;
    let part = draft.output.part(open.output_index, open.content_index, open.kind)?.ok_or_else(misplaced)?;
    let (place, part) = (open.place(), &*part);
    let [text, refusal, logprobs] = ["text", "refusal", "logprobs"].map(|member| part.peek(member));
    let event = match open.kind {
        PartKind::Text => kind::TEXT_DONE,
        PartKind::Refusal => kind::REFUSAL_DONE,
        PartKind::Reasoning => kind::REASONING_DONE,
        PartKind::Summary => kind::SUMMARY_DONE,
    };
    outbox.push(event, &TextDone { place, text, refusal, logprobs })?;
    outbox.push(kind::PART_DONE, &PartBody { place, part })?;
    Ok(open)
}

fn close_call(call: &Call, to: Status, draft: &mut Draft, outbox: &mut Outbox) -> Result<(), Error> {
    let Call { id, name, output_index } = call;
    let item = draft.output.item(*output_index).ok_or_else(misplaced)?;
    let arguments = item.get("arguments").ok_or_else(misplaced)?;
    let body = ArgumentsDone { item_id: id, output_index: *output_index, name, arguments };
    outbox.push(kind::ARGUMENTS_DONE, &body)?;
    item_done(*output_index, to, draft, outbox)
}

/// Says that an item is done, as it is in the output now.
pub(super) fn item_done(
    output_index: usize,
    to: Status,
    draft: &mut Draft,
    outbox: &mut Outbox,
) -> Result<(), Error> {
    draft.output.set_status(output_index, to);
    let item = draft.output.item(output_index).ok_or_else(misplaced)?;
    outbox.push(kind::ITEM_DONE, &ItemBody { output_index, item })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidemark_store::Seq;

    use super::*;
    use crate::backends::Finish;
    use crate::runs::compose::Composer;
    use crate::runs::event::decode;
    use crate::runs::id::ResponseId;
    use crate::runs::testing::TestClock;

    fn composer(limit: usize) -> (Composer, Outbox) {
        let id = ResponseId::from_bytes([1; 16]);
        (Composer::new(Arc::new(TestClock::default()), limit, id), Outbox::new(Seq::new(3)))
    }

    fn lines(outbox: &mut Outbox) -> Vec<String> {
        let data = |payload| String::from_utf8(decode(payload).unwrap().1.to_vec()).unwrap();
        outbox.take().iter().map(data).collect()
    }

    fn kinds(outbox: &mut Outbox) -> Vec<String> {
        outbox.take().iter().map(|payload| decode(payload).unwrap().0.to_owned()).collect()
    }

    fn call(index: u32, id: Option<&str>, arguments: &str) -> Step {
        let name = id.map(|id| format!("f_{id}"));
        Step::ToolCall { index, id: id.map(str::to_owned), name, arguments: arguments.to_owned() }
    }

    #[test]
    fn a_text_answer_has_the_events_of_the_contract_with_all_their_fields() {
        let (mut composer, mut outbox) = composer(1000);
        for step in [Step::Text("Hel".into()), Step::Text(Text::default()), Step::Text("lo\n".into())] {
            composer.apply(step, &mut outbox).unwrap();
        }
        composer.apply(Step::Finish(Finish::Stop), &mut outbox).unwrap();
        let id = "msg_00000000000000000000000000000001";
        let at = format!(r#""item_id":"{id}","output_index":0,"content_index":0"#);
        let part = |text: &str| {
            format!(r#"{{"type":"output_text","text":"{text}","annotations":[],"logprobs":[]}}"#)
        };
        let item = |status: &str, content: &str| {
            format!(
                r#"{{"type":"message","id":"{id}","status":"{status}","role":"assistant","content":[{content}]}}"#
            )
        };
        let expected = [
            format!(
                r#"{{"type":"response.output_item.added","sequence_number":3,"output_index":0,"item":{}}}"#,
                item("in_progress", "")
            ),
            format!(
                r#"{{"type":"response.content_part.added","sequence_number":4,{at},"part":{}}}"#,
                part("")
            ),
            format!(
                r#"{{"type":"response.output_text.delta","sequence_number":5,{at},"delta":"Hel","logprobs":[]}}"#
            ),
            format!(
                r#"{{"type":"response.output_text.delta","sequence_number":6,{at},"delta":"lo\n","logprobs":[]}}"#
            ),
            format!(
                r#"{{"type":"response.output_text.done","sequence_number":7,{at},"text":"Hello\n","logprobs":[]}}"#
            ),
            format!(
                r#"{{"type":"response.content_part.done","sequence_number":8,{at},"part":{}}}"#,
                part(r"Hello\n")
            ),
            format!(
                r#"{{"type":"response.output_item.done","sequence_number":9,"output_index":0,"item":{}}}"#,
                item("completed", &part(r"Hello\n"))
            ),
        ];
        assert_eq!(lines(&mut outbox), expected);
    }

    #[test]
    fn interleaved_calls_keep_their_arguments_apart() {
        let (mut composer, mut outbox) = composer(10_000);
        let steps =
            [call(0, Some("a"), ""), call(1, Some("b"), "{"), call(0, None, "{\"x\":1}"), call(1, None, "}")];
        for step in steps.into_iter().chain([Step::Finish(Finish::Stop)]) {
            composer.apply(step, &mut outbox).unwrap();
        }
        let found = lines(&mut outbox);
        let (first, second) = ("fc_00000000000000000000000000000001", "fc_00000000000000000000000000000002");
        let expected = [
            format!(
                r#"{{"type":"response.output_item.added","sequence_number":3,"output_index":0,"item":{{"type":"function_call","id":"{first}","status":"in_progress","call_id":"a","name":"f_a","arguments":""}}}}"#
            ),
            format!(
                r#"{{"type":"response.output_item.added","sequence_number":4,"output_index":1,"item":{{"type":"function_call","id":"{second}","status":"in_progress","call_id":"b","name":"f_b","arguments":""}}}}"#
            ),
            format!(
                r#"{{"type":"response.function_call_arguments.delta","sequence_number":5,"item_id":"{second}","output_index":1,"delta":"{{"}}"#
            ),
            format!(
                r#"{{"type":"response.function_call_arguments.delta","sequence_number":6,"item_id":"{first}","output_index":0,"delta":"{{\"x\":1}}"}}"#
            ),
            format!(
                r#"{{"type":"response.function_call_arguments.delta","sequence_number":7,"item_id":"{second}","output_index":1,"delta":"}}"}}"#
            ),
            format!(
                r#"{{"type":"response.function_call_arguments.done","sequence_number":8,"item_id":"{first}","output_index":0,"name":"f_a","arguments":"{{\"x\":1}}"}}"#
            ),
            format!(
                r#"{{"type":"response.output_item.done","sequence_number":9,"output_index":0,"item":{{"type":"function_call","id":"{first}","status":"completed","call_id":"a","name":"f_a","arguments":"{{\"x\":1}}"}}}}"#
            ),
            format!(
                r#"{{"type":"response.function_call_arguments.done","sequence_number":10,"item_id":"{second}","output_index":1,"name":"f_b","arguments":"{{}}"}}"#
            ),
            format!(
                r#"{{"type":"response.output_item.done","sequence_number":11,"output_index":1,"item":{{"type":"function_call","id":"{second}","status":"completed","call_id":"b","name":"f_b","arguments":"{{}}"}}}}"#
            ),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn reasoning_text_and_refusal_open_and_close_in_turn() {
        let (mut composer, mut outbox) = composer(10_000);
        let steps = [Step::Reasoning("hm".into()), Step::Text("no".into()), Step::Refusal("never".into())];
        for step in steps.into_iter().chain([Step::Finish(Finish::Stop)]) {
            composer.apply(step, &mut outbox).unwrap();
        }
        let expected = [
            kind::ITEM_ADDED,
            kind::PART_ADDED,
            kind::REASONING_DELTA,
            kind::REASONING_DONE,
            kind::PART_DONE,
            kind::ITEM_DONE,
            kind::ITEM_ADDED,
            kind::PART_ADDED,
            kind::TEXT_DELTA,
            kind::TEXT_DONE,
            kind::PART_DONE,
            kind::PART_ADDED,
            kind::REFUSAL_DELTA,
            kind::REFUSAL_DONE,
            kind::PART_DONE,
            kind::ITEM_DONE,
        ];
        assert_eq!(kinds(&mut outbox), expected);
        assert_eq!(composer.output().unwrap().len(), 2);
    }

    #[test]
    fn logprobs_and_annotations_are_in_the_events_and_in_the_output() {
        let (mut composer, mut outbox) = composer(10_000);
        let node = |text: &str| Node::parse(text).unwrap();
        let token = |token: &str| vec![node(&format!(r#"{{"token":"{token}","logprob":-0.50}}"#))];
        for step in [
            Step::Text(Text { text: "a".into(), logprobs: token("a") }),
            Step::Annotation(node(r#"{"type":"url_citation","url":"u"}"#)),
            Step::Text(Text { text: "b".into(), logprobs: token("b") }),
            Step::Finish(Finish::Stop),
        ] {
            composer.apply(step, &mut outbox).unwrap();
        }
        let found = lines(&mut outbox);
        let both = r#"[{"token":"a","logprob":-0.50},{"token":"b","logprob":-0.50}]"#;
        assert!(
            found[2].ends_with(r#""delta":"a","logprobs":[{"token":"a","logprob":-0.50}]}"#),
            "{}",
            found[2]
        );
        assert!(
            found[3].contains(r#"annotation.added","sequence_number":6"#)
                && found[3]
                    .ends_with(r#""annotation_index":0,"annotation":{"type":"url_citation","url":"u"}}"#),
            "{}",
            found[3]
        );
        assert!(found[5].ends_with(&format!(r#""text":"ab","logprobs":{both}}}"#)), "{}", found[5]);
        let part = format!(
            r#"{{"type":"output_text","text":"ab","annotations":[{{"type":"url_citation","url":"u"}}],"logprobs":{both}}}"#
        );
        assert!(found[6].ends_with(&format!(r#""part":{part}}}"#)), "{}", found[6]);
        assert!(serde_json::to_string(composer.output().unwrap()).unwrap().contains(&part));
    }
}
