//! Pages of a history that grows: what one costs in time and memory, whatever lies behind it (O-19, issue 8).
//!
//! `cargo bench --bench sessions -- [ITEMS …]` prints a row for each length: the real binary over HTTP, one connection, pages of 50 items,
//! the newest and those in the middle in turn. "Growth" is what the process holds after all pages more than before the first.

#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::indexing_slicing, reason = "a benchmark")]

#[path = "../common/cpu.rs"]
mod cpu;
#[path = "../common/process.rs"]
mod process;
#[path = "../common/scratch.rs"]
mod scratch;
#[path = "../common/stats.rs"]
mod stats;

use std::fs;
use std::time::Instant;

use cpu::cpu_seconds;
use process::Process;
use scratch::scratch;
use serde_json::{Value, json};
use stats::{median, quantile};

/// Items of a history, unless the command line says others.
const LENGTHS: [usize; 3] = [1_000, 10_000, 100_000];

/// Items that a call may add.
const AT_ONCE: usize = 20;

/// Bytes of text of an item.
const TEXT_BYTES: usize = 200;

/// Pages that are measured, and items of a page.
const PAGES: usize = 1000;
const PAGE: usize = 50;

/// Items of a page on the way to the middle.
const STRIDE: usize = 1000;

struct Session {
    http: reqwest::Client,
    url: String,
}

impl Session {
    /// A session with so many items.
    async fn filled(server: &Process, items: usize) -> Self {
        let (http, base) = (reqwest::Client::new(), format!("http://{}/v1", server.address));
        let made = http.post(format!("{base}/conversations")).json(&json!({})).send().await.unwrap();
        let made: Value = made.json().await.unwrap();
        let key = made["id"].as_str().unwrap();
        let item = json!({"type": "message", "role": "user", "content": "x".repeat(TEXT_BYTES)});
        let body = json!({"items": vec![item; AT_ONCE]});
        for _ in 0..items / AT_ONCE {
            let added =
                http.post(format!("{base}/conversations/{key}/items")).json(&body).send().await.unwrap();
            assert!(added.status().is_success(), "{}", added.text().await.unwrap());
        }
        let url = format!("{base}/sessions/{key}/history");
        Self { http, url }
    }

    /// One page; its items, and where the next one begins.
    async fn page(&self, limit: usize, cursor: Option<&str>) -> (usize, Option<String>) {
        let cursor = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let reply = self.http.get(format!("{}?limit={limit}{cursor}", self.url)).send().await.unwrap();
        let page: Value = reply.json().await.unwrap();
        let next = page["next_cursor"].as_str().map(str::to_owned);
        (page["data"].as_array().unwrap().len(), next)
    }

    /// The cursor that has half of the items behind it.
    async fn middle(&self, items: usize) -> Option<String> {
        let (mut seen, mut cursor) = (0, None);
        while seen < items / 2 {
            let (found, next) = self.page(STRIDE.min(items / 2), cursor.as_deref()).await;
            (seen, cursor) = (seen + found, next);
        }
        cursor
    }
}

/// What the process holds in memory, in KiB.
fn resident_kib(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn measure(items: usize) {
    let dir = scratch();
    let server = Process::tidemark(dir.path(), "os", "[limits]\nitems_per_session = \"off\"\n");
    let session = Session::filled(&server, items).await;
    let middle = session.middle(items).await;
    let (pid, mut waits) = (server.pid(), Vec::new());
    let (resident, cpu) = (resident_kib(pid), cpu_seconds(pid));
    for number in 0..PAGES {
        let cursor = if number % 2 == 0 { None } else { middle.as_deref() };
        let asked = Instant::now();
        let (found, _) = session.page(PAGE, cursor).await;
        waits.push(asked.elapsed().as_secs_f64() * 1e6);
        assert_eq!(found, PAGE);
    }
    let cpu = (cpu_seconds(pid) - cpu) * 1e6 / PAGES as f64;
    let growth = resident_kib(pid) - resident;
    let (p50, p99) = (median(waits.iter().copied()), quantile(waits, 0.99));
    println!(
        "| {items} | {p50:.0} | {p99:.0} | {cpu:.0} | {growth:.0} | {:.0} |",
        resident_kib(pid) / 1024.0
    );
}

fn main() {
    // reqwest wants one, though nothing here is encrypted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let asked: Vec<usize> = arguments.map(|argument| argument.parse().unwrap()).collect();
    let lengths = if asked.is_empty() { LENGTHS.to_vec() } else { asked };
    println!("| items | page µs p50 | p99 | CPU µs/page of the server | growth KiB | MiB of the process |");
    println!("|---:|---:|---:|---:|---:|---:|");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for items in lengths {
        runtime.block_on(measure(items));
    }
}
