//! `kill -9` of the real binary in mid-stream, against a model of what its clients saw (check 1 of the seeds' annex 3, D-16, D-23).
//!
//! Every round streams to many readers, kills the server at a random moment and starts it again. Then every event that any client
//! ever got must be there with its number and its bytes, numbers must be dense, and every response must have ended with one
//! terminal event. Before each start, `tidemark store check` must find nothing wrong. `TIDEMARK_ROUNDS` sets the number of rounds, `TIDEMARK_SEED` repeats one run.

#![expect(clippy::disallowed_methods, clippy::print_stdout, clippy::unwrap_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;

use std::time::Duration;

use common::model::{Ended, Random, Seen, rounds};
use common::rest::Client;
use common::server::{Server, tidemark};

/// How many responses stream at once.
const STREAMS: usize = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_a_client_saw_is_lost_to_kill_nine_with_sync() {
    run("sync").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_a_client_saw_is_lost_to_kill_nine_with_os() {
    run("os").await;
}

/// What is left can be read, and the index and its counts fit it.
fn check_store(server: &Server) {
    let dir = server.data_dir();
    let checked = tidemark(["store", "check", "--data-dir", dir.to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stdout));
}

async fn run(durability: &str) {
    let mut random = Random::seeded();
    let mut server = Server::start(&format!("[server]\ndurability = \"{durability}\"\n"));
    let (seen, mut ended) = (Seen::default(), Ended::default());
    // Half of the rounds with each durability.
    let rounds = rounds(20).div_ceil(2);
    for round in 1..=rounds {
        let client = Client::new(&server.url());
        let readers: Vec<_> =
            (0..STREAMS).map(|n| tokio::spawn(seen.clone().stream(client.clone(), n))).collect();
        tokio::time::sleep(Duration::from_millis(20 + random.below(900))).await;
        server.kill();
        for reader in readers {
            reader.await.unwrap();
        }
        check_store(&server);
        server.restart();
        ended.check(&Client::new(&server.url()), &seen).await;
        println!("{durability} round {round}: {} responses whole", ended.count());
    }
    let events = seen.events();
    assert!(
        events > rounds * STREAMS,
        "only {events} events were seen: the kills came too early to prove anything"
    );
}
