//! Backends that break the rules of their own protocol, over both surfaces and in the words of both APIs: an answer or a typed error,
//! and a log that is whole.

use serde_json::{Value, json};
use tidemark_proto::v1::{CreateRequest, Wait};
use tonic_types::StatusExt;

use crate::chats::{PATH, chat, streamed};
use crate::common::rest::{Client, Stream};
use crate::common::scripted::{Act, chunk, done, event, finish, response, tell};
use crate::grpc::{responses, text_request};
use crate::setup::{Stage, ask, ask_streamed};

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Completed,
    /// With this code.
    Failed(&'static str),
}

use End::{Completed, Failed};

const ADDED: &str = "response.output_item.added";
const DONE: &str = "response.output_item.done";
const TEXT: &str = "response.output_text.delta";
const FAULT: End = Failed("backend_error");

fn item(index: i64, id: &str, kind: &str) -> Act {
    tell(
        ADDED,
        json!({"output_index": index, "item": {"type": kind, "id": id, "status": "in_progress", "content": []}}),
    )
}

fn text(index: Value, id: &str, part: Value, delta: Value) -> Act {
    tell(TEXT, json!({"output_index": index, "item_id": id, "content_index": part, "delta": delta}))
}

/// What servers of the Responses dialect say, and what becomes of it: as a response and as a chat.
fn of_responses() -> Vec<(&'static str, Vec<Act>, End, End)> {
    let message = || item(0, "a", "message");
    let hi = |id: &str| text(json!(0), id, json!(0), json!("hi"));
    let cases = [
        ("changes-ids", vec![message(), hi("b"), hi("c"), tell(DONE, json!({"output_index": 0, "item": {"type": "message", "id": "d", "content": []}}))], Completed),
        ("repeats-an-index", vec![message(), hi("a"), item(0, "b", "message"), hi("b")], Completed),
        ("begins-in-the-middle", vec![hi("a")], FAULT),
        ("grows-an-item-never-begun", vec![message(), text(json!(3), "b", json!(0), json!("x"))], FAULT),
        ("closes-a-part-never-opened", vec![message(), tell("response.content_part.done", json!({"output_index": 0, "item_id": "a", "content_index": 2, "part": {"type": "output_text", "text": "x"}}))], FAULT),
        ("ends-an-item-twice", vec![message(), tell(DONE, json!({"output_index": 0, "item": {"type": "message"}})), tell(DONE, json!({"output_index": 0, "item": {"type": "message"}}))], Completed),
        ("puts-items-in-any-order", vec![item(9, "z", "message"), item(2, "y", "reasoning"), text(json!(9), "z", json!(0), json!("hi"))], Completed),
        ("a-part-beyond-the-next", vec![message(), text(json!(0), "a", json!(7), json!("x"))], FAULT),
        ("the-largest-index", vec![message(), text(json!(u64::MAX), "q", json!(0), json!("x"))], FAULT),
        ("an-index-below-zero", vec![message(), text(json!(-1), "q", json!(-1), json!("x"))], FAULT),
        ("a-number-for-a-text", vec![message(), text(json!(0), "a", json!(0), json!(7))], FAULT),
        ("half-a-character", vec![message(), Act::Send(format!("event: {TEXT}\ndata: {{\"type\":\"{TEXT}\",\"output_index\":0,\"item_id\":\"a\",\"content_index\":0,\"delta\":\"\\ud83d\"}}\n\n").into())], FAULT),
        ("an-item-that-is-none", vec![tell(ADDED, json!({"output_index": 0, "item": "x"}))], FAULT),
        ("an-item-of-numbers", vec![tell(ADDED, json!({"output_index": 0, "item": {"type": 7, "id": 7, "content": 7}}))], Completed),
        ("an-event-that-is-a-list", vec![Act::Send("data: []\n\n".into())], FAULT),
        ("an-event-without-a-type", vec![Act::Send("data: {}\n\n".into())], FAULT),
        ("names-that-differ", vec![message(), Act::Send(format!("event: {ADDED}\ndata: {{\"type\":\"{TEXT}\",\"output_index\":0,\"content_index\":0,\"delta\":\"hi\"}}\n\n").into())], Completed),
        ("a-huge-piece", vec![message(), text(json!(0), "a", json!(0), json!("x".repeat(900 << 10)))], Completed),
        ("a-piece-that-is-too-large", vec![message(), text(json!(0), "a", json!(0), json!("x".repeat(2 << 20)))], Failed("event_too_large")),
    ];
    let whole = |(name, acts, end)| (name, response(acts, &json!([])), end, end);
    let mut cases: Vec<_> = cases.into_iter().map(whole).collect();
    // A chat has no items: its text is text wherever it stands.
    let anywhere = [
        "a-part-beyond-the-next",
        "an-index-below-zero",
        "begins-in-the-middle",
        "closes-a-part-never-opened",
        "grows-an-item-never-begun",
        "the-largest-index",
    ];
    for (name, _, _, as_chat) in &mut cases {
        if anywhere.contains(name) {
            *as_chat = Completed;
        }
    }
    cases
}

/// The same of the chat dialect.
fn of_chats() -> Vec<(&'static str, Vec<Act>, End, End)> {
    let one = |choice: Value| event(&json!({ "choices": [choice] }));
    let delta = |delta: Value| one(json!({"index": 0, "delta": delta, "finish_reason": null}));
    let call = |index: Value, id: Value, function: Value| {
        delta(json!({"tool_calls": [{"index": index, "id": id, "function": function}]}))
    };
    let begin = |index: Value, id: &str| call(index, json!(id), json!({"name": "f", "arguments": ""}));
    let more = |index: Value| call(index, Value::Null, json!({"arguments": "{}"}));
    let both = |name, acts: Vec<Act>, end| (name, acts, end, end);
    let ended = |mut acts: Vec<Act>| {
        acts.extend([finish("stop"), done()]);
        acts
    };
    vec![
        both(
            "changes-ids",
            ended(vec![
                event(&json!({"id": "a", "choices": [{"index": 0, "delta": {"content": "x"}}]})),
                event(
                    &json!({"id": "b", "model": "z", "created": -1, "choices": [{"index": 0, "delta": {"content": "y"}}]}),
                ),
            ]),
            Completed,
        ),
        both(
            "all-calls-have-one-index",
            ended(vec![begin(json!(0), "a"), more(json!(0)), begin(json!(0), "b"), more(json!(0))]),
            Completed,
        ),
        both(
            "calls-out-of-order",
            ended(vec![begin(json!(5), "a"), begin(json!(2), "b"), more(json!(5)), more(json!(2))]),
            Completed,
        ),
        ("a-call-without-a-name", ended(vec![more(json!(0))]), FAULT, Completed),
        both("a-call-below-zero", ended(vec![begin(json!(-1), "a")]), FAULT),
        both("calls-that-are-none", ended(vec![delta(json!({"tool_calls": "x"}))]), FAULT),
        both("a-number-for-a-text", ended(vec![delta(json!({"content": 7}))]), FAULT),
        both(
            "half-a-character",
            ended(vec![Act::Send(
                "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\ud83d\"}}]}\n\n".into(),
            )]),
            FAULT,
        ),
        both("choices-that-are-none", vec![event(&json!({"choices": "x"}))], FAULT),
        both("no-choices", ended(vec![event(&json!({"choices": null})), chunk("x")]), Completed),
        both("a-chunk-that-is-a-number", vec![Act::Send("data: 7\n\n".into())], FAULT),
        both("goes-on-after-its-end", vec![chunk("x"), finish("stop"), chunk("y"), done()], FAULT),
        both("ends-twice", vec![chunk("x"), finish("stop"), finish("stop"), done()], Completed),
        ("a-reason-that-nobody-knows", vec![chunk("x"), finish("tired"), done()], FAULT, Completed),
        (
            "too-many-choices",
            ended((0..129).map(|index| one(json!({"index": index, "delta": {"content": "x"}}))).collect()),
            Completed,
            FAULT,
        ),
        both("a-huge-piece", ended(vec![chunk(&"x".repeat(900 << 10))]), Completed),
        both(
            "a-piece-that-is-too-large",
            ended(vec![chunk(&"x".repeat(2 << 20))]),
            Failed("event_too_large"),
        ),
    ]
}

/// How a response ends over REST, buffered and streamed, and over gRPC: the same in all of them.
async fn end_of_response(stage: &Stage, model: &str) -> Option<String> {
    let reply = stage.client.post("/v1/responses", &ask(model)).send().await.unwrap();
    let id = reply.headers()["x-tidemark-response-id"].to_str().unwrap().to_owned();
    let (status, body) = (reply.status().as_u16(), reply.json::<Value>().await.unwrap());
    let frames = stage.client.whole(&id).await;
    let last = frames.last().unwrap().json()["response"].clone();
    let code = last["error"]["code"].as_str().map(str::to_owned);
    // With output it is a response that failed, without it is no response.
    let is_refused = code.is_some() && last["output"] == json!([]);
    assert_eq!(status, if is_refused { 502 } else { 200 }, "{model}: {body}");
    assert_eq!(body["error"]["code"], json!(code), "{model}: {body}");
    let streamed = stage.client.stream(&ask_streamed(model)).await.events().await;
    assert_eq!(streamed.last().unwrap().name(), frames.last().unwrap().name(), "{model}");
    assert_eq!(streamed.len(), frames.len(), "{model}: the same again");

    let request = CreateRequest { wait: Wait::Terminal.into(), ..text_request(model, "x") };
    let over_grpc = match responses(&stage.server).await.create(request).await {
        Ok(made) => made.into_inner().response.unwrap().error.map(|error| error.code),
        Err(status) => Some(status.get_details_error_info().unwrap().reason),
    };
    assert_eq!(over_grpc, code, "{model} over gRPC");
    code
}

/// How a chat ends, buffered and streamed.
async fn end_of_chat(stage: &Stage, model: &str) -> Option<String> {
    let (status, body) = Client::json(stage.client.post(PATH, &chat(model))).await;
    let code = body["error"]["code"].as_str().map(str::to_owned);
    assert_eq!(status, if code.is_some() { 502 } else { 200 }, "{model}: {body}");
    let reply = stage.client.post(PATH, &streamed(model)).send().await.unwrap();
    let id = reply.headers()["x-tidemark-response-id"].to_str().unwrap().to_owned();
    if reply.status() == 200 {
        let last = Stream::from_reply(reply).rest().await.pop().unwrap();
        match &code {
            Some(code) => assert_eq!(last.json()["error"]["code"], json!(code), "{model}"),
            None => assert!(last.is_done(), "{model}: {last:?}"),
        }
    } else {
        assert_eq!(reply.json::<Value>().await.unwrap()["error"]["code"], json!(code), "{model}");
    }
    let (_, object) = Client::json(stage.client.get(&format!("{PATH}/{id}"))).await;
    assert_eq!(object["status"], if code.is_some() { "failed" } else { "completed" }, "{model}: {object}");
    code
}

async fn check_all(cases: Vec<(&'static str, Vec<Act>, End, End)>, backend: &str) {
    let stage = Stage::set(cases.iter().map(|(model, acts, ..)| (*model, acts.clone())), backend, "").await;
    let mut others = Vec::new();
    for (model, _, as_response, as_chat) in cases {
        let found = [end_of_response(&stage, model).await, end_of_chat(&stage, model).await];
        let expected = [as_response, as_chat]
            .map(|end| if let Failed(code) = end { Some(code.to_owned()) } else { None });
        if found != expected {
            others.push((model, found, expected));
        }
    }
    assert!(others.is_empty(), "{others:#?}");
    let healthy = stage.client.get("/v1/models").send().await.unwrap();
    assert_eq!(healthy.status(), 200);
    assert!(!stage.server.log().contains("panicked"), "{}", stage.server.log());
}

#[tokio::test]
async fn a_responses_backend_that_breaks_its_rules_is_a_typed_error_or_an_answer() {
    check_all(of_responses(), "dialect = \"responses\"").await;
}

#[tokio::test]
async fn a_chat_backend_that_breaks_its_rules_is_a_typed_error_or_an_answer() {
    check_all(of_chats(), "").await;
}
