//! `GrantsService`.

use tidemark_proto::v1;
use tidemark_proto::v1::grants_service_server::GrantsService;
use tidemark_proto::v1::{
    CreateClientRequest, CreateClientResponse, DeleteClientRequest, DeleteClientResponse, ListClientsRequest,
    ListClientsResponse, ListGrantsRequest, ListGrantsResponse, RevokeGrantRequest, RevokeGrantResponse,
    RevokeGrantsRequest, RevokeGrantsResponse,
};
use tonic::{Request, Response, Status};

use crate::auth::Directory;
use crate::auth::grants::{
    ClientInfo, GrantFilter, GrantInfo, GrantMode, GrantQuery, NewClient, RedirectRules, Refusal, Subject,
    scopes_of,
};
use crate::error::Error;
use crate::grpc::message::timestamp;
use crate::grpc::principal;
use crate::grpc::status::status;

/// The service over the grants and clients of this process.
#[derive(Clone, Debug)]
pub struct ConnectedApps {
    directory: Directory,
    redirects: RedirectRules,
}

impl ConnectedApps {
    /// The service over these grants; clients may be sent back to where these rules allow.
    pub fn new(directory: Directory, redirects: RedirectRules) -> Self {
        Self { directory, redirects }
    }
}

#[tonic::async_trait]
impl GrantsService for ConnectedApps {
    async fn list_grants(
        &self,
        request: Request<ListGrantsRequest>,
    ) -> Result<Response<ListGrantsResponse>, Status> {
        let caller = principal(&request)?;
        let asked = request.into_inner();
        let mode = asked.mode();
        let ListGrantsRequest { owner, client_id, q, page_size, after, .. } = asked;
        let filter = filter(&owner, mode, &client_id, &q).map_err(|error| status(&error))?;
        let query = GrantQuery { filter, page_size, after };
        let page = self.directory.list_grants(&caller, &query).await.map_err(|error| status(&error))?;
        Ok(Response::new(ListGrantsResponse {
            grants: page.grants.iter().map(shown).collect(),
            next: page.next.map(|id| id.to_string()).unwrap_or_default(),
            page_size: page.page_size,
        }))
    }

    async fn revoke_grant(
        &self,
        request: Request<RevokeGrantRequest>,
    ) -> Result<Response<RevokeGrantResponse>, Status> {
        let caller = principal(&request)?;
        let revoked = self.directory.revoke_grant(&caller, &request.get_ref().id).await;
        let id = revoked.map_err(|error| status(&error))?.to_string();
        Ok(Response::new(RevokeGrantResponse { id }))
    }

    async fn revoke_grants(
        &self,
        request: Request<RevokeGrantsRequest>,
    ) -> Result<Response<RevokeGrantsResponse>, Status> {
        let caller = principal(&request)?;
        let asked = request.get_ref();
        let (mode, RevokeGrantsRequest { owner, client_id, all, .. }) = (asked.mode(), asked);
        let named = !owner.is_empty() || !client_id.is_empty() || mode != v1::GrantMode::Unspecified;
        if named == *all {
            let text = "name an owner, a mode or a client; or say all, and name none";
            return Err(status(&Error::invalid("all", text)));
        }
        let filter = filter(owner, mode, client_id, "").map_err(|error| status(&error))?;
        let revoked = self.directory.revoke_grants(&caller, &filter).await;
        Ok(Response::new(RevokeGrantsResponse { count: revoked.map_err(|error| status(&error))? }))
    }

    async fn create_client(
        &self,
        request: Request<CreateClientRequest>,
    ) -> Result<Response<CreateClientResponse>, Status> {
        principal(&request)?;
        let CreateClientRequest { name, redirect_uris, scopes, device } = request.into_inner();
        let text = scopes.join(" ");
        let scopes = if scopes.is_empty() { Ok(None) } else { scopes_of(&text).map(Some) };
        let scopes = scopes.map_err(|refusal| refused(&refusal))?;
        let new = NewClient { name, redirects: redirect_uris, scopes, device };
        let made = self.directory.create_client(new, &self.redirects).await;
        let client = Some(shown_client(&made.map_err(|refusal| refused(&refusal))?));
        Ok(Response::new(CreateClientResponse { client }))
    }

    async fn list_clients(
        &self,
        request: Request<ListClientsRequest>,
    ) -> Result<Response<ListClientsResponse>, Status> {
        principal(&request)?;
        let ListClientsRequest { page_size, after } = request.get_ref();
        let page = self.directory.list_clients(after, *page_size).await.map_err(|error| status(&error))?;
        Ok(Response::new(ListClientsResponse {
            clients: page.clients.iter().map(shown_client).collect(),
            has_more: page.has_more,
            page_size: page.page_size,
        }))
    }

    async fn delete_client(
        &self,
        request: Request<DeleteClientRequest>,
    ) -> Result<Response<DeleteClientResponse>, Status> {
        let caller = principal(&request)?;
        let id = request.into_inner().id;
        let revoked = self.directory.delete_client(&caller, &id).await.map_err(|error| status(&error))?;
        Ok(Response::new(DeleteClientResponse { id, revoked }))
    }
}

fn filter(owner: &str, mode: v1::GrantMode, client: &str, text: &str) -> Result<GrantFilter, Error> {
    let modes = match mode {
        v1::GrantMode::Unspecified => Vec::new(),
        v1::GrantMode::Vk => vec![GrantMode::Vk],
        v1::GrantMode::User => vec![GrantMode::User],
    };
    GrantFilter::new(owner, modes, client, text)
}

/// A refusal of the authorization server, as one of ours.
fn refused(refusal: &Refusal) -> Status {
    let field = refusal.field();
    match refusal.fault() {
        Some(fault) => status(fault),
        None => status(&Error::invalid(field, refusal.text())),
    }
}

fn shown(grant: &GrantInfo) -> v1::Grant {
    let (mode, key_id) = match &grant.subject {
        Subject::Key(id) => (v1::GrantMode::Vk, id.to_string()),
        Subject::User => (v1::GrantMode::User, String::new()),
    };
    v1::Grant {
        id: grant.id.to_string(),
        owner: grant.owner.to_string(),
        mode: mode.into(),
        key_id,
        client_id: grant.client.to_string(),
        client_name: grant.client_name.clone(),
        scopes: grant.scopes.names().map(str::to_owned).collect(),
        created_at: Some(timestamp(grant.created_at)),
        last_used_at: Some(timestamp(grant.used_at)),
        expires_at: Some(timestamp(grant.expires_at)),
    }
}

fn shown_client(client: &ClientInfo) -> v1::OAuthClient {
    v1::OAuthClient {
        id: client.id.to_string(),
        name: client.name.clone(),
        scopes: client.scopes.names().map(str::to_owned).collect(),
        created_at: Some(timestamp(client.created_at)),
        by_operator: client.by_operator,
    }
}
