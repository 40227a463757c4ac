//! From the steps of a backend to the events of the Responses API.
//!
//! It owns the accumulated output, the order of events (W-a4), our own item ids and the limit of the output. It must never know
//! when or whether an event becomes durable: its caller shows the output only after the append.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use tidemark_proto::v1::ErrorCode;

use crate::backends::{Finish, Step, Usage};
use crate::clock::Clock;
use crate::error::Error;
use crate::runs::event::{Outbox, kind};
use crate::runs::item::{Item, ItemStatus, Nothing, Part, PartKind, Role};
use crate::runs::json::escaped_len;
use crate::runs::status::{Ending, Incomplete};

/// The most tool calls of one answer. It bounds the events of one append, because all calls end together.
const MAX_TOOL_CALLS: usize = 128;

/// What an item or part counts towards the limit of the output beside its text, in bytes.
const ITEM_BYTES: usize = 256;

/// Why no further step can be put out.
#[derive(Debug)]
pub(super) enum Stop {
    /// The next step would pass the limit of the output.
    Limit,
    /// The backend broke the rules, or we failed.
    Fault(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Fault(error)
    }
}

/// Accumulates an answer and writes its events.
#[derive(Debug)]
pub(super) struct Composer {
    clock: Arc<dyn Clock>,
    /// The most bytes of output, as JSON text.
    limit: usize,
    size: usize,
    output: Vec<Item>,
    /// Whether the last item is a message or reasoning that still grows. Only the last one can be.
    growing: bool,
    /// The calls that are not done: where each lies in `output`, by the index the backend gave it.
    calls: BTreeMap<u32, usize>,
    usage: Option<Usage>,
    finish: Option<Finish>,
}

#[derive(Serialize)]
struct ItemBody<'a> {
    output_index: usize,
    item: &'a Item,
}

#[derive(Serialize)]
struct PartBody<'a> {
    item_id: &'a str,
    output_index: usize,
    content_index: usize,
    part: &'a Part,
}

/// Where in the output a piece belongs.
#[derive(Clone, Copy, Serialize)]
struct Place<'a> {
    item_id: &'a str,
    output_index: usize,
    content_index: usize,
}

#[derive(Serialize)]
struct Delta<'a> {
    #[serde(flatten)]
    place: Place<'a>,
    delta: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<Nothing>,
}

#[derive(Serialize)]
struct TextDone<'a> {
    #[serde(flatten)]
    place: Place<'a>,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<Nothing>,
}

#[derive(Serialize)]
struct RefusalDone<'a> {
    #[serde(flatten)]
    place: Place<'a>,
    refusal: &'a str,
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
    arguments: &'a str,
}

impl Composer {
    /// Without output. `limit` is in bytes of JSON text.
    pub(super) fn new(clock: Arc<dyn Clock>, limit: usize) -> Self {
        Self {
            clock,
            limit,
            size: 0,
            output: Vec::new(),
            growing: false,
            calls: BTreeMap::new(),
            usage: None,
            finish: None,
        }
    }

    /// The output so far.
    pub(super) fn output(&self) -> &[Item] {
        &self.output
    }

    /// What was used, as far as the backend has counted.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// Why the backend stopped, once it has said so.
    pub(super) fn finish(&self) -> Option<Finish> {
        self.finish
    }

    /// Takes in one step and writes what it means to `outbox`.
    pub(super) fn apply(&mut self, step: Step, outbox: &mut Outbox) -> Result<(), Stop> {
        if let Step::Usage(usage) = step {
            self.usage = Some(usage);
            return Ok(());
        }
        if self.finish.is_some() {
            let text = "the backend went on after it had said that it was done";
            return Err(Stop::Fault(Error::new(ErrorCode::BackendError, text)));
        }
        match step {
            Step::Text(text) => self.part(PartKind::Text, &text, outbox),
            Step::Refusal(text) => self.part(PartKind::Refusal, &text, outbox),
            Step::Reasoning(text) => self.part(PartKind::Reasoning, &text, outbox),
            Step::ToolCall { index, id, name, arguments } => {
                self.tool_call(index, id, name, &arguments, outbox)
            }
            Step::Finish(finish) => {
                self.finish = Some(finish);
                let whole = matches!(finish, Finish::Stop);
                Ok(self.close_all(whole, outbox)?)
            }
            // Handled above.
            Step::Usage(_) => Ok(()),
        }
    }

    /// Brings the open items to their end: done events for a response that ended by itself or at a limit; none for one that
    /// failed (its open items are incomplete) or was cancelled (they stay in progress, W-15).
    pub(super) fn end(&mut self, ending: &Ending, outbox: &mut Outbox) -> Result<(), Error> {
        match ending {
            Ending::Completed => self.close_all(true, outbox),
            Ending::Incomplete(
                Incomplete::MaxOutputTokens | Incomplete::MaxOutputBytes | Incomplete::ContentFilter,
            ) => self.close_all(false, outbox),
            Ending::Failed(_) => {
                self.output.iter_mut().for_each(Item::break_off);
                Ok(())
            }
            Ending::Cancelled(_) => Ok(()),
        }
    }

    fn grow(&mut self, bytes: usize) -> Result<(), Stop> {
        let size = self.size.saturating_add(bytes);
        if size > self.limit {
            return Err(Stop::Limit);
        }
        self.size = size;
        Ok(())
    }

    fn new_id(&self, prefix: &str) -> String {
        format!("{prefix}{:032x}", u128::from_be_bytes(self.clock.new_id()))
    }

    fn part(&mut self, kind: PartKind, text: &str, outbox: &mut Outbox) -> Result<(), Stop> {
        if text.is_empty() {
            return Ok(());
        }
        self.grow(escaped_len(text))?;
        if self.open_part() != Some(kind) {
            self.grow(ITEM_BYTES)?;
            self.open(kind, outbox)?;
        }
        let output_index = self.output.len().saturating_sub(1);
        let Some((item_id, parts)) = self.output.last_mut().and_then(Item::parts_mut) else {
            return Err(misplaced().into());
        };
        let content_index = parts.len().saturating_sub(1);
        let Some(part) = parts.last_mut() else { return Err(misplaced().into()) };
        part.text_mut().push_str(text);
        let place = Place { item_id, output_index, content_index };
        let (event, logprobs) = match kind {
            PartKind::Text => (kind::TEXT_DELTA, Some([])),
            PartKind::Refusal => (kind::REFUSAL_DELTA, None),
            PartKind::Reasoning => (kind::REASONING_DELTA, None),
        };
        Ok(outbox.push(event, &Delta { place, delta: text, logprobs })?)
    }

    /// What the last item's last part is made of, if it still grows.
    fn open_part(&mut self) -> Option<PartKind> {
        if !self.growing {
            return None;
        }
        self.output.last_mut()?.parts_mut()?.1.last().map(Part::kind)
    }

    /// Opens a part for `kind`, in the item that grows if it fits there, else in a new one.
    fn open(&mut self, kind: PartKind, outbox: &mut Outbox) -> Result<(), Error> {
        let same_item = match self.open_part() {
            Some(PartKind::Reasoning) | None => false,
            Some(PartKind::Text | PartKind::Refusal) => kind != PartKind::Reasoning,
        };
        if same_item {
            self.close_part(outbox)?;
        } else {
            self.close_growing(ItemStatus::Completed, outbox)?;
            self.open_item(kind, outbox)?;
        }
        let output_index = self.output.len().saturating_sub(1);
        let (item_id, parts) = self.output.last_mut().and_then(Item::parts_mut).ok_or_else(misplaced)?;
        let part = Part::empty(kind);
        let body = PartBody { item_id, output_index, content_index: parts.len(), part: &part };
        outbox.push(kind::PART_ADDED, &body)?;
        parts.push(part);
        Ok(())
    }

    fn open_item(&mut self, kind: PartKind, outbox: &mut Outbox) -> Result<(), Error> {
        let (status, content) = (ItemStatus::InProgress, Vec::new());
        let item = match kind {
            PartKind::Text | PartKind::Refusal => {
                Item::Message { id: self.new_id("msg_"), status, role: Role::Assistant, content }
            }
            PartKind::Reasoning => Item::Reasoning { id: self.new_id("rs_"), status, summary: [], content },
        };
        self.add(item, outbox)?;
        self.growing = true;
        Ok(())
    }

    fn add(&mut self, item: Item, outbox: &mut Outbox) -> Result<(), Error> {
        outbox.push(kind::ITEM_ADDED, &ItemBody { output_index: self.output.len(), item: &item })?;
        self.output.push(item);
        Ok(())
    }

    fn tool_call(
        &mut self,
        index: u32,
        id: Option<String>,
        name: Option<String>,
        arguments: &str,
        outbox: &mut Outbox,
    ) -> Result<(), Stop> {
        self.grow(escaped_len(arguments))?;
        let output_index = match self.calls.get(&index) {
            Some(output_index) => *output_index,
            None => self.open_call(index, id, name, outbox)?,
        };
        if arguments.is_empty() {
            return Ok(());
        }
        let Some(Item::FunctionCall { id, arguments: all, .. }) = self.output.get_mut(output_index) else {
            return Err(misplaced().into());
        };
        all.push_str(arguments);
        let body = ArgumentsDelta { item_id: id, output_index, delta: arguments };
        Ok(outbox.push(kind::ARGUMENTS_DELTA, &body)?)
    }

    fn open_call(
        &mut self,
        index: u32,
        call_id: Option<String>,
        name: Option<String>,
        outbox: &mut Outbox,
    ) -> Result<usize, Stop> {
        let Some((call_id, name)) = call_id.zip(name) else {
            let text = "the backend began a tool call without its id and name";
            return Err(Stop::Fault(Error::new(ErrorCode::BackendError, text)));
        };
        if self.calls.len() == MAX_TOOL_CALLS {
            let text = format!("the backend made more than {MAX_TOOL_CALLS} tool calls in one answer");
            return Err(Stop::Fault(Error::new(ErrorCode::BackendError, text)));
        }
        self.grow(ITEM_BYTES + escaped_len(&call_id) + escaped_len(&name))?;
        self.close_growing(ItemStatus::Completed, outbox)?;
        let output_index = self.output.len();
        let (id, status) = (self.new_id("fc_"), ItemStatus::InProgress);
        self.add(Item::FunctionCall { id, status, call_id, name, arguments: String::new() }, outbox)?;
        self.calls.insert(index, output_index);
        Ok(output_index)
    }

    /// Ends all open items. If the answer is not whole, the last item is where it broke off.
    fn close_all(&mut self, whole: bool, outbox: &mut Outbox) -> Result<(), Error> {
        let last = self.output.len().saturating_sub(1);
        let status_at = |index: usize| {
            if whole || index < last { ItemStatus::Completed } else { ItemStatus::Incomplete }
        };
        // Calls lie before an item that grows: the one that was opened last.
        let mut calls: Vec<usize> = std::mem::take(&mut self.calls).into_values().collect();
        calls.sort_unstable();
        for output_index in calls {
            self.close_call(output_index, status_at(output_index), outbox)?;
        }
        self.close_growing(status_at(last), outbox)
    }

    fn close_call(&mut self, output_index: usize, to: ItemStatus, outbox: &mut Outbox) -> Result<(), Error> {
        let item = self.output.get_mut(output_index).ok_or_else(misplaced)?;
        if let Item::FunctionCall { id, name, arguments, .. } = item {
            let body = ArgumentsDone { item_id: id, output_index, name, arguments };
            outbox.push(kind::ARGUMENTS_DONE, &body)?;
        }
        *item.status_mut() = to;
        outbox.push(kind::ITEM_DONE, &ItemBody { output_index, item })
    }

    /// Ends the part and the item that grow, if there is one.
    fn close_growing(&mut self, to: ItemStatus, outbox: &mut Outbox) -> Result<(), Error> {
        if !self.growing {
            return Ok(());
        }
        self.close_part(outbox)?;
        self.growing = false;
        let output_index = self.output.len().saturating_sub(1);
        let item = self.output.last_mut().ok_or_else(misplaced)?;
        *item.status_mut() = to;
        outbox.push(kind::ITEM_DONE, &ItemBody { output_index, item })
    }

    fn close_part(&mut self, outbox: &mut Outbox) -> Result<(), Error> {
        let output_index = self.output.len().saturating_sub(1);
        let (item_id, parts) = self.output.last_mut().and_then(Item::parts_mut).ok_or_else(misplaced)?;
        let content_index = parts.len().saturating_sub(1);
        let part = parts.last().ok_or_else(misplaced)?;
        let place = Place { item_id, output_index, content_index };
        let text = part.text();
        match part.kind() {
            PartKind::Text => outbox.push(kind::TEXT_DONE, &TextDone { place, text, logprobs: Some([]) })?,
            PartKind::Refusal => outbox.push(kind::REFUSAL_DONE, &RefusalDone { place, refusal: text })?,
            PartKind::Reasoning => {
                outbox.push(kind::REASONING_DONE, &TextDone { place, text, logprobs: None })?
            }
        }
        outbox.push(kind::PART_DONE, &PartBody { item_id, output_index, content_index, part })
    }
}

/// The output and the notes on what is open contradict each other: a fault of ours.
fn misplaced() -> Error {
    Error::internal("the composer lost its place in the output")
}

#[cfg(test)]
mod tests {
    use tidemark_store::Seq;

    use super::*;
    use crate::runs::event::decode;
    use crate::runs::testing::TestClock;

    fn composer(limit: usize) -> (Composer, Outbox) {
        (Composer::new(Arc::new(TestClock::default()), limit), Outbox::new(Seq::new(3)))
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
        for step in [Step::Text("Hel".into()), Step::Text(String::new()), Step::Text("lo\n".into())] {
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
        assert_eq!(composer.output().len(), 2);
    }

    #[test]
    fn at_the_token_limit_only_the_last_item_is_incomplete() {
        let (mut composer, mut outbox) = composer(10_000);
        for step in
            [call(4, Some("a"), "{}"), Step::Text("cut".into()), Step::Finish(Finish::MaxOutputTokens)]
        {
            composer.apply(step, &mut outbox).unwrap();
        }
        let status: Vec<ItemStatus> =
            composer.output().to_vec().iter_mut().map(|item| *item.status_mut()).collect();
        assert_eq!(status, [ItemStatus::Completed, ItemStatus::Incomplete]);
    }

    #[test]
    fn a_failure_breaks_open_items_off_and_a_cancel_leaves_them() {
        for (ending, expected) in [
            (Ending::Failed(Error::internal("x")), ItemStatus::Incomplete),
            (Ending::Cancelled(crate::runs::Cancelled::ByRequest), ItemStatus::InProgress),
        ] {
            let (mut composer, mut outbox) = composer(10_000);
            composer.apply(Step::Text("cut".into()), &mut outbox).unwrap();
            outbox.take();
            composer.end(&ending, &mut outbox).unwrap();
            assert!(outbox.is_empty());
            assert_eq!(*composer.output.last_mut().unwrap().status_mut(), expected);
        }
    }

    #[test]
    fn the_step_that_passes_the_limit_is_not_put_out() {
        let (mut composer, mut outbox) = composer(ITEM_BYTES + 10);
        composer.apply(Step::Text("0123456789".into()), &mut outbox).unwrap();
        let before = outbox.len();
        assert!(matches!(composer.apply(Step::Text("x".into()), &mut outbox), Err(Stop::Limit)));
        assert_eq!(outbox.len(), before);
        composer.end(&Ending::Incomplete(Incomplete::MaxOutputBytes), &mut outbox).unwrap();
        assert_eq!(*composer.output.last_mut().unwrap().status_mut(), ItemStatus::Incomplete);
    }

    #[test]
    fn a_backend_that_breaks_the_rules_is_a_fault() {
        let code = |result: Result<(), Stop>| match result {
            Err(Stop::Fault(error)) => error.code(),
            other => panic!("{other:?}"),
        };
        let (mut first, mut outbox) = composer(1_000_000);
        assert_eq!(code(first.apply(call(0, None, "{}"), &mut outbox)), ErrorCode::BackendError);
        for index in 0..128 {
            first.apply(call(index, Some("a"), ""), &mut outbox).unwrap();
        }
        assert_eq!(code(first.apply(call(128, Some("a"), ""), &mut outbox)), ErrorCode::BackendError);
        let (mut second, mut outbox) = composer(1000);
        second.apply(Step::Finish(Finish::Stop), &mut outbox).unwrap();
        second.apply(Step::Usage(Usage::default()), &mut outbox).unwrap();
        assert_eq!(code(second.apply(Step::Text("more".into()), &mut outbox)), ErrorCode::BackendError);
    }
}
