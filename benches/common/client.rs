//! A client that costs little: it looks for one marker in a stream and reads the numbers behind it.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use memchr::memmem::Finder;

/// The longest text that is looked for: longer than a marker and its numbers.
const MAX_VALUE_BYTES: usize = 128;

/// What every whole stream ends with.
const DONE: &[u8] = b"data: [DONE]\n\n";

/// Asks a server for streams. Clones share its connections.
#[derive(Clone)]
pub(crate) struct Client {
    http: hyper_util::client::legacy::Client<HttpConnector, Full<Bytes>>,
    url: String,
    marker: &'static str,
}

impl Client {
    /// A client of `POST path`, which looks for `marker`.
    pub(crate) fn new(address: SocketAddr, path: &str, marker: &'static str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
        Self { http, url: format!("http://{address}{path}"), marker }
    }

    /// Reads one stream to its end. `seen` gets the digits and spaces behind each marker.
    ///
    /// # Errors
    /// What was wrong with the answer, or with its end.
    pub(crate) async fn read(&self, body: String, mut seen: impl FnMut(&str)) -> Result<(), String> {
        let request = Request::post(&self.url)
            .header("content-type", "application/json")
            .body(Full::from(body))
            .map_err(|error| error.to_string())?;
        let reply = self.http.request(request).await.map_err(|error| format!("{error:?}"))?;
        let status = reply.status();
        let mut body = reply.into_body();
        let mut scanner = Scanner { finder: Finder::new(self.marker), rest: Vec::new() };
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| error.to_string())?;
            if let Some(bytes) = frame.data_ref() {
                scanner.scan(bytes, &mut seen);
            }
        }
        if status.is_success() && scanner.rest.ends_with(DONE) {
            return Ok(());
        }
        Err(format!("{status}, and the end is {}", String::from_utf8_lossy(&scanner.rest)))
    }
}

struct Scanner {
    finder: Finder<'static>,
    /// The end of what has come: a marker in there may not be whole.
    rest: Vec<u8>,
}

impl Scanner {
    fn scan(&mut self, bytes: &[u8], seen: &mut impl FnMut(&str)) {
        self.rest.extend_from_slice(bytes);
        let mut read = 0;
        while let Some(at) = self.finder.find(&self.rest[read..]) {
            let value = &self.rest[read + at + self.finder.needle().len()..];
            let length = value.iter().position(|byte| !byte.is_ascii_digit() && *byte != b' ');
            let Some(length) = length else { break };
            seen(str::from_utf8(&value[..length]).unwrap());
            read += at + self.finder.needle().len() + length;
        }
        self.rest.drain(..read.max(self.rest.len().saturating_sub(MAX_VALUE_BYTES)));
    }
}
