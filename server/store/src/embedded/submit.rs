//! The way of a command to the writer.
//!
//! It owns what callers do for the writer, which never reads the disk: they write large payloads, look up what it compares, hand the
//! command over and wait for its answer. It must never know what the writer does with it.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::account::Hold;
use super::change::{MAX_INLINE_BYTES, Payload, Span};
use super::log::{Log, Pin};
use super::read::broken;
use super::rewrite::{Kind, Look, PutSpans, Range};
use super::shared::Shared;
use super::store::{EmbeddedStore, blocking};
use super::writer::Command;
use crate::api::WriteError;
use crate::compaction::Compact;
use crate::types::{Head, LogId, Owner};

/// A batch holds at most this many bytes in the log itself; what is more goes to blob files.
const MAX_INLINE_BATCH_BYTES: usize = 8 << 20;

impl EmbeddedStore {
    /// Splits payloads into those for the log and those for blob files, and writes the latter.
    pub(super) async fn prepare(&self, id: LogId, payloads: Vec<Bytes>) -> Result<Vec<Payload>, WriteError> {
        let bytes = payloads.iter().map(Bytes::len).fold(0, usize::saturating_add);
        if bytes <= MAX_INLINE_BYTES {
            return Ok(payloads.into_iter().map(Payload::Inline).collect());
        }
        let mut inline = 0usize;
        let goes_out = |payload: &Bytes| {
            inline = inline.saturating_add(payload.len());
            payload.len() > MAX_INLINE_BYTES || inline > MAX_INLINE_BATCH_BYTES
        };
        let plan: Vec<bool> = payloads.iter().map(goes_out).collect();
        if !plan.contains(&true) {
            return Ok(payloads.into_iter().map(Payload::Inline).collect());
        }
        let shared = Arc::clone(&self.shared);
        let written = blocking(move || {
            let payloads = payloads.into_iter().zip(plan);
            let write = |(payload, out)| {
                if out { shared.blobs.write(id, &payload) } else { Ok(Payload::Inline(payload)) }
            };
            payloads.map(write).collect::<std::io::Result<Vec<Payload>>>().map_err(|error| {
                shared.poison(&format!("cannot write a blob: {error}"));
                broken(&error)
            })
        });
        written.await.map_err(|error| WriteError::Poisoned(error.to_string()))
    }

    /// Looks at what a compaction replaces, and has the writer do it if that is still there then.
    pub(super) async fn rewrite(
        &self,
        pin: Pin,
        compact: Compact,
        spans: Vec<Span>,
    ) -> Result<Head, WriteError> {
        let (shared, log, seen) = (Arc::clone(&self.shared), pin.clone(), compact.clone());
        let looked = spawn_blocking(move || look_at(&shared, &log, &seen)).await;
        let look = looked.map_err(|error| WriteError::Poisoned(error.to_string()))??;
        let (from, kind) = (compact.from, Kind::Compact(compact));
        self.send(|reply| Command::Rewrite(Box::new(PutSpans { pin, kind, from, spans, look, reply })))
            .await
            .map(|done| done.head)
    }

    /// Hands the writer a command; what it answers is [`outcome`].
    pub(super) async fn enqueue<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, WriteError>>) -> Command,
    ) -> Result<oneshot::Receiver<Result<T, WriteError>>, WriteError> {
        self.shared.check_health()?;
        let (reply, answer) = oneshot::channel();
        // A writer that is gone lets go of the command, and the answer says so.
        let _ = self.commands.send(command(reply)).await;
        Ok(answer)
    }

    /// What a new log of `owner` needs so that the writer can find out whether there is room for it.
    pub(super) async fn hold(&self, owner: &Owner) -> Result<Option<Hold>, WriteError> {
        if !self.shared.accounts.has_quotas() {
            return Ok(None);
        }
        if let Some(hold) = self.shared.accounts.hold_known(owner) {
            return Ok(Some(hold));
        }
        let (shared, owner) = (Arc::clone(&self.shared), owner.clone());
        let held =
            blocking(move || shared.accounts.hold(&shared.index, &owner).map_err(|error| broken(&error)));
        held.await.map(Some).map_err(|error| WriteError::Poisoned(error.to_string()))
    }

    /// Removes what was written for a log that is not made. What stays by a fault of the disk is harmless.
    pub(super) async fn drop_blobs(&self, id: LogId) {
        let shared = Arc::clone(&self.shared);
        let removed = blocking(move || shared.blobs.remove_all(id).map_err(|error| broken(&error))).await;
        if let Err(error) = removed {
            tracing::warn!(log = %id, %error, "blobs of a log that was refused could not be removed");
        }
    }

    /// Hands the writer a command, and waits for what it answers.
    pub(super) async fn send<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, WriteError>>) -> Command,
    ) -> Result<T, WriteError> {
        outcome(&self.shared, self.enqueue(command).await?).await
    }
}

/// What a compaction replaces, once the index has all of it. Blocks.
fn look_at(shared: &Shared, log: &Log, compact: &Compact) -> Result<Look, WriteError> {
    loop {
        shared.check_health()?;
        shared.backlog.catch_up().map_err(|error| WriteError::Poisoned(error.to_string()))?;
        let head = log.state().committed.as_ref().map(|stored| stored.head.clone());
        head.ok_or(WriteError::NotFound)?.check_compact(compact)?;
        let Some(through) = compact.through() else { return Ok(Look::default()) };
        if let Some(look) = Look::at_range(shared, log, Range { from: compact.from, through })? {
            return Ok(look);
        }
    }
}

/// What the writer answers.
pub(super) async fn outcome<T>(
    shared: &Shared,
    answer: oneshot::Receiver<Result<T, WriteError>>,
) -> Result<T, WriteError> {
    if let Ok(answer) = answer.await {
        return answer;
    }
    // The writer is gone, and it says why before it goes.
    shared.check_health()?;
    Err(WriteError::Poisoned("the writer has ended".to_owned()))
}
