//! The rows of the fields of a chat request.

use serde_json::{Value, json};

use super::Told::{As, AsItIs, Refused};
use super::{Case, Row, items, nested_tool, tool};

fn messages(messages: Value) -> Value {
    json!({ "messages": messages })
}

/// A message of the user with one part.
fn part(part: Value) -> Value {
    messages(json!([{"role": "user", "content": [part]}]))
}

pub(super) fn rows() -> Vec<Row> {
    let said = json!([
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
        {"role": "assistant", "content": "b", "refusal": "no"},
    ]);
    let said_as_items = json!([
        {"type": "message", "role": "system", "content": "s"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "b"}, {"type": "refusal", "refusal": "no"}]},
    ]);
    let call = |kind: &str| json!({"id": "c", "type": kind, "function": {"name": "f", "arguments": "{}"}});
    let called = |kind: &str| {
        messages(json!([
            {"role": "assistant", "content": null, "tool_calls": [call(kind)]},
            {"role": "tool", "tool_call_id": "c", "content": "sun"},
        ]))
    };
    let called_as_items = json!([
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "sun"},
    ]);
    let thought = json!([{"role": "assistant", "content": "b", "reasoning_content": "r", "reasoning": "r", "annotations": []}]);
    let only = |name: &'static str, value: Value| Case(json!({name: value}), AsItIs, Refused(name));
    let of_gateway = |mut fields: Value, named: &[&str]| {
        let told: serde_json::Map<String, Value> =
            named.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
        fields["x_marker"] = 1.into();
        Case(fields, As(Value::Object(told.clone())), As(Value::Object(told)))
    };
    let schema = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": true}});
    let flat = json!({"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": true});
    vec![
        (
            "`model`",
            vec![Case(json!({"model": "alias"}), As(json!({"model": "m"})), As(json!({"model": "m"})))],
        ),
        ("`messages`: text, `refusal`", vec![Case(messages(said), AsItIs, As(items(said_as_items)))]),
        (
            "parts `image_url`, `file`, `input_audio`",
            vec![
                Case(
                    part(json!({"type": "image_url", "image_url": {"url": "u", "detail": "low"}})),
                    AsItIs,
                    As(items(
                        json!([{"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": "u", "detail": "low"}]}]),
                    )),
                ),
                Case(
                    part(json!({"type": "file", "file": {"file_id": "f"}})),
                    AsItIs,
                    As(items(
                        json!([{"type": "message", "role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]),
                    )),
                ),
                Case(
                    part(json!({"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}})),
                    AsItIs,
                    As(items(
                        json!([{"type": "message", "role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}}]}]),
                    )),
                ),
            ],
        ),
        (
            "`tool_calls` of the assistant, `tool` messages",
            vec![
                Case(called("function"), AsItIs, As(items(called_as_items))),
                Case(called("custom"), AsItIs, Refused("messages[0].tool_calls[0].type")),
            ],
        ),
        (
            "`reasoning_content`, `reasoning`, `annotations` of earlier answers",
            vec![Case(
                messages(thought),
                AsItIs,
                As(items(json!([{"type": "message", "role": "assistant", "content": "b"}]))),
            )],
        ),
        (
            "`name`, `audio`, `function_call`, role `function`, members and parts that nobody knows",
            vec![
                Case(
                    messages(json!([{"role": "user", "content": "x", "name": "n"}])),
                    AsItIs,
                    Refused("messages[0].name"),
                ),
                Case(
                    messages(json!([{"role": "assistant", "content": "x", "audio": {"id": "a"}}])),
                    AsItIs,
                    Refused("messages[0].audio"),
                ),
                Case(
                    messages(
                        json!([{"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": ""}}]),
                    ),
                    AsItIs,
                    Refused("messages[0].function_call"),
                ),
                Case(
                    messages(json!([{"role": "function", "name": "f", "content": "x"}])),
                    AsItIs,
                    Refused("messages[0].role"),
                ),
                Case(
                    messages(json!([{"role": "user", "content": "x", "x_new": 1}])),
                    AsItIs,
                    Refused("messages[0].x_new"),
                ),
                Case(part(json!({"type": "x_new"})), AsItIs, Refused("messages[0].content[0].type")),
            ],
        ),
        (
            "`max_completion_tokens`, `max_tokens`",
            vec![
                Case(
                    json!({"max_completion_tokens": 9}),
                    AsItIs,
                    As(json!({"max_output_tokens": 9, "max_completion_tokens": null})),
                ),
                Case(
                    json!({"max_tokens": 9}),
                    AsItIs,
                    As(json!({"max_output_tokens": 9, "max_tokens": null})),
                ),
            ],
        ),
        (
            "`response_format`, `verbosity`",
            vec![
                Case(
                    json!({"response_format": schema, "verbosity": "low"}),
                    AsItIs,
                    As(
                        json!({"text": {"format": flat, "verbosity": "low"}, "response_format": null, "verbosity": null}),
                    ),
                ),
                Case(
                    json!({"response_format": {"type": "json_object"}}),
                    AsItIs,
                    As(json!({"text": {"format": {"type": "json_object"}}})),
                ),
                Case(json!({"response_format": {"type": "x_new"}}), AsItIs, Refused("response_format.type")),
            ],
        ),
        (
            "`reasoning_effort`",
            vec![Case(
                json!({"reasoning_effort": "low"}),
                AsItIs,
                As(json!({"reasoning": {"effort": "low"}, "reasoning_effort": null})),
            )],
        ),
        (
            "`tools`, `tool_choice`",
            vec![
                Case(
                    json!({"tools": nested_tool(), "tool_choice": {"type": "function", "function": {"name": "f"}}}),
                    AsItIs,
                    As(json!({"tools": tool(), "tool_choice": {"type": "function", "name": "f"}})),
                ),
                Case(
                    json!({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required"}),
                    AsItIs,
                    As(
                        json!({"tools": [{"type": "function", "name": "f", "strict": false}], "tool_choice": "required"}),
                    ),
                ),
                Case(
                    json!({"tools": [{"type": "custom", "custom": {"name": "f"}}]}),
                    AsItIs,
                    Refused("tools[0].type"),
                ),
            ],
        ),
        (
            "`parallel_tool_calls`",
            vec![Case(
                json!({"parallel_tool_calls": true, "tools": nested_tool()}),
                AsItIs,
                As(json!({"parallel_tool_calls": true})),
            )],
        ),
        (
            "`logprobs`, `top_logprobs`",
            vec![Case(
                json!({"logprobs": true, "top_logprobs": 2}),
                AsItIs,
                As(json!({"include": ["message.output_text.logprobs"], "top_logprobs": 2, "logprobs": null})),
            )],
        ),
        (
            "`n`",
            vec![
                Case(json!({"n": 2}), AsItIs, Refused("n")),
                Case(json!({"n": 1}), AsItIs, As(json!({"n": null}))),
            ],
        ),
        (
            "`stop`, `seed`, `logit_bias`, `prediction`, `web_search_options`, `functions`, `function_call`, `audio`",
            vec![
                only("stop", json!(["a"])),
                only("seed", json!(7)),
                only("logit_bias", json!({"1": 1})),
                only("prediction", json!({"type": "content", "content": "x"})),
                only("web_search_options", json!({"search_context_size": "low"})),
                only("functions", json!([{"name": "f"}])),
                only("function_call", json!("auto")),
                only("audio", json!({"voice": "alloy", "format": "wav"})),
            ],
        ),
        (
            "`modalities`",
            vec![
                Case(json!({"modalities": ["text"]}), AsItIs, As(json!({"modalities": null}))),
                only("modalities", json!(["text", "audio"])),
            ],
        ),
        (
            "`temperature`, `top_p`, penalties, `user`, `service_tier`, `safety_identifier`, `prompt_cache_key`",
            vec![Case(
                json!({"temperature": 0.5, "top_p": 0.5, "presence_penalty": 0.5, "frequency_penalty": 0.5, "user": "u", "service_tier": "flex",
                       "safety_identifier": "s", "prompt_cache_key": "k"}),
                AsItIs,
                AsItIs,
            )],
        ),
        ("any other field", vec![Case(json!({"x_new": {"b": 1.5, "a": []}}), AsItIs, AsItIs)]),
        (
            "`store`",
            vec![Case(json!({"store": true}), As(json!({"store": null})), As(json!({"store": false})))],
        ),
        ("`metadata`", vec![of_gateway(json!({"metadata": {"a": "b"}}), &["metadata"])]),
        (
            "`stream`, `stream_options.include_usage`",
            vec![Case(
                json!({"stream_options": {"include_usage": false}}),
                As(json!({"stream": true, "stream_options": {"include_usage": true}})),
                As(json!({"stream": true, "stream_options": null})),
            )],
        ),
        (
            "`background`, `previous_response_id`, `conversation`",
            ["background", "previous_response_id", "conversation"]
                .into_iter()
                .zip([json!(true), json!("resp_1"), json!("conv_1")])
                .map(|(name, value)| Case(json!({name: value}), Refused(name), Refused(name)))
                .collect(),
        ),
    ]
}
