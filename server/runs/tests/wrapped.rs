//! A store in memory that can be made to misbehave.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use tidemark_store::{
    Append, Batch, Head, Health, LogId, NewLog, ReadError, ReadLimit, Record, Seq, Submitted, Tail,
    UnixMillis, Usage, Version, WriteError,
};
use tokio::sync::{Semaphore, watch};

use super::*;

/// A store that behaves, but for what a test sets.
#[derive(Debug)]
pub(super) struct Wrapped {
    pub(super) store: Arc<MemoryStore>,
    /// The head of this log cannot be read.
    pub(super) unreadable: Option<LogId>,
    /// Each acknowledgement of an append takes one of these.
    pub(super) acks: Arc<Semaphore>,
    /// How many appends were taken up.
    pub(super) submitted: Arc<AtomicUsize>,
}

impl Wrapped {
    /// Everything goes well.
    pub(super) fn new(store: Arc<MemoryStore>) -> Self {
        let acks = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        Self { store, unreadable: None, acks, submitted: Arc::default() }
    }
}

#[async_trait]
impl Store for Wrapped {
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

    async fn create(&self, new: NewLog) -> Result<Head, WriteError> {
        self.store.create(new).await
    }

    async fn submit(&self, append: Append) -> Result<Submitted, WriteError> {
        self.submitted.fetch_add(1, Ordering::SeqCst);
        let (done, acks) = (self.store.submit(append).await?, Arc::clone(&self.acks));
        Ok(Submitted::new(async move {
            acks.acquire_owned().await.unwrap().forget();
            done.await
        }))
    }

    async fn head(&self, id: LogId) -> Result<Option<Head>, ReadError> {
        if Some(id) == self.unreadable {
            Err(ReadError::Broken("on purpose".into()))
        } else {
            self.store.head(id).await
        }
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
        self.store.purge(id).await
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

    async fn expired(&self, now: UnixMillis, limit: usize) -> Result<Vec<LogId>, ReadError> {
        self.store.expired(now, limit).await
    }

    async fn record(&self, key: &[u8]) -> Result<Option<Record>, ReadError> {
        self.store.record(key).await
    }

    async fn put_record(
        &self,
        key: &[u8],
        expected: Option<Version>,
        value: Option<Bytes>,
    ) -> Result<Version, WriteError> {
        self.store.put_record(key, expected, value).await
    }

    async fn close(&self) {
        self.store.close().await;
    }
}
