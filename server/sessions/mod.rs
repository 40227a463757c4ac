//! Sessions: the past of conversations (design §8).
//!
//! It owns what a session is: a record that says where its log is, and that log, one entry an item, numbered in the order in which
//! items were added. It owns how a history is read, page by page and as it grows, and how a response enters it once whatever crashes.
//! It must never know how a response is run, how a call came in, or how the store keeps its bytes.
//!
//! [`Sessions`] is the door, and the only place where keys are looked up. A session at rest is one record and one log: no memory, no
//! timer, no task. What is added, taken out or given up happens in turn, session by session ([`Turns`](crate::turns::Turns)).

mod append;
mod census;
mod change;
mod cursor;
mod entry;
mod faults;
mod find;
mod history;
mod items;
mod key;
mod moves;
mod options;
mod places;
mod record;
mod scan;
#[cfg(test)]
mod tests;
mod watch;

pub use append::{Entering, Entrant, MAX_CONTEXT_BYTES, Membership};
pub use entry::View;
pub use find::SessionInfo;
pub use history::{HistoryItem, HistoryPage, HistoryQuery};
pub use items::{ItemPage, ItemQuery, SessionPage};
pub use key::SessionKey;
pub use options::Options;
pub use watch::{Sight, Watcher};

use std::sync::Arc;

use tidemark_store::{Owner, Store};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::sessions::census::Census;
use crate::sessions::cursor::Sealer;
use crate::sessions::places::Places;
use crate::sessions::record::Name;
use crate::telemetry::Gauge;
use crate::turns::Turns;

/// The most items that one call may add.
pub const MAX_ITEMS: usize = 20;

/// All sessions. Clones share them.
#[derive(Clone, Debug)]
pub struct Sessions(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    options: Options,
    /// Who changes a session. Taken behind that of the owner, if both are.
    turns: Arc<Turns<Name>>,
    /// Who makes and removes sessions of an owner.
    owners: Arc<Turns<Owner>>,
    census: Census,
    places: Places,
    sealer: OnceCell<Sealer>,
    /// Watchers that have nothing left to send must end.
    closing: CancellationToken,
    readers: Gauge,
}

impl Sessions {
    /// The room over a store. `closing` ends those who watch; `readers` counts them.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        options: Options,
        closing: CancellationToken,
        readers: Gauge,
    ) -> Self {
        Self(Arc::new(Shared {
            store,
            clock,
            options,
            turns: Arc::default(),
            owners: Arc::default(),
            census: Census::default(),
            places: Places::default(),
            sealer: OnceCell::new(),
            closing,
            readers,
        }))
    }
}
