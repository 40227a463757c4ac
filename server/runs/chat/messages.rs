//! The messages of a chat.
//!
//! It owns which members a message of each role must have. Roles are those of OpenAI; types of parts that it does not know, and
//! members that it does not name, are for the backend to judge.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::Error;

const ROLES: &str = "role must be one of system, developer, user, assistant, tool and function";

/// Checks every message.
///
/// # Errors
/// `invalid_request` that names the member, `messages[3].content[0].text` for example, and says what would be right.
pub(super) fn check(messages: &[Box<RawValue>]) -> Result<(), Error> {
    for (index, message) in messages.iter().enumerate() {
        let at = format!("messages[{index}]");
        let message: Value = serde_json::from_str(message.get())
            .map_err(|error| wrong(&at, "must be an object of valid JSON").with_quote(error))?;
        check_one(&message, &at)?;
    }
    Ok(())
}

fn check_one(message: &Value, at: &str) -> Result<(), Error> {
    let role = text(message, "role").ok_or_else(|| Error::invalid(format!("{at}.role"), ROLES))?;
    match role {
        "system" | "developer" | "user" => content(message, at),
        "tool" => {
            name(message, "tool_call_id", at)?;
            content(message, at)
        }
        "function" => name(message, "name", at),
        "assistant" => assistant(message, at),
        _ => Err(Error::invalid(format!("{at}.role"), ROLES)),
    }
}

/// What an assistant has said or called.
fn assistant(message: &Value, at: &str) -> Result<(), Error> {
    let calls = given(message, "tool_calls");
    if let Some(calls) = calls {
        tool_calls(calls, &format!("{at}.tool_calls"))?;
    }
    match given(message, "content") {
        Some(_) => content(message, at),
        None => {
            let else_said =
                ["refusal", "function_call", "audio"].iter().any(|name| given(message, name).is_some());
            if calls.is_some() || else_said { Ok(()) } else { content(message, at) }
        }
    }
}

fn tool_calls(calls: &Value, at: &str) -> Result<(), Error> {
    let calls = calls.as_array().filter(|calls| !calls.is_empty());
    let calls = calls.ok_or_else(|| wrong(at, "must be an array of at least one call"))?;
    for (index, call) in calls.iter().enumerate() {
        let at = format!("{at}[{index}]");
        name(call, "id", &at)?;
        if text(call, "type").is_none_or(|kind| kind == "function") {
            let function = given(call, "function").unwrap_or(&Value::Null);
            let at = format!("{at}.function");
            name(function, "name", &at)?;
            if text(function, "arguments").is_none() {
                return Err(wrong(&format!("{at}.arguments"), "must be a string: JSON text"));
            }
        }
    }
    Ok(())
}

fn content(message: &Value, at: &str) -> Result<(), Error> {
    let at = format!("{at}.content");
    let parts = match given(message, "content") {
        Some(Value::String(_)) => return Ok(()),
        Some(Value::Array(parts)) if !parts.is_empty() => parts,
        _ => return Err(wrong(&at, "must be a string or an array of at least one part")),
    };
    parts.iter().enumerate().try_for_each(|(index, part)| check_part(part, &format!("{at}[{index}]")))
}

fn check_part(part: &Value, at: &str) -> Result<(), Error> {
    let kind = text(part, "type").ok_or_else(|| wrong(&format!("{at}.type"), "must be a string"))?;
    let needs = |member: &str, inner: Option<&str>| {
        let there = match inner {
            Some(inner) => given(part, member).and_then(|object| text(object, inner)),
            None => text(part, member),
        };
        let path = inner.map_or_else(|| format!("{at}.{member}"), |inner| format!("{at}.{member}.{inner}"));
        there.map(drop).ok_or_else(|| wrong(&path, "must be a string"))
    };
    match kind {
        "text" => needs("text", None),
        "refusal" => needs("refusal", None),
        "image_url" => needs("image_url", Some("url")),
        "input_audio" => {
            needs("input_audio", Some("data")).and_then(|()| needs("input_audio", Some("format")))
        }
        "file" if given(part, "file").is_none_or(|file| !file.is_object()) => {
            Err(wrong(&format!("{at}.file"), "must be an object"))
        }
        _ => Ok(()),
    }
}

/// A member that is a text and not empty.
fn name(object: &Value, member: &str, at: &str) -> Result<(), Error> {
    match text(object, member) {
        Some(name) if !name.is_empty() => Ok(()),
        _ => Err(wrong(&format!("{at}.{member}"), "must be a string that is not empty")),
    }
}

/// A member, unless it is absent or null.
fn given<'a>(object: &'a Value, member: &str) -> Option<&'a Value> {
    object.get(member).filter(|value| !value.is_null())
}

fn text<'a>(object: &'a Value, member: &str) -> Option<&'a str> {
    given(object, member).and_then(Value::as_str)
}

fn wrong(at: &str, right: &str) -> Error {
    Error::invalid(at, format!("{at} {right}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(message: &str) -> Option<String> {
        let first = RawValue::from_string(r#"{"role":"user","content":"x"}"#.to_owned()).unwrap();
        let messages = [first, RawValue::from_string(message.to_owned()).unwrap()];
        check(&messages)
            .err()
            .map(|error| error.param().unwrap().trim_start_matches("messages[1]").to_owned())
    }

    #[test]
    fn what_is_missing_or_wrong_is_named_by_its_place() {
        let call = |call: Value| json!({"role": "assistant", "tool_calls": [call]});
        for (message, param) in [
            (json!({}), ".role"),
            (json!({"role": "robot", "content": "x"}), ".role"),
            (json!({"role": 1, "content": "x"}), ".role"),
            (json!({"role": "user"}), ".content"),
            (json!({"role": "user", "content": 1}), ".content"),
            (json!({"role": "user", "content": []}), ".content"),
            (json!({"role": "user", "content": [1]}), ".content[0].type"),
            (
                json!({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text"}]}),
                ".content[1].text",
            ),
            (
                json!({"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}),
                ".content[0].image_url.url",
            ),
            (
                json!({"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "x"}}]}),
                ".content[0].input_audio.format",
            ),
            (json!({"role": "user", "content": [{"type": "file", "file": 1}]}), ".content[0].file"),
            (json!({"role": "assistant"}), ".content"),
            (json!({"role": "assistant", "tool_calls": []}), ".tool_calls"),
            (call(json!({"function": {"name": "f", "arguments": ""}})), ".tool_calls[0].id"),
            (call(json!({"id": "a", "type": "function"})), ".tool_calls[0].function.name"),
            (
                call(json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": {}}})),
                ".tool_calls[0].function.arguments",
            ),
            (json!({"role": "tool", "content": "x"}), ".tool_call_id"),
            (json!({"role": "tool", "content": "x", "tool_call_id": ""}), ".tool_call_id"),
            (json!({"role": "tool", "tool_call_id": "a"}), ".content"),
            (json!({"role": "function", "content": "x"}), ".name"),
        ] {
            assert_eq!(refused(&message.to_string()).as_deref(), Some(param), "{message}");
        }
        assert_eq!(
            refused(r#"{"role":"user","content":"\ud800"}"#).as_deref(),
            Some(""),
            "half of a surrogate pair"
        );
    }

    #[test]
    fn what_backends_may_know_passes() {
        for message in [
            json!({"role": "system", "content": "x", "name": "n"}),
            json!({"role": "user", "content": [{"type": "video_url", "video_url": {}}, {"type": "file", "file": {"file_id": "f"}}]}),
            json!({"role": "assistant", "content": null, "refusal": "no"}),
            json!({"role": "assistant", "content": null, "tool_calls": [{"id": "a", "type": "custom", "custom": {}}]}),
            json!({"role": "assistant", "content": "", "tool_calls": null, "reasoning_content": "r"}),
            json!({"role": "tool", "content": [{"type": "text", "text": "x"}], "tool_call_id": "a"}),
            json!({"role": "function", "content": null, "name": "f"}),
        ] {
            assert_eq!(refused(&message.to_string()), None, "{message}");
        }
    }
}
