//! From our types to messages.

use std::collections::BTreeMap;

use prost_types::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tidemark_proto::v1::{self, ErrorCode};
use tidemark_store::UnixMillis;

use crate::backends::Api;
use crate::error::Error;
use crate::runs::{Cancelled, Event, Gap, Incomplete, InputItem, InputPage, ResponsePage, Snapshot, Status};

/// The fields of the response object that the contract types, in the words of either API. The object is their only source.
#[derive(Debug, Deserialize)]
struct Object {
    model: String,
    #[serde(default)]
    background: bool,
    store: bool,
    #[serde(alias = "created")]
    created_at: i64,
    completed_at: Option<i64>,
    usage: Option<Usage>,
    error: Option<Fault>,
    previous_response_id: Option<String>,
    conversation: Option<Conversation>,
    metadata: BTreeMap<String, String>,
    #[serde(alias = "choices")]
    output: Vec<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct Conversation {
    id: String,
}

#[derive(Debug, Deserialize)]
struct Fault {
    code: String,
    message: String,
}

#[derive(Debug, Deserialize)]
struct Usage {
    #[serde(default, alias = "prompt_tokens")]
    input_tokens: u64,
    #[serde(alias = "prompt_tokens_details")]
    input_tokens_details: Option<InputDetails>,
    #[serde(default, alias = "completion_tokens")]
    output_tokens: u64,
    #[serde(alias = "completion_tokens_details")]
    output_tokens_details: Option<OutputDetails>,
    /// What was used by a chat is in the words of its backend, which may leave out some.
    total_tokens: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct InputDetails {
    cached_tokens: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct OutputDetails {
    reasoning_tokens: Option<u64>,
}

/// The message of a response.
///
/// # Errors
/// `internal` if the object is not one of ours.
pub(super) fn response(snapshot: Snapshot) -> Result<v1::Response, Error> {
    let object = parse(&snapshot)?;
    let (id, api) = (snapshot.public_id(), snapshot.api());
    let Snapshot { id: _, status, head, json, fault: _ } = snapshot;
    let (incomplete_reason, cancel_reason) = match status {
        Status::Incomplete(reason) => (reason.code(), ""),
        Status::Cancelled(cause) => ("", cause.code()),
        Status::Queued | Status::InProgress | Status::Completed | Status::Failed => ("", ""),
    };
    Ok(v1::Response {
        id,
        api: words(api).into(),
        status: state(status).into(),
        model: object.model,
        background: object.background,
        store: object.store,
        created_at: Some(seconds(object.created_at)),
        completed_at: object.completed_at.map(seconds),
        usage: object.usage.as_ref().map(usage),
        error: object.error.map(|fault| v1::ResponseError { code: fault.code, message: fault.message }),
        incomplete_reason: incomplete_reason.to_owned(),
        cancel_reason: cancel_reason.to_owned(),
        previous_response_id: object.previous_response_id.unwrap_or_default(),
        metadata: object.metadata,
        committed: Some(head.frontier.committed.get()),
        watermark: head.frontier.watermark.map(|seq| seq.get()),
        json,
        session: object.conversation.map(|conversation| conversation.id).unwrap_or_default(),
    })
}

/// The same, but a response that failed with nothing put out is the error itself (S-3). So is any chat that failed: its object has no
/// place for that which a client of that API would read.
///
/// # Errors
/// The error of the response, with its id.
pub(super) fn response_or_error(snapshot: Snapshot) -> Result<v1::Response, Error> {
    let object = parse(&snapshot)?;
    match object.error {
        Some(fault) if object.output.is_empty() || snapshot.api() == Api::Chat => {
            let code = ErrorCode::from_code(&fault.code).unwrap_or(ErrorCode::Internal);
            let id = snapshot.public_id();
            let error = snapshot.fault.unwrap_or_else(|| Error::new(code, fault.message));
            Err(error.with_response_id(id))
        }
        _ => response(snapshot),
    }
}

/// The message of a page of responses.
///
/// # Errors
/// `internal` if an object is not one of ours.
pub(super) fn responses(page: ResponsePage) -> Result<v1::ListResponse, Error> {
    Ok(v1::ListResponse {
        responses: page.responses.into_iter().map(response).collect::<Result<_, _>>()?,
        next_page_token: page.next_page_token.unwrap_or_default(),
        page_size: page.page_size,
    })
}

/// The message of a page of input items.
pub(super) fn input_items(page: InputPage) -> v1::ListInputItemsResponse {
    let message = |InputItem { id, json }| v1::InputItem { id, json };
    v1::ListInputItemsResponse {
        items: page.items.into_iter().map(message).collect(),
        has_more: page.has_more,
        page_size: page.page_size,
    }
}

/// The messages of events.
pub fn events(events: Vec<Event>) -> Vec<v1::Event> {
    let message =
        |event: Event| v1::Event { seq: event.seq.get(), r#type: event.kind.into(), data: event.data };
    events.into_iter().map(message).collect()
}

/// The message of a gap.
pub(super) fn gap(gap: Gap) -> v1::Gap {
    v1::Gap { from: gap.from.get(), to: gap.to.get() }
}

/// The message of a time.
pub(super) fn timestamp(at: UnixMillis) -> Timestamp {
    let seconds = i64::try_from(at.0 / 1000).unwrap_or(i64::MAX);
    // Less than a thousand.
    let nanos = i32::try_from(at.0 % 1000).unwrap_or_default() * 1_000_000;
    Timestamp { seconds, nanos }
}

fn parse(snapshot: &Snapshot) -> Result<Object, Error> {
    serde_json::from_slice(&snapshot.json).map_err(Error::internal)
}

fn state(status: Status) -> v1::Status {
    match status {
        Status::Queued => v1::Status::Queued,
        Status::InProgress => v1::Status::InProgress,
        Status::Completed => v1::Status::Completed,
        Status::Incomplete(
            Incomplete::MaxOutputTokens | Incomplete::MaxOutputBytes | Incomplete::ContentFilter,
        ) => v1::Status::Incomplete,
        Status::Failed => v1::Status::Failed,
        Status::Cancelled(Cancelled::ByRequest | Cancelled::ClientDisconnected) => v1::Status::Cancelled,
    }
}

fn words(api: Api) -> v1::Api {
    match api {
        Api::Responses => v1::Api::Responses,
        Api::Chat => v1::Api::ChatCompletions,
    }
}

fn seconds(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 0 }
}

fn usage(usage: &Usage) -> v1::Usage {
    v1::Usage {
        input_tokens: usage.input_tokens,
        cached_tokens: usage.input_tokens_details.as_ref().and_then(|of| of.cached_tokens).unwrap_or(0),
        output_tokens: usage.output_tokens,
        reasoning_tokens: usage
            .output_tokens_details
            .as_ref()
            .and_then(|of| of.reasoning_tokens)
            .unwrap_or(0),
        total_tokens: usage
            .total_tokens
            .unwrap_or_else(|| usage.input_tokens.saturating_add(usage.output_tokens)),
    }
}
