//! A bound socket and the HTTP server on it.
//!
//! It owns which connections are taken, their bounds (D-7) and their end at a shutdown. It must never know what is served.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::forwarded::Peer;
use super::intake::{self, Pace};
use super::io::{Clocks, Connection};
use super::stall::{self, StreamTasks};
use crate::config;
use crate::telemetry::ServeMeters;

/// Streams that one HTTP/2 connection may have open at once.
pub const MAX_CONCURRENT_STREAMS: u32 = 1024;

/// How often an HTTP/2 client is asked whether it is still there.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// How long it may take to answer that.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// The smallest header limit that the HTTP/1 parser can work with, in bytes.
const MIN_HEADER_BYTES: usize = 8192;

/// What an HTTP/2 connection begins with.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long nothing is accepted after the system refused to hand a connection over, most likely for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What connections may use.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How long a client may take to send the headers of a request, or anything at all on a new connection; and how long it may
    /// send nothing of a body.
    pub header_timeout: Duration,
    /// Largest block of request headers, in bytes; at least 8 KiB.
    pub header_limit: usize,
    /// How long a client may take nothing of what is sent to it.
    pub write_timeout: Duration,
    /// Connections that are open at once; further ones wait to be accepted.
    pub connections: usize,
}

impl Bounds {
    /// The bounds that the settings ask for, and this many connections.
    pub fn new(server: &config::Server, connections: usize) -> Self {
        Self {
            header_timeout: server.header_timeout,
            header_limit: server.header_limit.as_usize(),
            write_timeout: server.write_timeout,
            connections,
        }
    }
}

/// A socket that is bound but not served yet: clients that connect wait.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    bounds: Bounds,
    meters: ServeMeters,
    control: Control,
}

impl Listener {
    /// Binds `address`; port 0 = a free one.
    ///
    /// # Errors
    /// The address is in use, not of this machine, or not allowed.
    pub fn bind(address: SocketAddr, bounds: Bounds, meters: ServeMeters) -> io::Result<Self> {
        let socket = TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address, bounds, meters, control: Control::default() })
    }

    /// The address that is bound, with its real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What ends [`Self::serve`].
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Serves `app` over HTTP/1.1 and HTTP/2 until [`Control`] ends it and no connection is left. Dropping the future stops
    /// accepting; open connections end with [`Control::stop`].
    ///
    /// # Errors
    /// The socket cannot be used.
    pub async fn serve(self, app: Router) -> io::Result<()> {
        let Self { socket, bounds, meters, control, .. } = self;
        let socket = tokio::net::TcpListener::from_std(socket)?;
        let server = Arc::new(Server::new(app, bounds, meters, control.clone()));
        control.closing.run_until_cancelled(server.accept_all(&socket)).await;
        drop(socket);
        control.open.close();
        control.open.wait().await;
        Ok(())
    }
}

/// Ends a [`Listener::serve`]; before it has begun as well as after.
#[derive(Clone, Debug, Default)]
pub struct Control {
    closing: CancellationToken,
    cut: CancellationToken,
    open: TaskTracker,
}

impl Control {
    /// Stops accepting and lets open calls end: connections close when they have none, and take no new ones.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// Stops accepting and cuts every connection now.
    pub fn stop(&self) {
        self.cut.cancel();
        self.closing.cancel();
    }
}

/// What every connection of a listener shares.
struct Server {
    http: Builder<StreamTasks>,
    http1: Builder<StreamTasks>,
    app: Router,
    clocks: Clocks,
    places: Arc<Semaphore>,
    meters: ServeMeters,
    control: Control,
}

impl Server {
    fn new(app: Router, bounds: Bounds, meters: ServeMeters, control: Control) -> Self {
        let streams = StreamTasks {
            tracker: control.open.clone(),
            cut: control.cut.clone(),
            limit: bounds.write_timeout,
            stalled: meters.stalled_streams.clone(),
        };
        let mut http = Builder::new(streams);
        bound(&mut http, bounds);
        let pace = Pace { patience: bounds.header_timeout, slow: meters.slow_bodies.clone() };
        let app = app.layer((from_fn_with_state(pace, intake::bound), from_fn(stall::watch)));
        Self {
            http1: http.clone().http1_only(),
            http,
            app,
            clocks: Clocks { opening: bounds.header_timeout, stall: bounds.write_timeout },
            places: Arc::new(Semaphore::new(bounds.connections)),
            meters,
            control,
        }
    }

    /// Takes one connection after the other, as long as there are places. It does not end by itself.
    async fn accept_all(self: &Arc<Self>, socket: &tokio::net::TcpListener) {
        let mut refused = false;
        while let Ok(place) = Arc::clone(&self.places).acquire_owned().await {
            match socket.accept().await {
                Ok((stream, peer)) => {
                    refused = false;
                    self.control.open.spawn(Arc::clone(self).converse(stream, Peer(peer.ip()), place));
                }
                Err(error) if is_of_the_client(&error) => {}
                Err(error) => {
                    self.meters.failed_accepts.increment();
                    // Once is enough: it will be said again every time until a connection is accepted.
                    if !std::mem::replace(&mut refused, true) {
                        tracing::error!(%error, "no connection can be accepted; clients wait");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves one connection to its end.
    async fn converse(self: Arc<Self>, stream: TcpStream, peer: Peer, _place: OwnedSemaphorePermit) {
        // It fails only for a client that has gone.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let _counted = self.meters.connections.hold();
        // Tokens of its own: all connections would else share the locks of two.
        let (closing, cut) = (self.control.closing.child_token(), self.control.cut.child_token());
        let begun = closing.run_until_cancelled(self.http_of(&stream)).await;
        let Some(Some(http)) = begun else { return };
        let io = TokioIo::new(Connection::new(stream, self.clocks));
        let app = self.app.clone().map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            request
        });
        let mut connection = pin!(http.serve_connection(io, TowerToHyperService::new(app)));
        let ended = async {
            if closing.run_until_cancelled(connection.as_mut()).await.is_none() {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
        };
        // How a connection ends is the client's own affair; how a call ends is logged where calls are.
        cut.run_until_cancelled(ended).await;
    }

    /// Waits for the first bytes, and tells what they begin; `None` if none come in time. To find out whether it is HTTP/2, the
    /// builder for both would read the preface alone, and then need a second buffer for the rest of an HTTP/1 request.
    async fn http_of(&self, stream: &TcpStream) -> Option<&Builder<StreamTasks>> {
        let mut first = [0; HTTP2_PREFACE.len()];
        let length = timeout(self.clocks.opening, stream.peek(&mut first)).await.ok()?.ok()?;
        let may_be_http2 = first.get(..length).is_some_and(|first| HTTP2_PREFACE.starts_with(first));
        Some(if may_be_http2 { &self.http } else { &self.http1 })
    }
}

/// Whether accepting failed because the client has gone already.
fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

fn bound<E>(builder: &mut Builder<E>, bounds: Bounds) {
    let header_limit = bounds.header_limit.max(MIN_HEADER_BYTES);
    // Without a timer the header timeout is inert.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.header_timeout)
        .max_buf_size(header_limit);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(header_limit).unwrap_or(u32::MAX))
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use bytes::Bytes;
    use futures_util::stream;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_millis(200);
    const PATIENCE: Duration = Duration::from_secs(20);
    const MAX_CONNECTIONS: usize = 4;
    const GET: &[u8] = b"GET /silent HTTP/1.1\r\nhost: localhost\r\n\r\n";

    struct Served {
        address: SocketAddr,
        control: Control,
        meters: ServeMeters,
        task: JoinSet<io::Result<()>>,
    }

    impl Served {
        fn start() -> Self {
            let meters = ServeMeters::default();
            let bounds = Bounds {
                header_timeout: SOON,
                header_limit: MIN_HEADER_BYTES,
                write_timeout: SOON,
                connections: MAX_CONNECTIONS,
            };
            let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), bounds, meters.clone()).unwrap();
            let (address, control) = (listener.address(), listener.control());
            let piece = || Ok::<_, io::Error>(Bytes::from_static(&[0; 65536]));
            let app = Router::new()
                .route(
                    "/silent",
                    get(|| async { Body::from_stream(stream::pending::<Result<Bytes, io::Error>>()) }),
                )
                .route("/flood", get(move || async move { Body::from_stream(stream::repeat_with(piece)) }));
            let mut task = JoinSet::new();
            task.spawn(listener.serve(app));
            Self { address, control, meters, task }
        }

        async fn send(&self, bytes: &[u8]) -> TcpStream {
            let mut client = TcpStream::connect(self.address).await.unwrap();
            client.write_all(bytes).await.unwrap();
            client
        }

        async fn ended(&mut self) {
            timeout(PATIENCE, self.task.join_next()).await.unwrap().unwrap().unwrap().unwrap();
        }
    }

    async fn head(client: &mut TcpStream) -> String {
        let mut head = vec![0; 12];
        timeout(PATIENCE, client.read_exact(&mut head)).await.unwrap().unwrap();
        String::from_utf8(head).unwrap()
    }

    #[tokio::test]
    async fn port_zero_becomes_a_real_port() {
        assert_ne!(Served::start().address.port(), 0);
    }

    #[tokio::test]
    async fn a_request_that_is_never_finished_is_cut_off() {
        let served = Served::start();
        let openings: [&[u8]; 5] = [
            b"",
            b"P",
            b"PRI * HTTP/2.0\r\n",
            b"GET / HT",
            b"GET /silent HTTP/1.1\r\nhost: localhost\r\nx: ",
        ];
        for opening in openings {
            let mut client = served.send(opening).await;
            let mut rest = Vec::new();
            let ended = timeout(PATIENCE, client.read_to_end(&mut rest)).await;
            assert!(ended.is_ok(), "{opening:?} stays open");
        }
    }

    #[tokio::test]
    async fn headers_above_the_limit_are_refused() {
        let served = Served::start();
        let long = format!(
            "GET /silent HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n",
            "a".repeat(2 * MIN_HEADER_BYTES)
        );
        assert_eq!(head(&mut served.send(long.as_bytes()).await).await, "HTTP/1.1 431");
    }

    #[tokio::test]
    async fn a_reader_may_be_silent_but_one_that_takes_nothing_is_cut_off() {
        let served = Served::start();
        let mut silent = served.send(GET).await;
        assert_eq!(head(&mut silent).await, "HTTP/1.1 200");
        let mut stalled = served.send(b"GET /flood HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        assert_eq!(head(&mut stalled).await, "HTTP/1.1 200");
        let one_left = async {
            while served.meters.connections.get() != 1 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, one_left).await.unwrap();
        // A flood that was not cut off would have no end.
        let ended = timeout(PATIENCE, stalled.read_to_end(&mut Vec::new())).await;
        assert!(ended.is_ok(), "the silent reader was cut off instead");
        drop(silent);
    }

    #[tokio::test]
    async fn a_close_waits_for_open_calls_and_a_stop_does_not() {
        let mut served = Served::start();
        let mut client = served.send(GET).await;
        assert_eq!(head(&mut client).await, "HTTP/1.1 200");
        served.control.close();
        assert!(timeout(SOON, served.task.join_next()).await.is_err(), "the open call goes on");
        assert!(TcpStream::connect(served.address).await.is_err(), "nothing is accepted any more");
        served.control.stop();
        served.ended().await;
    }

    #[tokio::test]
    async fn a_close_ends_connections_without_a_call() {
        let mut served = Served::start();
        let mut client = served.send(b"GET /none HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        assert_eq!(head(&mut client).await, "HTTP/1.1 404");
        served.control.close();
        served.ended().await;
    }

    #[tokio::test]
    async fn connections_beyond_the_bound_wait_for_a_place() {
        let served = Served::start();
        let mut open = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            let mut client = served.send(GET).await;
            assert_eq!(head(&mut client).await, "HTTP/1.1 200");
            open.push(client);
        }
        let mut waiting = served.send(GET).await;
        assert!(timeout(SOON, waiting.read_u8()).await.is_err(), "it waits");
        drop(open.pop());
        assert_eq!(head(&mut waiting).await, "HTTP/1.1 200");
    }
}
