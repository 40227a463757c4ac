//! How many connections the system's limit on open files leaves room for.
//!
//! It owns the share of that limit which connections may use. The rest is for the log, the index and connections to backends: a
//! store that cannot open a file fails for good (D-24), a client that waits a little does not.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// One in so many descriptors is kept for other use,
const KEPT_SHARE: u64 = 4;

/// but never fewer than this.
const KEPT_MIN: u64 = 64;

/// Raises the limit on open files as far as the system allows, and says how many connections fit below it: at least one.
pub fn connections() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // It may be refused, for example in a sandbox; the lower limit holds then.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    share(if raised.is_ok() { maximum } else { current })
}

/// The share of a limit; absent = no limit.
fn share(limit: Option<u64>) -> usize {
    let limit = limit.unwrap_or(u64::MAX);
    let kept = (limit / KEPT_SHARE).max(KEPT_MIN);
    let most = tokio::sync::Semaphore::MAX_PERMITS;
    usize::try_from(limit.saturating_sub(kept)).unwrap_or(most).clamp(1, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_files() {
        assert_eq!(share(Some(20_000)), 15_000);
        assert_eq!(share(Some(128)), 64);
        assert_eq!(share(Some(8)), 1);
        assert_eq!(share(None), tokio::sync::Semaphore::MAX_PERMITS);
    }
}
