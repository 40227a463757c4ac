//! Many connections: as many as there are descriptors for, and more.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::common::rest::Client;
use crate::common::server::{How, Server, patience};
use crate::{figures, in_time};

/// How many readers there are in the deep test.
const READERS: usize = 10_000;

/// What one idle reader may cost, in KiB of resident memory: measured 30 to 40 with a debug build.
const MAX_KIB_PER_READER: usize = 100;

/// Processor time of a process so far, in ticks of 10 ms.
fn ticks(server: &Server) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn resident_kib(server: &Server) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn limit_files(pid: u32, limit: &str) {
    let set =
        Command::new("prlimit").args(["--pid", &pid.to_string(), &format!("--nofile={limit}")]).status();
    assert!(set.unwrap().success());
}

/// A GET of the models on a connection that stays open, as far as its status line.
async fn ask(server: &Server) -> BufReader<TcpStream> {
    let mut socket = TcpStream::connect(server.address()).await.unwrap();
    socket.write_all(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    BufReader::new(socket)
}

async fn served(socket: &mut BufReader<TcpStream>) {
    let mut line = String::new();
    in_time("an answer", socket.read_line(&mut line)).await.unwrap();
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
}

/// Whether nothing comes for a second.
async fn waits(socket: &mut BufReader<TcpStream>) -> bool {
    tokio::time::timeout(Duration::from_secs(1), socket.fill_buf()).await.is_err()
}

#[tokio::test]
async fn more_clients_than_descriptors_wait_and_the_store_still_has_its_own() {
    let server = Server::start_as("", How { prefix: Some("ulimit -n 256"), ..How::default() });
    let client = Client::new(&server.gateway_url());
    let (status, _) = Client::json(client.get("/v1/models")).await;
    assert_eq!(status, 200);
    let mut crowd = Vec::new();
    for _ in 0..300 {
        crowd.push(ask(&server).await);
    }
    for socket in &mut crowd[..180] {
        served(socket).await;
    }
    assert!(waits(crowd.last_mut().unwrap()).await, "the last one waits");
    // Input above 64 KiB goes to a file of its own: the connections have left room for it.
    let body = json!({"model": "demo", "input": "x ".repeat(50_000), "metadata": {"demo.events": "5"}});
    let (status, reply) = Client::json(client.post("/v1/responses", &body)).await;
    assert_eq!(status, 200, "{reply}");
    let mut last = crowd.pop().unwrap();
    drop(crowd);
    served(&mut last).await;
}

#[tokio::test]
async fn accepting_survives_that_there_is_no_descriptor_at_all() {
    let server = Server::start_as("", How { admin: false, prefix: Some("ulimit -n 256") });
    served(&mut ask(&server).await).await;
    // Below what it has open already: nothing can be accepted from now on.
    limit_files(server.pid(), "5:256");
    let mut waiting = Vec::new();
    for _ in 0..20 {
        waiting.push(ask(&server).await);
    }
    let before = ticks(&server);
    assert!(waits(&mut waiting[0]).await);
    let spent = ticks(&server) - before;
    assert!(spent < 50, "{spent} ticks in a second: it spins");
    limit_files(server.pid(), "256:256");
    for socket in &mut waiting {
        served(socket).await;
    }
    let log = server.log();
    assert_eq!(log.matches("no connection can be accepted").count(), 1, "said once: {log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "opens 10 000 connections: tests/deep"]
async fn ten_thousand_readers_each_get_the_end_and_cost_little() {
    limit_files(std::process::id(), "20000:20000");
    let server = Server::start_as(
        "server.write_timeout = \"10m\"\n",
        How { admin: true, prefix: Some("ulimit -n 20000") },
    );
    let client = Client::new(&server.gateway_url());
    let metadata = json!({"demo.rate": "1", "demo.events": "8000"});
    let id = client.background(json!({"model": "demo-long", "input": "go", "metadata": metadata})).await;
    let before = resident_kib(&server);
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        let mut socket = TcpStream::connect(server.address()).await.unwrap();
        let request = format!("GET /v1/responses/{id}?stream=true HTTP/1.1\r\nhost: localhost\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        // The head of the reply: the reader is attached.
        let mut head = [0; 12];
        socket.read_exact(&mut head).await.unwrap();
        readers.spawn(async move {
            let mut tail = Vec::new();
            let mut piece = vec![0; 16 << 10];
            loop {
                let read = socket.read(&mut piece).await.unwrap();
                tail.extend_from_slice(&piece[..read]);
                tail.drain(..tail.len().saturating_sub(64));
                if tail.windows(12).any(|text| text == b"data: [DONE]") || read == 0 {
                    return read > 0;
                }
            }
        });
    }
    assert_eq!(figures::value(&server, "tidemark_readers").await, READERS as f64);
    let now = resident_kib(&server);
    let each = (now - before) / READERS;
    println!("{READERS} readers: {before} KiB before, {now} KiB now, {each} KiB each");
    let begun = tokio::time::Instant::now();
    assert_eq!(client.cancel(&id).await.0, 200);
    let mut ended = 0;
    while let Some(whole) = tokio::time::timeout(patience() * 3, readers.join_next()).await.unwrap() {
        ended += usize::from(whole.unwrap());
    }
    println!("all had the terminal event after {:?}", begun.elapsed());
    assert_eq!(ended, READERS);
    assert!(each < MAX_KIB_PER_READER, "{each} KiB each");
}
