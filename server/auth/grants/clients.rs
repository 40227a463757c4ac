//! Clients: apps that ask for grants (B-6, B-7, B-s8).
//!
//! It owns who may be a client and how many there are. All are public ones: none has a secret.

use bytes::Bytes;
use tidemark_proto::v1::ErrorCode;
use tidemark_store::UnixMillis;

use super::id::ClientId;
use super::list::GrantFilter;
use super::record::{CLIENTS, ClientRecord, client_name};
use super::redirect::{RedirectRules, RedirectUri};
use super::refusal::{Code, Refusal};
use super::{GRANTABLE, Grants};
use crate::auth::directory::{Directory, PAGES, unavailable};
use crate::auth::{Principal, Scope, Scopes};
use crate::error::Error;

/// The most redirect URIs of a client.
pub const MAX_REDIRECTS: usize = 16;

/// The longest name of a client, in characters.
pub const MAX_NAME_CHARS: usize = 256;

/// The longest list of scopes that is read, in bytes.
pub(super) const MAX_SCOPE_BYTES: usize = 1024;

/// A client to be made.
#[derive(Clone, Debug, Default)]
pub struct NewClient {
    /// What people are told that it is called; empty = its id.
    pub name: String,
    /// Where it may have browsers sent back to.
    pub redirects: Vec<String>,
    /// The most that it may ask for; absent = all that can be granted.
    pub scopes: Option<Scopes>,
    /// Whether it may begin the device flow.
    pub device: bool,
}

/// What may be shown of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientInfo {
    /// Its id.
    pub id: ClientId,
    /// What it says that it is called.
    pub name: String,
    /// The most that it may ask for.
    pub scopes: Scopes,
    /// When it was made.
    pub created_at: UnixMillis,
    /// Whether the operator made it.
    pub by_operator: bool,
}

/// A page of clients, the oldest first.
#[derive(Clone, Debug)]
pub struct ClientPage {
    /// The clients.
    pub clients: Vec<ClientInfo>,
    /// Whether there are more after the last one.
    pub has_more: bool,
    /// The most clients that this page could have had.
    pub page_size: u32,
}

/// The scopes of a text, as OAuth writes them.
///
/// # Errors
/// `invalid_scope` for what is none, or none that can be granted.
pub fn scopes_of(text: &str) -> Result<Scopes, Refusal> {
    let known = || format!("the scopes are {}", GRANTABLE.map(Scope::name).join(" "));
    let refused = || Refusal::new(Code::InvalidScope, known());
    if text.len() > MAX_SCOPE_BYTES {
        return Err(refused());
    }
    let scopes = text.split(' ').map(|name| name.parse::<Scope>()).collect::<Result<Scopes, _>>();
    scopes.ok().filter(|scopes| Grants::grantable().covers(*scopes)).ok_or_else(refused)
}

impl Grants {
    /// Registers a client for whoever asks.
    ///
    /// # Errors
    /// `access_denied` while registration is not open; `invalid_client_metadata`, `invalid_redirect_uri`; a fault of ours.
    pub async fn register(&self, new: NewClient) -> Result<ClientInfo, Refusal> {
        if !self.rules.open_registration {
            return Err(Refusal::new(
                Code::AccessDenied,
                "registration is not open: ask the operator for a client",
            ));
        }
        self.directory.add_client(new, &self.rules.redirects, Some(self.rules.max_clients)).await
    }
}

impl Directory {
    /// Makes a client for the operator, beyond the limit for others too. It stays until the operator takes it away.
    ///
    /// # Errors
    /// As [`Grants::register`], but for `access_denied`.
    pub async fn create_client(&self, new: NewClient, rules: &RedirectRules) -> Result<ClientInfo, Refusal> {
        self.add_client(new, rules, None).await
    }

    async fn add_client(
        &self,
        new: NewClient,
        rules: &RedirectRules,
        limit: Option<u32>,
    ) -> Result<ClientInfo, Refusal> {
        let id = ClientId::from_bytes(self.0.clock.new_id());
        let record = checked(new, id, rules, self.0.clock.now(), limit.is_none())?;
        // One at a time: else many at once would pass the limit together.
        let _turn = self.0.registering.lock().await;
        if let Some(limit) = limit {
            let most = usize::try_from(limit).unwrap_or(usize::MAX);
            let found = self.0.store.records(CLIENTS.as_bytes(), None, most).await.map_err(unavailable)?;
            if found.len() >= most {
                let full =
                    Error::new(ErrorCode::StorageUnavailable, "there are as many clients as there may be");
                return Err(full.into());
            }
        }
        let added = self.change_quietly(client_name(id), |found| match found {
            Some(_) => Err(Error::internal("an id was given twice")),
            None => Ok((Some(record.encode()), ())),
        });
        added.await?;
        Ok(info(id, record))
    }

    /// A client, if there is one of this id.
    pub(super) async fn client(&self, id: ClientId) -> Result<Option<ClientRecord>, Error> {
        let found = self.0.store.record(client_name(id).as_bytes()).await.map_err(unavailable)?;
        found.map(|found| ClientRecord::decode(&found.value)).transpose().map_err(unavailable)
    }

    /// The clients, the oldest first: at most `page_size` (0 = 50, more than 1000 = 1000) after the one of the id `after` (empty = from
    /// the first on).
    ///
    /// # Errors
    /// `invalid_cursor`, `storage_unavailable`.
    pub async fn list_clients(&self, after: &str, page_size: u32) -> Result<ClientPage, Error> {
        let after = match after {
            "" => None,
            id => Some(client_name(id.parse().map_err(|_| no_place())?)),
        };
        let page_size = PAGES.of(page_size);
        let room = usize::try_from(page_size).unwrap_or(usize::MAX);
        let after = after.as_ref().map(String::as_bytes);
        let found = self.0.store.records(CLIENTS.as_bytes(), after, room.saturating_add(1)).await;
        let found = found.map_err(unavailable)?;
        let has_more = found.len() > room;
        let client = |(name, value): (Bytes, tidemark_store::Record)| {
            Ok(info(id_of(&name)?, ClientRecord::decode(&value.value).map_err(unavailable)?))
        };
        let clients = found.into_iter().take(room).map(client).collect::<Result<_, Error>>()?;
        Ok(ClientPage { clients, has_more, page_size })
    }

    /// Takes a client away, and revokes all its grants first; returns how many. `caller` is asked for the right to by who calls.
    ///
    /// # Errors
    /// `not_found`, `storage_unavailable`.
    pub async fn delete_client(&self, caller: &Principal, id: &str) -> Result<u64, Error> {
        let no_client = || Error::new(ErrorCode::NotFound, "no client with this id");
        let id: ClientId = id.parse().map_err(|_| no_client())?;
        // The client first: nobody can consent to it while its grants are revoked.
        let gone = self.change_quietly(client_name(id), |found| match found {
            Some(_) => Ok((None, ())),
            None => Err(no_client()),
        });
        gone.await?;
        let filter = GrantFilter { client: Some(id), ..GrantFilter::default() };
        self.revoke_grants(caller, &filter).await
    }
}

/// The record of a client, if it may be one.
fn checked(
    new: NewClient,
    id: ClientId,
    rules: &RedirectRules,
    created_at: UnixMillis,
    kept: bool,
) -> Result<ClientRecord, Refusal> {
    let NewClient { name, redirects, scopes, device } = new;
    let metadata = |text: String| Refusal::new(Code::InvalidClientMetadata, text);
    if name.chars().count() > MAX_NAME_CHARS || name.chars().any(is_unfit) {
        return Err(metadata(format!("client_name has at most {MAX_NAME_CHARS} printable characters")));
    }
    let name = if name.trim().is_empty() { id.to_string() } else { name };
    let none = redirects.is_empty() && !device;
    if none || redirects.len() > MAX_REDIRECTS {
        let text = format!("redirect_uris has 1 to {MAX_REDIRECTS} entries");
        return Err(Refusal::new(Code::InvalidRedirectUri, text));
    }
    let redirects = redirects.iter().map(|text| {
        let uri = RedirectUri::parse(text, rules);
        uri.map(|uri| uri.digest()).map_err(|text| Refusal::new(Code::InvalidRedirectUri, text))
    });
    let redirects = redirects.collect::<Result<Vec<_>, _>>()?;
    let scopes = scopes.unwrap_or_else(Grants::grantable);
    if scopes.is_empty() || !Grants::grantable().covers(scopes) {
        return Err(metadata(format!("scope names some of {}", GRANTABLE.map(Scope::name).join(" "))));
    }
    Ok(ClientRecord { name, redirects, scopes, created_at, kept, device })
}

/// What may not stand in a name that people shall trust their eyes with: controls, and marks that turn the direction of writing.
fn is_unfit(letter: char) -> bool {
    let turns = matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{61c}');
    letter.is_control() || turns
}

fn info(id: ClientId, record: ClientRecord) -> ClientInfo {
    let ClientRecord { name, scopes, created_at, kept, .. } = record;
    ClientInfo { id, name, scopes, created_at, by_operator: kept }
}

pub(super) fn id_of(name: &[u8]) -> Result<ClientId, Error> {
    let id = std::str::from_utf8(name).ok().and_then(|name| name.strip_prefix(CLIENTS)?.parse().ok());
    id.ok_or_else(|| unavailable("the name of a record of a client holds no id"))
}

fn no_place() -> Error {
    let text = "after must be empty, or the id of the last client of an earlier page";
    Error::new(ErrorCode::InvalidCursor, text).with_param("after")
}
