//! Responses in the words of Chat Completions (S-4, W-10).
//!
//! It owns what a chat asks for, its chunks and its object. Everything else (the run, the log, readers, recovery, idempotency) is
//! that of any response: a chat has lifecycle events that carry its object, too, and one terminal event. A chunk lies in the log as
//! it is sent, without a number of its own. It must never know when or whether an event becomes durable.

mod answer;
mod compose;
mod messages;
mod object;
mod request;

pub(super) use answer::{Answer, MAX_DEPTH, is_whole};
pub(super) use compose::Composer;
pub(super) use request::check;
