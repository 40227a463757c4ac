//! Which reader reads which answer.
//!
//! It owns the choice by dialect and API. [`Reading`] is the way from the bytes of an answer to its steps without a connection, for
//! whoever measures it or tries to break it.

use std::collections::VecDeque;
use std::time::Duration;

use super::answer::{Progress, Read};
use super::failure::Failures;
use super::{MAX_EVENT, chat, responses};
use crate::backends::sse::{Decoder, Event};
use crate::backends::{Api, Dialect, Step};
use crate::error::Error;

/// Any reader.
type AnyReader = Box<dyn Read + Send + Unpin>;

impl Read for AnyReader {
    fn progress(&self) -> Progress {
        (**self).progress()
    }

    fn read(&mut self, event: Event<'_>, steps: &mut VecDeque<Step>) -> Result<(), Error> {
        (**self).read(event, steps)
    }
}

/// The reader of an answer of so many choices, and the most bytes of one of its events.
pub(super) fn reader(dialect: Dialect, api: Api, choices: usize, failures: Failures) -> (AnyReader, usize) {
    match (dialect, api) {
        (Dialect::Chat, Api::Responses) => (Box::new(chat::Reader::new(failures)), MAX_EVENT),
        (Dialect::Chat, Api::Chat) => (Box::new(chat::PassedReader::new(choices, failures)), MAX_EVENT),
        (Dialect::Responses, Api::Responses) => {
            (Box::new(responses::Reader::new(failures)), responses::MAX_WHOLE_EVENT)
        }
        (Dialect::Responses, Api::Chat) => {
            let reader = responses::Pieces::new(responses::Reader::new(failures));
            (Box::new(reader), responses::MAX_WHOLE_EVENT)
        }
    }
}

/// An answer that is read from bytes.
pub struct Reading {
    decoder: Decoder,
    reader: AnyReader,
    failures: Failures,
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").field("progress", &self.reader.progress()).finish_non_exhaustive()
    }
}

impl Reading {
    /// Of an answer of so many choices, in this dialect, to a request of this API.
    pub fn new(dialect: Dialect, api: Api, choices: usize) -> Self {
        let failures = Failures::new("local", None, Duration::ZERO);
        let (reader, max_event) = reader(dialect, api, choices, failures.clone());
        Self { decoder: Decoder::new(max_event), reader, failures }
    }

    /// Takes in bytes and adds the steps of all whole events to `steps`.
    ///
    /// # Errors
    /// `backend_error`, `event_too_large` and others: what is wrong with the answer. The steps before it count.
    pub fn read(&mut self, bytes: &[u8], steps: &mut VecDeque<Step>) -> Result<(), Error> {
        self.decoder.push(bytes);
        while self.reader.progress() != Progress::Done {
            let event = self.decoder.next_event().map_err(|error| self.failures.decode(error))?;
            let Some(event) = event else { break };
            self.reader.read(event, steps)?;
        }
        Ok(())
    }
}
