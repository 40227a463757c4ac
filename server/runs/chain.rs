//! The conversation before a request.
//!
//! It owns the walk back over `previous_response_id` (D-27): backends keep nothing, so each request brings all that came before.

use serde::Deserialize;
use serde_json::value::RawValue;
use tidemark_proto::v1::ErrorCode;

use crate::auth::Principal;
use crate::backends::Api;
use crate::error::Error;
use crate::runs::document::{Document, Link};
use crate::runs::faults;
use crate::runs::handle::{Found, Runs, Wanted};

/// The most responses in one conversation.
pub const MAX_CHAIN_LINKS: usize = 1000;

/// The most bytes of input and output items in one conversation.
pub const MAX_CHAIN_BYTES: usize = 64 << 20;

#[derive(Deserialize)]
struct Output {
    output: Vec<Box<RawValue>>,
}

impl Runs {
    /// The items of the session that a request belongs to, or of the responses that it continues, oldest first; each response's input
    /// before its output.
    ///
    /// # Errors
    /// `not_found` for a session that went away; `previous_response_not_found` (unknown, foreign and expired alike), `previous_response_not_terminal`, and
    /// `invalid_request` for a conversation that is too long.
    pub(super) async fn earlier_items(
        &self,
        principal: &Principal,
        document: &Document,
    ) -> Result<Vec<Box<RawValue>>, Error> {
        if let Some(session) = &document.session {
            return self.0.sessions.context(session).await;
        }
        let mut next = document.previous_response_id.clone();
        let (mut turns, mut bytes) = (Vec::new(), 0_usize);
        while let Some(id) = next {
            if turns.len() == MAX_CHAIN_LINKS {
                return Err(too_long(&format!("more than {MAX_CHAIN_LINKS} responses")));
            }
            let wanted = Wanted::of(&id, Some(Api::Responses));
            let found = self.look_up(principal, wanted).await.map_err(of_link)?;
            if !found.head.frontier.closed {
                return Err(faults::previous_running());
            }
            let (turn, before) = self.turn(found).await?;
            bytes = turn.iter().fold(bytes, |sum, item| sum.saturating_add(item.get().len()));
            if bytes > MAX_CHAIN_BYTES {
                return Err(too_long(&format!("more than {} MiB", MAX_CHAIN_BYTES >> 20)));
            }
            turns.push(turn);
            next = before;
        }
        Ok(turns.into_iter().rev().flatten().collect())
    }

    /// The input and output of one finished response, and the id of the one before.
    async fn turn(&self, found: Found) -> Result<(Vec<Box<RawValue>>, Option<String>), Error> {
        let document =
            self.0.store.document(found.id.log()).await.map_err(|_| faults::previous_not_found())?;
        let Link { mut items, previous_response_id } =
            serde_json::from_slice(&document).map_err(Error::internal)?;
        let response = self.finished(found).await.map_err(of_link)?;
        let Output { output } = serde_json::from_slice(&response.json).map_err(Error::internal)?;
        items.extend(output);
        Ok((items, previous_response_id))
    }
}

/// A response that went away while the conversation was read is as unknown as one that was never there.
fn of_link(error: Error) -> Error {
    if error.code() == ErrorCode::NotFound { faults::previous_not_found() } else { error }
}

fn too_long(what: &str) -> Error {
    let text = format!("the conversation that previous_response_id continues has {what}");
    Error::invalid("previous_response_id", text)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use serde_json::json;
    use tidemark_store::{Append, Caps, Close, NewLog, Seq, Store, UnixMillis, memory::MemoryStore};

    use super::*;
    use crate::runs::ResponseId;
    use crate::runs::event::{Outbox, kind};
    use crate::runs::status::Status;
    use crate::runs::testing::{document, runs_over};

    fn principal() -> Principal {
        Principal::local(tidemark_store::Owner::new("alice").unwrap())
    }

    /// Stores `links` finished responses, each the continuation of the one before; gives a request that continues the last.
    async fn conversation(store: &MemoryStore, links: usize, item_bytes: usize) -> Document {
        let mut continuing = document();
        for link in 1..=links {
            let id = ResponseId::from_bytes((link as u128).to_be_bytes());
            let item = json!({ "link": link, "text": "x".repeat(item_bytes) });
            let stored = json!({ "items": [item], "previous_response_id": continuing.previous_response_id });
            let mut outbox = Outbox::new(Seq::FIRST);
            outbox.push(kind::CREATED, &json!({ "response": {} })).unwrap();
            let entries = outbox.take();
            let new = NewLog {
                id: id.log(),
                owner: principal().owner().clone(),
                created_at: UnixMillis(0),
                status: Status::InProgress.to_byte(),
                document: Bytes::from(stored.to_string()),
                entries,
                endless: None,
            };
            store.create(new).await.unwrap();
            outbox.push(kind::COMPLETED, &json!({ "response": { "output": [{ "out": link }] } })).unwrap();
            let last = Append {
                id: id.log(),
                epoch: store.epoch(),
                expected_last: Seq::FIRST,
                status: Some(Status::Completed.to_byte()),
                entries: outbox.take(),
                close: Some(Close { compacts_at: None, expires_at: None }),
            };
            store.append(last).await.unwrap();
            continuing.previous_response_id = Some(id.to_string());
        }
        continuing
    }

    #[tokio::test]
    async fn a_conversation_of_1000_responses_is_whole_and_a_longer_one_is_refused() {
        for (links, fits) in [(MAX_CHAIN_LINKS, true), (MAX_CHAIN_LINKS + 1, false)] {
            let store = Arc::new(MemoryStore::new(Caps::default()));
            let document = conversation(&store, links, 0).await;
            let items = runs_over(store).earlier_items(&principal(), &document).await;
            match items {
                Ok(items) if fits => {
                    assert_eq!(items.len(), 2 * links);
                    assert_eq!(items[0].get(), r#"{"link":1,"text":""}"#);
                    assert_eq!(items[1].get(), r#"{"out":1}"#);
                    assert_eq!(items[2 * links - 1].get(), format!(r#"{{"out":{links}}}"#));
                }
                Err(error) if !fits => assert_eq!(error.param(), Some("previous_response_id")),
                other => panic!("{links} links: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_conversation_above_the_limit_of_bytes_is_refused() {
        let store = Arc::new(MemoryStore::new(Caps::default()));
        let document = conversation(&store, 3, MAX_CHAIN_BYTES / 3).await;
        let error = runs_over(store).earlier_items(&principal(), &document).await.unwrap_err();
        assert_eq!((error.code(), error.param()), (ErrorCode::InvalidRequest, Some("previous_response_id")));
    }

    #[tokio::test]
    async fn a_link_that_is_gone_makes_the_conversation_unknown() {
        let store = Arc::new(MemoryStore::new(Caps::default()));
        let document = conversation(&store, 3, 0).await;
        store.purge(ResponseId::from_bytes(1_u128.to_be_bytes()).log()).await.unwrap();
        let error = runs_over(store).earlier_items(&principal(), &document).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::PreviousResponseNotFound);
    }
}
