//! The client, and the reader that reconnects.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use futures_util::{Stream, stream};
use tidemark_proto::v1::responses_service_client::ResponsesServiceClient;
use tidemark_proto::v1::{
    CancelRequest, CreateRequest, CreateResponse, CreateStreamRequest, CreateStreamResponse,
    CreateTicketRequest, DeleteRequest, Event, Gap, GetRequest, ListRequest, ListResponse, OnGap, Response,
    ResumeRequest, ResumeResponse, Ticket, TicketOrder, Wait,
};
use tidemark_proto::{MAX_MESSAGE_BYTES, names};
use tokio::time::{sleep, timeout};
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use crate::error::{Error, Failure};
use crate::rules::{FAR, Item, Position, Settings, Tries};

/// How long a create may take that waits for the end of its response: as long as a run may take.
const WAIT_TIMEOUT: Duration = Duration::from_secs(3600);

type Stub = ResponsesServiceClient<Channel>;

/// A client of one gateway. Clones share the connection, which is made when it is first needed.
#[derive(Clone, Debug)]
pub struct Client {
    stub: Stub,
    metadata: MetadataMap,
    settings: Settings,
}

impl Client {
    /// A client of the gateway at `http://HOST:PORT`, or, with the feature `tls`, `https://HOST:PORT`. Must be called in a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] if that is no address, or a setting is 0.
    pub fn new(url: &str, settings: Settings) -> Result<Self, Error> {
        let times = [
            settings.timeout,
            settings.idle_timeout,
            settings.patience,
            settings.min_delay,
            settings.max_delay,
        ];
        if times.iter().any(Duration::is_zero) {
            return Err(Error::InvalidSetting("every time in the settings must be more than 0".to_owned()));
        }
        let ping = settings.idle_timeout / 3;
        let endpoint = endpoint(url).map_err(|error| {
            Error::InvalidSetting(format!("url must be http://HOST:PORT or https://HOST:PORT: {error}"))
        })?;
        let channel = endpoint
            .connect_timeout(settings.idle_timeout)
            .http2_keep_alive_interval(ping)
            .keep_alive_timeout(ping)
            .connect_lazy();
        let stub = ResponsesServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self { stub, metadata: MetadataMap::new(), settings })
    }

    /// The same client with a credential: a key, or a ticket.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] if it can be none.
    pub fn with_credential(self, credential: &str) -> Result<Self, Error> {
        self.with("authorization", format!("Bearer {credential}"))
    }

    /// The same client for this owner, where the gateway allows to act for others.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] if it can be none.
    pub fn with_owner(self, owner: &str) -> Result<Self, Error> {
        self.with(names::OWNER, owner.to_owned())
    }

    fn with(mut self, name: &'static str, value: String) -> Result<Self, Error> {
        let value = AsciiMetadataValue::try_from(value)
            .map_err(|_| Error::InvalidSetting(format!("{name} has characters that no header can have")))?;
        self.metadata.insert(name, value);
        Ok(self)
    }

    /// Starts a response; with `Wait::Terminal`, returns when it has ended. It is made once, however often it is tried.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn create(&self, request: CreateRequest) -> Result<CreateResponse, Error> {
        let time = if request.wait() == Wait::Terminal { WAIT_TIMEOUT } else { self.settings.timeout };
        self.call(prepared(request), time, async |mut stub, request| stub.create(request).await).await
    }

    /// Starts a response and reads it to its end. It is made once, however often it is tried.
    pub fn create_stream(&self, request: CreateRequest) -> Reader {
        Reader::new(self.clone(), Source::Create(Box::new(prepared(request))), None)
    }

    /// Reads a response to its end, from its first event or behind the position `after`.
    pub fn resume(&self, id: impl Into<String>, after: Option<u64>) -> Reader {
        Reader::new(self.clone(), Source::Resume(id.into()), after)
    }

    /// The response as it is now, with all output so far.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get(&self, id: impl Into<String>) -> Result<Response, Error> {
        let request = GetRequest { id: id.into(), ..GetRequest::default() };
        let time = self.settings.timeout;
        let reply = self.call(request, time, async |mut stub, request| stub.get(request).await).await?;
        Ok(reply.response.unwrap_or_default())
    }

    /// Stops a running response; one that has ended is returned unchanged.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn cancel(&self, id: impl Into<String>) -> Result<Response, Error> {
        let request = CancelRequest { id: id.into(), ..CancelRequest::default() };
        let time = self.settings.timeout;
        let reply = self.call(request, time, async |mut stub, request| stub.cancel(request).await).await?;
        Ok(reply.response.unwrap_or_default())
    }

    /// Removes a response for good; a running one is cancelled first.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete(&self, id: impl Into<String>) -> Result<(), Error> {
        let request = DeleteRequest { id: id.into(), ..DeleteRequest::default() };
        let mut tries = 0;
        let delete = async |mut stub: Stub, request| {
            tries += 1;
            stub.delete(request).await
        };
        match self.call(request, self.settings.timeout, delete).await {
            // An earlier try may have removed it, and its reply was lost.
            Err(error) if tries > 1 && error.code() == "not_found" => Ok(()),
            reply => reply.map(drop),
        }
    }

    /// A page of one's own responses, the newest first; `next_page_token` asks for the next. A `page_size` of 0 is 50.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list(&self, page_size: u32, page_token: impl Into<String>) -> Result<ListResponse, Error> {
        let request = ListRequest { page_size, page_token: page_token.into(), ..ListRequest::default() };
        self.call(request, self.settings.timeout, async |mut stub, request| stub.list(request).await).await
    }

    /// A ticket: the right to read one response, for a reader without a key. Without an order to read, for an hour.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn create_ticket(
        &self,
        id: impl Into<String>,
        order: Option<TicketOrder>,
    ) -> Result<Ticket, Error> {
        let request = CreateTicketRequest { id: id.into(), order };
        let create = async |mut stub: Stub, request| stub.create_ticket(request).await;
        Ok(self.call(request, self.settings.timeout, create).await?.ticket.unwrap_or_default())
    }

    /// One unary call, tried until it has an answer or its time is over (F-8).
    async fn call<Q: Clone, A>(
        &self,
        request: Q,
        time: Duration,
        mut method: impl AsyncFnMut(Stub, Request<Q>) -> Result<tonic::Response<A>, Status>,
    ) -> Result<A, Error> {
        let end = Instant::now() + time.min(FAR);
        let mut tries = Tries::until(end, self.settings.clone());
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let mut request = self.request(request.clone());
            request.set_timeout(left);
            let failure = match timeout(left, method(self.stub.clone(), request)).await {
                Ok(Ok(reply)) => return Ok(reply.into_inner()),
                Ok(Err(status)) => Failure::from(status),
                Err(_) => return Err(Error::TimedOut),
            };
            let late = Instant::now() >= end && matches!(failure.error, Error::Unreachable(_));
            if late {
                return Err(Error::TimedOut);
            }
            sleep(tries.failed(failure)?).await;
        }
    }

    fn request<Q>(&self, message: Q) -> Request<Q> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.metadata.clone();
        request
    }
}

fn endpoint(url: &str) -> Result<Endpoint, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(url.to_owned())?;
    #[cfg(feature = "tls")]
    if endpoint.uri().scheme_str() == Some("https") {
        return endpoint.tls_config(tonic::transport::ClientTlsConfig::new().with_native_roots());
    }
    Ok(endpoint)
}

/// The create, made safe to repeat: one without an idempotency key gets one (F-9).
fn prepared(mut request: CreateRequest) -> CreateRequest {
    request.idempotency_key.get_or_insert_with(|| uuid::Uuid::now_v7().to_string());
    request
}

/// What a reader reads.
#[derive(Clone, Debug)]
enum Source {
    /// A response that is yet to be made.
    Create(Box<CreateRequest>),
    /// The response with this id.
    Resume(String),
}

/// A stream that is open.
#[derive(Debug)]
enum Call {
    Create(Streaming<CreateStreamResponse>),
    Resume(Streaming<ResumeResponse>),
}

/// What a message has, of either kind of stream.
struct Part {
    created: Option<(String, Option<Ticket>)>,
    gap: Option<Gap>,
    events: Vec<Event>,
}

/// Reads one response to its end, and reconnects by itself.
///
/// [`Self::id`] and [`Self::after`] are the position to save: [`Client::resume`] goes on there, in this process or another.
#[derive(Debug)]
pub struct Reader {
    client: Client,
    source: Source,
    on_gap: OnGap,
    ticket: Option<Ticket>,
    position: Position,
    tries: Tries,
    call: Option<Call>,
    ready: VecDeque<Item>,
    done: bool,
}

impl Reader {
    fn new(client: Client, source: Source, after: Option<u64>) -> Self {
        let tries = Tries::new(client.settings.clone());
        let (position, ready) = (Position::new(after), VecDeque::new());
        Self {
            client,
            source,
            on_gap: OnGap::Fail,
            ticket: None,
            position,
            tries,
            call: None,
            ready,
            done: false,
        }
    }

    /// The same reader, which does this where events are gone.
    #[must_use]
    pub fn on_gap(mut self, on_gap: OnGap) -> Self {
        self.on_gap = on_gap;
        self
    }

    /// The response's id; absent until a created stream has learnt it.
    pub fn id(&self) -> Option<&str> {
        match &self.source {
            Source::Create(_) => None,
            Source::Resume(id) => Some(id),
        }
    }

    /// The last event that was handed out; absent if there was none.
    pub const fn after(&self) -> Option<u64> {
        self.position.after
    }

    /// The ticket that the create has asked for.
    pub const fn ticket(&self) -> Option<&Ticket> {
        self.ticket.as_ref()
    }

    /// The next item; `None` after the last event, or after an error. It may be dropped while it waits: nothing is lost.
    pub async fn next(&mut self) -> Option<Result<Item, Error>> {
        loop {
            while let Some(item) = self.ready.pop_front() {
                if self.position.admits(&item) {
                    return Some(Ok(item));
                }
            }
            if self.done || self.position.ended {
                self.call = None;
                return None;
            }
            match self.receive().await {
                Ok(Some(part)) => self.learn(part),
                Ok(None) => self.done = true,
                Err(failure) => {
                    self.call = None;
                    match self.tries.failed(failure) {
                        Ok(delay) => sleep(delay).await,
                        Err(error) => {
                            self.done = true;
                            return Some(Err(error));
                        }
                    }
                }
            }
        }
    }

    /// All items as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<Item, Error>> + Send {
        stream::unfold(self, async |mut reader| Some((reader.next().await?, reader)))
    }

    /// The next message, of a new call if none is open; `None` when the gateway has ended the stream well.
    async fn receive(&mut self) -> Result<Option<Part>, Failure> {
        let silence = self.client.settings.idle_timeout;
        let part = timeout(silence, async {
            if self.call.is_none() {
                self.call = Some(self.open().await?);
            }
            match &mut self.call {
                Some(Call::Create(stream)) => whole(stream).await.map(|message| message.map(Part::from)),
                Some(Call::Resume(stream)) => whole(stream).await.map(|message| message.map(Part::from)),
                None => Ok(None),
            }
        });
        part.await.unwrap_or_else(|_| Err(Failure::lost(format!("silent for {silence:?}"))))
    }

    async fn open(&self) -> Result<Call, Status> {
        let mut stub = self.client.stub.clone();
        Ok(match &self.source {
            Source::Create(create) => {
                let request = CreateStreamRequest { create: Some((**create).clone()), after: None };
                Call::Create(stub.create_stream(self.client.request(request)).await?.into_inner())
            }
            Source::Resume(id) => {
                let (id, on_gap) = (id.clone(), self.on_gap.into());
                let request =
                    ResumeRequest { id, after: self.position.after, on_gap, ..ResumeRequest::default() };
                Call::Resume(stub.resume(self.client.request(request)).await?.into_inner())
            }
        })
    }

    fn learn(&mut self, part: Part) {
        self.tries.heard();
        if let Some((id, ticket)) = part.created {
            self.source = Source::Resume(id);
            self.ticket = ticket;
        }
        self.ready.extend(part.gap.map(Item::Gap));
        self.ready.extend(part.events.into_iter().map(Item::Event));
    }
}

/// The next message; `None` only if a status came behind the last one.
async fn whole<T>(stream: &mut Streaming<T>) -> Result<Option<T>, Failure> {
    if let Some(message) = stream.message().await? {
        return Ok(Some(message));
    }
    match stream.trailers().await? {
        Some(_) => Ok(None),
        None => Err(Failure::lost("the stream ended without a status")),
    }
}

impl From<CreateStreamResponse> for Part {
    fn from(message: CreateStreamResponse) -> Self {
        let created = (!message.id.is_empty()).then_some((message.id, message.ticket));
        Self { created, gap: None, events: message.events }
    }
}

impl From<ResumeResponse> for Part {
    fn from(message: ResumeResponse) -> Self {
        Self { created: None, gap: message.gap, events: message.events }
    }
}
