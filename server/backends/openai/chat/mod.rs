//! The chat dialect: `POST {base_url}/chat/completions`.
//!
//! It owns the translation of a generation into a chat request, and of chat chunks into pieces of an answer.
//!
//! What was asked for in a chat's own words passes through (`passed.rs`). Of all else, what a chat has no words for is refused by
//! name (`input[3].type`) and not left out, except for three things that it has no use for: reasoning items of earlier turns, the
//! ids and states of items, and the fields that only the gateway acts on (`request.rs` lists them).

mod items;
mod passed;
mod request;
mod stream;

pub(super) use passed::Reader as PassedReader;
pub(super) use request::body;
pub(super) use stream::Reader;
