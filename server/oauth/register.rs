//! `POST /oauth2/register`: dynamic client registration (RFC 7591; B-6, B-7).

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use http_body_util::{BodyExt as _, Limited};
use serde::{Deserialize, Serialize};

use super::metadata::{CODE_GRANT, DEVICE_GRANT, REFRESH_GRANT};
use super::{OAuth, reply};
use crate::auth::grants::{ClientInfo, NewClient, Refusal, RefusalCode, scopes_of};
use crate::limits::Area;

/// The largest registration, in bytes: the most redirect URIs of the greatest length, and as much again.
const MAX_BODY_BYTES: usize = 64 << 10;

/// What a client says of itself. What else it says is not kept (RFC 7591 §2).
#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    redirect_uris: Vec<String>,
    #[serde(default)]
    client_name: Option<String>,
    #[serde(default)]
    scope: Option<String>,
    #[serde(default)]
    token_endpoint_auth_method: Option<String>,
    #[serde(default)]
    grant_types: Option<Vec<String>>,
    #[serde(default)]
    response_types: Option<Vec<String>>,
}

#[derive(Serialize)]
struct Registered<'c> {
    client_id: String,
    client_id_issued_at: u64,
    client_name: &'c str,
    redirect_uris: &'c [String],
    grant_types: &'c [String],
    response_types: &'c [&'static str],
    token_endpoint_auth_method: &'static str,
    scope: String,
}

/// Makes a client.
pub(super) async fn register(State(oauth): State<OAuth>, request: Request) -> Response {
    match registered(&oauth, request).await {
        Ok(reply) => reply,
        Err(refusal) => reply::refusal(&refusal),
    }
}

async fn registered(oauth: &OAuth, request: Request) -> Result<Response, Refusal> {
    if !oauth.grants.rules().open_registration {
        return Ok(super::nothing().await);
    }
    oauth.admit(&request, Area::Registrations)?;
    let body = Limited::new(request.into_body(), MAX_BODY_BYTES).collect().await;
    let body =
        body.map_err(|_| Refusal::request("the body did not come to its end, or is larger than 64 KiB"))?;
    let body = body.to_bytes();
    // A list would be read as the members in their order.
    let is_object = body.trim_ascii_start().first() == Some(&b'{');
    let metadata = serde_json::from_slice::<Metadata>(&body).ok().filter(|_| is_object);
    let metadata =
        metadata.ok_or_else(|| Refusal::request("the body is a JSON object of client metadata"))?;
    let refused = |text: &str| Refusal::new(RefusalCode::InvalidClientMetadata, text);
    if metadata.token_endpoint_auth_method.is_some_and(|method| method != "none") {
        return Err(refused("token_endpoint_auth_method is none: clients have no secret here"));
    }
    let grant_types =
        metadata.grant_types.unwrap_or_else(|| [CODE_GRANT, REFRESH_GRANT].map(str::to_owned).to_vec());
    let known = [CODE_GRANT, REFRESH_GRANT, DEVICE_GRANT];
    if grant_types.is_empty() || grant_types.iter().any(|grant| !known.contains(&grant.as_str())) {
        return Err(refused("grant_types has authorization_code, refresh_token or the device grant"));
    }
    let device = grant_types.iter().any(|grant| grant == DEVICE_GRANT);
    let code = grant_types.iter().any(|grant| grant == CODE_GRANT);
    if metadata.response_types.is_some_and(|types| types.iter().any(|name| name != "code")) {
        return Err(refused("response_types has code"));
    }
    if code && metadata.redirect_uris.is_empty() {
        return Err(Refusal::new(RefusalCode::InvalidRedirectUri, "redirect_uris is missing"));
    }
    let scopes = metadata.scope.as_deref().filter(|scope| !scope.is_empty()).map(scopes_of).transpose();
    let scopes = scopes.map_err(|refusal| refused(refusal.text()))?;
    let new = NewClient {
        name: metadata.client_name.unwrap_or_default(),
        redirects: metadata.redirect_uris.clone(),
        scopes,
        device,
    };
    let ClientInfo { id, name, scopes, created_at, .. } = oauth.grants.register(new).await?;
    let registered = Registered {
        client_id: id.to_string(),
        client_id_issued_at: created_at.0 / 1000,
        client_name: &name,
        redirect_uris: &metadata.redirect_uris,
        grant_types: &grant_types,
        response_types: if code { &["code"] } else { &[] },
        token_endpoint_auth_method: "none",
        scope: scopes.names().collect::<Vec<_>>().join(" "),
    };
    Ok(reply::json(StatusCode::CREATED, &registered))
}
