//! The way to a gateway in another process.
//!
//! It owns the address and the bounds of the connections. It must never know what a call means.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use tidemark_bridge::Clients;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::transport::{Channel, Endpoint, Error};
use tower::ServiceExt as _;
use tower::util::Oneshot;

use crate::serve::MAX_CONCURRENT_STREAMS;

/// How many connections are used in turn. Each carries at most [`MAX_CONCURRENT_STREAMS`] calls at once; more would wait.
const CONNECTIONS: usize = 16;

/// How much of a reply may be under way before its reader takes it, in bytes.
const STREAM_WINDOW: u32 = 128 << 10;

/// The same for a whole connection: room for every stream, so that readers that take nothing hold up nobody else (D-22).
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MAX_CONCURRENT_STREAMS;

/// How long it may take to make a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often the gateway is asked whether it is still there while calls are open, and how long it may take to answer.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// Where a gateway is: `http://HOST[:PORT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway(Uri);

/// The text is no address of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a gateway's address is http://HOST:PORT, without a path, a query or a credential; TLS is not there yet"
)]
pub struct NoGateway;

impl FromStr for Gateway {
    type Err = NoGateway;

    fn from_str(text: &str) -> Result<Self, NoGateway> {
        let uri: Uri = text.parse().map_err(|_| NoGateway)?;
        let bare = uri.path_and_query().is_none_or(|rest| rest.as_str() == "/");
        let named = uri.authority().is_some_and(|at| !at.host().is_empty() && !at.as_str().contains('@'));
        if uri.scheme_str() == Some("http") && bare && named { Ok(Self(uri)) } else { Err(NoGateway) }
    }
}

impl fmt::Display for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.0.authority().map_or("", |authority| authority.as_str()))
    }
}

impl Gateway {
    /// Clients of this gateway. Connections are made when they are needed, and made again when they break; a gateway that is not
    /// there fails the call and not the bridge.
    pub(crate) fn clients(&self) -> Clients {
        Clients::new(Connections::to(&self.0))
    }
}

/// Several connections, used in turn.
#[derive(Clone, Debug)]
struct Connections {
    channels: Arc<[Channel; CONNECTIONS]>,
    turn: Arc<AtomicUsize>,
}

impl Connections {
    fn to(gateway: &Uri) -> Self {
        let endpoint = Endpoint::from(gateway.clone())
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let channels = std::array::from_fn(|_| endpoint.connect_lazy());
        Self { channels: Arc::new(channels), turn: Arc::default() }
    }
}

impl Service<http::Request<Body>> for Connections {
    type Response = http::Response<Body>;
    type Error = Error;
    type Future = Oneshot<Channel, http::Request<Body>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        // Each call waits for its own connection.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let [first, ..] = &*self.channels;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % CONNECTIONS;
        self.channels.get(turn).unwrap_or(first).clone().oneshot(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_http_with_a_host_and_nothing_else() {
        for good in ["http://127.0.0.1:4700", "http://gate.internal", "http://[::1]:1/"] {
            let gateway: Gateway = good.parse().unwrap();
            assert_eq!(gateway.to_string(), good.trim_end_matches('/'));
        }
        for bad in [
            "",
            "gate:4700",
            "127.0.0.1:4700",
            "https://gate:4700",
            "http://",
            "http://gate/v1",
            "http://gate/?x=1",
            "http://user:secret@gate:1",
            "ftp://gate",
            "/x",
        ] {
            assert_eq!(bad.parse::<Gateway>(), Err(NoGateway), "{bad}");
        }
    }
}
