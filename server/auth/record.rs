//! Keys and users as records of the store.
//!
//! It owns their form. A record that this version does not understand is refused as a whole: it may hold a restriction.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidemark_store::{Owner, UnixMillis};

use crate::auth::{Digest, KeyId, Scopes};

/// What the names of the records of keys begin with; the id follows, so that they are sorted by the time they were made.
pub(super) const KEYS: &str = "key/";

/// What the names of the records of users begin with; the name follows.
pub(super) const USERS: &str = "user/";

/// The version of every form.
pub(super) const VERSION: u8 = 1;

/// The name of the record of a key.
pub(super) fn key_name(id: KeyId) -> String {
    format!("{KEYS}{id}")
}

/// The name of the record of a user.
pub(super) fn user_name(user: &Owner) -> String {
    format!("{USERS}{user}")
}

/// The record cannot be understood.
#[derive(Clone, Debug, thiserror::Error)]
#[error("a record of auth is malformed: {0}")]
pub(super) struct Malformed(String);

/// What is kept of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyRecord {
    pub(super) owner: Owner,
    pub(super) scopes: Scopes,
    pub(super) created_at: UnixMillis,
    pub(super) expires_at: Option<UnixMillis>,
    pub(super) disabled: bool,
    pub(super) value: Digest,
    pub(super) previous: Option<Previous>,
    /// How often it has changed: what an OAuth client was given before a change must be renewed after it.
    pub(super) epoch: u32,
}

/// The value that a key had before it was rotated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Previous {
    pub(super) value: Digest,
    pub(super) until: UnixMillis,
}

impl KeyRecord {
    /// Whether the key can be used at all.
    pub(super) fn is_live(&self, now: UnixMillis) -> bool {
        !self.disabled && self.expires_at.is_none_or(|at| now < at)
    }

    /// The digests of its values, good or not: the one in use first.
    pub(super) fn values(&self) -> impl Iterator<Item = &Digest> {
        std::iter::once(&self.value).chain(self.previous.as_ref().map(|previous| &previous.value))
    }

    /// When this value of the key ends by itself (`Some(None)` = never), or `None` if it is not good now.
    pub(super) fn accepts(&self, value: &Digest, now: UnixMillis) -> Option<Option<UnixMillis>> {
        // Both are always compared, so that the time it takes does not tell which.
        let current = self.value == *value;
        let rotated = self.previous.as_ref().filter(|previous| previous.value == *value);
        let rotated = rotated.filter(|previous| now < previous.until);
        let ends = match (current, rotated) {
            (true, _) => self.expires_at,
            (false, Some(previous)) => {
                Some(self.expires_at.map_or(previous.until, |at| at.min(previous.until)))
            }
            (false, None) => return None,
        };
        self.is_live(now).then_some(ends)
    }

    pub(super) fn encode(&self) -> Bytes {
        let form = KeyForm {
            version: VERSION,
            owner: self.owner.as_str().to_owned(),
            scopes: self.scopes.names().map(str::to_owned).collect(),
            created_at: self.created_at.0,
            expires_at: self.expires_at.map(|at| at.0),
            disabled: self.disabled,
            value: self.value.encode(),
            previous: self
                .previous
                .as_ref()
                .map(|previous| PreviousForm { value: previous.value.encode(), until: previous.until.0 }),
            epoch: self.epoch,
        };
        json(&form)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let form: KeyForm = read(bytes)?;
        check_version(form.version)?;
        let owner = Owner::new(&form.owner).ok_or_else(|| malformed("owner"))?;
        let scopes = form.scopes.iter().map(|name| name.parse());
        let scopes = scopes.collect::<Result<Scopes, _>>().map_err(|_| malformed("scopes"))?;
        let digest = |text: &str| Digest::decode(text).ok_or_else(|| malformed("value"));
        let previous = form.previous.map(|previous| {
            Ok(Previous { value: digest(&previous.value)?, until: UnixMillis(previous.until) })
        });
        Ok(Self {
            owner,
            scopes,
            created_at: UnixMillis(form.created_at),
            expires_at: form.expires_at.map(UnixMillis),
            disabled: form.disabled,
            value: digest(&form.value)?,
            previous: previous.transpose()?,
            epoch: form.epoch,
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyForm {
    version: u8,
    owner: String,
    scopes: Vec<String>,
    created_at: u64,
    expires_at: Option<u64>,
    disabled: bool,
    value: String,
    previous: Option<PreviousForm>,
    #[serde(default, skip_serializing_if = "is_zero")]
    epoch: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PreviousForm {
    value: String,
    until: u64,
}

/// What is kept of a user. The keys of an owner of this name end with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UserRecord {
    pub(super) created_at: UnixMillis,
    pub(super) disabled: bool,
    /// How often it was disabled or enabled.
    pub(super) epoch: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UserForm {
    version: u8,
    created_at: u64,
    disabled: bool,
    #[serde(default, skip_serializing_if = "is_zero")]
    epoch: u32,
}

impl UserRecord {
    /// The same, disabled or not.
    pub(super) fn with_disabled(self, disabled: bool) -> Self {
        let changes = u32::from(self.disabled != disabled);
        Self { disabled, epoch: self.epoch.saturating_add(changes), ..self }
    }

    pub(super) fn encode(&self) -> Bytes {
        json(&UserForm {
            version: VERSION,
            created_at: self.created_at.0,
            disabled: self.disabled,
            epoch: self.epoch,
        })
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let form: UserForm = read(bytes)?;
        check_version(form.version)?;
        Ok(Self { created_at: UnixMillis(form.created_at), disabled: form.disabled, epoch: form.epoch })
    }
}

/// Records that never changed keep the form of versions that knew no epochs.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(epoch: &u32) -> bool {
    *epoch == 0
}

pub(super) fn check_version(version: u8) -> Result<(), Malformed> {
    if version == VERSION { Ok(()) } else { Err(malformed("version")) }
}

pub(super) fn malformed(what: &str) -> Malformed {
    Malformed(what.to_owned())
}

pub(super) fn json<T: Serialize>(form: &T) -> Bytes {
    // Structures of numbers and strings: there is nothing that JSON could not express.
    serde_json::to_vec(form).unwrap_or_default().into()
}

pub(super) fn read<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<T, Malformed> {
    serde_json::from_slice(bytes).map_err(|error| Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> KeyRecord {
        KeyRecord {
            owner: Owner::new("acme").unwrap(),
            scopes: Scopes::parse("responses.read models.read").unwrap(),
            created_at: UnixMillis(1000),
            expires_at: Some(UnixMillis(9000)),
            disabled: false,
            value: Digest::of(b"new"),
            previous: Some(Previous { value: Digest::of(b"old"), until: UnixMillis(5000) }),
            epoch: 3,
        }
    }

    #[test]
    fn a_record_reads_back_and_holds_no_secret() {
        let record = record();
        assert_eq!(KeyRecord::decode(&record.encode()).unwrap(), record);
        let plain = KeyRecord { expires_at: None, previous: None, disabled: true, epoch: 0, ..record };
        assert_eq!(KeyRecord::decode(&plain.encode()).unwrap(), plain);
        let user = UserRecord { created_at: UnixMillis(7), disabled: true, epoch: 2 };
        assert_eq!(UserRecord::decode(&user.encode()).unwrap(), user);
    }

    #[test]
    fn the_largest_record_fits_into_the_store() {
        let owner = Owner::new(&"x".repeat(Owner::MAX_BYTES)).unwrap();
        let scopes = Scopes::all().without(crate::auth::Scope::Admin);
        let largest = KeyRecord { owner, scopes, ..record() };
        assert!(largest.encode().len() < tidemark_store::MAX_RECORD_VALUE_BYTES / 2);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let good = String::from_utf8(record().encode().to_vec()).unwrap();
        for (from, to) in [
            ("\"version\":1", "\"version\":2"),
            ("\"disabled\":false", "\"disabled\":false,\"only_from\":\"10.0.0.0/8\""),
            ("\"disabled\":false,", ""),
            ("models.read", "models.reed"),
            ("acme", "a c"),
        ] {
            let wrong = good.replacen(from, to, 1);
            assert_ne!(wrong, good);
            assert!(KeyRecord::decode(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_value_is_good_until_the_key_or_the_overlap_ends() {
        let (new, old, record) = (Digest::of(b"new"), Digest::of(b"old"), record());
        let (overlap, key) = (Some(Some(UnixMillis(5000))), Some(Some(UnixMillis(9000))));
        for (now, accepts_new, accepts_old) in [
            (0, key, overlap),
            (4999, key, overlap),
            (5000, key, None),
            (8999, key, None),
            (9000, None, None),
        ] {
            let now = UnixMillis(now);
            assert_eq!((record.accepts(&new, now), record.accepts(&old, now)), (accepts_new, accepts_old));
        }
        assert_eq!(record.accepts(&Digest::of(b"other"), UnixMillis(0)), None);
        let endless = KeyRecord { expires_at: None, ..record.clone() };
        assert_eq!(endless.accepts(&new, UnixMillis(u64::MAX)), Some(None));
        let disabled = KeyRecord { disabled: true, epoch: 0, ..record };
        assert_eq!(disabled.accepts(&new, UnixMillis(0)), None);
    }
}
