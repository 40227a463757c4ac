//! The routes and their settings.
//!
//! It owns which paths and methods exist (D-15). It must never know what is behind them.

use axum::Router;
use axum::middleware;
use axum::routing::{get, post};
use http::{Method, StatusCode};
use thiserror::Error;
use tidemark_proto::MAX_MESSAGE_BYTES;
use tidemark_proto::v1::ErrorCode;

use crate::clients::Clients;
use crate::error::{self, Failure};
use crate::{chat, lists, models, responses};

/// The largest request body unless set otherwise, in bytes.
pub const DEFAULT_BODY_LIMIT: usize = 16 << 20;

/// The largest setting for it, in bytes: a body becomes one gRPC message, whose own fields need some room.
pub const MAX_BODY_LIMIT: usize = MAX_MESSAGE_BYTES - (1 << 20);

/// The settings of the bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    body_limit: usize,
}

/// A limit above [`MAX_BODY_LIMIT`].
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a body limit of {0} bytes is above {MAX_BODY_LIMIT}")]
pub struct BodyLimitTooLarge(usize);

impl Options {
    /// Settings with a limit on request bodies, in bytes.
    ///
    /// # Errors
    /// If it is above [`MAX_BODY_LIMIT`].
    pub fn new(body_limit: usize) -> Result<Self, BodyLimitTooLarge> {
        if body_limit > MAX_BODY_LIMIT {
            return Err(BodyLimitTooLarge(body_limit));
        }
        Ok(Self { body_limit })
    }

    /// The largest request body, in bytes.
    pub fn body_limit(&self) -> usize {
        self.body_limit
    }
}

impl Default for Options {
    fn default() -> Self {
        Self { body_limit: DEFAULT_BODY_LIMIT }
    }
}

/// What every handler has.
#[derive(Clone, Debug)]
pub(crate) struct Bridge {
    pub(crate) clients: Clients,
    pub(crate) options: Options,
}

/// The REST API over `clients`, each path with and without `/v1`. It has a fallback: an unknown path is a JSON 404. The listener
/// puts the principal into the extensions and `x-request-id` into the headers of a request, and the latter on every reply.
pub fn router(clients: Clients, options: Options) -> Router {
    Router::new()
        .nest("/v1", routes())
        .merge(routes())
        .fallback(async || Failure::new(ErrorCode::NotFound, "there is nothing at this path"))
        .method_not_allowed_fallback(other_method)
        .layer(middleware::from_fn(error::render))
        .with_state(Bridge { clients, options })
}

fn routes() -> Router<Bridge> {
    Router::new()
        .route("/responses", get(lists::responses).post(responses::create))
        .route("/responses/{id}", get(responses::get).delete(responses::delete))
        .route("/responses/{id}/cancel", post(responses::cancel))
        .route("/responses/{id}/input_items", get(lists::input_items))
        .route("/chat/completions", get(lists::chats).post(chat::create))
        .route("/chat/completions/{id}", get(chat::get).delete(chat::delete))
        .route("/chat/completions/{id}/cancel", post(chat::cancel))
        .route("/models", get(models::list))
        .route("/models/{*id}", get(models::get))
}

/// What a path says to a method that it does not have; the router adds `Allow`. OPTIONS asks for just that.
async fn other_method(method: Method) -> Result<StatusCode, Failure> {
    if method == Method::OPTIONS {
        return Ok(StatusCode::NO_CONTENT);
    }
    let message = "the path has no such method; `Allow` names those it has";
    Err(Failure::new(ErrorCode::MethodNotAllowed, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_no_message_could_hold_is_refused() {
        assert_eq!(Options::new(MAX_BODY_LIMIT).map(|options| options.body_limit()), Ok(MAX_BODY_LIMIT));
        let refusal = Options::new(MAX_BODY_LIMIT + 1).unwrap_err();
        assert_eq!(refusal.to_string(), "a body limit of 32505857 bytes is above 32505856");
    }
}
