//! How far apart the groups of the writer are.
//!
//! It owns the only wait before a group. A sync takes a tenth of a millisecond: while many logs grow at once, groups that followed
//! each other without a pause would hold an event or two, and each costs a sync and wakes threads that have next to nothing to do.
//! A log that is written alone never waits.

use std::time::{Duration, Instant};

use super::change::Durability;
use crate::types::LogId;

/// How long after the one before a group begins while several logs grow.
const SPACING: Duration = Duration::from_micros(500);

/// The spacing, and what is known of the group before.
#[derive(Debug)]
pub(crate) struct Pace {
    spacing: Duration,
    begun: Option<Instant>,
    /// The log that alone was in it.
    alone: Option<LogId>,
}

impl Pace {
    /// What is not synced costs too little to wait.
    pub(crate) fn of(durability: Durability) -> Self {
        let spacing = match durability {
            Durability::Sync => SPACING,
            Durability::Os => Duration::ZERO,
        };
        Self { spacing, begun: None, alone: None }
    }

    /// Waits for others before a group begins with a change of this log; absent = the change is of none, and does not wait.
    pub(crate) fn hold(&self, log: Option<LogId>) {
        let wait = log.map_or(Duration::ZERO, |log| self.wait(log, Instant::now()));
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
    }

    fn wait(&self, log: LogId, now: Instant) -> Duration {
        match self.begun {
            Some(begun) if self.alone != Some(log) => self.spacing.saturating_sub(now.duration_since(begun)),
            _ => Duration::ZERO,
        }
    }

    /// Takes note of a group; `alone` is the log that nothing else was written with.
    pub(crate) fn begin(&mut self, now: Instant, alone: Option<LogId>) {
        (self.begun, self.alone) = (Some(now), alone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: LogId = LogId::from_bytes([1; 16]);
    const OTHER: LogId = LogId::from_bytes([2; 16]);

    #[test]
    fn a_log_that_is_written_alone_never_waits() {
        let now = Instant::now();
        let mut pace = Pace::of(Durability::Sync);
        assert_eq!(pace.wait(ONE, now), Duration::ZERO);
        pace.begin(now, Some(ONE));
        assert_eq!(pace.wait(ONE, now), Duration::ZERO);
        assert_eq!(pace.wait(OTHER, now), SPACING);
    }

    #[test]
    fn among_several_a_group_waits_for_what_is_left_of_the_spacing() {
        let now = Instant::now();
        let mut pace = Pace::of(Durability::Sync);
        pace.begin(now, None);
        assert_eq!(pace.wait(ONE, now + SPACING / 4), SPACING * 3 / 4);
        for later in [SPACING, SPACING * 5] {
            assert_eq!(pace.wait(ONE, now + later), Duration::ZERO);
        }
    }

    #[test]
    fn what_is_not_synced_never_waits() {
        let now = Instant::now();
        let mut pace = Pace::of(Durability::Os);
        pace.begin(now, None);
        assert_eq!(pace.wait(ONE, now), Duration::ZERO);
    }
}
