//! A model server that does what a test says: an OpenAI-compatible one, in this process, on a port of its own.
//!
//! A test gives each model a queue of scripts; each request to `/v1/chat/completions` or `/v1/responses` plays the next one, the
//! last one again and again. What was asked, and which clients went away in the middle, can be looked up afterwards.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// One thing the server does. The head of the answer (200, `text/event-stream`, unless [`Act::Status`] said otherwise) goes out
/// with the first [`Act::Send`], so that what comes before delays it or takes its place.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Sends bytes, in a piece of their own. No bytes: the head alone.
    Send(Bytes),
    /// Waits.
    Pause(Duration),
    /// Waits until the test opens the gate.
    Await(Gate),
    /// Closes the connection without an end of the answer; as the first act, without any answer.
    ClosePrematurely,
    /// Does nothing more, and keeps the connection open.
    HangForever,
    /// Answers with this status, body and content type, and is done.
    Status(u16, Bytes, &'static str),
    /// Answers with this status and this `Retry-After`, and is done.
    Busy(u16, &'static str),
}

/// What a script waits for and a test opens, once and for all.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<Semaphore>);

impl Gate {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    pub(crate) fn open(&self) {
        self.0.add_permits(1);
    }

    async fn passed(&self) {
        // The permit goes back at once, so that the gate stays open; nobody closes the semaphore.
        drop(self.0.acquire().await);
    }
}

/// An event with a piece of text.
pub(crate) fn chunk(text: &str) -> Act {
    event(&json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]}))
}

/// An event with the reason for the end.
pub(crate) fn finish(reason: &str) -> Act {
    event(&json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}))
}

/// An event with what was used.
pub(crate) fn usage(input: u64, output: u64) -> Act {
    let usage = json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output});
    event(&json!({"choices": [], "usage": usage}))
}

/// `[DONE]`.
pub(crate) fn done() -> Act {
    Act::Send(Bytes::from_static(b"data: [DONE]\n\n"))
}

/// An event with this JSON.
pub(crate) fn event(data: &Value) -> Act {
    Act::Send(format!("data: {data}\n\n").into())
}

/// An event of the Responses dialect: a name and the same as `type`, with these fields.
pub(crate) fn tell(kind: &str, mut fields: Value) -> Act {
    fields["type"] = kind.into();
    Act::Send(format!("event: {kind}\ndata: {fields}\n\n").into())
}

/// These events between `response.created` and `response.completed`, which repeats this output.
pub(crate) fn response(events: impl IntoIterator<Item = Act>, output: &Value) -> Vec<Act> {
    let usage = json!({"input_tokens": 3, "output_tokens": 2, "total_tokens": 5});
    let response = |status: &str, output: &Value| json!({"response": {"id": "resp_theirs", "object": "response", "status": status, "output": output, "usage": usage}});
    let mut acts = vec![
        tell("response.created", response("in_progress", &json!([]))),
        tell("response.in_progress", response("in_progress", &json!([]))),
    ];
    acts.extend(events);
    acts.push(tell("response.completed", response("completed", output)));
    acts
}

/// These pieces of text, `stop`, what was used, `[DONE]`.
pub(crate) fn answer<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<Act> {
    let mut acts: Vec<Act> = texts.into_iter().map(chunk).collect();
    let count = acts.len() as u64;
    acts.extend([finish("stop"), usage(1, count), done()]);
    acts
}

/// The same with CR LF for each LF.
pub(crate) fn crlf(acts: Vec<Act>) -> Vec<Act> {
    let crlf = |bytes: Bytes| {
        bytes.iter().flat_map(|&byte| if byte == b'\n' { vec![b'\r', byte] } else { vec![byte] }).collect()
    };
    acts.into_iter()
        .map(|act| if let Act::Send(bytes) = act { Act::Send(crlf(bytes)) } else { act })
        .collect()
}

/// The same with each byte sent alone.
pub(crate) fn split_every_byte(acts: Vec<Act>) -> Vec<Act> {
    let split = |act: Act| match act {
        Act::Send(bytes) if bytes.len() > 1 => {
            bytes.iter().map(|&byte| Act::Send(vec![byte].into())).collect()
        }
        other => vec![other],
    };
    acts.into_iter().flat_map(split).collect()
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// The path of the request.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    /// The body; null if it was not JSON.
    pub(crate) body: Value,
}

#[derive(Default)]
struct Shared {
    scripts: BTreeMap<String, VecDeque<Vec<Act>>>,
    asked: Vec<Asked>,
    listed: usize,
}

/// The server. Dropping it closes its port and all connections.
pub(crate) struct Scripted {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    dropped: watch::Sender<usize>,
    _accepting: JoinSet<()>,
}

impl Scripted {
    /// A server without a model.
    pub(crate) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Mutex::new(Shared::default()));
        let dropped = watch::Sender::new(0);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&shared), dropped.clone()));
        Ok(Self { address, shared, dropped, _accepting: accepting })
    }

    /// Where it is, as a backend's `base_url`.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Adds a script to those of a model. From now on the model is listed.
    pub(crate) fn script(&self, model: &str, acts: Vec<Act>) {
        lock(&self.shared).scripts.entry(model.to_owned()).or_default().push_back(acts);
    }

    /// The generations that were asked for, oldest first.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        lock(&self.shared).asked.clone()
    }

    /// How often the models were asked for.
    pub(crate) fn listed(&self) -> usize {
        lock(&self.shared).listed
    }

    /// How many clients have gone away before their script was played to its end.
    pub(crate) fn dropped(&self) -> usize {
        *self.dropped.borrow()
    }

    /// Waits until so many clients have gone away. It waits for ever if they do not: the caller sets the limit.
    pub(crate) async fn until_dropped(&self, count: usize) {
        // It cannot fail: the sender is our own.
        let _ = self.dropped.subscribe().wait_for(|dropped| *dropped >= count).await;
    }
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripted").field("address", &self.address).finish_non_exhaustive()
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, shared: Arc<Mutex<Shared>>, dropped: watch::Sender<usize>) {
    let mut connections = JoinSet::new();
    while let Ok((connection, _)) = listener.accept().await {
        connections.spawn(serve(connection, Arc::clone(&shared), dropped.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(connection: TcpStream, shared: Arc<Mutex<Shared>>, dropped: watch::Sender<usize>) {
    // Pieces shall travel as they were sent.
    let _ = connection.set_nodelay(true);
    let service = service_fn(|request| handle(request, Arc::clone(&shared), dropped.clone()));
    // A client that goes away, and a script that breaks off, end a connection with an error; both are wanted.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
}

/// What ends a connection without an end of the answer.
#[derive(Debug)]
struct Close;

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the script closes the connection")
    }
}

impl std::error::Error for Close {}

type Body = UnsyncBoxBody<Bytes, Close>;

async fn handle(
    request: Request<Incoming>,
    shared: Arc<Mutex<Shared>>,
    dropped: watch::Sender<usize>,
) -> Result<Response<Body>, Close> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Close)?.to_bytes();
    match (head.method, head.uri.path()) {
        (Method::GET, "/v1/models") => {
            let mut shared = lock(&shared);
            shared.listed += 1;
            let models: Vec<Value> =
                shared.scripts.keys().map(|id| json!({"id": id, "object": "model", "created": 1})).collect();
            Ok(full(200, json!({"object": "list", "data": models}).to_string().into(), "application/json"))
        }
        (Method::POST, path @ ("/v1/chat/completions" | "/v1/responses")) => {
            let path = path.to_owned();
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let script = {
                let mut shared = lock(&shared);
                let script = body["model"].as_str().and_then(|model| next_script(&mut shared, model));
                shared.asked.push(Asked { path, headers: head.headers, body });
                script
            };
            match script {
                Some(acts) => play(Player { acts, watched: Watched { ended: false, dropped } }).await,
                None => Ok(full(404, r#"{"error":{"message":"no such model"}}"#.into(), "application/json")),
            }
        }
        _ => Ok(full(404, "no such page".into(), "text/plain")),
    }
}

/// The script that is due: the next one, or the last one again.
fn next_script(shared: &mut Shared, model: &str) -> Option<VecDeque<Act>> {
    let scripts = shared.scripts.get_mut(model)?;
    let script = if scripts.len() > 1 { scripts.pop_front() } else { scripts.front().cloned() };
    script.map(VecDeque::from)
}

fn full(status: u16, body: Bytes, content_type: &str) -> Response<Body> {
    respond(status, content_type, Full::new(body).map_err(|never: Infallible| match never {}).boxed_unsync())
}

fn respond(status: u16, content_type: &str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    if let Ok(value) = content_type.parse() {
        response.headers_mut().insert(http::header::CONTENT_TYPE, value);
    }
    response
}

/// Counts a client as gone if it is dropped before the script has come to its end.
struct Watched {
    ended: bool,
    dropped: watch::Sender<usize>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.ended {
            self.dropped.send_modify(|count| *count += 1);
        }
    }
}

/// A script being played.
struct Player {
    acts: VecDeque<Act>,
    watched: Watched,
}

impl Player {
    /// Plays up to the next bytes. `None` at the end of the script.
    async fn bytes(&mut self) -> Result<Option<Bytes>, Close> {
        // Lets the connection write what it has: else pieces would travel together, and a close would overtake them.
        tokio::task::yield_now().await;
        while let Some(act) = self.acts.pop_front() {
            match act {
                Act::Send(bytes) => {
                    // A client may go as soon as it has the last of it.
                    self.watched.ended = self.acts.is_empty();
                    return Ok(Some(bytes));
                }
                Act::Pause(time) => tokio::time::sleep(time).await,
                Act::Await(gate) => gate.passed().await,
                Act::HangForever => std::future::pending().await,
                Act::ClosePrematurely => {
                    self.watched.ended = true;
                    return Err(Close);
                }
                // Once the head is out there is no other status.
                Act::Status(..) | Act::Busy(..) => {}
            }
        }
        self.watched.ended = true;
        Ok(None)
    }
}

async fn play(mut player: Player) -> Result<Response<Body>, Close> {
    if let Some(Act::Status(status, body, content_type)) = player.acts.front() {
        let response = full(*status, body.clone(), content_type);
        player.watched.ended = true;
        return Ok(response);
    }
    if let Some(Act::Busy(status, retry_after)) = player.acts.front() {
        let mut response = full(*status, Bytes::new(), "text/plain");
        response.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from_static(retry_after));
        player.watched.ended = true;
        return Ok(response);
    }
    let first = player.bytes().await?;
    let body = StreamBody::new(frames(first, player));
    Ok(respond(200, "text/event-stream; charset=utf-8", body.boxed_unsync()))
}

fn frames(first: Option<Bytes>, player: Player) -> impl Stream<Item = Result<Frame<Bytes>, Close>> + Send {
    stream::try_unfold((first, player), |(first, mut player)| async move {
        let bytes = match first {
            Some(bytes) => Some(bytes),
            None => player.bytes().await?,
        };
        Ok(bytes.map(|bytes| (Frame::data(bytes), (None, player))))
    })
}
