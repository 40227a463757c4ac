//! One line in the log for every call, when its reply has ended, and one more in the count of calls.
//!
//! It owns what the line says: id, area, method, route, status, time, who called, and whether a proxy spoke for it. It must
//! never hold a query, a body, a credential or an address. The area is found here, for those behind it too.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tidemark_bridge::Route;
use tokio::time::Instant;
use tonic::Code;

use super::forwarded::Client;
use super::refusal::Surface;
use super::request_id::RequestId;
use crate::auth::Principal;
use crate::limits::Area;
use crate::telemetry::{CallLabel, ServeMeters};

/// The header or trailer that holds the status of a gRPC call.
const GRPC_STATUS: &str = "grpc-status";

/// How often an OpenAI SDK has sent the same request before (W-34).
const RETRY_COUNT: &str = "x-stainless-retry-count";

/// The route of a call that no template or method of ours matches.
const UNMATCHED: &str = "unmatched";

/// How calls are named and counted.
#[derive(Clone, Debug)]
pub struct Record {
    methods: Arc<BTreeSet<String>>,
    meters: ServeMeters,
}

impl Record {
    /// `methods` are the paths of all gRPC methods that are served: only these, and templates of REST paths, become routes, so that
    /// no client can make up as many as it likes.
    pub fn new(methods: impl IntoIterator<Item = String>, meters: ServeMeters) -> Self {
        Self { methods: Arc::new(methods.into_iter().collect()), meters }
    }

    fn route(&self, request: &Request, is_grpc: bool) -> String {
        // The template of a gRPC call holds no method; its path, if it is the name of one, holds no data.
        let path = request.uri().path();
        let route = match request.extensions().get::<MatchedPath>() {
            Some(_) if is_grpc => Some(path).filter(|path| self.methods.contains(*path)),
            Some(template) => Some(template.as_str()),
            None => None,
        };
        route.unwrap_or(UNMATCHED).to_owned()
    }
}

/// Where the principal is noted for the log once it is known: in the request's extensions, so that a call that is given up before
/// its reply has one too.
#[derive(Clone, Debug, Default)]
pub(super) struct Caller(Arc<OnceLock<Principal>>);

impl Caller {
    /// Notes who is calling; the first word counts.
    pub(super) fn note(&self, principal: &Principal) {
        let _ = self.0.set(principal.clone());
    }
}

/// Logs and counts the call when its reply has ended, or has been given up.
pub(super) async fn log(State(record): State<Record>, mut request: Request, next: Next) -> Response {
    let mut line = Line::begin(&request, record);
    request.extensions_mut().insert(line.caller.clone());
    if let Some(area) = line.area {
        request.extensions_mut().insert(area);
    }
    let reply = next.run(request).await;
    line.status = reply.status();
    line.read_grpc_status(reply.headers());
    reply.map(|body| Body::new(Logged { body, line }))
}

/// What the log will say. It is written when this is dropped, so that a call that is given up is in the log too.
#[derive(Debug)]
struct Line {
    request_id: String,
    area: Option<Area>,
    caller: Caller,
    forwarded: Option<&'static str>,
    method: Method,
    route: String,
    retry_count: Option<u32>,
    begun: Instant,
    status: StatusCode,
    is_grpc: bool,
    grpc_status: Option<i32>,
    whole: bool,
    meters: ServeMeters,
}

impl Line {
    fn begin(request: &Request, record: Record) -> Self {
        let id = request.extensions().get::<RequestId>();
        let is_grpc = matches!(Surface::of(request.headers()), Surface::Grpc(_));
        Self {
            request_id: id.map(|id| id.as_str().to_owned()).unwrap_or_default(),
            area: area(request, is_grpc),
            caller: Caller::default(),
            forwarded: request.extensions().get::<Client>().map(|client| client.forwarded.name()),
            method: request.method().clone(),
            route: record.route(request, is_grpc),
            retry_count: retry_count(request),
            begun: Instant::now(),
            status: StatusCode::OK,
            is_grpc,
            grpc_status: None,
            whole: false,
            meters: record.meters,
        }
    }

    fn read_grpc_status(&mut self, headers: &HeaderMap) {
        let status = headers.get(GRPC_STATUS).and_then(|status| status.to_str().ok()?.parse().ok());
        self.grpc_status = status.or(self.grpc_status);
    }

    fn label(&mut self) -> CallLabel {
        let status = match (self.is_grpc, self.grpc_status) {
            (false, _) => class(self.status),
            (true, Some(status)) => name(status.into()),
            // grpc-web carries it in the body.
            (true, None) if self.whole => class(self.status),
            (true, None) => "cut",
        };
        CallLabel { route: std::mem::take(&mut self.route), status }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let caller = self.caller.0.get();
        tracing::info!(
            request_id = self.request_id,
            area = self.area.map(Area::name),
            owner = caller.map(|principal| principal.owner().as_str()),
            forwarded = self.forwarded,
            method = %self.method,
            route = self.route,
            credential = caller.map(|principal| tracing::field::display(principal.credential())),
            status = self.status.as_u16(),
            grpc_status = self.grpc_status,
            retry_count = self.retry_count,
            duration_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            whole = self.whole,
            "call ended"
        );
        let label = self.label();
        self.meters.calls.increment(label);
    }
}

/// The area of the method that is called, in whatever form.
fn area(request: &Request, is_grpc: bool) -> Option<Area> {
    let template = request.extensions().get::<MatchedPath>().filter(|_| !is_grpc);
    match template.and_then(|template| Route::of(request.method(), template.as_str())) {
        Some(route) => route.calls.first().and_then(|method| Area::of(method)),
        None => Area::of(request.uri().path()),
    }
}

/// Present if a POST was sent before.
fn retry_count(request: &Request) -> Option<u32> {
    let count = request.headers().get(RETRY_COUNT).filter(|_| *request.method() == Method::POST)?;
    count.to_str().ok()?.parse().ok().filter(|count| *count > 0)
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}

/// The name that the gRPC specification gives a status.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// A body that notices its end.
struct Logged {
    body: Body,
    line: Line,
}

impl HttpBody for Logged {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(trailers) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.trailers_ref()) {
            this.line.read_grpc_status(trailers);
        }
        this.line.whole = frame.is_none() || this.body.is_end_stream();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        // An empty body is never polled.
        self.line.whole |= self.body.is_end_stream();
    }
}
