//! How a response enters its session.
//!
//! It owns what enters: all of a response that completed or met a limit; of one that failed or was cancelled what it put out, with its
//! input. If it put out nothing it leaves no trace, so that a second try finds the session as the first one did. That it enters once
//! is the business of [`crate::sessions`].

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use tidemark_store::{Head, LogId, Owner};

use crate::backends::Api;
use crate::error::Error;
use crate::items::{identified, is_message, written_out};
use crate::json::Node;
use crate::runs::document::Document;
use crate::runs::handle::{Found, Runs, Shared};
use crate::runs::id::ResponseId;
use crate::runs::status::Status;
use crate::sessions::{Entering, Entrant, Membership};

#[derive(Deserialize)]
struct Output {
    output: Vec<Box<RawValue>>,
}

/// What matters of an item of the output.
#[derive(Deserialize)]
struct Part {
    id: Option<String>,
    status: Option<String>,
}

impl Runs {
    /// Lets those responses enter their sessions that an earlier process has left between their end and that. One that cannot be read
    /// is named in the log and tried again at the next start.
    ///
    /// # Errors
    /// `internal` if they cannot be listed, `storage_unavailable`.
    pub(super) async fn enter_left(&self) -> Result<(), Error> {
        let (shared, mut after) = (&self.0, None);
        loop {
            let left = shared.sessions.pending(after).await?;
            let Some(last) = left.last() else { return Ok(()) };
            after = Some(*last);
            for log in left {
                let entered = shared.enter_again(ResponseId::of_log(log)).await;
                shared.store.health().borrow().check().map_err(crate::runs::faults::of_write)?;
                if let Err(error) = entered {
                    tracing::error!(response = %ResponseId::of_log(log), %error, "a response could not enter its session");
                }
            }
        }
    }
}

impl Shared {
    /// Lets a response enter its session if it has ended; of one that does not exist nothing is to enter. Some of it may be there.
    pub(super) async fn enter_again(self: &Arc<Self>, id: ResponseId) -> Result<(), Error> {
        let Some(head) = self.store.head(id.log()).await.map_err(Error::internal)? else {
            return self.sessions.forget(id.log()).await;
        };
        let document = self.store.document(id.log()).await.map_err(Error::internal)?;
        let Some(session) = Document::decode(&document)?.session.filter(|_| head.frontier.closed) else {
            return Ok(());
        };
        let entering = self.sessions.entering(&head.owner, &session).await?;
        self.enter(id, &head.owner, &session, &entering, true).await
    }

    /// Lets a response that has ended enter its session.
    pub(super) async fn enter(
        self: &Arc<Self>,
        id: ResponseId,
        owner: &Owner,
        session: &Membership,
        entering: &Entering,
        again: bool,
    ) -> Result<(), Error> {
        let head = self.store.head(id.log()).await.map_err(Error::internal)?;
        let items = match head.filter(|head| head.frontier.closed) {
            Some(head) => self.said(id, head).await?,
            None => Vec::new(),
        };
        self.sessions.enter(entering, owner, session, id.log(), items, again).await
    }

    /// What was said in a response that has ended.
    async fn said(self: &Arc<Self>, id: ResponseId, head: Head) -> Result<Vec<Entrant>, Error> {
        let document = self.store.document(id.log()).await.map_err(Error::internal)?;
        let document = Document::decode(&document)?;
        let response = Runs(Arc::clone(self)).finished(Found { id, head }).await?;
        let Output { output } = serde_json::from_slice(&response.json).map_err(Error::internal)?;
        let broke_off = matches!(response.status, Status::Failed | Status::Cancelled(_));
        if broke_off && output.is_empty() {
            return Ok(Vec::new());
        }
        let input = identified(id.log(), document.items)?.into_iter();
        let input = input.map(|(id, item)| {
            let json = written_out(&id, &item, Api::Responses)?;
            Entrant::new(id, json)
        });
        let output = (0..).zip(output).map(|(place, item)| of_output(id.log(), place, &item));
        input.chain(output).collect()
    }
}

/// An item of the output. What is no message and was not completed means nothing to anybody.
fn of_output(response: LogId, place: u32, item: &RawValue) -> Result<Entrant, Error> {
    let Part { id, status } = serde_json::from_str(item.get()).map_err(Error::internal)?;
    let is_broken = !is_message(item) && status.as_deref().is_some_and(|status| status != "completed");
    // Every backend gives its items ids; one that does not must not hide them.
    let id = id.filter(|id| !id.is_empty()).unwrap_or_else(|| format!("item_{response}o{place:04x}"));
    let mut node = Node::parse(item.get()).map_err(Error::internal)?;
    if status.as_deref() == Some("in_progress") {
        // Nothing goes on in a history.
        node.set("status", Node::text("incomplete"));
    }
    let json = serde_json::to_vec(&node).map_err(Error::internal)?;
    let entrant = Entrant::new(id, json.into())?;
    Ok(if is_broken { entrant.broken() } else { entrant })
}
