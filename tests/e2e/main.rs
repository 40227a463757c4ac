//! The real binary from outside: its ports, its command line, its data directory, with the built-in demo backend or a scripted one.
//!
//! Tests that prove a check of the seeds' annex 3 carry its number. What one room promises by itself is tested in that room.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    reason = "tests; JSON is written where it is used"
)]

#[path = "../common/mod.rs"]
mod common;

mod access;
mod bad_backends;
mod bad_fields;
mod bad_requests;
mod bridge;
mod cancels;
mod chat_backends;
mod chats;
mod command_line;
mod creates;
mod fields;
mod grpc;
mod hostile_backends;
mod idempotency;
mod inputs;
mod keys;
mod keys_command;
mod limits;
mod lockout;
mod long;
mod matrix;
mod oauth;
mod openapi;
mod owners;
mod rates;
mod readers;
mod restarts;
mod resumes;
mod sessions;
mod setup;
mod shutdown;
mod storage;
mod store_commands;
mod tenants;
mod tickets;
mod types;
