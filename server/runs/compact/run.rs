//! A run: deltas of one part that follow each other.
//!
//! It owns which of them belong together, and the event that a run becomes.

use bytes::Bytes;
use tidemark_store::Seq;

use super::bundle::Part;
use super::cuts::Cuts;
use super::tracks::{Growth, Place, Shape, visit};
use crate::error::Error;
use crate::json::Node;
use crate::runs::event::{decode, encode, encode_plain, kind};

/// What a cut needs in the table, usually.
const CUT_BYTES: usize = 2;

/// What the log adds to an event of the Responses API.
const OF_THE_LOG: [&str; 2] = ["type", "sequence_number"];

/// Deltas of one part, or of the same parts of a chat, opened.
#[derive(Debug)]
pub(super) struct Run {
    kind: Box<str>,
    places: Vec<Place>,
    opens: bool,
    /// All that the events have besides what grows and what is of the log. It is the same in each of them.
    rest: Node,
    rest_json: String,
    growth: Vec<Growth>,
    cuts: Cuts,
    bytes: usize,
}

impl Run {
    /// The run of a part of an entry. `None` if it is no delta, or one that cannot be opened: it stays as it is then.
    pub(super) fn open(part: &Part) -> Option<Self> {
        let (kind, data) = decode(&part.event)?;
        let mut rest: Node = serde_json::from_slice(&data).ok()?;
        let mut growth = Vec::new();
        let Shape { places, opens } = visit(kind, &mut rest, &mut |track| growth.push(track.take()))?;
        if kind != kind::CHAT_CHUNK {
            OF_THE_LOG.iter().for_each(|name| drop(rest.remove(name)));
        }
        let cuts = if part.table.is_empty() {
            Cuts::of(part.seq, growth.iter().map(Growth::size).collect())
        } else {
            Cuts::decode(part.table.clone(), part.seq, growth.len())?
        };
        let rest_json = serde_json::to_string(&rest).ok()?;
        let grown = growth.iter().map(Growth::json_len).sum::<usize>();
        let bytes = grown + rest_json.len() + CUT_BYTES * cuts.len();
        Some(Self { kind: kind.into(), places, opens, rest, rest_json, growth, cuts, bytes })
    }

    /// About how many bytes it needs in the log.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of its first delta.
    pub(super) fn first(&self) -> Seq {
        self.cuts.first()
    }

    /// The number of its last delta.
    pub(super) fn last(&self) -> Seq {
        self.cuts.last()
    }

    /// Whether both write the same text.
    pub(super) fn shares_place(&self, other: &Self) -> bool {
        self.places.iter().any(|place| other.places.contains(place))
    }

    /// Whether it must stay in its place among those of other texts.
    pub(super) fn opens(&self) -> bool {
        self.opens
    }

    /// Whether `next` can be added without a loss.
    pub(super) fn goes_on_with(&self, next: &Self) -> bool {
        self.kind == next.kind && self.rest_json == next.rest_json
    }

    /// Adds what follows.
    pub(super) fn append(&mut self, next: Self) {
        self.growth.iter_mut().zip(next.growth).for_each(|(own, more)| own.append(more));
        self.cuts.append(next.cuts);
        self.bytes += next.bytes - next.rest_json.len();
    }

    /// The event of the whole run, with the table or without.
    ///
    /// # Errors
    /// `internal` if it cannot be written.
    pub(super) fn into_part(mut self, with_table: bool) -> Result<Part, Error> {
        let (seq, table) = (self.last(), if with_table { self.cuts.encode() } else { Vec::new() });
        let mut growth = self.growth.into_iter();
        let mut fits = true;
        visit(&self.kind, &mut self.rest, &mut |track| {
            fits &= growth.next().is_some_and(|growth| track.put(growth));
        });
        if !fits {
            return Err(Error::internal("what was merged does not fit its event"));
        }
        let event = if *self.kind == *kind::CHAT_CHUNK {
            encode_plain(&self.kind, &self.rest)?
        } else {
            encode(&self.kind, seq, &self.rest)?
        };
        Ok(Part { seq, table: table.into(), event })
    }
}

/// The data of a part's event without what a reader at `after` has; `None` if the reader has all of it.
///
/// # Errors
/// `internal` if the part is none of ours.
pub(super) fn rest_of(part: &Part, after: Seq) -> Result<Option<Bytes>, Error> {
    let broken = || Error::internal("a merged entry of a log does not fit its table");
    let (kind, data) = decode(&part.event).ok_or_else(broken)?;
    let mut data: Node = serde_json::from_slice(&data).map_err(Error::internal)?;
    let mut tracks = 0;
    visit(kind, &mut data, &mut |_| tracks += 1).ok_or_else(broken)?;
    let cuts = Cuts::decode(part.table.clone(), part.seq, tracks).ok_or_else(broken)?;
    let Some(had) = cuts.had(after) else { return Ok(None) };
    let mut had = had.into_iter();
    let mut fits = true;
    visit(kind, &mut data, &mut |track| fits &= had.next().is_some_and(|had| track.cut(had)));
    if !fits {
        return Err(broken());
    }
    serde_json::to_vec(&data).map(|data| Some(data.into())).map_err(Error::internal)
}
