//! A panic while a call is begun ends that call, not the process.
//!
//! It owns only that. It must never know what panicked; the panic hook has said so in the log.

use std::panic::AssertUnwindSafe;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::FutureExt;

use super::refusal::Surface;
use crate::error::Error;

/// Answers `internal` for a call that panicked.
pub(super) async fn contain(request: Request, next: Next) -> Response {
    let surface = Surface::of(request.headers());
    // Nothing of the call outlives the panic, so nothing half-changed can be seen.
    let outcome = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    outcome.unwrap_or_else(|_| surface.refuse(&Error::internal("a panic while the call was handled")))
}
