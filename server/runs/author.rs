//! Who writes the events and the object of one response.
//!
//! It owns the choice between the words of the two APIs, so that the run and recovery need not know them. It must never know when or
//! whether an event becomes durable.

use std::sync::Arc;

use bytes::Bytes;
use tidemark_store::Seq;

use crate::backends::{Api, Finish, Step};
use crate::clock::Clock;
use crate::error::Error;
use crate::runs::chat;
use crate::runs::compose::{Composer, Stop};
use crate::runs::document::Document;
use crate::runs::event::{Outbox, kind};
use crate::runs::fold::Content;
use crate::runs::id::ResponseId;
use crate::runs::object::{Body, State, Template};
use crate::runs::status::{Ending, Status};

/// Accumulates an answer and writes its events.
#[derive(Debug)]
pub(super) enum Author {
    Responses(Box<Prose>),
    Chat(Box<chat::Composer>),
}

/// A response in the words of the Responses API.
#[derive(Debug)]
pub(super) struct Prose {
    template: Template,
    composer: Composer,
}

/// Where a response stands, as its object says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing<'a> {
    pub(super) status: Status,
    /// Seconds since 1970; only with [`Status::Completed`].
    pub(super) completed_at: Option<u64>,
    /// Only with [`Status::Failed`].
    pub(super) error: Option<&'a Error>,
}

impl Standing<'_> {
    /// Where one stands that has not ended.
    pub(super) fn at(status: Status) -> Self {
        Self { status, completed_at: None, error: None }
    }
}

/// A moment in the life of a response that has an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Created,
    Queued,
    InProgress,
    Ended,
}

impl Author {
    /// Without output. `limit` is in bytes of JSON text.
    ///
    /// # Errors
    /// `internal` if the request was not checked.
    pub(super) fn new(
        clock: &Arc<dyn Clock>,
        limit: usize,
        id: ResponseId,
        document: &Document,
    ) -> Result<Self, Error> {
        Ok(match document.api {
            Api::Responses => Self::Responses(Box::new(Prose {
                template: Template::new(id, document)?,
                composer: Composer::new(Arc::clone(clock), limit, id),
            })),
            Api::Chat => Self::Chat(Box::new(chat::Composer::new(id, document, limit)?)),
        })
    }

    /// Goes on from what was read back from a log.
    ///
    /// # Errors
    /// `internal` if that is of the other API.
    pub(super) fn restore(&mut self, content: Content) -> Result<(), Error> {
        match (self, content) {
            (Self::Responses(prose), Content::Responses(output)) => prose.composer.restore(output),
            (Self::Chat(composer), Content::Chat(answer)) => composer.restore(answer),
            _ => return Err(Error::internal("the log of a response is of another API than its request")),
        }
        Ok(())
    }

    /// The first events of a response, and the status they leave it with.
    pub(super) fn first_events(&mut self, background: bool) -> Result<(Vec<Bytes>, Status), Error> {
        let status = if background { Status::Queued } else { Status::InProgress };
        let mut outbox = Outbox::new(Seq::FIRST);
        self.tell(Moment::Created, Standing::at(status), &mut outbox)?;
        if background {
            self.tell(Moment::Queued, Standing::at(status), &mut outbox)?;
        }
        Ok((outbox.take(), status))
    }

    /// Writes an event that carries the whole object.
    pub(super) fn tell(
        &mut self,
        moment: Moment,
        standing: Standing<'_>,
        outbox: &mut Outbox,
    ) -> Result<(), Error> {
        match self {
            Self::Responses(prose) => {
                let (template, state) = prose.at(standing)?;
                outbox.push(moment.event(standing.status), &Body { response: &template.at(state) })
            }
            Self::Chat(composer) => composer.tell(moment.chat_event(standing.status), &standing, outbox),
        }
    }

    /// The object as one line of JSON.
    pub(super) fn object(&mut self, standing: Standing<'_>) -> Result<Bytes, Error> {
        let json = match self {
            Self::Responses(prose) => {
                let (template, state) = prose.at(standing)?;
                serde_json::to_vec(&template.at(state))
            }
            Self::Chat(composer) => return composer.object(&standing).map(Bytes::from),
        };
        json.map(Bytes::from).map_err(Error::internal)
    }

    /// Whether nothing was put out.
    pub(super) fn is_silent(&self) -> bool {
        match self {
            Self::Responses(prose) => prose.composer.is_silent(),
            Self::Chat(composer) => composer.is_silent(),
        }
    }

    /// Why the backend stopped, once it has said so.
    pub(super) fn finish(&self) -> Option<Finish> {
        match self {
            Self::Responses(prose) => prose.composer.finish(),
            Self::Chat(composer) => composer.finish(),
        }
    }

    /// Takes in one step and writes what it means to `outbox`.
    pub(super) fn apply(&mut self, step: Step, outbox: &mut Outbox) -> Result<(), Stop> {
        match self {
            Self::Responses(prose) => prose.composer.apply(step, outbox),
            Self::Chat(composer) => composer.apply(step, outbox),
        }
    }

    /// Brings what is open to its end, as this ending wants it.
    pub(super) fn end(&mut self, ending: &Ending, outbox: &mut Outbox) -> Result<(), Error> {
        match self {
            Self::Responses(prose) => prose.composer.end(ending, outbox),
            Self::Chat(composer) => composer.end(ending, outbox),
        }
    }
}

impl Prose {
    fn at<'a>(&'a mut self, standing: Standing<'a>) -> Result<(&'a Template, State<'a>), Error> {
        let Standing { status, completed_at, error } = standing;
        let usage = self.composer.usage();
        let output = self.composer.output()?;
        Ok((&self.template, State { status, completed_at, error, output, usage }))
    }
}

impl Moment {
    /// There is no terminal event of its own for a cancelled response, and SDK helpers break on an unknown one (D-11).
    fn event(self, status: Status) -> &'static str {
        match (self, status) {
            (Self::Created, _) => kind::CREATED,
            (Self::Queued, _) => kind::QUEUED,
            (Self::InProgress, _) => kind::IN_PROGRESS,
            (Self::Ended, Status::Completed) => kind::COMPLETED,
            (Self::Ended, Status::Failed) => kind::FAILED,
            (Self::Ended, _) => kind::INCOMPLETE,
        }
    }

    fn chat_event(self, status: Status) -> &'static str {
        match (self, status) {
            (Self::Created | Self::Queued, _) => kind::CHAT_CREATED,
            (Self::InProgress, _) => kind::CHAT_IN_PROGRESS,
            (Self::Ended, Status::Completed) => kind::CHAT_COMPLETED,
            (Self::Ended, Status::Failed) => kind::CHAT_FAILED,
            (Self::Ended, _) => kind::CHAT_INCOMPLETE,
        }
    }
}
