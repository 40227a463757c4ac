//! Calls per principal and area (U-5, R-17 to R-19): at most a number in a period, as a budget that fills again evenly.
//!
//! It owns the budgets (the generic cell rate algorithm: one point in time for each). A holder may use its whole budget at once;
//! then it gets one call back for each part of the period. It must never know how a call came in.

use std::net::IpAddr;
use std::time::Duration;

use tidemark_proto::v1::ErrorCode;
use tidemark_store::Owner;
use tokio::time::Instant;

use super::area::Area;
use super::table::{Entry, Table};
use crate::config::Rate;
use crate::error::Error;
use crate::telemetry::LimitMeters;

/// The most budgets that are remembered at once; beyond it, the one that is nearest to full is forgotten.
pub const MAX_BUDGETS: usize = 65_536;

/// Whose budget a call uses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// The owner that an authenticated caller acts for: a second key is no second budget.
    Owner(Owner),
    /// The address of a caller that nobody vouches for: with auth off any owner can be named.
    Address(IpAddr),
    /// A device that waits to be let in, by the beginning of its code's digest.
    Device(u64),
}

/// The rate of each area; absent = none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    /// Of [`Area::Creates`].
    pub creates: Option<Rate>,
    /// Of [`Area::Responses`].
    pub responses: Option<Rate>,
    /// Of [`Area::Models`].
    pub models: Option<Rate>,
    /// Of [`Area::Admin`].
    pub admin: Option<Rate>,
    /// Of [`Area::OAuth`].
    pub oauth: Option<Rate>,
    /// Of [`Area::Registrations`].
    pub registrations: Option<Rate>,
    /// Of [`Area::DevicePolls`].
    pub device_polls: Option<Rate>,
}

impl Rates {
    const fn of(&self, area: Area) -> Option<Rate> {
        match area {
            Area::Creates => self.creates,
            Area::Responses => self.responses,
            Area::Models => self.models,
            Area::Admin => self.admin,
            Area::OAuth => self.oauth,
            Area::Registrations => self.registrations,
            Area::DevicePolls => self.device_polls,
        }
    }
}

/// The budgets of all holders.
#[derive(Debug)]
pub struct Quotas {
    rates: Rates,
    table: Table<(Holder, Area), Budget>,
    meters: LimitMeters,
}

/// A budget: full again at this time, or full now.
#[derive(Debug, Default)]
struct Budget {
    full_at: Option<Instant>,
}

impl Quotas {
    /// Full budgets for everybody.
    pub fn new(rates: Rates, meters: LimitMeters) -> Self {
        Self { rates, table: Table::new(MAX_BUDGETS), meters }
    }

    /// Uses one call of `holder`'s budget for `area`. The holder is asked for only if the area has a rate.
    ///
    /// # Errors
    /// `rate_limited`: the budget is used up; the error says when there is a call in it again.
    pub fn take(&self, holder: impl FnOnce() -> Holder, area: Area, now: Instant) -> Result<(), Error> {
        let Some(rate) = self.rates.of(area) else { return Ok(()) };
        match self.table.change((holder(), area), now, |budget| budget.take(rate, now)) {
            Some(Err(wait)) => {
                self.meters.rate_limited.increment(area.name());
                Err(used_up(area, rate, wait))
            }
            Some(Ok(())) | None => Ok(()),
        }
    }
}

impl Budget {
    /// Takes one call, or says how long there will be none.
    fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let each = rate.period / rate.count.get();
        let full_at = self.full_at.filter(|then| *then > now).unwrap_or(now) + each;
        match (full_at - now).checked_sub(each * rate.count.get()).filter(|wait| !wait.is_zero()) {
            Some(wait) => Err(wait),
            None => {
                self.full_at = Some(full_at);
                Ok(())
            }
        }
    }
}

impl Entry for Budget {
    fn ends(&self) -> Option<Instant> {
        self.full_at
    }

    fn is_held(&self, _: Instant) -> bool {
        false
    }
}

fn used_up(area: Area, rate: Rate, wait: Duration) -> Error {
    let text = format!("more than {rate} of the kind \"{}\"", area.name());
    Error::new(ErrorCode::RateLimited, text).with_retry_after(wait)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn rate(count: u32, seconds: u64) -> Option<Rate> {
        Some(Rate { count: NonZeroU32::new(count).unwrap(), period: Duration::from_secs(seconds) })
    }

    fn quotas(rates: Rates) -> Quotas {
        Quotas::new(rates, LimitMeters::default())
    }

    fn owner(name: &str) -> Holder {
        Holder::Owner(Owner::new(name).unwrap())
    }

    /// How long the refusal says to wait; `None` = the call may go on.
    fn wait(quotas: &Quotas, holder: &Holder, area: Area, now: Instant) -> Option<Duration> {
        let refused = quotas.take(|| holder.clone(), area, now).err()?;
        assert_eq!(refused.code(), ErrorCode::RateLimited);
        refused.retry_after()
    }

    #[test]
    fn a_budget_can_be_used_at_once_and_fills_evenly() {
        let (quotas, start, ada) =
            (quotas(Rates { creates: rate(30, 60), ..Rates::default() }), Instant::now(), owner("ada"));
        let ask = |millis| wait(&quotas, &ada, Area::Creates, start + Duration::from_millis(millis));
        for _ in 0..30 {
            assert_eq!(ask(0), None);
        }
        assert_eq!(ask(0), Some(Duration::from_secs(2)));
        assert_eq!(ask(500), Some(Duration::from_millis(1500)), "a refused call uses nothing");
        assert_eq!((ask(2000), ask(2000)), (None, Some(Duration::from_secs(2))));
        for _ in 0..30 {
            assert_eq!(ask(120_000), None, "never more than a whole budget");
        }
        assert!(ask(120_000).is_some());
        assert_eq!(quotas.meters.rate_limited.all(), [("creates", 4)]);
    }

    #[test]
    fn holders_and_areas_have_budgets_of_their_own() {
        let rates = Rates { creates: rate(1, 60), models: rate(1, 60), ..Rates::default() };
        let (quotas, now) = (quotas(rates), Instant::now());
        let holders = [owner("ada"), owner("bob"), Holder::Address([192, 0, 2, 1].into())];
        for holder in &holders {
            for area in [Area::Creates, Area::Models] {
                assert_eq!(wait(&quotas, holder, area, now), None);
                assert_eq!(wait(&quotas, holder, area, now), Some(Duration::from_secs(60)));
            }
            assert!(
                (0..1000).all(|_| wait(&quotas, holder, Area::Responses, now).is_none()),
                "it has no rate"
            );
        }
    }

    #[test]
    fn rates_that_do_not_divide_evenly_let_no_further_call_through() {
        for (count, seconds) in [(7, 1), (999_999, 1), (1_000_000, 1), (3, 3600)] {
            let mut budget = Budget::default();
            let (rate, now) = (rate(count, seconds).unwrap(), Instant::now());
            assert!((0..count).all(|_| budget.take(rate, now).is_ok()), "{rate}");
            assert!(budget.take(rate, now).is_err(), "{rate}");
        }
    }

    #[test]
    fn budgets_are_bounded() {
        let (quotas, now) = (quotas(Rates { models: rate(1, 60), ..Rates::default() }), Instant::now());
        for number in 0..4 * u32::try_from(MAX_BUDGETS).unwrap() {
            let holder = Holder::Address(std::net::Ipv4Addr::from_bits(number).into());
            assert_eq!(wait(&quotas, &holder, Area::Models, now), None);
        }
        assert!(quotas.table.len() <= MAX_BUDGETS);
    }
}
