//! The authorization server over HTTP: `/oauth2/*` and `/.well-known/*` (D-2).
//!
//! It owns endpoints, forms and pages, and how often an address may ask. What is asked is decided in [`auth::grants`]
//! (crate::auth::grants); nothing here looks at the store, and nothing of a request decides what the gateway is called.

mod authorize;
mod caller;
mod device;
mod form;
mod metadata;
mod page;
mod register;
mod reply;
#[cfg(test)]
mod tests;
mod token;

use std::sync::Arc;

use axum::Router;
use axum::routing::{any, get, post};
use http::HeaderName;
use tidemark_proto::v1::ErrorCode;

use crate::auth::{Access, Grants};
use crate::error::Error;
use crate::grpc::status;
use crate::limits::{Failures, Quotas};

/// Where apps get tokens.
pub(crate) const TOKEN: &str = "/oauth2/token";

/// Where browsers are sent to.
pub(crate) const AUTHORIZE: &str = "/oauth2/authorize";

const REGISTER: &str = "/oauth2/register";
const REVOKE: &str = "/oauth2/revoke";
const INTROSPECT: &str = "/oauth2/introspect";
const DEVICE_AUTHORIZATION: &str = "/oauth2/device_authorization";
const DEVICE: &str = "/oauth2/device";
const JWKS: &str = "/.well-known/jwks.json";
const SERVER_METADATA: &str = "/.well-known/oauth-authorization-server";

/// Where the API says who lets apps in (RFC 9728): the path of the resource behind the well-known one.
pub(crate) const RESOURCE_METADATA: &str = "/.well-known/oauth-protected-resource/v1";

/// What the endpoints are made of. Clones share it.
#[derive(Clone, Debug)]
pub struct OAuth {
    /// The authorization server.
    pub grants: Grants,
    /// The check of the keys that people show.
    pub access: Access,
    /// The limit on wrong ones.
    pub failures: Arc<Failures>,
    /// The limits on calls.
    pub quotas: Arc<Quotas>,
    /// The header in which a trusted proxy names the user who is signed in; absent = none does.
    pub identity_header: Option<HeaderName>,
}

/// What whoever reaches the gateway may call: no credential is needed but what the pages ask for.
pub fn router(oauth: OAuth) -> Router {
    Router::new()
        .route(AUTHORIZE, get(authorize::show).post(authorize::answer))
        .route(TOKEN, post(token::token))
        .route(REVOKE, post(token::revoke))
        .route(REGISTER, post(register::register))
        .route(DEVICE_AUTHORIZATION, post(device::start))
        .route(DEVICE, get(device::show).post(device::answer))
        .route(JWKS, get(metadata::keys))
        .route(SERVER_METADATA, get(metadata::server))
        .route(&format!("{SERVER_METADATA}/v1"), get(metadata::server))
        .route("/.well-known/oauth-protected-resource", get(metadata::resource))
        .route(RESOURCE_METADATA, get(metadata::resource))
        .route("/oauth2/{*rest}", any(nothing))
        .route("/.well-known/{*rest}", any(nothing))
        .with_state(oauth)
}

/// What needs the principal that the listener has found.
pub fn operator(oauth: OAuth) -> Router {
    Router::new().route(INTROSPECT, post(token::introspect)).with_state(oauth)
}

/// In place of both while there is no authorization server: nobody is asked for a credential to learn that (B-1).
pub fn absent() -> Router {
    Router::new().route("/oauth2/{*rest}", any(nothing)).route("/.well-known/{*rest}", any(nothing))
}

async fn nothing() -> axum::response::Response {
    let error = Error::new(ErrorCode::NotFound, "there is nothing at this path");
    tidemark_bridge::error_reply(&status(&error), None)
}
