//! What holds for a backend of either dialect: tools over two turns, limits, times, refusals, several at once.

use std::num::NonZeroUsize;

use serde_json::{Value, json};
use tidemark_proto::v1::ErrorCode;

use super::*;
use crate::backends::Models;
use crate::backends::scripted::{Gate, answer, chunk, event, finish, response, tell};
use crate::runs::Status;

const BOTH: [Dialect; 2] = [Dialect::Chat, Dialect::Responses];

/// Two calls at once, in either dialect.
fn two_calls(dialect: Dialect) -> Vec<Act> {
    match dialect {
        Dialect::Chat => {
            let call = |index: u64, id: &str, arguments: &str| json!({"index": index, "id": id, "type": "function", "function": {"name": "f", "arguments": arguments}});
            let more = json!({"index": 0, "function": {"arguments": "1}"}});
            let delta = |calls: Value| event(&json!({"choices": [{"delta": {"tool_calls": calls}}]}));
            vec![
                delta(json!([call(0, "call_a", "{\"x\":")])),
                delta(json!([call(1, "call_b", "{}"), more])),
                finish("tool_calls"),
            ]
        }
        Dialect::Responses => {
            let call = |index: u64, id: &str, status: &str, arguments: &str| {
                json!({"output_index": index, "item": {"type": "function_call", "id": format!("fc_{id}"), "call_id": id,
                    "name": "f", "arguments": arguments, "status": status}})
            };
            let delta = |index: u64, id: &str, text: &str| {
                let at = json!({"output_index": index, "item_id": format!("fc_{id}"), "delta": text});
                tell("response.function_call_arguments.delta", at)
            };
            let events = vec![
                tell("response.output_item.added", call(0, "call_a", "in_progress", "")),
                delta(0, "call_a", "{\"x\":"),
                tell("response.output_item.added", call(1, "call_b", "in_progress", "")),
                delta(1, "call_b", "{}"),
                delta(0, "call_a", "1}"),
                tell("response.output_item.done", call(0, "call_a", "completed", "{\"x\":1}")),
            ];
            response(events, &json!([]))
        }
    }
}

fn text_answer(dialect: Dialect, text: &str) -> Vec<Act> {
    match dialect {
        Dialect::Chat => answer([text]),
        Dialect::Responses => {
            let content = json!([{"type": "output_text", "text": text, "annotations": []}]);
            let item = json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content});
            response(
                [tell("response.output_item.done", json!({"output_index": 0, "item": item}))],
                &json!([item]),
            )
        }
    }
}

#[tokio::test]
async fn calls_at_once_are_answered_in_a_second_turn() {
    for dialect in BOTH {
        let (server, room) = scripted(dialect, two_calls(dialect)).await;
        server.script("m", text_answer(dialect, "42"));
        let tools = json!({"tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
            "tool_choice": "required", "parallel_tool_calls": true});
        let first = room.run(with_extra(&tools)).await;
        let calls = object(&first)["output"].clone();
        let summary =
            |call: &Value| (call["call_id"].clone(), call["arguments"].clone(), call["status"].clone());
        assert_eq!(
            summary(&calls[0]),
            (json!("call_a"), json!("{\"x\":1}"), json!("completed")),
            "{dialect:?}"
        );
        assert_eq!(summary(&calls[1]), (json!("call_b"), json!("{}"), json!("completed")), "{dialect:?}");

        let outputs = json!([
            {"type": "function_call_output", "call_id": "call_a", "output": "40"},
            {"type": "function_call_output", "call_id": "call_b", "output": "2"},
        ]);
        let second =
            CreateRequest { previous_response_id: Some(first.id.to_string()), ..with_items(&outputs) };
        assert_eq!(object(&room.run(second).await)["output"][0]["content"][0]["text"], "42");

        let asked = server.asked();
        assert_eq!(
            (&asked[0].body["tool_choice"], &asked[0].body["parallel_tool_calls"]),
            (&json!("required"), &json!(true))
        );
        let sent = &asked[1].body;
        match dialect {
            Dialect::Chat => {
                let roles: Vec<&str> = sent["messages"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|message| message["role"].as_str().unwrap())
                    .collect();
                assert_eq!(roles, ["user", "assistant", "tool", "tool"]);
                assert_eq!(sent["messages"][1]["tool_calls"][1]["id"], "call_b");
                assert_eq!(sent["messages"][2]["tool_call_id"], "call_a");
            }
            Dialect::Responses => {
                let kinds: Vec<&str> = sent["input"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|item| item["type"].as_str().unwrap())
                    .collect();
                let expected = [
                    "message",
                    "function_call",
                    "function_call",
                    "function_call_output",
                    "function_call_output",
                ];
                assert_eq!(kinds, expected);
                assert_eq!(sent["input"][1].get("id"), None, "our ids mean nothing there");
                assert_eq!((&sent["store"], sent.get("previous_response_id")), (&json!(false), None));
            }
        }
        let path = if dialect == Dialect::Chat { "/v1/chat/completions" } else { "/v1/responses" };
        assert!(asked.iter().all(|asked| asked.path == path));
    }
}

#[tokio::test]
async fn structured_output_is_asked_for_and_echoed() {
    let format = json!({"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": true});
    for dialect in BOTH {
        let (server, room) = scripted(dialect, text_answer(dialect, "{}")).await;
        let done = object(&room.run(with_extra(&json!({"text": {"format": format}}))).await);
        assert_eq!(
            (&done["text"]["format"], &done["output"][0]["content"][0]["text"]),
            (&format, &json!("{}"))
        );
        let asked = server.asked().remove(0).body;
        match dialect {
            Dialect::Chat => assert_eq!(asked["response_format"]["json_schema"]["schema"], format["schema"]),
            Dialect::Responses => assert_eq!(asked["text"]["format"], format),
        }
    }
}

#[tokio::test]
async fn tokens_refusals_and_reasoning_of_a_chat_reach_the_output() {
    let logprobs = json!({"content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}]});
    let acts = vec![
        event(&json!({"choices": [{"delta": {"reasoning_content": "hm"}}]})),
        event(&json!({"choices": [{"delta": {"content": "a"}, "logprobs": logprobs}]})),
        event(&json!({"choices": [{"delta": {"refusal": "no"}}]})),
        finish("stop"),
    ];
    let (server, room) = scripted(Dialect::Chat, acts).await;
    let extra = json!({"include": ["message.output_text.logprobs"], "top_logprobs": 2});
    let output = object(&room.run(with_extra(&extra)).await)["output"].clone();
    assert_eq!(output[0]["content"][0], json!({"type": "reasoning_text", "text": "hm"}));
    assert_eq!(output[1]["content"][0]["logprobs"], logprobs["content"]);
    assert_eq!(output[1]["content"][1], json!({"type": "refusal", "refusal": "no"}));
    let asked = server.asked().remove(0).body;
    assert_eq!((&asked["logprobs"], &asked["top_logprobs"]), (&json!(true), &json!(2)));
}

#[tokio::test]
async fn an_item_that_cannot_be_sent_is_named_by_its_place_in_the_callers_input() {
    for (dialect, kind) in [(Dialect::Chat, "computer_call"), (Dialect::Responses, "item_reference")] {
        let (server, room) = scripted(dialect, text_answer(dialect, "x")).await;
        let first = room.run(request()).await.id.to_string();
        let items = json!([{"role": "user", "content": "hi"}, {"type": kind, "id": "x"}]);
        let second = CreateRequest { previous_response_id: Some(first), ..with_items(&items) };
        let failed = room.run(second).await;
        let fault = failed.fault.as_ref().unwrap();
        assert_eq!((fault.code(), fault.param()), (ErrorCode::InvalidRequest, Some("input[1].type")));
        assert!(
            object(&failed)["error"]["message"].as_str().unwrap().starts_with("input[1].type"),
            "{fault}"
        );

        // An item that an earlier turn brought in was stored with that turn, and is not the caller's of now.
        let third = CreateRequest { previous_response_id: Some(failed.id.to_string()), ..request() };
        let fault = room.run(third).await.fault.unwrap();
        assert_eq!(fault.param(), Some("previous_response_id"), "{fault}");
        assert_eq!(server.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_backend_says_when_to_come_again() {
    for (status, header, seconds) in
        [(429, "7", Some(7)), (503, "86400", Some(3600)), (503, "soon", None), (500, "7", None)]
    {
        for dialect in BOTH {
            let (_server, room) = scripted(dialect, vec![Act::Busy(status, header)]).await;
            let fault = room.run(request()).await.fault.unwrap();
            assert_eq!(fault.code(), ErrorCode::BackendError);
            assert_eq!(fault.retry_after().map(|wait| wait.as_secs()), seconds, "{status} {header}");
        }
    }
}

/// The first piece of an answer and then nothing.
fn begun(dialect: Dialect) -> Vec<Act> {
    let first = match dialect {
        Dialect::Chat => chunk("a"),
        Dialect::Responses => tell("response.created", json!({"response": {"id": "r"}})),
    };
    vec![first, Act::HangForever]
}

#[tokio::test]
async fn each_limit_of_time_ends_a_response_and_is_named() {
    for dialect in BOTH {
        for name in ["first_byte_timeout", "idle_timeout"] {
            let server = Scripted::start().await.unwrap();
            server.script("m", if name == "idle_timeout" { begun(dialect) } else { vec![Act::HangForever] });
            let mut settings = settings("local", &server, dialect);
            // The list of models, too, has the time of a first byte.
            settings.models = Models::List(vec!["m".to_owned()]);
            let limit = if name == "idle_timeout" {
                &mut settings.idle_timeout
            } else {
                &mut settings.first_byte_timeout
            };
            *limit = SHORT;
            let failed = Room::new(vec![settings]).run(request()).await;
            let fault = failed.fault.unwrap();
            assert_eq!((failed.status, fault.code()), (Status::Failed, ErrorCode::BackendTimeout));
            assert!(fault.message().contains(name), "{fault}");
            timeout(PATIENCE, server.until_dropped(1)).await.expect("the server sees it go");
        }
    }
}

#[tokio::test]
async fn a_full_queue_and_a_long_wait_are_overloaded() {
    let gate = Gate::new();
    let server = Scripted::start().await.unwrap();
    server.script("m", vec![Act::Await(gate.clone()), chunk("a"), finish("stop")]);
    let mut settings = settings("local", &server, Dialect::Chat);
    settings.max_concurrency = NonZeroUsize::new(1);
    settings.queue = 1;
    // Long enough for the third one to find the second one waiting, on a slow machine too.
    settings.queue_timeout = Duration::from_secs(3);
    let room = Room::new(vec![settings]);
    let first = room.0.create(&alice(), request()).await.unwrap();
    let asked = async {
        while server.asked().is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, asked).await.expect("the first is under way");
    let both = futures_util::future::join(room.run(request()), room.run(request())).await;
    let mut messages = [both.0, both.1].map(|failed| {
        let fault = failed.fault.unwrap();
        assert_eq!(fault.code(), ErrorCode::Overloaded);
        fault.message().to_owned()
    });
    messages.sort();
    assert!(messages[0].contains("queue_timeout") && messages[1].contains("queue is full"), "{messages:?}");
    gate.open();
    let done = timeout(PATIENCE, room.0.wait_terminal(first)).await.expect("it ends").unwrap();
    assert_eq!((done.status, server.asked().len()), (Status::Completed, 1));
}

#[tokio::test]
async fn a_name_leads_to_its_backend_in_the_backends_own_words() {
    let (one, two) = (Scripted::start().await.unwrap(), Scripted::start().await.unwrap());
    one.script("big", text_answer(Dialect::Chat, "one"));
    two.script("m", text_answer(Dialect::Responses, "two"));
    let mut aliased = settings("one", &one, Dialect::Chat);
    aliased.models = Models::Table([("fast".to_owned(), "big".to_owned())].into());
    let room = Room::new(vec![aliased, settings("two", &two, Dialect::Responses)]);
    for (model, text) in [("fast", "one"), ("m", "two")] {
        let done = object(&room.run(CreateRequest { model: model.into(), ..request() }).await);
        assert_eq!((&done["output"][0]["content"][0]["text"], &done["model"]), (&json!(text), &json!(model)));
    }
    assert_eq!((&one.asked()[0].body["model"], &two.asked()[0].body["model"]), (&json!("big"), &json!("m")));
    let error =
        room.0.create(&alice(), CreateRequest { model: "big".into(), ..request() }).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ModelNotFound);
}
