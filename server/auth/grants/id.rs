//! The ids of grants and of clients. No secrets: they may be logged and listed.
//!
//! It owns that the id of a grant tells where its record lies, so that one record serves both the look-up by id and the list of an
//! owner.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};
use tidemark_store::Owner;

/// What the id of a grant begins with.
const GRANT_PREFIX: &str = "grant_";

/// What the id of a client begins with.
const CLIENT_PREFIX: &str = "client_";

/// How many bytes of a grant's id are those of its owner.
const TAG_BYTES: usize = 16;

/// How many bytes the id of a grant has.
pub(super) const GRANT_ID_BYTES: usize = 32;

/// The text is not the id that it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id")]
pub struct NoId;

/// The id of a grant: a digest of its owner's name, and the complement of a number that grows with time. So the ids of an owner are
/// sorted, the newest first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GrantId([u8; GRANT_ID_BYTES]);

impl GrantId {
    /// The id of a new grant of `owner`; `number` was never given before.
    pub(super) fn new(owner: &Owner, number: [u8; 16]) -> Self {
        let mut bytes = [0; GRANT_ID_BYTES];
        let (tag, rest) = bytes.split_at_mut(TAG_BYTES);
        tag.copy_from_slice(&tag_of(owner));
        rest.copy_from_slice(&number.map(|byte| !byte));
        Self(bytes)
    }

    pub(in crate::auth) const fn from_bytes(bytes: [u8; GRANT_ID_BYTES]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub(in crate::auth) const fn as_bytes(&self) -> &[u8; GRANT_ID_BYTES] {
        &self.0
    }

    /// Whether it is one of this owner's.
    pub(super) fn is_of(&self, owner: &Owner) -> bool {
        self.0.starts_with(&tag_of(owner))
    }

    /// As the end of a record's name.
    pub(super) fn digits(self) -> String {
        hex(&self.0)
    }

    pub(super) fn of_digits(digits: &str) -> Option<Self> {
        unhex(digits).map(Self)
    }
}

/// What the ids of all grants of an owner begin with, as digits.
pub(super) fn digits_of(owner: &Owner) -> String {
    hex(&tag_of(owner))
}

fn tag_of(owner: &Owner) -> [u8; TAG_BYTES] {
    let digest: [u8; 32] = Sha256::digest(owner.as_str()).into();
    digest.first_chunk().copied().unwrap_or_default()
}

/// The id of a client.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId([u8; 16]);

impl ClientId {
    pub(super) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{GRANT_PREFIX}{}", hex(&self.0))
    }
}

impl fmt::Debug for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GrantId({self})")
    }
}

impl FromStr for GrantId {
    type Err = NoId;

    /// Accepts exactly what [`fmt::Display`] writes.
    fn from_str(text: &str) -> Result<Self, NoId> {
        text.strip_prefix(GRANT_PREFIX).and_then(Self::of_digits).ok_or(NoId)
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{CLIENT_PREFIX}{}", hex(&self.0))
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientId({self})")
    }
}

impl FromStr for ClientId {
    type Err = NoId;

    /// Accepts exactly what [`fmt::Display`] writes.
    fn from_str(text: &str) -> Result<Self, NoId> {
        text.strip_prefix(CLIENT_PREFIX).and_then(unhex).map(Self).ok_or(NoId)
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |four: u8| DIGITS.get(usize::from(four)).copied().unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Lower case digits alone: an id has one spelling.
pub(super) fn unhex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let bytes: Option<Vec<u8>> =
        pairs.iter().map(|[high, low]| Some(value(*high)? << 4 | value(*low)?)).collect();
    bytes.filter(|_| rest.is_empty())?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_in_one_spelling_and_those_of_an_owner_are_sorted_newest_first() {
        let owner = |name| Owner::new(name).unwrap();
        let of = |name, number: u128| GrantId::new(&owner(name), number.to_be_bytes());
        let (first, second) = (of("acme", 1), of("acme", 2));
        assert!(second < first && second.is_of(&owner("acme")) && !second.is_of(&owner("bob")));
        assert!(first.digits().starts_with(&digits_of(&owner("acme"))));
        assert_ne!(of("acme", 1), of("bob", 1));
        assert_eq!(first.to_string().parse(), Ok(first));
        let client = ClientId::from_bytes([0xab; 16]);
        assert_eq!(client.to_string(), format!("client_{}", "ab".repeat(16)));
        assert_eq!(client.to_string().parse(), Ok(client));
        let upper = first.to_string().to_uppercase();
        for wrong in ["", "grant_", &upper, &first.to_string()[1..], &format!("{first}0"), "client_é"] {
            assert!(wrong.parse::<GrantId>().is_err() && wrong.parse::<ClientId>().is_err(), "{wrong}");
        }
    }
}
