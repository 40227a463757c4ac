//! Servers that speak an OpenAI protocol: [`chat`] (`/chat/completions`) or [`responses`] (`/responses`).
//!
//! It owns the connection to such a server and what goes wrong on the way; each dialect owns its request and the reading of its
//! stream. It must never send a caller's credential, nor let its own or a server's own words reach a caller (D-28).

mod answer;
mod chat;
mod client;
mod failure;
mod reading;
mod responses;

pub use client::{BadSettings, Client};
pub use reading::Reading;

/// The largest event of a server, but for those that repeat others: 1 MiB (D-18).
const MAX_EVENT: usize = 1 << 20;
