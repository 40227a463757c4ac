//! The way to the gateway: one client per service, over any transport.
//!
//! It owns the choice of transport and the bound on messages. It must never know what a call means.

use axum::body::Bytes;
use futures_util::TryFutureExt as _;
use http_body::Body;
use tidemark_proto::MAX_MESSAGE_BYTES;
use tidemark_proto::v1::grants_service_client::GrantsServiceClient;
use tidemark_proto::v1::keys_service_client::KeysServiceClient;
use tidemark_proto::v1::models_service_client::ModelsServiceClient;
use tidemark_proto::v1::responses_service_client::ResponsesServiceClient;
use tidemark_proto::v1::sessions_service_client::SessionsServiceClient;
use tidemark_proto::v1::users_service_client::UsersServiceClient;
use tonic::Status;
use tonic::codegen::{Service, StdError};
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;

type GrpcRequest = http::Request<tonic::body::Body>;
type GrpcResponse = http::Response<tonic::body::Body>;

/// Any transport, its type erased once here so that no other room is generic over it.
pub type Transport = BoxCloneSyncService<GrpcRequest, GrpcResponse, Status>;

/// A generated client with the bound on messages in both directions.
macro_rules! limited {
    ($client:expr) => {
        $client.max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES)
    };
}

/// The generated clients of one gateway (D-2). Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clients(Transport);

impl Clients {
    /// Clients over a transport that serves the whole contract: the generated servers put together as `tonic::service::Routes` to
    /// stay in this process, or a `tonic::transport::Channel` for a gateway elsewhere. Messages may reach [`MAX_MESSAGE_BYTES`] in
    /// both directions; the servers must accept as much.
    pub fn new<S, B>(transport: S) -> Self
    where
        S: Service<GrpcRequest, Response = http::Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<StdError>,
        S::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError>,
    {
        Self(erase(transport))
    }

    /// A client for one call of `ResponsesService`.
    pub fn responses(&self) -> ResponsesServiceClient<Transport> {
        limited!(ResponsesServiceClient::new(self.0.clone()))
    }

    /// A client for one call of `SessionsService`.
    pub fn sessions(&self) -> SessionsServiceClient<Transport> {
        limited!(SessionsServiceClient::new(self.0.clone()))
    }

    /// A client for one call of `ModelsService`.
    pub fn models(&self) -> ModelsServiceClient<Transport> {
        limited!(ModelsServiceClient::new(self.0.clone()))
    }

    /// A client for one call of `KeysService`.
    pub fn keys(&self) -> KeysServiceClient<Transport> {
        limited!(KeysServiceClient::new(self.0.clone()))
    }

    /// A client for one call of `GrantsService`.
    pub fn grants(&self) -> GrantsServiceClient<Transport> {
        limited!(GrantsServiceClient::new(self.0.clone()))
    }

    /// A client for one call of `UsersService`.
    pub fn users(&self) -> UsersServiceClient<Transport> {
        limited!(UsersServiceClient::new(self.0.clone()))
    }
}

fn erase<S, B>(service: S) -> Transport
where
    S: Service<GrpcRequest, Response = http::Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<StdError>,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError>,
{
    let erased = service
        .map_err(|error| Status::from_error(error.into()))
        .map_future(|reply| reply.map_ok(|reply: http::Response<B>| reply.map(tonic::body::Body::new)));
    BoxCloneSyncService::new(erased)
}
