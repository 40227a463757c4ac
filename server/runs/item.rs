//! What a response puts out: items and their parts, in the form of W-16.

use serde::{Deserialize, Serialize};

/// A list that is always empty, and always written.
pub(super) type Nothing = [(); 0];

/// One item of the output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Item {
    Message { id: String, status: ItemStatus, role: Role, content: Vec<Part> },
    Reasoning { id: String, status: ItemStatus, summary: Nothing, content: Vec<Part> },
    FunctionCall { id: String, status: ItemStatus, call_id: String, name: String, arguments: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ItemStatus {
    InProgress,
    Incomplete,
    Completed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    Assistant,
}

/// One part of a message or of reasoning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Part {
    OutputText { text: String, annotations: Nothing, logprobs: Nothing },
    Refusal { refusal: String },
    ReasoningText { text: String },
}

/// What a part is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PartKind {
    Text,
    Refusal,
    Reasoning,
}

impl Item {
    pub(super) fn status_mut(&mut self) -> &mut ItemStatus {
        match self {
            Self::Message { status, .. }
            | Self::Reasoning { status, .. }
            | Self::FunctionCall { status, .. } => status,
        }
    }

    /// The id and the parts; a function call has none.
    pub(super) fn parts_mut(&mut self) -> Option<(&str, &mut Vec<Part>)> {
        match self {
            Self::Message { id, content, .. } | Self::Reasoning { id, content, .. } => Some((id, content)),
            Self::FunctionCall { .. } => None,
        }
    }

    /// Says of an item that was being written that it will not be finished.
    pub(super) fn break_off(&mut self) {
        let status = self.status_mut();
        if *status == ItemStatus::InProgress {
            *status = ItemStatus::Incomplete;
        }
    }
}

impl Part {
    pub(super) fn empty(kind: PartKind) -> Self {
        let text = String::new();
        match kind {
            PartKind::Text => Self::OutputText { text, annotations: [], logprobs: [] },
            PartKind::Refusal => Self::Refusal { refusal: text },
            PartKind::Reasoning => Self::ReasoningText { text },
        }
    }

    pub(super) fn kind(&self) -> PartKind {
        match self {
            Self::OutputText { .. } => PartKind::Text,
            Self::Refusal { .. } => PartKind::Refusal,
            Self::ReasoningText { .. } => PartKind::Reasoning,
        }
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Self::OutputText { text, .. }
            | Self::ReasoningText { text }
            | Self::Refusal { refusal: text } => text,
        }
    }

    pub(super) fn text_mut(&mut self) -> &mut String {
        match self {
            Self::OutputText { text, .. }
            | Self::ReasoningText { text }
            | Self::Refusal { refusal: text } => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_have_the_fields_of_the_contract_and_read_back() {
        let items = vec![
            Item::Message {
                id: "msg_1".into(),
                status: ItemStatus::Completed,
                role: Role::Assistant,
                content: vec![Part::empty(PartKind::Text), Part::empty(PartKind::Refusal)],
            },
            Item::Reasoning {
                id: "rs_1".into(),
                status: ItemStatus::InProgress,
                summary: [],
                content: vec![Part::empty(PartKind::Reasoning)],
            },
            Item::FunctionCall {
                id: "fc_1".into(),
                status: ItemStatus::Incomplete,
                call_id: "call_1".into(),
                name: "f".into(),
                arguments: "{}".into(),
            },
        ];
        let text = serde_json::to_string(&items).unwrap();
        let expected = concat!(
            r#"[{"type":"message","id":"msg_1","status":"completed","role":"assistant","content":["#,
            r#"{"type":"output_text","text":"","annotations":[],"logprobs":[]},{"type":"refusal","refusal":""}]},"#,
            r#"{"type":"reasoning","id":"rs_1","status":"in_progress","summary":[],"#,
            r#""content":[{"type":"reasoning_text","text":""}]},"#,
            r#"{"type":"function_call","id":"fc_1","status":"incomplete","call_id":"call_1","name":"f","arguments":"{}"}]"#,
        );
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<Vec<Item>>(&text).unwrap(), items);
    }
}
