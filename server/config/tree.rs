//! The settings as plain values: whoever holds them knows that they are in their bounds.
//!
//! It owns their shape. It must never know where they came from; defaults and bounds stand in `defaults.toml` and `load.rs`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;
use secrecy::SecretString;

use super::units::{ByteSize, Rate};

/// All settings (S-10).
#[derive(Clone, Debug)]
pub struct Config {
    /// The process: addresses, directory, bounds of the listener.
    pub server: Server,
    /// Who may call.
    pub auth: Auth,
    /// The authorization server for apps; absent = there is none.
    pub oauth: Option<OAuth>,
    /// The model servers, at least one, names unique.
    pub backends: Vec<Backend>,
    /// The life of a run.
    pub runs: Runs,
    /// Creates that are repeated (D-35).
    pub idempotency: Idempotency,
    /// What a response, an owner and the gateway may use (D-18).
    pub limits: Limits,
    /// How long things are kept (D-25).
    pub retention: Retention,
    /// The store's use of disk and memory.
    pub store: Store,
    /// Web pages of other origins.
    pub cors: Cors,
    /// The log of the process.
    pub log: Log,
}

/// The process: addresses, directory, bounds of the listener (D-7).
#[derive(Clone, Debug)]
pub struct Server {
    /// Address of gRPC, REST and SSE; port 0 = a free one.
    pub listen: SocketAddr,
    /// Address of the health pages; absent = none.
    pub admin: Option<SocketAddr>,
    /// Directory of the store.
    pub data_dir: PathBuf,
    /// What an event must survive before anybody sees it (D-16).
    pub durability: Durability,
    /// How long a shutdown waits for open connections.
    pub drain: Duration,
    /// Largest request body.
    pub body_limit: ByteSize,
    /// How long a client may take to send a request's headers.
    pub header_timeout: Duration,
    /// Largest block of request headers.
    pub header_limit: ByteSize,
    /// How long a client may take nothing of what is sent to it.
    pub write_timeout: Duration,
    /// Host names, besides loopback and `listen`, that clients may use while auth is off; lower case, without port (D-41).
    pub hosts: Vec<String>,
    /// Networks of the proxies whose word on a client's address counts (U-23).
    pub trusted_proxies: Vec<IpNet>,
    /// Where they write it.
    pub forwarded_header: ForwardedHeader,
}

/// The header in which a proxy names its client; the other one is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// What an event must survive before anybody sees it (D-16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A power cut: `fdatasync` first.
    Sync,
    /// A crash of the process, not a power cut.
    Os,
}

/// Who may call.
#[derive(Clone, Debug)]
pub enum Auth {
    /// Everybody who reaches the listener, which is bound to loopback unless the operator insisted (D-32).
    Off,
    /// Who shows a credential.
    Keys(KeysAuth),
}

/// Credentials besides the keys in the store.
#[derive(Clone, Debug)]
pub struct KeysAuth {
    /// The operator's secret: at least 32 characters, and no key of the gateway; absent = there is none (S-8).
    pub operator: Option<Secret>,
}

/// The authorization server for apps (B-1b).
#[derive(Clone, Debug)]
pub struct OAuth {
    /// Whether keys open its pages and nothing else.
    pub only: bool,
    /// Origin that the world sees, without a slash at its end.
    pub issuer: String,
    /// Whether apps can be let in by a key.
    pub keys: bool,
    /// Header in which a trusted proxy names the user who is signed in; absent = none does.
    pub identity_header: Option<HeaderName>,
    /// Whether everybody may register apps.
    pub open_registration: bool,
    /// Apps there may be while everybody may register some.
    pub max_clients: NonZeroU32,
    /// Registrations of one client address; absent = no limit.
    pub registration_rate: Option<Rate>,
    /// Other calls of one client address; absent = no limit.
    pub rate: Option<Rate>,
    /// Hosts that redirect URIs may name; empty = all.
    pub redirect_hosts: Vec<String>,
    /// Schemes of apps that redirect URIs may have.
    pub redirect_schemes: Vec<String>,
    /// How long a consent page, and its code, are good.
    pub code_ttl: Duration,
    /// How long an access token is good.
    pub access_ttl: Duration,
    /// How long a grant is good that is not used.
    pub refresh_idle: Duration,
    /// How long a grant is good at all.
    pub refresh_absolute: Duration,
    /// How long a grant that has ended is kept.
    pub keep_ended: Duration,
    /// How old an app may become that was never connected.
    pub orphan_after: Duration,
    /// How often what is of no more use is removed.
    pub sweep_period: Duration,
    /// How long the same key signs access tokens.
    pub signing_rotation: Duration,
}

/// A model server (D-27).
#[derive(Clone, Debug)]
pub struct Backend {
    /// Its name in logs and in `owned_by`: 1 to 64 letters, digits, `-`, `_` or `.`.
    pub name: String,
    /// What it is.
    pub kind: BackendKind,
    /// The models it serves.
    pub models: Models,
    /// Generations that run at once; absent = no limit.
    pub max_concurrency: Option<NonZeroU32>,
    /// Generations that wait for a free place.
    pub queue: NonZeroU32,
    /// How long each of them may wait.
    pub queue_timeout: Duration,
}

/// What a backend is.
#[derive(Clone, Debug)]
pub enum BackendKind {
    /// The built-in one, which needs no model (S-11).
    Demo,
    /// A server with an OpenAI-compatible API.
    OpenAi(OpenAi),
}

/// A server with an OpenAI-compatible API.
#[derive(Clone, Debug)]
pub struct OpenAi {
    /// What it speaks.
    pub dialect: Dialect,
    /// `http` or `https`, no credential, no query; without a slash at its end.
    pub base_url: String,
    /// Its key; absent = none is sent.
    pub api_key: Option<Secret>,
    /// Time to make a connection.
    pub connect_timeout: Duration,
    /// Time from the request to the first byte of the answer.
    pub first_byte_timeout: Duration,
    /// Longest silence within an answer.
    pub idle_timeout: Duration,
}

/// What an OpenAI-compatible server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `POST /chat/completions`.
    Chat,
    /// `POST /responses`.
    Responses,
}

/// A secret of the operator's: visible ASCII. Never shown, neither by `Debug` nor by `config print` (D-28).
#[derive(Clone, Debug)]
pub struct Secret(pub SecretString);

/// Which models a backend serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Models {
    /// Whatever it lists.
    Listed,
    /// Exactly these: the name here → the name at the backend. At least one.
    Named(BTreeMap<String, String>),
}

/// The life of a run.
#[derive(Clone, Debug)]
pub struct Runs {
    /// Longest life of a run.
    pub max_time: Duration,
    /// How long a response that nobody keeps goes on without a reader (D-26).
    pub disconnect_grace: Duration,
    /// What becomes of a run that a restart cut off before any output (D-23).
    pub on_restart: OnRestart,
}

/// What becomes of a run that a restart cut off before any output (D-23).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRestart {
    /// It fails with `gateway_restarted`.
    Fail,
    /// It starts again under the same id; only with [`Durability::Sync`].
    Retry,
}

/// Creates that are repeated (D-35).
#[derive(Clone, Debug)]
pub struct Idempotency {
    /// Whether a repeat that does not stream waits for a response that is running; else it gets a 409.
    pub wait: bool,
}

/// What a response, an owner, a caller and the gateway may use (D-18, D-34). An absent rate is no limit.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Live responses in total.
    pub live: NonZeroU32,
    /// Live responses of one owner.
    pub live_per_owner: PerOwner,
    /// Stored responses in total, live ones too; absent = no limit.
    pub stored: Option<NonZeroU32>,
    /// Stored responses of one owner, live ones too; absent = no limit.
    pub stored_per_owner: Option<NonZeroU32>,
    /// Bytes of all stored responses; absent = no limit.
    pub stored_bytes: Option<ByteSize>,
    /// Bytes of the stored responses of one owner; absent = no limit.
    pub stored_bytes_per_owner: Option<ByteSize>,
    /// Events kept per response.
    pub events_per_response: NonZeroU32,
    /// Bytes kept per response.
    pub bytes_per_response: ByteSize,
    /// Largest output of a response.
    pub output: ByteSize,
    /// Sessions of one owner; absent = no limit.
    pub sessions_per_owner: Option<NonZeroU32>,
    /// Entries of the history of one session, beyond which nothing is added; absent = no limit.
    pub items_per_session: Option<NonZeroU32>,
    /// Bytes of the history of one session, beyond which nothing is added; absent = no limit.
    pub bytes_per_session: Option<ByteSize>,
    /// Wrong credentials of one client address that lock it.
    pub auth_failures: Option<Rate>,
    /// How long it is locked then.
    pub auth_lock: Duration,
    /// Calls that start a generation.
    pub rate_creates: Option<Rate>,
    /// Other calls about responses and sessions.
    pub rate_responses: Option<Rate>,
    /// Calls for the list of models.
    pub rate_models: Option<Rate>,
    /// Calls about keys, users and grants.
    pub rate_admin: Option<Rate>,
}

/// A limit on what one owner has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PerOwner {
    /// The limit of the design with auth on; none with auth off, where owners are only names.
    Auto,
    /// No limit.
    Off,
    /// This many.
    Max(NonZeroU32),
}

/// How long things are kept, from the end of a response (D-25).
#[derive(Clone, Debug)]
pub struct Retention {
    /// Every single event; absent = as long as the response.
    pub events: Option<Duration>,
    /// The response.
    pub responses: Duration,
    /// A response with `store: false`.
    pub unstored: Duration,
    /// A session, from when something was last added to it; absent = until it is deleted.
    pub sessions: Option<Duration>,
}

/// The store's use of disk and memory.
#[derive(Clone, Debug)]
pub struct Store {
    /// New responses are refused while the disk has less free space than this (D-24).
    pub min_free: ByteSize,
    /// Memory for the index (D-38).
    pub index_cache: ByteSize,
}

/// Web pages of other origins (D-41).
#[derive(Clone, Debug)]
pub struct Cors {
    /// Those that may call: scheme, host and port as a browser sends them, lower case.
    pub origins: Vec<String>,
}

/// The log of the process.
#[derive(Clone, Debug)]
pub struct Log {
    /// Its form.
    pub format: LogFormat,
    /// Directives of `tracing_subscriber::EnvFilter`, well-formed.
    pub level: String,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// For machines: one JSON object a line.
    Json,
}
