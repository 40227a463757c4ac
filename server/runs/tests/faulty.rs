//! A store that fails when a test wants it to.

use async_trait::async_trait;
use bytes::Bytes;
use tidemark_store::{
    Append, Batch, Compact, Head, Health, Kept, LogId, NewLog, ReadError, ReadLimit, Record, Seq, Submitted,
    Tail, UnixMillis, Usage, Version, WriteError,
};
use tokio::sync::watch;

use super::*;

/// A call that may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Create,
    Append,
    Head(LogId),
    Record,
    PutRecord,
    Purge,
}

/// A store in memory; each call is shown to `fails` before it is done.
pub(crate) struct Faulty<F> {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) fails: F,
}

impl<F> std::fmt::Debug for Faulty<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Faulty").field(&self.store).finish()
    }
}

impl<F: Fn(Call) -> bool> Faulty<F> {
    fn read(&self, call: Call) -> Result<&MemoryStore, ReadError> {
        if (self.fails)(call) { Err(ReadError::Broken("on purpose".into())) } else { Ok(&self.store) }
    }

    fn write(&self, call: Call) -> Result<&MemoryStore, WriteError> {
        if (self.fails)(call) { Err(WriteError::Poisoned("on purpose".into())) } else { Ok(&self.store) }
    }
}

#[async_trait]
impl<F: Fn(Call) -> bool + Send + Sync + 'static> Store for Faulty<F> {
    fn epoch(&self) -> u64 {
        self.store.epoch()
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.store.health()
    }

    fn free_bytes(&self) -> Option<u64> {
        self.store.free_bytes()
    }

    fn usage(&self) -> Usage {
        self.store.usage()
    }

    fn caps(&self) -> Caps {
        self.store.caps()
    }

    async fn usage_of(&self, owner: &Owner) -> Result<Kept, ReadError> {
        self.store.usage_of(owner).await
    }

    async fn create(&self, new: NewLog) -> Result<Head, WriteError> {
        self.write(Call::Create)?.create(new).await
    }

    async fn submit(&self, append: Append) -> Result<Submitted, WriteError> {
        self.write(Call::Append)?.submit(append).await
    }

    async fn compact(&self, compact: Compact) -> Result<Head, WriteError> {
        self.store.compact(compact).await
    }

    async fn heads(&self, ids: &[LogId]) -> Result<Vec<(LogId, Head)>, ReadError> {
        self.store.heads(ids).await
    }

    async fn head(&self, id: LogId) -> Result<Option<Head>, ReadError> {
        self.read(Call::Head(id))?.head(id).await
    }

    async fn document(&self, id: LogId) -> Result<Bytes, ReadError> {
        self.store.document(id).await
    }

    async fn read(&self, id: LogId, after: Option<Seq>, limit: ReadLimit) -> Result<Batch, ReadError> {
        self.store.read(id, after, limit).await
    }

    async fn tail(&self, id: LogId) -> Result<Tail, ReadError> {
        self.store.tail(id).await
    }

    async fn purge(&self, id: LogId) -> Result<(), WriteError> {
        self.write(Call::Purge)?.purge(id).await
    }

    async fn purge_many(&self, ids: &[LogId]) -> Result<usize, WriteError> {
        self.write(Call::Purge)?.purge_many(ids).await
    }

    async fn open_logs(&self, after: Option<LogId>, limit: usize) -> Result<Vec<LogId>, ReadError> {
        self.store.open_logs(after, limit).await
    }

    async fn logs_of(
        &self,
        owner: &Owner,
        before: Option<LogId>,
        limit: usize,
    ) -> Result<Vec<LogId>, ReadError> {
        self.store.logs_of(owner, before, limit).await
    }

    async fn due(&self, now: UnixMillis, limit: usize) -> Result<Vec<LogId>, ReadError> {
        self.store.due(now, limit).await
    }

    async fn record(&self, key: &[u8]) -> Result<Option<Record>, ReadError> {
        self.read(Call::Record)?.record(key).await
    }

    async fn put_record(
        &self,
        key: &[u8],
        expected: Option<Version>,
        value: Option<Bytes>,
    ) -> Result<Version, WriteError> {
        self.write(Call::PutRecord)?.put_record(key, expected, value).await
    }

    async fn close(&self) {
        self.store.close().await;
    }

    async fn records(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Record)>, ReadError> {
        self.read(Call::Record)?.records(prefix, after, limit).await
    }
}
