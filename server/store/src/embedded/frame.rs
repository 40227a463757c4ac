//! Frames: how one change lies in a segment file.
//!
//! ```text
//!  0  u32  length of the payload (24 bits), kind (8 bits)
//!  4  u32  CRC32C over bytes 0..4, 8..20 and the payload
//!  8  u64  LSN: the position of this frame in the log as a whole
//! 16  u32  how far before the LSN everything was durable when this frame was written
//! 20       payload
//! ```
//! All numbers are little-endian. The LSN in the frame makes a frame in a wrong place a bad frame. The last number tells a torn
//! tail from damage: a bad frame below the durable position of a later good one was acknowledged, and must not be skipped.

use bytes::Bytes;

/// A position in the log as a whole, in bytes; segments lie one behind the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Lsn(pub(crate) u64);

impl Lsn {
    pub(crate) fn plus(self, bytes: usize) -> Self {
        Self(self.0.saturating_add(bytes as u64))
    }

    /// How many bytes lie between `earlier` and this.
    pub(crate) fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::fmt::Display for Lsn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The length of a frame without its payload, in bytes.
pub(crate) const HEADER_BYTES: usize = 20;

/// The largest payload of a frame, in bytes.
pub(crate) const MAX_PAYLOAD_BYTES: usize = (1 << 24) - 1;

/// A frame that was read and checked.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) lsn: Lsn,
    /// Everything below was durable when the frame was written.
    pub(crate) durable: Lsn,
    pub(crate) kind: u8,
    pub(crate) payload: Bytes,
}

impl Frame {
    /// The same frame in memory of its own, so that what it was read from can go.
    pub(crate) fn alone(&self) -> Self {
        Self { payload: Bytes::copy_from_slice(&self.payload), ..*self }
    }

    pub(crate) fn len(&self) -> usize {
        HEADER_BYTES + self.payload.len()
    }
}

/// Where a frame begins in `out`, until it is finished.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(crate) struct Begun {
    start: usize,
}

/// Leaves room for a header; the payload is to be written behind it.
pub(crate) fn begin(out: &mut Vec<u8>) -> Begun {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    Begun { start }
}

/// Fills in the header, and returns the length of the frame in bytes; `None`, and `out` as it was, if the payload is too large.
pub(crate) fn finish(out: &mut Vec<u8>, begun: Begun, kind: u8, lsn: Lsn, durable: Lsn) -> Option<usize> {
    let length = out.len() - begun.start;
    let payload_length = length - HEADER_BYTES;
    if payload_length > MAX_PAYLOAD_BYTES {
        out.truncate(begun.start);
        return None;
    }
    let word = (payload_length as u32) | (u32::from(kind) << 24);
    let back = u32::try_from(lsn.since(durable)).unwrap_or(u32::MAX);
    let (header, payload) = out.split_at_mut_checked(begun.start + HEADER_BYTES)?;
    let header = header.get_mut(begun.start..)?;
    let mut fields = header.chunks_exact_mut(4);
    fields.next()?.copy_from_slice(&word.to_le_bytes());
    let crc_field = fields.next()?;
    fields.next()?.copy_from_slice(&(lsn.0 as u32).to_le_bytes());
    fields.next()?.copy_from_slice(&((lsn.0 >> 32) as u32).to_le_bytes());
    fields.next()?.copy_from_slice(&back.to_le_bytes());
    crc_field.copy_from_slice(&checksum(word, lsn, back, payload).to_le_bytes());
    Some(length)
}

/// The frame at the start of `bytes`, which lies at `lsn`; `None` if there is no good one.
pub(crate) fn decode(bytes: &Bytes, lsn: Lsn) -> Option<Frame> {
    let (word, crc, found, back) = header(bytes)?;
    if found != lsn {
        return None;
    }
    let end = HEADER_BYTES + (word & 0x00ff_ffff) as usize;
    if bytes.len() < end {
        return None;
    }
    let payload = bytes.slice(HEADER_BYTES..end);
    if checksum(word, lsn, back, &payload) != crc {
        return None;
    }
    Some(Frame { lsn, durable: Lsn(lsn.0.checked_sub(u64::from(back))?), kind: (word >> 24) as u8, payload })
}

/// The frame at the start of `bytes`, wherever it lay in the log; `None` if there is no good one.
pub(crate) fn decode_anywhere(bytes: &Bytes) -> Option<Frame> {
    let (_, _, lsn, _) = header(bytes)?;
    decode(bytes, lsn)
}

fn header(bytes: &[u8]) -> Option<(u32, u32, Lsn, u32)> {
    let (header, _) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let mut fields = header.chunks_exact(4).filter_map(|field| field.try_into().ok().map(u32::from_le_bytes));
    let (word, crc, low, high, back) =
        (fields.next()?, fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    Some((word, crc, Lsn(u64::from(low) | u64::from(high) << 32), back))
}

fn checksum(word: u32, lsn: Lsn, back: u32, payload: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&word.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &lsn.0.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &back.to_le_bytes());
    crc32c::crc32c_append(crc, payload)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(kind: u8, lsn: Lsn, durable: Lsn, payload: &[u8]) -> Bytes {
        let mut out = Vec::new();
        let begun = begin(&mut out);
        out.extend_from_slice(payload);
        finish(&mut out, begun, kind, lsn, durable).unwrap();
        out.into()
    }

    proptest! {
        #[test]
        fn a_frame_reads_back_and_no_changed_one_does(
            kind: u8, lsn in 0u64..1 << 48, back in 0u64..1 << 31, payload: Vec<u8>, at: prop::sample::Index, bit in 0..8u32,
        ) {
            let (lsn, durable) = (Lsn(lsn + (1 << 32)), Lsn(lsn + (1 << 32) - back));
            let bytes = encode(kind, lsn, durable, &payload);
            let frame = decode(&bytes, lsn).unwrap();
            prop_assert_eq!((frame.kind, frame.durable, frame.len()), (kind, durable, bytes.len()));
            prop_assert_eq!(&frame.payload[..], &payload[..]);
            prop_assert!(decode(&bytes, lsn.plus(1)).is_none());
            prop_assert_eq!(decode_anywhere(&bytes).map(|frame| frame.lsn), Some(lsn));
            let mut damaged = bytes.to_vec();
            let at = at.index(damaged.len());
            damaged[at] ^= 1 << bit;
            prop_assert!(decode(&damaged.into(), lsn).is_none());
            prop_assert!(decode(&bytes.slice(..bytes.len() - 1), lsn).is_none());
        }
    }

    #[test]
    fn a_payload_above_the_limit_is_refused() {
        let mut out = vec![7];
        let begun = begin(&mut out);
        out.resize(out.len() + MAX_PAYLOAD_BYTES + 1, 0);
        assert_eq!(finish(&mut out, begun, 1, Lsn(0), Lsn(0)), None);
        assert_eq!(out, [7]);
    }
}
