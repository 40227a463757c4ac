//! A generation as the body of a chat request.
//!
//! It owns which field of a Responses request is called what in a chat:
//!
//! | Responses | chat |
//! | --- | --- |
//! | `instructions`, `input` | `messages` |
//! | `max_output_tokens` | `max_tokens`, the name that every server of this dialect knows |
//! | `text.format`, `text.verbosity` | `response_format`, `verbosity` |
//! | `reasoning.effort` | `reasoning_effort` |
//! | `tools`, `tool_choice` | the same, nested; not sent, nor `parallel_tool_calls`, where no tool is given |
//! | `top_logprobs`, `include` of `message.output_text.logprobs` | `logprobs: true`, `top_logprobs` |
//! | [`GATEWAY_ONLY`] | not sent |
//! | any other | the same bytes under the same name |

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::items::{inexpressible, messages};
use super::passed;
use crate::backends::{Api, Generation};
use crate::error::Error;

/// Fields that have a meaning for the gateway alone. `stream` and `stream_options` are always our own.
const GATEWAY_ONLY: [&str; 13] = [
    "background",
    "conversation",
    "input",
    "instructions",
    "max_tool_calls",
    "metadata",
    "model",
    "previous_response_id",
    "prompt_cache_retention",
    "store",
    "stream",
    "stream_options",
    "truncation",
];

/// What a caller includes to have the tokens of the text.
const INCLUDE_LOGPROBS: &str = "message.output_text.logprobs";

/// What the server is asked for besides the answer: its tokens.
#[derive(Serialize)]
pub(super) struct StreamOptions {
    pub(super) include_usage: bool,
}

/// The body of a chat request.
type Body = BTreeMap<String, Box<RawValue>>;

/// The JSON text of the chat request for a generation.
///
/// # Errors
/// `invalid_request` naming the field, for what is malformed, what a chat cannot express, and a field of the chat dialect that
/// contradicts the one it is made from (`max_tokens` beside `max_output_tokens`).
pub(in crate::backends::openai) fn body(generation: &Generation) -> Result<Vec<u8>, Error> {
    if generation.api == Api::Chat {
        return passed::body(generation);
    }
    let mut body = Body::new();
    put(&mut body, "model", &generation.model)?;
    put(&mut body, "messages", &messages(generation)?)?;
    put(&mut body, "stream", &true)?;
    put(&mut body, "stream_options", &StreamOptions { include_usage: true })?;
    translated(&mut body, generation)?;
    for (name, value) in &generation.params {
        if is_translated(name) || GATEWAY_ONLY.contains(&name.as_str()) {
            continue;
        }
        if body.contains_key(name) {
            let message = "is made from another field of the request for this backend: give only one of them";
            return Err(Error::invalid(name, message));
        }
        if name == "n" && !matches!(value.get(), "1" | "null") {
            return Err(inexpressible("n", "more than one answer in one response"));
        }
        body.insert(name.clone(), value.clone());
    }
    serde_json::to_vec(&body).map_err(Error::internal)
}

fn is_translated(name: &str) -> bool {
    matches!(
        name,
        "max_output_tokens"
            | "text"
            | "reasoning"
            | "tools"
            | "tool_choice"
            | "parallel_tool_calls"
            | "top_logprobs"
            | "include"
    )
}

fn translated(body: &mut Body, generation: &Generation) -> Result<(), Error> {
    if let Some(limit) = field::<u64>(generation, "max_output_tokens", "must be a whole number")? {
        put(body, "max_tokens", &limit)?;
    }
    if let Some(text) = field::<Text<'_>>(generation, "text", "must be an object")? {
        if let Some(format) = text.format {
            response_format(body, format)?;
        }
        if let Some(verbosity) = text.verbosity {
            put(body, "verbosity", verbosity)?;
        }
    }
    if let Some(reasoning) = field::<Reasoning<'_>>(generation, "reasoning", "must be an object")?
        && let Some(effort) = reasoning.effort
    {
        put(body, "reasoning_effort", effort)?;
    }
    let count =
        field::<u64>(generation, "top_logprobs", "must be a whole number")?.filter(|count| *count > 0);
    let include: Option<Vec<String>> = field(generation, "include", "must be a list of names")?;
    if count.is_some() || include.is_some_and(|names| names.iter().any(|name| name == INCLUDE_LOGPROBS)) {
        put(body, "logprobs", &true)?;
    }
    if let Some(count) = count {
        put(body, "top_logprobs", &count)?;
    }
    tools(body, generation)
}

#[derive(Deserialize)]
struct Text<'a> {
    #[serde(borrow)]
    format: Option<&'a RawValue>,
    #[serde(borrow)]
    verbosity: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Reasoning<'a> {
    #[serde(borrow)]
    effort: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Serialize)]
struct ResponseFormat<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    json_schema: Option<BTreeMap<String, &'a RawValue>>,
}

fn response_format(body: &mut Body, format: &RawValue) -> Result<(), Error> {
    let Kind { kind } = parse(format, "text.format", "must be an object with a `type`")?;
    let format = match kind.as_str() {
        // What a chat answers with anyway; some servers refuse to be told.
        "text" => return Ok(()),
        "json_object" => ResponseFormat { kind: "json_object", json_schema: None },
        "json_schema" => {
            ResponseFormat { kind: "json_schema", json_schema: Some(without_type(format, "text.format")?) }
        }
        other => return Err(inexpressible("text.format.type", &format!("the format `{other}`"))),
    };
    put(body, "response_format", &format)
}

#[derive(Serialize)]
struct Tool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    function: BTreeMap<String, &'a RawValue>,
}

fn tools(body: &mut Body, generation: &Generation) -> Result<(), Error> {
    let given: Vec<&RawValue> = field(generation, "tools", "must be a list of tools")?.unwrap_or_default();
    let mut tools = Vec::with_capacity(given.len());
    for (index, tool) in given.into_iter().enumerate() {
        let at = format!("tools[{index}]");
        let Kind { kind } = parse(tool, &at, "must be an object with a `type`")?;
        if kind != "function" {
            return Err(inexpressible(&format!("{at}.type"), &format!("a tool of type `{kind}`")));
        }
        let function = without_type(tool, &at)?;
        if !function.contains_key("name") {
            return Err(Error::invalid(format!("{at}.name"), "is missing"));
        }
        tools.push(Tool { kind: "function", function });
    }
    let choice: Option<&RawValue> = field(generation, "tool_choice", "must be a JSON value")?;
    let choice = choice.map(tool_choice).transpose()?;
    if tools.is_empty() {
        return match choice {
            Some(choice) if !matches!(choice.get(), "\"auto\"" | "\"none\"") => {
                Err(Error::invalid("tool_choice", "asks for a tool, and `tools` has none"))
            }
            _ => Ok(()),
        };
    }
    put(body, "tools", &tools)?;
    if let Some(choice) = choice {
        body.insert("tool_choice".to_owned(), choice);
    }
    if let Some(parallel) = field::<bool>(generation, "parallel_tool_calls", "must be true or false")? {
        put(body, "parallel_tool_calls", &parallel)?;
    }
    Ok(())
}

#[derive(Deserialize, Serialize)]
struct Named {
    name: String,
}

#[derive(Serialize)]
struct NamedTool {
    #[serde(rename = "type")]
    kind: &'static str,
    function: Named,
}

#[derive(Deserialize)]
struct Allowed<'a> {
    mode: String,
    #[serde(borrow)]
    tools: Vec<&'a RawValue>,
}

#[derive(Serialize)]
struct AllowedTools {
    mode: String,
    tools: Vec<NamedTool>,
}

#[derive(Serialize)]
struct AllowedChoice {
    #[serde(rename = "type")]
    kind: &'static str,
    allowed_tools: AllowedTools,
}

fn tool_choice(choice: &RawValue) -> Result<Box<RawValue>, Error> {
    if choice.get().starts_with('"') {
        return Ok(choice.to_owned());
    }
    let at = "tool_choice";
    let Kind { kind } = parse(choice, at, "must be a text or an object with a `type`")?;
    match kind.as_str() {
        "function" => raw(&named_tool(choice, at)?),
        "allowed_tools" => {
            let Allowed { mode, tools } = parse(choice, at, "must have a `mode` and a list of `tools`")?;
            let named = tools
                .into_iter()
                .enumerate()
                .map(|(index, tool)| named_tool(tool, &format!("{at}.tools[{index}]")));
            let allowed_tools = AllowedTools { mode, tools: named.collect::<Result<_, _>>()? };
            raw(&AllowedChoice { kind: "allowed_tools", allowed_tools })
        }
        other => Err(inexpressible("tool_choice.type", &format!("the choice of a tool of type `{other}`"))),
    }
}

fn named_tool(tool: &RawValue, at: &str) -> Result<NamedTool, Error> {
    let Kind { kind } = parse(tool, at, "must be an object with a `type`")?;
    if kind != "function" {
        return Err(inexpressible(&format!("{at}.type"), &format!("a tool of type `{kind}`")));
    }
    Ok(NamedTool { kind: "function", function: parse(tool, at, "must have a `name`")? })
}

/// The fields of an object but for its `type` and those that are null, which the Responses dialect means as absent.
fn without_type<'a>(object: &'a RawValue, at: &str) -> Result<BTreeMap<String, &'a RawValue>, Error> {
    let mut fields: BTreeMap<String, &'a RawValue> = parse(object, at, "must be an object")?;
    fields.retain(|name, value| name != "type" && value.get() != "null");
    Ok(fields)
}

/// A field of the request; absent and null are the same.
fn field<'a, T: Deserialize<'a>>(
    generation: &'a Generation,
    name: &str,
    problem: &str,
) -> Result<Option<T>, Error> {
    match generation.params.get(name) {
        Some(value) if value.get() != "null" => parse(value, name, problem).map(Some),
        _ => Ok(None),
    }
}

fn parse<'a, T: Deserialize<'a>>(value: &'a RawValue, at: &str, problem: &str) -> Result<T, Error> {
    serde_json::from_str(value.get()).map_err(|error| Error::invalid(at, problem).with_quote(error))
}

fn put<T: Serialize + ?Sized>(body: &mut Body, name: &str, value: &T) -> Result<(), Error> {
    body.insert(name.to_owned(), raw(value)?);
    Ok(())
}

fn raw<T: Serialize + ?Sized>(value: &T) -> Result<Box<RawValue>, Error> {
    to_raw_value(value).map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn generation(params: &str) -> Generation {
        Generation {
            api: Api::Responses,
            model: "m".to_owned(),
            items: vec![raw(&json!({"role": "user", "content": "hi"})).unwrap()],
            earlier: 0,
            instructions: None,
            params: serde_json::from_str(params).unwrap(),
            metadata: [("demo.rate".to_owned(), "1".to_owned())].into(),
        }
    }

    /// The body for these params, without what every body has.
    fn mapped(params: &Value) -> Value {
        let body = body(&generation(&params.to_string())).unwrap();
        let mut body: Value = serde_json::from_slice(&body).unwrap();
        let fields = body.as_object_mut().unwrap();
        assert_eq!(fields.remove("model"), Some(json!("m")));
        assert_eq!(fields.remove("messages"), Some(json!([{"role": "user", "content": "hi"}])));
        assert_eq!(fields.remove("stream"), Some(json!(true)));
        assert_eq!(fields.remove("stream_options"), Some(json!({"include_usage": true})));
        body
    }

    #[test]
    fn fields_are_called_as_in_a_chat() {
        let schema = json!({"type": "object", "properties": {}});
        let f = json!([{"type": "function", "function": {"name": "f"}}]);
        for (params, expected) in [
            (json!({}), json!({})),
            (json!({"max_output_tokens": 16}), json!({"max_tokens": 16})),
            (json!({"max_output_tokens": null, "text": null, "tools": null, "reasoning": null}), json!({})),
            (json!({"text": {"format": {"type": "text"}}}), json!({})),
            (
                json!({"text": {"format": {"type": "json_object"}, "verbosity": "low"}}),
                json!({"response_format": {"type": "json_object"}, "verbosity": "low"}),
            ),
            (
                json!({"text": {"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": true, "description": null}}}),
                json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": true}}}),
            ),
            (json!({"reasoning": {"effort": "low", "summary": "auto"}}), json!({"reasoning_effort": "low"})),
            (json!({"reasoning": {"effort": null}}), json!({})),
            (json!({"top_logprobs": 0}), json!({})),
            (json!({"top_logprobs": 3}), json!({"logprobs": true, "top_logprobs": 3})),
            (json!({"include": ["message.output_text.logprobs"]}), json!({"logprobs": true})),
            (json!({"include": ["reasoning.encrypted_content"]}), json!({})),
            (
                json!({"tools": [{"type": "function", "name": "f", "description": "d", "parameters": schema, "strict": null}], "parallel_tool_calls": false}),
                json!({"tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": schema}}], "parallel_tool_calls": false}),
            ),
            (json!({"tools": [], "tool_choice": "auto", "parallel_tool_calls": true}), json!({})),
            (
                json!({"tools": [{"type": "function", "name": "f"}], "tool_choice": "required"}),
                json!({"tools": f, "tool_choice": "required"}),
            ),
            (
                json!({"tools": [{"type": "function", "name": "f"}], "tool_choice": {"type": "function", "name": "f"}}),
                json!({"tools": f, "tool_choice": {"type": "function", "function": {"name": "f"}}}),
            ),
            (
                json!({"tools": [{"type": "function", "name": "f"}], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}}),
                json!({"tools": f, "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": f}}}),
            ),
            (
                json!({"temperature": 0.5, "top_p": 1, "presence_penalty": 0.1, "frequency_penalty": 0.2, "service_tier": "auto", "seed": 7,
                    "stop": ["x"], "user": "u", "safety_identifier": "s", "prompt_cache_key": "k", "n": 1}),
                json!({"temperature": 0.5, "top_p": 1, "presence_penalty": 0.1, "frequency_penalty": 0.2, "service_tier": "auto", "seed": 7,
                    "stop": ["x"], "user": "u", "safety_identifier": "s", "prompt_cache_key": "k", "n": 1}),
            ),
        ] {
            assert_eq!(mapped(&params), expected, "{params}");
        }
    }

    #[test]
    fn what_only_the_gateway_acts_on_is_not_sent() {
        let params: serde_json::Map<_, _> =
            GATEWAY_ONLY.iter().map(|name| ((*name).to_owned(), json!("x"))).collect();
        assert_eq!(mapped(&Value::Object(params)), json!({}));
    }

    #[test]
    fn unknown_fields_keep_their_bytes() {
        let odd = r#"{ "b" : 1.10, "a":1e400,"a": 123456789012345678901234567890, "\u0041": [ ] }"#;
        let body = body(&generation(&format!(r#"{{"x_custom": {odd}, "min_p": 0.050}}"#))).unwrap();
        let body = String::from_utf8(body).unwrap();
        assert!(body.contains(&format!(r#""x_custom":{odd}"#)), "{body}");
        assert!(body.contains(r#""min_p":0.050"#), "{body}");
    }

    #[test]
    fn what_is_wrong_or_cannot_be_said_is_named() {
        for (params, param) in [
            (json!({"max_output_tokens": "many"}), "max_output_tokens"),
            (json!({"include": "x"}), "include"),
            (json!({"max_output_tokens": 5, "max_tokens": 6}), "max_tokens"),
            (json!({"messages": []}), "messages"),
            (json!({"n": 2}), "n"),
            (json!({"text": 1}), "text"),
            (json!({"text": {"format": {"type": "grammar"}}}), "text.format.type"),
            (json!({"text": {"format": "json"}}), "text.format"),
            (json!({"reasoning": "low"}), "reasoning"),
            (json!({"tools": {}}), "tools"),
            (json!({"tools": [{"type": "function", "name": "f"}, {"type": "web_search"}]}), "tools[1].type"),
            (json!({"tools": [{"type": "function"}]}), "tools[0].name"),
            (json!({"tools": ["f"]}), "tools[0]"),
            (json!({"tool_choice": "required"}), "tool_choice"),
            (json!({"tool_choice": 1}), "tool_choice"),
            (json!({"tool_choice": {"type": "file_search"}}), "tool_choice.type"),
            (json!({"tool_choice": {"type": "function"}}), "tool_choice"),
            (
                json!({"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]}}),
                "tool_choice.tools[0].type",
            ),
            (
                json!({"parallel_tool_calls": 1, "tools": [{"type": "function", "name": "f"}]}),
                "parallel_tool_calls",
            ),
        ] {
            let error = body(&generation(&params.to_string())).unwrap_err();
            assert_eq!(error.param(), Some(param), "{params}: {error}");
        }
    }
}
