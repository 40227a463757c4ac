//! `/v1/oauth2/sessions`: connected apps, for the owner whose they are.
//!
//! It owns the JSON of a grant. It must never know who may see which: that is decided behind the call.

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use prost_types::Timestamp;
use serde::Serialize;
use tidemark_proto::v1::{ErrorCode, Grant, GrantMode, ListGrantsRequest, RevokeGrantRequest};

use crate::caller::Caller;
use crate::error::{self, Failure};
use crate::lists::AFTER;
use crate::params::Params;
use crate::responses::{self, Id};
use crate::router::Bridge;

const MODE: &str = "mode";

/// What may be shown of a grant; times are seconds since 1970.
#[derive(Serialize)]
struct Object<'g> {
    id: &'g str,
    object: &'static str,
    owner: &'g str,
    mode: &'static str,
    key_id: Option<&'g str>,
    client_id: &'g str,
    client_name: &'g str,
    scope: String,
    created_at: Option<i64>,
    last_used_at: Option<i64>,
    expires_at: Option<i64>,
}

/// A page of grants.
#[derive(Serialize)]
struct Page<'g> {
    object: &'static str,
    data: Vec<Object<'g>>,
    has_more: bool,
    /// What `after` is for the next page.
    next: Option<&'g str>,
    /// The page size that was used.
    limit: u32,
}

impl<'g> Object<'g> {
    fn new(grant: &'g Grant) -> Self {
        let seconds = |at: &Option<Timestamp>| at.as_ref().map(|at| at.seconds);
        Self {
            id: &grant.id,
            object: "oauth2.session",
            owner: &grant.owner,
            mode: match grant.mode() {
                GrantMode::Vk => "vk",
                GrantMode::User => "user",
                GrantMode::Unspecified => "unknown",
            },
            key_id: Some(grant.key_id.as_str()).filter(|id| !id.is_empty()),
            client_id: &grant.client_id,
            client_name: &grant.client_name,
            scope: grant.scopes.join(" "),
            created_at: seconds(&grant.created_at),
            last_used_at: seconds(&grant.last_used_at),
            expires_at: seconds(&grant.expires_at),
        }
    }
}

/// `GET /v1/oauth2/sessions`.
pub(crate) async fn list(State(bridge): State<Bridge>, request: Request) -> Result<Response, Failure> {
    let (mut parts, _) = request.into_parts();
    let params = Params::of(&parts.uri)?;
    let text = |name: &str| {
        params.one(name, ErrorCode::InvalidRequest).map(|value| value.unwrap_or_default().to_owned())
    };
    let ask = ListGrantsRequest {
        owner: text("owner")?,
        mode: mode(&text(MODE)?)?.into(),
        client_id: text("client_id")?,
        q: text("q")?,
        page_size: params.limit()?,
        after: params.position(AFTER)?.unwrap_or_default().to_owned(),
    };
    let page = bridge.clients.grants().list_grants(Caller::take(&mut parts).call(ask)).await?.into_inner();
    let next = Some(page.next.as_str()).filter(|next| !next.is_empty());
    let data = page.grants.iter().map(Object::new).collect();
    let page = Page { object: "list", data, has_more: next.is_some(), next, limit: page.page_size };
    Ok(responses::json(error::json(&page)))
}

/// The modes of a list with commas; both of them are as good as none.
fn mode(list: &str) -> Result<GrantMode, Failure> {
    let refused = || Failure::invalid(MODE, "`mode` lists vk and user, with a comma between");
    let one = |name: &str| match name {
        "vk" => Ok(GrantMode::Vk),
        "user" => Ok(GrantMode::User),
        _ => Err(refused()),
    };
    let modes = list.split(',').filter(|_| !list.is_empty()).map(one).collect::<Result<Vec<_>, _>>()?;
    let first = modes.first().copied().unwrap_or_default();
    Ok(if modes.iter().all(|mode| *mode == first) { first } else { GrantMode::Unspecified })
}

/// `DELETE /v1/oauth2/sessions/{id}`: 204, the second time too.
pub(crate) async fn revoke(
    State(bridge): State<Bridge>,
    Id(id): Id,
    request: Request,
) -> Result<StatusCode, Failure> {
    let (mut parts, _) = request.into_parts();
    bridge.clients.grants().revoke_grant(Caller::take(&mut parts).call(RevokeGrantRequest { id })).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b_25_modes_are_a_list_of_known_names() {
        let read = |list: &str| mode(list).ok();
        assert_eq!(read(""), Some(GrantMode::Unspecified));
        assert_eq!((read("vk"), read("user")), (Some(GrantMode::Vk), Some(GrantMode::User)));
        assert_eq!((read("vk,user"), read("vk,vk")), (Some(GrantMode::Unspecified), Some(GrantMode::Vk)));
        for wrong in ["session", "vk,", ",", "VK", "vk user"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
