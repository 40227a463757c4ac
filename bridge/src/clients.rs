//! The way to the gateway: one client per service, over any transport.
//!
//! It owns the choice of transport and the bound on messages. It must never know what a call means.

use axum::body::Bytes;
use futures_util::TryFutureExt as _;
use http_body::Body;
use tidemark_proto::MAX_MESSAGE_BYTES;
use tidemark_proto::v1::models_service_client::ModelsServiceClient;
use tidemark_proto::v1::responses_service_client::ResponsesServiceClient;
use tonic::Status;
use tonic::codegen::{Service, StdError};
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;

type GrpcRequest = http::Request<tonic::body::Body>;
type GrpcResponse = http::Response<tonic::body::Body>;

/// Any transport, its type erased once here so that no other room is generic over it.
pub(crate) type Transport = BoxCloneSyncService<GrpcRequest, GrpcResponse, Status>;

/// The generated clients that the bridge calls (D-2). Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clients {
    responses: ResponsesServiceClient<Transport>,
    models: ModelsServiceClient<Transport>,
}

impl Clients {
    /// Clients over two transports: the generated server objects (`ResponsesServiceServer`, `ModelsServiceServer`) to stay in
    /// this process, or the same `tonic::transport::Channel` twice for a gateway elsewhere. Messages may reach
    /// [`MAX_MESSAGE_BYTES`] in both directions; the servers must accept as much.
    pub fn new<R, RB, M, MB>(responses: R, models: M) -> Self
    where
        R: Service<GrpcRequest, Response = http::Response<RB>> + Clone + Send + Sync + 'static,
        R::Error: Into<StdError>,
        R::Future: Send + 'static,
        RB: Body<Data = Bytes> + Send + 'static,
        RB::Error: Into<StdError>,
        M: Service<GrpcRequest, Response = http::Response<MB>> + Clone + Send + Sync + 'static,
        M::Error: Into<StdError>,
        M::Future: Send + 'static,
        MB: Body<Data = Bytes> + Send + 'static,
        MB::Error: Into<StdError>,
    {
        Self {
            responses: ResponsesServiceClient::new(erase(responses))
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
            models: ModelsServiceClient::new(erase(models))
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
        }
    }

    /// A client for one call of `ResponsesService`.
    pub(crate) fn responses(&self) -> ResponsesServiceClient<Transport> {
        self.responses.clone()
    }

    /// A client for one call of `ModelsService`.
    pub(crate) fn models(&self) -> ModelsServiceClient<Transport> {
        self.models.clone()
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
