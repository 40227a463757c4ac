//! Copying forward: what is live in a segment that shall go is written again at the end of the log.
//!
//! It owns the pace, and how a log becomes frames: all of it together, the first frame with its origin, so that no older frame is
//! needed. It goes through the writer like everybody; a log that changes under it is left for another time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::change::Span;
use super::cleaner::Signal;
use super::index::IndexError;
use super::keys::StoredRecord;
use super::log::Extent;
use super::read;
use super::rewrite::{Kind, Look, PutSpans};
use super::shared::Shared;
use super::writer::{Command, PutRecord};
use crate::api::{Appended, Version, WriteError};
use crate::types::{LogId, Seq};

/// A frame of a copy has some this many bytes: who reads one entry of it reads them all.
const FRAME_BYTES: u64 = 32 << 10;

/// What waits for the writer at a time is some this many bytes.
const MAX_PENDING_BYTES: u64 = 256 << 10;

/// The most commands that wait for the writer at a time.
const MAX_PENDING: usize = 256;

/// The longest that it waits for others after a chunk.
const MAX_PAUSE: Duration = Duration::from_millis(100);

/// The writer takes no more, or the store closes.
#[derive(Debug)]
pub(crate) struct Stopped;

impl From<IndexError> for Stopped {
    fn from(_: IndexError) -> Self {
        Self
    }
}

/// Writes logs and records again.
#[derive(Debug)]
pub(crate) struct Copier {
    shared: Arc<Shared>,
    signal: Arc<Signal>,
    /// Weak: the writer ends when the store has gone.
    commands: mpsc::WeakSender<Command>,
}

/// What was handed to the writer and not answered yet.
#[derive(Debug)]
struct Pending {
    logs: VecDeque<oneshot::Receiver<Result<Appended, WriteError>>>,
    records: VecDeque<oneshot::Receiver<Result<Option<Version>, WriteError>>>,
    bytes: u64,
    since: Instant,
}

impl Pending {
    fn new() -> Self {
        Self { logs: VecDeque::new(), records: VecDeque::new(), bytes: 0, since: Instant::now() }
    }

    fn is_full(&self) -> bool {
        self.bytes >= MAX_PENDING_BYTES || self.logs.len() + self.records.len() >= MAX_PENDING
    }
}

impl Copier {
    pub(crate) fn new(shared: Arc<Shared>, signal: Arc<Signal>, commands: mpsc::WeakSender<Command>) -> Self {
        Self { shared, signal, commands }
    }

    /// Writes these again, as far as they stand as the index says. Returns when all of it is durable.
    pub(crate) fn copy(&self, logs: &[LogId], records: &[(Bytes, StoredRecord)]) -> Result<(), Stopped> {
        if logs.is_empty() && records.is_empty() {
            return Ok(());
        }
        let mut pending = Pending::new();
        for id in logs {
            self.copy_log(*id, &mut pending)?;
        }
        for (key, stored) in records {
            self.copy_record(key, stored, &mut pending)?;
        }
        self.settle(&mut pending)
    }

    fn copy_log(&self, id: LogId, pending: &mut Pending) -> Result<(), Stopped> {
        let Some(pin) = self.shared.pin(id)? else { return Ok(()) };
        let (stored, look) = {
            let state = pin.state();
            let stored = state.committed.clone().filter(|stored| !stored.head.frontier.gone);
            let Some(stored) = stored.filter(|_| state.rewriting == 0) else { return Ok(()) };
            (stored, Look::at_frames(state.fence))
        };
        let from = Seq::after(stored.head.frontier.watermark);
        // What cannot be read stays where it is; its reader gets the error.
        let Ok(origin) = read::read_origin(&self.shared.segments, id, &stored) else { return Ok(()) };
        let mut origin = Some(origin);
        for chunk in self.chunks(id, from)? {
            let Some(spans) = self.spans(id, from, &chunk) else { return Ok(()) };
            let bytes = spans.iter().map(|span| span.payload.inline_len()).sum::<u64>();
            let first = chunk.first().map_or(from, |extent| extent.first.max(from));
            let (reply, answer) = oneshot::channel();
            let kind = Kind::Copy(origin.take());
            let put = PutSpans { pin: pin.clone(), kind, from: first, spans, look, reply };
            self.send(Command::Rewrite(Box::new(put)))?;
            pending.logs.push_back(answer);
            pending.bytes += bytes;
            if pending.is_full() {
                self.settle(pending)?;
            }
        }
        Ok(())
    }

    /// The frames of a log from `from` on, in parts of about [`FRAME_BYTES`].
    fn chunks(&self, id: LogId, from: Seq) -> Result<Vec<Vec<Extent>>, IndexError> {
        let (mut chunks, mut chunk, mut bytes, mut next) = (Vec::new(), Vec::new(), 0, from);
        for record in self.shared.index.extent_records(id, from) {
            for extent in record? {
                if extent.first > next || extent.last < next {
                    continue;
                }
                next = extent.last.next();
                bytes += extent.live_bytes();
                chunk.push(extent);
                if bytes >= FRAME_BYTES {
                    chunks.push(std::mem::take(&mut chunk));
                    bytes = 0;
                }
            }
        }
        if !chunk.is_empty() {
            chunks.push(chunk);
        }
        Ok(chunks)
    }

    /// The entries of these frames from `from` on.
    fn spans(&self, id: LogId, from: Seq, extents: &[Extent]) -> Option<Vec<Span>> {
        let mut spans = Vec::new();
        for extent in extents {
            let entries = read::read_extent(&self.shared.segments, id, extent).ok()?;
            let retained = entries.into_iter().filter(|entry| entry.last >= from);
            spans.extend(retained.map(|entry| Span { last: entry.last, payload: entry.payload }));
        }
        Some(spans)
    }

    fn copy_record(&self, key: &Bytes, stored: &StoredRecord, pending: &mut Pending) -> Result<(), Stopped> {
        let seen = self.shared.see_record(key)?;
        let (reply, answer) = oneshot::channel();
        let (expected, value) = (Some(stored.record.version), Some(stored.record.value.clone()));
        let put = PutRecord { key: key.clone(), expected, value, is_copy: true, seen, reply };
        self.send(Command::Record(put))?;
        pending.records.push_back(answer);
        pending.bytes += stored.length;
        if pending.is_full() {
            self.settle(pending)?;
        }
        Ok(())
    }

    pub(crate) fn send(&self, command: Command) -> Result<(), Stopped> {
        let commands = self.commands.upgrade().ok_or(Stopped)?;
        commands.blocking_send(command).map_err(|_| Stopped)
    }

    /// Waits until all that was handed over is answered, and then as long as that took: half of the disk is for others. A refusal
    /// is no fault: what it was about has changed.
    fn settle(&self, pending: &mut Pending) -> Result<(), Stopped> {
        for answer in pending.logs.drain(..) {
            let _ = answer.blocking_recv().map_err(|_| Stopped)?;
        }
        for answer in pending.records.drain(..) {
            let _ = answer.blocking_recv().map_err(|_| Stopped)?;
        }
        let pause = pending.since.elapsed().min(MAX_PAUSE);
        if self.signal.wait(pause) {
            return Err(Stopped);
        }
        *pending = Pending::new();
        Ok(())
    }
}
