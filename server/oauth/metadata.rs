//! What apps find out by themselves (B-2 to B-5): RFC 8414, RFC 9728, and the public keys.
//!
//! All of it is said of the issuer of the settings; what a request calls the gateway is not read.

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;

use super::{AUTHORIZE, DEVICE_AUTHORIZATION, INTROSPECT, JWKS, OAuth, REGISTER, REVOKE, TOKEN, reply};
use crate::auth::Scope;
use crate::auth::grants::{GRANTABLE, Jwk, Refusal};
use crate::limits::Area;

/// How an app may come to a token.
pub(super) const CODE_GRANT: &str = "authorization_code";
pub(super) const REFRESH_GRANT: &str = "refresh_token";
pub(super) const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

#[derive(Serialize)]
struct Server<'i> {
    issuer: &'i str,
    authorization_endpoint: String,
    token_endpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    registration_endpoint: Option<String>,
    revocation_endpoint: String,
    introspection_endpoint: String,
    device_authorization_endpoint: String,
    jwks_uri: String,
    scopes_supported: [&'static str; GRANTABLE.len()],
    response_types_supported: [&'static str; 1],
    response_modes_supported: [&'static str; 1],
    grant_types_supported: [&'static str; 3],
    code_challenge_methods_supported: [&'static str; 1],
    token_endpoint_auth_methods_supported: [&'static str; 1],
    revocation_endpoint_auth_methods_supported: [&'static str; 1],
    introspection_endpoint_auth_methods_supported: [&'static str; 1],
    authorization_response_iss_parameter_supported: bool,
}

#[derive(Serialize)]
struct Resource<'i> {
    resource: String,
    authorization_servers: [&'i str; 1],
    scopes_supported: [&'static str; GRANTABLE.len()],
    bearer_methods_supported: [&'static str; 1],
    jwks_uri: String,
}

#[derive(Serialize)]
struct Keys {
    keys: Vec<Jwk>,
}

/// `GET /.well-known/oauth-authorization-server`.
pub(super) async fn server(State(oauth): State<OAuth>) -> Response {
    let rules = oauth.grants.rules();
    let at = |path: &str| format!("{}{path}", rules.issuer);
    let says = Server {
        issuer: &rules.issuer,
        authorization_endpoint: at(AUTHORIZE),
        token_endpoint: at(TOKEN),
        registration_endpoint: rules.open_registration.then(|| at(REGISTER)),
        revocation_endpoint: at(REVOKE),
        introspection_endpoint: at(INTROSPECT),
        device_authorization_endpoint: at(DEVICE_AUTHORIZATION),
        jwks_uri: at(JWKS),
        scopes_supported: GRANTABLE.map(Scope::name),
        response_types_supported: ["code"],
        response_modes_supported: ["query"],
        grant_types_supported: [CODE_GRANT, REFRESH_GRANT, DEVICE_GRANT],
        code_challenge_methods_supported: ["S256"],
        token_endpoint_auth_methods_supported: ["none"],
        revocation_endpoint_auth_methods_supported: ["none"],
        introspection_endpoint_auth_methods_supported: ["bearer"],
        authorization_response_iss_parameter_supported: true,
    };
    reply::json(StatusCode::OK, &says)
}

/// `GET /.well-known/oauth-protected-resource`.
pub(super) async fn resource(State(oauth): State<OAuth>) -> Response {
    let rules = oauth.grants.rules();
    let says = Resource {
        resource: rules.resource(),
        authorization_servers: [&rules.issuer],
        scopes_supported: GRANTABLE.map(Scope::name),
        bearer_methods_supported: ["header"],
        jwks_uri: format!("{}{JWKS}", rules.issuer),
    };
    reply::json(StatusCode::OK, &says)
}

/// `GET /.well-known/jwks.json`.
pub(super) async fn keys(State(oauth): State<OAuth>, request: Request) -> Response {
    if let Err(refusal) = oauth.admit(&request, Area::OAuth) {
        return reply::refusal(&refusal);
    }
    match oauth.grants.public_keys().await {
        Ok(keys) => reply::json(StatusCode::OK, &Keys { keys }),
        Err(error) => reply::refusal(&Refusal::from(error)),
    }
}
