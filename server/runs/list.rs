//! The list of an owner's responses.
//!
//! It owns the order and the bounds of the list. Whether a response is in it is decided by the one check that every path has
//! (D-30).

use tidemark_proto::v1::ErrorCode;
use tidemark_store::{LogId, Owner};

use crate::auth::Principal;
use crate::backends::Api;
use crate::error::Error;
use crate::runs::document::api_of;
use crate::runs::handle::{Runs, Snapshot};
use crate::runs::id::{NoSuchId, ResponseId};
use crate::runs::page;
use crate::sizes::{Page, Sizes};

/// How many responses a page has.
const SIZES: Sizes = Sizes { default: 50, max: 1000 };

/// A page of responses, the newest first.
#[derive(Clone, Debug)]
pub struct ResponsePage {
    /// The responses as they are now.
    pub responses: Vec<Snapshot>,
    /// What asks for the next page; absent = this is the last one.
    pub next_page_token: Option<String>,
    /// The most responses that this page could have had.
    pub page_size: u32,
}

/// Which responses to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListQuery<'a> {
    /// Only those of this API; absent = of any.
    pub api: Option<Api>,
    /// The most responses; 0 = 50, more than 1000 = 1000.
    pub page_size: u32,
    /// The token of the page before; empty = `after` says where to begin.
    pub page_token: &'a str,
    /// The id of the last response of the page before; empty = the first page.
    pub after: &'a str,
}

impl ListQuery<'_> {
    /// The log behind which the page begins.
    fn position(&self, owner: &Owner) -> Result<Option<LogId>, Error> {
        if self.after.is_empty() {
            return page::position(owner, self.page_token);
        }
        let refused = |text| Err(Error::new(ErrorCode::InvalidCursor, text).with_param("after"));
        if !self.page_token.is_empty() {
            return refused("after and page_token say the same: give one of them");
        }
        match self.after.parse::<ResponseId>() {
            // Ids are in the order of creation, so that a response which is gone still has its place.
            Ok(id) => Ok(Some(id.log())),
            Err(NoSuchId) => refused("after must be the id of a response"),
        }
    }
}

impl Runs {
    /// The responses of the caller, the newest first: as many as `query` asks for, fewer if they are large.
    ///
    /// # Errors
    /// `invalid_cursor` for a token that was not given to this owner, or for what is no id; `draining`, `storage_unavailable`.
    pub async fn list(&self, principal: &Principal, query: ListQuery<'_>) -> Result<ResponsePage, Error> {
        let ListQuery { api, page_size, .. } = query;
        let owner = principal.owner();
        let mut before = query.position(owner)?;
        let page_size = SIZES.of(page_size);
        let mut page = Page::<Snapshot>::new(page_size);
        let has_more = 'filling: loop {
            // One more than the page takes, to know whether there is another.
            let limit = usize::try_from(page_size).unwrap_or(usize::MAX).saturating_add(1);
            let logs = self.0.store.logs_of(owner, before, limit).await.map_err(Error::internal)?;
            if logs.is_empty() {
                break false;
            }
            for log in logs {
                before = Some(log);
                let Some(found) = self.find(principal, log).await? else { continue };
                if api.is_some_and(|api| api != api_of(found.head.status)) {
                    continue;
                }
                if page.is_full() {
                    break 'filling true;
                }
                let snapshot = match self.snapshot(found).await {
                    // It went away since it was found.
                    Err(error) if error.code() == ErrorCode::NotFound => continue,
                    other => other?,
                };
                let bytes = snapshot.json.len();
                if !page.push(snapshot, bytes) {
                    break 'filling true;
                }
            }
        };
        let last = page.last().filter(|_| has_more).map(|snapshot| snapshot.id.log());
        let next_page_token = last.map(|last| page::token(owner, last));
        Ok(ResponsePage { responses: page.into_entries(), next_page_token, page_size })
    }
}
