//! Items and parts as they begin, in the form of W-16.
//!
//! It owns the shape of what the gateway itself writes; how they grow is [`crate::runs::output`]'s.

use serde::Serialize;

use crate::error::Error;
use crate::json::Node;

/// A list that is empty when its owner begins.
type Nothing = [(); 0];

/// An item without content.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Item<'a> {
    Message { id: &'a str, status: Status, role: &'static str, content: Nothing },
    Reasoning { id: &'a str, status: Status, summary: Nothing, content: Nothing },
    FunctionCall { id: &'a str, status: Status, call_id: &'a str, name: &'a str, arguments: &'a str },
}

/// Where an item stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    InProgress,
    Incomplete,
    Completed,
}

impl Status {
    /// Its name in an item.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Incomplete => "incomplete",
            Self::Completed => "completed",
        }
    }
}

/// What a part is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PartKind {
    Text,
    Refusal,
    Reasoning,
    Summary,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part {
    OutputText { text: &'static str, annotations: Nothing, logprobs: Nothing },
    Refusal { refusal: &'static str },
    ReasoningText { text: &'static str },
    SummaryText { text: &'static str },
}

impl PartKind {
    /// A part without text.
    pub(super) fn empty(self) -> Result<Node, Error> {
        Node::of(&match self {
            Self::Text => Part::OutputText { text: "", annotations: [], logprobs: [] },
            Self::Refusal => Part::Refusal { refusal: "" },
            Self::Reasoning => Part::ReasoningText { text: "" },
            Self::Summary => Part::SummaryText { text: "" },
        })
    }

    /// The member that holds its text.
    pub(super) fn member(self) -> &'static str {
        match self {
            Self::Text | Self::Reasoning | Self::Summary => "text",
            Self::Refusal => "refusal",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_and_parts_have_the_fields_of_the_contract() {
        let items = [
            Item::Message { id: "msg_1", status: Status::InProgress, role: "assistant", content: [] },
            Item::Reasoning { id: "rs_1", status: Status::Completed, summary: [], content: [] },
            Item::FunctionCall {
                id: "fc_1",
                status: Status::Incomplete,
                call_id: "call_1",
                name: "f",
                arguments: "",
            },
        ];
        let expected = concat!(
            r#"[{"type":"message","id":"msg_1","status":"in_progress","role":"assistant","content":[]},"#,
            r#"{"type":"reasoning","id":"rs_1","status":"completed","summary":[],"content":[]},"#,
            r#"{"type":"function_call","id":"fc_1","status":"incomplete","call_id":"call_1","name":"f","arguments":""}]"#,
        );
        assert_eq!(serde_json::to_string(&items).unwrap(), expected);
        let parts = [PartKind::Text, PartKind::Refusal, PartKind::Reasoning, PartKind::Summary];
        let expected = concat!(
            r#"[{"type":"output_text","text":"","annotations":[],"logprobs":[]},{"type":"refusal","refusal":""},"#,
            r#"{"type":"reasoning_text","text":""},{"type":"summary_text","text":""}]"#,
        );
        let empty = parts.map(|part| part.empty().unwrap());
        assert_eq!(serde_json::to_string(&empty).unwrap(), expected);
        for (part, mut node) in parts.into_iter().zip(empty) {
            assert!(node.get(part.member()).is_some());
        }
    }

    #[test]
    fn a_status_has_one_name() {
        for status in [Status::InProgress, Status::Incomplete, Status::Completed] {
            assert_eq!(serde_json::to_value(status).unwrap(), status.name());
        }
    }
}
