//! The life of keys: made, listed, rotated, disabled, enabled, deleted (D-31).
//!
//! It owns who may manage which: the keys of one's own owner, with [`Scope::ActAs`] those of all; and nobody hands out more than
//! they have. That the caller has [`Scope::KeysAdmin`] was decided before.

use std::time::Duration;

use bytes::Bytes;
use tidemark_proto::v1::ErrorCode;
use tidemark_store::{Owner, UnixMillis};

use crate::auth::directory::{Directory, PAGES, owner_named, unavailable};
use crate::auth::principal::lacks;
use crate::auth::record::{self, KeyRecord, Previous};
use crate::auth::{Key, KeyId, Principal, Scope, Scopes};
use crate::clock::millis;
use crate::error::Error;

/// How many records are read at a time.
const READ_AT_ONCE: usize = 256;

/// The longest time that both values of a key are good.
pub const MAX_OVERLAP: Duration = Duration::from_secs(30 * 24 * 3600);

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Whose it shall be; absent = the caller's owner.
    pub owner: Option<Owner>,
    /// What it shall be good for: at least one scope.
    pub scopes: Scopes,
    /// When it shall end by itself; absent = never.
    pub expires_at: Option<UnixMillis>,
}

/// Whether a key can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// It can.
    Active,
    /// It can, with the value that it had before too.
    Rotating,
    /// Not until it is enabled again.
    Disabled,
    /// Not any more.
    Expired,
}

/// What may be shown of a key.
#[derive(Clone, Debug)]
pub struct KeyInfo {
    /// Its id.
    pub id: KeyId,
    /// Whose it is.
    pub owner: Owner,
    /// What it is good for.
    pub scopes: Scopes,
    /// Whether it can be used.
    pub state: KeyState,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it ends by itself; absent = never.
    pub expires_at: Option<UnixMillis>,
    /// Until when the value that it had before is good; absent = it is not.
    pub previous_until: Option<UnixMillis>,
}

/// A page of keys, the oldest first.
#[derive(Clone, Debug)]
pub struct KeyPage {
    /// The keys.
    pub keys: Vec<KeyInfo>,
    /// Whether there are more after the last one.
    pub has_more: bool,
    /// The most keys that this page could have had.
    pub page_size: u32,
}

/// Which keys to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyQuery<'q> {
    /// Those of this owner; empty = of every one that the caller may manage.
    pub owner: &'q str,
    /// How many at most; 0 = 50, more than 1000 = 1000.
    pub page_size: u32,
    /// The id of the last key of the page before; empty = from the first key on.
    pub after: &'q str,
}

impl KeyInfo {
    fn new(id: KeyId, record: KeyRecord, now: UnixMillis) -> Self {
        let KeyRecord { owner, scopes, created_at, expires_at, .. } = record;
        let previous_until = record.previous.map(|previous| previous.until).filter(|until| now < *until);
        let state = match (record.disabled, expires_at.is_some_and(|at| at <= now), previous_until) {
            (true, _, _) => KeyState::Disabled,
            (false, true, _) => KeyState::Expired,
            (false, false, Some(_)) => KeyState::Rotating,
            (false, false, None) => KeyState::Active,
        };
        Self { id, owner, scopes, state, created_at, expires_at, previous_until }
    }
}

impl Directory {
    /// Makes a key. Its secret is in the answer and nowhere else.
    ///
    /// # Errors
    /// `invalid_request` without a scope, or for an end that has passed; `insufficient_scope` for a scope that the caller does not
    /// have, or another owner without `owners.act_as`; `storage_unavailable`.
    pub async fn create_key(&self, caller: &Principal, new: NewKey) -> Result<(Key, KeyInfo), Error> {
        let now = self.0.clock.now();
        if new.scopes.is_empty() {
            return Err(Error::invalid("scopes", "a key needs at least one scope"));
        }
        if new.expires_at.is_some_and(|at| at <= now) {
            return Err(Error::invalid("expires_at", "the key would have ended already"));
        }
        hand_out(caller, new.scopes)?;
        let owner = new.owner.unwrap_or_else(|| caller.owner().clone());
        if owner != *caller.owner() {
            caller.require(Scope::ActAs).map_err(|error| error.with_param("owner"))?;
        }
        let id = KeyId::from_bytes(self.0.clock.new_id());
        let key = Key::generate(id).map_err(Error::internal)?;
        let record = KeyRecord {
            owner,
            scopes: new.scopes,
            created_at: now,
            expires_at: new.expires_at,
            disabled: false,
            value: key.digest(),
            previous: None,
            epoch: 0,
        };
        let info = self.change(record::key_name(id), |found| match found {
            Some(_) => Err(Error::internal("an id was given twice")),
            None => Ok((Some(record.encode()), KeyInfo::new(id, record.clone(), now))),
        });
        Ok((key, info.await?))
    }

    /// Gives a key a new secret. The old one is good for `overlap` more, at most [`MAX_OVERLAP`]; zero = it ends at once. One that an
    /// earlier rotation left ends now.
    ///
    /// # Errors
    /// `not_found` for a key that the caller may not manage; `invalid_request`; `insufficient_scope` for a key that has a scope which
    /// the caller does not have; `storage_unavailable`.
    pub async fn rotate_key(
        &self,
        caller: &Principal,
        id: &str,
        overlap: Duration,
    ) -> Result<(Key, KeyInfo), Error> {
        if overlap > MAX_OVERLAP {
            let days = MAX_OVERLAP.as_secs() / (24 * 3600);
            return Err(Error::invalid("overlap", format!("the overlap is at most {days} days")));
        }
        let key = Key::generate(known_id(id)?).map_err(Error::internal)?;
        let (now, value) = (self.0.clock.now(), key.digest());
        let info = self.change_key(caller, id, |record| {
            hand_out(caller, record.scopes)?;
            let old = std::mem::replace(&mut record.value, value);
            let until = UnixMillis(now.0.saturating_add(millis(overlap)));
            record.previous = (now < until).then_some(Previous { value: old, until });
            Ok(())
        });
        Ok((key, info.await?))
    }

    /// Disables a key until it is enabled, or enables it. One that is so already stays as it is.
    ///
    /// # Errors
    /// `not_found` for a key that the caller may not manage; `storage_unavailable`.
    pub async fn set_key_disabled(
        &self,
        caller: &Principal,
        id: &str,
        disabled: bool,
    ) -> Result<KeyInfo, Error> {
        self.change_key(caller, id, |record| {
            record.disabled = disabled;
            Ok(())
        })
        .await
    }

    /// Removes a key for good.
    ///
    /// # Errors
    /// `not_found` for a key that the caller may not manage; `storage_unavailable`.
    pub async fn delete_key(&self, caller: &Principal, id: &str) -> Result<KeyId, Error> {
        let key = known_id(id)?;
        self.change(record::key_name(key), |found| {
            managed(caller, found)?;
            Ok((None, key))
        })
        .await
    }

    /// The keys that the caller may manage.
    ///
    /// # Errors
    /// `invalid_request` for what is no owner; `invalid_cursor` for what is no id of a key; `insufficient_scope` for another owner
    /// without `owners.act_as`; `storage_unavailable`.
    pub async fn list_keys(&self, caller: &Principal, query: KeyQuery<'_>) -> Result<KeyPage, Error> {
        let owner = listed_owner(caller, query.owner)?;
        let mut after = match query.after {
            "" => None,
            id => Some(record::key_name(id.parse().map_err(|_| no_place())?)),
        };
        let page_size = PAGES.of(query.page_size);
        let room = usize::try_from(page_size).unwrap_or(usize::MAX);
        let (now, mut keys) = (self.0.clock.now(), Vec::new());
        loop {
            let after_name = after.as_ref().map(|name| name.as_bytes());
            let found = self.0.store.records(record::KEYS.as_bytes(), after_name, READ_AT_ONCE).await;
            let found = found.map_err(unavailable)?;
            let Some((last, _)) = found.last() else { break };
            after = Some(String::from_utf8_lossy(last).into_owned());
            for (name, value) in found {
                let info = KeyInfo::new(id_of(&name)?, decode(&value.value)?, now);
                if owner.as_ref().is_some_and(|owner| *owner != info.owner) {
                    continue;
                }
                if keys.len() == room {
                    return Ok(KeyPage { keys, has_more: true, page_size });
                }
                keys.push(info);
            }
        }
        Ok(KeyPage { keys, has_more: false, page_size })
    }

    /// Changes a key that the caller may manage.
    async fn change_key(
        &self,
        caller: &Principal,
        id: &str,
        change: impl Fn(&mut KeyRecord) -> Result<(), Error>,
    ) -> Result<KeyInfo, Error> {
        let (id, now) = (known_id(id)?, self.0.clock.now());
        self.change(record::key_name(id), |found| {
            let mut record = managed(caller, found)?;
            let before = record.clone();
            change(&mut record)?;
            if record != before {
                record.epoch = record.epoch.saturating_add(1);
            }
            Ok((Some(record.encode()), KeyInfo::new(id, record, now)))
        })
        .await
    }
}

/// Refuses to give what the caller does not have.
fn hand_out(caller: &Principal, scopes: Scopes) -> Result<(), Error> {
    let missing = scopes.first_beyond(caller.scopes());
    missing.map_or(Ok(()), |scope| Err(lacks(scope).with_param("scopes")))
}

/// The owner whose keys are listed; absent = all.
fn listed_owner(caller: &Principal, named: &str) -> Result<Option<Owner>, Error> {
    let all = caller.scopes().contains(Scope::ActAs);
    if named.is_empty() {
        return Ok((!all).then(|| caller.owner().clone()));
    }
    let owner = owner_named(named, "owner")?;
    if owner != *caller.owner() {
        caller.require(Scope::ActAs).map_err(|error| error.with_param("owner"))?;
    }
    Ok(Some(owner))
}

/// The key of this record, if the caller may manage it.
fn managed(caller: &Principal, found: Option<Bytes>) -> Result<KeyRecord, Error> {
    let record = decode(&found.ok_or_else(no_such_key)?)?;
    let may = record.owner == *caller.owner() || caller.scopes().contains(Scope::ActAs);
    if may { Ok(record) } else { Err(no_such_key()) }
}

fn decode(value: &[u8]) -> Result<KeyRecord, Error> {
    KeyRecord::decode(value).map_err(unavailable)
}

fn known_id(id: &str) -> Result<KeyId, Error> {
    id.parse().map_err(|_| no_such_key())
}

fn id_of(name: &[u8]) -> Result<KeyId, Error> {
    let id = std::str::from_utf8(name).ok().and_then(|name| name.strip_prefix(record::KEYS)?.parse().ok());
    id.ok_or_else(|| unavailable("the name of a record of a key holds no id"))
}

/// Unknown and foreign are the same.
fn no_such_key() -> Error {
    Error::new(ErrorCode::NotFound, "no key with this id")
}

fn no_place() -> Error {
    let text = "after must be empty, or the id of the last key of an earlier page";
    Error::new(ErrorCode::InvalidCursor, text).with_param("after")
}
