//! Lists: the caller's responses, and the input of one.
//!
//! It owns their shape (W-8) and parameters, checked before anything is looked up (S-2). It must never know how large a page may
//! be: the gateway clamps, and says what it used (U-15).

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use tidemark_proto::v1::{Api, ErrorCode, ListInputItemsRequest, ListRequest, Order};

use crate::caller::Caller;
use crate::error::{self, Failure};
use crate::params::Params;
use crate::responses::{self, Id};
use crate::router::Bridge;

pub(crate) const AFTER: &str = "after";
pub(crate) const CURSOR: &str = "cursor";
const ORDER: &str = "order";

/// What the OpenAI API filters a list by, as a parameter's name or what stands in it before `[`.
const FILTERS: [&str; 2] = ["metadata", "model"];

/// What the contract calls [`CURSOR`].
pub(crate) const PAGE_TOKEN: &str = "page_token";

/// A page, in the shape of the OpenAI API.
#[derive(Serialize)]
pub(crate) struct List<'a> {
    object: &'static str,
    data: Vec<&'a RawValue>,
    first_id: Option<&'a str>,
    last_id: Option<&'a str>,
    has_more: bool,
    /// Of lists of responses and sessions alone: where the next page begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<&'a str>,
    /// The page size that was used.
    limit: u32,
}

impl<'a> List<'a> {
    /// A page of these ids and objects.
    pub(crate) fn new(
        entries: impl Iterator<Item = (&'a str, &'a Bytes)>,
        has_more: bool,
        limit: u32,
    ) -> Result<Self, Failure> {
        let (mut data, mut ids) = (Vec::new(), Vec::new());
        for (id, json) in entries {
            let object = serde_json::from_slice::<&RawValue>(json)
                .map_err(|_| Failure::broken_contract("an entry of a list is not JSON"))?;
            data.push(object);
            ids.push(id);
        }
        let (first_id, last_id) = (ids.first().copied(), ids.last().copied());
        Ok(Self { object: "list", data, first_id, last_id, has_more, next_cursor: None, limit })
    }

    /// The same with where the next page begins.
    pub(crate) fn with_cursor(self, next_cursor: Option<&'a str>) -> Self {
        Self { next_cursor, ..self }
    }
}

/// `GET /v1/responses`: the caller's responses, the newest first.
pub(crate) async fn responses(State(bridge): State<Bridge>, request: Request) -> Result<Response, Failure> {
    list(&bridge, request, Api::Responses).await
}

/// `GET /v1/chat/completions`: the caller's chats, the newest first.
pub(crate) async fn chats(State(bridge): State<Bridge>, request: Request) -> Result<Response, Failure> {
    list(&bridge, request, Api::ChatCompletions).await
}

async fn list(bridge: &Bridge, request: Request, api: Api) -> Result<Response, Failure> {
    let (mut parts, _) = request.into_parts();
    let params = Params::of(&parts.uri)?;
    newest_first(&params)?;
    let cursor = params.position(CURSOR)?.unwrap_or_default().to_owned();
    let after = params.position(AFTER)?.unwrap_or_default().to_owned();
    let ask = ListRequest { page_size: params.limit()?, page_token: cursor, api: api.into(), after };
    let call = Caller::take(&mut parts).call(ask);
    let reply = bridge.clients.responses().list(call).await;
    let page = reply.map_err(|status| Failure::from(status).rename_param(PAGE_TOKEN, CURSOR))?.into_inner();
    let entries = page.responses.iter().map(|response| (response.id.as_str(), &response.json));
    let next_cursor = Some(page.next_page_token.as_str()).filter(|token| !token.is_empty());
    let list = List::new(entries, next_cursor.is_some(), page.page_size)?.with_cursor(next_cursor);
    Ok(responses::json(error::json(&list)))
}

/// The only list there is: one that was asked for otherwise is not what the caller believes it to be.
fn newest_first(params: &Params) -> Result<(), Failure> {
    if let Some(filter) = FILTERS.into_iter().find(|filter| params.has(filter)) {
        return Err(Failure::invalid(
            filter,
            format!("`{filter}`: the list cannot be filtered; leave it out"),
        ));
    }
    match order(params, Order::Desc)? {
        Order::Asc => Err(Failure::invalid(ORDER, "`order` must be `desc`: the newest come first")),
        Order::Desc | Order::Unspecified => Ok(()),
    }
}

/// `GET /v1/responses/{id}/input_items` (W-8).
pub(crate) async fn input_items(
    State(bridge): State<Bridge>,
    Id(id): Id,
    request: Request,
) -> Result<Response, Failure> {
    input(&bridge, id, request, Api::Responses, Order::Desc).await
}

/// `GET /v1/chat/completions/{id}/messages`.
pub(crate) async fn messages(
    State(bridge): State<Bridge>,
    Id(id): Id,
    request: Request,
) -> Result<Response, Failure> {
    input(&bridge, id, request, Api::ChatCompletions, Order::Asc).await
}

async fn input(
    bridge: &Bridge,
    id: String,
    request: Request,
    api: Api,
    unless_said: Order,
) -> Result<Response, Failure> {
    let (mut parts, _) = request.into_parts();
    let params = Params::of(&parts.uri)?;
    let after = params.position(AFTER)?.unwrap_or_default().to_owned();
    let order = order(&params, unless_said)?.into();
    let ask = ListInputItemsRequest { id, page_size: params.limit()?, order, after, api: api.into() };
    let call = Caller::take(&mut parts).call(ask);
    let page = bridge.clients.responses().list_input_items(call).await?.into_inner();
    let entries = page.items.iter().map(|item| (item.id.as_str(), &item.json));
    let list = List::new(entries, page.has_more, page.page_size)?;
    Ok(responses::json(error::json(&list)))
}

pub(crate) fn order(params: &Params, unless_said: Order) -> Result<Order, Failure> {
    match params.one(ORDER, ErrorCode::InvalidRequest)? {
        None => Ok(unless_said),
        Some("desc") => Ok(Order::Desc),
        Some("asc") => Ok(Order::Asc),
        Some(_) => Err(Failure::invalid(ORDER, "`order` must be `asc` or `desc`")),
    }
}
