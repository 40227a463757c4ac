//! Requests that are too slow or too large.

use serde_json::{Value, json};
use tidemark_proto::v1::GetRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::rest::Client;
use crate::common::server::{How, Server};
use crate::h2c::Connection;
use crate::{figures, in_time};

const CONFIG: &str = "[server]\nheader_timeout = \"2s\"\nheader_limit = \"8KiB\"\nbody_limit = \"64KiB\"\n";

async fn send(server: &Server, bytes: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(server.address()).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    socket
}

/// All that comes until the server closes.
async fn rest(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end too: what the client still sent was not read.
    let _ = in_time("the end of a connection", socket.read_to_end(&mut bytes)).await;
    String::from_utf8(bytes).unwrap()
}

fn post(length: usize) -> String {
    format!(
        "POST /v1/responses HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
}

#[tokio::test]
async fn a_body_that_stops_or_drips_is_refused_in_time() {
    let server = Server::start_as(CONFIG, How { admin: true, ..How::default() });
    let mut stopped = send(&server, format!("{}{{\"model\"", post(100)).as_bytes()).await;
    let reply = rest(&mut stopped).await;
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 408 "), "{reply}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["error"]["code"], "request_timeout");

    let mut dripping = send(&server, post(10_000).as_bytes()).await;
    let drip = async {
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            if dripping.write_all(b" ").await.is_err() {
                return;
            }
        }
    };
    in_time("the end of a drip", drip).await;

    let mut connection = Connection::open(&server, 65_535).await;
    let reply = connection.grpc_without_message("/tidemark.v1.ResponsesService/Get").await;
    assert_eq!(reply.headers()["grpc-status"], "4", "{reply:?}");
    assert_eq!(figures::value(&server, "tidemark_slow_bodies_total").await, 3.0);
}

#[tokio::test]
async fn headers_must_come_in_time_and_be_of_a_certain_size() {
    let server = Server::start(CONFIG);
    for opening in ["", "GET /v1/mod", "GET /v1/models HTTP/1.1\r\nhost: localhost\r\nx: "] {
        assert_eq!(rest(&mut send(&server, opening.as_bytes()).await).await, "", "{opening:?}");
    }
    let long = format!("GET /v1/models HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "a".repeat(16 << 10));
    assert!(rest(&mut send(&server, long.as_bytes()).await).await.starts_with("HTTP/1.1 431 "));
    let mut connection = Connection::open(&server, 65_535).await;
    let request = http::Request::get(format!("{}/v1/models", server.gateway_url()));
    let request = request.header("x", "a".repeat(16 << 10)).body(()).unwrap();
    assert_eq!(connection.send(request, Some("".into())).await.status(), 431);
    let unknown = GetRequest { id: "resp_none".to_owned(), ..Default::default() };
    let reply = connection.grpc("/tidemark.v1.ResponsesService/Get", &unknown).await;
    assert_eq!(reply.headers()["grpc-status"], "5", "the connection goes on");
    assert_eq!(connection.requests.current_max_send_streams(), 1024);
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused() {
    let server = Server::start(CONFIG);
    let body = json!({"model": "demo", "input": "x".repeat(64 << 10)});
    let (status, reply) = Client::json(Client::new(&server.gateway_url()).post("/v1/responses", &body)).await;
    assert_eq!((status, &reply["error"]["code"]), (413, &"payload_too_large".into()));
}

#[tokio::test]
#[ignore = "waits for two periods of the keepalive, 40 s: tests/deep"]
async fn an_http2_client_that_does_not_answer_pings_is_cut_off() {
    let server = Server::start("");
    // A preface and empty settings, and nothing ever after.
    let mut silent = send(&server, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    let mut bytes = Vec::new();
    in_time("the end of a dead connection", silent.read_to_end(&mut bytes)).await.unwrap();
}
