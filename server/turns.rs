//! Who comes first of those that use one thing at the same time.
//!
//! It owns a lock for each name that is being used right now, and nothing for any other. One process has the store, so what is
//! settled here is settled. It must never know what a name stands for.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Mutex as Lock, OwnedMutexGuard};

/// What can be a name.
pub trait Name: Clone + Eq + Hash + fmt::Debug {}

impl<N: Clone + Eq + Hash + fmt::Debug> Name for N {}

/// The names that are being used.
#[derive(Debug)]
pub struct Turns<N: Name>(Mutex<HashMap<N, Arc<Lock<()>>>>);

impl<N: Name> Default for Turns<N> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// The sole use of a name, until it is dropped.
#[derive(Debug)]
pub struct Turn<N: Name> {
    _guard: OwnedMutexGuard<()>,
    /// Behind the guard, so that the lock is free when this looks whether anybody waits for it.
    _place: Place<N>,
}

/// Somebody who has, or waits for, the use of a name.
#[derive(Debug)]
struct Place<N: Name> {
    turns: Arc<Turns<N>>,
    name: N,
}

impl<N: Name> Turns<N> {
    /// Waits for the sole use of a name; those who wait come one after the other, in their order. Cancel safe.
    pub async fn take(self: &Arc<Self>, name: &N) -> Turn<N> {
        let lock = Arc::clone(self.locks().entry(name.clone()).or_default());
        let place = Place { turns: Arc::clone(self), name: name.clone() };
        Turn { _guard: lock.lock_owned().await, _place: place }
    }

    fn locks(&self) -> MutexGuard<'_, HashMap<N, Arc<Lock<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<N: Name> Drop for Place<N> {
    fn drop(&mut self) {
        let mut locks = self.turns.locks();
        // The map has the last one: whoever holds or waits has another.
        if locks.get(&self.name).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            locks.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;
    use futures_util::FutureExt;

    fn name(name: &str) -> String {
        name.to_owned()
    }

    #[tokio::test]
    async fn a_key_is_used_by_one_at_a_time_and_leaves_nothing_behind() {
        let turns = Arc::new(Turns::default());
        let same = name("a");
        let first = turns.take(&same).await;
        let other = turns.take(&name("b")).await;
        {
            let mut second = pin!(turns.take(&same));
            assert!(second.as_mut().now_or_never().is_none());
            drop(first);
            let second = second.await;
            assert_eq!(turns.locks().len(), 2);
            drop(second);
        }
        drop(other);
        assert!(turns.locks().is_empty());
    }

    #[tokio::test]
    async fn one_who_goes_while_waiting_holds_up_nobody() {
        let turns = Arc::new(Turns::default());
        let same = name("a");
        let first = turns.take(&same).await;
        {
            let mut gone = Box::pin(turns.take(&same));
            assert!(gone.as_mut().now_or_never().is_none());
        }
        drop(first);
        assert!(turns.locks().is_empty());
        drop(turns.take(&name("a")).await);
        assert!(turns.locks().is_empty());
    }
}
