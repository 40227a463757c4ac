//! What the store keeps for an idempotency key.
//!
//! It owns the bytes of the record and of its name. A record says which response a key belongs to and what was asked for; whether
//! that runs, has ended or is gone is read from the response, so that no crash leaves a record that is wrong (D-35).

use bytes::Bytes;
use tidemark_store::{LogId, Owner};

use super::fingerprint::Fingerprint;
use crate::error::Error;
use crate::runs::id::ResponseId;

/// Begins the name of every record of this room.
const PREFIX: &[u8] = b"idempotency";

/// The form that this code writes.
const VERSION: u8 = 1;

/// The key of a caller: 1 to [`Key::MAX_BYTES`] visible ASCII characters, compared as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key(String);

/// The name of a record: the owner is part of it, so that nobody meets the key of another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::runs) struct Name(Vec<u8>);

/// What a key was used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// What was asked for.
    pub(super) fingerprint: Fingerprint,
    /// The response that was made of it.
    pub(super) response: ResponseId,
}

impl Key {
    /// The longest key, in bytes.
    const MAX_BYTES: usize = 255;

    /// The key with this text, or `None` if it is empty, too long, or not visible ASCII.
    pub(super) fn new(text: &str) -> Option<Self> {
        let fits = (1..=Self::MAX_BYTES).contains(&text.len());
        (fits && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Self(text.to_owned()))
    }
}

impl Name {
    /// The name of the record for this key of `owner`.
    pub(super) fn of(owner: &Owner, key: &Key) -> Self {
        // Neither of the two can hold a zero.
        Self([PREFIX, owner.as_str().as_bytes(), key.0.as_bytes()].join(&0))
    }

    /// As the store takes it.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Record {
    pub(super) fn encode(&self) -> Bytes {
        [&[VERSION], &self.fingerprint.0[..], self.response.log().as_bytes()].concat().into()
    }

    /// # Errors
    /// `internal` for what is no record, or one of a later version.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let parts = bytes
            .strip_prefix(&[VERSION])
            .and_then(|rest| rest.split_first_chunk::<32>())
            .and_then(|(hash, rest)| Some((hash, <[u8; 16]>::try_from(rest).ok()?)));
        let (hash, log) = parts.ok_or_else(|| Error::internal("an idempotency record of another form"))?;
        Ok(Self { fingerprint: Fingerprint(*hash), response: ResponseId::of_log(LogId::from_bytes(log)) })
    }
}

#[cfg(test)]
mod tests {
    use tidemark_store::{MAX_RECORD_KEY_BYTES, MAX_RECORD_VALUE_BYTES};

    use super::*;

    #[test]
    fn a_key_is_1_to_255_visible_ascii_characters() {
        let long = "k".repeat(255);
        for good in ["k", "a/b:c", "!~", &long] {
            assert!(Key::new(good).is_some(), "{good}");
        }
        let longer = "k".repeat(256);
        for bad in ["", " ", "a b", "a\tb", "a\0b", "ä", "k\u{7f}", "k\n", &longer] {
            assert!(Key::new(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn names_differ_by_owner_and_key_and_fit_the_store() {
        let name = |owner: &str, key: &str| Name::of(&Owner::new(owner).unwrap(), &Key::new(key).unwrap());
        assert_ne!(name("a", "b"), name("b", "a"));
        assert_ne!(name("ab", "c"), name("a", "bc"));
        assert_ne!(name("a", "B"), name("a", "b"));
        let longest = name(&"o".repeat(Owner::MAX_BYTES), &"k".repeat(Key::MAX_BYTES));
        assert!(longest.as_bytes().len() <= MAX_RECORD_KEY_BYTES);
    }

    #[test]
    fn a_record_reads_back_and_anything_else_is_refused() {
        let record = Record { fingerprint: Fingerprint([7; 32]), response: ResponseId::from_bytes([9; 16]) };
        let bytes = record.encode();
        assert!(bytes.len() <= MAX_RECORD_VALUE_BYTES);
        assert_eq!(Record::decode(&bytes).unwrap(), record);
        let longer = [&bytes[..], &[0]].concat();
        let later = [&[VERSION + 1], &bytes[1..]].concat();
        for bad in [&[][..], &bytes[..48], &longer, &later] {
            assert!(Record::decode(bad).is_err());
        }
    }
}
