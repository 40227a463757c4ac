//! The table of cuts: how long each delta of a run was.
//!
//! It owns its encoding, which needs one byte for a usual delta: `size << 2 | has_more << 1 | has_gap` as a varint, the size that of
//! the first track; then, where they are said to follow, the sizes in the other tracks, and how many numbers lie between it and the
//! delta before.

use bytes::{Buf, Bytes};
use prost::encoding::{decode_varint, encode_varint};
use tidemark_store::Seq;

const HAS_GAP: u64 = 1;
const HAS_MORE: u64 = 2;
const FLAG_BITS: u32 = 2;

/// The deltas of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cuts {
    /// How many tracks each of them has: one at least.
    tracks: usize,
    seqs: Vec<Seq>,
    /// What each of them adds to each track, delta by delta: bytes of UTF-8 of a text, items of a list.
    sizes: Vec<usize>,
}

impl Cuts {
    /// Of a single delta with these sizes.
    pub(super) fn of(seq: Seq, sizes: Vec<usize>) -> Self {
        Self { tracks: sizes.len(), seqs: vec![seq], sizes }
    }

    /// Adds what follows; it has the same tracks.
    pub(super) fn append(&mut self, mut next: Self) {
        self.seqs.append(&mut next.seqs);
        self.sizes.append(&mut next.sizes);
    }

    /// How many deltas there are.
    pub(super) fn len(&self) -> usize {
        self.seqs.len()
    }

    /// The number of the first delta.
    pub(super) fn first(&self) -> Seq {
        self.seqs.first().copied().unwrap_or(Seq::FIRST)
    }

    /// The number of the last delta.
    pub(super) fn last(&self) -> Seq {
        self.seqs.last().copied().unwrap_or(Seq::FIRST)
    }

    /// Writes the table. Numbers rise from delta to delta.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut table = Vec::with_capacity(self.len() + 16);
        encode_varint(self.last().get() - self.first().get(), &mut table);
        let mut next = self.first();
        for (seq, sizes) in self.seqs.iter().zip(self.sizes.chunks(self.tracks)) {
            let gap = seq.get() - next.get();
            let (first, more) = sizes.split_first().unwrap_or((&0, &[]));
            let has_more = more.iter().any(|size| *size > 0);
            let mut head = (*first as u64) << FLAG_BITS;
            head |= if has_more { HAS_MORE } else { 0 } | if gap > 0 { HAS_GAP } else { 0 };
            encode_varint(head, &mut table);
            if has_more {
                more.iter().for_each(|size| encode_varint(*size as u64, &mut table));
            }
            if gap > 0 {
                encode_varint(gap, &mut table);
            }
            next = seq.next();
        }
        table
    }

    /// Reads the table of a run that ends at `last` and has so many tracks. `None` if it is none, or not of this run.
    pub(super) fn decode(mut table: Bytes, last: Seq, tracks: usize) -> Option<Self> {
        let width = decode_varint(&mut table).ok()?;
        let mut next = last.get().checked_sub(width)?;
        let mut cuts = Self { tracks, seqs: Vec::new(), sizes: Vec::new() };
        while table.has_remaining() {
            let head = decode_varint(&mut table).ok()?;
            cuts.sizes.push(usize::try_from(head >> FLAG_BITS).ok()?);
            for _ in 1..tracks {
                let size = if head & HAS_MORE == 0 { 0 } else { decode_varint(&mut table).ok()? };
                cuts.sizes.push(usize::try_from(size).ok()?);
            }
            let gap = if head & HAS_GAP == 0 { 0 } else { decode_varint(&mut table).ok()? };
            let seq = next.checked_add(gap)?;
            cuts.seqs.push(Seq::new(seq));
            next = seq.checked_add(1)?;
        }
        cuts.seqs.last().is_some_and(|seq| *seq == last).then_some(cuts)
    }

    /// How much of each track a reader at `after` has. `None` if that is all.
    pub(super) fn had(&self, after: Seq) -> Option<Vec<usize>> {
        let count = self.seqs.partition_point(|seq| *seq <= after);
        if count == self.len() {
            return None;
        }
        let mut had = vec![0_usize; self.tracks];
        for sizes in self.sizes.chunks(self.tracks).take(count) {
            had.iter_mut().zip(sizes).for_each(|(had, size)| *had = had.saturating_add(*size));
        }
        Some(had)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cuts() -> impl Strategy<Value = Cuts> {
        let of = |tracks: usize| {
            let cut = (0..3_u64, prop::collection::vec(prop_oneof![0..1000_usize, Just(0)], tracks));
            (0..u64::from(u32::MAX), prop::collection::vec(cut, 1..50)).prop_map(move |(mut seq, all)| {
                let mut cuts = Cuts { tracks, seqs: Vec::new(), sizes: Vec::new() };
                for (gap, sizes) in all {
                    seq += gap + 1;
                    cuts.append(Cuts::of(Seq::new(seq), sizes));
                }
                cuts
            })
        };
        (1..5_usize).prop_flat_map(of)
    }

    proptest! {
        #[test]
        fn a_table_reads_back_and_no_part_of_it_does(cuts in cuts(), at: prop::sample::Index) {
            let (last, tracks) = (cuts.last(), cuts.tracks);
            let table = Bytes::from(cuts.encode());
            prop_assert_eq!(Cuts::decode(table.clone(), last, tracks), Some(cuts));
            let part = table.slice(..at.index(table.len()));
            prop_assert_eq!(Cuts::decode(part, last, tracks), None);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..40), last: u64, tracks in 1..4_usize) {
            if let Some(cuts) = Cuts::decode(bytes.into(), Seq::new(last), tracks) {
                prop_assert!(cuts.seqs.is_sorted_by(|one, next| one < next));
                prop_assert_eq!(cuts.had(Seq::new(last)), None);
            }
        }
    }

    #[test]
    fn a_usual_delta_needs_one_byte() {
        let mut cuts = Cuts::of(Seq::new(1000), vec![5, 0]);
        (1001..2000).for_each(|seq| cuts.append(Cuts::of(Seq::new(seq), vec![5, 0])));
        assert!(cuts.encode().len() <= 1000 + 2);
    }

    #[test]
    fn what_a_reader_has_is_counted_up_to_its_position() {
        let mut cuts = Cuts::of(Seq::new(4), vec![2, 1]);
        cuts.append(Cuts::of(Seq::new(6), vec![3, 1]));
        let at = |after| cuts.had(Seq::new(after));
        assert_eq!(
            [at(3), at(4), at(5), at(6)],
            [Some(vec![0, 0]), Some(vec![2, 1]), Some(vec![2, 1]), None]
        );
    }
}
