//! From logged events back to the output.
//!
//! It owns what recovery at boot needs: the events of a log that nobody drives any more, folded into the items a reader of them
//! would have (D-23).

use bytes::Bytes;

use crate::backends::Api;
use crate::error::Error;
use crate::json::Node;
use crate::runs::chat::Answer;
use crate::runs::compact;
use crate::runs::event::{decode, kind};
use crate::runs::output::{Effect, Output};

/// What the events seen so far amount to.
#[derive(Debug)]
pub(super) struct Fold {
    content: Content,
    asked: bool,
    produced: bool,
}

/// The output, in the words of its API.
#[derive(Debug)]
pub(super) enum Content {
    Responses(Output),
    Chat(Answer),
}

#[cfg(test)]
impl Content {
    /// The items of a response.
    pub(super) fn items(&self) -> &[Node] {
        match self {
            Self::Responses(output) => output.items(),
            Self::Chat(answer) => panic!("{answer:?}"),
        }
    }
}

impl Fold {
    /// Of a log of this API, before its first event.
    pub(super) fn new(api: Api) -> Self {
        let content = match api {
            Api::Responses => Content::Responses(Output::default()),
            Api::Chat => Content::Chat(Answer::default()),
        };
        Self { content, asked: false, produced: false }
    }

    /// Takes in the next entry. A piece of an item whose beginning was evicted is left out.
    pub(super) fn apply(&mut self, payload: &Bytes) -> Result<(), Error> {
        for event in compact::payloads(payload)? {
            self.apply_event(&event)?;
        }
        Ok(())
    }

    fn apply_event(&mut self, payload: &Bytes) -> Result<(), Error> {
        let (kind, data) =
            decode(payload).ok_or_else(|| Error::internal("an entry of a log is not an event"))?;
        match kind {
            kind::CREATED | kind::QUEUED | kind::CHAT_CREATED => return Ok(()),
            kind::IN_PROGRESS | kind::CHAT_IN_PROGRESS => {
                self.asked = true;
                return Ok(());
            }
            _ => {}
        }
        match &mut self.content {
            Content::Responses(output) => {
                if let Some(effect) = Effect::of(kind) {
                    output.take_in(effect, parse(&data)?)?;
                }
            }
            Content::Chat(answer) if matches!(kind, kind::CHAT_CHUNK | kind::CHAT_USAGE) => {
                answer.take_in(parse(&data)?).map_err(Error::internal)?;
            }
            Content::Chat(_) => {}
        }
        self.produced = true;
        Ok(())
    }

    /// Whether the log says that the backend was asked.
    pub(super) fn asked(&self) -> bool {
        self.asked
    }

    /// Whether there was anything but created, queued and in_progress (S-6).
    pub(super) fn produced(&self) -> bool {
        self.produced
    }

    /// The output; what was being written is incomplete.
    pub(super) fn into_broken_off(mut self) -> Content {
        if let Content::Responses(output) = &mut self.content {
            output.break_off();
        }
        self.content
    }
}

fn parse(data: &[u8]) -> Result<Node, Error> {
    serde_json::from_slice(data).map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use tidemark_store::Seq;

    use super::*;
    use crate::backends::ItemEvent;
    use crate::backends::{Finish, Step};
    use crate::runs::compose::Composer;
    use crate::runs::event::Outbox;
    use crate::runs::id::ResponseId;
    use crate::runs::status::Ending;
    use crate::runs::testing::TestClock;

    fn composer() -> Composer {
        Composer::new(Arc::new(TestClock::default()), usize::MAX, ResponseId::from_bytes([1; 16]))
    }

    /// What a backend of the Responses dialect may say: here of three items, in any order.
    fn event() -> impl Strategy<Value = Step> {
        let event = |(kind, item, part, text): (&str, u8, u8, String)| {
            let item_type = ["message", "reasoning", "function_call"][usize::from(item % 3)];
            let text = serde_json::to_string(&text).unwrap();
            let data = format!(
                r#"{{"output_index":{item},"item_id":"i{item}","content_index":{part},"summary_index":{part},"annotation_index":{part},
                "delta":{text},"annotation":{{"a":{text}}},"part":{{"type":"output_text","text":{text}}},"logprobs":[{{"t":{text}}}],
                "item":{{"type":"{item_type}","id":"i{item}","status":"in_progress","new":1.0,"content":[]}}}}"#
            );
            Step::Event(ItemEvent::new(kind.to_owned(), Node::parse(&data).unwrap()).unwrap())
        };
        let kinds = prop::sample::select(vec![
            kind::ITEM_ADDED,
            kind::ITEM_ADDED,
            kind::ITEM_DONE,
            kind::PART_ADDED,
            kind::PART_DONE,
            kind::TEXT_DELTA,
            kind::REFUSAL_DELTA,
            kind::REASONING_DELTA,
            kind::SUMMARY_PART_ADDED,
            kind::SUMMARY_DELTA,
            kind::ANNOTATION_ADDED,
            kind::ARGUMENTS_DELTA,
            "vendor:unknown",
        ]);
        (kinds, 0..3_u8, 0..3_u8, ".{0,5}").prop_map(event)
    }

    fn step() -> impl Strategy<Value = Step> {
        let call = |index: u32, arguments: String| {
            let id = Some(format!("call_{index}"));
            Step::ToolCall { index, id, name: Some("f".to_owned()), arguments }
        };
        prop_oneof![
            ".{0,5}".prop_map(|text| Step::Text(text.into())),
            ".{0,5}".prop_map(Step::Refusal),
            ".{0,5}".prop_map(Step::Reasoning),
            (0..3_u32, ".{0,5}").prop_map(move |(index, arguments)| call(index, arguments)),
        ]
    }

    proptest! {
        #[test]
        fn the_folded_log_is_the_output_of_the_run_that_wrote_it(steps in prop::collection::vec(step(), 0..30), whole: bool) {
            let mut composer = composer();
            let mut outbox = Outbox::new(Seq::FIRST);
            let empty = steps.iter().all(|step| match step {
                Step::Text(text) => text.text.is_empty(),
                Step::Refusal(text) | Step::Reasoning(text) => text.is_empty(),
                _ => false,
            });
            for step in steps {
                composer.apply(step, &mut outbox).unwrap();
            }
            if whole {
                composer.apply(Step::Finish(Finish::Stop), &mut outbox).unwrap();
            }
            let mut fold = Fold::new(Api::Responses);
            for payload in outbox.take() {
                fold.apply(&payload).unwrap();
            }
            composer.end(&Ending::Failed(Error::internal("x")), &mut outbox).unwrap();
            prop_assert_eq!(fold.produced(), !empty);
            let folded = fold.into_broken_off();
            prop_assert_eq!(folded.items(), composer.output().unwrap());
        }

        /// A backend may say anything: what has no place fails the response, and what came before it is kept.
        #[test]
        fn the_folded_log_of_events_that_a_backend_wrote_is_the_output(events in prop::collection::vec(event(), 0..40), whole: bool) {
            let mut composer = composer();
            let mut outbox = Outbox::new(Seq::FIRST);
            let mut fold = Fold::new(Api::Responses);
            for event in events {
                if composer.apply(event, &mut outbox).is_err() {
                    break;
                }
            }
            if whole {
                composer.apply(Step::Finish(Finish::Stop), &mut outbox).unwrap();
            }
            for payload in outbox.take() {
                fold.apply(&payload).unwrap();
            }
            composer.end(&Ending::Failed(Error::internal("x")), &mut outbox).unwrap();
            let folded = fold.into_broken_off();
            prop_assert_eq!(folded.items(), composer.output().unwrap());
        }
    }

    #[test]
    fn the_tail_of_an_evicted_log_folds_without_a_hole_being_filled() {
        let mut composer = composer();
        let mut outbox = Outbox::new(Seq::FIRST);
        composer.apply(Step::Text("lost ".into()), &mut outbox).unwrap();
        composer.apply(Step::Text("kept".into()), &mut outbox).unwrap();
        let mut fold = Fold::new(Api::Responses);
        fold.apply(outbox.take().last().unwrap()).unwrap();
        assert!(fold.produced());
        assert_eq!(fold.into_broken_off().items(), []);
    }
}
