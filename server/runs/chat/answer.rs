//! The answer of a chat, as its chunks add up to it.
//!
//! It owns what each member of a chunk adds. The run that writes the chunks and the recovery that reads them back use the same
//! rules, so that both have the same answer. What nobody knows is kept: text grows, lists grow, everything else is replaced.

use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::json::Node;

/// The most choices of one answer.
const MAX_CHOICES: usize = 128;

/// The most tool calls of one choice.
const MAX_TOOL_CALLS: usize = 128;

/// The most members, besides those of the contract, that an answer or a choice has. Further ones stay in their chunks.
const MAX_EXTRAS: usize = 64;

/// So deep objects in a delta are merged; deeper ones are replaced.
pub(in crate::runs) const MAX_DEPTH: usize = 8;

/// Texts that are said once, or again in full; all others grow.
const WHOLE: [&str; 4] = ["id", "name", "role", "type"];

/// Whether a text of this name is said once, or again in full, and does not grow.
pub(in crate::runs) fn is_whole(name: &str) -> bool {
    WHOLE.contains(&name)
}

/// Members of a chunk that are not for the answer as a whole: the gateway writes its own.
const ENVELOPE: [&str; 11] = [
    "choices",
    "completed_at",
    "created",
    "error",
    "id",
    "metadata",
    "model",
    "object",
    "obfuscation",
    "status",
    "store",
];

/// Members by name.
type Members = Vec<(Box<str>, Node)>;

/// The choices so far, and what else the backend has said about the answer.
#[derive(Debug, Default)]
pub(in crate::runs) struct Answer {
    choices: BTreeMap<u64, Choice>,
    usage: Option<Node>,
    extras: Members,
}

/// One of the answers that were asked for.
#[derive(Debug)]
struct Choice {
    message: Node,
    /// The numbers that the backend has given to the tool calls of `message`.
    calls: Vec<u64>,
    logprobs: Option<Node>,
    finish_reason: Option<Node>,
    extras: Members,
}

impl Answer {
    /// Adds a chunk.
    ///
    /// # Errors
    /// What is wrong with it: too many choices or tool calls.
    pub(in crate::runs) fn take_in(&mut self, mut chunk: Node) -> Result<(), &'static str> {
        if let Some(usage) = chunk.remove("usage").filter(Node::is_object) {
            self.usage = Some(usage);
        }
        let choices = chunk.get("choices").and_then(Node::items).map(std::mem::take);
        for choice in choices.unwrap_or_default() {
            self.choice(choice)?;
        }
        for (name, node) in chunk.into_entries() {
            if !ENVELOPE.contains(&&*name) && !node.is_null() {
                note(&mut self.extras, name, node);
            }
        }
        Ok(())
    }

    /// Says what was used.
    pub(super) fn set_usage(&mut self, usage: Node) {
        self.usage = Some(usage);
    }

    /// What was used, as far as the backend has counted.
    pub(super) fn usage(&self) -> Option<&Node> {
        self.usage.as_ref()
    }

    /// The choices in the order of their numbers.
    pub(in crate::runs) fn choices(&self) -> impl Serialize + '_ {
        Choices(&self.choices)
    }

    /// What else the backend has said.
    pub(in crate::runs) fn extras(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.extras.iter().map(|(name, node)| (&**name, node))
    }

    /// Whether nothing was put out.
    pub(in crate::runs) fn is_empty(&self) -> bool {
        self.choices.is_empty()
    }

    /// The numbers of the choices that have not said why they ended, and whether each has called a tool.
    pub(super) fn open(&self) -> Vec<(u64, bool)> {
        let open = self.choices.iter().filter(|(_, choice)| choice.finish_reason.is_none());
        open.map(|(number, choice)| (*number, !choice.calls.is_empty())).collect()
    }

    /// Whether something was put out as the choice of this number.
    pub(super) fn has(&self, number: u64) -> bool {
        self.choices.contains_key(&number)
    }

    fn choice(&mut self, mut choice: Node) -> Result<(), &'static str> {
        let number = number(&mut choice);
        if !self.choices.contains_key(&number) && self.choices.len() >= MAX_CHOICES {
            return Err("the backend has put out too many choices");
        }
        self.choices.entry(number).or_insert_with(Choice::new).take_in(choice)
    }
}

/// The number of a choice; one without is the first.
pub(super) fn number(choice: &mut Node) -> u64 {
    choice.get("index").and_then(|index| index.as_u64()).unwrap_or(0)
}

impl Choice {
    fn new() -> Self {
        let mut message = Node::object();
        message.set("role", Node::text("assistant"));
        message.set("content", Node::null());
        message.set("refusal", Node::null());
        Self { message, calls: Vec::new(), logprobs: None, finish_reason: None, extras: Members::new() }
    }

    fn take_in(&mut self, choice: Node) -> Result<(), &'static str> {
        for (name, node) in choice.into_entries() {
            if node.is_null() {
                continue;
            }
            match &*name {
                "index" => {}
                "delta" => self.delta(node)?,
                "logprobs" => {
                    let all = self.logprobs.get_or_insert_with(Node::object);
                    node.into_entries().into_iter().for_each(|(name, node)| merge(all, &name, node, 0));
                }
                "finish_reason" => self.finish_reason = Some(node),
                _ => note(&mut self.extras, name, node),
            }
        }
        Ok(())
    }

    fn delta(&mut self, delta: Node) -> Result<(), &'static str> {
        for (name, mut node) in delta.into_entries() {
            match (&*name, node.items()) {
                ("tool_calls", Some(calls)) => {
                    std::mem::take(calls).into_iter().try_for_each(|call| self.call(call))?;
                }
                _ => merge(&mut self.message, &name, node, 0),
            }
        }
        Ok(())
    }

    /// A piece of a tool call. One with a new id begins a new call, whatever its number: some servers give all the same number, and
    /// some none. Calls stand in the order of their numbers.
    fn call(&mut self, mut call: Node) -> Result<(), &'static str> {
        if self.message.get("tool_calls").is_none() {
            self.message.set("tool_calls", Node::list(Vec::new()));
        }
        let Some(calls) = self.message.get("tool_calls").and_then(Node::items) else { return Ok(()) };
        let number = call.remove("index").and_then(|index| index.as_u64());
        let id = call.get("id").and_then(|id| Some(id.as_str()?.into_owned())).filter(|id| !id.is_empty());
        let found = match number {
            Some(number) => self.calls.iter().rposition(|known| *known == number),
            None => self.calls.len().checked_sub(1),
        };
        let count = calls.len();
        let known = found.and_then(|at| calls.get_mut(at)).and_then(|known| {
            let known_id = known.get("id").and_then(|known| Some(known.as_str()?.into_owned()));
            (id.is_none() || id == known_id).then_some(known)
        });
        match known {
            Some(known) => {
                call.into_entries().into_iter().for_each(|(name, node)| merge(known, &name, node, 0));
            }
            None if count >= MAX_TOOL_CALLS => return Err("the backend has made too many tool calls"),
            None => {
                let number =
                    number.unwrap_or_else(|| self.calls.last().map_or(0, |last| last.saturating_add(1)));
                let at = self.calls.partition_point(|known| *known <= number);
                self.calls.insert(at, number);
                calls.insert(at, call);
            }
        }
        Ok(())
    }
}

/// Adds `more` to a member of an object.
fn merge(object: &mut Node, name: &str, mut more: Node, depth: usize) {
    if more.is_null() {
        return;
    }
    let Some(there) = object.get(name) else { return object.set(name, more) };
    if !is_whole(name)
        && let (Some(text), Some(more)) = (there.string(), more.string())
    {
        return text.push_str(more);
    }
    if let (Some(list), Some(more)) = (there.items(), more.items()) {
        return list.append(more);
    }
    if depth < MAX_DEPTH && there.is_object() && more.is_object() {
        return more.into_entries().into_iter().for_each(|(name, node)| merge(there, &name, node, depth + 1));
    }
    *there = more;
}

/// Keeps the latest value of a member that the contract does not know, if there is room.
fn note(extras: &mut Members, name: Box<str>, node: Node) {
    if let Some((_, known)) = extras.iter_mut().find(|(known, _)| *known == name) {
        *known = node;
    } else if extras.len() < MAX_EXTRAS {
        extras.push((name, node));
    }
}

struct Choices<'a>(&'a BTreeMap<u64, Choice>);

impl Serialize for Choices<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.iter().map(|(number, choice)| Numbered { number: *number, choice }))
    }
}

struct Numbered<'a> {
    number: u64,
    choice: &'a Choice,
}

impl Serialize for Numbered<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Choice { message, logprobs, finish_reason, extras, calls: _ } = self.choice;
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("index", &self.number)?;
        map.serialize_entry("message", message)?;
        map.serialize_entry("logprobs", logprobs)?;
        map.serialize_entry("finish_reason", finish_reason)?;
        extras.iter().try_for_each(|(name, node)| map.serialize_entry(name, node))?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn answer(chunks: &[Value]) -> Result<Value, &'static str> {
        let mut answer = Answer::default();
        for chunk in chunks {
            answer.take_in(Node::parse(&chunk.to_string()).unwrap())?;
        }
        Ok(serde_json::to_value(answer.choices()).unwrap())
    }

    fn delta(delta: &Value) -> Value {
        json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
    }

    #[test]
    fn text_grows_and_what_is_said_once_does_not() {
        let chunks = [
            delta(&json!({"role": "assistant", "content": ""})),
            delta(
                &json!({"role": "assistant", "content": "a", "reasoning_content": "x", "new": {"t": "p", "n": 1}}),
            ),
            delta(&json!({"content": "b", "reasoning_content": "y", "new": {"t": "q", "n": 2}, "list": [1]})),
            delta(&json!({"content": null, "list": [2]})),
        ];
        let message = json!({
            "role": "assistant", "content": "ab", "refusal": null, "reasoning_content": "xy", "new": {"t": "pq", "n": 2}, "list": [1, 2],
        });
        assert_eq!(answer(&chunks).unwrap()[0]["message"], message);
    }

    #[test]
    fn choices_are_told_apart_by_their_numbers() {
        let piece = |index: u64, text: &str, finish: Option<&str>| json!({"choices": [{"index": index, "delta": {"content": text}, "finish_reason": finish}]});
        let found =
            answer(&[piece(1, "b", None), piece(0, "a", Some("stop")), piece(1, "c", Some("length"))]);
        let found = found.unwrap();
        let told = |at: usize| {
            (
                found[at]["index"].clone(),
                found[at]["message"]["content"].clone(),
                found[at]["finish_reason"].clone(),
            )
        };
        assert_eq!(told(0), (json!(0), json!("a"), json!("stop")));
        assert_eq!(told(1), (json!(1), json!("bc"), json!("length")));
    }

    #[test]
    fn calls_are_told_apart_by_number_or_by_id() {
        let call = |call: Value| delta(&json!({ "tool_calls": [call] }));
        let begin = |id: &str, name: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": ""}});
        let whole = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
        let numbered = |index: u64, mut call: Value| {
            call["index"] = index.into();
            call
        };
        let more = |text: &str| json!({"function": {"arguments": text}});
        for chunks in [
            vec![
                numbered(0, begin("a", "f")),
                numbered(1, begin("b", "g")),
                numbered(0, more("{")),
                numbered(1, more("[")),
                numbered(0, more("}")),
            ],
            vec![
                numbered(0, begin("a", "f")),
                numbered(0, more("{}")),
                numbered(0, begin("b", "g")),
                numbered(0, more("[")),
            ],
            vec![begin("a", "f"), more("{}"), begin("b", "g"), more("[")],
            vec![numbered(5, begin("a", "f")), numbered(5, more("{}")), begin("b", "g"), more("[")],
            vec![
                numbered(1, begin("b", "g")),
                numbered(0, begin("a", "f")),
                numbered(1, more("[")),
                numbered(0, more("{}")),
            ],
        ] {
            let chunks: Vec<Value> = chunks.into_iter().map(call).collect();
            let expected = json!([whole("a", "f", "{}"), whole("b", "g", "[")]);
            assert_eq!(answer(&chunks).unwrap()[0]["message"]["tool_calls"], expected);
        }
    }

    #[test]
    fn logprobs_and_what_nobody_knows_are_kept() {
        let piece = |token: &str, reason: i32| json!({"choices": [{"index": 0, "delta": {"content": token}, "logprobs": {"content": [{"token": token}], "refusal": null}, "stop_reason": reason}]});
        let found = &answer(&[piece("a", 1), piece("b", 2)]).unwrap()[0];
        assert_eq!(found["logprobs"], json!({"content": [{"token": "a"}, {"token": "b"}]}));
        assert_eq!(found["stop_reason"], 2);
    }

    #[test]
    fn there_is_a_bound_on_everything() {
        let many = |count: usize| -> Vec<Value> {
            (0..count)
                .map(|index| json!({"choices": [{"index": index, "delta": {"content": "x"}}]}))
                .collect()
        };
        assert!(answer(&many(MAX_CHOICES)).is_ok());
        assert!(answer(&many(MAX_CHOICES + 1)).is_err());
        let calls: Vec<Value> = (0..=MAX_TOOL_CALLS)
            .map(|index| delta(&json!({"tool_calls": [{"index": index, "id": index.to_string()}]})))
            .collect();
        assert!(answer(&calls).is_err());
        let mut answer = Answer::default();
        for number in 0..1000 {
            answer.take_in(Node::parse(&json!({format!("x{number}"): 1}).to_string()).unwrap()).unwrap();
        }
        assert_eq!(answer.extras().count(), MAX_EXTRAS);
        let deep = format!(
            r#"{{"choices":[{{"delta":{{"x":{}{}}}}}]}}"#,
            r#"{"x":"#.repeat(200_000),
            "1".to_owned() + &"}".repeat(200_000)
        );
        for _ in 0..2 {
            answer.take_in(Node::parse(&deep).unwrap()).unwrap();
        }
    }
}
