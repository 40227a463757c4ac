//! Changes: what the payload of a frame says.
//!
//! It owns the format of every kind of change, and nothing of what a change does. Kinds are never reused; a new field is a new
//! flag or a new kind.
//!
//! Every frame of a log says all of where the log stands then ([`Standing`]), so that any frame whose entries are gone may leave the
//! disk, whatever frames before and after it stay (D-39).

use bytes::Bytes;

use super::codec::{Malformed, Reader, put_bytes, put_option, put_varint};
use super::frame::Lsn;
use super::standing::Standing;
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
/// Entries of a log were written again, merged (D-19) or as they were (D-39).
pub(crate) const KIND_REWRITE: u8 = 6;

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

    /// The bytes of it that lie in the log.
    pub(crate) fn inline_len(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Blob(_) => 0,
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
    pub(crate) origin: Origin,
    pub(crate) standing: Standing,
    pub(crate) entries: Vec<Payload>,
}

/// What is said once of a log: where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) owner: Owner,
    pub(crate) created_at: UnixMillis,
    pub(crate) document: Payload,
}

/// [`KIND_APPEND`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Append {
    pub(crate) id: LogId,
    pub(crate) first: Seq,
    pub(crate) standing: Standing,
    pub(crate) entries: Vec<Payload>,
}

/// [`KIND_REWRITE`]: `spans` take the place of all that lay there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rewrite {
    pub(crate) id: LogId,
    pub(crate) committed: Seq,
    pub(crate) standing: Standing,
    /// The first seq of the first span.
    pub(crate) from: Seq,
    pub(crate) spans: Vec<Span>,
    /// Whether other payloads take the place of the old ones; if not, these are the old ones.
    pub(crate) merges: bool,
    /// Whether the frame takes the place of the one that made the log.
    pub(crate) moved: Option<Moved>,
}

/// An entry that was written again; it begins after the one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) last: Seq,
    pub(crate) payload: Payload,
}

/// What the first frame of a log carries when the log is written again as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) origin: Origin,
    /// Where the log was made first.
    pub(crate) since: Lsn,
}

/// [`KIND_PURGE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Purge {
    pub(crate) id: LogId,
    /// Where the log was made: no frame of it lies before.
    pub(crate) since: Lsn,
}

/// [`KIND_RECORD`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PutRecord {
    pub(crate) key: Bytes,
    /// Where the key was set first since it last did not exist; absent = here.
    pub(crate) since: Option<Lsn>,
    /// The version, if the frame is a copy of an older one; absent = where the frame lies.
    pub(crate) version: Option<u64>,
    pub(crate) value: Option<Bytes>,
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Open { epoch: u64, durability: Durability },
    Create(Create),
    Append(Append),
    Purge(Purge),
    Record(PutRecord),
    Rewrite(Rewrite),
}

impl Change {
    pub(crate) fn kind(&self) -> u8 {
        match self {
            Self::Open { .. } => KIND_OPEN,
            Self::Create(_) => KIND_CREATE,
            Self::Append(_) => KIND_APPEND,
            Self::Purge(_) => KIND_PURGE,
            Self::Record(_) => KIND_RECORD,
            Self::Rewrite(_) => KIND_REWRITE,
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
            Self::Purge(purge) => {
                out.extend_from_slice(purge.id.as_bytes());
                put_varint(out, purge.since.0);
            }
            Self::Record(record) => record.put(out),
            Self::Rewrite(rewrite) => rewrite.put(out),
        }
    }

    pub(crate) fn read(kind: u8, payload: &Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload.clone());
        let change = match kind {
            KIND_OPEN => Self::Open {
                epoch: reader.varint()?,
                durability: if reader.flag()? { Durability::Os } else { Durability::Sync },
            },
            KIND_CREATE => Self::Create(Create::read(&mut reader)?),
            KIND_APPEND => Self::Append(Append::read(&mut reader)?),
            KIND_PURGE => {
                let id = LogId::from_bytes(reader.array()?);
                Self::Purge(Purge { id, since: Lsn(reader.varint()?) })
            }
            KIND_RECORD => Self::Record(PutRecord::read(&mut reader)?),
            KIND_REWRITE => Self::Rewrite(Rewrite::read(&mut reader)?),
            _ => return Err(Malformed("a kind of change that this version does not know")),
        };
        reader.end()?;
        Ok(change)
    }
}

impl PutRecord {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, &self.key);
        put_option(out, self.since.map(|since| since.0));
        put_option(out, self.version);
        put_option(out, self.value.as_ref().map(|value| value.len() as u64));
        out.extend_from_slice(self.value.as_deref().unwrap_or_default());
    }

    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        let key = reader.bytes()?;
        let (since, version) = (reader.option()?.map(Lsn), reader.option()?);
        let value = match reader.option()? {
            Some(length) => Some(reader.take(length)?),
            None => None,
        };
        Ok(Self { key, since, version, value })
    }
}

impl Origin {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.owner.as_str().as_bytes());
        put_varint(out, self.created_at.0);
        self.document.put(out);
    }

    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        let owner = read_owner(reader)?;
        let created_at = UnixMillis(reader.varint()?);
        Ok(Self { owner, created_at, document: Payload::read(reader)? })
    }
}

impl Create {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.id.as_bytes());
        self.standing.put(out);
        self.origin.put(out);
        put_entries(out, &self.entries);
    }

    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        let id = LogId::from_bytes(reader.array()?);
        let standing = Standing::read(reader)?;
        let origin = Origin::read(reader)?;
        Ok(Self { id, origin, standing, entries: read_entries(reader)? })
    }
}

impl Append {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.id.as_bytes());
        self.standing.put(out);
        put_varint(out, self.first.get());
        put_entries(out, &self.entries);
    }

    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        let id = LogId::from_bytes(reader.array()?);
        let standing = Standing::read(reader)?;
        let first = Seq::new(reader.varint()?);
        Ok(Self { id, first, standing, entries: read_entries(reader)? })
    }
}

impl Rewrite {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.id.as_bytes());
        self.standing.put(out);
        put_varint(out, self.committed.get());
        out.push(u8::from(self.merges));
        put_option(out, self.moved.as_ref().map(|moved| moved.since.0));
        if let Some(moved) = &self.moved {
            moved.origin.put(out);
        }
        put_varint(out, self.from.get());
        put_varint(out, self.spans.len() as u64);
        let mut first = self.from;
        for span in &self.spans {
            put_varint(out, span.last.get().saturating_sub(first.get()));
            span.payload.put(out);
            first = span.last.next();
        }
    }

    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        let id = LogId::from_bytes(reader.array()?);
        let standing = Standing::read(reader)?;
        let committed = Seq::new(reader.varint()?);
        let merges = reader.flag()?;
        let moved = match reader.option()? {
            Some(since) => Some(Moved { since: Lsn(since), origin: Origin::read(reader)? }),
            None => None,
        };
        let from = Seq::new(reader.varint()?);
        let (mut first, mut spans) = (from, Vec::new());
        for _ in 0..reader.varint()? {
            let last = Seq::new(first.get().saturating_add(reader.varint()?));
            spans.push(Span { last, payload: Payload::read(reader)? });
            first = last.next();
        }
        Ok(Self { id, committed, standing, from, spans, merges, moved })
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
    use crate::embedded::standing::tests::standing;

    fn payload() -> impl Strategy<Value = Payload> {
        prop_oneof![
            any::<Vec<u8>>().prop_map(|bytes| Payload::Inline(bytes.into())),
            (any::<u64>(), 0u64..1 << 40, any::<u32>())
                .prop_map(|(number, length, crc)| Payload::Blob(BlobRef { number, length, crc })),
        ]
    }

    fn origin() -> impl Strategy<Value = Origin> {
        (any::<u64>(), payload()).prop_map(|(at, document)| Origin {
            owner: Owner::new("acme").unwrap(),
            created_at: UnixMillis(at),
            document,
        })
    }

    fn entries() -> impl Strategy<Value = Vec<Payload>> {
        prop::collection::vec(payload(), 1..4)
    }

    fn id() -> impl Strategy<Value = LogId> {
        any::<[u8; 16]>().prop_map(LogId::from_bytes)
    }

    fn seq() -> impl Strategy<Value = Seq> {
        any::<u32>().prop_map(|number| Seq::new(u64::from(number)))
    }

    fn lsn() -> impl Strategy<Value = Lsn> {
        (0u64..1 << 48).prop_map(Lsn)
    }

    fn rewrite() -> impl Strategy<Value = Rewrite> {
        let spans = prop::collection::vec((0u64..9000, payload()), 0..4);
        let moved = prop::option::of((origin(), lsn()).prop_map(|(origin, since)| Moved { origin, since }));
        (id(), standing(), (seq(), seq()), spans, any::<bool>(), moved).prop_map(
            |(id, standing, (committed, from), spans, merges, moved)| {
                let mut first = from;
                let spans = spans.into_iter().map(|(more, payload)| {
                    let last = Seq::new(first.get() + more);
                    first = last.next();
                    Span { last, payload }
                });
                Rewrite { id, committed, standing, from, spans: spans.collect(), merges, moved }
            },
        )
    }

    fn change() -> impl Strategy<Value = Change> {
        let create = (id(), origin(), standing(), entries())
            .prop_map(|(id, origin, standing, entries)| Create { id, origin, standing, entries });
        let append = (id(), seq(), standing(), entries()).prop_map(|(id, first, standing, entries)| Append {
            id,
            first,
            standing,
            entries,
        });
        let record =
            (any::<Vec<u8>>(), prop::option::of(lsn()), any::<Option<u32>>(), any::<Option<Vec<u8>>>())
                .prop_map(|(key, since, version, value)| PutRecord {
                    key: key.into(),
                    since,
                    version: version.map(u64::from),
                    value: value.map(Bytes::from),
                });
        prop_oneof![
            create.prop_map(Change::Create),
            append.prop_map(Change::Append),
            record.prop_map(Change::Record),
            rewrite().prop_map(Change::Rewrite),
            (id(), lsn()).prop_map(|(id, since)| Change::Purge(Purge { id, since })),
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
