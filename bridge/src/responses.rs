//! `/v1/responses`: create, get, resume, cancel, delete.
//!
//! It owns which call a request becomes and which headers its reply has. It must never know how a body is parsed, a frame is
//! written or an error is shaped.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use tidemark_proto::names;
use tidemark_proto::v1::{
    self, Api, CancelRequest, CreateRequest, CreateStreamRequest, CreateStreamResponse, DeleteRequest,
    ErrorCode, GetRequest, ResumeRequest, Status, Ticket,
};

use crate::body;
use crate::caller::Caller;
use crate::create::{self, Delivery};
use crate::error::{self, Failure};
use crate::messages::Messages;
use crate::params::Params;
use crate::position::{self, EVENT_IDS, Position, View};
use crate::repeat;
use crate::router::Bridge;
use crate::sse::{self, EventFrames, First, Frames};
use crate::tickets;

/// How often a poller may look at a running response, in milliseconds (W-33).
const POLL_AFTER_MS: HeaderValue = HeaderValue::from_static("1000");
const POLL_AFTER: HeaderName = HeaderName::from_static("openai-poll-after-ms");

/// The id in a path. It is anything that can be decoded; the gateway says whether it exists.
pub(crate) struct Id(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(id)) => Ok(Self(id)),
            Err(_) => Err(Failure::new(ErrorCode::InvalidRequest, "the path is not UTF-8")),
        }
    }
}

/// `POST /v1/responses` (W-1…W-3).
pub(crate) async fn create(State(bridge): State<Bridge>, request: Request) -> Result<Response, Failure> {
    let (mut parts, body) = request.into_parts();
    let params = Params::of(&parts.uri)?;
    let position = position::of_repeat(&parts.headers, &params)?;
    let event_ids = params.flag(EVENT_IDS)?;
    let (key, ticket) = (repeat::key(&parts.headers)?, tickets::order(&parts.headers)?);
    let body = body::read_json(&parts, body, bridge.options.body_limit()).await?;
    let (mut create, delivery) = create::parse(&body)?;
    drop(body);
    let (after, event_ids) = match (delivery, &key) {
        // Only a request that may be a repeat can have read something.
        (Delivery::Stream, Some(_)) => position,
        _ => (None, event_ids),
    };
    (create.idempotency_key, create.ticket) = (key, ticket);
    let caller = Caller::take(&mut parts);
    match delivery {
        Delivery::Json => buffered(&bridge, caller.call(create)).await,
        Delivery::Stream => {
            let request = CreateStreamRequest { create: Some(create), after };
            create_stream(&bridge, caller.call(request), event_ids).await
        }
    }
}

/// The reply to a create whose answer comes as JSON.
pub(crate) async fn buffered(
    bridge: &Bridge,
    call: tonic::Request<CreateRequest>,
) -> Result<Response, Failure> {
    let made = bridge.clients.responses().create(call).await;
    let made = made.map_err(repeat::refusal)?.into_inner();
    let mut reply = object(made.response)?;
    put_made(made.replayed, made.ticket, reply.headers_mut())?;
    Ok(reply)
}

async fn create_stream(
    bridge: &Bridge,
    call: tonic::Request<CreateStreamRequest>,
    event_ids: bool,
) -> Result<Response, Failure> {
    let after = call.get_ref().after;
    let reply = bridge.clients.responses().create_stream(call).await;
    let mut messages = Messages::of(reply.map_err(repeat::refusal)?);
    // It comes as soon as the response exists, and names it.
    let Some(mut first) = messages.message().await? else {
        return Err(Failure::broken_contract("CreateStream ended without a message"));
    };
    let named = Named::of(&mut first)?;
    let frames = EventFrames::new(event_ids, after.filter(|_| first.replayed));
    named.put_on(sse::reply(First::Message(first), messages, Box::new(frames)))
}

/// What the first message of a created stream says of the response, for the headers.
pub(crate) struct Named {
    id: HeaderValue,
    replayed: bool,
    ticket: Option<Ticket>,
}

impl Named {
    /// Takes it out of the message.
    pub(crate) fn of(first: &mut CreateStreamResponse) -> Result<Self, Failure> {
        let ticket = first.ticket.take();
        Ok(Self { id: response_id(&first.id)?, replayed: first.replayed, ticket })
    }

    /// The reply with the headers that say so.
    pub(crate) fn put_on(self, mut reply: Response) -> Result<Response, Failure> {
        let headers = reply.headers_mut();
        headers.insert(names::RESPONSE_ID, self.id);
        put_made(self.replayed, self.ticket, headers)?;
        Ok(reply)
    }
}

/// What the headers of a create's reply say besides the id.
fn put_made(replayed: bool, ticket: Option<Ticket>, headers: &mut HeaderMap) -> Result<(), Failure> {
    if replayed {
        headers.insert(repeat::REPLAYED, repeat::TRUE);
    }
    tickets::show(ticket, headers)
}

/// `GET /v1/responses/{id}` (W-4, W-5).
pub(crate) async fn get(
    State(bridge): State<Bridge>,
    Id(id): Id,
    request: Request,
) -> Result<Response, Failure> {
    let (mut parts, _) = request.into_parts();
    let view = View::of(&parts)?;
    let caller = Caller::take(&mut parts);
    match view {
        View::Snapshot => snapshot(&bridge, caller, id, Api::Responses).await,
        View::Stream(position) => {
            let frames = EventFrames::new(position.event_ids, position.after);
            resume(&bridge, caller, id, Api::Responses, position, Box::new(frames)).await
        }
    }
}

/// A response of this API as it is now.
pub(crate) async fn snapshot(
    bridge: &Bridge,
    caller: Caller,
    id: String,
    api: Api,
) -> Result<Response, Failure> {
    let reply = bridge.clients.responses().get(caller.call(GetRequest { id, api: api.into() })).await?;
    object(reply.into_inner().response)
}

/// The events of a response of this API, from a position on.
pub(crate) async fn resume(
    bridge: &Bridge,
    caller: Caller,
    id: String,
    api: Api,
    position: Position,
    frames: Box<dyn Frames>,
) -> Result<Response, Failure> {
    // An id that no header can hold is for the gateway to refuse, like any other that it does not know.
    let header = response_id(&id);
    let call = ResumeRequest { id, after: position.after, on_gap: position.on_gap.into(), api: api.into() };
    let mut messages = Messages::of(bridge.clients.responses().resume(caller.call(call)).await?);
    let first = sse::first(&mut messages).await?;
    let mut reply = match first {
        // What ends the reconnecting of a browser that has all of it (D-9).
        First::Ended if position.event_ids => StatusCode::NO_CONTENT.into_response(),
        first => sse::reply(first, messages, frames),
    };
    reply.headers_mut().insert(names::RESPONSE_ID, header?);
    Ok(reply)
}

/// `POST /v1/responses/{id}/cancel` (W-6, D-13). A body is neither asked for nor read.
pub(crate) async fn cancel(
    State(bridge): State<Bridge>,
    Id(id): Id,
    request: Request,
) -> Result<Response, Failure> {
    cancel_of(&bridge, id, request, Api::Responses).await
}

/// The same for a response of this API.
pub(crate) async fn cancel_of(
    bridge: &Bridge,
    id: String,
    request: Request,
    api: Api,
) -> Result<Response, Failure> {
    let (mut parts, _) = request.into_parts();
    let call = Caller::take(&mut parts).call(CancelRequest { id, api: api.into() });
    let reply = bridge.clients.responses().cancel(call).await?;
    object(reply.into_inner().response)
}

/// `DELETE /v1/responses/{id}` (W-7).
pub(crate) async fn delete(
    State(bridge): State<Bridge>,
    Id(id): Id,
    request: Request,
) -> Result<Response, Failure> {
    delete_of(&bridge, id, request, Api::Responses, "response").await
}

/// The same for a response of this API; `object` is what the reply calls itself.
pub(crate) async fn delete_of(
    bridge: &Bridge,
    id: String,
    request: Request,
    api: Api,
    object: &'static str,
) -> Result<Response, Failure> {
    let (mut parts, _) = request.into_parts();
    let call = Caller::take(&mut parts).call(DeleteRequest { id, api: api.into() });
    let id = bridge.clients.responses().delete(call).await?.into_inner().id;
    let header = response_id(&id)?;
    let mut reply = json(error::json(&Deleted { id: &id, object, deleted: true }));
    reply.headers_mut().insert(names::RESPONSE_ID, header);
    Ok(reply)
}

/// What is said of an object that is gone.
#[derive(Serialize)]
pub(crate) struct Deleted<'a> {
    pub(crate) id: &'a str,
    pub(crate) object: &'static str,
    pub(crate) deleted: bool,
}

/// The response object as the gateway wrote it, byte by byte.
fn object(response: Option<v1::Response>) -> Result<Response, Failure> {
    let Some(response) = response else {
        return Err(Failure::broken_contract("a reply came without its response"));
    };
    let running = matches!(response.status(), Status::Queued | Status::InProgress);
    let id = response_id(&response.id)?;
    let mut reply = json(response.json);
    let headers = reply.headers_mut();
    headers.insert(names::RESPONSE_ID, id);
    if running {
        headers.insert(POLL_AFTER, POLL_AFTER_MS);
    }
    Ok(reply)
}

fn response_id(id: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(id)
        .ok()
        .filter(|id| !id.is_empty())
        .ok_or_else(|| Failure::broken_contract("a response's id is not a header's text"))
}

/// A 200 with a JSON body.
pub(crate) fn json(body: Bytes) -> Response {
    let mut reply = Response::new(Body::from(body));
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}
