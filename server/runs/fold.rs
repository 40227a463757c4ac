//! From logged events back to the output.
//!
//! It owns what recovery at boot needs: the events of a log that nobody drives any more, folded into the items a reader of them
//! would have (D-23).

use bytes::Bytes;
use serde::Deserialize;

use crate::error::Error;
use crate::runs::event::{decode, kind};
use crate::runs::item::{Item, Part};

/// What the events seen so far amount to.
#[derive(Debug, Default)]
pub(super) struct Fold {
    output: Vec<Item>,
    asked: bool,
    produced: bool,
}

#[derive(Deserialize)]
struct ItemBody {
    output_index: usize,
    item: Item,
}

#[derive(Deserialize)]
struct PartBody {
    output_index: usize,
    content_index: usize,
    part: Part,
}

#[derive(Deserialize)]
struct Delta {
    output_index: usize,
    #[serde(default)]
    content_index: usize,
    delta: String,
}

impl Fold {
    /// Takes in the next event. A piece of an item whose beginning was evicted is left out.
    pub(super) fn apply(&mut self, payload: &Bytes) -> Result<(), Error> {
        let (kind, data) =
            decode(payload).ok_or_else(|| Error::internal("an entry of a log is not an event"))?;
        match kind {
            kind::CREATED | kind::QUEUED => return Ok(()),
            kind::IN_PROGRESS => {
                self.asked = true;
                return Ok(());
            }
            kind::ITEM_ADDED | kind::ITEM_DONE => self.item(read(&data)?),
            kind::PART_ADDED | kind::PART_DONE => self.part(read(&data)?),
            kind::TEXT_DELTA | kind::REFUSAL_DELTA | kind::REASONING_DELTA => self.text(&read(&data)?),
            kind::ARGUMENTS_DELTA => self.arguments(&read(&data)?),
            // The rest repeats what is known already.
            _ => {}
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
    pub(super) fn into_broken_off(mut self) -> Vec<Item> {
        self.output.iter_mut().for_each(Item::break_off);
        self.output
    }

    fn item(&mut self, body: ItemBody) {
        place(&mut self.output, body.output_index, body.item);
    }

    fn part(&mut self, body: PartBody) {
        if let Some((_, parts)) = self.output.get_mut(body.output_index).and_then(Item::parts_mut) {
            place(parts, body.content_index, body.part);
        }
    }

    fn text(&mut self, body: &Delta) {
        let parts = self.output.get_mut(body.output_index).and_then(Item::parts_mut);
        if let Some(part) = parts.and_then(|(_, parts)| parts.get_mut(body.content_index)) {
            part.text_mut().push_str(&body.delta);
        }
    }

    fn arguments(&mut self, body: &Delta) {
        if let Some(Item::FunctionCall { arguments, .. }) = self.output.get_mut(body.output_index) {
            arguments.push_str(&body.delta);
        }
    }
}

/// Puts `value` where it belongs, if that is in the list or right behind it.
fn place<T>(list: &mut Vec<T>, index: usize, value: T) {
    let length = list.len();
    match list.get_mut(index) {
        Some(place) => *place = value,
        None if index == length => list.push(value),
        None => {}
    }
}

fn read<T: serde::de::DeserializeOwned>(data: &Bytes) -> Result<T, Error> {
    serde_json::from_slice(data).map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use tidemark_store::Seq;

    use super::*;
    use crate::backends::{Finish, Step};
    use crate::runs::compose::Composer;
    use crate::runs::event::Outbox;
    use crate::runs::status::Ending;
    use crate::runs::testing::TestClock;

    fn step() -> impl Strategy<Value = Step> {
        let call = |index: u32, arguments: String| {
            let id = Some(format!("call_{index}"));
            Step::ToolCall { index, id, name: Some("f".to_owned()), arguments }
        };
        prop_oneof![
            ".{0,5}".prop_map(Step::Text),
            ".{0,5}".prop_map(Step::Refusal),
            ".{0,5}".prop_map(Step::Reasoning),
            (0..3_u32, ".{0,5}").prop_map(move |(index, arguments)| call(index, arguments)),
        ]
    }

    proptest! {
        #[test]
        fn the_folded_log_is_the_output_of_the_run_that_wrote_it(steps in prop::collection::vec(step(), 0..30), whole: bool) {
            let mut composer = Composer::new(Arc::new(TestClock::default()), usize::MAX);
            let mut outbox = Outbox::new(Seq::FIRST);
            let empty = steps.iter().all(|step| match step {
                Step::Text(text) | Step::Refusal(text) | Step::Reasoning(text) => text.is_empty(),
                _ => false,
            });
            for step in steps {
                composer.apply(step, &mut outbox).unwrap();
            }
            if whole {
                composer.apply(Step::Finish(Finish::Stop), &mut outbox).unwrap();
            }
            let mut fold = Fold::default();
            for payload in outbox.take() {
                fold.apply(&payload).unwrap();
            }
            composer.end(&Ending::Failed(Error::internal("x")), &mut outbox).unwrap();
            prop_assert_eq!(fold.produced(), !empty);
            prop_assert_eq!(fold.into_broken_off(), composer.output());
        }
    }

    #[test]
    fn the_tail_of_an_evicted_log_folds_without_a_hole_being_filled() {
        let mut composer = Composer::new(Arc::new(TestClock::default()), usize::MAX);
        let mut outbox = Outbox::new(Seq::FIRST);
        composer.apply(Step::Text("lost ".into()), &mut outbox).unwrap();
        composer.apply(Step::Text("kept".into()), &mut outbox).unwrap();
        let mut fold = Fold::default();
        fold.apply(outbox.take().last().unwrap()).unwrap();
        assert!(fold.produced());
        assert_eq!(fold.into_broken_off(), []);
    }
}
