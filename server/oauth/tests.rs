//! The endpoints and pages as they are over HTTP.

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

#[tokio::test]
async fn b_2_b_5_the_metadata_is_of_the_settings_and_check_29_no_host_changes_it() {
    let server = Server::new().await;
    let paths = [
        SERVER_METADATA,
        "/.well-known/oauth-authorization-server/v1",
        RESOURCE_METADATA,
        "/.well-known/oauth-protected-resource",
        JWKS,
    ];
    for path in paths {
        let plain = server.get(path).await;
        assert_eq!(
            (plain.status().as_u16(), &plain.headers()["cache-control"]),
            (200, &"no-store".parse().unwrap())
        );
        let plain = text(plain).await;
        let evil = [
            ("host", "evil.example"),
            ("x-forwarded-host", "evil.example"),
            ("forwarded", "host=evil.example"),
        ];
        let reply = server.send_from("10.0.0.1", Method::GET, path, &evil, String::new()).await;
        assert_eq!(text(reply).await, plain, "{path}");
    }
    let says = json_of(server.get(SERVER_METADATA).await).await;
    assert_eq!(says["issuer"], ISSUER);
    assert_eq!(says["authorization_endpoint"], format!("{ISSUER}/oauth2/authorize"));
    assert_eq!(says["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(says["token_endpoint_auth_methods_supported"], json!(["none"]));
    assert_eq!(says["authorization_response_iss_parameter_supported"], true);
    let says = json_of(server.get(RESOURCE_METADATA).await).await;
    assert_eq!(says["resource"], format!("{ISSUER}/v1"), "b_3");
    assert_eq!(says["authorization_servers"], json!([ISSUER]));
    let keys = json_of(server.get(JWKS).await).await;
    assert_eq!((keys["keys"][0]["kty"].as_str(), keys["keys"][0]["d"].as_str()), (Some("EC"), None), "b_5");
    let refused = server.send(Method::GET, "/v1/models", &[("host", "evil.example")], String::new()).await;
    let pointer = format!("Bearer resource_metadata=\"{ISSUER}{RESOURCE_METADATA}\"");
    assert_eq!(refused.headers()["www-authenticate"], pointer.as_str(), "b_33");
}

#[tokio::test]
async fn b_1_without_it_every_path_of_it_is_404_also_for_who_shows_nothing() {
    let app = absent();
    for path in [AUTHORIZE, TOKEN, REGISTER, REVOKE, DEVICE, JWKS, SERVER_METADATA, RESOURCE_METADATA] {
        for method in [Method::GET, Method::POST] {
            let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            assert_eq!(app.clone().oneshot(request).await.unwrap().status(), 404, "{path}");
        }
    }
    let closed = Server::with(Rules { open_registration: false, ..rules() }, Rates::default()).await;
    assert_eq!(closed.register(&json!({"redirect_uris": [BACK]})).await.unwrap_err().0, 404);
    let says = json_of(closed.get(SERVER_METADATA).await).await;
    assert!(says.get("registration_endpoint").is_none());
}

#[tokio::test]
async fn b_6_b_7_a_registration_says_what_became_of_it() {
    let server = Server::new().await;
    let made = server.register(&json!({"redirect_uris": [BACK], "logo_uri": "ignored"})).await.unwrap();
    assert_eq!(made["grant_types"], json!(["authorization_code", "refresh_token"]));
    assert_eq!(
        (made["response_types"].clone(), made["token_endpoint_auth_method"].clone()),
        (json!(["code"]), json!("none"))
    );
    assert!(made["client_id_issued_at"].is_u64() && made.get("client_secret").is_none());
    for (metadata, error) in [
        (json!([]), "invalid_request"),
        (json!({"redirect_uris": "x"}), "invalid_request"),
        (json!({}), "invalid_redirect_uri"),
        (json!({"redirect_uris": ["http://app.example/cb"]}), "invalid_redirect_uri"),
        (json!({"redirect_uris": ["javascript:alert(1)"]}), "invalid_redirect_uri"),
        (
            json!({"redirect_uris": [BACK], "token_endpoint_auth_method": "client_secret_basic"}),
            "invalid_client_metadata",
        ),
        (json!({"redirect_uris": [BACK], "grant_types": ["implicit"]}), "invalid_client_metadata"),
        (json!({"redirect_uris": [BACK], "response_types": ["token"]}), "invalid_client_metadata"),
        (json!({"redirect_uris": [BACK], "scope": "admin"}), "invalid_client_metadata"),
    ] {
        let (status, said) = server.register(&metadata).await.unwrap_err();
        assert_eq!((status, said["error"].as_str()), (400, Some(error)), "{metadata}");
        assert!(said["error_description"].is_string());
    }
}

#[tokio::test]
async fn b_10_the_page_is_plain_html_that_no_site_can_frame_or_script() {
    let server = Server::new().await;
    let page = server.get(&server.authorize()).await;
    let said = |name: &str| page.headers()[name].to_str().unwrap().to_owned();
    assert_eq!((page.status().as_u16(), said("content-type").as_str()), (200, "text/html; charset=utf-8"));
    let policy = said("content-security-policy");
    for part in [
        "default-src 'none'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'self' https://app.example;",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("script") && !policy.contains("unsafe"), "{policy}");
    assert_eq!((said("x-frame-options").as_str(), said("referrer-policy").as_str()), ("DENY", "no-referrer"));
    assert!(page.headers().get("set-cookie").is_none() && said("cache-control") == "no-store");
    let html = text(page).await;
    assert!(
        html.contains("&lt;b&gt;App&lt;/b&gt;") && !html.contains("<b>App"),
        "what the client says is escaped"
    );
    assert!(
        !html.contains("<script")
            && html.contains("<html lang=\"en\">")
            && html.contains("<label for=\"key\">")
    );
}

#[tokio::test]
async fn b_9_a_request_that_is_not_certain_ends_on_a_page_and_never_elsewhere() {
    let server = Server::new().await;
    let good = server.authorize();
    for (from, to) in [
        ("https%3A%2F%2Fapp.example%2Fcb", "https%3A%2F%2Fevil.example%2Fcb"),
        ("https%3A%2F%2Fapp.example%2Fcb", "%2F%2Fevil.example"),
        ("client_id=client_", "client_id=klient_"),
        ("redirect_uri=", "redirect_uri=https%3A%2F%2Fevil.example&redirect_uri="),
        ("client_id=", "client_id=x&client_id="),
    ] {
        let wrong = good.replacen(from, to, 1);
        assert_ne!(wrong, good);
        let reply = server.get(&wrong).await;
        assert_eq!((reply.status().as_u16(), reply.headers().get("location")), (400, None), "{wrong}");
        assert!(!text(reply).await.contains("evil.example"));
    }
    let twice = server.get(&format!("{good}&scope=models.read&scope=models.read")).await;
    assert_eq!((twice.status().as_u16(), param(&twice, "error").as_deref()), (303, Some("invalid_request")));
    assert_eq!(param(&twice, "iss").as_deref(), Some(ISSUER));
}

#[tokio::test]
async fn b_14_b_20_an_answer_brings_a_code_and_that_tokens_which_nobody_may_keep() {
    let server = Server::new().await;
    let tokens = server.tokens().await;
    assert_eq!((tokens["token_type"].as_str(), tokens["expires_in"].as_u64()), (Some("Bearer"), Some(600)));
    assert_eq!(tokens["scope"], "responses.read models.read");
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    let called = server.send(Method::GET, "/v1/models", &[("authorization", &bearer)], String::new()).await;
    assert_eq!(called.status(), 200);
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", server.client.as_str()),
        ("refresh_token", tokens["refresh_token"].as_str().unwrap()),
    ];
    let renewed = server.post(TOKEN, &form).await;
    assert_eq!(
        (renewed.headers()["cache-control"].as_bytes(), renewed.headers()["pragma"].as_bytes()),
        (&b"no-store"[..], &b"no-cache"[..]),
        "b_18"
    );
    assert_eq!(renewed.status(), 200);
    let again = server.post(TOKEN, &form).await;
    assert_eq!((again.status().as_u16(), again.headers()["x-should-retry"].as_bytes()), (400, &b"false"[..]));
    assert_eq!(json_of(again).await["error"], "invalid_grant");
    let called = server.send(Method::GET, "/v1/models", &[("authorization", &bearer)], String::new()).await;
    assert_eq!(called.status(), 401);
    let two = server
        .send(Method::GET, "/v1/models", &[("authorization", &bearer), ("x-api-key", "x")], String::new())
        .await;
    assert_eq!(two.status(), 400, "two credentials");
}

#[tokio::test]
async fn b_18_what_is_no_token_request_is_refused_by_name() {
    let server = Server::new().await;
    let id = server.client.clone();
    for (form, error) in [
        (vec![("client_id", id.as_str())], "invalid_request"),
        (vec![("grant_type", "password"), ("client_id", &id)], "unsupported_grant_type"),
        (vec![("grant_type", "client_credentials"), ("client_id", &id)], "unsupported_grant_type"),
        (vec![("grant_type", "authorization_code"), ("client_id", &id), ("code", "x")], "invalid_request"),
        (vec![("grant_type", "refresh_token"), ("client_id", &id), ("refresh_token", "x")], "invalid_grant"),
        (vec![("grant_type", "refresh_token"), ("refresh_token", "x")], "invalid_request"),
        (
            vec![("grant_type", "refresh_token"), ("grant_type", "refresh_token"), ("client_id", &id)],
            "invalid_request",
        ),
        (
            vec![
                ("grant_type", "refresh_token"),
                ("client_id", &id),
                ("client_secret", "x"),
                ("refresh_token", "x"),
            ],
            "invalid_client",
        ),
    ] {
        let reply = server.post(TOKEN, &form).await;
        assert_eq!(reply.status(), 400, "{form:?}");
        assert_eq!(json_of(reply).await["error"], error, "{form:?}");
    }
    let json =
        server.send(Method::POST, TOKEN, &[("content-type", "application/json")], "{}".to_owned()).await;
    assert_eq!(json.status(), 400);
    let basic = [FORM, ("authorization", "Basic eDp5")];
    let reply =
        server.send(Method::POST, TOKEN, &basic, "grant_type=refresh_token&refresh_token=x".to_owned()).await;
    assert_eq!(
        (reply.status().as_u16(), reply.headers()["www-authenticate"].as_bytes()),
        (401, &b"Basic"[..])
    );
    let none = server.post(REVOKE, &[("client_id", &id)]).await;
    assert_eq!(none.status(), 400, "no token");
    let unknown = server.post(REVOKE, &[("client_id", &id), ("token", "x")]).await;
    assert_eq!(unknown.status(), 200);
}

#[tokio::test]
async fn a_wrong_key_is_said_on_the_page_and_locks_its_address() {
    let server = Server::new().await;
    let seal = server.seal(&[]).await;
    let wrong = [("request", seal.as_str()), ("key", "tmk_x"), ("decision", "key")];
    for _ in 0..10 {
        let reply = server.post(AUTHORIZE, &wrong).await;
        assert_eq!(reply.status(), 403);
        let html = text(reply).await;
        assert!(html.contains("role=\"alert\"") && html.contains("This key is not valid."));
        assert_eq!(field(&html), seal, "the person can try again");
    }
    let locked = server.post(AUTHORIZE, &wrong).await;
    assert_eq!(locked.status(), 429);
    assert!(locked.headers().contains_key("retry-after"));
    let right = [("request", seal.as_str()), ("key", &server.key), ("decision", "key")];
    assert_eq!(server.post(AUTHORIZE, &right).await.status(), 303, "s_7: a valid one passes");
}

#[tokio::test]
async fn no_other_site_answers_for_a_user_who_is_signed_in() {
    let server = Server::new().await;
    server.directory.add_user(&Owner::new("ann").unwrap()).await.unwrap();
    let ann = (USER, "ann");
    let page = server.send_from("10.0.0.1", Method::GET, &server.authorize(), &[ann], String::new()).await;
    let html = text(page).await;
    assert!(html.contains("Allow as ann"));
    let (of_ann, of_nobody) = (field(&html), server.seal(&[]).await);
    let answer = async |address: &str, seal: &str, headers: &[(&str, &str)]| {
        let body = encoded(&[("request", seal), ("decision", "user")]);
        let headers = [&[FORM], headers].concat();
        server.send_from(address, Method::POST, AUTHORIZE, &headers, body).await.status().as_u16()
    };
    for site in ["cross-site", "same-site", "x"] {
        assert_eq!(answer("10.0.0.1", &of_ann, &[ann, ("sec-fetch-site", site)]).await, 400, "{site}");
    }
    assert_eq!(answer("10.0.0.1", &of_ann, &[ann, ("origin", "https://evil.example")]).await, 400);
    assert_eq!(answer("10.0.0.1", &of_nobody, &[ann]).await, 400, "a page that the attacker was shown");
    assert_eq!(answer("10.0.0.1", &of_ann, &[(USER, "bob")]).await, 403, "bob is no user");
    assert_eq!(answer("203.0.113.7", &of_ann, &[ann]).await, 403, "nobody believes a stranger's header");
    assert_eq!(answer("10.0.0.1", &of_ann, &[ann, ann]).await, 400, "two names");
    let own = [ann, ("sec-fetch-site", "same-origin"), ("origin", "null")];
    assert_eq!(answer("10.0.0.1", &of_ann, &own).await, 303);
    assert_eq!(answer("10.0.0.1", &of_ann, &own).await, 400, "once");
}

#[tokio::test]
async fn the_page_of_a_device_asks_for_its_code_and_then_for_a_key() {
    let server = Server::new().await;
    let device = "urn:ietf:params:oauth:grant-type:device_code";
    let made = server.register(&json!({"client_name": "TV", "grant_types": [device]})).await.unwrap();
    let id = made["client_id"].as_str().unwrap();
    let started = json_of(server.post(DEVICE_AUTHORIZATION, &[("client_id", id)]).await).await;
    let (user_code, device_code) =
        (started["user_code"].as_str().unwrap(), started["device_code"].as_str().unwrap());
    assert_eq!((started["expires_in"].as_u64(), started["interval"].as_u64()), (Some(600), Some(5)));
    assert_eq!(started["verification_uri"], format!("{ISSUER}/oauth2/device"));
    assert!(text(server.get(DEVICE).await).await.contains("name=\"user_code\""));
    let unknown = server.get(&format!("{DEVICE}?user_code=BBBB-BBBB")).await;
    assert!(unknown.status() == 400 && text(unknown).await.contains("role=\"alert\""));
    let page = text(server.get(&format!("{DEVICE}?user_code={user_code}")).await).await;
    assert!(page.contains(user_code) && page.contains("TV"));
    let answer = [("request", field(&page)), ("key", server.key.clone()), ("decision", "key".to_owned())];
    let answer: Vec<_> = answer.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let done = server.post(DEVICE, &answer).await;
    assert_eq!(done.status(), 200);
    assert!(text(done).await.contains("The device is connected"));
    let poll = [("grant_type", device), ("client_id", id), ("device_code", device_code)];
    assert_eq!(server.post(TOKEN, &poll).await.status(), 200);
    assert_eq!(server.post(DEVICE, &answer).await.status(), 400, "once");
}

#[tokio::test]
async fn b_s9_only_the_operator_may_ask_what_a_token_is_worth() {
    let server = Server::new().await;
    let tokens = server.tokens().await;
    let token = tokens["access_token"].as_str().unwrap();
    let ask = async |bearer: Option<&str>| {
        let bearer = bearer.map(|bearer| format!("Bearer {bearer}"));
        let mut headers = vec![FORM];
        headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        server.send(Method::POST, INTROSPECT, &headers, encoded(&[("token", token)])).await
    };
    assert_eq!(ask(None).await.status(), 401);
    assert_eq!(ask(Some(&server.key)).await.status(), 403);
    assert_eq!(ask(Some(token)).await.status(), 403, "a token does not speak for itself");
    let says = json_of(ask(Some(SECRET)).await).await;
    assert_eq!((says["active"].as_bool(), says["sub"].as_str()), (Some(true), Some("acme")));
}

#[tokio::test(start_paused = true)]
async fn b_37_b_s8_an_address_may_ask_so_often_and_a_device_every_five_seconds() {
    let rate = |count, seconds| {
        Some(Rate { count: NonZeroU32::new(count).unwrap(), period: Duration::from_secs(seconds) })
    };
    let rates = Rates {
        oauth: rate(3, 60),
        registrations: rate(2, 3600),
        device_polls: rate(1, 5),
        ..Rates::default()
    };
    let server = Server::with(rules(), rates).await;
    let new = json!({"redirect_uris": [BACK]});
    assert!(server.register(&new).await.is_ok(), "the second one");
    assert_eq!(server.register(&new).await.unwrap_err().0, 429);
    let poll = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
        ("client_id", server.client.as_str()),
        ("device_code", "tmd_x"),
    ];
    let said =
        [json_of(server.post(TOKEN, &poll).await).await, json_of(server.post(TOKEN, &poll).await).await];
    assert_eq!([&said[0]["error"], &said[1]["error"]], ["invalid_grant", "slow_down"]);
    assert_eq!(server.get(&server.authorize()).await.status(), 200);
    let many = server.get(&server.authorize()).await;
    assert_eq!(many.status(), 429);
    assert!(many.headers().contains_key("retry-after"));
    let other = server.send_from("203.0.113.9", Method::GET, &server.authorize(), &[], String::new()).await;
    assert_eq!(other.status(), 200, "another address");
}
