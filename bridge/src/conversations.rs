//! `/v1/conversations`: sessions in the words of the OpenAI Conversations API.
//!
//! It owns the shape of that API over the same calls as [`crate::sessions`]. It must never know how a session is kept.

use std::collections::BTreeMap;

use axum::extract::{FromRequestParts, Path, Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use serde::Serialize;
use tidemark_proto::v1::{
    AddItemsRequest, DeleteItemRequest, ErrorCode, GetItemRequest, GetSessionRequest, ListItemsRequest,
    Order, Session, SessionItem, UpdateSessionRequest,
};

use crate::body;
use crate::caller::Caller;
use crate::error::{self, Failure};
use crate::fields::{fields, metadata};
use crate::lists::{AFTER, List, order};
use crate::params::Params;
use crate::responses::{self, Id};
use crate::router::Bridge;
use crate::sessions::{self, seconds, session, unknown};

/// What the contract calls the id of a conversation.
const KEY: &str = "key";

/// What this API calls it.
const CONVERSATION: &str = "conversation_id";

/// The ids of a conversation and of one of its items in a path.
pub(crate) struct Ids(String, String);

impl<S: Send + Sync> FromRequestParts<S> for Ids {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path((conversation, item))) => Ok(Self(conversation, item)),
            Err(_) => Err(Failure::new(ErrorCode::InvalidRequest, "the path is not UTF-8")),
        }
    }
}

/// A conversation as this API shows it.
#[derive(Serialize)]
struct Object<'s> {
    id: &'s str,
    object: &'static str,
    created_at: Option<i64>,
    metadata: &'s BTreeMap<String, String>,
}

fn object(found: Option<Session>) -> Result<Response, Failure> {
    let found = session(found)?;
    let object = Object {
        id: &found.key,
        object: "conversation",
        created_at: seconds(found.created_at.as_ref()),
        metadata: &found.metadata,
    };
    Ok(responses::json(error::json(&object)))
}

fn refusal(status: tonic::Status) -> Failure {
    Failure::from(status).rename_param(KEY, CONVERSATION)
}

fn list(items: &[SessionItem], has_more: bool, limit: u32) -> Result<Response, Failure> {
    let list = List::new(items.iter().map(|item| (item.id.as_str(), &item.json)), has_more, limit)?;
    Ok(responses::json(error::json(&list)))
}

/// `POST /v1/conversations`. The body may be left out.
pub(crate) async fn create(State(bridge): State<Bridge>, request: Request) -> Result<Response, Failure> {
    let (mut parts, body) = request.into_parts();
    let body = body::read_json(&parts, body, bridge.options.body_limit()).await?;
    let call = Caller::take(&mut parts).call(sessions::parse(&body, None)?);
    object(bridge.clients.sessions().create_session(call).await.map_err(refusal)?.into_inner().session)
}

/// `GET /v1/conversations/{id}`.
pub(crate) async fn get(
    State(bridge): State<Bridge>,
    Id(key): Id,
    request: Request,
) -> Result<Response, Failure> {
    let (mut parts, _) = request.into_parts();
    let call = Caller::take(&mut parts).call(GetSessionRequest { key });
    object(bridge.clients.sessions().get_session(call).await.map_err(refusal)?.into_inner().session)
}

/// `POST /v1/conversations/{id}`: other labels.
pub(crate) async fn update(
    State(bridge): State<Bridge>,
    Id(key): Id,
    request: Request,
) -> Result<Response, Failure> {
    let (mut parts, body) = request.into_parts();
    let body = body::read_json(&parts, body, bridge.options.body_limit()).await?;
    let mut ask = UpdateSessionRequest { key, ..UpdateSessionRequest::default() };
    let mut given = false;
    for (name, value) in fields(&body)? {
        match name.as_str() {
            "metadata" => (ask.metadata, given) = (metadata(value)?, true),
            _ => return Err(unknown(&name)),
        }
    }
    if !given {
        return Err(Failure::invalid("metadata", "`metadata` is required: the labels from now on"));
    }
    let call = Caller::take(&mut parts).call(ask);
    object(bridge.clients.sessions().update_session(call).await.map_err(refusal)?.into_inner().session)
}

/// `DELETE /v1/conversations/{id}`.
pub(crate) async fn delete(
    State(bridge): State<Bridge>,
    Id(key): Id,
    request: Request,
) -> Result<Response, Failure> {
    let deleted = sessions::deleted(&bridge, key, request, "conversation.deleted").await;
    deleted.map_err(|failure| failure.rename_param(KEY, CONVERSATION))
}

/// `GET /v1/conversations/{id}/items`.
pub(crate) async fn list_items(
    State(bridge): State<Bridge>,
    Id(key): Id,
    request: Request,
) -> Result<Response, Failure> {
    let (mut parts, _) = request.into_parts();
    let params = Params::of(&parts.uri)?;
    let after = params.position(AFTER)?.unwrap_or_default().to_owned();
    let order = order(&params, Order::Desc)?.into();
    let ask = ListItemsRequest { key, page_size: params.limit()?, order, after };
    let call = Caller::take(&mut parts).call(ask);
    let page = bridge.clients.sessions().list_items(call).await.map_err(refusal)?.into_inner();
    list(&page.items, page.has_more, page.page_size)
}

/// `POST /v1/conversations/{id}/items`.
pub(crate) async fn add_items(
    State(bridge): State<Bridge>,
    Id(key): Id,
    request: Request,
) -> Result<Response, Failure> {
    let (mut parts, body) = request.into_parts();
    let body = body::read_json(&parts, body, bridge.options.body_limit()).await?;
    let mut items = Bytes::new();
    for (name, value) in fields(&body)? {
        match name.as_str() {
            "items" => items = body.slice_ref(value.get().as_bytes()),
            _ => return Err(unknown(&name)),
        }
    }
    if items.is_empty() {
        return Err(Failure::invalid("items", "`items` is required: an array of items"));
    }
    let call = Caller::take(&mut parts).call(AddItemsRequest { key, items });
    let added = bridge.clients.sessions().add_items(call).await.map_err(refusal)?.into_inner().items;
    let count = u32::try_from(added.len()).unwrap_or(u32::MAX);
    list(&added, false, count)
}

/// `GET /v1/conversations/{id}/items/{item}`.
pub(crate) async fn get_item(
    State(bridge): State<Bridge>,
    Ids(key, id): Ids,
    request: Request,
) -> Result<Response, Failure> {
    let (mut parts, _) = request.into_parts();
    let call = Caller::take(&mut parts).call(GetItemRequest { key, id });
    let found = bridge.clients.sessions().get_item(call).await.map_err(refusal)?.into_inner().item;
    let found = found.ok_or_else(|| Failure::broken_contract("a reply came without its item"))?;
    Ok(responses::json(found.json))
}

/// `DELETE /v1/conversations/{id}/items/{item}`: the conversation without it.
pub(crate) async fn delete_item(
    State(bridge): State<Bridge>,
    Ids(key, id): Ids,
    request: Request,
) -> Result<Response, Failure> {
    let (mut parts, _) = request.into_parts();
    let call = Caller::take(&mut parts).call(DeleteItemRequest { key, id });
    object(bridge.clients.sessions().delete_item(call).await.map_err(refusal)?.into_inner().session)
}
