//! Backends that say anything: bytes in, records out, as on the way of every answer, but without a task.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use serde_json::json;
use tidemark_proto::v1::ErrorCode;

use super::*;
use crate::backends::openai::Reading;
use crate::backends::{Api, Dialect};
use crate::runs::Writing;
use crate::runs::event::decode;

/// All that the schemas know, with what each needs.
const TYPES: &str = include_str!("../../../tests/common/response_types.json");

/// The most bytes of output of these answers.
const LIMIT: usize = 100_000;

/// A value that has no business where it stands.
fn odd() -> impl Strategy<Value = Value> {
    let deep = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
    prop_oneof![
        Just(Value::Null),
        Just(json!(-1)),
        Just(json!(7)),
        Just(json!(1.5)),
        Just(json!(u64::MAX)),
        Just(json!(true)),
        Just(json!("")),
        Just(json!("text")),
        Just(json!([])),
        Just(json!([1, "x", {}])),
        Just(json!({})),
        Just(json!({"type": "message", "id": 7, "content": "x"})),
        Just(json!("x".repeat(20_000))),
        Just(deep(100)),
    ]
}

/// A change of one member of an event.
fn change() -> impl Strategy<Value = Option<(String, Option<Value>)>> {
    let names = prop::sample::select(vec![
        "type",
        "output_index",
        "content_index",
        "summary_index",
        "annotation_index",
        "item_id",
        "delta",
        "item",
        "part",
        "logprobs",
        "text",
        "annotation",
        "response",
        "response_id",
        "sequence_number",
        "choices",
        "usage",
        "error",
        "id",
        "object",
        "model",
    ]);
    let change = (names.prop_map(str::to_owned), prop_oneof![Just(None), odd().prop_map(Some)]);
    prop_oneof![3 => Just(None), 1 => change.prop_map(Some)]
}

/// An event of the Responses dialect: any of those that are known, of one of three items.
fn event() -> impl Strategy<Value = String> {
    let types: Value = serde_json::from_str(TYPES).unwrap();
    let mut events: Vec<(String, Value)> = types["events"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, event)| (name.clone(), event["fields"].clone()))
        .collect();
    for name in ["response.output_item.added", "response.output_item.done"] {
        for kind in ["message", "message", "reasoning", "function_call", "mcp_call"] {
            events.push((name.to_owned(), json!({"item": {"type": kind, "status": "in_progress"}})));
        }
    }
    for name in ["response.completed", "response.failed", "response.incomplete", "error", "vendor:new"] {
        events.push((
            name.to_owned(),
            json!({"response": {"output": [], "status": name, "usage": {"input_tokens": 1}}}),
        ));
    }
    // Most of what a backend says begins or grows something.
    let growing = prop::sample::select(
        events
            .clone()
            .into_iter()
            .filter(|(name, _)| name.contains("delta") || name.contains("added"))
            .collect::<Vec<_>>(),
    );
    let any = prop_oneof![3 => growing, 1 => prop::sample::select(events)];
    (any, 0..3_u64, 0..3_u64, change(), change()).prop_map(|((name, mut fields), item, part, one, two)| {
        fields["type"] = name.clone().into();
        fields["output_index"] = item.into();
        fields["item_id"] = format!("it_{item}").into();
        if let Some(inner) = fields.get_mut("item") {
            inner["id"] = format!("it_{item}").into();
        }
        for index in ["content_index", "summary_index", "annotation_index"] {
            if fields.get(index).is_some() {
                fields[index] = part.into();
            }
        }
        changed(&mut fields, [one, two]);
        format!("event: {name}\ndata: {fields}\n\n")
    })
}

fn changed(fields: &mut Value, changes: [Option<(String, Option<Value>)>; 2]) {
    for (name, value) in changes.into_iter().flatten() {
        match value {
            Some(value) => fields[name] = value,
            None => drop(fields.as_object_mut().unwrap().remove(&name)),
        }
    }
}

/// A chunk of the chat dialect.
fn chunk() -> impl Strategy<Value = String> {
    let delta = prop_oneof![
        4 => "[a-z]{0,5}".prop_map(|text| json!({ "content": text })),
        1 => Just(json!({"role": "assistant", "content": ""})),
        1 => Just(json!({"reasoning_content": "r", "refusal": "no"})),
        1 => (0..3_u64, 0..3_u64).prop_map(|(index, id)| json!({"tool_calls": [{"index": index, "id": format!("c{id}"), "function": {"name": "f", "arguments": ""}}]})),
        1 => (0..3_u64).prop_map(|index| json!({"tool_calls": [{"index": index, "function": {"arguments": "{"}}]})),
        1 => (prop::sample::select(vec!["content", "tool_calls", "reasoning", "annotations", "refusal", "x"]), odd())
            .prop_map(|(name, value)| json!({name: value})),
        1 => odd(),
    ];
    let finish = prop_oneof![9 => Just(json!(null)), 1 => prop::sample::select(vec![json!("stop"), json!("length"), json!("odd"), json!(7)])];
    (delta, 0..3_u64, finish, change(), change()).prop_map(|(delta, index, finish, one, two)| {
        let mut chunk = json!({"choices": [{"index": index, "delta": delta, "finish_reason": finish}]});
        changed(&mut chunk, [one, two]);
        format!("data: {chunk}\n\n")
    })
}

/// Plays an answer; gives its records, and what went wrong.
fn play(
    dialect: Dialect,
    api: Api,
    pieces: &[String],
    break_at: Option<usize>,
) -> (Vec<(String, Value)>, Option<Error>) {
    let mut bytes: Vec<u8> = pieces.concat().into_bytes();
    if let Some(at) = break_at {
        let at = at % bytes.len().max(1);
        // A byte that is none of UTF-8.
        bytes.insert(at, 0xff);
    }
    let (mut reading, mut writing) = (Reading::new(dialect, api, 3), Writing::new(api, LIMIT).unwrap());
    let mut failed = None;
    'answer: for piece in bytes.chunks(1000) {
        let mut steps = VecDeque::new();
        let read = reading.read(piece, &mut steps);
        for step in steps {
            match writing.write(step) {
                Ok(true) => {}
                Ok(false) => break 'answer,
                Err(error) => {
                    failed = Some(error);
                    break 'answer;
                }
            }
        }
        if let Err(error) = read {
            failed = Some(error);
            break;
        }
    }
    writing.end(failed.clone()).unwrap();
    let record = |payload| {
        let (kind, data) = decode(&payload).unwrap();
        assert!(!data.contains(&b'\n'), "an event is one line");
        (kind.to_owned(), serde_json::from_slice(&data).unwrap())
    };
    (writing.take().into_iter().map(record).collect(), failed)
}

/// What is true of every log whatever the backend said.
fn check(api: Api, records: &[(String, Value)], failed: Option<&Error>) {
    if let Some(error) = failed {
        assert!(
            [ErrorCode::BackendError, ErrorCode::EventTooLarge].contains(&error.code()),
            "{error}: {:?}",
            error.code()
        );
    }
    if api == Api::Chat {
        for (kind, chunk) in records {
            assert!(kind == "chat.completion.chunk" || kind == "chat.completion.usage", "{kind}");
            assert_eq!(chunk["id"], "chatcmpl-01010101010101010101010101010101");
            assert!(chunk.get("obfuscation").is_none());
        }
        return;
    }
    let mut ids: BTreeMap<u64, Value> = BTreeMap::new();
    for (number, (kind, event)) in records.iter().enumerate() {
        assert_eq!((&event["sequence_number"], &event["type"]), (&json!(number), &json!(kind)));
        let Some(place) = event["output_index"].as_u64() else { continue };
        let id = event.get("item_id").or_else(|| event["item"].get("id")).cloned();
        let Some(id) = id.filter(Value::is_string) else { continue };
        assert!(
            !id.as_str().unwrap().starts_with("it_0") || id.as_str().unwrap().len() > 20,
            "{id} is the backend's"
        );
        let known = ids.entry(place).or_insert_with(|| {
            assert_eq!(kind, "response.output_item.added", "an item begins with that");
            id.clone()
        });
        assert_eq!(*known, id, "one id for one place");
    }
    assert!(ids.keys().copied().eq(0..ids.len() as u64), "places are dense: {ids:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_a_responses_backend_says_is_a_log_or_a_typed_error(pieces in prop::collection::vec(event(), 0..40), broken in prop::option::weighted(0.1, any::<usize>())) {
        for api in [Api::Responses, Api::Chat] {
            let (records, failed) = play(Dialect::Responses, api, &pieces, broken);
            check(api, &records, failed.as_ref());
        }
    }

    #[test]
    fn whatever_a_chat_backend_says_is_a_log_or_a_typed_error(pieces in prop::collection::vec(chunk(), 0..40), broken in prop::option::weighted(0.1, any::<usize>())) {
        for api in [Api::Responses, Api::Chat] {
            let (records, failed) = play(Dialect::Chat, api, &pieces, broken);
            check(api, &records, failed.as_ref());
        }
    }
}
