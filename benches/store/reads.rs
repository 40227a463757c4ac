//! What it takes to read a response: near its end, from the start, with and without the system knowing its files.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tidemark_store::embedded::EmbeddedStore;
use tidemark_store::{LogId, ReadLimit, Seq, Store};

use crate::contender::{Contender, open_store};
use crate::disk::make_cold;
use crate::goal::{Aim, Row};
use crate::load::{Load, Until};
use crate::scratch::scratch;
use crate::stats::{median, quantile};
use crate::{Effort, block_on};

/// Responses that are replayed, and their events.
const LONG: u64 = 200;
const EVENTS: u64 = 5000;

/// Responses that are in the store as well.
const SHORT: Load = Load { live: 10_000, rate: None, batch: 20, length: 20 };

/// How far behind the end a reader comes back.
const NEAR: u64 = 20;

/// How many responses of a round are replayed.
const REPLAYS: usize = 20;

pub(crate) fn measure(effort: Effort) -> Vec<Row> {
    let mut rows = vec![near_the_end(effort)];
    for batch in [1, 16] {
        rows.extend(from_the_disk(batch, effort));
    }
    rows
}

/// A reader of a live response that missed a few events.
fn near_the_end(effort: Effort) -> Row {
    let dir = scratch();
    let waits = block_on(async {
        let store = Arc::new(open_store(dir.path()));
        let contender = Contender::Store(Arc::clone(&store));
        let mut ids = Vec::new();
        for _ in 0..1000 {
            let id = crate::contender::next_id();
            contender.create(id).await;
            for last in 0..2 * NEAR {
                let event = vec![bytes::Bytes::from(vec![b'x'; crate::EVENT_BYTES])];
                // They need not be durable one by one.
                drop(store.submit(append(&store, id, last, event)).await.unwrap());
            }
            ids.push(id);
        }
        let mut waits = Vec::new();
        for _ in 0..effort.rounds {
            for id in &ids {
                let began = Instant::now();
                let tail = store.tail(*id).await.unwrap();
                let batch = store.read(*id, Some(Seq::new(NEAR)), ReadLimit::default()).await.unwrap();
                waits.push(began.elapsed().as_secs_f64() * 1e6);
                assert_eq!(batch.entries.first().unwrap().seq, Seq::new(NEAR + 1));
                drop(tail);
            }
        }
        contender.close().await;
        waits
    });
    let goal = "a resume near the end of a live response, p99".to_owned();
    Row { goal, unit: "µs", file: None, store: quantile(waits, 0.99), aim: Aim::AtMost(50.0) }
}

fn append(store: &EmbeddedStore, id: LogId, last: u64, entries: Vec<bytes::Bytes>) -> tidemark_store::Append {
    let (epoch, expected_last) = (store.epoch(), Seq::new(last));
    tidemark_store::Append { id, epoch, expected_last, status: None, entries, close: None }
}

/// Ended responses whose events were appended `batch` at a time, all in turn.
fn from_the_disk(batch: u64, effort: Effort) -> Vec<Row> {
    let dir = scratch();
    let ids = fill(dir.path(), batch);
    let (mut firsts, mut cold, mut warm) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..effort.rounds {
        firsts.extend(first_events(dir.path(), &ids));
        let replayed = ids.iter().cycle().skip(round * REPLAYS).take(REPLAYS);
        let (cold_rate, warm_rate) = replays(dir.path(), replayed.copied().collect());
        cold.push(cold_rate);
        warm.push(warm_rate);
    }
    let what = format!("{LONG} responses of {EVENTS} events, appended {batch} at a time");
    let row = |goal, unit, store, aim| Row { goal: format!("{what}: {goal}"), unit, file: None, store, aim };
    let first = |part| quantile(firsts.iter().copied(), part);
    vec![
        row("cold first event p50", "ms", first(0.5), Aim::None),
        row("cold first event p99", "ms", first(0.99), Aim::AtMost(1.0)),
        row("warm replay", "1/s", median(warm), Aim::AtLeast(1e6)),
        row("cold replay", "1/s", median(cold), Aim::AtLeast(200e3)),
    ]
}

fn fill(dir: &Path, batch: u64) -> Vec<LogId> {
    block_on(async {
        let contender = Contender::store(dir);
        SHORT.run(&contender, Until::Ended).await;
        let long = Load { live: LONG, rate: None, batch, length: EVENTS };
        let outcome = long.run(&contender, Until::Ended).await;
        SHORT.run(&contender, Until::Ended).await;
        contender.close().await;
        outcome.ended
    })
}

/// A store of which neither it nor the system has read anything but what an opening needs.
async fn open_cold(dir: &Path) -> EmbeddedStore {
    make_cold(dir);
    let store = open_store(dir);
    make_cold(dir);
    store
}

/// How long each of these responses takes to give its first events from the middle on, in milliseconds.
fn first_events(dir: &Path, ids: &[LogId]) -> Vec<f64> {
    block_on(async {
        let store = open_cold(dir).await;
        let mut waits = Vec::new();
        for id in ids {
            let began = Instant::now();
            let batch = store.read(*id, Some(Seq::new(EVENTS / 2)), ReadLimit::default()).await.unwrap();
            waits.push(began.elapsed().as_secs_f64() * 1e3);
            assert_eq!(batch.entries.first().unwrap().seq, Seq::new(EVENTS / 2 + 1));
        }
        store.close().await;
        waits
    })
}

/// Events per second when responses are read from the start, one after the other: the first time, and the second time.
fn replays(dir: &Path, ids: Vec<LogId>) -> (f64, f64) {
    block_on(async {
        let store = open_cold(dir).await;
        // What a reader does runs on the threads of the runtime, not on the one that waits here.
        let reading = tokio::spawn(async move {
            let mut rates = Vec::new();
            for _ in 0..2 {
                let began = Instant::now();
                let mut events = 0;
                for id in &ids {
                    events += replay(&store, *id).await;
                }
                rates.push(events as f64 / began.elapsed().as_secs_f64());
            }
            store.close().await;
            (rates[0], rates[1])
        });
        reading.await.unwrap()
    })
}

/// Reads a response as a reader does: it follows the log, and takes a batch at a time.
async fn replay(store: &EmbeddedStore, id: LogId) -> u64 {
    let (mut events, mut after) = (0, None);
    let _tail = store.tail(id).await.unwrap();
    loop {
        let batch = store.read(id, after, ReadLimit::default()).await.unwrap();
        let Some(last) = batch.entries.last() else { break };
        (events, after) = (events + batch.entries.len() as u64, Some(last.seq));
    }
    assert!(events >= EVENTS, "{events} events");
    events
}
