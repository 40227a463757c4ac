//! Refuses calls of those who have asked too often (U-5, U-24).
//!
//! It owns whose budget a call uses, and for which area. It must never know how budgets are kept.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::Extensions;
use tokio::time::Instant;

use super::forwarded::Client;
use super::gate::Gate;
use super::refusal::Surface;
use crate::auth::{Credential, Principal};
use crate::error::Error;
use crate::limits::{Area, Holder, Quotas};

/// Refuses a call whose budget is used up.
pub(super) async fn limit(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    match take(&gate.quotas, request.extensions()) {
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

/// The owner that somebody vouches for. With auth off a caller may name any owner, so its address counts instead.
fn holder(of: &Extensions) -> Holder {
    match of.get::<Principal>().filter(|principal| *principal.credential() != Credential::Anonymous) {
        Some(principal) => Holder::Owner(principal.owner().clone()),
        None => Holder::Address(of.get::<Client>().copied().unwrap_or_default().address),
    }
}
