//! Changes: what the payload of a frame says.
//!
//! It owns the format of every kind of change, and nothing of what a change does. Kinds are never reused; a new field is a new
//! flag or a new kind.

use bytes::Bytes;

use super::codec::{Malformed, Reader, put_bytes, put_option, put_varint};
use crate::types::{LogId, Owner, Seq, UnixMillis};

/// A payload of up to this many bytes lies in the log; a larger one in a blob file (D-36).
pub(crate) const MAX_INLINE_BYTES: usize = 64 << 10;

/// The store was opened: epoch and durability.
pub(crate) const KIND_OPEN: u8 = 1;
/// A log was made.
pub(crate) const KIND_CREATE: u8 = 2;
/// A batch was appended to a log.
pub(crate) const KIND_APPEND: u8 = 3;
/// A log was removed.
pub(crate) const KIND_PURGE: u8 = 4;
/// A record was set or removed.
pub(crate) const KIND_RECORD: u8 = 5;

/// When an acknowledged write is safe (D-16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After `fdatasync`: it survives a power cut.
    Sync,
    /// After `write`: it survives the death of the process, not a power cut.
    Os,
}

/// Bytes that lie in the log, or in a blob file that was synced before the log spoke of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    Inline(Bytes),
    Blob(BlobRef),
}

/// Where bytes outside the log lie, and what they must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlobRef {
    pub(crate) number: u64,
    pub(crate) length: u64,
    pub(crate) crc: u32,
}

impl Payload {
    /// The length of the bytes themselves.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Blob(blob) => blob.length,
        }
    }

    pub(crate) fn is_blob(&self) -> bool {
        matches!(self, Self::Blob(_))
    }

    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Inline(bytes) => {
                put_varint(out, (bytes.len() as u64) << 1);
                out.extend_from_slice(bytes);
            }
            Self::Blob(blob) => {
                put_varint(out, (blob.length << 1) | 1);
                put_varint(out, blob.number);
                out.extend_from_slice(&blob.crc.to_le_bytes());
            }
        }
    }

    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        let word = reader.varint()?;
        let length = word >> 1;
        if word & 1 == 0 {
            return Ok(Self::Inline(reader.take(length)?));
        }
        let number = reader.varint()?;
        let crc = u32::from_le_bytes(reader.array()?);
        Ok(Self::Blob(BlobRef { number, length, crc }))
    }
}

/// [`KIND_CREATE`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Create {
    pub(crate) id: LogId,
    pub(crate) epoch: u64,
    pub(crate) created_at: UnixMillis,
    pub(crate) owner: Owner,
    pub(crate) status: u8,
    pub(crate) watermark: Option<Seq>,
    pub(crate) document: Payload,
    pub(crate) entries: Vec<Payload>,
}

/// [`KIND_APPEND`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Append {
    pub(crate) id: LogId,
    pub(crate) epoch: u64,
    pub(crate) first: Seq,
    pub(crate) status: Option<u8>,
    /// The watermark after this append, if it rose.
    pub(crate) watermark: Option<Seq>,
    /// Set by the append of a new epoch if a power cut could have taken entries.
    pub(crate) recovered_through: Option<Seq>,
    pub(crate) close: Option<Option<UnixMillis>>,
    pub(crate) entries: Vec<Payload>,
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Open { epoch: u64, durability: Durability },
    Create(Create),
    Append(Append),
    Purge(LogId),
    Record { key: Bytes, value: Option<Bytes> },
}

const HAS_STATUS: u8 = 1;
const HAS_WATERMARK: u8 = 2;
const HAS_RECOVERED: u8 = 4;
const CLOSES: u8 = 8;

impl Change {
    pub(crate) fn kind(&self) -> u8 {
        match self {
            Self::Open { .. } => KIND_OPEN,
            Self::Create(_) => KIND_CREATE,
            Self::Append(_) => KIND_APPEND,
            Self::Purge(_) => KIND_PURGE,
            Self::Record { .. } => KIND_RECORD,
        }
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Open { epoch, durability } => {
                put_varint(out, *epoch);
                out.push(u8::from(*durability == Durability::Os));
            }
            Self::Create(create) => create.put(out),
            Self::Append(append) => append.put(out),
            Self::Purge(id) => out.extend_from_slice(id.as_bytes()),
            Self::Record { key, value } => {
                put_bytes(out, key);
                put_option(out, value.as_ref().map(|value| value.len() as u64));
                out.extend_from_slice(value.as_deref().unwrap_or_default());
            }
        }
    }

    pub(crate) fn read(kind: u8, payload: &Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload.clone());
        let change = match kind {
            KIND_OPEN => Self::Open {
                epoch: reader.varint()?,
                durability: if reader.byte()? == 0 { Durability::Sync } else { Durability::Os },
            },
            KIND_CREATE => Self::Create(Create::read(&mut reader)?),
            KIND_APPEND => Self::Append(Append::read(&mut reader)?),
            KIND_PURGE => Self::Purge(LogId::from_bytes(reader.array()?)),
            KIND_RECORD => {
                let key = reader.bytes()?;
                let value = match reader.option()? {
                    Some(length) => Some(reader.take(length)?),
                    None => None,
                };
                Self::Record { key, value }
            }
            _ => return Err(Malformed("a kind of change that this version does not know")),
        };
        reader.end()?;
        Ok(change)
    }
}

impl Create {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.id.as_bytes());
        put_varint(out, self.epoch);
        put_varint(out, self.created_at.0);
        put_bytes(out, self.owner.as_str().as_bytes());
        out.push(self.status);
        put_option(out, self.watermark.map(Seq::get));
        self.document.put(out);
        put_entries(out, &self.entries);
    }

    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        Ok(Self {
            id: LogId::from_bytes(reader.array()?),
            epoch: reader.varint()?,
            created_at: UnixMillis(reader.varint()?),
            owner: read_owner(reader)?,
            status: reader.byte()?,
            watermark: reader.option()?.map(Seq::new),
            document: Payload::read(reader)?,
            entries: read_entries(reader)?,
        })
    }
}

impl Append {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.id.as_bytes());
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        out.push(
            flag(self.status.is_some(), HAS_STATUS)
                | flag(self.watermark.is_some(), HAS_WATERMARK)
                | flag(self.recovered_through.is_some(), HAS_RECOVERED)
                | flag(self.close.is_some(), CLOSES),
        );
        put_varint(out, self.epoch);
        put_varint(out, self.first.get());
        out.extend(self.status);
        for seq in [self.watermark, self.recovered_through].into_iter().flatten() {
            put_varint(out, seq.get());
        }
        if let Some(expires_at) = self.close {
            put_option(out, expires_at.map(|at| at.0));
        }
        put_entries(out, &self.entries);
    }

    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        let id = LogId::from_bytes(reader.array()?);
        let flags = reader.byte()?;
        let epoch = reader.varint()?;
        let first = Seq::new(reader.varint()?);
        let status = if flags & HAS_STATUS != 0 { Some(reader.byte()?) } else { None };
        let watermark = if flags & HAS_WATERMARK != 0 { Some(Seq::new(reader.varint()?)) } else { None };
        let recovered_through =
            if flags & HAS_RECOVERED != 0 { Some(Seq::new(reader.varint()?)) } else { None };
        let close = if flags & CLOSES != 0 { Some(reader.option()?.map(UnixMillis)) } else { None };
        let entries = read_entries(reader)?;
        Ok(Self { id, epoch, first, status, watermark, recovered_through, close, entries })
    }
}

pub(crate) fn read_owner(reader: &mut Reader) -> Result<Owner, Malformed> {
    let bytes = reader.bytes()?;
    let name = std::str::from_utf8(&bytes).map_err(|_| Malformed("an owner that is not text"))?;
    Owner::new(name).ok_or(Malformed("an owner that is not visible ASCII"))
}

fn put_entries(out: &mut Vec<u8>, entries: &[Payload]) {
    put_varint(out, entries.len() as u64);
    for entry in entries {
        entry.put(out);
    }
}

fn read_entries(reader: &mut Reader) -> Result<Vec<Payload>, Malformed> {
    let count = reader.varint()?;
    let mut entries = Vec::new();
    for _ in 0..count {
        entries.push(Payload::read(reader)?);
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn payload() -> impl Strategy<Value = Payload> {
        prop_oneof![
            any::<Vec<u8>>().prop_map(|bytes| Payload::Inline(bytes.into())),
            (any::<u64>(), 0u64..1 << 40, any::<u32>())
                .prop_map(|(number, length, crc)| Payload::Blob(BlobRef { number, length, crc })),
        ]
    }

    fn seq() -> impl Strategy<Value = Option<Seq>> {
        any::<Option<u32>>().prop_map(|number| number.map(|number| Seq::new(u64::from(number))))
    }

    fn change() -> impl Strategy<Value = Change> {
        let create =
            (any::<[u8; 16]>(), any::<u8>(), payload(), prop::collection::vec(payload(), 1..4), seq())
                .prop_map(|(id, status, document, entries, watermark)| {
                    let owner = Owner::new("acme").unwrap();
                    let (id, created_at) = (LogId::from_bytes(id), UnixMillis(1_800_000_000_000));
                    Change::Create(Create {
                        id,
                        epoch: 3,
                        created_at,
                        owner,
                        status,
                        watermark,
                        document,
                        entries,
                    })
                });
        let append = (
            any::<[u8; 16]>(),
            any::<(u64, u32)>(),
            any::<Option<u8>>(),
            (seq(), seq()),
            any::<Option<Option<u32>>>(),
            prop::collection::vec(payload(), 1..4),
        )
            .prop_map(
                |(id, (epoch, first), status, (watermark, recovered_through), close, entries)| {
                    let close = close.map(|at| at.map(|at| UnixMillis(u64::from(at))));
                    let (id, first) = (LogId::from_bytes(id), Seq::new(u64::from(first)));
                    Change::Append(Append {
                        id,
                        epoch,
                        first,
                        status,
                        watermark,
                        recovered_through,
                        close,
                        entries,
                    })
                },
            );
        let record = (any::<Vec<u8>>(), any::<Option<Vec<u8>>>())
            .prop_map(|(key, value)| Change::Record { key: key.into(), value: value.map(Bytes::from) });
        prop_oneof![
            create,
            append,
            record,
            any::<[u8; 16]>().prop_map(|id| Change::Purge(LogId::from_bytes(id))),
            any::<u64>().prop_map(|epoch| Change::Open { epoch, durability: Durability::Os }),
        ]
    }

    proptest! {
        #[test]
        fn a_change_reads_back_as_written(change in change()) {
            let mut out = Vec::new();
            change.put(&mut out);
            prop_assert_eq!(Change::read(change.kind(), &out.into()), Ok(change));
        }

        #[test]
        fn garbage_is_refused_without_panic(kind: u8, garbage: Vec<u8>) {
            let _ = Change::read(kind, &garbage.into());
        }
    }
}
