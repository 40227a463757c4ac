//! `ResponsesService`.

use std::pin::Pin;

use futures_util::{Stream, StreamExt, stream};
use tidemark_proto::v1::responses_service_server::ResponsesService;
use tidemark_proto::v1::{
    CancelRequest, CancelResponse, CreateRequest, CreateResponse, CreateStreamRequest, CreateStreamResponse,
    DeleteRequest, DeleteResponse, GetRequest, GetResponse, ListInputItemsRequest, ListInputItemsResponse,
    ListRequest, ListResponse, OnGap, Order, ResumeRequest, ResumeResponse, Wait,
};
use tidemark_store::Seq;
use tonic::{Request, Response, Status};

use crate::error::Error;
use crate::grpc::status::status;
use crate::grpc::{message, principal};
use crate::runs::{self, Delivery, InputQuery, Reader, Runs};

/// The service over the responses of this process.
#[derive(Clone, Debug)]
pub struct Responses(Runs);

/// A stream of messages. Dropping it drops the reader behind it.
type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Responses {
    /// The service over these responses.
    pub fn new(runs: Runs) -> Self {
        Self(runs)
    }
}

#[tonic::async_trait]
impl ResponsesService for Responses {
    type CreateStreamStream = Messages<CreateStreamResponse>;
    type ResumeStream = Messages<ResumeResponse>;

    async fn create(&self, request: Request<CreateRequest>) -> Result<Response<CreateResponse>, Status> {
        let principal = principal(&request)?;
        let request = request.into_inner();
        let wait = choice::<Wait>(request.wait, "wait")?;
        let created = self.0.create(&principal, request).await.map_err(|error| status(&error))?;
        let replayed = created.replayed;
        let response = match wait {
            Wait::Terminal => self.0.wait_terminal(created).await.and_then(message::response_or_error),
            Wait::None | Wait::Unspecified => message::response(created.snapshot),
        };
        let response = response.map_err(|error| status(&error))?;
        Ok(Response::new(CreateResponse { response: Some(response), replayed }))
    }

    async fn create_stream(
        &self,
        request: Request<CreateStreamRequest>,
    ) -> Result<Response<Self::CreateStreamStream>, Status> {
        let principal = principal(&request)?;
        let CreateStreamRequest { create, after } = request.into_inner();
        let create =
            create.ok_or_else(|| status(&Error::invalid("create", "create is required: what to create")))?;
        if after.is_some() && create.idempotency_key.is_none() {
            let text = "after needs create.idempotency_key: only a repeat can have read something";
            return Err(status(&Error::invalid("after", text)));
        }
        let created = self.0.create(&principal, create).await.map_err(|error| status(&error))?;
        let name = CreateStreamResponse {
            id: created.snapshot.id.to_string(),
            events: Vec::new(),
            committed: created.snapshot.head.frontier.committed.get(),
            replayed: created.replayed,
        };
        let created = created.after(after.map(Seq::new));
        let reader = self.0.read(created).await.map_err(|error| status(&error))?;
        if after.is_none() {
            return Ok(Response::new(Box::pin(created_parts(reader, name))));
        }
        // Behind a position there may be nothing for long, or ever: the response is named at once.
        let messages = created_parts(reader, CreateStreamResponse::default());
        Ok(Response::new(Box::pin(stream::iter([Ok(name)]).chain(messages))))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let principal = principal(&request)?;
        let response = self.0.get(&principal, &request.get_ref().id).await.and_then(message::response);
        let response = response.map_err(|error| status(&error))?;
        Ok(Response::new(GetResponse { response: Some(response) }))
    }

    async fn cancel(&self, request: Request<CancelRequest>) -> Result<Response<CancelResponse>, Status> {
        let principal = principal(&request)?;
        let response = self.0.cancel(&principal, &request.get_ref().id).await.and_then(message::response);
        let response = response.map_err(|error| status(&error))?;
        Ok(Response::new(CancelResponse { response: Some(response) }))
    }

    async fn resume(&self, request: Request<ResumeRequest>) -> Result<Response<Self::ResumeStream>, Status> {
        let principal = principal(&request)?;
        let ResumeRequest { id, after, on_gap } = request.into_inner();
        let on_gap = match choice::<OnGap>(on_gap, "on_gap")? {
            OnGap::Earliest => runs::OnGap::Earliest,
            OnGap::Fail | OnGap::Unspecified => runs::OnGap::Fail,
        };
        let reader = self.0.attach(&principal, &id, after.map(Seq::new), on_gap).await;
        let reader = reader.map_err(|error| status(&error))?;
        let messages = stream::unfold(reader, async |mut reader| {
            let result = next(&mut reader).await?;
            Some((result.map(resumed_part), reader))
        });
        Ok(Response::new(Box::pin(messages)))
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<Response<DeleteResponse>, Status> {
        let principal = principal(&request)?;
        let deleted = self.0.delete(&principal, &request.get_ref().id).await;
        let id = deleted.map_err(|error| status(&error))?.to_string();
        Ok(Response::new(DeleteResponse { id }))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let principal = principal(&request)?;
        let ListRequest { page_size, page_token } = request.get_ref();
        let page = self.0.list(&principal, *page_size, page_token).await.and_then(message::responses);
        page.map(Response::new).map_err(|error| status(&error))
    }

    async fn list_input_items(
        &self,
        request: Request<ListInputItemsRequest>,
    ) -> Result<Response<ListInputItemsResponse>, Status> {
        let principal = principal(&request)?;
        let ListInputItemsRequest { id, page_size, order, after } = request.get_ref();
        let order = match choice::<Order>(*order, "order")? {
            Order::Asc => runs::Order::Ascending,
            Order::Desc | Order::Unspecified => runs::Order::Descending,
        };
        let query = InputQuery { page_size: *page_size, order, after };
        let page = self.0.input_items(&principal, id, query).await.map_err(|error| status(&error))?;
        Ok(Response::new(message::input_items(page)))
    }
}

/// The next item of a stream over `reader`.
async fn next(reader: &mut Reader) -> Option<Result<Delivery, Status>> {
    reader.next().await.map_err(|error| status(&error)).transpose()
}

/// The messages of a created stream; the first one is `name` with its events.
fn created_parts(
    reader: Reader,
    name: CreateStreamResponse,
) -> impl Stream<Item = Result<CreateStreamResponse, Status>> + Send {
    stream::unfold((reader, name), async |(mut reader, name)| {
        let message = next(&mut reader).await?.map(|delivery| {
            let (events, committed) = match delivery {
                Delivery::Events { events, committed, gap: _ } => (message::events(events), committed),
                Delivery::Heartbeat { committed } => (Vec::new(), committed),
            };
            CreateStreamResponse { events, committed: committed.get(), ..name }
        });
        Some((message, (reader, CreateStreamResponse::default())))
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

/// An enum field; a number that the contract does not name is refused.
fn choice<T: TryFrom<i32>>(number: i32, param: &str) -> Result<T, Status> {
    T::try_from(number)
        .map_err(|_| status(&Error::invalid(param, format!("{param} is not a value of its enum"))))
}
