//! The stack while callers must show a credential, on all three surfaces.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;
use secrecy::ExposeSecret as _;
use tidemark_proto::names::{OWNER, REQUEST_ID, SCOPES};
use tidemark_store::memory::MemoryStore;
use tidemark_store::{Caps, Owner};
use tonic::service::Routes;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tower::ServiceExt as _;

use super::forwarded::Peer;
use super::{Gate, Options, Proxies, Record, RequestIds, app};
use crate::auth::{self, Access, Digest, Directory, Mode, NewKey, Principal};
use crate::config::{ForwardedHeader, Rate};
use crate::limits::{FailureRule, Failures, Quotas, Rates};
use crate::runs::testing::TestClock;
use crate::tasks::Tasks;
use crate::telemetry::{LimitMeters, ServeMeters};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const GET: &str = "/tidemark.v1.ResponsesService/Get";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

struct Stack {
    router: Router,
    key: String,
}

/// A stack with a key of acme that may read responses, and with routes that say for whom they were called.
async fn stack() -> Stack {
    stack_with(None, Rates::default()).await
}

async fn stack_with(failures: Option<FailureRule>, rates: Rates) -> Stack {
    let directory = Directory::new(
        Arc::new(MemoryStore::new(Caps::default())),
        Arc::new(TestClock::default()),
        Tasks::new(),
    );
    let operator = Principal::operator(Owner::new("operator").unwrap());
    let scopes = auth::Scopes::parse("responses.read").unwrap();
    let new = NewKey { owner: Owner::new("acme"), scopes, expires_at: None };
    let (key, _) = directory.create_key(&operator, new).await.unwrap();
    let mode = Mode::Keys { operator: Some(Digest::of(SECRET.as_bytes())) };
    let options = Options {
        visitors: None,
        origins: vec!["https://app.example".to_owned()],
        request_ids: RequestIds::default(),
        proxies: Proxies::new(Vec::new(), ForwardedHeader::XForwardedFor),
        record: Record::new([], ServeMeters::default()),
        resource_metadata: None,
    };
    let rest = Router::new()
        .route("/v1/responses/{id}", get(owner))
        .route("/v1/responses", post(owner))
        .route(GET, post(owner))
        .fallback(async || (http::StatusCode::NOT_FOUND, "rest fallback"));
    let (_reporter, health) = tonic_health::server::health_reporter();
    let meters = LimitMeters::default();
    let (failures, quotas) = (Failures::new(failures, meters.clone()), Quotas::new(rates, meters));
    let gate = Gate::new(Access::new(mode, directory), failures, quotas);
    let router = app(Routes::new(health), rest, Router::new(), &gate, &options);
    Stack { router, key: key.reveal().expose_secret().to_owned() }
}

async fn owner(request: Request) -> String {
    request.extensions().get::<Principal>().unwrap().owner().to_string()
}

impl Stack {
    async fn call(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Body) -> Response {
        let request = Request::builder().method(method).uri(path).header(REQUEST_ID, "r");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap()
    }

    /// Status and body of `GET /v1/responses/x`.
    async fn read(&self, headers: &[(&str, &str)]) -> (u16, String) {
        said(self.call(Method::GET, "/v1/responses/x", headers, Body::empty()).await).await
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.key)
    }
}

async fn said(reply: Response) -> (u16, String) {
    let status = reply.status().as_u16();
    (status, String::from_utf8_lossy(&reply.into_body().collect().await.unwrap().to_bytes()).into_owned())
}

#[tokio::test]
async fn a_credential_opens_what_its_scopes_allow() {
    let stack = stack().await;
    let bearer = stack.bearer();
    let key = ("authorization", bearer.as_str());
    assert_eq!(stack.read(&[key]).await, (200, "acme".to_owned()));
    let denied = stack.call(Method::POST, "/v1/responses", &[key], Body::empty()).await;
    assert_eq!(
        denied.headers()["www-authenticate"],
        "Bearer error=\"insufficient_scope\", scope=\"responses.write\""
    );
    let (status, body) = said(denied).await;
    assert_eq!(status, 403);
    assert!(body.contains("insufficient_scope") && body.contains("the scope responses.write"), "{body}");
    let (status, _) = stack.read(&[key, (SCOPES, "models.read")]).await;
    assert_eq!(status, 403, "scopes that are asked for narrow");
    let (status, body) = stack.read(&[key, (OWNER, "acme")]).await;
    assert_eq!(status, 403, "an owner that is named is never ignored");
    assert!(body.contains("\"param\":\"x-tidemark-owner\""), "{body}");
}

#[tokio::test]
async fn the_operator_acts_for_whomever_it_names() {
    let stack = stack().await;
    let operator = ("authorization", concat!("bearer ", "0123456789abcdef0123456789abcdef"));
    assert_eq!(stack.read(&[operator]).await, (200, "operator".to_owned()));
    assert_eq!(stack.read(&[operator, (OWNER, "bob")]).await, (200, "bob".to_owned()));
}

#[tokio::test]
async fn without_a_good_credential_every_surface_refuses_before_the_body_is_read() {
    let stack = stack().await;
    let never = || Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
    let wrong = [("authorization", "Bearer wrong"), ("content-type", "application/json")];
    let mut bodies = Vec::new();
    for headers in [&wrong[1..], &wrong] {
        for (method, path) in [
            (Method::POST, "/v1/responses"),
            (Method::GET, "/v1/responses/x"),
            (Method::GET, "/nowhere"),
            (Method::OPTIONS, "/v1/responses"),
        ] {
            let reply = stack.call(method, path, headers, never()).await;
            assert_eq!(reply.headers()["www-authenticate"], "Bearer", "{path}");
            assert_eq!(reply.headers()[REQUEST_ID], "r");
            bodies.push(said(reply).await);
        }
    }
    assert!(bodies.iter().all(|(status, body)| *status == 401 && *body == bodies[0].1), "{bodies:?}");
    for kind in ["application/grpc", "application/grpc-web+proto"] {
        for path in [GET, "/no.such/Method"] {
            let reply = stack.call(Method::POST, path, &[("content-type", kind)], never()).await;
            let status = Status::from_header_map(reply.headers()).unwrap();
            assert_eq!(status.code(), Code::Unauthenticated, "{kind} {path}");
            assert_eq!(status.get_details_error_info().unwrap().reason, "unauthorized");
        }
    }
}

#[tokio::test]
async fn two_credentials_are_refused_on_every_surface() {
    let stack = stack().await;
    let bearer = stack.bearer();
    let key = ("authorization", bearer.as_str());
    for second in [key, ("x-api-key", "x"), ("api-key", "")] {
        let (status, body) = stack.read(&[key, second]).await;
        assert_eq!(status, 400);
        assert!(body.contains("ambiguous_credentials"), "{body}");
        let grpc = [key, second, ("content-type", "application/grpc")];
        let reply = stack.call(Method::POST, GET, &grpc, Body::empty()).await;
        assert_eq!(Status::from_header_map(reply.headers()).unwrap().code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn health_needs_no_credential_and_other_methods_of_nobody_are_refused() {
    let stack = stack().await;
    let grpc = ("content-type", "application/grpc-web+proto");
    let reply = stack.call(Method::POST, HEALTH, &[grpc], Body::from(vec![0; 5])).await;
    assert!(said(reply).await.1.contains("grpc-status:0"));
    let bearer = stack.bearer();
    let key = ("authorization", bearer.as_str());
    let status = async |path| {
        let reply =
            stack.call(Method::POST, path, &[key, ("content-type", "application/grpc")], Body::empty()).await;
        Status::from_header_map(reply.headers()).map(|status| status.code())
    };
    assert_eq!(status(GET).await, None, "it reached its route");
    for path in ["/tidemark.v1.ResponsesService/Made-up", "/no.such/Method", "/v1/responses"] {
        assert_eq!(status(path).await, Some(Code::Unimplemented), "{path}");
    }
    let reply = stack.call(Method::GET, "/nowhere", &[key], Body::empty()).await;
    assert_eq!(said(reply).await, (404, "rest fallback".to_owned()));
}

#[tokio::test]
async fn a_page_may_ask_before_its_call_without_a_credential() {
    let stack = stack().await;
    let ask = [("origin", "https://app.example"), ("access-control-request-method", "POST")];
    let reply = stack.call(Method::OPTIONS, "/v1/responses", &ask, Body::empty()).await;
    assert_eq!(reply.status(), 200);
    let reply = stack.call(Method::GET, "/v1/responses/x", &ask[..1], Body::empty()).await;
    assert_eq!(
        (reply.status().as_u16(), &reply.headers()["access-control-allow-origin"]),
        (401, &"https://app.example".parse().unwrap())
    );
}

const TEN_A_MINUTE: Rate = Rate { count: NonZeroU32::new(10).unwrap(), period: Duration::from_secs(60) };

/// Status of `GET /v1/responses/x` from this address, over both surfaces.
async fn read_from(stack: &Stack, address: &str, headers: &[(&str, &str)]) -> (u16, Code) {
    let ask = async |method: Method, path: &str, kind: &str| {
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        let request = request.extension(Peer(address.parse().unwrap()));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        stack.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    };
    let rest = ask(Method::GET, "/v1/responses/x", "text/plain").await;
    let again = rest.headers().contains_key("retry-after") && rest.headers().contains_key("retry-after-ms");
    assert_eq!(again, rest.status() == 429);
    let grpc = ask(Method::POST, GET, "application/grpc").await;
    let status = Status::from_header_map(grpc.headers());
    if let Some(status) = status.as_ref().filter(|status| status.code() == Code::ResourceExhausted) {
        assert!(status.get_details_retry_info().is_some());
    }
    (rest.status().as_u16(), status.map_or(Code::Ok, |status| status.code()))
}

#[tokio::test]
async fn check_22_after_ten_wrong_credentials_further_ones_are_429_and_valid_ones_pass() {
    let rule = FailureRule { allowed: TEN_A_MINUTE, lock: Duration::from_secs(300), loopback: false };
    let stack = stack_with(Some(rule), Rates::default()).await;
    let (good, client) = (stack.bearer(), "192.0.2.1");
    let wrong = [("authorization", "Bearer wrong")];
    // Two for each: one over REST, one over gRPC.
    for _ in 0..5 {
        assert_eq!(read_from(&stack, client, &wrong).await, (401, Code::Unauthenticated));
    }
    assert_eq!(read_from(&stack, client, &wrong).await, (429, Code::ResourceExhausted));
    assert_eq!(read_from(&stack, client, &[("authorization", &good)]).await, (200, Code::Ok));
    assert_eq!(read_from(&stack, client, &wrong).await, (429, Code::ResourceExhausted), "the lock stays");
    assert_eq!(read_from(&stack, client, &[]).await, (401, Code::Unauthenticated), "none is not a wrong one");
    assert_eq!(read_from(&stack, "192.0.2.2", &wrong).await, (401, Code::Unauthenticated));
}

#[tokio::test]
async fn calls_without_a_credential_are_never_too_many() {
    let rule = FailureRule { allowed: TEN_A_MINUTE, lock: Duration::from_secs(300), loopback: true };
    let stack = stack_with(Some(rule), Rates::default()).await;
    for _ in 0..50 {
        assert_eq!(read_from(&stack, "192.0.2.1", &[]).await, (401, Code::Unauthenticated));
    }
}

#[tokio::test]
async fn a_budget_is_the_owners_and_is_asked_after_the_credential_and_before_the_scope() {
    let one = Rate { count: NonZeroU32::MIN, period: Duration::from_secs(3600) };
    let stack = stack_with(None, Rates { creates: Some(one), ..Rates::default() }).await;
    let (key, operator) = (stack.bearer(), format!("Bearer {SECRET}"));
    let create = async |headers: &[(&str, &str)]| {
        stack.call(Method::POST, "/v1/responses", headers, Body::empty()).await.status().as_u16()
    };
    assert_eq!(create(&[("authorization", "Bearer wrong")]).await, 401);
    assert_eq!(create(&[("authorization", &key)]).await, 403, "its scopes do not allow it");
    assert_eq!(create(&[("authorization", &key)]).await, 429);
    assert_eq!(create(&[("authorization", &operator), (OWNER, "acme")]).await, 429, "the same owner");
    assert_eq!(create(&[("authorization", &operator), (OWNER, "bob")]).await, 200);
    assert_eq!(create(&[("authorization", "Bearer wrong")]).await, 401, "whoever it is not is told nothing");
}
