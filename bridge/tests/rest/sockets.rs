//! What only a real connection shows: bodies that are too large, peers that vanish.

use axum::Router;
use http_body_util::BodyExt as _;
use tidemark_bridge::{Clients, Options, router};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::fake::{Fake, ID, Script, Step, event};
use crate::http::{get, send};

/// Serves `router` on a socket; a connection to it, and the task that serves.
async fn connect(router: Router) -> (TcpStream, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (TcpStream::connect(address).await.unwrap(), tasks)
}

async fn read_until(connection: &mut TcpStream, end: &str) -> String {
    let mut got = Vec::new();
    while !got.ends_with(end.as_bytes()) {
        assert_ne!(connection.read_buf(&mut got).await.unwrap(), 0, "{}", String::from_utf8_lossy(&got));
    }
    String::from_utf8(got).unwrap()
}

fn head(length: &str) -> String {
    format!("POST /v1/responses HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{length}\r\n\r\n")
}

const TOO_LARGE: &str = "{\"error\":{\"message\":\"the body is larger than 16777216 bytes\",\
     \"type\":\"invalid_request_error\",\"param\":null,\"code\":\"payload_too_large\"}}";

#[tokio::test]
async fn a_body_of_17_mib_is_413_for_a_client_that_writes_it_all_first() {
    let fake = Fake::new(Script::default());
    for declared in [true, false] {
        let (mut connection, _server) = connect(fake.local()).await;
        let size = 17 << 20;
        let mut request = Vec::new();
        if declared {
            request.extend_from_slice(head(&format!("content-length: {size}")).as_bytes());
            request.resize(request.len() + size, b'a');
        } else {
            request.extend_from_slice(head("transfer-encoding: chunked").as_bytes());
            request.extend_from_slice(format!("{size:x}\r\n").as_bytes());
            request.resize(request.len() + size, b'a');
            request.extend_from_slice(b"\r\n0\r\n\r\n");
        }
        connection.write_all(&request).await.unwrap();
        let reply = read_until(&mut connection, "}}").await;
        assert!(reply.starts_with("HTTP/1.1 413 Payload Too Large\r\n"), "{reply}");
        assert!(reply.ends_with(TOO_LARGE), "{reply}");
    }
    assert_eq!(fake.asked(), []);
}

#[tokio::test]
async fn a_client_that_asks_first_need_not_send_a_body_that_is_too_large() {
    let (mut connection, _server) = connect(Fake::new(Script::default()).local()).await;
    let request = head("content-length: 17825792\r\nexpect: 100-continue");
    connection.write_all(request.as_bytes()).await.unwrap();
    let reply = read_until(&mut connection, TOO_LARGE).await;
    assert!(reply.starts_with("HTTP/1.1 413 Payload Too Large\r\n"), "{reply}");
}

#[tokio::test]
async fn a_client_that_hangs_up_ends_the_call() {
    let fake = Fake::streaming(vec![Step::Events(vec![event(0, "a")]), Step::Hang]);
    let (mut connection, _server) = connect(fake.local()).await;
    let request = format!("GET /v1/responses/{ID}?stream=true HTTP/1.1\r\nhost: x\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut connection, "event: a\ndata: {\"n\":0}\n\n\r\n").await;
    fake.until_open(1).await;
    drop(connection);
    fake.until_open(0).await;
}

#[tokio::test]
async fn a_gateway_that_vanishes_in_mid_stream_ends_it_without_done() {
    let fake = Fake::streaming(vec![Step::Events(vec![event(0, "a")]), Step::Hang]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    // A runtime of its own: stopping it cuts every connection of the gateway at once.
    let gateway = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut tasks = JoinSet::new();
    let served = fake.clone();
    tasks.spawn_on(
        async move { served.serve(TcpListener::from_std(listener).unwrap()).await },
        gateway.handle(),
    );
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    let bridge = router(Clients::new(channel), Options::default());

    let reply = send(&bridge, get(&format!("/v1/responses/{ID}?stream=true"))).await;
    let mut body = reply.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "event: a\ndata: {\"n\":0}\n\n");
    gateway.shutdown_background();
    assert!(body.frame().await.is_none());
}
