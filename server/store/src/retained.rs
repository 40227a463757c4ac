//! Which entries of a log are retained under its caps, and which must go.
//!
//! It owns the arithmetic of eviction, shared by all implementations; it must never know where entries lie.

use std::collections::VecDeque;

use crate::api::Caps;
use crate::types::Seq;

/// A cap is divided into this many runs; entries are evicted a run at a time.
const RUNS: u64 = 128;

#[derive(Clone, Copy, Debug)]
struct Run {
    last: Seq,
    entries: u64,
    bytes: u64,
}

/// How much some entries are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

impl Size {
    pub(crate) fn add(&mut self, more: Self) {
        self.entries += more.entries;
        self.bytes += more.bytes;
    }
}

/// The sizes of what an open log retains, in runs of up to 1/128 of the caps: at most some 260 of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Retained {
    runs: VecDeque<Run>,
    entries: u64,
    bytes: u64,
}

impl Retained {
    pub(crate) fn entries(&self) -> u64 {
        self.entries
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds `entries` entries that end at `last`, as one unit of eviction if they are many.
    pub(crate) fn push(&mut self, caps: &Caps, last: Seq, entries: u64, bytes: u64) {
        self.entries += entries;
        self.bytes += bytes;
        let run_entries = caps.entries.map_or(u64::MAX, |cap| (cap / RUNS).max(1));
        let run_bytes = caps.bytes.map_or(u64::MAX, |cap| (cap / RUNS).max(1));
        match self.runs.back_mut() {
            Some(run) if run.entries + entries <= run_entries && run.bytes + bytes <= run_bytes => {
                run.last = last;
                run.entries += entries;
                run.bytes += bytes;
            }
            _ => self.runs.push_back(Run { last, entries, bytes }),
        }
    }

    /// Drops the oldest runs until the caps hold, but never the newest run; returns the last seq that went.
    pub(crate) fn evict(&mut self, caps: &Caps) -> Option<Seq> {
        let mut evicted = None;
        while self.runs.len() > 1 && self.over(caps) {
            let Some(run) = self.runs.pop_front() else { break };
            self.entries -= run.entries;
            self.bytes -= run.bytes;
            evicted = Some(run.last);
        }
        evicted
    }

    /// The first seq of the unit of eviction that holds `seq`, if that is not simply all before it; absent = the oldest unit.
    pub(crate) fn unit_start(&self, seq: Seq) -> Option<Seq> {
        let index = self.runs.partition_point(|run| run.last < seq);
        self.runs.get(index.checked_sub(1)?).map(|run| run.last.next())
    }

    /// Puts `spans`, which follow each other and tile a range of seqs, in the place of what lies there. `kept` is what stays of the
    /// unit of eviction that the range begins in, `removed` what goes.
    pub(crate) fn replace(
        &mut self,
        caps: &Caps,
        from: Seq,
        spans: &[(Seq, u64)],
        kept: Size,
        removed: Size,
    ) {
        let Some((through, _)) = spans.last().copied() else { return };
        let start = self.runs.partition_point(|run| run.last < from);
        let end = self.runs.partition_point(|run| run.last < through);
        let newer = self.runs.split_off(self.runs.len().min(end + 1));
        let touched = self.runs.split_off(start.min(self.runs.len()));
        let last = touched.back().map_or(through, |run| run.last);
        let (mut entries, mut bytes) = (0, 0);
        for run in &touched {
            entries += run.entries;
            bytes += run.bytes;
        }
        self.entries -= entries;
        self.bytes -= bytes;
        if let Some(before) = from.previous().filter(|_| kept.entries > 0) {
            self.push(caps, before, kept.entries, kept.bytes);
        }
        for (last, bytes) in spans {
            self.push(caps, *last, 1, *bytes);
        }
        let left = entries.saturating_sub(kept.entries + removed.entries);
        if left > 0 {
            self.push(caps, last, left, bytes.saturating_sub(kept.bytes + removed.bytes));
        }
        self.runs.extend(newer);
    }

    /// Makes the sums what they are known to be: of the oldest unit, part may have been evicted.
    pub(crate) fn settle(&mut self, entries: u64, bytes: u64) {
        if let Some(oldest) = self.runs.front_mut() {
            let (too_many, too_much) =
                (self.entries.saturating_sub(entries), self.bytes.saturating_sub(bytes));
            let (too_many, too_much) = (too_many.min(oldest.entries), too_much.min(oldest.bytes));
            oldest.entries -= too_many;
            oldest.bytes -= too_much;
            self.entries -= too_many;
            self.bytes -= too_much;
        }
    }

    fn over(&self, caps: &Caps) -> bool {
        caps.entries.is_some_and(|cap| self.entries > cap) || caps.bytes.is_some_and(|cap| self.bytes > cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push_one(retained: &mut Retained, caps: &Caps, seq: u64, bytes: u64) -> Option<Seq> {
        retained.push(caps, Seq::new(seq), 1, bytes);
        retained.evict(caps)
    }

    #[test]
    fn twenty_entries_under_a_cap_of_five_keep_the_last_five() {
        let caps = Caps { entries: Some(5), bytes: None };
        let mut retained = Retained::default();
        let mut watermark = None;
        for seq in 0..20 {
            watermark = push_one(&mut retained, &caps, seq, 100).or(watermark);
        }
        assert_eq!((watermark, retained.entries(), retained.bytes()), (Some(Seq::new(14)), 5, 500));
    }

    #[test]
    fn an_entry_above_the_byte_cap_stays_readable() {
        let caps = Caps { entries: None, bytes: Some(1000) };
        let mut retained = Retained::default();
        push_one(&mut retained, &caps, 0, 10);
        assert_eq!(push_one(&mut retained, &caps, 1, 5000), Some(Seq::FIRST));
        assert_eq!(retained.entries(), 1);
    }

    #[test]
    fn the_number_of_runs_is_bounded() {
        let caps = Caps::default();
        let mut retained = Retained::default();
        for seq in 0..100_000 {
            push_one(&mut retained, &caps, seq, 7000);
            assert!(retained.entries() <= 8192 && retained.bytes() <= 64 << 20);
            assert!(retained.runs.len() <= 260);
        }
    }
}
