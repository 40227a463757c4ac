//! The keys and values of the index: the whole of what sled holds, in one screen.
//!
//! | key | value |
//! |---|---|
//! | `c` | how far the index covers the log: LSN, epoch and durability of the last opening |
//! | `h` id | the head of a log, and where its document lies |
//! | `e` id first-seq | where up to [`EXTENT_ENTRIES`] entries, or one frame, lie |
//! | `l` id | nothing: the log is open and shall end |
//! | `o` owner `0x00` id | nothing: the logs of an owner, but for endless ones |
//! | `x` time id | nothing: when something is due for logs that are closed or endless |
//! | `r` key | a record: version, where its chain of versions began, value |
//! | `u` owner | what the owner keeps, and which logs were counted last |
//! | `t` | the same of all owners |
//! | `s` LSN | how many bytes of the segment that begins there are live, about |
//!
//! Numbers in keys are big-endian, so that they sort. Values stay below 1 KiB but for records: sled is unsafe above 6 KiB.

use std::ops::Range;

use bytes::Bytes;

use super::account::Count;
use super::change::{Durability, read_owner};
use super::codec::{Malformed, Reader, put_bytes, put_option, put_signed, put_varint};
use super::frame::Lsn;
use super::log::{Extent, OriginAt, Stored};
use crate::api::{Record, Version};
use crate::quota::Kept;
use crate::types::{Frontier, Head, LogId, Owner, Seq, UnixMillis};

/// A record of extents takes no more frames when it spans this many entries.
pub(crate) const EXTENT_ENTRIES: u64 = 64;

pub(crate) const COVERED: &[u8] = b"c";
pub(crate) const HEAD: u8 = b'h';
pub(crate) const COUNT: u8 = b'u';
const TOTAL: &[u8] = b"t";
pub(crate) const OWNER: u8 = b'o';
pub(crate) const RECORD: u8 = b'r';
pub(crate) const OPEN: u8 = b'l';
pub(crate) const DUE: u8 = b'x';
pub(crate) const LIVE: u8 = b's';

fn key(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    key.push(kind);
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

pub(crate) fn head(id: LogId) -> Vec<u8> {
    key(HEAD, &[id.as_bytes()])
}

pub(crate) fn extent(id: LogId, first: Seq) -> Vec<u8> {
    key(b'e', &[id.as_bytes(), &first.get().to_be_bytes()])
}

pub(crate) fn open(id: LogId) -> Vec<u8> {
    key(OPEN, &[id.as_bytes()])
}

pub(crate) fn owner(owner: &Owner, id: LogId) -> Vec<u8> {
    key(OWNER, &[owner.as_str().as_bytes(), &[0], id.as_bytes()])
}

/// The keys of an owner's logs with an id lower than `before` (absent = all of them).
pub(crate) fn owner_range(name: &Owner, before: Option<LogId>) -> Range<Vec<u8>> {
    // No name holds a byte below the first visible letter, so nothing of another owner lies between the two.
    let all = |end: u8| key(OWNER, &[name.as_str().as_bytes(), &[end]]);
    all(0)..before.map_or_else(|| all(1), |id| owner(name, id))
}

pub(crate) fn due(at: UnixMillis, id: LogId) -> Vec<u8> {
    key(DUE, &[&at.0.to_be_bytes(), id.as_bytes()])
}

pub(crate) fn record(name: &[u8]) -> Vec<u8> {
    key(RECORD, &[name])
}

pub(crate) fn live(base: Lsn) -> Vec<u8> {
    key(LIVE, &[&base.0.to_be_bytes()])
}

/// The segment that a key of live bytes speaks of.
pub(crate) fn live_base(key: &[u8]) -> Option<Lsn> {
    key.last_chunk::<8>().map(|bytes| Lsn(u64::from_be_bytes(*bytes)))
}

/// The name of the record with this key.
pub(crate) fn record_name(key: &[u8]) -> Bytes {
    Bytes::copy_from_slice(key.get(1..).unwrap_or_default())
}

/// The id that a key of an open log, an owner or a due time ends with.
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
        let durability = if reader.flag()? { Durability::Os } else { Durability::Sync };
        Ok(Self { lsn, epoch, durability })
    }
}

/// The version of the values, first byte of each but records and extents.
const FORMAT: u8 = 3;

fn check_format(reader: &mut Reader) -> Result<(), Malformed> {
    if reader.byte()? == FORMAT { Ok(()) } else { Err(Malformed("an index of another version")) }
}

const CLOSED: u8 = 1;
const HAS_BLOBS: u8 = 2;
const ENDLESS: u8 = 4;

pub(crate) fn encode_head(stored: &Stored) -> Vec<u8> {
    let Stored { head, origin, document_bytes, since, changed_in, has_blobs } = stored;
    let mut out = vec![FORMAT];
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    out.push(flag(head.frontier.closed, CLOSED) | flag(*has_blobs, HAS_BLOBS) | flag(head.endless, ENDLESS));
    put_bytes(&mut out, head.owner.as_str().as_bytes());
    out.push(head.status);
    for number in [head.created_at.0, head.epoch, head.frontier.committed.get()] {
        put_varint(&mut out, number);
    }
    put_option(&mut out, head.frontier.watermark.map(Seq::get));
    put_option(&mut out, head.recovered_through.map(Seq::get));
    put_option(&mut out, head.compacts_at.map(|at| at.0));
    put_option(&mut out, head.expires_at.map(|at| at.0));
    let at = [origin.lsn.0, origin.length, origin.bytes, *document_bytes, since.0, changed_in.0];
    for number in [head.generation, head.retained_entries, head.retained_bytes].into_iter().chain(at) {
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
    let compacts_at = reader.option()?.map(UnixMillis);
    let expires_at = reader.option()?.map(UnixMillis);
    let generation = reader.varint()?;
    let (retained_entries, retained_bytes) = (reader.varint()?, reader.varint()?);
    let origin = OriginAt { lsn: Lsn(reader.varint()?), length: reader.varint()?, bytes: reader.varint()? };
    let document_bytes = reader.varint()?;
    let (since, changed_in) = (Lsn(reader.varint()?), Lsn(reader.varint()?));
    reader.end()?;
    let frontier = Frontier { committed, watermark, closed: flags & CLOSED != 0, gone: false };
    let head = Head {
        owner,
        created_at,
        frontier,
        status,
        epoch,
        generation,
        recovered_through,
        compacts_at,
        expires_at,
        retained_entries,
        retained_bytes,
        endless: flags & ENDLESS != 0,
    };
    Ok(Stored { head, origin, document_bytes, since, changed_in, has_blobs: flags & HAS_BLOBS != 0 })
}

/// The extents of one record; they follow each other without a gap, and `first` is in the key.
pub(crate) fn encode_extents(extents: &[Extent]) -> Vec<u8> {
    let mut out = Vec::with_capacity(extents.len() * 12);
    let mut previous = Lsn(0);
    for extent in extents {
        put_varint(&mut out, extent.entries);
        put_varint(&mut out, extent.last.get().saturating_sub(extent.first.get()));
        put_varint(&mut out, extent.bytes);
        // Entries that were written again lie behind those that follow them.
        put_signed(&mut out, extent.lsn.0.wrapping_sub(previous.0) as i64);
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
        let entries = reader.varint()?;
        let last = Seq::new(first.get().saturating_add(reader.varint()?));
        let bytes = reader.varint()?;
        lsn = lsn.wrapping_add(reader.signed()? as u64);
        let length = reader.varint()?;
        extents.push(Extent { first, last, entries, bytes, lsn: Lsn(lsn), length });
        first = last.next();
    }
    Ok(extents)
}

/// The key of what an owner keeps; absent = all of them.
pub(crate) fn count(owner: Option<&Owner>) -> Vec<u8> {
    owner.map_or_else(|| TOTAL.to_vec(), |owner| key(COUNT, &[owner.as_str().as_bytes()]))
}

/// The owner that a key of [`count`] speaks of.
pub(crate) fn count_owner(key: &[u8]) -> Option<Owner> {
    Owner::new(std::str::from_utf8(key.get(1..)?).ok()?)
}

pub(crate) fn encode_count(count: &Count) -> Vec<u8> {
    let mut out = vec![FORMAT];
    put_varint(&mut out, count.kept.logs);
    put_varint(&mut out, count.kept.bytes);
    for (id, size) in &count.counted {
        out.extend_from_slice(id.as_bytes());
        put_option(&mut out, *size);
    }
    out
}

pub(crate) fn decode_count(value: &[u8]) -> Result<Count, Malformed> {
    let mut reader = Reader::new(Bytes::copy_from_slice(value));
    check_format(&mut reader)?;
    let kept = Kept { logs: reader.varint()?, bytes: reader.varint()? };
    let mut counted = Vec::new();
    while !reader.is_empty() {
        counted.push((LogId::from_bytes(reader.array()?), reader.option()?));
    }
    Ok(Count { kept, counted })
}

/// A record as the index has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredRecord {
    pub(crate) record: Record,
    /// Where the key was set first since it last did not exist.
    pub(crate) since: Lsn,
    /// Where the frame lies that says so now: at the version, or a copy of it later.
    pub(crate) lsn: Lsn,
    /// The length of that frame.
    pub(crate) length: u64,
}

pub(crate) fn encode_record(stored: &StoredRecord) -> Vec<u8> {
    let StoredRecord { record, since, lsn, length } = stored;
    let mut out = Vec::with_capacity(record.value.len() + 30);
    for number in [record.version.0, since.0, lsn.0, *length] {
        put_varint(&mut out, number);
    }
    put_bytes(&mut out, &record.value);
    out
}

pub(crate) fn decode_record(value: &[u8]) -> Result<StoredRecord, Malformed> {
    let mut reader = Reader::new(Bytes::copy_from_slice(value));
    let version = Version(reader.varint()?);
    let (since, lsn, length) = (Lsn(reader.varint()?), Lsn(reader.varint()?), reader.varint()?);
    let value = reader.bytes()?;
    reader.end()?;
    Ok(StoredRecord { record: Record { version, value }, since, lsn, length })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn extents_read_back(first in 0u64..1 << 40, frames in prop::collection::vec((1u64..100, 0u64..900, 0u64..1 << 20, 0u64..1 << 50), 1..64)) {
            let mut seq = Seq::new(first);
            let mut extents = Vec::new();
            for (entries, merged, bytes, at) in frames {
                let last = Seq::new(seq.get() + entries - 1 + merged);
                extents.push(Extent { first: seq, last, entries, bytes, lsn: Lsn(at), length: bytes + 40 });
                seq = last.next();
            }
            let value = encode_extents(&extents);
            prop_assert!(value.len() < 4096);
            prop_assert_eq!(decode_extents(&extent(LogId::from_bytes([3; 16]), Seq::new(first)), &value), Ok(extents));
        }

        #[test]
        fn counts_read_back(logs: u64, bytes: u64, counted: Vec<([u8; 16], Option<u32>)>) {
            let counted = counted.into_iter().map(|(id, size)| (LogId::from_bytes(id), size.map(u64::from)));
            let count = Count { kept: Kept { logs, bytes }, counted: counted.collect() };
            prop_assert_eq!(decode_count(&encode_count(&count)), Ok(count));
            let owner = Owner::new("acme").unwrap();
            prop_assert_eq!(count_owner(&super::count(Some(&owner))), Some(owner));
        }

        #[test]
        fn records_read_back(version: u64, since: u64, lsn: u64, length: u64, value: Vec<u8>) {
            let record = Record { version: Version(version), value: value.into() };
            let stored = StoredRecord { record, since: Lsn(since), lsn: Lsn(lsn), length };
            prop_assert_eq!(decode_record(&encode_record(&stored)), Ok(stored));
        }

        #[test]
        fn keys_sort_like_what_they_say(a: (u64, u64), b: (u64, u64)) {
            let id = LogId::from_bytes([9; 16]);
            prop_assert_eq!(
                extent(id, Seq::new(a.0)).cmp(&extent(id, Seq::new(b.0))),
                a.0.cmp(&b.0)
            );
            prop_assert_eq!(
                due(UnixMillis(a.1), id).cmp(&due(UnixMillis(b.1), id)),
                a.1.cmp(&b.1)
            );
        }

        #[test]
        fn heads_read_back(numbers: [u32; 12], status: u8, flags: [bool; 3], options: (Option<u32>, Option<u32>, Option<u32>, Option<u32>)) {
            let [a, b, c, d, e, f, g, h, i, j, k, generation] = numbers.map(u64::from);
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
                generation,
                recovered_through: options.1.map(|n| Seq::new(n.into())),
                        compacts_at: None,
                expires_at: options.2.map(|n| UnixMillis(n.into())),
                retained_entries: d,
                retained_bytes: e,
                endless: flags[2],
            };
            let origin = OriginAt { lsn: Lsn(f), length: g, bytes: i };
            let stored = Stored { head, origin, document_bytes: k, since: Lsn(j), changed_in: Lsn(h), has_blobs: flags[1] };
            prop_assert_eq!(decode_head(&encode_head(&stored)), Ok(stored));
        }
    }
}
