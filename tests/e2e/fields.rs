//! Each row of the tables in `docs/compatibility.md`: the fields of both APIs, to backends of both dialects.
//!
//! The rows of requests are walked over here; for those of answers and calls the test is named that proves them. A row that is not
//! here, and one that is here and not in the document, fails.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::chats;
use crate::common::rest::Client;
use crate::common::scripted::{answer, response};
use crate::setup::Stage;

const TEXT: &str = include_str!("../../docs/compatibility.md");

/// What becomes of a request at a backend of one dialect.
#[derive(Clone, Debug)]
enum Told {
    /// The fields of the case as they are.
    AsItIs,
    /// These fields, of which those that are null are not there.
    As(Value),
    /// Nothing: 400 with this param.
    Refused(&'static str),
}

use Told::{As, AsItIs, Refused};

/// A request, and what backends of the chat dialect and of the Responses dialect are told.
struct Case(Value, Told, Told);

/// A row by its first cell.
type Row = (&'static str, Vec<Case>);

fn items(items: Value) -> Value {
    json!({ "input": items })
}

/// A message of the user with one part.
fn shown(part: Value) -> Value {
    items(json!([{"role": "user", "content": [part]}]))
}

/// The same in a chat.
fn seen(part: Value) -> Told {
    As(json!({"messages": [{"role": "user", "content": [part]}]}))
}

fn tool() -> Value {
    json!([{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": true}])
}

fn nested_tool() -> Value {
    json!([{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": true}}])
}

#[expect(clippy::too_many_lines, reason = "one table")]
fn rows_of_responses() -> Vec<Row> {
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

fn messages(messages: Value) -> Value {
    json!({ "messages": messages })
}

/// A message of the user with one part.
fn part(part: Value) -> Value {
    messages(json!([{"role": "user", "content": [part]}]))
}

#[expect(clippy::too_many_lines, reason = "one table")]
fn rows_of_chats() -> Vec<Row> {
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

/// The rows that are not about a request, and a test that proves each.
const PROVEN: [(&str, &[(&str, &str)]); 3] = [
    (
        "| what | chat dialect | responses dialect |",
        &[
            (
                "text, refusals",
                "server/backends/openai/chat/stream.rs::refusals_and_both_names_of_reasoning_are_kept",
            ),
            (
                "reasoning",
                "tests/e2e/chat_backends.rs::a_responses_backend_is_translated_both_ways_and_what_cannot_be_is_named",
            ),
            ("tool calls", "server/runs/chat/answer.rs::calls_are_told_apart_by_number_or_by_id"),
            (
                "`logprobs`, annotations",
                "server/runs/tests/compaction.rs::logprobs_of_the_chat_dialect_are_cut_with_their_text",
            ),
            (
                "events and fields that nobody knows",
                "tests/e2e/types.rs::every_type_of_item_passes_as_output_as_input_and_as_history",
            ),
            (
                "`created`, `queued`, `in_progress`, `completed` and so on",
                "tests/e2e/types.rs::the_events_of_the_life_of_a_response_are_the_gateways_own",
            ),
            (
                "ids, `sequence_number`, `response_id`",
                "tests/e2e/types.rs::every_type_of_event_passes_with_ids_and_numbers_of_ours",
            ),
            (
                "`output_index`, `content_index`, empty `logprobs`",
                "server/runs/adopt.rs::places_and_lists_that_a_backend_leaves_out_are_filled_in",
            ),
            (
                "`obfuscation`, `keepalive`",
                "server/runs/adopt.rs::one_item_has_one_id_and_one_place_in_every_event_and_unknown_fields_keep_their_bytes",
            ),
            ("usage", "tests/e2e/chats.rs::a_chat_is_answered_in_the_shape_of_openai"),
            ("why it ended", "tests/e2e/types.rs::the_events_of_the_life_of_a_response_are_the_gateways_own"),
            (
                "largest event",
                "tests/e2e/bad_backends.rs::a_backend_that_fails_after_some_output_leaves_a_failed_response_with_it",
            ),
        ],
    ),
    (
        "| call | what |",
        &[
            ("`POST /v1/chat/completions`", "tests/e2e/chats.rs::a_chat_that_is_sent_again_is_one_chat"),
            (
                "`GET /v1/chat/completions/{id}`",
                "tests/e2e/chats.rs::a_chat_is_answered_in_the_shape_of_openai",
            ),
            (
                "`GET …/{id}?stream=true&starting_after=N`",
                "tests/e2e/chats.rs::a_reader_that_drops_goes_on_behind_the_last_id_and_ends_with_204",
            ),
            (
                "`POST …/{id}/cancel`",
                "tests/e2e/chats.rs::a_chat_is_cancelled_and_deleted_under_its_own_path_alone",
            ),
            (
                "`DELETE …/{id}`",
                "tests/e2e/chats.rs::a_chat_is_cancelled_and_deleted_under_its_own_path_alone",
            ),
            (
                "`POST …/{id}/tickets`, `x-tidemark-ticket`, `?ticket=`",
                "tests/e2e/tickets.rs::a_ticket_of_a_chat_reads_it_in_the_url_too_and_no_other",
            ),
            (
                "`GET /v1/chat/completions`",
                "tests/e2e/chats.rs::a_chat_is_cancelled_and_deleted_under_its_own_path_alone",
            ),
        ],
    ),
    (
        "| what | how |",
        &[
            (
                "`id`, `created`, `model`, `object`",
                "tests/e2e/chats.rs::a_stream_has_unnamed_frames_with_ids_and_one_done",
            ),
            (
                "chunks of a chat backend",
                "tests/e2e/chat_backends.rs::several_choices_and_what_nobody_knows_pass_through_a_chat_backend",
            ),
            ("`usage`", "tests/e2e/chats.rs::a_stream_has_unnamed_frames_with_ids_and_one_done"),
            ("the object", "server/runs/chat/answer.rs::text_grows_and_what_is_said_once_does_not"),
            (
                "frames",
                "bridge/src/chat/frames.rs::a_reader_sees_chunks_and_the_end_and_every_frame_has_an_id",
            ),
            (
                "the end",
                "tests/e2e/chats.rs::a_reader_that_drops_goes_on_behind_the_last_id_and_ends_with_204",
            ),
            (
                "failed before the first chunk",
                "bridge/tests/rest/streams.rs::the_headers_of_a_chat_wait_for_its_first_chunk_or_the_first_heartbeat",
            ),
            (
                "failed later",
                "tests/e2e/chat_backends.rs::a_failure_after_the_first_chunk_is_one_frame_without_done",
            ),
            ("cancelled", "tests/e2e/chats.rs::a_chat_is_cancelled_and_deleted_under_its_own_path_alone"),
            (
                "output at the limit of bytes",
                "server/runs/chat/compose.rs::at_the_limit_every_choice_that_is_open_was_cut",
            ),
        ],
    ),
];

/// The first cells of the table with this head; only the n-th of several that have the same one.
fn first_cells(head: &str, nth: usize) -> Vec<&'static str> {
    let table = TEXT.split("\n\n").filter(|paragraph| paragraph.starts_with(head)).nth(nth);
    let rows = table.unwrap_or_else(|| panic!("no table with the head {head}")).lines().skip(2);
    rows.map(|row| row.split(" | ").next().unwrap().trim_start_matches("| ")).collect()
}

#[test]
fn every_row_of_every_table_is_proven() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut walked = BTreeSet::new();
    for (head, rows) in PROVEN {
        assert_eq!(first_cells(head, 0), rows.iter().map(|(row, _)| *row).collect::<Vec<_>>());
        walked.insert(head);
        for (row, test) in rows {
            let (path, name) = test.split_once("::").unwrap_or_else(|| panic!("{row}: {test}"));
            let source = std::fs::read_to_string(root.join(path)).unwrap();
            assert!(source.contains(&format!("fn {name}(")), "{row}: there is no {test}");
        }
    }
    let heads = [
        ("| field | chat dialect | responses dialect | note |", rows_of_responses()),
        ("| field | chat dialect | responses dialect, demo |", rows_of_chats()),
    ];
    for (head, rows) in heads {
        assert_eq!(first_cells(head, 0), rows.iter().map(|(row, _)| *row).collect::<Vec<_>>());
        walked.insert(head);
    }
    let tables = TEXT.split("\n\n").filter(|paragraph| paragraph.starts_with('|')).count();
    assert_eq!(tables, walked.len(), "a table that nobody walks over");
}

/// Compares what a backend was asked with what it should have been.
fn assert_told(asked: &Value, fields: &Value, told: &Told, row: &str) {
    let expected = match told {
        AsItIs => fields,
        As(expected) => expected,
        Refused(param) => panic!("{row}: {param} was not refused: {asked}"),
    };
    for (name, value) in expected.as_object().unwrap() {
        let found = asked.get(name);
        let fits = if value.is_null() { found.is_none() } else { found == Some(value) };
        assert!(fits, "{row}: {name} is {found:?} and not {value}");
    }
}

async fn walk(rows: Vec<Row>, path: &str, base: &Value) {
    let chat = answer(["x"]);
    let stages = [
        Stage::set([("m", chat)], "models = { m = \"m\", alias = \"m\" }", "").await,
        Stage::set(
            [("m", response([], &json!([])))],
            "dialect = \"responses\"\nmodels = { m = \"m\", alias = \"m\" }",
            "",
        )
        .await,
    ];
    for (row, cases) in rows {
        for Case(fields, chat, responses) in cases {
            for (stage, told) in stages.iter().zip([chat, responses]) {
                let mut body = base.clone();
                body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
                let before = stage.backend.asked().len();
                let (status, reply) = Client::json(stage.client.post(path, &body)).await;
                let asked = stage.backend.asked();
                if let Refused(param) = told {
                    let error = &reply["error"];
                    assert_eq!(
                        (status, &error["code"], &error["param"]),
                        (400, &json!("invalid_request"), &json!(param)),
                        "{row}: {reply}"
                    );
                    assert_eq!(asked.len(), before, "{row}");
                } else {
                    assert_eq!((status, asked.len()), (200, before + 1), "{row}: {reply}");
                    assert_told(&asked[before].body, &fields, &told, row);
                }
            }
        }
    }
}

#[tokio::test]
async fn every_field_of_a_response_reaches_each_dialect_as_the_table_says() {
    walk(rows_of_responses(), "/v1/responses", &json!({"model": "m", "input": "x"})).await;
}

#[tokio::test]
async fn every_field_of_a_chat_reaches_each_dialect_as_the_table_says() {
    let base = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
    walk(rows_of_chats(), chats::PATH, &base).await;
}
