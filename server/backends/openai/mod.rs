//! Servers that speak the OpenAI protocol, in its chat dialect (`/chat/completions`).
//!
//! It owns the translation of a generation into a chat request, of chat chunks into steps, and what goes wrong on the way. It
//! must never send a caller's credential, nor let its own or a server's own words reach a caller (D-28).
//!
//! What the chat dialect has no words for is refused by name (`input[3].type`) and not left out, except for three things that a
//! chat has no use for: reasoning items of earlier turns, the ids and states of items, and the fields that only the gateway acts
//! on (`request.rs` lists them).

mod answer;
mod client;
mod failure;
mod items;
mod request;
mod stream;

pub use client::{BadSettings, Client};
