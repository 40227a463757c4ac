//! The input of a response, as a list of items (W-8).
//!
//! It owns the ids of items that came without one, and the form in which items are given back: what was left out is written out.
//! It must never know what an item means to a model.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use tidemark_proto::v1::ErrorCode;

use crate::auth::Principal;
use crate::backends::Api;
use crate::error::Error;
use crate::json::{compact, raw};
use crate::runs::document::{Link, api_of};
use crate::runs::faults;
use crate::runs::handle::{Runs, Wanted};
use crate::runs::id::ResponseId;
use crate::runs::page::Page;
use crate::sizes::Sizes;

/// How many items a page has.
const SIZES: Sizes = Sizes { default: 20, max: 100 };

/// The type of an item that has a role and no type.
const MESSAGE: &str = "message";

/// What the ids of items begin with, by type.
const PREFIXES: [(&str, &str); 3] = [(MESSAGE, "msg_"), ("reasoning", "rs_"), ("function_call", "fc_")];

/// What the id of any other item begins with.
const OTHER_PREFIX: &str = "item_";

/// In which order a list comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The first one first.
    Ascending,
    /// The last one first.
    Descending,
}

/// Which items to list.
#[derive(Clone, Copy, Debug)]
pub struct InputQuery<'a> {
    /// Of a response of this API; absent = of any.
    pub api: Option<Api>,
    /// The most items; 0 = 20, more than 100 = 100.
    pub page_size: u32,
    /// In which order.
    pub order: Order,
    /// The id of the item before the first one; empty = from the beginning.
    pub after: &'a str,
}

/// A page of input items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputPage {
    /// The items, fewer than asked for if they are large.
    pub items: Vec<InputItem>,
    /// Whether there are more.
    pub has_more: bool,
    /// The most items that this page could have had.
    pub page_size: u32,
}

/// One item of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputItem {
    /// Its id: unique in its response, the same at every call.
    pub id: String,
    /// The item as one line of JSON.
    pub json: Bytes,
}

impl Runs {
    /// The input of a response, without that of the responses it continues; the messages of a chat.
    ///
    /// # Errors
    /// `not_found`; `invalid_cursor` if no item has the id `after`.
    pub async fn input_items(
        &self,
        principal: &Principal,
        id: &str,
        query: InputQuery<'_>,
    ) -> Result<InputPage, Error> {
        let found = self.look_up(principal, Wanted::of(id, query.api)).await?;
        let api = api_of(found.head.status);
        let document = self.0.store.document(found.id.log()).await;
        let document = document.map_err(|error| faults::of_read(found.id, error))?;
        let Link { items, .. } = serde_json::from_slice(&document).map_err(Error::internal)?;
        page_of(identified(found.id, items)?, api, query)
    }
}

fn page_of(
    mut items: Vec<(String, Box<RawValue>)>,
    api: Api,
    query: InputQuery<'_>,
) -> Result<InputPage, Error> {
    if query.order == Order::Descending {
        items.reverse();
    }
    let begin = match query.after {
        "" => 0,
        after => items.iter().position(|(id, _)| id == after).ok_or_else(no_such_item)? + 1,
    };
    let page_size = SIZES.of(query.page_size);
    let mut page = Page::new(page_size);
    let mut has_more = false;
    for (id, item) in items.into_iter().skip(begin) {
        let json = if page.is_full() { None } else { Some(written_out(&id, &item, api)?) };
        has_more = json.is_none_or(|json| {
            let bytes = json.len();
            !page.push(InputItem { id, json }, bytes)
        });
        if has_more {
            break;
        }
    }
    Ok(InputPage { items: page.into_entries(), has_more, page_size })
}

fn no_such_item() -> Error {
    Error::new(ErrorCode::InvalidCursor, "no item of this input has the id that after names")
        .with_param("after")
}

/// The members of an item by name, values untouched.
type Members = BTreeMap<String, Box<RawValue>>;

/// The items with their ids. One that has none of its own, or that of an item before it, gets one made of the response's id and
/// its place, so that every item can be named.
fn identified(
    response: ResponseId,
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
            format!("{prefix}{}{place:04x}", response.log())
        });
        taken.insert(id.clone());
        Ok((id, item))
    };
    items.into_iter().enumerate().map(id_of).collect()
}

fn text(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// An item with its id and what it has left out; all that was given is as it was given.
fn written_out(id: &str, item: &RawValue, api: Api) -> Result<Bytes, Error> {
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
    use crate::runs::page::MAX_PAGE_BYTES;

    const RESPONSE: ResponseId = ResponseId::from_bytes([0xab; 16]);

    fn items(json: &str) -> Vec<(String, Box<RawValue>)> {
        identified(RESPONSE, serde_json::from_str(json).unwrap()).unwrap()
    }

    fn derived(prefix: &str, place: &str) -> String {
        format!("{prefix}{}{place}", "ab".repeat(16))
    }

    fn ids(page: &InputPage) -> Vec<&str> {
        page.items.iter().map(|item| item.id.as_str()).collect()
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
    fn pages_follow_each_other_in_both_orders() {
        let all = r#"[{"id":"a"},{"id":"b"},{"id":"c"},{"id":"d"},{"id":"e"}]"#;
        for (order, expected) in [(Order::Ascending, "abcde"), (Order::Descending, "edcba")] {
            for page_size in 1..=6 {
                let (mut after, mut got) = (String::new(), String::new());
                loop {
                    let query = InputQuery { api: None, page_size, order, after: &after };
                    let page = page_of(items(all), Api::Responses, query).unwrap();
                    assert_eq!(page.page_size, page_size);
                    assert!(page.items.len() <= page_size as usize);
                    got.extend(ids(&page));
                    match page.items.last() {
                        Some(last) if page.has_more => after = last.id.clone(),
                        _ => break,
                    }
                }
                assert_eq!(got, expected, "{order:?} {page_size}");
            }
        }
    }

    #[test]
    fn a_page_is_bounded_in_items_and_bytes() {
        let many = format!("[{}]", vec!["{}"; 101].join(","));
        let query = |page_size| InputQuery { api: None, page_size, order: Order::Ascending, after: "" };
        for (asked, used) in [(0, 20), (100, 100), (101, 100), (u32::MAX, 100)] {
            let page = page_of(items(&many), Api::Responses, query(asked)).unwrap();
            assert_eq!((page.page_size, page.items.len(), page.has_more), (used, used as usize, true));
        }
        let large = format!(r#"{{"text":"{}"}}"#, "x".repeat(MAX_PAGE_BYTES / 2));
        let page = page_of(items(&format!("[{large},{large},{{}}]")), Api::Responses, query(3)).unwrap();
        assert_eq!((page.items.len(), page.has_more), (1, true));
    }

    #[test]
    fn a_position_that_no_item_has_is_refused_and_the_last_one_is_not() {
        let query = |after| InputQuery { api: None, page_size: 0, order: Order::Ascending, after };
        let error = page_of(items(r#"[{"id":"a"}]"#), Api::Responses, query("b")).unwrap_err();
        assert_eq!((error.code(), error.param()), (ErrorCode::InvalidCursor, Some("after")));
        let page = page_of(items(r#"[{"id":"a"}]"#), Api::Responses, query("a")).unwrap();
        assert_eq!(page, InputPage { items: Vec::new(), has_more: false, page_size: 20 });
    }
}
