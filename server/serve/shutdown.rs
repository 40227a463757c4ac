//! Signals, and how long a shutdown may take.
//!
//! It owns that the first SIGTERM or SIGINT begins a shutdown and the next one skips its waits. It must never know what is
//! waited for.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

/// The signals that ask the process to stop.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes over SIGTERM and SIGINT for the rest of the process: from here on they stop nothing by themselves.
    ///
    /// # Errors
    /// The system refuses.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one and names it. No signal is lost between two calls; several at once count as one.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// What was waited for is done.
    Done,
    /// The time was up.
    TimedOut,
    /// The operator did not want to wait.
    Skipped,
}

/// Waits for `work`, but not longer than `limit`, and not once `skip` has come.
pub async fn drain(work: impl Future<Output = ()>, limit: Duration, skip: impl Future) -> Drained {
    tokio::select! {
        biased;
        () = work => Drained::Done,
        _ = skip => Drained::Skipped,
        () = sleep(limit) => Drained::TimedOut,
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use nix::sys::signal::{Signal as Kind, raise};

    use super::*;

    #[tokio::test]
    async fn every_signal_is_named_also_the_second() {
        let mut signals = Signals::listen().unwrap();
        for (kind, name) in [(Kind::SIGTERM, "SIGTERM"), (Kind::SIGINT, "SIGINT"), (Kind::SIGTERM, "SIGTERM")]
        {
            raise(kind).unwrap();
            assert_eq!(signals.next().await, name);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_by_work_time_or_skip() {
        let limit = Duration::from_secs(30);
        assert_eq!(drain(ready(()), limit, ready(())).await, Drained::Done);
        assert_eq!(drain(pending(), limit, pending::<()>()).await, Drained::TimedOut);
        assert_eq!(drain(pending(), limit, ready(())).await, Drained::Skipped);
    }
}
