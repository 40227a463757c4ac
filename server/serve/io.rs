//! The bounds of a connection below HTTP (D-7).
//!
//! It owns two clocks: the first bytes must come in time, and what is sent must be taken in time. Between the two a connection
//! may be silent: a reader of a stream sends nothing. It must never know what the bytes mean.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_io_timeout::TimeoutStream;

/// Bytes after which HTTP's own clocks run: the length of the preface by which HTTP/2 is told from HTTP/1.
const OPENING_BYTES: usize = 24;

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    /// To send its first bytes.
    pub(super) opening: Duration,
    /// To take anything of what is sent to it.
    pub(super) stall: Duration,
}

/// A connection with both clocks. It fails with `TimedOut`.
#[derive(Debug)]
pub(super) struct Connection<I> {
    io: Pin<Box<TimeoutStream<I>>>,
    opening: Option<Opening>,
}

/// What is left of the time and the bytes of the opening.
#[derive(Debug)]
struct Opening {
    clock: Pin<Box<Sleep>>,
    bytes: usize,
}

impl<I: AsyncRead + AsyncWrite> Connection<I> {
    pub(super) fn new(io: I, clocks: Clocks) -> Self {
        let mut io = TimeoutStream::new(io);
        io.set_write_timeout(Some(clocks.stall));
        let opening = Opening { clock: Box::pin(sleep(clocks.opening)), bytes: OPENING_BYTES };
        Self { io: Box::pin(io), opening: Some(opening) }
    }

    fn took(&mut self, count: usize) {
        self.opening = self.opening.take().filter(|opening| opening.bytes > count);
        if let Some(opening) = &mut self.opening {
            opening.bytes -= count;
        }
    }
}

impl<I: AsyncRead + AsyncWrite> AsyncRead for Connection<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match self.io.as_mut().poll_read(cx, buf) {
            Poll::Ready(result) => {
                self.took(buf.filled().len() - before);
                Poll::Ready(result)
            }
            Poll::Pending => match &mut self.opening {
                Some(opening) => {
                    opening.clock.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
                }
                None => Poll::Pending,
            },
        }
    }
}

impl<I: AsyncRead + AsyncWrite> AsyncWrite for Connection<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.io.as_mut().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io.as_mut().poll_write_vectored(cx, bufs)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::Instant;

    use super::*;

    const CLOCKS: Clocks = Clocks { opening: Duration::from_secs(10), stall: Duration::from_secs(30) };

    fn connection() -> (Connection<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(64);
        (Connection::new(ours, CLOCKS), theirs)
    }

    #[tokio::test(start_paused = true)]
    async fn an_opening_that_drips_ends_after_its_time_as_a_whole() {
        let (mut ours, mut theirs) = connection();
        let begun = Instant::now();
        let drip = async {
            for _ in 0..OPENING_BYTES - 1 {
                theirs.write_all(b"P").await.unwrap();
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            std::future::pending::<()>().await;
        };
        let mut bytes = Vec::new();
        let ended =
            tokio::select! { ended = ours.read_to_end(&mut bytes) => ended, () = drip => unreachable!() };
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_opening_a_reader_may_be_silent_for_long() {
        let (mut ours, mut theirs) = connection();
        theirs.write_all(&[b'x'; OPENING_BYTES]).await.unwrap();
        ours.read_exact(&mut [0; OPENING_BYTES]).await.unwrap();
        let silent = tokio::time::timeout(Duration::from_secs(3600), ours.read_u8()).await;
        assert!(silent.is_err(), "the connection must still be open: {silent:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_cut_off() {
        let (mut ours, theirs) = connection();
        let begun = Instant::now();
        let error = ours.write_all(&[0; 4096]).await.unwrap_err();
        assert_eq!((error.kind(), begun.elapsed().as_secs()), (io::ErrorKind::TimedOut, 30));
        drop(theirs);
    }
}
