//! What a gateway costs: one scripted backend, one client, and several servers between them, in interleaved rounds.
//!
//! `cargo bench --bench race -- [ROUNDS] [SECONDS] [NAME…]` prints tables of medians; NAME picks contenders by a part of their
//! name. nginx takes part if it is installed. Every server is a process of its own, and only its own CPU time counts.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a benchmark"
)]

mod backend;
#[path = "../common/client.rs"]
mod client;
mod contender;
#[path = "../common/cpu.rs"]
mod cpu;
mod floor;
#[path = "../common/load.rs"]
mod load;
#[path = "../common/plain_file.rs"]
mod plain_file;
#[path = "../common/process.rs"]
mod process;
mod report;
mod round;
#[path = "../common/scratch.rs"]
mod scratch;
#[path = "../common/stats.rs"]
mod stats;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use contender::{Contender, ourselves};
use process::Process;
use round::{Figures, Loads};

/// The time of day in nanoseconds: what the backend writes into an event and the client compares on arrival.
pub(crate) fn now_nanos() -> u128 {
    UNIX_EPOCH.elapsed().unwrap().as_nanos()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut single = tokio::runtime::Builder::new_current_thread();
    let single = single.enable_all().build().unwrap();
    match *words {
        ["backend"] => single.block_on(backend::serve()),
        ["floor-pass", backend, _] => many().block_on(floor::serve(backend.to_owned(), None)),
        ["floor-durable", backend, dir] => {
            many().block_on(floor::serve(backend.to_owned(), Some(Path::new(dir))))
        }
        _ => race(&single, &words),
    }
}

/// The runtime that a server has: as many threads as there are cores.
fn many() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

fn race(runtime: &tokio::runtime::Runtime, words: &[&str]) {
    let (numbers, names): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.parse::<u64>().is_ok());
    let number = |at: usize| numbers.get(at).and_then(|word| word.parse::<u64>().ok());
    let (rounds, seconds) = (number(0).unwrap_or(3), number(1).unwrap_or(5));
    let mut contenders = Contender::ALL.to_vec();
    contenders.retain(|contender| {
        let chosen = names.is_empty() || names.iter().any(|name| contender.name().contains(*name));
        chosen && (*contender != Contender::Nginx || nginx_is_here())
    });
    let backend = Process::start(&mut ourselves("backend"));
    let loads = Loads::new(Duration::from_secs(seconds));
    let mut figures: Vec<Vec<Figures>> = contenders.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (contender, figures) in contenders.iter().zip(&mut figures) {
            figures.push(runtime.block_on(round::run(*contender, backend.address, &loads)));
        }
    }
    println!("{rounds} rounds of {seconds} s, interleaved, medians; CPU of the server process only\n");
    report::print(&contenders, &figures);
}

fn nginx_is_here() -> bool {
    Command::new("nginx").arg("-v").output().is_ok()
}
