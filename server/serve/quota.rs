//! Refuses calls of those who have asked too often (U-5, U-24).
//!
//! It owns whose budget a call uses, and for which area. It must never know how budgets are kept.

use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::Extensions;
use tokio::time::Instant;

use super::forwarded::Client;
use super::refusal::Surface;
use crate::error::Error;
use crate::limits::{Area, Holder, Quotas};

/// Refuses a call whose budget is used up.
pub(super) async fn limit(State(quotas): State<Arc<Quotas>>, request: Request, next: Next) -> Response {
    match take(&quotas, request.extensions()) {
        Ok(()) => next.run(request).await,
        Err(error) => Surface::of(request.headers()).refuse(&error),
    }
}

fn take(quotas: &Quotas, of: &Extensions) -> Result<(), Error> {
    match of.get::<Area>() {
        Some(area) => quotas.take(|| holder(of), *area, Instant::now()),
        None => Ok(()),
    }
}

/// With auth off a caller may name any owner, so its address counts instead.
fn holder(of: &Extensions) -> Holder {
    Holder::Address(of.get::<Client>().map_or(Ipv4Addr::UNSPECIFIED.into(), |client| client.address))
}
