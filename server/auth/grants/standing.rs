//! Whether a grant is worth anything now (B-34): it, its key and its user.
//!
//! It owns the check that access tokens, refresh tokens and tickets share, and what is remembered for it.

use std::sync::Arc;

use tidemark_store::{Owner, UnixMillis};

use super::Grants;
use super::id::GrantId;
use super::jws::{Claims, open};
use super::record::{GrantRecord, Subject, grant_name};
use crate::auth::directory::{Directory, unavailable};
use crate::auth::record::UserRecord;
use crate::auth::{Digest, Principal, Scopes};
use crate::error::Error;

/// What is remembered of a grant that has tokens and is not revoked. None of it changes without a change of access; when the grant
/// ends by itself is not among it: its tokens say that.
#[derive(Debug)]
pub(in crate::auth) struct KnownGrant {
    owner: Owner,
    subject: Subject,
    scopes: Scopes,
    family: Digest,
    user: Option<UserRecord>,
}

/// What a grant is worth now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::auth) struct Standing {
    /// Whose it is.
    pub(in crate::auth) owner: Owner,
    /// What it lets its client do.
    pub(in crate::auth) scopes: Scopes,
    /// How often its key and its user have changed.
    pub(in crate::auth) epoch: u64,
    /// What all its refresh tokens share.
    pub(in crate::auth) family: Digest,
    /// When its key ends by itself.
    pub(in crate::auth) until: Option<UnixMillis>,
}

impl Directory {
    /// The record of a grant.
    pub(super) async fn grant(&self, id: GrantId) -> Result<Option<GrantRecord>, Error> {
        let found = self.0.store.record(grant_name(id).as_bytes()).await.map_err(unavailable)?;
        found.map(|found| GrantRecord::decode(&found.value)).transpose().map_err(unavailable)
    }

    /// What a grant is worth now; `None` = nothing.
    pub(in crate::auth) async fn standing(&self, id: GrantId) -> Result<Option<Standing>, Error> {
        let Some(known) = self.known_grant(id).await? else { return Ok(None) };
        let found = self.subject(&known.owner, &known.subject, known.user.as_ref()).await?;
        Ok(found.map(|(scopes, epoch, until)| Standing {
            owner: known.owner.clone(),
            scopes: known.scopes.narrowed_to(scopes),
            epoch,
            family: known.family,
            until,
        }))
    }

    async fn known_grant(&self, id: GrantId) -> Result<Option<Arc<KnownGrant>>, Error> {
        if let Some(known) = self.0.cache.grant(id) {
            return Ok(Some(known));
        }
        let epoch = self.0.cache.epoch();
        let Some(record) = self.grant(id).await? else { return Ok(None) };
        if !record.is_live(self.0.clock.now()) {
            return Ok(None);
        }
        let Some(tokens) = record.tokens else { return Ok(None) };
        let user = self.user(&record.owner).await?;
        let GrantRecord { owner, subject, scopes, .. } = record;
        let known = Arc::new(KnownGrant { owner, subject, scopes, family: tokens.family, user });
        self.0.cache.keep_grant(epoch, id, &known);
        Ok(Some(known))
    }

    /// What a key or a user may do now, how often it has changed, and when it ends; `None` if it is not good.
    async fn subject(
        &self,
        owner: &Owner,
        subject: &Subject,
        user: Option<&UserRecord>,
    ) -> Result<Option<(Scopes, u64, Option<UnixMillis>)>, Error> {
        let now = self.0.clock.now();
        match subject {
            Subject::User => {
                let user = user.filter(|user| !user.disabled);
                Ok(user.map(|user| (Grants::grantable(), u64::from(user.epoch), None)))
            }
            Subject::Key(id) => {
                let known = self.find(*id).await?;
                let known = known.filter(|known| known.is_live(now) && known.record.owner == *owner);
                Ok(known.map(|known| (known.record.scopes, known.epoch(), known.record.expires_at)))
            }
        }
    }

    /// The same for a grant that nobody may have tokens of yet.
    pub(super) async fn subject_of(
        &self,
        record: &GrantRecord,
    ) -> Result<Option<(Scopes, u64, Option<UnixMillis>)>, Error> {
        let user = self.user(&record.owner).await?;
        self.subject(&record.owner, &record.subject, user.as_ref()).await
    }
}

impl Grants {
    /// What an access token says, if we signed it, it is for this gateway, and it is of this time.
    pub(super) async fn claims(&self, token: &str) -> Result<Option<Claims>, Error> {
        let Some(ring) = self.directory.signing_keys().await? else { return Ok(None) };
        let Some(claims) = open(token, ring.keys()) else { return Ok(None) };
        let now = self.directory.0.clock.now().0 / 1000;
        let ours = claims.iss == self.rules.issuer && claims.aud == [self.rules.resource()];
        let timely = claims.nbf <= now && claims.iat <= now && now < claims.exp;
        Ok(Some(claims).filter(|_| ours && timely))
    }

    /// Who shows this access token; `None` if it is not good.
    pub(in crate::auth) async fn holder(&self, token: &str) -> Result<Option<Principal>, Error> {
        let Some(claims) = self.claims(token).await? else { return Ok(None) };
        let (Ok(id), Ok(scopes)) = (claims.sid.parse::<GrantId>(), Scopes::parse(&claims.scope)) else {
            return Ok(None);
        };
        let standing = self.directory.standing(id).await?;
        let good = standing.filter(|now| now.epoch == claims.epoch && now.owner.as_str() == claims.sub);
        let end = UnixMillis(claims.exp.saturating_mul(1000));
        Ok(good.map(|now| Principal::of_grant(id, now).narrowed_to(scopes).ending(end)))
    }
}
