//! Compaction, as it is asked of a store: which spans take the place of which entries (D-19).
//!
//! It owns what makes such a request right by itself and right for a log that stands somewhere. It must never know where entries
//! lie.

use bytes::Bytes;

use crate::api::{MAX_BATCH_ENTRIES, WriteError};
use crate::types::{Frontier, Head, LogId, Seq};

/// Entries that take the place of others (D-19). The spans tile `from..=` the `last` of the last one, in order and without a hole;
/// the range begins and ends where entries do that can be read.
#[derive(Clone, Debug)]
pub struct Compact {
    /// The log, open or closed.
    pub id: LogId,
    /// The [`Head::generation`] at which the entries of the range were read.
    pub generation: u64,
    /// The first seq of the range.
    pub from: Seq,
    /// The new entries: 1 to [`MAX_BATCH_ENTRIES`]; none is right only with `settles`, and replaces nothing.
    pub spans: Vec<Span>,
    /// Whether this is the end of what [`Head::compacts_at`] asks for, which is taken off.
    pub settles: bool,
}

/// An entry that takes the place of a run of entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The last seq of the run: the number of the new entry.
    pub last: Seq,
    /// Its bytes.
    pub payload: Bytes,
}

impl Compact {
    /// Whether the spans are in order, and as many as may be.
    ///
    /// # Errors
    /// [`WriteError::Invalid`].
    pub fn check(&self) -> Result<(), WriteError> {
        match self.spans.len() {
            0 if self.settles => return Ok(()),
            0 => return Err(WriteError::Invalid("a compaction has at least one span")),
            1..=MAX_BATCH_ENTRIES => {}
            _ => return Err(WriteError::Invalid("a compaction has at most 4096 spans")),
        }
        let rising = self.spans.is_sorted_by(|one, next| one.last < next.last);
        if rising && self.spans.first().is_some_and(|span| span.last >= self.from) {
            return Ok(());
        }
        Err(WriteError::Invalid("the spans of a compaction are not in order"))
    }

    /// The last seq of the range; absent if nothing is replaced.
    pub fn through(&self) -> Option<Seq> {
        self.spans.last().map(|span| span.last)
    }
}

impl Head {
    /// Whether a compaction of these entries is still right.
    ///
    /// # Errors
    /// [`WriteError::NotFound`], [`WriteError::Changed`].
    pub fn check_compact(&self, compact: &Compact) -> Result<(), WriteError> {
        let Frontier { committed, watermark, gone, .. } = self.frontier;
        if gone {
            return Err(WriteError::NotFound);
        }
        let there = compact.spans.is_empty()
            || (Some(compact.from) > watermark
                && compact.through().is_some_and(|through| through <= committed));
        if compact.generation != self.generation || !there {
            return Err(WriteError::Changed { generation: self.generation });
        }
        Ok(())
    }
}
