//! The settings.
//!
//! It owns where a setting comes from (flag, file, `defaults.toml`), what it may be, and how all that is wrong is said at once
//! (S-10). It must never know what the other rooms do with it. From the environment come only secrets, by reference.

mod backends;
mod load;
mod print;
mod problem;
mod reader;
mod tree;
mod units;
mod values;

pub use load::{DEFAULTS, Environment, Loaded, Overrides, check_exposure, load, parse};
pub use problem::{Problem, Problems};
pub use tree::{
    ApiKey, Auth, Backend, BackendKind, Config, Cors, Dialect, Durability, Idempotency, Limits, Log,
    LogFormat, Models, OnRestart, OpenAi, Retention, Runs, Server, Store,
};
pub use units::{ByteSize, spell_duration};
