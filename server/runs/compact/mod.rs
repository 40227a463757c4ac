//! Compaction: many deltas of a part become one, so that a log keeps within its caps without losing its beginning (D-19, W-26).
//!
//! It owns what a merged entry looks like in the log, how it is made, how a reader that comes inside of one gets exactly the rest,
//! and when the logs of running and of finished responses are compacted. It must never know how the store keeps entries, or which
//! backend the text came from.
//!
//! [`merge`] makes spans of entries and knows nothing else. A merged entry ([`bundle`]) is an ordinary delta event that carries the
//! last number of its run, and a table of [`cuts`] that tells how long each delta of the run was; without the table a reader inside
//! of the run is refused. Everything that is not a delta stays as it is, with its own number. What a delta is, and what grows in it,
//! is of [`tracks`]: one text in an event of the Responses API, any of the texts and lists of its choices in a chunk of a chat.
//!
//! Parts that grow in turn (A1 B2 A3 B4) share an entry: one delta for each part, in the order of their last numbers. A position
//! between two of them (3: all of A, nothing of B) and the position of a reader who had seen the single events (3: A1, B2, A3) are
//! the same number. Such a position is a *seam*; whoever comes with it is refused, because nobody can tell which of the two it is.

mod bundle;
mod cuts;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod last;
mod layers;
mod live;
mod merge;
mod read;
mod run;
mod tracks;

#[cfg(test)]
mod tests;

pub(super) use last::compact as compact_last;
pub(super) use live::{Compactor, Load};
pub(super) use read::{Position, Refusal, events, payloads};

/// Merging stops at a payload of about this many bytes, so that no reader has to take more at once than it would otherwise, and
/// so that what has grown that large is never merged again.
const MAX_RUN_BYTES: usize = 256 << 10;
