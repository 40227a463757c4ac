//! From a Create call to a checked chat.
//!
//! It owns one table: which field of a chat request must have which form. A field that is not in the table travels untouched, and
//! `null` reads as absent everywhere. It must never look anything up: what it refuses is wrong whoever asks.

use serde_json::Value;
use serde_json::value::RawValue;
use tidemark_proto::v1::CreateRequest;
use tidemark_proto::v1::create_request::Input;

use super::messages;
use crate::backends::Api;
use crate::error::Error;
use crate::items::objects;
use crate::json;
use crate::runs::document::Document;
use crate::runs::extra::{self, Check, Fields, is_strings, label, present, range, right, value};
use crate::runs::request::check_length;

/// The most answers to one request.
const MAX_CHOICES: u64 = 128;

/// The most sequences at which an answer stops.
const MAX_STOPS: usize = 4;

/// Fields that CreateRequest types.
const TYPED: [&str; 4] = ["model", "messages", "store", "metadata"];

/// Fields of the Responses API alone, whose meaning would be lost without a word.
const FOREIGN: [&str; 3] = ["background", "previous_response_id", "conversation"];

const CHECKS: [(&str, Check); 29] = [
    ("temperature", |v| range(v, 0.0, 2.0, "must be a number from 0 to 2")),
    ("top_p", |v| range(v, 0.0, 1.0, "must be a number from 0 to 1")),
    ("presence_penalty", |v| range(v, -2.0, 2.0, "must be a number from -2 to 2")),
    ("frequency_penalty", |v| range(v, -2.0, 2.0, "must be a number from -2 to 2")),
    ("logprobs", boolean),
    ("top_logprobs", |v| right(v.as_u64().is_some_and(|n| n <= 20), "must be an integer from 0 to 20")),
    ("max_tokens", positive),
    ("max_completion_tokens", positive),
    ("n", |v| {
        let fits = v.as_u64().is_some_and(|n| (1..=MAX_CHOICES).contains(&n));
        right(fits, "must be an integer from 1 to 128")
    }),
    ("stop", |v| right(is_stop(v), "must be a string, or an array of 1 to 4 strings")),
    ("seed", |v| right(v.is_i64() || v.is_u64(), "must be an integer")),
    ("user", string),
    ("safety_identifier", label),
    ("prompt_cache_key", label),
    ("service_tier", label),
    ("reasoning_effort", string),
    ("verbosity", string),
    ("logit_bias", |v| {
        let biased = |bias: &Value| bias.as_f64().is_some_and(|bias| (-100.0..=100.0).contains(&bias));
        let fits = v.as_object().is_some_and(|biases| biases.values().all(biased));
        right(fits, "must be an object with numbers from -100 to 100")
    }),
    ("response_format", |v| {
        right(is_format(v), "must be an object with a type, and a json_schema of that type with a name")
    }),
    ("modalities", |v| right(is_strings(v), "must be an array of strings")),
    ("audio", object),
    ("prediction", object),
    ("web_search_options", object),
    ("parallel_tool_calls", boolean),
    ("tool_choice", |v| {
        right(is_choice(v), "must be a string, or an object with a type and the name of its function")
    }),
    ("functions", |v| {
        let named = |function: &Value| is_name(function.get("name"));
        right(
            v.as_array().is_some_and(|all| all.iter().all(named)),
            "must be an array of objects, each with a name",
        )
    }),
    ("function_call", |v| {
        right(v.is_string() || is_name(v.get("name")), "must be a string, or an object with a name")
    }),
    ("stream", boolean),
    ("stream_options", object),
];

/// Checks a chat that came at `created_at`, in seconds since 1970. Model and metadata were checked before.
///
/// # Errors
/// `invalid_request` that names the field and says what would be right.
pub(in crate::runs) fn check(request: CreateRequest, created_at: u64) -> Result<Document, Error> {
    refuse_foreign(&request)?;
    let messages = input(request.input)?;
    messages::check(&messages)?;
    let params = params(&request.extra)?;
    Ok(Document {
        version: Document::VERSION,
        api: Api::Chat,
        created_at,
        model: request.model,
        items: messages,
        background: false,
        store: request.store.unwrap_or(false),
        previous_response_id: None,
        metadata: request.metadata,
        instructions: None,
        joins: None,
        session: None,
        idempotency_key: request.idempotency_key,
        params,
    })
}

fn refuse_foreign(request: &CreateRequest) -> Result<(), Error> {
    if request.background {
        return Err(foreign("background"));
    }
    if !request.session.is_empty() {
        return Err(foreign("session"));
    }
    match request.previous_response_id {
        Some(_) => Err(foreign("previous_response_id")),
        None => Ok(()),
    }
}

fn foreign(name: &str) -> Error {
    let text = format!(
        "{name} is a field of the Responses API: a chat that shall go on without a reader has store: true"
    );
    Error::invalid(name, text)
}

fn input(input: Option<Input>) -> Result<Vec<Box<RawValue>>, Error> {
    match input {
        Some(Input::Items(list)) => objects("messages", "messages", &list),
        Some(Input::Text(text)) if !text.is_empty() => {
            check_length("messages", &text)?;
            let message = serde_json::json!({"role": "user", "content": text});
            Ok(vec![json::raw(&message)?])
        }
        Some(Input::Text(_)) | None => {
            Err(Error::invalid("messages", "messages is required: an array of at least one message"))
        }
    }
}

fn params(rest: &[u8]) -> Result<Fields, Error> {
    let mut fields = extra::object(rest)?;
    if let Some(name) = TYPED.into_iter().find(|name| fields.contains_key(*name)) {
        let text = format!("{name} is a field of CreateRequest and must not be in extra");
        return Err(Error::invalid(name, text));
    }
    if let Some(name) = FOREIGN.into_iter().find(|name| present(&fields, name)) {
        return Err(foreign(name));
    }
    extra::check_all(&fields, &CHECKS)?;
    check_tools(&fields)?;
    check_logprobs(&fields)?;
    fields.retain(|name, _| !extra::DELIVERY.contains(&name.as_str()));
    Ok(fields)
}

fn check_tools(fields: &Fields) -> Result<(), Error> {
    let tools = value(fields, "tools")?;
    let wrong = || Error::invalid("tools", "tools must be an array of objects, each with a type");
    let tools = match &tools {
        Some(tools) => tools.as_array().ok_or_else(wrong)?.as_slice(),
        None => &[],
    };
    for (index, tool) in tools.iter().enumerate() {
        let kind = tool.get("type").and_then(Value::as_str).ok_or_else(wrong)?;
        let function = tool.get("function");
        if kind == "function" && !is_name(function.and_then(|function| function.get("name"))) {
            let param = format!("tools[{index}].function.name");
            let text = format!("{param} must be a string that is not empty: a function tool needs a name");
            return Err(Error::invalid(param, text));
        }
        let schema = function.and_then(|function| function.get("parameters"));
        if schema.is_some_and(|schema| !schema.is_object() && !schema.is_null()) {
            let param = format!("tools[{index}].function.parameters");
            let text = format!("{param} must be an object: a JSON schema");
            return Err(Error::invalid(param, text));
        }
    }
    let asks = value(fields, "tool_choice")?.is_some_and(|choice| choice != "auto" && choice != "none");
    if asks && tools.is_empty() {
        return Err(Error::invalid("tool_choice", "tool_choice asks for a tool, and tools has none"));
    }
    Ok(())
}

fn check_logprobs(fields: &Fields) -> Result<(), Error> {
    let asked = value(fields, "logprobs")?.is_some_and(|on| on == true);
    if value(fields, "top_logprobs")?.is_some() && !asked {
        return Err(Error::invalid("top_logprobs", "top_logprobs needs logprobs: true"));
    }
    Ok(())
}

fn boolean(value: &Value) -> Result<(), &'static str> {
    right(value.is_boolean(), "must be true or false")
}

fn string(value: &Value) -> Result<(), &'static str> {
    right(value.is_string(), "must be a string")
}

fn object(value: &Value) -> Result<(), &'static str> {
    right(value.is_object(), "must be an object")
}

fn positive(value: &Value) -> Result<(), &'static str> {
    right(value.as_u64().is_some_and(|number| number >= 1), "must be an integer of at least 1")
}

fn is_stop(value: &Value) -> bool {
    let fits = |all: &Vec<Value>| (1..=MAX_STOPS).contains(&all.len());
    value.is_string() || (is_strings(value) && value.as_array().is_some_and(fits))
}

fn is_name(value: Option<&Value>) -> bool {
    value.and_then(Value::as_str).is_some_and(|name| !name.is_empty())
}

fn is_format(value: &Value) -> bool {
    match value.get("type").and_then(Value::as_str) {
        Some("json_schema") => is_name(value.get("json_schema").and_then(|schema| schema.get("name"))),
        kind => kind.is_some(),
    }
}

fn is_choice(value: &Value) -> bool {
    match value.get("type").and_then(Value::as_str) {
        Some("function") => is_name(value.get("function").and_then(|function| function.get("name"))),
        kind => kind.is_some() || value.is_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ask(messages: &Value, rest: &Value) -> CreateRequest {
        CreateRequest {
            model: "m".to_owned(),
            input: Some(Input::Items(messages.to_string().into())),
            extra: rest.to_string().into(),
            ..CreateRequest::default()
        }
    }

    fn refused(rest: &Value) -> Option<String> {
        let asked = check(ask(&json!([{"role": "user", "content": "x"}]), rest), 0);
        asked.err().map(|error| error.param().unwrap_or("no param").to_owned())
    }

    #[test]
    fn a_chat_is_not_stored_unless_asked_and_keeps_what_nobody_knows() {
        let request = ask(
            &json!([{"role": "user", "content": "x", "new": 1}]),
            &json!({"x_new": [1.0], "stream": true, "stop": null}),
        );
        let document = check(request.clone(), 7).unwrap();
        assert!(!document.store);
        assert_eq!(document.params.keys().collect::<Vec<_>>(), ["stop", "x_new"]);
        assert_eq!(document.items[0].get(), r#"{"content":"x","new":1,"role":"user"}"#);
        assert!(check(CreateRequest { store: Some(true), ..request }, 7).unwrap().store);
    }

    #[test]
    fn every_field_with_a_wrong_value_is_named() {
        let wrong = [
            ("temperature", json!(2.1)),
            ("temperature", json!("1")),
            ("top_p", json!(-0.1)),
            ("presence_penalty", json!(3)),
            ("frequency_penalty", json!(-3)),
            ("logprobs", json!(1)),
            ("top_logprobs", json!(21)),
            ("top_logprobs", json!(1)),
            ("max_tokens", json!(0)),
            ("max_completion_tokens", json!(1.5)),
            ("n", json!(0)),
            ("n", json!(129)),
            ("n", json!("1")),
            ("stop", json!(1)),
            ("stop", json!([])),
            ("stop", json!(["a", "b", "c", "d", "e"])),
            ("stop", json!([1])),
            ("seed", json!(1.5)),
            ("user", json!(1)),
            ("safety_identifier", json!("x".repeat(65))),
            ("prompt_cache_key", json!(1)),
            ("service_tier", json!(1)),
            ("reasoning_effort", json!(1)),
            ("verbosity", json!({})),
            ("logit_bias", json!([])),
            ("logit_bias", json!({"1": 101})),
            ("response_format", json!("json")),
            ("response_format", json!({})),
            ("response_format", json!({"type": "json_schema"})),
            ("modalities", json!("text")),
            ("audio", json!(1)),
            ("prediction", json!(1)),
            ("web_search_options", json!(1)),
            ("parallel_tool_calls", json!(1)),
            ("tool_choice", json!(1)),
            ("tool_choice", json!({"type": "function"})),
            ("tool_choice", json!("required")),
            ("tools", json!({})),
            ("tools", json!([1])),
            ("functions", json!([{}])),
            ("function_call", json!({})),
            ("stream", json!(1)),
            ("stream_options", json!(1)),
            ("background", json!(true)),
            ("previous_response_id", json!("resp_1")),
            ("conversation", json!("c")),
            ("model", json!("m")),
            ("messages", json!([])),
            ("store", json!(true)),
            ("metadata", json!({})),
        ];
        for (name, value) in wrong {
            assert_eq!(refused(&json!({name: value})).as_deref(), Some(name), "{value}");
        }
        let tool = |function: Value| json!({"tools": [{"type": "function", "function": function}]});
        assert_eq!(refused(&tool(json!({}))).as_deref(), Some("tools[0].function.name"));
        assert_eq!(
            refused(&tool(json!({"name": "f", "parameters": 1}))).as_deref(),
            Some("tools[0].function.parameters")
        );
    }

    #[test]
    fn every_field_with_a_right_value_passes_and_null_is_absent() {
        let right = json!({
            "temperature": 0, "top_p": 1, "presence_penalty": -2, "frequency_penalty": 2, "logprobs": true, "top_logprobs": 20,
            "max_tokens": 1, "max_completion_tokens": 1, "n": 128, "stop": ["a", "b"], "seed": -1, "user": "u", "logit_bias": {"1": -100},
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}, "modalities": ["text"],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": null}}, {"type": "custom", "custom": {}}],
            "tool_choice": {"type": "function", "function": {"name": "f"}}, "reasoning_effort": "low", "verbosity": "high", "background": null,
        });
        assert_eq!(refused(&right), None);
        for (name, _) in CHECKS {
            assert_eq!(refused(&json!({name: null})), None, "{name}");
        }
    }

    #[test]
    fn fields_of_the_other_api_and_no_messages_are_refused() {
        let one = json!([{"role": "user", "content": "x"}]);
        let param = |request| check(request, 0).unwrap_err().param().unwrap().to_owned();
        assert_eq!(param(CreateRequest { background: true, ..ask(&one, &json!({})) }), "background");
        let continued = CreateRequest { previous_response_id: Some("x".to_owned()), ..ask(&one, &json!({})) };
        assert_eq!(param(continued), "previous_response_id");
        for messages in [json!([]), json!({}), json!("x")] {
            assert_eq!(param(ask(&messages, &json!({}))), "messages");
        }
        assert_eq!(param(ask(&json!([1]), &json!({}))), "messages[0]");
        assert_eq!(param(CreateRequest::default()), "messages");
    }
}
