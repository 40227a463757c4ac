//! What a reader gets of an entry.
//!
//! It owns the reading side of merged entries: all of one, or exactly the part of it that lies after a position.

use bytes::Bytes;
use tidemark_store::{Entry, Seq};

use super::bundle::Bundle;
use super::run::rest_of;
use crate::error::Error;
use crate::runs::event::{Event, decode};

/// Where a reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::runs) struct Position {
    /// The last seq that it has; absent = nothing yet.
    pub(in crate::runs) after: Option<Seq>,
    /// Whether it is known to have all that lies up to there and nothing else, and not only the number.
    pub(in crate::runs) exact: bool,
}

/// Why an entry cannot be read from a position.
#[derive(Debug)]
pub(in crate::runs) enum Refusal {
    /// The position lies inside of what was merged for good, or on a seam.
    Inside,
    /// The entry is none of ours.
    Broken(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Broken(error)
    }
}

/// The events that lie after a position, in the entry that covers the number after it or in a later one. At least one.
///
/// # Errors
/// [`Refusal`].
pub(in crate::runs) fn events(entry: &Entry, position: Position) -> Result<Vec<Event>, Refusal> {
    let bundle = open(&entry.payload, entry.seq)?;
    let inside = position.after.filter(|after| entry.first <= *after);
    let Some(after) = inside else {
        return Ok(bundle
            .parts
            .iter()
            .map(|part| Event::decode(part.seq, &part.event))
            .collect::<Result<_, _>>()?);
    };
    let on_a_seam = !position.exact && bundle.seams.binary_search(&after).is_ok();
    if on_a_seam || bundle.parts.iter().any(|part| part.table.is_empty()) {
        return Err(Refusal::Inside);
    }
    let mut events = Vec::new();
    for part in &bundle.parts {
        if let Some(data) = rest_of(part, after)? {
            let (kind, _) = decode(&part.event).ok_or_else(broken)?;
            events.push(Event { seq: part.seq, kind: kind.into(), data });
        }
    }
    Ok(events)
}

/// The events of an entry, each as it would lie in the log alone.
///
/// # Errors
/// `internal` if the entry is none of ours.
pub(in crate::runs) fn payloads(payload: &Bytes) -> Result<impl Iterator<Item = Bytes>, Error> {
    // The numbers do not matter here, and none lies beyond this one.
    Ok(open(payload, Seq::new(u64::MAX))?.parts.into_iter().map(|part| part.event))
}

fn open(payload: &Bytes, last: Seq) -> Result<Bundle, Error> {
    Bundle::decode(payload, last).ok_or_else(broken)
}

fn broken() -> Error {
    Error::internal("an entry of a log is not an event")
}
