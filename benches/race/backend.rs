//! The scripted model server that all contenders stand in front of: chat completions over bare sockets, as cheap as can be.
//!
//! The name of the model is the script ([`Script`]). Each delta says its number and the time at which it was sent.

use std::time::Duration;

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};

use crate::now_nanos;

/// Events that a server which does not pace itself sends at once, as one HTTP chunk.
const BATCH: u64 = 64;

const HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

const END: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

/// What a stream does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Script {
    /// Events per second; 0 = as fast as they are taken.
    pub(crate) rate: u32,
    pub(crate) events: u64,
    /// How long the stream stays open after its last delta.
    pub(crate) linger_seconds: u64,
}

impl Script {
    /// The name of the model that plays this.
    pub(crate) fn model(self) -> String {
        format!("race {} {} {}", self.rate, self.events, self.linger_seconds)
    }

    /// The script that a request asks for.
    fn asked(request: &[u8]) -> Option<Self> {
        let at = memmem::find(request, b"\"race ")? + b"\"race ".len();
        let name = request.get(at..)?.split(|byte| *byte == b'"').next()?;
        let mut numbers = str::from_utf8(name).ok()?.split(' ');
        Some(Self {
            rate: numbers.next()?.parse().ok()?,
            events: numbers.next()?.parse().ok()?,
            linger_seconds: numbers.next()?.parse().ok()?,
        })
    }
}

/// Serves for ever.
pub(crate) async fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("listening on http://{}", listener.local_addr().unwrap());
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        connection.set_nodelay(true).unwrap();
        // A client that goes away ends its connection; nobody need know.
        tokio::spawn(async move { converse(connection).await.ok() });
    }
}

async fn converse(mut connection: TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    loop {
        let length = loop {
            if let Some(length) = request_length(&request) {
                break length;
            }
            if connection.read_buf(&mut request).await? == 0 {
                return Ok(());
            }
        };
        let script = Script::asked(&request[..length]).unwrap();
        request.drain(..length);
        play(&mut connection, script).await?;
    }
}

/// The length of the first request, once all of it is there.
fn request_length(bytes: &[u8]) -> Option<usize> {
    let head = memmem::find(bytes, b"\r\n\r\n")? + 4;
    let text = str::from_utf8(&bytes[..head]).unwrap().to_ascii_lowercase();
    let (_, rest) = text.split_once("content-length:").unwrap();
    let body: usize = rest.split("\r\n").next().unwrap().trim().parse().unwrap();
    (bytes.len() >= head + body).then_some(head + body)
}

async fn play(connection: &mut TcpStream, script: Script) -> std::io::Result<()> {
    let Script { rate, events, linger_seconds } = script;
    connection.write_all(HEAD).await?;
    let start = Instant::now();
    let due = |number: u64| start + Duration::from_secs_f64(number as f64 / f64::from(rate));
    let mut next = 0;
    while next < events {
        let end = if rate == 0 {
            next + BATCH
        } else {
            sleep_until(due(next)).await;
            // Who comes late sends all that is due.
            (start.elapsed().as_secs_f64() * f64::from(rate)) as u64 + 1
        };
        let deltas: String = (next..end.min(events)).map(delta).collect();
        connection.write_all(&chunk(&deltas)).await?;
        next = end.max(next + 1);
    }
    tokio::time::sleep(Duration::from_secs(linger_seconds)).await;
    connection.write_all(&chunk(END)).await?;
    connection.write_all(b"0\r\n\r\n").await
}

fn delta(number: u64) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-race\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"race\",\
         \"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{number} {}\"}},\"finish_reason\":null}}]}}\n\n",
        now_nanos()
    )
}

fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}
