//! Sessions from outside: what a response leaves in one, the pages of a history, its stream, and the Conversations API.

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::bridge::Bridge;
use crate::common::rest::{Client, Frame, Piece, Stream};
use crate::keys::Gate;
use crate::setup::{demo, until};

const HISTORY: &str = "/v1/sessions/support/history";

fn say(text: &str) -> Value {
    json!({"model": "demo", "input": text, "conversation": "support"})
}

async fn said(client: &Client, text: &str) -> Value {
    let (status, response) = Client::json(client.post("/v1/responses", &say(text))).await;
    assert_eq!(status, 200, "{response}");
    response
}

fn text_of(entry: &Value) -> &str {
    entry["item"]["content"][0]["text"].as_str().unwrap()
}

fn texts(page: &Value) -> Vec<&str> {
    page["data"].as_array().unwrap().iter().map(text_of).collect()
}

async fn watch(client: &Client, last: Option<&str>) -> Stream {
    let request = client.get(HISTORY).header("accept", "text/event-stream");
    Stream::open(match last {
        Some(id) => request.header("last-event-id", id),
        None => request,
    })
    .await
}

/// The next frame that is more than the hint how soon to come back.
async fn next(stream: &mut Stream) -> Frame {
    loop {
        match stream.piece().await.unwrap() {
            Piece::Frame(frame) if frame.event.is_some() => return frame,
            Piece::Frame(_) | Piece::Comment(_) => {}
        }
    }
}

#[tokio::test]
async fn o_1_o_20_what_was_said_is_read_page_by_page() {
    let (_server, client) = demo("");
    for turn in ["one", "two", "three"] {
        let response = said(&client, turn).await;
        assert_eq!(response["conversation"], json!({"id": "support"}));
    }
    let (status, page) = Client::json(client.get(&format!("{HISTORY}?limit=4"))).await;
    assert_eq!(status, 200);
    assert_eq!(texts(&page), ["two", "two", "three", "three"], "the demo says what it is told");
    let first = &page["data"][0];
    assert_eq!(
        (&first["seq"], &first["object"], &first["item"]["role"]),
        (&json!(3), &json!("session.item"), &json!("user"))
    );
    assert!(first["response_id"].as_str().unwrap().starts_with("resp_"));
    assert_eq!(
        (&page["has_more"], &page["limit"], &page["session"]),
        (&json!(true), &json!(4), &json!("support"))
    );
    let older = format!("{HISTORY}?limit=4&cursor={}", page["next_cursor"].as_str().unwrap());
    let (_, older) = Client::json(client.get(&older)).await;
    assert_eq!((texts(&older), &older["has_more"]), (vec!["one", "one"], &json!(false)));
    assert!(older.get("next_cursor").is_none());
    // The key is decoded, and means the same without a version.
    for path in ["/v1/sessions/%73upport/history", "/sessions/support/history"] {
        assert_eq!(Client::json(client.get(path)).await.1["data"].as_array().unwrap().len(), 6);
    }
}

#[tokio::test]
async fn o_3_o_4_o_8_o_28_what_cannot_be_is_refused_in_one_envelope() {
    let (_server, client) = demo("");
    said(&client, "one").await;
    for (path, status, code, param) in [
        ("/v1/sessions/%20/history", 400, "invalid_request", "key"),
        ("/v1/sessions/%FF/history", 400, "invalid_request", ""),
        ("/v1/sessions/nobody/history", 404, "not_found", ""),
        ("/v1/sessions/cron:x/history", 404, "not_found", ""),
        ("/v1/sessions/support/history?limit=0", 400, "invalid_request", "limit"),
        ("/v1/sessions/support/history?cursor=seq:2", 400, "invalid_cursor", "cursor"),
        ("/v1/sessions/support/history?view=tools", 400, "invalid_request", "view"),
        ("/v1/conversations/support/items?after=msg_none", 400, "invalid_cursor", "after"),
        ("/v1/conversations/support/items/msg_none", 404, "not_found", ""),
    ] {
        let (found, refusal) = Client::json(client.get(path)).await;
        let error = &refusal["error"];
        assert_eq!((found, &error["code"]), (status, &json!(code)), "{path}");
        assert_eq!(error["param"].as_str().unwrap_or(""), param, "{path}");
    }
    let reply = client.request(Method::PUT, HISTORY).send().await.unwrap();
    assert_eq!((reply.status().as_u16(), &reply.headers()["allow"]), (405, &"GET,HEAD".parse().unwrap()));
    for (key, status, code) in [("subagent:x", 400, "invalid_request"), ("conv_none", 404, "not_found")] {
        let body = json!({"model": "demo", "input": "x", "conversation": {"id": key}});
        let (found, refusal) = Client::json(client.post("/v1/responses", &body)).await;
        assert_eq!(
            (found, &refusal["error"]["code"], &refusal["error"]["param"]),
            (status, &json!(code), &json!("conversation"))
        );
    }
    let both =
        json!({"model": "demo", "input": "x", "conversation": "support", "previous_response_id": "resp_x"});
    let (found, refusal) = Client::json(client.post("/v1/responses", &both)).await;
    assert_eq!((found, &refusal["error"]["param"]), (400, &json!("conversation")));
}

#[tokio::test]
async fn o_9_o_22_o_23_o_s1_a_stream_begins_with_the_page_and_comes_back_behind_the_last_id() {
    let (server, client) = demo("");
    let bridge = Bridge::start(&server.gateway_url());
    said(&client, "one").await;
    for client in [&client, &Client::new(&bridge.url())] {
        let mut stream = watch(client, None).await;
        let kind = stream.headers["content-type"].to_str().unwrap();
        assert_eq!(
            (kind, &stream.headers["cache-control"]),
            ("text/event-stream; charset=utf-8", &"no-cache".parse().unwrap())
        );
        assert_eq!(stream.piece().await, Some(Piece::Comment("retry 1000".to_owned())));
        let page = next(&mut stream).await;
        assert_eq!((page.name(), texts(&page.json()).last()), ("history", Some(&"one")));
        said(client, "two").await;
        let (user, answer) = (next(&mut stream).await, next(&mut stream).await);
        assert_eq!([user.name(), answer.name()], ["item", "item"]);
        assert_eq!((text_of(&user.json()), &answer.json()["item"]["role"]), ("two", &json!("assistant")));
        drop(stream);
        let mut resumed = watch(client, user.id.as_deref()).await;
        assert_eq!(next(&mut resumed).await, answer, "the same frame, byte by byte");
        // Everything else is refused before the stream begins.
        let foreign = client.get(HISTORY).header("accept", "text/event-stream").header("last-event-id", "7");
        let (status, refusal) = Client::json(foreign).await;
        assert_eq!((status, &refusal["error"]["param"]), (400, &json!("last-event-id")));
        Client::json(client.request(Method::POST, "/v1/sessions/support/reset")).await;
        let empty = next(&mut resumed).await;
        assert_eq!((empty.name(), empty.json()["data"].as_array().unwrap().len()), ("history", 0));
        said(client, "one").await;
    }
}

#[tokio::test]
async fn after_kill_nine_between_page_and_stream_nothing_is_missing_and_nothing_there_twice() {
    let (mut server, client) = demo("");
    said(&client, "one").await;
    let mut stream = watch(&client, None).await;
    let mut seen: Vec<u64> = Vec::new();
    let page = next(&mut stream).await;
    seen.extend(page.json()["data"].as_array().unwrap().iter().map(|entry| entry["seq"].as_u64().unwrap()));
    let mut last = page.id;
    for round in 0..4 {
        let client = Client::new(&server.url());
        // What runs while the server dies enters at the next start with what it had put out, or not at all.
        let slow = json!({
            "model": "demo-long", "input": "x", "conversation": "support", "background": true,
            "metadata": {"demo.rate": "50", "demo.events": "100"},
        });
        let running = client.background(slow).await;
        said(&client, "two").await;
        if round % 2 == 0 {
            let frame = next(&mut stream).await;
            seen.push(frame.json()["seq"].as_u64().unwrap());
            last = frame.id;
        }
        until("there is output", async || {
            let now = client.snapshot(&running).await;
            (!now["output"].as_array().unwrap().is_empty()).then_some(())
        })
        .await;
        server.kill();
        server.restart();
        stream = watch(&Client::new(&server.url()), last.as_deref()).await;
    }
    let client = Client::new(&server.url());
    let (_, all) = Client::json(client.get(&format!("{HISTORY}?limit=1000"))).await;
    let all: Vec<u64> =
        all["data"].as_array().unwrap().iter().map(|entry| entry["seq"].as_u64().unwrap()).collect();
    assert_eq!(all, (1..=2 + 4 * 4).collect::<Vec<u64>>());
    while seen.last() != all.last() {
        let frame = next(&mut stream).await;
        assert_eq!(frame.name(), "item");
        seen.push(frame.json()["seq"].as_u64().unwrap());
    }
    assert_eq!(seen, all);
}

#[tokio::test]
async fn check_12_access_that_is_lost_while_a_history_is_watched_ends_it_with_one_error() {
    let gate = Gate::new();
    let key = gate.key("acme", &["responses.write", "sessions.read", "sessions.write"]).await;
    let (client, writer) = (gate.with(&key), gate.operator.of("acme"));
    said(&client, "one").await;
    let mut stream = watch(&client, None).await;
    let page = next(&mut stream).await;
    gate.change(&key, "disable").await;
    let last = next(&mut stream).await;
    assert_eq!(
        (last.name(), &last.json()["code"], &last.id),
        ("error", &json!("STREAM_FORBIDDEN"), &page.id)
    );
    said(&writer, "secret").await;
    assert!(stream.frame().await.is_none(), "nothing follows");
}

#[tokio::test]
async fn sessions_are_listed_reset_and_removed_and_conversations_are_the_same_records() {
    let (_server, client) = demo("");
    let (status, made) =
        Client::json(client.post("/v1/conversations", &json!({"metadata": {"a": "b"}}))).await;
    assert_eq!(
        (status, &made["object"], &made["metadata"]),
        (200, &json!("conversation"), &json!({"a": "b"}))
    );
    let conversation = made["id"].as_str().unwrap();
    assert!(conversation.starts_with("conv_"));
    said(&client, "one").await;
    let (_, list) = Client::json(client.get("/v1/sessions")).await;
    let ids: Vec<_> =
        list["data"].as_array().unwrap().iter().map(|session| session["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [conversation, "support"]);
    let support = &list["data"][1];
    assert_eq!(
        (&support["committed"], &support["generation"], &support["expires_at"]),
        (&json!(2), &json!(0), &Value::Null)
    );
    let (_, one) = Client::json(client.get("/v1/sessions?limit=1")).await;
    let next = format!("/v1/sessions?limit=1&cursor={}", one["next_cursor"].as_str().unwrap());
    assert_eq!(Client::json(client.get(&next)).await.1["data"][0]["id"], "support");
    let (_, reset) = Client::json(client.request(Method::POST, "/v1/sessions/support/reset")).await;
    assert_eq!((&reset["generation"], &reset["committed"]), (&json!(1), &json!(0)));
    let (_, gone) = Client::json(client.request(Method::DELETE, "/v1/sessions/support")).await;
    assert_eq!(gone, json!({"id": "support", "object": "session.deleted", "deleted": true}));
    assert_eq!(Client::json(client.request(Method::DELETE, "/v1/sessions/support")).await.0, 404);
    let (_, named) = Client::json(client.post("/v1/sessions", &json!({"id": "mine"}))).await;
    assert_eq!((&named["id"], &named["object"]), (&json!("mine"), &json!("session")));
    let (status, taken) = Client::json(client.post("/v1/sessions", &json!({"id": "mine"}))).await;
    assert_eq!(
        (status, &taken["error"]["code"], &taken["error"]["param"]),
        (409, &json!("session_exists"), &json!("id"))
    );
}
