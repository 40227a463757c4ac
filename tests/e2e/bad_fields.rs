//! Every field of both APIs with values that it cannot have, over both surfaces: an error that names it, or an answer, never more.

use std::sync::Arc;

use serde_json::{Value, json};
use tidemark_proto::v1::create_request::Input;
use tidemark_proto::v1::{Api, CreateRequest, Wait};
use tokio::sync::Mutex;
use tonic::Code;
use tonic_types::StatusExt;

use crate::chats::PATH;
use crate::common::rest::Client;
use crate::common::scripted::{answer, response};
use crate::grpc::responses;
use crate::setup::{Stage, demo, many};

const RESPONSE_FIELDS: [&str; 32] = [
    "background",
    "conversation",
    "frequency_penalty",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "moderation",
    "parallel_tool_calls",
    "presence_penalty",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
    "x_new",
];

const CHAT_FIELDS: [&str; 38] = [
    "audio",
    "background",
    "conversation",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "modalities",
    "model",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "previous_response_id",
    "prompt_cache_key",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
    "x_new",
];

/// Fields that CreateRequest types: a gRPC client has no way to send them wrongly but in `extra`, where they may not be.
const TYPED: [&str; 8] =
    ["background", "input", "messages", "metadata", "model", "previous_response_id", "store", "extra"];

/// As deep as no parser of ours goes, and one that recursed would not come back from.
const DEPTH: usize = 10_000;

/// Values of every type, some of each that are too large, too long or not text at all.
fn values() -> Vec<String> {
    let mut values: Vec<String> = [
        "null",
        "true",
        "0",
        "-1",
        "1.5",
        "99999999999999999999999",
        "1e400",
        "\"\"",
        "\"x\"",
        "\"\\ud800\"",
        "\"\\udc00\\ud800x\"",
        "[]",
        "[null]",
        "[1,\"x\"]",
        "[\"\\ud800\"]",
        "[{}]",
        "[{\"type\":\"function\"}]",
        "[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]",
        "{}",
        "{\"type\":1}",
        "{\"a\":\"\\ud800\"}",
        "{\"\\ud800\":1}",
    ]
    .map(str::to_owned)
    .to_vec();
    values.push(format!("\"{}\"", "x".repeat(20_000)));
    values.push(format!("[{}1]", "1,".repeat(20_000)));
    values.push(format!("{}{}", "[".repeat(DEPTH), "]".repeat(DEPTH)));
    values.push(format!("{}1{}", "{\"a\":".repeat(DEPTH), "}".repeat(DEPTH)));
    values
}

/// A body with this field. The last of two would count, so the field takes the place of the one that is there.
fn body(api: Api, field: &str, value: &str) -> String {
    let input = if api == Api::ChatCompletions { "messages" } else { "input" };
    let fields = [
        ("model", "\"demo\""),
        (input, "[{\"role\":\"user\",\"content\":\"x\"}]"),
        ("metadata", "{\"demo.rate\":\"0\",\"demo.events\":\"1\"}"),
    ];
    let mut members: Vec<String> = fields
        .iter()
        .filter(|(name, _)| *name != field)
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    members.push(format!("\"{field}\":{value}"));
    format!("{{{}}}", members.join(","))
}

fn cases() -> Vec<(Api, &'static str, String)> {
    let of = |api: Api, fields: &[&'static str]| -> Vec<(Api, &'static str, String)> {
        let all = fields.iter().flat_map(|field| values().into_iter().map(move |value| (api, *field, value)));
        all.collect()
    };
    [of(Api::Responses, &RESPONSE_FIELDS), of(Api::ChatCompletions, &CHAT_FIELDS)].concat()
}

fn shortened(value: &str) -> String {
    value.chars().take(40).collect()
}

#[tokio::test]
async fn no_value_of_any_field_is_more_than_a_refusal_over_rest() {
    let (_server, client) = demo("");
    let cases = Arc::new(cases());
    let refused = Arc::new(Mutex::new(0));
    many(cases.len(), |number| {
        let (client, cases, refused) = (client.clone(), Arc::clone(&cases), Arc::clone(&refused));
        async move {
            let (api, field, value) = &cases[number];
            let path = if *api == Api::ChatCompletions { PATH } else { "/v1/responses" };
            let request =
                client.request(reqwest::Method::POST, path).header("content-type", "application/json");
            let reply = request.body(body(*api, field, value)).send().await.unwrap();
            let status = reply.status().as_u16();
            let at = format!("{path} {field} = {}", shortened(value));
            let text = reply.text().await.unwrap();
            if status == 200 {
                return;
            }
            *refused.lock().await += 1;
            let error = &serde_json::from_str::<Value>(&text)
                .unwrap_or_else(|_| panic!("{at}: {status} {text}"))["error"];
            assert!([400, 404].contains(&status), "{at}: {status} {error}");
            assert_eq!(error["type"], "invalid_request_error", "{at}");
            let param = error["param"].as_str().unwrap_or_else(|| panic!("{at}: nothing is named: {error}"));
            assert!(param.starts_with(field), "{at}: {param} is named");
            assert!(error["message"].as_str().is_some_and(|message| message.len() < 1000), "{at}: {error}");
        }
    })
    .await;
    let (refused, all) = (*refused.lock().await, cases.len());
    assert!(refused > all / 2, "{refused} of {all} were refused");
    assert_eq!(client.get("/v1/models").send().await.unwrap().status(), 200, "it still works");
}

#[tokio::test]
async fn no_value_of_any_field_is_more_than_a_refusal_over_grpc() {
    let (server, _) = demo("");
    let cases = Arc::new(cases());
    let calls = responses(&server).await;
    many(cases.len(), |number| {
        let (mut calls, cases) = (calls.clone(), Arc::clone(&cases));
        async move {
            let (api, field, value) = &cases[number];
            let request = CreateRequest {
                api: (*api).into(),
                model: "demo".to_owned(),
                input: Some(Input::Items(r#"[{"role":"user","content":"x"}]"#.into())),
                extra: format!("{{\"{field}\":{value}}}").into(),
                metadata: [
                    ("demo.rate".to_owned(), "0".to_owned()),
                    ("demo.events".to_owned(), "1".to_owned()),
                ]
                .into(),
                wait: Wait::Terminal.into(),
                ..CreateRequest::default()
            };
            let at = format!("{api:?} {field} = {}", shortened(value));
            let Err(status) = calls.create(request).await else {
                assert!(!TYPED.contains(field) || value == "null", "{at}");
                return;
            };
            assert_eq!(status.code(), Code::InvalidArgument, "{at}: {status:?}");
            let details = status.get_error_details();
            assert_eq!(details.error_info().unwrap().reason, "invalid_request", "{at}");
            let named = &details.bad_request().unwrap().field_violations[0].field;
            assert!(named.starts_with(field) || named == "extra", "{at}: {named} is named");
        }
    })
    .await;
}

/// The longest that there may be passes, and one more does not.
#[tokio::test]
async fn the_bounds_of_what_is_long_are_exact() {
    let (_server, client) = demo("");
    let chars = |count: usize| "x".repeat(count);
    let pairs = |count: usize| {
        (0..count).map(|number| (number.to_string(), json!("v"))).collect::<serde_json::Map<_, _>>()
    };
    let one = |key: usize, value: usize| json!({chars(key): chars(value)});
    for (field, most, more) in [
        ("metadata", json!(pairs(16)), json!(pairs(17))),
        ("metadata", one(64, 512), one(65, 512)),
        ("metadata", one(64, 512), one(64, 513)),
        ("safety_identifier", json!(chars(64)), json!(chars(65))),
        ("prompt_cache_key", json!(chars(64)), json!(chars(65))),
        ("service_tier", json!(chars(64)), json!(chars(65))),
        ("top_logprobs", json!(20), json!(21)),
        ("temperature", json!(2), json!(2.01)),
        ("max_tool_calls", json!(1), json!(0)),
        ("max_output_tokens", json!(1), json!(0)),
    ] {
        for (value, expected) in [(most, 200), (more, 400)] {
            let body = json!({"model": "demo", "input": "x", field: value});
            let (status, reply) = Client::json(client.post("/v1/responses", &body)).await;
            assert_eq!(status, expected, "{field}: {reply}");
            if expected == 400 {
                assert_eq!(reply["error"]["param"], field, "{reply}");
            }
        }
    }
}

/// 10 485 760 characters, whatever they are in bytes.
#[tokio::test]
async fn a_text_of_the_longest_length_passes_and_a_longer_one_is_refused() {
    let stage = Stage::set([("m", answer(["x"]))], "", "[server]\nbody_limit = \"31MiB\"\n").await;
    let most = tidemark::runs::MAX_INPUT_CHARS;
    assert_eq!(most, 10_485_760);
    for (count, expected) in [(most, 200), (most + 1, 400)] {
        let text = format!("é{}", "x".repeat(count - 1));
        let (status, reply) =
            Client::json(stage.client.post("/v1/responses", &json!({"model": "m", "input": text}))).await;
        assert_eq!(status, expected, "{}", reply["error"]);
        if expected == 400 {
            assert_eq!(reply["error"]["param"], "input");
        }
    }
}

#[tokio::test]
async fn an_input_of_10_000_items_is_told_whole_and_the_one_that_is_wrong_is_named() {
    const ITEMS: usize = 10_000;
    let stages = [
        Stage::set([("m", answer(["x"]))], "", "").await,
        Stage::set([("m", response([], &json!([])))], "dialect = \"responses\"", "").await,
    ];
    let item = |number: usize| json!({"role": "user", "content": format!("item {number}")});
    let items: Vec<Value> = (0..ITEMS).map(item).collect();
    let mut wrong = items.clone();
    wrong[ITEMS - 1] = json!(7);
    for stage in &stages {
        for (path, field) in [("/v1/responses", "input"), (PATH, "messages")] {
            let (status, reply) =
                Client::json(stage.client.post(path, &json!({"model": "m", field: items}))).await;
            assert_eq!(status, 200, "{path}: {reply}");
            let asked = stage.backend.asked().pop().unwrap().body;
            let told = asked.get("messages").or_else(|| asked.get("input")).unwrap().as_array().unwrap();
            assert_eq!(
                (told.len(), &told[ITEMS - 1]["content"]),
                (ITEMS, &json!(format!("item {}", ITEMS - 1)))
            );
            let (status, reply) =
                Client::json(stage.client.post(path, &json!({"model": "m", field: wrong}))).await;
            assert_eq!(
                (status, &reply["error"]["param"]),
                (400, &json!(format!("{field}[{}]", ITEMS - 1))),
                "{path}"
            );
        }
        let items = Some(Input::Items(json!(items).to_string().into()));
        let request = CreateRequest {
            model: "m".to_owned(),
            input: items,
            wait: Wait::Terminal.into(),
            ..CreateRequest::default()
        };
        let made =
            responses(&stage.server).await.create(request).await.unwrap().into_inner().response.unwrap();
        let (_, page) =
            Client::json(stage.client.get(&format!("/v1/responses/{}/input_items?limit=100", made.id))).await;
        assert_eq!((page["data"].as_array().unwrap().len(), &page["has_more"]), (100, &json!(true)));
    }
}
