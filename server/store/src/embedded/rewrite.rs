//! Entries that are written again: merged by a compaction (D-19), or as they were, to leave a segment (D-39).
//!
//! It owns the look that is needed before, done by the caller because it reads the disk, and the part of the writer that checks
//! whether what was seen still holds. It must never know what a payload says.

use super::change::{Change, Moved, Origin, Rewrite, Span};
use super::frame::Lsn;
use super::log::{Extent, Log, LogState, OriginAt, Pin, Rewritten, Stored};
use super::read::{self, Fault, Placed};
use super::shared::Shared;
use super::standing::Standing;
use super::writer::{Effect, Reply, Staged, StagedLog, TOO_LARGE, Writer};
use crate::api::{Appended, ReadError, WriteError};
use crate::compaction::Compact;
use crate::retained::Size;
use crate::types::{LogId, Seq};

/// Spans that take the place of what lies there.
#[derive(Debug)]
pub(crate) struct PutSpans {
    pub(crate) pin: Pin,
    pub(crate) kind: Kind,
    pub(crate) from: Seq,
    pub(crate) spans: Vec<Span>,
    pub(crate) look: Look,
    pub(crate) reply: Reply<Appended>,
}

/// Why entries are written again.
#[derive(Debug)]
pub(crate) enum Kind {
    /// They are merged.
    Compact(Compact),
    /// They are copied, with their origin if this is the first frame of the copy.
    Copy(Option<Origin>),
}

/// Where entries of a log were written again last, durable or not; zero = not since the log is in memory.
///
/// Any of these moves what a compaction has seen. A copy follows the copies before it: only a compaction gets in its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fence {
    merged_in: Lsn,
    copied_in: Lsn,
}

/// What a look at a range of entries found. It holds until entries of the log are written again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Look {
    fence: Fence,
    /// What is left of a frame that holds entries before the range too.
    left: Option<Extent>,
    /// What is left of a frame that holds entries behind the range too.
    right: Option<Extent>,
    /// The part of the range's first unit of eviction that lies before the range.
    kept: Size,
    /// The range.
    removed: Size,
}

impl Look {
    /// A look at a range that begins and ends where frames do, for a copy.
    pub(crate) fn at_frames(fence: Fence) -> Self {
        Self { fence, ..Self::default() }
    }

    /// Looks at `range`, all of which is in the index and retained. `None` if the index does not have yet what was written again
    /// before. Blocks on the disk.
    ///
    /// # Errors
    /// [`WriteError::Invalid`] if the range does not begin and end where entries do.
    pub(crate) fn at_range(shared: &Shared, log: &Log, range: Range) -> Result<Option<Self>, WriteError> {
        let (fence, unit_start) = {
            let state = log.state();
            if state.rewriting > 0 {
                return Ok(None);
            }
            let stored = state.committed.as_ref().ok_or(WriteError::NotFound)?;
            let oldest = Seq::after(stored.head.frontier.watermark);
            // Nothing is evicted from such a log: it has no units.
            let unit = state.retained.unit_start(range.from).filter(|_| !stored.head.is_settled());
            (state.fence, unit.unwrap_or(oldest).clamp(oldest, range.from.max(oldest)))
        };
        let looking = Looking::walk(shared, log.id, unit_start, range);
        let looking = looking.map_err(|fault| WriteError::Poisoned(ReadError::from(fault).to_string()))?;
        if looking.edges != (true, true) {
            return Err(WriteError::Invalid("a compaction begins and ends where entries do"));
        }
        Ok(Some(Self { fence, ..looking.look }))
    }

    /// Only what is left of the frames at the edges of `range`, for a replay. Blocks on the disk.
    pub(crate) fn at_edges(shared: &Shared, id: LogId, range: Range) -> Result<Self, Fault> {
        Ok(Looking::walk(shared, id, range.from, range)?.look)
    }
}

/// The seqs `from..=through`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub(crate) from: Seq,
    pub(crate) through: Seq,
}

/// A look that is not at its end.
struct Looking {
    look: Look,
    unit_start: Seq,
    range: Range,
    /// Whether an entry begins where the range does, and one ends where it does.
    edges: (bool, bool),
}

impl Looking {
    fn walk(shared: &Shared, id: LogId, unit_start: Seq, range: Range) -> Result<Self, Fault> {
        let mut looking = Self { look: Look::default(), unit_start, range, edges: (false, false) };
        for record in shared.index.extent_records(id, unit_start) {
            let extents = record.map_err(|error| Fault::broken(&error))?;
            for extent in extents.iter().filter(|extent| extent.first <= range.through) {
                looking.take(shared, id, extent)?;
            }
            if extents.last().is_some_and(|extent| extent.last >= range.through) {
                break;
            }
        }
        Ok(looking)
    }

    fn take(&mut self, shared: &Shared, id: LogId, extent: &Extent) -> Result<(), Fault> {
        let Range { from, through } = self.range;
        let whole = extent.last < from && extent.first >= self.unit_start;
        if extent.last < self.unit_start {
            return Ok(());
        }
        if whole || (extent.first >= from && extent.last <= through) {
            let Extent { first, last, entries, bytes, .. } = *extent;
            self.count(first, last, Size { entries, bytes });
            return Ok(());
        }
        let entries = read::read_extent(&shared.segments, id, extent)?;
        for entry in &entries {
            self.count(entry.first, entry.last, Size { entries: 1, bytes: entry.payload.len() });
        }
        if extent.first < from && extent.last >= from {
            self.look.left = part_of(extent, entries.iter().filter(|entry| entry.last < from));
        }
        if extent.last > through {
            self.look.right = part_of(extent, entries.iter().filter(|entry| entry.first > through));
        }
        Ok(())
    }

    /// Counts entries that lie on one side of the edges of the range.
    fn count(&mut self, first: Seq, last: Seq, size: Size) {
        let Range { from, through } = self.range;
        if last < from && first >= self.unit_start {
            self.look.kept.add(size);
        } else if last >= from && first <= through {
            self.look.removed.add(size);
            self.edges.0 |= first == from;
            self.edges.1 |= last == through;
        }
    }
}

/// The part of an extent that these entries of it are.
fn part_of<'a>(extent: &Extent, entries: impl Iterator<Item = &'a Placed>) -> Option<Extent> {
    entries.fold(None, |part: Option<Extent>, entry| {
        let before = part.unwrap_or(Extent { first: entry.first, entries: 0, bytes: 0, ..*extent });
        let (entries, bytes) = (before.entries + 1, before.bytes.saturating_add(entry.payload.len()));
        Some(Extent { last: entry.last, entries, bytes, ..before })
    })
}

impl Kind {
    /// Whether the writer may still do it.
    fn check(&self, state: &LogState, look: &Look, range: Option<Range>) -> Result<Stored, WriteError> {
        let stored = state.latest().ok_or(WriteError::NotFound)?;
        let head = &stored.head;
        let changed = || WriteError::Changed { generation: head.generation };
        if head.frontier.gone {
            return Err(WriteError::NotFound);
        }
        if let Self::Compact(compact) = self {
            head.check_compact(compact)?;
        }
        let unmoved = match self {
            Self::Compact(_) => state.fence == look.fence,
            Self::Copy(_) => state.fence.merged_in == look.fence.merged_in,
        };
        let is_there = range.is_none_or(|range| Some(range.from) > head.frontier.watermark);
        // A compaction of no entries rests on nothing that was seen.
        if range.is_some() && !(unmoved && is_there) {
            return Err(changed());
        }
        Ok(stored.clone())
    }
}

impl Writer {
    /// Writes spans in the place of entries, if what the caller saw still holds.
    pub(crate) fn stage_rewrite(&mut self, put: PutSpans) -> Staged {
        let PutSpans { pin, kind, from, spans, look, reply } = put;
        let range = spans.last().map(|last| Range { from, through: last.last });
        let mut state = pin.state();
        let mut stored = match kind.check(&state, &look, range) {
            Ok(stored) => stored,
            Err(error) => {
                drop(state);
                return Staged::LogRefused { reply, error, _pin: pin };
            }
        };
        let lsn = self.next_lsn();
        let merges = matches!(kind, Kind::Compact(_));
        let origin = match kind {
            Kind::Compact(compact) => {
                self.merge(&mut state, &mut stored, &compact, &spans, &look);
                None
            }
            Kind::Copy(origin) => origin,
        };
        stored.changed_in = lsn;
        let moved = origin.map(|origin| Moved { origin, since: stored.since });
        let (id, committed, standing) = (pin.id, stored.head.frontier.committed, Standing::of(&stored));
        let change = Change::Rewrite(Rewrite { id, committed, standing, from, spans, merges, moved });
        let written = self.write_frame(&change);
        let Change::Rewrite(rewrite) = change else { unreachable!("it was just made") };
        let Some((lsn, length)) = written else {
            drop(state);
            return Staged::LogRefused { reply, error: TOO_LARGE, _pin: pin };
        };
        if let Some(moved) = &rewrite.moved {
            stored.origin = OriginAt { lsn, length, bytes: moved.origin.document.inline_len() };
        }
        let effect = match rewritten(&rewrite, &look, lsn, length) {
            Some(rewritten) => {
                *(if merges { &mut state.fence.merged_in } else { &mut state.fence.copied_in }) = lsn;
                state.rewriting += 1;
                Effect::Rewritten(rewritten)
            }
            None => Effect::None,
        };
        state.staged = Some(stored.clone());
        drop(state);
        Staged::Log(Box::new(StagedLog { pin, stored, effect, reply }))
    }

    /// What a compaction makes of a head.
    fn merge(
        &self,
        state: &mut LogState,
        stored: &mut Stored,
        compact: &Compact,
        spans: &[Span],
        look: &Look,
    ) {
        let head = &mut stored.head;
        head.generation += 1;
        if compact.settles {
            head.compacts_at = None;
        }
        stored.has_blobs |= spans.iter().any(|span| span.payload.is_blob());
        let sizes: Vec<(Seq, u64)> = spans.iter().map(|span| (span.last, span.payload.len())).collect();
        let bytes: u64 = sizes.iter().map(|(_, bytes)| bytes).sum();
        let count = sizes.len() as u64;
        head.retained_entries = (head.retained_entries + count).saturating_sub(look.removed.entries);
        head.retained_bytes = head.retained_bytes.saturating_add(bytes).saturating_sub(look.removed.bytes);
        if !head.is_settled() && count > 0 {
            let caps = &self.shared.options.caps;
            state.retained.replace(caps, compact.from, &sizes, look.kept, look.removed);
            head.frontier.watermark = state.retained.evict(caps).or(head.frontier.watermark);
            head.retained_entries = state.retained.entries();
            head.retained_bytes = state.retained.bytes();
        }
    }
}

/// What the index must be told of a frame of spans; `None` if it holds none.
pub(crate) fn rewritten(rewrite: &Rewrite, look: &Look, lsn: Lsn, length: u64) -> Option<Rewritten> {
    let last = rewrite.spans.last()?.last;
    let bytes = rewrite.spans.iter().map(|span| span.payload.len()).sum();
    let entries = rewrite.spans.len() as u64;
    let extent = Extent { first: rewrite.from, last, entries, bytes, lsn, length };
    Some(Rewritten { extent, left: look.left, right: look.right, merges: rewrite.merges })
}
