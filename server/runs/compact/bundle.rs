//! A merged entry as bytes.
//!
//! It owns the encoding: a zero, where an event has the length of its type; the seams; then of each part how far its number lies
//! before that of the entry, its table, its event. Numbers are varints. A single delta that needs no table is a plain event.

use bytes::{Buf, Bytes};
use prost::encoding::{decode_varint, encode_varint};
use tidemark_store::Seq;

/// The first byte of a merged entry.
const MARK: u8 = 0;

/// What a merged entry holds. Positions count from its number downwards, so that it does not need to know where it begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bundle {
    /// Positions that stand for two different states of a reader, in rising order.
    pub(super) seams: Vec<Seq>,
    /// One of each part, by their numbers; the last one has that of the entry.
    pub(super) parts: Vec<Part>,
}

/// One merged delta.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The number that its event carries: the last one of its run.
    pub(super) seq: Seq,
    /// Its table of cuts; empty if there is none.
    pub(super) table: Bytes,
    /// The event, whole.
    pub(super) event: Bytes,
}

impl Bundle {
    /// The entry with the number `last`.
    pub(super) fn encode(&self, last: Seq) -> Bytes {
        if let (true, [Part { table, event, .. }]) = (self.seams.is_empty(), &self.parts[..])
            && table.is_empty()
        {
            return event.clone();
        }
        let back = |seq: Seq| last.get() - seq.get();
        let bytes = self.parts.iter().map(|part| part.table.len() + part.event.len() + 16).sum::<usize>();
        let mut payload = Vec::with_capacity(bytes + 16);
        payload.push(MARK);
        encode_varint(self.seams.len() as u64, &mut payload);
        for seam in &self.seams {
            encode_varint(back(*seam), &mut payload);
        }
        for Part { seq, table, event } in &self.parts {
            encode_varint(back(*seq), &mut payload);
            for bytes in [table, event] {
                encode_varint(bytes.len() as u64, &mut payload);
                payload.extend_from_slice(bytes);
            }
        }
        payload.into()
    }

    /// Reads the entry with the number `last`; its parts are slices of it. A plain event is a bundle of one part without a table.
    /// `None` if it is none of ours.
    pub(super) fn decode(payload: &Bytes, last: Seq) -> Option<Self> {
        let mut rest = payload.clone();
        if *payload.first()? != MARK {
            let part = Part { seq: last, table: Bytes::new(), event: rest };
            return Some(Self { seams: Vec::new(), parts: vec![part] });
        }
        rest.advance(1);
        let count = number(&mut rest)?;
        let seams = (0..count).map(|_| before(last, &mut rest)).collect::<Option<Vec<_>>>()?;
        let mut parts = Vec::new();
        while rest.has_remaining() {
            let seq = before(last, &mut rest)?;
            parts.push(Part { seq, table: slice(&mut rest)?, event: slice(&mut rest)? });
        }
        parts.last().is_some_and(|part| part.seq == last).then_some(Self { seams, parts })
    }
}

fn number(rest: &mut Bytes) -> Option<u64> {
    decode_varint(rest).ok()
}

fn before(last: Seq, rest: &mut Bytes) -> Option<Seq> {
    last.get().checked_sub(number(rest)?).map(Seq::new)
}

fn slice(rest: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(number(rest)?).ok()?;
    (length <= rest.len()).then(|| rest.split_to(length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(seq: u64, table: &'static str) -> Part {
        Part { seq: Seq::new(seq), table: table.into(), event: "\u{1}a{}".into() }
    }

    #[test]
    fn a_bundle_reads_back_and_a_plain_event_is_one() {
        let two =
            Bundle { seams: vec![Seq::new(3), Seq::new(700)], parts: vec![part(700, "x"), part(901, "")] };
        let one = Bundle { seams: Vec::new(), parts: vec![part(901, "table")] };
        let plain = Bundle { seams: Vec::new(), parts: vec![part(901, "")] };
        for bundle in [two, one, plain.clone()] {
            assert_eq!(Bundle::decode(&bundle.encode(Seq::new(901)), Seq::new(901)), Some(bundle));
        }
        assert_eq!(plain.encode(Seq::new(901)), "\u{1}a{}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(0..10_u8, 0..40), last in 0..1000_u64) {
            let last = Seq::new(last);
            let decoded = Bundle::decode(&bytes.into(), last);
            prop_assert!(decoded.is_none_or(|bundle| bundle.parts.last().unwrap().seq == last));
        }
    }
}
