//! What it costs that a log keeps within its caps, and that this does not grow with the length of the response.
//!
//! `cargo bench --bench compaction -- [ROUNDS]` prints a table of medians. The real binary with the demo backend as fast as it goes,
//! one SSE reader. The shortest response is not compacted at all; the longest has about 300 MiB of events.

#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::indexing_slicing, reason = "a benchmark")]

#[path = "../common/client.rs"]
mod client;
#[path = "../common/cpu.rs"]
mod cpu;
#[path = "../common/process.rs"]
mod process;
#[path = "../common/scratch.rs"]
mod scratch;
#[path = "../common/stats.rs"]
mod stats;

use std::time::Instant;

use client::Client;
use cpu::cpu_seconds;
use process::Process;
use scratch::scratch;
use stats::{median, quantile};

const DELTAS: [u64; 4] = [4_000, 50_000, 200_000, 1_300_000];

/// So many events in all make a round, so that short responses are measured as exactly as long ones.
const EVENTS_PER_ROUND: u64 = 400_000;

/// What one round gave.
struct Round {
    events_per_second: f64,
    cpu_us_per_event: f64,
    peak_mib: f64,
}

async fn round(deltas: u64) -> Round {
    let dir = scratch();
    let server = Process::tidemark(dir.path(), "sync", "");
    let client = Client::new(server.address, "/v1/responses", "\"sequence_number\":");
    let body = format!(
        r#"{{"model":"demo-long","input":"x","stream":true,"metadata":{{"demo.rate":"0","demo.events":"{deltas}"}}}}"#
    );
    let responses = (EVENTS_PER_ROUND / deltas).max(1);
    let (begun, cpu) = (Instant::now(), cpu_seconds(server.pid()));
    for _ in 0..responses {
        client.read(body.clone(), |_| ()).await.unwrap();
    }
    let (seconds, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds(server.pid()) - cpu);
    let events = (responses * deltas) as f64;
    Round {
        events_per_second: events / seconds,
        cpu_us_per_event: cpu / events * 1e6,
        peak_mib: peak_mib(server.pid()),
    }
}

/// The most memory that a process has had at once.
fn peak_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

fn main() {
    let rounds = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(3);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!(
        "| deltas | events/s | CPU µs/event | of that, the slowest round | peak MiB |\n|---:|---:|---:|---:|---:|"
    );
    for deltas in DELTAS {
        let results: Vec<Round> = (0..rounds).map(|_| runtime.block_on(round(deltas))).collect();
        let of = |pick: fn(&Round) -> f64| median(results.iter().map(pick));
        println!(
            "| {deltas} | {:.0} | {:.2} | {:.2} | {:.0} |",
            of(|round| round.events_per_second),
            of(|round| round.cpu_us_per_event),
            quantile(results.iter().map(|round| round.cpu_us_per_event), 1.0),
            of(|round| round.peak_mib),
        );
    }
}
