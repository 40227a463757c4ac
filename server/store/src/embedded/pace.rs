//! How far apart the groups of the writer are.
//!
//! It owns the only wait before a group. A sync takes a tenth of a millisecond: while many logs grow at once, groups that followed
//! each other without a pause would hold an event or two, and each costs a sync and wakes threads that have next to nothing to do.
//! Who writes alone never waits, however fast.

use std::time::{Duration, Instant};

use super::change::Durability;

/// How long after the one before a group begins while there is a crowd.
const SPACING: Duration = Duration::from_micros(500);

/// The spacing, and what is known of the group before.
#[derive(Debug)]
pub(crate) struct Pace {
    spacing: Duration,
    begun: Option<Instant>,
    crowded: bool,
}

impl Pace {
    /// What is not synced costs too little to wait.
    pub(crate) fn of(durability: Durability) -> Self {
        let spacing = match durability {
            Durability::Sync => SPACING,
            Durability::Os => Duration::ZERO,
        };
        Self { spacing, begun: None, crowded: false }
    }

    /// Begins a group, of which the first command is here: waits for others, if there is a crowd.
    pub(crate) fn begin(&mut self) {
        let wait = self.wait(Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        self.begun = Some(Instant::now());
    }

    fn wait(&self, now: Instant) -> Duration {
        match self.begun {
            Some(begun) if self.crowded => self.spacing.saturating_sub(now.duration_since(begun)),
            _ => Duration::ZERO,
        }
    }

    /// Ends a group of so many commands, before they are answered. Who alone has a command under way cannot send another one
    /// meanwhile: if one waits, there is a crowd.
    pub(crate) fn end(&mut self, commands: usize, another_waits: bool) {
        self.crowded = commands > 1 || another_waits;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(commands: usize, another_waits: bool) -> Pace {
        let mut pace = Pace::of(Durability::Sync);
        pace.begin();
        pace.end(commands, another_waits);
        pace
    }

    #[test]
    fn who_writes_alone_never_waits() {
        assert_eq!(Pace::of(Durability::Sync).wait(Instant::now()), Duration::ZERO);
        assert_eq!(after(1, false).wait(Instant::now()), Duration::ZERO);
    }

    #[test]
    fn in_a_crowd_a_group_waits_for_what_is_left_of_the_spacing() {
        for mut pace in [after(2, false), after(1, true)] {
            let begun = pace.begun.unwrap();
            assert_eq!(pace.wait(begun + SPACING / 4), SPACING * 3 / 4);
            for later in [SPACING, SPACING * 5] {
                assert_eq!(pace.wait(begun + later), Duration::ZERO);
            }
            pace.begin();
            assert!(pace.begun.unwrap() >= begun + SPACING);
        }
    }

    #[test]
    fn what_is_not_synced_never_waits() {
        let mut pace = Pace::of(Durability::Os);
        pace.begin();
        pace.end(9, true);
        assert_eq!(pace.wait(pace.begun.unwrap()), Duration::ZERO);
    }
}
