//! The keys and values of the index: the whole of what sled holds, in one screen.
//!
//! | key | value |
//! |---|---|
//! | `c` | how far the index covers the log: LSN, epoch and durability of the last opening |
//! | `h` id | the head of a log, and where its document lies |
//! | `e` id first-seq | where up to [`EXTENT_ENTRIES`] entries, or one frame, lie |
//! | `l` id | nothing: the log is open |
//! | `o` owner `0x00` id | nothing: the logs of an owner |
//! | `x` expiry id | nothing: when closed logs expire |
//! | `r` key | a record: version, value |
//!
//! Numbers in keys are big-endian, so that they sort. Values stay below 1 KiB but for records: sled is unsafe above 6 KiB.

use std::ops::Range;

use bytes::Bytes;

use super::change::{Durability, read_owner};
use super::codec::{Malformed, Reader, put_bytes, put_option, put_varint};
use super::frame::Lsn;
use super::log::{Extent, Stored};
use crate::api::{Record, Version};
use crate::types::{Frontier, Head, LogId, Owner, Seq, UnixMillis};

/// A record of extents takes no more frames when it spans this many entries.
pub(crate) const EXTENT_ENTRIES: u64 = 64;

pub(crate) const COVERED: &[u8] = b"c";
pub(crate) const OPEN: u8 = b'l';
pub(crate) const EXPIRY: u8 = b'x';

fn key(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    key.push(kind);
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

pub(crate) fn head(id: LogId) -> Vec<u8> {
    key(b'h', &[id.as_bytes()])
}

pub(crate) fn extent(id: LogId, first: Seq) -> Vec<u8> {
    key(b'e', &[id.as_bytes(), &first.get().to_be_bytes()])
}

pub(crate) fn open(id: LogId) -> Vec<u8> {
    key(OPEN, &[id.as_bytes()])
}

pub(crate) fn owner(owner: &Owner, id: LogId) -> Vec<u8> {
    key(b'o', &[owner.as_str().as_bytes(), &[0], id.as_bytes()])
}

/// The keys of an owner's logs with an id lower than `before` (absent = all of them).
pub(crate) fn owner_range(name: &Owner, before: Option<LogId>) -> Range<Vec<u8>> {
    // No name holds a byte below the first visible letter, so nothing of another owner lies between the two.
    let all = |end: u8| key(b'o', &[name.as_str().as_bytes(), &[end]]);
    all(0)..before.map_or_else(|| all(1), |id| owner(name, id))
}

pub(crate) fn expiry(at: UnixMillis, id: LogId) -> Vec<u8> {
    key(EXPIRY, &[&at.0.to_be_bytes(), id.as_bytes()])
}

pub(crate) fn record(name: &[u8]) -> Vec<u8> {
    key(b'r', &[name])
}

/// The id that a key of an open log, an owner or an expiry ends with.
pub(crate) fn last_id(key: &[u8]) -> Option<LogId> {
    key.last_chunk::<16>().map(|bytes| LogId::from_bytes(*bytes))
}

/// How far the index covers the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Covered {
    /// Everything before is in the index.
    pub(crate) lsn: Lsn,
    /// The epoch of the last opening before that.
    pub(crate) epoch: u64,
    /// Its durability.
    pub(crate) durability: Durability,
}

impl Covered {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        put_varint(&mut out, self.lsn.0);
        put_varint(&mut out, self.epoch);
        out.push(u8::from(self.durability == Durability::Os));
        out
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(Bytes::copy_from_slice(value));
        check_format(&mut reader)?;
        let (lsn, epoch) = (Lsn(reader.varint()?), reader.varint()?);
        let durability = if reader.byte()? == 0 { Durability::Sync } else { Durability::Os };
        Ok(Self { lsn, epoch, durability })
    }
}

/// The version of the values, first byte of each but records and extents.
const FORMAT: u8 = 1;

fn check_format(reader: &mut Reader) -> Result<(), Malformed> {
    if reader.byte()? == FORMAT { Ok(()) } else { Err(Malformed("an index of another version")) }
}

const CLOSED: u8 = 1;
const HAS_BLOBS: u8 = 2;

pub(crate) fn encode_head(stored: &Stored) -> Vec<u8> {
    let Stored { head, created_in, changed_in, has_blobs } = stored;
    let mut out = vec![FORMAT];
    out.push(if head.frontier.closed { CLOSED } else { 0 } | if *has_blobs { HAS_BLOBS } else { 0 });
    put_bytes(&mut out, head.owner.as_str().as_bytes());
    out.push(head.status);
    for number in [head.created_at.0, head.epoch, head.frontier.committed.get()] {
        put_varint(&mut out, number);
    }
    put_option(&mut out, head.frontier.watermark.map(Seq::get));
    put_option(&mut out, head.recovered_through.map(Seq::get));
    put_option(&mut out, head.expires_at.map(|at| at.0));
    for number in [head.retained_entries, head.retained_bytes, created_in.0.0, created_in.1, changed_in.0] {
        put_varint(&mut out, number);
    }
    out
}

pub(crate) fn decode_head(value: &[u8]) -> Result<Stored, Malformed> {
    let mut reader = Reader::new(Bytes::copy_from_slice(value));
    check_format(&mut reader)?;
    let flags = reader.byte()?;
    let owner = read_owner(&mut reader)?;
    let status = reader.byte()?;
    let created_at = UnixMillis(reader.varint()?);
    let epoch = reader.varint()?;
    let committed = Seq::new(reader.varint()?);
    let watermark = reader.option()?.map(Seq::new);
    let recovered_through = reader.option()?.map(Seq::new);
    let expires_at = reader.option()?.map(UnixMillis);
    let (retained_entries, retained_bytes) = (reader.varint()?, reader.varint()?);
    let created_in = (Lsn(reader.varint()?), reader.varint()?);
    let changed_in = Lsn(reader.varint()?);
    reader.end()?;
    let frontier = Frontier { committed, watermark, closed: flags & CLOSED != 0, gone: false };
    let head = Head {
        owner,
        created_at,
        frontier,
        status,
        epoch,
        recovered_through,
        generation: 0,
        compacts_at: None,
        expires_at,
        retained_entries,
        retained_bytes,
    };
    Ok(Stored { head, created_in, changed_in, has_blobs: flags & HAS_BLOBS != 0 })
}

/// The extents of one record; they follow each other without a gap, and `first` is in the key.
pub(crate) fn encode_extents(extents: &[Extent]) -> Vec<u8> {
    let mut out = Vec::with_capacity(extents.len() * 10);
    let mut previous = Lsn(0);
    for extent in extents {
        put_varint(&mut out, extent.entries);
        put_varint(&mut out, extent.bytes);
        put_varint(&mut out, extent.lsn.since(previous));
        put_varint(&mut out, extent.length);
        previous = extent.lsn;
    }
    out
}

pub(crate) fn decode_extents(key: &[u8], value: &[u8]) -> Result<Vec<Extent>, Malformed> {
    let first = key.last_chunk::<8>().ok_or(Malformed("an extent without a seq"))?;
    let mut first = Seq::new(u64::from_be_bytes(*first));
    let mut reader = Reader::new(Bytes::copy_from_slice(value));
    let mut extents = Vec::new();
    let mut lsn = 0u64;
    while !reader.is_empty() {
        let (entries, bytes) = (reader.varint()?, reader.varint()?);
        lsn = lsn.saturating_add(reader.varint()?);
        let length = reader.varint()?;
        let extent = Extent { first, entries, bytes, lsn: Lsn(lsn), length };
        first = extent.last().next();
        extents.push(extent);
    }
    Ok(extents)
}

pub(crate) fn encode_record(record: &Record) -> Vec<u8> {
    let mut out = Vec::with_capacity(record.value.len() + 10);
    put_varint(&mut out, record.version.0);
    out.extend_from_slice(&record.value);
    out
}

pub(crate) fn decode_record(value: &[u8]) -> Result<Record, Malformed> {
    let mut reader = Reader::new(Bytes::copy_from_slice(value));
    let version = Version(reader.varint()?);
    let rest = (value.len() as u64).saturating_sub(varint_length(version.0));
    Ok(Record { version, value: reader.take(rest)? })
}

fn varint_length(value: u64) -> u64 {
    u64::from((64 - value.leading_zeros()).div_ceil(7).max(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn extents_read_back(first in 0u64..1 << 40, frames in prop::collection::vec((1u64..100, 0u64..1 << 20, 1u64..1 << 30), 1..64)) {
            let (mut seq, mut at) = (first, 0);
            let mut extents = Vec::new();
            for (entries, bytes, step) in frames {
                at += step;
                extents.push(Extent { first: Seq::new(seq), entries, bytes, lsn: Lsn(at), length: bytes + 40 });
                seq += entries;
            }
            let value = encode_extents(&extents);
            prop_assert!(value.len() < 4096);
            prop_assert_eq!(decode_extents(&extent(LogId::from_bytes([3; 16]), Seq::new(first)), &value), Ok(extents));
        }

        #[test]
        fn records_read_back(version: u64, value: Vec<u8>) {
            let record = Record { version: Version(version), value: value.into() };
            prop_assert_eq!(decode_record(&encode_record(&record)), Ok(record));
        }

        #[test]
        fn keys_sort_like_what_they_say(a: (u64, u64), b: (u64, u64)) {
            let id = LogId::from_bytes([9; 16]);
            prop_assert_eq!(
                extent(id, Seq::new(a.0)).cmp(&extent(id, Seq::new(b.0))),
                a.0.cmp(&b.0)
            );
            prop_assert_eq!(
                expiry(UnixMillis(a.1), id).cmp(&expiry(UnixMillis(b.1), id)),
                a.1.cmp(&b.1)
            );
        }

        #[test]
        fn heads_read_back(numbers: [u32; 9], status: u8, flags: [bool; 2], options: (Option<u32>, Option<u32>, Option<u32>)) {
            let [a, b, c, d, e, f, g, h, _] = numbers.map(u64::from);
            let head = Head {
                owner: Owner::new("acme").unwrap(),
                created_at: UnixMillis(a),
                frontier: Frontier {
                    committed: Seq::new(b),
                    watermark: options.0.map(|n| Seq::new(n.into())),
                    closed: flags[0],
                    gone: false,
                },
                status,
                epoch: c,
                recovered_through: options.1.map(|n| Seq::new(n.into())),
                generation: 0,
                compacts_at: None,
                expires_at: options.2.map(|n| UnixMillis(n.into())),
                retained_entries: d,
                retained_bytes: e,
            };
            let stored = Stored { head, created_in: (Lsn(f), g), changed_in: Lsn(h), has_blobs: flags[1] };
            prop_assert_eq!(decode_head(&encode_head(&stored)), Ok(stored));
        }
    }
}
