//! The table of cuts: how long each delta of a run was.
//!
//! It owns its encoding, which needs one byte for a usual delta: `length << 2 | has_logprobs << 1 | has_gap` as a varint, then,
//! where they are said to follow, the number of its logprobs and how many numbers lie between it and the delta before.

use bytes::{Buf, Bytes};
use prost::encoding::{decode_varint, encode_varint};
use tidemark_store::Seq;

const HAS_GAP: u64 = 1;
const HAS_LOGPROBS: u64 = 2;
const FLAG_BITS: u32 = 2;

/// One delta of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) seq: Seq,
    /// Length of its text, in bytes of UTF-8.
    pub(super) text: usize,
    /// How many logprobs it had.
    pub(super) logprobs: usize,
}

/// Writes a table. Numbers rise from cut to cut.
pub(super) fn encode(cuts: &[Cut]) -> Vec<u8> {
    let mut table = Vec::with_capacity(cuts.len() + 16);
    let (Some(first), Some(last)) = (cuts.first(), cuts.last()) else { return table };
    encode_varint(last.seq.get() - first.seq.get(), &mut table);
    let mut next = first.seq;
    for cut in cuts {
        let gap = cut.seq.get() - next.get();
        let mut head = (cut.text as u64) << FLAG_BITS;
        head |= if cut.logprobs > 0 { HAS_LOGPROBS } else { 0 } | if gap > 0 { HAS_GAP } else { 0 };
        encode_varint(head, &mut table);
        for number in [cut.logprobs as u64, gap].into_iter().filter(|number| *number > 0) {
            encode_varint(number, &mut table);
        }
        next = cut.seq.next();
    }
    table
}

/// Reads the table of a run that ends at `last`. `None` if it is none, or not of this run.
pub(super) fn decode(mut table: Bytes, last: Seq) -> Option<Vec<Cut>> {
    let width = decode_varint(&mut table).ok()?;
    let mut next = last.get().checked_sub(width)?;
    let mut cuts = Vec::new();
    while table.has_remaining() {
        let head = decode_varint(&mut table).ok()?;
        let mut number_if = |flag| if head & flag == 0 { Some(0) } else { decode_varint(&mut table).ok() };
        let logprobs = usize::try_from(number_if(HAS_LOGPROBS)?).ok()?;
        let seq = next.checked_add(number_if(HAS_GAP)?)?;
        cuts.push(Cut { seq: Seq::new(seq), text: usize::try_from(head >> FLAG_BITS).ok()?, logprobs });
        next = seq.checked_add(1)?;
    }
    cuts.last().is_some_and(|cut| cut.seq == last).then_some(cuts)
}

/// How much of a run a reader at `after` has: bytes of text, and logprobs. `None` if that is all.
pub(super) fn had(cuts: &[Cut], after: Seq) -> Option<(usize, usize)> {
    let count = cuts.partition_point(|cut| cut.seq <= after);
    let (had, rest) = cuts.split_at_checked(count)?;
    let sum = |(text, logprobs), cut: &Cut| (text + cut.text, logprobs + cut.logprobs);
    (!rest.is_empty()).then(|| had.iter().fold((0, 0), sum))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cuts() -> impl Strategy<Value = Vec<Cut>> {
        let cut = (0..3_u64, 0..1000_usize, 0..2_usize);
        (0..u64::from(u32::MAX), prop::collection::vec(cut, 1..50)).prop_map(|(mut seq, cuts)| {
            let number = |(gap, text, logprobs)| {
                seq += gap + 1;
                Cut { seq: Seq::new(seq), text, logprobs }
            };
            cuts.into_iter().map(number).collect()
        })
    }

    proptest! {
        #[test]
        fn a_table_reads_back_and_no_part_of_it_does(cuts in cuts(), at: prop::sample::Index) {
            let last = cuts.last().unwrap().seq;
            let table = Bytes::from(encode(&cuts));
            prop_assert_eq!(decode(table.clone(), last), Some(cuts));
            let part = table.slice(..at.index(table.len()));
            prop_assert_eq!(decode(part, last), None);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..40), last: u64) {
            if let Some(cuts) = decode(bytes.into(), Seq::new(last)) {
                prop_assert!(cuts.is_sorted_by(|one, next| one.seq < next.seq));
            }
        }
    }

    #[test]
    fn a_usual_delta_needs_one_byte() {
        let cut = |seq| Cut { seq: Seq::new(seq), text: 5, logprobs: 0 };
        assert!(encode(&(1000..2000).map(cut).collect::<Vec<_>>()).len() <= 1000 + 2);
    }

    #[test]
    fn what_a_reader_has_is_counted_up_to_its_position() {
        let cut = |seq, text| Cut { seq: Seq::new(seq), text, logprobs: 1 };
        let cuts = [cut(4, 2), cut(6, 3)];
        let at = |after| had(&cuts, Seq::new(after));
        assert_eq!([at(3), at(4), at(5), at(6)], [Some((0, 0)), Some((2, 1)), Some((2, 1)), None]);
    }
}
