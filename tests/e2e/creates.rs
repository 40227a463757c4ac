//! Creating a response: every form of the POST, what is in the object, what the backend is asked.

use serde_json::{Value, json};

use crate::common::rest::{Client, id_of, text_of, text_of_deltas};
use crate::common::scripted::{Act, Gate, answer, chunk};
use crate::setup::{Stage, ask, ask_streamed, demo, paced, paced_stream};

/// The events of a text answer of three words, without the part of a background response.
const TEXT_ANSWER: [&str; 12] = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.delta",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
    "[DONE]",
];

#[tokio::test]
async fn a_create_waits_for_the_whole_answer() {
    let (_server, client) = demo("");
    let reply = client.post("/v1/responses", &ask("demo")).send().await.unwrap();
    assert_eq!(reply.status(), 200);
    let id = reply.headers()["x-tidemark-response-id"].to_str().unwrap().to_owned();
    let text = reply.text().await.unwrap();
    let response: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&response["id"], &response["status"]), (&json!(id), &json!("completed")));
    assert_eq!(text_of(&response), "Hello wide world");
    let again = client.get(&format!("/v1/responses/{id}")).send().await.unwrap().text().await.unwrap();
    assert_eq!(again, text, "GET returns the same bytes");
}

#[tokio::test]
async fn every_field_of_the_object_is_written_out() {
    let (_server, client) = demo("");
    let body = json!({
        "model": "demo", "input": "x", "tool_choice": "none", "tools": [{"type": "function", "name": "f"}],
    });
    let (_, response) = Client::json(client.post("/v1/responses", &body)).await;
    let fields = "id object created_at completed_at status incomplete_details model previous_response_id instructions output \
        error tools tool_choice truncation parallel_tool_calls text top_p presence_penalty frequency_penalty top_logprobs \
        temperature reasoning usage max_output_tokens max_tool_calls store background service_tier metadata safety_identifier \
        prompt_cache_key";
    let mut expected: Vec<_> = fields.split_whitespace().collect();
    expected.sort_unstable();
    let mut found: Vec<_> = response.as_object().unwrap().keys().map(String::as_str).collect();
    found.sort_unstable();
    assert_eq!(found, expected);
    for field in ["top_p", "presence_penalty", "frequency_penalty", "temperature", "top_logprobs"] {
        assert!(response[field].is_number(), "{field}");
    }
    for field in ["created_at", "completed_at"] {
        assert!(response[field].is_u64(), "{field}");
    }
    assert!(response["service_tier"].is_string() && response["text"]["format"].is_object());
    assert_eq!(response["reasoning"], json!({"effort": null, "summary": null}));
    let tool =
        json!({"type": "function", "name": "f", "description": null, "parameters": null, "strict": null});
    assert_eq!(response["tools"], json!([tool]));
    let usage = json!({
        "input_tokens": 1, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 1, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 2,
    });
    assert_eq!(response["usage"], usage);
    let item = &response["output"][0];
    assert_eq!((&item["type"], &item["status"]), (&json!("message"), &json!("completed")));
    assert_eq!(
        item["content"],
        json!([{"type": "output_text", "text": "x", "annotations": [], "logprobs": []}])
    );
}

#[tokio::test]
async fn a_stream_has_the_events_of_the_contract_in_frames_of_the_contract() {
    let (_server, client) = demo("");
    let reply = client.post("/v1/responses", &ask_streamed("demo")).send().await.unwrap();
    let content_type = reply.headers()["content-type"].to_str().unwrap();
    assert!(content_type.starts_with("text/event-stream"), "{content_type}");
    let text = reply.text().await.unwrap();
    assert!(text.ends_with("\n\ndata: [DONE]\n\n"));
    assert!(!text.contains('\r') && !text.contains("\nid:"), "{text}");
    let frames: Vec<_> = text.trim_end().split("\n\n").collect();
    assert_eq!(frames.len(), TEXT_ANSWER.len());
    for (number, (frame, expected)) in frames.iter().zip(TEXT_ANSWER).enumerate().take(TEXT_ANSWER.len() - 1)
    {
        let data = frame.strip_prefix(&format!("event: {expected}\ndata: ")).unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!((&data["type"], &data["sequence_number"]), (&json!(expected), &json!(number)));
    }
}

#[tokio::test]
async fn a_background_create_is_queued_and_ends_without_a_reader() {
    let (_server, client) = demo("");
    let mut body = ask("demo");
    body["background"] = true.into();
    let (status, response) = Client::json(client.post("/v1/responses", &body)).await;
    assert_eq!((status, &response["status"]), (200, &json!("queued")));
    assert_eq!(response["output"], json!([]));
    let id = response["id"].as_str().unwrap();
    assert_eq!(text_of(&client.ended(id).await), "Hello wide world");
    client.whole(id).await;
}

#[tokio::test]
async fn a_background_stream_answers_at_once_and_can_be_left() {
    let gate = Gate::new();
    let acts = [vec![Act::Await(gate.clone())], answer(["a", "b"])].concat();
    let stage = Stage::with("m", acts).await;
    let mut body = ask_streamed("m");
    body["background"] = true.into();
    let mut stream = stage.client.stream(&body).await;
    let begun = stream.take(2).await;
    assert_eq!([begun[0].name(), begun[1].name()], ["response.created", "response.queued"]);
    let id = id_of(&begun);
    drop(stream);
    gate.open();
    assert_eq!(stage.client.ended(&id).await["status"], "completed");
    let whole = stage.client.whole(&id).await;
    assert_eq!(whole[..2], begun);
    assert_eq!(text_of_deltas(&whole), "ab");
}

#[tokio::test]
async fn an_answer_that_reaches_a_limit_is_incomplete() {
    let (_server, client) = demo("[limits]\noutput = \"1KiB\"\n");
    let mut tokens = paced(10, 0);
    tokens["max_output_tokens"] = 2.into();
    for (body, words) in [(tokens, 2..=2), (paced(1000, 0), 10..=200)] {
        let (status, response) = Client::json(client.post("/v1/responses", &body)).await;
        assert_eq!((status, &response["status"]), (200, &json!("incomplete")));
        assert_eq!(response["incomplete_details"], json!({"reason": "max_output_tokens"}));
        assert_eq!((&response["completed_at"], &response["error"]), (&Value::Null, &Value::Null));
        let count = text_of(&response).split_whitespace().count();
        assert!(words.contains(&count), "{count} words");
        let last = client.whole(response["id"].as_str().unwrap()).await.pop().unwrap();
        assert_eq!(last.name(), "response.incomplete");
    }
}

#[tokio::test]
async fn a_function_call_streams_its_arguments_and_takes_its_output() {
    let (_server, client) = demo("");
    let schema = json!({"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}});
    let mut body = ask_streamed("demo");
    body["tools"] = json!([{"type": "function", "name": "weather", "parameters": schema}]);
    let frames = client.stream(&body).await.events().await;
    let arguments: String = frames
        .iter()
        .filter(|frame| frame.name() == "response.function_call_arguments.delta")
        .map(|frame| frame.json()["delta"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(serde_json::from_str::<Value>(&arguments).unwrap(), json!({"city": "demo"}));
    let response = &frames.last().unwrap().json()["response"];
    let call = &response["output"][0];
    assert_eq!((&call["type"], &call["name"]), (&json!("function_call"), &json!("weather")));
    assert_eq!(call["arguments"], arguments.as_str());

    body["stream"] = false.into();
    body["previous_response_id"] = response["id"].clone();
    body["input"] = json!([{"type": "function_call_output", "call_id": call["call_id"], "output": "sun"}]);
    let (status, answered) = Client::json(client.post("/v1/responses", &body)).await;
    assert_eq!((status, text_of(&answered).as_str()), (200, "Hello wide world"));
}

#[tokio::test]
async fn the_backend_is_asked_for_everything_that_came_before() {
    let stage = Stage::with("m", answer(["first"])).await;
    stage.backend.script("m", answer(["second"]));
    let (_, first) = Client::json(stage.client.post("/v1/responses", &ask("m"))).await;
    let mut body = json!({"model": "m", "input": "And then?", "previous_response_id": first["id"]});
    body["instructions"] = "Be brief.".into();
    let (_, second) = Client::json(stage.client.post("/v1/responses", &body)).await;
    assert_eq!((text_of(&second).as_str(), &second["previous_response_id"]), ("second", &first["id"]));
    let asked = stage.backend.asked().pop().unwrap().body;
    let said: Vec<_> =
        asked["messages"].as_array().unwrap().iter().map(|m| (&m["role"], &m["content"])).collect();
    let expected = [
        ("system", "Be brief."),
        ("user", "Hello wide world"),
        ("assistant", "first"),
        ("user", "And then?"),
    ]
    .map(|(role, content)| (json!(role), json!(content)));
    assert_eq!(said, expected.each_ref().map(|(role, content)| (role, content)));
    assert!(asked.get("previous_response_id").is_none(), "{asked}");
    assert!(matches!(asked.get("store"), None | Some(Value::Bool(false))), "{asked}");
}

#[tokio::test]
async fn only_an_ended_response_can_be_continued() {
    let gate = Gate::new();
    let stage = Stage::with("m", [vec![chunk("a"), Act::Await(gate.clone())], answer(["b"])].concat()).await;
    let id = stage.client.background(ask("m")).await;
    let continued = |id: &str| json!({"model": "m", "input": "x", "previous_response_id": id});
    let reply = stage.client.post("/v1/responses", &continued(&id)).send().await.unwrap();
    assert_eq!(
        (reply.status().as_u16(), reply.headers()["x-should-retry"].to_str().unwrap()),
        (409, "false")
    );
    let error = reply.json::<Value>().await.unwrap();
    assert_eq!(error["error"]["code"], "previous_response_not_terminal");
    assert_eq!(error["error"]["param"], "previous_response_id");
    gate.open();
    stage.client.ended(&id).await;
    let (status, _) = Client::json(stage.client.post("/v1/responses", &continued(&id))).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn fields_that_are_not_ours_reach_the_backend_and_credentials_stay_where_they_belong() {
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), "sk-backend-secret\n").unwrap();
    let keys = format!("api_key_file = {:?}", key.path());
    let refused = Act::Status(401, "no sk-backend-secret for you".into(), "text/plain");
    let stage = Stage::set([("m", answer(["x"])), ("refused", vec![refused])], &keys, "").await;
    let mut body = ask("m");
    body["temperature"] = json!(0.25);
    body["seed_of_the_vendor"] = json!({"deep": [1, null]});
    let request = stage.client.post("/v1/responses", &body).header("authorization", "Bearer caller-secret");
    assert_eq!(Client::json(request).await.0, 200);
    let asked = stage.backend.asked().pop().unwrap();
    assert_eq!(
        (&asked.body["temperature"], &asked.body["seed_of_the_vendor"]["deep"]),
        (&json!(0.25), &json!([1, null]))
    );
    assert_eq!(asked.headers["authorization"], "Bearer sk-backend-secret");
    assert!(!format!("{:?}{}", asked.headers, asked.body).contains("caller-secret"));

    let reply = stage.client.post("/v1/responses", &ask("refused")).send().await.unwrap();
    assert_eq!(reply.status(), 502);
    let id = reply.headers()["x-tidemark-response-id"].to_str().unwrap().to_owned();
    let seen =
        format!("{}{:?}{}", reply.text().await.unwrap(), stage.client.whole(&id).await, stage.server.log());
    assert!(!seen.contains("secret"), "{seen}");
}

#[tokio::test]
async fn models_are_listed_with_their_backend() {
    let stage = Stage::set([("b", answer(["x"])), ("a", answer(["x"]))], "", "").await;
    let (_, listed) = Client::json(stage.client.get("/v1/models")).await;
    let model = |id: &str| json!({"id": id, "object": "model", "created": 1, "owned_by": "scripted"});
    assert_eq!(listed, json!({"object": "list", "data": [model("a"), model("b")]}));
    assert_eq!(Client::json(stage.client.get("/v1/models/a")).await, (200, model("a")));
    assert_eq!(Client::json(stage.client.get("/v1/models/c")).await.0, 404);
}

#[tokio::test]
async fn aliases_stand_for_models() {
    let stage = Stage::set([("big/model", answer(["x"]))], "models = { small = \"big/model\" }", "").await;
    let (status, response) = Client::json(stage.client.post("/v1/responses", &ask("small"))).await;
    assert_eq!((status, &response["model"]), (200, &json!("small")));
    assert_eq!(stage.backend.asked()[0].body["model"], "big/model");
}

#[tokio::test]
async fn paths_without_a_version_are_the_same_and_every_reply_has_an_id() {
    let (_server, client) = demo("");
    let (status, response) = Client::json(client.post("/responses", &paced(2, 0))).await;
    assert_eq!(status, 200);
    let reply = client.get(&format!("/responses/{}", response["id"].as_str().unwrap()));
    let reply = reply.header("x-request-id", "mine").send().await.unwrap();
    assert_eq!((reply.status().as_u16(), reply.headers()["x-request-id"].to_str().unwrap()), (200, "mine"));
    for path in ["/v1/responses/resp_0", "/v1/models", "/nowhere"] {
        let reply = client.get(path).send().await.unwrap();
        assert!(!reply.headers()["x-request-id"].is_empty(), "{path}");
    }
    assert_eq!(client.stream(&paced_stream(1, 0)).await.events().await.len(), 9);
}
