//! What a shutdown of the real binary refuses, lets go on and sends away.

use nix::sys::signal::Signal;
use serde_json::json;
use tidemark_proto::v1::ResumeRequest;

use crate::common::rest::Client;
use crate::common::scripted::{Act, Scripted};
use crate::common::server::{How, Server};
use crate::h2c::{Connection, whole};
use crate::{in_time, until};

const ADMIN: How = How { prefix: None, admin: true };

/// Twelve events a second apart.
fn slow() -> serde_json::Value {
    json!({"model": "demo-long", "input": "go", "background": true, "metadata": {"demo.rate": "4", "demo.events": "12"}})
}

async fn ready(server: &Server) -> (u16, String) {
    let reply = Client::new(&server.admin_url()).get("/health/ready").send().await.unwrap();
    (reply.status().as_u16(), reply.text().await.unwrap())
}

async fn draining(server: &Server) {
    server.signal(Signal::SIGTERM);
    until("draining", async || (ready(server).await == (503, "draining\n".to_owned())).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_refuses_what_is_new_and_lets_everything_else_go_on() {
    let mut server = Server::start_as("server.drain = \"60s\"\n", ADMIN);
    let client = Client::new(&server.gateway_url());
    assert_eq!(ready(&server).await, (200, "serving\n".to_owned()));
    let mut watching = Connection::open(&server, 65_535).await;
    // HealthCheckRequest of everything, and the two messages that follow: SERVING, NOT_SERVING.
    let mut health = watching.grpc("/grpc.health.v1.Health/Watch", &()).await;
    let id = client.background(slow()).await;
    let mut stream = client.resume(&id, None).await;
    assert_eq!(stream.frame().await.unwrap().seq(), 0);
    draining(&server).await;
    let mut seen = Vec::new();
    while seen != b"\0\0\0\0\x02\x08\x01\0\0\0\0\x02\x08\x02" {
        seen.extend_from_slice(&in_time("NOT_SERVING", health.body_mut().data()).await.unwrap().unwrap());
    }
    // A new connection is taken, a new response is not.
    let other = Client::new(&server.gateway_url());
    let (status, refused) =
        Client::json(other.post("/v1/responses", &json!({"model": "demo", "input": "x"}))).await;
    assert_eq!((status, &refused["error"]["code"]), (503, &"draining".into()));
    assert_eq!(other.snapshot(&id).await["status"], "in_progress");
    let frames = in_time("the end of a response", stream.rest()).await;
    assert!(frames.last().unwrap().is_done());
    assert_eq!(frames[frames.len() - 2].event.as_deref(), Some("response.completed"));
    assert!(server.wait().success());
    // The connection was told to go, not torn down.
    in_time("the end of an HTTP/2 connection", watching.task).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_what_will_be_tried_again_are_sent_away_to_come_back() {
    let backend = Scripted::start().await.unwrap();
    backend.script("mute", vec![Act::HangForever]);
    let config = format!(
        "[server]\ndrain = \"1s\"\n[runs]\non_restart = \"retry\"\n[[backends]]\nname = \"scripted\"\nkind = \"openai\"\n\
         base_url = \"{}\"\n",
        backend.base_url()
    );
    let mut server = Server::start_as(&config, ADMIN);
    let client = Client::new(&server.gateway_url());
    let id = client.background(json!({"model": "mute", "input": "x"})).await;
    let stream = client.resume(&id, None).await;
    let mut connection = Connection::open(&server, 65_535).await;
    let resume = ResumeRequest { id: id.clone(), ..ResumeRequest::default() };
    let mut resumed = connection.grpc("/tidemark.v1.ResponsesService/Resume", &resume).await;
    draining(&server).await;
    let frames = in_time("the end of a stream", stream.rest()).await;
    assert!(
        !frames.iter().any(crate::common::rest::Frame::is_done),
        "the response has not ended: {frames:?}"
    );
    whole(resumed.body_mut()).await.unwrap();
    let trailers = resumed.body_mut().trailers().await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "14", "{trailers:?}");
    assert!(server.wait().success());
    let asked = backend.asked().len();
    server.restart();
    until("the second try", async || (backend.asked().len() > asked).then_some(())).await;
    let again = Client::new(&server.gateway_url()).snapshot(&id).await;
    assert_eq!(again["status"], "queued", "the second try is as mute as the first: {again}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_without_a_call_do_not_hold_up_a_stop() {
    let mut server = Server::start("server.drain = \"1h\"\n");
    let client = Client::new(&server.gateway_url());
    let (status, _) = Client::json(client.get("/v1/models")).await;
    assert_eq!(status, 200, "reqwest keeps this connection");
    let mut idle = Connection::open(&server, 65_535).await;
    let reply = idle.grpc("/grpc.health.v1.Health/Check", &()).await;
    assert_eq!(reply.status(), 200);
    drop(reply);
    let fresh = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    server.signal(Signal::SIGTERM);
    assert!(server.wait().success());
    in_time("the end of an HTTP/2 connection", idle.task).await.unwrap().unwrap();
    drop(fresh);
}
