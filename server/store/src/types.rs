//! The words of the store: ids, numbers, times, and where a log stands.

use std::fmt;
use std::sync::Arc;

/// The id of a log: 16 bytes, unique in a store for ever.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogId([u8; 16]);

impl LogId {
    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of the id.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogId({self})")
    }
}

/// The number of an entry in its log: from 0, strictly increasing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seq(u64);

impl Seq {
    /// The number of the first entry of every log.
    pub const FIRST: Self = Self(0);

    /// The seq with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The seq after this one. Saturates at `u64::MAX`, which no log reaches.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The first seq after a reader's position; absent = nothing read yet.
    pub const fn after(position: Option<Self>) -> Self {
        match position {
            Some(seq) => seq.next(),
            None => Self::FIRST,
        }
    }

    /// The seq before this one, or `None` for the first.
    pub const fn previous(self) -> Option<Self> {
        match self.0.checked_sub(1) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A point in time, in milliseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnixMillis(pub u64);

/// The tenant a log belongs to: 1 to 256 bytes of visible ASCII.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner(Arc<str>);

impl Owner {
    /// The longest owner, in bytes.
    pub const MAX_BYTES: usize = 256;

    /// The owner of this name, or `None` if it is empty, longer than [`Self::MAX_BYTES`], or not visible ASCII.
    pub fn new(name: &str) -> Option<Self> {
        let fits = (1..=Self::MAX_BYTES).contains(&name.len());
        (fits && name.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Owner({})", self.0)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How far a log has come, as one consistent look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frontier {
    /// The highest durable seq, which may be shown. A log has at least one entry from its creation on.
    pub committed: Seq,
    /// The highest seq that can no longer be read; absent = none lost.
    pub watermark: Option<Seq>,
    /// Whether the entry at `committed` is the last one there will ever be.
    pub closed: bool,
    /// Whether the log was purged: it reads as unknown.
    pub gone: bool,
}

/// Where a log stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Whom the log belongs to.
    pub owner: Owner,
    /// When it was created.
    pub created_at: UnixMillis,
    /// How far it has come.
    pub frontier: Frontier,
    /// A byte that its user sets with each append and the store does not read.
    pub status: u8,
    /// Who may append: the store's [`epoch`](crate::Store::epoch) at the last append.
    pub epoch: u64,
    /// With durability `os`: the last seq that was found when an earlier process had left the log open. Entries beyond it may
    /// have been seen and lost. Absent = nothing was ever lost.
    pub recovered_through: Option<Seq>,
    /// How often entries were replaced by a compaction: 0 at the beginning.
    pub generation: u64,
    /// When the log is due for its last compaction; absent = never, or done.
    pub compacts_at: Option<UnixMillis>,
    /// When the log may be purged; absent = never (a log that is open and not endless never expires).
    pub expires_at: Option<UnixMillis>,
    /// How many entries are retained.
    pub retained_entries: u64,
    /// How many payload bytes are retained.
    pub retained_bytes: u64,
    /// Whether the log never closes ([`NewLog::endless`](crate::NewLog::endless)).
    pub endless: bool,
}

impl Head {
    /// The head of a log that is being made, before anything is said of where it stands.
    pub(crate) fn new(owner: Owner, created_at: UnixMillis) -> Self {
        Self {
            owner,
            created_at,
            frontier: Frontier { committed: Seq::FIRST, watermark: None, closed: false, gone: false },
            status: 0,
            epoch: 0,
            recovered_through: None,
            generation: 0,
            compacts_at: None,
            expires_at: None,
            retained_entries: 0,
            retained_bytes: 0,
            endless: false,
        }
    }

    /// Whether the caps do not matter to the log, and memory need not hold it for its next append: it is closed, or endless.
    pub(crate) fn is_settled(&self) -> bool {
        self.frontier.closed || self.endless
    }
}
