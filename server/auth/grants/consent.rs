//! The answer of a person to a request (B-13 to B-17).
//!
//! It owns whom a grant stands for, and that a request is answered once. It must never know how a person is asked.

use tidemark_store::{Owner, UnixMillis};

use super::Grants;
use super::id::GrantId;
use super::record::{Answered, CodeRecord, GrantRecord, Subject, grant_name, grants_of, request_name};
use super::refusal::{Code, Refusal};
use super::request::{Request, no};
use super::secret::Code as Secret;
use crate::auth::directory::unavailable;
use crate::auth::{Credential, Digest, Principal, Scopes};
use crate::clock::millis;
use crate::error::Error;

/// The most grants of one owner, dead ones that are still kept too.
pub(super) const MAX_GRANTS_PER_OWNER: usize = 1000;

/// Who answers.
#[derive(Clone, Debug)]
pub enum Identity {
    /// Whoever shows a key.
    Holder(Principal),
    /// A user whom a trusted proxy names.
    User,
}

/// A person who may say yes, and what the grant would be.
#[derive(Clone, Debug)]
pub struct Approval {
    pub(super) owner: Owner,
    pub(super) subject: Subject,
    pub(super) scopes: Scopes,
}

impl Grants {
    /// Whom a grant would stand for (B-15), and what of `asked` it can be given. `user` is whom a trusted proxy names.
    ///
    /// # Errors
    /// `access_denied` if the person may not say yes, or has none of what is asked for; a fault of ours.
    pub async fn approval(
        &self,
        identity: &Identity,
        user: Option<&Owner>,
        asked: Scopes,
    ) -> Result<Approval, Refusal> {
        let denied = |text: &str| Refusal::new(Code::AccessDenied, text);
        let (owner, subject, held) = match identity {
            Identity::User => {
                let user = user.ok_or_else(|| denied("nobody is signed in"))?;
                self.check_user(user).await?;
                (user.clone(), Subject::User, Self::grantable())
            }
            Identity::Holder(principal) => {
                let Credential::Key { id, .. } = principal.credential() else {
                    return Err(denied("only a key can be used here"));
                };
                let owner = principal.owner().clone();
                let is_user = self.rules.users && self.directory.user(&owner).await?.is_some();
                if is_user {
                    // The key of a user stands for that user, who must be there in person.
                    if user != Some(&owner) {
                        return Err(denied("this is the key of a user who is not signed in"));
                    }
                    self.check_user(&owner).await?;
                    (owner, Subject::User, principal.scopes())
                } else if self.rules.keys {
                    (owner, Subject::Key(*id), principal.scopes())
                } else {
                    return Err(denied("apps cannot be let in by a key here"));
                }
            }
        };
        let scopes = asked.narrowed_to(held).narrowed_to(Self::grantable());
        if scopes.is_empty() {
            return Err(denied("the key has none of the rights that the app asks for"));
        }
        Ok(Approval { owner, subject, scopes })
    }

    async fn check_user(&self, user: &Owner) -> Result<(), Refusal> {
        let known = self.directory.user(user).await?.filter(|user| !user.disabled && self.rules.users);
        known
            .map(drop)
            .ok_or_else(|| Refusal::new(Code::AccessDenied, "this user is not known here, or disabled"))
    }

    /// Says yes: the address that brings the code to the client.
    ///
    /// # Errors
    /// `invalid_request` if the page was made for another user, or the request was answered before; `access_denied` if the owner has
    /// too many grants; a fault of ours.
    pub async fn consent(
        &self,
        request: &Request,
        approval: Approval,
        user: Option<&Owner>,
    ) -> Result<String, Refusal> {
        if request.user.as_ref() != user {
            return Err(Refusal::request("the page was made for somebody else: begin again at the app"));
        }
        self.check_room(&approval.owner).await?;
        self.answer_once(request, Answered::Consented).await?;
        let id = GrantId::new(&approval.owner, self.directory.0.clock.new_id());
        let code = Secret::generate(id)?;
        let bound = Some(request.bound());
        let code_record = CodeRecord { value: code.digest(), until: self.code_end(), bound };
        self.put_grant(id, approval, request.client, request.client_name.clone(), code_record).await?;
        Ok(self.answer_to(request, &[("code", &code.reveal())]))
    }

    /// Says no: the address that tells the client. Nothing is kept but that the request was answered.
    ///
    /// # Errors
    /// `invalid_request` if it was answered before; a fault of ours.
    pub async fn deny(&self, request: &Request, user: Option<&Owner>) -> Result<String, Refusal> {
        if request.user.as_ref() != user {
            return Err(Refusal::request("the page was made for somebody else: begin again at the app"));
        }
        self.answer_once(request, Answered::Denied).await?;
        let refusal = Refusal::new(Code::AccessDenied, "the person said no");
        Ok(self.answer_to(request, &no(&refusal)))
    }

    fn code_end(&self) -> UnixMillis {
        UnixMillis(self.directory.0.clock.now().0.saturating_add(millis(self.rules.code_ttl)))
    }

    pub(super) async fn check_room(&self, owner: &Owner) -> Result<(), Refusal> {
        let prefix = grants_of(owner);
        let found = self.directory.0.store.records(prefix.as_bytes(), None, MAX_GRANTS_PER_OWNER).await;
        if found.map_err(unavailable)?.len() < MAX_GRANTS_PER_OWNER {
            return Ok(());
        }
        Err(Refusal::new(Code::AccessDenied, "there are too many connected apps: end some of them"))
    }

    /// The first answer counts.
    async fn answer_once(&self, request: &Request, answer: Answered) -> Result<(), Refusal> {
        let name = request_name(request.until, request.id);
        let answered = || Refusal::request("this request was answered already: begin again at the app");
        let first = self.directory.change_quietly(name, |found| match found {
            Some(_) => Err(answered()),
            None => Ok((Some(answer.encode()), ())),
        });
        first.await
    }

    pub(super) async fn put_grant(
        &self,
        id: GrantId,
        approval: Approval,
        client: super::ClientId,
        client_name: String,
        code: CodeRecord,
    ) -> Result<(), Error> {
        let Approval { owner, subject, scopes } = approval;
        let created_at = self.directory.0.clock.now();
        let record = GrantRecord {
            owner,
            subject,
            client,
            client_name,
            scopes,
            created_at,
            code,
            tokens: None,
            revoked_at: None,
        };
        let put = self.directory.change_quietly(grant_name(id), |found| match found {
            Some(_) => Err(Error::internal("an id was given twice")),
            None => Ok((Some(record.encode()), ())),
        });
        put.await
    }
}

/// The digest that a code verifier has (RFC 7636), if it may be one.
pub(super) fn challenge_of(verifier: &str) -> Option<Digest> {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let fits = (43..=128).contains(&verifier.len()) && verifier.bytes().all(unreserved);
    fits.then(|| Digest::of(verifier.as_bytes()))
}
