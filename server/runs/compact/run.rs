//! A run: deltas of one part that follow each other.
//!
//! It owns which events are deltas, which of them belong together, and the event that a run becomes.

use bytes::Bytes;
use tidemark_store::Seq;

use super::bundle::Part;
use super::cuts::{self, Cut};
use crate::error::Error;
use crate::json::{Node, escaped_len};
use crate::runs::event::{decode, encode};
use crate::runs::output::{Effect, number};

/// What a cut needs in the table, usually.
const CUT_BYTES: usize = 2;

/// Text that grows: a part of an item, or a member of it.
type Place = (Effect, usize, Option<usize>);

/// Deltas of one part, opened.
#[derive(Debug)]
pub(super) struct Run {
    kind: Box<str>,
    place: Place,
    /// All that the events have besides their text, their logprobs and what is of the log. It is the same in each of them.
    rest: Node,
    rest_json: String,
    text: String,
    /// Absent if the events have no such field.
    logprobs: Option<Vec<Node>>,
    cuts: Vec<Cut>,
    bytes: usize,
}

impl Run {
    /// The run of a part of an entry. `None` if it is no delta, or one that cannot be opened: it stays as it is then.
    pub(super) fn open(part: &Part) -> Option<Self> {
        let (kind, data) = decode(&part.event)?;
        let effect = Effect::of(kind)?;
        if !matches!(effect, Effect::PartText(_) | Effect::ItemText(_)) {
            return None;
        }
        let mut rest: Node = serde_json::from_slice(&data).ok()?;
        let index = match effect.parts() {
            Some(parts) => Some(number(&mut rest, parts.index())?),
            None => None,
        };
        let place = (effect, number(&mut rest, "output_index")?, index);
        let text = std::mem::take(rest.remove("delta")?.string()?);
        let logprobs = match rest.get("logprobs").and_then(Node::items).map(std::mem::take) {
            Some(logprobs) => {
                rest.remove("logprobs");
                Some(logprobs)
            }
            None => None,
        };
        for of_the_log in ["type", "sequence_number"] {
            rest.remove(of_the_log);
        }
        let count = logprobs.as_ref().map_or(0, Vec::len);
        let cuts = if part.table.is_empty() {
            vec![Cut { seq: part.seq, text: text.len(), logprobs: count }]
        } else {
            cuts::decode(part.table.clone(), part.seq)?
        };
        let rest_json = serde_json::to_string(&rest).ok()?;
        let probs_bytes = logprobs.iter().flatten().map(Node::json_len).sum::<usize>();
        let bytes = escaped_len(&text) + probs_bytes + rest_json.len() + CUT_BYTES * cuts.len();
        Some(Self { kind: kind.into(), place, rest, rest_json, text, logprobs, cuts, bytes })
    }

    /// About how many bytes it needs in the log.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of its first delta.
    pub(super) fn first(&self) -> Seq {
        self.cuts.first().map_or(Seq::FIRST, |cut| cut.seq)
    }

    /// The number of its last delta.
    pub(super) fn last(&self) -> Seq {
        self.cuts.last().map_or(Seq::FIRST, |cut| cut.seq)
    }

    /// Whether both write the same text.
    pub(super) fn shares_place(&self, other: &Self) -> bool {
        self.place == other.place
    }

    /// Whether `next` can be added without a loss.
    pub(super) fn goes_on_with(&self, next: &Self) -> bool {
        self.kind == next.kind
            && self.logprobs.is_some() == next.logprobs.is_some()
            && self.rest_json == next.rest_json
    }

    /// Adds what follows.
    pub(super) fn append(&mut self, mut next: Self) {
        self.text.push_str(&next.text);
        if let (Some(logprobs), Some(more)) = (&mut self.logprobs, &mut next.logprobs) {
            logprobs.append(more);
        }
        self.cuts.append(&mut next.cuts);
        self.bytes += next.bytes - next.rest_json.len();
    }

    /// The event of the whole run, with the table or without.
    ///
    /// # Errors
    /// `internal` if it cannot be written.
    pub(super) fn into_part(mut self, with_table: bool) -> Result<Part, Error> {
        let (seq, table) = (self.last(), if with_table { cuts::encode(&self.cuts) } else { Vec::new() });
        self.rest.set("delta", Node::text(self.text));
        if let Some(logprobs) = self.logprobs {
            self.rest.set("logprobs", Node::list(logprobs));
        }
        Ok(Part { seq, table: table.into(), event: encode(&self.kind, seq, &self.rest)? })
    }
}

/// The data of a part's event without what a reader at `after` has; `None` if the reader has all of it.
///
/// # Errors
/// `internal` if the part is none of ours.
pub(super) fn rest_of(part: &Part, after: Seq) -> Result<Option<Bytes>, Error> {
    let broken = || Error::internal("a merged entry of a log does not fit its table");
    let cuts = cuts::decode(part.table.clone(), part.seq).ok_or_else(broken)?;
    let Some((text, logprobs)) = cuts::had(&cuts, after) else { return Ok(None) };
    let (_, data) = decode(&part.event).ok_or_else(broken)?;
    let mut data: Node = serde_json::from_slice(&data).map_err(Error::internal)?;
    let delta = data.get("delta").and_then(Node::string).ok_or_else(broken)?;
    *delta = delta.get(text..).ok_or_else(broken)?.to_owned();
    if logprobs > 0 {
        let all = data.get("logprobs").and_then(Node::items).ok_or_else(broken)?;
        if logprobs > all.len() {
            return Err(broken());
        }
        all.drain(..logprobs);
    }
    serde_json::to_vec(&data).map(|data| Some(data.into())).map_err(Error::internal)
}
