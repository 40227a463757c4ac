//! The routes and their settings.
//!
//! It owns which paths and methods exist (D-15). It must never know what is behind them.

use std::fmt;

use axum::Router;
use axum::middleware;
use axum::routing::{MethodRouter, delete, get, post};
use http::{Method, StatusCode};
use thiserror::Error;
use tidemark_proto::MAX_MESSAGE_BYTES;
use tidemark_proto::v1::ErrorCode;

use crate::clients::Clients;
use crate::error::{self, Failure};
use crate::{chat, conversations, grants, history, keys, lists, models, responses, sessions, tickets};

/// The largest request body unless set otherwise, in bytes.
pub const DEFAULT_BODY_LIMIT: usize = 16 << 20;

/// The largest setting for it, in bytes: a body becomes one gRPC message, whose own fields need some room.
pub const MAX_BODY_LIMIT: usize = MAX_MESSAGE_BYTES - (1 << 20);

/// What paths may begin with (D-15).
pub const VERSION: &str = "/v1";

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
        .nest(VERSION, routes())
        .merge(routes())
        .fallback(async || Failure::new(ErrorCode::NotFound, "there is nothing at this path"))
        .method_not_allowed_fallback(other_method)
        .layer(middleware::from_fn(error::render))
        .with_state(Bridge { clients, options })
}

/// One way in over REST.
pub struct Route {
    /// Its method.
    pub method: Method,
    /// Its path behind `/v1`, as a template.
    pub path: &'static str,
    /// The methods of the contract that it may become a call of, such as `/tidemark.v1.ResponsesService/Get`.
    pub calls: &'static [&'static str],
    handler: fn() -> MethodRouter<Bridge>,
}

/// Every way in: the router is made of these, so that whoever must know what a request will ask for can look it up here.
pub const ROUTES: &[Route] = &[
    Route {
        method: Method::GET,
        path: "/responses",
        calls: &["/tidemark.v1.ResponsesService/List"],
        handler: || get(lists::responses),
    },
    Route {
        method: Method::POST,
        path: "/responses",
        calls: &["/tidemark.v1.ResponsesService/Create", "/tidemark.v1.ResponsesService/CreateStream"],
        handler: || post(responses::create),
    },
    Route {
        method: Method::GET,
        path: "/responses/{id}",
        calls: &["/tidemark.v1.ResponsesService/Get", "/tidemark.v1.ResponsesService/Resume"],
        handler: || get(responses::get),
    },
    Route {
        method: Method::DELETE,
        path: "/responses/{id}",
        calls: &["/tidemark.v1.ResponsesService/Delete"],
        handler: || delete(responses::delete),
    },
    Route {
        method: Method::POST,
        path: "/responses/{id}/cancel",
        calls: &["/tidemark.v1.ResponsesService/Cancel"],
        handler: || post(responses::cancel),
    },
    Route {
        method: Method::POST,
        path: "/responses/{id}/tickets",
        calls: &["/tidemark.v1.ResponsesService/CreateTicket"],
        handler: || post(tickets::create),
    },
    Route {
        method: Method::GET,
        path: "/responses/{id}/input_items",
        calls: &["/tidemark.v1.ResponsesService/ListInputItems"],
        handler: || get(lists::input_items),
    },
    Route {
        method: Method::GET,
        path: "/chat/completions",
        calls: &["/tidemark.v1.ResponsesService/List"],
        handler: || get(lists::chats),
    },
    Route {
        method: Method::POST,
        path: "/chat/completions",
        calls: &["/tidemark.v1.ResponsesService/Create", "/tidemark.v1.ResponsesService/CreateStream"],
        handler: || post(chat::create),
    },
    Route {
        method: Method::GET,
        path: "/chat/completions/{id}",
        calls: &["/tidemark.v1.ResponsesService/Get", "/tidemark.v1.ResponsesService/Resume"],
        handler: || get(chat::get),
    },
    Route {
        method: Method::DELETE,
        path: "/chat/completions/{id}",
        calls: &["/tidemark.v1.ResponsesService/Delete"],
        handler: || delete(chat::delete),
    },
    Route {
        method: Method::POST,
        path: "/chat/completions/{id}/cancel",
        calls: &["/tidemark.v1.ResponsesService/Cancel"],
        handler: || post(chat::cancel),
    },
    Route {
        method: Method::GET,
        path: "/chat/completions/{id}/messages",
        calls: &["/tidemark.v1.ResponsesService/ListInputItems"],
        handler: || get(lists::messages),
    },
    Route {
        method: Method::POST,
        path: "/chat/completions/{id}/tickets",
        calls: &["/tidemark.v1.ResponsesService/CreateTicket"],
        handler: || post(tickets::create),
    },
    Route {
        method: Method::GET,
        path: "/sessions",
        calls: &["/tidemark.v1.SessionsService/ListSessions"],
        handler: || get(sessions::list),
    },
    Route {
        method: Method::POST,
        path: "/sessions",
        calls: &["/tidemark.v1.SessionsService/CreateSession"],
        handler: || post(sessions::create),
    },
    Route {
        method: Method::GET,
        path: "/sessions/{key}",
        calls: &["/tidemark.v1.SessionsService/GetSession"],
        handler: || get(sessions::get),
    },
    Route {
        method: Method::DELETE,
        path: "/sessions/{key}",
        calls: &["/tidemark.v1.SessionsService/DeleteSession"],
        handler: || delete(sessions::delete),
    },
    Route {
        method: Method::POST,
        path: "/sessions/{key}/reset",
        calls: &["/tidemark.v1.SessionsService/ResetSession"],
        handler: || post(sessions::reset),
    },
    Route {
        method: Method::GET,
        path: "/sessions/{key}/history",
        calls: &["/tidemark.v1.SessionsService/ListHistory", "/tidemark.v1.SessionsService/WatchHistory"],
        handler: || get(history::get),
    },
    Route {
        method: Method::POST,
        path: "/conversations",
        calls: &["/tidemark.v1.SessionsService/CreateSession"],
        handler: || post(conversations::create),
    },
    Route {
        method: Method::GET,
        path: "/conversations/{id}",
        calls: &["/tidemark.v1.SessionsService/GetSession"],
        handler: || get(conversations::get),
    },
    Route {
        method: Method::POST,
        path: "/conversations/{id}",
        calls: &["/tidemark.v1.SessionsService/UpdateSession"],
        handler: || post(conversations::update),
    },
    Route {
        method: Method::DELETE,
        path: "/conversations/{id}",
        calls: &["/tidemark.v1.SessionsService/DeleteSession"],
        handler: || delete(conversations::delete),
    },
    Route {
        method: Method::GET,
        path: "/conversations/{id}/items",
        calls: &["/tidemark.v1.SessionsService/ListItems"],
        handler: || get(conversations::list_items),
    },
    Route {
        method: Method::POST,
        path: "/conversations/{id}/items",
        calls: &["/tidemark.v1.SessionsService/AddItems"],
        handler: || post(conversations::add_items),
    },
    Route {
        method: Method::GET,
        path: "/conversations/{id}/items/{item}",
        calls: &["/tidemark.v1.SessionsService/GetItem"],
        handler: || get(conversations::get_item),
    },
    Route {
        method: Method::DELETE,
        path: "/conversations/{id}/items/{item}",
        calls: &["/tidemark.v1.SessionsService/DeleteItem"],
        handler: || delete(conversations::delete_item),
    },
    Route {
        method: Method::GET,
        path: "/keys",
        calls: &["/tidemark.v1.KeysService/ListKeys"],
        handler: || get(keys::list),
    },
    Route {
        method: Method::POST,
        path: "/keys",
        calls: &["/tidemark.v1.KeysService/CreateKey"],
        handler: || post(keys::create),
    },
    Route {
        method: Method::DELETE,
        path: "/keys/{id}",
        calls: &["/tidemark.v1.KeysService/DeleteKey"],
        handler: || delete(keys::delete),
    },
    Route {
        method: Method::POST,
        path: "/keys/{id}/rotate",
        calls: &["/tidemark.v1.KeysService/RotateKey"],
        handler: || post(keys::rotate),
    },
    Route {
        method: Method::POST,
        path: "/keys/{id}/disable",
        calls: &["/tidemark.v1.KeysService/DisableKey"],
        handler: || post(keys::disable),
    },
    Route {
        method: Method::POST,
        path: "/keys/{id}/enable",
        calls: &["/tidemark.v1.KeysService/EnableKey"],
        handler: || post(keys::enable),
    },
    Route {
        method: Method::GET,
        path: "/oauth2/sessions",
        calls: &["/tidemark.v1.GrantsService/ListGrants"],
        handler: || get(grants::list),
    },
    Route {
        method: Method::DELETE,
        path: "/oauth2/sessions/{id}",
        calls: &["/tidemark.v1.GrantsService/RevokeGrant"],
        handler: || delete(grants::revoke),
    },
    Route {
        method: Method::GET,
        path: "/models",
        calls: &["/tidemark.v1.ModelsService/ListModels"],
        handler: || get(models::list),
    },
    Route {
        method: Method::GET,
        path: "/models/{*id}",
        calls: &["/tidemark.v1.ModelsService/ListModels"],
        handler: || get(models::get),
    },
];

impl Route {
    /// The way in that takes a request: its method, and the template that its path matched, with or without [`VERSION`]. `None` if
    /// there is none: the router refuses it.
    pub fn of(method: &Method, template: &str) -> Option<&'static Self> {
        let path = template.strip_prefix(VERSION).unwrap_or(template);
        // HEAD is answered as GET without a body.
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        ROUTES.iter().find(|route| route.method == *method && route.path == path)
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

fn routes() -> Router<Bridge> {
    ROUTES.iter().fold(Router::new(), |router, route| router.route(route.path, (route.handler)()))
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
    fn a_way_in_is_found_with_and_without_version_and_head_is_get() {
        let path = |method, template| Route::of(&method, template).map(|route| route.calls[0]);
        let get = Some("/tidemark.v1.ResponsesService/Get");
        for template in ["/v1/responses/{id}", "/responses/{id}"] {
            assert_eq!(path(Method::GET, template), get);
            assert_eq!(path(Method::HEAD, template), get);
            assert_eq!(path(Method::POST, template), None);
        }
        assert_eq!(path(Method::GET, "/v1/nothing"), None);
    }

    #[test]
    fn a_limit_that_no_message_could_hold_is_refused() {
        assert_eq!(Options::new(MAX_BODY_LIMIT).map(|options| options.body_limit()), Ok(MAX_BODY_LIMIT));
        let refusal = Options::new(MAX_BODY_LIMIT + 1).unwrap_err();
        assert_eq!(refusal.to_string(), "a body limit of 32505857 bytes is above 32505856");
    }
}
