//! Chat Completions over REST (W-10, S-4): chunks, ends, failures, resume, and each kind of backend.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tidemark_proto::v1::{Api, CreateRequest, GetRequest, ResumeRequest, Wait};

use tokio::task::JoinSet;

use crate::common::rest::{Client, Frame, Piece, Stream};
use crate::common::scripted::{Act, Gate, answer, chunk, done, event, finish, response, tell, usage};
use crate::grpc::responses;
use crate::setup::{Stage, demo, until};

const PATH: &str = "/v1/chat/completions";

/// A chat with a model.
fn chat(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hello wide world"}], "metadata": {"demo.rate": "0"}})
}

/// The same, with more fields.
fn chat_with(model: &str, fields: &Value) -> Value {
    let mut body = chat(model);
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

fn streamed(model: &str) -> Value {
    chat_with(model, &json!({"stream": true}))
}

async fn post(client: &Client, body: &Value) -> (u16, Value) {
    Client::json(client.post(PATH, body)).await
}

/// The name of the response that a reply is about.
async fn reply_and_id(request: RequestBuilder) -> (u16, String, Value) {
    let reply = request.send().await.unwrap();
    let id = reply.headers()["x-tidemark-response-id"].to_str().unwrap().to_owned();
    (reply.status().as_u16(), id, reply.json().await.unwrap())
}

/// A stream and the id of its chat.
async fn stream(client: &Client, body: &Value) -> (Stream, String) {
    let stream = Stream::open(client.post(PATH, body)).await;
    let id = stream.headers["x-tidemark-response-id"].to_str().unwrap().to_owned();
    (stream, id)
}

async fn resume(client: &Client, id: &str, query: &str) -> Stream {
    Stream::open(client.get(&format!("{PATH}/{id}?stream=true{query}"))).await
}

/// The chunks of frames that end with `[DONE]`; every frame has an id and no name.
fn chunks(frames: &[Frame]) -> Vec<Value> {
    let (last, chunks) = frames.split_last().unwrap();
    assert!(last.is_done(), "{last:?}");
    assert!(frames.iter().all(|frame| frame.id.is_some() && frame.event.is_none()), "{frames:?}");
    let ids: Vec<u64> = frames.iter().map(|frame| frame.id.as_ref().unwrap().parse().unwrap()).collect();
    assert!(ids.is_sorted_by(|one, two| one < two), "{ids:?}");
    chunks.iter().map(Frame::json).collect()
}

fn text_of(chunks: &[Value], choice: u64) -> String {
    let choices = chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap());
    let of = choices.filter(|one| one["index"] == choice);
    of.filter_map(|one| one["delta"]["content"].as_str()).collect()
}

#[tokio::test]
async fn a_chat_is_answered_in_the_shape_of_openai() {
    let (_server, client) = demo("");
    let (status, id, object) = reply_and_id(client.post(PATH, &chat("demo"))).await;
    assert_eq!((status, object["id"].as_str()), (200, Some(id.as_str())));
    assert!(id.starts_with("chatcmpl-"), "{id}");
    assert_eq!((&object["object"], &object["model"]), (&json!("chat.completion"), &json!("demo")));
    let message = json!({"role": "assistant", "content": "Hello wide world", "refusal": null});
    let choice = json!([{"index": 0, "message": message, "logprobs": null, "finish_reason": "stop"}]);
    assert_eq!(object["choices"], choice);
    assert_eq!(
        object["usage"],
        json!({"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6,
               "prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}})
    );
    assert_eq!(
        (&object["store"], &object["status"], &object["error"]),
        (&json!(false), &json!("completed"), &Value::Null)
    );
    let (_, again) = Client::json(client.get(&format!("{PATH}/{id}"))).await;
    assert_eq!(again, object, "it is kept for a while");
    let (status, _) = post(&client.of("somebody"), &chat("demo")).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_stream_has_unnamed_frames_with_ids_and_one_done() {
    let (_server, client) = demo("");
    let (first, id) = stream(&client, &streamed("demo")).await;
    let frames = first.rest().await;
    let found = chunks(&frames);
    assert_eq!(text_of(&found, 0), "Hello wide world");
    assert_eq!(found[0]["choices"][0]["delta"]["role"], "assistant");
    let last = &found.last().unwrap()["choices"][0];
    assert_eq!((&last["finish_reason"], &last["delta"]), (&json!("stop"), &json!({})));
    for chunk in &found {
        assert_eq!((&chunk["id"], &chunk["object"]), (&json!(id), &json!("chat.completion.chunk")));
        assert_eq!(chunk.get("usage"), None, "nobody has asked for it");
    }

    let asked = chat_with("demo", &json!({"stream": true, "stream_options": {"include_usage": true}}));
    let (with_usage, id) = stream(&client, &asked).await;
    let with_usage = chunks(&with_usage.rest().await);
    let last = with_usage.last().unwrap();
    assert_eq!((&last["choices"], &last["usage"]["total_tokens"]), (&json!([]), &json!(6)));
    assert_eq!(with_usage.len(), found.len() + 1);
    let resumed = resume(&client, &id, "&include_usage=true").await.rest().await;
    assert_eq!(chunks(&resumed), with_usage);
    assert_eq!(chunks(&resume(&client, &id, "").await.rest().await).len(), found.len());
}

#[tokio::test]
async fn tools_are_called_and_their_outputs_answered() {
    let (_server, client) = demo("");
    let schema = json!({"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}});
    let tools = json!([{"type": "function", "function": {"name": "weather", "parameters": schema}}]);
    let asked = chat_with("demo", &json!({"tools": tools}));
    let (_, object) = post(&client, &asked).await;
    let choice = &object["choices"][0];
    assert_eq!(
        (&choice["finish_reason"], &choice["message"]["content"]),
        (&json!("tool_calls"), &Value::Null)
    );
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!(
        *call,
        json!({"id": "call_demo", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"demo\"}"}})
    );

    let mut answered = asked;
    let messages = answered["messages"].as_array_mut().unwrap();
    messages.push(choice["message"].clone());
    messages.push(json!({"role": "tool", "tool_call_id": call["id"], "content": "sun"}));
    let (_, object) = post(&client, &answered).await;
    assert_eq!(object["choices"][0]["message"]["content"], "Hello wide world");
    let mut stream_of_it = answered;
    stream_of_it["messages"] = chat("demo")["messages"].clone();
    stream_of_it["stream"] = true.into();
    let found = chunks(&stream(&client, &stream_of_it).await.0.rest().await);
    let deltas = found
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str());
    assert_eq!(deltas.collect::<String>(), "{\"city\":\"demo\"}");
}

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

#[tokio::test]
async fn a_reader_that_drops_goes_on_behind_the_last_id_and_ends_with_204() {
    let gate = Gate::new();
    let acts = [vec![chunk("a"), chunk("b"), Act::Await(gate.clone())], answer(["c", "d"])].concat();
    let stage = Stage::with("m", acts).await;
    let (mut first, id) = stream(&stage.client, &streamed("m")).await;
    let seen = first.take(2).await;
    drop(first);
    let last = seen[1].id.clone().unwrap();
    let mut second = resume(&stage.client, &id, &format!("&starting_after={last}")).await;
    gate.open();
    let mut all = seen;
    while let Some(frame) = second.frame().await {
        all.push(frame);
    }
    assert_eq!(text_of(&chunks(&all), 0), "abcd");
    assert_eq!(resume(&stage.client, &id, "").await.rest().await, all, "the same bytes");

    let end = all.last().unwrap().id.clone().unwrap();
    let browser =
        |last: &str| stage.client.get(&format!("{PATH}/{id}?stream=true")).header("last-event-id", last);
    assert_eq!(browser(&end).send().await.unwrap().status(), 204, "it has everything");
    let before = &all[all.len() - 2].id.clone().unwrap();
    let rest = Stream::open(browser(before)).await.rest().await;
    assert_eq!(rest, all[all.len() - 1..], "it does not know yet that this is the end");
}

#[tokio::test]
async fn after_kill_nine_a_chat_has_all_its_chunks_and_has_failed() {
    let acts = vec![chunk("Hel"), chunk("lo"), Act::HangForever];
    let mut stage = Stage::with("m", acts).await;
    let (mut first, id) = stream(&stage.client, &streamed("m")).await;
    let seen = first.take(2).await;
    stage.server.kill();
    assert!(first.frame().await.is_none(), "no [DONE] from a dead server");
    stage.server.restart();
    let client = Client::new(&stage.server.url());
    let frames = resume(&client, &id, "").await.rest().await;
    assert_eq!(frames[..2], seen);
    assert_eq!((frames.len(), &frames[2].json()["error"]["code"]), (3, &json!("gateway_restarted")));
    let (_, object) = Client::json(client.get(&format!("{PATH}/{id}"))).await;
    assert_eq!(
        (&object["status"], &object["choices"][0]["message"]["content"]),
        (&json!("failed"), &json!("Hello"))
    );
}

#[tokio::test]
async fn a_chat_is_cancelled_and_deleted_under_its_own_path_alone() {
    let stage = Stage::with("m", vec![chunk("Hel"), Act::HangForever]).await;
    let (mut first, id) = stream(&stage.client, &streamed("m")).await;
    first.take(1).await;
    let digits = id.trim_start_matches("chatcmpl-").to_owned();
    let call = |method: Method, path: String| Client::json(stage.client.request(method, &path));
    for foreign in [format!("/v1/responses/{id}"), format!("/v1/responses/resp_{digits}")] {
        for (method, end) in [
            (Method::GET, ""),
            (Method::POST, "/cancel"),
            (Method::DELETE, ""),
            (Method::GET, "/input_items"),
        ] {
            assert_eq!(call(method, format!("{foreign}{end}")).await.0, 404, "{foreign}{end}");
        }
    }
    let (status, cancelled) = call(Method::POST, format!("{PATH}/resp_{digits}/cancel")).await;
    assert_eq!((status, &cancelled["status"], &cancelled["id"]), (200, &json!("cancelled"), &json!(id)));
    assert_eq!(cancelled["choices"][0]["finish_reason"], Value::Null);
    let rest = first.rest().await;
    assert!(rest.len() == 1 && rest[0].is_done(), "{rest:?}");
    stage.backend.until_dropped(1).await;

    let (_, list) = Client::json(stage.client.get(PATH)).await;
    assert_eq!((&list["data"][0]["id"], list["data"].as_array().unwrap().len()), (&json!(id), 1));
    assert_eq!(Client::json(stage.client.get("/v1/responses")).await.1["data"], json!([]));
    let (_, deleted) = call(Method::DELETE, format!("{PATH}/{id}")).await;
    assert_eq!(deleted, json!({"id": id, "object": "chat.completion.deleted", "deleted": true}));
    assert_eq!(call(Method::GET, format!("{PATH}/{id}")).await.0, 404);
}

/// D-26: a chat is not stored unless it is asked for, so it does not outlive its readers.
#[tokio::test]
async fn a_chat_without_readers_is_stopped_unless_it_is_stored() {
    let acts = vec![chunk("a"), Act::HangForever];
    let stage = Stage::set([("m", acts)], "", "[runs]\ndisconnect_grace = \"100ms\"\n").await;
    let (mut left, _) = stream(&stage.client, &streamed("m")).await;
    left.take(1).await;
    drop(left);
    stage.backend.until_dropped(1).await;
    let stored = chat_with("m", &json!({"stream": true, "store": true}));
    let (mut kept, id) = stream(&stage.client, &stored).await;
    kept.take(1).await;
    drop(kept);
    let mut again = resume(&stage.client, &id, "").await;
    assert_eq!(text_of(&[again.frame().await.unwrap().json()], 0), "a");
    assert_eq!(stage.backend.dropped(), 1);
}

#[tokio::test]
async fn a_chat_that_is_sent_again_is_one_chat() {
    let acts = vec![chunk("a"), finish("stop"), usage(1, 1), done()];
    let stage = Stage::with("m", acts).await;
    let keyed = |body: &Value| stage.client.post(PATH, body).header("idempotency-key", "k");
    let (_, id, object) = reply_and_id(keyed(&chat("m"))).await;
    let again = keyed(&chat("m")).send().await.unwrap();
    assert_eq!(again.headers()["idempotency-replayed"], "true");
    assert_eq!(again.json::<Value>().await.unwrap(), object);
    let replay = Stream::open(keyed(&streamed("m"))).await;
    assert_eq!(replay.headers["x-tidemark-response-id"], id.as_str());
    let frames = replay.rest().await;
    assert_eq!(text_of(&chunks(&frames), 0), "a");
    let behind = keyed(&streamed("m")).header("last-event-id", frames[0].id.clone().unwrap());
    assert_eq!(Stream::open(behind).await.rest().await, frames[1..]);
    let (status, reused) = Client::json(keyed(&chat_with("m", &json!({"n": 2})))).await;
    assert_eq!((status, &reused["error"]["code"]), (409, &json!("idempotency_key_reused")));
    let other_api = json!({"model": "m", "input": "Hello wide world"});
    let (status, _) =
        Client::json(stage.client.post("/v1/responses", &other_api).header("idempotency-key", "k")).await;
    assert_eq!(status, 409);
    assert_eq!(stage.backend.asked().len(), 1);
}

#[tokio::test]
async fn what_is_wrong_with_a_chat_is_named() {
    let (_server, client) = demo("");
    for (fields, param) in [
        (json!({"messages": []}), "messages"),
        (json!({"messages": "x"}), "messages"),
        (json!({"messages": [{"role": "tool", "content": "x"}]}), "messages[0].tool_call_id"),
        (json!({"temperature": 3}), "temperature"),
        (json!({"n": 2}), "n"),
        (json!({"tools": [{"type": "function"}]}), "tools[0].function.name"),
        (json!({"stream_options": {"include_usage": 1}}), "stream_options.include_usage"),
        (json!({"background": true}), "background"),
    ] {
        let (status, reply) = post(&client, &chat_with("demo", &fields)).await;
        assert_eq!(
            (status, &reply["error"]["param"], &reply["error"]["type"]),
            (400, &json!(param), &json!("invalid_request_error"))
        );
    }
    let (status, reply) = Client::json(client.get(&format!("{PATH}/x?stream=true&starting_after=-1"))).await;
    assert_eq!((status, &reply["error"]["code"]), (400, &json!("invalid_cursor")));
    let reply = client.request(Method::PUT, PATH).send().await.unwrap();
    assert_eq!((reply.status().as_u16(), reply.headers()["allow"].to_str().unwrap()), (405, "GET,HEAD,POST"));
    let (status, object) = Client::json(client.post("/chat/completions", &chat("demo"))).await;
    assert_eq!((status, &object["object"]), (200, &json!("chat.completion")), "the path without /v1");
}

/// The same chat over gRPC, where both forms of its id are good.
#[tokio::test]
async fn a_chat_over_grpc_has_typed_fields_and_the_chunks_of_rest() {
    let (server, client) = demo("");
    let mut grpc = responses(&server).await;
    let messages = json!([{"role": "user", "content": "Hello wide world"}]).to_string();
    let request = CreateRequest {
        api: Api::ChatCompletions.into(),
        model: "demo".to_owned(),
        input: Some(tidemark_proto::v1::create_request::Input::Items(messages.into())),
        wait: Wait::Terminal.into(),
        ..CreateRequest::default()
    };
    let made = grpc.create(request).await.unwrap().into_inner().response.unwrap();
    assert_eq!((made.api(), made.store, made.usage.unwrap().total_tokens), (Api::ChatCompletions, false, 6));
    let rest = resume(&client, &made.id, "").await.rest().await;
    let digits = made.id.trim_start_matches("chatcmpl-");
    let resume_request = ResumeRequest { id: format!("resp_{digits}"), ..ResumeRequest::default() };
    let mut parts = grpc.resume(resume_request).await.unwrap().into_inner();
    let mut events = Vec::new();
    while let Some(part) = parts.message().await.unwrap() {
        events.extend(part.events);
    }
    assert!(events.iter().enumerate().all(|(place, event)| event.seq == place as u64));
    let of_chunks = events.iter().filter(|event| event.r#type == "chat.completion.chunk");
    let data: Vec<_> = of_chunks.map(|event| String::from_utf8(event.data.to_vec()).unwrap()).collect();
    assert_eq!(data, rest[..rest.len() - 1].iter().map(|frame| frame.data.clone()).collect::<Vec<_>>());
    assert_eq!(events.last().unwrap().r#type, "chat.completion.completed");
    let wrong = GetRequest { id: made.id, api: Api::Responses.into() };
    assert_eq!(grpc.get(wrong).await.unwrap_err().code(), tonic::Code::NotFound);
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
