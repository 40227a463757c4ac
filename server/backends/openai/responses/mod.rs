//! The Responses dialect: `POST {base_url}/responses`.
//!
//! It owns what a backend of our own API is asked for, and what of its stream is about the answer: that passes on as it is. The
//! events about the response as a whole are the gateway's own, so of the backend's only the outcome is kept.

mod pieces;
mod request;
mod stream;

pub(super) use pieces::Pieces;
pub(super) use request::body;
pub(super) use stream::{MAX_WHOLE_EVENT, Reader};
