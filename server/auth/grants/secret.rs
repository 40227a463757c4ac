//! What clients carry: codes, refresh tokens and device codes. To them, opaque texts.
//!
//! It owns their form: the place of the record, which is no secret, and 256 random bits or more. What is stored is a digest.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::id::{GRANT_ID_BYTES, GrantId};
use crate::auth::Digest;
use crate::error::Error;

/// What an authorization code begins with.
const CODE_PREFIX: &str = "tmc_";

/// What a refresh token begins with.
const REFRESH_PREFIX: &str = "tmr_";

/// What a device code begins with.
const DEVICE_PREFIX: &str = "tmd_";

/// How many random bytes a secret has.
pub(super) const SECRET_BYTES: usize = 32;

/// Letters of the code that a person types: no vowels, so that it spells nothing, and none that look alike.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// How many letters such a code has.
pub(super) const USER_CODE_LETTERS: usize = 8;

/// Random bytes.
///
/// # Errors
/// `internal`: the system gives none.
pub(super) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(Error::internal)?;
    Ok(bytes)
}

/// An authorization code.
pub(super) struct Code {
    pub(super) grant: GrantId,
    secret: [u8; SECRET_BYTES],
}

impl Code {
    pub(super) fn generate(grant: GrantId) -> Result<Self, Error> {
        Ok(Self { grant, secret: random()? })
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; GRANT_ID_BYTES + SECRET_BYTES] = decode(text, CODE_PREFIX)?;
        let (grant, secret) = bytes.split_first_chunk()?;
        Some(Self { grant: GrantId::from_bytes(*grant), secret: secret.try_into().ok()? })
    }

    pub(super) fn reveal(&self) -> String {
        encode(CODE_PREFIX, &[self.grant.as_bytes(), &self.secret])
    }

    pub(super) fn digest(&self) -> Digest {
        Digest::of(&self.secret)
    }
}

/// A refresh token. Besides the secret of its own it carries one that all of its grant share: whoever shows that has had a token of
/// the grant, and is told from somebody who makes one up.
pub(super) struct Refresh {
    pub(super) grant: GrantId,
    family: [u8; SECRET_BYTES],
    secret: [u8; SECRET_BYTES],
}

impl Refresh {
    /// The first one of a grant.
    pub(super) fn generate(grant: GrantId) -> Result<Self, Error> {
        Ok(Self { grant, family: random()?, secret: random()? })
    }

    /// The one that takes its place.
    pub(super) fn successor(&self) -> Result<Self, Error> {
        Ok(Self { secret: random()?, ..*self })
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; GRANT_ID_BYTES + 2 * SECRET_BYTES] = decode(text, REFRESH_PREFIX)?;
        let (grant, secrets) = bytes.split_first_chunk()?;
        let (family, secret) = secrets.split_first_chunk()?;
        Some(Self { grant: GrantId::from_bytes(*grant), family: *family, secret: secret.try_into().ok()? })
    }

    pub(super) fn reveal(&self) -> String {
        encode(REFRESH_PREFIX, &[self.grant.as_bytes(), &self.family, &self.secret])
    }

    pub(super) fn digest(&self) -> Digest {
        Digest::of(&self.secret)
    }

    pub(super) fn family_digest(&self) -> Digest {
        Digest::of(&self.family)
    }
}

/// The code that a person types to let a device in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UserCode([u8; USER_CODE_LETTERS]);

impl UserCode {
    pub(super) fn generate() -> Result<Self, Error> {
        let mut letters = [0; USER_CODE_LETTERS];
        let mut filled = 0;
        while filled < letters.len() {
            // Bytes beyond the last whole multiple of 20 would make some letters likelier than others.
            for byte in random::<16>()?.into_iter().filter(|byte| *byte < 240) {
                if let (Some(place), Some(letter)) =
                    (letters.get_mut(filled), LETTERS.get(usize::from(byte % 20)))
                {
                    *place = *letter;
                    filled += 1;
                }
            }
        }
        Ok(Self(letters))
    }

    /// The code that somebody typed: in either case, with or without dashes and blanks.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > 64 {
            return None;
        }
        let letters =
            text.bytes().filter(|byte| !matches!(byte, b'-' | b' ')).map(|byte| byte.to_ascii_uppercase());
        let letters: [u8; USER_CODE_LETTERS] = letters.collect::<Vec<_>>().try_into().ok()?;
        letters.iter().all(|letter| LETTERS.contains(letter)).then_some(Self(letters))
    }

    /// Its letters without a dash.
    pub(super) fn letters(&self) -> String {
        self.0.iter().map(|letter| char::from(*letter)).collect()
    }
}

impl std::fmt::Display for UserCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let letters = self.letters();
        let (first, second) = letters.split_at_checked(USER_CODE_LETTERS / 2).unwrap_or((&letters, ""));
        write!(f, "{first}-{second}")
    }
}

/// What a device shows when it asks whether it was let in.
pub(super) struct DeviceCode {
    pub(super) user_code: UserCode,
    secret: [u8; SECRET_BYTES],
}

impl DeviceCode {
    pub(super) fn generate() -> Result<Self, Error> {
        Ok(Self { user_code: UserCode::generate()?, secret: random()? })
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; USER_CODE_LETTERS + SECRET_BYTES] = decode(text, DEVICE_PREFIX)?;
        let (letters, secret) = bytes.split_first_chunk()?;
        let user_code = UserCode(*letters);
        letters.iter().all(|letter| LETTERS.contains(letter)).then_some(())?;
        Some(Self { user_code, secret: secret.try_into().ok()? })
    }

    pub(super) fn reveal(&self) -> String {
        encode(DEVICE_PREFIX, &[&self.user_code.0, &self.secret])
    }

    pub(super) fn digest(&self) -> Digest {
        Digest::of(&self.secret)
    }
}

fn encode(prefix: &str, parts: &[&[u8]]) -> String {
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(parts.concat()))
}

fn decode<const N: usize>(text: &str, prefix: &str) -> Option<[u8; N]> {
    let text = text.strip_prefix(prefix).filter(|text| text.len() == (N * 8).div_ceil(6))?;
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRANT: GrantId = GrantId::from_bytes([7; GRANT_ID_BYTES]);

    #[test]
    fn what_clients_carry_reads_back_in_one_spelling() {
        let code = Code::generate(GRANT).unwrap();
        let back = Code::parse(&code.reveal()).unwrap();
        assert_eq!((back.grant, back.digest()), (GRANT, code.digest()));
        let first = Refresh::generate(GRANT).unwrap();
        let second = first.successor().unwrap();
        assert_ne!(first.digest(), second.digest());
        let back = Refresh::parse(&second.reveal()).unwrap();
        assert_eq!((back.family_digest(), back.digest()), (first.family_digest(), second.digest()));
        let device = DeviceCode::generate().unwrap();
        let back = DeviceCode::parse(&device.reveal()).unwrap();
        assert_eq!((back.user_code, back.digest()), (device.user_code, device.digest()));
        let long = "A".repeat(100_000);
        for wrong in ["", "tmc_", "tmr_", &code.reveal()[1..], &format!("{}=", code.reveal()), &long] {
            assert!(Code::parse(wrong).is_none() && Refresh::parse(wrong).is_none(), "{wrong}");
            assert!(DeviceCode::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn b_37_a_user_code_is_eight_of_twenty_letters_and_read_as_people_type() {
        for _ in 0..200 {
            let code = UserCode::generate().unwrap();
            let shown = code.to_string();
            assert_eq!((shown.len(), shown.find('-')), (9, Some(4)));
            for typed in [&shown, &shown.to_lowercase(), &shown.replace('-', " "), &shown.replace('-', "")] {
                assert_eq!(UserCode::parse(typed), Some(code), "{typed}");
            }
        }
        for wrong in ["", "BBBB-BBB", "BBBB-BBBBB", "AAAA-AAAA", "BBBB_BBBB", "ББББ-ББББ"] {
            assert_eq!(UserCode::parse(wrong), None, "{wrong}");
        }
    }
}
