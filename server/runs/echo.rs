//! What the response object repeats of its request, in normal form.
//!
//! It owns the defaults of W-12 and the normal form of tools (W-13). Fields that the list of W-12 does not name are not echoed.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::Error;
use crate::json::{compact, raw};
use crate::runs::document::Document;
use crate::runs::extra::{Fields, value};

/// The fields of the response object that never change after its creation.
#[derive(Debug, Serialize)]
pub(super) struct Echo {
    model: String,
    previous_response_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation: Option<Conversation>,
    instructions: Option<String>,
    tools: Vec<Box<RawValue>>,
    tool_choice: Box<RawValue>,
    truncation: Value,
    parallel_tool_calls: Value,
    text: Box<RawValue>,
    top_p: Value,
    presence_penalty: Value,
    frequency_penalty: Value,
    top_logprobs: Value,
    temperature: Value,
    reasoning: Reasoning,
    max_output_tokens: Value,
    max_tool_calls: Value,
    store: bool,
    background: bool,
    service_tier: Value,
    metadata: BTreeMap<String, String>,
    safety_identifier: Value,
    prompt_cache_key: Value,
}

/// The session that the response belongs to; without one there is no such field.
#[derive(Debug, Serialize)]
struct Conversation {
    id: String,
}

#[derive(Debug, Serialize)]
struct Reasoning {
    effort: Value,
    summary: Value,
}

/// A function tool with all fields of the schema, and no others.
#[derive(Serialize)]
struct FunctionTool<'a> {
    r#type: &'static str,
    name: Option<&'a RawValue>,
    description: Option<&'a RawValue>,
    parameters: Option<&'a RawValue>,
    strict: Option<&'a RawValue>,
}

impl Echo {
    /// The echo of a checked request.
    ///
    /// # Errors
    /// `internal` if the request was not checked.
    pub(super) fn new(document: &Document) -> Result<Self, Error> {
        let params = &document.params;
        let or = |name: &str, default: Value| Ok::<Value, Error>(value(params, name)?.unwrap_or(default));
        let reasoning = value(params, "reasoning")?.unwrap_or_default();
        let member = |name: &str| reasoning.get(name).cloned().unwrap_or_default();
        Ok(Self {
            model: document.model.clone(),
            previous_response_id: document.previous_response_id.clone(),
            conversation: document
                .session
                .as_ref()
                .map(|session| Conversation { id: session.key().to_owned() }),
            instructions: document.instructions.clone(),
            tools: tools(params)?,
            tool_choice: match given(params, "tool_choice") {
                Some(choice) => compact(choice)?,
                None => raw("auto")?,
            },
            truncation: or("truncation", "disabled".into())?,
            parallel_tool_calls: or("parallel_tool_calls", true.into())?,
            text: text(params)?,
            top_p: or("top_p", 1.into())?,
            presence_penalty: or("presence_penalty", 0.into())?,
            frequency_penalty: or("frequency_penalty", 0.into())?,
            top_logprobs: or("top_logprobs", 0.into())?,
            temperature: or("temperature", 1.into())?,
            reasoning: Reasoning { effort: member("effort"), summary: member("summary") },
            max_output_tokens: or("max_output_tokens", Value::Null)?,
            max_tool_calls: or("max_tool_calls", Value::Null)?,
            store: document.store,
            background: document.background,
            service_tier: or("service_tier", "default".into())?,
            metadata: document.metadata.clone(),
            safety_identifier: or("safety_identifier", Value::Null)?,
            prompt_cache_key: or("prompt_cache_key", Value::Null)?,
        })
    }
}

fn given<'a>(params: &'a Fields, name: &str) -> Option<&'a RawValue> {
    params.get(name).map(Box::as_ref).filter(|raw| raw.get() != "null")
}

fn text(params: &Fields) -> Result<Box<RawValue>, Error> {
    let mut text: BTreeMap<String, Box<RawValue>> = match given(params, "text") {
        Some(text) => serde_json::from_str(compact(text)?.get()).map_err(Error::internal)?,
        None => BTreeMap::new(),
    };
    if given(&text, "format").is_none() {
        text.insert("format".to_owned(), raw(&BTreeMap::from([("type", "text")]))?);
    }
    raw(&text)
}

fn tools(params: &Fields) -> Result<Vec<Box<RawValue>>, Error> {
    let Some(tools) = given(params, "tools") else { return Ok(Vec::new()) };
    let tools: Vec<Box<RawValue>> = serde_json::from_str(tools.get()).map_err(Error::internal)?;
    tools.iter().map(|tool| normal_form(tool)).collect()
}

fn normal_form(tool: &RawValue) -> Result<Box<RawValue>, Error> {
    const FUNCTION: &str = "function";
    let tool = compact(tool)?;
    // A member that is there twice counts as it is there last, as everywhere.
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(tool.get()).map_err(Error::internal)?;
    let member = |name: &str| members.get(name).copied();
    let kind: Option<String> = member("type").and_then(|kind| serde_json::from_str(kind.get()).ok());
    if kind.as_deref() != Some(FUNCTION) {
        return Ok(tool);
    }
    raw(&FunctionTool {
        r#type: FUNCTION,
        name: member("name"),
        description: member("description"),
        parameters: member("parameters"),
        strict: member("strict"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::testing::document;

    fn echo(params: &str) -> Value {
        let mut document = document();
        document.params = serde_json::from_str(params).unwrap();
        serde_json::to_value(Echo::new(&document).unwrap()).unwrap()
    }

    #[test]
    fn defaults_are_numbers_and_never_left_out() {
        let echo = echo("{}");
        assert_eq!(echo["temperature"], 1);
        assert_eq!(echo["top_p"], 1);
        assert_eq!(echo["top_logprobs"], 0);
        assert_eq!(echo["text"], serde_json::json!({"format": {"type": "text"}}));
        assert_eq!(echo["reasoning"], serde_json::json!({"effort": null, "summary": null}));
        assert_eq!(echo["tool_choice"], "auto");
        assert_eq!(echo["service_tier"], "default");
        assert_eq!(echo.as_object().unwrap().len(), 22, "with the 9 of the object: 31");
    }

    #[test]
    fn function_tools_get_all_their_fields_on_one_line() {
        let mut document = document();
        document.params = serde_json::from_str(
            "{\"tools\": [{\"type\": \"function\", \"name\": \"f\"},\n{\"type\":\"function\",\"name\":\"g\",\"strict\":true,\n
             \"parameters\": {\"z\": 1, \"a\": 2}}, {\"type\": \"web_search\",\n \"size\": 1.0}]}",
        )
        .unwrap();
        let text = serde_json::to_string(&Echo::new(&document).unwrap().tools).unwrap();
        let expected = concat!(
            r#"[{"type":"function","name":"f","description":null,"parameters":null,"strict":null},"#,
            r#"{"type":"function","name":"g","description":null,"parameters":{"z":1,"a":2},"strict":true},"#,
            r#"{"type":"web_search","size":1.0}]"#,
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn a_member_of_a_tool_that_is_there_twice_counts_as_it_is_there_last() {
        let echo = echo(r#"{"tools":[{"type":"x","name":"f","type":"function","name":"g"}]}"#);
        assert_eq!((&echo["tools"][0]["type"], &echo["tools"][0]["name"]), (&"function".into(), &"g".into()));
    }

    #[test]
    fn what_was_given_is_echoed_as_it_was_given() {
        let echo =
            echo(r#"{"temperature":0.7,"text":{"verbosity":"low"},"reasoning":{"effort":"low"},"seed":1}"#);
        assert_eq!(echo["temperature"], 0.7);
        assert_eq!(echo["text"], serde_json::json!({"format": {"type": "text"}, "verbosity": "low"}));
        assert_eq!(echo["reasoning"], serde_json::json!({"effort": "low", "summary": null}));
        assert_eq!(echo.get("seed"), None);
    }
}
