//! From steps to the entries of a log, without a run.
//!
//! It owns nothing but the way in, for whoever measures it or tries to break it: the words are those that a run writes.

use std::sync::Arc;

use bytes::Bytes;
use tidemark_store::Seq;

use crate::backends::{Api, Step};
use crate::clock::SystemClock;
use crate::error::Error;
use crate::runs::author::Author;
use crate::runs::compose::Stop;
use crate::runs::document::Document;
use crate::runs::event::Outbox;
use crate::runs::id::ResponseId;
use crate::runs::status::Ending;

/// The writer of an answer.
#[derive(Debug)]
pub struct Writing {
    author: Author,
    outbox: Outbox,
}

impl Writing {
    /// Of an answer in the words of this API, of at most `limit` bytes of JSON text.
    ///
    /// # Errors
    /// `internal`.
    pub fn new(api: Api, limit: usize) -> Result<Self, Error> {
        let id = ResponseId::from_bytes([1; 16]);
        let document = Document { api, ..Document::lost(api, tidemark_store::UnixMillis(0)) };
        let author = Author::new(&(Arc::new(SystemClock) as _), limit, id, &document)?;
        Ok(Self { author, outbox: Outbox::new(Seq::FIRST) })
    }

    /// Writes what a step means. False if that would pass the limit.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn write(&mut self, step: Step) -> Result<bool, Error> {
        match self.author.apply(step, &mut self.outbox) {
            Ok(()) => Ok(true),
            Err(Stop::Limit) => Ok(false),
            Err(Stop::Fault(error)) => Err(error),
        }
    }

    /// Ends the answer, as failed if an error is given.
    ///
    /// # Errors
    /// `internal`.
    pub fn end(&mut self, error: Option<Error>) -> Result<(), Error> {
        let ending = error.map_or(Ending::Completed, Ending::Failed);
        self.author.end(&ending, &mut self.outbox)
    }

    /// Takes out the entries that were written since the last time.
    pub fn take(&mut self) -> Vec<Bytes> {
        self.outbox.take()
    }
}
