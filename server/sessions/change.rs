//! Making, changing, emptying and removing sessions.
//!
//! It owns the order of the writes of each, so that a crash in between leaves either what was or what shall be.

use bytes::Bytes;
use tidemark_store::{Close, Head, LogId, NewLog, Owner, ReadError, Seq, UnixMillis, WriteError};

use crate::clock::millis;
use crate::error::Error;
use crate::labels;
use crate::sessions::append::Entrant;
use crate::sessions::entry::{Entry, Labels, What};
use crate::sessions::find::{Found, SessionInfo};
use crate::sessions::key::SessionKey;
use crate::sessions::record::{Move, Name, Place};
use crate::sessions::{Sessions, Shared, faults};

/// How many records one look finds when sessions are counted.
const PAGE: usize = 1000;

impl Shared {
    /// When a history that something is added to now goes.
    pub(super) fn due(&self) -> Close {
        let now = self.clock.now();
        let at = |kept| UnixMillis(now.0.saturating_add(millis(kept)));
        Close { compacts_at: None, expires_at: self.options.retention.map(at) }
    }

    /// Makes the log of a session: its labels, then items.
    async fn make_log(
        &self,
        owner: &Owner,
        key: &SessionKey,
        log: LogId,
        labels: Labels,
        items: Vec<Entrant>,
    ) -> Result<Head, Error> {
        let (stamp, at) = (LogId::from_bytes(self.clock.new_id()), self.clock.now());
        let about = Entry { stamp, at, what: What::About(labels) };
        let items = items.into_iter().map(|item| Entry { stamp, at, what: What::Item(item.into_item(None)) });
        let entries = std::iter::once(about).chain(items).map(|entry| entry.encode());
        let new = NewLog {
            id: log,
            owner: owner.clone(),
            created_at: at,
            status: 0,
            // So that who finds the log finds the session.
            document: Bytes::copy_from_slice(key.as_str().as_bytes()),
            entries: entries.collect::<Result<_, _>>()?,
            endless: Some(self.due()),
        };
        self.store.create(new).await.map_err(crate::faults::of_write)
    }

    /// Makes a session; the caller has the turn of the owner, and has seen that there is none, or one that has expired.
    pub(super) async fn make(
        &self,
        owner: &Owner,
        key: &SessionKey,
        labels: Labels,
        items: Vec<Entrant>,
    ) -> Result<Found, Error> {
        if let Some(expired) = self.look_any(owner, key).await? {
            let _turn = self.turns.take(&expired.name()).await;
            self.remove(&expired).await?;
        }
        self.check_count(owner).await?;
        let log = LogId::from_bytes(self.clock.new_id());
        let begun = self.begin_move(Move { owner: owner.clone(), key: key.clone(), logs: vec![log] }).await?;
        let made = self.make_at(owner, key, log, labels, items).await;
        if made.is_ok() {
            self.census.change(owner, true);
        }
        self.end_move(begun).await?;
        made
    }

    async fn make_at(
        &self,
        owner: &Owner,
        key: &SessionKey,
        log: LogId,
        labels: Labels,
        items: Vec<Entrant>,
    ) -> Result<Found, Error> {
        let head = self.make_log(owner, key, log, labels, items).await?;
        let place = Place { log, generation: 0, created_at: head.created_at, about: Seq::FIRST };
        let name = Name::of(owner, key);
        let version = self.store.put_record(name.as_bytes(), None, Some(place.encode()?)).await;
        let version = version.map_err(crate::faults::of_write)?;
        Ok(Found { owner: owner.clone(), key: key.clone(), version, place, head })
    }

    /// Refuses one more session of an owner who has as many as may be.
    async fn check_count(&self, owner: &Owner) -> Result<(), Error> {
        let Some(most) = self.options.max_per_owner else { return Ok(()) };
        let count = match self.census.of(owner) {
            Some(count) => count,
            None => {
                let count = self.count(owner).await?;
                self.census.set(owner, count);
                count
            }
        };
        if count >= most { Err(faults::too_many(most)) } else { Ok(()) }
    }

    async fn count(&self, owner: &Owner) -> Result<u64, Error> {
        let (prefix, mut after, mut count) = (Name::prefix(owner), None::<Bytes>, 0);
        loop {
            let page = self.store.records(&prefix, after.as_deref(), PAGE).await.map_err(Error::internal)?;
            let Some((last, _)) = page.last() else { return Ok(count) };
            count += page.len() as u64;
            after = Some(last.clone());
        }
    }

    /// Removes a session that stands as it was found; false if it does not any more. The caller has both turns.
    async fn remove(&self, found: &Found) -> Result<bool, Error> {
        let (owner, key) = (found.owner.clone(), found.key.clone());
        let begun = self.begin_move(Move { owner, key, logs: vec![found.log()] }).await?;
        let removed = self.store.put_record(found.name().as_bytes(), Some(found.version), None).await;
        if removed.is_ok() {
            self.census.change(&found.owner, false);
        }
        self.end_move(begun).await?;
        match removed {
            Ok(_) => Ok(true),
            Err(WriteError::Conflict { .. }) => Ok(false),
            Err(error) => Err(crate::faults::of_write(error)),
        }
    }
}

impl Sessions {
    /// Makes a session with this key (absent = one that is made up), labels and items.
    ///
    /// # Errors
    /// `invalid_request`, `session_exists`, `quota_exceeded`, `overloaded`, `storage_unavailable`.
    pub async fn create(
        &self,
        owner: &Owner,
        key: Option<&str>,
        metadata: Labels,
        items: &[u8],
    ) -> Result<SessionInfo, Error> {
        let key = match key {
            Some(text) => {
                let key = SessionKey::parse(text, "key")?;
                key.check_free("key")?;
                key
            }
            None => SessionKey::made(self.0.clock.new_id()),
        };
        labels::check(&metadata)?;
        let none = items.is_empty() || serde_json::from_slice::<[(); 0]>(items).is_ok();
        let items = if none { Vec::new() } else { self.checked(items)? };
        let _turn = self.0.owners.take(owner).await;
        if self.0.look(owner, &key).await?.is_some() {
            return Err(faults::exists("key"));
        }
        let found = self.0.make(owner, &key, metadata, items).await?;
        self.0.info(&found).await
    }

    /// Gives a session other labels.
    ///
    /// # Errors
    /// `not_found`, `invalid_request`, `session_full`, `storage_unavailable`.
    pub async fn update(&self, owner: &Owner, key: &str, metadata: Labels) -> Result<SessionInfo, Error> {
        let key = SessionKey::parse(key, "key")?;
        labels::check(&metadata)?;
        let _turn = self.0.turns.take(&Name::of(owner, &key)).await;
        let found = self.0.find(owner, &key).await?;
        self.0.check_room(&found.head, 1)?;
        let head = self.0.add(&found, vec![What::About(metadata)]).await?;
        let place = Place { about: head.frontier.committed, ..found.place };
        let value = Some(place.encode()?);
        let version = self.0.store.put_record(found.name().as_bytes(), Some(found.version), value).await;
        let version = version.map_err(crate::faults::of_write)?;
        self.0.info(&Found { version, place, head, ..found }).await
    }

    /// Forgets the whole history of a session for good; the session stays, one generation further.
    ///
    /// # Errors
    /// `not_found`, `invalid_request`, `quota_exceeded`, `overloaded`, `storage_unavailable`.
    pub async fn reset(&self, owner: &Owner, key: &str) -> Result<SessionInfo, Error> {
        let key = SessionKey::parse(key, "key")?;
        let _turn = self.0.turns.take(&Name::of(owner, &key)).await;
        let found = self.0.find(owner, &key).await?;
        let labels = self.0.info(&found).await?.metadata;
        let log = LogId::from_bytes(self.0.clock.new_id());
        let logs = vec![log, found.log()];
        let begun = self.0.begin_move(Move { owner: owner.clone(), key, logs }).await?;
        let reset = self.reset_to(found, log, labels).await;
        self.0.end_move(begun).await?;
        self.0.info(&reset?).await
    }

    async fn reset_to(&self, found: Found, log: LogId, labels: Labels) -> Result<Found, Error> {
        let head = self.0.make_log(&found.owner, &found.key, log, labels, Vec::new()).await?;
        let generation = found.place.generation.saturating_add(1);
        let place = Place { log, generation, about: Seq::FIRST, ..found.place };
        let value = Some(place.encode()?);
        let version = self.0.store.put_record(found.name().as_bytes(), Some(found.version), value).await;
        Ok(Found { version: version.map_err(crate::faults::of_write)?, place, head, ..found })
    }

    /// Removes a session and its history for good; returns the key that it had.
    ///
    /// # Errors
    /// `not_found`, `invalid_request`, `storage_unavailable`.
    pub async fn delete(&self, owner: &Owner, key: &str) -> Result<SessionKey, Error> {
        let key = SessionKey::parse(key, "key")?;
        let _owner = self.0.owners.take(owner).await;
        let _turn = self.0.turns.take(&Name::of(owner, &key)).await;
        let found = self.0.find(owner, &key).await?;
        if self.0.remove(&found).await? { Ok(key) } else { Err(faults::not_found()) }
    }

    /// Removes a session that has expired, whose log was found to be due.
    ///
    /// # Errors
    /// `internal`, `storage_unavailable`.
    pub async fn expire(&self, log: LogId, head: &Head) -> Result<(), Error> {
        let document = match self.0.store.document(log).await {
            Err(ReadError::NotFound) => return Ok(()),
            document => document.map_err(Error::internal)?,
        };
        let key = std::str::from_utf8(&document).map_err(Error::internal)?;
        let key = SessionKey::parse(key, "key")?;
        let _owner = self.0.owners.take(&head.owner).await;
        let name = Name::of(&head.owner, &key);
        let _turn = self.0.turns.take(&name).await;
        let record = self.0.store.record(name.as_bytes()).await.map_err(Error::internal)?;
        let Some(head) = self.0.store.head(log).await.map_err(Error::internal)? else { return Ok(()) };
        let place = record.map(|record| Ok::<_, Error>((record.version, Place::decode(&record.value)?)));
        match place.transpose()?.filter(|(_, place)| place.log == log) {
            // Something was added since it was found.
            Some(_) if head.expires_at.is_none_or(|at| at > self.0.clock.now()) => Ok(()),
            Some((version, place)) => {
                let owner = head.owner.clone();
                self.0.remove(&Found { owner, key, version, place, head }).await.map(drop)
            }
            // No session has it any more.
            None => self.0.store.purge_many(&[log]).await.map(drop).map_err(crate::faults::of_write),
        }
    }
}
