//! The body of an answer as a stream of steps.
//!
//! It owns the waits, and in which order steps, errors and the end come out. It must never know what a chunk means.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::time::{Instant, timeout};

use super::failure::{Failures, Limit};
use super::stream::{Progress, Reader};
use crate::backends::sse::Decoder;
use crate::backends::{Step, Steps};
use crate::error::Error;

/// The largest event of a server: 1 MiB (D-18).
const MAX_EVENT: usize = 1 << 20;

/// How long a server has to say what was used and `[DONE]`, once the answer is whole. What does not come is done without.
const TRAILER_WAIT: Duration = Duration::from_secs(5);

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

/// The steps of an answer with this body. Dropping them drops the body, and with it the connection; before the end, the log says so.
pub(super) fn steps<B>(body: B, waits: Waits, failures: Failures) -> Steps
where
    B: Stream<Item = Result<Bytes, Error>> + Send + Unpin + 'static,
{
    let answer = Answer {
        body,
        waits,
        wait: Wait::FirstByte,
        decoder: Decoder::new(MAX_EVENT),
        reader: Reader::new(failures.clone()),
        steps: VecDeque::new(),
        failed: None,
        over: false,
        failures,
    };
    Box::pin(stream::try_unfold(answer, |mut answer| async move {
        let step = answer.next().await;
        answer.over = !matches!(step, Ok(Some(_)));
        Ok(step?.map(|step| (step, answer)))
    }))
}

struct Answer<B> {
    body: B,
    waits: Waits,
    wait: Wait,
    decoder: Decoder,
    reader: Reader,
    /// What was read and not yet handed out.
    steps: VecDeque<Step>,
    /// What went wrong after `steps`.
    failed: Option<Error>,
    /// Whether the end, or what went wrong, was handed out.
    over: bool,
    failures: Failures,
}

impl<B> Drop for Answer<B> {
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

impl<B: Stream<Item = Result<Bytes, Error>> + Unpin> Answer<B> {
    async fn next(&mut self) -> Result<Option<Step>, Error> {
        loop {
            if let Some(step) = self.steps.pop_front() {
                return Ok(Some(step));
            }
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            if self.reader.progress() == Progress::Done {
                return Ok(None);
            }
            match self.read_event() {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    self.failed = Some(error);
                    continue;
                }
            }
            match self.receive().await? {
                Some(bytes) => self.decoder.push(&bytes),
                None => {
                    let inside = self.decoder.inside_event();
                    let end = self.reader.end();
                    return end.map(|()| None).map_err(|error| {
                        if inside { error.with_cause("inside of an event") } else { error }
                    });
                }
            }
        }
    }

    /// Reads one event. `false` if there is no whole one.
    fn read_event(&mut self) -> Result<bool, Error> {
        let Some(event) = self.decoder.next_event().map_err(|error| self.failures.decode(error))? else {
            return Ok(false);
        };
        if event.name == "error" {
            return Err(self.failures.reported(event.data));
        }
        self.reader.read(event.data, &mut self.steps)?;
        Ok(true)
    }

    /// The next bytes, or `None` at the end.
    async fn receive(&mut self) -> Result<Option<Bytes>, Error> {
        if self.reader.progress() == Progress::Finished && !matches!(self.wait, Wait::Trailer { .. }) {
            self.wait = Wait::Trailer { since: Instant::now() };
        }
        let Waits { began, first_byte, idle } = self.waits;
        let (left, limit) = match self.wait {
            Wait::FirstByte => (first_byte.saturating_sub(began.elapsed()), Limit::FirstByte(first_byte)),
            Wait::NextByte => (idle, Limit::Idle(idle)),
            // The answer is whole: whatever goes wrong with the rest of the stream takes nothing from it.
            Wait::Trailer { since } => {
                let left = TRAILER_WAIT.saturating_sub(since.elapsed());
                return Ok(timeout(left, self.body.next()).await.ok().flatten().and_then(Result::ok));
            }
        };
        let bytes =
            timeout(left, self.body.next()).await.map_err(|_| self.failures.timeout(limit))?.transpose()?;
        if bytes.as_ref().is_some_and(|bytes| !bytes.is_empty()) {
            self.wait = Wait::NextByte;
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future;
    use tidemark_proto::v1::ErrorCode;
    use tokio::time::{advance, sleep};

    use super::*;
    use crate::backends::Finish;

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
        steps(pieces.chain(end).boxed(), waits, Failures::new("local", None, Duration::from_secs(1)))
    }

    const A: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    const STOP: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";

    fn text() -> Step {
        Step::Text("a".to_owned())
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
