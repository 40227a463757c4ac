//! The body of `POST /v1/chat/completions`, read into a `CreateRequest`.
//!
//! It owns which fields are typed (D-4). All else travels on byte by byte, the messages too: what they must look like is for the
//! gateway to say.

use bytes::Bytes;
use serde_json::value::RawValue;
use tidemark_proto::v1::create_request::Input;
use tidemark_proto::v1::{Api, CreateRequest, Wait};

use crate::error::Failure;
use crate::fields::{BOOL, Rest, fields, metadata, nullable, object_or_null, typed, wrong};

/// How the caller wants its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// As JSON, when the chat has ended.
    Json,
    /// As SSE from the first chunk.
    Stream {
        /// Whether the last chunk says what was used.
        include_usage: bool,
    },
}

/// Reads a body.
///
/// # Errors
/// `invalid_request`: not JSON (with line and column), not an object, a field twice, or a field of the wrong type. What is missing or
/// out of its bounds is for the gateway to say.
pub(super) fn parse(body: &Bytes) -> Result<(CreateRequest, Delivery), Failure> {
    let mut create = CreateRequest::default();
    create.set_api(Api::ChatCompletions);
    let (mut stream, mut include_usage) = (false, false);
    let mut rest = Rest::default();
    for (name, value) in fields(body)? {
        match name.as_str() {
            "model" => create.model = typed(&name, value, "a string")?,
            "messages" if value.get().starts_with('[') => {
                create.input = Some(Input::Items(body.slice_ref(value.get().as_bytes())));
            }
            "messages" => return Err(wrong(&name, "an array of messages")),
            "store" => create.store = nullable(&name, value, BOOL)?,
            "stream" => stream = nullable(&name, value, BOOL)?.unwrap_or(false),
            "stream_options" => include_usage = stream_options(value)?,
            "metadata" => create.metadata = metadata(value)?,
            _ => rest.push(&name, value),
        }
    }
    create.extra = rest.finish();
    create.set_wait(if stream { Wait::None } else { Wait::Terminal });
    Ok((create, if stream { Delivery::Stream { include_usage } } else { Delivery::Json }))
}

/// Whether what was used shall be told. `include_obfuscation` is checked and then left alone, like any other that is not known.
fn stream_options(value: &RawValue) -> Result<bool, Failure> {
    let mut include_usage = false;
    for (name, value) in object_or_null("stream_options", value, "an object or null")? {
        let path = format!("stream_options.{name}");
        match name.as_str() {
            "include_usage" => include_usage = nullable(&path, value, BOOL)?.unwrap_or(false),
            "include_obfuscation" => drop(nullable::<bool>(&path, value, BOOL)?),
            _ => {}
        }
    }
    Ok(include_usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(body: &'static str) -> Result<(CreateRequest, Delivery), Failure> {
        parse(&Bytes::from_static(body.as_bytes()))
    }

    #[test]
    fn what_is_typed_is_typed_and_the_rest_keeps_its_bytes() {
        let body = r#"{"model":"m","messages":[ {"role":"user"} ],"store":true,"metadata":{"a":"b"},"n": 2,"x":[1.0 ]}"#;
        let (create, delivery) = parsed(body).unwrap();
        assert_eq!(delivery, Delivery::Json);
        assert_eq!((create.api(), create.wait()), (Api::ChatCompletions, Wait::Terminal));
        assert_eq!((create.model.as_str(), create.store), ("m", Some(true)));
        assert_eq!(create.input, Some(Input::Items(r#"[ {"role":"user"} ]"#.into())));
        assert_eq!(create.extra, r#"{"n":2,"x":[1.0 ]}"#);
        assert_eq!(create.metadata["a"], "b");
    }

    #[test]
    fn a_stream_says_whether_it_wants_the_usage() {
        for (body, include_usage) in [
            (r#"{"stream":true}"#, false),
            (r#"{"stream":true,"stream_options":null}"#, false),
            (
                r#"{"stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false,"new":1}}"#,
                true,
            ),
        ] {
            assert_eq!(parsed(body).unwrap().1, Delivery::Stream { include_usage });
        }
    }

    #[test]
    fn a_field_of_the_wrong_type_is_named() {
        for (body, param) in [
            (r#"{"messages":"hi"}"#, "messages"),
            (r#"{"messages":null}"#, "messages"),
            (r#"{"model":1}"#, "model"),
            (r#"{"store":1}"#, "store"),
            (r#"{"stream":"true"}"#, "stream"),
            (r#"{"stream_options":true}"#, "stream_options"),
            (r#"{"stream_options":{"include_usage":1}}"#, "stream_options.include_usage"),
            (r#"{"metadata":{"a":1}}"#, "metadata"),
            (r#"{"n":1,"n":1}"#, "n"),
        ] {
            let failure = parsed(body).unwrap_err();
            assert!(
                format!("{failure:?}").contains(&format!("param: Some(\"{param}\")")),
                "{body}: {failure:?}"
            );
        }
    }
}
