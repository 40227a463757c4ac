//! Model servers.
//!
//! It owns how a generation is asked for and how a backend's stream is read; what comes out is a stream of [`Step`]s, the same
//! for every backend. It must never know ids, seqs, the log or who is calling.
//!
//! [`Pool`] is the way in: made from [`Settings`], it finds the backend of a model. Behind it: [`openai`] for every server that
//! speaks that protocol, [`demo`] for trying things without one, [`limit`] for how much either is asked at once.

pub mod demo;
pub mod limit;
pub mod openai;
pub mod sse;

mod from_chat;
mod pool;
#[cfg(test)]
#[path = "../../tests/common/scripted.rs"]
pub(crate) mod scripted;
mod settings;

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::Stream;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::Error;
use crate::json::Node;

pub use pool::{Listed, Pool, Route};
pub use settings::{BadBaseUrl, BaseUrl, Dialect, Kind, Models, OpenAi, Settings};

/// The OpenAI API in whose words a generation is asked for and its answer is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// The Responses API.
    #[default]
    Responses,
    /// Chat Completions.
    Chat,
}

/// What a backend is asked to generate.
#[derive(Clone, Debug)]
pub struct Generation {
    /// In whose words the rest is.
    pub api: Api,
    /// The model's name at the backend.
    pub model: String,
    /// The whole conversation as OpenAI input items, oldest first: earlier responses expanded, the new input last. With
    /// [`Api::Chat`] the messages of a chat.
    pub items: Vec<Box<RawValue>>,
    /// How many of `items`, from the front, are of earlier responses: the caller did not send them with this request.
    pub earlier: usize,
    /// The `instructions` of this request.
    pub instructions: Option<String>,
    /// The rest of the request body: fields by name, values untouched.
    pub params: BTreeMap<String, Box<RawValue>>,
    /// The labels of the response. The demo backend is steered by some of them; no other backend sees them.
    pub metadata: BTreeMap<String, String>,
}

impl Generation {
    /// How many answers are asked for: `n` of a chat.
    pub fn choices(&self) -> usize {
        let asked = self.params.get("n").and_then(|n| serde_json::from_str(n.get()).ok());
        asked.filter(|_| self.api == Api::Chat).unwrap_or(1)
    }

    /// Reads the items in their order, each with the name by which an error about it calls it: its place in the caller's input.
    ///
    /// # Errors
    /// The first one of `read`. About an item of an earlier response it blames `previous_response_id`, because the caller did
    /// not send that item.
    pub fn each_item<'a>(
        &'a self,
        mut read: impl FnMut(&'a RawValue, &str) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let own_items = match self.api {
            Api::Responses => "input",
            Api::Chat => "messages",
        };
        for (index, item) in self.items.iter().enumerate() {
            match index.checked_sub(self.earlier) {
                Some(own) => read(item, &format!("{own_items}[{own}]"))?,
                None => read(item, &format!("item[{index}]")).map_err(|error| {
                    let text = format!("in the conversation so far, {}", error.message());
                    Error::invalid("previous_response_id", text)
                })?,
            }
        }
        Ok(())
    }
}

/// A piece of an answer, in the order it came.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// More text of the answer.
    Text(Text),
    /// A note on the text so far, such as a citation, in the form of the Responses API.
    Annotation(Node),
    /// More of the model's refusal to answer.
    Refusal(String),
    /// More of the model's reasoning in clear text.
    Reasoning(String),
    /// More of a tool call. Calls are told apart by `index`; the first piece of each carries `id` and `name`.
    ToolCall {
        /// Which call of this answer.
        index: u32,
        /// The id under which its output will be given back.
        id: Option<String>,
        /// The function to call.
        name: Option<String>,
        /// More of the arguments, as JSON text.
        arguments: String,
    },
    /// An event of the Responses API, from a backend that speaks it. An answer is made of these or of the pieces above.
    Event(ItemEvent),
    /// A chunk of a chat, from a backend that speaks it, for a caller who does: with its ids, unknown fields and what was used. An
    /// answer is made of these or of the pieces above. Chunks about what was used alone may follow [`Step::Finish`].
    Chunk(Node),
    /// What was used, as far as the backend has counted.
    Usage(Usage),
    /// The backend has said why it stopped. Only [`Step::Usage`] may follow; the stream ends soon after.
    Finish(Finish),
}

/// A piece of text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Text {
    /// The text.
    pub text: String,
    /// How likely its tokens were, as OpenAI's objects; empty if nobody asked.
    pub logprobs: Vec<Node>,
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self { text, logprobs: Vec::new() }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// An event about the items of an answer, as a backend of the Responses dialect wrote it: with its ids, places and unknown
/// fields. It is never one about the response as a whole (created, completed and so on): those have steps of their own.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemEvent {
    kind: String,
    data: Node,
}

impl ItemEvent {
    /// The longest type, in bytes.
    pub const MAX_KIND: usize = 255;

    /// The event of this type, with the object that carries its fields. `None` if the type is not 1 to 255 visible ASCII
    /// characters, or the data no object.
    pub fn new(kind: String, data: Node) -> Option<Self> {
        let visible = kind.bytes().all(|byte| byte.is_ascii_graphic());
        let fits = (1..=Self::MAX_KIND).contains(&kind.len());
        (visible && fits && data.is_object()).then_some(Self { kind, data })
    }

    /// How many bytes it needs, at least.
    pub fn bytes(&self) -> usize {
        self.kind.len() + self.data.json_len()
    }

    /// Its type, and its fields.
    pub fn into_parts(self) -> (String, Node) {
        (self.kind, self.data)
    }
}

/// Why a backend stopped generating.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The answer is whole, or the next move is the caller's (a tool call).
    Stop,
    /// The limit of output tokens was reached.
    MaxOutputTokens,
    /// The backend withheld the rest.
    ContentFilter,
}

/// Tokens used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the input.
    pub input_tokens: u64,
    /// Tokens of the input that came from a cache.
    pub cached_tokens: u64,
    /// Tokens of the input that were written to a cache.
    pub cache_write_tokens: u64,
    /// Tokens of the output.
    pub output_tokens: u64,
    /// Tokens of the output that were reasoning.
    pub reasoning_tokens: u64,
    /// Input and output together.
    pub total_tokens: u64,
}

/// The answer as it comes. It ends after [`Step::Finish`], or with one error. Dropping it stops the generation.
pub type Steps = Pin<Box<dyn Stream<Item = Result<Step, Error>> + Send>>;

/// A model that a backend serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its name at the backend.
    pub id: String,
    /// When it was made, in seconds since 1970; 0 if unknown.
    pub created: i64,
}

/// A model server.
#[async_trait]
pub trait Backend: Send + Sync + fmt::Debug + 'static {
    /// The models it serves.
    ///
    /// # Errors
    /// `backend_unreachable`, `backend_timeout`, `backend_error`.
    async fn models(&self) -> Result<Vec<Model>, Error>;

    /// Starts a generation. The future ends when the backend has accepted it.
    ///
    /// # Errors
    /// `backend_unreachable`, `backend_timeout`, `backend_error`, and `invalid_request` for what this kind of backend cannot be
    /// asked.
    async fn generate(&self, generation: Arc<Generation>) -> Result<Steps, Error>;
}
