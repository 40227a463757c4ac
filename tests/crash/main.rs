//! `kill -9` of the real binary in mid-stream, against a model of what its clients saw (check 1 of the seeds' annex 3, D-16, D-23).
//!
//! Every round streams to many readers, kills the server at a random moment and starts it again. Then every event that any client
//! ever got must be there with its number and its bytes, numbers must be dense, and every response must have ended with one
//! terminal event; a create that is sent again finds what it began; and a response is in its session once. Before each start `tidemark store check` must find nothing
//! wrong. `TIDEMARK_ROUNDS` sets the number of rounds, `TIDEMARK_SEED` repeats one run.

#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests"
)]

#[path = "../common/mod.rs"]
mod common;
mod grants;

use std::collections::BTreeSet;
use std::time::Duration;

use common::model::{Ended, Random, Seen, rounds};
use common::rest::{Client, Frame, Stream};
use common::server::{Server, tidemark};
use serde_json::{Value, json};

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

/// How many creates with a key of their own are under way at each kill.
const KEYS: usize = 16;

/// A create with a key is sent, the server dies, and the create is sent again (check 15, D-35). What anybody saw with output is the
/// response of the key for good; a key that had come to nothing makes one new response, and no key ever has two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_stays_one_response_through_kill_nine() {
    let mut random = Random::seeded();
    let mut server = Server::start("");
    let (mut found_again, mut made_anew) = (0, 0);
    for round in 1..=rounds(10).div_ceil(2).max(2) {
        let client = Client::new(&server.url());
        let first = tokio::spawn(async move { send_all(&client, round).await });
        // Before there can be any output, and in the middle of it.
        let pause = if round % 2 == 0 { random.below(10) } else { 150 + random.below(200) };
        tokio::time::sleep(Duration::from_millis(pause)).await;
        server.kill();
        let before = first.await.unwrap();
        server.restart();
        let client = Client::new(&server.url());
        let again = send_all(&client, round).await;
        assert_eq!(send_all(&client, round).await, again, "a key has one response");
        for (seen, again) in before.iter().zip(&again) {
            let last = again.last().unwrap();
            assert!(last.is_terminal(), "the repeat is read to its end");
            if seen.len() > BEFORE_OUTPUT {
                assert_eq!(again[..seen.len()], seen[..]);
                found_again += 1;
            } else if last.name() == "response.completed" {
                made_anew += 1;
            }
        }
        let (_, list) = Client::json(client.get("/v1/responses?limit=1000")).await;
        let all = list["data"].as_array().unwrap().iter();
        let mut keys = BTreeSet::new();
        for response in all.filter(|response| response["output"] != json!([])) {
            assert!(
                keys.insert(response["metadata"]["key"].to_string()),
                "{response} is the second of its key"
            );
        }
        println!("round {round}: {found_again} were found again, {made_anew} made anew");
    }
    assert!(found_again > 0 && made_anew > 0, "the kills came at the wrong times to prove anything");
}

/// Events of a response that has put out nothing: created and in_progress.
const BEFORE_OUTPUT: usize = 2;

/// Sends a create for each key of a round, all at once.
async fn send_all(client: &Client, round: usize) -> Vec<Vec<Frame>> {
    let send = |n| tokio::spawn(keyed(client.clone(), format!("{round}-{n}")));
    let mut all = Vec::new();
    for create in (0..KEYS).map(send).collect::<Vec<_>>() {
        all.push(create.await.unwrap());
    }
    all
}

/// Sends a create with this key and reads what comes, until the end or the death of the server.
async fn keyed(client: Client, key: String) -> Vec<Frame> {
    let body = json!({
        "model": "demo-long", "input": "go", "stream": true,
        "metadata": {"demo.rate": "50", "demo.events": "20", "key": key},
    });
    let request = client.post("/v1/responses", &body).header("idempotency-key", key);
    let Ok(reply) = request.send().await else { return Vec::new() };
    assert_eq!(reply.status(), 200);
    let mut frames = Stream::from_reply(reply).rest().await;
    frames.retain(|frame| !frame.is_done());
    frames
}

/// How many responses are under way in each session at each kill.
const MEMBERS: usize = 4;

/// Responses run in sessions that are watched, and the server dies. Then every response that put out something is in its session
/// once, what it was asked before what it answered, and whatever a watcher saw is there with its number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_enters_its_session_once_through_kill_nine() {
    const SESSIONS: [&str; 4] = ["a", "b", "c", "d"];
    let mut random = Random::seeded();
    let mut server = Server::start("");
    let (mut entered, mut watched) = (0, 0);
    for round in 1..=rounds(10).div_ceil(2).max(2) {
        let client = Client::new(&server.url());
        let watching = SESSIONS.map(|session| tokio::spawn(watch(client.clone(), session)));
        let members = SESSIONS.iter().flat_map(|session| {
            let client = client.clone();
            (0..MEMBERS).map(move |n| tokio::spawn(member(client.clone(), session, n)))
        });
        let members: Vec<_> = members.collect();
        tokio::time::sleep(Duration::from_millis(50 + random.below(500))).await;
        server.kill();
        for member in members {
            member.await.unwrap();
        }
        check_store(&server);
        server.restart();
        let client = Client::new(&server.url());
        let (_, list) = Client::json(client.get("/v1/responses?limit=1000")).await;
        for (session, seen) in SESSIONS.iter().zip(watching) {
            let history = history(&client, session).await;
            for (seq, id) in seen.await.unwrap() {
                assert_eq!(history.get(seq - 1).map(|entry| &entry["id"]), Some(&id), "{session} {seq}");
                watched += 1;
            }
            let numbers: Vec<_> = history.iter().map(|entry| entry["seq"].as_u64().unwrap()).collect();
            assert_eq!(numbers, (1..=history.len() as u64).collect::<Vec<_>>(), "no hole");
            let mut responses = BTreeSet::new();
            for turn in history.chunks(2) {
                let roles = [0, 1].map(|n| turn[n]["item"]["role"].as_str().unwrap());
                assert_eq!(
                    (roles, &turn[0]["response_id"]),
                    (["user", "assistant"], &turn[1]["response_id"])
                );
                assert!(responses.insert(turn[0]["response_id"].to_string()), "{turn:?} is there twice");
            }
            let all = list["data"].as_array().unwrap().iter();
            let spoke = all.filter(|response| {
                response["conversation"]["id"] == **session && response["output"] != json!([])
            });
            let spoke: BTreeSet<_> = spoke.map(|response| response["id"].to_string()).collect();
            assert_eq!(responses, spoke, "{session}");
            entered += responses.len();
        }
        println!("round {round}: {entered} entered, {watched} items were watched");
    }
    assert!(entered > 0 && watched > 0, "the kills came too early to prove anything");
}

/// A response in a session; reads until its end or the death of the server.
async fn member(client: Client, session: &'static str, number: usize) {
    let body = json!({
        "model": "demo-long", "input": format!("{number}"), "stream": true, "conversation": session,
        "metadata": {"demo.rate": "100", "demo.events": (5 + 10 * number).to_string()},
    });
    if let Ok(reply) = client.post("/v1/responses", &body).send().await {
        Stream::from_reply(reply).rest().await;
    }
}

/// Number and id of the items that a watcher sees until the server dies.
async fn watch(client: Client, session: &'static str) -> Vec<(usize, Value)> {
    let mut seen = Vec::new();
    // Until a response has made the session there is nothing to watch.
    let mut stream = loop {
        let request = client.get(&format!("/v1/sessions/{session}/history?limit=1000"));
        match request.header("accept", "text/event-stream").send().await {
            Ok(reply) if reply.status() == 200 => break Stream::from_reply(reply),
            Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(_) => return seen,
        }
    };
    while let Some(frame) = stream.frame().await {
        let entries = match frame.name() {
            "history" => frame.json()["data"].as_array().unwrap().clone(),
            "item" => vec![frame.json()],
            _ => Vec::new(),
        };
        let number = |entry: &Value| usize::try_from(entry["seq"].as_u64().unwrap()).unwrap();
        seen.extend(entries.iter().map(|entry| (number(entry), entry["id"].clone())));
    }
    seen
}

/// All of a history, the oldest first; none if there is no such session.
async fn history(client: &Client, session: &str) -> Vec<Value> {
    let (_, page) =
        Client::json(client.get(&format!("/v1/sessions/{session}/history?view=all&limit=1000"))).await;
    page["data"].as_array().cloned().unwrap_or_default()
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
