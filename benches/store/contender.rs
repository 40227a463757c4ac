//! What is measured: something that acknowledges events of a response when they are durable.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tidemark_store::embedded::{Durability, EmbeddedStore, Options};
use tidemark_store::{Append, Caps, Close, LogId, NewLog, Owner, Seq, Store, UnixMillis};

use crate::plain_file::PlainFile;

/// The caps of a gateway with the settings that it comes with (D-18).
const CAPS: Caps = Caps { entries: Some(8192), bytes: Some(64 << 20) };

#[derive(Clone)]
pub(crate) enum Contender {
    File(PlainFile),
    Store(Arc<EmbeddedStore>),
}

/// Opens the store in `dir`, as durable as a gateway has it.
pub(crate) fn open_store(dir: &Path) -> EmbeddedStore {
    open_with(dir, Durability::Sync)
}

fn open_with(dir: &Path, durability: Durability) -> EmbeddedStore {
    EmbeddedStore::open(dir, Options { caps: CAPS, durability, ..Options::default() }).unwrap()
}

impl Contender {
    pub(crate) fn file(dir: &Path) -> Self {
        Self::File(PlainFile::create(dir))
    }

    pub(crate) fn store(dir: &Path) -> Self {
        Self::Store(Arc::new(open_store(dir)))
    }

    /// A store that does not wait for the disk.
    pub(crate) fn store_os(dir: &Path) -> Self {
        Self::Store(Arc::new(open_with(dir, Durability::Os)))
    }

    /// Makes a response with its first event. A file has none.
    pub(crate) async fn create(&self, id: LogId) {
        let Self::Store(store) = self else { return };
        let owner = Owner::new("bench").unwrap();
        let (created_at, document, entries) = (UnixMillis(0), Bytes::new(), vec![Bytes::new()]);
        store
            .create(NewLog { id, owner, created_at, status: 0, document, entries, endless: None })
            .await
            .unwrap();
    }

    /// Appends behind the event numbered `last`; returns when the events are durable.
    pub(crate) async fn append(&self, id: LogId, last: u64, events: Vec<Bytes>, closes: bool) {
        match self {
            Self::File(file) => file.append(events.concat().into()).await,
            Self::Store(store) => {
                let close = closes.then_some(Close { compacts_at: None, expires_at: None });
                let (epoch, expected_last) = (store.epoch(), Seq::new(last));
                let append = Append { id, epoch, expected_last, status: None, entries: events, close };
                store.append(append).await.unwrap();
            }
        }
    }

    /// Waits until nothing of it runs any more.
    pub(crate) async fn close(self) {
        if let Self::Store(store) = self {
            store.close().await;
        }
    }
}

/// A new id, as responses have them: higher than those before it.
pub(crate) fn next_id() -> LogId {
    LogId::from_bytes(uuid::Uuid::now_v7().into_bytes())
}
