//! A bound socket and the HTTP server on it.
//!
//! It owns the bounds of a connection (D-7) and its end at a shutdown. It must never know what is served.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto::Builder;

use super::io::Acceptor;
use crate::config;

/// Streams that one HTTP/2 connection may have open at once.
pub const MAX_CONCURRENT_STREAMS: u32 = 1024;

/// How often an HTTP/2 client is asked whether it is still there.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// How long it may take to answer that.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// The smallest header limit that the HTTP/1 parser can work with, in bytes.
const MIN_HEADER_BYTES: usize = 8192;

/// What a connection may use.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How long a client may take to send the headers of a request, or anything at all on a new connection.
    pub header_timeout: Duration,
    /// Largest block of request headers, in bytes; at least 8 KiB.
    pub header_limit: usize,
    /// How long a client may take nothing of what is sent to it.
    pub write_timeout: Duration,
}

impl From<&config::Server> for Bounds {
    fn from(server: &config::Server) -> Self {
        Self {
            header_timeout: server.header_timeout,
            header_limit: server.header_limit.as_usize(),
            write_timeout: server.write_timeout,
        }
    }
}

/// A socket that is bound but not served yet: clients that connect wait.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    bounds: Bounds,
    handle: Handle<SocketAddr>,
}

impl Listener {
    /// Binds `address`; port 0 = a free one.
    ///
    /// # Errors
    /// The address is in use, not of this machine, or not allowed.
    pub fn bind(address: SocketAddr, bounds: Bounds) -> io::Result<Self> {
        let socket = TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address, bounds, handle: Handle::new() })
    }

    /// The address that is bound, with its real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What ends [`Self::serve`].
    pub fn control(&self) -> Control {
        Control(self.handle.clone())
    }

    /// Serves `app` over HTTP/1.1 and HTTP/2 until [`Control`] ends it. Dropping the future stops accepting; open connections
    /// end with [`Control::stop`].
    ///
    /// # Errors
    /// The socket failed.
    pub async fn serve(self, app: Router) -> io::Result<()> {
        let acceptor = Acceptor { opening: self.bounds.header_timeout, stall: self.bounds.write_timeout };
        let mut server = axum_server::from_tcp(self.socket)?.acceptor(acceptor).handle(self.handle);
        bound(server.http_builder(), self.bounds);
        server.serve(app.into_make_service()).await
    }
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

/// Ends a [`Listener::serve`]; before it has begun as well as after.
#[derive(Clone, Debug)]
pub struct Control(Handle<SocketAddr>);

impl Control {
    /// Stops accepting, lets open calls end, and cuts what is left after `limit`.
    pub fn drain(&self, limit: Duration) {
        self.0.graceful_shutdown(Some(limit));
    }

    /// Stops accepting and cuts every connection now.
    pub fn stop(&self) {
        self.0.shutdown();
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.0.connection_count()
    }
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
    use tokio::time::{Instant, timeout};

    use super::*;

    const SOON: Duration = Duration::from_millis(200);
    const PATIENCE: Duration = Duration::from_secs(20);
    const GET: &[u8] = b"GET /silent HTTP/1.1\r\nhost: localhost\r\n\r\n";

    struct Served {
        address: SocketAddr,
        control: Control,
        task: JoinSet<io::Result<()>>,
    }

    impl Served {
        fn start() -> Self {
            let bounds = Bounds { header_timeout: SOON, header_limit: MIN_HEADER_BYTES, write_timeout: SOON };
            let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), bounds).unwrap();
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
            Self { address, control, task }
        }

        async fn send(&self, bytes: &[u8]) -> TcpStream {
            let mut client = TcpStream::connect(self.address).await.unwrap();
            client.write_all(bytes).await.unwrap();
            client
        }

        async fn ended(&mut self) -> Duration {
            let begun = Instant::now();
            timeout(PATIENCE, self.task.join_next()).await.unwrap().unwrap().unwrap().unwrap();
            begun.elapsed()
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
            while served.control.connections() != 1 {
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
    async fn a_drain_waits_for_open_streams_but_not_for_ever() {
        let mut served = Served::start();
        let mut client = served.send(GET).await;
        assert_eq!(head(&mut client).await, "HTTP/1.1 200");
        served.control.drain(SOON);
        let took = served.ended().await;
        assert!(took >= SOON && took < PATIENCE / 2, "{took:?}");
        assert!(TcpStream::connect(served.address).await.is_err(), "nothing is accepted any more");
    }

    #[tokio::test]
    async fn a_stop_waits_for_nothing() {
        let mut served = Served::start();
        let mut client = served.send(GET).await;
        assert_eq!(head(&mut client).await, "HTTP/1.1 200");
        served.control.drain(Duration::from_secs(3600));
        served.control.stop();
        assert!(served.ended().await < PATIENCE / 2);
    }
}
