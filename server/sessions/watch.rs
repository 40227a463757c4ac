//! A history as it grows: one reader with a cursor of its own over the log of a session (O-22, O-32).
//!
//! It owns the way from the first page to what comes after it: both are read from the same log, so that nothing lies between. A
//! session that is reset is gone on with from its new beginning.

use std::pin::Pin;
use std::sync::Arc;

use tidemark_store::{Frontier, LogId, Owner, ReadError, ReadLimit, Seq, Tail};
use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::alarm::{Alarm, HEARTBEAT};
use crate::error::Error;
use crate::sessions::cursor::{Bound, Use};
use crate::sessions::entry::{Entry, What};
use crate::sessions::find::{Found, of_read};
use crate::sessions::history::{HistoryItem, HistoryPage, SIZES};
use crate::sessions::key::SessionKey;
use crate::sessions::scan::Row;
use crate::sessions::{Sessions, Shared, View, faults};
use crate::telemetry::Held;

/// What a watcher gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// The newest page: at the beginning, and after a reset.
    Page(HistoryPage),
    /// What was added, and what was taken out.
    News {
        /// The next items.
        items: Vec<HistoryItem>,
        /// Number and id of items that are gone.
        removed: Vec<(Seq, String)>,
        /// The position of who has had this.
        position: String,
    },
    /// Nothing came for [`HEARTBEAT`].
    Heartbeat {
        /// The position.
        position: String,
    },
}

/// Where a watcher is: the last entry that it has gone through.
#[derive(Clone, Copy, Debug)]
struct Spot {
    seq: Seq,
    stamp: LogId,
}

/// Follows the history of one session.
#[derive(Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
    found: Found,
    view: View,
    page_size: u32,
    /// Absent: the newest page comes first.
    spot: Option<Spot>,
    tail: Tail,
    heartbeat: Alarm,
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
    ended: bool,
    _counted: Held,
}

impl Sessions {
    /// Follows a session from its newest page on, or from behind a position.
    ///
    /// # Errors
    /// `not_found`, `invalid_request`, `invalid_cursor`; `offset_lost` for a position that a power cut took.
    pub async fn watch(
        &self,
        owner: &Owner,
        key: &str,
        view: View,
        page_size: u32,
        after: &str,
    ) -> Result<Watcher, Error> {
        let key = SessionKey::parse(key, "key")?;
        let bound = Bound { owner, key: &key, view };
        let cursor = match after {
            "" => None,
            text => Some(self.0.sealer().await?.read(bound, Use::Newer, text, "after")?),
        };
        let found = self.settled(owner, &key).await?;
        // What was seen before a reset is gone: the watcher begins anew.
        let cursor = cursor.filter(|cursor| cursor.generation == found.place.generation);
        let spot = match cursor {
            None => None,
            Some(cursor) if self.0.stands(&found, cursor).await? => {
                let stamp = self.0.entry(found.log(), cursor.seq).await?.stamp;
                Some(Spot { seq: cursor.seq, stamp })
            }
            Some(_) => return Err(faults::rolled_back(found.committed())),
        };
        let tail = self.0.store.tail(found.log()).await.map_err(of_read)?;
        Ok(Watcher {
            shared: Arc::clone(&self.0),
            found,
            view,
            page_size: SIZES.of(page_size),
            spot,
            tail,
            heartbeat: Alarm::new(Instant::now() + HEARTBEAT),
            closing: Box::pin(self.0.closing.child_token().cancelled_owned()),
            ended: false,
            _counted: self.0.readers.hold(),
        })
    }
}

impl Watcher {
    /// What comes next. Cancel safe: what was not returned is returned by the next call.
    ///
    /// # Errors
    /// `not_found` once the session is removed, `draining` if the gateway stops. Nothing follows an error.
    pub async fn next(&mut self) -> Result<Option<Sight>, Error> {
        if self.ended {
            return Ok(None);
        }
        let sight = self.pull().await;
        self.heartbeat.set(Instant::now() + HEARTBEAT);
        self.ended = sight.is_err();
        sight.map(Some)
    }

    async fn pull(&mut self) -> Result<Sight, Error> {
        loop {
            let Some(spot) = self.spot else { return self.first_page().await };
            let batch =
                match self.shared.store.read(self.found.log(), Some(spot.seq), ReadLimit::default()).await {
                    Err(ReadError::NotFound) => {
                        self.begin_anew().await?;
                        continue;
                    }
                    batch => batch.map_err(of_read)?,
                };
            if batch.entries.is_empty() {
                if self.wait(spot).await? {
                    let position = self.position(spot).await?;
                    return Ok(Sight::Heartbeat { position });
                }
                continue;
            }
            let (mut now, mut rows, mut removed) = (spot, Vec::new(), Vec::new());
            for stored in &batch.entries {
                let entry = Entry::decode(&stored.payload)?;
                now = Spot { seq: stored.seq, stamp: entry.stamp };
                rows.extend(Row::shown(stored.seq, &entry, self.view));
                if let What::Removal { seq, id } = entry.what {
                    removed.push((Seq::new(seq), id));
                }
            }
            let items = self.shared.shown(&self.found, self.view, rows).await?;
            let position = self.position(now).await?;
            self.spot = Some(now);
            if !items.is_empty() || !removed.is_empty() {
                return Ok(Sight::News { items, removed, position });
            }
        }
    }

    async fn position(&self, spot: Spot) -> Result<String, Error> {
        self.shared.position(&self.found, self.view, spot.seq, spot.stamp).await
    }

    async fn first_page(&mut self) -> Result<Sight, Error> {
        loop {
            let committed = self.found.committed();
            let page = self.shared.page(&self.found, self.view, self.page_size, None).await;
            let newest = self.shared.entry(self.found.log(), committed).await;
            match (page, newest) {
                (Ok(page), Ok(newest)) => {
                    self.spot = Some(Spot { seq: committed, stamp: newest.stamp });
                    return Ok(Sight::Page(page));
                }
                (page, newest) => {
                    // It was reset while the page was read, or it cannot be read.
                    let before = self.found.log();
                    self.begin_anew().await?;
                    if self.found.log() == before {
                        page?;
                        newest?;
                    }
                }
            }
        }
    }

    /// Goes on with the history that the session has now.
    async fn begin_anew(&mut self) -> Result<(), Error> {
        let found = self.shared.find(&self.found.owner, &self.found.key).await?;
        let tail = self.shared.store.tail(found.log()).await.map_err(of_read)?;
        (self.found, self.tail, self.spot) = (found, tail, None);
        Ok(())
    }

    /// Waits for more; true if nothing came for too long.
    async fn wait(&mut self, spot: Spot) -> Result<bool, Error> {
        let Frontier { committed, gone, .. } = tokio::select! {
            // What is in the log comes before a heartbeat or the end.
            biased;
            frontier = self.tail.past(Some(spot.seq)) => frontier,
            () = &mut self.closing => return Err(crate::faults::draining()),
            () = self.heartbeat.gone_off() => return Ok(true),
        };
        if gone || committed > spot.seq {
            return Ok(false);
        }
        // The store let go of the log while it is watched: it has stopped.
        Err(Error::internal("the store does not follow a history any more"))
    }
}
