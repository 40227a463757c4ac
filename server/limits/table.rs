//! A map of bounded size for what is remembered of callers.
//!
//! It owns the bound. Entries lie in small sets and a keyed hash, which nobody outside can foresee, chooses the set; room is made
//! within it. So nothing grows beyond the bound, nothing needs to be swept, and no call looks at more than one set or waits for
//! more than those who look at the same one. It must never know what an entry means.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// Entries of a set.
const WAYS: usize = 8;

/// What is remembered of one caller. A new one means the same as none.
pub(super) trait Entry: Default {
    /// From when on it means no more than none: of a full set, the entry whose time comes first makes room.
    fn ends(&self) -> Option<Instant>;

    /// Whether it must not make room.
    fn is_held(&self, now: Instant) -> bool;
}

/// The map.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    sets: Box<[Mutex<Set<K, V>>]>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Set<K, V> {
    /// At most [`WAYS`].
    ways: Vec<(K, V)>,
    /// Shared by all that find no place, because every other entry is held.
    rest: V,
}

impl<K: Hash + Eq, V: Entry> Table<K, V> {
    /// A table for at most so many entries, rounded up to whole sets. Their memory is taken when they come.
    pub(super) fn new(entries: usize) -> Self {
        let set = || Mutex::new(Set { ways: Vec::new(), rest: V::default() });
        let sets = std::iter::repeat_with(set).take(entries.div_ceil(WAYS).max(1)).collect();
        Self { sets, hasher: RandomState::new() }
    }

    /// Changes the entry of `key`, a new one if there is none.
    pub(super) fn change<R>(&self, key: K, now: Instant, change: impl FnOnce(&mut V) -> R) -> Option<R> {
        let mut set = self.set(&key)?;
        Some(change(set.entry(key, now)))
    }

    /// Changes the entry of `key` if there is one.
    pub(super) fn change_known(&self, key: &K, change: impl FnOnce(&mut V)) {
        let Some(mut set) = self.set(key) else { return };
        if let Some((_, value)) = set.ways.iter_mut().find(|(known, _)| known == key) {
            change(value);
        }
    }

    fn set(&self, key: &K) -> Option<MutexGuard<'_, Set<K, V>>> {
        let sets = u64::try_from(self.sets.len()).ok()?;
        let index = usize::try_from(self.hasher.hash_one(key).checked_rem(sets)?).ok()?;
        Some(self.sets.get(index)?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.sets.iter().map(|set| set.lock().unwrap().ways.len()).sum()
    }
}

impl<K: Eq, V: Entry> Set<K, V> {
    fn entry(&mut self, key: K, now: Instant) -> &mut V {
        let known = self.ways.iter().position(|(known, _)| *known == key);
        let place = known.or_else(|| self.make_room(key, now));
        match place.and_then(|place| self.ways.get_mut(place)) {
            Some((_, value)) => value,
            None => &mut self.rest,
        }
    }

    /// The place of a new entry for `key`, or `None` if all are held.
    fn make_room(&mut self, key: K, now: Instant) -> Option<usize> {
        let new = (key, V::default());
        if self.ways.len() < WAYS {
            self.ways.push(new);
            return Some(self.ways.len() - 1);
        }
        let free = self.ways.iter_mut().enumerate().filter(|(_, (_, value))| !value.is_held(now));
        let (place, way) = free.min_by_key(|(_, (_, value))| value.ends())?;
        *way = new;
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[derive(Debug, Default)]
    struct Note {
        count: u32,
        ends: Option<Instant>,
        held: bool,
    }

    impl Entry for Note {
        fn ends(&self) -> Option<Instant> {
            self.ends
        }

        fn is_held(&self, _: Instant) -> bool {
            self.held
        }
    }

    fn note(table: &Table<u32, Note>, key: u32, ends: Instant, held: bool) -> u32 {
        let change = |note: &mut Note| {
            *note = Note { count: note.count + 1, ends: Some(ends), held };
            note.count
        };
        table.change(key, ends, change).unwrap()
    }

    fn at(start: Instant, seconds: usize) -> Instant {
        start + Duration::from_secs(u64::try_from(seconds).unwrap())
    }

    #[test]
    fn the_entry_that_ends_first_makes_room_and_held_ones_never() {
        let (table, start) = (Table::new(WAYS), Instant::now());
        for key in 0..8 {
            note(&table, key, at(start, 10 + key as usize), key == 0);
        }
        assert_eq!(note(&table, 8, at(start, 30), false), 1, "in the place of 1, as 0 is held");
        assert_eq!((note(&table, 0, at(start, 10), true), note(&table, 2, at(start, 40), false)), (2, 2));
        assert_eq!(note(&table, 1, at(start, 30), false), 1, "it was forgotten");
        assert_eq!(table.len(), WAYS);
    }

    #[test]
    fn those_that_find_no_place_are_counted_as_one() {
        let (table, start) = (Table::new(WAYS), Instant::now());
        for key in 0..8 {
            note(&table, key, start, true);
        }
        assert_eq!([note(&table, 8, start, true), note(&table, 9, start, true)], [1, 2]);
        assert_eq!((note(&table, 7, start, true), table.len()), (2, WAYS));
        table.change_known(&9, |_| panic!("it is not known"));
        table.change_known(&7, |note| note.count = 0);
        assert_eq!(note(&table, 7, start, true), 1);
    }
}
