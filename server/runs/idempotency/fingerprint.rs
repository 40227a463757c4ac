//! What makes two creates the same.
//!
//! It owns the hash of a create: SHA-256 over the canonical form of its body, so that it does not depend on the surface, on white
//! space or on the order of fields. How the answer is delivered (`stream`, `stream_options`, `wait`) is left out: a retry may
//! want it in another way (D-35).

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tidemark_proto::v1::create_request::Input;
use tidemark_proto::v1::{Api, CreateRequest};

use super::canonical::{self, MAX_DEPTH, Object, Wrong};
use crate::error::Error;
use crate::runs::extra::DELIVERY;

/// The hash of a create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint(pub(super) [u8; 32]);

impl Fingerprint {
    /// The hash of what `request` asks for.
    ///
    /// # Errors
    /// `invalid_request` for a body that has no canonical form: a field twice, nesting beyond [`MAX_DEPTH`], half a letter.
    pub(super) fn of(request: &CreateRequest) -> Result<Self, Error> {
        let text = canonical_body(request).map_err(refusal)?;
        Ok(Self(Sha256::digest(text.as_bytes()).into()))
    }
}

/// The body as its API has it. A typed field with its default value is left out, because over gRPC it cannot be told from
/// an absent one.
fn canonical_body(request: &CreateRequest) -> Result<String, Wrong> {
    let mut text = String::new();
    let mut body = Object::begin(&mut text);
    field(&mut body, "model", &request.model)?;
    match &request.input {
        Some(Input::Text(text)) => field(&mut body, input_name(request), text)?,
        Some(Input::Items(items)) => {
            body.put(input_name(request).into(), |to| canonical::write(raw(items)?, to))?;
        }
        None => {}
    }
    if request.background {
        field(&mut body, "background", &true)?;
    }
    if let Some(store) = request.store {
        field(&mut body, "store", &store)?;
    }
    if let Some(id) = &request.previous_response_id {
        field(&mut body, "previous_response_id", id)?;
    }
    if !request.session.is_empty() {
        field(&mut body, "session", &request.session)?;
    }
    if !request.metadata.is_empty() {
        field(&mut body, "metadata", &request.metadata)?;
    }
    if !request.extra.is_empty() {
        body.extend(raw(&request.extra)?, |name| !DELIVERY.contains(&name))?;
    }
    body.end()?;
    Ok(text)
}

/// What the input is called in the body of its API, which keeps the creates of the two apart.
fn input_name(request: &CreateRequest) -> &'static str {
    match request.api() {
        Api::ChatCompletions => "messages",
        Api::Responses | Api::Unspecified => "input",
    }
}

fn field<T: Serialize + ?Sized>(
    body: &mut Object<'_, '_>,
    name: &'static str,
    value: &T,
) -> Result<(), Wrong> {
    let value = serde_json::value::to_raw_value(value).map_err(|_| Wrong::Malformed)?;
    body.put(Cow::Borrowed(name), |to| canonical::write(&value, to))
}

fn raw(json: &[u8]) -> Result<&RawValue, Wrong> {
    serde_json::from_slice(json).map_err(|_| Wrong::Malformed)
}

fn refusal(wrong: Wrong) -> Error {
    match wrong {
        Wrong::Twice(name) => {
            let text = format!("`{name}` is given twice");
            Error::invalid(name, text)
        }
        Wrong::TooDeep => {
            let text = format!("with an idempotency key the body may be nested {MAX_DEPTH} deep at most");
            Error::invalid("body", text)
        }
        Wrong::NotUnicode => Error::invalid("body", "a string of the body has half of a surrogate pair"),
        Wrong::Malformed => Error::invalid("body", "the body is not valid JSON"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(extra: &'static str) -> CreateRequest {
        CreateRequest {
            model: "m".into(),
            input: Some(Input::Text("hé\n".into())),
            extra: extra.into(),
            ..CreateRequest::default()
        }
    }

    fn hash(request: &CreateRequest) -> Fingerprint {
        Fingerprint::of(request).unwrap()
    }

    #[test]
    fn the_text_that_is_hashed_is_the_body_in_canonical_form() {
        let full = CreateRequest {
            background: true,
            store: Some(false),
            previous_response_id: Some("resp_1".into()),
            metadata: [("z".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())].into(),
            ..request(
                r#"{"temperature":1.0,"seed":9007199254740993,"stream":true,"stream_options":{},"alpha":[ ]}"#,
            )
        };
        assert_eq!(
            canonical_body(&full).unwrap(),
            "{\"alpha\":[],\"background\":true,\"input\":\"hé\\n\",\"metadata\":{\"a\":\"2\",\"z\":\"1\"},\"model\":\"m\",\
             \"previous_response_id\":\"resp_1\",\"seed\":9007199254740993,\"store\":false,\"temperature\":1}"
        );
        let items = CreateRequest {
            input: Some(Input::Items(r#"[ {"role":"user", "content":"\u0078"} ]"#.into())),
            ..request("")
        };
        assert_eq!(
            canonical_body(&items).unwrap(),
            r#"{"input":[{"content":"x","role":"user"}],"model":"m"}"#
        );
    }

    #[test]
    fn what_only_looks_different_is_the_same() {
        let first = hash(&request(r#"{"temperature":1,"tools":[{"type":"web_search","n":1e2}]}"#));
        for extra in [
            r#"{"tools":[{"n":100,"type":"web_search"}],"temperature":1.0}"#,
            r#"{"stream":true,"temperature":1e0,"tools":[{"type":"web\u005fsearch","n":100.0}]}"#,
            r#"{ "temperature" : 10e-1 , "tools":[ {"type":"web_search","n":1E2} ], "stream_options":{"x":1} }"#,
        ] {
            assert_eq!(hash(&request(extra)), first, "{extra}");
        }
        let waiting = CreateRequest { wait: 2, idempotency_key: Some("k".into()), ..request("") };
        assert_eq!(hash(&waiting), hash(&request("")));
    }

    #[test]
    fn what_is_different_is_not_the_same() {
        let requests = [
            request(""),
            request(r#"{"seed":9007199254740992}"#),
            request(r#"{"seed":9007199254740993}"#),
            request(r#"{"seed":null}"#),
            request(r#"{"deep":{"stream":true}}"#),
            CreateRequest { model: "n".into(), ..request("") },
            CreateRequest { input: Some(Input::Text("h".into())), ..request("") },
            CreateRequest { background: true, ..request("") },
            CreateRequest { api: Api::ChatCompletions.into(), ..request("") },
            CreateRequest { store: Some(true), ..request("") },
            CreateRequest { store: Some(false), ..request("") },
            CreateRequest { previous_response_id: Some("x".into()), ..request("") },
            CreateRequest { metadata: [("a".to_owned(), "b".to_owned())].into(), ..request("") },
        ];
        for (number, one) in requests.iter().enumerate() {
            for other in requests.get(number + 1..).unwrap() {
                assert_ne!(hash(one), hash(other), "{one:?} and {other:?}");
            }
        }
    }

    #[test]
    fn a_body_without_a_canonical_form_is_refused_by_name() {
        let deep = format!("{{\"x\":{}{}}}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        for (request, param) in [
            (request(r#"{"seed":1,"seed":1}"#), "seed"),
            (request(r#"{"stream":true,"stream":false}"#), "stream"),
            (request(r#"{"tools":[{"a":{"b":1,"b":2}}]}"#), "b"),
            (CreateRequest { input: Some(Input::Items(r#"[{"r":1,"r":1}]"#.into())), ..request("") }, "r"),
            (CreateRequest { extra: deep.into(), ..request("") }, "body"),
            (request(r#"{"x":"\ud800"}"#), "body"),
        ] {
            let error = Fingerprint::of(&request).unwrap_err();
            assert_eq!((error.code().code(), error.param()), ("invalid_request", Some(param)), "{error}");
        }
    }
}
