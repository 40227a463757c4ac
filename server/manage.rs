//! `tidemark keys …`, `users …`, `grants …` and `clients …`: the same calls of the same services, over the store of this machine or at a gateway.
//!
//! It owns what is printed. It must never know how a key is kept.

mod apps;

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use httpdate::fmt_http_date;
use prost_types::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use tidemark_bridge::Clients;
use tidemark_proto::v1::{
    AddUserRequest, CreateKeyRequest, DeleteKeyRequest, DisableKeyRequest, DisableUserRequest,
    EnableKeyRequest, Key, KeyState, ListKeysRequest, ListUsersRequest, RotateKeyRequest, User,
};
use tidemark_store::embedded::OpenError;
use tidemark_store::{Owner, Store};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Status};

use crate::app::{self, Gateway};
use crate::auth::{Directory, Principal};
use crate::cli::{CreateKey, KEY_ENV, KeysCommand, ListKeys, RotateKey, UsersCommand};
use crate::clock::{Clock, SystemClock, millis};
use crate::config::Config;
use crate::grpc;
use crate::tasks::Tasks;

/// Why nothing was done, or not all.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The store was not opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A server has the store open.
    #[error(
        "{0}. Or let the server that runs do it: --server URL, with its operator's secret or an admin's key in TIDEMARK_KEY"
    )]
    InUse(OpenError),
    /// There is nothing to call the gateway with.
    #[error("{KEY_ENV} must hold a key with the scope that this needs, or the operator's secret: {0}")]
    NoCredential(&'static str),
    /// The service refused.
    #[error("{}", .0.message())]
    Call(Box<Status>),
    /// A fault of ours.
    #[error("{0}")]
    Fault(String),
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self::Call(Box::new(status))
    }
}

/// Where the keys and users are.
#[derive(Debug)]
pub enum Source {
    /// In the store of these settings, which no server has open.
    Store(Box<Config>),
    /// At a gateway that runs, with what `TIDEMARK_KEY` holds.
    Gateway(Gateway, Option<SecretString>),
}

/// Whoever does what is asked.
#[derive(Debug)]
pub struct Manager {
    clients: Clients,
    proof: Proof,
    store: Option<Arc<dyn Store>>,
}

/// What calls carry to say who makes them.
#[derive(Clone)]
enum Proof {
    /// Whoever can write to the data directory is its operator.
    Operator(Principal),
    Bearer(MetadataValue<Ascii>),
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof")
    }
}

impl Manager {
    /// Over these keys and users.
    ///
    /// # Errors
    /// All of [`Refused`] but [`Refused::Call`].
    pub async fn open(source: &Source) -> Result<Self, Refused> {
        match source {
            Source::Store(config) => Self::offline(config).await,
            Source::Gateway(gateway, key) => Self::online(gateway, key.as_ref()),
        }
    }

    async fn offline(config: &Config) -> Result<Self, Refused> {
        let opened = app::open(config).await.map_err(|failure| match failure {
            app::Failure::Open(error @ OpenError::InUse { .. }) => Refused::InUse(error),
            app::Failure::Open(error) => Refused::Open(error),
            other => Refused::Fault(other.to_string()),
        });
        let store = opened?;
        let directory = Directory::new(Arc::clone(&store), Arc::new(SystemClock), Tasks::new());
        let owner = Owner::new(Principal::OPERATOR_OWNER);
        let owner = owner.ok_or_else(|| Refused::Fault("the operator's name is no owner".to_owned()))?;
        let proof = Proof::Operator(Principal::operator(owner));
        Ok(Self {
            clients: Clients::new(grpc::keys(directory, app::redirect_rules(config))),
            proof,
            store: Some(store),
        })
    }

    fn online(gateway: &Gateway, key: Option<&SecretString>) -> Result<Self, Refused> {
        let key = key.ok_or(Refused::NoCredential("it is not set"))?;
        let bearer = format!("Bearer {}", key.expose_secret()).parse::<MetadataValue<Ascii>>();
        let mut bearer =
            bearer.map_err(|_| Refused::NoCredential("what it holds cannot go into a header"))?;
        bearer.set_sensitive(true);
        Ok(Self { clients: gateway.clients(), proof: Proof::Bearer(bearer), store: None })
    }

    /// Closes what was opened, so that all of it is on the disk.
    pub async fn close(self) {
        if let Some(store) = self.store {
            store.close().await;
        }
    }

    fn call<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        match &self.proof {
            Proof::Operator(principal) => {
                request.extensions_mut().insert(principal.clone());
            }
            Proof::Bearer(bearer) => {
                request.metadata_mut().insert("authorization", bearer.clone());
            }
        }
        request
    }

    /// Does what `keys …` says, and gives what shall be printed.
    ///
    /// # Errors
    /// [`Refused::Call`], [`Refused::Fault`].
    pub async fn keys(&self, command: &KeysCommand) -> Result<String, Refused> {
        let mut keys = self.clients.keys();
        match command {
            KeysCommand::Create(create) => self.create(create).await,
            KeysCommand::List(list) => self.list(list).await,
            KeysCommand::Rotate(rotate) => self.rotate(rotate).await,
            KeysCommand::Disable(key) => {
                let call = self.call(DisableKeyRequest { id: key.id.clone() });
                Ok(line(&whole(keys.disable_key(call).await?.into_inner().key)?))
            }
            KeysCommand::Enable(key) => {
                let call = self.call(EnableKeyRequest { id: key.id.clone() });
                Ok(line(&whole(keys.enable_key(call).await?.into_inner().key)?))
            }
            KeysCommand::Delete(key) => {
                let call = self.call(DeleteKeyRequest { id: key.id.clone() });
                Ok(format!("{} deleted\n", keys.delete_key(call).await?.into_inner().id))
            }
        }
    }

    async fn create(&self, create: &CreateKey) -> Result<String, Refused> {
        let expires_at = create.expires_in.map(from_now);
        let (owner, scopes) = (create.owner.clone(), create.scopes.clone());
        let call = self.call(CreateKeyRequest { owner, scopes, expires_at });
        let made = self.clients.keys().create_key(call).await?.into_inner();
        Ok(with_value(&whole(made.key)?, &made.value, create.json))
    }

    async fn rotate(&self, rotate: &RotateKey) -> Result<String, Refused> {
        let overlap = rotate.overlap.map(prost_types::Duration::try_from).transpose();
        let overlap = overlap.map_err(|error| Refused::Fault(error.to_string()))?;
        let call = self.call(RotateKeyRequest { id: rotate.id.clone(), overlap });
        let made = self.clients.keys().rotate_key(call).await?.into_inner();
        Ok(with_value(&whole(made.key)?, &made.value, rotate.json))
    }

    async fn list(&self, list: &ListKeys) -> Result<String, Refused> {
        let (mut out, mut after) = (String::new(), String::new());
        loop {
            let ask = ListKeysRequest { owner: list.owner.clone(), page_size: u32::MAX, after };
            let page = self.clients.keys().list_keys(self.call(ask)).await?.into_inner();
            for key in &page.keys {
                out.push_str(&if list.json { object(key) } else { line(key) });
            }
            match page.keys.last().filter(|_| page.has_more) {
                Some(last) => after = last.id.clone(),
                None => return Ok(out),
            }
        }
    }

    /// Does what `users …` says, and gives what shall be printed.
    ///
    /// # Errors
    /// [`Refused::Call`], [`Refused::Fault`].
    pub async fn users(&self, command: &UsersCommand) -> Result<String, Refused> {
        let mut users = self.clients.users();
        match command {
            UsersCommand::Add(user) => {
                let call = self.call(AddUserRequest { name: user.name.clone() });
                Ok(user_line(&whole(users.add_user(call).await?.into_inner().user)?))
            }
            UsersCommand::Disable(user) => {
                let call = self.call(DisableUserRequest { name: user.name.clone() });
                Ok(user_line(&whole(users.disable_user(call).await?.into_inner().user)?))
            }
            UsersCommand::List(_) => self.list_users().await,
        }
    }

    async fn list_users(&self) -> Result<String, Refused> {
        let (mut out, mut after) = (String::new(), String::new());
        loop {
            let ask = ListUsersRequest { page_size: u32::MAX, after };
            let page = self.clients.users().list_users(self.call(ask)).await?.into_inner();
            page.users.iter().for_each(|user| out.push_str(&user_line(user)));
            match page.users.last().filter(|_| page.has_more) {
                Some(last) => after = last.name.clone(),
                None => return Ok(out),
            }
        }
    }
}

/// What a reply must hold.
fn whole<T>(part: Option<T>) -> Result<T, Refused> {
    part.ok_or_else(|| Refused::Fault("the gateway's reply is not whole".to_owned()))
}

fn from_now(duration: Duration) -> Timestamp {
    let at = SystemClock.now().0.saturating_add(millis(duration));
    Timestamp { seconds: i64::try_from(at / 1000).unwrap_or(i64::MAX), nanos: 0 }
}

/// A key that was just made, as `--json` prints it (S-9).
#[derive(Serialize)]
struct Made<'k> {
    id: &'k str,
    key: &'k str,
    owner: &'k str,
    scopes: &'k [String],
    expires_at: Option<i64>,
}

/// A key as `--json` lists it.
#[derive(Serialize)]
struct Listed<'k> {
    id: &'k str,
    owner: &'k str,
    scopes: &'k [String],
    state: String,
    created_at: Option<i64>,
    expires_at: Option<i64>,
    previous_until: Option<i64>,
}

/// A key that was just made (S-9): its value alone on the last line.
fn with_value(key: &Key, value: &str, json: bool) -> String {
    if json {
        let expires_at = key.expires_at.as_ref().map(|at| at.seconds);
        let Key { id, owner, scopes, .. } = key;
        return json_line(&Made { id, key: value, owner, scopes, expires_at });
    }
    format!("{}This is shown once; what is kept is its SHA-256.\n{value}\n", line(key))
}

/// A key on one line.
fn line(key: &Key) -> String {
    let mut line = format!("{} {} {} {}", key.id, state(key), key.owner, key.scopes.join(","));
    // A `String` takes every write.
    let _ = match &key.expires_at {
        Some(at) => writeln!(line, " until {}", date(at)),
        None => writeln!(line),
    };
    line
}

fn object(key: &Key) -> String {
    let seconds = |at: &Option<Timestamp>| at.as_ref().map(|at| at.seconds);
    json_line(&Listed {
        id: &key.id,
        owner: &key.owner,
        scopes: &key.scopes,
        state: state(key),
        created_at: seconds(&key.created_at),
        expires_at: seconds(&key.expires_at),
        previous_until: seconds(&key.previous_until),
    })
}

fn json_line(value: &impl Serialize) -> String {
    // Strings and numbers: there is nothing that JSON could not express.
    format!("{}\n", serde_json::to_string(value).unwrap_or_default())
}

fn state(key: &Key) -> String {
    let name = KeyState::as_str_name(&key.state());
    name.trim_start_matches("KEY_STATE_").to_ascii_lowercase()
}

fn user_line(user: &User) -> String {
    format!("{} {}\n", user.name, if user.disabled { "disabled" } else { "active" })
}

/// A time as people read it, in UTC. What no calendar holds is shown as seconds.
fn date(at: &Timestamp) -> String {
    let seconds = u64::try_from(at.seconds).ok().filter(|seconds| *seconds < 253_402_300_800);
    let time = seconds.and_then(|seconds| std::time::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
    time.map_or_else(|| at.seconds.to_string(), fmt_http_date)
}
