//! `/v1/keys`: the keys of the gateway, for its operator.
//!
//! It owns the JSON of a key. It must never know who may manage which: that is decided behind the call.

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, header};
use prost_types::{Duration, Timestamp};
use serde::{Deserialize, Serialize};
use tidemark_proto::v1::{
    CreateKeyRequest, DeleteKeyRequest, DisableKeyRequest, EnableKeyRequest, ErrorCode, Key, KeyState,
    ListKeysRequest, RotateKeyRequest,
};

use crate::body;
use crate::caller::Caller;
use crate::error::{self, Failure};
use crate::lists::{AFTER, List};
use crate::params::Params;
use crate::responses::{self, Deleted, Id};
use crate::router::Bridge;

const OWNER: &str = "owner";

/// What every key says that it is.
const OBJECT: &str = "key";

/// What may be shown of a key; times are seconds since 1970.
#[derive(Serialize)]
struct Object<'k> {
    id: &'k str,
    object: &'static str,
    /// The key itself: only in the answer to the request that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'k str>,
    owner: &'k str,
    scopes: &'k [String],
    state: &'static str,
    created_at: Option<i64>,
    expires_at: Option<i64>,
    previous_until: Option<i64>,
}

impl<'k> Object<'k> {
    fn new(key: &'k Key, value: Option<&'k str>) -> Self {
        let seconds = |at: &Option<Timestamp>| at.as_ref().map(|at| at.seconds);
        Self {
            id: &key.id,
            object: OBJECT,
            key: value,
            owner: &key.owner,
            scopes: &key.scopes,
            state: state(key.state()),
            created_at: seconds(&key.created_at),
            expires_at: seconds(&key.expires_at),
            previous_until: seconds(&key.previous_until),
        }
    }
}

const fn state(state: KeyState) -> &'static str {
    match state {
        KeyState::Active => "active",
        KeyState::Rotating => "rotating",
        KeyState::Disabled => "disabled",
        KeyState::Expired => "expired",
        KeyState::Unspecified => "unknown",
    }
}

/// The body of `POST /v1/keys`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    #[serde(default)]
    owner: Option<String>,
    scopes: Vec<String>,
    #[serde(default)]
    expires_at: Option<i64>,
}

/// The body of `POST /v1/keys/{id}/rotate`; it may be left out.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotate {
    #[serde(default)]
    overlap_seconds: u32,
}

/// `POST /v1/keys`.
pub(crate) async fn create(State(bridge): State<Bridge>, request: Request) -> Result<Response, Failure> {
    let (mut parts, body) = request.into_parts();
    let Create { owner, scopes, expires_at } =
        body::parse(&body::read_json(&parts, body, bridge.options.body_limit()).await?)?;
    let expires_at = expires_at.map(|seconds| Timestamp { seconds, nanos: 0 });
    let ask = CreateKeyRequest { owner: owner.unwrap_or_default(), scopes, expires_at };
    let made = bridge.clients.keys().create_key(Caller::take(&mut parts).call(ask)).await?.into_inner();
    with_value(made.key, &made.value)
}

/// `GET /v1/keys`.
pub(crate) async fn list(State(bridge): State<Bridge>, request: Request) -> Result<Response, Failure> {
    let (mut parts, _) = request.into_parts();
    let params = Params::of(&parts.uri)?;
    let owner = params.one(OWNER, ErrorCode::InvalidRequest)?.unwrap_or_default().to_owned();
    let after = params.position(AFTER)?.unwrap_or_default().to_owned();
    let ask = ListKeysRequest { owner, page_size: params.limit()?, after };
    let page = bridge.clients.keys().list_keys(Caller::take(&mut parts).call(ask)).await?.into_inner();
    let keys: Vec<Bytes> = page.keys.iter().map(|key| error::json(&Object::new(key, None))).collect();
    let entries = page.keys.iter().map(|key| key.id.as_str()).zip(&keys);
    let list = List::new(entries, page.has_more, page.page_size)?;
    Ok(responses::json(error::json(&list)))
}

/// `POST /v1/keys/{id}/rotate`.
pub(crate) async fn rotate(
    State(bridge): State<Bridge>,
    Id(id): Id,
    request: Request,
) -> Result<Response, Failure> {
    let (mut parts, body) = request.into_parts();
    let Rotate { overlap_seconds } = body::read_optional(&parts, body, bridge.options.body_limit()).await?;
    let overlap = Some(Duration { seconds: overlap_seconds.into(), nanos: 0 });
    let ask = RotateKeyRequest { id, overlap };
    let reply = bridge.clients.keys().rotate_key(Caller::take(&mut parts).call(ask)).await;
    let made = reply
        .map_err(|status| Failure::from(status).rename_param("overlap", "overlap_seconds"))?
        .into_inner();
    with_value(made.key, &made.value)
}

/// `POST /v1/keys/{id}/disable`. A body is neither asked for nor read.
pub(crate) async fn disable(
    State(bridge): State<Bridge>,
    Id(id): Id,
    request: Request,
) -> Result<Response, Failure> {
    let (mut parts, _) = request.into_parts();
    let call = Caller::take(&mut parts).call(DisableKeyRequest { id });
    object(bridge.clients.keys().disable_key(call).await?.into_inner().key, None)
}

/// `POST /v1/keys/{id}/enable`. A body is neither asked for nor read.
pub(crate) async fn enable(
    State(bridge): State<Bridge>,
    Id(id): Id,
    request: Request,
) -> Result<Response, Failure> {
    let (mut parts, _) = request.into_parts();
    let call = Caller::take(&mut parts).call(EnableKeyRequest { id });
    object(bridge.clients.keys().enable_key(call).await?.into_inner().key, None)
}

/// `DELETE /v1/keys/{id}`.
pub(crate) async fn delete(
    State(bridge): State<Bridge>,
    Id(id): Id,
    request: Request,
) -> Result<Response, Failure> {
    let (mut parts, _) = request.into_parts();
    let call = Caller::take(&mut parts).call(DeleteKeyRequest { id });
    let id = bridge.clients.keys().delete_key(call).await?.into_inner().id;
    Ok(responses::json(error::json(&Deleted { id: &id, object: OBJECT, deleted: true })))
}

fn object(key: Option<Key>, value: Option<&str>) -> Result<Response, Failure> {
    let key = key.ok_or_else(|| Failure::broken_contract("a reply came without its key"))?;
    Ok(responses::json(error::json(&Object::new(&key, value))))
}

/// The only reply that shows a key: nobody may keep it on the way.
fn with_value(key: Option<Key>, value: &str) -> Result<Response, Failure> {
    let mut reply = object(key, Some(value))?;
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_strict() {
        let good: Create =
            body::parse(&r#"{"owner":"a","scopes":["admin"],"expires_at":7}"#.into()).ok().unwrap();
        assert_eq!((good.owner.as_deref(), good.expires_at), (Some("a"), Some(7)));
        let least: Create =
            body::parse(&r#"{"scopes":[],"owner":null,"expires_at":null}"#.into()).ok().unwrap();
        assert_eq!((least.owner, least.expires_at), (None, None));
        for (wrong, what) in [
            ("{", "is not JSON (line 1 column 1)"),
            ("{}", "missing, unknown or of the wrong type (line 1 column 2)"),
            (r#"{"scopes":["admin"],"scope":1}"#, "missing, unknown"),
            (r#"{"scopes":"admin"}"#, "missing, unknown"),
            (r#"{"scopes":["admin"],"expires_at":"soon"}"#, "missing, unknown"),
            (r#"{"scopes":["admin"],"scopes":["admin"]}"#, "missing, unknown"),
            (r#" ["a",["admin"],null]"#, "must be a JSON object"),
        ] {
            let failure = body::parse::<Create>(&wrong.into()).err().unwrap();
            assert!(format!("{failure:?}").contains(what), "{failure:?}");
        }
        assert!(body::parse::<Rotate>(&r#"{"overlap_seconds":-1}"#.into()).is_err());
    }

    #[test]
    fn a_key_is_shown_without_its_value_unless_it_was_just_made() {
        let key = Key {
            id: "key_1".to_owned(),
            owner: "a".to_owned(),
            scopes: vec!["admin".to_owned()],
            state: KeyState::Rotating.into(),
            created_at: Some(Timestamp { seconds: 1, nanos: 9 }),
            expires_at: None,
            previous_until: Some(Timestamp { seconds: 2, nanos: 0 }),
        };
        let rest = r#""owner":"a","scopes":["admin"],"state":"rotating","created_at":1,"expires_at":null,"previous_until":2}"#;
        let shown = |value| String::from_utf8(error::json(&Object::new(&key, value)).to_vec()).unwrap();
        assert_eq!(shown(None), format!(r#"{{"id":"key_1","object":"key",{rest}"#));
        assert_eq!(shown(Some("tmk_x")), format!(r#"{{"id":"key_1","object":"key","key":"tmk_x",{rest}"#));
    }
}
