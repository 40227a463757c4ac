//! The end of what is of no more use (B-29 to B-31, B-s13, B-s14).
//!
//! It owns the one loop that removes answered requests and devices that have ended, then dead grants, then clients that nobody has
//! granted anything: in this order, for a client becomes an orphan by what goes before. A pass works in batches and ends between two
//! records when it is told to; the next one goes on.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tidemark_store::{UnixMillis, WriteError};
use tokio::time::MissedTickBehavior;

use super::Grants;
use super::clients::id_of;
use super::id::ClientId;
use super::record::{
    CLIENTS, ClientRecord, DEVICES, DeviceRecord, GRANTS, GrantRecord, REQUESTS, requests_ended_at,
};
use crate::auth::directory::unavailable;
use crate::clock::millis;
use crate::error::Error;

/// The most records that are read at a time.
const BATCH: usize = 1000;

/// So many are removed at a time, so that they share their syncs.
const AT_ONCE: usize = 16;

/// What a pass removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Answered requests and devices whose time was over, and codes that nobody redeemed.
    pub requests: u64,
    /// Grants that were dead for long enough.
    pub grants: u64,
    /// Clients without a grant.
    pub clients: u64,
}

impl Grants {
    /// Removes what is of no more use every `sweep_period`, until the tasks shall stop. A period that is not above zero never starts.
    pub async fn sweep(&self) {
        let rules = &self.rules;
        if rules.sweep_period.is_zero() {
            return;
        }
        let tasks = self.directory.0.tasks.clone();
        let mut ticks = tokio::time::interval(rules.sweep_period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = tasks.stopping() => return,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                () = tasks.stopping() => return,
                swept = self.sweep_once(rules.keep_dead, rules.orphan_after) => match swept {
                    Ok(swept) if swept == Swept::default() => {}
                    Ok(Swept { requests, grants, clients }) => {
                        tracing::info!(requests, grants, clients, "grants at their end were removed");
                    }
                    Err(error) => tracing::warn!(%error, "grants at their end could not be removed"),
                },
            }
        }
    }

    /// One pass: removes grants that have been dead for `keep_dead`, and clients that have been without a grant since they were made,
    /// `orphan_after` ago or earlier. A duration of zero removes nothing of its kind. Cancel safe.
    ///
    /// # Errors
    /// `storage_unavailable`.
    pub async fn sweep_once(&self, keep_dead: Duration, orphan_after: Duration) -> Result<Swept, Error> {
        let mut in_use = HashSet::new();
        let mut swept = Swept { requests: self.sweep_requests(&mut in_use).await?, ..Swept::default() };
        let (unredeemed, dead) = self.sweep_grants(keep_dead, &mut in_use).await?;
        swept.requests += unredeemed;
        swept.grants = dead;
        swept.clients = self.sweep_clients(orphan_after, &in_use).await?;
        Ok(swept)
    }

    /// Answered requests and devices whose time is over. The clients of devices that stay are put into `in_use`.
    async fn sweep_requests(&self, in_use: &mut HashSet<ClientId>) -> Result<u64, Error> {
        let now = self.directory.0.clock.now();
        let end = requests_ended_at(now);
        let requests = self.sweep_records(REQUESTS, |name, _| {
            Ok(if name < end.as_bytes() { Verdict::Remove } else { Verdict::Stop })
        });
        let requests = requests.await?;
        let devices = self.sweep_records(DEVICES, |_, value| {
            let device = DeviceRecord::decode(value).map_err(unavailable)?;
            if device.until <= now {
                return Ok(Verdict::Remove);
            }
            in_use.insert(device.client);
            Ok(Verdict::Keep)
        });
        Ok(requests + devices.await?)
    }

    /// Codes that nobody redeemed in time, and grants that have been dead for long enough: how many of each. The clients of those
    /// that stay are put into `in_use`.
    async fn sweep_grants(
        &self,
        keep_dead: Duration,
        in_use: &mut HashSet<ClientId>,
    ) -> Result<(u64, u64), Error> {
        let now = self.directory.0.clock.now();
        let mut unredeemed = 0;
        let removed = self.sweep_records(GRANTS, |_, value| {
            let record = GrantRecord::decode(value).map_err(unavailable)?;
            let late = record.tokens.is_none() && record.code.until <= now;
            let dead = record.died(now).is_some_and(|died| older(died, keep_dead, now));
            unredeemed += u64::from(late);
            if late || dead {
                return Ok(Verdict::Remove);
            }
            in_use.insert(record.client);
            Ok(Verdict::Keep)
        });
        let removed = removed.await?;
        Ok((unredeemed, removed.saturating_sub(unredeemed)))
    }

    async fn sweep_clients(&self, orphan_after: Duration, in_use: &HashSet<ClientId>) -> Result<u64, Error> {
        let now = self.directory.0.clock.now();
        let removed = self.sweep_records(CLIENTS, |name, value| {
            let record = ClientRecord::decode(value).map_err(unavailable)?;
            let orphan = !record.kept && !in_use.contains(&id_of(name)?);
            let old = older(record.created_at, orphan_after, now);
            Ok(if orphan && old { Verdict::Remove } else { Verdict::Keep })
        });
        removed.await
    }

    /// Removes the records of a kind for which `judge` says so, as they are when it is asked; returns how many.
    async fn sweep_records(
        &self,
        prefix: &str,
        mut judge: impl FnMut(&[u8], &[u8]) -> Result<Verdict, Error>,
    ) -> Result<u64, Error> {
        let store = &self.directory.0.store;
        let (mut after, mut removed) = (None, 0);
        loop {
            let found =
                store.records(prefix.as_bytes(), after.as_deref(), BATCH).await.map_err(unavailable)?;
            let Some((last, _)) = found.last() else { return Ok(removed) };
            after = Some(last.clone());
            let (mut doomed, mut stop) = (Vec::new(), false);
            for (name, record) in found {
                match judge(&name, &record.value)? {
                    Verdict::Keep => {}
                    Verdict::Stop => {
                        stop = true;
                        break;
                    }
                    Verdict::Remove => doomed.push((name, record.version)),
                }
            }
            let removals = stream::iter(doomed).map(|(name, version)| async move {
                match store.put_record(&name, Some(version), None).await {
                    Ok(_) => Ok(1),
                    // Somebody has just used it: the next pass sees what became of it.
                    Err(WriteError::Conflict { .. }) => Ok(0),
                    Err(error) => Err(unavailable(error)),
                }
            });
            removed += removals.buffer_unordered(AT_ONCE).try_fold(0, async |sum, one| Ok(sum + one)).await?;
            if stop {
                return Ok(removed);
            }
            // The records may have been in memory all along: whoever stops this must get a turn.
            tokio::task::yield_now().await;
        }
    }
}

/// What becomes of a record.
enum Verdict {
    Remove,
    Keep,
    /// It stays, and so does all that comes behind it.
    Stop,
}

/// Whether something is older than this; nothing is older than no time at all.
fn older(than: UnixMillis, age: Duration, now: UnixMillis) -> bool {
    !age.is_zero() && than.0.saturating_add(millis(age)) <= now.0
}
