//! Wrong credentials per client address (U-5, O-27, S-7).
//!
//! It owns how many are one too many and how long an address is locked then. Only a wrong credential counts, not a missing one,
//! and a valid one is never held up by a lock: all that a locked address is denied is the answer whether a guess was right. So
//! addresses for which memory has no place may share one count without harm to anybody. It must never know a credential.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use tidemark_proto::v1::ErrorCode;
use tokio::time::Instant;

use super::table::{Entry, Table};
use crate::config::Rate;
use crate::error::Error;
use crate::telemetry::LimitMeters;

/// The most addresses that are remembered at once.
pub const MAX_ADDRESSES: usize = 10_000;

/// The part of an IPv6 address that one client has for itself, in bits: the rest it can choose.
const IPV6_PREFIX: u32 = 64;

/// When an address is locked, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct FailureRule {
    /// So many wrong credentials within such a time are too many.
    pub allowed: Rate,
    /// How long the address is locked then.
    pub lock: Duration,
    /// Whether calls from loopback addresses count too. Behind a proxy on this machine they must: its clients come from there if
    /// it does not name them (O-s9).
    pub loopback: bool,
}

/// The wrong credentials of every address.
#[derive(Debug)]
pub struct Failures {
    rule: Option<FailureRule>,
    table: Table<IpAddr, Attempts>,
    meters: LimitMeters,
}

/// What is known of an address.
#[derive(Debug, Default)]
struct Attempts {
    /// When there were wrong ones, oldest first; not more than lock it.
    wrong: VecDeque<Instant>,
    /// When the last of them will be forgotten.
    forgotten: Option<Instant>,
    locked_until: Option<Instant>,
}

impl Failures {
    /// Nobody was wrong so far. Without a rule nothing is counted.
    pub fn new(rule: Option<FailureRule>, meters: LimitMeters) -> Self {
        Self { rule, table: Table::new(MAX_ADDRESSES), meters }
    }

    /// Counts a wrong credential of `address` at `now`.
    ///
    /// # Errors
    /// `auth_rate_limited`: the address is locked; the error says for how long.
    pub fn wrong(&self, address: IpAddr, now: Instant) -> Result<(), Error> {
        self.meters.wrong_credentials.increment();
        let Some(rule) = self.rule.filter(|rule| rule.loopback || !address.is_loopback()) else {
            return Ok(());
        };
        match self.table.change(network(address), now, |attempts| attempts.count(&rule, now)) {
            Some(Count::Refused(wait)) => {
                self.meters.locked_out.increment();
                Err(locked(wait))
            }
            Some(Count::Locked) => {
                self.meters.locks.increment();
                tracing::warn!(client = %network(address), "too many wrong credentials: the address is locked");
                Ok(())
            }
            Some(Count::Noted) | None => Ok(()),
        }
    }

    /// Forgets what `address` had wrong, after a valid credential. A lock stays.
    pub fn right(&self, address: IpAddr) {
        if self.rule.is_some() {
            self.table.change_known(&network(address), |attempts| attempts.wrong.clear());
        }
    }
}

/// What came of counting.
enum Count {
    /// It was one of those that are allowed.
    Noted,
    /// It was the last one, and the address is locked from now on.
    Locked,
    /// The address was locked before, and will be for so long.
    Refused(Duration),
}

impl Attempts {
    fn count(&mut self, rule: &FailureRule, now: Instant) -> Count {
        if let Some(until) = self.locked_until.filter(|until| *until > now) {
            return Count::Refused(until - now);
        }
        let (allowed, window) = (rule.allowed.count.get(), rule.allowed.period);
        self.wrong.retain(|then| now.saturating_duration_since(*then) < window);
        self.wrong.push_back(now);
        self.forgotten = Some(now + window);
        if self.wrong.len() < usize::try_from(allowed).unwrap_or(usize::MAX) {
            return Count::Noted;
        }
        *self = Self { locked_until: Some(now + rule.lock), ..Self::default() };
        Count::Locked
    }
}

impl Entry for Attempts {
    fn ends(&self) -> Option<Instant> {
        self.locked_until.max(self.forgotten)
    }

    fn is_held(&self, now: Instant) -> bool {
        self.locked_until.is_some_and(|until| until > now)
    }
}

/// The addresses that are counted together with this one.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let host_bits = u128::BITS - IPV6_PREFIX;
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> host_bits << host_bits))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn locked(wait: Duration) -> Error {
    Error::new(ErrorCode::AuthRateLimited, "too many wrong credentials came from this address")
        .with_retry_after(wait)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::num::NonZeroU32;

    use super::*;

    const ALLOWED: usize = 10;

    fn failures(loopback: bool) -> Failures {
        let allowed = Rate { count: NonZeroU32::new(10).unwrap(), period: Duration::from_secs(60) };
        let rule = FailureRule { allowed, lock: Duration::from_secs(300), loopback };
        Failures::new(Some(rule), LimitMeters::default())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// How long the refusal of a further wrong one says to wait; `None` = it is only counted.
    fn wait(failures: &Failures, address: &str, now: Instant) -> Option<Duration> {
        let refused = failures.wrong(ip(address), now).err()?;
        assert_eq!(refused.code(), ErrorCode::AuthRateLimited);
        refused.retry_after()
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn check_22_the_eleventh_wrong_one_is_refused_until_the_lock_ends_and_other_addresses_are_not() {
        let (failures, start) = (failures(false), Instant::now());
        for second in 0..ALLOWED as u64 {
            assert_eq!(wait(&failures, "203.0.113.7", start + seconds(second)), None);
        }
        assert_eq!(wait(&failures, "203.0.113.7", start + seconds(10)), Some(seconds(299)));
        assert_eq!(wait(&failures, "203.0.113.8", start + seconds(10)), None, "another address");
        assert_eq!(wait(&failures, "203.0.113.7", start + seconds(308)), Some(seconds(1)), "not prolonged");
        assert_eq!(wait(&failures, "203.0.113.7", start + seconds(309)), None, "it starts from none again");
        assert_eq!(failures.meters.locks.get(), 1);
        assert_eq!((failures.meters.locked_out.get(), failures.meters.wrong_credentials.get()), (2, 14));
    }

    #[test]
    fn the_window_slides() {
        let (failures, start) = (failures(false), Instant::now());
        // One in 7 s is never ten within 60 s.
        for count in 0..100 {
            assert_eq!(wait(&failures, "203.0.113.7", start + seconds(7 * count)), None, "{count}");
        }
    }

    #[test]
    fn a_valid_credential_forgets_what_was_wrong_but_not_a_lock() {
        let (failures, now) = (failures(false), Instant::now());
        for _ in 0..ALLOWED - 1 {
            assert_eq!(wait(&failures, "203.0.113.7", now), None);
        }
        failures.right(ip("203.0.113.7"));
        for _ in 0..ALLOWED {
            assert_eq!(wait(&failures, "203.0.113.7", now), None);
        }
        failures.right(ip("203.0.113.7"));
        assert!(wait(&failures, "203.0.113.7", now).is_some());
    }

    #[test]
    fn addresses_of_one_client_are_counted_together() {
        let (failures, now) = (failures(false), Instant::now());
        for host in 0..ALLOWED {
            assert_eq!(wait(&failures, &format!("2001:db8:0:1::{host:x}"), now), None);
        }
        assert!(wait(&failures, "2001:db8:0:1:ffff::", now).is_some());
        assert_eq!(wait(&failures, "2001:db8:0:2::1", now), None, "another /64");
        for _ in 0..ALLOWED {
            assert_eq!(wait(&failures, "::ffff:203.0.113.7", now), None);
        }
        assert!(wait(&failures, "203.0.113.7", now).is_some(), "the same address in its other form");
    }

    #[test]
    fn loopback_is_exempt_unless_a_proxy_is_trusted() {
        let now = Instant::now();
        for (loopback, refused) in [(false, false), (true, true)] {
            let failures = failures(loopback);
            let waits: Vec<_> = (0..=ALLOWED).map(|_| wait(&failures, "127.0.0.1", now)).collect();
            assert_eq!(waits.iter().any(Option::is_some), refused);
        }
    }

    #[test]
    fn without_a_rule_nobody_is_refused() {
        let (failures, now) = (Failures::new(None, LimitMeters::default()), Instant::now());
        assert!((0..1000).all(|_| wait(&failures, "203.0.113.7", now).is_none()));
    }

    /// Memory of this process that is in use, in bytes.
    fn resident() -> u64 {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    }

    #[test]
    fn ten_million_addresses_need_no_more_memory_than_ten_thousand_and_push_out_no_lock() {
        const ADDRESSES: u32 = 10_000_000;
        const MAX_GROWTH: u64 = 16 << 20;
        let (failures, start) = (failures(false), Instant::now());
        for _ in 0..ALLOWED {
            assert_eq!(wait(&failures, "203.0.113.7", start), None);
        }
        let before = resident();
        for number in 0..ADDRESSES {
            let address = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number));
            assert!(failures.wrong(address, start).is_ok());
        }
        assert_eq!(failures.table.len(), MAX_ADDRESSES);
        let grown = resident().saturating_sub(before);
        assert!(grown < MAX_GROWTH, "{grown} bytes");
        assert!(wait(&failures, "203.0.113.7", start).is_some(), "it is locked still");
    }
}
