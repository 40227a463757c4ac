//! The `Store` trait: what every implementation promises, and the errors it may answer with.
//!
//! Promises. An append of a batch to one log is atomic, and fenced: it names the epoch and the last seq it follows. What was
//! acknowledged is never lost (durability `sync`), and nothing can be read before it is durable. Entries and "is it closed?"
//! come from one look. A lost race is a normal answer, never a repair.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use crate::compaction::Compact;
use crate::quota::{Full, Kept};
use crate::tail::Tail;
use crate::types::{Frontier, Head, LogId, Owner, Seq, UnixMillis};

/// The longest key of a record, in bytes.
pub const MAX_RECORD_KEY_BYTES: usize = 1024;

/// The largest value of a record, in bytes: sled values above 6 KiB are unsafe.
pub const MAX_RECORD_VALUE_BYTES: usize = 4096;

/// The most entries in one append.
pub const MAX_BATCH_ENTRIES: usize = 4096;

/// Limits of every log that is not endless; the oldest entries go first (D-18, D-20).
///
/// They are kept exactly in the sense that no log ever retains more. To make room, entries go in runs of up to 1/128 of a
/// limit, so that a log at its limit does not pay for every append. The newest entry is never evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// The most entries a log retains; absent = no limit.
    pub entries: Option<u64>,
    /// The most payload bytes a log retains; absent = no limit.
    pub bytes: Option<u64>,
}

impl Default for Caps {
    fn default() -> Self {
        Self { entries: Some(8192), bytes: Some(64 << 20) }
    }
}

/// A log to be made.
#[derive(Clone, Debug)]
pub struct NewLog {
    /// Its id. An id must never be used twice.
    pub id: LogId,
    /// Whom it belongs to.
    pub owner: Owner,
    /// When it was created.
    pub created_at: UnixMillis,
    /// The first [`Head::status`].
    pub status: u8,
    /// What the user of the store wants to find again beside the entries, for example the request. Never evicted.
    pub document: Bytes,
    /// The first entries: 1 to [`MAX_BATCH_ENTRIES`].
    pub entries: Vec<Bytes>,
    /// Makes the log an endless one: it never closes, and when it is due may be said anew with each append. [`Caps`] do not hold for
    /// it: nothing is evicted, and its user keeps it within bounds. It is no open log that somebody must end, so neither
    /// [`Store::open_logs`] nor [`Store::logs_of`] lists it: its user finds it by a record. Positions in it are not checked against
    /// what a power cut may have taken ([`Head::recovered_through`]): it goes on after a restart, so that a number alone does not
    /// say which of two entries was seen. Absent = a log that ends.
    pub endless: Option<Close>,
}

/// Entries to be appended to one log, as one step.
#[derive(Clone, Debug)]
pub struct Append {
    /// The log.
    pub id: LogId,
    /// The epoch of the writer. Higher than the head's: the log is taken over. Lower: the append is refused.
    pub epoch: u64,
    /// The seq that the first of `entries` must follow.
    pub expected_last: Seq,
    /// The new [`Head::status`]; absent = unchanged.
    pub status: Option<u8>,
    /// The entries: 1 to [`MAX_BATCH_ENTRIES`].
    pub entries: Vec<Bytes>,
    /// Whether these are the last entries. Of an endless log, which has no last ones: what is due from now on; absent = unchanged.
    pub close: Option<Close>,
}

/// The end of a log, and what comes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// When the log is due for its last compaction (D-25); absent = never.
    pub compacts_at: Option<UnixMillis>,
    /// When the log may be purged; absent = never.
    pub expires_at: Option<UnixMillis>,
}

/// How much one read may return. At least one entry is returned if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimit {
    /// The most entries.
    pub entries: usize,
    /// The most payload bytes, unless the first entry alone is larger.
    pub bytes: usize,
}

impl ReadLimit {
    /// For a reader that begins somewhere: few entries, so that the first one does not wait for many that lie far apart on the
    /// disk.
    pub const FIRST: Self = Self { entries: 8, bytes: 64 << 10 };
}

impl Default for ReadLimit {
    fn default() -> Self {
        Self { entries: 64, bytes: 64 << 10 }
    }
}

/// An entry as it can be read. One that was appended covers its own seq alone, one that was made by a compaction a run of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The first seq that it covers. At or below the position of a read: the reader is inside of a run.
    pub first: Seq,
    /// Its number: the last seq that it covers.
    pub seq: Seq,
    /// Its bytes.
    pub payload: Bytes,
}

/// What a read found.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Entries in order, none beyond `frontier.committed`. May be empty.
    pub entries: Vec<Entry>,
    /// How far the log had come when `entries` were taken: one look.
    pub frontier: Frontier,
}

/// An append that the store has taken up; awaited, it tells what became of it. Nobody is woken for it before it is awaited, and
/// dropping it takes nothing back.
#[must_use = "only its result says whether the append is durable"]
pub struct Submitted(Pin<Box<dyn Future<Output = Result<Appended, WriteError>> + Send>>);

impl Submitted {
    /// An append whose outcome this future brings.
    pub fn new(outcome: impl Future<Output = Result<Appended, WriteError>> + Send + 'static) -> Self {
        Self(Box::pin(outcome))
    }
}

impl Future for Submitted {
    type Output = Result<Appended, WriteError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for Submitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submitted").finish_non_exhaustive()
    }
}

/// An append that is durable.
#[derive(Clone, Debug)]
pub struct Appended {
    /// The log behind it.
    pub head: Head,
    /// When it became durable.
    pub at: Instant,
}

/// A version of a record: different for every put of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64);

/// A record as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its version.
    pub version: Version,
    /// Its bytes.
    pub value: Bytes,
}

/// Whether the store takes writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Serving,
    /// A write, a sync or a store thread failed; nothing is written until the process was restarted (D-24).
    Poisoned {
        /// What failed, for the log of the operator.
        reason: String,
    },
    /// It was closed in order.
    Closed,
}

/// Why a write was not done.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteError {
    /// There is no such log.
    #[error("log not found")]
    NotFound,
    /// A log with this id exists.
    #[error("log exists")]
    Exists,
    /// There is no room for one more log under the quotas.
    #[error("no new log: {0}")]
    Full(Full),
    /// The log is closed: nothing follows its last entry.
    #[error("log is closed")]
    Closed,
    /// The log was appended to by somebody else.
    #[error("log is at {last}, not where the append expects it")]
    Moved {
        /// The last seq of the log.
        last: Seq,
    },
    /// The log belongs to a later epoch.
    #[error("log belongs to epoch {epoch}")]
    Fenced {
        /// The epoch of the log.
        epoch: u64,
    },
    /// The entries of the log are not those that the compaction was made from.
    #[error("entries changed; the log is at generation {generation}")]
    Changed {
        /// The generation of the log.
        generation: u64,
    },
    /// The record is not at the version that the put expects.
    #[error("record changed")]
    Conflict {
        /// The version it is at; absent = it does not exist.
        found: Option<Version>,
    },
    /// The write is outside the bounds of this module.
    #[error("write refused: {0}")]
    Invalid(&'static str),
    /// The store has failed, or was closed, and takes no writes (D-24).
    #[error("store is poisoned: {0}")]
    Poisoned(String),
}

/// Why a read was not done.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadError {
    /// There is no such log.
    #[error("log not found")]
    NotFound,
    /// Entries after the position are gone (D-20), or the position was rolled back (D-16).
    #[error("entries after the position are gone")]
    Lost(Lost),
    /// The disk does not give back what was written.
    #[error("store cannot be read: {0}")]
    Broken(String),
}

/// What a reader that cannot go on may want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The highest seq that can no longer be read; absent if only a roll-back is the cause.
    pub watermark: Option<Seq>,
    /// The first seq that can be read.
    pub earliest: Seq,
    /// The highest durable seq.
    pub committed: Seq,
    /// Whether the position was shown by a process whose last writes a power cut took (durability `os`).
    pub rolled_back: bool,
}

impl Health {
    /// Whether writes can be done.
    ///
    /// # Errors
    /// [`WriteError::Poisoned`] if not.
    pub fn check(&self) -> Result<(), WriteError> {
        match self {
            Self::Serving => Ok(()),
            Self::Poisoned { reason } => Err(WriteError::Poisoned(reason.clone())),
            Self::Closed => Err(WriteError::Poisoned("it is closed".to_owned())),
        }
    }
}

impl Head {
    /// When there is something to do for this log: its last compaction or its purge, whichever is earlier; absent = never.
    pub fn due_at(&self) -> Option<UnixMillis> {
        self.compacts_at.into_iter().chain(self.expires_at).min()
    }

    /// Whether a reader at `after` can go on from here without a hole.
    ///
    /// # Errors
    /// [`ReadError::NotFound`] if the log is gone, [`ReadError::Lost`] if entries after `after` are.
    pub fn check_position(&self, after: Option<Seq>) -> Result<(), ReadError> {
        let Frontier { committed, watermark, gone, .. } = self.frontier;
        if gone {
            return Err(ReadError::NotFound);
        }
        let rolled_back =
            matches!((after, self.recovered_through), (Some(after), Some(through)) if after > through);
        // `None < Some(_)`: a reader that has nothing yet has lost something as soon as anything is lost.
        if rolled_back || after < watermark {
            return Err(ReadError::Lost(Lost {
                watermark,
                earliest: Seq::after(watermark),
                committed,
                rolled_back,
            }));
        }
        Ok(())
    }
}

/// How much a store holds, for its operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Length of what was written and has not left the disk yet, in bytes.
    pub log_bytes: u64,
    /// About how much of that is live, in bytes: can still be asked for.
    pub live_bytes: u64,
    /// In how many files it lies.
    pub segments: u64,
    /// Length of what has left the disk since the store was opened, in bytes.
    pub cleaned_bytes: u64,
    /// How far what is derived from the log is behind it, in bytes.
    pub index_lag_bytes: u64,
    /// Logs that memory holds.
    pub logs_in_memory: u64,
    /// What all owners keep.
    pub kept: Kept,
}

/// A durable store of logs and records. All methods are cancel safe: a write whose caller went away may or may not be done,
/// but never in part.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug + 'static {
    /// The number of this opening of the store: higher than that of every earlier one.
    fn epoch(&self) -> u64;

    /// Follows whether the store takes writes.
    fn health(&self) -> watch::Receiver<Health>;

    /// The bytes left on the disk for new data, or `None` if the store has no disk.
    fn free_bytes(&self) -> Option<u64>;

    /// How much it holds. Cheap, and right only for the moment.
    fn usage(&self) -> Usage;

    /// The limits of every log.
    fn caps(&self) -> Caps;

    /// What an owner keeps, exactly.
    ///
    /// # Errors
    /// [`ReadError::Broken`].
    async fn usage_of(&self, owner: &Owner) -> Result<Kept, ReadError>;

    /// Makes a log with its first entries.
    ///
    /// # Errors
    /// [`WriteError::Exists`], [`WriteError::Full`], [`WriteError::Invalid`], [`WriteError::Poisoned`].
    async fn create(&self, new: NewLog) -> Result<Head, WriteError>;

    /// Takes up a batch that is to be appended to a log, which it may close. It comes behind all that were taken up before.
    ///
    /// # Errors
    /// All of [`WriteError`] but `Exists`, `Full`, `Changed` and `Conflict`, here or from [`Submitted`].
    async fn submit(&self, append: Append) -> Result<Submitted, WriteError>;

    /// The same, and waits until it is durable.
    ///
    /// # Errors
    /// All of [`WriteError`] but `Exists`, `Full`, `Changed` and `Conflict`.
    async fn append(&self, append: Append) -> Result<Head, WriteError> {
        Ok(self.submit(append).await?.await?.head)
    }

    /// Puts entries into the place of others, as one step. Neither the epoch nor the position of a writer matters, and appends go
    /// on meanwhile: numbers, `committed` and the watermark stay, the generation goes up by one. A read that is under way may
    /// still get old entries; one that begins afterwards gets the new ones only.
    ///
    /// # Errors
    /// [`WriteError::NotFound`], [`WriteError::Invalid`], [`WriteError::Poisoned`]; [`WriteError::Changed`] if the generation has
    /// moved on, or a part of the range is not there (any more).
    async fn compact(&self, compact: Compact) -> Result<Head, WriteError>;

    /// Where a log stands, or `None` if there is none.
    ///
    /// # Errors
    /// [`ReadError::Broken`].
    async fn head(&self, id: LogId) -> Result<Option<Head>, ReadError>;

    /// Where these logs stand, without those that do not exist.
    ///
    /// # Errors
    /// [`ReadError::Broken`].
    async fn heads(&self, ids: &[LogId]) -> Result<Vec<(LogId, Head)>, ReadError>;

    /// The document that a log was made with.
    ///
    /// # Errors
    /// [`ReadError::NotFound`], [`ReadError::Broken`].
    async fn document(&self, id: LogId) -> Result<Bytes, ReadError>;

    /// The entries after a position, from the one that covers the seq right after it. Empty if there are none yet.
    ///
    /// # Errors
    /// All of [`ReadError`].
    async fn read(&self, id: LogId, after: Option<Seq>, limit: ReadLimit) -> Result<Batch, ReadError>;

    /// Follows a log.
    ///
    /// # Errors
    /// [`ReadError::NotFound`], [`ReadError::Broken`].
    async fn tail(&self, id: LogId) -> Result<Tail, ReadError>;

    /// Removes a log; it reads as unknown from then on. Its bytes leave the disk later.
    ///
    /// # Errors
    /// [`WriteError::NotFound`], [`WriteError::Poisoned`].
    async fn purge(&self, id: LogId) -> Result<(), WriteError>;

    /// Removes logs, at most [`MAX_BATCH_ENTRIES`], as one write; returns how many of them there were.
    ///
    /// # Errors
    /// [`WriteError::Invalid`], [`WriteError::Poisoned`].
    async fn purge_many(&self, ids: &[LogId]) -> Result<usize, WriteError>;

    /// Logs that are neither closed nor endless: at most `limit`, with an id greater than `after`, in the order of ids.
    ///
    /// # Errors
    /// [`ReadError::Broken`].
    async fn open_logs(&self, after: Option<LogId>, limit: usize) -> Result<Vec<LogId>, ReadError>;

    /// The logs of an owner, closed and open, but for endless ones: at most `limit`, with an id lower than `before` (absent = any), the highest id first.
    ///
    /// # Errors
    /// [`ReadError::Broken`].
    async fn logs_of(
        &self,
        owner: &Owner,
        before: Option<LogId>,
        limit: usize,
    ) -> Result<Vec<LogId>, ReadError>;

    /// Logs for which something is due: whose [`due_at`](Head::due_at) is not after `now`. At most `limit`, the earliest first.
    ///
    /// # Errors
    /// [`ReadError::Broken`].
    async fn due(&self, now: UnixMillis, limit: usize) -> Result<Vec<LogId>, ReadError>;

    /// A record, or `None` if there is none.
    ///
    /// # Errors
    /// [`ReadError::Broken`].
    async fn record(&self, key: &[u8]) -> Result<Option<Record>, ReadError>;

    /// Sets (`Some`) or removes (`None`) a record that is at version `expected` (absent = does not exist).
    ///
    /// # Errors
    /// [`WriteError::Conflict`], [`WriteError::Invalid`], [`WriteError::Poisoned`].
    async fn put_record(
        &self,
        key: &[u8],
        expected: Option<Version>,
        value: Option<Bytes>,
    ) -> Result<Version, WriteError>;

    /// Makes everything durable and stops. Later writes answer [`WriteError::Poisoned`].
    async fn close(&self);

    /// Records whose key begins with `prefix`: at most `limit`, with a key greater than `after`, in the order of their keys.
    ///
    /// # Errors
    /// [`ReadError::Broken`].
    async fn records(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Record)>, ReadError>;
}
