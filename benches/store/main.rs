//! The goals of the store, each measured beside a plain file where that makes sense.
//!
//! `just bench-store [ROUNDS] [SECONDS] [PART…]` prints a row for every goal: what it is, what the plain file does, what the store
//! does, the aim, and whether it is met. `ROUNDS` (5) is how often a contender is measured, in turn with the other; medians are
//! shown. `SECONDS` (3) is for how long it is loaded in each round. `PART` is any of `appends`, `latency`, `sustained`, `reads`,
//! `opening` and `memory`; all of them if none is given.
//!
//! The plain file is the least that a durable log can be: the same queue and thread, one `write` and one `fdatasync` per group, no
//! checksum, no index, no recovery. Events are of 200 bytes, of many responses in turn.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a benchmark"
)]

mod appends;
mod child;
mod contender;
#[path = "../common/cpu.rs"]
mod cpu;
mod disk;
mod goal;
mod load;
mod memory;
mod opening;
#[path = "../common/plain_file.rs"]
mod plain_file;
mod reads;
#[path = "../common/scratch.rs"]
mod scratch;
#[path = "../common/stats.rs"]
mod stats;
mod sustained;
mod threads;

use std::future::Future;
use std::time::Duration;

use goal::Row;

/// The bytes of an event.
const EVENT_BYTES: usize = 200;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Effort {
    rounds: usize,
    time: Duration,
}

/// What can be measured by itself: its name, and how.
type Part = (&'static str, fn(Effort) -> Vec<Row>);

const PARTS: [Part; 6] = [
    ("appends", appends::rates),
    ("latency", appends::latencies),
    ("sustained", sustained::measure),
    ("reads", reads::measure),
    ("opening", opening::measure),
    ("memory", memory::measure),
];

/// Runs a future on the threads of the load: two, named so that their CPU time is told apart from the store's.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).thread_name(threads::LOAD).enable_all().build().unwrap();
    runtime.block_on(future)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let Some((role, rest)) = child::role(&arguments) {
        return child::run(role, rest);
    }
    let numbers: Vec<u64> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    let rounds = numbers.first().map_or(5, |rounds| usize::try_from(*rounds).unwrap());
    let effort = Effort { rounds, time: Duration::from_secs(numbers.get(1).copied().unwrap_or(3)) };
    let wanted = |part: &str| {
        let mut names = arguments.iter().filter(|argument| argument.parse::<u64>().is_err()).peekable();
        names.peek().is_none() || names.any(|name| name == part)
    };
    println!("Events of {EVENT_BYTES} bytes; medians of {rounds} rounds of {:?}.\n", effort.time);
    goal::print_head();
    for (part, measure) in PARTS {
        if wanted(part) {
            measure(effort).iter().for_each(Row::print);
        }
    }
}
