//! The response object of the OpenAI Responses API (W-12 to W-16).
//!
//! It owns the shape: all 31 fields, always, with explicit nulls.

use serde::{Serialize, Serializer};

use crate::backends::Usage;
use crate::error::Error;
use crate::json::Node;
use crate::runs::document::Document;
use crate::runs::echo::Echo;
use crate::runs::id::ResponseId;
use crate::runs::status::Status;

/// The part of a response object that never changes.
#[derive(Debug)]
pub(super) struct Template {
    id: String,
    created_at: u64,
    echo: Echo,
}

/// The part that does.
#[derive(Clone, Copy, Debug)]
pub(super) struct State<'a> {
    pub(super) status: Status,
    /// Seconds since 1970; only with [`Status::Completed`].
    pub(super) completed_at: Option<u64>,
    /// Only with [`Status::Failed`].
    pub(super) error: Option<&'a Error>,
    pub(super) output: &'a [Node],
    pub(super) usage: Option<Usage>,
}

impl Template {
    /// The template of a stored request.
    ///
    /// # Errors
    /// `internal` if the request was not checked.
    pub(super) fn new(id: ResponseId, document: &Document) -> Result<Self, Error> {
        Ok(Self { id: id.to_string(), created_at: document.created_at, echo: Echo::new(document)? })
    }

    /// The object in this state.
    pub(super) fn at<'a>(&'a self, state: State<'a>) -> Object<'a> {
        Object {
            id: &self.id,
            object: "response",
            created_at: self.created_at,
            completed_at: state.completed_at,
            status: state.status.name(),
            incomplete_details: match state.status {
                Status::Incomplete(reason) => Some(Details { reason: reason.wire_reason() }),
                _ => None,
            },
            error: state.error.map(|error| Fault { code: error.code().code(), message: error.message() }),
            output: state.output,
            usage: match state.status {
                // W-15: what a cancelled response used is not known.
                Status::Cancelled(_) => None,
                _ => state.usage.map(Tokens),
            },
            echo: &self.echo,
        }
    }
}

/// The response object, ready to be written.
#[derive(Debug, Serialize)]
pub(super) struct Object<'a> {
    id: &'a str,
    object: &'static str,
    created_at: u64,
    completed_at: Option<u64>,
    status: &'static str,
    incomplete_details: Option<Details>,
    error: Option<Fault<'a>>,
    output: &'a [Node],
    usage: Option<Tokens>,
    #[serde(flatten)]
    echo: &'a Echo,
}

/// The body of an event that carries the whole object.
#[derive(Serialize)]
pub(super) struct Body<'a> {
    pub(super) response: &'a Object<'a>,
}

#[derive(Debug, Serialize)]
struct Details {
    reason: &'static str,
}

#[derive(Debug, Serialize)]
struct Fault<'a> {
    code: &'static str,
    message: &'a str,
}

#[derive(Debug)]
struct Tokens(Usage);

impl Serialize for Tokens {
    /// The shape of W-14: zeros are written out.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shape {
            input_tokens: u64,
            input_tokens_details: Input,
            output_tokens: u64,
            output_tokens_details: Output,
            total_tokens: u64,
        }
        #[derive(Serialize)]
        struct Input {
            cached_tokens: u64,
            cache_write_tokens: u64,
        }
        #[derive(Serialize)]
        struct Output {
            reasoning_tokens: u64,
        }
        let Usage { input_tokens, output_tokens, reasoning_tokens, total_tokens, .. } = self.0;
        let Usage { cached_tokens, cache_write_tokens, .. } = self.0;
        let shape = Shape {
            input_tokens,
            input_tokens_details: Input { cached_tokens, cache_write_tokens },
            output_tokens,
            output_tokens_details: Output { reasoning_tokens },
            total_tokens,
        };
        shape.serialize(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::status::{Cancelled, Incomplete};
    use crate::runs::testing::document;

    fn object(status: Status, error: Option<&Error>) -> String {
        let template = Template::new(ResponseId::from_bytes([1; 16]), &document()).unwrap();
        let usage = Some(Usage { input_tokens: 3, output_tokens: 4, total_tokens: 7, ..Usage::default() });
        let completed_at = matches!(status, Status::Completed).then_some(9);
        let state = State { status, completed_at, error, output: &[], usage };
        serde_json::to_string(&template.at(state)).unwrap()
    }

    #[test]
    fn the_whole_object_is_the_one_of_the_contract() {
        let expected = concat!(
            r#"{"id":"resp_01010101010101010101010101010101","object":"response","created_at":5,"completed_at":9,"#,
            r#""status":"completed","incomplete_details":null,"error":null,"output":[],"usage":{"input_tokens":3,"#,
            r#""input_tokens_details":{"cached_tokens":0,"cache_write_tokens":0},"output_tokens":4,"#,
            r#""output_tokens_details":{"reasoning_tokens":0},"total_tokens":7},"model":"m","#,
            r#""previous_response_id":null,"instructions":null,"tools":[],"tool_choice":"auto","truncation":"disabled","#,
            r#""parallel_tool_calls":true,"text":{"format":{"type":"text"}},"top_p":1,"presence_penalty":0,"#,
            r#""frequency_penalty":0,"top_logprobs":0,"temperature":1,"reasoning":{"effort":null,"summary":null},"#,
            r#""max_output_tokens":null,"max_tool_calls":null,"store":true,"background":false,"service_tier":"default","#,
            r#""metadata":{},"safety_identifier":null,"prompt_cache_key":null}"#,
        );
        assert_eq!(object(Status::Completed, None), expected);
    }

    #[test]
    fn each_end_says_why() {
        let failed = object(Status::Failed, Some(&Error::invalid("x", "wrong")));
        assert!(failed.contains(r#""error":{"code":"invalid_request","message":"wrong"}"#), "{failed}");
        let bytes = object(Status::Incomplete(Incomplete::MaxOutputBytes), None);
        assert!(bytes.contains(r#""incomplete_details":{"reason":"max_output_tokens"}"#), "{bytes}");
        let cancelled = object(Status::Cancelled(Cancelled::ClientDisconnected), None);
        assert!(cancelled.contains(r#""status":"cancelled","incomplete_details":null"#), "{cancelled}");
        assert!(cancelled.contains(r#""usage":null"#), "{cancelled}");
    }
}
