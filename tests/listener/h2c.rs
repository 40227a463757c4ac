//! An HTTP/2 client that decides itself what it takes.

use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use http::{Request, Response};
use prost::Message;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::common::server::Server;
use crate::in_time;

/// One connection.
pub(crate) struct Connection {
    pub(crate) requests: SendRequest<Bytes>,
    /// Ends with the connection.
    pub(crate) task: JoinHandle<Result<(), h2::Error>>,
    authority: String,
}

impl Connection {
    /// Opens one whose streams take `window` bytes before they must be let go on.
    pub(crate) async fn open(server: &Server, window: u32) -> Self {
        let socket = TcpStream::connect(server.address()).await.unwrap();
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window).initial_connection_window_size(1 << 24);
        let (requests, connection) = builder.handshake(socket).await.unwrap();
        let task = tokio::spawn(connection);
        Self { requests, task, authority: server.address().to_string() }
    }

    /// A POST of JSON.
    pub(crate) async fn post(&mut self, path: &str, body: &serde_json::Value) -> Response<RecvStream> {
        let request = self.request(path).header("content-type", "application/json").body(()).unwrap();
        self.send(request, Some(body.to_string().into())).await
    }

    /// A gRPC call with one message.
    pub(crate) async fn grpc(&mut self, method: &str, message: &impl Message) -> Response<RecvStream> {
        let mut framed = vec![0];
        framed.extend_from_slice(&u32::try_from(message.encoded_len()).unwrap().to_be_bytes());
        message.encode(&mut framed).unwrap();
        let request = self.grpc_request(method);
        self.send(request, Some(framed.into())).await
    }

    /// A gRPC call whose message never comes.
    pub(crate) async fn grpc_without_message(&mut self, method: &str) -> Response<RecvStream> {
        let request = self.grpc_request(method);
        self.send(request, None).await
    }

    fn grpc_request(&self, method: &str) -> Request<()> {
        self.request(method)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap()
    }

    fn request(&self, path: &str) -> http::request::Builder {
        Request::post(format!("http://{}{path}", self.authority))
    }

    /// Sends a request; without a body it is left unfinished.
    pub(crate) async fn send(&mut self, request: Request<()>, body: Option<Bytes>) -> Response<RecvStream> {
        let mut requests = in_time("room for a stream", self.requests.clone().ready()).await.unwrap();
        let (reply, mut stream) = requests.send_request(request, false).unwrap();
        if let Some(body) = body {
            stream.send_data(body, true).unwrap();
        }
        let reply = in_time("the head of a reply", reply).await.unwrap();
        // The stream must stay open for as long as the test looks at the reply.
        std::mem::forget(stream);
        reply
    }
}

/// Reads a body to its end and takes all of it.
pub(crate) async fn whole(body: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut bytes = Vec::new();
    while let Some(data) = in_time("the next bytes", body.data()).await {
        let data = data?;
        let _ = body.flow_control().release_capacity(data.len());
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// Reads what comes of a body without taking any of it, until it ends.
pub(crate) async fn stalled(body: &mut RecvStream) -> Option<h2::Error> {
    while let Some(data) = in_time("the end of a stalled stream", body.data()).await {
        if let Err(error) = data {
            return Some(error);
        }
    }
    None
}
