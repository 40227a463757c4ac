//! Durable appends: the embedded store against a plain file, interleaved in one run.
//!
//! `cargo bench --bench store -- [ROUNDS] [SECONDS]` prints a table of medians. The plain file is the least that a durable log can
//! be: the same queue and thread, one `write` and one `fdatasync` per group, no checksum, no index, no recovery. Both carry
//! events of 200 bytes of 1000 interleaved logs.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a benchmark"
)]

#[path = "../common/cpu.rs"]
mod cpu;
#[path = "../common/plain_file.rs"]
mod plain_file;
#[path = "../common/scratch.rs"]
mod scratch;
#[path = "../common/stats.rs"]
mod stats;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidemark_store::embedded::{Durability, EmbeddedStore, Options};
use tidemark_store::{Append, Caps, LogId, NewLog, Owner, Seq, Store, UnixMillis};

use cpu::cpu_seconds;
use plain_file::PlainFile;
use scratch::scratch;
use stats::{median, quantile};

const EVENT_BYTES: usize = 200;
const LOGS: u64 = 1000;

/// What is measured: something that acknowledges an event of a log when it is durable.
#[derive(Clone)]
enum Contender {
    File(PlainFile),
    Store(Arc<EmbeddedStore>),
}

impl Contender {
    fn open(name: &str, dir: &Path) -> Self {
        match name {
            "plain file" => Self::File(PlainFile::create(dir)),
            _ => {
                let durability = if name == "store, os" { Durability::Os } else { Durability::Sync };
                let caps = Caps { entries: Some(8192), bytes: Some(64 << 20) };
                Self::Store(Arc::new(
                    EmbeddedStore::open(dir, Options { durability, caps, ..Options::default() }).unwrap(),
                ))
            }
        }
    }

    async fn create(&self, log: u64) {
        if let Self::Store(store) = self {
            let (id, owner, created_at) = (id(log), Owner::new("bench").unwrap(), UnixMillis(0));
            let new = NewLog {
                id,
                owner,
                created_at,
                status: 0,
                document: Bytes::new(),
                entries: vec![Bytes::new()],
                endless: None,
            };
            store.create(new).await.unwrap();
        }
    }

    async fn append(&self, log: u64, last: u64, events: Vec<Bytes>) {
        match self {
            Self::File(file) => file.append(events.concat().into()).await,
            Self::Store(store) => {
                let (id, epoch, expected_last) = (id(log), store.epoch(), Seq::new(last));
                let append = Append { id, epoch, expected_last, status: None, entries: events, close: None };
                store.append(append).await.unwrap();
            }
        }
    }
}

fn id(log: u64) -> LogId {
    LogId::from_bytes((u128::from(log) << 64 | u128::from(log)).to_be_bytes())
}

#[derive(Default)]
struct Result {
    events_per_second: f64,
    cpu_us_per_event: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// `rate` events per second and log, or as fast as acknowledgements come in batches of `batch`.
async fn run(contender: &Contender, seconds: u64, rate: Option<f64>, batch: usize) -> Result {
    for log in 0..LOGS {
        contender.create(log).await;
    }
    let (cpu, start) = (cpu_seconds(std::process::id()), Instant::now());
    let end = start + Duration::from_secs(seconds);
    let tasks: Vec<_> = (0..LOGS)
        .map(|log| {
            let contender = contender.clone();
            tokio::spawn(async move {
                let event = Bytes::from(vec![b'x'; EVENT_BYTES]);
                let (mut last, mut waits) = (0, Vec::new());
                let offset =
                    Duration::from_secs_f64(rate.map_or(0.0, |rate| log as f64 / LOGS as f64 / rate));
                for tick in 0u32.. {
                    if let Some(rate) = rate {
                        let due = start + offset + Duration::from_secs_f64(f64::from(tick) / rate);
                        tokio::time::sleep_until(due.into()).await;
                    }
                    let asked = Instant::now();
                    if asked >= end {
                        break;
                    }
                    contender.append(log, last, vec![event.clone(); batch]).await;
                    last += batch as u64;
                    waits.push(asked.elapsed());
                }
                (last, waits)
            })
        })
        .collect();
    let (mut events, mut waits) = (0, Vec::new());
    for task in tasks {
        let (count, more) = task.await.unwrap();
        events += count;
        waits.extend(more);
    }
    let wall = start.elapsed().as_secs_f64();
    let cpu = cpu_seconds(std::process::id()) - cpu;
    let at = |part: f64| quantile(waits.iter().map(|wait| wait.as_secs_f64() * 1e3), part);
    Result {
        events_per_second: events as f64 / wall,
        cpu_us_per_event: cpu * 1e6 / events as f64,
        p50_ms: at(0.5),
        p99_ms: at(0.99),
    }
}

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let (rounds, seconds) = (numbers.first().copied().unwrap_or(5), numbers.get(1).copied().unwrap_or(3));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let loads: [(&str, Option<f64>, usize); 3] = [
        ("as fast as acks come, 1 per append", None, 1),
        ("as fast as acks come, 16 per append", None, 16),
        ("50 events/s each", Some(50.0), 1),
    ];
    println!(
        "{LOGS} logs, {EVENT_BYTES} bytes per event, {rounds} rounds of {seconds} s, medians; CPU of load and store together\n"
    );
    println!(
        "| load | contender | events/s | of the file | CPU µs/event | ack p50 ms | ack p99 ms |\n|---|---|---:|---:|---:|---:|---:|"
    );
    for (load, rate, batch) in loads {
        let names = ["plain file", "store, sync", "store, os"];
        let mut results: Vec<Vec<Result>> = names.iter().map(|_| Vec::new()).collect();
        for _ in 0..rounds {
            for (name, results) in names.iter().zip(&mut results) {
                let dir = scratch();
                let contender = Contender::open(name, dir.path());
                results.push(runtime.block_on(run(&contender, seconds, rate, batch)));
                drop(contender);
            }
        }
        let of = |results: &[Result], pick: fn(&Result) -> f64| median(results.iter().map(pick));
        let file = of(&results[0], |result| result.events_per_second);
        for (name, results) in names.iter().zip(&results) {
            let rate = of(results, |result| result.events_per_second);
            let (cpu, p50, p99) =
                (of(results, |r| r.cpu_us_per_event), of(results, |r| r.p50_ms), of(results, |r| r.p99_ms));
            println!("| {load} | {name} | {rate:.0} | {:.2} | {cpu:.2} | {p50:.2} | {p99:.2} |", rate / file);
        }
    }
}
