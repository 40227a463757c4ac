//! The compaction of a response that runs.
//!
//! It owns one merge at a time beside the run: the run drives it while it waits for other things, and dropping the run ends it. The
//! merging itself is done where it holds up nobody.

use std::fmt;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tidemark_store::{Compact, Entry, Head, LogId, ReadLimit, Seq, Span};
use tokio::task::spawn_blocking;

pub(in crate::runs) use super::layers::Load;
use super::layers::{Bite, Bitten, Layers};
use super::merge::{Form, merge};
use crate::error::Error;
use crate::runs::handle::Shared;

/// Keeps the log of one running response within its caps.
pub(in crate::runs) struct Compactor {
    shared: Arc<Shared>,
    log: LogId,
    layers: Layers,
    running: Option<(Bite, BoxFuture<'static, Result<Outcome, Error>>)>,
}

struct Outcome {
    bitten: Bitten,
    /// Where the log stands; absent if nothing could be made smaller.
    head: Option<Head>,
}

impl Compactor {
    /// Of a log that stands at `head` and was never compacted.
    pub(in crate::runs) fn new(shared: &Arc<Shared>, log: LogId, head: &Head) -> Self {
        let layers = Layers::new(shared.store.caps(), head);
        Self { shared: Arc::clone(shared), log, layers, running: None }
    }

    /// Whether `pending` is as much as one append should bring, so that there is time to merge between two.
    pub(in crate::runs) fn is_enough(&self, pending: Load) -> bool {
        let Load { entries, bytes } = self.layers.bite();
        pending.entries >= entries || pending.bytes >= bytes
    }

    /// Takes note that entries were appended.
    pub(in crate::runs) fn appended(&mut self, load: Load) {
        self.layers.grow(load);
    }

    /// Begins to merge if it is time to. Returns whether the run must wait with what is `pending`, because it would push out what
    /// can still be merged (D-19).
    pub(in crate::runs) fn must_wait(&mut self, head: &Head, pending: Load) -> bool {
        self.layers.shrink(head);
        if self.running.is_none()
            && let Some(bite) = self.layers.next(head, pending)
        {
            let work = take(Arc::clone(&self.shared), self.log, head.generation, bite);
            self.running = Some((bite, work.boxed()));
        }
        self.running.is_some() && self.layers.is_full(head, pending)
    }

    /// Waits until the merge is done that is under way, for ever if there is none. Returns where the log stands, if it has changed.
    /// Cancel safe.
    pub(in crate::runs) async fn done(&mut self) -> Option<Head> {
        let Some((bite, work)) = &mut self.running else { return std::future::pending().await };
        let bite = *bite;
        let outcome = work.await;
        self.running = None;
        match outcome {
            Ok(Outcome { bitten, head }) => {
                self.layers.done(bite, bitten);
                head
            }
            Err(error) => {
                tracing::warn!(log = %self.log, %error, "events could not be merged; they stay as they are");
                self.layers.give_up(bite);
                None
            }
        }
    }
}

impl fmt::Debug for Compactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let running = self.running.as_ref().map(|(bite, _)| bite);
        f.debug_struct("Compactor")
            .field("layers", &self.layers)
            .field("running", &running)
            .finish_non_exhaustive()
    }
}

async fn take(shared: Arc<Shared>, log: LogId, generation: u64, bite: Bite) -> Result<Outcome, Error> {
    let _turn = shared.merging.acquire().await.map_err(Error::internal)?;
    let entries = read(&shared, log, bite).await?;
    let through = entries.last().map(|entry| entry.seq).ok_or_else(|| Error::internal("nothing to merge"))?;
    let never_merged = entries.iter().filter(|entry| entry.seq >= bite.raw_from);
    let raw = load(never_merged.map(|entry| &entry.payload));
    let (before, spans) = merged(entries, Form::Cuttable).await?;
    let left = load(spans.iter().map(|span| &span.payload));
    let bitten = Bitten { through, raw, left };
    if left.entries == before.entries {
        return Ok(Outcome { bitten, head: None });
    }
    let compact = Compact { id: log, generation, from: bite.from, spans, settles: false };
    let head = shared.compact(compact).await.map_err(Error::internal)?;
    Ok(Outcome { bitten, head: Some(head) })
}

async fn read(shared: &Shared, log: LogId, bite: Bite) -> Result<Vec<Entry>, Error> {
    let limit = ReadLimit { bytes: usize::try_from(bite.bytes).unwrap_or(usize::MAX), entries: usize::MAX };
    let (mut entries, mut bytes, mut after) = (Vec::new(), 0, bite.from.previous());
    while after < Some(bite.through) && (after < Some(bite.raw_from) || bytes < bite.bytes) {
        let left = bite.through.get() + 1 - Seq::after(after).get();
        let limit = ReadLimit { entries: usize::try_from(left).unwrap_or(usize::MAX), ..limit };
        let batch = shared.store.read(log, after, limit).await.map_err(Error::internal)?;
        let fitting = batch.entries.into_iter().take_while(|entry| entry.seq <= bite.through);
        let before = entries.len();
        for entry in fitting {
            bytes += entry.payload.len() as u64;
            after = Some(entry.seq);
            entries.push(entry);
        }
        if entries.len() == before {
            return Err(Error::internal("the log does not hold what was appended to it"));
        }
    }
    Ok(entries)
}

/// Merges where it holds up nobody; returns also what the entries were.
pub(super) async fn merged(entries: Vec<Entry>, form: Form) -> Result<(Load, Vec<Span>), Error> {
    let merged = spawn_blocking(move || {
        let before = load(entries.iter().map(|entry| &entry.payload));
        merge(&entries, form).map(|spans| (before, spans))
    });
    merged.await.map_err(Error::internal)?
}

/// How many payloads there are, and how large.
pub(super) fn load<'a>(payloads: impl Iterator<Item = &'a bytes::Bytes>) -> Load {
    payloads.fold(Load::default(), |sum, payload| Load {
        entries: sum.entries + 1,
        bytes: sum.bytes + payload.len() as u64,
    })
}
