//! What each room counts.
//!
//! It owns which instruments a room is handed. It must never know how they are called outside: that is `metrics.rs`.

use super::instruments::{Counter, Durations, Family, Gauge};

/// What the life of responses counts.
#[derive(Clone, Debug, Default)]
pub struct RunMeters {
    /// Responses that are running.
    pub live: Gauge,
    /// Readers that are attached.
    pub readers: Gauge,
    /// Responses that have ended, by the name of their terminal status.
    pub ended: Family<&'static str>,
    /// Events that are durable.
    pub events: Counter,
    /// From handing a batch to the store until it is durable.
    pub append: Durations,
    /// From the create until the first event with output is durable.
    pub first_output: Durations,
    /// Failures of backends, by code.
    pub backend_errors: Family<&'static str>,
    /// Responses of an earlier process that were ended or started again.
    pub recovered: Counter,
    /// Responses of an earlier process that could not be ended.
    pub unrecovered: Counter,
    /// Stretches of events that were replaced by merged ones.
    pub compactions: Counter,
    /// Creates that got the response of an earlier one with their idempotency key.
    pub replayed: Counter,
    /// Responses that were removed at the end of their retention.
    pub swept: Counter,
}

/// A call, as far as calls are counted apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallLabel {
    /// The template of a REST path, the path of a gRPC method that exists, or `unmatched`.
    pub route: String,
    /// The class of the HTTP status (`2xx`), or the name of the gRPC status (`NOT_FOUND`); `cut` for a gRPC call that was
    /// given up before it had one.
    pub status: &'static str,
}

/// What the listener counts.
#[derive(Clone, Debug, Default)]
pub struct ServeMeters {
    /// Connections that are open.
    pub connections: Gauge,
    /// Calls whose reply has ended.
    pub calls: Family<CallLabel>,
    /// Streams that were cut because their client took nothing.
    pub stalled_streams: Counter,
    /// Requests whose body came too slowly.
    pub slow_bodies: Counter,
    /// Connections that the system did not give to us.
    pub failed_accepts: Counter,
}

/// What the limits on callers count.
#[derive(Clone, Debug, Default)]
pub struct LimitMeters {
    /// Wrong credentials.
    pub wrong_credentials: Counter,
    /// Times that a client address was locked.
    pub locks: Counter,
    /// Wrong credentials that were refused because their address was locked.
    pub locked_out: Counter,
    /// Calls that were refused because a budget was used up, by area.
    pub rate_limited: Family<&'static str>,
}
