//! Keys and secrets that were looked up, and the epoch of access.
//!
//! It owns the bound on what is remembered, that nothing is remembered past a change, and that whoever waits for a change is told.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidemark_store::UnixMillis;
use tokio::sync::watch;

use crate::auth::record::KeyRecord;
use crate::auth::ring::Ring;
use crate::auth::{Digest, KeyId, Principal};

/// The most keys of one generation; two are remembered. A key takes some 200 bytes, and its owner's name.
const GENERATION: usize = 8192;

/// What is known of a key.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) record: KeyRecord,
    /// Whether the user that its owner is named after is disabled.
    pub(super) owner_disabled: bool,
}

impl Known {
    /// Who shows this value of the key, if it is good now.
    pub(super) fn principal(&self, id: KeyId, value: &Digest, now: UnixMillis) -> Option<Principal> {
        let record = &self.record;
        let until = record.accepts(value, now).filter(|_| !self.owner_disabled)?;
        Some(Principal::key(id, *value, record.owner.clone(), record.scopes, until))
    }
}

/// Keys by their ids. Unknown ids are not remembered, so that nobody can fill it with ids that they make up.
#[derive(Debug, Default)]
pub(super) struct Cache {
    epoch: AtomicU64,
    /// Tells of every new epoch.
    news: watch::Sender<()>,
    known: Mutex<Generations>,
    ring: Mutex<Option<Arc<Ring>>>,
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

    /// Tells of every epoch that begins from now on.
    pub(super) fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
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
        let (mut known, mut ring) = (self.known(), self.locked_ring());
        (*known, *ring) = (Generations::default(), None);
        self.epoch.fetch_add(1, Ordering::AcqRel);
        drop((known, ring));
        self.news.send_replace(());
    }

    /// What is remembered of the secrets of tickets.
    pub(super) fn ring(&self) -> Option<Arc<Ring>> {
        self.locked_ring().clone()
    }

    /// Remembers the secrets that were read at `epoch`, unless something has changed since.
    pub(super) fn keep_ring(&self, epoch: u64, found: &Arc<Ring>) {
        let mut ring = self.locked_ring();
        if self.epoch() == epoch {
            *ring = Some(Arc::clone(found));
        }
    }

    fn locked_ring(&self) -> MutexGuard<'_, Option<Arc<Ring>>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, Generations> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tidemark_store::Owner;

    use super::*;
    use crate::auth::Scopes;

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
