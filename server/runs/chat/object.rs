//! The object of a chat, and the frame of its chunks.
//!
//! It owns their shape: the members of the OpenAI object, then those that the backend has added, then ours. OpenAI's object has
//! no word for a chat that runs, failed or was stopped; ours are `status` and `error`.

use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::answer::Answer;
use crate::backends::{Api, Usage};
use crate::error::Error;
use crate::json::Node;
use crate::runs::author::Standing;
use crate::runs::document::Document;
use crate::runs::id::ResponseId;

/// The part of a chat that never changes.
#[derive(Debug)]
pub(super) struct Template {
    /// What each chunk says of the chat, by name.
    stamp: [(&'static str, Node); 4],
    id: String,
    created: u64,
    model: String,
    store: bool,
    metadata: BTreeMap<String, String>,
}

impl Template {
    /// The template of a stored request.
    ///
    /// # Errors
    /// `internal` if it cannot be written.
    pub(super) fn new(id: ResponseId, document: &Document) -> Result<Self, Error> {
        let id = id.in_words_of(Api::Chat);
        let stamp = [
            ("id", Node::of(&id)?),
            ("object", Node::of("chat.completion.chunk")?),
            ("created", Node::of(&document.created_at)?),
            ("model", Node::of(&document.model)?),
        ];
        Ok(Self {
            stamp,
            id,
            created: document.created_at,
            model: document.model.clone(),
            store: document.store,
            metadata: document.metadata.clone(),
        })
    }

    /// Makes a chunk one of ours. Members keep their places.
    pub(super) fn stamp(&self, chunk: &mut Node) {
        for (name, value) in &self.stamp {
            chunk.set(name, value.clone());
        }
    }

    /// The object with this answer.
    pub(super) fn at<'a>(&'a self, standing: &'a Standing<'a>, answer: &'a Answer) -> Object<'a> {
        Object { template: self, standing, answer }
    }
}

/// The object of a chat, ready to be written.
#[derive(Debug)]
pub(super) struct Object<'a> {
    template: &'a Template,
    standing: &'a Standing<'a>,
    answer: &'a Answer,
}

/// The body of an event that carries the whole object.
#[derive(Serialize)]
pub(super) struct Body<'a> {
    pub(super) response: &'a Object<'a>,
}

/// An error as the envelope of REST has it.
#[derive(Serialize)]
struct Fault<'a> {
    message: &'a str,
    r#type: &'static str,
    param: Option<&'a str>,
    code: &'static str,
}

impl<'a> Fault<'a> {
    fn of(error: &'a Error) -> Self {
        let row = error.code().row();
        Self { message: error.message(), r#type: row.kind, param: error.param(), code: row.code }
    }
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self { template, standing, answer } = self;
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("id", &template.id)?;
        map.serialize_entry("object", "chat.completion")?;
        map.serialize_entry("created", &template.created)?;
        map.serialize_entry("model", &template.model)?;
        map.serialize_entry("choices", &answer.choices())?;
        map.serialize_entry("usage", &answer.usage())?;
        for (name, node) in answer.extras() {
            map.serialize_entry(name, node)?;
        }
        map.serialize_entry("metadata", &template.metadata)?;
        map.serialize_entry("store", &template.store)?;
        map.serialize_entry("status", standing.status.name())?;
        map.serialize_entry("completed_at", &standing.completed_at)?;
        map.serialize_entry("error", &standing.error.map(Fault::of))?;
        map.end()
    }
}

/// What was used, in the words of a chat.
///
/// # Errors
/// `internal` if it cannot be written.
pub(super) fn tokens(usage: Usage) -> Result<Node, Error> {
    #[derive(Serialize)]
    struct Tokens {
        prompt_tokens: u64,
        completion_tokens: u64,
        total_tokens: u64,
        prompt_tokens_details: Prompt,
        completion_tokens_details: Completion,
    }
    #[derive(Serialize)]
    struct Prompt {
        cached_tokens: u64,
    }
    #[derive(Serialize)]
    struct Completion {
        reasoning_tokens: u64,
    }
    Node::of(&Tokens {
        prompt_tokens: usage.input_tokens,
        completion_tokens: usage.output_tokens,
        total_tokens: usage.total_tokens,
        prompt_tokens_details: Prompt { cached_tokens: usage.cached_tokens },
        completion_tokens_details: Completion { reasoning_tokens: usage.reasoning_tokens },
    })
}
