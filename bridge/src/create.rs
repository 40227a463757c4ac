//! The body of `POST /v1/responses`, read into a `CreateRequest`.
//!
//! It owns which fields are typed (D-4) and what makes a body malformed. It must never know what a model or a tool is: all that
//! is not typed travels on byte by byte.

use bytes::Bytes;
use serde_json::value::RawValue;
use tidemark_proto::v1::create_request::Input;
use tidemark_proto::v1::{CreateRequest, Wait};

use crate::error::Failure;
use crate::fields::{BOOL, Rest, fields, metadata, nullable, object_or_null, typed, wrong};

/// How the caller wants its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// As JSON, at once or when the response has ended: `CreateRequest.wait` says which.
    Json,
    /// As SSE from the first event.
    Stream,
}

/// Reads a body. `background` without `stream` waits for nothing, neither of the two waits for the end (W-1…W-3).
///
/// # Errors
/// `invalid_request`: not JSON (with line and column), not an object, a field twice, a field of the wrong type, or more fields
/// than a body may have. What is missing or out of its bounds is for the gateway to say.
pub(crate) fn parse(body: &Bytes) -> Result<(CreateRequest, Delivery), Failure> {
    let mut create = CreateRequest::default();
    let mut stream = false;
    let mut rest = Rest::default();
    for (name, value) in fields(body)? {
        match name.as_str() {
            "model" => create.model = typed(&name, value, "a string")?,
            "input" => create.input = Some(input(value, body)?),
            "background" => create.background = nullable(&name, value, BOOL)?.unwrap_or(false),
            "store" => create.store = nullable(&name, value, BOOL)?,
            "stream" => stream = nullable(&name, value, BOOL)?.unwrap_or(false),
            "stream_options" => check_stream_options(value)?,
            "previous_response_id" => {
                create.previous_response_id = nullable(&name, value, "a string or null")?
            }
            "metadata" => create.metadata = metadata(value)?,
            "conversation" => create.session = conversation(value)?,
            _ => rest.push(&name, value),
        }
    }
    create.extra = rest.finish();
    create.set_wait(if create.background || stream { Wait::None } else { Wait::Terminal });
    Ok((create, if stream { Delivery::Stream } else { Delivery::Json }))
}

/// Text is decoded; an array stays as it came and shares the body's memory.
fn input(value: &RawValue, body: &Bytes) -> Result<Input, Failure> {
    if value.get().starts_with('[') {
        return Ok(Input::Items(body.slice_ref(value.get().as_bytes())));
    }
    typed("input", value, "a string or an array of input items").map(Input::Text)
}

/// The session of a response: its key, an object that holds it, or nothing.
fn conversation(value: &RawValue) -> Result<String, Failure> {
    const NAME: &str = "conversation";
    const RIGHT: &str = "the id of a conversation, an object with it, or null";
    let id = match value.get() {
        "null" => return Ok(String::new()),
        object if object.starts_with('{') => {
            let fields = object_or_null(NAME, value, RIGHT)?;
            let id = fields.into_iter().find(|(name, _)| name == "id").ok_or_else(|| wrong(NAME, RIGHT))?;
            typed::<String>(NAME, id.1, RIGHT)?
        }
        _ => typed(NAME, value, RIGHT)?,
    };
    // Over gRPC the empty text says that there is none.
    if id.is_empty() { Err(wrong(NAME, RIGHT)) } else { Ok(id) }
}

/// `include_obfuscation` is checked and then left alone: the gateway never adds any (W-29).
fn check_stream_options(value: &RawValue) -> Result<(), Failure> {
    for (name, value) in object_or_null("stream_options", value, "an object or null")? {
        if name == "include_obfuscation" {
            nullable::<bool>("stream_options.include_obfuscation", value, BOOL)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tidemark_proto::v1::{Api, ErrorCode};

    use super::*;
    use crate::fields::{MAX_FIELDS, MAX_NAME_BYTES};

    fn read(body: &str) -> (CreateRequest, Delivery) {
        parse(&Bytes::copy_from_slice(body.as_bytes())).unwrap()
    }

    fn refusal(body: impl AsRef<[u8]>) -> Failure {
        parse(&Bytes::copy_from_slice(body.as_ref())).unwrap_err()
    }

    #[test]
    fn typed_fields_are_read() {
        let (create, delivery) = read(
            r#"{"model":"m","input":"h\u00e9","background":true,"store":false,"stream":true,
                "stream_options":{"include_obfuscation":true,"later":1},"previous_response_id":"resp_1","conversation":{"id":"conv_1"},
                "metadata":{"b":"2","a":"1"}}"#,
        );
        let expected = CreateRequest {
            model: "m".to_owned(),
            input: Some(Input::Text("hé".to_owned())),
            background: true,
            store: Some(false),
            previous_response_id: Some("resp_1".to_owned()),
            metadata: [("a", "1"), ("b", "2")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            extra: Bytes::new(),
            wait: Wait::None.into(),
            idempotency_key: None,
            ticket: None,
            api: Api::Unspecified.into(),
            session: "conv_1".to_owned(),
        };
        assert_eq!(create, expected);
        assert_eq!(delivery, Delivery::Stream);
    }

    #[test]
    fn a_conversation_is_an_id_or_an_object_with_one() {
        for (value, key) in [(r#""a""#, "a"), (r#"{"id":"a","x":1}"#, "a"), ("null", "")] {
            assert_eq!(read(&format!(r#"{{"conversation":{value}}}"#)).0.session, key);
        }
        let message = "`conversation` must be the id of a conversation, an object with it, or null";
        for wrong in [r#""""#, "{}", r#"{"id":null}"#, r#"{"id":""}"#, "7", "[]"] {
            let refused = refusal(format!(r#"{{"conversation":{wrong}}}"#));
            assert_eq!(refused, Failure::invalid("conversation", message), "{wrong}");
        }
    }

    #[test]
    fn the_rest_travels_byte_by_byte_in_its_order() {
        let (create, _) = read(
            "{ \"zeta\" : 1.0 , \"model\":\"m\", \"tools\":[ {\"a\" : 1e2}, null ],\"n\\u0061me\":\"\\u00e9\", \"alpha\":-0,\
             \"deep\":{\"stream\":3} }",
        );
        let expected = "{\"zeta\":1.0,\"tools\":[ {\"a\" : 1e2}, null ],\"name\":\"\\u00e9\",\"alpha\":-0,\"deep\":{\"stream\":3}}";
        assert_eq!(create.extra, expected);
    }

    #[test]
    fn input_items_travel_byte_by_byte() {
        let (create, _) = read(r#"{"input": [ {"role":"user", "content":"x"} ] }"#);
        assert_eq!(
            create.input,
            Some(Input::Items(Bytes::from_static(br#"[ {"role":"user", "content":"x"} ]"#)))
        );
    }

    #[test]
    fn null_is_absent_where_openai_allows_null() {
        let (create, delivery) = read(
            r#"{"background":null,"store":null,"stream":null,"stream_options":null,"previous_response_id":null,"metadata":null}"#,
        );
        assert_eq!(create, CreateRequest { wait: Wait::Terminal.into(), ..CreateRequest::default() });
        assert_eq!(delivery, Delivery::Json);
    }

    #[test]
    fn what_is_waited_for_follows_background_and_stream() {
        for (body, wait, delivery) in [
            ("{}", Wait::Terminal, Delivery::Json),
            (r#"{"background":true}"#, Wait::None, Delivery::Json),
            (r#"{"stream":true}"#, Wait::None, Delivery::Stream),
            (r#"{"background":true,"stream":true}"#, Wait::None, Delivery::Stream),
            (r#"{"background":false,"stream":false}"#, Wait::Terminal, Delivery::Json),
        ] {
            let (create, got) = read(body);
            assert_eq!((create.wait(), got), (wait, delivery), "{body}");
        }
    }

    #[test]
    fn a_field_of_the_wrong_type_is_named_with_what_would_be_right() {
        for (body, param, message) in [
            (r#"{"model":7}"#, "model", "`model` must be a string"),
            (r#"{"model":null}"#, "model", "`model` must be a string"),
            (r#"{"input":{}}"#, "input", "`input` must be a string or an array of input items"),
            (r#"{"input":null}"#, "input", "`input` must be a string or an array of input items"),
            (r#"{"background":"true"}"#, "background", "`background` must be `true` or `false`"),
            (r#"{"store":1}"#, "store", "`store` must be `true` or `false`"),
            (r#"{"stream":"yes"}"#, "stream", "`stream` must be `true` or `false`"),
            (r#"{"stream_options":[]}"#, "stream_options", "`stream_options` must be an object or null"),
            (
                r#"{"stream_options":{"include_obfuscation":0}}"#,
                "stream_options.include_obfuscation",
                "`stream_options.include_obfuscation` must be `true` or `false`",
            ),
            (
                r#"{"previous_response_id":5}"#,
                "previous_response_id",
                "`previous_response_id` must be a string or null",
            ),
            (r#"{"metadata":[]}"#, "metadata", "`metadata` must be an object with string values, or null"),
            (
                r#"{"metadata":{"a":1}}"#,
                "metadata",
                "`metadata` must be an object with string values, or null",
            ),
            (r#"{"metadata":{"a":"1","a":"2"}}"#, "metadata", "`a` is given twice"),
            (r#"{"model":"a","x":1,"model":"b"}"#, "model", "`model` is given twice"),
            (r#"{"x":1,"\u0078":2}"#, "x", "`x` is given twice"),
        ] {
            assert_eq!(refusal(body), Failure::invalid(param, message), "{body}");
        }
    }

    #[test]
    fn a_body_that_is_no_json_object_is_refused_with_its_place() {
        let not_object = "the body must be a JSON object";
        for (body, message) in [
            (&b"[]"[..], not_object),
            (b"\"text\"", not_object),
            (b"null", not_object),
            (b"12", not_object),
            (b"", "the body is not valid JSON: EOF while parsing a value at line 1 column 0"),
            (b"{\"a\":\n tru}", "the body is not valid JSON: expected ident at line 2 column 5"),
            (b"{\"a\":1", "the body is not valid JSON: EOF while parsing an object at line 1 column 6"),
            (b"{\"a\":1}{", "the body is not valid JSON: trailing characters at line 1 column 8"),
            (b"{\"a\":1,}", "the body is not valid JSON: trailing comma at line 1 column 8"),
            (
                b"{\"a\":\"\xff\"}",
                "the body is not valid JSON: invalid unicode code point at line 1 column 7",
            ),
            (
                b"{\"a\":1,\"a\":2,",
                "the body is not valid JSON: EOF while parsing a value at line 1 column 13",
            ),
        ] {
            let text = String::from_utf8_lossy(body);
            assert_eq!(refusal(body), Failure::new(ErrorCode::InvalidRequest, message), "{text}");
        }
    }

    #[test]
    fn names_and_their_number_are_bounded() {
        let many = |count: usize| {
            let fields: Vec<_> = (0..count).map(|n| format!("\"f{n}\":1")).collect();
            format!("{{{}}}", fields.join(","))
        };
        assert!(parse(&many(MAX_FIELDS).into()).is_ok());
        let message = "there are more than 256 fields";
        assert_eq!(refusal(many(MAX_FIELDS + 1)), Failure::new(ErrorCode::InvalidRequest, message));

        let named = |length: usize| format!("{{\"{}\":1}}", "n".repeat(length));
        assert!(parse(&named(MAX_NAME_BYTES).into()).is_ok());
        let message = "the name of a field is longer than 256 bytes";
        assert_eq!(refusal(named(MAX_NAME_BYTES + 1)), Failure::new(ErrorCode::InvalidRequest, message));
    }

    #[test]
    fn deep_nesting_passes_without_recursion() {
        let deep = format!("{{\"x\":{}{}}}", "[".repeat(1 << 20), "]".repeat(1 << 20));
        let (create, _) = read(&deep);
        assert_eq!(create.extra.len(), deep.len());
    }
}
