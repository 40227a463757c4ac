//! Tickets made and redeemed (D-40, S-5).
//!
//! It owns what a ticket is worth: never more than the credential that made it, and nothing once that is no longer good.

use tidemark_store::{LogId, UnixMillis};

use crate::auth::access::unauthorized;
use crate::auth::directory::Directory;
use crate::auth::ring::Secret;
use crate::auth::ticket::{Maker, Minted, Sealed, Ticket, TicketOrder};
use crate::auth::{Access, Credential, Digest, GrantId, KeyId, Mode, Principal};
use crate::clock::millis;
use crate::error::Error;

impl Access {
    /// Makes a ticket for a response that `maker` may see. It ends with what made it, if that comes first.
    ///
    /// # Errors
    /// `insufficient_scope` for rights that the maker does not have, `storage_unavailable`.
    pub async fn mint(
        &self,
        maker: &Principal,
        response: LogId,
        order: &TicketOrder,
    ) -> Result<Minted, Error> {
        order.check(maker)?;
        let directory = self.directory();
        let secret = directory.ticket_secret().await?;
        let end = UnixMillis(directory.0.clock.now().0.saturating_add(millis(order.lifetime())));
        let until = maker.until().map_or(end, |until| until.min(end));
        let rights = order.rights();
        let ticket = Ticket {
            secret: secret.number,
            response,
            until,
            rights,
            maker: Maker::of(maker.credential()),
            owner: maker.owner().clone(),
        };
        let value = match (maker.credential(), self.mode()) {
            (Credential::Key { value, .. }, _)
            | (Credential::Operator, Mode::Keys { operator: Some(value) }) => *value,
            (Credential::Grant { id, .. }, _) => {
                directory.standing(*id).await?.ok_or_else(unauthorized)?.family
            }
            (Credential::Anonymous, _) => Digest::OF_NOTHING,
            (Credential::Operator, Mode::Keys { operator: None } | Mode::Off) => return Err(unauthorized()),
        };
        Ok(Minted { value: ticket.seal(&secret.bytes, &value), until, rights })
    }

    /// The holder of a ticket: it has ended, was tampered with, or its maker is no longer good are the same refusal.
    pub(super) async fn redeem(&self, text: &str) -> Result<Principal, Error> {
        let sealed = Sealed::read(text)?;
        let ring = self.directory().ring().await?;
        let secret =
            ring.as_ref().and_then(|ring| ring.find(sealed.ticket.secret)).ok_or_else(unauthorized)?;
        let maker = self.maker(&sealed, secret).await?.ok_or_else(unauthorized)?;
        let Ticket { response, until, rights, owner, .. } = sealed.ticket;
        if until <= self.directory().0.clock.now() {
            return Err(unauthorized());
        }
        maker.for_one(owner, response, rights.scopes(), until).ok_or_else(unauthorized)
    }

    /// Who made a ticket, if its seal is right and they could make it now.
    async fn maker(&self, sealed: &Sealed, secret: &Secret) -> Result<Option<Principal>, Error> {
        let Ticket { maker, owner, .. } = &sealed.ticket;
        let made_with = |value: &Digest| sealed.is_of(&secret.bytes, value);
        Ok(match (maker, self.mode()) {
            (Maker::Anonymous, Mode::Off) => {
                made_with(&Digest::OF_NOTHING).then(|| Principal::local(owner.clone()))
            }
            (Maker::Operator, Mode::Keys { operator: Some(value) }) => {
                made_with(value).then(|| Principal::operator(owner.clone()))
            }
            (Maker::Key(id), Mode::Keys { .. }) if self.takes_keys() => {
                holder(self.directory(), *id, made_with).await?
            }
            (Maker::Grant(id), Mode::Keys { .. }) if self.takes_tokens() => {
                client(self.directory(), *id, made_with).await?
            }
            (Maker::Anonymous, Mode::Keys { .. })
            | (Maker::Operator, Mode::Keys { operator: None } | Mode::Off)
            | (Maker::Key(_) | Maker::Grant(_), _) => None,
        })
    }
}

/// The holder of the value of a key that a seal was made with, if both are good now.
async fn holder(
    directory: &Directory,
    id: KeyId,
    made_with: impl Fn(&Digest) -> bool,
) -> Result<Option<Principal>, Error> {
    let Some(known) = directory.find(id).await? else { return Ok(None) };
    let Some(value) = known.record.values().find(|value| made_with(value)) else { return Ok(None) };
    Ok(known.principal(id, value, directory.0.clock.now()))
}

/// The client of a grant whose tokens a seal was made with, if the grant is good now.
async fn client(
    directory: &Directory,
    id: GrantId,
    made_with: impl Fn(&Digest) -> bool,
) -> Result<Option<Principal>, Error> {
    let standing = directory.standing(id).await?.filter(|standing| made_with(&standing.family));
    Ok(standing.map(|standing| Principal::of_grant(id, standing)))
}
