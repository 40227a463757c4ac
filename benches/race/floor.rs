//! The floors: the least that a gateway can do, over hyper on both sides.
//!
//! `floor-pass` looks at nothing. `floor-durable` takes the stream apart into events, parses the JSON of each, and makes them
//! durable in a plain file, one sync for all that is pending, before it passes them on; it has no index and no recovery.

use std::path::Path;

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, stream};
use http::{Request, Response, Uri, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use memchr::memmem;
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::plain_file::PlainFile;

/// `floor-durable` takes no more of a stream at once than what passes this.
const MAX_BATCH_BYTES: usize = 64 << 10;

type Reply = Response<UnsyncBoxBody<Bytes, hyper::Error>>;

/// What `floor-durable` reads of a chunk.
#[derive(Deserialize)]
struct Chunk {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    delta: Delta,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
}

/// Serves for ever, in front of `backend`; with a directory as `floor-durable`, else as `floor-pass`.
pub(crate) async fn serve(backend: String, dir: Option<&Path>) {
    let file = dir.map(PlainFile::create);
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("listening on http://{}", listener.local_addr().unwrap());
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        connection.set_nodelay(true).unwrap();
        let (client, backend, file) = (client.clone(), backend.clone(), file.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let (client, file) = (client.clone(), file.clone());
                let uri = format!("http://{backend}{}", request.uri().path());
                forward(client, uri.parse().unwrap(), request, file)
            });
            // A client that goes away ends its connection; nobody need know.
            http1::Builder::new().serve_connection(TokioIo::new(connection), service).await.ok()
        });
    }
}

async fn forward(
    client: Client<HttpConnector, Incoming>,
    uri: Uri,
    mut request: Request<Incoming>,
    file: Option<PlainFile>,
) -> Result<Reply, hyper_util::client::legacy::Error> {
    *request.uri_mut() = uri;
    request.headers_mut().remove(header::HOST);
    let (mut head, body) = client.request(request).await?.into_parts();
    head.headers.remove(header::TRANSFER_ENCODING);
    let body = match file {
        Some(file) => durable(body, file),
        None => body.boxed_unsync(),
    };
    Ok(Response::from_parts(head, body))
}

fn durable(body: Incoming, file: PlainFile) -> UnsyncBoxBody<Bytes, hyper::Error> {
    let frames = stream::try_unfold((body, BytesMut::new(), file), async |(mut body, mut rest, file)| {
        while let Some(first) = body.frame().await {
            rest.extend_from_slice(first?.data_ref().unwrap());
            // What has come together goes together.
            while rest.len() < MAX_BATCH_BYTES
                && let Some(Some(more)) = body.frame().now_or_never()
            {
                rest.extend_from_slice(more?.data_ref().unwrap());
            }
            let Some(last) = memmem::rfind(&rest, b"\n\n") else { continue };
            let events = rest.split_to(last + 2).freeze();
            parse(&events);
            file.append(events.clone()).await;
            return Ok(Some((Frame::data(events), (body, rest, file))));
        }
        Ok(None)
    });
    StreamBody::new(frames).boxed_unsync()
}

fn parse(events: &[u8]) {
    let mut start = 0;
    for end in memmem::find_iter(events, b"\n\n") {
        let data = events[start..end].strip_prefix(b"data: ").unwrap();
        if data != b"[DONE]" {
            let chunk: Chunk = serde_json::from_slice(data).unwrap();
            std::hint::black_box(chunk.choices.into_iter().next().and_then(|choice| choice.delta.content));
        }
        start = end + 2;
    }
}
