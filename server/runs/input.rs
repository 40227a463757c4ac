//! The input of a response, as a list of items (W-8).
//!
//! It owns the pages of that list. It must never know what an item means to a model.

use bytes::Bytes;
use serde_json::value::RawValue;
use tidemark_proto::v1::ErrorCode;

use crate::auth::Principal;
use crate::backends::Api;
use crate::error::Error;
use crate::items::{identified, written_out};
use crate::runs::document::{Link, api_of};
use crate::runs::faults;
use crate::runs::handle::{Runs, Wanted};
use crate::sizes::{Order, Page, Sizes};

/// How many items a page has.
const SIZES: Sizes = Sizes { default: 20, max: 100 };

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
        page_of(identified(found.id.log(), items)?, api, query)
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

#[cfg(test)]
mod tests {
    use tidemark_store::LogId;

    use super::*;
    use crate::sizes::MAX_PAGE_BYTES;

    fn items(json: &str) -> Vec<(String, Box<RawValue>)> {
        identified(LogId::from_bytes([0xab; 16]), serde_json::from_str(json).unwrap()).unwrap()
    }

    fn ids(page: &InputPage) -> Vec<&str> {
        page.items.iter().map(|item| item.id.as_str()).collect()
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
