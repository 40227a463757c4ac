//! The wire contract of the bridge: exact replies of every route, over a gateway in this process and one behind a socket.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod fake;
mod handover;
mod http;
mod lists;
mod repeats;
mod requests;
mod sockets;
mod streams;
