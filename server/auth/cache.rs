//! Keys, grants and secrets that were looked up, and the epoch of access.
//!
//! It owns the bound on what is remembered, that nothing is remembered past a change, and that whoever waits for a change is told.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidemark_store::UnixMillis;
use tokio::sync::watch;

use crate::auth::grants::{KnownGrant, SigningRing};
use crate::auth::record::{KeyRecord, UserRecord};
use crate::auth::ring::Ring;
use crate::auth::{Digest, GrantId, KeyId, Principal};

/// The most keys of one generation, and the most grants; two are remembered. One takes some 200 bytes, and its owner's name.
const GENERATION: usize = 8192;

/// What is known of a key.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) record: KeyRecord,
    /// The user that its owner is named after, if there is one.
    pub(super) user: Option<UserRecord>,
}

impl Known {
    /// Whether the key can be used at all.
    pub(super) fn is_live(&self, now: UnixMillis) -> bool {
        self.record.is_live(now) && !self.user.as_ref().is_some_and(|user| user.disabled)
    }

    /// How often the key and its user have changed.
    pub(super) fn epoch(&self) -> u64 {
        u64::from(self.record.epoch) + self.user.as_ref().map_or(0, |user| u64::from(user.epoch))
    }

    /// Who shows this value of the key, if it is good now.
    pub(super) fn principal(&self, id: KeyId, value: &Digest, now: UnixMillis) -> Option<Principal> {
        let record = &self.record;
        let until = record.accepts(value, now).filter(|_| self.is_live(now))?;
        Some(Principal::key(id, *value, record.owner.clone(), record.scopes, until))
    }
}

/// What was found. Unknown ids are not remembered, so that nobody can fill it with ids that they make up.
#[derive(Debug, Default)]
struct All {
    keys: Generations<KeyId, Known>,
    grants: Generations<GrantId, KnownGrant>,
    tickets: Option<Arc<Ring>>,
    signing: Option<Arc<SigningRing>>,
}

/// The old generation goes when the young one is full. Whoever is asked for stays.
#[derive(Debug)]
struct Generations<K, V> {
    young: HashMap<K, Arc<V>>,
    old: HashMap<K, Arc<V>>,
}

impl<K, V> Default for Generations<K, V> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<K: Copy + Eq + Hash, V> Generations<K, V> {
    fn get(&mut self, id: K) -> Option<Arc<V>> {
        if let Some(found) = self.young.get(&id) {
            return Some(Arc::clone(found));
        }
        let found = self.old.remove(&id)?;
        self.insert(id, Arc::clone(&found));
        Some(found)
    }

    fn insert(&mut self, id: K, known: Arc<V>) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, known);
    }
}

/// What was looked up, up to the next change.
#[derive(Debug, Default)]
pub(super) struct Cache {
    epoch: AtomicU64,
    /// Tells of every new epoch.
    news: watch::Sender<()>,
    known: Mutex<All>,
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
        self.known().keys.get(id)
    }

    /// Remembers what was read at `epoch`, unless something has changed since.
    pub(super) fn insert(&self, epoch: u64, id: KeyId, found: &Arc<Known>) {
        self.keep(epoch, |known| known.keys.insert(id, Arc::clone(found)));
    }

    /// What is remembered of a grant.
    pub(super) fn grant(&self, id: GrantId) -> Option<Arc<KnownGrant>> {
        self.known().grants.get(id)
    }

    /// Remembers what was read at `epoch`, unless something has changed since.
    pub(super) fn keep_grant(&self, epoch: u64, id: GrantId, found: &Arc<KnownGrant>) {
        self.keep(epoch, |known| known.grants.insert(id, Arc::clone(found)));
    }

    /// What is remembered of the secrets of tickets.
    pub(super) fn ring(&self) -> Option<Arc<Ring>> {
        self.known().tickets.clone()
    }

    /// Remembers the secrets that were read at `epoch`, unless something has changed since.
    pub(super) fn keep_ring(&self, epoch: u64, found: &Arc<Ring>) {
        self.keep(epoch, |known| known.tickets = Some(Arc::clone(found)));
    }

    /// What is remembered of the keys of access tokens.
    pub(super) fn signing(&self) -> Option<Arc<SigningRing>> {
        self.known().signing.clone()
    }

    /// Remembers the keys that were read at `epoch`, unless something has changed since.
    pub(super) fn keep_signing(&self, epoch: u64, found: &Arc<SigningRing>) {
        self.keep(epoch, |known| known.signing = Some(Arc::clone(found)));
    }

    /// Forgets everything, and begins a new epoch. Changes are rare, and a look-up is one read.
    pub(super) fn forget(&self) {
        let mut known = self.known();
        *known = All::default();
        self.epoch.fetch_add(1, Ordering::AcqRel);
        drop(known);
        self.news.send_replace(());
    }

    fn keep(&self, epoch: u64, keep: impl FnOnce(&mut All)) {
        let mut known = self.known();
        if self.epoch() == epoch {
            keep(&mut known);
        }
    }

    fn known(&self) -> MutexGuard<'_, All> {
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
            epoch: 0,
        };
        Arc::new(Known { record, user: None })
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
        let generations = &cache.known().keys;
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION);
        assert!(!generations.young.contains_key(&id(1)) && !generations.old.contains_key(&id(1)));
    }
}
