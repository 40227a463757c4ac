//! Tickets: the header that asks for one, and `POST /v1/responses/{id}/tickets` (S-5).
//!
//! It owns how a ticket is asked for and shown over HTTP: never inside a response object. It must never know what a ticket says.

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use prost_types::Duration;
use serde::{Deserialize, Serialize};
use tidemark_proto::names;
use tidemark_proto::v1::{CreateTicketRequest, Ticket, TicketOrder, TicketRights};

use crate::body;
use crate::caller::Caller;
use crate::error::{self, Failure};
use crate::responses::{self, Id};
use crate::router::Bridge;

const TICKET: HeaderName = HeaderName::from_static(names::TICKET);

/// One right, by its name.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Right {
    Read,
    Cancel,
}

/// The body of `POST /v1/responses/{id}/tickets`; it may be left out.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    #[serde(default)]
    rights: Option<Vec<Right>>,
    #[serde(default)]
    lifetime_seconds: Option<u32>,
}

/// A ticket as JSON; times are seconds since 1970.
#[derive(Serialize)]
struct Object<'t> {
    object: &'static str,
    ticket: &'t str,
    response_id: &'t str,
    rights: &'static [Right],
    expires_at: Option<i64>,
}

/// The ticket that the headers of a create ask for, if they do.
///
/// # Errors
/// `invalid_request` for what is neither `read` nor `read,cancel`, or is given twice.
pub(crate) fn order(headers: &HeaderMap) -> Result<Option<TicketOrder>, Failure> {
    let mut values = headers.get_all(TICKET).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let names = value.to_str().ok().filter(|_| values.next().is_none());
    let right = |name: &str| match name.trim_matches(' ') {
        "read" => Some(Right::Read),
        "cancel" => Some(Right::Cancel),
        _ => None,
    };
    let listed: Option<Vec<_>> = names.and_then(|names| names.split(',').map(right).collect());
    let rights = listed
        .as_deref()
        .and_then(rights)
        .ok_or_else(|| Failure::invalid(names::TICKET, "the header must be `read` or `read,cancel`, once"))?;
    Ok(Some(TicketOrder { rights: rights.into(), lifetime: None }))
}

/// What these rights are together: reading is always one of them, and none is there twice.
fn rights(listed: &[Right]) -> Option<TicketRights> {
    match listed {
        [Right::Read] => Some(TicketRights::Read),
        [Right::Read, Right::Cancel] | [Right::Cancel, Right::Read] => Some(TicketRights::ReadAndCancel),
        _ => None,
    }
}

/// Puts the ticket that was asked for into the headers of the reply.
pub(crate) fn show(ticket: Option<Ticket>, headers: &mut HeaderMap) -> Result<(), Failure> {
    let Some(ticket) = ticket else { return Ok(()) };
    let mut value = HeaderValue::from_str(&ticket.value)
        .map_err(|_| Failure::broken_contract("a ticket is not a header's text"))?;
    value.set_sensitive(true);
    headers.insert(TICKET, value);
    Ok(())
}

/// `POST /v1/responses/{id}/tickets`, and the same of a chat.
pub(crate) async fn create(
    State(bridge): State<Bridge>,
    Id(id): Id,
    request: Request,
) -> Result<Response, Failure> {
    let (mut parts, body) = request.into_parts();
    let asked: Create = body::read_optional(&parts, body, bridge.options.body_limit()).await?;
    let rights = rights(asked.rights.as_deref().unwrap_or(&[Right::Read]));
    let rights = rights
        .ok_or_else(|| Failure::invalid("rights", "`rights` must be [\"read\"] or [\"read\", \"cancel\"]"))?;
    let lifetime = asked.lifetime_seconds.map(|seconds| Duration { seconds: seconds.into(), nanos: 0 });
    let order = Some(TicketOrder { rights: rights.into(), lifetime });
    let call = Caller::take(&mut parts).call(CreateTicketRequest { id: id.clone(), order });
    let reply = bridge.clients.responses().create_ticket(call).await;
    let reply = reply.map_err(|status| Failure::from(status).rename_param("lifetime", "lifetime_seconds"))?;
    let Some(ticket) = reply.into_inner().ticket else {
        return Err(Failure::broken_contract("CreateTicket came without its ticket"));
    };
    let mut reply = responses::json(error::json(&object(&ticket, &id)));
    // Nobody may keep it on the way.
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(reply)
}

fn object<'t>(ticket: &'t Ticket, id: &'t str) -> Object<'t> {
    Object {
        object: "ticket",
        ticket: &ticket.value,
        response_id: id,
        rights: match ticket.rights() {
            TicketRights::ReadAndCancel => &[Right::Read, Right::Cancel],
            TicketRights::Read | TicketRights::Unspecified => &[Right::Read],
        },
        expires_at: ticket.expires_at.as_ref().map(|at| at.seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&[u8]]) -> HeaderMap {
        values.iter().map(|value| (TICKET, HeaderValue::from_bytes(value).unwrap())).collect()
    }

    #[test]
    fn a_create_asks_for_rights_by_name() {
        let asked = |value: &str| order(&headers(&[value.as_bytes()])).unwrap().unwrap().rights();
        assert_eq!(order(&headers(&[])), Ok(None));
        assert_eq!(asked("read"), TicketRights::Read);
        for both in ["read,cancel", "read, cancel", "cancel,read"] {
            assert_eq!(asked(both), TicketRights::ReadAndCancel, "{both}");
        }
        let wrong: [&[&[u8]]; 8] = [
            &[b""],
            &[b"cancel"],
            &[b"read,read"],
            &[b"read,"],
            &[b"Read"],
            &[b"true"],
            &[b"\xff"],
            &[b"read", b"read"],
        ];
        for values in wrong {
            let failure = order(&headers(values)).unwrap_err();
            let text = "the header must be `read` or `read,cancel`, once";
            assert_eq!(failure, Failure::invalid("x-tidemark-ticket", text), "{values:?}");
        }
    }

    #[test]
    fn a_ticket_on_a_reply_is_marked_as_a_secret() {
        let mut headers = HeaderMap::new();
        show(Some(Ticket { value: "tmt_x".to_owned(), ..Ticket::default() }), &mut headers).unwrap();
        assert_eq!(
            (&headers[TICKET], headers[TICKET].is_sensitive()),
            (&HeaderValue::from_static("tmt_x"), true)
        );
        show(None, &mut headers).unwrap();
        assert_eq!(headers.len(), 1);
    }
}
