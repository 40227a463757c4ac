//! `kill -9` of the real binary in mid-stream, against a model of what its clients saw (check 1 of the seeds' annex 3, D-16, D-23).
//!
//! Every round streams to many readers, kills the server at a random moment and starts it again. Then every event that any client
//! ever got must be there with its number and its bytes, numbers must be dense, and every response must have ended with one
//! terminal event. `TIDEMARK_ROUNDS` sets the number of rounds, `TIDEMARK_SEED` repeats one run.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests"
)]

#[path = "../common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::rest::{Client, Frame, text_of};
use common::server::Server;
use serde_json::json;

/// How many responses stream at once.
const STREAMS: usize = 24;

/// What clients saw: the data of each event, by response and seq.
type Seen = Arc<Mutex<BTreeMap<String, BTreeMap<u64, String>>>>;

fn rounds() -> usize {
    std::env::var("TIDEMARK_ROUNDS").ok().map_or(20, |rounds| rounds.parse().unwrap())
}

/// Small deterministic numbers from a seed (xorshift).
struct Random(u64);

impl Random {
    fn seeded() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = std::env::var("TIDEMARK_SEED").ok().map_or(now | 1, |seed| seed.parse().unwrap());
        println!("TIDEMARK_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_a_client_saw_is_lost_to_kill_nine_with_sync() {
    run("sync").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_a_client_saw_is_lost_to_kill_nine_with_os() {
    run("os").await;
}

async fn run(durability: &str) {
    let mut random = Random::seeded();
    let mut server = Server::start(&format!("[server]\ndurability = \"{durability}\"\n"));
    let seen = Seen::default();
    let mut ended: BTreeMap<String, String> = BTreeMap::new();
    let rounds = rounds() / 2;
    for round in 0..rounds.max(1) {
        let readers: Vec<_> = (0..STREAMS)
            .map(|n| tokio::spawn(stream(Client::new(&server.url()), n, Arc::clone(&seen))))
            .collect();
        tokio::time::sleep(Duration::from_millis(20 + random.below(900))).await;
        server.kill();
        for reader in readers {
            reader.await.unwrap();
        }
        server.restart();
        check(&Client::new(&server.url()), &seen, &mut ended).await;
        println!("{durability} round {}: {} responses whole", round + 1, ended.len());
    }
    let events: usize = seen.lock().unwrap().values().map(BTreeMap::len).sum();
    assert!(
        events > rounds * STREAMS,
        "only {events} events were seen: the kills came too early to prove anything"
    );
}

/// Reads one response until it ends or the server dies; every third one is dropped and resumed on the way.
async fn stream(client: Client, n: usize, seen: Seen) {
    let body = json!({
        "model": "demo-long", "input": "go", "stream": true, "background": n.is_multiple_of(2),
        "metadata": {"demo.rate": (100 * (1 + n % 5)).to_string(), "demo.events": "400"},
    });
    let Ok(reply) = client.post("/v1/responses", &body).send().await else { return };
    let Some(id) = reply.headers().get("x-tidemark-response-id") else { return };
    let id = id.to_str().unwrap().to_owned();
    let mut stream = common::rest::Stream::from_reply(reply);
    let mut last;
    let mut count = 0;
    while let Some(frame) = stream.frame().await {
        if frame.is_done() {
            return;
        }
        last = note(&seen, &id, &frame);
        count += 1;
        if n.is_multiple_of(3) && count % 20 == 0 {
            let path = format!("/v1/responses/{id}?stream=true&starting_after={last}");
            let Ok(reply) = client.get(&path).send().await else { return };
            stream = common::rest::Stream::from_reply(reply);
        }
    }
}

fn note(seen: &Seen, id: &str, frame: &Frame) -> u64 {
    let seq = frame.seq();
    let before = seen.lock().unwrap().entry(id.to_owned()).or_default().insert(seq, frame.data.clone());
    assert!(before.is_none_or(|before| before == frame.data), "event {seq} of {id} changed");
    seq
}

async fn check(client: &Client, seen: &Seen, ended: &mut BTreeMap<String, String>) {
    let known: Vec<(String, BTreeMap<u64, String>)> = {
        let seen = seen.lock().unwrap();
        seen.iter().map(|(id, events)| (id.clone(), events.clone())).collect()
    };
    for (id, events) in known {
        let frames = client.resume(&id, None).await.rest().await;
        assert!(frames.last().is_some_and(Frame::is_done), "{id} has no end");
        let frames = &frames[..frames.len() - 1];
        for (expected, frame) in frames.iter().enumerate() {
            assert_eq!(frame.seq(), expected as u64, "{id} has a hole");
        }
        for (seq, data) in &events {
            let found = frames.get(usize::try_from(*seq).unwrap()).map(|frame| &frame.data);
            assert_eq!(found, Some(data), "event {seq} of {id} is gone or changed");
        }
        let terminal = |frame: &&Frame| {
            let event = frame.event.as_deref().unwrap();
            ["response.completed", "response.failed", "response.incomplete"].contains(&event)
        };
        assert_eq!(frames.iter().filter(terminal).count(), 1, "{id} must end once");
        let last = frames.last().unwrap();
        assert!(terminal(&last), "{id} ends with {last:?}");
        let response = &last.json()["response"];
        let status = response["status"].as_str().unwrap();
        assert_eq!(&client.snapshot(&id).await, response, "{id}");
        if status == "failed" {
            assert_eq!(response["error"]["code"], "gateway_restarted");
            let deltas =
                frames.iter().filter(|frame| frame.event.as_deref() == Some("response.output_text.delta"));
            let text: String =
                deltas.map(|frame| frame.json()["delta"].as_str().unwrap().to_owned()).collect();
            assert_eq!(text_of(response), text, "{id} keeps what was put out");
        }
        let before = ended.insert(id.clone(), last.data.clone());
        assert!(before.is_none_or(|before| before == last.data), "{id} ended twice");
    }
}
