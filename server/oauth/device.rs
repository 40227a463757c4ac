//! The device flow over HTTP (B-37): where a device begins, and the page for the person.

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;

use super::authorize::{Decision, Proof};
use super::caller::client;
use super::form::Form;
use super::page::{self, Consent};
use super::{DEVICE, OAuth, reply};
use crate::auth::grants::{DEVICE_INTERVAL, DeviceRequest, Refusal, RefusalCode, UserCode};
use crate::limits::Area;

#[derive(Serialize)]
struct Started {
    device_code: String,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: String,
    expires_in: u64,
    interval: u64,
}

/// `POST /oauth2/device_authorization`.
pub(super) async fn start(State(oauth): State<OAuth>, request: Request) -> Response {
    let started = async {
        oauth.admit(&request, Area::OAuth)?;
        let form = Form::read(request).await?;
        form.once(&["client_id", "scope", "resource"])?;
        oauth.grants.start_device(form.get("client_id"), form.get("scope"), form.get("resource")).await
    };
    match started.await {
        Ok(device) => {
            let page = oauth.grants.rules().device_page();
            let user_code = device.user_code.to_string();
            let started = Started {
                device_code: device.device_code,
                verification_uri_complete: format!("{page}?user_code={user_code}"),
                verification_uri: page,
                user_code,
                expires_in: device.expires_in.as_secs(),
                interval: DEVICE_INTERVAL.as_secs(),
            };
            reply::json(StatusCode::OK, &started)
        }
        Err(refusal) => reply::refusal(&refusal),
    }
}

/// `GET /oauth2/device`: asks for the code, or shows what waits with it.
pub(super) async fn show(State(oauth): State<OAuth>, request: Request) -> Response {
    match shown(&oauth, request).await {
        Ok(reply) => reply,
        Err(refusal) if refusal.code() == RefusalCode::ExpiredToken => page::ask_code(Some(&refusal)),
        Err(refusal) => page::refusal(&refusal),
    }
}

async fn shown(oauth: &OAuth, request: Request) -> Result<Response, Refusal> {
    oauth.admit(&request, Area::OAuth)?;
    let user = oauth.user(&request)?;
    let form = Form::of_query(request.uri().query());
    drop(request);
    let Some(typed) = form.get("user_code") else { return Ok(page::ask_code(None)) };
    let wrong = || Refusal::new(RefusalCode::ExpiredToken, "This is no code: it has eight letters.");
    let code = UserCode::parse(typed).ok_or_else(wrong)?;
    let device = oauth.grants.waiting_device(code, user).await?;
    let seal = oauth.grants.seal_device(&device).await?;
    Ok(consent(oauth, &device, &seal, None).page(StatusCode::OK))
}

/// `POST /oauth2/device`.
pub(super) async fn answer(State(oauth): State<OAuth>, request: Request) -> Response {
    match answered(&oauth, request).await {
        Ok(reply) => reply,
        Err(refusal) if refusal.code() == RefusalCode::ExpiredToken => page::ask_code(Some(&refusal)),
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
    let device = oauth.grants.unseal_device(seal, user.clone()).await?;
    let proof: Proof = match decision {
        Decision::Deny => {
            oauth.grants.deny_device(&device).await?;
            return Ok(page::done(
                "The device was turned away",
                "It was given nothing. You can close this page.",
            ));
        }
        Decision::Allow(proof) => proof,
    };
    match oauth.approve(&proof, client, user.as_ref(), device.scopes).await? {
        Ok(approval) => {
            oauth.grants.allow_device(&device, approval).await?;
            let text = "It goes on by itself within seconds. You can close this page.";
            Ok(page::done("The device is connected", text))
        }
        Err(problem) => Ok(consent(oauth, &device, seal, Some(&problem)).page_after(&problem)),
    }
}

fn consent<'a>(
    oauth: &OAuth,
    device: &'a DeviceRequest,
    seal: &'a str,
    problem: Option<&'a Refusal>,
) -> Consent<'a> {
    Consent {
        action: DEVICE,
        client: &device.client_name,
        place: None,
        scopes: device.scopes,
        user: device.user(),
        keys: oauth.grants.rules().keys,
        seal,
        problem,
        user_code: Some(device.user_code),
    }
}
