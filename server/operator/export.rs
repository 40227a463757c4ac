//! `store export`: responses and sessions as JSON, one line for each and one for each of its events or entries.

use std::path::Path;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use tidemark_store::embedded::{EmbeddedStore, Options};
use tidemark_store::{Head, LogId, Owner, ReadLimit, Seq, Store};

use super::{Failure, Output};
use crate::runs::{Event, ResponseId, Status, events_of};

/// The most responses that one look at the index finds.
const PAGE: usize = 256;

/// How much of a response is in memory at once.
const READ: ReadLimit = ReadLimit { entries: 1024, bytes: 1 << 20 };

/// Which responses are taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Those of all owners, the oldest first.
    All,
    /// Those of one owner, the newest first.
    OfOwner(Owner),
    /// One.
    One(ResponseId),
}

/// What was taken out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Responses.
    pub responses: u64,
    /// Events of these.
    pub events: u64,
    /// Sessions.
    pub sessions: u64,
    /// Responses and sessions that could not be read whole; each has a line that says why.
    pub faults: u64,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line<'a> {
    Response {
        id: String,
        owner: &'a str,
        /// Milliseconds since 1970.
        created_at: u64,
        status: &'a str,
        closed: bool,
        committed: u64,
        watermark: Option<u64>,
        generation: u64,
        compacts_at: Option<u64>,
        expires_at: Option<u64>,
        retained_entries: u64,
        retained_bytes: u64,
        request: &'a RawValue,
    },
    Event {
        id: String,
        seq: u64,
        r#type: &'a str,
        data: &'a RawValue,
    },
    Session {
        /// The id of its log.
        id: String,
        owner: &'a str,
        key: &'a str,
        /// Milliseconds since 1970: since it was made, or reset last.
        created_at: u64,
        committed: u64,
        expires_at: Option<u64>,
        retained_entries: u64,
        retained_bytes: u64,
    },
    Entry {
        /// The id of the log of its session.
        id: String,
        seq: u64,
        entry: &'a RawValue,
    },
    Fault {
        id: String,
        error: &'a str,
    },
}

/// Why a response was not written.
enum Stopped {
    /// It cannot be read.
    Fault(String),
    Output(Failure),
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Output(failure)
    }
}

fn fault(error: impl std::fmt::Display) -> Stopped {
    Stopped::Fault(error.to_string())
}

/// Writes what is selected of the store in `dir`, which is opened as a server does. A response that cannot be read whole does not
/// stop the others.
///
/// # Errors
/// [`Failure`].
pub async fn export(
    dir: &Path,
    options: Options,
    selection: &Selection,
    mut output: Output,
) -> Result<Exported, Failure> {
    let store = EmbeddedStore::open_existing(dir, options)?;
    let mut export = Export { store: &store, output: &mut output, exported: Exported::default() };
    let done = match selection {
        Selection::All => export.all().await,
        Selection::OfOwner(owner) => export.of_owner(owner).await,
        Selection::One(id) => {
            let known = export.log(id.log()).await?;
            let unknown = || Failure::Unknown { dir: dir.to_owned(), id: id.to_string() };
            if known { Ok(()) } else { Err(unknown()) }
        }
    };
    let exported = export.exported;
    store.close().await;
    done?;
    output.finish()?;
    Ok(exported)
}

/// [`export`] for a program that does nothing else.
///
/// # Errors
/// [`Failure`].
pub fn export_blocking(
    dir: &Path,
    options: Options,
    selection: &Selection,
    output: Output,
) -> Result<Exported, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|source| Failure::System { what: "start the runtime", source })?;
    runtime.block_on(export(dir, options, selection, output))
}

struct Export<'a> {
    store: &'a EmbeddedStore,
    output: &'a mut Output,
    exported: Exported,
}

impl Export<'_> {
    async fn all(&mut self) -> Result<(), Failure> {
        let mut after = None;
        loop {
            let logs = self.store.logs(after, PAGE).await.map_err(unreadable)?;
            let Some(last) = logs.last().copied() else { return Ok(()) };
            after = Some(last);
            if !self.logs(logs).await? {
                return Ok(());
            }
        }
    }

    async fn of_owner(&mut self, owner: &Owner) -> Result<(), Failure> {
        let mut before = None;
        loop {
            let logs = self.store.logs_of(owner, before, PAGE).await.map_err(unreadable)?;
            let Some(last) = logs.last().copied() else { break };
            before = Some(last);
            if !self.logs(logs).await? {
                return Ok(());
            }
        }
        self.sessions_of(owner).await
    }

    /// Those of one owner: no list has them, so that all logs are looked at.
    async fn sessions_of(&mut self, owner: &Owner) -> Result<(), Failure> {
        let mut after = None;
        loop {
            let logs = self.store.logs(after, PAGE).await.map_err(unreadable)?;
            let Some(last) = logs.last().copied() else { return Ok(()) };
            after = Some(last);
            let heads = self.store.heads(&logs).await.map_err(unreadable)?;
            let own = heads.iter().filter(|(_, head)| head.endless && head.owner == *owner);
            if !self.logs(own.map(|(log, _)| *log).collect()).await? {
                return Ok(());
            }
        }
    }

    /// Writes these; returns whether somebody takes more.
    async fn logs(&mut self, logs: Vec<LogId>) -> Result<bool, Failure> {
        for log in logs {
            self.log(log).await?;
            if self.output.is_abandoned() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes a response, or why it cannot be read; returns whether there is one.
    async fn log(&mut self, log: LogId) -> Result<bool, Failure> {
        match self.whole(log).await {
            Ok(known) => Ok(known),
            Err(Stopped::Output(failure)) => Err(failure),
            Err(Stopped::Fault(error)) => {
                self.exported.faults += 1;
                let id = ResponseId::of_log(log).to_string();
                self.output.json(&Line::Fault { id, error: &error })?;
                Ok(true)
            }
        }
    }

    async fn whole(&mut self, log: LogId) -> Result<bool, Stopped> {
        let Some(head) = self.store.head(log).await.map_err(fault)? else { return Ok(false) };
        if head.endless {
            return self.session(log, &head).await.map(|()| true);
        }
        self.exported.responses += 1;
        let document = self.store.document(log).await.map_err(fault)?;
        self.output.json(&response(log, &head, raw(&document)?))?;
        // A position beyond what a power cut left reads as lost: what follows is read at once, and is short.
        let limit =
            head.recovered_through.map_or(READ, |_| ReadLimit { entries: usize::MAX, bytes: usize::MAX });
        let mut after = head.frontier.watermark;
        while after < Some(head.frontier.committed) {
            let batch = self.store.read(log, after, limit).await.map_err(fault)?;
            let Some(last) = batch.entries.last() else { break };
            after = Some(last.seq);
            for entry in &batch.entries {
                for event in events_of(entry).map_err(fault)? {
                    self.event(log, &event)?;
                }
            }
            if self.output.is_abandoned() {
                break;
            }
        }
        Ok(true)
    }

    async fn session(&mut self, log: LogId, head: &Head) -> Result<(), Stopped> {
        self.exported.sessions += 1;
        let key = self.store.document(log).await.map_err(fault)?;
        let committed = head.frontier.committed;
        self.output.json(&Line::Session {
            id: log.to_string(),
            owner: head.owner.as_str(),
            key: std::str::from_utf8(&key).map_err(fault)?,
            created_at: head.created_at.0,
            committed: committed.get(),
            expires_at: head.expires_at.map(|at| at.0),
            retained_entries: head.retained_entries,
            retained_bytes: head.retained_bytes,
        })?;
        let mut after = None;
        while after < Some(committed) {
            let batch = self.store.read(log, after, READ).await.map_err(fault)?;
            let Some(last) = batch.entries.last() else { break };
            after = Some(last.seq);
            for entry in &batch.entries {
                let (id, seq) = (log.to_string(), entry.seq.get());
                self.output.json(&Line::Entry { id, seq, entry: raw(&entry.payload)? })?;
            }
            if self.output.is_abandoned() {
                break;
            }
        }
        Ok(())
    }

    fn event(&mut self, log: LogId, event: &Event) -> Result<(), Stopped> {
        let id = ResponseId::of_log(log).to_string();
        let line = Line::Event { id, seq: event.seq.get(), r#type: &event.kind, data: raw(&event.data)? };
        self.exported.events += 1;
        Ok(self.output.json(&line)?)
    }
}

fn response<'a>(log: LogId, head: &'a Head, request: &'a RawValue) -> Line<'a> {
    let frontier = head.frontier;
    Line::Response {
        id: ResponseId::of_log(log).to_string(),
        owner: head.owner.as_str(),
        created_at: head.created_at.0,
        status: Status::from_byte(head.status).map_or("unknown", Status::name),
        closed: frontier.closed,
        committed: frontier.committed.get(),
        watermark: frontier.watermark.map(Seq::get),
        generation: head.generation,
        compacts_at: head.compacts_at.map(|at| at.0),
        expires_at: head.expires_at.map(|at| at.0),
        retained_entries: head.retained_entries,
        retained_bytes: head.retained_bytes,
        request,
    }
}

fn raw(bytes: &Bytes) -> Result<&RawValue, Stopped> {
    serde_json::from_slice(bytes).map_err(|error| fault(format!("what is stored is no JSON: {error}")))
}

fn unreadable(error: impl std::fmt::Display) -> Failure {
    Failure::Unreadable(error.to_string())
}
