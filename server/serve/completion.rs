//! One line in the log for every call, when its reply has ended.
//!
//! It owns what the line says: id, method, route, status, time. It must never hold a query, a body or a credential.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use super::refusal::Surface;
use super::request_id::RequestId;

/// The header or trailer that holds the status of a gRPC call.
const GRPC_STATUS: &str = "grpc-status";

/// Logs the call when its reply has ended, or has been given up.
pub(super) async fn log(request: Request, next: Next) -> Response {
    let mut line = Line::begin(&request);
    let reply = next.run(request).await;
    line.status = reply.status();
    line.read_grpc_status(reply.headers());
    reply.map(|body| Body::new(Logged { body, line }))
}

/// What the log will say. It is written when this is dropped, so that a call that is given up is in the log too.
#[derive(Debug)]
struct Line {
    request_id: String,
    method: Method,
    route: String,
    begun: Instant,
    status: StatusCode,
    grpc_status: Option<i32>,
    whole: bool,
}

impl Line {
    fn begin(request: &Request) -> Self {
        let id = request.extensions().get::<RequestId>();
        let template = request.extensions().get::<MatchedPath>();
        let route = match (template, Surface::of(request.headers())) {
            // The path of a gRPC call is the name of a method and holds no data; its template holds no method.
            (Some(_), Surface::Grpc(_)) => request.uri().path().to_owned(),
            (Some(template), Surface::Rest) => template.as_str().to_owned(),
            (None, _) => "unmatched".to_owned(),
        };
        Self {
            request_id: id.map(|id| id.as_str().to_owned()).unwrap_or_default(),
            method: request.method().clone(),
            route,
            begun: Instant::now(),
            status: StatusCode::OK,
            grpc_status: None,
            whole: false,
        }
    }

    fn read_grpc_status(&mut self, headers: &HeaderMap) {
        let status = headers.get(GRPC_STATUS).and_then(|status| status.to_str().ok()?.parse().ok());
        self.grpc_status = status.or(self.grpc_status);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        tracing::info!(
            request_id = self.request_id,
            method = %self.method,
            route = self.route,
            status = self.status.as_u16(),
            grpc_status = self.grpc_status,
            duration_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            whole = self.whole,
            "call ended"
        );
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
