//! Chat Completions over REST and gRPC (W-10, S-4): their shape, resume, cancel, repeats, and what is refused.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tidemark_proto::v1::{Api, CreateRequest, GetRequest, ResumeRequest, Wait};

use crate::common::rest::{Client, Frame, Stream};
use crate::common::scripted::{Act, Gate, answer, chunk, done, finish, usage};
use crate::grpc::responses;
use crate::setup::{Stage, demo};

pub(crate) const PATH: &str = "/v1/chat/completions";

/// A chat with a model.
pub(crate) fn chat(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hello wide world"}], "metadata": {"demo.rate": "0"}})
}

/// The same, with more fields.
pub(crate) fn chat_with(model: &str, fields: &Value) -> Value {
    let mut body = chat(model);
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

pub(crate) fn streamed(model: &str) -> Value {
    chat_with(model, &json!({"stream": true}))
}

pub(crate) async fn post(client: &Client, body: &Value) -> (u16, Value) {
    Client::json(client.post(PATH, body)).await
}

/// The name of the response that a reply is about.
pub(crate) async fn reply_and_id(request: RequestBuilder) -> (u16, String, Value) {
    let reply = request.send().await.unwrap();
    let id = reply.headers()["x-tidemark-response-id"].to_str().unwrap().to_owned();
    (reply.status().as_u16(), id, reply.json().await.unwrap())
}

/// A stream and the id of its chat.
pub(crate) async fn stream(client: &Client, body: &Value) -> (Stream, String) {
    let stream = Stream::open(client.post(PATH, body)).await;
    let id = stream.headers["x-tidemark-response-id"].to_str().unwrap().to_owned();
    (stream, id)
}

pub(crate) async fn resume(client: &Client, id: &str, query: &str) -> Stream {
    Stream::open(client.get(&format!("{PATH}/{id}?stream=true{query}"))).await
}

/// The chunks of frames that end with `[DONE]`; every frame has an id and no name.
pub(crate) fn chunks(frames: &[Frame]) -> Vec<Value> {
    let (last, chunks) = frames.split_last().unwrap();
    assert!(last.is_done(), "{last:?}");
    assert!(frames.iter().all(|frame| frame.id.is_some() && frame.event.is_none()), "{frames:?}");
    let ids: Vec<u64> = frames.iter().map(|frame| frame.id.as_ref().unwrap().parse().unwrap()).collect();
    assert!(ids.is_sorted_by(|one, two| one < two), "{ids:?}");
    chunks.iter().map(Frame::json).collect()
}

pub(crate) fn text_of(chunks: &[Value], choice: u64) -> String {
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

/// The rows of "What there is not" in `docs/compatibility.md`.
#[tokio::test]
async fn what_there_is_not_is_refused_and_never_half_done() {
    let (_server, client) = demo("");
    let (_, made) = post(&client, &chat_with("demo", &json!({"store": true}))).await;
    let one = format!("{PATH}/{}", made["id"].as_str().unwrap());
    let hello = json!({"model": "demo", "input": "Hello"});
    for (path, body, status, code) in [
        (one.as_str(), json!({"metadata": {"a": "b"}}), 405, "method_not_allowed"),
        ("/v1/responses/input_tokens", hello.clone(), 405, "method_not_allowed"),
        ("/v1/responses/compact", hello.clone(), 405, "method_not_allowed"),
        ("/v1/embeddings", hello.clone(), 404, "not_found"),
    ] {
        let (got, reply) = Client::json(client.post(path, &body)).await;
        assert_eq!((got, &reply["error"]["code"]), (status, &json!(code)), "{path}");
    }
    for (query, param) in [("order=asc", "order"), ("model=demo", "model"), ("metadata[a]=b", "metadata")] {
        let (status, reply) = Client::json(client.get(&format!("{PATH}?{query}"))).await;
        assert_eq!((status, &reply["error"]["param"]), (400, &json!(param)));
    }
    let (_, same) = Client::json(client.get(&one)).await;
    assert_eq!(same["metadata"], made["metadata"]);
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
