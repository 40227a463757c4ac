//! The body of an answer as a stream of steps.
//!
//! It owns the waits, and in which order steps, errors and the end come out. It must never know what an event means: a [`Read`]
//! of the dialect does.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::time::Instant;

use super::failure::{Failures, Limit};
use crate::alarm::Alarm;
use crate::backends::sse::{Decoder, Event};
use crate::backends::{Step, Steps};
use crate::error::Error;

/// How long a server has to say what was used and `[DONE]`, once the answer is whole. What does not come is done without.
const TRAILER_WAIT: Duration = Duration::from_secs(5);

/// Where an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The reason for its end has not come.
    Answering,
    /// It is whole; what was used may still come.
    Finished,
    /// Nothing more will come.
    Done,
}

/// Reads the events of one answer in a dialect.
pub(super) trait Read {
    /// Where the answer is.
    fn progress(&self) -> Progress;

    /// Reads one event, and adds its steps to `steps`.
    ///
    /// # Errors
    /// What is wrong with the event, or what it reports. The steps that were added before count.
    fn read(&mut self, event: Event<'_>, steps: &mut VecDeque<Step>) -> Result<(), Error>;
}

/// How long an answer may take to come on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    /// When the request began.
    pub(super) began: Instant,
    /// For the first byte, from `began` on.
    pub(super) first_byte: Duration,
    /// For each further one.
    pub(super) idle: Duration,
}

/// The steps of an answer with this body, whose events have at most `max_event` bytes. Dropping them drops the body, and with it
/// the connection; before the end, the log says so.
pub(super) fn steps<B, R>(body: B, reader: R, max_event: usize, waits: Waits, failures: Failures) -> Steps
where
    R: Read + Send + Unpin + 'static,
    B: Stream<Item = Result<Bytes, Error>> + Send + Unpin + 'static,
{
    Box::pin(Answer {
        body,
        waits,
        wait: Wait::FirstByte,
        alarm: Alarm::new(waits.began + waits.first_byte),
        waiting: false,
        decoder: Decoder::new(max_event),
        reader,
        steps: VecDeque::new(),
        failed: None,
        over: false,
        failures,
    })
}

struct Answer<B, R> {
    body: B,
    waits: Waits,
    wait: Wait,
    /// The limit of the wait that is under way.
    alarm: Alarm,
    /// Whether a wait is under way.
    waiting: bool,
    decoder: Decoder,
    reader: R,
    /// What was read and not yet handed out.
    steps: VecDeque<Step>,
    /// What went wrong after `steps`.
    failed: Option<Error>,
    /// Whether the end, or what went wrong, was handed out.
    over: bool,
    failures: Failures,
}

impl<B, R> Drop for Answer<B, R> {
    fn drop(&mut self) {
        if !self.over {
            tracing::info!(backend = self.failures.backend(), "an answer is given up, its connection closed");
        }
    }
}

/// What is waited for.
#[derive(Clone, Copy)]
enum Wait {
    FirstByte,
    NextByte,
    Trailer { since: Instant },
}

impl<B: Stream<Item = Result<Bytes, Error>> + Unpin, R: Read + Unpin> Stream for Answer<B, R> {
    type Item = Result<Step, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let step = ready!(self.poll_step(context));
        // Nothing follows an error, or the end.
        self.over = !matches!(step, Ok(Some(_)));
        Poll::Ready(step.transpose())
    }
}

impl<B: Stream<Item = Result<Bytes, Error>> + Unpin, R: Read> Answer<B, R> {
    fn poll_step(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Step>, Error>> {
        loop {
            if let Some(step) = self.steps.pop_front() {
                return Poll::Ready(Ok(Some(step)));
            }
            if let Some(error) = self.failed.take() {
                return Poll::Ready(Err(error));
            }
            if self.reader.progress() == Progress::Done {
                return Poll::Ready(Ok(None));
            }
            match self.read_event() {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    self.failed = Some(error);
                    continue;
                }
            }
            match ready!(self.poll_receive(context))? {
                Some(bytes) => self.decoder.push(&bytes),
                None => return Poll::Ready(self.end().map(|()| None)),
            }
        }
    }

    /// The body has ended.
    ///
    /// # Errors
    /// `backend_error` if the answer has not (S-3).
    fn end(&self) -> Result<(), Error> {
        if self.reader.progress() != Progress::Answering {
            return Ok(());
        }
        let error = self.failures.cut_off();
        Err(if self.decoder.inside_event() { error.with_cause("inside of an event") } else { error })
    }

    /// Reads one event. `false` if there is no whole one.
    fn read_event(&mut self) -> Result<bool, Error> {
        let Some(event) = self.decoder.next_event().map_err(|error| self.failures.decode(error))? else {
            return Ok(false);
        };
        self.reader.read(event, &mut self.steps)?;
        Ok(true)
    }

    /// The next bytes, or `None` at the end.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        if !self.waiting {
            self.begin_wait();
        }
        let received = match self.body.poll_next_unpin(context) {
            Poll::Ready(received) => received.transpose(),
            Poll::Pending => {
                ready!(self.alarm.poll(context));
                Err(self.failures.timeout(self.limit()))
            }
        };
        self.waiting = false;
        // The answer is whole: whatever goes wrong with the rest of the stream takes nothing from it.
        if let Wait::Trailer { .. } = self.wait {
            return Poll::Ready(Ok(received.ok().flatten()));
        }
        if received.as_ref().is_ok_and(|bytes| bytes.as_ref().is_some_and(|bytes| !bytes.is_empty())) {
            self.wait = Wait::NextByte;
        }
        Poll::Ready(received)
    }

    /// Sets the alarm for what is waited for now.
    fn begin_wait(&mut self) {
        let now = Instant::now();
        if self.reader.progress() == Progress::Finished && !matches!(self.wait, Wait::Trailer { .. }) {
            self.wait = Wait::Trailer { since: now };
        }
        self.alarm.set(match self.wait {
            Wait::FirstByte => self.waits.began + self.waits.first_byte,
            Wait::NextByte => now + self.waits.idle,
            Wait::Trailer { since } => since + TRAILER_WAIT,
        });
        self.waiting = true;
    }

    /// What it means that the alarm has gone off.
    fn limit(&self) -> Limit {
        match self.wait {
            Wait::FirstByte => Limit::FirstByte(self.waits.first_byte),
            Wait::NextByte | Wait::Trailer { .. } => Limit::Idle(self.waits.idle),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{future, stream};
    use tidemark_proto::v1::ErrorCode;
    use tokio::time::{advance, sleep};

    use super::*;
    use crate::backends::Finish;
    use crate::backends::openai::MAX_EVENT;
    use crate::backends::openai::chat::Reader;

    const FIRST_BYTE: Duration = Duration::from_secs(120);
    const IDLE: Duration = Duration::from_secs(60);

    /// An answer whose pieces come after these pauses, and which then is silent or at its end.
    fn answer<const N: usize>(pieces: [(u64, &'static str); N], silent: bool) -> Steps {
        let pieces = stream::iter(pieces).then(|(pause, text)| async move {
            sleep(Duration::from_secs(pause)).await;
            Ok(Bytes::from_static(text.as_bytes()))
        });
        let end = stream::once(async move {
            if silent {
                future::pending().await
            }
        })
        .filter_map(|()| future::ready(None));
        let waits = Waits { began: Instant::now(), first_byte: FIRST_BYTE, idle: IDLE };
        let failures = Failures::new("local", None, Duration::from_secs(1));
        steps(pieces.chain(end).boxed(), Reader::new(failures.clone()), MAX_EVENT, waits, failures)
    }

    const A: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    const STOP: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";

    fn text() -> Step {
        Step::Text("a".into())
    }

    /// All that comes, and after how many seconds it ends.
    async fn all(answer: Steps) -> (Vec<Step>, Option<Error>, u64) {
        let began = Instant::now();
        let (mut steps, mut failed) = (Vec::new(), None);
        for item in answer.collect::<Vec<_>>().await {
            assert!(failed.is_none(), "an error is the last thing");
            match item {
                Ok(step) => steps.push(step),
                Err(error) => failed = Some(error),
            }
        }
        (steps, failed, began.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_byte_has_its_time_from_the_start_of_the_request() {
        let answer = answer([], true);
        advance(Duration::from_secs(100)).await;
        let (steps, error, took) = all(answer).await;
        let error = error.unwrap();
        assert_eq!((steps, error.code(), took), (Vec::new(), ErrorCode::BackendTimeout, 20));
        assert_eq!(error.message(), "backend `local` sent no answer within first_byte_timeout (120s)");
    }

    #[tokio::test(start_paused = true)]
    async fn each_further_byte_has_the_idle_time_and_a_comment_is_a_sign_of_life() {
        let (steps, error, took) = all(answer([(119, A), (59, ":\n"), (59, ":\n"), (59, A)], true)).await;
        let error = error.unwrap();
        assert_eq!((steps, error.code()), (vec![text(), text()], ErrorCode::BackendTimeout));
        assert_eq!(took, 119 + 3 * 59 + 60);
        assert_eq!(error.message(), "backend `local` was silent for longer than idle_timeout (60s)");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_comes_late_does_not_time_the_server_out() {
        let mut answer = answer([(1, A), (1, A), (1, STOP)], false);
        assert_eq!(answer.next().await.unwrap().unwrap(), text());
        advance(IDLE * 3).await;
        let (steps, error, _) = all(answer).await;
        assert_eq!((steps, error.is_none()), (vec![text(), Step::Finish(Finish::Stop)], true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_whole_answer_stays_whole_if_the_stream_does_not_end_well() {
        let (steps, error, took) = all(answer([(0, A), (0, STOP)], true)).await;
        assert_eq!((steps, error.is_none(), took), (vec![text(), Step::Finish(Finish::Stop)], true, 5));
        let (_, error, took) = all(answer([(0, STOP), (3, ":\n"), (3, ":\n")], true)).await;
        assert_eq!((error.is_none(), took), (true, 5), "comments do not make it longer");
        let (_, error, _) = all(answer([(0, STOP), (1, "data: [DO")], false)).await;
        assert!(error.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn after_done_nothing_is_waited_for() {
        let (steps, error, took) = all(answer([(0, STOP), (0, "data: [DONE]\n\n")], true)).await;
        assert_eq!((steps, error.is_none(), took), (vec![Step::Finish(Finish::Stop)], true, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_before_an_error_is_handed_out_before_it() {
        let odd = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"abort\"}]}\n\n";
        let named = "event: error\ndata: {\"code\":500}\n\n";
        for (last, words) in [
            (odd, "not known"),
            (named, "reported"),
            ("data: {\"cho", "in the middle"),
            ("", "in the middle"),
        ] {
            let (steps, error, _) = all(answer([(0, A), (0, last)], false)).await;
            assert_eq!(steps.first(), Some(&text()));
            let error = error.unwrap();
            assert_eq!(error.code(), ErrorCode::BackendError);
            assert!(error.message().contains(words), "{error}");
            assert_eq!(error.cause() == Some("inside of an event"), last == "data: {\"cho");
        }
    }
}
