//! Whether a call may come in, and whether it may go on.
//!
//! It owns how a credential becomes a principal. Every credential that is not good is refused with the same words.

use std::time::Duration;

use tidemark_proto::v1::ErrorCode;
use tidemark_store::Owner;
use tokio::sync::watch;

use crate::auth::grants::looks_like_token;
use crate::auth::principal::lacks;
use crate::auth::ticket::looks_like_ticket;
use crate::auth::{Credential, Digest, Directory, Grants, Key, KeyId, Principal, Scope, Scopes};
use crate::error::Error;

/// Who may call at all.
#[derive(Clone, Debug)]
pub enum Mode {
    /// Everybody, as the owner that they name.
    Off,
    /// Holders of a key, and the operator if a secret is set.
    Keys {
        /// The digest of the operator's secret.
        operator: Option<Digest>,
    },
}

/// What a call brings to say who makes it.
#[derive(Clone, Debug, Default)]
pub struct Presented<'c> {
    /// The credential. Absent = none, or one that is malformed.
    pub bearer: Option<&'c str>,
    /// The owner to act for (D-5).
    pub owner: Option<Owner>,
    /// The only scopes that the call shall have; absent = all that the credential has.
    pub scopes: Option<Scopes>,
}

/// The check of credentials. Clones share what they remember.
#[derive(Clone, Debug)]
pub struct Access {
    mode: Mode,
    directory: Directory,
    oauth: Option<OAuth>,
}

/// Which credentials the authorization server adds, and takes.
#[derive(Clone, Debug)]
struct OAuth {
    grants: Grants,
    /// Whether keys are refused: then apps must ask for a grant (B-1).
    only: bool,
}

impl Access {
    /// The check over these keys.
    pub fn new(mode: Mode, directory: Directory) -> Self {
        Self { mode, directory, oauth: None }
    }

    /// The same, with access tokens of these grants. `only` = keys open nothing but the pages of the authorization server.
    #[must_use]
    pub fn with_grants(self, grants: Grants, only: bool) -> Self {
        Self { oauth: Some(OAuth { grants, only }), ..self }
    }

    /// Changes whenever a key or a user does: who holds a principal must [`Self::check`] it again then (D-33). One load.
    pub fn epoch(&self) -> u64 {
        self.directory.0.cache.epoch()
    }

    /// Who is calling.
    ///
    /// # Errors
    /// `unauthorized` for every credential that is not good; `insufficient_scope` for an owner that it may not act for;
    /// `storage_unavailable`.
    pub async fn identify(&self, presented: Presented<'_>) -> Result<Principal, Error> {
        let Presented { bearer, owner, scopes } = presented;
        let principal = match (&self.mode, bearer) {
            (_, Some(ticket)) if looks_like_ticket(ticket) => self.redeem(ticket).await?,
            (Mode::Off, _) => Principal::local(own(Principal::ANONYMOUS_OWNER)?),
            (Mode::Keys { operator }, Some(bearer)) => self.authenticate(bearer, operator.as_ref()).await?,
            (Mode::Keys { .. }, None) => return Err(unauthorized()),
        };
        let principal = match scopes {
            Some(asked) => principal.narrowed_to(asked),
            None => principal,
        };
        match owner {
            Some(owner) => principal.acting_as(owner),
            None => Ok(principal),
        }
    }

    /// Tells of every change of [`Self::epoch`] from now on.
    pub(super) fn news(&self) -> watch::Receiver<()> {
        self.directory.0.cache.news()
    }

    /// How long it is until a principal ends by itself; absent = for ever.
    pub(super) fn time_left(&self, principal: &Principal) -> Option<Duration> {
        let until = principal.until()?;
        Some(Duration::from_millis(until.0.saturating_sub(self.directory.0.clock.now().0)))
    }

    /// Whether keys open the API.
    pub(super) fn takes_keys(&self) -> bool {
        self.oauth.as_ref().is_none_or(|oauth| !oauth.only)
    }

    /// Whether access tokens do.
    pub(super) fn takes_tokens(&self) -> bool {
        self.oauth.is_some()
    }

    pub(super) fn mode(&self) -> &Mode {
        &self.mode
    }

    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Whether a principal still has all that it had when it was made (D-33): it has not ended, its credential is good, no scope was
    /// taken away, and it may still act for its owner.
    ///
    /// # Errors
    /// `unauthorized`, `insufficient_scope`, `storage_unavailable`.
    pub async fn check(&self, principal: &Principal) -> Result<(), Error> {
        if principal.until().is_some_and(|until| until <= self.directory.0.clock.now()) {
            return Err(unauthorized());
        }
        match principal.credential() {
            Credential::Anonymous | Credential::Operator => Ok(()),
            Credential::Key { id, value } => {
                let now = self.key(*id, value).await?.ok_or_else(unauthorized)?;
                let lost = principal.scopes().first_beyond(now.scopes());
                let lost = lost.or_else(|| (!now.may_act_for(principal.owner())).then_some(Scope::ActAs));
                lost.map_or(Ok(()), |scope| Err(lacks(scope)))
            }
            Credential::Grant { id, epoch } => {
                let now = self.directory.standing(*id).await?.filter(|now| now.epoch == *epoch);
                let now = now.ok_or_else(unauthorized)?;
                let lost = principal.scopes().first_beyond(now.scopes);
                lost.map_or(Ok(()), |scope| Err(lacks(scope)))
            }
        }
    }

    /// Who shows this key, whether or not keys open the API.
    ///
    /// # Errors
    /// `unauthorized`, `storage_unavailable`.
    pub async fn key_holder(&self, text: &str) -> Result<Principal, Error> {
        let key = text.parse::<Key>().map_err(|_| unauthorized())?;
        self.key(key.id(), &key.digest()).await?.ok_or_else(unauthorized)
    }

    async fn authenticate(&self, bearer: &str, operator: Option<&Digest>) -> Result<Principal, Error> {
        if let Some(oauth) = self.oauth.as_ref().filter(|_| looks_like_token(bearer)) {
            return oauth.grants.holder(bearer).await?.ok_or_else(unauthorized);
        }
        let found = match bearer.parse::<Key>() {
            Ok(_) if self.oauth.as_ref().is_some_and(|oauth| oauth.only) => None,
            Ok(key) => self.key(key.id(), &key.digest()).await?,
            Err(_) if operator.is_some_and(|known| *known == Digest::of(bearer.as_bytes())) => {
                Some(Principal::operator(own(Principal::OPERATOR_OWNER)?))
            }
            Err(_) => None,
        };
        found.ok_or_else(unauthorized)
    }

    /// The holder of this value of a key, if it is good now.
    async fn key(&self, id: KeyId, value: &Digest) -> Result<Option<Principal>, Error> {
        let Some(known) = self.directory.find(id).await? else { return Ok(None) };
        Ok(known.principal(id, value, self.directory.0.clock.now()))
    }
}

/// An owner of our own making.
fn own(name: &str) -> Result<Owner, Error> {
    Owner::new(name).ok_or_else(|| Error::internal("a name of ours is no owner"))
}

/// Missing, malformed, unknown, wrong, disabled, expired, deleted: the same bytes.
pub(super) fn unauthorized() -> Error {
    Error::new(ErrorCode::Unauthorized, "no valid credential came with this call")
}
