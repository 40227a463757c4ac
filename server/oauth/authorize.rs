//! `/oauth2/authorize`: the page that asks a person, and the answer (B-9 to B-17).

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use tidemark_proto::v1::ErrorCode;
use tidemark_store::Owner;

use super::caller::client;
use super::form::Form;
use super::page::{self, Consent};
use super::{AUTHORIZE, OAuth, reply};
use crate::auth::Scopes;
use crate::auth::grants::{Approval, Asked, BadRequest, Identity, Refusal, RefusalCode};
use crate::limits::Area;
use crate::serve::Client;

const PARAMETERS: [&str; 7] = [
    "response_type",
    "response_mode",
    "scope",
    "state",
    "code_challenge",
    "code_challenge_method",
    "resource",
];

/// `GET /oauth2/authorize`.
pub(super) async fn show(State(oauth): State<OAuth>, request: Request) -> Response {
    match asked(&oauth, request).await {
        Ok(reply) => reply,
        Err(BadRequest::Page(refusal)) => page::refusal(&refusal),
        Err(BadRequest::Back(location)) => reply::see_other(&location),
    }
}

async fn asked(oauth: &OAuth, request: Request) -> Result<Response, BadRequest> {
    oauth.admit(&request, Area::OAuth)?;
    let user = oauth.user(&request)?;
    let form = Form::of_query(request.uri().query());
    drop(request);
    let asked = Asked {
        client_id: form.get("client_id"),
        redirect_uri: form.get("redirect_uri"),
        response_type: form.get("response_type"),
        response_mode: form.get("response_mode"),
        scope: form.get("scope"),
        state: form.get("state"),
        code_challenge: form.get("code_challenge"),
        code_challenge_method: form.get("code_challenge_method"),
        resource: form.get("resource"),
        repeated: form.repeats(&PARAMETERS),
    };
    let wanted = oauth.grants.request(&asked, user.clone()).await?;
    let seal = oauth.grants.seal(&wanted).await?;
    let consent = Consent {
        action: AUTHORIZE,
        client: &wanted.client_name,
        place: Some((&wanted.redirect.place(), &wanted.redirect.source())),
        scopes: wanted.scopes,
        user: user.as_ref(),
        keys: oauth.grants.rules().keys,
        seal: &seal,
        problem: None,
        user_code: None,
    };
    Ok(consent.page(StatusCode::OK))
}

/// `POST /oauth2/authorize`.
pub(super) async fn answer(State(oauth): State<OAuth>, request: Request) -> Response {
    match answered(&oauth, request).await {
        Ok(reply) => reply,
        Err(refusal) => page::refusal(&refusal),
    }
}

async fn answered(oauth: &OAuth, request: Request) -> Result<Response, Refusal> {
    oauth.admit(&request, Area::OAuth)?;
    oauth.check_site(request.headers())?;
    let (user, client) = (oauth.user(&request)?, client(&request));
    let form = Form::read(request).await?;
    form.once(&["request", "decision", "key"])?;
    let (seal, decision) = (form.need("request")?, Decision::of(&form)?);
    let wanted = oauth.grants.unseal(seal).await?;
    let approved = match &decision {
        Decision::Deny => {
            return oauth.grants.deny(&wanted, user.as_ref()).await.map(|at| reply::see_other(&at));
        }
        Decision::Allow(proof) => oauth.approve(proof, client, user.as_ref(), wanted.scopes).await?,
    };
    match approved {
        Ok(approval) => {
            let location = oauth.grants.consent(&wanted, approval, user.as_ref()).await?;
            Ok(reply::see_other(&location))
        }
        Err(problem) => {
            let consent = Consent {
                action: AUTHORIZE,
                client: &wanted.client_name,
                place: Some((&wanted.redirect.place(), &wanted.redirect.source())),
                scopes: wanted.scopes,
                user: user.as_ref(),
                keys: oauth.grants.rules().keys,
                seal,
                problem: Some(&problem),
                user_code: None,
            };
            Ok(consent.page_after(&problem))
        }
    }
}

/// What a person has pressed.
pub(super) enum Decision {
    Allow(Proof),
    Deny,
}

/// How a person proves who they are.
pub(super) enum Proof {
    Key(String),
    User,
}

impl Decision {
    pub(super) fn of(form: &Form) -> Result<Self, Refusal> {
        match form.need("decision")? {
            "deny" => Ok(Self::Deny),
            "user" => Ok(Self::Allow(Proof::User)),
            "key" => Ok(Self::Allow(Proof::Key(form.get("key").unwrap_or_default().trim().to_owned()))),
            _ => Err(Refusal::request("decision is key, user or deny")),
        }
    }
}

impl OAuth {
    /// Whom a grant would stand for; within, what the person can do better.
    ///
    /// # Errors
    /// A fault of ours.
    pub(super) async fn approve(
        &self,
        proof: &Proof,
        client: Client,
        user: Option<&Owner>,
        asked: Scopes,
    ) -> Result<Result<Approval, Refusal>, Refusal> {
        let identity = match proof {
            Proof::User => Ok(Identity::User),
            Proof::Key(key) => self.holder(client, key).await.map(Identity::Holder),
        };
        let approval = match identity {
            Ok(identity) => self.grants.approval(&identity, user, asked).await,
            Err(error) if error.code() == ErrorCode::Unauthorized => {
                Err(Refusal::new(RefusalCode::AccessDenied, "This key is not valid."))
            }
            Err(error) => Err(error.into()),
        };
        match approval {
            Err(refusal) if refusal.code() != RefusalCode::AccessDenied && refusal.status() != 429 => {
                Err(refusal)
            }
            other => Ok(other),
        }
    }
}
