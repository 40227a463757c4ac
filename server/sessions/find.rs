//! Looking a session up.
//!
//! It owns the one look-up (D-30): the owner is part of the name that is looked for, so that a foreign session is an unknown one.

use tidemark_store::{Head, LogId, Owner, ReadLimit, Seq, UnixMillis, Version};

use crate::error::Error;
use crate::sessions::cursor::{SECRET_BYTES, Sealer};
use crate::sessions::entry::{Entry, Labels, What};
use crate::sessions::key::SessionKey;
use crate::sessions::record::{Name, Place, SECRET};
use crate::sessions::{Sessions, Shared, faults};

/// How often a session that is being reset is looked up again.
const TRIES: usize = 16;

/// A session that was found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) owner: Owner,
    pub(super) key: SessionKey,
    pub(super) version: Version,
    pub(super) place: Place,
    /// Where its log stood then.
    pub(super) head: Head,
}

/// A session as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// Its key.
    pub key: SessionKey,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When something was last added to its history or changed of it.
    pub updated_at: UnixMillis,
    /// How often it was reset.
    pub generation: u64,
    /// Its labels.
    pub metadata: Labels,
    /// The number of the newest entry, shown or not.
    pub committed: Seq,
    /// The length of the history, in bytes.
    pub bytes: u64,
    /// When it goes unless something is added before; absent = never.
    pub expires_at: Option<UnixMillis>,
}

impl Found {
    pub(super) fn name(&self) -> Name {
        Name::of(&self.owner, &self.key)
    }

    pub(super) fn log(&self) -> LogId {
        self.place.log
    }

    pub(super) fn committed(&self) -> Seq {
        self.head.frontier.committed
    }
}

impl Shared {
    /// The session of an owner with this key.
    ///
    /// # Errors
    /// `not_found`.
    pub(super) async fn find(&self, owner: &Owner, key: &SessionKey) -> Result<Found, Error> {
        self.look(owner, key).await?.ok_or_else(faults::not_found)
    }

    /// The same; `None` if there is none.
    pub(super) async fn look(&self, owner: &Owner, key: &SessionKey) -> Result<Option<Found>, Error> {
        let (found, now) = (self.look_any(owner, key).await?, self.clock.now());
        Ok(found.filter(|found| found.head.expires_at.is_none_or(|at| at > now)))
    }

    /// The same, also if it has expired and was not swept yet.
    pub(super) async fn look_any(&self, owner: &Owner, key: &SessionKey) -> Result<Option<Found>, Error> {
        let name = Name::of(owner, key);
        for _ in 0..TRIES {
            let record = self.store.record(name.as_bytes()).await.map_err(Error::internal)?;
            let Some(record) = record else { return Ok(None) };
            let place = Place::decode(&record.value)?;
            let head = self.store.head(place.log).await.map_err(Error::internal)?;
            // Without a log it was reset or removed since the record was read.
            let Some(head) = head.filter(|head| !head.frontier.gone) else { continue };
            let (owner, key, version) = (owner.clone(), key.clone(), record.version);
            return Ok(Some(Found { owner, key, version, place, head }));
        }
        Err(Error::internal("a session has no log"))
    }

    /// What is shown of a session.
    pub(super) async fn info(&self, found: &Found) -> Result<SessionInfo, Error> {
        let about = self.entry(found.log(), found.place.about).await?;
        let What::About(metadata) = about.what else {
            return Err(Error::internal("a session has no labels where its record says"));
        };
        let newest = self.entry(found.log(), found.committed()).await?;
        Ok(SessionInfo {
            key: found.key.clone(),
            created_at: found.place.created_at,
            updated_at: newest.at,
            generation: found.place.generation,
            metadata,
            committed: found.committed(),
            bytes: found.head.retained_bytes,
            expires_at: found.head.expires_at,
        })
    }

    /// One entry of a history.
    ///
    /// # Errors
    /// `not_found` if the log went away since it was found.
    pub(super) async fn entry(&self, log: LogId, seq: Seq) -> Result<Entry, Error> {
        let one = ReadLimit { entries: 1, bytes: usize::MAX };
        let batch = self.store.read(log, seq.previous(), one).await.map_err(of_read)?;
        let entry = batch.entries.first().filter(|entry| entry.seq == seq);
        Entry::decode(&entry.ok_or_else(|| Error::internal("an entry of a history is missing"))?.payload)
    }

    /// What cursors are sealed with. The secret is made when the first cursor is.
    pub(super) async fn sealer(&self) -> Result<&Sealer, Error> {
        self.sealer.get_or_try_init(|| self.load_sealer()).await
    }

    async fn load_sealer(&self) -> Result<Sealer, Error> {
        if self.store.record(SECRET).await.map_err(Error::internal)?.is_none() {
            let mut secret = [0; SECRET_BYTES];
            getrandom::fill(&mut secret).map_err(Error::internal)?;
            let written = self.store.put_record(SECRET, None, Some(secret.to_vec().into())).await;
            written.map_err(crate::faults::of_write)?;
        }
        let record = self.store.record(SECRET).await.map_err(Error::internal)?;
        let secret = record.and_then(|record| record.value.first_chunk().copied());
        let secret = secret.ok_or_else(|| Error::internal("the secret of cursors is malformed"))?;
        Ok(Sealer::new(&secret))
    }
}

impl Sessions {
    /// The session as it is now.
    ///
    /// # Errors
    /// `not_found`; `invalid_request` for what cannot be a key.
    pub async fn get(&self, owner: &Owner, key: &str) -> Result<SessionInfo, Error> {
        let found = self.settled(owner, &SessionKey::parse(key, "key")?).await?;
        self.0.info(&found).await
    }

    /// The session, once everything is in its history whose end somebody may have seen.
    pub(super) async fn settled(&self, owner: &Owner, key: &SessionKey) -> Result<Found, Error> {
        drop(self.0.turns.take(&Name::of(owner, key)).await);
        self.0.find(owner, key).await
    }
}

/// What a failed read of a history means: it went away while it was read.
pub(super) fn of_read(error: tidemark_store::ReadError) -> Error {
    match error {
        tidemark_store::ReadError::NotFound => faults::not_found(),
        other => Error::internal(other),
    }
}
