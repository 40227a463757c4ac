//! The steps of a backend, taken in as they come.
//!
//! It owns a bounded buffer in front of the backend's stream, so that the steps that came together make one batch (D-36). A
//! backend that is faster than the log waits.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll};

use crate::backends::{Step, Steps, Text};
use crate::dormant::Dormant;
use crate::error::Error;
use crate::json::Node;

/// The most steps in the buffer.
const MAX_STEPS: usize = 64;

/// The buffer takes no further step at this many bytes of text: a single step may pass it.
const MAX_BYTES: usize = 256 << 10;

/// A stream of steps with a small buffer. Dropping it stops the generation.
pub(super) struct Feed {
    steps: Dormant<Steps>,
    buffer: VecDeque<Step>,
    bytes: usize,
    end: Option<Result<(), Error>>,
}

impl Feed {
    pub(super) fn new(steps: Steps) -> Self {
        Self { steps: Dormant::new(steps), buffer: VecDeque::new(), bytes: 0, end: None }
    }

    /// Waits until there is a step to take, or none will come. Cancel safe.
    pub(super) async fn ready(&mut self) {
        poll_fn(|context| {
            self.fill(context);
            if self.buffer.is_empty() && self.end.is_none() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }

    /// The next step, if one is here.
    pub(super) fn take(&mut self) -> Option<Step> {
        let step = self.buffer.pop_front()?;
        self.bytes = self.bytes.saturating_sub(text_bytes(&step));
        Some(step)
    }

    /// How the stream ended, once every step of it was taken.
    pub(super) fn end(&self) -> Option<&Result<(), Error>> {
        self.end.as_ref().filter(|_| self.buffer.is_empty())
    }

    fn fill(&mut self, context: &mut Context<'_>) {
        while self.end.is_none() && self.buffer.len() < MAX_STEPS && self.bytes < MAX_BYTES {
            let next = self.steps.poll_with(context, |steps, context| steps.as_mut().poll_next(context));
            match next {
                Poll::Ready(Some(Ok(step))) => {
                    self.bytes = self.bytes.saturating_add(text_bytes(&step));
                    self.buffer.push_back(step);
                }
                Poll::Ready(Some(Err(error))) => self.end = Some(Err(error)),
                Poll::Ready(None) => self.end = Some(Ok(())),
                Poll::Pending => break,
            }
        }
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed")
            .field("buffered", &self.buffer.len())
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

fn text_bytes(step: &Step) -> usize {
    match step {
        Step::Text(Text { text, logprobs }) => {
            text.len() + logprobs.iter().map(Node::json_len).sum::<usize>()
        }
        Step::Refusal(text) | Step::Reasoning(text) => text.len(),
        Step::Annotation(node) | Step::Chunk(node) => node.json_len(),
        Step::Event(event) => event.bytes(),
        Step::ToolCall { arguments, .. } => arguments.len(),
        Step::Usage(_) | Step::Finish(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::stream;

    use super::*;

    fn counted(step: Step) -> (Feed, Arc<AtomicUsize>) {
        let polls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&polls);
        let steps = stream::repeat_with(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok(step.clone())
        });
        (Feed::new(Box::pin(steps)), polls)
    }

    #[tokio::test]
    async fn an_endless_backend_fills_the_buffer_and_then_waits() {
        let (mut feed, polls) = counted(Step::Text("x".into()));
        feed.ready().await;
        assert_eq!(polls.load(Ordering::Relaxed), MAX_STEPS);
        assert_eq!(feed.take(), Some(Step::Text("x".into())));
        feed.ready().await;
        assert_eq!(polls.load(Ordering::Relaxed), MAX_STEPS + 1);
    }

    #[tokio::test]
    async fn large_steps_are_bounded_by_their_bytes() {
        let (mut feed, polls) = counted(Step::Text("x".repeat(MAX_BYTES / 2).into()));
        feed.ready().await;
        assert_eq!(polls.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn the_end_shows_only_after_the_last_step_and_is_asked_for_once() {
        let steps = stream::iter([Ok(Step::Text("x".into())), Err(Error::internal("cut"))]);
        let mut feed = Feed::new(Box::pin(steps));
        feed.ready().await;
        assert!(feed.end().is_none());
        assert!(feed.take().is_some() && feed.take().is_none());
        feed.ready().await;
        assert!(matches!(feed.end(), Some(Err(_))));
    }
}
