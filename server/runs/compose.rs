//! From the steps of a backend to the events of the Responses API.
//!
//! It owns what every step has in common: the accumulated output and its limit, what was used, how it ended. Pieces of an answer
//! become events in [`Pieces`]; events that a backend wrote itself become ours in [`Adopted`]. It must never know when or whether
//! an event becomes durable: its caller shows the output only after the append.

use std::sync::Arc;

use tidemark_proto::v1::ErrorCode;

use crate::backends::{Finish, Step, Usage};
use crate::clock::Clock;
use crate::error::Error;
use crate::json::Node;
use crate::runs::adopt::Adopted;
use crate::runs::event::Outbox;
use crate::runs::id::ResponseId;
use crate::runs::item::Status;
use crate::runs::output::Output;
use crate::runs::pieces::Pieces;
use crate::runs::status::{Ending, Incomplete};

/// What an item or part counts towards the limit of the output beside its text, in bytes.
pub(super) const ITEM_BYTES: usize = 256;

/// Why no further step can be put out.
#[derive(Debug)]
pub(super) enum Stop {
    /// The next step would pass the limit of the output.
    Limit,
    /// The backend broke the rules, or we failed.
    Fault(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Fault(error)
    }
}

/// The backend broke the rules.
pub(super) fn breach(text: impl Into<String>) -> Stop {
    Stop::Fault(Error::new(ErrorCode::BackendError, text))
}

/// The output and the notes on what is open contradict each other: a fault of ours.
pub(super) fn misplaced() -> Error {
    Error::internal("the composer lost its place in the output")
}

/// The output as far as it was written, and the room that is left.
#[derive(Debug)]
pub(super) struct Draft {
    clock: Arc<dyn Clock>,
    /// The most bytes of output, as JSON text.
    limit: usize,
    size: usize,
    pub(super) output: Output,
}

impl Draft {
    /// Takes so many bytes of what is left of the limit.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Stop> {
        let size = self.size.saturating_add(bytes);
        if size > self.limit {
            return Err(Stop::Limit);
        }
        self.size = size;
        Ok(())
    }

    /// A new id of an item.
    pub(super) fn new_id(&self, prefix: &str) -> String {
        format!("{prefix}{:032x}", u128::from_be_bytes(self.clock.new_id()))
    }
}

/// How far an answer has come when its open items are closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it.
    Whole,
    /// It broke off in its last item.
    Cut,
}

impl Extent {
    /// What becomes of the item at `index` of this output.
    pub(super) fn status(self, index: usize, output: &Output) -> Status {
        let is_last = index + 1 >= output.len();
        if self == Self::Cut && is_last { Status::Incomplete } else { Status::Completed }
    }
}

/// Accumulates an answer and writes its events.
#[derive(Debug)]
pub(super) struct Composer {
    draft: Draft,
    pieces: Pieces,
    adopted: Adopted,
    usage: Option<Usage>,
    finish: Option<Finish>,
}

impl Composer {
    /// Without output. `limit` is in bytes of JSON text.
    pub(super) fn new(clock: Arc<dyn Clock>, limit: usize, id: ResponseId) -> Self {
        Self {
            draft: Draft { clock, limit, size: 0, output: Output::default() },
            pieces: Pieces::default(),
            adopted: Adopted::new(id),
            usage: None,
            finish: None,
        }
    }

    /// The output so far.
    ///
    /// # Errors
    /// `internal` if it contradicts the notes on what is open.
    pub(super) fn output(&mut self) -> Result<&[Node], Error> {
        self.pieces.settle(&mut self.draft)?;
        Ok(self.draft.output.items())
    }

    /// Whether there is no output.
    pub(super) fn is_silent(&self) -> bool {
        self.draft.output.len() == 0
    }

    /// Goes on from an output that was read back from a log.
    pub(super) fn restore(&mut self, output: Output) {
        self.draft.output = output;
    }

    /// What was used, as far as the backend has counted.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// Why the backend stopped, once it has said so.
    pub(super) fn finish(&self) -> Option<Finish> {
        self.finish
    }

    /// Takes in one step and writes what it means to `outbox`.
    pub(super) fn apply(&mut self, step: Step, outbox: &mut Outbox) -> Result<(), Stop> {
        if let Step::Usage(usage) = step {
            self.usage = Some(usage);
            return Ok(());
        }
        if self.finish.is_some() {
            return Err(breach("the backend went on after it had said that it was done"));
        }
        match step {
            Step::Event(event) => self.adopted.apply(event, &mut self.draft, outbox),
            Step::Finish(finish) => {
                self.finish = Some(finish);
                Ok(self.close(if finish == Finish::Stop { Extent::Whole } else { Extent::Cut }, outbox)?)
            }
            piece => self.pieces.apply(piece, &mut self.draft, outbox),
        }
    }

    /// Brings the open items to their end: done events for a response that ended by itself or at a limit; none for one that
    /// failed (its open items are incomplete) or was cancelled (they stay in progress, W-15).
    pub(super) fn end(&mut self, ending: &Ending, outbox: &mut Outbox) -> Result<(), Error> {
        match ending {
            Ending::Completed => self.close(Extent::Whole, outbox),
            Ending::Incomplete(
                Incomplete::MaxOutputTokens | Incomplete::MaxOutputBytes | Incomplete::ContentFilter,
            ) => self.close(Extent::Cut, outbox),
            Ending::Failed(_) => {
                self.draft.output.break_off();
                Ok(())
            }
            Ending::Cancelled(_) => Ok(()),
        }
    }

    fn close(&mut self, extent: Extent, outbox: &mut Outbox) -> Result<(), Error> {
        self.adopted.close(extent, &mut self.draft, outbox)?;
        self.pieces.close(extent, &mut self.draft, outbox)
    }
}

#[cfg(test)]
mod tests {
    use tidemark_store::Seq;

    use super::*;
    use crate::runs::testing::TestClock;

    fn composer(limit: usize) -> (Composer, Outbox) {
        let id = ResponseId::from_bytes([1; 16]);
        (Composer::new(Arc::new(TestClock::default()), limit, id), Outbox::new(Seq::new(3)))
    }

    fn call(index: u32, id: Option<&str>, arguments: &str) -> Step {
        let name = id.map(|id| format!("f_{id}"));
        Step::ToolCall { index, id: id.map(str::to_owned), name, arguments: arguments.to_owned() }
    }

    fn status(item: &Node) -> String {
        item.clone().get("status").unwrap().as_str().unwrap().into_owned()
    }

    #[test]
    fn at_the_token_limit_only_the_last_item_is_incomplete() {
        let (mut composer, mut outbox) = composer(10_000);
        for step in
            [call(4, Some("a"), "{}"), Step::Text("cut".into()), Step::Finish(Finish::MaxOutputTokens)]
        {
            composer.apply(step, &mut outbox).unwrap();
        }
        let status: Vec<String> = composer.output().unwrap().iter().map(status).collect();
        assert_eq!(status, ["completed", "incomplete"]);
    }

    #[test]
    fn a_failure_breaks_open_items_off_and_a_cancel_leaves_them() {
        for (ending, expected) in [
            (Ending::Failed(Error::internal("x")), "incomplete"),
            (Ending::Cancelled(crate::runs::Cancelled::ByRequest), "in_progress"),
        ] {
            let (mut composer, mut outbox) = composer(10_000);
            composer.apply(Step::Text("cut".into()), &mut outbox).unwrap();
            outbox.take();
            composer.end(&ending, &mut outbox).unwrap();
            assert!(outbox.is_empty());
            assert_eq!(status(composer.output().unwrap().last().unwrap()), expected);
        }
    }

    #[test]
    fn the_step_that_passes_the_limit_is_not_put_out() {
        let (mut composer, mut outbox) = composer(ITEM_BYTES + 10);
        composer.apply(Step::Text("0123456789".into()), &mut outbox).unwrap();
        outbox.take();
        assert!(matches!(composer.apply(Step::Text("x".into()), &mut outbox), Err(Stop::Limit)));
        assert!(outbox.is_empty());
        composer.end(&Ending::Incomplete(Incomplete::MaxOutputBytes), &mut outbox).unwrap();
        assert_eq!(status(composer.output().unwrap().last().unwrap()), "incomplete");
    }

    #[test]
    fn a_backend_that_breaks_the_rules_is_a_fault() {
        let code = |result: Result<(), Stop>| match result {
            Err(Stop::Fault(error)) => error.code(),
            other => panic!("{other:?}"),
        };
        let (mut first, mut outbox) = composer(1_000_000);
        assert_eq!(code(first.apply(call(0, None, "{}"), &mut outbox)), ErrorCode::BackendError);
        for index in 0..128 {
            first.apply(call(index, Some("a"), ""), &mut outbox).unwrap();
        }
        assert_eq!(code(first.apply(call(128, Some("a"), ""), &mut outbox)), ErrorCode::BackendError);
        let (mut second, mut outbox) = composer(1000);
        second.apply(Step::Finish(Finish::Stop), &mut outbox).unwrap();
        second.apply(Step::Usage(Usage::default()), &mut outbox).unwrap();
        assert_eq!(code(second.apply(Step::Text("more".into()), &mut outbox)), ErrorCode::BackendError);
    }
}
