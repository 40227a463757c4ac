//! The pages that people see: plain HTML, no script, readable at any size and to a screen reader.
//!
//! It owns how they look and what a browser may do with them. Everything that comes from outside is escaped by the template.

use std::sync::LazyLock;

use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_FRAME_OPTIONS};
use http::{HeaderValue, StatusCode};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};
use tidemark_store::Owner;

use super::{DEVICE, reply};
use crate::auth::grants::{GRANTABLE, Refusal, RefusalCode, UserCode};
use crate::auth::{Scope, Scopes};

const STYLE: &str = include_str!("page.css");

/// The style as a source of a content security policy: no other one is let in.
static STYLE_SOURCE: LazyLock<String> =
    LazyLock::new(|| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(STYLE))));

/// A page that asks whether an app may be connected.
pub(super) struct Consent<'a> {
    /// Where the answer goes.
    pub(super) action: &'static str,
    /// What the app says that it is called.
    pub(super) client: &'a str,
    /// Where the browser is sent then, and that as a source of a content security policy; absent for a device.
    pub(super) place: Option<(&'a str, &'a str)>,
    pub(super) scopes: Scopes,
    /// Who is signed in.
    pub(super) user: Option<&'a Owner>,
    /// Whether a key will do.
    pub(super) keys: bool,
    pub(super) seal: &'a str,
    /// What was wrong with the last answer.
    pub(super) problem: Option<&'a Refusal>,
    pub(super) user_code: Option<UserCode>,
}

impl Consent<'_> {
    /// The page.
    pub(super) fn page(&self, status: StatusCode) -> Response {
        let title = if self.user_code.is_some() { "Connect a device" } else { "Connect an app" };
        respond(status, title, &self.body(title), self.place.map(|(_, source)| source))
    }

    /// The page after an answer that did not do.
    pub(super) fn page_after(&self, problem: &Refusal) -> Response {
        let denied = problem.code() == RefusalCode::AccessDenied;
        let status = if denied { StatusCode::FORBIDDEN } else { reply::status(problem) };
        let mut page = self.page(status);
        reply::put_retry_after(&mut page, problem);
        page
    }

    fn body(&self, title: &str) -> Markup {
        html! {
            h1 { (title) }
            @if let Some(problem) = self.problem {
                p #problem .problem role="alert" { (sentence(problem.text())) }
            }
            p .lead { strong { (self.client) } " asks for access to this gateway in your name." }
            @if let Some((place, _)) = self.place {
                p .note {
                    "The app chose this name itself. If you go on, you are sent to " strong { (place) }
                    ". Go on only if you have just come from there."
                }
            } @else if let Some(code) = self.user_code {
                p .note { "Go on only if your device shows this code:" }
                p .code { (code.to_string()) }
            }
            h2 { "It would be able to" }
            ul { @for scope in GRANTABLE { @if self.scopes.contains(scope) { li { (meaning(scope)) } } } }
            p { "It can do nothing that your key cannot, and never sees the key. You can end this at any time." }
            form method="post" action=(self.action) {
                input type="hidden" name="request" value=(self.seal);
                @if let Some(user) = self.user {
                    p { "You are signed in as " strong { (user.as_str()) } "." }
                    button .primary type="submit" name="decision" value="user" formnovalidate {
                        "Allow as " (user.as_str())
                    }
                    @if self.keys {
                        details open[self.problem.is_some()] { summary { "Use a key instead" } (self.key_field()) }
                    }
                } @else if self.keys {
                    (self.key_field())
                } @else {
                    p .problem role="alert" { "Nobody is signed in. Sign in at your company's page first." }
                }
                button type="submit" name="decision" value="deny" formnovalidate { "Deny" }
            }
        }
    }
}

impl Consent<'_> {
    fn key_field(&self) -> Markup {
        let problem = self.problem.is_some();
        html! {
            label for="key" { "Your key" }
            input #key type="password" name="key" autocomplete="off" autocapitalize="none" spellcheck="false"
                placeholder="tmk_…" required aria-describedby=[problem.then_some("problem")]
                aria-invalid=[problem.then_some("true")] autofocus[problem];
            button .primary type="submit" name="decision" value="key" { "Allow" }
        }
    }
}

/// What a scope means to a person.
fn meaning(scope: Scope) -> &'static str {
    match scope {
        Scope::ResponsesRead => "read your responses",
        Scope::ResponsesWrite => "create, cancel and delete responses, at your cost",
        Scope::SessionsRead => "read your conversations",
        Scope::SessionsWrite => "change your conversations",
        Scope::ModelsRead => "see which models there are",
        Scope::GrantsRead
        | Scope::GrantsWrite
        | Scope::KeysAdmin
        | Scope::GrantsAdmin
        | Scope::ActAs
        | Scope::Admin => "manage this gateway",
    }
}

/// The page that asks for the code of a device.
pub(super) fn ask_code(problem: Option<&Refusal>) -> Response {
    let status = problem.map_or(StatusCode::OK, reply::status);
    let body = html! {
        h1 { "Connect a device" }
        @if let Some(problem) = problem { p #problem .problem role="alert" { (sentence(problem.text())) } }
        form method="get" action=(DEVICE) {
            label for="code" { "The code that your device shows" }
            input #code .code name="user_code" autocomplete="off" autocapitalize="characters" spellcheck="false"
                maxlength="16" placeholder="XXXX-XXXX" required autofocus aria-describedby=[problem.map(|_| "problem")];
            button .primary type="submit" { "Go on" }
        }
    };
    respond(status, "Connect a device", &body, None)
}

/// A page on which there is nothing more to do.
pub(super) fn done(title: &str, text: &str) -> Response {
    respond(StatusCode::OK, title, &html! { h1 { (title) } p role="status" { (text) } }, None)
}

/// The page that says no to a person.
pub(super) fn refusal(refusal: &Refusal) -> Response {
    reply::note(refusal);
    let title = match refusal.status() {
        429 => "Too many tries",
        500.. => "This does not work right now",
        _ => "This request cannot be answered",
    };
    let body = html! {
        h1 { (title) }
        p role="alert" { (sentence(refusal.text())) }
        p .note { "For whoever made the app: " code { (refusal.code().name()) } }
    };
    let mut reply = respond(reply::status(refusal), title, &body, None);
    reply::put_retry_after(&mut reply, refusal);
    reply
}

/// A refusal as a sentence. A word of the specification keeps its spelling.
fn sentence(text: &str) -> String {
    if text.split(' ').next().is_some_and(|word| word.contains('_')) {
        return format!("{text}.");
    }
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    let end = if text.ends_with('.') { "" } else { "." };
    format!("{first}{}{end}", letters.as_str())
}

/// A page. `leads_to` is where its form may send the browser besides this gateway.
fn respond(status: StatusCode, title: &str, body: &Markup, leads_to: Option<&str>) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex";
                title { (title) " · Tidemark" }
                style { (PreEscaped(STYLE)) }
            }
            body { main { p .brand { "Tidemark" } (body) } }
        }
    };
    let policy = format!(
        "default-src 'none'; style-src {}; form-action 'self' {}; base-uri 'none'; frame-ancestors 'none'",
        *STYLE_SOURCE,
        leads_to.unwrap_or_default()
    );
    let mut reply = Response::new(page.into_string().into());
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    if let Ok(policy) = HeaderValue::from_str(policy.trim()) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    reply
}
