//! How many sessions owners have.
//!
//! It owns the counts of owners who made sessions lately, in this process: what is not here is counted from the records.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tidemark_store::Owner;

/// The most owners that memory has a count of; beyond it all are forgotten, and counted again when they are needed.
const MAX_OWNERS: usize = 4096;

/// The counts. Whoever changes one has the turn of its owner.
#[derive(Debug, Default)]
pub(super) struct Census(Mutex<HashMap<Owner, u64>>);

impl Census {
    fn counts(&self) -> MutexGuard<'_, HashMap<Owner, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn of(&self, owner: &Owner) -> Option<u64> {
        self.counts().get(owner).copied()
    }

    pub(super) fn set(&self, owner: &Owner, count: u64) {
        let mut counts = self.counts();
        if counts.len() >= MAX_OWNERS {
            counts.clear();
        }
        counts.insert(owner.clone(), count);
    }

    /// One came (`true`) or went.
    pub(super) fn change(&self, owner: &Owner, came: bool) {
        if let Some(count) = self.counts().get_mut(owner) {
            *count = if came { count.saturating_add(1) } else { count.saturating_sub(1) };
        }
    }
}
