//! Codes and refresh tokens become tokens, once (B-18 to B-24, B-s1 to B-s3).
//!
//! It owns the order of the checks and the one change of the grant's record that decides. Everything that is needed for the answer is
//! made before it. A second use of a code or a token is told from one that somebody made up, and ends the grant.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tidemark_store::UnixMillis;

use super::consent::challenge_of;
use super::id::{ClientId, GrantId};
use super::jws::Claims;
use super::record::{GrantRecord, TokensRecord, grant_name};
use super::refusal::{Code, Refusal};
use super::secret::{Code as Secret, Refresh};
use super::{Grants, scope_text};
use crate::auth::directory::unavailable;
use crate::auth::{Digest, Scopes};
use crate::clock::millis;
use crate::error::Error;

/// Tokens for a client.
#[derive(Debug)]
pub struct Issued {
    /// The access token.
    pub access_token: String,
    /// How long it is good.
    pub expires_in: Duration,
    /// The refresh token.
    pub refresh_token: String,
    /// What they are good for.
    pub scope: String,
}

/// What an operator may know of a token (RFC 7662).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Introspection {
    /// Whether it is good.
    pub active: bool,
    /// What it is good for; absent, like everything below, unless it is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Whose client it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aud: Option<String>,
    /// Who issued it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// When it ends, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<u64>,
    /// When it was made, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iat: Option<u64>,
    /// The grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// Which kind of token it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_type: Option<&'static str>,
}

/// Why a step of a grant was not made.
enum Lost {
    Refused(Refusal),
    /// Somebody was faster with the same code or token.
    Reused,
}

impl From<Error> for Lost {
    fn from(error: Error) -> Self {
        Self::Refused(error.into())
    }
}

/// What a client shows for tokens.
#[derive(Clone, Debug)]
pub enum TokenRequest {
    /// An authorization code, with what it is bound to.
    Code {
        /// The code.
        code: String,
        /// Where it was sent to.
        redirect_uri: String,
        /// What its challenge is the digest of.
        verifier: String,
    },
    /// A refresh token.
    Refresh {
        /// The token.
        token: String,
        /// What the access token shall be good for, if less than it could.
        scope: Option<String>,
    },
    /// A device code.
    Device {
        /// The code.
        code: String,
    },
}

/// What is wanted in place of a code or a refresh token.
pub(super) struct Renewal {
    id: GrantId,
    next: Refresh,
    scopes: Scopes,
    epoch: u64,
    until: Option<UnixMillis>,
}

impl Grants {
    /// Gives tokens to a client. It is done to its end also if the caller goes away: nobody takes back a second use by hanging up.
    ///
    /// # Errors
    /// `invalid_grant` for whatever is not good for this client; `invalid_scope`, `invalid_target`; of the device flow
    /// `authorization_pending`, `access_denied`, `expired_token`; a fault of ours.
    pub async fn token(
        &self,
        client: String,
        request: TokenRequest,
        resource: Option<String>,
    ) -> Result<Issued, Refusal> {
        let this = self.clone();
        let given = self.directory.0.tasks.spawn(async move {
            let resource = resource.as_deref();
            match request {
                TokenRequest::Code { code, redirect_uri, verifier } => {
                    this.redeem(&code, &client, &redirect_uri, &verifier, resource).await
                }
                TokenRequest::Refresh { token, scope } => {
                    this.refresh(&token, &client, scope.as_deref(), resource).await
                }
                TokenRequest::Device { code } => this.redeem_device(&code, &client, resource).await,
            }
        });
        given.await.map_err(Error::internal)?
    }

    /// Redeems an authorization code.
    async fn redeem(
        &self,
        code: &str,
        client: &str,
        redirect_uri: &str,
        verifier: &str,
        resource: Option<&str>,
    ) -> Result<Issued, Refusal> {
        let secret = Secret::parse(code).ok_or_else(Refusal::grant)?;
        let record = self.directory.grant(secret.grant).await?.ok_or_else(Refusal::grant)?;
        if record.code.value != secret.digest() {
            return Err(Refusal::grant());
        }
        if record.tokens.is_some() {
            // Somebody has had tokens for this code: whoever that was, nobody keeps them (B-s2).
            self.end(secret.grant).await?;
            return Err(Refusal::grant());
        }
        let bound = record.code.bound.as_ref().ok_or_else(Refusal::grant)?;
        let redirect = self.redirect_digest(redirect_uri).ok_or_else(Refusal::grant)?;
        let verified = challenge_of(verifier).is_some_and(|digest| digest == bound.challenge);
        if !verified || bound.redirect != redirect {
            return Err(Refusal::grant());
        }
        self.exchange(secret.grant, &record, secret.digest(), client, resource).await
    }

    fn redirect_digest(&self, text: &str) -> Option<Digest> {
        super::RedirectUri::parse(text, &self.rules.redirects).ok().map(|uri| uri.digest())
    }

    /// Gives the first tokens of a grant for its code, which the caller has looked at.
    pub(super) async fn exchange(
        &self,
        id: GrantId,
        record: &GrantRecord,
        code: Digest,
        client: &str,
        resource: Option<&str>,
    ) -> Result<Issued, Refusal> {
        let now = self.directory.0.clock.now();
        if record.revoked_at.is_some() || record.code.until <= now {
            return Err(Refusal::grant());
        }
        let renewal = self.renewal(id, record, client, resource, None, Refresh::generate(id)?).await?;
        let until = UnixMillis(now.0.saturating_add(millis(self.rules.refresh_absolute)));
        let issued = self.issue(record, &renewal, 1, until).await?;
        let tokens = self.tokens(&renewal.next, 1, now, until);
        let step = self.step(id, |mut record| {
            if record.code.value != code || record.revoked_at.is_some() {
                return Err(Lost::Refused(Refusal::grant()));
            }
            if record.tokens.is_some() {
                return Err(Lost::Reused);
            }
            record.tokens = Some(tokens.clone());
            Ok(record)
        });
        step.await.map(|()| issued)
    }

    /// Gives new tokens for a refresh token. `scope` may ask for less this time.
    async fn refresh(
        &self,
        token: &str,
        client: &str,
        scope: Option<&str>,
        resource: Option<&str>,
    ) -> Result<Issued, Refusal> {
        let shown = Refresh::parse(token).ok_or_else(Refusal::grant)?;
        let record = self.directory.grant(shown.grant).await?.ok_or_else(Refusal::grant)?;
        let tokens = record.tokens.as_ref().filter(|tokens| tokens.family == shown.family_digest());
        let tokens = tokens.ok_or_else(Refusal::grant)?;
        if tokens.current != shown.digest() {
            // One of this grant, but not the newest: it was used before.
            self.end(shown.grant).await?;
            return Err(Refusal::grant());
        }
        let now = self.directory.0.clock.now();
        if !record.is_live(now) {
            return Err(Refusal::grant());
        }
        let renewal = self.renewal(shown.grant, &record, client, resource, scope, shown.successor()?).await?;
        let generation = tokens.generation.saturating_add(1);
        let issued = self.issue(&record, &renewal, generation, tokens.until).await?;
        let next = self.tokens(&renewal.next, generation, now, tokens.until);
        let step = self.step(shown.grant, |mut record| {
            if record.revoked_at.is_some() {
                return Err(Lost::Refused(Refusal::grant()));
            }
            if record.tokens.as_ref().is_none_or(|tokens| tokens.current != shown.digest()) {
                return Err(Lost::Reused);
            }
            record.tokens = Some(next.clone());
            Ok(record)
        });
        step.await.map(|()| issued)
    }

    /// Revokes what a token belongs to (RFC 7009): whichever of its tokens is shown, the grant ends. A token that is unknown, not
    /// good any more or another client's is no fault.
    ///
    /// # Errors
    /// A fault of ours.
    pub async fn revoke_token(&self, token: &str, client: &str) -> Result<(), Refusal> {
        let Some(id) = self.grant_of(token).await? else { return Ok(()) };
        let record = self.directory.grant(id).await?;
        if record.is_some_and(|record| record.client.to_string() == client) {
            self.end(id).await?;
        }
        Ok(())
    }

    /// The grant that an access token or a refresh token is of, newest or not.
    async fn grant_of(&self, token: &str) -> Result<Option<GrantId>, Refusal> {
        if let Some(shown) = Refresh::parse(token) {
            let record = self.directory.grant(shown.grant).await?;
            let tokens = record.and_then(|record| record.tokens);
            let ours = tokens.is_some_and(|tokens| tokens.family == shown.family_digest());
            return Ok(ours.then_some(shown.grant));
        }
        Ok(self.claims(token).await?.and_then(|claims| claims.sid.parse().ok()))
    }

    /// What a token is worth, for the operator.
    ///
    /// # Errors
    /// A fault of ours.
    pub async fn introspect(&self, token: &str) -> Result<Introspection, Error> {
        if let Some(shown) = Refresh::parse(token) {
            let record = self.directory.grant(shown.grant).await?;
            let now = self.directory.0.clock.now();
            let record = record.filter(|record| record.is_live(now));
            let current = record.as_ref().and_then(|record| record.tokens.as_ref()).is_some_and(|tokens| {
                tokens.current == shown.digest() && tokens.family == shown.family_digest()
            });
            let standing = self.directory.standing(shown.grant).await?;
            let (Some(record), Some(standing), true) = (record, standing, current) else {
                return Ok(Introspection::default());
            };
            return Ok(Introspection {
                active: true,
                scope: Some(scope_text(standing.scopes)),
                client_id: Some(record.client.to_string()),
                sub: Some(record.owner.to_string()),
                aud: Some(self.rules.resource()),
                iss: Some(self.rules.issuer.clone()),
                exp: Some(record.ends().0 / 1000),
                iat: None,
                sid: Some(shown.grant.to_string()),
                token_type: Some("refresh_token"),
            });
        }
        let Some(claims) = self.claims(token).await? else { return Ok(Introspection::default()) };
        let Some(holder) = self.holder(token).await? else { return Ok(Introspection::default()) };
        Ok(Introspection {
            active: true,
            scope: Some(scope_text(holder.scopes())),
            client_id: Some(claims.client_id),
            sub: Some(claims.sub),
            aud: Some(self.rules.resource()),
            iss: Some(claims.iss),
            exp: Some(claims.exp),
            iat: Some(claims.iat),
            sid: Some(claims.sid),
            token_type: Some("Bearer"),
        })
    }

    /// Looks at all that a grant stands on, and says what its next tokens are good for.
    async fn renewal(
        &self,
        id: GrantId,
        record: &GrantRecord,
        client: &str,
        resource: Option<&str>,
        scope: Option<&str>,
        next: Refresh,
    ) -> Result<Renewal, Refusal> {
        let known = client.parse::<ClientId>().ok().filter(|client| *client == record.client);
        let known = known.ok_or_else(Refusal::grant)?;
        self.directory.client(known).await?.ok_or_else(Refusal::grant)?;
        let allowed = match record.subject {
            super::Subject::Key(_) => self.rules.keys,
            super::Subject::User => self.rules.users,
        };
        let subject = self.directory.subject_of(record).await?.filter(|_| allowed);
        let (held, epoch, until) = subject.ok_or_else(Refusal::grant)?;
        self.check_resource(resource)?;
        let scopes = record.scopes.narrowed_to(held);
        let asked = scope.filter(|scope| !scope.is_empty()).map(super::clients::scopes_of).transpose()?;
        let more = || Refusal::new(Code::InvalidScope, "the grant has not all of these scopes");
        let scopes = match asked {
            Some(asked) => Some(asked).filter(|asked| scopes.covers(*asked)).ok_or_else(more)?,
            None => scopes,
        };
        if scopes.is_empty() {
            return Err(Refusal::grant());
        }
        Ok(Renewal { id, next, scopes, epoch, until })
    }

    /// The tokens of this generation of a grant that ends at `until` at the latest.
    async fn issue(
        &self,
        record: &GrantRecord,
        renewal: &Renewal,
        generation: u32,
        until: UnixMillis,
    ) -> Result<Issued, Refusal> {
        let Renewal { id, next, scopes, epoch, until: key_until } = renewal;
        let now = self.directory.0.clock.now();
        let end = UnixMillis(now.0.saturating_add(millis(self.rules.access_ttl)));
        let end = key_until.iter().copied().chain([end, until]).min().unwrap_or(end);
        let (iat, exp) = (now.0 / 1000, end.0 / 1000);
        let ring = self.directory.keys_for_signing(self.rules.rotate_after).await?;
        let key = ring.keys().first().ok_or_else(|| Error::internal("there is no key to sign with"))?;
        let scope = scope_text(*scopes);
        let claims = Claims {
            iss: self.rules.issuer.clone(),
            sub: record.owner.to_string(),
            aud: [self.rules.resource()],
            client_id: record.client.to_string(),
            scope: scope.clone(),
            iat,
            nbf: iat,
            exp,
            jti: format!("{id}.{generation}"),
            sid: id.to_string(),
            epoch: *epoch,
        };
        let access_token = key.sign(&claims)?;
        let expires_in = Duration::from_secs(exp.saturating_sub(iat));
        Ok(Issued { access_token, expires_in, refresh_token: next.reveal(), scope })
    }

    fn tokens(&self, next: &Refresh, generation: u32, now: UnixMillis, until: UnixMillis) -> TokensRecord {
        TokensRecord {
            family: next.family_digest(),
            current: next.digest(),
            generation,
            used_at: now,
            idle_until: UnixMillis(now.0.saturating_add(millis(self.rules.refresh_idle))),
            until,
        }
    }

    /// One change of a grant's record. A loser of a race finds what the winner has made of it.
    async fn step(
        &self,
        id: GrantId,
        mut decide: impl FnMut(GrantRecord) -> Result<GrantRecord, Lost>,
    ) -> Result<(), Refusal> {
        let stepped = self.directory.change_quietly(grant_name(id), |found: Option<Bytes>| {
            let value = found.ok_or_else(|| Lost::Refused(Refusal::grant()))?;
            let record = GrantRecord::decode(&value).map_err(unavailable)?;
            decide(record).map(|record| (Some(record.encode()), ()))
        });
        match stepped.await {
            Ok(()) => Ok(()),
            Err(Lost::Refused(refusal)) => Err(refusal),
            Err(Lost::Reused) => {
                self.end(id).await?;
                Err(Refusal::grant())
            }
        }
    }

    /// Revokes a grant because a code or a token of it was used twice, or given back.
    pub(super) async fn end(&self, id: GrantId) -> Result<(), Refusal> {
        if self.directory.revoke(id).await? {
            tracing::warn!(grant = %id, "a grant was revoked: a code or a token of it was used twice, or given back");
        }
        Ok(())
    }
}
