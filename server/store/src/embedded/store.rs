//! The `Store` over a data directory: what callers do before and after the writer.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;

use super::change::{Origin, Payload, Span};
use super::cleaner::{Cleaner, Signal};
use super::copier::Copier;
use super::log::Pin;
use super::newest::Newest;
use super::read::{self, Looked, broken};
use super::shared::Shared;
use super::standing::End;
use super::submit::outcome;
use super::writer::{Command, NewLog as NewFrames, PutRecord, QUEUE_COMMANDS};
use super::{OpenError, Options, open, threads};
use crate::api::{
    Append, Batch, Caps, Health, NewLog, ReadError, ReadLimit, Record, Store, Submitted, Usage, Version,
    WriteError,
};
use crate::compaction::Compact;
use crate::memory::{check_batch, check_many, check_record};
use crate::quota::Kept;
use crate::tail::Tail;
use crate::types::{Head, LogId, Owner, Seq, UnixMillis};

/// A [`Store`] in one data directory.
pub struct EmbeddedStore {
    pub(super) shared: Arc<Shared>,
    dir: PathBuf,
    newest: Newest,
    pub(super) commands: mpsc::Sender<Command>,
    cleaner: Arc<Cleaner>,
    signal: Arc<Signal>,
    threads: Mutex<Option<Threads>>,
}

/// The threads, and the lock that they need until they end.
struct Threads {
    writer: JoinHandle<()>,
    indexer: JoinHandle<()>,
    cleaner: JoinHandle<()>,
    signal: Arc<Signal>,
    _lock: open::Lock,
}

impl Threads {
    fn join(self) {
        self.signal.stop();
        // A panic in there has poisoned the store.
        let _ = self.cleaner.join();
        let _ = self.writer.join();
        let _ = self.indexer.join();
    }
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl EmbeddedStore {
    /// Opens the store in `dir`, and makes it if there is none. Blocks while it replays what the index does not cover: about a
    /// second per million entries.
    ///
    /// # Errors
    /// All of [`OpenError`].
    pub fn open(dir: &Path, options: Options) -> Result<Self, OpenError> {
        let opened = open::open(dir, options)?;
        let (commands, receiver) = mpsc::channel(QUEUE_COMMANDS);
        let shared = opened.shared;
        let newest = Newest::above(shared.index.newest_log().map_err(|error| OpenError::index(&error))?);
        let writer = threads::start_writer(Arc::clone(&shared), opened.writer, receiver);
        let writer = writer.map_err(OpenError::io("start a thread for", dir))?;
        let indexer =
            threads::start_indexer(Arc::clone(&shared)).map_err(OpenError::io("start a thread for", dir))?;
        let signal = Arc::new(Signal::default());
        let copier = Copier::new(Arc::clone(&shared), Arc::clone(&signal), commands.downgrade());
        let cleaner = Arc::new(Cleaner::new(Arc::clone(&shared), Arc::clone(&signal), copier));
        let cleaning = threads::start_cleaner(Arc::clone(&shared), Arc::clone(&cleaner));
        let cleaning = cleaning.map_err(OpenError::io("start a thread for", dir))?;
        let lock = opened.lock;
        let threads =
            Threads { writer, indexer, cleaner: cleaning, signal: Arc::clone(&signal), _lock: lock };
        let threads = Mutex::new(Some(threads));
        Ok(Self { shared, dir: dir.to_owned(), newest, commands, cleaner, signal, threads })
    }

    /// Opens the store in `dir`, as [`Self::open`] does, if there is one.
    ///
    /// # Errors
    /// All of [`OpenError`].
    pub fn open_existing(dir: &Path, options: Options) -> Result<Self, OpenError> {
        open::find(dir)?;
        Self::open(dir, options)
    }

    /// Makes the index anew from the log: the store must not be open. Returns when the new index is whole.
    ///
    /// # Errors
    /// All of [`OpenError`].
    pub fn rebuild(dir: &Path, options: Options) -> Result<(), OpenError> {
        open::forget_index(dir)?;
        let opened = open::open(dir, options)?;
        drop(opened);
        Ok(())
    }

    /// Gives back space now, as the store does by itself from time to time; returns how many segments have left the disk.
    ///
    /// # Errors
    /// [`ReadError::Broken`].
    pub async fn clean(&self) -> Result<usize, ReadError> {
        let (shared, cleaner) = (Arc::clone(&self.shared), Arc::clone(&self.cleaner));
        blocking(move || {
            shared.backlog.catch_up().map_err(|error| broken(&error))?;
            cleaner.pass().map_err(|error| broken(&error))
        })
        .await
    }

    async fn pin(&self, id: LogId) -> Result<Option<Pin>, ReadError> {
        if let Ok(pin) = self.shared.logs.get(id) {
            return Ok(Some(pin));
        }
        let shared = Arc::clone(&self.shared);
        blocking(move || shared.pin(id).map_err(|error| broken(&error))).await
    }

    /// Those of these logs that there are, found in one go.
    async fn pin_many(&self, ids: &[LogId]) -> Result<Vec<Pin>, ReadError> {
        let (shared, ids) = (Arc::clone(&self.shared), ids.to_vec());
        blocking(move || {
            let pins = ids.into_iter().filter_map(|id| shared.pin(id).transpose());
            pins.collect::<Result<_, _>>().map_err(|error| broken(&error))
        })
        .await
    }

    /// The log, to be changed.
    async fn pin_for_write(&self, id: LogId) -> Result<Pin, WriteError> {
        match self.pin(id).await {
            Ok(Some(pin)) => Ok(pin),
            Ok(None) => Err(WriteError::NotFound),
            Err(error) => Err(WriteError::Poisoned(error.to_string())),
        }
    }

    /// Looks for a log that is about to be made.
    async fn check_absent(&self, id: LogId) -> Result<(), WriteError> {
        match self.pin_for_write(id).await {
            Err(WriteError::NotFound) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(WriteError::Exists),
        }
    }
}

/// Runs what blocks on the disk where it holds up nobody.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, ReadError> {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(ReadError::Broken(error.to_string())),
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    fn epoch(&self) -> u64 {
        self.shared.epoch
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    fn free_bytes(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(&self.dir).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    fn usage(&self) -> Usage {
        let (end, index_lag_bytes) = self.shared.backlog.progress();
        let (segments, log_bytes) = self.shared.segments.count(end);
        Usage {
            log_bytes,
            live_bytes: self.shared.space.total(),
            segments,
            cleaned_bytes: self.signal.cleaned(),
            index_lag_bytes,
            // Open ones, those that are read, and those that the index does not have yet.
            logs_in_memory: self.shared.logs.len() as u64,
            kept: self.shared.accounts.total(),
        }
    }

    fn caps(&self) -> Caps {
        self.shared.options.caps
    }

    async fn usage_of(&self, owner: &Owner) -> Result<Kept, ReadError> {
        let (shared, owner) = (Arc::clone(&self.shared), owner.clone());
        blocking(move || shared.accounts.of(&shared.index, &owner).map_err(|error| broken(&error))).await
    }

    async fn create(&self, new: NewLog) -> Result<Head, WriteError> {
        check_batch(&new.entries)?;
        self.shared.check_health()?;
        let NewLog { id, owner, created_at, status, document, entries, endless } = new;
        if !self.newest.claim(id) {
            self.check_absent(id).await?;
        }
        let pin = self.shared.pin_new(id)?;
        let hold = self.hold(&owner).await?;
        let mut payloads = vec![document];
        payloads.extend(entries);
        let mut payloads = self.prepare(id, payloads).await?.into_iter();
        let document = payloads.next().unwrap_or(Payload::Inline(Bytes::new()));
        let entries: Vec<Payload> = payloads.collect();
        let has_blobs = document.is_blob() || entries.iter().any(Payload::is_blob);
        let end = endless.map_or(End::Open, End::Endless);
        let create = NewFrames { status, end, origin: Origin { owner, created_at, document }, entries, hold };
        let created = self.send(|reply| Command::Create { pin, create, reply }).await;
        if let (Err(WriteError::Full(_)), true) = (&created, has_blobs) {
            self.drop_blobs(id).await;
        }
        created.map(|created| created.head)
    }

    async fn submit(&self, mut append: Append) -> Result<Submitted, WriteError> {
        check_batch(&append.entries)?;
        let pin = self.pin_for_write(append.id).await?;
        let entries = self.prepare(append.id, std::mem::take(&mut append.entries)).await?;
        let answer = self.enqueue(|reply| Command::Append { pin, append, entries, reply }).await?;
        let shared = Arc::clone(&self.shared);
        Ok(Submitted::new(async move { outcome(&shared, answer).await }))
    }

    async fn compact(&self, compact: Compact) -> Result<Head, WriteError> {
        compact.check()?;
        let pin = self.pin_for_write(compact.id).await?;
        let mut compact = compact;
        let payloads = compact.spans.iter_mut().map(|span| std::mem::take(&mut span.payload)).collect();
        let payloads = self.prepare(compact.id, payloads).await?;
        let lasts = compact.spans.iter().map(|span| span.last);
        let spans: Vec<Span> = lasts.zip(payloads).map(|(last, payload)| Span { last, payload }).collect();
        let head = self.rewrite(pin, compact, spans).await?;
        // The caller reads on from what it has made.
        let shared = Arc::clone(&self.shared);
        let indexed = blocking(move || shared.backlog.catch_up().map_err(|error| broken(&error))).await;
        indexed.map_err(|error| WriteError::Poisoned(error.to_string()))?;
        Ok(head)
    }

    async fn head(&self, id: LogId) -> Result<Option<Head>, ReadError> {
        let pin = self.pin(id).await?;
        let head = pin.and_then(|pin| pin.state().committed.as_ref().map(|stored| stored.head.clone()));
        Ok(head.filter(|head| !head.frontier.gone))
    }

    async fn heads(&self, ids: &[LogId]) -> Result<Vec<(LogId, Head)>, ReadError> {
        let pins = self.pin_many(ids).await?;
        let head = |pin: &Pin| Some(pin.state().committed.as_ref()?.head.clone());
        let heads = pins.iter().filter_map(|pin| Some((pin.id, head(pin)?)));
        Ok(heads.filter(|(_, head)| !head.frontier.gone).collect())
    }

    async fn document(&self, id: LogId) -> Result<Bytes, ReadError> {
        let pin = self.pin(id).await?.ok_or(ReadError::NotFound)?;
        let shared = Arc::clone(&self.shared);
        blocking(move || read::read_document(&shared, &pin)).await
    }

    async fn read(&self, id: LogId, after: Option<Seq>, limit: ReadLimit) -> Result<Batch, ReadError> {
        let pin = self.pin(id).await?.ok_or(ReadError::NotFound)?;
        match read::look(&pin, after, limit)? {
            Looked::Found(batch) => Ok(batch),
            Looked::OnDisk(stored) => {
                let shared = Arc::clone(&self.shared);
                blocking(move || read::read_disk(&shared, &pin, stored, after, limit)).await
            }
        }
    }

    async fn tail(&self, id: LogId) -> Result<Tail, ReadError> {
        let pin = self.pin(id).await?.ok_or(ReadError::NotFound)?;
        let exists = pin.state().committed.as_ref().is_some_and(|stored| !stored.head.frontier.gone);
        if !exists {
            return Err(ReadError::NotFound);
        }
        Ok(Tail::new(pin.frontier.subscribe(), Box::new(pin)))
    }

    async fn purge(&self, id: LogId) -> Result<(), WriteError> {
        let pins = vec![self.pin_for_write(id).await?];
        match self.send(|reply| Command::Purge { pins, reply }).await? {
            0 => Err(WriteError::NotFound),
            _ => Ok(()),
        }
    }

    async fn purge_many(&self, ids: &[LogId]) -> Result<usize, WriteError> {
        check_many(ids)?;
        let pins = self.pin_many(ids).await.map_err(|error| WriteError::Poisoned(error.to_string()))?;
        if pins.is_empty() {
            return Ok(0);
        }
        self.send(|reply| Command::Purge { pins, reply }).await
    }

    async fn open_logs(&self, after: Option<LogId>, limit: usize) -> Result<Vec<LogId>, ReadError> {
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            shared.backlog.catch_up().map_err(|error| broken(&error))?;
            shared.index.open_logs(after, limit).map_err(|error| broken(&error))
        })
        .await
    }

    async fn logs_of(
        &self,
        owner: &Owner,
        before: Option<LogId>,
        limit: usize,
    ) -> Result<Vec<LogId>, ReadError> {
        let (shared, owner) = (Arc::clone(&self.shared), owner.clone());
        blocking(move || shared.logs_of(&owner, before, limit).map_err(|error| broken(&error))).await
    }

    async fn due(&self, now: UnixMillis, limit: usize) -> Result<Vec<LogId>, ReadError> {
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            shared.backlog.catch_up().map_err(|error| broken(&error))?;
            shared.index.due(now, limit).map_err(|error| broken(&error))
        })
        .await
    }

    async fn record(&self, key: &[u8]) -> Result<Option<Record>, ReadError> {
        if let Some(known) = self.shared.record_in_memory(key) {
            return Ok(known);
        }
        let (shared, key) = (Arc::clone(&self.shared), key.to_vec());
        blocking(move || match shared.index.record(&key).map_err(|error| broken(&error))? {
            Some(stored) => Ok(Some(stored.record)),
            // It may have been set, and not yet indexed, since memory was asked.
            None => Ok(shared.record_in_memory(&key).flatten()),
        })
        .await
    }

    async fn put_record(
        &self,
        key: &[u8],
        expected: Option<Version>,
        value: Option<Bytes>,
    ) -> Result<Version, WriteError> {
        check_record(key, value.as_ref())?;
        let key = Bytes::copy_from_slice(key);
        loop {
            let (shared, name) = (Arc::clone(&self.shared), key.clone());
            let seen = blocking(move || shared.see_record(&name).map_err(|error| broken(&error))).await;
            let seen = seen.map_err(|error| WriteError::Poisoned(error.to_string()))?;
            let put = |reply| {
                let (key, value) = (key.clone(), value.clone());
                Command::Record(PutRecord { key, expected, value, is_copy: false, seen, reply })
            };
            if let Some(version) = self.send(put).await? {
                return Ok(version);
            }
        }
    }

    async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.commands.send(Command::Close { reply }).await.is_ok() {
            let _ = closed.await;
        }
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(threads) = threads {
            let _ = spawn_blocking(move || threads.join()).await;
        }
    }

    async fn records(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Record)>, ReadError> {
        let (shared, prefix, after) = (Arc::clone(&self.shared), prefix.to_vec(), after.map(<[u8]>::to_vec));
        let found = move || shared.records_with(&prefix, after.as_deref(), limit);
        blocking(move || found().map_err(|error| broken(&error))).await
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        // The writer ends when the last sender is gone; the lock must not outlive this value.
        let (nobody, _) = mpsc::channel(1);
        self.commands = nobody;
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(threads) = threads {
            threads.join();
        }
    }
}
