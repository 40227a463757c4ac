//! The conversation before a request.
//!
//! It owns the walk back over `previous_response_id` (D-27): backends keep nothing, so each request brings all that came before.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::auth::Principal;
use crate::error::Error;
use crate::runs::document::{Document, Link};
use crate::runs::faults;
use crate::runs::handle::{Found, Runs};

/// The most responses in one conversation.
pub const MAX_CHAIN_LINKS: usize = 1000;

/// The most bytes of input and output items in one conversation.
pub const MAX_CHAIN_BYTES: usize = 64 << 20;

#[derive(Deserialize)]
struct Output {
    output: Vec<Box<RawValue>>,
}

impl Runs {
    /// The items of the responses that a request continues, oldest first; each response's input before its output.
    ///
    /// # Errors
    /// `previous_response_not_found` (unknown, foreign and expired alike), `previous_response_not_terminal`, and
    /// `invalid_request` for a conversation that is too long.
    pub(super) async fn earlier_items(
        &self,
        principal: &Principal,
        document: &Document,
    ) -> Result<Vec<Box<RawValue>>, Error> {
        let mut next = document.previous_response_id.clone();
        let (mut turns, mut bytes) = (Vec::new(), 0_usize);
        while let Some(id) = next {
            if turns.len() == MAX_CHAIN_LINKS {
                return Err(too_long(&format!("more than {MAX_CHAIN_LINKS} responses")));
            }
            let found = self.look_up(principal, &id).await.map_err(|_| faults::previous_not_found())?;
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
        let response = self.finished(found).await?;
        let Output { output } = serde_json::from_slice(&response.json).map_err(Error::internal)?;
        items.extend(output);
        Ok((items, previous_response_id))
    }
}

fn too_long(what: &str) -> Error {
    let text = format!("the conversation that previous_response_id continues has {what}");
    Error::invalid("previous_response_id", text)
}
