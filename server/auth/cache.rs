//! Keys that were looked up, and the epoch of access.
//!
//! It owns the bound on what is remembered, and that nothing is remembered past a change.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::auth::KeyId;
use crate::auth::record::KeyRecord;

/// The most keys of one generation; two are remembered. A key takes some 200 bytes, and its owner's name.
const GENERATION: usize = 8192;

/// What is known of a key.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) record: KeyRecord,
    /// Whether the user that its owner is named after is disabled.
    pub(super) owner_disabled: bool,
}

/// Keys by their ids. Unknown ids are not remembered, so that nobody can fill it with ids that they make up.
#[derive(Debug, Default)]
pub(super) struct Cache {
    epoch: AtomicU64,
    known: Mutex<Generations>,
}

/// The old generation goes when the young one is full. Whoever is asked for stays.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<KeyId, Arc<Known>>,
    old: HashMap<KeyId, Arc<Known>>,
}

impl Generations {
    fn insert(&mut self, id: KeyId, known: Arc<Known>) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, known);
    }
}

impl Cache {
    /// Changes whenever a key or a user does.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// What is remembered of a key.
    pub(super) fn get(&self, id: KeyId) -> Option<Arc<Known>> {
        let mut known = self.known();
        if let Some(found) = known.young.get(&id) {
            return Some(Arc::clone(found));
        }
        let found = known.old.remove(&id)?;
        known.insert(id, Arc::clone(&found));
        Some(found)
    }

    /// Remembers what was read at `epoch`, unless something has changed since.
    pub(super) fn insert(&self, epoch: u64, id: KeyId, found: &Arc<Known>) {
        let mut known = self.known();
        if self.epoch() == epoch {
            known.insert(id, Arc::clone(found));
        }
    }

    /// Forgets everything, and begins a new epoch. Changes are rare, and a look-up is one read.
    pub(super) fn forget(&self) {
        let mut known = self.known();
        *known = Generations::default();
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    fn known(&self) -> MutexGuard<'_, Generations> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tidemark_store::{Owner, UnixMillis};

    use super::*;
    use crate::auth::{Digest, Scopes};

    fn id(number: usize) -> KeyId {
        KeyId::from_bytes((number as u128).to_be_bytes())
    }

    fn known() -> Arc<Known> {
        let record = KeyRecord {
            owner: Owner::new("a").unwrap(),
            scopes: Scopes::NONE,
            created_at: UnixMillis(0),
            expires_at: None,
            disabled: false,
            value: Digest::of(b""),
            previous: None,
        };
        Arc::new(Known { record, owner_disabled: false })
    }

    #[test]
    fn what_was_read_before_a_change_is_not_remembered_after_it() {
        let (cache, known) = (Cache::default(), known());
        let before = cache.epoch();
        cache.insert(before, id(1), &known);
        assert!(cache.get(id(1)).is_some());
        cache.forget();
        assert_ne!(cache.epoch(), before);
        cache.insert(before, id(2), &known);
        assert!(cache.get(id(1)).is_none() && cache.get(id(2)).is_none());
    }

    #[test]
    fn it_is_bounded_and_keeps_what_is_asked_for() {
        let (cache, known) = (Cache::default(), known());
        for number in 0..10 * GENERATION {
            cache.insert(0, id(number), &known);
            assert!(cache.get(id(0)).is_some(), "{number}");
        }
        let generations = cache.known();
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION);
        assert!(!generations.young.contains_key(&id(1)) && !generations.old.contains_key(&id(1)));
    }
}
