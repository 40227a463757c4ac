//! The life of a response.
//!
//! It owns what happens between a create and the terminal event: checking the request, the task that drives one generation and
//! is the only appender of its log, the events and the response object in the form of the OpenAI Responses API, readers, cancel,
//! recovery at boot and retention. It must never know how a call came in, how a backend is spoken to, or how the store keeps
//! its bytes.
//!
//! [`Runs`] is the door: everything a caller may do with responses, and the only place where ids are looked up.

mod adopt;
mod author;
mod chain;
mod chat;
mod compact;
mod compose;
mod create;
mod document;
mod echo;
mod event;
mod extra;
mod faults;
mod feed;
mod fold;
mod handle;
mod id;
mod idempotency;
mod input;
mod item;
mod journal;
mod list;
mod live;
mod members;
mod models;
mod object;
mod options;
mod output;
mod outside;
mod page;
mod pieces;
mod reader;
mod recover;
mod request;
mod run;
mod status;
mod sweep;
mod writing;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
pub(crate) mod tests;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use compact::fuzzing;

pub use crate::alarm::HEARTBEAT;
pub use chain::{MAX_CHAIN_BYTES, MAX_CHAIN_LINKS};
pub use create::Created;
pub use event::Event;
pub use handle::{Runs, Snapshot, Wanted};
pub use id::ResponseId;
pub use input::{InputItem, InputPage, InputQuery};
pub use list::{ListQuery, ResponsePage};
pub use models::Models;
pub use options::{OnRepeat, OnRestart, Options, Retention};
pub use reader::{Delivery, Gap, OnGap, Reader, events_of};
pub use request::MAX_INPUT_CHARS;
pub use status::{Cancelled, Incomplete, Status};
pub use writing::Writing;
