//! What clients saw, as a model that a server must still match after a crash.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::rest::{Client, Frame, Stream, text_of, text_of_deltas};

/// What clients saw: the data of each event, by response and seq. Clones share it.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<BTreeMap<String, BTreeMap<u64, String>>>>);

impl Seen {
    /// How many events were seen.
    pub fn events(&self) -> usize {
        self.0.lock().unwrap().values().map(BTreeMap::len).sum()
    }

    /// A copy of everything that was seen up to now.
    pub fn all(&self) -> Vec<(String, BTreeMap<u64, String>)> {
        self.0.lock().unwrap().iter().map(|(id, events)| (id.clone(), events.clone())).collect()
    }

    fn note(&self, id: &str, frame: &Frame) -> u64 {
        let seq = frame.seq();
        let before = self.0.lock().unwrap().entry(id.to_owned()).or_default().insert(seq, frame.data.clone());
        assert!(before.is_none_or(|before| before == frame.data), "event {seq} of {id} changed");
        seq
    }

    /// Creates a response and reads it until it ends or the server dies; every third reader drops and resumes on the way. The
    /// parameter makes rates and kinds differ.
    pub async fn stream(self, client: Client, n: usize) {
        let body = json!({
            "model": "demo-long", "input": "go", "stream": true, "background": n.is_multiple_of(2),
            "metadata": {"demo.rate": (100 * (1 + n % 5)).to_string(), "demo.events": "400"},
        });
        let Ok(reply) = client.post("/v1/responses", &body).send().await else { return };
        let Some(id) = reply.headers().get("x-tidemark-response-id") else { return };
        let id = id.to_str().unwrap().to_owned();
        let mut stream = Stream::from_reply(reply);
        let mut count = 0;
        while let Some(frame) = stream.frame().await {
            if frame.is_done() {
                return;
            }
            let last = self.note(&id, &frame);
            count += 1;
            if n.is_multiple_of(3) && count % 20 == 0 {
                let path = format!("/v1/responses/{id}?stream=true&starting_after={last}");
                let Ok(reply) = client.get(&path).send().await else { return };
                stream = Stream::from_reply(reply);
            }
        }
    }
}

/// The terminal event of each response that was checked: it must stay what it is.
#[derive(Default)]
pub struct Ended(BTreeMap<String, String>);

impl Ended {
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Asserts that a server has everything that was seen: each event with its number and its bytes, no holes, one end.
    pub async fn check(&mut self, client: &Client, seen: &Seen) {
        for (id, events) in seen.all() {
            let frames = self.whole(client, &id).await;
            for (seq, data) in &events {
                let found = frames.get(usize::try_from(*seq).unwrap()).map(|frame| &frame.data);
                assert_eq!(found, Some(data), "event {seq} of {id} is gone or changed");
            }
        }
    }

    /// Reads a response that must have ended, and asserts that its log is whole in itself.
    pub async fn whole(&mut self, client: &Client, id: &str) -> Vec<Frame> {
        let frames = client.whole(id).await;
        let last = frames.last().unwrap();
        let response = &last.json()["response"];
        if response["status"] == "failed" {
            assert_eq!(response["error"]["code"], "gateway_restarted");
            assert_eq!(text_of(response), text_of_deltas(&frames), "{id} keeps what was put out");
        }
        let before = self.0.insert(id.to_owned(), last.data.clone());
        assert!(before.is_none_or(|before| before == last.data), "{id} ended twice");
        frames
    }
}

/// Small numbers from a seed (xorshift). `TIDEMARK_SEED` repeats a run.
pub struct Random(u64);

impl Random {
    pub fn seeded() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = std::env::var("TIDEMARK_SEED").ok().map_or(now | 1, |seed| seed.parse().unwrap());
        println!("TIDEMARK_SEED={seed}");
        Self(seed)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// The number of rounds: `TIDEMARK_ROUNDS`, or `default`.
pub fn rounds(default: usize) -> usize {
    std::env::var("TIDEMARK_ROUNDS").ok().map_or(default, |rounds| rounds.parse().unwrap())
}
