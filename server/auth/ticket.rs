//! The form of a ticket: `tmt_`, and in base64url what it allows and a seal over that (D-40).
//!
//! It owns how a ticket is written, sealed and read. It must never know which secrets there are, nor whether the credential that
//! made it is still good.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::SecretString;
use sha2::Sha256;
use tidemark_proto::names::TICKET_PREFIX;
use tidemark_store::{LogId, Owner, UnixMillis};

use crate::auth::access::unauthorized;
use crate::auth::{Credential, Digest, GrantId, KeyId, Principal, Scope, Scopes};
use crate::error::Error;

/// How long a ticket is good unless its maker says otherwise.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(3600);

/// The longest time that a ticket may be good.
pub const MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// The version of the form: the first byte.
const VERSION: u8 = 1;

/// How many bytes a seal has.
const SEAL_BYTES: usize = 32;

/// The most bytes of a ticket before they are written as text: version, secret, response, end, rights, maker with its id, owner,
/// seal.
const MAX_BYTES: usize = 1 + 4 + 16 + 8 + 1 + (1 + 32) + Owner::MAX_BYTES + SEAL_BYTES;

/// How many bytes a secret has: a block of SHA-256.
pub(super) const SECRET_BYTES: usize = 64;

/// What the seal is over besides the ticket, so that the secret is good for nothing else.
const DOMAIN: &[u8] = b"tidemark ticket";

/// What the holder of a ticket may do with the one response that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Get and resume it.
    Read,
    /// The same, and cancel it.
    ReadAndCancel,
}

impl Rights {
    /// Whether the response may be cancelled.
    pub fn may_cancel(self) -> bool {
        self == Self::ReadAndCancel
    }

    /// The scopes that somebody needs to have these rights, or to give them.
    pub fn scopes(self) -> Scopes {
        let cancel = self.may_cancel().then_some(Scope::ResponsesWrite);
        [Scope::ResponsesRead].into_iter().chain(cancel).collect()
    }
}

/// A ticket that somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TicketOrder {
    rights: Rights,
    lifetime: Duration,
}

impl TicketOrder {
    /// A ticket with these rights; `lifetime` absent = [`DEFAULT_LIFETIME`].
    ///
    /// # Errors
    /// `invalid_request` for a lifetime of nothing, or above [`MAX_LIFETIME`].
    pub fn new(rights: Rights, lifetime: Option<Duration>) -> Result<Self, Error> {
        let lifetime = lifetime.unwrap_or(DEFAULT_LIFETIME);
        if lifetime.is_zero() || lifetime > MAX_LIFETIME {
            let hours = MAX_LIFETIME.as_secs() / 3600;
            return Err(Error::invalid("lifetime", format!("a ticket is good for 1 s to {hours} h")));
        }
        Ok(Self { rights, lifetime })
    }

    /// Refuses one who would give what they do not have.
    ///
    /// # Errors
    /// `insufficient_scope`.
    pub fn check(&self, maker: &Principal) -> Result<(), Error> {
        let scopes = self.rights.scopes();
        Scope::ALL
            .into_iter()
            .filter(|scope| scopes.contains(*scope))
            .try_for_each(|scope| maker.require(scope))
    }

    /// What it lets its holder do.
    pub fn rights(&self) -> Rights {
        self.rights
    }

    /// How long it shall be good.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }
}

/// A ticket that was made.
#[derive(Debug)]
pub struct Minted {
    /// The ticket itself, to be shown to whoever asked for it.
    pub value: SecretString,
    /// When it ends by itself.
    pub until: UnixMillis,
    /// What it lets its holder do.
    pub rights: Rights,
}

/// Which credential made a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maker {
    /// None: auth was off.
    Anonymous,
    /// The operator's secret.
    Operator,
    /// A key.
    Key(KeyId),
    /// An access token of a grant.
    Grant(GrantId),
}

impl Maker {
    /// The maker that calls with this credential.
    pub(super) fn of(credential: &Credential) -> Self {
        match credential {
            Credential::Anonymous => Self::Anonymous,
            Credential::Operator => Self::Operator,
            Credential::Key { id, .. } => Self::Key(*id),
            Credential::Grant { id, .. } => Self::Grant(*id),
        }
    }
}

/// What a ticket says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    /// The number of the secret that it is sealed with.
    pub(super) secret: u32,
    pub(super) response: LogId,
    pub(super) until: UnixMillis,
    pub(super) rights: Rights,
    pub(super) maker: Maker,
    pub(super) owner: Owner,
}

/// A ticket as it came: nobody has looked at its seal yet.
#[derive(Debug)]
pub(super) struct Sealed {
    says: Vec<u8>,
    seal: [u8; SEAL_BYTES],
    pub(super) ticket: Ticket,
}

/// Whether a credential shall be taken for a ticket, well-formed or not.
pub(super) fn looks_like_ticket(text: &str) -> bool {
    text.starts_with(TICKET_PREFIX)
}

impl Ticket {
    /// The ticket as text, sealed with a secret and with the digest of the credential's value, which the ticket does not hold: a
    /// value that is replaced ends its tickets.
    pub(super) fn seal(&self, secret: &[u8; SECRET_BYTES], value: &Digest) -> SecretString {
        let mut bytes = self.encode();
        let seal = mac(secret, value, &bytes).finalize().into_bytes();
        bytes.extend_from_slice(&seal);
        format!("{TICKET_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)).into()
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MAX_BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.secret.to_be_bytes());
        bytes.extend_from_slice(self.response.as_bytes());
        bytes.extend_from_slice(&self.until.0.to_be_bytes());
        bytes.push(u8::from(self.rights.may_cancel()));
        match self.maker {
            Maker::Anonymous => bytes.push(0),
            Maker::Operator => bytes.push(1),
            Maker::Key(id) => {
                bytes.push(2);
                bytes.extend_from_slice(&id.to_bytes());
            }
            Maker::Grant(id) => {
                bytes.push(3);
                bytes.extend_from_slice(id.as_bytes());
            }
        }
        bytes.extend_from_slice(self.owner.as_str().as_bytes());
        bytes
    }

    /// What [`Self::encode`] wrote.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let [version] = *take(&mut rest)?;
        let secret = u32::from_be_bytes(*take(&mut rest)?);
        let response = LogId::from_bytes(*take(&mut rest)?);
        let until = UnixMillis(u64::from_be_bytes(*take(&mut rest)?));
        let rights = match take(&mut rest)? {
            [0] => Rights::Read,
            [1] => Rights::ReadAndCancel,
            _ => return None,
        };
        let maker = match take(&mut rest)? {
            [0] => Maker::Anonymous,
            [1] => Maker::Operator,
            [2] => Maker::Key(KeyId::from_bytes(*take(&mut rest)?)),
            [3] => Maker::Grant(GrantId::from_bytes(*take(&mut rest)?)),
            _ => return None,
        };
        let owner = Owner::new(std::str::from_utf8(rest).ok()?)?;
        (version == VERSION).then_some(Self { secret, response, until, rights, maker, owner })
    }
}

impl Sealed {
    /// Takes a ticket apart.
    ///
    /// # Errors
    /// `unauthorized` for what is no ticket of this version.
    pub(super) fn read(text: &str) -> Result<Self, Error> {
        Self::parse(text).ok_or_else(unauthorized)
    }

    fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix(TICKET_PREFIX)?;
        // The length comes first, so that the work is bounded whatever was sent.
        if text.len() > base64::encoded_len(MAX_BYTES, false)? {
            return None;
        }
        let mut says = URL_SAFE_NO_PAD.decode(text).ok()?;
        let seal = *says.last_chunk::<SEAL_BYTES>()?;
        says.truncate(says.len() - SEAL_BYTES);
        let ticket = Ticket::decode(&says)?;
        Some(Self { says, seal, ticket })
    }

    /// Whether it was sealed with this secret, by a credential with this value. In constant time.
    pub(super) fn is_of(&self, secret: &[u8; SECRET_BYTES], value: &Digest) -> bool {
        mac(secret, value, &self.says).verify_slice(&self.seal).is_ok()
    }
}

fn mac(secret: &[u8; SECRET_BYTES], value: &Digest, says: &[u8]) -> Hmac<Sha256> {
    Hmac::<Sha256>::new(secret.into()).chain_update(DOMAIN).chain_update(value.as_bytes()).chain_update(says)
}

/// The next bytes.
fn take<'b, const N: usize>(rest: &mut &'b [u8]) -> Option<&'b [u8; N]> {
    let (first, others) = rest.split_first_chunk()?;
    *rest = others;
    Some(first)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;
    use tidemark_proto::v1::ErrorCode;

    use super::*;

    const SECRET: [u8; SECRET_BYTES] = [7; SECRET_BYTES];

    fn ticket(maker: Maker, rights: Rights) -> Ticket {
        let owner = Owner::new(&"o".repeat(Owner::MAX_BYTES)).unwrap();
        Ticket { secret: 3, response: LogId::from_bytes([5; 16]), until: UnixMillis(9), rights, maker, owner }
    }

    fn text(ticket: &Ticket) -> String {
        ticket.seal(&SECRET, &Digest::of(b"value")).expose_secret().to_owned()
    }

    #[test]
    fn a_ticket_reads_back_and_is_one_word_of_a_url() {
        let grant = Maker::Grant(GrantId::from_bytes([9; 32]));
        for maker in [Maker::Anonymous, Maker::Operator, Maker::Key(KeyId::from_bytes([9; 16])), grant] {
            for rights in [Rights::Read, Rights::ReadAndCancel] {
                let ticket = ticket(maker, rights);
                let text = text(&ticket);
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
                assert!(text.starts_with("tmt_") && text.bytes().all(plain), "{text}");
                let sealed = Sealed::parse(&text).unwrap();
                assert_eq!(sealed.ticket, ticket);
                assert!(sealed.is_of(&SECRET, &Digest::of(b"value")));
            }
        }
    }

    #[test]
    fn every_change_of_a_ticket_is_noticed() {
        let good = text(&ticket(Maker::Grant(GrantId::from_bytes([9; 32])), Rights::Read));
        let bytes = URL_SAFE_NO_PAD.decode(&good["tmt_".len()..]).unwrap();
        assert_eq!(bytes.len(), MAX_BYTES, "the largest one");
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            let text = format!("tmt_{}", URL_SAFE_NO_PAD.encode(changed));
            let accepted = Sealed::parse(&text).is_some_and(|it| it.is_of(&SECRET, &Digest::of(b"value")));
            assert!(!accepted, "byte {place}");
        }
        let sealed = Sealed::parse(&good).unwrap();
        assert!(!sealed.is_of(&[8; SECRET_BYTES], &Digest::of(b"value")), "another secret");
        assert!(!sealed.is_of(&SECRET, &Digest::of(b"other")), "the value of the key was replaced");
    }

    #[test]
    fn what_is_no_ticket_is_refused() {
        let good = text(&ticket(Maker::Operator, Rights::Read));
        let long = format!("tmt_{}", "A".repeat(10_000));
        for wrong in ["", "tmt_", "tmt_!", "tmk_abc", &good[4..], &good[..40], &format!("{good}A"), &long] {
            let error = Sealed::read(wrong).unwrap_err();
            assert_eq!(error.code(), ErrorCode::Unauthorized, "{wrong}");
        }
    }

    #[test]
    fn the_life_of_a_ticket_has_bounds() {
        let order = |seconds| TicketOrder::new(Rights::Read, Some(Duration::from_secs(seconds)));
        assert_eq!(TicketOrder::new(Rights::Read, None).unwrap().lifetime(), DEFAULT_LIFETIME);
        assert!(order(1).is_ok() && order(MAX_LIFETIME.as_secs()).is_ok());
        for wrong in [0, MAX_LIFETIME.as_secs() + 1] {
            assert_eq!(order(wrong).unwrap_err().param(), Some("lifetime"));
        }
    }
}
