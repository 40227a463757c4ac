//! Reading many frames of a log, which lie among those of others.
//!
//! It owns how many of them one read of the disk takes, and that the system is asked for those that it has to fetch before the
//! first of them is waited for: so a response that nobody has read for long costs a few waits and not one for each event.

use std::io::{self, IoSliceMut};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use rustix::fs::{Advice, fadvise};
use rustix::io::{ReadWriteFlags, preadv2};

use super::frame::{self, Frame, Lsn};
use super::log::Extent;
use super::segment::Segments;

/// Frames with no more than this many bytes between them are read as one.
const MAX_GAP_BYTES: u64 = 4 << 10;

/// Frames are read as one up to this many bytes.
const MAX_RUN_BYTES: u64 = 256 << 10;

/// The system is asked for at most this many runs of frames at once: each takes a call.
const MAX_ASKED: usize = 128;

/// Goes through the frames of extents, in their order.
#[derive(Debug)]
pub(crate) struct Frames<'a> {
    segments: &'a Segments,
    /// The extents that are left.
    extents: &'a [Extent],
    /// What was read, and where in the log it lies.
    read: Vec<u8>,
    read_at: Lsn,
    /// How many runs the system is asked for at once.
    ahead: usize,
    /// How many of the extents that are left it was asked for.
    asked: usize,
}

/// Frames that are read as one.
struct Run<'a> {
    extents: &'a [Extent],
    begin: Lsn,
    bytes: u64,
}

impl<'a> Run<'a> {
    /// The first of these extents, with those that lie behind it, up to `end`.
    fn first_of(extents: &'a [Extent], end: Option<Lsn>) -> Option<Self> {
        let first = extents.first()?;
        let (mut reached, mut count) = (first.end(), 1);
        for next in extents.iter().skip(1) {
            let follows = next.lsn >= reached && next.lsn.since(reached) <= MAX_GAP_BYTES;
            let fits = next.end().since(first.lsn) <= MAX_RUN_BYTES;
            if !follows || !fits || end.is_some_and(|end| next.lsn >= end) {
                break;
            }
            (reached, count) = (next.end(), count + 1);
        }
        let extents = extents.get(..count)?;
        Some(Self { extents, begin: first.lsn, bytes: reached.since(first.lsn) })
    }
}

impl<'a> Frames<'a> {
    /// The frames of these extents, of which `wanted` are likely to be read.
    pub(crate) fn of(segments: &'a Segments, extents: &'a [Extent], wanted: usize) -> Self {
        let ahead = wanted.saturating_mul(2).min(MAX_ASKED);
        Self { segments, extents, read: Vec::new(), read_at: Lsn(0), ahead, asked: 0 }
    }

    /// The next frame. An error of kind `NotFound` says that its segment has left the disk. Blocks.
    pub(crate) fn next(&mut self) -> Option<io::Result<(&'a Extent, Frame)>> {
        let extent = self.extents.first()?;
        Some(self.frame(extent).map(|frame| {
            self.extents = self.extents.get(1..).unwrap_or_default();
            self.asked = self.asked.saturating_sub(1);
            (extent, frame)
        }))
    }

    fn frame(&mut self, extent: &Extent) -> io::Result<Frame> {
        if self.bytes_of(extent).is_none() {
            self.fill()?;
        }
        // A copy: what is held by who reads must not hold what lies between.
        let bytes = self.bytes_of(extent).map(Bytes::copy_from_slice);
        let frame = bytes.and_then(|bytes| frame::decode(&bytes, extent.lsn));
        frame.ok_or_else(|| frame::damaged(extent.lsn))
    }

    fn bytes_of(&self, extent: &Extent) -> Option<&[u8]> {
        let begin = usize::try_from(extent.lsn.0.checked_sub(self.read_at.0)?).ok()?;
        let end = begin.checked_add(usize::try_from(extent.length).ok()?)?;
        self.read.get(begin..end)
    }

    /// Reads the next run.
    fn fill(&mut self) -> io::Result<()> {
        let Some(first) = self.extents.first() else { return Ok(()) };
        let held = self.segments.hold(first.lsn)?;
        let Some(run) = Run::first_of(self.extents, held.end) else { return Ok(()) };
        self.read.clear();
        self.read.resize(usize::try_from(run.bytes).unwrap_or(usize::MAX), 0);
        self.read_at = run.begin;
        let offset = run.begin.since(held.base);
        let buffer = &mut [IoSliceMut::new(&mut self.read)];
        let at_once = preadv2(&*held.file, buffer, offset, ReadWriteFlags::NOWAIT);
        if at_once.is_ok_and(|bytes| bytes as u64 == run.bytes) {
            return Ok(());
        }
        if self.asked == 0 {
            self.asked = self.ask()?;
        }
        held.file.read_exact_at(&mut self.read, offset).inspect_err(|_| self.read.clear())
    }

    /// Has the system fetch the next runs, all at the same time; returns how many extents they have.
    fn ask(&self) -> io::Result<usize> {
        let mut rest = self.extents;
        for _ in 0..self.ahead {
            let Some(next) = rest.first() else { break };
            let held = self.segments.hold(next.lsn)?;
            let Some(run) = Run::first_of(rest, held.end) else { break };
            let bytes = NonZeroU64::new(run.bytes);
            // Advice that is not taken costs time, nothing else.
            let _ = fadvise(&*held.file, run.begin.since(held.base), bytes, Advice::WillNeed);
            rest = rest.get(run.extents.len()..).unwrap_or_default();
        }
        Ok(self.extents.len() - rest.len())
    }
}
