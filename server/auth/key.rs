//! The form of a key: `tmk_`, its id in 32 hexadecimal digits, `_`, its secret of 256 bits in base64url.
//!
//! It owns the only code that sees a secret. A secret is never printed but once, when it is made.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// What every key begins with, so that scanners for leaked secrets can find one.
const KEY_PREFIX: &str = "tmk_";

/// What the id of a key begins with where it stands alone.
const ID_PREFIX: &str = "key_";

/// How many hexadecimal digits an id has.
const ID_DIGITS: usize = 32;

/// How many bytes a secret has.
const SECRET_BYTES: usize = 32;

/// The id of a key. No secret: it may be logged and listed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; 16]);

impl KeyId {
    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub(super) const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    fn digits(self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }

    fn of_digits(digits: &str) -> Option<Self> {
        let lower_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let fits = digits.len() == ID_DIGITS && digits.bytes().all(lower_hex);
        let number = u128::from_str_radix(digits, 16).ok().filter(|_| fits)?;
        Some(Self(number.to_be_bytes()))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ID_PREFIX}{}", self.digits())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// The text is not what it should be: a key, or the id of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a key")]
pub struct NoKey;

impl FromStr for KeyId {
    type Err = NoKey;

    /// Accepts exactly what [`fmt::Display`] writes.
    fn from_str(text: &str) -> Result<Self, NoKey> {
        text.strip_prefix(ID_PREFIX).and_then(Self::of_digits).ok_or(NoKey)
    }
}

/// The SHA-256 of a secret: what is stored and compared in its place. Secrets have 256 random bits, so it need not be slow.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl Digest {
    /// What stands for the digest where there is no secret.
    pub(super) const OF_NOTHING: Self = Self([0; 32]);

    /// The digest of a secret.
    pub fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// Its bytes.
    pub(super) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// As text, for a record.
    pub(crate) fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// The digest of a record.
    pub(super) fn decode(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }
}

impl PartialEq for Digest {
    /// In constant time.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Digest {}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest")
    }
}

/// A key as its holder shows it.
pub struct Key {
    id: KeyId,
    secret: [u8; SECRET_BYTES],
}

impl Key {
    /// A key of this id with a new secret.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn generate(id: KeyId) -> Result<Self, getrandom::Error> {
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret)?;
        Ok(Self { id, secret })
    }

    /// Its id.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// What is stored of its secret.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.secret)
    }

    /// The whole key, to be shown to whoever made it and to nobody else.
    pub fn reveal(&self) -> SecretString {
        format!("{KEY_PREFIX}{}_{}", self.id.digits(), URL_SAFE_NO_PAD.encode(self.secret)).into()
    }

    /// Whether a text shall be taken for a key, well-formed or not.
    pub fn looks_like(text: &str) -> bool {
        text.starts_with(KEY_PREFIX)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

impl FromStr for Key {
    type Err = NoKey;

    /// Accepts exactly what [`Key::reveal`] gives.
    fn from_str(text: &str) -> Result<Self, NoKey> {
        let (digits, secret) =
            text.strip_prefix(KEY_PREFIX).and_then(|rest| rest.split_once('_')).ok_or(NoKey)?;
        let id = KeyId::of_digits(digits).ok_or(NoKey)?;
        // The length comes first, so that the work is bounded whatever was sent.
        let whole = base64::encoded_len(SECRET_BYTES, false) == Some(secret.len());
        let secret =
            URL_SAFE_NO_PAD.decode(secret.as_bytes().get(..secret.len()).filter(|_| whole).ok_or(NoKey)?);
        Ok(Self { id, secret: secret.ok().and_then(|secret| secret.try_into().ok()).ok_or(NoKey)? })
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn key() -> Key {
        Key { id: KeyId::from_bytes([0xab; 16]), secret: [0xff; SECRET_BYTES] }
    }

    #[test]
    fn a_key_reads_back_with_its_id_and_its_secret() {
        let text = key().reveal();
        let digits = "ab".repeat(16);
        assert_eq!(text.expose_secret(), format!("tmk_{digits}_{}8", "_".repeat(42)));
        let read: Key = text.expose_secret().parse().unwrap();
        assert_eq!((read.id(), read.digest()), (key().id(), key().digest()));
        assert_eq!(read.id().to_string(), format!("key_{digits}"));
        assert_eq!(read.id().to_string().parse(), Ok(read.id()));
    }

    #[test]
    fn anything_else_is_no_key() {
        let text = key().reveal();
        let good = text.expose_secret();
        let (head, tail) = good.split_at(good.len() - 1);
        let wrong = [
            String::new(),
            "tmk_".to_owned(),
            head.to_owned(),
            format!("{good}A"),
            format!("{head}9"),
            format!("{head}="),
            format!(" {good}"),
            good.to_uppercase(),
            good.replacen("ab", "aB", 1),
            good.replacen("ab", "a", 1),
            good.replace("tmk_", "key_"),
            "x".repeat(1 << 20),
            format!("tmk_{}_{}", "ab".repeat(16), "x".repeat(1 << 20)),
        ];
        assert_eq!(tail, "8");
        for text in wrong {
            assert!(text.parse::<Key>().is_err(), "{text:.80}");
        }
    }

    #[test]
    fn new_secrets_differ_and_no_debug_output_shows_one() {
        let id = KeyId::from_bytes([1; 16]);
        let (one, other) = (Key::generate(id).unwrap(), Key::generate(id).unwrap());
        assert_ne!(one.digest(), other.digest());
        let shown = format!("{one:?} {:?} {:?}", one.digest(), one.reveal());
        assert!(!shown.contains(&URL_SAFE_NO_PAD.encode(one.secret)), "{shown}");
        assert!(!shown.contains(&one.digest().encode()), "{shown}");
        assert_eq!(Digest::decode(&one.digest().encode()), Some(one.digest()));
        for wrong in ["", "AA", "!"] {
            assert_eq!(Digest::decode(wrong), None, "{wrong}");
        }
    }
}
