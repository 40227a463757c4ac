//! A gateway that answers by script and remembers what it was asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use futures_util::{Stream, TryStreamExt as _, stream};
use prost_types::Timestamp;
use tidemark_bridge::{Clients, Options, router};
use tidemark_proto::errors::DOMAIN;
use tidemark_proto::handover::{self, Outgoing};
use tidemark_proto::v1::models_service_server::{ModelsService, ModelsServiceServer};
use tidemark_proto::v1::responses_service_server::{ResponsesService, ResponsesServiceServer};
use tidemark_proto::v1::{
    CancelRequest, CancelResponse, CreateRequest, CreateResponse, CreateStreamRequest, CreateStreamResponse,
    CreateTicketRequest, CreateTicketResponse, DeleteRequest, DeleteResponse, ErrorCode, Event, Gap,
    GetRequest, GetResponse, ListInputItemsRequest, ListInputItemsResponse, ListModelsRequest,
    ListModelsResponse, ListRequest, ListResponse, Model, Response, ResumeRequest, ResumeResponse, Ticket,
    TicketOrder,
};
use tidemark_proto::{MAX_MESSAGE_BYTES, v1};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::Routes;
use tonic::transport::{Channel, Server};
use tonic::{Request, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The id of every response here.
pub(crate) const ID: &str = "resp_00000000000000000000000000000001";

/// What the fake does when it is called.
#[derive(Clone)]
pub(crate) struct Script {
    /// What Create, Get and Cancel return; Delete and the lists fail with it. None = they never do.
    pub(crate) reply: Option<Result<Response, Status>>,
    /// Whether CreateStream and Resume open a stream.
    pub(crate) open: Result<(), Status>,
    /// What such a stream then does; at the end it ends with OK.
    pub(crate) steps: Vec<Step>,
    /// Whether Create and CreateStream say that the response was there before.
    pub(crate) replayed: bool,
    /// What ListModels returns.
    pub(crate) models: Vec<Model>,
    /// What List returns.
    pub(crate) page: ListResponse,
    /// What ListInputItems returns.
    pub(crate) input: ListInputItemsResponse,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            reply: Some(Ok(response(v1::Status::Completed))),
            open: Ok(()),
            steps: Vec::new(),
            replayed: false,
            models: Vec::new(),
            page: ListResponse::default(),
            input: ListInputItemsResponse::default(),
        }
    }
}

/// One thing that a stream does.
#[derive(Clone)]
pub(crate) enum Step {
    Events(Vec<Event>),
    Gap(Gap, Vec<Event>),
    Heartbeat,
    Pause(Duration),
    Fail(Status),
    Hang,
}

/// One call, as the gateway saw it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Asked {
    Create(CreateRequest),
    CreateStream(CreateStreamRequest),
    Get(String),
    Cancel(String),
    Resume(ResumeRequest),
    Delete(String),
    List(ListRequest),
    ListInputItems(ListInputItemsRequest),
    CreateTicket(String),
    ListModels,
}

/// Stands for what the listener finds out about a caller.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Principal(pub(crate) &'static str);

/// Who called.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct From {
    pub(crate) authorization: Option<String>,
    pub(crate) owner: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) principal: Option<Principal>,
}

/// The scripted gateway.
#[derive(Clone)]
pub(crate) struct Fake {
    script: Arc<Script>,
    calls: Arc<Mutex<Vec<(Asked, From)>>>,
    open: Arc<watch::Sender<usize>>,
}

impl Fake {
    pub(crate) fn new(script: Script) -> Self {
        Self { script: Arc::new(script), calls: Arc::default(), open: Arc::new(watch::Sender::new(0)) }
    }

    /// A fake whose streams do this.
    pub(crate) fn streaming(steps: Vec<Step>) -> Self {
        Self::new(Script { steps, ..Script::default() })
    }

    /// A bridge to it in this process.
    pub(crate) fn local(&self) -> Router {
        router(Clients::new(self.services()), Options::default())
    }

    /// Its services, to be called in this process.
    pub(crate) fn services(&self) -> Routes {
        let responses = ResponsesServiceServer::new(self.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Routes::new(responses).add_service(ModelsServiceServer::new(self.clone()))
    }

    /// A bridge to it over a socket, and the tasks that serve.
    pub(crate) async fn remote(&self) -> (Router, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        let fake = self.clone();
        tasks.spawn(async move { fake.serve(listener).await });
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        (router(Clients::new(channel), Options::default()), tasks)
    }

    /// Serves gRPC until it is dropped.
    pub(crate) async fn serve(self, listener: TcpListener) {
        let responses = ResponsesServiceServer::new(self.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Server::builder()
            .add_service(responses)
            .add_service(ModelsServiceServer::new(self))
            .serve_with_incoming(TcpListenerStream::new(listener))
            .await
            .unwrap();
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.calls.lock().unwrap().iter().map(|(asked, _)| asked.clone()).collect()
    }

    /// Who asked last.
    pub(crate) fn last_caller(&self) -> From {
        self.calls.lock().unwrap().last().unwrap().1.clone()
    }

    /// Waits until this many calls are being served.
    pub(crate) async fn until_open(&self, count: usize) {
        self.open.subscribe().wait_for(|open| *open == count).await.unwrap();
    }

    fn enter<M>(&self, request: &Request<M>, asked: Asked) -> Open {
        let text = |name: &str| request.metadata().get(name).map(|value| value.to_str().unwrap().to_owned());
        let from = From {
            authorization: text("authorization"),
            owner: text("x-tidemark-owner"),
            request_id: text("x-request-id"),
            principal: request.extensions().get().cloned(),
        };
        self.calls.lock().unwrap().push((asked, from));
        self.open.send_modify(|open| *open += 1);
        Open(Arc::clone(&self.open))
    }

    async fn reply(&self) -> Result<Option<Response>, Status> {
        match &self.script.reply {
            Some(reply) => reply.clone().map(Some),
            None => std::future::pending().await,
        }
    }

    fn stream<M: Message>(
        &self,
        open: Open,
    ) -> Result<impl Stream<Item = Result<M, Status>> + Send + use<M>, Status> {
        self.script.open.clone()?;
        let steps = self.script.steps.clone().into_iter();
        Ok(stream::unfold((steps, open), async |(mut steps, open)| {
            loop {
                let message = match steps.next()? {
                    Step::Events(events) => Ok(M::new(events, None)),
                    Step::Gap(gap, events) => Ok(M::new(events, Some(gap))),
                    Step::Heartbeat => Ok(M::new(Vec::new(), None)),
                    Step::Fail(status) => Err(status),
                    Step::Hang => std::future::pending().await,
                    Step::Pause(time) => {
                        tokio::time::sleep(time).await;
                        continue;
                    }
                };
                return Some((message, (steps, open)));
            }
        }))
    }
}

/// A call being served; counted until it is dropped.
struct Open(Arc<watch::Sender<usize>>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

trait Message: Send + 'static {
    fn new(events: Vec<Event>, gap: Option<Gap>) -> Self;
}

impl Message for CreateStreamResponse {
    fn new(events: Vec<Event>, _: Option<Gap>) -> Self {
        Self { id: ID.to_owned(), events, ..Self::default() }
    }
}

impl Message for ResumeResponse {
    fn new(events: Vec<Event>, gap: Option<Gap>) -> Self {
        Self { events, committed: None, gap }
    }
}

#[tonic::async_trait]
impl ResponsesService for Fake {
    type CreateStreamStream = Outgoing<CreateStreamResponse>;
    type ResumeStream = Outgoing<ResumeResponse>;

    async fn create(
        &self,
        request: Request<CreateRequest>,
    ) -> Result<tonic::Response<CreateResponse>, Status> {
        let _open = self.enter(&request, Asked::Create(request.get_ref().clone()));
        let ticket = request.get_ref().ticket.as_ref().map(ticket);
        let (response, replayed) = (self.reply().await?, self.script.replayed);
        Ok(tonic::Response::new(CreateResponse { response, replayed, ticket }))
    }

    async fn create_stream(
        &self,
        request: Request<CreateStreamRequest>,
    ) -> Result<tonic::Response<Self::CreateStreamStream>, Status> {
        let asked = Asked::CreateStream(request.get_ref().clone());
        let messages = self.stream::<CreateStreamResponse>(self.enter(&request, asked))?;
        let replayed = self.script.replayed;
        Ok(handover::reply(messages.map_ok(move |message| CreateStreamResponse { replayed, ..message })))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<tonic::Response<GetResponse>, Status> {
        let _open = self.enter(&request, Asked::Get(request.get_ref().id.clone()));
        Ok(tonic::Response::new(GetResponse { response: self.reply().await? }))
    }

    async fn cancel(
        &self,
        request: Request<CancelRequest>,
    ) -> Result<tonic::Response<CancelResponse>, Status> {
        let _open = self.enter(&request, Asked::Cancel(request.get_ref().id.clone()));
        Ok(tonic::Response::new(CancelResponse { response: self.reply().await? }))
    }

    async fn resume(
        &self,
        request: Request<ResumeRequest>,
    ) -> Result<tonic::Response<Self::ResumeStream>, Status> {
        let asked = Asked::Resume(request.get_ref().clone());
        Ok(handover::reply(self.stream(self.enter(&request, asked))?))
    }

    async fn delete(
        &self,
        request: Request<DeleteRequest>,
    ) -> Result<tonic::Response<DeleteResponse>, Status> {
        let _open = self.enter(&request, Asked::Delete(request.get_ref().id.clone()));
        let id = self.reply().await?.unwrap().id;
        Ok(tonic::Response::new(DeleteResponse { id }))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<tonic::Response<ListResponse>, Status> {
        let _open = self.enter(&request, Asked::List(request.get_ref().clone()));
        self.reply().await?;
        Ok(tonic::Response::new(self.script.page.clone()))
    }

    async fn list_input_items(
        &self,
        request: Request<ListInputItemsRequest>,
    ) -> Result<tonic::Response<ListInputItemsResponse>, Status> {
        let _open = self.enter(&request, Asked::ListInputItems(request.get_ref().clone()));
        self.reply().await?;
        Ok(tonic::Response::new(self.script.input.clone()))
    }

    async fn create_ticket(
        &self,
        request: Request<CreateTicketRequest>,
    ) -> Result<tonic::Response<CreateTicketResponse>, Status> {
        let _open = self.enter(&request, Asked::CreateTicket(request.get_ref().id.clone()));
        self.reply().await?;
        let ticket = request.get_ref().order.as_ref().map(ticket);
        Ok(tonic::Response::new(CreateTicketResponse { ticket }))
    }
}

/// The ticket of an order: it names what was asked for.
fn ticket(order: &TicketOrder) -> Ticket {
    let lifetime = order.lifetime.as_ref().map_or(0, |lifetime| lifetime.seconds);
    let expires_at = Some(Timestamp { seconds: lifetime, nanos: 0 });
    Ticket { value: format!("tmt_{:?}", order.rights()), expires_at, rights: order.rights }
}

#[tonic::async_trait]
impl ModelsService for Fake {
    async fn list_models(
        &self,
        request: Request<ListModelsRequest>,
    ) -> Result<tonic::Response<ListModelsResponse>, Status> {
        let _open = self.enter(&request, Asked::ListModels);
        Ok(tonic::Response::new(ListModelsResponse { models: self.script.models.clone() }))
    }
}

/// A response whose JSON only a verbatim copy repeats.
pub(crate) fn response(status: v1::Status) -> Response {
    Response {
        id: ID.to_owned(),
        status: status.into(),
        json: format!("{{ \"id\" : \"{ID}\",\"n\":1.0}}").into(),
        ..Response::default()
    }
}

/// An event as short as can be.
pub(crate) fn event(seq: u64, kind: &str) -> Event {
    Event { seq, r#type: kind.to_owned(), data: format!("{{\"n\":{seq}}}").into() }
}

/// A status as the gateway makes it.
pub(crate) fn status(code: ErrorCode, details: &[(&str, &str)]) -> Status {
    let details: HashMap<_, _> = details.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let details = ErrorDetails::with_error_info(code.code(), DOMAIN, details);
    Status::with_error_details(code.row().grpc, "what happened", details)
}
