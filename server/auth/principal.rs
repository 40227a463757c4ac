//! Who is calling.

use std::fmt;

use tidemark_proto::names::OWNER;
use tidemark_proto::v1::ErrorCode;
use tidemark_store::{LogId, Owner, UnixMillis};

use crate::auth::grants::Standing;
use crate::auth::{Digest, GrantId, KeyId, Scope, Scopes};
use crate::error::Error;

/// Who is calling: put into a request's extensions by the listener, and by nothing else (D-34). Services refuse a call without
/// one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    owner: Owner,
    scopes: Scopes,
    credential: Credential,
    until: Option<UnixMillis>,
    /// The only response that it is for; absent = all of the owner.
    only: Option<LogId>,
}

/// How a principal proved who it is. Its text is the id that may be logged; it never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// By nothing: auth is off.
    Anonymous,
    /// By the operator's secret.
    Operator,
    /// By a key.
    Key {
        /// Which.
        id: KeyId,
        /// The digest of the value that was shown: while a key rotates there are two.
        value: Digest,
    },
    /// By an access token of a grant.
    Grant {
        /// Which.
        id: GrantId,
        /// How often its key and its user had changed when the token was made.
        epoch: u64,
    },
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anonymous"),
            Self::Operator => f.write_str("operator"),
            Self::Key { id, .. } => id.fmt(f),
            Self::Grant { id, .. } => id.fmt(f),
        }
    }
}

impl Principal {
    /// The owner of calls that name none while auth is off (U-4).
    pub const ANONYMOUS_OWNER: &str = "anonymous-local";

    /// The owner of the operator's calls that name none (S-8).
    pub const OPERATOR_OWNER: &str = "operator";

    /// The principal of a call with auth off, acting as `owner`. It may do all but manage keys and grants: those outlive the
    /// time without auth, and nobody knows who made them.
    pub fn local(owner: Owner) -> Self {
        let scopes = Scopes::all().without(Scope::KeysAdmin).without(Scope::GrantsAdmin);
        Self { owner, scopes, credential: Credential::Anonymous, until: None, only: None }
    }

    /// The operator of the gateway, acting as `owner`.
    pub fn operator(owner: Owner) -> Self {
        Self { owner, scopes: Scopes::all(), credential: Credential::Operator, until: None, only: None }
    }

    /// The holder of a key with these rights. `until` is when that ends by itself; absent = never.
    pub fn key(id: KeyId, value: Digest, owner: Owner, scopes: Scopes, until: Option<UnixMillis>) -> Self {
        Self { owner, scopes, credential: Credential::Key { id, value }, until, only: None }
    }

    /// Whoever has a grant, as far as that is worth something now.
    pub(super) fn of_grant(id: GrantId, standing: Standing) -> Self {
        let Standing { owner, scopes, epoch, until, .. } = standing;
        Self { owner, scopes, credential: Credential::Grant { id, epoch }, until, only: None }
    }

    /// The same, with no scope but those asked for (D-31).
    #[must_use]
    pub fn narrowed_to(self, asked: Scopes) -> Self {
        Self { scopes: self.scopes.narrowed_to(asked), ..self }
    }

    /// The same, until then at the latest.
    #[must_use]
    pub(super) fn ending(self, end: UnixMillis) -> Self {
        Self { until: Some(self.until.map_or(end, |until| until.min(end))), ..self }
    }

    /// The same, acting for another owner (D-5).
    ///
    /// # Errors
    /// `insufficient_scope` without [`Scope::ActAs`].
    pub fn acting_as(self, owner: Owner) -> Result<Self, Error> {
        self.require(Scope::ActAs).map_err(|error| error.with_param(OWNER))?;
        Ok(Self { owner, ..self })
    }

    /// The holder of a ticket that this principal made: for one response of `owner`, until then. `None` if it may not act for that
    /// owner, or lacks one of the scopes.
    pub(super) fn for_one(
        self,
        owner: Owner,
        response: LogId,
        scopes: Scopes,
        until: UnixMillis,
    ) -> Option<Self> {
        let may = self.may_act_for(&owner) && self.scopes.covers(scopes);
        let until = Some(self.until.map_or(until, |end| end.min(until)));
        may.then_some(Self { owner, scopes, until, only: Some(response), ..self })
    }

    /// Whether calls may be made in the name of this owner.
    pub(super) fn may_act_for(&self, owner: &Owner) -> bool {
        self.owner == *owner || self.scopes.contains(Scope::ActAs)
    }

    /// Refuses what needs a scope that is not there (U-1). The holder of a ticket has none.
    ///
    /// # Errors
    /// `insufficient_scope`.
    pub fn require(&self, scope: Scope) -> Result<(), Error> {
        if self.only.is_none() { self.require_for_one(scope) } else { Err(lacks(scope)) }
    }

    /// The same for a call about one response, which [`Self::may_see`] will be asked about: a ticket will do.
    ///
    /// # Errors
    /// `insufficient_scope`.
    pub fn require_for_one(&self, scope: Scope) -> Result<(), Error> {
        if self.scopes.contains(scope) { Ok(()) } else { Err(lacks(scope)) }
    }

    /// Whether a response of this owner is there for the principal (D-30).
    pub fn may_see(&self, owner: &Owner, response: LogId) -> bool {
        self.owner == *owner && self.only.is_none_or(|only| only == response)
    }

    /// The tenant the call acts for.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// What it may do.
    pub fn scopes(&self) -> Scopes {
        self.scopes
    }

    /// How it proved who it is.
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// When the credential ends by itself; absent = never.
    pub fn until(&self) -> Option<UnixMillis> {
        self.until
    }
}

/// The refusal of a credential that lacks a scope.
pub(super) fn lacks(scope: Scope) -> Error {
    let message = format!("this call needs the scope {scope}, which the credential does not have");
    Error::new(ErrorCode::InsufficientScope, message).with_scope(scope.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_auth_nobody_can_make_what_outlives_it() {
        let local = Principal::local(Owner::new("a").unwrap());
        for scope in Scope::ALL {
            let denied = [Scope::KeysAdmin, Scope::GrantsAdmin, Scope::Admin].contains(&scope);
            assert_eq!(local.require(scope).is_err(), denied, "{scope}");
        }
    }

    #[test]
    fn a_missing_scope_is_named() {
        let owner = || Owner::new("a").unwrap();
        let operator = Principal::operator(owner());
        assert!(operator.clone().acting_as(owner()).is_ok());
        let error = operator.narrowed_to(Scopes::NONE).acting_as(owner()).unwrap_err();
        assert_eq!((error.code(), error.scope()), (ErrorCode::InsufficientScope, Some("owners.act_as")));
        assert_eq!(error.param(), Some(OWNER));
        assert!(error.message().contains("owners.act_as"), "{error}");
    }
}
