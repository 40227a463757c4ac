//! What OAuth clients were given (B-1 to B-37): clients, requests, codes, grants, tokens.
//!
//! It owns every decision of the authorization server, and that each step of a grant is one change of its one record: a second use
//! of a code or a token, whatever the timing, finds the record changed and ends the grant. It must never know HTTP, nor how a page
//! looks. Nothing is held per grant but its record: no task, no timer.

mod clients;
mod consent;
mod device;
mod id;
mod jws;
mod list;
mod record;
mod redirect;
mod refusal;
mod request;
mod secret;
mod signing;
mod standing;
mod sweep;
#[cfg(test)]
mod tests;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

pub use clients::{ClientInfo, ClientPage, MAX_NAME_CHARS, MAX_REDIRECTS, NewClient, scopes_of};
pub use consent::{Approval, Identity};
pub use device::{DEVICE_INTERVAL, DeviceRequest, StartedDevice};
pub use id::{ClientId, GrantId, NoId};
pub use jws::Jwk;
pub(in crate::auth) use jws::looks_like_token;
pub use list::{GrantFilter, GrantInfo, GrantPage, GrantQuery};
pub use record::{GrantMode, Subject};
pub use redirect::{MAX_REDIRECT_BYTES, RedirectRules, RedirectUri};
pub use refusal::{Code as RefusalCode, Refusal};
pub use request::{Asked, BadRequest, Request};
pub use secret::UserCode;
pub(in crate::auth) use signing::SigningRing;
pub(in crate::auth) use standing::{KnownGrant, Standing};
pub use tokens::{Introspection, Issued, TokenRequest};

use crate::auth::{Directory, Scope, Scopes};

/// The scopes that a client can be given: never what manages keys, grants or other owners.
pub const GRANTABLE: [Scope; 5] = [
    Scope::ResponsesRead,
    Scope::ResponsesWrite,
    Scope::SessionsRead,
    Scope::SessionsWrite,
    Scope::ModelsRead,
];

/// How the authorization server is set. Durations are above zero.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Who issues tokens: an origin, without a path.
    pub issuer: String,
    /// Whether a grant may stand for a key.
    pub keys: bool,
    /// Whether a grant may stand for a user, whom a trusted proxy names.
    pub users: bool,
    /// Whether anybody may register a client.
    pub open_registration: bool,
    /// The most clients.
    pub max_clients: u32,
    /// Where browsers may be sent back to.
    pub redirects: RedirectRules,
    /// How long a request, and its code, are good.
    pub code_ttl: Duration,
    /// How long an access token is good.
    pub access_ttl: Duration,
    /// How long a refresh token is good without being used.
    pub refresh_idle: Duration,
    /// How long a grant is good.
    pub refresh_absolute: Duration,
    /// How long a grant that has died is kept.
    pub keep_dead: Duration,
    /// How old a client without grants may become.
    pub orphan_after: Duration,
    /// How often what is of no more use is removed.
    pub sweep_period: Duration,
    /// How long the same key signs.
    pub rotate_after: Duration,
}

impl Rules {
    /// What tokens are for: the API of this gateway.
    pub fn resource(&self) -> String {
        format!("{}/v1", self.issuer)
    }
}

/// The authorization server over the keys and users of a store. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Grants {
    directory: Directory,
    rules: Arc<Rules>,
}

impl Grants {
    /// The authorization server with these rules.
    pub fn new(directory: Directory, rules: Rules) -> Self {
        Self { directory, rules: Arc::new(rules) }
    }

    /// How it is set.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What can be granted, as one text.
    pub fn grantable() -> Scopes {
        GRANTABLE.into_iter().collect()
    }
}

/// The names of scopes in one text, as OAuth writes them.
pub(super) fn scope_text(scopes: Scopes) -> String {
    scopes.names().collect::<Vec<_>>().join(" ")
}
