//! Wall time and new ids.
//!
//! It owns the only look at the system's clock and the only source of ids, so that tests can set both. It must never know what
//! a time or an id is for. Timeouts do not belong here: they use tokio's clock, which tests can pause.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidemark_store::UnixMillis;
use uuid::Uuid;

/// A source of wall time and of ids.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// The time now.
    fn now(&self) -> UnixMillis;

    /// The bytes of an id that was never given before: a UUID of version 7.
    fn new_id(&self) -> [u8; 16];
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else must use")]
    fn now(&self) -> UnixMillis {
        // A clock before 1970 reads as 1970: nothing is older than that.
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMillis(millis(since_1970))
    }

    fn new_id(&self) -> [u8; 16] {
        Uuid::now_v7().into_bytes()
    }
}

/// `duration` in whole milliseconds; saturates at `u64::MAX`.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_is_past_2025_and_its_ids_differ() {
        assert!(SystemClock.now() > UnixMillis(1_735_689_600_000));
        assert_ne!(SystemClock.new_id(), SystemClock.new_id());
        assert_eq!(SystemClock.new_id()[6] >> 4, 7, "version 7");
    }
}
