//! The listener and all that stands before a service.
//!
//! It owns sockets and their bounds (D-7), the one stack of layers over gRPC and REST (D-34, D-41), health pages, signals and
//! the banner. It must never know what a response is; it gives every call an id and a principal and passes it on.

mod admin;
mod banner;
mod completion;
mod descriptors;
mod forwarded;
mod gate;
mod headers;
mod identity;
mod intake;
mod io;
mod listener;
mod openapi;
mod origin;
mod panics;
mod query_ticket;
mod quota;
mod refusal;
mod request_id;
mod shutdown;
mod stack;
mod stall;
#[cfg(test)]
mod tests;

pub use admin::{Health, admin};
pub use banner::{Banner, BridgeBanner};
pub use completion::Record;
pub use descriptors::connections;
pub use forwarded::{Client, Proxies};
pub use gate::Gate;
pub use listener::{Bounds, Control, Listener, MAX_CONCURRENT_STREAMS};
pub use openapi::{OPENAPI, OPENAPI_PATH};
pub use origin::Visitors;
pub use request_id::{RequestId, RequestIds};
pub use shutdown::{Drained, Signals, drain};
pub use stack::{Options, app, rest};

/// Says where a request of a test comes from, as the listener does.
#[cfg(test)]
pub(crate) fn set_peer(request: &mut axum::extract::Request, address: std::net::IpAddr) {
    request.extensions_mut().insert(forwarded::Peer(address));
}
