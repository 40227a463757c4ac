//! Going through a history, forwards and backwards.
//!
//! It owns how much of it is in memory at once: one read, and what is asked for.

use std::collections::VecDeque;

use tidemark_store::{LogId, ReadLimit, Seq, UnixMillis};

use crate::error::Error;
use crate::sessions::Shared;
use crate::sessions::entry::{Entry, Item, View};
use crate::sessions::find::of_read;
use crate::sizes::MAX_PAGE_BYTES;

/// How much one read brings.
const READ: ReadLimit = ReadLimit { entries: 256, bytes: 1 << 20 };

/// The least, and the most, entries of one stretch of a way back.
const STRETCH: (u64, u64) = (16, 1024);

/// An item and where it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) seq: Seq,
    pub(super) stamp: LogId,
    pub(super) at: UnixMillis,
    pub(super) item: Item,
}

impl Row {
    /// The row of an entry, if its item is to be seen.
    pub(super) fn shown(seq: Seq, entry: &Entry, view: View) -> Option<Self> {
        let item = entry.shown(view)?.clone();
        Some(Self { seq, stamp: entry.stamp, at: entry.at, item })
    }
}

/// What to look for on a way back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    /// Only what comes before this.
    pub(super) before: Seq,
    pub(super) view: View,
    /// So many items are enough.
    pub(super) want: usize,
    /// The most entries to go through; absent = all of them.
    pub(super) most: Option<u64>,
}

/// What was found on a way back.
#[derive(Debug)]
pub(super) struct Back {
    /// The newest items, the oldest of them first: at most as many as were wanted, fewer if they are large.
    pub(super) rows: VecDeque<Row>,
    /// Whether items were left out because of their size.
    pub(super) cut: bool,
    /// The newest entry that was gone through, shown or not.
    pub(super) newest: Option<(Seq, LogId)>,
    /// The oldest one. All from here on were gone through, unless there were enough.
    pub(super) oldest: Option<(Seq, LogId)>,
}

impl Shared {
    /// Gives the entries `from..=through` to `take` in their order, until that says to stop.
    ///
    /// # Errors
    /// Those of `take`; `not_found` if the log goes away, `internal`.
    pub(super) async fn each(
        &self,
        log: LogId,
        from: Seq,
        through: Seq,
        mut take: impl FnMut(Seq, Entry) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let mut after = from.previous();
        while after < Some(through) {
            let left = usize::try_from(through.get() - after.map_or(0, |seq| seq.get() + 1) + 1);
            let limit = ReadLimit { entries: left.unwrap_or(usize::MAX).min(READ.entries), ..READ };
            let batch = self.store.read(log, after, limit).await.map_err(of_read)?;
            let Some(last) = batch.entries.last().map(|entry| entry.seq) else { return Ok(()) };
            for entry in batch.entries.into_iter().filter(|entry| entry.seq <= through) {
                if !take(entry.seq, Entry::decode(&entry.payload)?)? {
                    return Ok(());
                }
            }
            after = Some(last);
        }
        Ok(())
    }

    /// The newest items before a place. Takes the memory of a page, and time by what is wanted and what is not shown in between.
    pub(super) async fn back(&self, log: LogId, search: Search) -> Result<Back, Error> {
        let Search { before, view, want, most } = search;
        let mut back = Back { rows: VecDeque::new(), cut: false, newest: None, oldest: None };
        let (mut end, mut scanned, mut bytes) = (before.get(), 0, 0);
        let mut stretch = (want as u64).clamp(STRETCH.0, STRETCH.1);
        while end > 0 && back.rows.len() < want && !back.cut && most.is_none_or(|most| scanned < most) {
            let (start, last) = (end.saturating_sub(stretch), Seq::new(end - 1));
            let mut part: VecDeque<Row> = VecDeque::new();
            let (mut newest, mut oldest) = (None, None);
            let room = want - back.rows.len();
            self.each(log, Seq::new(start), last, |seq, entry| {
                oldest = oldest.or(Some((seq, entry.stamp)));
                newest = Some((seq, entry.stamp));
                let Some(row) = Row::shown(seq, &entry, view) else { return Ok(true) };
                bytes += row.item.json.len();
                part.push_back(row);
                let is_large = bytes > MAX_PAGE_BYTES && part.len() + back.rows.len() > 1;
                let mut drop_oldest = part.len() > room || is_large;
                while drop_oldest && let Some(dropped) = part.pop_front() {
                    bytes -= dropped.item.json.len();
                    back.cut = true;
                    drop_oldest = bytes > MAX_PAGE_BYTES && part.len() + back.rows.len() > 1;
                }
                Ok(true)
            })
            .await?;
            back.newest = back.newest.or(newest);
            back.oldest = oldest.or(back.oldest);
            part.append(&mut back.rows);
            back.rows = part;
            scanned += end - start;
            end = start;
            stretch = (stretch * 2).min(STRETCH.1);
        }
        Ok(back)
    }
}
