//! Input items as chat messages.
//!
//! It owns which item becomes which message, and which cannot become one. It must never know the rest of the request.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::backends::Generation;
use crate::error::Error;

/// A message of a chat.
#[derive(Debug, Serialize)]
pub(super) struct Message<'a> {
    role: Role,
    /// Null only in a message of tool calls alone.
    content: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    System,
    Developer,
    User,
    Assistant,
    #[serde(skip_deserializing)]
    Tool,
}

/// A single text is sent as a plain string, which every server understands.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(String),
    Parts(Vec<Part<'a>>),
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    Text { text: String },
    Refusal { refusal: String },
    ImageUrl { image_url: ImageUrl },
    File { file: File },
    InputAudio { input_audio: &'a RawValue },
}

#[derive(Debug, Serialize)]
struct ImageUrl {
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

#[derive(Debug, Serialize)]
struct File {
    #[serde(skip_serializing_if = "Option::is_none")]
    file_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filename: Option<String>,
}

#[derive(Debug, Serialize)]
struct ToolCall {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function,
}

#[derive(Debug, Serialize)]
struct Function {
    name: String,
    arguments: String,
}

/// The fields of all items that have a place in a chat.
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    role: Option<Role>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    call_id: Option<String>,
    name: Option<String>,
    arguments: Option<String>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
}

/// The fields of all parts that have a place in a chat.
#[derive(Deserialize)]
struct InputPart<'a> {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
    refusal: Option<String>,
    image_url: Option<String>,
    detail: Option<String>,
    file_id: Option<String>,
    file_data: Option<String>,
    file_url: Option<String>,
    filename: Option<String>,
    #[serde(borrow)]
    input_audio: Option<&'a RawValue>,
}

/// The messages of a conversation, `instructions` first.
///
/// Calls go into the assistant's message before them, and the assistant's text into its calls before it: a chat wants the
/// outputs right behind the message that has the calls.
///
/// # Errors
/// `invalid_request` naming the item, for what is malformed and what a chat cannot express.
pub(super) fn messages(generation: &Generation) -> Result<Vec<Message<'_>>, Error> {
    let mut messages = Vec::with_capacity(generation.items.len() + 1);
    if let Some(text) = &generation.instructions {
        messages.push(Message::new(Role::System, Content::Text(text.clone())));
    }
    generation.each_item(|item, at| add(&mut messages, item, at))?;
    Ok(messages)
}

impl<'a> Message<'a> {
    fn new(role: Role, content: Content<'a>) -> Self {
        Self { role, content: Some(content), tool_calls: Vec::new(), tool_call_id: None }
    }
}

fn add<'a>(messages: &mut Vec<Message<'a>>, item: &'a RawValue, at: &str) -> Result<(), Error> {
    let item: Item<'a> = parse(item, at, "is not an input item")?;
    match item.kind.as_deref() {
        None | Some("message") => {
            let role = item.role.ok_or_else(|| missing(at, "role"))?;
            let at = format!("{at}.content");
            let content = content(item.content.ok_or_else(|| missing(&at, ""))?, &at, Place::Message)?;
            match messages.last_mut() {
                Some(last) if role == Role::Assistant && last.role == role && last.content.is_none() => {
                    last.content = Some(content);
                }
                _ => messages.push(Message::new(role, content)),
            }
        }
        Some("function_call") => {
            let call = ToolCall {
                id: item.call_id.ok_or_else(|| missing(at, "call_id"))?,
                kind: "function",
                function: Function {
                    name: item.name.ok_or_else(|| missing(at, "name"))?,
                    arguments: item.arguments.ok_or_else(|| missing(at, "arguments"))?,
                },
            };
            match messages.last_mut() {
                Some(last) if last.role == Role::Assistant => last.tool_calls.push(call),
                _ => messages.push(Message {
                    role: Role::Assistant,
                    content: None,
                    tool_calls: vec![call],
                    tool_call_id: None,
                }),
            }
        }
        Some("function_call_output") => {
            let at_output = format!("{at}.output");
            let content =
                content(item.output.ok_or_else(|| missing(&at_output, ""))?, &at_output, Place::ToolOutput)?;
            let call_id = item.call_id.ok_or_else(|| missing(at, "call_id"))?;
            messages.push(Message { tool_call_id: Some(call_id), ..Message::new(Role::Tool, content) });
        }
        // A chat has no place for earlier reasoning; a model does without it.
        Some("reasoning") => {}
        Some(other) => {
            return Err(inexpressible(&format!("{at}.type"), &format!("an item of type `{other}`")));
        }
    }
    Ok(())
}

/// Where a content stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Message,
    ToolOutput,
}

fn content<'a>(content: &'a RawValue, at: &str, place: Place) -> Result<Content<'a>, Error> {
    if content.get().starts_with('"') {
        return Ok(Content::Text(parse(content, at, "is not a text")?));
    }
    let raw: Vec<&'a RawValue> = parse(content, at, "must be a text or a list of parts")?;
    let mut parts = Vec::with_capacity(raw.len());
    for (index, raw) in raw.into_iter().enumerate() {
        parts.push(part(raw, &format!("{at}[{index}]"), place)?);
    }
    Ok(match parts.as_mut_slice() {
        [Part::Text { text }] => Content::Text(std::mem::take(text)),
        _ => Content::Parts(parts),
    })
}

fn part<'a>(raw: &'a RawValue, at: &str, place: Place) -> Result<Part<'a>, Error> {
    let part: InputPart<'a> = parse(raw, at, "is not a content part")?;
    let kind = part.kind.as_str();
    if place == Place::ToolOutput && !matches!(kind, "input_text" | "text") {
        return Err(inexpressible(
            &format!("{at}.type"),
            &format!("a part of type `{kind}` in a tool's output"),
        ));
    }
    match kind {
        "input_text" | "output_text" | "text" => {
            Ok(Part::Text { text: part.text.ok_or_else(|| missing(at, "text"))? })
        }
        "refusal" => Ok(Part::Refusal { refusal: part.refusal.ok_or_else(|| missing(at, "refusal"))? }),
        "input_image" => match (part.image_url, part.file_id) {
            (Some(url), None) => Ok(Part::ImageUrl { image_url: ImageUrl { url, detail: part.detail } }),
            (_, Some(_)) => {
                Err(inexpressible(&format!("{at}.file_id"), "an image that is named by a file id"))
            }
            (None, None) => Err(missing(at, "image_url")),
        },
        "input_file" => match part {
            InputPart { file_url: Some(_), .. } => {
                Err(inexpressible(&format!("{at}.file_url"), "a file that is named by a URL"))
            }
            InputPart { file_id: None, file_data: None, .. } => Err(missing(at, "file_data")),
            InputPart { file_id, file_data, filename, .. } => {
                Ok(Part::File { file: File { file_id, file_data, filename } })
            }
        },
        "input_audio" => {
            Ok(Part::InputAudio { input_audio: part.input_audio.ok_or_else(|| missing(at, "input_audio"))? })
        }
        other => Err(inexpressible(&format!("{at}.type"), &format!("a part of type `{other}`"))),
    }
}

fn parse<'a, T: Deserialize<'a>>(raw: &'a RawValue, at: &str, problem: &str) -> Result<T, Error> {
    serde_json::from_str(raw.get())
        .map_err(|error| Error::invalid(at, format!("{at} {problem}")).with_quote(error))
}

fn missing(at: &str, field: &str) -> Error {
    let param = if field.is_empty() { at.to_owned() } else { format!("{at}.{field}") };
    let text = format!("{param} is missing");
    Error::invalid(param, text)
}

/// The error for `what`, of which a chat knows nothing.
pub(super) fn inexpressible(param: &str, what: &str) -> Error {
    Error::invalid(
        param,
        format!("{param}: the backend of this model speaks the chat dialect, which cannot express {what}"),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::value::to_raw_value;
    use serde_json::{Value, json};

    use super::*;

    fn generation(items: &Value) -> Generation {
        Generation {
            api: crate::backends::Api::Responses,
            model: "m".to_owned(),
            items: items.as_array().unwrap().iter().map(|item| to_raw_value(item).unwrap()).collect(),
            earlier: 0,
            instructions: None,
            params: BTreeMap::new(),
            metadata: BTreeMap::new(),
        }
    }

    fn mapped(items: &Value) -> Value {
        serde_json::to_value(messages(&generation(items)).unwrap()).unwrap()
    }

    #[test]
    fn items_become_messages() {
        let call = |id: &str| json!({"type": "function_call", "id": "fc", "call_id": id, "name": "f", "arguments": "{ }", "status": "completed"});
        let tool_call =
            |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{ }"}});
        let output = |id: &str| json!({"type": "function_call_output", "call_id": id, "output": "42"});
        let tool = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "42"});
        let user = json!({"role": "user", "content": "hi"});
        for (items, expected) in [
            (json!([]), json!([])),
            (json!([user]), json!([user])),
            (
                json!([{"type": "message", "role": "developer", "content": "d"}]),
                json!([{"role": "developer", "content": "d"}]),
            ),
            (
                json!([{"role": "system", "content": "s", "id": "msg_1", "status": null}]),
                json!([{"role": "system", "content": "s"}]),
            ),
            (
                json!([{"role": "user", "content": [{"type": "input_text", "text": "one"}]}]),
                json!([{"role": "user", "content": "one"}]),
            ),
            (json!([{"role": "user", "content": []}]), json!([{"role": "user", "content": []}])),
            (
                json!([{"role": "user", "content": [
                    {"type": "input_text", "text": "a"},
                    {"type": "text", "text": "b"},
                    {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
                    {"type": "input_image", "image_url": "https://host/i.png", "file_id": null},
                    {"type": "input_file", "file_data": "AA==", "filename": "a.pdf"},
                    {"type": "input_file", "file_id": "file_1"},
                    {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
                ]}]),
                json!([{"role": "user", "content": [
                    {"type": "text", "text": "a"},
                    {"type": "text", "text": "b"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
                    {"type": "image_url", "image_url": {"url": "https://host/i.png"}},
                    {"type": "file", "file": {"file_data": "AA==", "filename": "a.pdf"}},
                    {"type": "file", "file": {"file_id": "file_1"}},
                    {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
                ]}]),
            ),
            (
                json!([{"role": "assistant", "content": [{"type": "output_text", "text": "t", "annotations": []}, {"type": "refusal", "refusal": "r"}]}]),
                json!([{"role": "assistant", "content": [{"type": "text", "text": "t"}, {"type": "refusal", "refusal": "r"}]}]),
            ),
            (
                json!([user, {"type": "reasoning", "id": "rs_1", "summary": [], "content": []}, call("1"), call("2"), output("1"), output("2")]),
                json!([user, {"role": "assistant", "content": null, "tool_calls": [tool_call("1"), tool_call("2")]}, tool("1"), tool("2")]),
            ),
            (
                json!([{"role": "assistant", "content": "look"}, call("1"), output("1")]),
                json!([{"role": "assistant", "content": "look", "tool_calls": [tool_call("1")]}, tool("1")]),
            ),
            (
                json!([call("1"), {"role": "assistant", "content": "look"}, output("1"), call("2"), output("2")]),
                json!([
                    {"role": "assistant", "content": "look", "tool_calls": [tool_call("1")]},
                    tool("1"),
                    {"role": "assistant", "content": null, "tool_calls": [tool_call("2")]},
                    tool("2"),
                ]),
            ),
            (
                json!([{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}]),
                json!([{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}]),
            ),
            (
                json!([{"type": "function_call_output", "call_id": "1", "output": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]}]),
                json!([{"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]),
            ),
        ] {
            assert_eq!(mapped(&items), expected, "{items}");
        }
    }

    #[test]
    fn instructions_come_first() {
        let mut generation = generation(&json!([{"role": "user", "content": "hi"}]));
        generation.instructions = Some("Be brief.".to_owned());
        let messages = serde_json::to_value(messages(&generation).unwrap()).unwrap();
        assert_eq!(
            messages,
            json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}])
        );
    }

    #[test]
    fn what_a_chat_cannot_express_is_named() {
        let part =
            |part: Value| json!({"role": "user", "content": [{"type": "input_text", "text": "x"}, part]});
        for (item, param, word) in [
            (json!({"type": "item_reference", "id": "x"}), "input[1].type", "item_reference"),
            (json!({"type": "computer_call"}), "input[1].type", "computer_call"),
            (part(json!({"type": "input_video"})), "input[1].content[1].type", "input_video"),
            (part(json!({"type": "input_image", "file_id": "f"})), "input[1].content[1].file_id", "file id"),
            (
                part(json!({"type": "input_file", "file_url": "https://host/a"})),
                "input[1].content[1].file_url",
                "URL",
            ),
            (
                json!({"type": "function_call_output", "call_id": "1", "output": [{"type": "input_image", "image_url": "x"}]}),
                "input[1].output[0].type",
                "input_image",
            ),
            (part(json!({"type": "input_image"})), "input[1].content[1].image_url", "missing"),
            (
                part(json!({"type": "input_file", "filename": "a"})),
                "input[1].content[1].file_data",
                "missing",
            ),
            (part(json!({"type": "input_text"})), "input[1].content[1].text", "missing"),
            (part(json!({"text": "x"})), "input[1].content[1]", "part"),
            (json!({"role": "user"}), "input[1].content", "missing"),
            (json!({"role": "user", "content": 7}), "input[1].content", "list of parts"),
            (json!({"content": "x"}), "input[1].role", "missing"),
            (json!({"role": "tool", "content": "x"}), "input[1]", "input item"),
            (json!("text"), "input[1]", "input item"),
            (json!({"type": "function_call", "call_id": "1", "name": "f"}), "input[1].arguments", "missing"),
            (json!({"type": "function_call_output", "output": "x"}), "input[1].call_id", "missing"),
        ] {
            let mut generation = generation(&json!([{"role": "user", "content": "hi"}, item]));
            let error = messages(&generation).unwrap_err();
            assert_eq!(error.param(), Some(param), "{item}");
            assert!(error.message().contains(word) && error.message().starts_with(param), "{error}");
            // The same item as the first one of a continuation.
            generation.earlier = 1;
            let error = messages(&generation).unwrap_err();
            assert_eq!(error.param(), Some(param.replacen('1', "0", 1).as_str()), "{item}");
            // The same item in an earlier turn.
            generation.earlier = 2;
            let error = messages(&generation).unwrap_err();
            assert_eq!(error.param(), Some("previous_response_id"), "{item}");
            assert!(error.message().contains(word), "{error}");
        }
    }
}
