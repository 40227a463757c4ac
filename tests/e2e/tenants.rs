//! Owners next to each other, with keys: what one does costs the other nothing and shows nothing.

use serde_json::json;
use tidemark_proto::names::{IDEMPOTENCY_KEY, IDEMPOTENCY_REPLAYED};

use crate::common::rest::{Client, Stream};
use crate::keys::{Gate, code};
use crate::setup::{paced, paced_stream};

/// A create with an idempotency key: the id, and whether an earlier one had made it.
async fn keyed(client: &Client, key: &str) -> (String, bool) {
    let mut body = paced(500, 20);
    body["background"] = true.into();
    let reply = client.post("/v1/responses", &body).header(IDEMPOTENCY_KEY, key).send().await.unwrap();
    assert_eq!(reply.status(), 200);
    let replayed = reply.headers().contains_key(IDEMPOTENCY_REPLAYED);
    (reply.json::<serde_json::Value>().await.unwrap()["id"].as_str().unwrap().to_owned(), replayed)
}

#[tokio::test]
async fn check_9_owners_who_use_the_same_idempotency_key_neither_see_nor_block_each_other() {
    let gate = Gate::new();
    let (alice, bob) = (gate.user("alice").await, gate.user("bob").await);
    let (of_alice, _) = keyed(&alice, "the-same").await;
    let (of_bob, replayed) = keyed(&bob, "the-same").await;
    assert_ne!(of_alice, of_bob);
    assert!(!replayed, "bob's is the first of bob");
    assert_eq!(keyed(&alice, "the-same").await, (of_alice.clone(), true));
    assert_eq!(keyed(&bob, "the-same").await, (of_bob.clone(), true));
    assert_eq!(bob.cancel(&of_alice).await.0, 404);
    assert_eq!(bob.cancel(&of_bob).await.1["status"], "cancelled");
    assert_eq!(alice.snapshot(&of_alice).await["status"], "in_progress");
    alice.cancel(&of_alice).await;
}

#[tokio::test]
async fn check_10_an_owner_at_its_limit_holds_up_no_other_and_loses_nothing() {
    let gate = Gate::with_settings("[limits]\nlive_per_owner = 2\n");
    let (alice, again) = (gate.user("alice").await, gate.user("alice").await);
    let bob = gate.user("bob").await;
    let mut open = Vec::new();
    for client in [&alice, &again] {
        let mut stream = Stream::open(client.post("/v1/responses", &paced_stream(500, 20))).await;
        open.push((stream.frame().await.unwrap(), stream));
    }
    let (status, refusal) = Client::json(alice.post("/v1/responses", &paced_stream(1, 0))).await;
    assert_eq!((status, code(&refusal)), (429, "quota_exceeded"), "two keys of one owner have one limit");
    let of_bob = bob.background(paced(1, 0)).await;
    assert_eq!(bob.ended(&of_bob).await["status"], "completed");
    for (first, mut stream) in open {
        let id = first.json()["response"]["id"].as_str().unwrap().to_owned();
        assert!(stream.frame().await.is_some_and(|frame| frame.name() != "error"));
        assert_eq!(alice.cancel(&id).await.0, 200);
        assert_eq!(stream.events().await.last().unwrap().json()["response"]["status"], json!("cancelled"));
    }
}
