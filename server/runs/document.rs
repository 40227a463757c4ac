//! What is stored beside a response's log: the checked request.
//!
//! It owns the form of that document. It must hold all that a restart, a continuation and the list of input items need.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidemark_store::UnixMillis;

use crate::backends::Api;
use crate::error::Error;
use crate::sessions::Membership;

/// In the byte that the head of a log keeps for this room: the document names an idempotency key, so that whoever removes the log
/// need not read the documents of all others.
pub(super) const KEYED: u8 = 0x80;

/// In the same byte: the response is told in the words of Chat Completions, so that a look-up can tell the two apart.
const CHAT: u8 = 0x40;

/// All of that byte that is not the status.
pub(super) const MARKS: u8 = KEYED | CHAT;

/// The API of a log whose head has this byte.
pub(super) fn api_of(mark: u8) -> Api {
    if mark & CHAT == 0 { Api::Responses } else { Api::Chat }
}

/// A checked request, as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Document {
    /// [`Self::VERSION`] of the code that wrote it.
    pub(super) version: u32,
    /// In whose words the request is.
    #[serde(default)]
    pub(super) api: Api,
    /// Whole seconds since 1970.
    pub(super) created_at: u64,
    pub(super) model: String,
    /// The input of this request alone, as OpenAI input items; the messages of a chat.
    pub(super) items: Vec<Box<RawValue>>,
    pub(super) background: bool,
    pub(super) store: bool,
    pub(super) previous_response_id: Option<String>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) instructions: Option<String>,
    /// The key of the session that it shall join. Not stored: once it has joined, [`Self::session`] says so.
    #[serde(skip)]
    pub(super) joins: Option<String>,
    /// The session that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) session: Option<Membership>,
    /// The key that the response was created with (D-35).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) idempotency_key: Option<String>,
    /// The rest of the body: what the gateway does not act on, values untouched.
    pub(super) params: BTreeMap<String, Box<RawValue>>,
}

/// The part of a document that a continuation and the list of input items read.
#[derive(Debug, Deserialize)]
pub(super) struct Link {
    pub(super) items: Vec<Box<RawValue>>,
    pub(super) previous_response_id: Option<String>,
}

impl Document {
    /// The form that this code writes. A later form gets a higher number.
    pub(super) const VERSION: u32 = 1;

    pub(super) fn encode(&self) -> Result<Bytes, Error> {
        serde_json::to_vec(self).map(Bytes::from).map_err(Error::internal)
    }

    /// # Errors
    /// `internal` for what is no document, or one of a later version.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let document: Self = serde_json::from_slice(bytes).map_err(Error::internal)?;
        if document.version > Self::VERSION {
            return Err(Error::internal(format!(
                "a stored request has form {}, this is {}",
                document.version,
                Self::VERSION
            )));
        }
        Ok(document)
    }

    /// What stands for a request that cannot be read any more. It is kept as long as one that was to be kept.
    pub(super) fn lost(api: Api, created_at: UnixMillis) -> Self {
        Self {
            version: Self::VERSION,
            api,
            created_at: created_at.0 / 1000,
            model: "unknown".to_owned(),
            items: Vec::new(),
            background: false,
            store: true,
            previous_response_id: None,
            metadata: BTreeMap::new(),
            instructions: None,
            joins: None,
            session: None,
            idempotency_key: None,
            params: BTreeMap::new(),
        }
    }

    /// What the byte in the head of the log holds besides the status.
    pub(super) fn mark(&self) -> u8 {
        let keyed = if self.idempotency_key.is_some() { KEYED } else { 0 };
        let chat = if self.api == Api::Chat { CHAT } else { 0 };
        keyed | chat
    }

    /// Whether the response stops when nobody has read it for the grace (D-26).
    pub(super) fn needs_reader(&self) -> bool {
        !self.background && !self.store
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::testing::document;

    #[test]
    fn a_document_reads_back_and_a_later_form_is_refused() {
        let mut written = document();
        let read = Document::decode(&written.encode().unwrap()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{written:?}"));
        written.version = Document::VERSION + 1;
        assert!(Document::decode(&written.encode().unwrap()).is_err());
        assert!(Document::decode(b"{}").is_err());
    }
}
