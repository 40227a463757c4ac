//! A generation as the body of a Responses request.
//!
//! It owns which fields are the gateway's own: the backend is always asked for a stream, to store nothing and to continue nothing
//! (D-27). All other fields keep their bytes.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::backends::Generation;
use crate::error::Error;
use crate::json::Node;

/// Fields that have a meaning for the gateway alone, or that it writes itself.
const GATEWAY_ONLY: [&str; 10] = [
    "background",
    "conversation",
    "input",
    "instructions",
    "metadata",
    "model",
    "previous_response_id",
    "store",
    "stream",
    "stream_options",
];

/// Items whose id is not sent: it is one of ours, which the backend would look for among what it has not stored. Items of other
/// types are named by their id in later items, and keep it.
const WITHOUT_ID: [&str; 6] = [
    "message",
    "reasoning",
    "function_call",
    "function_call_output",
    "custom_tool_call",
    "custom_tool_call_output",
];

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    input: Vec<Node>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<&'a str>,
    stream: bool,
    store: bool,
    #[serde(flatten)]
    params: BTreeMap<&'a str, &'a RawValue>,
}

/// The JSON text of the Responses request for a generation.
///
/// # Errors
/// `invalid_request` naming the item, for one that refers to what only the backend could have stored.
pub(in crate::backends::openai) fn body(generation: &Generation) -> Result<Vec<u8>, Error> {
    let mut input = Vec::with_capacity(generation.items.len());
    generation.each_item(|item, at| {
        input.push(input_item(item, at)?);
        Ok(())
    })?;
    let params = generation.params.iter().map(|(name, value)| (name.as_str(), &**value));
    let body = Body {
        model: &generation.model,
        input,
        instructions: generation.instructions.as_deref(),
        stream: true,
        store: false,
        params: params.filter(|(name, _)| !GATEWAY_ONLY.contains(name)).collect(),
    };
    serde_json::to_vec(&body).map_err(Error::internal)
}

fn input_item(item: &RawValue, at: &str) -> Result<Node, Error> {
    let mut item = Node::of(item)?;
    let kind = item.get("type").and_then(|kind| Some(kind.as_str()?.into_owned()));
    match kind.as_deref() {
        Some("item_reference") => {
            let at = format!("{at}.type");
            let text = format!("{at} is `item_reference`: no backend keeps items that could be referred to");
            Err(Error::invalid(at, text))
        }
        // A message may come without a type.
        kind if WITHOUT_ID.contains(&kind.unwrap_or("message")) => {
            item.remove("id");
            Ok(item)
        }
        _ => Ok(item),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::to_raw_value;
    use serde_json::{Value, json};

    use super::*;

    fn generation(items: &[Value], params: &str) -> Generation {
        Generation {
            api: crate::backends::Api::Responses,
            model: "m".to_owned(),
            items: items.iter().map(|item| to_raw_value(item).unwrap()).collect(),
            earlier: 0,
            instructions: Some("Be brief.".to_owned()),
            params: serde_json::from_str(params).unwrap(),
            metadata: [("demo.rate".to_owned(), "1".to_owned())].into(),
        }
    }

    fn sent(generation: &Generation) -> Value {
        serde_json::from_slice(&body(generation).unwrap()).unwrap()
    }

    #[test]
    fn the_backend_is_asked_to_stream_and_to_keep_nothing() {
        let all: serde_json::Map<_, _> =
            GATEWAY_ONLY.iter().map(|name| ((*name).to_owned(), json!("x"))).collect();
        let generation =
            generation(&[json!({"role": "user", "content": "hi"})], &Value::Object(all).to_string());
        let expected = json!({
            "model": "m", "input": [{"role": "user", "content": "hi"}], "instructions": "Be brief.", "stream": true, "store": false,
        });
        assert_eq!(sent(&generation), expected);
    }

    #[test]
    fn all_other_fields_keep_their_bytes() {
        let odd = r#"{"x_new": { "b" : 1.10, "a":1e400 }, "include": ["reasoning.encrypted_content"], "top_logprobs": 2}"#;
        let body = String::from_utf8(body(&generation(&[], odd)).unwrap()).unwrap();
        assert!(body.contains(r#""x_new":{ "b" : 1.10, "a":1e400 }"#), "{body}");
        assert!(body.contains(r#""include":["reasoning.encrypted_content"]"#), "{body}");
    }

    #[test]
    fn our_ids_are_sent_only_where_items_refer_to_them() {
        let items = [
            json!({"role": "assistant", "id": "msg_1", "content": []}),
            json!({"type": "reasoning", "id": "rs_1", "encrypted_content": "e", "summary": []}),
            json!({"type": "mcp_approval_request", "id": "mcpr_1"}),
        ];
        let expected = json!([
            {"role": "assistant", "content": []},
            {"type": "reasoning", "encrypted_content": "e", "summary": []},
            {"type": "mcp_approval_request", "id": "mcpr_1"},
        ]);
        assert_eq!(sent(&generation(&items, "{}"))["input"], expected);
    }

    #[test]
    fn a_reference_is_refused_by_its_place_in_the_callers_input() {
        let mut generation =
            generation(&[json!({"role": "user"}), json!({"type": "item_reference", "id": "x"})], "{}");
        assert_eq!(body(&generation).unwrap_err().param(), Some("input[1].type"));
        generation.earlier = 1;
        assert_eq!(body(&generation).unwrap_err().param(), Some("input[0].type"));
        generation.earlier = 2;
        assert_eq!(body(&generation).unwrap_err().param(), Some("previous_response_id"));
    }
}
