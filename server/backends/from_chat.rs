//! A chat in the words of the Responses API, for backends that do not speak the chat dialect.
//!
//! It owns which member of a chat request is called what there:
//!
//! | chat | Responses |
//! | --- | --- |
//! | `messages` | messages, `function_call` and `function_call_output` items |
//! | `max_completion_tokens`, else `max_tokens` | `max_output_tokens` |
//! | `response_format`, `verbosity` | `text.format`, `text.verbosity` |
//! | `reasoning_effort` | `reasoning.effort` |
//! | `tools`, `tool_choice` | the same, flat; functions only, `strict: false` unless given, as in a chat |
//! | `logprobs` | `include` of `message.output_text.logprobs` |
//! | [`ONLY_IN_A_CHAT`], `n` above 1, `modalities` beside text | refused by name |
//! | any other | the same bytes under the same name |
//!
//! Nothing is left out without a word, but for the reasoning and the annotations of earlier turns, for which input has no place.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Api, Generation};
use crate::error::Error;
use crate::json::raw;

/// Fields that a Responses request has no word for.
const ONLY_IN_A_CHAT: [&str; 8] =
    ["audio", "function_call", "functions", "logit_bias", "prediction", "seed", "stop", "web_search_options"];

/// Members of an assistant's message that are of its past.
const PAST: [&str; 3] = ["annotations", "reasoning", "reasoning_content"];

/// The same generation in the words of the Responses API.
///
/// # Errors
/// `invalid_request` naming the member that cannot be said there.
pub(super) fn as_responses(generation: &Generation) -> Result<Generation, Error> {
    let mut items = Vec::with_capacity(generation.items.len());
    generation.each_item(|message, at| add_items(&mut items, Members::of(message, at)?))?;
    Ok(Generation {
        api: Api::Responses,
        model: generation.model.clone(),
        items,
        earlier: 0,
        instructions: None,
        params: params(generation)?,
        metadata: generation.metadata.clone(),
    })
}

/// The members of an object that have not been translated yet.
struct Members {
    /// What an error calls the object; empty for the request itself.
    at: String,
    fields: BTreeMap<String, Box<RawValue>>,
}

impl Members {
    fn of(object: &RawValue, at: &str) -> Result<Self, Error> {
        let fields = serde_json::from_str(object.get())
            .map_err(|error| Error::invalid(at, format!("{at} must be an object")).with_quote(error))?;
        Ok(Self { at: at.to_owned(), fields })
    }

    fn path(&self, name: &str) -> String {
        if self.at.is_empty() { name.to_owned() } else { format!("{}.{name}", self.at) }
    }

    /// Takes a member; absent and null are the same.
    fn take(&mut self, name: &str) -> Option<Box<RawValue>> {
        self.fields.remove(name).filter(|value| value.get() != "null")
    }

    fn read<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, Error> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let path = self.path(name);
        let wrong = |error| Error::invalid(&*path, format!("{path} has the wrong type")).with_quote(error);
        serde_json::from_str(value.get()).map(Some).map_err(wrong)
    }

    fn need<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, Error> {
        let path = self.path(name);
        self.read(name)?.ok_or_else(|| Error::invalid(&*path, format!("{path} is missing")))
    }

    fn inner(&mut self, name: &str) -> Result<Option<Self>, Error> {
        let path = self.path(name);
        self.take(name).map(|value| Self::of(&value, &path)).transpose()
    }

    fn list(&mut self, name: &str) -> Result<Option<Vec<Self>>, Error> {
        let path = self.path(name);
        let Some(list) = self.read::<Vec<Box<RawValue>>>(name)? else { return Ok(None) };
        let inner = |(index, value): (usize, Box<RawValue>)| Self::of(&value, &format!("{path}[{index}]"));
        list.into_iter().enumerate().map(inner).collect::<Result<_, _>>().map(Some)
    }

    /// Refuses all that is left but `ignored`.
    fn nothing_else(mut self, ignored: &[&str]) -> Result<(), Error> {
        self.fields.retain(|name, value| !ignored.contains(&name.as_str()) && value.get() != "null");
        match self.fields.keys().next() {
            Some(name) => Err(inexpressible(&self.path(name))),
            None => Ok(()),
        }
    }

    fn put<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Error> {
        self.fields.insert(name.to_owned(), raw(value)?);
        Ok(())
    }
}

fn inexpressible(param: &str) -> Error {
    let text = format!(
        "{param}: the backend of this model does not speak the chat dialect, and cannot be told this"
    );
    Error::invalid(param, text)
}

/// Where content stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Input,
    Output,
}

fn add_items(items: &mut Vec<Box<RawValue>>, mut message: Members) -> Result<(), Error> {
    let role: String = message.need("role")?;
    match role.as_str() {
        "system" | "developer" | "user" => {
            let content = content(&mut message, "content", Side::Input)?;
            items.push(raw(&json!({"type": "message", "role": role, "content": content}))?);
            message.nothing_else(&[])
        }
        "tool" => {
            let call_id: String = message.need("tool_call_id")?;
            let output = content(&mut message, "content", Side::Input)?;
            items.push(raw(&json!({"type": "function_call_output", "call_id": call_id, "output": output}))?);
            message.nothing_else(&[])
        }
        "assistant" => add_assistant(items, message),
        _ => Err(inexpressible(&message.path("role"))),
    }
}

/// What the assistant has said comes before what it has called.
fn add_assistant(items: &mut Vec<Box<RawValue>>, mut message: Members) -> Result<(), Error> {
    let mut said = content(&mut message, "content", Side::Output)?;
    if let Some(refusal) = message.read::<String>("refusal")? {
        let mut parts = match said {
            Value::Array(parts) => parts,
            Value::String(text) => vec![json!({"type": "output_text", "text": text})],
            _ => Vec::new(),
        };
        parts.push(json!({"type": "refusal", "refusal": refusal}));
        said = Value::Array(parts);
    }
    if !said.is_null() && said != "" {
        items.push(raw(&json!({"type": "message", "role": "assistant", "content": said}))?);
    }
    for mut call in message.list("tool_calls")?.unwrap_or_default() {
        let id: String = call.need("id")?;
        if call.read::<String>("type")?.is_some_and(|kind| kind != "function") {
            return Err(inexpressible(&call.path("type")));
        }
        let path = call.path("function");
        let mut function = call.inner("function")?.ok_or_else(|| inexpressible(&path))?;
        let (name, arguments): (String, String) = (function.need("name")?, function.need("arguments")?);
        items.push(raw(
            &json!({"type": "function_call", "call_id": id, "name": name, "arguments": arguments}),
        )?);
        function.nothing_else(&[])?;
        call.nothing_else(&["index"])?;
    }
    message.nothing_else(&PAST)
}

/// A text as it is; parts in their new words; null if there is none.
fn content(message: &mut Members, name: &str, side: Side) -> Result<Value, Error> {
    if message.fields.get(name).is_none_or(|content| !content.get().starts_with('[')) {
        return Ok(message.read::<String>(name)?.map_or(Value::Null, Value::String));
    }
    let parts = message.list(name)?.unwrap_or_default();
    parts.into_iter().map(|part| translated_part(part, side)).collect()
}

fn translated_part(mut part: Members, side: Side) -> Result<Value, Error> {
    let kind: String = part.need("type")?;
    let new = match (kind.as_str(), side) {
        ("text", Side::Input) => json!({"type": "input_text", "text": part.need::<String>("text")?}),
        ("text", Side::Output) => json!({"type": "output_text", "text": part.need::<String>("text")?}),
        ("refusal", Side::Output) => json!({"type": "refusal", "refusal": part.need::<String>("refusal")?}),
        ("image_url", Side::Input) => {
            inner_part(&mut part, &kind, "input_image", &[("url", "image_url"), ("detail", "detail")])?
        }
        ("file", Side::Input) => {
            let same = [("file_id", "file_id"), ("file_data", "file_data"), ("filename", "filename")];
            inner_part(&mut part, &kind, "input_file", &same)?
        }
        ("input_audio", Side::Input) => {
            json!({"type": "input_audio", "input_audio": part.need::<Value>("input_audio")?})
        }
        _ => return Err(inexpressible(&part.path("type"))),
    };
    part.nothing_else(&["annotations"])?;
    Ok(new)
}

/// A part whose members lie in an object of its own: beside the type in the Responses API, where some have other names.
fn inner_part(part: &mut Members, member: &str, kind: &str, names: &[(&str, &str)]) -> Result<Value, Error> {
    let path = part.path(member);
    let mut inner =
        part.inner(member)?.ok_or_else(|| Error::invalid(&*path, format!("{path} is missing")))?;
    let mut new = serde_json::Map::from_iter([("type".to_owned(), Value::from(kind))]);
    for (old_name, new_name) in names {
        if let Some(value) = inner.read::<String>(old_name)? {
            new.insert((*new_name).to_owned(), Value::String(value));
        }
    }
    inner.nothing_else(&[])?;
    Ok(Value::Object(new))
}

fn params(generation: &Generation) -> Result<BTreeMap<String, Box<RawValue>>, Error> {
    let mut all = Members { at: String::new(), fields: generation.params.clone() };
    refuse(&mut all)?;
    let (newer, older) = (all.read::<u64>("max_completion_tokens")?, all.read::<u64>("max_tokens")?);
    if let Some(limit) = newer.or(older) {
        all.put("max_output_tokens", &limit)?;
    }
    let text: BTreeMap<&str, Value> = [("format", format(&mut all)?), ("verbosity", all.read("verbosity")?)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    if !text.is_empty() {
        all.put("text", &text)?;
    }
    if let Some(effort) = all.read::<Value>("reasoning_effort")? {
        all.put("reasoning", &json!({"effort": effort}))?;
    }
    if all.read::<bool>("logprobs")? == Some(true) {
        all.put("include", &["message.output_text.logprobs"])?;
    }
    if let Some(tools) = all.list("tools")? {
        let tools = tools.into_iter().map(tool).collect::<Result<Vec<_>, _>>()?;
        all.put("tools", &tools)?;
    }
    if all.fields.get("tool_choice").is_some_and(|choice| choice.get().starts_with('{'))
        && let Some(choice) = all.inner("tool_choice")?
    {
        let choice = tool_choice(choice)?;
        all.put("tool_choice", &choice)?;
    }
    Ok(all.fields)
}

/// Refuses what has no words, unless it asks for nothing.
fn refuse(all: &mut Members) -> Result<(), Error> {
    for name in ONLY_IN_A_CHAT {
        let value = all.read::<Value>(name)?;
        let asks = |value: &Value| !value.as_object().is_some_and(serde_json::Map::is_empty);
        if value.as_ref().is_some_and(asks) {
            return Err(inexpressible(name));
        }
    }
    if all.read::<u64>("n")?.is_some_and(|count| count != 1) {
        return Err(inexpressible("n"));
    }
    match all.read::<Vec<String>>("modalities")? {
        Some(modalities) if modalities != ["text"] => Err(inexpressible("modalities")),
        _ => Ok(()),
    }
}

fn format(all: &mut Members) -> Result<Option<Value>, Error> {
    let Some(mut format) = all.inner("response_format")? else { return Ok(None) };
    let kind: String = format.need("type")?;
    let mut new: serde_json::Map<String, Value> = match kind.as_str() {
        "json_schema" => format.need("json_schema")?,
        "text" | "json_object" => serde_json::Map::new(),
        _ => return Err(inexpressible("response_format.type")),
    };
    format.nothing_else(&[])?;
    new.insert("type".to_owned(), Value::String(kind));
    Ok(Some(Value::Object(new)))
}

fn tool(mut tool: Members) -> Result<BTreeMap<String, Box<RawValue>>, Error> {
    if tool.need::<String>("type")? != "function" {
        return Err(inexpressible(&tool.path("type")));
    }
    let mut function: BTreeMap<String, Box<RawValue>> = tool.need("function")?;
    tool.nothing_else(&[])?;
    function.retain(|_, value| value.get() != "null");
    function.insert("type".to_owned(), raw("function")?);
    function.entry("strict".to_owned()).or_insert(raw(&false)?);
    Ok(function)
}

fn tool_choice(mut choice: Members) -> Result<Value, Error> {
    match choice.need::<String>("type")?.as_str() {
        "function" => named(choice),
        "allowed_tools" => {
            let path = choice.path("allowed_tools");
            let mut allowed = choice.inner("allowed_tools")?.ok_or_else(|| inexpressible(&path))?;
            let tools = allowed.list("tools")?.unwrap_or_default().into_iter().map(|mut tool| {
                tool.fields.remove("type");
                named(tool)
            });
            let tools = tools.collect::<Result<Vec<_>, _>>()?;
            Ok(json!({"type": "allowed_tools", "mode": allowed.need::<String>("mode")?, "tools": tools}))
        }
        _ => Err(inexpressible("tool_choice.type")),
    }
}

/// A function that is named in an object of its own.
fn named(mut tool: Members) -> Result<Value, Error> {
    let path = tool.path("function");
    let mut function = tool.inner("function")?.ok_or_else(|| inexpressible(&path))?;
    Ok(json!({"type": "function", "name": function.need::<String>("name")?}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(messages: &Value, params: &Value) -> Generation {
        Generation {
            api: Api::Chat,
            model: "m".to_owned(),
            items: messages.as_array().unwrap().iter().map(|message| raw(message).unwrap()).collect(),
            earlier: 0,
            instructions: None,
            params: serde_json::from_str(&params.to_string()).unwrap(),
            metadata: BTreeMap::new(),
        }
    }

    fn items(messages: &Value) -> Value {
        serde_json::to_value(as_responses(&generation(messages, &json!({}))).unwrap().items).unwrap()
    }

    fn translated(params: &Value) -> Value {
        serde_json::to_value(as_responses(&generation(&json!([]), params)).unwrap().params).unwrap()
    }

    #[test]
    fn messages_become_items() {
        let messages = json!([
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:x", "detail": "low"}},
                {"type": "file", "file": {"file_data": "d", "filename": "f"}}, {"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}},
            ]},
            {"role": "assistant", "content": "t", "refusal": null, "annotations": [], "reasoning_content": "r", "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            ]},
            {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "o"}]},
            {"role": "assistant", "content": null, "refusal": "no"},
        ]);
        let expected = json!([
            {"type": "message", "role": "system", "content": "Be brief."},
            {"type": "message", "role": "user", "content": [
                {"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "data:x", "detail": "low"},
                {"type": "input_file", "file_data": "d", "filename": "f"}, {"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}},
            ]},
            {"type": "message", "role": "assistant", "content": "t"},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "o"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        ]);
        assert_eq!(items(&messages), expected);
    }

    #[test]
    fn fields_get_their_other_names() {
        let params = json!({
            "max_tokens": 5, "max_completion_tokens": 7, "verbosity": "low", "reasoning_effort": "high", "logprobs": true, "top_logprobs": 2,
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"a": 1}, "strict": true}},
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"z": 1}, "description": null}}],
            "tool_choice": {"type": "function", "function": {"name": "f"}}, "n": 1, "modalities": ["text"], "stop": null, "logit_bias": {},
            "temperature": 0.5, "x_new": [1],
        });
        let expected = json!({
            "max_output_tokens": 7, "text": {"format": {"type": "json_schema", "name": "n", "schema": {"a": 1}, "strict": true}, "verbosity": "low"},
            "reasoning": {"effort": "high"}, "include": ["message.output_text.logprobs"], "top_logprobs": 2,
            "tools": [{"type": "function", "name": "f", "parameters": {"z": 1}, "strict": false}],
            "tool_choice": {"type": "function", "name": "f"}, "temperature": 0.5, "x_new": [1],
        });
        assert_eq!(translated(&params), expected);
        let allowed = json!({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]}}});
        let expected = json!({"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}});
        assert_eq!(translated(&allowed), expected);
    }

    #[test]
    fn what_cannot_be_said_is_refused_by_name() {
        let refused = |messages: &Value, params: &Value| {
            as_responses(&generation(messages, params)).unwrap_err().param().unwrap().to_owned()
        };
        for (name, value) in [
            ("n", json!(2)),
            ("stop", json!("x")),
            ("seed", json!(1)),
            ("logit_bias", json!({"1": 1})),
            ("audio", json!({"voice": "a"})),
            ("prediction", json!({"type": "content"})),
            ("functions", json!([])),
            ("function_call", json!("auto")),
            ("modalities", json!(["audio"])),
        ] {
            assert_eq!(refused(&json!([]), &json!({name: value})), name);
        }
        assert_eq!(refused(&json!([]), &json!({"tools": [{"type": "custom"}]})), "tools[0].type");
        assert_eq!(
            refused(&json!([]), &json!({"response_format": {"type": "grammar"}})),
            "response_format.type"
        );
        for (message, param) in [
            (json!({"role": "user", "content": "x", "name": "n"}), "messages[0].name"),
            (json!({"role": "function", "content": "x", "name": "n"}), "messages[0].role"),
            (json!({"role": "user", "content": [{"type": "video_url"}]}), "messages[0].content[0].type"),
            (
                json!({"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {}}]}),
                "messages[0].content[0].cache_control",
            ),
            (json!({"role": "assistant", "audio": {"id": "a"}}), "messages[0].audio"),
            (
                json!({"role": "assistant", "tool_calls": [{"id": "a", "type": "custom"}]}),
                "messages[0].tool_calls[0].type",
            ),
        ] {
            assert_eq!(refused(&json!([message]), &json!({})), param);
        }
    }
}
