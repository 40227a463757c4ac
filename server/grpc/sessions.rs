//! `SessionsService`.

use futures_util::stream;
use tidemark_proto::handover::{self, Outgoing};
use tidemark_proto::v1::sessions_service_server::SessionsService;
use tidemark_proto::v1::{
    self, AddItemsRequest, AddItemsResponse, CreateSessionRequest, CreateSessionResponse, DeleteItemRequest,
    DeleteItemResponse, DeleteSessionRequest, DeleteSessionResponse, GetItemRequest, GetItemResponse,
    GetSessionRequest, GetSessionResponse, ListHistoryRequest, ListHistoryResponse, ListItemsRequest,
    ListItemsResponse, ListSessionsRequest, ListSessionsResponse, ResetSessionRequest, ResetSessionResponse,
    UpdateSessionRequest, UpdateSessionResponse, WatchHistoryRequest, WatchHistoryResponse,
};
use tonic::{Request, Response, Status};

use crate::auth::{Access, Principal};
use crate::error::Error;
use crate::grpc::guarded::{Guarded, Source};
use crate::grpc::message::timestamp;
use crate::grpc::responses::{choice, order};
use crate::grpc::status::status;
use crate::grpc::{answer, principal};
use crate::runs::ResponseId;
use crate::sessions::{
    HistoryItem, HistoryPage, HistoryQuery, ItemQuery, SessionInfo, Sessions, Sight, View, Watcher,
};

/// The service over the sessions of this process.
#[derive(Clone, Debug)]
pub struct SessionsOf {
    sessions: Sessions,
    access: Access,
}

impl SessionsOf {
    /// The service over these sessions, for those who have access.
    pub fn new(sessions: Sessions, access: Access) -> Self {
        Self { sessions, access }
    }

    async fn answer<T>(&self, principal: &Principal, read: Result<T, Error>) -> Result<Response<T>, Status> {
        answer(&self.access, principal, read).await
    }
}

impl Source for Watcher {
    type Item = Sight;

    async fn next(&mut self) -> Result<Option<Sight>, Error> {
        Self::next(self).await
    }
}

#[tonic::async_trait]
impl SessionsService for SessionsOf {
    type WatchHistoryStream = Outgoing<WatchHistoryResponse>;

    async fn create_session(
        &self,
        request: Request<CreateSessionRequest>,
    ) -> Result<Response<CreateSessionResponse>, Status> {
        let principal = principal(&request)?;
        let CreateSessionRequest { key, metadata, items } = request.into_inner();
        let key = Some(key.as_str()).filter(|key| !key.is_empty());
        let made = self.sessions.create(principal.owner(), key, metadata, &items).await;
        let session = made.map(|info| CreateSessionResponse { session: Some(session(info)) });
        self.answer(&principal, session).await
    }

    async fn get_session(
        &self,
        request: Request<GetSessionRequest>,
    ) -> Result<Response<GetSessionResponse>, Status> {
        let principal = principal(&request)?;
        let found = self.sessions.get(principal.owner(), &request.get_ref().key).await;
        let session = found.map(|info| GetSessionResponse { session: Some(session(info)) });
        self.answer(&principal, session).await
    }

    async fn update_session(
        &self,
        request: Request<UpdateSessionRequest>,
    ) -> Result<Response<UpdateSessionResponse>, Status> {
        let principal = principal(&request)?;
        let UpdateSessionRequest { key, metadata } = request.into_inner();
        let changed = self.sessions.update(principal.owner(), &key, metadata).await;
        let session = changed.map(|info| UpdateSessionResponse { session: Some(session(info)) });
        self.answer(&principal, session).await
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        let principal = principal(&request)?;
        let ListSessionsRequest { page_size, page_token } = request.get_ref();
        let page = self.sessions.list(principal.owner(), *page_size, page_token).await;
        let page = page.map(|page| ListSessionsResponse {
            sessions: page.sessions.into_iter().map(session).collect(),
            next_page_token: page.next_page_token.unwrap_or_default(),
            page_size: page.page_size,
        });
        self.answer(&principal, page).await
    }

    async fn reset_session(
        &self,
        request: Request<ResetSessionRequest>,
    ) -> Result<Response<ResetSessionResponse>, Status> {
        let principal = principal(&request)?;
        let reset = self.sessions.reset(principal.owner(), &request.get_ref().key).await;
        let session = reset.map(|info| ResetSessionResponse { session: Some(session(info)) });
        self.answer(&principal, session).await
    }

    async fn delete_session(
        &self,
        request: Request<DeleteSessionRequest>,
    ) -> Result<Response<DeleteSessionResponse>, Status> {
        let principal = principal(&request)?;
        let deleted = self.sessions.delete(principal.owner(), &request.get_ref().key).await;
        let key = deleted.map_err(|error| status(&error))?.to_string();
        Ok(Response::new(DeleteSessionResponse { key }))
    }

    async fn list_history(
        &self,
        request: Request<ListHistoryRequest>,
    ) -> Result<Response<ListHistoryResponse>, Status> {
        let principal = principal(&request)?;
        let ListHistoryRequest { key, view, page_size, page_token } = request.get_ref();
        let query = HistoryQuery { view: view_of(*view)?, page_size: *page_size, page_token };
        let read = self.sessions.history(principal.owner(), key, query).await;
        let answer = read.map(|read| ListHistoryResponse { page: Some(page(read)) });
        self.answer(&principal, answer).await
    }

    async fn watch_history(
        &self,
        request: Request<WatchHistoryRequest>,
    ) -> Result<Response<Self::WatchHistoryStream>, Status> {
        let principal = principal(&request)?;
        let WatchHistoryRequest { key, view, page_size, after } = request.get_ref();
        let view = view_of(*view)?;
        let watcher = self.sessions.watch(principal.owner(), key, view, *page_size, after).await;
        let watcher = watcher.map_err(|error| status(&error))?;
        let guarded = Guarded::new(watcher, self.access.clone(), principal).await?;
        let messages = stream::unfold(guarded, async |mut guarded| {
            let result = guarded.next().await?;
            Some((result.map(sight), guarded))
        });
        Ok(handover::reply(messages))
    }

    async fn add_items(
        &self,
        request: Request<AddItemsRequest>,
    ) -> Result<Response<AddItemsResponse>, Status> {
        let principal = principal(&request)?;
        let AddItemsRequest { key, items } = request.get_ref();
        let added = self.sessions.add_items(principal.owner(), key, items).await;
        let answer = added.map(|items| AddItemsResponse { items: items.into_iter().map(item).collect() });
        self.answer(&principal, answer).await
    }

    async fn list_items(
        &self,
        request: Request<ListItemsRequest>,
    ) -> Result<Response<ListItemsResponse>, Status> {
        let principal = principal(&request)?;
        let ListItemsRequest { key, page_size, order: asked, after } = request.get_ref();
        let query = ItemQuery { page_size: *page_size, order: order(*asked)?, after };
        let page = self.sessions.list_items(principal.owner(), key, query).await;
        let answer = page.map(|page| ListItemsResponse {
            items: page.items.into_iter().map(item).collect(),
            has_more: page.has_more,
            page_size: page.page_size,
        });
        self.answer(&principal, answer).await
    }

    async fn get_item(&self, request: Request<GetItemRequest>) -> Result<Response<GetItemResponse>, Status> {
        let principal = principal(&request)?;
        let GetItemRequest { key, id } = request.get_ref();
        let found = self.sessions.item(principal.owner(), key, id).await;
        self.answer(&principal, found.map(|found| GetItemResponse { item: Some(item(found)) })).await
    }

    async fn delete_item(
        &self,
        request: Request<DeleteItemRequest>,
    ) -> Result<Response<DeleteItemResponse>, Status> {
        let principal = principal(&request)?;
        let DeleteItemRequest { key, id } = request.get_ref();
        let changed = self.sessions.remove_item(principal.owner(), key, id).await;
        let session = changed.map(|info| DeleteItemResponse { session: Some(session(info)) });
        self.answer(&principal, session).await
    }
}

fn view_of(number: i32) -> Result<View, Status> {
    Ok(match choice::<v1::View>(number, "view")? {
        v1::View::Unspecified | v1::View::Messages => View::Messages,
        v1::View::All => View::All,
    })
}

fn session(info: SessionInfo) -> v1::Session {
    v1::Session {
        key: info.key.to_string(),
        created_at: Some(timestamp(info.created_at)),
        updated_at: Some(timestamp(info.updated_at)),
        generation: info.generation,
        metadata: info.metadata,
        committed: info.committed.get(),
        bytes: info.bytes,
        expires_at: info.expires_at.map(timestamp),
    }
}

fn item(item: HistoryItem) -> v1::SessionItem {
    let response = item.response.map(|log| ResponseId::of_log(log).to_string());
    v1::SessionItem {
        seq: item.seq.get(),
        id: item.id,
        json: item.json,
        response_id: response.unwrap_or_default(),
        created_at: Some(timestamp(item.created_at)),
        position: item.position,
    }
}

fn page(page: HistoryPage) -> v1::HistoryPage {
    v1::HistoryPage {
        items: page.items.into_iter().map(item).collect(),
        next_page_token: page.next_page_token.unwrap_or_default(),
        page_size: page.page_size,
        generation: page.generation,
        position: page.position.unwrap_or_default(),
    }
}

fn sight(sight: Sight) -> WatchHistoryResponse {
    match sight {
        Sight::Page(read) => {
            let position = read.position.clone().unwrap_or_default();
            WatchHistoryResponse { page: Some(page(read)), position, ..WatchHistoryResponse::default() }
        }
        Sight::News { items, removed, position } => WatchHistoryResponse {
            page: None,
            items: items.into_iter().map(item).collect(),
            removed: removed.into_iter().map(|(seq, id)| v1::RemovedItem { seq: seq.get(), id }).collect(),
            position,
        },
        Sight::Heartbeat { position } => WatchHistoryResponse { position, ..WatchHistoryResponse::default() },
    }
}
