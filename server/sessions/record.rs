//! The records of this room.
//!
//! It owns their names and forms: where the log of a session is, which changes of sessions are under way, which responses have yet to
//! enter one, and the secret of the cursors.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tidemark_store::{LogId, Owner, Seq, UnixMillis};

use crate::error::Error;
use crate::sessions::key::SessionKey;

/// What the names of the records of sessions begin with; owner, a zero and the key follow.
const SESSIONS: &str = "session/";

/// What the names of the records of moves begin with; the id of a log follows.
pub(super) const MOVES: &str = "session-move/";

/// What the names of the records of responses begin with that have yet to enter a session; the id of their log follows.
pub(super) const PENDING: &str = "session-pending/";

/// The name of the record of the secret that cursors are sealed with.
pub(super) const SECRET: &[u8] = b"session-cursor-secret";

/// The version of every form.
const VERSION: u8 = 1;

/// The name of the record of a session: the owner is part of it, so that nobody meets the session of another (D-30).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Name(Bytes);

impl Name {
    pub(super) fn of(owner: &Owner, key: &SessionKey) -> Self {
        // Neither of the two can hold a zero.
        Self([SESSIONS.as_bytes(), owner.as_str().as_bytes(), &[0], key.as_str().as_bytes()].concat().into())
    }

    /// What the names of all sessions of an owner begin with.
    pub(super) fn prefix(owner: &Owner) -> Vec<u8> {
        [SESSIONS.as_bytes(), owner.as_str().as_bytes(), &[0]].concat()
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key of the session with a record of this name.
    pub(super) fn key(owner: &Owner, name: &[u8]) -> Option<SessionKey> {
        let key = name.strip_prefix(Self::prefix(owner).as_slice())?;
        SessionKey::parse(std::str::from_utf8(key).ok()?, "").ok()
    }
}

/// Where the history of a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its log.
    pub(super) log: LogId,
    /// How often it was reset.
    pub(super) generation: u64,
    pub(super) created_at: UnixMillis,
    /// The entry that holds its labels.
    pub(super) about: Seq,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlaceForm {
    version: u8,
    log: String,
    generation: u64,
    created_at: u64,
    about: u64,
}

impl Place {
    pub(super) fn encode(&self) -> Result<Bytes, Error> {
        json(&PlaceForm {
            version: VERSION,
            log: self.log.to_string(),
            generation: self.generation,
            created_at: self.created_at.0,
            about: self.about.get(),
        })
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let PlaceForm { version, log, generation, created_at, about } = read(bytes)?;
        check_version(version)?;
        let (log, created_at) = (log_id(&log)?, UnixMillis(created_at));
        Ok(Self { log, generation, created_at, about: Seq::new(about) })
    }
}

/// Logs of which at most one stays: written before they are made or given up, so that a crash leaves none behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) owner: Owner,
    pub(super) key: SessionKey,
    pub(super) logs: Vec<LogId>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MoveForm {
    version: u8,
    owner: String,
    key: String,
    logs: Vec<String>,
}

impl Move {
    pub(super) fn name(&self) -> Bytes {
        let log = self.logs.first().map(ToString::to_string).unwrap_or_default();
        format!("{MOVES}{log}").into()
    }

    pub(super) fn encode(&self) -> Result<Bytes, Error> {
        json(&MoveForm {
            version: VERSION,
            owner: self.owner.to_string(),
            key: self.key.to_string(),
            logs: self.logs.iter().map(ToString::to_string).collect(),
        })
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let MoveForm { version, owner, key, logs } = read(bytes)?;
        check_version(version)?;
        let owner = Owner::new(&owner).ok_or_else(|| Error::internal("a move without an owner"))?;
        let logs = logs.iter().map(|log| log_id(log)).collect::<Result<_, _>>()?;
        Ok(Self { owner, key: SessionKey::parse(&key, "key")?, logs })
    }
}

/// The name of the record of a response that has yet to enter its session.
pub(super) fn pending(response: LogId) -> Bytes {
    format!("{PENDING}{response}").into()
}

/// The response that a record of that kind speaks of.
pub(super) fn pending_response(name: &[u8]) -> Result<LogId, Error> {
    let id = name.strip_prefix(PENDING.as_bytes()).and_then(|id| std::str::from_utf8(id).ok());
    log_id(id.unwrap_or_default())
}

/// The id that [`LogId`] writes like this.
pub(super) fn log_id(text: &str) -> Result<LogId, Error> {
    let number = u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32);
    let number = number.ok_or_else(|| Error::internal("a record of a session names no log"))?;
    Ok(LogId::from_bytes(number.to_be_bytes()))
}

fn json<T: Serialize>(form: &T) -> Result<Bytes, Error> {
    serde_json::to_vec(form).map(Bytes::from).map_err(Error::internal)
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(Error::internal)
}

fn check_version(version: u8) -> Result<(), Error> {
    if version == VERSION {
        return Ok(());
    }
    Err(Error::internal(format!("a record of a session has form {version}, this is {VERSION}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(name: &str) -> Owner {
        Owner::new(name).unwrap()
    }

    #[test]
    fn records_read_back_and_a_later_form_is_refused() {
        let log = LogId::from_bytes([0xab; 16]);
        let place = Place { log, generation: 3, created_at: UnixMillis(7), about: Seq::new(5) };
        let written = place.encode().unwrap();
        assert_eq!(Place::decode(&written).unwrap(), place);
        let later = String::from_utf8(written.to_vec()).unwrap().replace("\"version\":1", "\"version\":2");
        assert!(Place::decode(later.as_bytes()).is_err() && Place::decode(b"{}").is_err());
        let key = SessionKey::parse("k/e:y", "key").unwrap();
        let moved = Move { owner: owner("alice"), key, logs: vec![log, LogId::from_bytes([1; 16])] };
        assert_eq!(Move::decode(&moved.encode().unwrap()).unwrap(), moved);
        assert_eq!(moved.name(), format!("session-move/{}", "ab".repeat(16)));
        assert_eq!(pending_response(&pending(log)).unwrap(), log);
        assert!(pending_response(b"session-pending/ab").is_err());
    }

    #[test]
    fn names_hold_the_owner_and_give_back_the_key() {
        let key = SessionKey::parse("a", "key").unwrap();
        let name = Name::of(&owner("alice"), &key);
        assert_eq!(Name::key(&owner("alice"), name.as_bytes()), Some(key.clone()));
        assert_eq!(Name::key(&owner("alic"), name.as_bytes()), None);
        assert_ne!(name, Name::of(&owner("alicea"), &key));
        let longest = Name::of(&owner(&"o".repeat(256)), &SessionKey::parse(&"k".repeat(256), "").unwrap());
        assert!(longest.as_bytes().len() <= tidemark_store::MAX_RECORD_KEY_BYTES);
    }
}
