//! REST and SSE in the shape of the OpenAI API, translated into `tidemark.v1` calls.
//!
//! It owns the wire contract over HTTP: paths, parameters, bodies, frames, error envelopes and headers. It must never know how a
//! response is run or where its events lie: every request becomes one call of the generated client and has no other way in
//! (D-1, D-2), be the gateway in this process or at the other end of a channel.

mod body;
mod caller;
mod chat;
mod clients;
mod conversations;
mod create;
mod error;
mod fields;
mod grants;
mod history;
mod keys;
mod lists;
mod messages;
mod models;
mod params;
mod position;
mod repeat;
mod responses;
mod router;
mod sessions;
mod sse;
mod stages;
mod tickets;

pub use clients::{Clients, Transport};
pub use error::error_reply;
pub use router::{
    BodyLimitTooLarge, DEFAULT_BODY_LIMIT, MAX_BODY_LIMIT, Options, ROUTES, Route, VERSION, router,
};
pub use stages::Framing;
