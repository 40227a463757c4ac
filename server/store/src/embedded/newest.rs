//! Which ids are certainly new.
//!
//! It owns the newest ids that logs were made with, so that a create need not look on the disk whether its id is taken. That works
//! for ids that rise with time, as uuids of version 7 do; of any other it says that it does not know. It must never say that an id
//! is new when it may not be.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::types::LogId;

/// The most ids that it remembers: creates may overtake each other by as many.
const MAX_IDS: usize = 4096;

/// The newest ids of a store.
#[derive(Debug)]
pub(crate) struct Newest(Mutex<Ids>);

#[derive(Debug)]
struct Ids {
    /// Any id up to here may be taken; absent = none is.
    known: Option<LogId>,
    /// All that were claimed above it.
    claimed: BTreeSet<LogId>,
}

impl Newest {
    /// For a store whose highest id is `highest`; absent = it has no logs.
    pub(crate) fn above(highest: Option<LogId>) -> Self {
        Self(Mutex::new(Ids { known: highest, claimed: BTreeSet::new() }))
    }

    /// Takes an id for a log that is about to be made; whether it is certainly new.
    pub(crate) fn claim(&self, id: LogId) -> bool {
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if Some(id) <= ids.known || !ids.claimed.insert(id) {
            return false;
        }
        if ids.claimed.len() > MAX_IDS {
            ids.known = ids.claimed.pop_first();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> LogId {
        LogId::from_bytes(number.to_be_bytes())
    }

    #[test]
    fn an_id_is_new_once_and_only_above_what_there_was() {
        let newest = Newest::above(Some(id(5)));
        for (number, is_new) in [(4, false), (5, false), (7, true), (6, true), (7, false), (6, false)] {
            assert_eq!(newest.claim(id(number)), is_new, "{number}");
        }
        assert!(Newest::above(None).claim(id(0)));
    }

    #[test]
    fn what_is_forgotten_is_not_taken_for_new() {
        let newest = Newest::above(None);
        let all = 2 * MAX_IDS as u128;
        assert!((0..all).all(|number| newest.claim(id(number))));
        assert!((0..all).all(|number| !newest.claim(id(number))));
        assert_eq!(newest.0.lock().unwrap().claimed.len(), MAX_IDS);
    }
}
