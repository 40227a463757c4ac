//! The endpoints and pages as they are over HTTP.

mod apps;
mod pages;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::{HeaderName, Method, StatusCode};
use http_body_util::BodyExt as _;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tidemark_store::memory::MemoryStore;
use tidemark_store::{Caps, Owner};
use tonic::service::Routes;
use tower::ServiceExt as _;

use super::*;
use crate::auth::grants::{RedirectRules, Rules};
use crate::auth::{Digest, Directory, Mode, NewKey, Principal, Scopes};
use crate::config::{ForwardedHeader, Rate};
use crate::limits::{FailureRule, Rates};
use crate::runs::testing::TestClock;
use crate::serve::{self, Gate, Proxies, Record, RequestIds};
use crate::tasks::Tasks;
use crate::telemetry::{LimitMeters, ServeMeters};

const ISSUER: &str = "https://gate.example";
const BACK: &str = "https://app.example/cb";
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const VERIFIER: &str = "a-verifier-of-enough-letters-0123456789-abcdef";
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const USER: &str = "x-auth-user";

struct Server {
    app: Router,
    directory: Directory,
    key: String,
    client: String,
}

fn rules() -> Rules {
    let minute = Duration::from_secs(60);
    Rules {
        issuer: ISSUER.to_owned(),
        keys: true,
        users: true,
        open_registration: true,
        max_clients: 100,
        redirects: RedirectRules::default(),
        code_ttl: 5 * minute,
        access_ttl: 10 * minute,
        refresh_idle: 60 * minute,
        refresh_absolute: 60 * minute,
        keep_dead: minute,
        orphan_after: minute,
        sweep_period: minute,
        rotate_after: 60 * minute,
    }
}

impl Server {
    async fn new() -> Self {
        Self::with(rules(), Rates::default()).await
    }

    /// The whole stack, as the process has it.
    async fn with(rules: Rules, rates: Rates) -> Self {
        let store = Arc::new(MemoryStore::new(Caps::default()));
        let directory = Directory::new(store, Arc::new(TestClock::default()), Tasks::new());
        let grants = Grants::new(directory.clone(), rules);
        let mode = Mode::Keys { operator: Some(Digest::of(SECRET.as_bytes())) };
        let access = Access::new(mode, directory.clone()).with_grants(grants.clone(), false);
        let meters = LimitMeters::default();
        let allowed = Rate { count: NonZeroU32::new(10).unwrap(), period: Duration::from_secs(60) };
        let rule = FailureRule { allowed, lock: Duration::from_secs(300), loopback: true };
        let failures = Arc::new(Failures::new(Some(rule), meters.clone()));
        let quotas = Arc::new(Quotas::new(rates, meters));
        let gate = Gate::new(access.clone(), Arc::clone(&failures), Arc::clone(&quotas));
        let options = serve::Options {
            visitors: None,
            origins: Vec::new(),
            request_ids: RequestIds::default(),
            proxies: Proxies::new(vec!["10.0.0.0/8".parse().unwrap()], ForwardedHeader::XForwardedFor),
            record: Record::new([], ServeMeters::default()),
            resource_metadata: Some(format!("{ISSUER}{RESOURCE_METADATA}").parse().unwrap()),
        };
        let identity_header = Some(HeaderName::from_static(USER));
        let oauth = OAuth { grants, access, failures, quotas, identity_header };
        let rest = Router::new()
            .route("/v1/models", get(async || "models"))
            .fallback(async || StatusCode::NOT_FOUND)
            .merge(operator(oauth.clone()));
        let (_reporter, health) = tonic_health::server::health_reporter();
        let app = serve::app(Routes::new(health), rest, router(oauth), &gate, &options);
        let caller = Principal::operator(Owner::new("operator").unwrap());
        let scopes = Scopes::parse("responses.read models.read").unwrap();
        let new = NewKey { owner: Owner::new("acme"), scopes, expires_at: None };
        let (key, _) = directory.create_key(&caller, new).await.unwrap();
        let key = key.reveal().expose_secret().to_owned();
        let mut server = Self { app, directory, key, client: String::new() };
        if let Ok(made) =
            server.register(&json!({"redirect_uris": [BACK], "client_name": "<b>App</b>"})).await
        {
            server.client = made["client_id"].as_str().unwrap().to_owned();
        }
        server
    }

    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: String) -> Response {
        self.send_from("203.0.113.7", method, path, headers, body).await
    }

    async fn send_from(
        &self,
        address: &str,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Response {
        let request = Request::builder().method(method).uri(path);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let mut request = request.body(Body::from(body)).unwrap();
        serve::set_peer(&mut request, address.parse().unwrap());
        self.app.clone().oneshot(request).await.unwrap()
    }

    async fn get(&self, path: &str) -> Response {
        self.send(Method::GET, path, &[], String::new()).await
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> Response {
        self.send(Method::POST, path, &[FORM], encoded(form)).await
    }

    async fn register(&self, metadata: &Value) -> Result<Value, (u16, Value)> {
        let reply =
            self.send(Method::POST, REGISTER, &[("content-type", "application/json")], metadata.to_string());
        let reply = reply.await;
        let status = reply.status().as_u16();
        let said = json_of(reply).await;
        if status == 201 { Ok(said) } else { Err((status, said)) }
    }

    fn authorize(&self) -> String {
        let challenge = challenge();
        let query = encoded(&[
            ("client_id", &self.client),
            ("redirect_uri", BACK),
            ("response_type", "code"),
            ("state", "s"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        format!("{AUTHORIZE}?{query}")
    }

    /// The seal of a page that is shown to a browser with these headers.
    async fn seal(&self, headers: &[(&str, &str)]) -> String {
        let page = self.send_from("10.0.0.1", Method::GET, &self.authorize(), headers, String::new()).await;
        field(&text(page).await)
    }

    async fn tokens(&self) -> Value {
        let seal = self.seal(&[]).await;
        let sent = self.post(AUTHORIZE, &[("request", &seal), ("key", &self.key), ("decision", "key")]).await;
        assert_eq!(sent.status(), 303);
        let code = param(&sent, "code").unwrap();
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", self.client.as_str()),
            ("code", &code),
            ("redirect_uri", BACK),
            ("code_verifier", VERIFIER),
        ];
        json_of(self.post(TOKEN, &form).await).await
    }
}

fn challenge() -> String {
    use base64::Engine as _;
    use sha2::Digest as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(VERIFIER))
}

fn encoded(form: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish()
}

fn field(page: &str) -> String {
    let (_, rest) = page.split_once("name=\"request\" value=\"").unwrap_or_else(|| panic!("{page}"));
    rest.split('"').next().unwrap().to_owned()
}

fn param(reply: &Response, name: &str) -> Option<String> {
    let url = url::Url::parse(reply.headers()["location"].to_str().unwrap()).unwrap();
    url.query_pairs().find(|(other, _)| other == name).map(|(_, value)| value.into_owned())
}

async fn text(reply: Response) -> String {
    String::from_utf8(reply.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn json_of(reply: Response) -> Value {
    serde_json::from_str(&text(reply).await).unwrap()
}
