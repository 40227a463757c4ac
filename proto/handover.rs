//! A stream of messages that need not become bytes when its reader is in the same process.
//!
//! It owns who gets the stream: whoever comes first, the body that brings it over the wire or the caller who finds a [`Handover`]
//! with the reply. It must never know what a message says or who reads it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use prost::Message;
use tonic::codegen::BoxStream;
use tonic::codegen::tokio_stream::{Stream, StreamExt as _};
use tonic::{Response, Status};

use crate::MAX_MESSAGE_BYTES;

/// The reply that brings these messages. A message above [`MAX_MESSAGE_BYTES`] is `OUT_OF_RANGE`, whoever reads it.
pub fn reply<M: Message + 'static>(
    messages: impl Stream<Item = Result<M, Status>> + Send + 'static,
) -> Response<Outgoing<M>> {
    let messages: BoxStream<M> = Box::pin(messages.map(|message| message.and_then(bounded)));
    let handover = Handover(Arc::new(Mutex::new(Some(messages))));
    let mut reply = Response::new(Outgoing(Source::Waiting(handover.clone())));
    reply.extensions_mut().insert(handover);
    reply
}

fn bounded<M: Message>(message: M) -> Result<M, Status> {
    let bytes = message.encoded_len();
    if bytes > MAX_MESSAGE_BYTES {
        return Err(Status::out_of_range(format!("a message of {bytes} bytes is above {MAX_MESSAGE_BYTES}")));
    }
    Ok(message)
}

/// The messages of a reply, in its extensions: they stay in the process, so nobody finds them behind a channel.
pub struct Handover<M>(Arc<Mutex<Option<BoxStream<M>>>>);

impl<M> Handover<M> {
    /// The messages, unless the body was read or dropped before. Whoever has them drops the body: there is nothing left in it.
    pub fn take(&self) -> Option<BoxStream<M>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<M> Clone for Handover<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// The body of a reply. Dropping it drops the messages, unless they were taken, wherever the extensions are by then.
pub struct Outgoing<M>(Source<M>);

enum Source<M> {
    /// Nobody has come yet, or somebody else has.
    Waiting(Handover<M>),
    Begun(BoxStream<M>),
}

impl<M> Stream for Outgoing<M> {
    type Item = Result<M, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Source::Waiting(handover) = &self.0 {
            let Some(messages) = handover.take() else {
                // An end would pass for that of the answer.
                return Poll::Ready(Some(Err(Status::internal("the messages were taken in this process"))));
            };
            self.0 = Source::Begun(messages);
        }
        match &mut self.0 {
            Source::Begun(messages) => messages.as_mut().poll_next(context),
            Source::Waiting(_) => Poll::Ready(None),
        }
    }
}

impl<M> Drop for Outgoing<M> {
    fn drop(&mut self) {
        if let Source::Waiting(handover) = &self.0 {
            drop(handover.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tonic::Code;
    use tonic::codegen::tokio_stream;

    use super::*;
    use crate::v1::{Event, ResumeResponse};

    type Reply = (Outgoing<ResumeResponse>, Handover<ResumeResponse>);

    /// A reply with these messages, and what counts those who hold them.
    fn of(messages: Vec<Result<ResumeResponse, Status>>) -> (Reply, Arc<()>) {
        let held = Arc::new(());
        let holder = Arc::clone(&held);
        let reply = reply(tokio_stream::iter(messages).map(move |message| {
            let _holder = &holder;
            message
        }));
        let (_, body, extensions) = reply.into_parts();
        let handover = extensions.get::<Handover<ResumeResponse>>().unwrap().clone();
        ((body, handover), held)
    }

    fn message(committed: u64) -> ResumeResponse {
        ResumeResponse { committed: Some(committed), ..ResumeResponse::default() }
    }

    /// All that is there, up to an error.
    fn rest<S: Stream<Item = Result<ResumeResponse, Status>> + Unpin>(
        mut from: S,
    ) -> (Vec<u64>, Option<Code>) {
        let (mut read, mut context) = (Vec::new(), Context::from_waker(Waker::noop()));
        loop {
            match Pin::new(&mut from).poll_next(&mut context) {
                Poll::Ready(Some(Ok(message))) => read.push(message.committed.unwrap()),
                Poll::Ready(Some(Err(status))) => return (read, Some(status.code())),
                Poll::Ready(None) => return (read, None),
                Poll::Pending => unreachable!("the messages are all there"),
            }
        }
    }

    #[test]
    fn the_messages_are_for_whoever_comes_first() {
        let ((body, handover), _) = of(vec![Ok(message(1)), Ok(message(2))]);
        assert_eq!(rest(handover.take().unwrap()), (vec![1, 2], None));
        assert!(handover.take().is_none());
        assert_eq!(rest(body), (vec![], Some(Code::Internal)), "no end that would pass for one");

        let ((mut body, handover), _) = of(vec![Ok(message(1)), Err(Status::aborted("a")), Ok(message(2))]);
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut body).poll_next(&mut context).is_ready());
        assert!(handover.take().is_none(), "the body was read before");
        assert_eq!(rest(body), (vec![], Some(Code::Aborted)));
    }

    #[test]
    fn a_body_that_is_dropped_drops_the_messages_whoever_keeps_the_extensions() {
        for read in [false, true] {
            let ((mut body, handover), held) = of(vec![Ok(message(1))]);
            if read {
                assert!(Pin::new(&mut body).poll_next(&mut Context::from_waker(Waker::noop())).is_ready());
            }
            assert_eq!(Arc::strong_count(&held), 2);
            drop(body);
            assert_eq!(Arc::strong_count(&held), 1);
            assert!(handover.take().is_none());
        }
    }

    #[test]
    fn messages_that_were_taken_outlive_the_body_and_nothing_else() {
        let ((body, handover), held) = of(vec![Ok(message(1))]);
        let taken = handover.take().unwrap();
        drop((body, handover));
        assert_eq!(Arc::strong_count(&held), 2);
        drop(taken);
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[test]
    fn d_7_the_bound_on_messages_holds_without_a_wire() {
        let of_bytes = |bytes: usize| {
            let event = Event { data: vec![b'x'; bytes].into(), ..Event::default() };
            ResumeResponse { events: vec![event], ..message(1) }
        };
        let around = of_bytes(MAX_MESSAGE_BYTES).encoded_len() - MAX_MESSAGE_BYTES;
        for (bytes, read) in [
            (MAX_MESSAGE_BYTES - around, (vec![1], None)),
            (MAX_MESSAGE_BYTES, (vec![], Some(Code::OutOfRange))),
        ] {
            let ((_body, handover), _) = of(vec![Ok(of_bytes(bytes))]);
            assert_eq!(rest(handover.take().unwrap()), read);
        }
    }
}
