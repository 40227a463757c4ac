//! Which entries of a running response are merged next.
//!
//! It owns the plan that keeps the cost of an event constant: the oldest entries that were never merged are taken in bites; what a
//! bite has become is merged again only together with as many events as it stands for, and never once it has grown large. So an
//! event takes part in at most log2 of the bites, and nothing is remembered but one layer for each power of two.

use tidemark_store::{Caps, Head, Seq};

use super::MAX_RUN_BYTES;

/// The most entries of a bite.
const MAX_BITE_ENTRIES: u64 = 1024;

/// The most bytes of a bite. Its last entry may pass it.
const MAX_BITE_BYTES: u64 = 4 << 20;

/// A bite is no more than this part of a cap.
const BITES_PER_CAP: u64 = 8;

/// The fewest entries that can become fewer.
const MIN_BITE_ENTRIES: u64 = 2;

/// Nothing is merged as long as a log is below half of its caps.
const FILLED: u64 = 2;

/// Entries and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::runs) struct Load {
    pub(in crate::runs) entries: u64,
    pub(in crate::runs) bytes: u64,
}

impl Load {
    /// Both together.
    pub(in crate::runs) fn and(self, other: Self) -> Self {
        Self { entries: self.entries + other.entries, bytes: self.bytes + other.bytes }
    }
}

/// What is merged in one go: the seqs from `from` on, through at most `through` and the entry that reaches `bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bite {
    pub(super) from: Seq,
    /// The first seq that was never merged: the bite takes at least this one.
    pub(super) raw_from: Seq,
    pub(super) through: Seq,
    pub(super) bytes: u64,
}

/// What became of a bite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bitten {
    /// The last seq that was read.
    pub(super) through: Seq,
    /// What was read of what was never merged.
    pub(super) raw: Load,
    /// What the range is now.
    pub(super) left: Load,
}

/// The log of one response, as far as its merging goes.
#[derive(Debug)]
pub(super) struct Layers {
    caps: Caps,
    /// Adjacent ranges that may be merged again, the oldest first; each stands for more seqs than the next.
    merged: Vec<Layer>,
    raw_from: Seq,
    raw: Load,
}

#[derive(Debug)]
struct Layer {
    from: Seq,
    seqs: u64,
    bytes: u64,
}

impl Layers {
    /// Of a log that stands at `head` and was never compacted.
    pub(super) fn new(caps: Caps, head: &Head) -> Self {
        let raw = Load { entries: head.retained_entries, bytes: head.retained_bytes };
        Self { caps, merged: Vec::new(), raw_from: Seq::after(head.frontier.watermark), raw }
    }

    /// The size of a bite.
    pub(super) fn bite(&self) -> Load {
        let part = |cap: Option<u64>, max: u64| cap.map_or(max, |cap| (cap / BITES_PER_CAP).clamp(1, max));
        Load {
            entries: part(self.caps.entries, MAX_BITE_ENTRIES).max(MIN_BITE_ENTRIES),
            bytes: part(self.caps.bytes, MAX_BITE_BYTES),
        }
    }

    /// Entries were appended.
    pub(super) fn grow(&mut self, load: Load) {
        self.raw.entries += load.entries;
        self.raw.bytes += load.bytes;
    }

    /// Entries may have been evicted: what is gone is not merged.
    pub(super) fn shrink(&mut self, head: &Head) {
        let earliest = Seq::after(head.frontier.watermark);
        let gone = self.merged.partition_point(|layer| layer.from < earliest);
        self.merged.drain(..gone);
        if self.raw_from < earliest {
            self.raw_from = earliest;
            self.raw = Load { entries: head.retained_entries, bytes: head.retained_bytes };
        }
    }

    /// What to merge now, if anything: when the log with what is `pending` fills half of its caps.
    pub(super) fn next(&self, head: &Head, pending: Load) -> Option<Bite> {
        let bite = self.bite();
        let worth = self.raw.entries >= MIN_BITE_ENTRIES
            && (self.raw.entries >= bite.entries || self.raw.bytes >= bite.bytes);
        if !worth || !self.reaches(FILLED, head, pending) {
            return None;
        }
        let (mut from, mut seqs, mut bytes) = (self.raw_from, bite.entries, 0);
        for layer in self.merged.iter().rev().take_while(|layer| layer.bytes < MAX_RUN_BYTES as u64) {
            if layer.seqs > seqs {
                break;
            }
            (from, seqs, bytes) = (layer.from, seqs + layer.seqs, bytes + layer.bytes);
        }
        let through = Seq::new(self.raw_from.get() + bite.entries.min(self.raw.entries) - 1);
        Some(Bite { from, raw_from: self.raw_from, through, bytes: bytes + bite.bytes })
    }

    /// Whether the log cannot take what is `pending` without an eviction.
    pub(super) fn is_full(&self, head: &Head, pending: Load) -> bool {
        self.reaches(1, head, pending)
    }

    /// Whether the log with what is `pending` is above this part of a cap.
    fn reaches(&self, part: u64, head: &Head, pending: Load) -> bool {
        let above = |cap: Option<u64>, load: u64| cap.is_some_and(|cap| load > cap / part);
        above(self.caps.entries, head.retained_entries + pending.entries)
            || above(self.caps.bytes, head.retained_bytes + pending.bytes)
    }

    /// A bite was taken.
    pub(super) fn done(&mut self, bite: Bite, bitten: Bitten) {
        let keep = self.merged.partition_point(|layer| layer.from < bite.from);
        self.merged.truncate(keep);
        let small = bitten.left.bytes < MAX_RUN_BYTES as u64 && bitten.left.entries < MAX_BITE_ENTRIES / 2;
        if small {
            let seqs = bitten.through.next().get() - bite.from.get();
            self.merged.push(Layer { from: bite.from, seqs, bytes: bitten.left.bytes });
        } else {
            // What is older is not adjacent to anything that will come.
            self.merged.clear();
        }
        self.skip(bitten.through, bitten.raw);
    }

    /// A bite could not be taken: what it was about stays as it is.
    pub(super) fn give_up(&mut self, bite: Bite) {
        self.merged.clear();
        let entries = bite.through.next().get() - self.raw_from.get();
        let bytes = self.raw.bytes.checked_div(self.raw.entries).unwrap_or(0).saturating_mul(entries);
        self.skip(bite.through, Load { entries, bytes });
    }

    fn skip(&mut self, through: Seq, raw: Load) {
        self.raw_from = through.next();
        self.raw.entries = self.raw.entries.saturating_sub(raw.entries);
        self.raw.bytes = self.raw.bytes.saturating_sub(raw.bytes);
    }
}

#[cfg(test)]
mod tests {
    use tidemark_store::{Frontier, Owner, UnixMillis};

    use super::*;

    fn head(entries: u64, bytes: u64) -> Head {
        Head {
            owner: Owner::new("alice").unwrap(),
            created_at: UnixMillis(0),
            frontier: Frontier { committed: Seq::FIRST, watermark: None, closed: false, gone: false },
            status: 0,
            epoch: 1,
            recovered_through: None,
            generation: 0,
            compacts_at: None,
            expires_at: None,
            retained_entries: entries,
            retained_bytes: bytes,
            endless: false,
        }
    }

    /// Feeds a log whose bites become one entry of a twentieth of their bytes. Returns how many bytes were merged in all, how many
    /// were appended, and the most entries that it had.
    fn feed(caps: Caps, events: u64, bytes: u64) -> (u64, u64, u64) {
        let mut layers = Layers::new(caps, &head(0, 0));
        let mut log: Vec<(u64, u64)> = Vec::new();
        let (mut work, mut most, mut retained) = (0, 0, 0);
        for seq in 0..events {
            log.push((seq, bytes));
            retained += bytes;
            layers.grow(Load { entries: 1, bytes });
            most = most.max(log.len() as u64);
            let Some(bite) = layers.next(&head(log.len() as u64, retained), Load::default()) else {
                continue;
            };
            let begin = log.partition_point(|(last, _)| *last < bite.from.get());
            let end = log.partition_point(|(last, _)| *last <= bite.through.get());
            let taken: u64 = log[begin..end].iter().map(|(_, bytes)| bytes).sum();
            let raw = bite.through.get() + 1 - bite.raw_from.get();
            let left = taken - raw * bytes + raw * bytes / 20;
            log.splice(begin..end, [(bite.through.get(), left)]);
            (work, retained) = (work + taken, retained - taken + left);
            let (raw, left) = (Load { entries: raw, bytes: raw * bytes }, Load { entries: 1, bytes: left });
            layers.done(bite, Bitten { through: bite.through, raw, left });
            assert!(
                layers.merged.len() <= 64 && layers.merged.is_sorted_by(|one, next| one.seqs > next.seqs)
            );
        }
        (work, events * bytes, most)
    }

    #[test]
    fn the_work_for_an_event_does_not_grow_with_the_log_which_keeps_below_its_cap() {
        for (entries, events) in [(8192, 20_000), (8192, 200_000), (256, 2_000), (256, 40_000), (64, 10_000)]
        {
            let caps = Caps { entries: Some(entries), bytes: None };
            let (work, fed, most) = feed(caps, events, 240);
            assert!(work < 2 * fed, "{entries} {events}: {work} of {fed}");
            assert!(most < entries, "{entries} {events}: {most}");
        }
    }

    #[test]
    fn nothing_is_merged_below_half_of_the_caps_or_without_a_bite() {
        let caps = Caps { entries: Some(80), bytes: Some(8000) };
        let mut layers = Layers::new(caps, &head(9, 90));
        let next = |layers: &Layers, entries, bytes| layers.next(&head(entries, bytes), Load::default());
        assert_eq!(next(&layers, 80, 8000), None, "nine entries are less than a bite");
        layers.grow(Load { entries: 1, bytes: 10 });
        assert_eq!(next(&layers, 40, 4000), None);
        let bite = Bite { from: Seq::FIRST, raw_from: Seq::FIRST, through: Seq::new(9), bytes: 1000 };
        assert_eq!(next(&layers, 41, 100), Some(bite));
        assert_eq!(layers.next(&head(10, 100), Load { entries: 1, bytes: 4000 }), Some(bite));
        assert!(!layers.is_full(&head(70, 100), Load { entries: 10, bytes: 0 }));
        assert!(layers.is_full(&head(70, 100), Load { entries: 11, bytes: 0 }));
        layers.give_up(bite);
        assert_eq!((layers.raw_from, layers.raw), (Seq::new(10), Load::default()));
    }

    #[test]
    fn what_was_evicted_is_not_merged() {
        let mut layers = Layers::new(Caps::default(), &head(10_000, 10_000));
        let mut evicted = head(8000, 8000);
        evicted.frontier.watermark = Some(Seq::new(1999));
        layers.shrink(&evicted);
        let bite = layers.next(&evicted, Load::default()).unwrap();
        assert_eq!((bite.from, bite.raw_from), (Seq::new(2000), Seq::new(2000)));
        let raw = Load { entries: 1024, bytes: 1024 };
        layers.done(bite, Bitten { through: bite.through, raw, left: Load { entries: 1, bytes: 100 } });
        evicted.frontier.watermark = Some(Seq::new(2000));
        layers.shrink(&evicted);
        assert!(layers.merged.is_empty());
    }

    #[test]
    fn what_has_become_large_is_left_alone() {
        let mut layers = Layers::new(Caps::default(), &head(10_000, 10_000));
        let full = head(8000, 8000);
        let bite = layers.next(&full, Load::default()).unwrap();
        let raw = Load { entries: 1024, bytes: 1024 };
        let left = Load { entries: 1, bytes: MAX_RUN_BYTES as u64 };
        layers.done(bite, Bitten { through: bite.through, raw, left });
        let next = layers.next(&full, Load::default()).unwrap();
        assert_eq!((next.from, next.through), (Seq::new(1024), Seq::new(2047)));
        layers.done(next, Bitten { through: next.through, raw, left: Load { entries: 1, bytes: 10 } });
        let again = layers.next(&full, Load::default()).unwrap();
        assert_eq!((again.from, again.raw_from, again.through), (next.from, Seq::new(2048), Seq::new(3071)));
    }
}
