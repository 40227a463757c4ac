//! Chats on each kind of backend: what passes through, what is translated, and what a backend does wrong (D-27, D-29, R-29, R-31).

use serde_json::json;
use tokio::task::JoinSet;

use crate::chats::{PATH, chat, chat_with, chunks, post, reply_and_id, resume, stream, streamed, text_of};
use crate::common::rest::{Client, Piece};
use crate::common::scripted::{Act, Gate, answer, chunk, done, event, finish, response, tell};
use crate::setup::{Stage, until};

/// What a backend of the chat dialect says passes through, whatever it is, under our ids and names (D-29).
#[tokio::test]
async fn several_choices_and_what_nobody_knows_pass_through_a_chat_backend() {
    let piece = |index: u64, text: &str, finish: Option<&str>| {
        let logprobs = json!({"content": [{"token": text, "logprob": -0.5}], "refusal": null});
        event(&json!({
            "id": "theirs", "model": "theirs", "created": 1, "object": "chat.completion.chunk", "system_fingerprint": "fp", "x_new": {"a": 1},
            "choices": [{"index": index, "delta": {"content": text, "x_delta": "d"}, "logprobs": logprobs, "finish_reason": finish, "x_choice": 7}],
        }))
    };
    let counted = json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7, "x_usage": 1});
    let acts = vec![
        piece(0, "a", None),
        piece(1, "b", None),
        piece(1, "B", Some("length")),
        piece(0, "A", Some("stop")),
        event(&json!({"choices": [], "usage": counted})),
        done(),
    ];
    let stage = Stage::with("m", acts).await;
    let body = chat_with("m", &json!({"n": 2, "logprobs": true, "seed": 7, "x_asked": [1.0], "stop": ["x"]}));
    let (_, object) = post(&stage.client, &body).await;
    let told = |index: usize| {
        let choice = &object["choices"][index];
        (choice["message"]["content"].clone(), choice["finish_reason"].clone())
    };
    assert_eq!((told(0), told(1)), ((json!("aA"), json!("stop")), (json!("bB"), json!("length"))));
    assert_eq!(object["choices"][0]["logprobs"]["content"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&object["choices"][0]["x_choice"], &object["choices"][0]["message"]["x_delta"]),
        (&json!(7), &json!("dd"))
    );
    assert_eq!(
        (&object["system_fingerprint"], &object["x_new"], &object["usage"]),
        (&json!("fp"), &json!({"a": 1}), &counted)
    );
    assert_eq!((&object["status"], &object["model"]), (&json!("incomplete"), &json!("m")));

    let asked = &stage.backend.asked()[0].body;
    for (name, value) in [
        ("n", json!(2)),
        ("seed", json!(7)),
        ("x_asked", json!([1.0])),
        ("stop", json!(["x"])),
        ("messages", body["messages"].clone()),
    ] {
        assert_eq!(asked[name], value, "{name}");
    }
    assert_eq!((asked.get("metadata"), asked.get("store")), (None, None), "they are the gateway's");

    let mut body = body;
    body["stream"] = true.into();
    let (found, id) = stream(&stage.client, &body).await;
    let found = chunks(&found.rest().await);
    assert_eq!((text_of(&found, 0), text_of(&found, 1)), ("aA".to_owned(), "bB".to_owned()));
    assert_eq!(found.len(), 4, "one for each of theirs");
    let first = &found[0];
    assert_eq!((&first["id"], &first["model"], &first["x_new"]), (&json!(id), &json!("m"), &json!({"a": 1})));
}

/// A backend of the Responses dialect is asked in its own words, and its answer told in those of the caller.
#[tokio::test]
async fn a_responses_backend_is_translated_both_ways_and_what_cannot_be_is_named() {
    let item = json!({"id": "theirs", "type": "message", "status": "in_progress", "role": "assistant", "content": []});
    let events = [
        tell(
            "response.reasoning_text.delta",
            json!({"output_index": 0, "content_index": 0, "item_id": "r", "delta": "hm"}),
        ),
        tell("response.output_item.added", json!({"output_index": 1, "item": item})),
        tell(
            "response.output_text.delta",
            json!({"output_index": 1, "content_index": 0, "item_id": "theirs", "delta": "Hi"}),
        ),
        tell(
            "response.output_item.added",
            json!({"output_index": 2, "item": {"type": "function_call", "call_id": "c", "name": "f", "arguments": ""}}),
        ),
        tell(
            "response.function_call_arguments.delta",
            json!({"output_index": 2, "item_id": "x", "delta": "{}"}),
        ),
    ];
    let stage = Stage::set([("m", response(events, &json!([])))], "dialect = \"responses\"", "").await;
    let body = chat_with(
        "m",
        &json!({
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "x"}]}],
            "max_completion_tokens": 9, "response_format": {"type": "json_object"}, "x_asked": 1,
        }),
    );
    let (_, object) = post(&stage.client, &body).await;
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let message = json!({"role": "assistant", "content": "Hi", "refusal": null, "reasoning_content": "hm", "tool_calls": [call]});
    assert_eq!(
        (&object["choices"][0]["message"], &object["choices"][0]["finish_reason"]),
        (&message, &json!("tool_calls"))
    );
    assert_eq!(object["usage"]["total_tokens"], 5);
    let asked = &stage.backend.asked()[0];
    assert_eq!(asked.path, "/v1/responses");
    let input = json!([
        {"type": "message", "role": "system", "content": "Be brief."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]},
    ]);
    assert_eq!((&asked.body["input"], &asked.body["max_output_tokens"]), (&input, &json!(9)));
    assert_eq!(
        (&asked.body["text"], &asked.body["x_asked"]),
        (&json!({"format": {"type": "json_object"}}), &json!(1))
    );

    for body in [chat_with("m", &json!({"n": 2})), chat_with("m", &json!({"n": 2, "stream": true}))] {
        let (status, refused) = post(&stage.client, &body).await;
        assert_eq!((status, &refused["error"]["param"]), (400, &json!("n")), "{refused}");
    }
    assert_eq!(stage.backend.asked().len(), 1);
}

/// R-29, S-3: what fails before the first chunk is a reply of its own, streamed or not, and names the response.
#[tokio::test]
async fn a_failure_before_the_first_chunk_is_a_reply_with_its_own_status() {
    let stage = Stage::set(
        [
            ("refuses", vec![Act::Status(500, "{}".into(), "application/json")]),
            ("breaks", vec![Act::ClosePrematurely]),
            ("empty", vec![Act::Send("".into()), Act::ClosePrematurely]),
        ],
        "",
        "",
    )
    .await;
    for model in ["refuses", "breaks", "empty"] {
        for body in [chat(model), streamed(model)] {
            let (status, id, reply) = reply_and_id(stage.client.post(PATH, &body)).await;
            assert_eq!(status, 502, "{model}: {reply}");
            assert_eq!(reply["error"]["type"], "server_error");
            let (_, object) = Client::json(stage.client.get(&format!("{PATH}/{id}"))).await;
            assert_eq!((&object["status"], &object["choices"]), (&json!("failed"), &json!([])));
            assert_eq!(object["error"]["code"], reply["error"]["code"]);
        }
    }
    let (status, reply) = post(&stage.client, &streamed("nobody")).await;
    assert_eq!((status, &reply["error"]["code"]), (404, &json!("model_not_found")));
}

/// D-10, R-31: a failure after the first byte is one frame with the envelope, and then the end.
#[tokio::test]
async fn a_failure_after_the_first_chunk_is_one_frame_without_done() {
    let stage = Stage::with("m", vec![chunk("Hel"), chunk("lo"), Act::ClosePrematurely]).await;
    let (found, id) = stream(&stage.client, &streamed("m")).await;
    let frames = found.rest().await;
    let (last, before) = frames.split_last().unwrap();
    assert_eq!(before.len(), 2);
    let error = &last.json()["error"];
    assert_eq!((last.json().as_object().unwrap().len(), &error["code"]), (1, &json!("backend_error")));
    assert_eq!(resume(&stage.client, &id, "").await.rest().await, frames, "it is in the log");

    let (status, id, reply) = reply_and_id(stage.client.post(PATH, &chat("m"))).await;
    assert_eq!(
        (status, &reply["error"]["code"]),
        (502, &json!("backend_error")),
        "half an answer is no answer"
    );
    let (_, object) = Client::json(stage.client.get(&format!("{PATH}/{id}"))).await;
    assert_eq!(object["choices"][0]["message"]["content"], "Hello");
}

/// S-3: a reason to end without `[DONE]` is an end; `[DONE]` without a reason is one, too.
#[tokio::test]
async fn an_answer_ends_with_a_reason_or_with_done() {
    let ends = [("reason", finish("length")), ("done", done())];
    let scripts = ends.map(|(model, end)| (model, vec![chunk("x"), end]));
    let stage = Stage::set(scripts, "", "").await;
    for (model, reason) in [("reason", "length"), ("done", "stop")] {
        let (status, object) = post(&stage.client, &chat(model)).await;
        assert_eq!((status, &object["choices"][0]["finish_reason"]), (200, &json!(reason)), "{model}");
        let found = chunks(&stream(&stage.client, &streamed(model)).await.0.rest().await);
        assert_eq!(found.last().unwrap()["choices"][0]["finish_reason"], reason);
    }
}

/// A question that takes its time gets no headers before there is something to say, and heartbeats behind that.
#[tokio::test]
async fn a_chat_that_is_thought_over_is_one_stream() {
    let gate = Gate::new();
    let acts = [vec![Act::Send("".into()), Act::Await(gate.clone())], answer(["late"])].concat();
    let stage = Stage::with("m", acts).await;
    let mut opening = JoinSet::new();
    let client = stage.client.clone();
    opening.spawn(async move { stream(&client, &streamed("m")).await.0 });
    until("the backend is asked", async || (!stage.backend.asked().is_empty()).then_some(())).await;
    gate.open();
    let mut found = opening.join_next().await.unwrap().unwrap();
    let mut pieces = Vec::new();
    while let Some(piece) = found.piece().await {
        pieces.push(piece);
    }
    let frames = pieces
        .into_iter()
        .filter_map(|piece| if let Piece::Frame(frame) = piece { Some(frame) } else { None });
    assert_eq!(text_of(&chunks(&frames.collect::<Vec<_>>()), 0), "late");
}
