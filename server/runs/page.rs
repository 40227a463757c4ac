//! Pages of the list of responses: the token that asks for the next (U-16).
//!
//! It owns the form of the token. It must never know what is listed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use tidemark_proto::v1::ErrorCode;
use tidemark_store::{LogId, Owner};

use crate::error::Error;

/// The form of the token that this code writes and reads: its first byte.
const TOKEN_VERSION: u8 = 1;

/// How many bytes of a token bind it to its owner and its position.
const SEAL_BYTES: usize = 8;

/// The length of a token before it is written as text: version, position, seal.
const TOKEN_BYTES: usize = 1 + size_of::<LogId>() + SEAL_BYTES;

/// The token for what follows `last` in a list of `owner`.
pub(super) fn token(owner: &Owner, last: LogId) -> String {
    let mut token = Vec::with_capacity(TOKEN_BYTES);
    token.push(TOKEN_VERSION);
    token.extend_from_slice(last.as_bytes());
    token.extend_from_slice(&seal(owner, last));
    URL_SAFE_NO_PAD.encode(token)
}

/// Where a list of `owner` goes on; the empty token is the beginning.
///
/// # Errors
/// `invalid_cursor` for what is no token of this version, or one that was given to another owner.
pub(super) fn position(owner: &Owner, token: &str) -> Result<Option<LogId>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    let position = read(owner, token).ok_or_else(|| {
        let text = "page_token must be empty, or the token of an earlier page of the same list";
        Error::new(ErrorCode::InvalidCursor, text).with_param("page_token")
    })?;
    Ok(Some(position))
}

fn read(owner: &Owner, token: &str) -> Option<LogId> {
    // The length comes first, so that the work is bounded whatever was sent.
    let written = token.len() == base64::encoded_len(TOKEN_BYTES, false)?;
    let bytes = URL_SAFE_NO_PAD.decode(token).ok().filter(|_| written)?;
    let (&version, rest) = bytes.split_first()?;
    let (id, sealed) = rest.split_first_chunk::<16>()?;
    let last = LogId::from_bytes(*id);
    (version == TOKEN_VERSION && sealed == seal(owner, last)).then_some(last)
}

/// What binds a token to its owner. It keeps out mistakes, not forgers: whoever makes up a token still sees only their own.
fn seal(owner: &Owner, last: LogId) -> [u8; SEAL_BYTES] {
    let digest = Sha256::new()
        .chain_update([TOKEN_VERSION])
        .chain_update(last.as_bytes())
        .chain_update(owner.as_str())
        .finalize();
    let mut seal = [0; SEAL_BYTES];
    seal.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    seal
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn owner(name: &str) -> Owner {
        Owner::new(name).unwrap()
    }

    #[test]
    fn a_token_is_good_for_its_owner_only() {
        let last = LogId::from_bytes([7; 16]);
        let token = token(&owner("alice"), last);
        assert_eq!(token, "AQcHBwcHBwcHBwcHBwcHBwdwxc6Cm0r0Kg");
        assert_eq!(position(&owner("alice"), &token).unwrap(), Some(last));
        assert_eq!(position(&owner("alice"), "").unwrap(), None);
        for foreign in ["bob", "alic", "alice!"] {
            let error = position(&owner(foreign), &token).unwrap_err();
            assert_eq!((error.code(), error.param()), (ErrorCode::InvalidCursor, Some("page_token")));
        }
    }

    #[test]
    fn every_change_of_a_token_is_noticed() {
        let good = token(&owner("alice"), LogId::from_bytes([7; 16]));
        for index in 0..good.len() {
            for other in "ABCghi019-_=+/ ".chars().filter(|other| !good[index..].starts_with(*other)) {
                let mut changed = good.clone();
                changed.replace_range(index..=index, &other.to_string());
                assert!(position(&owner("alice"), &changed).is_err(), "{changed}");
            }
        }
        for wrong in [&good[1..], &good[..good.len() - 1], &format!("{good}A"), &format!("{good}="), "x"] {
            assert!(position(&owner("alice"), wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn garbage_is_refused_without_panic(garbage: String) {
            prop_assert_eq!(position(&owner("alice"), &garbage).is_ok(), garbage.is_empty());
        }
    }
}
