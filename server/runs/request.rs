//! From a Create call to a checked request.
//!
//! It owns the bounds of what may be asked. It must never look anything up: what it refuses is wrong whoever asks.

use serde::Serialize;
use serde_json::value::RawValue;
use tidemark_proto::v1::create_request::Input;
use tidemark_proto::v1::{self, CreateRequest};

use crate::backends::Api;
use crate::error::Error;
use crate::items::objects;
use crate::runs::document::Document;
use crate::runs::{chat, extra};
use crate::{json, labels};

/// The longest input given as text, in characters.
pub const MAX_INPUT_CHARS: usize = 10_485_760;

/// The longest name of a model, in bytes.
const MAX_MODEL_BYTES: usize = 256;

#[derive(Serialize)]
struct InputMessage<'a> {
    r#type: &'static str,
    role: &'static str,
    content: [InputText<'a>; 1],
}

#[derive(Serialize)]
struct InputText<'a> {
    r#type: &'static str,
    text: &'a str,
}

/// Checks a request that came at `created_at`, in seconds since 1970.
///
/// # Errors
/// `invalid_request` that names the field and says what would be right.
pub(super) fn check(request: CreateRequest, created_at: u64) -> Result<Document, Error> {
    check_model(&request.model)?;
    labels::check(&request.metadata)?;
    match v1::Api::try_from(request.api) {
        Ok(v1::Api::Unspecified | v1::Api::Responses) => response(request, created_at),
        Ok(v1::Api::ChatCompletions) => chat::check(request, created_at),
        Err(_) => Err(Error::invalid("api", "api is not a value of its enum")),
    }
}

fn response(request: CreateRequest, created_at: u64) -> Result<Document, Error> {
    if !request.session.is_empty() && request.previous_response_id.is_some() {
        let text = "session and previous_response_id exclude each other: a session has its own past";
        return Err(Error::invalid("session", text));
    }
    let items = input(request.input)?;
    let mut params = extra::parse(&request.extra)?;
    let instructions = match extra::value(&params, "instructions")? {
        Some(serde_json::Value::String(text)) => Some(text),
        _ => None,
    };
    params.remove("instructions");
    Ok(Document {
        version: Document::VERSION,
        api: Api::Responses,
        created_at,
        model: request.model,
        items,
        background: request.background,
        store: request.store.unwrap_or(true),
        previous_response_id: request.previous_response_id,
        metadata: request.metadata,
        instructions,
        joins: Some(request.session).filter(|session| !session.is_empty()),
        session: None,
        idempotency_key: request.idempotency_key,
        params,
    })
}

fn check_model(model: &str) -> Result<(), Error> {
    match model.len() {
        0 => Err(Error::invalid(
            "model",
            "model is required: the name of a model, as the list of models gives it",
        )),
        1..=MAX_MODEL_BYTES => Ok(()),
        _ => Err(Error::invalid("model", format!("model must have at most {MAX_MODEL_BYTES} bytes"))),
    }
}

/// # Errors
/// `invalid_request` for a text of more than [`MAX_INPUT_CHARS`].
pub(super) fn check_length(field: &str, text: &str) -> Result<(), Error> {
    if text.chars().count() > MAX_INPUT_CHARS {
        return Err(Error::invalid(field, format!("{field} must have at most {MAX_INPUT_CHARS} characters")));
    }
    Ok(())
}

fn input(input: Option<Input>) -> Result<Vec<Box<RawValue>>, Error> {
    match input {
        Some(Input::Text(text)) if !text.is_empty() => {
            check_length("input", &text)?;
            let content = [InputText { r#type: "input_text", text: &text }];
            Ok(vec![json::raw(&InputMessage { r#type: "message", role: "user", content })?])
        }
        Some(Input::Items(items)) => objects("input", "items", &items),
        Some(Input::Text(_)) | None => {
            Err(Error::invalid("input", "input is required: a text that is not empty, or an array of items"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> CreateRequest {
        CreateRequest { model: "m".into(), input: Some(Input::Text(text.into())), ..CreateRequest::default() }
    }

    fn items(items: &'static [u8]) -> CreateRequest {
        CreateRequest { input: Some(Input::Items(items.into())), ..text("") }
    }

    fn labels(pairs: impl IntoIterator<Item = (String, String)>) -> CreateRequest {
        CreateRequest { metadata: pairs.into_iter().collect(), ..text("x") }
    }

    #[test]
    fn text_becomes_an_item_and_defaults_are_openais() {
        let document = check(text("say \"hi\"\n"), 7).unwrap();
        let item =
            r#"{"type":"message","role":"user","content":[{"type":"input_text","text":"say \"hi\"\n"}]}"#;
        assert_eq!(document.items[0].get(), item);
        assert!(document.store && !document.background && !document.needs_reader());
        assert_eq!(document.created_at, 7);
    }

    #[test]
    fn instructions_are_taken_out_of_the_rest() {
        let request = CreateRequest { extra: r#"{"instructions":"be brief","seed":1}"#.into(), ..text("x") };
        let document = check(request, 0).unwrap();
        assert_eq!(document.instructions.as_deref(), Some("be brief"));
        assert_eq!(document.params.keys().collect::<Vec<_>>(), ["seed"]);
    }

    #[test]
    fn every_wrong_field_is_named() {
        let pair = |key: usize, value: usize| ("k".repeat(key), "v".repeat(value));
        let table = [
            (CreateRequest { model: String::new(), ..text("x") }, "model"),
            (CreateRequest { model: "m".repeat(257), ..text("x") }, "model"),
            (CreateRequest { input: None, ..text("x") }, "input"),
            (text(""), "input"),
            (text(&"x".repeat(MAX_INPUT_CHARS + 1)), "input"),
            (items(b"[]"), "input"),
            (items(b"{}"), "input"),
            (items(b"[{}"), "input"),
            (items(b"[{},1]"), "input[1]"),
            (items(br#"[{},{},{"\ud800":1}]"#), "input[2]"),
            (labels((0..17).map(|n| (n.to_string(), String::new()))), "metadata"),
            (labels([pair(65, 1)]), "metadata"),
            (labels([pair(1, 513)]), "metadata"),
            (
                CreateRequest { session: "s".into(), previous_response_id: Some("r".into()), ..text("x") },
                "session",
            ),
        ];
        for (request, param) in table {
            let error = check(request, 0).unwrap_err();
            assert_eq!(error.param(), Some(param), "{error}");
        }
        assert!(check(labels([pair(64, 512)]), 0).is_ok());
        assert!(check(text(&"ä".repeat(MAX_INPUT_CHARS)), 0).is_ok(), "characters, not bytes");
    }
}
