//! What grows in an event: its tracks.
//!
//! It owns which events are deltas, of either API, and which of their members add up: texts are put behind each other, and lists.
//! Everything else of a delta says where it belongs, or is the same in each.

use crate::json::Node;
use crate::runs::chat::{MAX_DEPTH, is_whole};
use crate::runs::event::kind;
use crate::runs::output::{Effect, number};

/// A chunk of more tracks stays as it is.
const MAX_TRACKS: usize = 128;

/// What begins a choice or a call.
const OPENING: [&str; 3] = ["id", "name", "role"];

/// Where a track lies. Two deltas that share a place write the same text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A part of an item, or a member of it.
    Item(Effect, usize, Option<usize>),
    /// A member of a choice, by its path.
    Choice(String),
}

/// What a delta writes.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) places: Vec<Place>,
    /// Whether it says who speaks or what is called: clients count choices and calls in the order in which they come up.
    pub(super) opens: bool,
}

/// What grows, where it stands.
#[derive(Debug)]
pub(super) enum Track<'a> {
    Text(&'a mut String),
    List(&'a mut Vec<Node>),
}

/// What a track holds.
#[derive(Debug)]
pub(super) enum Growth {
    Text(String),
    List(Vec<Node>),
}

impl Track<'_> {
    /// Takes out what it holds.
    pub(super) fn take(self) -> Growth {
        match self {
            Self::Text(text) => Growth::Text(std::mem::take(text)),
            Self::List(list) => Growth::List(std::mem::take(list)),
        }
    }

    /// Puts back what it held. False if it is of the other kind.
    pub(super) fn put(self, growth: Growth) -> bool {
        match (self, growth) {
            (Self::Text(place), Growth::Text(text)) => *place = text,
            (Self::List(place), Growth::List(list)) => *place = list,
            _ => return false,
        }
        true
    }

    /// Leaves out what comes before `from`: bytes of a text, items of a list. False if there is no such place in it.
    pub(super) fn cut(self, from: usize) -> bool {
        match self {
            Self::Text(text) if text.is_char_boundary(from) => drop(text.drain(..from)),
            Self::List(list) if from <= list.len() => drop(list.drain(..from)),
            _ => return false,
        }
        true
    }
}

impl Growth {
    /// Bytes of a text, items of a list.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::List(list) => list.len(),
        }
    }

    /// How many bytes it needs as JSON.
    pub(super) fn json_len(&self) -> usize {
        match self {
            Self::Text(text) => crate::json::escaped_len(text),
            Self::List(list) => list.iter().map(|node| node.json_len() + 1).sum(),
        }
    }

    /// Adds what follows, of the same kind.
    pub(super) fn append(&mut self, next: Self) {
        match (self, next) {
            (Self::Text(text), Self::Text(more)) => text.push_str(&more),
            (Self::List(list), Self::List(mut more)) => list.append(&mut more),
            _ => {}
        }
    }
}

/// Visits all tracks of an event, always in the same order. `None` if it is no delta, or one whose tracks cannot be told apart: some
/// may have been visited.
pub(super) fn visit(event: &str, data: &mut Node, see: &mut dyn FnMut(Track<'_>)) -> Option<Shape> {
    if event == kind::CHAT_CHUNK { of_chunk(data, see) } else { of_item(Effect::of(event)?, data, see) }
}

fn of_item(effect: Effect, data: &mut Node, see: &mut dyn FnMut(Track<'_>)) -> Option<Shape> {
    if !matches!(effect, Effect::PartText(_) | Effect::ItemText(_)) {
        return None;
    }
    let index = match effect.parts() {
        Some(parts) => Some(number(data, parts.index())?),
        None => None,
    };
    let place = Place::Item(effect, number(data, "output_index")?, index);
    see(Track::Text(data.get("delta")?.string()?));
    if let Some(logprobs) = data.get("logprobs").and_then(Node::items) {
        see(Track::List(logprobs));
    }
    Some(Shape { places: vec![place], opens: false })
}

/// A chunk is a delta as long as none of its choices ends.
fn of_chunk(chunk: &mut Node, see: &mut dyn FnMut(Track<'_>)) -> Option<Shape> {
    let mut found = Finder { places: Vec::new(), opens: false, see };
    for choice in chunk.get("choices")?.items()? {
        if choice.get("finish_reason").is_some() {
            return None;
        }
        let number = choice.get("index").map_or(Some(0), |index| index.as_u64())?;
        if let Some(delta) = choice.get("delta") {
            found.delta(delta, &number.to_string())?;
        }
        if let Some(logprobs) = choice.get("logprobs") {
            found.members(logprobs, &format!("{number}/logprobs"), 0);
        }
    }
    let Finder { places, opens, .. } = found;
    let mut sorted: Vec<&String> = places.iter().collect();
    sorted.sort_unstable();
    // What stands twice grows in turn inside of one chunk.
    let is_clear = sorted.is_sorted_by(|one, next| one < next);
    let fits = is_clear && (1..=MAX_TRACKS).contains(&places.len());
    fits.then(|| Shape { places: places.into_iter().map(Place::Choice).collect(), opens })
}

/// Finds the members that add up in the answer of a chat, as [`crate::runs::chat::Answer`] adds them up.
struct Finder<'a> {
    places: Vec<String>,
    opens: bool,
    see: &'a mut dyn FnMut(Track<'_>),
}

impl Finder<'_> {
    fn delta(&mut self, delta: &mut Node, path: &str) -> Option<()> {
        for (name, node) in delta.each() {
            match name {
                "tool_calls" if !node.is_null() => {
                    for call in node.items()? {
                        // A piece without a number is of the call before it, whichever that is.
                        let number = call.get("index")?.as_u64()?;
                        self.members(call, &format!("{path}/calls/{number}"), 0);
                    }
                }
                // Encoded sound is not a text that could be put together.
                "audio" if !node.is_null() => return None,
                _ => self.member(name, node, path, 0),
            }
        }
        Some(())
    }

    fn members(&mut self, object: &mut Node, path: &str, depth: usize) {
        for (name, node) in object.each() {
            self.member(name, node, path, depth);
        }
    }

    fn member(&mut self, name: &str, node: &mut Node, path: &str, depth: usize) {
        let path = || format!("{path}/{name}");
        if node.is_object() {
            if depth < MAX_DEPTH {
                self.members(node, &path(), depth + 1);
            }
        } else if is_whole(name) {
            self.opens |= OPENING.contains(&name) && node.as_str().is_some_and(|text| !text.is_empty());
        } else if let Some(text) = node.string() {
            self.places.push(path());
            (self.see)(Track::Text(text));
        } else if let Some(list) = node.items() {
            self.places.push(path());
            (self.see)(Track::List(list));
        }
    }
}
