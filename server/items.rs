//! Items of the OpenAI APIs, as callers gave them: their ids, and what was left out of them.
//!
//! It owns what a list of items must be, how an item without an id is named, and what is written out when it is shown. It must never know where items are kept.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use tidemark_store::LogId;

use crate::backends::Api;
use crate::error::Error;
use crate::json::{compact, raw};

/// The type of an item that has a role and no type.
const MESSAGE: &str = "message";

/// What the ids of items begin with, by type.
const PREFIXES: [(&str, &str); 3] = [(MESSAGE, "msg_"), ("reasoning", "rs_"), ("function_call", "fc_")];

/// What the id of any other item begins with.
const OTHER_PREFIX: &str = "item_";

/// A list that is a field of the body: `what` are objects, at least one.
///
/// # Errors
/// `invalid_request` that names the field, or the first that is no object.
pub(crate) fn objects(field: &str, what: &str, list: &[u8]) -> Result<Vec<Box<RawValue>>, Error> {
    let items: Vec<Box<RawValue>> = serde_json::from_slice(list)
        .map_err(|error| Error::invalid(field, format!("{field} must be a JSON array of {what}: {error}")))?;
    if items.is_empty() {
        return Err(Error::invalid(field, format!("{field} must not be empty")));
    }
    for (index, item) in items.iter().enumerate() {
        // What is scanned and not read may still have names that are no text: halves of a surrogate pair.
        let named = serde_json::from_str::<BTreeMap<String, IgnoredAny>>(item.get());
        named.map_err(|error| {
            let param = format!("{field}[{index}]");
            Error::invalid(&*param, format!("{param} must be an object of valid JSON")).with_quote(error)
        })?;
    }
    Ok(items)
}

/// The members of an item by name, values untouched.
type Members = BTreeMap<String, Box<RawValue>>;

/// The items with their ids. One that has none of its own, or that of an item before it, gets one made of `seed` and its place, so
/// that every item can be named.
///
/// # Errors
/// `internal` for what is no object.
pub(crate) fn identified(
    seed: LogId,
    items: Vec<Box<RawValue>>,
) -> Result<Vec<(String, Box<RawValue>)>, Error> {
    let mut taken = HashSet::new();
    let id_of = |(place, item): (usize, Box<RawValue>)| {
        // A member that is there twice counts as it is there last, as everywhere.
        let members: BTreeMap<String, &RawValue> =
            serde_json::from_str(item.get()).map_err(Error::internal)?;
        let member = |name: &str| members.get(name).and_then(|value| text(value));
        let given = member("id").filter(|id| !id.is_empty() && !taken.contains(id));
        let id = given.unwrap_or_else(|| {
            let kind = member("type").or_else(|| members.get("role").map(|_| MESSAGE.to_owned()));
            let known = PREFIXES.iter().find(|(name, _)| kind.as_deref() == Some(*name));
            let prefix = known.map_or(OTHER_PREFIX, |(_, prefix)| prefix);
            format!("{prefix}{seed}{place:04x}")
        });
        taken.insert(id.clone());
        Ok((id, item))
    };
    items.into_iter().enumerate().map(id_of).collect()
}

/// Whether an item is a message: something that people said or were told.
pub(crate) fn is_message(item: &RawValue) -> bool {
    let Ok(members) = serde_json::from_str::<BTreeMap<String, &RawValue>>(item.get()) else { return false };
    match members.get("type").and_then(|kind| text(kind)) {
        Some(kind) => kind == MESSAGE,
        None => members.contains_key("role"),
    }
}

fn text(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// An item as one line, with its id and what it has left out; all that was given is as it was given.
///
/// # Errors
/// `internal` for what is no object.
pub(crate) fn written_out(id: &str, item: &RawValue, api: Api) -> Result<Bytes, Error> {
    let mut members: Members = serde_json::from_str(compact(item)?.get()).map_err(Error::internal)?;
    members.insert("id".to_owned(), raw(id)?);
    match api {
        Api::Responses => complete_item(&mut members)?,
        Api::Chat => complete_message(&mut members)?,
    }
    serde_json::to_vec(&members).map(Bytes::from).map_err(Error::internal)
}

/// The messages of a chat have either a text or parts.
fn complete_message(members: &mut Members) -> Result<(), Error> {
    let parts = match members.get("content") {
        Some(content) if content.get().starts_with('[') => members.insert("content".to_owned(), raw(&())?),
        _ => None,
    };
    let parts = parts.map_or_else(|| raw(&()), Ok)?;
    members.insert("content_parts".to_owned(), parts);
    Ok(())
}

/// A message has its type, and its content as a list of parts if that is plain text.
fn complete_item(members: &mut Members) -> Result<(), Error> {
    #[derive(Serialize)]
    struct Part<'a> {
        r#type: &'static str,
        text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        annotations: Option<[(); 0]>,
    }
    let member = |name: &str| members.get(name).and_then(|value| text(value));
    let (role, content) = (member("role"), member("content"));
    if let Some(role) = role {
        members.entry("type".to_owned()).or_insert(raw(MESSAGE)?);
        if let Some(text) = &content {
            let part = match role.as_str() {
                "assistant" => Part { r#type: "output_text", text, annotations: Some([]) },
                _ => Part { r#type: "input_text", text, annotations: None },
            };
            members.insert("content".to_owned(), raw(&[part])?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(json: &str) -> Vec<(String, Box<RawValue>)> {
        identified(LogId::from_bytes([0xab; 16]), serde_json::from_str(json).unwrap()).unwrap()
    }

    fn derived(prefix: &str, place: &str) -> String {
        format!("{prefix}{}{place}", "ab".repeat(16))
    }

    fn written(json: &str) -> String {
        let mut items = items(json);
        let (id, item) = items.remove(0);
        String::from_utf8(written_out(&id, &item, Api::Responses).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn a_member_that_is_there_twice_counts_as_it_is_there_last() {
        let twice = r#"[{"id":"a","role":"user","id":"b","role":"user","type":"x","type":"message"}]"#;
        assert_eq!(items(twice)[0].0, "b");
        assert_eq!(written(twice), r#"{"id":"b","role":"user","type":"message"}"#);
    }

    #[test]
    fn ids_are_those_given_or_made_of_response_and_place() {
        let items = items(
            r#"[{"role":"user","content":"a"},{"type":"message","id":"msg_own"},{"type":"function_call","id":null},
                {"type":"reasoning","id":""},{"type":"function_call_output","id":7},{"id":"msg_own"},{}]"#,
        );
        let ids: Vec<&str> = items.iter().map(|(id, _)| id.as_str()).collect();
        let expected = [
            derived("msg_", "0000"),
            "msg_own".to_owned(),
            derived("fc_", "0002"),
            derived("rs_", "0003"),
            derived("item_", "0004"),
            derived("item_", "0005"),
            derived("item_", "0006"),
        ];
        assert_eq!(ids, expected);
    }

    #[test]
    fn what_a_message_left_out_is_written_out() {
        let id = derived("msg_", "0000");
        assert_eq!(
            written("[{\"role\": \"user\",\n \"content\": \"a\\n\\\"b\\\"\", \"extra\": 1.0}]"),
            format!(
                r#"{{"content":[{{"type":"input_text","text":"a\n\"b\""}}],"extra":1.0,"id":"{id}","role":"user","type":"message"}}"#
            ),
        );
        assert_eq!(
            written(r#"[{"role":"assistant","content":"a","id":"x","type":"message"}]"#),
            r#"{"content":[{"type":"output_text","text":"a","annotations":[]}],"id":"x","role":"assistant","type":"message"}"#,
        );
    }

    #[test]
    fn everything_else_is_as_it_was_given() {
        for same in [
            r#"{"content":[{"text":"a","type":"input_text"}],"id":"x","role":"user","type":"message"}"#,
            r#"{"call_id":"c","id":"x","output":"plain text stays","type":"function_call_output"}"#,
            r#"{"id":"x","type":"item_reference"}"#,
            r#"{"content":5,"id":"x","role":"user","type":"my:own"}"#,
        ] {
            assert_eq!(written(&format!("[{same}]")), same);
        }
        assert_eq!(written(r#"[{"id":"x"}]"#), r#"{"id":"x"}"#, "no type is made up");
    }

    #[test]
    fn a_message_of_a_chat_has_a_text_or_parts() {
        for (given, content) in [
            (r#"{"role":"user","content":"a"}"#, r#""content":"a","content_parts":null"#),
            (
                r#"{"role":"user","content":[{"type":"text"}]}"#,
                r#""content":null,"content_parts":[{"type":"text"}]"#,
            ),
            (r#"{"role":"assistant","tool_calls":[]}"#, r#""content_parts":null"#),
        ] {
            let (id, item) = items(&format!("[{given}]")).remove(0);
            let written = written_out(&id, &item, Api::Chat).unwrap();
            let written = std::str::from_utf8(&written).unwrap();
            assert!(
                written.starts_with(&format!(r#"{{{content},"id":"{}","role":"#, derived("msg_", "0000"))),
                "{written}"
            );
        }
    }

    #[test]
    fn messages_are_told_from_all_else() {
        let is = |json: &str| is_message(&serde_json::from_str::<Box<RawValue>>(json).unwrap());
        assert!(is(r#"{"type":"message","role":"user"}"#) && is(r#"{"role":"user"}"#));
        for other in [r#"{"type":"reasoning"}"#, r#"{"type":"function_call","role":"x"}"#, "{}"] {
            assert!(!is(other), "{other}");
        }
    }
}
