//! Who stands before a page, as far as the request says: an address, and perhaps a user whom a trusted proxy names.

use axum::extract::Request;
use http::HeaderMap;
use tidemark_proto::v1::ErrorCode;
use tidemark_store::Owner;
use tokio::time::Instant;

use super::OAuth;
use crate::auth::Principal;
use crate::auth::grants::Refusal;
use crate::error::Error;
use crate::limits::{Area, Holder, network};
use crate::serve::Client;

/// Where a browser says that a request comes from.
const FETCH_SITE: &str = "sec-fetch-site";

impl OAuth {
    /// Uses one call of the budget of whoever calls.
    ///
    /// # Errors
    /// The budget is used up.
    pub(super) fn admit(&self, request: &Request, area: Area) -> Result<(), Refusal> {
        let network = network(client(request).address);
        Ok(self.quotas.take(|| Holder::Address(network), area, Instant::now())?)
    }

    /// The user who is signed in, if a trusted proxy says so. What others say is not read.
    ///
    /// # Errors
    /// The proxy says something that is no name of a user.
    pub(super) fn user(&self, request: &Request) -> Result<Option<Owner>, Refusal> {
        let Some(name) = self.identity_header.as_ref().filter(|_| client(request).proxied) else {
            return Ok(None);
        };
        let mut values = request.headers().get_all(name).iter();
        let bad = || Refusal::request("the proxy before this gateway names no user, or several");
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) if value.is_empty() => Ok(None),
            (Some(value), None) => value.to_str().ok().and_then(Owner::new).map(Some).ok_or_else(bad),
            (Some(_), Some(_)) => Err(bad()),
        }
    }

    /// Whoever shows this key. A wrong one counts against the address.
    ///
    /// # Errors
    /// `unauthorized`, `auth_rate_limited`, `storage_unavailable`.
    pub(super) async fn holder(&self, client: Client, key: &str) -> Result<Principal, Error> {
        let found = self.access.key_holder(key).await;
        match &found {
            Ok(_) => self.failures.right(client.address),
            Err(error) if error.code() == ErrorCode::Unauthorized => {
                self.failures.wrong(client.address, Instant::now())?;
            }
            Err(_) => {}
        }
        found
    }

    /// Refuses an answer that another site makes somebody's browser give. The page carries a seal besides.
    ///
    /// # Errors
    /// `invalid_request`.
    pub(super) fn check_site(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let from = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let site = from(FETCH_SITE).is_none_or(|site| matches!(site, "same-origin" | "none"));
        // Our pages give no referrer, so that browsers say null here.
        let issuer = &self.grants.rules().issuer;
        let origin = from("origin").is_none_or(|origin| origin == "null" || origin == issuer);
        if site && origin { Ok(()) } else { Err(Refusal::request("the answer came from another site")) }
    }
}

/// Who sent the request.
pub(super) fn client(request: &Request) -> Client {
    request.extensions().get::<Client>().copied().unwrap_or_default()
}
