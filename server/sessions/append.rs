//! What enters a history.
//!
//! It owns that a response enters once, whatever crashes: a record that it has yet to enter is written before the response begins and
//! removed when its items are in the history. In between a start looks for the items behind the place where the response began,
//! and adds those that are missing. It must never decide whether a response enters: that is for who runs it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidemark_store::{Append, Head, LogId, Owner, Seq, WriteError};

use crate::backends::Api;
use crate::error::Error;
use crate::items;
use crate::sessions::entry::{Entry, Item, What};
use crate::sessions::find::Found;
use crate::sessions::history::HistoryItem;
use crate::sessions::key::SessionKey;
use crate::sessions::record::{self, Name, PENDING};
use crate::sessions::{MAX_ITEMS, Sessions, Shared, View, faults};
use crate::turns::Turn;

/// The most bytes of items that a model is given of a session.
pub const MAX_CONTEXT_BYTES: usize = 64 << 20;

/// The most entries in one append.
const BATCH_ENTRIES: usize = 1000;

/// An append takes no more when it has so many bytes.
const BATCH_BYTES: usize = 1 << 20;

/// Responses that have yet to enter are looked for in pages of this many.
const PAGE: usize = 256;

/// That a response belongs to a session, as it is stored with the response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    key: String,
    /// The history that it shall enter: not the one after a reset.
    log: String,
    /// The last entry that it was given.
    after: u64,
}

impl Membership {
    /// The key of the session.
    pub fn key(&self) -> &str {
        &self.key
    }

    fn parsed(&self) -> Result<(SessionKey, LogId, Seq), Error> {
        Ok((SessionKey::parse(&self.key, "session")?, record::log_id(&self.log)?, Seq::new(self.after)))
    }
}

/// The sole right to change a session. Who reads a session waits for it.
#[derive(Debug)]
pub struct Entering(#[expect(dead_code, reason = "held for its drop")] Turn<Name>);

/// An item that enters a history.
#[derive(Clone, Debug, PartialEq)]
pub struct Entrant {
    id: String,
    json: Bytes,
    is_message: bool,
    is_broken: bool,
}

impl Entrant {
    /// An item with its id, as one line of JSON.
    ///
    /// # Errors
    /// `internal` for what is no object.
    pub fn new(id: String, json: Bytes) -> Result<Self, Error> {
        let item: &RawValue = serde_json::from_slice(&json).map_err(Error::internal)?;
        let is_message = items::is_message(item);
        Ok(Self { id, json, is_message, is_broken: false })
    }

    /// The same, as a piece that means nothing to anybody.
    #[must_use]
    pub fn broken(self) -> Self {
        Self { is_broken: true, ..self }
    }

    pub(super) fn into_item(self, response: Option<LogId>) -> Item {
        let Self { id, json, is_message, is_broken } = self;
        Item { id, json, response, is_message, is_broken }
    }
}

impl Shared {
    /// Adds entries as one step; the caller has the turn of the session.
    pub(super) async fn add(&self, found: &Found, whats: Vec<What>) -> Result<Head, Error> {
        let (stamp, at) = (LogId::from_bytes(self.clock.new_id()), self.clock.now());
        let entries = whats.into_iter().map(|what| Entry { stamp, at, what }.encode());
        let entries: Vec<Bytes> = entries.collect::<Result<_, _>>()?;
        let head = self.store.head(found.log()).await.map_err(Error::internal)?;
        let append = Append {
            id: found.log(),
            epoch: self.store.epoch(),
            expected_last: head.ok_or_else(faults::not_found)?.frontier.committed,
            status: None,
            entries,
            close: Some(self.due()),
        };
        self.store.append(append).await.map_err(|error| match error {
            WriteError::NotFound => faults::not_found(),
            other => crate::faults::of_write(other),
        })
    }

    /// Refuses `more` entries if the history has as many, or is as long, as may be.
    pub(super) fn check_room(&self, head: &Head, more: usize) -> Result<(), Error> {
        let entries = head.retained_entries.saturating_add(more as u64);
        if let Some(most) = self.options.max_items.filter(|most| entries > *most) {
            return Err(faults::full(&format!("{most} items")));
        }
        if let Some(most) = self.options.max_bytes.filter(|most| head.retained_bytes >= *most) {
            return Err(faults::full(&format!("{most} bytes")));
        }
        Ok(())
    }
}

impl Sessions {
    /// Makes a response that will have `input` items of its own a member of a session. A key of the caller's that does not exist makes
    /// the session.
    ///
    /// # Errors
    /// `not_found`, `invalid_request`, `session_full`, `quota_exceeded`, `overloaded`, `storage_unavailable`.
    pub async fn join(&self, owner: &Owner, key: &str, input: usize) -> Result<Membership, Error> {
        let key = SessionKey::parse(key, "session")?;
        // Whoever has seen the end of a response finds it in the history.
        drop(self.0.turns.take(&Name::of(owner, &key)).await);
        let found = match self.0.look(owner, &key).await? {
            Some(found) => found,
            None if key.is_made() => return Err(faults::not_found().with_param("session")),
            None => self.make_for(owner, &key).await?,
        };
        self.0.check_room(&found.head, input).map_err(|error| error.with_param("session"))?;
        let (log, after) = (found.log().to_string(), found.committed().get());
        Ok(Membership { key: key.to_string(), log, after })
    }

    async fn make_for(&self, owner: &Owner, key: &SessionKey) -> Result<Found, Error> {
        key.check_free("session")?;
        let _turn = self.0.owners.take(owner).await;
        match self.0.look(owner, key).await? {
            Some(found) => Ok(found),
            None => self.0.make(owner, key, Default::default(), Vec::new()).await,
        }
    }

    /// What a model is given of a session: all items that were there when the response joined, the oldest first.
    ///
    /// # Errors
    /// `not_found` if it was reset or removed since; `invalid_request` if there are more than [`MAX_CONTEXT_BYTES`].
    pub async fn context(&self, member: &Membership) -> Result<Vec<Box<RawValue>>, Error> {
        let (_, log, after) = member.parsed()?;
        let (mut items, mut bytes) = (Vec::new(), 0_usize);
        let each = self.0.each(log, Seq::FIRST, after, |_, entry| {
            let Some(item) = entry.item() else { return Ok(true) };
            bytes = bytes.saturating_add(item.json.len());
            if bytes > MAX_CONTEXT_BYTES {
                return Err(faults::too_long(MAX_CONTEXT_BYTES));
            }
            items.push(serde_json::from_slice(&item.json).map_err(Error::internal)?);
            Ok(true)
        });
        each.await.map_err(|error| error.with_param("session"))?;
        Ok(items)
    }

    /// Writes down that a response has yet to enter its session. To be called before the response begins.
    ///
    /// # Errors
    /// `storage_unavailable`.
    pub async fn announce(&self, response: LogId) -> Result<(), Error> {
        let put = self.0.store.put_record(&record::pending(response), None, Some(Bytes::new())).await;
        put.map(drop).map_err(crate::faults::of_write)
    }

    /// Takes that back: the response has entered, or never will.
    ///
    /// # Errors
    /// `storage_unavailable`.
    pub async fn forget(&self, response: LogId) -> Result<(), Error> {
        let name = record::pending(response);
        let Some(record) = self.0.store.record(&name).await.map_err(Error::internal)? else { return Ok(()) };
        match self.0.store.put_record(&name, Some(record.version), None).await {
            Ok(_) | Err(WriteError::Conflict { .. }) => Ok(()),
            Err(error) => Err(crate::faults::of_write(error)),
        }
    }

    /// Some responses with an id greater than `after` that have yet to enter their sessions, in the order of ids.
    ///
    /// # Errors
    /// `internal`.
    pub async fn pending(&self, after: Option<LogId>) -> Result<Vec<LogId>, Error> {
        let after = after.map(record::pending);
        let found = self.0.store.records(PENDING.as_bytes(), after.as_deref(), PAGE).await;
        let found = found.map_err(Error::internal)?;
        found.iter().map(|(name, _)| record::pending_response(name)).collect()
    }

    /// Waits until nobody else changes the session of a response. Who takes this before the response ends, and has it until it
    /// has entered, lets nobody who saw the end find the history without it.
    ///
    /// # Errors
    /// `internal`.
    pub async fn entering(&self, owner: &Owner, member: &Membership) -> Result<Entering, Error> {
        let (key, ..) = member.parsed()?;
        Ok(Entering(self.0.turns.take(&Name::of(owner, &key)).await))
    }

    /// Lets a response that has ended enter its session, and forgets that it had to. `again` = some of it may be there already. A
    /// session that was reset or removed since is not entered.
    ///
    /// # Errors
    /// `internal`, `storage_unavailable`: the next start tries again.
    pub async fn enter(
        &self,
        _entering: &Entering,
        owner: &Owner,
        member: &Membership,
        response: LogId,
        items: Vec<Entrant>,
        again: bool,
    ) -> Result<(), Error> {
        let (key, log, after) = member.parsed()?;
        if let Some(found) = self.0.look(owner, &key).await?.filter(|found| found.log() == log) {
            let there = if again { self.entered(&found, response, after).await? } else { 0 };
            let items: Vec<Entrant> = items.into_iter().skip(there).collect();
            let mut batch = (Vec::new(), 0);
            for item in items {
                batch.1 += item.json.len();
                batch.0.push(What::Item(item.into_item(Some(response))));
                if batch.0.len() >= BATCH_ENTRIES || batch.1 >= BATCH_BYTES {
                    self.0.add(&found, std::mem::take(&mut batch.0)).await?;
                    batch.1 = 0;
                }
            }
            if !batch.0.is_empty() {
                self.0.add(&found, batch.0).await?;
            }
        }
        self.forget(response).await
    }

    /// How many items of a response are in a history already, behind the place where the response began.
    async fn entered(&self, found: &Found, response: LogId, after: Seq) -> Result<usize, Error> {
        let mut count = 0;
        let of_response =
            |entry: &Entry| matches!(&entry.what, What::Item(item) if item.response == Some(response));
        let each = self.0.each(found.log(), after.next(), found.committed(), |_, entry| {
            count += usize::from(of_response(&entry));
            Ok(true)
        });
        each.await?;
        Ok(count)
    }

    /// Adds items of a caller, all or none.
    ///
    /// # Errors
    /// `not_found`, `invalid_request`, `session_full`, `storage_unavailable`.
    pub async fn add_items(&self, owner: &Owner, key: &str, items: &[u8]) -> Result<Vec<HistoryItem>, Error> {
        let key = SessionKey::parse(key, "key")?;
        let items = self.checked(items)?;
        let _turn = self.0.turns.take(&Name::of(owner, &key)).await;
        let found = self.0.find(owner, &key).await?;
        self.0.check_room(&found.head, items.len())?;
        let (count, whats) =
            (items.len() as u64, items.into_iter().map(|item| What::Item(item.into_item(None))));
        let head = self.0.add(&found, whats.collect()).await?;
        let through = head.frontier.committed;
        let from = Seq::new(through.get().saturating_sub(count.saturating_sub(1)));
        self.0.items(&found, from, through, View::All).await
    }

    /// Checks items of a caller: 1 to [`MAX_ITEMS`]. Those without an id get one.
    pub(super) fn checked(&self, json: &[u8]) -> Result<Vec<Entrant>, Error> {
        let list = items::objects("items", "items", json)?;
        if list.len() > MAX_ITEMS {
            return Err(Error::invalid("items", format!("items must be at most {MAX_ITEMS} items")));
        }
        let seed = LogId::from_bytes(self.0.clock.new_id());
        let named = items::identified(seed, list)?;
        let entrant = |(id, item): (String, Box<RawValue>)| {
            let json = items::written_out(&id, &item, Api::Responses)?;
            Entrant::new(id, json)
        };
        named.into_iter().map(entrant).collect()
    }
}
