//! What the tests of the whole have in common.

#![allow(clippy::allow_attributes, dead_code, reason = "not every test binary uses everything")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

pub mod app;
pub mod bridge;
pub mod model;
pub mod rest;
pub mod scripted;
pub mod server;
