//! The output of a response, as its events add up to it.
//!
//! It owns what each type of event adds, and where. The run that writes the events and the recovery that reads them back use the
//! same rules, so that both have the same output. Items keep the bytes and the fields that they came with.

use crate::error::Error;
use crate::json::Node;
use crate::runs::event::kind;
use crate::runs::item::{PartKind, Status};

/// The items of an answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Output(Vec<Node>);

/// A list of parts in an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parts {
    Content,
    Summary,
}

impl Parts {
    /// The member of the item.
    fn member(self) -> &'static str {
        match self {
            Self::Content => "content",
            Self::Summary => "summary",
        }
    }

    /// The field of an event that says which part.
    pub(super) fn index(self) -> &'static str {
        match self {
            Self::Content => "content_index",
            Self::Summary => "summary_index",
        }
    }
}

/// What an event does to the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Puts an item into its place.
    Item,
    /// Puts a part into its place.
    Part(Parts),
    /// Adds to the text of a part.
    PartText(PartKind),
    /// Puts an annotation to the text of a part.
    Annotation,
    /// Adds to this member of an item.
    ItemText(&'static str),
    /// Repeats what other events have said, of this list.
    Repeats(Parts),
}

impl Effect {
    /// What an event of this type does; `None` for one that is not known.
    pub(super) fn of(event: &str) -> Option<Self> {
        Some(match event {
            kind::ITEM_ADDED | kind::ITEM_DONE => Self::Item,
            kind::PART_ADDED | kind::PART_DONE => Self::Part(Parts::Content),
            kind::SUMMARY_PART_ADDED | kind::SUMMARY_PART_DONE => Self::Part(Parts::Summary),
            kind::TEXT_DELTA => Self::PartText(PartKind::Text),
            kind::REFUSAL_DELTA => Self::PartText(PartKind::Refusal),
            kind::REASONING_DELTA | kind::OPEN_REASONING_DELTA => Self::PartText(PartKind::Reasoning),
            kind::SUMMARY_DELTA => Self::PartText(PartKind::Summary),
            kind::ANNOTATION_ADDED => Self::Annotation,
            kind::ARGUMENTS_DELTA | kind::MCP_ARGUMENTS_DELTA => Self::ItemText("arguments"),
            kind::CUSTOM_INPUT_DELTA => Self::ItemText("input"),
            kind::CODE_DELTA => Self::ItemText("code"),
            kind::TEXT_DONE | kind::REFUSAL_DONE | kind::REASONING_DONE | kind::OPEN_REASONING_DONE => {
                Self::Repeats(Parts::Content)
            }
            kind::SUMMARY_DONE => Self::Repeats(Parts::Summary),
            _ => return None,
        })
    }

    /// The list of parts that it is about.
    pub(super) fn parts(self) -> Option<Parts> {
        match self {
            Self::Part(parts) | Self::Repeats(parts) => Some(parts),
            Self::PartText(PartKind::Summary) => Some(Parts::Summary),
            Self::PartText(PartKind::Text | PartKind::Refusal | PartKind::Reasoning) | Self::Annotation => {
                Some(Parts::Content)
            }
            Self::Item | Self::ItemText(_) => None,
        }
    }
}

impl Output {
    /// The items, in their order.
    pub(super) fn items(&self) -> &[Node] {
        &self.0
    }

    /// How many items there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The item at this place.
    pub(super) fn item(&mut self, index: usize) -> Option<&mut Node> {
        self.0.get_mut(index)
    }

    /// Appends an item.
    pub(super) fn push(&mut self, item: Node) {
        self.0.push(item);
    }

    /// The parts that an item has.
    pub(super) fn existing(&mut self, item: usize, parts: Parts) -> &mut [Node] {
        let list =
            self.0.get_mut(item).and_then(|item| item.get(parts.member())).and_then(|list| list.items());
        list.map_or(&mut [], Vec::as_mut_slice)
    }

    /// The list of parts of an item; made if the item has none yet.
    pub(super) fn parts(&mut self, item: usize, parts: Parts) -> Option<&mut Vec<Node>> {
        list(self.0.get_mut(item)?, parts.member())
    }

    /// The text of a part. One that is right behind the others is begun.
    ///
    /// # Errors
    /// `internal` if a part cannot be written.
    pub(super) fn part(
        &mut self,
        item: usize,
        index: usize,
        kind: PartKind,
    ) -> Result<Option<&mut Node>, Error> {
        let of = if kind == PartKind::Summary { Parts::Summary } else { Parts::Content };
        let Some(parts) = self.parts(item, of) else { return Ok(None) };
        if index == parts.len() {
            parts.push(kind.empty()?);
        }
        Ok(parts.get_mut(index))
    }

    /// Says of an item where it stands.
    pub(super) fn set_status(&mut self, item: usize, status: Status) {
        if let Some(item) = self.0.get_mut(item) {
            item.set("status", Node::text(status.name()));
        }
    }

    /// Says of all items that were being written that they will not be finished.
    pub(super) fn break_off(&mut self) {
        let writing = |item: &mut Node| {
            item.get("status")
                .and_then(|status| status.as_str())
                .is_some_and(|name| name == Status::InProgress.name())
        };
        for item in &mut self.0 {
            if writing(item) {
                item.set("status", Node::text(Status::Incomplete.name()));
            }
        }
    }

    /// Does to the output what an event with this data does. False if the event has no place in it: nothing is changed then.
    ///
    /// # Errors
    /// `internal` if a part cannot be written.
    pub(super) fn take_in(&mut self, effect: Effect, mut data: Node) -> Result<bool, Error> {
        let Some(item) = number(&mut data, "output_index") else { return Ok(false) };
        let index = effect.parts().and_then(|parts| number(&mut data, parts.index())).unwrap_or(0);
        if effect.parts().is_some_and(|parts| index > self.existing(item, parts).len()) {
            return Ok(false);
        }
        Ok(match effect {
            Effect::Item => data.remove("item").is_some_and(|new| put(&mut self.0, item, new)),
            Effect::Part(parts) => match data.remove("part") {
                Some(new) => self.parts(item, parts).is_some_and(|parts| put(parts, index, new)),
                None => false,
            },
            Effect::PartText(kind) => self.part_text(item, index, kind, &mut data)?,
            Effect::Annotation => self.annotation(item, index, &mut data)?,
            Effect::ItemText(member) => {
                self.0.get_mut(item).is_some_and(|item| append(item, member, &mut data))
            }
            Effect::Repeats(_) => item < self.0.len(),
        })
    }

    fn part_text(
        &mut self,
        item: usize,
        index: usize,
        kind: PartKind,
        data: &mut Node,
    ) -> Result<bool, Error> {
        if data.get("delta").and_then(|delta| delta.string()).is_none() {
            return Ok(false);
        }
        let Some(part) = self.part(item, index, kind)? else { return Ok(false) };
        if !append(part, kind.member(), data) {
            return Ok(false);
        }
        if let Some(more) = data.get("logprobs").and_then(Node::items).filter(|more| !more.is_empty())
            && let Some(logprobs) = list(part, "logprobs")
        {
            logprobs.append(more);
        }
        Ok(true)
    }

    fn annotation(&mut self, item: usize, index: usize, data: &mut Node) -> Result<bool, Error> {
        let (Some(new), Some(at)) = (data.remove("annotation"), number(data, "annotation_index")) else {
            return Ok(false);
        };
        let part = self.existing(item, Parts::Content).get_mut(index);
        let count = part
            .and_then(|part| part.get("annotations"))
            .and_then(|list| list.items())
            .map_or(0, |l| l.len());
        if at > count {
            return Ok(false);
        }
        let part = self.part(item, index, PartKind::Text)?;
        Ok(part.and_then(|part| list(part, "annotations")).is_some_and(|list| put(list, at, new)))
    }
}

/// A field of an event that is a place in a list.
pub(super) fn number(data: &mut Node, field: &str) -> Option<usize> {
    data.get(field).and_then(|number| number.as_u64()).and_then(|number| usize::try_from(number).ok())
}

/// Puts `value` where it belongs, if that is in the list or right behind it.
fn put(list: &mut Vec<Node>, index: usize, value: Node) -> bool {
    let length = list.len();
    match list.get_mut(index) {
        Some(place) => *place = value,
        None if index == length => list.push(value),
        None => return false,
    }
    true
}

/// A list that is a member of an object; made if it is not there.
fn list<'a>(object: &'a mut Node, member: &str) -> Option<&'a mut Vec<Node>> {
    if object.get(member).is_none() {
        object.set(member, Node::list(Vec::new()));
    }
    object.get(member)?.items()
}

/// Adds the `delta` of an event to a text that is a member of an object; the text is made if it is not there.
fn append(object: &mut Node, member: &str, data: &mut Node) -> bool {
    let Some(delta) = data.get("delta").and_then(|delta| delta.string()) else { return false };
    if object.get(member).is_none() {
        object.set(member, Node::text(""));
    }
    let text = object.get(member).and_then(|text| text.string());
    text.map(|text| text.push_str(delta)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The output after these events.
    fn after(events: &[(&str, &str)]) -> (String, Vec<bool>) {
        let mut output = Output::default();
        let taken = events.iter().map(|(event, data)| {
            output.take_in(Effect::of(event).unwrap(), Node::parse(data).unwrap()).unwrap()
        });
        let taken = taken.collect();
        (serde_json::to_string(output.items()).unwrap(), taken)
    }

    #[test]
    fn deltas_add_up_in_every_kind_of_item() {
        let (output, taken) = after(&[
            (kind::ITEM_ADDED, r#"{"output_index":0,"item":{"x":1.0,"type":"reasoning","summary":[]}}"#),
            (
                kind::SUMMARY_PART_ADDED,
                r#"{"output_index":0,"summary_index":0,"part":{"type":"summary_text","text":"a"}}"#,
            ),
            (kind::SUMMARY_DELTA, r#"{"output_index":0,"summary_index":0,"delta":"b"}"#),
            (kind::OPEN_REASONING_DELTA, r#"{"output_index":0,"content_index":0,"delta":"hm"}"#),
            (kind::ITEM_ADDED, r#"{"output_index":1,"item":{"type":"custom_tool_call"}}"#),
            (kind::CUSTOM_INPUT_DELTA, r#"{"output_index":1,"delta":"in"}"#),
            (kind::ITEM_ADDED, r#"{"output_index":2,"item":{"type":"message","content":[]}}"#),
            (
                kind::TEXT_DELTA,
                r#"{"output_index":2,"content_index":0,"delta":"t","logprobs":[{"token":"t","n":1.50}]}"#,
            ),
            (
                kind::ANNOTATION_ADDED,
                r#"{"output_index":2,"content_index":0,"annotation_index":0,"annotation":{"u":1}}"#,
            ),
            (kind::TEXT_DONE, r#"{"output_index":2,"content_index":0,"text":"t"}"#),
        ]);
        let expected = concat!(
            r#"[{"x":1.0,"type":"reasoning","summary":[{"type":"summary_text","text":"ab"}],"#,
            r#""content":[{"type":"reasoning_text","text":"hm"}]},{"type":"custom_tool_call","input":"in"},"#,
            r#"{"type":"message","content":[{"type":"output_text","text":"t","annotations":[{"u":1}],"#,
            r#""logprobs":[{"token":"t","n":1.50}]}]}]"#,
        );
        assert_eq!(output, expected);
        assert!(taken.iter().all(|taken| *taken));
    }

    #[test]
    fn what_has_no_place_changes_nothing() {
        let added = (kind::ITEM_ADDED, r#"{"output_index":0,"item":{"content":"odd","arguments":7}}"#);
        for (event, data) in [
            (kind::ITEM_ADDED, r#"{"output_index":2,"item":{}}"#),
            (kind::ITEM_ADDED, r#"{"output_index":1}"#),
            (kind::ITEM_DONE, r#"{"item":{}}"#),
            (kind::TEXT_DELTA, r#"{"output_index":0,"content_index":0,"delta":"x"}"#),
            (kind::TEXT_DELTA, r#"{"output_index":1,"content_index":0,"delta":"x"}"#),
            (kind::ARGUMENTS_DELTA, r#"{"output_index":0,"delta":"x"}"#),
            (kind::ARGUMENTS_DELTA, r#"{"output_index":-1,"delta":"x"}"#),
            (kind::PART_ADDED, r#"{"output_index":0,"content_index":0,"part":{}}"#),
            (kind::SUMMARY_PART_ADDED, r#"{"output_index":3,"summary_index":0,"part":{}}"#),
            (kind::TEXT_DONE, r#"{"output_index":1,"content_index":0}"#),
        ] {
            let (output, taken) = after(&[added, (event, data)]);
            assert_eq!(
                (output.as_str(), taken[1]),
                (r#"[{"content":"odd","arguments":7}]"#, false),
                "{data}"
            );
        }
    }
}
