//! Limits: of a log, of readers that do not read, of responses that run.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::common::rest::{Client, Frame, Stream, frames_of, text_of};
use crate::common::scripted::{Act, chunk};
use crate::common::server::Server;
use crate::setup::{Stage, ask, demo, paced, until};

/// How much a delta of a flood says, in bytes.
const DELTA_BYTES: usize = 24 << 10;

/// How many deltas a flood has: 7.5 MiB of stream, above what sockets buffer and below the limit of the output.
const DELTAS: usize = 320;

/// How many readers do not read.
const STALLED: usize = 128;

/// What the server may use, in bytes. It needs less than 60 MiB and up to 1.5 MiB for each reader that catches up; a copy of the
/// stream for each one that stalls, less what sockets take, would be 500 MiB.
const MEMORY: u64 = 320 << 20;

/// A backend that says very much and then nothing.
fn flood() -> Vec<Act> {
    let text = "x".repeat(DELTA_BYTES);
    (0..DELTAS).map(|_| chunk(&text)).chain([Act::HangForever]).collect()
}

/// A reader that asks for a stream and leaves what comes in the socket.
struct Stalled(TcpStream);

impl Stalled {
    async fn open(server: &Server, id: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut socket = socket.connect(server.address()).await.unwrap();
        // HTTP/1.0 has no chunks: what follows the headers is the stream.
        let request = format!("GET /v1/responses/{id}?stream=true HTTP/1.0\r\nhost: localhost\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        Self(socket)
    }

    /// Reads all that is still to be had.
    async fn rest(mut self) -> Vec<Frame> {
        let mut bytes = Vec::new();
        // A reset ends it as well.
        let _ = self.0.read_to_end(&mut bytes).await;
        let text = String::from_utf8_lossy(&bytes);
        frames_of(text.split_once("\r\n\r\n").unwrap().1)
    }
}

/// Reads a flood to its last delta.
async fn read_flood(client: &Client, id: &str) -> (Stream, Vec<Frame>) {
    let mut stream = client.resume(id, None).await;
    // created, queued, in_progress, item, part
    let frames = stream.take(5 + DELTAS).await;
    (stream, frames)
}

fn assert_dense(frames: &[Frame], first: u64) {
    for (expected, frame) in (first..).zip(frames) {
        assert_eq!(frame.seq(), expected);
    }
}

/// What was merged leaves numbers out.
fn assert_rises(frames: &[Frame]) {
    assert!(frames.is_sorted_by(|one, next| one.seq() < next.seq()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_7_a_reader_overtaken_by_eviction_is_told_and_never_sees_a_hole() {
    let stage = Stage::set([("m", flood())], "", "[limits]\nbytes_per_response = \"2MiB\"\n").await;
    let id = stage.client.background(ask("m")).await;
    let slow = Stalled::open(&stage.server, &id).await;
    let path = format!("/v1/responses/{id}?stream=true");
    let at_the_end = async || {
        let probe =
            stage.client.get(&format!("{path}&starting_after={}", 5 + DELTAS - 2)).send().await.unwrap();
        (probe.status() == 200).then_some(Stream::from_reply(probe))
    };
    let mut probe = until("the flood is in the log", at_the_end).await;
    probe.take(1).await;

    let frames = slow.rest().await;
    let [seen @ .., error, done] = &frames[..] else { panic!("a stream has an end") };
    assert!(seen.len() < DELTAS && done.is_done() && error.name() == "error", "{error:?}");
    assert_rises(seen);
    let error = error.json();
    assert_eq!((&error["code"], &error["error"]["code"]), (&json!("offset_lost"), &json!("offset_lost")));
    assert_eq!(error["sequence_number"], seen.last().unwrap().seq());

    let reply = stage.client.get(&format!("{path}&starting_after=3")).send().await.unwrap();
    assert_eq!(
        (reply.status().as_u16(), reply.headers()["x-should-retry"].to_str().unwrap()),
        (409, "false")
    );
    assert_eq!(reply.headers()["content-type"], "application/json");
    let error = reply.json::<Value>().await.unwrap()["error"].take();
    assert_eq!((&error["code"], &error["param"]), (&json!("offset_lost"), &json!("starting_after")));
    let number = |field: &str| error[field].as_u64().unwrap();
    assert_eq!((number("earliest"), number("committed")), (number("watermark") + 1, 4 + DELTAS as u64));

    let mut behind =
        Stream::open(stage.client.get(&format!("{path}&starting_after=3&on_gap=earliest"))).await;
    let gap = behind.take(1).await.remove(0);
    assert_eq!(gap.name(), "tidemark:gap");
    assert_eq!((&gap.json()["from"], &gap.json()["to"]), (&json!(4), &json!(number("watermark"))));
    let (_, cancelled) = stage.client.cancel(&id).await;
    let frames = behind.events().await;
    assert_rises(&frames);
    assert!(frames[0].seq() >= number("earliest"));
    assert_eq!(frames.last().unwrap().name(), "response.incomplete");
    let text = text_of(&cancelled);
    assert_eq!(text.len(), DELTAS * DELTA_BYTES, "GET has the whole output");
    assert_eq!(stage.client.snapshot(&id).await, cancelled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_11_readers_that_stall_cost_little_memory_and_are_cut_off() {
    let stage = Stage::set([("m", flood())], "", "[server]\nwrite_timeout = \"2s\"\n").await;
    let id = stage.client.background(ask("m")).await;
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        stalled.push(Stalled::open(&stage.server, &id).await);
    }
    let (_stream, frames) = read_flood(&stage.client, &id).await;
    assert_dense(&frames, 0);
    let cut_off = async || (stage.server.log().matches("whole=false").count() >= STALLED).then_some(());
    until("readers that stall are cut off", cut_off).await;
    let peak = stage.server.peak_memory();
    assert!(peak < MEMORY, "{} MiB", peak >> 20);
    for reader in stalled {
        let frames = reader.rest().await;
        assert_dense(&frames, 0);
        assert!(frames.len() < DELTAS, "what was cut off has no end");
    }
}

#[tokio::test]
async fn what_is_stored_is_bounded_also_after_kill_nine() {
    for (limit, status, code) in
        [("stored = 3", 503, "overloaded"), ("stored_per_owner = 3", 429, "quota_exceeded")]
    {
        let (mut server, mut client) = demo(&format!("[limits]\n{limit}\n"));
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(client.background(paced(3, 0)).await);
        }
        for _ in 0..2 {
            let reply = client.post("/v1/responses", &paced(1, 0)).send().await.unwrap();
            assert_eq!(reply.status(), status, "{limit}");
            let wait: u64 = reply.headers()["retry-after"].to_str().unwrap().parse().unwrap();
            assert!(wait >= 1);
            assert_eq!(reply.json::<Value>().await.unwrap()["error"]["code"], code);
            server.kill();
            server.restart();
            client = Client::new(&server.url());
        }
        let delete = client.request(reqwest::Method::DELETE, &format!("/v1/responses/{}", ids[0]));
        assert_eq!(Client::json(delete).await.0, 200);
        assert_eq!(
            Client::json(client.post("/v1/responses", &paced(1, 0))).await.0,
            200,
            "there is room again"
        );
    }
}

#[tokio::test]
async fn a_gateway_that_is_full_says_when_to_come_again() {
    for (limit, status, code) in
        [("live = 1", 503, "overloaded"), ("live_per_owner = 1", 429, "quota_exceeded")]
    {
        let (_server, client) = demo(&format!("[limits]\n{limit}\n"));
        let id = client.background(paced(1000, 10)).await;
        let reply = client.post("/v1/responses", &paced(1, 0)).send().await.unwrap();
        assert_eq!(reply.status(), status);
        let number = |name: &str| reply.headers()[name].to_str().unwrap().parse::<u64>().unwrap();
        assert!(number("retry-after") >= 1 && number("retry-after-ms") <= number("retry-after") * 1000);
        assert_eq!(reply.json::<Value>().await.unwrap()["error"]["code"], code);
        if status == 429 {
            let (status, _) = Client::json(client.of("other").post("/v1/responses", &paced(1, 0))).await;
            assert_eq!(status, 200, "the limit is the owner's");
        }
        client.cancel(&id).await;
        assert_eq!(Client::json(client.post("/v1/responses", &paced(1, 0))).await.0, 200, "the room is back");
    }
}
