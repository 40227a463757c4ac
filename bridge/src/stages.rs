//! The last stage of a stream alone, from messages to the bytes of its frames, for whoever measures it.

use bytes::Bytes;
use tidemark_proto::v1::{Api, Event};

use crate::chat::ChunkFrames;
use crate::sse::{Batch, EventFrames, Frames};

/// Writes the frames of one reader from the first event on.
#[derive(Debug)]
pub struct Framing(Kind);

#[derive(Debug)]
enum Kind {
    Events(EventFrames),
    Chunks(ChunkFrames),
}

impl Framing {
    /// In the form of this API.
    pub fn new(api: Api) -> Self {
        Self(match api {
            Api::ChatCompletions => Kind::Chunks(ChunkFrames::new(false, None)),
            Api::Unspecified | Api::Responses => Kind::Events(EventFrames::new(false, None)),
        })
    }

    /// The frames of these events.
    pub fn frames(&mut self, events: Vec<Event>) -> Bytes {
        let batch = Batch { events, gap: None };
        match &mut self.0 {
            Kind::Events(frames) => frames.batch(&batch),
            Kind::Chunks(frames) => frames.batch(&batch),
        }
    }
}
