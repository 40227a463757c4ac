//! A client of the REST surface that sees every byte.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::Value;

/// One frame of an SSE stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub event: Option<String>,
    pub id: Option<String>,
    pub data: String,
}

impl Frame {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }

    pub fn seq(&self) -> u64 {
        self.json()["sequence_number"].as_u64().unwrap()
    }

    pub fn is_done(&self) -> bool {
        self.data == "[DONE]"
    }

    pub fn name(&self) -> &str {
        self.event.as_deref().unwrap_or_default()
    }

    pub fn is_terminal(&self) -> bool {
        ["response.completed", "response.failed", "response.incomplete"].contains(&self.name())
    }
}

/// What the next piece of a stream was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Frame(Frame),
    Comment(String),
}

/// An SSE stream being read.
pub struct Stream {
    body: futures_util::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    buffer: Vec<u8>,
    pub status: reqwest::StatusCode,
    pub headers: reqwest::header::HeaderMap,
}

impl Stream {
    pub async fn open(request: reqwest::RequestBuilder) -> Self {
        let reply = request.send().await.unwrap();
        assert_eq!(reply.status(), 200, "{}", reply.text().await.unwrap());
        Self::from_reply(reply)
    }

    pub fn from_reply(reply: reqwest::Response) -> Self {
        let (status, headers) = (reply.status(), reply.headers().clone());
        Self { body: reply.bytes_stream().boxed(), buffer: Vec::new(), status, headers }
    }

    /// The next frame or comment; `None` at the end, also when the connection broke.
    pub async fn piece(&mut self) -> Option<Piece> {
        loop {
            // A frame ends with a blank line, a comment is a line.
            let end: &[u8] = if self.buffer.starts_with(b":") { b"\n" } else { b"\n\n" };
            if let Some(at) = self.buffer.windows(end.len()).position(|bytes| bytes == end) {
                let text: Vec<u8> = self.buffer.drain(..at + end.len()).collect();
                return Some(parse(std::str::from_utf8(&text[..at]).unwrap()));
            }
            self.buffer.extend_from_slice(&self.body.next().await?.ok()?);
        }
    }

    /// The next frame, comments passed over.
    pub async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Piece::Frame(frame) = self.piece().await? {
                return Some(frame);
            }
        }
    }

    /// The next `count` frames.
    pub async fn take(&mut self, count: usize) -> Vec<Frame> {
        let mut frames = Vec::new();
        while frames.len() < count {
            frames.push(self.frame().await.unwrap());
        }
        frames
    }

    /// All frames up to `[DONE]`, which must be there and the last.
    pub async fn events(self) -> Vec<Frame> {
        let mut frames = self.rest().await;
        assert!(frames.pop().is_some_and(|last| last.is_done()), "no [DONE] after {:?}", frames.last());
        frames
    }

    /// All frames up to the end of the stream.
    pub async fn rest(mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.frame().await {
            frames.push(frame);
        }
        frames
    }
}

/// The frames of a stream as text, comments passed over. What comes after the last whole one is left out.
pub fn frames_of(text: &str) -> Vec<Frame> {
    let whole = text.rfind("\n\n").map_or("", |end| &text[..end]);
    let frames: String = whole.split_inclusive('\n').filter(|line| !line.starts_with(':')).collect();
    let pieces = frames.split("\n\n").filter(|piece| !piece.is_empty()).map(parse);
    pieces.filter_map(|piece| if let Piece::Frame(frame) = piece { Some(frame) } else { None }).collect()
}

fn parse(text: &str) -> Piece {
    if let Some(comment) = text.strip_prefix(':') {
        return Piece::Comment(comment.trim().to_owned());
    }
    if let Some(millis) = text.strip_prefix("retry: ") {
        return Piece::Comment(format!("retry {millis}"));
    }
    let (mut event, mut id, mut data) = (None, None, None);
    for line in text.split('\n') {
        match line.split_once(": ") {
            Some(("event", value)) => event = Some(value.to_owned()),
            Some(("id", value)) => id = Some(value.to_owned()),
            Some(("data", value)) => {
                assert_eq!(data.replace(value.to_owned()), None, "one data line a frame")
            }
            _ => panic!("a line that no frame of ours has: {line:?}"),
        }
    }
    Piece::Frame(Frame { event, id, data: data.unwrap() })
}

/// A reply as bytes: status, headers but the date, body. The caller sets the request id.
pub async fn bytes_of(request: reqwest::RequestBuilder) -> String {
    let mut reply = request.header("x-request-id", "the-same").send().await.unwrap();
    reply.headers_mut().remove("date");
    let head = format!("{} {:?}", reply.status(), reply.headers());
    format!("{head}\n{}", reply.text().await.unwrap())
}

/// Talks to one server as one owner, or with one key.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    owner: Option<&'static str>,
    key: Option<String>,
}

impl Client {
    pub fn new(base: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { http: reqwest::Client::new(), base: base.to_owned(), owner: None, key: None }
    }

    pub fn of(&self, owner: &'static str) -> Self {
        Self { owner: Some(owner), ..self.clone() }
    }

    /// The same for another address.
    pub fn at(&self, base: &str) -> Self {
        Self { base: base.to_owned(), ..self.clone() }
    }

    pub fn with_key(&self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self.clone() }
    }

    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        let request = match self.owner {
            Some(owner) => request.header("x-tidemark-owner", owner),
            None => request,
        };
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    pub fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.request(reqwest::Method::POST, path).json(body)
    }

    pub fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.request(reqwest::Method::GET, path)
    }

    /// A JSON reply with its status.
    pub async fn json(request: reqwest::RequestBuilder) -> (u16, Value) {
        let reply = request.send().await.unwrap();
        let status = reply.status().as_u16();
        let text = reply.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}")))
    }

    /// Creates a response and returns its stream.
    pub async fn stream(&self, body: &Value) -> Stream {
        Stream::open(self.post("/v1/responses", body)).await
    }

    /// Creates a background response and returns its id.
    pub async fn background(&self, mut body: Value) -> String {
        body["background"] = true.into();
        let (status, reply) = Self::json(self.post("/v1/responses", &body)).await;
        assert_eq!(status, 200, "{reply}");
        reply["id"].as_str().unwrap().to_owned()
    }

    /// Reads a response after a position.
    pub async fn resume(&self, id: &str, after: Option<u64>) -> Stream {
        let cursor = after.map(|after| format!("&starting_after={after}")).unwrap_or_default();
        Stream::open(self.get(&format!("/v1/responses/{id}?stream=true{cursor}"))).await
    }

    pub async fn snapshot(&self, id: &str) -> Value {
        let (status, reply) = Self::json(self.get(&format!("/v1/responses/{id}"))).await;
        assert_eq!(status, 200, "{reply}");
        reply
    }

    pub async fn cancel(&self, id: &str) -> (u16, Value) {
        Self::json(self.request(reqwest::Method::POST, &format!("/v1/responses/{id}/cancel"))).await
    }

    /// All events of a response that has ended, after a check that its log is whole: numbers are dense from 0, one event is
    /// terminal, it is the last, and it carries what GET returns.
    pub async fn whole(&self, id: &str) -> Vec<Frame> {
        let frames = self.resume(id, None).await.events().await;
        for (expected, frame) in frames.iter().enumerate() {
            assert_eq!(frame.seq(), expected as u64, "{id} has a hole");
            assert_eq!(frame.json()["type"], frame.name(), "{id}");
        }
        assert_eq!(frames.iter().filter(|frame| frame.is_terminal()).count(), 1, "{id} must end once");
        let last = frames.last().unwrap();
        assert!(last.is_terminal(), "{id} ends with {last:?}");
        assert_eq!(self.snapshot(id).await, last.json()["response"], "{id}");
        frames
    }

    /// Waits until a response has ended.
    pub async fn ended(&self, id: &str) -> Value {
        let end = tokio::time::Instant::now() + super::server::patience();
        while tokio::time::Instant::now() < end {
            let reply = self.snapshot(id).await;
            if !["queued", "in_progress"].contains(&reply["status"].as_str().unwrap()) {
                return reply;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{id} did not end");
    }
}

/// The id of the response whose first frames these are.
pub fn id_of(frames: &[Frame]) -> String {
    frames[0].json()["response"]["id"].as_str().unwrap().to_owned()
}

/// The text that the deltas of these frames make.
pub fn text_of_deltas(frames: &[Frame]) -> String {
    let deltas = frames.iter().filter(|frame| frame.name() == "response.output_text.delta");
    deltas.map(|frame| frame.json()["delta"].as_str().unwrap().to_owned()).collect()
}

/// The text of the messages of a response object.
pub fn text_of(response: &Value) -> String {
    let parts = response["output"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|item| item["content"].as_array().into_iter().flatten());
    parts.filter_map(|part| part["text"].as_str()).collect()
}
