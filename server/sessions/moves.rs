//! Moves: a session gets a log, another one, or none any more.
//!
//! It owns that no log is left behind by a crash in between. A move names the logs of which at most one stays before it begins; what
//! stays is what the record of the session says, and the others are removed, by the move itself or by the next start.

use bytes::Bytes;
use tidemark_store::{LogId, Version, WriteError};

use crate::error::Error;
use crate::sessions::record::{MOVES, Move, Name, Place};
use crate::sessions::{Sessions, Shared};

/// Moves are looked for in pages of this many.
const PAGE: usize = 256;

/// A move that has begun.
#[derive(Debug)]
pub(super) struct Begun {
    what: Move,
    name: Bytes,
    version: Version,
}

impl Shared {
    /// Begins a move.
    pub(super) async fn begin_move(&self, what: Move) -> Result<Begun, Error> {
        let (name, value) = (what.name(), what.encode()?);
        let version = self.store.put_record(&name, None, Some(value)).await;
        Ok(Begun { what, name, version: version.map_err(crate::faults::of_write)? })
    }

    /// Ends a move, whether it was done or not.
    pub(super) async fn end_move(&self, begun: Begun) -> Result<(), Error> {
        let name = Name::of(&begun.what.owner, &begun.what.key);
        let record = self.store.record(name.as_bytes()).await.map_err(Error::internal)?;
        let stays = record.map(|record| Place::decode(&record.value)).transpose()?.map(|place| place.log);
        let given_up: Vec<LogId> =
            begun.what.logs.iter().copied().filter(|log| Some(*log) != stays).collect();
        self.store.purge_many(&given_up).await.map_err(crate::faults::of_write)?;
        match self.store.put_record(&begun.name, Some(begun.version), None).await {
            Ok(_) | Err(WriteError::Conflict { .. }) => Ok(()),
            Err(error) => Err(crate::faults::of_write(error)),
        }
    }
}

impl Sessions {
    /// Ends the moves that an earlier process has left in the middle. To be called once, before the first caller. Returns how many
    /// there were.
    ///
    /// # Errors
    /// `internal`, `storage_unavailable`.
    pub async fn recover(&self) -> Result<usize, Error> {
        let mut count = 0;
        loop {
            let left = self.0.store.records(MOVES.as_bytes(), None, PAGE).await.map_err(Error::internal)?;
            if left.is_empty() {
                return Ok(count);
            }
            for (name, record) in left {
                let begun = Begun { what: Move::decode(&record.value)?, name, version: record.version };
                self.0.end_move(begun).await?;
                count += 1;
            }
        }
    }
}
