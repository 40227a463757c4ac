//! A mass expiry under load: what it does to acknowledgements, and when the disk is given back (D-39).
//!
//! `cargo bench -p tidemark-store --bench space -- [RESPONSES] [SECONDS]` stores that many responses of 20 events of 200 bytes,
//! measures the acknowledgements of 20 000 events per second for some seconds, has all responses expire at once, and measures on
//! while they are removed, and for a minute after.

#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark")]

#[path = "../common/scratch.rs"]
mod scratch;
#[path = "../common/stats.rs"]
mod stats;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidemark_store::embedded::{EmbeddedStore, Options};
use tidemark_store::{Append, Close, LogId, NewLog, Owner, Seq, Store, UnixMillis};
use tokio::task::JoinHandle;

use scratch::scratch;
use stats::{median, quantile};

const EVENT_BYTES: usize = 200;
const EVENTS_PER_RESPONSE: usize = 20;

/// The load: so many live responses, each with so many events per second.
const LIVE: u64 = 1000;
const EVENTS_PER_SECOND: f64 = 20.0;

/// How many responses are stored at a time.
const LOADERS: u64 = 256;

/// The most responses that one look of the sweeper finds: as in `server/runs/sweep.rs`.
const SWEEP_BATCH: usize = 1024;

const EXPIRY: UnixMillis = UnixMillis(1000);

/// How long after the expiry the disk is looked at.
const AFTER: Duration = Duration::from_secs(60);

fn id(number: u64, kind: u64) -> LogId {
    LogId::from_bytes((u128::from(number) << 64 | u128::from(kind)).to_be_bytes())
}

fn events(count: usize) -> Vec<Bytes> {
    vec![Bytes::from(vec![b'x'; EVENT_BYTES]); count]
}

async fn create(store: &EmbeddedStore, id: LogId) {
    let new = NewLog {
        id,
        owner: Owner::new("bench").unwrap(),
        created_at: UnixMillis(0),
        status: 0,
        document: Bytes::new(),
        entries: events(1),
        endless: None,
    };
    store.create(new).await.unwrap();
}

fn append(store: &EmbeddedStore, id: LogId, last: u64, count: usize, close: Option<Close>) -> Append {
    let (epoch, expected_last) = (store.epoch(), Seq::new(last));
    Append { id, epoch, expected_last, status: None, entries: events(count), close }
}

/// Stores `count` responses that have ended.
async fn load(store: &Arc<EmbeddedStore>, count: u64) {
    let loaders: Vec<_> = (0..LOADERS)
        .map(|loader| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                for number in (loader..count).step_by(LOADERS as usize) {
                    let id = id(number, 1);
                    create(&store, id).await;
                    let close = Some(Close { compacts_at: None, expires_at: Some(EXPIRY) });
                    store.append(append(&store, id, 0, EVENTS_PER_RESPONSE - 1, close)).await.unwrap();
                }
            })
        })
        .collect();
    for loader in loaders {
        loader.await.unwrap();
    }
    store.due(UnixMillis(0), 1).await.unwrap();
}

/// The load on live responses, until it is stopped.
struct Load {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Vec<(Instant, Duration)>>>,
}

impl Load {
    fn start(store: &Arc<EmbeddedStore>) -> Self {
        let (stop, start) = (Arc::new(AtomicBool::new(false)), Instant::now());
        let task = |log: u64| {
            let (store, stop) = (Arc::clone(store), Arc::clone(&stop));
            let offset = Duration::from_secs_f64(log as f64 / LIVE as f64 / EVENTS_PER_SECOND);
            tokio::spawn(async move {
                let (id, mut waits) = (id(log, 2), Vec::new());
                create(&store, id).await;
                for tick in 0u32.. {
                    let due = start + offset + Duration::from_secs_f64(f64::from(tick) / EVENTS_PER_SECOND);
                    tokio::time::sleep_until(due.into()).await;
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let asked = Instant::now();
                    store.append(append(&store, id, u64::from(tick), 1, None)).await.unwrap();
                    waits.push((asked, asked.elapsed()));
                }
                waits
            })
        };
        let tasks = (0..LIVE).map(task).collect();
        Self { stop, tasks }
    }

    async fn stop(self) -> Vec<(Instant, Duration)> {
        self.stop.store(true, Ordering::Relaxed);
        let mut waits = Vec::new();
        for task in self.tasks {
            waits.extend(task.await.unwrap());
        }
        waits
    }
}

/// Removes what has expired, as the sweeper does.
async fn sweep(store: &EmbeddedStore) -> usize {
    let mut removed = 0;
    loop {
        let due = store.due(EXPIRY, SWEEP_BATCH).await.unwrap();
        if due.is_empty() {
            return removed;
        }
        let heads = store.heads(&due).await.unwrap();
        let expired: Vec<LogId> = heads
            .iter()
            .filter(|(_, head)| head.expires_at.is_some_and(|at| at <= EXPIRY))
            .map(|(id, _)| *id)
            .collect();
        removed += store.purge_many(&expired).await.unwrap();
    }
}

fn bytes_of(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_of(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

fn show_disk(when: &str, store: &EmbeddedStore, dir: &Path) {
    let (usage, mb) = (store.usage(), |bytes: u64| bytes as f64 / 1e6);
    let log = bytes_of(&dir.join("log"));
    println!(
        "| {when} | {:.1} | {:.1} | {:.2} | {} | {:.1} |",
        mb(log),
        mb(usage.live_bytes),
        log as f64 / usage.live_bytes as f64,
        usage.segments,
        mb(bytes_of(&dir.join("index")))
    );
}

fn show_waits(part: &str, waits: &[(Instant, Duration)], from: Instant, to: Instant) {
    let within: Vec<f64> = waits
        .iter()
        .filter(|(asked, _)| (from..to).contains(asked))
        .map(|(_, wait)| wait.as_secs_f64() * 1e3)
        .collect();
    let at = |part| quantile(within.iter().copied(), part);
    println!(
        "| {part} | {:.0} | {:.0} | {:.2} | {:.2} | {:.2} | {:.2} |",
        to.duration_since(from).as_secs_f64(),
        within.len() as f64 / to.duration_since(from).as_secs_f64(),
        median(within.iter().copied()),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}

async fn run(responses: u64, seconds: u64) {
    let dir = scratch();
    let store = Arc::new(EmbeddedStore::open(dir.path(), Options::default()).unwrap());
    let began = Instant::now();
    load(&store, responses).await;
    println!(
        "{responses} responses of {EVENTS_PER_RESPONSE} × {EVENT_BYTES} B stored in {:.1?}\n",
        began.elapsed()
    );
    println!("| | log MB | live MB | ratio | segments | index MB |\n|---|---:|---:|---:|---:|---:|");
    show_disk("stored", &store, dir.path());

    let writing = Load::start(&store);
    // The first seconds make the live responses.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = Instant::now();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    show_disk("before the expiry", &store, dir.path());
    let expiry = Instant::now();
    let removed = sweep(&store).await;
    let swept = Instant::now();
    assert_eq!(removed as u64, responses);
    show_disk("all removed", &store, dir.path());
    tokio::time::sleep_until((expiry + AFTER).max(swept + Duration::from_secs(1)).into()).await;
    show_disk("a minute after the expiry", &store, dir.path());
    let end = Instant::now();
    let waits = writing.stop().await;
    println!(
        "\n| | seconds | events/s | ack p50 ms | p99 ms | p99.9 ms | longest ms |\n|---|---:|---:|---:|---:|---:|---:|"
    );
    show_waits("before the expiry", &waits, before, expiry);
    show_waits("while responses are removed", &waits, expiry, swept);
    show_waits("after, while segments are cleaned", &waits, swept, end);
    store.close().await;
}

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let responses = numbers.first().copied().unwrap_or(100_000);
    let seconds = numbers.get(1).copied().unwrap_or(15);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run(responses, seconds));
}
