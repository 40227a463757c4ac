//! From entries to the spans that take their place.
//!
//! It owns what may be merged: deltas that follow each other, of the same part, become one; where parts grow in turn, many turns
//! become one entry with a delta of each. What is not a delta, known or not, stays as it is and is never passed by text.

use bytes::Bytes;
use tidemark_store::{Entry, Seq, Span};

use super::MAX_RUN_BYTES;
use super::bundle::Bundle;
use super::run::Run;
use crate::error::Error;

/// So many turns of parts that grow in turn are not kept apart any more. Fewer stay as they are, for they cost no position.
pub(super) const MAX_TURNS: usize = 16;

/// What the merged entries can be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A reader may come at any position but a seam.
    Cuttable,
    /// Only whole: the smallest form (D-25).
    Minimal,
}

/// Merges entries that follow each other without a hole.
///
/// # Errors
/// `internal` if an event cannot be written.
pub(super) fn merge(entries: &[Entry], form: Form) -> Result<Vec<Span>, Error> {
    let mut merger = Merger { form, spans: Vec::new(), stretch: Vec::new() };
    for entry in entries {
        match Unit::open(entry, form) {
            Some(unit) => merger.join(unit),
            None => {
                merger.flush()?;
                merger.spans.push(Span { last: entry.seq, payload: entry.payload.clone() });
            }
        }
    }
    merger.flush()?;
    Ok(merger.spans)
}

#[derive(Debug)]
struct Merger {
    form: Form,
    spans: Vec<Span>,
    /// Deltas and nothing else, not written yet.
    stretch: Vec<Unit>,
}

/// What becomes one entry.
#[derive(Debug)]
struct Unit {
    /// One of each part, by their last numbers.
    runs: Vec<Run>,
    /// Those of the entries that it is made of.
    seams: Vec<Seq>,
    /// The entry that it was, if it is no more than that and may stay so.
    untouched: Option<Bytes>,
}

impl Merger {
    fn join(&mut self, unit: Unit) {
        match self.stretch.last_mut() {
            Some(before) if before.goes_on_with(&unit) => before.append(unit),
            _ => self.stretch.push(unit),
        }
    }

    fn flush(&mut self) -> Result<(), Error> {
        let mut stretch = std::mem::take(&mut self.stretch);
        if stretch.len() >= MAX_TURNS {
            stretch = braid(stretch);
        }
        for unit in stretch {
            self.spans.push(unit.into_span(self.form)?);
        }
        Ok(())
    }
}

/// Puts turns together as long as that loses nothing and does not become too large.
fn braid(turns: Vec<Unit>) -> Vec<Unit> {
    let mut braids: Vec<Unit> = Vec::new();
    for turn in turns {
        match braids.last_mut() {
            Some(braid) if braid.braids_with(&turn) => braid.append(turn),
            _ => braids.push(turn),
        }
    }
    braids
}

impl Unit {
    /// The deltas of an entry. `None` if it holds anything else, or cannot be cut any more and shall be.
    fn open(entry: &Entry, form: Form) -> Option<Self> {
        let bundle = Bundle::decode(&entry.payload, entry.seq)?;
        let is_plain = bundle.parts.iter().all(|part| part.table.is_empty());
        if form == Form::Cuttable && is_plain && entry.first != entry.seq {
            return None;
        }
        let runs = bundle.parts.iter().map(Run::open).collect::<Option<Vec<_>>>()?;
        let untouched = (form == Form::Cuttable || is_plain).then(|| entry.payload.clone());
        Some(Self { runs, seams: bundle.seams, untouched })
    }

    fn bytes(&self) -> usize {
        self.runs.iter().map(Run::bytes).sum()
    }

    /// Whether both are of the same parts in the same way: then nothing speaks against merging them.
    fn goes_on_with(&self, next: &Self) -> bool {
        match (&self.runs[..], &next.runs[..]) {
            ([run], [next]) => run.goes_on_with(next) && run.bytes() + next.bytes() <= MAX_RUN_BYTES,
            ([_], _) | (_, [_]) => false,
            _ => self.braids_with(next),
        }
    }

    /// Whether the texts of both can share an entry.
    fn braids_with(&self, next: &Self) -> bool {
        let fits = |run: &Run| self.runs.iter().all(|own| !own.shares_place(run) || own.goes_on_with(run));
        let opens = self.runs.iter().chain(&next.runs).any(Run::opens);
        !opens && self.bytes() + next.bytes() <= MAX_RUN_BYTES && next.runs.iter().all(fits)
    }

    fn append(&mut self, next: Self) {
        for run in next.runs {
            match self.runs.iter_mut().find(|own| own.shares_place(&run)) {
                Some(own) => own.append(run),
                None => self.runs.push(run),
            }
        }
        self.runs.sort_by_key(Run::last);
        self.seams.extend(next.seams);
        self.untouched = None;
    }

    /// Those of the entries that this is made of, for readers may have come to them, and its own.
    fn all_seams(&self) -> Vec<Seq> {
        let mut all: Vec<Seq> = self.seams.iter().copied().chain(seams(&self.runs)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn into_span(self, form: Form) -> Result<Span, Error> {
        let last = self.runs.last().map_or(Seq::FIRST, Run::last);
        if let Some(payload) = self.untouched {
            return Ok(Span { last, payload });
        }
        let (with_table, seams) = match form {
            Form::Cuttable => (true, self.all_seams()),
            Form::Minimal => (false, Vec::new()),
        };
        let parts = self.runs.into_iter().map(|run| run.into_part(with_table));
        let bundle = Bundle { seams, parts: parts.collect::<Result<_, _>>()? };
        Ok(Span { last, payload: bundle.encode(last) })
    }
}

/// The ends of runs at which a later run has begun already.
fn seams(runs: &[Run]) -> impl Iterator<Item = Seq> + '_ {
    let begun = |(index, run): (usize, &Run)| {
        let mut later = runs.iter().skip(index + 1);
        later.any(|later| later.first() < run.last()).then(|| run.last())
    };
    runs.iter().enumerate().filter_map(begun)
}
