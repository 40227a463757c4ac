//! Messages of tickets.

use std::time::Duration;

use secrecy::ExposeSecret as _;
use tidemark_proto::v1::{self, TicketRights};

use crate::auth::{Minted, Principal, Rights, TicketOrder};
use crate::error::Error;
use crate::grpc::message::timestamp;

/// The ticket that a message asks for, if the caller may give it: found out before anything is begun.
///
/// # Errors
/// `invalid_request`, `insufficient_scope`.
pub(super) fn order(
    caller: &Principal,
    asked: Option<v1::TicketOrder>,
) -> Result<Option<TicketOrder>, Error> {
    let Some(asked) = asked else { return Ok(None) };
    let rights = match TicketRights::try_from(asked.rights) {
        Ok(TicketRights::Unspecified | TicketRights::Read) => Rights::Read,
        Ok(TicketRights::ReadAndCancel) => Rights::ReadAndCancel,
        Err(_) => return Err(Error::invalid("rights", "rights is not a value of its enum")),
    };
    let lifetime = asked.lifetime.map(Duration::try_from).transpose();
    let lifetime = lifetime.map_err(|_| Error::invalid("lifetime", "the lifetime is not a duration"))?;
    let order = TicketOrder::new(rights, lifetime)?;
    order.check(caller)?;
    Ok(Some(order))
}

/// The message of a ticket.
pub(super) fn message(minted: &Minted) -> v1::Ticket {
    let rights = if minted.rights.may_cancel() { TicketRights::ReadAndCancel } else { TicketRights::Read };
    v1::Ticket {
        value: minted.value.expose_secret().to_owned(),
        expires_at: Some(timestamp(minted.until)),
        rights: rights.into(),
    }
}
