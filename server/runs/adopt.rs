//! From the events that a backend wrote to the events of our response.
//!
//! It owns whose ids and places an event carries: what the backend called an item gets one id and one place of ours, in every
//! event and in the output (D-27). All else of an event, known or not, keeps its bytes. What the contract demands of the events
//! that it knows and a backend left out (places, empty lists) is filled in. It must never know which dialect the events came in.

use crate::backends::ItemEvent;
use crate::error::Error;
use crate::json::{Node, escaped_len};
use crate::runs::compose::{Draft, Extent, ITEM_BYTES, Stop, breach};
use crate::runs::event::{Outbox, kind};
use crate::runs::id::ResponseId;
use crate::runs::item::PartKind;
use crate::runs::output::{Effect, Output, Parts, number};
use crate::runs::pieces::item_done;

/// The most items of one answer. It bounds the events of one append, because all that are open end together.
const MAX_ITEMS: usize = 1024;

/// Fields of an event that are always our own, or of the one connection to the backend.
const OURS: [&str; 3] = ["type", "sequence_number", "obfuscation"];

/// The longest prefix of an id that is kept, with its underscore, in bytes.
const MAX_PREFIX_BYTES: usize = 8;

/// The items that a backend has told of.
#[derive(Debug)]
pub(super) struct Adopted {
    response_id: String,
    seats: Vec<Seat>,
}

/// An item under both its names.
#[derive(Debug)]
struct Seat {
    /// Its id at the backend, if it has one there.
    theirs: Option<String>,
    /// Its place at the backend, if it was given one.
    number: Option<usize>,
    id: String,
    output_index: usize,
    done: bool,
}

impl Adopted {
    /// For the response with this id.
    pub(super) fn new(response_id: ResponseId) -> Self {
        Self { response_id: response_id.to_string(), seats: Vec::new() }
    }

    /// Takes in one event.
    pub(super) fn apply(
        &mut self,
        event: ItemEvent,
        draft: &mut Draft,
        outbox: &mut Outbox,
    ) -> Result<(), Stop> {
        let (name, mut data) = event.into_parts();
        for field in OURS {
            data.remove(field);
        }
        self.name_response(&mut data);
        let Some(effect) = Effect::of(&name) else {
            self.name_item(&mut data)?;
            return Ok(outbox.push(&name, &data)?);
        };
        let at = match effect {
            Effect::Item => self.seat_item(&name, &mut data, draft, outbox)?,
            _ => self.name_item(&mut data)?.ok_or_else(|| stray(&name))?,
        };
        let bytes = growth(effect, at, &mut data, &mut draft.output);
        draft.grow(bytes)?;
        complete(&name, effect, at, &mut data, &mut draft.output, outbox)?;
        outbox.push(&name, &data)?;
        if draft.output.take_in(effect, data)? {
            return Ok(());
        }
        outbox.retract();
        Err(stray(&name))
    }

    /// Ends the items of which the backend has not said that they are done.
    pub(super) fn close(
        &mut self,
        extent: Extent,
        draft: &mut Draft,
        outbox: &mut Outbox,
    ) -> Result<(), Error> {
        for seat in self.seats.iter_mut().filter(|seat| !seat.done) {
            let status = extent.status(seat.output_index, &draft.output);
            item_done(seat.output_index, status, draft, outbox)?;
            seat.done = true;
        }
        Ok(())
    }

    /// Puts our id where the backend has named its response.
    fn name_response(&self, data: &mut Node) {
        let ours = || Node::text(self.response_id.as_str());
        if data.get("response_id").is_some() {
            data.set("response_id", ours());
        }
        if let Some(response) = data.get("response")
            && response.get("id").is_some()
        {
            response.set("id", ours());
        }
    }

    /// Puts our id and place where an event names an item. Returns the place; `None` if no item is named.
    fn name_item(&mut self, data: &mut Node) -> Result<Option<usize>, Stop> {
        let (number, theirs) = (number(data, "output_index"), text(data, "item_id"));
        if number.is_none() && theirs.is_none() {
            return Ok(None);
        }
        let seat = self.find(number, theirs.as_deref());
        let seat =
            seat.ok_or_else(|| breach("the backend sent an event of an item that it had not begun"))?;
        data.set("item_id", Node::text(seat.id.as_str()));
        data.set("output_index", Node::of(&seat.output_index)?);
        Ok(Some(seat.output_index))
    }

    /// Puts our id and place into an event that carries an item, and gives a new item both. An item of which the first word is
    /// that it is done is begun first.
    fn seat_item(
        &mut self,
        name: &str,
        data: &mut Node,
        draft: &mut Draft,
        outbox: &mut Outbox,
    ) -> Result<usize, Stop> {
        let number = number(data, "output_index");
        let item = data.get("item").filter(|item| item.is_object()).ok_or_else(|| stray(name))?;
        let theirs = text(item, "id");
        let is_new = self.find(number, theirs.as_deref()).is_none();
        if is_new {
            if self.seats.len() == MAX_ITEMS {
                return Err(breach(format!("the backend put out more than {MAX_ITEMS} items in one answer")));
            }
            draft.grow(ITEM_BYTES)?;
            let (id, output_index) = (draft.new_id(&prefix(item, theirs.as_deref())), draft.output.len());
            self.seats.push(Seat { theirs: theirs.clone(), number, id, output_index, done: false });
        }
        let seat = self.find(number, theirs.as_deref()).ok_or_else(|| stray(name))?;
        item.set("id", Node::text(seat.id.as_str()));
        if data.get("item_id").is_some() {
            data.set("item_id", Node::text(seat.id.as_str()));
        }
        data.set("output_index", Node::of(&seat.output_index)?);
        seat.done = name == kind::ITEM_DONE;
        if is_new && seat.done {
            outbox.push(kind::ITEM_ADDED, data)?;
        }
        Ok(seat.output_index)
    }

    /// The item with this place or, if the backend gives none, with this id. The place comes first: there are servers that
    /// change an item's id on the way.
    fn find(&mut self, number: Option<usize>, theirs: Option<&str>) -> Option<&mut Seat> {
        self.seats.iter_mut().rev().find(|seat| match (number, seat.number) {
            (Some(number), Some(found)) => number == found,
            _ => theirs.is_some() && seat.theirs.as_deref() == theirs,
        })
    }
}

fn stray(event: &str) -> Stop {
    breach(format!("the backend sent `{event}` where it has no place"))
}

fn text(data: &mut Node, field: &str) -> Option<String> {
    Some(data.get(field)?.as_str()?.into_owned())
}

/// What our id begins with: as the backend's, if that has the usual form, else by the type of the item.
fn prefix(item: &mut Node, theirs: Option<&str>) -> String {
    let usual = |id: &str| {
        let prefix = id.get(..=id.find('_')?)?;
        let letters = prefix.trim_end_matches('_').bytes().all(|byte| byte.is_ascii_lowercase());
        (letters && (2..=MAX_PREFIX_BYTES).contains(&prefix.len())).then(|| prefix.to_owned())
    };
    theirs.and_then(usual).unwrap_or_else(|| {
        let by_type = match text(item, "type").as_deref() {
            Some("message") => "msg_",
            Some("reasoning") => "rs_",
            Some("function_call") => "fc_",
            _ => "item_",
        };
        by_type.to_owned()
    })
}

/// Fills in what the contract demands: the index of the part (the newest one), and lists that are empty. A part of which the
/// first word is its text is begun first.
fn complete(
    name: &str,
    effect: Effect,
    at: usize,
    data: &mut Node,
    output: &mut Output,
    outbox: &mut Outbox,
) -> Result<(), Stop> {
    let Some(parts) = effect.parts() else { return Ok(()) };
    let count = output.existing(at, parts).len();
    let is_new = matches!(name, kind::PART_ADDED | kind::SUMMARY_PART_ADDED);
    let newest = if is_new { count } else { count.saturating_sub(1) };
    let index = number(data, parts.index()).unwrap_or(newest);
    data.set(parts.index(), Node::of(&index)?);
    if matches!(name, kind::TEXT_DELTA | kind::TEXT_DONE) && data.get("logprobs").is_none() {
        data.set("logprobs", Node::list(Vec::new()));
    }
    if let Some(part) = data.get("part")
        && text(part, "type").as_deref() == Some("output_text")
    {
        part.extend(PartKind::Text.empty()?);
    }
    match effect {
        Effect::PartText(of) if index == count => {
            begin_part(of, parts, data, output.part(at, index, of)?, outbox)
        }
        _ => Ok(()),
    }
}

fn begin_part(
    of: PartKind,
    parts: Parts,
    data: &mut Node,
    part: Option<&mut Node>,
    outbox: &mut Outbox,
) -> Result<(), Stop> {
    let mut added = Node::object();
    for field in ["item_id", "output_index", parts.index()] {
        if let Some(value) = data.get(field) {
            added.set(field, value.clone());
        }
    }
    if let Some(part) = part {
        added.set("part", part.clone());
    }
    let name = if of == PartKind::Summary { kind::SUMMARY_PART_ADDED } else { kind::PART_ADDED };
    Ok(outbox.push(name, &added)?)
}

/// How many bytes an event adds to the output.
fn growth(effect: Effect, at: usize, data: &mut Node, output: &mut Output) -> usize {
    let len = |node: Option<&mut Node>| node.map_or(0, |node| node.json_len());
    match effect {
        Effect::Item => len(data.get("item")).saturating_sub(len(output.item(at))),
        Effect::Part(parts) => {
            let index = number(data, parts.index()).unwrap_or_default();
            let old = output.existing(at, parts).get_mut(index);
            let begun = if old.is_some() { 0 } else { ITEM_BYTES };
            begun + len(data.get("part")).saturating_sub(len(old))
        }
        Effect::PartText(_) | Effect::ItemText(_) => {
            text(data, "delta").map_or(0, |delta| escaped_len(&delta)) + len(data.get("logprobs"))
        }
        Effect::Annotation => len(data.get("annotation")),
        Effect::Repeats(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidemark_store::Seq;

    use super::*;
    use crate::backends::{Finish, Step};
    use crate::runs::compose::Composer;
    use crate::runs::event::decode;
    use crate::runs::status::{Ending, Incomplete};
    use crate::runs::testing::TestClock;

    const RESPONSE: &str = "resp_01010101010101010101010101010101";

    struct Desk {
        composer: Composer,
        outbox: Outbox,
    }

    impl Desk {
        fn new(limit: usize) -> Self {
            let id = ResponseId::from_bytes([1; 16]);
            let composer = Composer::new(Arc::new(TestClock::default()), limit, id);
            Self { composer, outbox: Outbox::new(Seq::FIRST) }
        }

        fn tell(&mut self, kind: &str, data: &str) -> Result<(), Stop> {
            let event = ItemEvent::new(kind.to_owned(), Node::parse(data).unwrap()).unwrap();
            self.composer.apply(Step::Event(event), &mut self.outbox)
        }

        /// The data of the events so far.
        fn lines(&mut self) -> Vec<String> {
            let data = |payload| String::from_utf8(decode(payload).unwrap().1.to_vec()).unwrap();
            self.outbox.take().iter().map(data).collect()
        }

        fn output(&mut self) -> String {
            serde_json::to_string(self.composer.output().unwrap()).unwrap()
        }
    }

    fn ours(prefix: &str, number: usize) -> String {
        format!("{prefix}{number:032x}")
    }

    #[test]
    fn one_item_has_one_id_and_one_place_in_every_event_and_unknown_fields_keep_their_bytes() {
        let mut desk = Desk::new(10_000);
        for (kind, data) in [
            (
                kind::ITEM_ADDED,
                r#"{"type":"response.output_item.added","sequence_number":7,"output_index":4,"item":{"id":"ws_b","type":"web_search_call","x":1.0}}"#,
            ),
            (
                "response.web_search_call.searching",
                r#"{"sequence_number":8,"output_index":4,"item_id":"ws_b","new":{ "k":1e2 }}"#,
            ),
            (
                kind::ITEM_DONE,
                r#"{"output_index":4,"item":{"type":"web_search_call","id":"ws_CHANGED","y":2.0}}"#,
            ),
            (
                "vendor:note",
                r#"{"response_id":"resp_theirs","response":{"id":"resp_theirs"},"obfuscation":"xx"}"#,
            ),
        ] {
            desk.tell(kind, data).unwrap();
        }
        let id = ours("ws_", 1);
        let expected = [
            format!(
                r#"{{"type":"response.output_item.added","sequence_number":0,"output_index":0,"item":{{"id":"{id}","type":"web_search_call","x":1.0}}}}"#
            ),
            format!(
                r#"{{"type":"response.web_search_call.searching","sequence_number":1,"output_index":0,"item_id":"{id}","new":{{ "k":1e2 }}}}"#
            ),
            format!(
                r#"{{"type":"response.output_item.done","sequence_number":2,"output_index":0,"item":{{"type":"web_search_call","id":"{id}","y":2.0}}}}"#
            ),
            format!(
                r#"{{"type":"vendor:note","sequence_number":3,"response_id":"{RESPONSE}","response":{{"id":"{RESPONSE}"}}}}"#
            ),
        ];
        assert_eq!(desk.lines(), expected);
        assert_eq!(desk.output(), format!(r#"[{{"type":"web_search_call","id":"{id}","y":2.0}}]"#));
    }

    #[test]
    fn places_and_lists_that_a_backend_leaves_out_are_filled_in() {
        let mut desk = Desk::new(10_000);
        for (kind, data) in [
            (kind::ITEM_ADDED, r#"{"item":{"type":"reasoning","id":"a","status":"in_progress"}}"#),
            (kind::REASONING_DELTA, r#"{"item_id":"a","delta":"hm"}"#),
            (kind::ITEM_DONE, r#"{"item":{"type":"reasoning","id":"a","status":"completed"}}"#),
            (kind::ITEM_ADDED, r#"{"item":{"type":"message","id":"b","status":"in_progress"}}"#),
            (kind::PART_ADDED, r#"{"item_id":"b","part":{"type":"output_text","text":""}}"#),
            (kind::TEXT_DELTA, r#"{"item_id":"b","delta":"t"}"#),
            (kind::PART_ADDED, r#"{"item_id":"b","part":{"type":"refusal","refusal":""}}"#),
            (kind::REFUSAL_DELTA, r#"{"item_id":"b","delta":"no"}"#),
        ] {
            desk.tell(kind, data).unwrap();
        }
        let lines = desk.lines();
        let (first, second) = (ours("rs_", 1), ours("msg_", 2));
        let at = |id: &str, output: usize, content: usize| {
            [
                format!(r#""item_id":"{id}""#),
                format!(r#""output_index":{output}"#),
                format!(r#""content_index":{content}"#),
            ]
        };
        for (line, fields) in [
            (1, at(&first, 0, 0)),
            (2, at(&first, 0, 0)),
            (5, at(&second, 1, 0)),
            (6, at(&second, 1, 0)),
            (7, at(&second, 1, 1)),
            (8, at(&second, 1, 1)),
        ] {
            assert!(fields.iter().all(|field| lines[line].contains(field)), "{}", lines[line]);
        }
        assert!(
            lines[1].contains("response.content_part.added"),
            "a part begins before its text: {}",
            lines[1]
        );
        assert!(lines[5].contains(r#""annotations":[],"logprobs":[]"#), "{}", lines[5]);
        assert!(lines[6].contains(r#""logprobs":[]"#), "{}", lines[6]);
        let content = r#""content":[{"type":"output_text","text":"t","annotations":[],"logprobs":[]},{"type":"refusal","refusal":"no"}]"#;
        assert!(desk.output().contains(content), "{}", desk.output());
    }

    #[test]
    fn what_is_still_open_is_ended_as_the_answer_ends() {
        let open = |desk: &mut Desk| {
            for (kind, data) in [
                (
                    kind::ITEM_ADDED,
                    r#"{"output_index":0,"item":{"type":"function_call","id":"fc_1","status":"in_progress","arguments":""}}"#,
                ),
                (kind::ARGUMENTS_DELTA, r#"{"output_index":0,"item_id":"fc_1","delta":"{}"}"#),
                (
                    kind::ITEM_ADDED,
                    r#"{"output_index":1,"item":{"type":"message","id":"msg_1","status":"in_progress"}}"#,
                ),
            ] {
                desk.tell(kind, data).unwrap();
            }
            desk.lines();
        };
        for (finish, last) in [(Finish::Stop, "completed"), (Finish::ContentFilter, "incomplete")] {
            let mut desk = Desk::new(10_000);
            open(&mut desk);
            desk.composer.apply(Step::Finish(finish), &mut desk.outbox).unwrap();
            desk.composer.end(&Ending::Incomplete(Incomplete::ContentFilter), &mut desk.outbox).unwrap();
            let lines = desk.lines();
            assert_eq!(lines.len(), 2, "each ends once");
            assert!(lines[0].contains(r#""status":"completed","arguments":"{}""#), "{}", lines[0]);
            assert!(lines[1].contains(&format!(r#""status":"{last}""#)), "{}", lines[1]);
        }
        for (ending, expected) in [
            (Ending::Failed(Error::internal("x")), "incomplete"),
            (Ending::Cancelled(crate::runs::Cancelled::ByRequest), "in_progress"),
        ] {
            let mut desk = Desk::new(10_000);
            open(&mut desk);
            desk.composer.end(&ending, &mut desk.outbox).unwrap();
            assert!(desk.outbox.is_empty());
            assert_eq!(desk.output().matches(&format!(r#""status":"{expected}""#)).count(), 2);
        }
    }

    #[test]
    fn an_item_of_which_the_first_word_is_that_it_is_done_is_begun_first() {
        let mut desk = Desk::new(10_000);
        desk.tell(kind::ITEM_DONE, r#"{"output_index":0,"item":{"type":"message","content":[]}}"#).unwrap();
        let lines = desk.lines();
        assert!(lines[0].contains(kind::ITEM_ADDED) && lines[1].contains(kind::ITEM_DONE), "{lines:?}");
        assert_eq!(
            desk.output(),
            format!(r#"[{{"type":"message","content":[],"id":"{}"}}]"#, ours("msg_", 1))
        );
    }

    #[test]
    fn an_event_without_a_place_is_a_fault_and_is_not_put_out() {
        let added = r#"{"output_index":0,"item":{"type":"message","id":"msg_1","content":[]}}"#;
        for (kind, data) in [
            (kind::TEXT_DELTA, r#"{"item_id":"msg_2","content_index":0,"delta":"x"}"#),
            (kind::TEXT_DELTA, r#"{"delta":"x"}"#),
            (kind::TEXT_DELTA, r#"{"item_id":"msg_1","content_index":1,"delta":"x"}"#),
            (kind::TEXT_DELTA, r#"{"item_id":"msg_1","content_index":0}"#),
            (kind::ITEM_ADDED, r#"{"output_index":1,"item":"x"}"#),
            (kind::PART_DONE, r#"{"output_index":0,"content_index":1,"part":{}}"#),
            ("vendor:unknown", r#"{"item_id":"msg_2"}"#),
        ] {
            let mut desk = Desk::new(10_000);
            desk.tell(kind::ITEM_ADDED, added).unwrap();
            desk.lines();
            let Err(Stop::Fault(error)) = desk.tell(kind, data) else { panic!("{data} is no fault") };
            assert_eq!(error.code(), tidemark_proto::v1::ErrorCode::BackendError);
            assert!(desk.lines().iter().all(|line| !line.contains(kind)), "{data}");
        }
    }

    #[test]
    fn the_output_is_bounded_however_it_grows() {
        let text = "x".repeat(400);
        for (kind, data) in [
            (
                kind::ITEM_DONE,
                format!(r#"{{"output_index":0,"item":{{"id":"msg_1","content":["{text}"]}}}}"#),
            ),
            (
                kind::PART_DONE,
                format!(r#"{{"output_index":0,"content_index":0,"part":{{"text":"{text}"}}}}"#),
            ),
            (kind::TEXT_DELTA, format!(r#"{{"output_index":0,"content_index":0,"delta":"{text}"}}"#)),
            (
                kind::ANNOTATION_ADDED,
                format!(r#"{{"output_index":0,"content_index":0,"annotation":"{text}"}}"#),
            ),
        ] {
            let mut desk = Desk::new(ITEM_BYTES + 300);
            desk.tell(kind::ITEM_ADDED, r#"{"output_index":0,"item":{"id":"msg_1"}}"#).unwrap();
            assert!(matches!(desk.tell(kind, &data), Err(Stop::Limit)), "{kind}");
            assert_eq!(desk.lines().len(), 1);
        }
        let mut desk = Desk::new(usize::MAX);
        for number in 0..MAX_ITEMS {
            desk.tell(kind::ITEM_ADDED, &format!(r#"{{"output_index":{number},"item":{{}}}}"#)).unwrap();
        }
        assert!(matches!(
            desk.tell(kind::ITEM_ADDED, r#"{"output_index":9999,"item":{}}"#),
            Err(Stop::Fault(_))
        ));
    }

    #[test]
    fn a_usual_prefix_is_kept() {
        for (item, expected) in [
            (r#"{"id":"mcpr_x"}"#, "mcpr_"),
            (r#"{"id":"Odd_x","type":"message"}"#, "msg_"),
            (r#"{"id":"_x","type":"reasoning"}"#, "rs_"),
            (r#"{"id":"toolongprefix_x","type":"function_call"}"#, "fc_"),
            (r#"{"type":"new_call"}"#, "item_"),
        ] {
            let mut item = Node::parse(item).unwrap();
            let theirs = text(&mut item, "id");
            assert_eq!(prefix(&mut item, theirs.as_deref()), expected);
        }
    }
}
