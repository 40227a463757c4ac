//! Cursors: places in a history or in a list, as callers carry them (U-16).
//!
//! It owns their form: version, use, view, generation, number and stamp of an entry, under an HMAC with the owner and the key of
//! the session. So a cursor is good for what it was given for, and whether its place is still there can be told exactly. It must
//! never know what lies at a place.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tidemark_proto::v1::ErrorCode;
use tidemark_store::{LogId, Owner, Seq};

use crate::error::Error;
use crate::sessions::entry::View;
use crate::sessions::key::SessionKey;

/// The form that this code writes and reads: the first byte.
const VERSION: u8 = 1;

/// How many bytes of the HMAC a cursor has.
const SEAL_BYTES: usize = 16;

/// How many bytes of the stamp of an entry a cursor has.
const TAG_BYTES: usize = 8;

/// How many bytes the secret has.
pub(super) const SECRET_BYTES: usize = 32;

/// The length of a cursor in a history before it is written as text: version, use, view, generation, seq, tag, seal.
const HISTORY_BYTES: usize = 3 + 8 + 8 + TAG_BYTES + SEAL_BYTES;

/// What a cursor in a list has besides the key.
const LIST_BYTES: usize = 2 + SEAL_BYTES;

/// What the seal is over besides the cursor, so that the secret is good for nothing else.
const DOMAIN: &[u8] = b"tidemark session cursor";

/// What a cursor is good for, which is also its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// The items before the place.
    Older = 1,
    /// The items behind the place.
    Newer = 2,
}

/// In the byte of the use: a list of sessions.
const LIST: u8 = 3;

/// Which append brought an entry, as far as a cursor tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag([u8; TAG_BYTES]);

impl Tag {
    pub(super) fn of(stamp: LogId) -> Self {
        // The last half of an id is random.
        let [_, _, _, _, _, _, _, _, tag @ ..] = *stamp.as_bytes();
        Self(tag)
    }
}

/// A place in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) generation: u64,
    pub(super) seq: Seq,
    pub(super) tag: Tag,
}

/// What cursors are sealed with.
#[derive(Clone)]
pub(super) struct Sealer(Hmac<Sha256>);

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

/// A history, as cursors are bound to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound<'a> {
    pub(super) owner: &'a Owner,
    pub(super) key: &'a SessionKey,
    pub(super) view: View,
}

impl Sealer {
    pub(super) fn new(secret: &[u8; SECRET_BYTES]) -> Self {
        let mut hmac = match Hmac::<Sha256>::new_from_slice(secret) {
            Ok(hmac) => hmac,
            Err(_) => unreachable!("HMAC takes a secret of any length"),
        };
        hmac.update(DOMAIN);
        Self(hmac)
    }

    fn seal(&self, owner: &Owner, key: &SessionKey, bytes: &[u8]) -> [u8; SEAL_BYTES] {
        let mut hmac = self.0.clone();
        for part in [owner.as_str().as_bytes(), &[0], key.as_str().as_bytes(), &[0], bytes] {
            hmac.update(part);
        }
        let full: [u8; 32] = hmac.finalize().into_bytes().into();
        let mut seal = [0; SEAL_BYTES];
        seal.iter_mut().zip(full).for_each(|(to, from)| *to = from);
        seal
    }

    /// A cursor as text.
    pub(super) fn write(&self, bound: Bound<'_>, of: Use, cursor: Cursor) -> String {
        let mut bytes = Vec::with_capacity(HISTORY_BYTES);
        bytes.extend_from_slice(&[VERSION, of as u8, view_byte(of, bound.view)]);
        bytes.extend_from_slice(&cursor.generation.to_be_bytes());
        bytes.extend_from_slice(&cursor.seq.get().to_be_bytes());
        bytes.extend_from_slice(&cursor.tag.0);
        let seal = self.seal(bound.owner, bound.key, &bytes);
        bytes.extend_from_slice(&seal);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The cursor of a text; `param` is what the caller calls it.
    ///
    /// # Errors
    /// `invalid_cursor` for anything but a cursor of this use that was given for this history and view.
    pub(super) fn read(&self, bound: Bound<'_>, of: Use, text: &str, param: &str) -> Result<Cursor, Error> {
        self.open(bound, of, text).ok_or_else(|| invalid(param))
    }

    fn open(&self, bound: Bound<'_>, of: Use, text: &str) -> Option<Cursor> {
        let bytes = decode(text, HISTORY_BYTES)?;
        let (said, seal) = bytes.split_last_chunk::<SEAL_BYTES>()?;
        if !same(seal, &self.seal(bound.owner, bound.key, said)) {
            return None;
        }
        let (head, rest) = said.split_first_chunk::<3>()?;
        let (generation, rest) = rest.split_first_chunk::<8>()?;
        let (seq, rest) = rest.split_first_chunk::<8>()?;
        let tag = Tag(*rest.first_chunk::<TAG_BYTES>()?);
        let (generation, seq) = (u64::from_be_bytes(*generation), Seq::new(u64::from_be_bytes(*seq)));
        (*head == [VERSION, of as u8, view_byte(of, bound.view)]).then_some(Cursor { generation, seq, tag })
    }

    /// The cursor of the sessions of an owner behind this key.
    pub(super) fn write_key(&self, owner: &Owner, key: &SessionKey) -> String {
        let seal = self.seal(owner, key, &[VERSION, LIST]);
        URL_SAFE_NO_PAD.encode([&[VERSION, LIST], seal.as_slice(), key.as_str().as_bytes()].concat())
    }

    /// The key that a list of sessions goes on behind.
    ///
    /// # Errors
    /// `invalid_cursor`.
    pub(super) fn read_key(&self, owner: &Owner, text: &str, param: &str) -> Result<SessionKey, Error> {
        self.open_key(owner, text).ok_or_else(|| invalid(param))
    }

    fn open_key(&self, owner: &Owner, text: &str) -> Option<SessionKey> {
        let most = base64::encoded_len(LIST_BYTES + SessionKey::MAX_BYTES, false)?;
        let bytes = URL_SAFE_NO_PAD.decode(Some(text).filter(|text| text.len() <= most)?).ok()?;
        let (head, rest) = bytes.split_first_chunk::<2>()?;
        let (seal, key) = rest.split_first_chunk::<SEAL_BYTES>()?;
        let key = SessionKey::parse(std::str::from_utf8(key).ok()?, "").ok()?;
        (*head == [VERSION, LIST] && same(seal, &self.seal(owner, &key, head))).then_some(key)
    }
}

fn decode(text: &str, length: usize) -> Option<Vec<u8>> {
    // The length comes first, so that the work is bounded whatever was sent.
    let written = text.len() == base64::encoded_len(length, false)?;
    URL_SAFE_NO_PAD.decode(Some(text).filter(|_| written)?).ok()
}

/// Compares in a time that does not depend on where the two differ.
fn same(one: &[u8; SEAL_BYTES], other: &[u8; SEAL_BYTES]) -> bool {
    one.iter().zip(other).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
}

/// What a cursor says of the view. A page goes on with the same one; who follows a history has seen all up to a place in any.
const fn view_byte(of: Use, view: View) -> u8 {
    match (of, view) {
        (Use::Newer, _) => 0,
        (Use::Older, View::Messages) => 1,
        (Use::Older, View::All) => 2,
    }
}

fn invalid(param: &str) -> Error {
    let text = format!(
        "{param} must be what an earlier page or message of the same history, and for a page of the same view, gave"
    );
    Error::new(ErrorCode::InvalidCursor, text).with_param(param)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn owner(name: &str) -> Owner {
        Owner::new(name).unwrap()
    }

    fn key(text: &str) -> SessionKey {
        SessionKey::parse(text, "key").unwrap()
    }

    const CURSOR: Cursor = Cursor { generation: 3, seq: Seq::new(41), tag: Tag([7; TAG_BYTES]) };

    #[test]
    fn u_16_a_cursor_is_good_for_one_owner_session_view_direction_and_secret() {
        let sealer = Sealer::new(&[1; SECRET_BYTES]);
        let (alice, bob, one, two) = (owner("alice"), owner("bob"), key("one"), key("two"));
        let bound = Bound { owner: &alice, key: &one, view: View::All };
        let text = sealer.write(bound, Use::Older, CURSOR);
        assert_eq!(sealer.read(bound, Use::Older, &text, "cursor").unwrap(), CURSOR);
        let messages = View::Messages;
        for (bound, of) in [
            (Bound { owner: &bob, ..bound }, Use::Older),
            (Bound { key: &two, ..bound }, Use::Older),
            (Bound { view: messages, ..bound }, Use::Older),
            (bound, Use::Newer),
        ] {
            let error = sealer.read(bound, of, &text, "cursor").unwrap_err();
            assert_eq!((error.code(), error.param()), (ErrorCode::InvalidCursor, Some("cursor")));
        }
        assert!(Sealer::new(&[2; SECRET_BYTES]).read(bound, Use::Older, &text, "cursor").is_err());
        let list = sealer.write_key(&alice, &one);
        assert_eq!(sealer.read_key(&alice, &list, "cursor").unwrap(), one);
        assert!(sealer.read_key(&bob, &list, "cursor").is_err());
        assert!(sealer.read_key(&alice, &text, "cursor").is_err());
    }

    #[test]
    fn a_position_is_good_for_every_view() {
        let (sealer, alice, one) = (Sealer::new(&[1; SECRET_BYTES]), owner("alice"), key("one"));
        let bound = |view| Bound { owner: &alice, key: &one, view };
        let text = sealer.write(bound(View::All), Use::Newer, CURSOR);
        assert_eq!(sealer.read(bound(View::Messages), Use::Newer, &text, "after").unwrap(), CURSOR);
    }

    #[test]
    fn u_16_every_change_of_a_cursor_is_noticed() {
        let (sealer, alice, one) = (Sealer::new(&[1; SECRET_BYTES]), owner("alice"), key("one"));
        let bound = Bound { owner: &alice, key: &one, view: View::All };
        let text = sealer.write(bound, Use::Newer, CURSOR);
        for index in 0..text.len() {
            for other in "ABCghi019-_=+/ ".chars().filter(|other| !text[index..].starts_with(*other)) {
                let mut changed = text.clone();
                changed.replace_range(index..=index, &other.to_string());
                assert!(sealer.read(bound, Use::Newer, &changed, "after").is_err(), "{changed}");
            }
        }
    }

    proptest! {
        #[test]
        fn garbage_is_refused_without_panic(garbage: String) {
            let (sealer, alice, one) = (Sealer::new(&[1; SECRET_BYTES]), owner("alice"), key("one"));
            let bound = Bound { owner: &alice, key: &one, view: View::All };
            prop_assert!(sealer.read(bound, Use::Older, &garbage, "cursor").is_err());
            prop_assert!(sealer.read_key(&alice, &garbage, "cursor").is_err());
        }
    }
}
