//! Where items lie that pages ended with.
//!
//! The lists of the Conversations API go on behind an id. An id says nothing of where its item lies, and looking for it takes the
//! longer the older it is: so the ends of pages are remembered, for as long as there is room.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use tidemark_store::{LogId, Seq};

/// The most places that are remembered, over all sessions; the oldest go first.
const MAX_PLACES: usize = 4096;

/// The longest id that is remembered, in bytes.
const MAX_ID_BYTES: usize = 256;

type Key = (LogId, String);

#[derive(Debug, Default)]
struct State {
    places: HashMap<Key, Seq>,
    order: VecDeque<Key>,
}

/// The places. Each is a hint: whoever uses one looks whether the item is there.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<State>);

impl Places {
    pub(super) fn find(&self, log: LogId, id: &str) -> Option<Seq> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.places.get(&(log, id.to_owned())).copied()
    }

    pub(super) fn remember(&self, log: LogId, id: &str, seq: Seq) {
        if id.len() > MAX_ID_BYTES {
            return;
        }
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (log, id.to_owned());
        if state.places.insert(key.clone(), seq).is_none() {
            state.order.push_back(key);
        }
        while state.order.len() > MAX_PLACES {
            if let Some(oldest) = state.order.pop_front() {
                state.places.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_places_is_bounded_and_the_newest_stay() {
        let (places, log) = (Places::default(), LogId::from_bytes([1; 16]));
        for seq in 0..10_000 {
            places.remember(log, &format!("msg_{seq}"), Seq::new(seq));
            places.remember(log, "often", Seq::new(seq));
        }
        let state = places.0.lock().unwrap();
        assert_eq!((state.places.len(), state.order.len()), (MAX_PLACES, MAX_PLACES));
        drop(state);
        assert_eq!(places.find(log, "msg_9999"), Some(Seq::new(9999)));
        assert_eq!(places.find(log, "msg_1"), None);
        assert_eq!(places.find(LogId::from_bytes([2; 16]), "msg_9999"), None);
    }
}
