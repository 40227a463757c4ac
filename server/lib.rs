//! Tidemark makes the answers of language models durable streams.
//!
//! The way of a request: [`serve`] accepts it, gives it an id and a [`auth::Principal`], and routes it: gRPC to [`grpc`], REST to
//! the bridge, which calls the same services. [`runs`] owns the life of a response: it asks a [`backends`] for a generation,
//! turns what comes into events and appends them to the store; readers see an event only after that. [`app`] puts it all
//! together.

pub mod alarm;
pub mod app;
pub mod auth;
pub mod backends;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dormant;
pub mod error;
mod faults;
#[cfg(test)]
mod fixtures;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod grpc;
mod items;
pub mod json;
mod labels;
pub mod limits;
pub mod manage;
pub mod oauth;
pub mod operator;
pub mod runs;
pub mod serve;
pub mod sessions;
pub mod sizes;
pub mod tasks;
pub mod telemetry;
pub mod turns;
