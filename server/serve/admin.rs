//! The health pages, on a port of their own.
//!
//! It owns what they say. It must never know why the gateway is not ready.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::StatusCode;
use tokio::sync::watch;

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
pub fn admin(health: watch::Receiver<Health>) -> Router {
    Router::new()
        .route("/health/live", get(|| async { "live\n" }))
        .route(
            "/health/ready",
            get(|State(health): State<watch::Receiver<Health>>| async move { health.borrow().page() }),
        )
        .with_state(health)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Request;
    use tower::ServiceExt;

    use super::*;

    async fn status(health: Health, path: &str) -> u16 {
        let (_sender, receiver) = watch::channel(health);
        let reply = admin(receiver).oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
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
