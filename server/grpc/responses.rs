//! `ResponsesService`.

use futures_util::{Stream, StreamExt, stream};
use tidemark_proto::handover::{self, Outgoing};
use tidemark_proto::v1::responses_service_server::ResponsesService;
use tidemark_proto::v1::{
    self, CancelRequest, CancelResponse, CreateRequest, CreateResponse, CreateStreamRequest,
    CreateStreamResponse, CreateTicketRequest, CreateTicketResponse, DeleteRequest, DeleteResponse,
    GetRequest, GetResponse, ListInputItemsRequest, ListInputItemsResponse, ListRequest, ListResponse, OnGap,
    Order, ResumeRequest, ResumeResponse, Ticket, Wait,
};
use tidemark_store::Seq;
use tonic::{Request, Response, Status};

use crate::auth::{Access, Principal, TicketOrder};
use crate::backends::Api;
use crate::error::Error;
use crate::grpc::guarded::Guarded;
use crate::grpc::status::status;
use crate::grpc::{answer, message, principal, ticket};
use crate::runs::{self, Delivery, InputQuery, ListQuery, ResponseId, Runs, Wanted};
use crate::sizes;

/// The service over the responses of this process.
#[derive(Clone, Debug)]
pub struct Responses {
    runs: Runs,
    access: Access,
}

impl Responses {
    /// The service over these responses, for those who have access.
    pub fn new(runs: Runs, access: Access) -> Self {
        Self { runs, access }
    }

    async fn answer<T>(&self, principal: &Principal, read: Result<T, Error>) -> Result<Response<T>, Status> {
        answer(&self.access, principal, read).await
    }

    /// The ticket of a response that was made, if one was asked for.
    async fn ticket(
        &self,
        principal: &Principal,
        id: ResponseId,
        order: Option<TicketOrder>,
    ) -> Result<Option<Ticket>, Error> {
        let Some(order) = order else { return Ok(None) };
        self.access.mint(principal, id.log(), &order).await.map(|minted| Some(ticket::message(&minted)))
    }
}

#[tonic::async_trait]
impl ResponsesService for Responses {
    type CreateStreamStream = Outgoing<CreateStreamResponse>;
    type ResumeStream = Outgoing<ResumeResponse>;

    async fn create(&self, request: Request<CreateRequest>) -> Result<Response<CreateResponse>, Status> {
        let principal = principal(&request)?;
        let mut request = request.into_inner();
        let wait = choice::<Wait>(request.wait, "wait")?;
        let order = ticket::order(&principal, request.ticket.take()).map_err(|error| status(&error))?;
        let created = self.runs.create(&principal, request).await.map_err(|error| status(&error))?;
        let (id, replayed) = (created.snapshot.id, created.replayed);
        let ticket = self.ticket(&principal, id, order).await.map_err(|error| status(&error))?;
        let response = match wait {
            Wait::Terminal => self.runs.wait_terminal(created).await.and_then(message::response_or_error),
            Wait::None | Wait::Unspecified => message::response(created.snapshot),
        };
        let answer = response.map(|response| CreateResponse { response: Some(response), replayed, ticket });
        self.answer(&principal, answer).await
    }

    async fn create_stream(
        &self,
        request: Request<CreateStreamRequest>,
    ) -> Result<Response<Self::CreateStreamStream>, Status> {
        let principal = principal(&request)?;
        let CreateStreamRequest { create, after } = request.into_inner();
        let mut create =
            create.ok_or_else(|| status(&Error::invalid("create", "create is required: what to create")))?;
        if after.is_some() && create.idempotency_key.is_none() {
            let text = "after needs create.idempotency_key: only a repeat can have read something";
            return Err(status(&Error::invalid("after", text)));
        }
        let order = ticket::order(&principal, create.ticket.take()).map_err(|error| status(&error))?;
        let created = self.runs.create(&principal, create).await.map_err(|error| status(&error))?;
        let (id, name) = (created.snapshot.id, created.snapshot.public_id());
        let name = CreateStreamResponse {
            id: name,
            events: Vec::new(),
            committed: created.snapshot.head.frontier.committed.get(),
            replayed: created.replayed,
            ticket: self.ticket(&principal, id, order).await.map_err(|error| status(&error))?,
        };
        let created = created.after(after.map(Seq::new));
        let reader = self.runs.read(created).await.map_err(|error| status(&error))?;
        let guarded = Guarded::new(reader, self.access.clone(), principal).await?;
        if after.is_none() {
            return Ok(handover::reply(created_parts(guarded, name)));
        }
        // Behind a position there may be nothing for long, or ever: the response is named at once.
        let messages = created_parts(guarded, CreateStreamResponse::default());
        Ok(handover::reply(stream::iter([Ok(name)]).chain(messages)))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let principal = principal(&request)?;
        let request = request.get_ref();
        let response =
            self.runs.get(&principal, wanted(&request.id, request.api)?).await.and_then(message::response);
        let answer = response.map(|response| GetResponse { response: Some(response) });
        self.answer(&principal, answer).await
    }

    async fn cancel(&self, request: Request<CancelRequest>) -> Result<Response<CancelResponse>, Status> {
        let principal = principal(&request)?;
        let request = request.get_ref();
        let response =
            self.runs.cancel(&principal, wanted(&request.id, request.api)?).await.and_then(message::response);
        let answer = response.map(|response| CancelResponse { response: Some(response) });
        self.answer(&principal, answer).await
    }

    async fn resume(&self, request: Request<ResumeRequest>) -> Result<Response<Self::ResumeStream>, Status> {
        let principal = principal(&request)?;
        let ResumeRequest { id, after, on_gap, api } = request.into_inner();
        let on_gap = match choice::<OnGap>(on_gap, "on_gap")? {
            OnGap::Earliest => runs::OnGap::Earliest,
            OnGap::Fail | OnGap::Unspecified => runs::OnGap::Fail,
        };
        let reader = self.runs.attach(&principal, wanted(&id, api)?, after.map(Seq::new), on_gap).await;
        let reader = reader.map_err(|error| status(&error))?;
        let guarded = Guarded::new(reader, self.access.clone(), principal).await?;
        let messages = stream::unfold(guarded, async |mut guarded| {
            let result = guarded.next().await?;
            Some((result.map(resumed_part), guarded))
        });
        Ok(handover::reply(messages))
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<Response<DeleteResponse>, Status> {
        let principal = principal(&request)?;
        let request = request.get_ref();
        let deleted = self.runs.delete(&principal, wanted(&request.id, request.api)?).await;
        let id = deleted.map_err(|error| status(&error))?;
        Ok(Response::new(DeleteResponse { id }))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let principal = principal(&request)?;
        let ListRequest { page_size, page_token, api, after } = request.get_ref();
        let query = ListQuery { api: api_of(*api)?, page_size: *page_size, page_token, after };
        let page = self.runs.list(&principal, query).await.and_then(message::responses);
        self.answer(&principal, page).await
    }

    async fn list_input_items(
        &self,
        request: Request<ListInputItemsRequest>,
    ) -> Result<Response<ListInputItemsResponse>, Status> {
        let principal = principal(&request)?;
        let ListInputItemsRequest { id, page_size, order: asked, after, api } = request.get_ref();
        let query = InputQuery { api: api_of(*api)?, page_size: *page_size, order: order(*asked)?, after };
        let page = self.runs.input_items(&principal, id, query).await.map(message::input_items);
        self.answer(&principal, page).await
    }

    async fn create_ticket(
        &self,
        request: Request<CreateTicketRequest>,
    ) -> Result<Response<CreateTicketResponse>, Status> {
        let principal = principal(&request)?;
        let CreateTicketRequest { id, order } = request.into_inner();
        let order =
            ticket::order(&principal, Some(order.unwrap_or_default())).map_err(|error| status(&error))?;
        let found = self.runs.locate(&principal, &id).await.map_err(|error| status(&error))?;
        let ticket = self.ticket(&principal, found, order).await;
        self.answer(&principal, ticket.map(|ticket| CreateTicketResponse { ticket })).await
    }
}

/// The messages of a created stream; the first one is `name` with its events.
fn created_parts(
    guarded: Guarded,
    name: CreateStreamResponse,
) -> impl Stream<Item = Result<CreateStreamResponse, Status>> + Send {
    stream::unfold((guarded, name), async |(mut guarded, name)| {
        let message = guarded.next().await?.map(|delivery| {
            let (events, committed) = match delivery {
                Delivery::Events { events, committed, gap: _ } => (message::events(events), committed),
                Delivery::Heartbeat { committed } => (Vec::new(), committed),
            };
            CreateStreamResponse { events, committed: committed.get(), ..name }
        });
        Some((message, (guarded, CreateStreamResponse::default())))
    })
}

fn resumed_part(delivery: Delivery) -> ResumeResponse {
    let (events, committed, gap) = match delivery {
        Delivery::Events { events, committed, gap } => {
            (message::events(events), committed, gap.map(message::gap))
        }
        Delivery::Heartbeat { committed } => (Vec::new(), committed, None),
    };
    ResumeResponse { events, committed: Some(committed.get()), gap }
}

/// The response that a call is about.
fn wanted(id: &str, api: i32) -> Result<Wanted<'_>, Status> {
    Ok(Wanted::of(id, api_of(api)?))
}

fn api_of(number: i32) -> Result<Option<Api>, Status> {
    Ok(match choice::<v1::Api>(number, "api")? {
        v1::Api::Unspecified => None,
        v1::Api::Responses => Some(Api::Responses),
        v1::Api::ChatCompletions => Some(Api::Chat),
    })
}

/// The order of a list.
pub(super) fn order(number: i32) -> Result<sizes::Order, Status> {
    Ok(match choice::<Order>(number, "order")? {
        Order::Asc => sizes::Order::Ascending,
        Order::Desc | Order::Unspecified => sizes::Order::Descending,
    })
}

/// An enum field; a number that the contract does not name is refused.
pub(super) fn choice<T: TryFrom<i32>>(number: i32, param: &str) -> Result<T, Status> {
    T::try_from(number)
        .map_err(|_| status(&Error::invalid(param, format!("{param} is not a value of its enum"))))
}
