//! The listener as its clients and its operator meet it: the real binary behind sockets that misbehave.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests"
)]

#[path = "../common/mod.rs"]
mod common;

mod crowd;
mod drain;
mod figures;
mod h2c;
mod privacy;
mod requests;
mod salvage;
mod stalls;

use std::time::Duration;

use common::server::patience;

/// Asks again and again until the answer is there.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = tokio::time::Instant::now() + patience();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(tokio::time::Instant::now() < end, "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits for something that must come in time.
async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(patience(), work).await.unwrap_or_else(|_| panic!("{what}: not in time"))
}
