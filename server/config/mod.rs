//! The settings.
//!
//! It owns where a setting comes from (flag, file, `defaults.toml`), what it may be, and how all that is wrong is said at once
//! (S-10). It must never know what the other rooms do with it. From the environment come only secrets, by reference.

mod auth;
mod backends;
mod load;
mod oauth;
mod print;
mod problem;
mod reader;
mod secrets;
mod tree;
mod units;
mod values;

pub use auth::check_exposure;
pub use load::{DEFAULTS, Environment, Loaded, Overrides, load, parse};
pub use problem::{Problem, Problems};
pub use tree::{
    Auth, Backend, BackendKind, Config, Cors, Dialect, Durability, ForwardedHeader, Idempotency, KeysAuth,
    Limits, Log, LogFormat, Models, OAuth, OnRestart, OpenAi, PerOwner, Retention, Runs, Secret, Server,
    Store,
};
pub use units::{ByteSize, Rate, parse_duration, spell_duration};
