//! The fields of a request body that the contract does not type.
//!
//! It owns one table: which field must have which form. A field that is not in the table travels untouched, and `null` reads as
//! absent everywhere.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::Error;

/// The longest `safety_identifier`, `prompt_cache_key` and `service_tier`, in characters.
const MAX_LABEL_CHARS: usize = 64;

/// The fields by name, values untouched.
pub(super) type Fields = BTreeMap<String, Box<RawValue>>;

/// What is right for a field: a sentence that goes into the error.
pub(super) type Check = fn(&Value) -> Result<(), &'static str>;

/// Fields that CreateRequest types.
const TYPED: [&str; 7] =
    ["model", "input", "background", "store", "previous_response_id", "metadata", "session"];

/// How the answer is delivered is between the caller and the bridge; a backend is always asked to stream.
pub(super) const DELIVERY: [&str; 2] = ["stream", "stream_options"];

const CHECKS: [(&str, Check); 22] = [
    ("instructions", |v| right(v.is_string(), "must be a string")),
    ("temperature", |v| range(v, 0.0, 2.0, "must be a number from 0 to 2")),
    ("top_p", |v| range(v, 0.0, 1.0, "must be a number from 0 to 1")),
    ("presence_penalty", |v| range(v, -2.0, 2.0, "must be a number from -2 to 2")),
    ("frequency_penalty", |v| range(v, -2.0, 2.0, "must be a number from -2 to 2")),
    ("top_logprobs", |v| right(v.as_u64().is_some_and(|n| n <= 20), "must be an integer from 0 to 20")),
    ("max_output_tokens", |v| right(v.as_u64().is_some_and(|n| n >= 1), "must be an integer of at least 1")),
    ("max_tool_calls", |v| right(v.as_u64().is_some_and(|n| n >= 1), "must be an integer of at least 1")),
    ("include", |v| right(is_strings(v), "must be an array of strings")),
    ("reasoning", |v| {
        let fits = v.is_object() && ["effort", "summary"].iter().all(|name| is_string_or_null(v.get(name)));
        right(fits, "must be an object; its effort and summary are strings")
    }),
    ("text", |v| {
        let typed = |format: &Value| format.is_null() || format.get("type").is_some_and(Value::is_string);
        let fits =
            v.is_object() && v.get("format").is_none_or(typed) && is_string_or_null(v.get("verbosity"));
        right(fits, "must be an object; its format has a type, its verbosity is a string")
    }),
    ("tool_choice", |v| {
        let fits = v.is_string() || v.get("type").is_some_and(Value::is_string);
        right(fits, "must be a string or an object with a type")
    }),
    ("user", |v| right(v.is_string(), "must be a string")),
    ("prompt", |v| right(v.is_object(), "must be an object")),
    ("prompt_cache_retention", |v| right(v.is_string(), "must be a string")),
    ("truncation", |v| {
        right(matches!(v.as_str(), Some("auto" | "disabled")), "must be \"auto\" or \"disabled\"")
    }),
    ("parallel_tool_calls", |v| right(v.is_boolean(), "must be true or false")),
    ("safety_identifier", label),
    ("prompt_cache_key", label),
    ("service_tier", label),
    ("stream", |v| right(v.is_boolean(), "must be true or false")),
    ("stream_options", |v| right(v.is_object(), "must be an object")),
];

/// Reads and checks the rest of a body, which is a JSON object or empty.
///
/// # Errors
/// `invalid_request` that names the field and says what would be right.
pub(super) fn parse(body: &[u8]) -> Result<Fields, Error> {
    let mut fields = object(body)?;
    if let Some(name) = TYPED.into_iter().find(|name| fields.contains_key(*name)) {
        return Err(Error::invalid(
            name,
            format!("{name} is a field of CreateRequest and must not be in extra"),
        ));
    }
    if present(&fields, "conversation") {
        let text = "conversation is the field session of CreateRequest and must not be in extra";
        return Err(Error::invalid("conversation", text));
    }
    check_all(&fields, &CHECKS)?;
    if let Some(tools) = value(&fields, "tools")? {
        check_tools(&tools)?;
    }
    for name in DELIVERY {
        fields.remove(name);
    }
    Ok(fields)
}

/// Reads the rest of a body: a JSON object, or nothing.
///
/// # Errors
/// `invalid_request` for anything else.
pub(super) fn object(body: &[u8]) -> Result<Fields, Error> {
    if body.is_empty() {
        return Ok(Fields::new());
    }
    serde_json::from_slice(body)
        .map_err(|error| Error::invalid("extra", format!("extra must be one JSON object: {error}")))
}

/// Checks the fields that are there.
///
/// # Errors
/// `invalid_request` that names the first that is wrong.
pub(super) fn check_all(fields: &Fields, checks: &[(&str, Check)]) -> Result<(), Error> {
    for (name, check) in checks {
        let Some(value) = value(fields, name)? else { continue };
        check(&value).map_err(|right| Error::invalid(*name, format!("{name} {right}")))?;
    }
    Ok(())
}

/// A field's value, unless it is absent or null.
pub(super) fn value(fields: &Fields, name: &str) -> Result<Option<Value>, Error> {
    let Some(raw) = fields.get(name) else { return Ok(None) };
    let value: Value =
        serde_json::from_str(raw.get()).map_err(|error| Error::invalid(name, error.to_string()))?;
    Ok(Some(value).filter(|value| !value.is_null()))
}

pub(super) fn present(fields: &Fields, name: &str) -> bool {
    fields.get(name).is_some_and(|raw| raw.get() != "null")
}

pub(super) fn right(is_right: bool, text: &'static str) -> Result<(), &'static str> {
    if is_right { Ok(()) } else { Err(text) }
}

pub(super) fn range(value: &Value, from: f64, to: f64, text: &'static str) -> Result<(), &'static str> {
    right(value.as_f64().is_some_and(|number| (from..=to).contains(&number)), text)
}

pub(super) fn label(value: &Value) -> Result<(), &'static str> {
    let fits = value.as_str().is_some_and(|text| text.chars().count() <= MAX_LABEL_CHARS);
    right(fits, "must be a string of at most 64 characters")
}

/// Whether a value is an array of strings.
pub(super) fn is_strings(value: &Value) -> bool {
    value.as_array().is_some_and(|all| all.iter().all(Value::is_string))
}

fn is_string_or_null(value: Option<&Value>) -> bool {
    value.is_none_or(|value| value.is_string() || value.is_null())
}

fn check_tools(tools: &Value) -> Result<(), Error> {
    let wrong = || Error::invalid("tools", "tools must be an array of objects, each with a type");
    for (index, tool) in tools.as_array().ok_or_else(wrong)?.iter().enumerate() {
        let kind = tool.get("type").and_then(Value::as_str).ok_or_else(wrong)?;
        let named = tool.get("name").and_then(Value::as_str).is_some_and(|name| !name.is_empty());
        if kind == "function" && !named {
            let param = format!("tools[{index}].name");
            let text = format!("{param} must be a string that is not empty: a function tool needs a name");
            return Err(Error::invalid(param, text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_field_is_named() {
        let table = [
            (r"[]", "extra"),
            (r#"{"a":"#, "extra"),
            (r#"{"model":"m"}"#, "model"),
            (r#"{"input":"x"}"#, "input"),
            (r#"{"store":true}"#, "store"),
            (r#"{"conversation":"c"}"#, "conversation"),
            (r#"{"instructions":[]}"#, "instructions"),
            (r#"{"temperature":2.01}"#, "temperature"),
            (r#"{"temperature":-0.1}"#, "temperature"),
            (r#"{"temperature":"hot"}"#, "temperature"),
            (r#"{"top_p":1.5}"#, "top_p"),
            (r#"{"presence_penalty":3}"#, "presence_penalty"),
            (r#"{"frequency_penalty":-3}"#, "frequency_penalty"),
            (r#"{"top_logprobs":21}"#, "top_logprobs"),
            (r#"{"top_logprobs":1.5}"#, "top_logprobs"),
            (r#"{"max_output_tokens":0}"#, "max_output_tokens"),
            (r#"{"max_output_tokens":1.5}"#, "max_output_tokens"),
            (r#"{"max_tool_calls":0}"#, "max_tool_calls"),
            (r#"{"reasoning":"high"}"#, "reasoning"),
            (r#"{"reasoning":{"effort":1}}"#, "reasoning"),
            (r#"{"include":"x"}"#, "include"),
            (r#"{"include":[1]}"#, "include"),
            (r#"{"user":1}"#, "user"),
            (r#"{"prompt":"x"}"#, "prompt"),
            (r#"{"prompt_cache_retention":24}"#, "prompt_cache_retention"),
            (r#"{"tool_choice":{}}"#, "tool_choice"),
            (r#"{"text":[]}"#, "text"),
            (r#"{"text":{"format":"json"}}"#, "text"),
            (r#"{"text":{"verbosity":1}}"#, "text"),
            (r#"{"tool_choice":1}"#, "tool_choice"),
            (r#"{"truncation":"some"}"#, "truncation"),
            (r#"{"parallel_tool_calls":1}"#, "parallel_tool_calls"),
            (r#"{"service_tier":1}"#, "service_tier"),
            (r#"{"stream":"yes"}"#, "stream"),
            (r#"{"stream_options":true}"#, "stream_options"),
            (r#"{"tools":{}}"#, "tools"),
            (r#"{"tools":["x"]}"#, "tools"),
            (r#"{"tools":[{"type":"function","name":"f"},{"type":"function"}]}"#, "tools[1].name"),
        ];
        for (body, param) in table {
            let error = parse(body.as_bytes()).unwrap_err();
            assert_eq!(error.param(), Some(param), "{body}: {error}");
        }
        let long = format!(r#"{{"safety_identifier":"{}"}}"#, "x".repeat(65));
        assert_eq!(parse(long.as_bytes()).unwrap_err().param(), Some("safety_identifier"));
    }

    #[test]
    fn bounds_are_inclusive_nulls_are_absent_and_unknown_fields_stay() {
        let body = r#"{"temperature":2,"top_p":0,"top_logprobs":20,"max_output_tokens":1,"conversation":null,"stream":true,
            "tools":[{"type":"web_search"}],"seed":  7,"truncation":null}"#;
        let fields = parse(body.as_bytes()).unwrap();
        assert_eq!(fields["seed"].get(), "7");
        assert!(!fields.contains_key("stream"));
        assert!(parse(b"").unwrap().is_empty());
    }
}
