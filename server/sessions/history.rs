//! The history as pages: the newest window first (O-18).
//!
//! It owns which items make a page, and the cursor to the page before it. A page takes the same time and memory wherever it lies and
//! however long the history is: it goes through a bounded number of entries, and says honestly that there may be more.

use bytes::Bytes;
use tidemark_store::{LogId, Owner, Seq, UnixMillis};

use crate::error::Error;
use crate::sessions::cursor::{Bound, Cursor, Tag, Use};
use crate::sessions::find::Found;
use crate::sessions::key::SessionKey;
use crate::sessions::scan::{Row, Search};
use crate::sessions::{Sessions, Shared, View, faults};
use crate::sizes::Sizes;

/// How many items a page has.
pub(super) const SIZES: Sizes = Sizes { default: 50, max: 1000 };

/// A page goes through so many entries for each item that it may have, and so many besides (O-21, O-34).
const SCAN: (u64, u64) = (20, 1000);

/// Which page of a history.
#[derive(Clone, Copy, Debug)]
pub struct HistoryQuery<'a> {
    /// What to show.
    pub view: View,
    /// The most items; 0 = 50, more than 1000 = 1000.
    pub page_size: u32,
    /// What the page before gave; empty = the newest page.
    pub page_token: &'a str,
}

/// A page of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryPage {
    /// The oldest first.
    pub items: Vec<HistoryItem>,
    /// What asks for older ones; absent = there are none.
    pub next_page_token: Option<String>,
    /// The most items that the page could have had.
    pub page_size: u32,
    /// How often the session was reset.
    pub generation: u64,
    /// The position of who has everything there was; in the newest page only.
    pub position: Option<String>,
}

/// One item of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryItem {
    /// Its number.
    pub seq: Seq,
    /// Its id.
    pub id: String,
    /// The item as one line of JSON.
    pub json: Bytes,
    /// The log of the response that it entered with.
    pub response: Option<LogId>,
    /// When it was added.
    pub created_at: UnixMillis,
    /// The position of who has everything up to it.
    pub position: String,
}

impl Found {
    pub(super) fn bound(&self, view: View) -> Bound<'_> {
        Bound { owner: &self.owner, key: &self.key, view }
    }

    pub(super) fn cursor(&self, seq: Seq, stamp: LogId) -> Cursor {
        Cursor { generation: self.place.generation, seq, tag: Tag::of(stamp) }
    }
}

impl Shared {
    /// The position of who has everything up to an entry.
    pub(super) async fn position(
        &self,
        found: &Found,
        view: View,
        seq: Seq,
        stamp: LogId,
    ) -> Result<String, Error> {
        Ok(self.sealer().await?.write(found.bound(view), Use::Newer, found.cursor(seq, stamp)))
    }

    /// Items as they are shown.
    pub(super) async fn shown(
        &self,
        found: &Found,
        view: View,
        rows: impl IntoIterator<Item = Row>,
    ) -> Result<Vec<HistoryItem>, Error> {
        let (sealer, bound) = (self.sealer().await?, found.bound(view));
        let show = |Row { seq, stamp, at, item }: Row| HistoryItem {
            seq,
            id: item.id,
            json: item.json,
            response: item.response,
            created_at: at,
            position: sealer.write(bound, Use::Newer, found.cursor(seq, stamp)),
        };
        Ok(rows.into_iter().map(show).collect())
    }

    /// The items among the entries `from..=through`.
    pub(super) async fn items(
        &self,
        found: &Found,
        from: Seq,
        through: Seq,
        view: View,
    ) -> Result<Vec<HistoryItem>, Error> {
        let mut rows = Vec::new();
        let each = self.each(found.log(), from, through, |seq, entry| {
            rows.extend(Row::shown(seq, &entry, view));
            Ok(true)
        });
        each.await?;
        self.shown(found, view, rows).await
    }

    /// Whether the entry that a cursor has seen is still the one with its number.
    pub(super) async fn stands(&self, found: &Found, cursor: Cursor) -> Result<bool, Error> {
        if cursor.seq > found.committed() {
            return Ok(false);
        }
        Ok(Tag::of(self.entry(found.log(), cursor.seq).await?.stamp) == cursor.tag)
    }

    /// A page of the history before a place; absent = the newest.
    pub(super) async fn page(
        &self,
        found: &Found,
        view: View,
        page_size: u32,
        before: Option<Seq>,
    ) -> Result<HistoryPage, Error> {
        let size = usize::try_from(page_size).unwrap_or(usize::MAX);
        let search = Search {
            before: before.unwrap_or_else(|| found.committed().next()),
            view,
            // One more, to know whether there is another.
            want: size.saturating_add(1),
            most: Some(u64::from(page_size).saturating_mul(SCAN.0).saturating_add(SCAN.1)),
        };
        let mut back = self.back(found.log(), search).await?;
        let full = back.rows.len() > size;
        if full {
            back.rows.pop_front();
        }
        let end = if full || back.cut {
            back.rows.front().map(|row| (row.seq, row.stamp))
        } else {
            back.oldest.filter(|(seq, _)| *seq > Seq::FIRST)
        };
        let sealer = self.sealer().await?;
        let bound = found.bound(view);
        let next_page_token =
            end.map(|(seq, stamp)| sealer.write(bound, Use::Older, found.cursor(seq, stamp)));
        let newest = back.newest.filter(|_| before.is_none());
        let position = newest.map(|(seq, stamp)| sealer.write(bound, Use::Newer, found.cursor(seq, stamp)));
        let items = self.shown(found, view, back.rows).await?;
        Ok(HistoryPage { items, next_page_token, page_size, generation: found.place.generation, position })
    }
}

impl Sessions {
    /// A page of the history of a session.
    ///
    /// # Errors
    /// `not_found`, `invalid_request`, `invalid_cursor`, `cursor_stale`, `internal`.
    pub async fn history(
        &self,
        owner: &Owner,
        key: &str,
        query: HistoryQuery<'_>,
    ) -> Result<HistoryPage, Error> {
        let HistoryQuery { view, page_size, page_token } = query;
        let key = SessionKey::parse(key, "key")?;
        let bound = Bound { owner, key: &key, view };
        // What is wrong with a cursor is said before anything is looked up (S-2).
        let cursor = match page_token {
            "" => None,
            text => Some(self.0.sealer().await?.read(bound, Use::Older, text, "page_token")?),
        };
        let found = self.settled(owner, &key).await?;
        if let Some(cursor) = cursor
            && (cursor.generation != found.place.generation || !self.0.stands(&found, cursor).await?)
        {
            return Err(faults::stale("page_token"));
        }
        self.0.page(&found, view, SIZES.of(page_size), cursor.map(|cursor| cursor.seq)).await
    }
}
