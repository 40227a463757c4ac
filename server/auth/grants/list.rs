//! Connected clients: grants seen and ended by their owners, and by the operator (B-25 to B-28).
//!
//! It owns who sees which: one's own, with [`Scope::GrantsAdmin`] all. That the caller has the scope of the method was decided before.
//! Revoking counts at once: for refreshing, for the next call, and inside of open streams.

use tidemark_proto::v1::ErrorCode;
use tidemark_store::{Owner, UnixMillis};

use super::clients::MAX_NAME_CHARS;
use super::id::{ClientId, GrantId};
use super::record::{GRANTS, GrantMode, GrantRecord, Subject, grant_name, grants_of};
use crate::auth::directory::{Directory, owner_named, unavailable};
use crate::auth::{Principal, Scope, Scopes};
use crate::error::Error;
use crate::sizes::Sizes;

/// How large the pages of grants are.
const PAGES: Sizes = Sizes { default: 50, max: 500 };

/// How many records are read at a time.
const READ_AT_ONCE: usize = 256;

/// How many records one page looks at: a filter that fits few of them gives a short page, and a place to go on from.
const LOOKS_PER_PAGE: usize = 20_000;

/// What may be shown of a grant.
#[derive(Clone, Debug)]
pub struct GrantInfo {
    /// Its id: the same for as long as it lives.
    pub id: GrantId,
    /// Whose it is.
    pub owner: Owner,
    /// Whom it stands for.
    pub subject: Subject,
    /// Its client.
    pub client: ClientId,
    /// What that said that it is called.
    pub client_name: String,
    /// What it is good for.
    pub scopes: Scopes,
    /// When its owner said yes.
    pub created_at: UnixMillis,
    /// When its tokens were last renewed.
    pub used_at: UnixMillis,
    /// When it ends unless it is used before.
    pub expires_at: UnixMillis,
}

/// Which grants.
#[derive(Clone, Debug, Default)]
pub struct GrantFilter {
    /// Of this owner; absent = of all that the caller may see.
    pub owner: Option<Owner>,
    /// That stand for one of these; empty = for either.
    pub modes: Vec<GrantMode>,
    /// Of this client.
    pub client: Option<ClientId>,
    /// Whose client's name has this in it, in either case; empty = any.
    pub text: String,
}

/// Which grants to list.
#[derive(Clone, Debug, Default)]
pub struct GrantQuery {
    /// Which.
    pub filter: GrantFilter,
    /// How many at most; 0 = 50, more than 500 = 500.
    pub page_size: u32,
    /// Where to begin: the `next` of the page before; empty = at the beginning.
    pub after: String,
}

/// A page of grants: those of an owner together, the newest first.
#[derive(Clone, Debug)]
pub struct GrantPage {
    /// The grants.
    pub grants: Vec<GrantInfo>,
    /// Where the next page begins; absent = this was the last one.
    pub next: Option<GrantId>,
    /// The most grants that this page could have had.
    pub page_size: u32,
}

impl GrantFilter {
    /// A filter as callers write it; empty texts = any.
    ///
    /// # Errors
    /// `invalid_request` that names the field.
    pub fn new(owner: &str, modes: Vec<GrantMode>, client: &str, text: &str) -> Result<Self, Error> {
        let owner = if owner.is_empty() { None } else { Some(owner_named(owner, "owner")?) };
        let no_client =
            |_| Error::invalid("client_id", "the id of a client is client_ and 32 hexadecimal digits");
        let client = if client.is_empty() { None } else { Some(client.parse().map_err(no_client)?) };
        if text.chars().count() > MAX_NAME_CHARS {
            return Err(Error::invalid("q", format!("at most {MAX_NAME_CHARS} characters")));
        }
        Ok(Self { owner, modes, client, text: text.to_owned() })
    }

    fn fits(&self, record: &GrantRecord) -> bool {
        let owner = self.owner.as_ref().is_none_or(|owner| *owner == record.owner);
        let mode = self.modes.is_empty() || self.modes.contains(&record.subject.mode());
        let client = self.client.is_none_or(|client| client == record.client);
        let name = || record.client_name.to_lowercase().contains(&self.text.to_lowercase());
        owner && mode && client && (self.text.is_empty() || name())
    }
}

impl Directory {
    /// The grants that can be used. One that was revoked, has ended or was never redeemed is not among them.
    ///
    /// # Errors
    /// `invalid_cursor` for what is no place in this caller's list; `insufficient_scope` for another owner without `grants.admin`;
    /// `storage_unavailable`.
    pub async fn list_grants(&self, caller: &Principal, query: &GrantQuery) -> Result<GrantPage, Error> {
        let filter =
            GrantFilter { owner: visible(caller, query.filter.owner.as_ref())?, ..query.filter.clone() };
        let prefix = filter.owner.as_ref().map_or_else(|| GRANTS.to_owned(), grants_of);
        let mut after = match query.after.as_str() {
            "" => None,
            id => Some(place(id, filter.owner.as_ref())?),
        };
        let page_size = PAGES.of(query.page_size);
        let room = usize::try_from(page_size).unwrap_or(usize::MAX);
        let (now, mut grants, mut looked) = (self.0.clock.now(), Vec::new(), 0);
        loop {
            let after_name = after.map(grant_name);
            let after_name = after_name.as_ref().map(String::as_bytes);
            let found = self.0.store.records(prefix.as_bytes(), after_name, READ_AT_ONCE).await;
            let found = found.map_err(unavailable)?;
            if found.is_empty() {
                return Ok(GrantPage { grants, next: None, page_size });
            }
            for (name, value) in found {
                if grants.len() == room || looked == LOOKS_PER_PAGE {
                    return Ok(GrantPage { grants, next: after, page_size });
                }
                let (id, record) = (id_of(&name)?, decode(&value.value)?);
                if record.is_live(now) && filter.fits(&record) {
                    grants.push(info(id, record));
                }
                (after, looked) = (Some(id), looked + 1);
            }
        }
    }

    /// Revokes a grant. One that was revoked before stays as it is.
    ///
    /// # Errors
    /// `not_found` for one that the caller may not see; `storage_unavailable`.
    pub async fn revoke_grant(&self, caller: &Principal, id: &str) -> Result<GrantId, Error> {
        let id: GrantId = id.parse().map_err(|_| no_such_grant())?;
        let record = self.grant(id).await?.ok_or_else(no_such_grant)?;
        if record.owner != *caller.owner() && !caller.scopes().contains(Scope::GrantsAdmin) {
            return Err(no_such_grant());
        }
        if self.revoke(id).await? {
            tracing::info!(grant = %id, by = %caller.credential(), "a grant was revoked");
        }
        Ok(id)
    }

    /// Revokes all grants that fit, for the operator; returns how many. Those that come meanwhile may be missed.
    ///
    /// # Errors
    /// `storage_unavailable`: some may be revoked.
    pub async fn revoke_grants(&self, caller: &Principal, filter: &GrantFilter) -> Result<u64, Error> {
        let prefix = filter.owner.as_ref().map_or_else(|| GRANTS.to_owned(), grants_of);
        let (mut after, mut count): (Option<GrantId>, u64) = (None, 0);
        loop {
            let after_name = after.map(grant_name);
            let after_name = after_name.as_ref().map(String::as_bytes);
            let found = self.0.store.records(prefix.as_bytes(), after_name, READ_AT_ONCE).await;
            let found = found.map_err(unavailable)?;
            let Some((last, _)) = found.last() else { break };
            after = Some(id_of(last)?);
            for (name, value) in &found {
                let record = decode(&value.value)?;
                if record.revoked_at.is_none() && filter.fits(&record) {
                    count += u64::from(self.revoke(id_of(name)?).await?);
                }
            }
        }
        tracing::info!(count, by = %caller.credential(), "grants were revoked");
        Ok(count)
    }

    /// Revokes a grant; returns whether it was not before.
    pub(super) async fn revoke(&self, id: GrantId) -> Result<bool, Error> {
        let now = self.0.clock.now();
        let revoked = self.change(grant_name(id), |found| {
            let mut record = decode(&found.ok_or(Unchanged::Gone)?)?;
            if record.revoked_at.is_some() {
                return Err(Unchanged::Revoked);
            }
            record.revoked_at = Some(now);
            Ok((Some(record.encode()), ()))
        });
        match revoked.await {
            Ok(()) => Ok(true),
            Err(Unchanged::Gone | Unchanged::Revoked) => Ok(false),
            Err(Unchanged::Failed(error)) => Err(error),
        }
    }
}

/// Why nothing was revoked.
enum Unchanged {
    Gone,
    Revoked,
    Failed(Error),
}

impl From<Error> for Unchanged {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The owner whose grants are listed; absent = all.
fn visible(caller: &Principal, asked: Option<&Owner>) -> Result<Option<Owner>, Error> {
    let all = caller.scopes().contains(Scope::GrantsAdmin);
    match asked {
        Some(owner) if owner != caller.owner() && !all => {
            caller.require(Scope::GrantsAdmin).map_err(|error| error.with_param("owner"))?;
            Ok(Some(owner.clone()))
        }
        Some(owner) => Ok(Some(owner.clone())),
        None if all => Ok(None),
        None => Ok(Some(caller.owner().clone())),
    }
}

/// A place in the list of an owner: another owner's is none.
fn place(id: &str, owner: Option<&Owner>) -> Result<GrantId, Error> {
    let text = "after must be empty, or where an earlier page of this list has ended";
    let refused = || Error::new(ErrorCode::InvalidCursor, text).with_param("after");
    let id: GrantId = id.parse().map_err(|_| refused())?;
    if owner.is_none_or(|owner| id.is_of(owner)) { Ok(id) } else { Err(refused()) }
}

pub(super) fn id_of(name: &[u8]) -> Result<GrantId, Error> {
    let digits = std::str::from_utf8(name).ok().and_then(|name| name.strip_prefix(GRANTS));
    let id = digits.and_then(GrantId::of_digits);
    id.ok_or_else(|| unavailable("the name of a record of a grant holds no id"))
}

pub(super) fn decode(value: &[u8]) -> Result<GrantRecord, Error> {
    GrantRecord::decode(value).map_err(unavailable)
}

fn info(id: GrantId, record: GrantRecord) -> GrantInfo {
    let expires_at = record.ends();
    let GrantRecord { owner, subject, client, client_name, scopes, created_at, tokens, .. } = record;
    let used_at = tokens.map_or(created_at, |tokens| tokens.used_at);
    GrantInfo { id, owner, subject, client, client_name, scopes, created_at, used_at, expires_at }
}

/// Unknown and foreign are the same.
fn no_such_grant() -> Error {
    Error::new(ErrorCode::NotFound, "no grant with this id")
}
