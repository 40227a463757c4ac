//! `/v1/chat/completions`: create, get, resume, cancel, delete (W-10, S-4).
//!
//! It owns what is different from `/v1/responses`: that headers wait for the first chunk or the first heartbeat, so that what fails
//! before is a reply with a status of its own, and that a stream shows chunks and not the life of the response. The calls
//! are the same.

mod create;
mod frames;

use axum::extract::{Request, State};
use axum::response::Response;
use tidemark_proto::v1::{Api, CreateRequest, CreateStreamRequest, CreateStreamResponse};

use self::create::Delivery;
pub(crate) use self::frames::ChunkFrames;
use self::frames::Kind;
use crate::body;
use crate::caller::Caller;
use crate::error::Failure;
use crate::messages::Messages;
use crate::params::Params;
use crate::position::{self, View};
use crate::repeat;
use crate::responses::{self, Id, Named};
use crate::router::Bridge;
use crate::sse::{self, First};
use crate::tickets;

/// Asks a resumed stream for what was used.
const INCLUDE_USAGE: &str = "include_usage";

/// What the reply to a delete calls itself.
const DELETED: &str = "chat.completion.deleted";

/// `POST /v1/chat/completions`.
pub(crate) async fn create(State(bridge): State<Bridge>, request: Request) -> Result<Response, Failure> {
    let (mut parts, body) = request.into_parts();
    let params = Params::of(&parts.uri)?;
    let (position, _) = position::of_repeat(&parts.headers, &params)?;
    let (key, ticket) = (repeat::key(&parts.headers)?, tickets::order(&parts.headers)?);
    let body = body::read_json(&parts, body, bridge.options.body_limit()).await?;
    let (mut create, delivery) = create::parse(&body)?;
    drop(body);
    let after = match (delivery, &key) {
        // Only a request that may be a repeat can have read something.
        (Delivery::Stream { .. }, Some(_)) => position,
        _ => None,
    };
    (create.idempotency_key, create.ticket) = (key, ticket);
    let caller = Caller::take(&mut parts);
    match delivery {
        Delivery::Json => responses::buffered(&bridge, caller.call(create)).await,
        Delivery::Stream { include_usage } => {
            create_stream(&bridge, caller, create, after, include_usage).await
        }
    }
}

async fn create_stream(
    bridge: &Bridge,
    caller: Caller,
    create: CreateRequest,
    after: Option<u64>,
    include_usage: bool,
) -> Result<Response, Failure> {
    let call = caller.call(CreateStreamRequest { create: Some(create), after });
    let reply = bridge.clients.responses().create_stream(call).await;
    let mut messages = Messages::of(reply.map_err(repeat::refusal)?);
    let mut first = next(&mut messages).await?;
    let named = Named::of(&mut first)?;
    let after = after.filter(|_| first.replayed);
    // Who goes on behind a position has seen the first byte.
    let first = if after.is_some() { first } else { begun(first, &mut messages).await? };
    let frames = ChunkFrames::new(include_usage, after);
    named.put_on(sse::reply(First::Message(first), messages, Box::new(frames)))
}

/// Waits for the first message that has something to show, or for the first heartbeat: from then on whatever stands between here
/// and the reader may take the silence for a dead connection, and a failure is one of a stream that has begun.
///
/// # Errors
/// Why the chat failed, if it did before that.
async fn begun(
    mut message: CreateStreamResponse,
    messages: &mut Messages<CreateStreamResponse>,
) -> Result<CreateStreamResponse, Failure> {
    loop {
        for event in &message.events {
            match Kind::of(&event.r#type) {
                Kind::Hidden => {}
                Kind::Failed => return Err(frames::failure(&event.data)),
                Kind::Chunk | Kind::Usage | Kind::Done => return Ok(message),
            }
        }
        message = next(messages).await?;
        if message.events.is_empty() {
            return Ok(message);
        }
    }
}

async fn next(messages: &mut Messages<CreateStreamResponse>) -> Result<CreateStreamResponse, Failure> {
    let message = messages.message().await?;
    message.ok_or_else(|| Failure::broken_contract("CreateStream ended before the response did"))
}

/// `GET /v1/chat/completions/{id}`: the object, or with `stream=true` the chunks from a position on.
pub(crate) async fn get(
    State(bridge): State<Bridge>,
    Id(id): Id,
    request: Request,
) -> Result<Response, Failure> {
    let (mut parts, _) = request.into_parts();
    let view = View::of(&parts)?;
    let include_usage = Params::of(&parts.uri)?.flag(INCLUDE_USAGE)?;
    let caller = Caller::take(&mut parts);
    match view {
        View::Snapshot => responses::snapshot(&bridge, caller, id, Api::ChatCompletions).await,
        View::Stream(position) => {
            let frames = Box::new(ChunkFrames::new(include_usage, position.after));
            responses::resume(&bridge, caller, id, Api::ChatCompletions, position, frames).await
        }
    }
}

/// `POST /v1/chat/completions/{id}/cancel`. A body is neither asked for nor read.
pub(crate) async fn cancel(
    State(bridge): State<Bridge>,
    Id(id): Id,
    request: Request,
) -> Result<Response, Failure> {
    responses::cancel_of(&bridge, id, request, Api::ChatCompletions).await
}

/// `DELETE /v1/chat/completions/{id}`.
pub(crate) async fn delete(
    State(bridge): State<Bridge>,
    Id(id): Id,
    request: Request,
) -> Result<Response, Failure> {
    responses::delete_of(&bridge, id, request, Api::ChatCompletions, DELETED).await
}
