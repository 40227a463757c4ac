//! The pages for the operator, on a port of their own.
//!
//! It owns what the health pages say. It must never know why the gateway is not ready, or what is counted.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use tokio::sync::watch;

use crate::telemetry::{self, Metrics};

/// Whether the gateway takes calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Not yet: the store is being opened.
    Starting,
    /// It takes calls.
    Serving,
    /// No more: it is shutting down.
    Draining,
    /// No more: the store has failed, the process is about to stop (D-24).
    Failed,
}

impl Health {
    const fn page(self) -> (StatusCode, &'static str) {
        match self {
            Self::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
            Self::Serving => (StatusCode::OK, "serving\n"),
            Self::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            Self::Failed => (StatusCode::SERVICE_UNAVAILABLE, "storage unavailable\n"),
        }
    }
}

/// `/health/live`: 200 as long as the process answers. `/health/ready`: 200 while it takes calls, else 503 and why not.
/// `/metrics`: the figures.
pub fn admin(health: watch::Receiver<Health>, metrics: Metrics) -> Router {
    let ready = get(|State(health): State<watch::Receiver<Health>>| async move { health.borrow().page() });
    Router::new()
        .route("/health/live", get(|| async { "live\n" }))
        .route("/health/ready", ready.with_state(health))
        .route("/metrics", get(figures).with_state(metrics))
}

async fn figures(State(metrics): State<Metrics>) -> Response {
    match metrics.text() {
        Ok(text) => ([(CONTENT_TYPE, telemetry::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the figures cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Request;
    use tower::ServiceExt;

    use super::*;

    async fn status(health: Health, path: &str) -> u16 {
        let (_sender, receiver) = watch::channel(health);
        let reply = admin(receiver, Metrics::new())
            .oneshot(Request::get(path).body(Body::empty()).unwrap())
            .await
            .unwrap();
        reply.status().as_u16()
    }

    #[tokio::test]
    async fn ready_only_while_serving_and_live_always() {
        for (health, ready) in
            [(Health::Starting, 503), (Health::Serving, 200), (Health::Draining, 503), (Health::Failed, 503)]
        {
            assert_eq!(status(health, "/health/ready").await, ready, "{health:?}");
            assert_eq!(status(health, "/health/live").await, 200, "{health:?}");
        }
    }
}
