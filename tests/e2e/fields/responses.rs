//! The rows of the fields of a Responses request.

use serde_json::{Value, json};

use super::Told::{self, As, AsItIs, Refused};
use super::{Case, Row, items, nested_tool, tool};

/// A message of the user with one part.
fn shown(part: Value) -> Value {
    items(json!([{"role": "user", "content": [part]}]))
}

/// The same in a chat.
fn seen(part: Value) -> Told {
    As(json!({"messages": [{"role": "user", "content": [part]}]}))
}

pub(super) fn rows() -> Vec<Row> {
    let said = json!([
        {"role": "user", "content": "a"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "b"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "c"}]},
    ]);
    let said_in_a_chat = json!({"messages": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"role": "developer", "content": "c"},
    ]});
    let called = json!([
        {"role": "user", "content": "a"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "sun"},
    ]);
    let called_in_a_chat = json!({"messages": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": "sun"},
    ]});
    let output_of =
        |part: Value| items(json!([{"type": "function_call_output", "call_id": "c", "output": [part]}]));
    let reasoned = json!([
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "e"},
        {"role": "user", "content": "a"},
    ]);
    let image = json!({"type": "input_image", "image_url": "data:image/png;base64,x", "detail": "low"});
    let file = json!({"type": "input_file", "filename": "a.pdf", "file_data": "data:,x"});
    let audio = json!({"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}});
    let schema = json!({"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": true});
    let nested = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": true}});
    let with_tools = |mut more: Value| {
        more["tools"] = tool();
        more
    };
    vec![
        (
            "`model`",
            vec![Case(json!({"model": "alias"}), As(json!({"model": "m"})), As(json!({"model": "m"})))],
        ),
        (
            "`instructions`",
            vec![Case(
                json!({"instructions": "Be brief."}),
                As(
                    json!({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "x"}], "instructions": null}),
                ),
                AsItIs,
            )],
        ),
        ("`input`: messages, text, refusals", vec![Case(items(said), As(said_in_a_chat), AsItIs)]),
        (
            "`input_image`",
            vec![
                Case(
                    shown(image),
                    seen(
                        json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,x", "detail": "low"}}),
                    ),
                    AsItIs,
                ),
                Case(
                    shown(json!({"type": "input_image", "file_id": "f"})),
                    Refused("input[0].content[0].file_id"),
                    AsItIs,
                ),
            ],
        ),
        (
            "`input_file`",
            vec![
                Case(
                    shown(file),
                    seen(json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:,x"}})),
                    AsItIs,
                ),
                Case(
                    shown(json!({"type": "input_file", "file_url": "u"})),
                    Refused("input[0].content[0].file_url"),
                    AsItIs,
                ),
            ],
        ),
        ("`input_audio`", vec![Case(shown(audio.clone()), seen(audio), AsItIs)]),
        (
            "`function_call`, `function_call_output`",
            vec![
                Case(items(called), As(called_in_a_chat), AsItIs),
                Case(
                    output_of(json!({"type": "input_image", "image_url": "u"})),
                    Refused("input[0].output[0].type"),
                    AsItIs,
                ),
                Case(
                    output_of(json!({"type": "input_text", "text": "sun"})),
                    As(json!({"messages": [{"role": "tool", "tool_call_id": "c", "content": "sun"}]})),
                    AsItIs,
                ),
            ],
        ),
        (
            "`reasoning` items",
            vec![Case(items(reasoned), As(json!({"messages": [{"role": "user", "content": "a"}]})), AsItIs)],
        ),
        (
            "`item_reference`",
            vec![Case(
                items(json!([{"type": "item_reference", "id": "msg_1"}])),
                Refused("input[0].type"),
                Refused("input[0].type"),
            )],
        ),
        (
            "any other item",
            vec![Case(
                items(json!([{"type": "x_new_call", "x": {"b": 1.5}}])),
                Refused("input[0].type"),
                AsItIs,
            )],
        ),
        (
            "ids of items",
            vec![
                Case(
                    items(json!([{"type": "message", "id": "msg_1", "role": "user", "content": "a"}])),
                    As(json!({"messages": [{"role": "user", "content": "a"}]})),
                    As(items(json!([{"type": "message", "role": "user", "content": "a"}]))),
                ),
                Case(
                    items(json!([{"type": "mcp_approval_request", "id": "mcpr_1", "name": "f"}])),
                    Refused("input[0].type"),
                    AsItIs,
                ),
            ],
        ),
        (
            "`tools`, `tool_choice`",
            vec![
                Case(
                    with_tools(json!({"tool_choice": {"type": "function", "name": "f"}})),
                    As(
                        json!({"tools": nested_tool(), "tool_choice": {"type": "function", "function": {"name": "f"}}}),
                    ),
                    AsItIs,
                ),
                Case(
                    with_tools(json!({"tool_choice": "required"})),
                    As(json!({"tools": nested_tool(), "tool_choice": "required"})),
                    AsItIs,
                ),
                Case(json!({"tools": [{"type": "web_search"}]}), Refused("tools[0].type"), AsItIs),
            ],
        ),
        (
            "`parallel_tool_calls`",
            vec![
                Case(
                    with_tools(json!({"parallel_tool_calls": false})),
                    As(json!({"parallel_tool_calls": false})),
                    AsItIs,
                ),
                Case(json!({"parallel_tool_calls": false}), As(json!({"parallel_tool_calls": null})), AsItIs),
            ],
        ),
        (
            "`text.format`, `text.verbosity`",
            vec![
                Case(
                    json!({"text": {"format": schema, "verbosity": "low"}}),
                    As(json!({"response_format": nested, "verbosity": "low", "text": null})),
                    AsItIs,
                ),
                Case(
                    json!({"text": {"format": {"type": "text"}}}),
                    As(json!({"response_format": null})),
                    AsItIs,
                ),
                Case(json!({"text": {"format": {"type": "grammar"}}}), Refused("text.format.type"), AsItIs),
            ],
        ),
        (
            "`reasoning.effort`",
            vec![Case(
                json!({"reasoning": {"effort": "low", "summary": "auto"}}),
                As(json!({"reasoning_effort": "low", "reasoning": null})),
                AsItIs,
            )],
        ),
        (
            "`max_output_tokens`",
            vec![Case(
                json!({"max_output_tokens": 9}),
                As(json!({"max_tokens": 9, "max_output_tokens": null})),
                AsItIs,
            )],
        ),
        (
            "`top_logprobs`",
            vec![Case(json!({"top_logprobs": 2}), As(json!({"logprobs": true, "top_logprobs": 2})), AsItIs)],
        ),
        (
            "`include`",
            vec![
                Case(
                    json!({"include": ["message.output_text.logprobs"]}),
                    As(json!({"logprobs": true, "include": null})),
                    AsItIs,
                ),
                Case(
                    json!({"include": ["reasoning.encrypted_content"]}),
                    As(json!({"logprobs": null, "include": null})),
                    AsItIs,
                ),
            ],
        ),
        (
            "`max_tool_calls`, `truncation`, `prompt_cache_retention`",
            vec![Case(
                json!({"max_tool_calls": 3, "truncation": "auto", "prompt_cache_retention": "24h"}),
                As(json!({"max_tool_calls": null, "truncation": null, "prompt_cache_retention": null})),
                AsItIs,
            )],
        ),
        (
            "any other field",
            vec![
                Case(json!({"temperature": 0.5, "top_p": 0.5, "x_new": {"b": 1.5, "a": []}}), AsItIs, AsItIs),
                Case(json!({"n": 2}), Refused("n"), AsItIs),
                Case(json!({"max_tokens": 3, "max_output_tokens": 3}), Refused("max_tokens"), AsItIs),
            ],
        ),
    ]
}
