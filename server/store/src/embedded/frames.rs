//! Reading many frames of a log, which lie among those of others.
//!
//! It owns how many of them one read of the disk takes, and that the system is asked for those that it has to fetch before the
//! first of them is waited for: so a response that nobody has read for long costs a few waits and not one for each event.

use std::io;

use bytes::{Bytes, BytesMut};

use super::frame::{self, Frame, Lsn};
use super::log::Extent;
use super::segment::Segments;

/// Frames with no more than this many bytes between them are read as one.
const MAX_GAP_BYTES: u64 = 4 << 10;

/// Frames are read as one up to this many bytes.
const MAX_RUN_BYTES: u64 = 256 << 10;

/// The system is asked for at most this many runs of frames at once: each takes a call.
const MAX_ASKED: usize = 128;

/// Frames share pieces of memory of up to this many bytes.
const ROOM_BYTES: usize = 32 << 10;

/// Goes through the frames of extents, in their order.
#[derive(Debug)]
pub(crate) struct Frames<'a> {
    segments: &'a Segments,
    /// The extents that are left.
    extents: &'a [Extent],
    /// What was read, and where in the log it lies.
    read: Vec<u8>,
    read_at: Lsn,
    /// Where the next frames are copied to: one piece of memory for many.
    room: BytesMut,
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
        Self { segments, extents, read: Vec::new(), read_at: Lsn(0), room: BytesMut::new(), ahead, asked: 0 }
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
        let frame = self.copied(extent).and_then(|bytes| frame::decode(&bytes, extent.lsn));
        frame.ok_or_else(|| frame::damaged(extent.lsn))
    }

    /// A copy of a frame: what is held by who reads must not hold what lies between frames.
    fn copied(&mut self, extent: &Extent) -> Option<Bytes> {
        let mut room = std::mem::take(&mut self.room);
        let bytes = self.bytes_of(extent)?;
        if room.capacity() < bytes.len() {
            let left = self.extents.iter().map(|extent| extent.length);
            let left = usize::try_from(left.fold(0, u64::saturating_add)).unwrap_or(usize::MAX);
            room = BytesMut::with_capacity(left.min(ROOM_BYTES).max(bytes.len()));
        }
        room.extend_from_slice(bytes);
        let copy = room.split().freeze();
        self.room = room;
        Some(copy)
    }

    fn bytes_of(&self, extent: &Extent) -> Option<&[u8]> {
        let begin = usize::try_from(extent.lsn.0.checked_sub(self.read_at.0)?).ok()?;
        let end = begin.checked_add(usize::try_from(extent.length).ok()?)?;
        self.read.get(begin..end)
    }

    /// Reads the next run.
    fn fill(&mut self) -> io::Result<()> {
        let Some(first) = self.extents.first() else { return Ok(()) };
        if first.length > frame::MAX_BYTES {
            return Err(frame::damaged(first.lsn));
        }
        let held = self.segments.hold(first.lsn)?;
        let Some(run) = Run::first_of(self.extents, held.end) else { return Ok(()) };
        self.read.clear();
        self.read.resize(usize::try_from(run.bytes).unwrap_or_default(), 0);
        self.read_at = run.begin;
        let offset = run.begin.since(held.base);
        if held.file.read_at_once(&mut self.read, offset)? {
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
            held.file.will_need(run.begin.since(held.base), run.bytes);
            rest = rest.get(run.extents.len()..).unwrap_or_default();
        }
        Ok(self.extents.len() - rest.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::embedded::segment;
    use crate::types::Seq;

    /// A log of one segment with frames of these lengths, and where they lie.
    fn segment_of(lengths: &[usize]) -> (tempfile::TempDir, Segments, Vec<Extent>) {
        let dir = tempfile::tempdir().unwrap();
        let file = segment::create(dir.path(), Lsn(0)).unwrap();
        let (mut bytes, mut extents) = (Vec::new(), Vec::new());
        for length in lengths {
            let lsn = Lsn(segment::HEADER_BYTES).plus(bytes.len());
            let begun = frame::begin(&mut bytes);
            bytes.extend((0..*length).map(|at| at as u8));
            let length = frame::finish(&mut bytes, begun, 3, lsn, lsn).unwrap() as u64;
            let seq = Seq::new(extents.len() as u64);
            extents.push(Extent { first: seq, last: seq, entries: 1, bytes: length, lsn, length });
        }
        file.write_all_at(&bytes, segment::HEADER_BYTES).unwrap();
        let segments = Segments::new(dir.path().to_owned(), &segment::list(dir.path()).unwrap());
        (dir, segments, extents)
    }

    fn read(segments: &Segments, extents: &[Extent]) -> Vec<Result<(Lsn, Bytes), io::ErrorKind>> {
        let (mut frames, mut read) = (Frames::of(segments, extents, 4), Vec::new());
        while let Some(frame) = frames.next() {
            let is_bad = frame.is_err();
            read.push(frame.map(|(_, frame)| (frame.lsn, frame.payload)).map_err(|error| error.kind()));
            if is_bad {
                break;
            }
        }
        read
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// However frames lie, alone or in runs, forwards or backwards: they are the same as when each is read by itself.
        #[test]
        fn frames_in_runs_are_those_that_lie_there(
            lengths in prop::collection::vec(prop_oneof![0usize..400, 3000usize..9000], 1..60),
            wanted in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
            sorted: bool,
        ) {
            let (_dir, segments, extents) = segment_of(&lengths);
            let mut wanted: Vec<Extent> = wanted.iter().map(|index| *index.get(&extents)).collect();
            if sorted {
                wanted.sort_unstable_by_key(|extent| extent.lsn);
            }
            let alone = wanted.iter().map(|extent| segments.read(extent.lsn, extent.length as usize).unwrap());
            let alone: Vec<_> = alone.map(|frame| Ok((frame.lsn, frame.payload))).collect();
            prop_assert_eq!(read(&segments, &wanted), alone);
        }
    }

    #[test]
    fn a_bad_frame_and_a_missing_segment_are_said_where_they_come() {
        let (dir, segments, extents) = segment_of(&[100, 100, 100]);
        let file = segments.hold(Lsn(0)).unwrap().file;
        file.write_all_at(&[0xff], extents[1].lsn.0 + 50).unwrap();
        let found = read(&segments, &extents);
        assert_eq!(found.len(), 2);
        assert!(found[0].is_ok());
        assert_eq!(found[1], Err(io::ErrorKind::InvalidData));
        let short = Extent { length: 1 << 20, ..extents[2] };
        assert_eq!(read(&segments, &[short]), [Err(io::ErrorKind::UnexpectedEof)]);
        let endless = Extent { length: u64::MAX, ..extents[2] };
        assert_eq!(read(&segments, &[endless]), [Err(io::ErrorKind::InvalidData)]);
        let none = Segments::new(dir.path().to_owned(), &[]);
        assert_eq!(read(&none, &extents), [Err(io::ErrorKind::NotFound)]);
    }
}
