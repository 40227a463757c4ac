//! The one stack of layers over gRPC and REST (D-34, U-24).
//!
//! It owns the order of the layers and which router takes a call. It must never know what a service does.

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response};
use axum::response::Response;
use http::header::ACCESS_CONTROL_REQUEST_METHOD;
use http::{HeaderName, HeaderValue, Method};
use tidemark_proto::names::{IDEMPOTENCY_REPLAYED, REQUEST_ID, RESPONSE_ID, RETRY_AFTER_MS, TICKET};
use tonic::service::Routes;
use tonic_web::GrpcWebLayer;
use tower::ServiceExt;
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};

use super::completion::{self, Record};
use super::forwarded::{self, Proxies};
use super::gate::Gate;
use super::origin::{Visitors, guard};
use super::refusal::{Surface, no_such_method};
use super::request_id::{RequestIds, assign};
use super::{headers, identity, openapi, panics, query_ticket, quota};
use crate::grpc::name_faults;

/// What a page of another origin may read of a reply, besides what every page may.
const EXPOSED: [&str; 9] = [
    "grpc-status",
    "grpc-message",
    "grpc-status-details-bin",
    REQUEST_ID,
    RESPONSE_ID,
    TICKET,
    IDEMPOTENCY_REPLAYED,
    "retry-after",
    RETRY_AFTER_MS,
];

/// How the stack is set.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which hosts and origins may call; absent = all, because callers must show a credential.
    pub visitors: Option<Visitors>,
    /// Pages of these origins may read the replies, as browsers send them.
    pub origins: Vec<String>,
    /// Where the ids of requests come from.
    pub request_ids: RequestIds,
    /// Whose word on a client's address counts.
    pub proxies: Proxies,
    /// How calls are named and counted.
    pub record: Record,
    /// Where callers without a credential find out who gives them one (RFC 9728), as a URL; absent = nobody does.
    pub resource_metadata: Option<HeaderValue>,
}

/// Everything that the public port serves. `rest` brings the fallback for unknown REST paths; an unknown gRPC method is
/// answered here.
///
/// From the outside in (U-24): request id, headers of every reply, client address, log line, host and origin, CORS, panics,
/// ticket of the URL, principal, quota, scope, routes.
///
/// `open` is served to whoever calls: it is behind all layers but the last three.
pub fn app(grpc: Routes, rest: Router, open: Router, gate: &Gate, options: &Options) -> Router {
    // grpc-web is laid over the gRPC routes alone: over HTTP/1.1 it refuses every other call.
    let grpc = grpc.into_axum_router().reset_fallback();
    let grpc = grpc.route_layer(from_fn(name_faults)).route_layer(GrpcWebLayer::new());
    let grpc = grpc.route_layer(from_fn(grpc_alone));
    let routes = grpc.merge(rest).layer(from_fn(unknown_method));
    let admitted = routes.layer((
        from_fn_with_state(gate.clone(), identity::identify),
        from_fn_with_state(gate.clone(), quota::limit),
        from_fn(identity::authorize),
    ));
    outer(admitted.merge(open), options)
}

/// Everything that the port of a bridge serves whose gateway is elsewhere. Its callers have no principal here: the gateway finds
/// out who they are, and hears from here where they are.
pub fn rest(rest: Router, options: &Options) -> Router {
    outer(rest.layer((from_fn(forwarded::announce), from_fn(unknown_method))), options)
}

/// The layers before it is known who is calling, over the pages for which nobody need know it as well. Layers that are added
/// together cost a call less than one after the other.
fn outer(routes: Router, options: &Options) -> Router {
    let routes = openapi::page().merge(routes);
    let routes = routes.layer((from_fn(panics::contain), from_fn(query_ticket::take)));
    let routes = with_cors(routes, &options.origins);
    let guarded = match &options.visitors {
        Some(visitors) => routes.layer(from_fn_with_state(visitors.clone(), guard)),
        None => routes,
    };
    guarded.layer((
        from_fn_with_state(options.request_ids.clone(), assign),
        from_fn_with_state(options.resource_metadata.clone(), headers::point),
        map_response(headers::protect),
        from_fn_with_state(options.proxies.clone(), forwarded::resolve),
        from_fn_with_state(options.record.clone(), completion::log),
    ))
}

/// Lets pages of these origins call. Without any there is no layer at all: it would send its headers all the same.
fn with_cors(routes: Router, origins: &[String]) -> Router {
    if origins.is_empty() {
        return routes;
    }
    let without_cors = routes.clone();
    routes.layer(cors(origins)).layer(from_fn_with_state(without_cors, plain_options))
}

/// The CORS layer takes every OPTIONS for a page's question before its call. One that is not is for the routes to answer.
async fn plain_options(State(routes): State<Router>, request: Request, next: Next) -> Response {
    let asks_before = request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if request.method() != Method::OPTIONS || asks_before {
        return next.run(request).await;
    }
    match routes.oneshot(request).await {
        Ok(reply) => reply,
        Err(never) => match never {},
    }
}

/// Keeps every other call away from the services: they do not look at its content type themselves.
async fn grpc_alone(request: Request, next: Next) -> Response {
    match Surface::of(request.headers()) {
        Surface::Grpc(_) => next.run(request).await,
        surface @ Surface::Rest => surface.refuse(&no_such_method()),
    }
}

async fn unknown_method(request: Request, next: Next) -> Response {
    match Surface::of(request.headers()) {
        surface @ Surface::Grpc(_) if request.extensions().get::<MatchedPath>().is_none() => {
            surface.refuse(&no_such_method())
        }
        _ => next.run(request).await,
    }
}

fn cors(origins: &[String]) -> CorsLayer {
    let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods(AllowMethods::mirror_request())
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(EXPOSED.map(HeaderName::from_static))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::num::NonZeroU32;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use axum::body::Body;
    use axum::routing::{get, post};
    use http::{StatusCode, Version};
    use http_body_util::BodyExt;
    use tidemark_proto::names::{CLIENT, OWNER};
    use tidemark_store::Caps;
    use tidemark_store::memory::MemoryStore;
    use tonic::{Code, Status};
    use tonic_types::StatusExt;
    use tracing::subscriber::DefaultGuard;
    use uuid::Uuid;

    use super::forwarded::Peer;
    use super::*;
    use crate::auth::{Access, Directory, Mode, Principal};
    use crate::config::{ForwardedHeader, Rate};
    use crate::limits::{Failures, Quotas, Rates};
    use crate::runs::testing::TestClock;
    use crate::tasks::Tasks;
    use crate::telemetry::{CallLabel, LimitMeters, ServeMeters};

    const ORIGIN: &str = "https://app.example";
    const METHOD: &str = "/tidemark.v1.ResponsesService/Get";
    const HEALTH: &str = "/grpc.health.v1.Health/Check";
    const MODELS: &str = "/tidemark.v1.ModelsService/ListModels";

    fn stack() -> Router {
        stack_for(vec![ORIGIN.to_owned()], ServeMeters::default())
    }

    fn stack_for(origins: Vec<String>, meters: ServeMeters) -> Router {
        stack_with(Rates::default(), &options(origins, meters))
    }

    fn stack_with(rates: Rates, options: &Options) -> Router {
        let rest = Router::new()
            .route("/owner/{id}", get(|request: Request| async move { owner_of(&request) }))
            .route("/v1/models", get(|| async { ([("cache-control", "private")], "models") }))
            .route("/tidemark.v1.ModelsService/ListModels", post(|| async { "models" }))
            .route("/panic", get(|| async { panic!("on purpose") as StatusCode }))
            .route(METHOD, post(|| async { panic!("on purpose") as StatusCode }))
            .fallback(|| async { (StatusCode::NOT_FOUND, "rest fallback") });
        let (_reporter, health) = tonic_health::server::health_reporter();
        app(Routes::new(health), rest, Router::new(), &gate(rates), options)
    }

    fn gate(rates: Rates) -> Gate {
        let store = Arc::new(MemoryStore::new(Caps::default()));
        let directory = Directory::new(store, Arc::new(TestClock::default()), Tasks::new());
        let meters = LimitMeters::default();
        Gate::new(
            Access::new(Mode::Off, directory),
            Failures::new(None, meters.clone()),
            Quotas::new(rates, meters),
        )
    }

    fn options(origins: Vec<String>, meters: ServeMeters) -> Options {
        Options {
            visitors: Some(Visitors::new("127.0.0.1".parse().unwrap(), Vec::new(), origins.clone())),
            origins,
            request_ids: RequestIds::new(|| Uuid::from_u128(7)),
            proxies: Proxies::new(Vec::new(), ForwardedHeader::XForwardedFor),
            record: Record::new([HEALTH, MODELS].map(str::to_owned), meters),
            resource_metadata: None,
        }
    }

    fn owner_of(request: &Request) -> String {
        let id = request.headers()[REQUEST_ID].to_str().unwrap();
        format!("{} {id}", request.extensions().get::<Principal>().unwrap().owner())
    }

    async fn call(method: Method, path: &str, headers: &[(&str, &str)]) -> Response {
        let request = Request::builder().method(method).uri(path).header("host", "localhost:4700");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        stack().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    async fn text(reply: Response) -> String {
        String::from_utf8(reply.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    fn id_of(reply: &Response) -> &str {
        reply.headers()[REQUEST_ID].to_str().unwrap()
    }

    #[tokio::test]
    async fn every_call_has_an_id_and_an_owner() {
        let reply = call(Method::GET, "/owner/1", &[]).await;
        let made = Uuid::from_u128(7).to_string();
        assert_eq!((id_of(&reply), reply.status()), (made.as_str(), StatusCode::OK));
        assert_eq!(text(reply).await, format!("anonymous-local {made}"));
        let reply = call(Method::GET, "/owner/1", &[(REQUEST_ID, "mine"), (OWNER, "acme")]).await;
        assert_eq!((id_of(&reply), reply.status()), ("mine", StatusCode::OK));
        assert_eq!(text(reply).await, "acme mine");
    }

    #[tokio::test]
    async fn refusals_have_an_id_too_and_the_shape_of_their_surface() {
        let stranger = ("origin", "https://evil.example");
        let reply = call(Method::POST, "/owner/1", &[stranger, (REQUEST_ID, "mine")]).await;
        assert_eq!((id_of(&reply), reply.status()), ("mine", StatusCode::FORBIDDEN));
        assert!(text(reply).await.contains("\"forbidden_origin\""));
        let reply =
            call(Method::POST, "/x", &[stranger, ("content-type", "application/grpc-web+proto")]).await;
        assert_eq!(Status::from_header_map(reply.headers()).unwrap().code(), Code::PermissionDenied);
        let reply = call(Method::GET, "/owner/1", &[(OWNER, "a b")]).await;
        assert_eq!((id_of(&reply).len(), reply.status()), (36, StatusCode::BAD_REQUEST));
        assert!(text(reply).await.contains("\"param\":\"x-tidemark-owner\""));
    }

    #[tokio::test]
    async fn a_panic_ends_its_call_alone() {
        let reply = call(Method::GET, "/panic", &[]).await;
        assert_eq!((reply.status(), id_of(&reply).len()), (StatusCode::INTERNAL_SERVER_ERROR, 36));
        assert!(text(reply).await.contains("\"code\":\"internal\""));
        let reply = call(Method::POST, METHOD, &[("content-type", "application/grpc")]).await;
        assert_eq!(Status::from_header_map(reply.headers()).unwrap().code(), Code::Internal);
    }

    #[tokio::test]
    async fn a_page_of_a_named_origin_may_read_that_its_call_panicked() {
        let reply = call(Method::GET, "/panic", &[("origin", ORIGIN)]).await;
        assert_eq!(reply.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(reply.headers()["access-control-allow-origin"], ORIGIN);
    }

    #[tokio::test]
    async fn every_reply_tells_browsers_to_guess_and_keep_nothing() {
        let stranger: &[_] = &[("origin", "https://evil.example")];
        let grpc: &[_] = &[("content-type", "application/grpc")];
        let ask: &[_] = &[("origin", ORIGIN), ("access-control-request-method", "POST")];
        for (method, path, headers, cached) in [
            (Method::GET, "/owner/1", [].as_slice(), "no-store"),
            (Method::GET, "/v1/models", &[], "private"),
            (Method::GET, "/nowhere", &[], "no-store"),
            (Method::GET, "/panic", &[], "no-store"),
            (Method::POST, "/owner/1", stranger, "no-store"),
            (Method::POST, "/no.such/Method", grpc, "no-store"),
            (Method::OPTIONS, "/owner/1", ask, "no-store"),
        ] {
            let reply = call(method, path, headers).await;
            let said = |name: &str| reply.headers()[name].to_str().unwrap();
            assert_eq!((said("x-content-type-options"), said("referrer-policy")), ("nosniff", "no-referrer"));
            assert_eq!(
                (said("permissions-policy").is_empty(), said("cache-control")),
                (false, cached),
                "{path}"
            );
        }
    }

    #[tokio::test]
    async fn a_budget_is_one_for_both_forms_of_a_call_and_each_is_refused_in_its_own() {
        let meters = ServeMeters::default();
        let one = Rate { count: NonZeroU32::MIN, period: Duration::from_millis(59_500) };
        let rates = Rates { models: Some(one), ..Rates::default() };
        let stack = stack_with(rates, &options(Vec::new(), meters));
        let ask = async |method: Method, path: &str, kind: &str| {
            let request = Request::builder().method(method).uri(path).header("host", "localhost");
            let request = request.header("content-type", kind).body(Body::empty()).unwrap();
            stack.clone().oneshot(request).await.unwrap()
        };
        assert_eq!(ask(Method::GET, "/v1/models", "text/plain").await.status(), StatusCode::OK);
        let reply = ask(Method::GET, "/v1/models", "text/plain").await;
        assert_eq!((reply.status(), id_of(&reply).len()), (StatusCode::TOO_MANY_REQUESTS, 36));
        let seconds: u64 = reply.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        let millis: u64 = reply.headers()["retry-after-ms"].to_str().unwrap().parse().unwrap();
        assert!((1..=59_500).contains(&millis) && seconds == millis.div_ceil(1000), "{millis}");
        assert!(text(reply).await.contains("\"code\":\"rate_limited\""));
        let reply = ask(Method::POST, MODELS, "application/grpc").await;
        let status = Status::from_header_map(reply.headers()).unwrap();
        let details = status.get_error_details();
        assert_eq!(
            (status.code(), details.error_info().unwrap().reason.as_str()),
            (Code::ResourceExhausted, "rate_limited")
        );
        let wait = details.retry_info().unwrap().retry_delay.unwrap();
        assert!(!wait.is_zero() && wait <= Duration::from_millis(millis), "{wait:?}");
        for _ in 0..3 {
            assert_eq!(ask(Method::GET, "/owner/1", "text/plain").await.status(), StatusCode::OK);
        }
    }

    #[tokio::test]
    async fn the_log_says_whether_a_proxy_spoke_for_the_client() {
        let (log, _guard) = Log::begin();
        let trusting = Options {
            proxies: Proxies::new(vec!["10.0.0.0/8".parse().unwrap()], ForwardedHeader::XForwardedFor),
            ..options(Vec::new(), ServeMeters::default())
        };
        let stack = stack_with(Rates::default(), &trusting);
        for (peer, said) in
            [("10.0.0.1", Some("192.0.2.7")), ("192.0.2.9", Some("192.0.2.7")), ("10.0.0.1", None)]
        {
            let request =
                Request::get("/v1/models").header("host", "localhost").extension(Peer(peer.parse().unwrap()));
            let request = said.into_iter().fold(request, |request, said| request.header(CLIENT, said));
            text(stack.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()).await;
        }
        let log = log.text();
        let lines: Vec<_> = log.lines().filter(|line| line.contains("call ended")).collect();
        for (line, word) in lines.iter().zip(["trusted", "ignored", "absent"]) {
            let said = format!("area=\"models\" owner=\"anonymous-local\" forwarded=\"{word}\"");
            assert!(line.contains(&said), "{said}: {line}");
        }
        assert_eq!(lines.len(), 3, "{log}");
        assert!(!log.contains("192.0.2."), "addresses stay out: {log}");
    }

    #[tokio::test]
    async fn what_nobody_serves_is_answered_by_its_surface() {
        let grpc = [("content-type", "application/grpc")];
        let reply = call(Method::POST, "/no.such.Service/Method", &grpc).await;
        assert_eq!(Status::from_header_map(reply.headers()).unwrap().code(), Code::Unimplemented);
        let reply = call(Method::GET, "/no/such/path", &[]).await;
        assert_eq!((reply.status(), text(reply).await), (StatusCode::NOT_FOUND, "rest fallback".to_owned()));
    }

    #[tokio::test]
    async fn grpc_web_reaches_the_services() {
        let request = Request::post(HEALTH).header("host", "localhost");
        let request = request
            .header("content-type", "application/grpc-web+proto")
            .body(Body::from(vec![0; 5]))
            .unwrap();
        let reply = stack().oneshot(request).await.unwrap();
        assert_eq!((reply.status(), id_of(&reply).len()), (StatusCode::OK, 36));
        let body = reply.into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&body).contains("grpc-status:0"), "{body:?}");
    }

    #[tokio::test]
    async fn pages_of_named_origins_may_read_the_reply_and_ask_before() {
        let reply = call(Method::GET, "/owner/1", &[("origin", ORIGIN)]).await;
        assert_eq!(reply.headers()["access-control-allow-origin"], ORIGIN);
        assert!(
            reply.headers()["access-control-expose-headers"]
                .to_str()
                .unwrap()
                .contains("grpc-status-details-bin")
        );
        let ask = [
            ("origin", ORIGIN),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", OWNER),
        ];
        let reply = call(Method::OPTIONS, "/owner/1", &ask).await;
        assert_eq!(
            (reply.status(), &reply.headers()["access-control-allow-headers"]),
            (StatusCode::OK, &OWNER.parse().unwrap())
        );
        assert!(
            !call(Method::GET, "/owner/1", &[]).await.headers().contains_key("access-control-allow-origin")
        );
    }

    #[tokio::test]
    async fn without_origins_there_is_no_cors_at_all() {
        let stack = stack_for(Vec::new(), ServeMeters::default());
        for (method, origin) in
            [(Method::GET, None), (Method::OPTIONS, None), (Method::GET, Some("http://localhost:4700"))]
        {
            let request = Request::builder().method(method).uri("/owner/1").header("host", "localhost:4700");
            let request =
                origin.into_iter().fold(request, |request, origin| request.header("origin", origin));
            let reply = stack.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            let cors = |name: &HeaderName| name.as_str().starts_with("access-control-") || name == "vary";
            assert!(!reply.headers().keys().any(cors), "{reply:?}");
        }
    }

    #[tokio::test]
    async fn calls_are_counted_by_route_and_status_and_unknown_ones_together() {
        let meters = ServeMeters::default();
        let stack = stack_for(Vec::new(), meters.clone());
        let grpc = Some("application/grpc");
        for (method, path, kind) in [
            (Method::GET, "/owner/1", None),
            (Method::GET, "/owner/2", None),
            (Method::GET, "/nowhere/1", None),
            (Method::POST, HEALTH, grpc),
            (Method::POST, "/grpc.health.v1.Health/Made-up", grpc),
            (Method::POST, "/no.such/Thing", grpc),
        ] {
            let request = Request::builder().version(Version::HTTP_2).method(method).uri(path);
            let request = request.header("host", "localhost");
            let request =
                kind.into_iter().fold(request, |request, kind| request.header("content-type", kind));
            let reply = stack.clone().oneshot(request.body(Body::from(vec![0; 5])).unwrap()).await.unwrap();
            drop(reply.into_body().collect().await);
        }
        let counted = |route: &str, status| {
            let label = CallLabel { route: route.to_owned(), status };
            meters.calls.all().into_iter().find(|(found, _)| *found == label).map(|(_, count)| count)
        };
        assert_eq!(counted("/owner/{id}", "2xx"), Some(2));
        assert_eq!(counted("unmatched", "4xx"), Some(1));
        assert_eq!(counted(HEALTH, "OK"), Some(1));
        assert_eq!(counted("unmatched", "UNIMPLEMENTED"), Some(2));
        assert_eq!(meters.calls.all().len(), 4, "{:?}", meters.calls.all());
    }

    #[tokio::test]
    async fn options_that_no_page_asks_reach_the_routes() {
        let reply = call(Method::OPTIONS, "/owner/1", &[]).await;
        assert_eq!((reply.status(), id_of(&reply).len()), (StatusCode::METHOD_NOT_ALLOWED, 36));
        assert_eq!(reply.headers()["allow"], "GET,HEAD");
        let reply = call(Method::OPTIONS, "/owner/1", &[("origin", "https://evil.example")]).await;
        assert_eq!(reply.status(), StatusCode::FORBIDDEN);
    }

    #[tokio::test]
    async fn a_bridge_alone_has_the_same_layers_but_names_no_principal() {
        let seen = |request: Request| async move {
            let owner = request.headers().get(OWNER).is_some();
            let client: Vec<_> = request.headers().get_all(CLIENT).iter().collect();
            format!("{owner} {} {client:?}", request.extensions().get::<Principal>().is_some())
        };
        let routes = Router::new().route("/x", get(seen));
        let call = async |path: &str, headers: &[(&str, &str)]| {
            let request = Request::get(path).header("host", "localhost:4700").header(OWNER, "a b");
            let request =
                headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
            rest(routes.clone(), &options(Vec::new(), ServeMeters::default()))
                .oneshot(request.body(Body::empty()).unwrap())
                .await
                .unwrap()
        };
        let reply = call("/x", &[(REQUEST_ID, "mine"), (CLIENT, "1.2.3.4"), (CLIENT, "1.2.3.4")]).await;
        assert_eq!((id_of(&reply), reply.status()), ("mine", StatusCode::OK));
        let said = text(reply).await;
        assert_eq!(said, "true false [\"0.0.0.0\"]", "a malformed owner is for the gateway to refuse");
        let reply = call("/x", &[("origin", "https://evil.example")]).await;
        assert_eq!((id_of(&reply).len(), reply.status()), (36, StatusCode::FORBIDDEN));
        let reply = call("/tidemark.v1.ResponsesService/Get", &[("content-type", "application/grpc")]).await;
        assert_eq!(Status::from_header_map(reply.headers()).unwrap().code(), Code::Unimplemented);
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Log {
        /// What this thread logs from now on, as long as the guard lives.
        fn begin() -> (Self, DefaultGuard) {
            let log = Self::default();
            let writer = log.clone();
            let subscriber =
                tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
            (log, tracing::subscriber::set_default(subscriber))
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn one_line_for_each_call_without_query_or_header() {
        let (log, _guard) = Log::begin();
        let secret = [("authorization", "Bearer hush"), (REQUEST_ID, "r1"), ("x-stainless-retry-count", "2")];
        text(call(Method::GET, "/owner/resp_1?prompt=hush", &secret).await).await;
        drop(call(Method::GET, "/owner/resp_2", &[(REQUEST_ID, "r2")]).await);
        text(
            call(
                Method::POST,
                "/hush/hush",
                &[("content-type", "application/grpc"), (REQUEST_ID, "r3"), ("x-stainless-retry-count", "1")],
            )
            .await,
        )
        .await;
        let log = log.text();
        let lines: Vec<_> = log.lines().filter(|line| line.contains("call ended")).collect();
        assert_eq!(lines.len(), 3, "{log}");
        let says = |line: usize, words: &[&str]| words.iter().all(|word| lines[line].contains(word));
        assert!(
            says(
                0,
                &[
                    "request_id=\"r1\"",
                    "method=GET",
                    "route=\"/owner/{id}\"",
                    "status=200",
                    "whole=true",
                    "duration_ms="
                ]
            ),
            "{log}"
        );
        assert!(!lines[0].contains("retry_count"), "only creates are told apart from their repeats: {log}");
        assert!(says(1, &["request_id=\"r2\"", "whole=false"]), "{log}");
        assert!(says(2, &["route=\"unmatched\"", "grpc_status=12", "retry_count=1"]), "{log}");
        assert!(!log.contains("hush"), "{log}");
    }
}
