//! A deadline that moves with every event.
//!
//! It owns one timer, and sets it anew only when it goes off too early: a stream of 50 events a second would else set and take
//! back 50 timers a second. It must never know what is waited for.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Who streams something and had nothing for so long sends a heartbeat (D-7).
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// Goes off at a time that can be moved.
#[derive(Debug)]
pub struct Alarm {
    due: Instant,
    /// Set to `due` or earlier.
    timer: Pin<Box<Sleep>>,
}

impl Alarm {
    /// An alarm that goes off at `due`.
    pub fn new(due: Instant) -> Self {
        Self { due, timer: Box::pin(sleep_until(due)) }
    }

    /// Moves it. Later is cheap, and is what this type is for.
    pub fn set(&mut self, due: Instant) {
        self.due = due;
        if due < self.timer.deadline() {
            self.timer.as_mut().reset(due);
        }
    }

    /// Ready once it has gone off, and until it is moved.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.timer.deadline() < self.due {
            ready!(self.timer.as_mut().poll(context));
            self.timer.as_mut().reset(self.due);
        }
        self.timer.as_mut().poll(context)
    }

    /// Waits until it goes off. Cancel safe.
    pub async fn gone_off(&mut self) {
        poll_fn(|context| self.poll(context)).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn it_goes_off_at_the_time_it_was_moved_to_last() {
        let start = Instant::now();
        let mut alarm = Alarm::new(start + 10 * SECOND);
        for moved in [20, 30, 5, 40] {
            alarm.set(start + moved * SECOND);
        }
        alarm.gone_off().await;
        assert_eq!(start.elapsed().as_secs(), 40);
        alarm.gone_off().await;
        assert_eq!(start.elapsed().as_secs(), 40, "it stays off");
        alarm.set(start + 41 * SECOND);
        alarm.gone_off().await;
        assert_eq!(start.elapsed().as_secs(), 41);
    }

    #[tokio::test(start_paused = true)]
    async fn it_can_be_moved_earlier_and_later_while_it_is_waited_for() {
        let start = Instant::now();
        let mut alarm = Alarm::new(start + 60 * SECOND);
        assert!(timeout(SECOND, alarm.gone_off()).await.is_err());
        alarm.set(start + 3 * SECOND);
        assert!(timeout(SECOND, alarm.gone_off()).await.is_err());
        alarm.set(start + 4 * SECOND);
        alarm.gone_off().await;
        assert_eq!(start.elapsed().as_secs(), 4);
    }
}
