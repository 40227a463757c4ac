//! Items one by one, as the Conversations API has them: listed in either order, found by id, taken out; and the list of sessions.

use tidemark_proto::v1::ErrorCode;
use tidemark_store::{Compact, LogId, Owner, Seq, Span, WriteError};

use crate::error::Error;
use crate::sessions::entry::{Entry, What};
use crate::sessions::find::{Found, SessionInfo};
use crate::sessions::history::HistoryItem;
use crate::sessions::key::SessionKey;
use crate::sessions::record::Name;
use crate::sessions::scan::{Row, Search};
use crate::sessions::{Sessions, Shared, View, faults};
use crate::sizes::{Order, Page, Sizes};

/// How many items a page has.
const ITEMS: Sizes = Sizes { default: 20, max: 100 };

/// How many sessions a page has.
const SESSIONS: Sizes = Sizes { default: 50, max: 500 };

/// So many entries are looked at together for an item, from the newest back.
const STRETCH: u64 = 1024;

/// An item that is being taken out while the log is written again is tried so many times.
const TRIES: usize = 16;

/// Which items to list.
#[derive(Clone, Copy, Debug)]
pub struct ItemQuery<'a> {
    /// The most items; 0 = 20, more than 100 = 100.
    pub page_size: u32,
    /// In which order.
    pub order: Order,
    /// The id of the item before the first one; empty = from the beginning.
    pub after: &'a str,
}

/// A page of items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemPage {
    /// In the order that was asked for.
    pub items: Vec<HistoryItem>,
    /// Whether there are more.
    pub has_more: bool,
    /// The most items that this page could have had.
    pub page_size: u32,
}

/// A page of sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPage {
    /// In the order of their keys.
    pub sessions: Vec<SessionInfo>,
    /// What asks for the next page; absent = this is the last one.
    pub next_page_token: Option<String>,
    /// The most sessions that this page could have had.
    pub page_size: u32,
}

impl Shared {
    /// Where a list goes on behind an id: behind the item that a page ended with, if that is remembered, else behind the newest one.
    async fn end_of_page(&self, found: &Found, id: &str) -> Result<Option<Seq>, Error> {
        let log = found.log();
        if let Some(seq) = self.places.find(log, id).filter(|seq| *seq <= found.committed()) {
            let entry = self.entry(log, seq).await?;
            if entry.item().is_some_and(|item| item.id == id) {
                return Ok(Some(seq));
            }
        }
        Ok(self.locate(found, id).await?.map(|(seq, _)| seq))
    }

    /// The newest item with an id.
    async fn locate(&self, found: &Found, id: &str) -> Result<Option<(Seq, Entry)>, Error> {
        let log = found.log();
        let mut end = found.committed().next().get();
        while end > 0 {
            let start = end.saturating_sub(STRETCH);
            let mut newest = None;
            let each = self.each(log, Seq::new(start), Seq::new(end - 1), |seq, entry| {
                if entry.item().is_some_and(|item| item.id == id) {
                    newest = Some((seq, entry));
                }
                Ok(true)
            });
            each.await?;
            if newest.is_some() {
                return Ok(newest);
            }
            end = start;
        }
        Ok(None)
    }

    /// The items from `from` on, one more than asked for.
    async fn forth(&self, found: &Found, from: Seq, want: usize) -> Result<(Vec<Row>, bool), Error> {
        let mut page = Page::new(u32::try_from(want).unwrap_or(u32::MAX));
        let mut has_more = false;
        let each = self.each(found.log(), from, found.committed(), |seq, entry| {
            if let Some(row) = Row::shown(seq, &entry, View::All) {
                let bytes = row.item.json.len();
                has_more = !page.push(row, bytes);
            }
            Ok(!has_more)
        });
        each.await?;
        Ok((page.into_entries(), has_more))
    }

    /// Puts what stands for a removed item in its place.
    async fn take_out(&self, log: LogId, seq: Seq, entry: &Entry) -> Result<(), Error> {
        let payload = entry.removed().encode()?;
        for _ in 0..TRIES {
            let head = self.store.head(log).await.map_err(Error::internal)?.ok_or_else(faults::no_item)?;
            let spans = vec![Span { last: seq, payload: payload.clone() }];
            let compact = Compact { id: log, generation: head.generation, from: seq, spans, settles: false };
            match self.store.compact(compact).await {
                Ok(_) => return Ok(()),
                Err(WriteError::Changed { .. }) => {}
                Err(error) => return Err(crate::faults::of_write(error)),
            }
        }
        Err(Error::internal("an item could not be taken out: its log does not stand still"))
    }
}

impl Sessions {
    /// The items of a session.
    ///
    /// # Errors
    /// `not_found`, `invalid_request`; `invalid_cursor` if no item has the id `after`.
    pub async fn list_items(
        &self,
        owner: &Owner,
        key: &str,
        query: ItemQuery<'_>,
    ) -> Result<ItemPage, Error> {
        let found = self.settled(owner, &SessionKey::parse(key, "key")?).await?;
        let shared = &self.0;
        let behind = match query.after {
            "" => None,
            id => Some(shared.end_of_page(&found, id).await?.ok_or_else(faults::no_such_item)?),
        };
        let page_size = ITEMS.of(query.page_size);
        let size = usize::try_from(page_size).unwrap_or(usize::MAX);
        let (rows, has_more) = match query.order {
            Order::Ascending => shared.forth(&found, Seq::after(behind), size).await?,
            Order::Descending => {
                let before = behind.unwrap_or_else(|| found.committed().next());
                let search = Search { before, view: View::All, want: size + 1, most: None };
                let mut back = shared.back(found.log(), search).await?;
                let full = back.rows.len() > size;
                if full {
                    back.rows.pop_front();
                }
                (back.rows.into_iter().rev().collect(), full || back.cut)
            }
        };
        if let Some(last) = rows.last() {
            shared.places.remember(found.log(), &last.item.id, last.seq);
        }
        let items = shared.shown(&found, View::All, rows).await?;
        Ok(ItemPage { items, has_more, page_size })
    }

    /// One item of a session; of several with this id the newest.
    ///
    /// # Errors
    /// `not_found`, `invalid_request`.
    pub async fn item(&self, owner: &Owner, key: &str, id: &str) -> Result<HistoryItem, Error> {
        let found = self.settled(owner, &SessionKey::parse(key, "key")?).await?;
        let (seq, entry) = self.0.locate(&found, id).await?.ok_or_else(faults::no_item)?;
        let items = self.0.shown(&found, View::All, Row::shown(seq, &entry, View::All)).await?;
        items.into_iter().next().ok_or_else(faults::no_item)
    }

    /// Takes one item out of a history for good. Its number stays; whoever watches is told.
    ///
    /// # Errors
    /// `not_found`, `invalid_request`, `storage_unavailable`.
    pub async fn remove_item(&self, owner: &Owner, key: &str, id: &str) -> Result<SessionInfo, Error> {
        let key = SessionKey::parse(key, "key")?;
        let _turn = self.0.turns.take(&Name::of(owner, &key)).await;
        let found = self.0.find(owner, &key).await?;
        let (seq, entry) = self.0.locate(&found, id).await?.ok_or_else(faults::no_item)?;
        self.0.take_out(found.log(), seq, &entry).await?;
        let removal = What::Removal { seq: seq.get(), id: id.to_owned() };
        let head = self.0.add(&found, vec![removal]).await?;
        self.0.info(&Found { head, ..found }).await
    }

    /// The sessions of an owner, in the order of their keys.
    ///
    /// # Errors
    /// `invalid_cursor`, `internal`.
    pub async fn list(&self, owner: &Owner, page_size: u32, page_token: &str) -> Result<SessionPage, Error> {
        let shared = &self.0;
        let mut after = match page_token {
            "" => None,
            text => Some(shared.sealer().await?.read_key(owner, text, "page_token")?),
        };
        let page_size = SESSIONS.of(page_size);
        let size = usize::try_from(page_size).unwrap_or(usize::MAX);
        let (prefix, mut sessions) = (Name::prefix(owner), Vec::new());
        loop {
            let name = after.as_ref().map(|key| Name::of(owner, key));
            let name = name.as_ref().map(Name::as_bytes);
            let records = shared.store.records(&prefix, name, size + 1).await.map_err(Error::internal)?;
            if records.is_empty() {
                return Ok(SessionPage { sessions, next_page_token: None, page_size });
            }
            for (name, _) in records {
                let key = Name::key(owner, &name);
                let key = key.ok_or_else(|| Error::internal("a record of a session has no key"))?;
                after = Some(key.clone());
                let Some(found) = shared.look(owner, &key).await? else { continue };
                if sessions.len() == size {
                    let last = sessions.last().map(|last: &SessionInfo| last.key.clone());
                    let sealer = shared.sealer().await?;
                    let next_page_token = last.map(|last| sealer.write_key(owner, &last));
                    return Ok(SessionPage { sessions, next_page_token, page_size });
                }
                match shared.info(&found).await {
                    // It went away since it was found.
                    Err(error) if error.code() == ErrorCode::NotFound => {}
                    info => sessions.push(info?),
                }
            }
        }
    }
}
