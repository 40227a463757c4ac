//! Clients, grants, answered requests and waiting devices as records of the store.
//!
//! It owns their form and their names. One record holds all of a grant, so that every step of its life is one compare-and-set of
//! the store's one writer. A record that this version does not understand is refused as a whole.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidemark_store::{Owner, UnixMillis};

use super::id::{ClientId, GrantId, digits_of, hex};
use super::secret::UserCode;
use crate::auth::record::{Malformed, VERSION, check_version, json, malformed, read};
use crate::auth::{Digest, KeyId, Scopes};

/// What the names of the records of grants begin with.
pub(super) const GRANTS: &str = "grant/";

/// What the names of the records of clients begin with; the id follows, so that they are sorted by the time they were made.
pub(super) const CLIENTS: &str = "oauth-client/";

/// What the names of answered requests begin with; the time at which they end follows, so that those that have ended come first.
pub(super) const REQUESTS: &str = "oauth-request/";

/// What the names of waiting devices begin with; their user code follows.
pub(super) const DEVICES: &str = "oauth-device/";

/// The name of the record of a grant.
pub(super) fn grant_name(id: GrantId) -> String {
    format!("{GRANTS}{}", id.digits())
}

/// What the names of the records of all grants of an owner begin with.
pub(super) fn grants_of(owner: &Owner) -> String {
    format!("{GRANTS}{}", digits_of(owner))
}

/// The name of the record of a client.
pub(super) fn client_name(id: ClientId) -> String {
    format!("{CLIENTS}{id}")
}

/// The name of the record of a request that was answered.
pub(super) fn request_name(until: UnixMillis, id: [u8; 16]) -> String {
    format!("{REQUESTS}{:020}/{}", until.0, hex(&id))
}

/// What the names of requests that have ended at `now` are lower than.
pub(super) fn requests_ended_at(now: UnixMillis) -> String {
    format!("{REQUESTS}{:020}/", now.0.saturating_add(1))
}

/// The name of the record of a waiting device.
pub(super) fn device_name(code: UserCode) -> String {
    format!("{DEVICES}{}", code.letters())
}

/// Whom a grant stands for (B-15).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The holder of a key, and what the key's owner has.
    Key(KeyId),
    /// A user, and what the owner of this name has.
    User,
}

/// What a grant may stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GrantMode {
    /// A key.
    Vk,
    /// A user.
    User,
}

impl GrantMode {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Vk, Self::User];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vk => "vk",
            Self::User => "user",
        }
    }

    /// The mode of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

impl Subject {
    /// Its kind.
    pub fn mode(&self) -> GrantMode {
        match self {
            Self::Key(_) => GrantMode::Vk,
            Self::User => GrantMode::User,
        }
    }
}

/// What is kept of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientRecord {
    pub(super) name: String,
    /// Digests of its redirect URIs, which a request shows again.
    pub(super) redirects: Vec<Digest>,
    pub(super) scopes: Scopes,
    pub(super) created_at: UnixMillis,
    /// Whether the operator made it: then only the operator takes it away.
    pub(super) kept: bool,
    /// Whether it may begin the device flow.
    pub(super) device: bool,
}

/// What is kept of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GrantRecord {
    pub(super) owner: Owner,
    pub(super) subject: Subject,
    pub(super) client: ClientId,
    pub(super) client_name: String,
    pub(super) scopes: Scopes,
    pub(super) created_at: UnixMillis,
    pub(super) code: CodeRecord,
    /// Absent until the code was redeemed.
    pub(super) tokens: Option<TokensRecord>,
    pub(super) revoked_at: Option<UnixMillis>,
}

/// The code that a grant begins with, or the device code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CodeRecord {
    pub(super) value: Digest,
    pub(super) until: UnixMillis,
    /// Absent = it was given to a device.
    pub(super) bound: Option<BoundRecord>,
}

/// What redeeming a code must show besides it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BoundRecord {
    /// The digest of the verifier: the S256 challenge.
    pub(super) challenge: Digest,
    pub(super) redirect: Digest,
}

/// The refresh token that is good now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TokensRecord {
    pub(super) family: Digest,
    pub(super) current: Digest,
    /// How many there were before it, and with it.
    pub(super) generation: u32,
    pub(super) used_at: UnixMillis,
    pub(super) idle_until: UnixMillis,
    pub(super) until: UnixMillis,
}

/// What became of a request: it was answered once and for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answered {
    Consented,
    Denied,
}

/// What is kept of a device that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeviceRecord {
    pub(super) value: Digest,
    pub(super) client: ClientId,
    pub(super) scopes: Scopes,
    pub(super) until: UnixMillis,
    pub(super) state: DeviceState,
}

/// Whether a device was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeviceState {
    Waiting,
    Denied,
    Allowed(GrantId),
}

impl GrantRecord {
    /// When it ended or will end by itself.
    pub(super) fn ends(&self) -> UnixMillis {
        self.tokens.as_ref().map_or(self.code.until, |tokens| tokens.idle_until.min(tokens.until))
    }

    /// Whether its tokens may be good.
    pub(super) fn is_live(&self, now: UnixMillis) -> bool {
        self.revoked_at.is_none() && self.tokens.is_some() && now < self.ends()
    }

    /// When it died, if it has: the first of revoked and ended.
    pub(super) fn died(&self, now: UnixMillis) -> Option<UnixMillis> {
        let ended = Some(self.ends()).filter(|at| *at <= now);
        self.revoked_at.into_iter().chain(ended).min()
    }

    pub(super) fn encode(&self) -> Bytes {
        let code = &self.code;
        json(&GrantForm {
            version: VERSION,
            owner: self.owner.as_str().to_owned(),
            mode: self.subject.mode().name().to_owned(),
            key: match &self.subject {
                Subject::Key(id) => Some(id.to_string()),
                Subject::User => None,
            },
            client: self.client.to_string(),
            client_name: self.client_name.clone(),
            scopes: names(self.scopes),
            created_at: self.created_at.0,
            code: CodeForm {
                value: code.value.encode(),
                until: code.until.0,
                challenge: code.bound.as_ref().map(|bound| bound.challenge.encode()),
                redirect: code.bound.as_ref().map(|bound| bound.redirect.encode()),
            },
            tokens: self.tokens.as_ref().map(|tokens| TokensForm {
                family: tokens.family.encode(),
                current: tokens.current.encode(),
                generation: tokens.generation,
                used_at: tokens.used_at.0,
                idle_until: tokens.idle_until.0,
                until: tokens.until.0,
            }),
            revoked_at: self.revoked_at.map(|at| at.0),
        })
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let form: GrantForm = read(bytes)?;
        check_version(form.version)?;
        let key = form.key.map(|id| id.parse().map_err(|_| malformed("key"))).transpose()?;
        let subject = match (GrantMode::named(&form.mode), key) {
            (Some(GrantMode::Vk), Some(id)) => Subject::Key(id),
            (Some(GrantMode::User), None) => Subject::User,
            _ => return Err(malformed("mode")),
        };
        let bound = match (form.code.challenge, form.code.redirect) {
            (Some(challenge), Some(redirect)) => {
                Some(BoundRecord { challenge: digest(&challenge)?, redirect: digest(&redirect)? })
            }
            (None, None) => None,
            _ => return Err(malformed("code")),
        };
        let tokens = form.tokens.map(|tokens| {
            Ok(TokensRecord {
                family: digest(&tokens.family)?,
                current: digest(&tokens.current)?,
                generation: tokens.generation,
                used_at: UnixMillis(tokens.used_at),
                idle_until: UnixMillis(tokens.idle_until),
                until: UnixMillis(tokens.until),
            })
        });
        Ok(Self {
            owner: Owner::new(&form.owner).ok_or_else(|| malformed("owner"))?,
            subject,
            client: form.client.parse().map_err(|_| malformed("client"))?,
            client_name: form.client_name,
            scopes: scopes(&form.scopes)?,
            created_at: UnixMillis(form.created_at),
            code: CodeRecord { value: digest(&form.code.value)?, until: UnixMillis(form.code.until), bound },
            tokens: tokens.transpose()?,
            revoked_at: form.revoked_at.map(UnixMillis),
        })
    }
}

impl ClientRecord {
    pub(super) fn encode(&self) -> Bytes {
        json(&ClientForm {
            version: VERSION,
            name: self.name.clone(),
            redirects: self.redirects.iter().map(Digest::encode).collect(),
            scopes: names(self.scopes),
            created_at: self.created_at.0,
            kept: self.kept,
            device: self.device,
        })
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let form: ClientForm = read(bytes)?;
        check_version(form.version)?;
        Ok(Self {
            name: form.name,
            redirects: form.redirects.iter().map(|text| digest(text)).collect::<Result<_, _>>()?,
            scopes: scopes(&form.scopes)?,
            created_at: UnixMillis(form.created_at),
            kept: form.kept,
            device: form.device,
        })
    }
}

impl Answered {
    pub(super) fn encode(self) -> Bytes {
        json(&AnsweredForm { version: VERSION, answered: self })
    }
}

impl DeviceRecord {
    pub(super) fn encode(&self) -> Bytes {
        let (state, grant) = match self.state {
            DeviceState::Waiting => (StateForm::Waiting, None),
            DeviceState::Denied => (StateForm::Denied, None),
            DeviceState::Allowed(id) => (StateForm::Allowed, Some(id.to_string())),
        };
        json(&DeviceForm {
            version: VERSION,
            value: self.value.encode(),
            client: self.client.to_string(),
            scopes: names(self.scopes),
            until: self.until.0,
            state,
            grant,
        })
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let form: DeviceForm = read(bytes)?;
        check_version(form.version)?;
        let state = match (form.state, form.grant) {
            (StateForm::Waiting, None) => DeviceState::Waiting,
            (StateForm::Denied, None) => DeviceState::Denied,
            (StateForm::Allowed, Some(id)) => {
                DeviceState::Allowed(id.parse().map_err(|_| malformed("grant"))?)
            }
            _ => return Err(malformed("state")),
        };
        Ok(Self {
            value: digest(&form.value)?,
            client: form.client.parse().map_err(|_| malformed("client"))?,
            scopes: scopes(&form.scopes)?,
            until: UnixMillis(form.until),
            state,
        })
    }
}

fn names(scopes: Scopes) -> Vec<String> {
    scopes.names().map(str::to_owned).collect()
}

fn scopes(names: &[String]) -> Result<Scopes, Malformed> {
    names.iter().map(|name| name.parse()).collect::<Result<Scopes, _>>().map_err(|_| malformed("scopes"))
}

fn digest(text: &str) -> Result<Digest, Malformed> {
    Digest::decode(text).ok_or_else(|| malformed("digest"))
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantForm {
    version: u8,
    owner: String,
    mode: String,
    key: Option<String>,
    client: String,
    client_name: String,
    scopes: Vec<String>,
    created_at: u64,
    code: CodeForm,
    tokens: Option<TokensForm>,
    revoked_at: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CodeForm {
    value: String,
    until: u64,
    challenge: Option<String>,
    redirect: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokensForm {
    family: String,
    current: String,
    generation: u32,
    used_at: u64,
    idle_until: u64,
    until: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientForm {
    version: u8,
    name: String,
    redirects: Vec<String>,
    scopes: Vec<String>,
    created_at: u64,
    kept: bool,
    device: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AnsweredForm {
    version: u8,
    answered: Answered,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StateForm {
    Waiting,
    Denied,
    Allowed,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceForm {
    version: u8,
    value: String,
    client: String,
    scopes: Vec<String>,
    until: u64,
    state: StateForm,
    grant: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn grant() -> GrantRecord {
        GrantRecord {
            owner: Owner::new(&"o".repeat(Owner::MAX_BYTES)).unwrap(),
            subject: Subject::Key(KeyId::from_bytes([7; 16])),
            client: ClientId::from_bytes([9; 16]),
            client_name: "\u{10ffff}".repeat(super::super::clients::MAX_NAME_CHARS),
            scopes: super::super::GRANTABLE.into_iter().collect(),
            created_at: UnixMillis(u64::MAX),
            code: CodeRecord {
                value: Digest::of(b"code"),
                until: UnixMillis(u64::MAX),
                bound: Some(BoundRecord { challenge: Digest::of(b"c"), redirect: Digest::of(b"r") }),
            },
            tokens: Some(TokensRecord {
                family: Digest::of(b"f"),
                current: Digest::of(b"t"),
                generation: u32::MAX,
                used_at: UnixMillis(u64::MAX),
                idle_until: UnixMillis(u64::MAX),
                until: UnixMillis(u64::MAX),
            }),
            revoked_at: Some(UnixMillis(u64::MAX)),
        }
    }

    fn client() -> ClientRecord {
        ClientRecord {
            name: "\u{10ffff}".repeat(super::super::clients::MAX_NAME_CHARS),
            redirects: vec![Digest::of(b"r"); super::super::clients::MAX_REDIRECTS],
            scopes: super::super::GRANTABLE.into_iter().collect(),
            created_at: UnixMillis(u64::MAX),
            kept: true,
            device: true,
        }
    }

    #[test]
    fn records_read_back_and_the_largest_fit_into_the_store() {
        let largest = grant();
        assert_eq!(GrantRecord::decode(&largest.encode()).unwrap(), largest);
        let fresh = GrantRecord {
            subject: Subject::User,
            code: CodeRecord { bound: None, ..largest.code.clone() },
            tokens: None,
            revoked_at: None,
            ..largest.clone()
        };
        assert_eq!(GrantRecord::decode(&fresh.encode()).unwrap(), fresh);
        let client = client();
        assert_eq!(ClientRecord::decode(&client.encode()).unwrap(), client);
        for size in [largest.encode().len(), client.encode().len()] {
            assert!(size < tidemark_store::MAX_RECORD_VALUE_BYTES, "{size}");
        }
        for state in [
            DeviceState::Waiting,
            DeviceState::Denied,
            DeviceState::Allowed(GrantId::new(&largest.owner, [1; 16])),
        ] {
            let device = DeviceRecord {
                value: Digest::of(b"d"),
                client: ClientId::from_bytes([1; 16]),
                scopes: Scopes::NONE,
                until: UnixMillis(7),
                state,
            };
            assert_eq!(DeviceRecord::decode(&device.encode()).unwrap(), device);
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let good = String::from_utf8(grant().encode().to_vec()).unwrap();
        for (from, to) in [
            ("\"version\":1", "\"version\":2"),
            ("\"mode\":\"vk\"", "\"mode\":\"user\""),
            ("\"mode\":\"vk\"", "\"mode\":\"session\""),
            ("\"revoked_at\":", "\"only_from\":1,\"revoked_at\":"),
            ("\"redirect\":", "\"redirect\":null,\"x\":"),
            ("models.read", "models.reed"),
            ("client_09", "client_0g"),
        ] {
            let wrong = good.replacen(from, to, 1);
            assert_ne!(wrong, good, "{from}");
            assert!(GrantRecord::decode(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_grant_dies_at_the_first_of_its_ends() {
        let mut grant = grant();
        grant.revoked_at = None;
        let tokens = TokensRecord {
            idle_until: UnixMillis(50),
            until: UnixMillis(90),
            ..grant.tokens.take().unwrap()
        };
        grant.code.until = UnixMillis(10);
        assert_eq!((grant.is_live(UnixMillis(5)), grant.died(UnixMillis(10))), (false, Some(UnixMillis(10))));
        grant.tokens = Some(tokens);
        assert!(grant.is_live(UnixMillis(49)) && !grant.is_live(UnixMillis(50)));
        assert_eq!((grant.died(UnixMillis(49)), grant.died(UnixMillis(60))), (None, Some(UnixMillis(50))));
        grant.revoked_at = Some(UnixMillis(20));
        assert!(!grant.is_live(UnixMillis(5)) && grant.died(UnixMillis(60)) == Some(UnixMillis(20)));
    }
}
