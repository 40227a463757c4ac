//! Where a log stands after a change: the part of its head that every frame of it carries.
//!
//! It owns that part's format, and the way between it and [`Stored`].

use super::codec::{Malformed, Reader, put_option, put_varint};
use super::frame::Lsn;
use super::log::Stored;
use crate::api::Close;
use crate::types::{Seq, UnixMillis};

const HAS_WATERMARK: u8 = 1;
const HAS_RECOVERED: u8 = 2;
const HAS_GENERATION: u8 = 4;
const CLOSED: u8 = 8;
const HAS_BLOBS: u8 = 16;
/// With [`CLOSED`]: the log is not closed but endless; what is due is said in the same place.
const ENDLESS: u8 = 32;
/// All of these. Others are of a later version, and may say that more follows.
const FLAGS: u8 = HAS_WATERMARK | HAS_RECOVERED | HAS_GENERATION | CLOSED | HAS_BLOBS | ENDLESS;

/// All of a head that changes but the last seq, which the frame says by its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) status: u8,
    pub(crate) epoch: u64,
    pub(crate) watermark: Option<Seq>,
    pub(crate) recovered_through: Option<Seq>,
    pub(crate) generation: u64,
    pub(crate) retained_entries: u64,
    pub(crate) retained_bytes: u64,
    pub(crate) end: End,
    pub(crate) has_blobs: bool,
}

/// Whether a log ends, and what is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It is open.
    Open,
    /// It has ended.
    Closed(Close),
    /// It never does.
    Endless(Close),
}

impl End {
    /// What becomes of it when entries are appended.
    pub(crate) fn after_append(self, close: Option<Close>) -> Self {
        match (self, close) {
            (Self::Endless(_), Some(due)) => Self::Endless(due),
            (Self::Open | Self::Closed(_), Some(close)) => Self::Closed(close),
            (end, None) => end,
        }
    }

    fn due(self) -> Option<Close> {
        match self {
            Self::Open => None,
            Self::Closed(close) | Self::Endless(close) => Some(close),
        }
    }
}

impl Standing {
    pub(crate) fn of(stored: &Stored) -> Self {
        let head = &stored.head;
        let close = Close { compacts_at: head.compacts_at, expires_at: head.expires_at };
        let end = match (head.endless, head.frontier.closed) {
            (true, _) => End::Endless(close),
            (false, true) => End::Closed(close),
            (false, false) => End::Open,
        };
        Self {
            status: head.status,
            epoch: head.epoch,
            watermark: head.frontier.watermark,
            recovered_through: head.recovered_through,
            generation: head.generation,
            retained_entries: head.retained_entries,
            retained_bytes: head.retained_bytes,
            end,
            has_blobs: stored.has_blobs,
        }
    }

    /// Makes `stored` stand here, by a frame at `lsn` after which `committed` is the last seq.
    pub(crate) fn apply(self, stored: &mut Stored, committed: Seq, lsn: Lsn) {
        let head = &mut stored.head;
        head.status = self.status;
        head.epoch = self.epoch;
        head.frontier.committed = committed;
        head.frontier.watermark = self.watermark;
        head.frontier.closed = matches!(self.end, End::Closed(_));
        head.endless = matches!(self.end, End::Endless(_));
        head.recovered_through = self.recovered_through;
        head.generation = self.generation;
        head.retained_entries = self.retained_entries;
        head.retained_bytes = self.retained_bytes;
        head.compacts_at = self.end.due().and_then(|close| close.compacts_at);
        head.expires_at = self.end.due().and_then(|close| close.expires_at);
        stored.has_blobs = self.has_blobs;
        stored.changed_in = lsn;
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        out.push(
            flag(self.watermark.is_some(), HAS_WATERMARK)
                | flag(self.recovered_through.is_some(), HAS_RECOVERED)
                | flag(self.generation > 0, HAS_GENERATION)
                | flag(self.end != End::Open, CLOSED)
                | flag(matches!(self.end, End::Endless(_)), ENDLESS)
                | flag(self.has_blobs, HAS_BLOBS),
        );
        out.push(self.status);
        put_varint(out, self.epoch);
        let generation = (self.generation > 0).then_some(self.generation);
        let seqs = [self.watermark, self.recovered_through].map(|seq| seq.map(Seq::get));
        for number in seqs.into_iter().chain([generation]).flatten() {
            put_varint(out, number);
        }
        put_varint(out, self.retained_entries);
        put_varint(out, self.retained_bytes);
        if let Some(Close { compacts_at, expires_at }) = self.end.due() {
            put_option(out, compacts_at.map(|at| at.0));
            put_option(out, expires_at.map(|at| at.0));
        }
    }

    pub(crate) fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        let flags = reader.byte()?;
        // A log that is endless says when it is due where one that is closed does.
        if flags & !FLAGS != 0 || flags & (ENDLESS | CLOSED) == ENDLESS {
            return Err(Malformed("a flag that this version does not know"));
        }
        let status = reader.byte()?;
        let epoch = reader.varint()?;
        let mut number = |flag: u8| (flags & flag != 0).then(|| reader.varint()).transpose();
        let watermark = number(HAS_WATERMARK)?.map(Seq::new);
        let recovered_through = number(HAS_RECOVERED)?.map(Seq::new);
        let generation = number(HAS_GENERATION)?.unwrap_or(0);
        let (retained_entries, retained_bytes) = (reader.varint()?, reader.varint()?);
        let end = if flags & CLOSED != 0 {
            let compacts_at = reader.option()?.map(UnixMillis);
            let close = Close { compacts_at, expires_at: reader.option()?.map(UnixMillis) };
            if flags & ENDLESS == 0 { End::Closed(close) } else { End::Endless(close) }
        } else {
            End::Open
        };
        let has_blobs = flags & HAS_BLOBS != 0;
        Ok(Self {
            status,
            epoch,
            watermark,
            recovered_through,
            generation,
            retained_entries,
            retained_bytes,
            end,
            has_blobs,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_flag_of_a_later_version_is_refused() {
        for flag in [32, 64, 128] {
            // Ten zeroes are enough for any standing without options.
            let bytes = [&[flag][..], &[0; 10]].concat();
            assert!(Standing::read(&mut Reader::new(bytes.into())).is_err(), "{flag}");
        }
    }

    /// Any standing.
    pub(crate) fn standing() -> impl Strategy<Value = Standing> {
        let seq = || any::<Option<u32>>().prop_map(|number| number.map(|number| Seq::new(u64::from(number))));
        let counts = (any::<u8>(), any::<u64>(), any::<u32>(), any::<u64>(), any::<u64>());
        let due = || any::<Option<u32>>().prop_map(|at| at.map(|at| UnixMillis(u64::from(at))));
        let close = (due(), due()).prop_map(|(compacts_at, expires_at)| Close { compacts_at, expires_at });
        let end =
            prop_oneof![Just(End::Open), close.clone().prop_map(End::Closed), close.prop_map(End::Endless)];
        (counts, seq(), seq(), end, any::<bool>()).prop_map(
            |(counts, watermark, recovered_through, end, has_blobs)| {
                let (status, epoch, generation, retained_entries, retained_bytes) = counts;
                Standing {
                    status,
                    epoch,
                    watermark,
                    recovered_through,
                    generation: u64::from(generation),
                    retained_entries,
                    retained_bytes,
                    end,
                    has_blobs,
                }
            },
        )
    }
}
