//! The real binary with the demo backend, one SSE reader per live response: how far readers are behind, and what an event costs.
//!
//! `cargo bench --bench e2e -- [ROUNDS] [SECONDS]` prints a table of medians. The demo backend has an absolute time for each
//! event, counted from a start that only the server knows. A reader takes the start that makes its own fastest event punctual,
//! so "behind" leaves out what even the fastest event of a stream needs; `benches/race` measures that, too.

#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::indexing_slicing, reason = "a benchmark")]

#[path = "../common/client.rs"]
mod client;
#[path = "../common/cpu.rs"]
mod cpu;
#[path = "../common/load.rs"]
mod load;
#[path = "../common/process.rs"]
mod process;
#[path = "../common/scratch.rs"]
mod scratch;
#[path = "../common/stats.rs"]
mod stats;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use client::Client;
use load::{Cost, Load, Window};
use process::Process;
use scratch::scratch;
use stats::{median, quantile};

/// Events per second of each response.
const RATE: u32 = 50;

const STREAMS: [u32; 3] = [1, 100, 1000];

/// What one round gave.
struct Round {
    cost: Cost,
    p50_ms: f64,
    p99_ms: f64,
}

async fn round(durability: &str, load: Load) -> Round {
    let dir = scratch();
    let server = Process::tidemark(dir.path(), durability, "");
    let client = Client::new(server.address, "/v1/responses", "\"sequence_number\":");
    let window = Arc::new(Window::default());
    let behind = Arc::new(Mutex::new(Vec::new()));
    let cost = load
        .run(server.pid(), &window, || {
            read(client.clone(), load.events(), Arc::clone(&window), Arc::clone(&behind))
        })
        .await;
    drop(server);
    let behind = std::mem::take(&mut *behind.lock().unwrap());
    Round { cost, p50_ms: quantile(behind.iter().copied(), 0.5), p99_ms: quantile(behind, 0.99) }
}

/// Reads one response; true if every number came, in order. Adds to `behind` how late its events were, in milliseconds.
async fn read(client: Client, events: u64, window: Arc<Window>, behind: Arc<Mutex<Vec<f64>>>) -> bool {
    let body = format!(
        r#"{{"model":"demo-long","input":"x","stream":true,"metadata":{{"demo.rate":"{RATE}","demo.events":"{events}"}}}}"#
    );
    let begin = Instant::now();
    let mut arrivals = Vec::new();
    let (mut next, mut dense) = (0, true);
    let seen = |number: &str| {
        let number: u64 = number.parse().unwrap();
        dense &= number == next;
        next = number + 1;
        let due = number as f64 / f64::from(RATE);
        arrivals.push((begin.elapsed().as_secs_f64() - due, window.count()));
    };
    if let Err(problem) = client.read(body, seen).await {
        println!("a stream broke: {problem}");
        return false;
    }
    // The events before the first delta and after the last have no time of their own.
    let (opening, closing) = (4, 4);
    let deltas = arrivals.get(opening..arrivals.len().saturating_sub(closing)).unwrap_or_default();
    let start = deltas.iter().map(|(offset, _)| *offset).fold(f64::INFINITY, f64::min);
    let late = deltas.iter().filter(|(_, inside)| *inside).map(|(offset, _)| (offset - start) * 1e3);
    behind.lock().unwrap().extend(late);
    dense && deltas.len() as u64 == events
}

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let (rounds, seconds) = (numbers.first().copied().unwrap_or(3), numbers.get(1).copied().unwrap_or(5));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!(
        "{RATE} events/s per response, {rounds} rounds of {seconds} s, medians; CPU of the server process\n"
    );
    println!(
        "| live responses | durability | events/s | behind ms p50 | p99 | CPU µs/event | whole streams |\n|---:|---|---:|---:|---:|---:|---:|"
    );
    for streams in STREAMS {
        let load = Load { streams, rate: RATE, window: Duration::from_secs(seconds) };
        let mut results = [("sync", Vec::new()), ("os", Vec::new())];
        for _ in 0..rounds {
            for (durability, results) in &mut results {
                results.push(runtime.block_on(round(durability, load)));
            }
        }
        for (durability, results) in &results {
            let of = |pick: fn(&Round) -> f64| median(results.iter().map(pick));
            println!(
                "| {streams} | {durability} | {:.0} | {:.2} | {:.2} | {:.1} | {:.0} |",
                of(|round| round.cost.events_per_second),
                of(|round| round.p50_ms),
                of(|round| round.p99_ms),
                of(|round| round.cost.cpu_us_per_event),
                of(|round| f64::from(round.cost.whole)),
            );
        }
    }
}
