//! `/v1/sessions`: the caller's sessions.
//!
//! It owns the JSON of a session. It must never know what a history holds.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use prost_types::Timestamp;
use serde::Serialize;
use tidemark_proto::v1::{
    CreateSessionRequest, DeleteSessionRequest, GetSessionRequest, ListSessionsRequest, ResetSessionRequest,
    Session,
};

use crate::body;
use crate::caller::Caller;
use crate::error::{self, Failure};
use crate::fields::{fields, metadata, nullable};
use crate::lists::{CURSOR, List, PAGE_TOKEN};
use crate::params::Params;
use crate::responses::{self, Deleted, Id};
use crate::router::Bridge;

/// What every session says that it is.
const OBJECT: &str = "session";

/// What the gateway calls the id of a session.
const KEY: &str = "key";

/// What may be shown of a session; times are seconds since 1970.
#[derive(Serialize)]
struct Object<'s> {
    id: &'s str,
    object: &'static str,
    created_at: Option<i64>,
    updated_at: Option<i64>,
    expires_at: Option<i64>,
    generation: u64,
    /// The number of the newest entry of the history, shown or not.
    committed: u64,
    bytes: u64,
    metadata: &'s BTreeMap<String, String>,
}

impl<'s> Object<'s> {
    fn new(session: &'s Session) -> Self {
        Self {
            id: &session.key,
            object: OBJECT,
            created_at: seconds(session.created_at.as_ref()),
            updated_at: seconds(session.updated_at.as_ref()),
            expires_at: seconds(session.expires_at.as_ref()),
            generation: session.generation,
            committed: session.committed,
            bytes: session.bytes,
            metadata: &session.metadata,
        }
    }
}

pub(crate) fn seconds(at: Option<&Timestamp>) -> Option<i64> {
    at.map(|at| at.seconds)
}

/// The session of a reply.
pub(crate) fn session(session: Option<Session>) -> Result<Session, Failure> {
    session.ok_or_else(|| Failure::broken_contract("a reply came without its session"))
}

fn object(found: Option<Session>) -> Result<Response, Failure> {
    Ok(responses::json(error::json(&Object::new(&session(found)?))))
}

/// What a body that makes a session says.
pub(crate) fn parse(body: &Bytes, key: Option<&str>) -> Result<CreateSessionRequest, Failure> {
    let mut create = CreateSessionRequest::default();
    if body.is_empty() {
        return Ok(create);
    }
    for (name, value) in fields(body)? {
        match name.as_str() {
            "metadata" => create.metadata = metadata(value)?,
            "items" if value.get() == "null" => {}
            "items" => create.items = body.slice_ref(value.get().as_bytes()),
            name if Some(name) == key => {
                create.key = nullable(name, value, "a string or null")?.unwrap_or_default();
            }
            _ => return Err(unknown(&name)),
        }
    }
    Ok(create)
}

/// The refusal of a field that means nothing here.
pub(crate) fn unknown(name: &str) -> Failure {
    Failure::invalid(name, format!("`{name}` is not a field of this request"))
}

/// `POST /v1/sessions`. The body may be left out.
pub(crate) async fn create(State(bridge): State<Bridge>, request: Request) -> Result<Response, Failure> {
    let (mut parts, body) = request.into_parts();
    let body = body::read_json(&parts, body, bridge.options.body_limit()).await?;
    let ask = parse(&body, Some("id"))?;
    let made = bridge.clients.sessions().create_session(Caller::take(&mut parts).call(ask)).await;
    let made = made.map_err(|status| Failure::from(status).rename_param(KEY, "id"))?;
    object(made.into_inner().session)
}

/// `GET /v1/sessions`.
pub(crate) async fn list(State(bridge): State<Bridge>, request: Request) -> Result<Response, Failure> {
    let (mut parts, _) = request.into_parts();
    let params = Params::of(&parts.uri)?;
    let cursor = params.position(CURSOR)?.unwrap_or_default().to_owned();
    let ask = ListSessionsRequest { page_size: params.limit()?, page_token: cursor };
    let page = bridge.clients.sessions().list_sessions(Caller::take(&mut parts).call(ask)).await;
    let page = page.map_err(|status| Failure::from(status).rename_param(PAGE_TOKEN, CURSOR))?.into_inner();
    let objects: Vec<Bytes> =
        page.sessions.iter().map(|session| error::json(&Object::new(session))).collect();
    let entries = page.sessions.iter().map(|session| session.key.as_str()).zip(&objects);
    let next_cursor = Some(page.next_page_token.as_str()).filter(|token| !token.is_empty());
    let list = List::new(entries, next_cursor.is_some(), page.page_size)?.with_cursor(next_cursor);
    Ok(responses::json(error::json(&list)))
}

/// `GET /v1/sessions/{key}`.
pub(crate) async fn get(
    State(bridge): State<Bridge>,
    Id(key): Id,
    request: Request,
) -> Result<Response, Failure> {
    let (mut parts, _) = request.into_parts();
    let call = Caller::take(&mut parts).call(GetSessionRequest { key });
    object(bridge.clients.sessions().get_session(call).await?.into_inner().session)
}

/// `POST /v1/sessions/{key}/reset`. A body is neither asked for nor read.
pub(crate) async fn reset(
    State(bridge): State<Bridge>,
    Id(key): Id,
    request: Request,
) -> Result<Response, Failure> {
    let (mut parts, _) = request.into_parts();
    let call = Caller::take(&mut parts).call(ResetSessionRequest { key });
    object(bridge.clients.sessions().reset_session(call).await?.into_inner().session)
}

/// `DELETE /v1/sessions/{key}`.
pub(crate) async fn delete(
    State(bridge): State<Bridge>,
    Id(key): Id,
    request: Request,
) -> Result<Response, Failure> {
    deleted(&bridge, key, request, "session.deleted").await
}

/// Removes a session; `object` is what the reply calls itself.
pub(crate) async fn deleted(
    bridge: &Bridge,
    key: String,
    request: Request,
    object: &'static str,
) -> Result<Response, Failure> {
    let (mut parts, _) = request.into_parts();
    let call = Caller::take(&mut parts).call(DeleteSessionRequest { key });
    let id = bridge.clients.sessions().delete_session(call).await?.into_inner().key;
    Ok(responses::json(error::json(&Deleted { id: &id, object, deleted: true })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_makes_a_session_or_is_refused_by_name() {
        let read = |body: &str, key| parse(&Bytes::copy_from_slice(body.as_bytes()), key);
        assert_eq!(read("", Some("id")), Ok(CreateSessionRequest::default()));
        let made =
            read(r#"{"id":"k","metadata":{"a":"b"},"items":[ {"role":"user"} ]}"#, Some("id")).unwrap();
        assert_eq!((made.key.as_str(), made.items), ("k", Bytes::from_static(br#"[ {"role":"user"} ]"#)));
        assert_eq!(read(r#"{"id":null,"metadata":null,"items":null}"#, Some("id")), read("{}", None));
        for (body, param) in [(r#"{"id":"k"}"#, "id"), (r#"{"item":[]}"#, "item")] {
            assert_eq!(read(body, None), Err(unknown(param)));
        }
    }
}
