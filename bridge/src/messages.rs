//! The messages of a stream: as the services made them if these are in this process, else as the wire brings them.
//!
//! It owns which of the two it is, and that no other room can tell. It must never know what a message says.

use futures_util::StreamExt as _;
use tidemark_proto::handover::Handover;
use tonic::codegen::BoxStream;
use tonic::{Response, Status, Streaming};

/// What a call streams. Dropping it drops the call.
pub(crate) enum Messages<M> {
    /// Handed over by a service in this process: never encoded.
    Handed(BoxStream<M>),
    /// Read from the body of the reply.
    Wire(Box<Streaming<M>>),
    /// It ended or failed.
    Ended,
}

impl<M> Messages<M> {
    /// The messages of the reply to a call of a generated client.
    pub(crate) fn of(reply: Response<Streaming<M>>) -> Self
    where
        M: 'static,
    {
        match reply.extensions().get().and_then(Handover::take) {
            Some(messages) => Self::Handed(messages),
            None => Self::Wire(Box::new(reply.into_inner())),
        }
    }

    /// The next message, or `None` at the end. Cancel safe.
    ///
    /// # Errors
    /// Why the stream failed. Nothing follows.
    pub(crate) async fn message(&mut self) -> Result<Option<M>, Status> {
        let next = match self {
            Self::Handed(messages) => messages.next().await.transpose(),
            Self::Wire(messages) => messages.message().await,
            Self::Ended => Ok(None),
        };
        if !matches!(next, Ok(Some(_))) {
            *self = Self::Ended;
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use futures_util::stream;
    use tonic::Code;

    use super::*;

    #[tokio::test]
    async fn nothing_follows_an_error_or_the_end_and_nothing_is_held_by_then() {
        for (last, told) in [(Some(Err(Status::aborted("a"))), Some(Code::Aborted)), (None, None)] {
            let (held, mut nexts) = (Arc::new(()), [Some(Ok(1)), last, Some(Ok(2))].into_iter());
            let holder = Arc::clone(&held);
            let handed = stream::poll_fn(move |_| {
                let _holder = &holder;
                nexts.next().unwrap().into()
            });
            let mut messages = Messages::Handed(Box::pin(handed));
            assert_eq!(messages.message().await.unwrap(), Some(1));
            assert_eq!(Arc::strong_count(&held), 2);
            assert_eq!(messages.message().await.err().map(|status| status.code()), told);
            assert_eq!(Arc::strong_count(&held), 1);
            assert_eq!(messages.message().await.unwrap(), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_waiting_misses_nothing() {
        let handed = stream::unfold(0, async |last| {
            tokio::time::sleep(Duration::from_secs(3)).await;
            Some((Ok(last + 1), last + 1))
        });
        let mut messages = Messages::Handed(Box::pin(handed));
        let mut read = Vec::new();
        while read.len() < 3 {
            if let Ok(next) = tokio::time::timeout(Duration::from_secs(1), messages.message()).await {
                read.extend(next.unwrap());
            }
        }
        assert_eq!(read, [1, 2, 3]);
    }
}
