//! What access costs a stream per batch (D-33): the epoch compare, the whole check of a stream that is sending, the full check after
//! a change, and a ticket.
//!
//! `cargo bench --bench access` prints medians in nanoseconds.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

#[path = "../common/stats.rs"]
mod stats;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use secrecy::ExposeSecret as _;
use tidemark::auth::{
    Access, Directory, Lease, Mode, NewKey, Presented, Principal, Rights, Scopes, TicketOrder,
};
use tidemark::clock::SystemClock;
use tidemark::tasks::Tasks;
use tidemark_store::memory::MemoryStore;
use tidemark_store::{Caps, LogId, Owner};

use stats::median;

/// How many times each thing is done in a round, and how many rounds there are.
const TIMES: u32 = 100_000;
const ROUNDS: usize = 11;

/// Nanoseconds of one of [`TIMES`] in the median round.
async fn measure(what: &str, mut round: impl AsyncFnMut()) {
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        round().await;
        took.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(TIMES));
    }
    println!("{what:<44} {:>8.1} ns", median(took));
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let store = Arc::new(MemoryStore::new(Caps::default()));
    let directory = Directory::new(store, Arc::new(SystemClock), Tasks::new());
    let access = Access::new(Mode::Keys { operator: None }, directory.clone());
    let operator = Principal::operator(Owner::new("operator").unwrap());
    let scopes = Scopes::parse("responses.read").unwrap();
    let new = NewKey { owner: Owner::new("acme"), scopes, expires_at: None };
    let (key, _) = directory.create_key(&operator, new).await.unwrap();
    let key = key.reveal();
    let identify = async |bearer: &str| {
        access.identify(Presented { bearer: Some(bearer), ..Presented::default() }).await.unwrap()
    };
    let principal = identify(key.expose_secret()).await;
    let mut lease = Lease::new(access.clone(), principal.clone());
    lease.check().await.unwrap();

    measure("epoch compare", async || {
        for _ in 0..TIMES {
            assert!(black_box(&lease).is_current());
        }
    })
    .await;
    measure("check of a stream that sends", async || {
        for _ in 0..TIMES {
            black_box(&mut lease).check().await.unwrap();
        }
    })
    .await;
    measure("full check", async || {
        for _ in 0..TIMES {
            access.check(black_box(&principal)).await.unwrap();
        }
    })
    .await;
    let order = TicketOrder::new(Rights::Read, Some(Duration::from_secs(3600))).unwrap();
    let ticket = access.mint(&principal, LogId::from_bytes([1; 16]), &order).await.unwrap().value;
    measure("a call with a key", async || {
        for _ in 0..TIMES {
            identify(black_box(key.expose_secret())).await;
        }
    })
    .await;
    measure("a call with a ticket", async || {
        for _ in 0..TIMES {
            identify(black_box(ticket.expose_secret())).await;
        }
    })
    .await;
}
