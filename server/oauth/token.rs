//! `POST /oauth2/token`, `/oauth2/revoke` and `/oauth2/introspect` (B-18 to B-24, B-s9).

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::form::Form;
use super::metadata::{CODE_GRANT, DEVICE_GRANT, REFRESH_GRANT};
use super::{OAuth, reply};
use crate::auth::grants::{Issued, Refusal, RefusalCode, TokenRequest};
use crate::auth::{Principal, Scope};
use crate::grpc::status;
use crate::limits::{Area, Holder};

const PARAMETERS: [&str; 10] = [
    "grant_type",
    "client_id",
    "client_secret",
    "code",
    "redirect_uri",
    "code_verifier",
    "refresh_token",
    "device_code",
    "scope",
    "resource",
];

#[derive(Serialize)]
struct Tokens {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    refresh_token: String,
    scope: String,
}

/// `POST /oauth2/token`.
pub(super) async fn token(State(oauth): State<OAuth>, request: Request) -> Response {
    let basic = request.headers().contains_key(AUTHORIZATION);
    match issued(&oauth, request).await {
        Ok(Issued { access_token, expires_in, refresh_token, scope }) => {
            let expires_in = expires_in.as_secs();
            let tokens = Tokens { access_token, token_type: "Bearer", expires_in, refresh_token, scope };
            reply::json(StatusCode::OK, &tokens)
        }
        Err(refusal) => {
            let mut reply = reply::refusal(&refusal);
            // Whoever tried to prove itself by a header is answered as RFC 6749 §5.2 says.
            if basic && refusal.code() == RefusalCode::InvalidClient {
                *reply.status_mut() = StatusCode::UNAUTHORIZED;
                reply.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
            }
            reply
        }
    }
}

async fn issued(oauth: &OAuth, request: Request) -> Result<Issued, Refusal> {
    oauth.admit(&request, Area::OAuth)?;
    let headers = request.headers().clone();
    let form = Form::read(request).await?;
    form.once(&PARAMETERS)?;
    let grant_type = form.need("grant_type")?;
    let client = client_id(&headers, &form)?;
    let owned = |text: &str| text.to_owned();
    let asked = match grant_type {
        CODE_GRANT => TokenRequest::Code {
            code: owned(form.need("code")?),
            redirect_uri: owned(form.need("redirect_uri")?),
            verifier: owned(form.need("code_verifier")?),
        },
        REFRESH_GRANT => TokenRequest::Refresh {
            token: owned(form.need("refresh_token")?),
            scope: form.get("scope").map(owned),
        },
        DEVICE_GRANT => {
            let code = form.need("device_code")?;
            let polled = oauth.quotas.take(|| device_holder(code), Area::DevicePolls, Instant::now());
            polled.map_err(|_| {
                Refusal::new(RefusalCode::SlowDown, "ask again five seconds later than you did")
            })?;
            TokenRequest::Device { code: owned(code) }
        }
        _ => {
            let text = "grant_type is authorization_code, refresh_token or the device grant";
            return Err(Refusal::new(RefusalCode::UnsupportedGrantType, text));
        }
    };
    oauth.grants.token(client, asked, form.get("resource").map(owned)).await
}

/// Whose questions are counted together: the first bytes of the digest of what was shown.
fn device_holder(code: &str) -> Holder {
    let digest: [u8; 32] = Sha256::digest(code).into();
    Holder::Device(digest.first_chunk().map_or(0, |first| u64::from_be_bytes(*first)))
}

/// The id of the client: in the form, or as the user name of Basic. There are no secrets, so none may be shown.
fn client_id(headers: &HeaderMap, form: &Form) -> Result<String, Refusal> {
    let refused = |text: &str| Refusal::new(RefusalCode::InvalidClient, text);
    if form.get("client_secret").is_some() {
        return Err(refused("clients have no secret here"));
    }
    let mut shown = headers.get_all(AUTHORIZATION).iter();
    match (shown.next(), shown.next(), form.get("client_id")) {
        (None, _, Some(id)) => Ok(id.to_owned()),
        (None, _, None) => Err(Refusal::request("client_id is missing")),
        (Some(basic), None, id) => {
            let named = basic_user(basic).ok_or_else(|| refused("clients have no secret here"))?;
            if id.is_none_or(|id| id == named) { Ok(named) } else { Err(refused("two clients are named")) }
        }
        (Some(_), Some(_), _) => Err(Refusal::request("more than one authorization came")),
    }
}

/// The user name of a Basic authorization without a password.
fn basic_user(value: &HeaderValue) -> Option<String> {
    let (scheme, credentials) = value.to_str().ok()?.trim().split_once(' ')?;
    let decoded =
        STANDARD.decode(credentials.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    String::from_utf8(decoded).ok()?.strip_suffix(':').map(str::to_owned)
}

/// `POST /oauth2/revoke` (RFC 7009): 200 for every token, whatever became of it.
pub(super) async fn revoke(State(oauth): State<OAuth>, request: Request) -> Response {
    let revoked = async {
        oauth.admit(&request, Area::OAuth)?;
        let headers = request.headers().clone();
        let form = Form::read(request).await?;
        form.once(&["token", "token_type_hint", "client_id", "client_secret"])?;
        let client = client_id(&headers, &form)?;
        oauth.grants.revoke_token(form.need("token")?, &client).await
    };
    match revoked.await {
        Ok(()) => reply::json(StatusCode::OK, &serde_json::Map::new()),
        Err(refusal) => reply::refusal(&refusal),
    }
}

/// `POST /oauth2/introspect` (RFC 7662), for the operator.
pub(super) async fn introspect(
    State(oauth): State<OAuth>,
    Extension(caller): Extension<Principal>,
    request: Request,
) -> Response {
    if let Err(error) = caller.require(Scope::GrantsAdmin) {
        return tidemark_bridge::error_reply(&status(&error), None);
    }
    let found = async {
        let form = Form::read(request).await?;
        form.once(&["token", "token_type_hint"])?;
        Ok::<_, Refusal>(oauth.grants.introspect(form.need("token")?).await?)
    };
    match found.await {
        Ok(says) => reply::json(StatusCode::OK, &says),
        Err(refusal) => reply::refusal(&refusal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b_18_a_client_is_named_once_and_shows_no_secret() {
        let form = |text: &str| Form::of_query(Some(text));
        let basic = |user: &str| {
            let value = format!("Basic {}", STANDARD.encode(user));
            HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(&value).unwrap())])
        };
        assert_eq!(client_id(&HeaderMap::new(), &form("client_id=a")).unwrap(), "a");
        assert_eq!(client_id(&basic("a:"), &form("")).unwrap(), "a");
        assert_eq!(client_id(&basic("a:"), &form("client_id=a")).unwrap(), "a");
        for (headers, text) in [
            (HeaderMap::new(), ""),
            (HeaderMap::new(), "client_id=a&client_secret=x"),
            (basic("a:x"), ""),
            (basic("a"), ""),
            (basic("a:"), "client_id=b"),
            (HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("Bearer a"))]), "client_id=a"),
        ] {
            assert!(client_id(&headers, &form(text)).is_err(), "{headers:?} {text}");
        }
    }
}
