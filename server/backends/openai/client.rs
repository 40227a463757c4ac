//! The client of one server.
//!
//! It owns the connections: how a request is sent and which answers are taken. It must never know what is in a body.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use reqwest::{RequestBuilder, Response, Url, redirect};
use secrecy::ExposeSecret;
use serde::Deserialize;
use tokio::time::{Instant, timeout};

use super::answer::{Waits, steps};
use super::failure::{Failures, Limit, MAX_QUOTE_READ};
use super::reading::reader;
use super::{chat, responses};
use crate::backends::from_chat::as_responses;
use crate::backends::{Api, Backend, Dialect, Generation, Model, OpenAi, Settings, Steps};
use crate::error::Error;

/// How long an unused connection is kept. Common model servers close theirs after 5 s: a request on a connection that is being
/// closed fails, and cannot be told from one that has begun.
const KEEP_CONNECTION: Duration = Duration::from_secs(3);

/// How long the text of an error is waited for.
const CAUSE_WAIT: Duration = Duration::from_secs(2);

/// The longest wait of a server that is passed on: 1 h. A caller that is told more would rather be told nothing.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// The longest list of models, in bytes.
const MAX_LIST: usize = 4 << 20;

const EVENT_STREAM: &str = "text/event-stream";

/// The client of one server.
///
/// It speaks HTTP/1.1 only, where dropping an answer closes its connection: the one sign to stop that every server understands.
/// It follows no redirect and uses no proxy, so that a prompt and the credential go to the address in the settings or nowhere.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    dialect: Dialect,
    generations: Url,
    models: Url,
    authorization: Option<HeaderValue>,
    first_byte: Duration,
    idle: Duration,
    failures: Failures,
}

/// Why there can be no client with these settings.
#[derive(Debug, thiserror::Error)]
pub enum BadSettings {
    /// The API key holds a character that no header can carry.
    #[error("holds an API key with a character that no header can carry")]
    ApiKey,
    /// Encrypted connections cannot be made on this machine, most likely for lack of root certificates.
    #[error("is https, for which this machine is not set up: {0}")]
    Tls(String),
}

impl BadSettings {
    /// The key in `[[backends]]` that is wrong.
    pub fn key(&self) -> &'static str {
        match self {
            Self::ApiKey => "api_key_env",
            Self::Tls(_) => "base_url",
        }
    }
}

impl Client {
    /// A client of `server`, with the name and the time limits of `settings`. No connection is made yet.
    ///
    /// # Errors
    /// [`BadSettings`].
    pub fn new(settings: &Settings, server: &OpenAi) -> Result<Self, BadSettings> {
        let authorization = server.api_key.as_ref().map(|key| {
            let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose_secret()))
                .map_err(|_| BadSettings::ApiKey)?;
            value.set_sensitive(true);
            Ok(value)
        });
        // Somebody may have set the process's provider already; any will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("tidemark/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .referer(false)
            .tcp_nodelay(true)
            .connect_timeout(settings.connect_timeout)
            .pool_idle_timeout(KEEP_CONNECTION);
        if !server.base_url.is_https() {
            // The root certificates of the machine are not needed, and may not be there.
            http = http.tls_certs_only([]);
        }
        let generations = match server.dialect {
            Dialect::Chat => "chat/completions",
            Dialect::Responses => "responses",
        };
        Ok(Self {
            http: http.build().map_err(|error| BadSettings::Tls(error.to_string()))?,
            dialect: server.dialect,
            generations: server.base_url.join(generations),
            models: server.base_url.join("models"),
            authorization: authorization.transpose()?,
            first_byte: settings.first_byte_timeout,
            idle: settings.idle_timeout,
            failures: Failures::new(&settings.name, server.api_key.clone(), settings.connect_timeout),
        })
    }

    /// Sends a request and takes the answer if its status says success.
    async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        let request = match &self.authorization {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        };
        let response = request.send().await.map_err(|error| self.failures.request(error))?;
        match response.status() {
            status if status.is_success() => Ok(response),
            status => {
                let retry_after = retry_after(status, response.headers());
                let error = self.failures.status(status, &beginning(response).await);
                Err(match retry_after {
                    Some(wait) => error.with_retry_after(wait),
                    None => error,
                })
            }
        }
    }

    /// What the server is asked, in its dialect.
    fn body(&self, generation: &Generation) -> Result<Vec<u8>, Error> {
        match self.dialect {
            Dialect::Chat => chat::body(generation),
            Dialect::Responses if generation.api == Api::Chat => responses::body(&as_responses(generation)?),
            Dialect::Responses => responses::body(generation),
        }
    }

    async fn list(&self) -> Result<Bytes, Error> {
        let mut response = self.send(self.http.get(self.models.clone())).await?;
        let mut list = Vec::new();
        while let Some(bytes) = response.chunk().await.map_err(|error| self.failures.connection(error))? {
            if list.len() + bytes.len() > MAX_LIST {
                return Err(self.failures.list_too_large(MAX_LIST));
            }
            list.extend_from_slice(&bytes);
        }
        Ok(list.into())
    }

    async fn within_first_byte<T>(&self, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let limit = Limit::FirstByte(self.first_byte);
        timeout(self.first_byte, answer).await.map_err(|_| self.failures.timeout(limit))?
    }
}

#[derive(Deserialize)]
struct List {
    data: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    id: String,
    created: Option<serde_json::Number>,
}

#[async_trait]
impl Backend for Client {
    async fn models(&self) -> Result<Vec<Model>, Error> {
        let list = self.within_first_byte(self.list()).await?;
        let list: List = serde_json::from_slice(&list)
            .map_err(|problem| self.failures.malformed(problem, &String::from_utf8_lossy(&list)))?;
        let model = |entry: Entry| Model {
            id: entry.id,
            created: entry.created.and_then(|seconds| seconds.as_i64()).unwrap_or_default(),
        };
        Ok(list.data.into_iter().map(model).collect())
    }

    async fn generate(&self, generation: Arc<Generation>) -> Result<Steps, Error> {
        let began = Instant::now();
        let request = self.http.post(self.generations.clone()).header(CONTENT_TYPE, "application/json");
        let request = request.header(ACCEPT, EVENT_STREAM).body(self.body(&generation)?);
        let (api, choices) = (generation.api, generation.choices());
        // The conversation is in the request now; it need not be held for as long as the server thinks.
        drop(generation);
        let response = self.within_first_byte(self.send(request)).await?;
        let found =
            response.headers().get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default().to_owned());
        if !found.as_deref().is_some_and(is_event_stream) {
            return Err(self.failures.content_type(found.as_deref(), &beginning(response).await));
        }
        let failures = self.failures.clone();
        let body =
            response.bytes_stream().map(move |bytes| bytes.map_err(|error| failures.connection(error)));
        let waits = Waits { began, first_byte: self.first_byte, idle: self.idle };
        let (body, failures) = (body.boxed(), self.failures.clone());
        let (reader, max_event) = reader(self.dialect, api, choices, failures.clone());
        Ok(steps(body, reader, max_event, waits, failures))
    }
}

/// When a server that has too much to do says that it will have time again. A date counts from the server's own.
fn retry_after(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let number = |name: &str| text(name).and_then(|text| text.parse().ok());
    let date = |name: &str| text(name).and_then(|text| httpdate::parse_http_date(text).ok());
    let wait = number("retry-after-ms").map(Duration::from_millis);
    let wait = wait.or_else(|| number("retry-after").map(Duration::from_secs));
    let wait = wait.or_else(|| date("retry-after")?.duration_since(date("date")?).ok());
    wait.map(|wait| wait.min(MAX_RETRY_AFTER))
}

fn is_event_stream(content_type: &str) -> bool {
    content_type.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case(EVENT_STREAM))
}

/// The beginning of an answer that is not what was asked for: as much of it as is kept, and as comes in time.
async fn beginning(mut response: Response) -> Vec<u8> {
    let mut read = Vec::new();
    let reading = async {
        while let Ok(Some(bytes)) = response.chunk().await {
            let room = MAX_QUOTE_READ.saturating_sub(read.len());
            read.extend(bytes.into_iter().take(room));
            if read.len() >= MAX_QUOTE_READ {
                break;
            }
        }
    };
    // Too late is no failure: what has come by then is enough.
    let _ = timeout(CAUSE_WAIT, reading).await;
    read
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidemark_proto::v1::ErrorCode;
    use tokio::net::{TcpSocket, TcpStream};
    use tokio::time::sleep;

    use super::*;
    use crate::backends::scripted::{
        Act, Gate, Scripted, answer, chunk, crlf, done, finish, split_every_byte, usage,
    };
    use crate::backends::{Finish, Kind, Step, Usage};

    /// How long a test waits for what must happen.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A limit of time that shall be reached.
    const SHORT: Duration = Duration::from_millis(200);

    fn client_with(base_url: &str, change: impl FnOnce(&mut Settings)) -> Client {
        let api_key = Some("sk-secret".into());
        let server = OpenAi { base_url: base_url.parse().unwrap(), dialect: Dialect::Chat, api_key };
        let mut settings = Settings::new("local", Kind::OpenAi(server.clone()));
        change(&mut settings);
        Client::new(&settings, &server).unwrap()
    }

    fn client(base_url: &str) -> Client {
        client_with(base_url, |_| ())
    }

    fn generation() -> Arc<Generation> {
        let raw = |value: Value| serde_json::value::to_raw_value(&value).unwrap();
        Arc::new(Generation {
            api: Api::Responses,
            model: "m".to_owned(),
            items: vec![raw(json!({"role": "user", "content": "hi"}))],
            earlier: 0,
            instructions: Some("Be brief.".to_owned()),
            params: [("temperature".to_owned(), raw(json!(0.5)))].into(),
            metadata: [("demo.rate".to_owned(), "5".to_owned())].into(),
        })
    }

    async fn scripted(acts: Vec<Act>) -> Scripted {
        let server = Scripted::start().await.unwrap();
        server.script("m", acts);
        server
    }

    /// All steps, and the error that ends them or the start.
    async fn all(client: &Client) -> (Vec<Step>, Option<Error>) {
        let mut all = Vec::new();
        let mut steps = match client.generate(generation()).await {
            Ok(steps) => steps,
            Err(error) => return (all, Some(error)),
        };
        while let Some(step) = timeout(PATIENCE, steps.next()).await.unwrap() {
            match step {
                Ok(step) => all.push(step),
                Err(error) => return (all, Some(error)),
            }
        }
        (all, None)
    }

    async fn failure(client: &Client) -> Error {
        let (_, error) = all(client).await;
        let error = error.unwrap();
        assert!(!error.to_string().contains("sk-secret"));
        error
    }

    fn text(text: &str) -> Step {
        Step::Text(text.into())
    }

    fn sent(text: &str) -> Act {
        Act::Send(text.to_owned().into())
    }

    #[tokio::test]
    async fn a_chat_is_asked_for_and_its_answer_read() {
        let server = scripted(answer(["Hel", "lo"])).await;
        let (steps, error) = all(&client(&server.base_url())).await;
        let used = Usage { input_tokens: 1, output_tokens: 2, total_tokens: 3, ..Usage::default() };
        assert_eq!(steps, [text("Hel"), text("lo"), Step::Finish(Finish::Stop), Step::Usage(used)]);
        assert!(error.is_none());
        let asked = server.asked();
        assert_eq!(asked[0].headers["authorization"], "Bearer sk-secret");
        assert_eq!(asked[0].headers["content-type"], "application/json");
        let expected = json!({
            "model": "m",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
            "stream": true, "stream_options": {"include_usage": true}, "temperature": 0.5,
        });
        assert_eq!(asked[0].body, expected);
        assert_eq!(server.dropped(), 0);
    }

    /// Check 20 of the seeds, over a real connection.
    #[tokio::test]
    async fn the_form_of_the_stream_changes_nothing() {
        let odd = vec![
            sent(
                "\u{feff}: hello\n\nretry: 1\nevent: message\nid: 1\ndata:{\"choices\":[{\"delta\":\ndata: {\"content\":\"Grüße 😀\"}}]}\n\n",
            ),
            chunk("!"),
            finish("stop"),
            sent(":\n\n"),
            done(),
        ];
        let expected = [text("Grüße 😀"), text("!"), Step::Finish(Finish::Stop)];
        let cr = |acts: Vec<Act>| {
            let cr = |act: Act| {
                if let Act::Send(bytes) = act {
                    sent(&String::from_utf8_lossy(&bytes).replace('\n', "\r"))
                } else {
                    act
                }
            };
            acts.into_iter().map(cr).collect()
        };
        for acts in [
            odd.clone(),
            crlf(odd.clone()),
            cr(odd.clone()),
            split_every_byte(odd.clone()),
            split_every_byte(crlf(odd)),
        ] {
            let server = scripted(acts).await;
            let (steps, error) = all(&client(&server.base_url())).await;
            assert_eq!((steps.as_slice(), error.is_none()), (expected.as_slice(), true));
        }
    }

    #[tokio::test]
    async fn an_answer_with_a_reason_is_whole_however_it_ends() {
        for last in
            [vec![], vec![Act::ClosePrematurely], vec![usage(1, 1)], vec![usage(1, 1), Act::ClosePrematurely]]
        {
            let mut acts = vec![chunk("a"), finish("length")];
            acts.extend(last);
            let server = scripted(acts).await;
            let (steps, error) = all(&client(&server.base_url())).await;
            assert_eq!(steps[..2], [text("a"), Step::Finish(Finish::MaxOutputTokens)]);
            assert!(error.is_none());
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_is_a_backend_error_that_says_what_came() {
        let html = |status| Act::Status(status, "<html>sk-secret</html>".into(), "text/html");
        for (acts, words) in [
            (vec![html(200)], "answered with `text/html`"),
            (vec![Act::Status(200, "{}".into(), "application/json")], "answered with `application/json`"),
            (vec![html(500)], "status 500"),
            (vec![html(401)], "status 401"),
            (
                vec![Act::Status(400, r#"{"error":{"message":"why"}}"#.into(), "application/json")],
                "status 400",
            ),
            (vec![Act::Status(307, "".into(), "text/plain")], "status 307"),
            (vec![Act::ClosePrematurely], "closed the connection without an answer"),
            (vec![sent("data: {]\n\n")], "not the protocol"),
            (
                vec![sent("data: \u{fffd}\n\n"), Act::Send(Bytes::from_static(b"data: \xff\n\n"))],
                "not the protocol",
            ),
            (vec![sent("data: {\"error\":{\"message\":\"why\"}}\n\n")], "reported an error"),
            (vec![chunk("a")], "in the middle"),
            (vec![chunk("a"), Act::ClosePrematurely], "in the middle"),
            (vec![sent("")], "in the middle"),
        ] {
            let server = scripted(acts.clone()).await;
            let error = failure(&client(&server.base_url())).await;
            assert_eq!(error.code(), ErrorCode::BackendError, "{acts:?}");
            assert!(
                error.message().starts_with("backend `local` ") && error.message().contains(words),
                "{acts:?}: {error}"
            );
            assert!(!error.message().contains("why"), "{error}");
        }
        let server = scripted(vec![Act::Status(400, "why".into(), "text/plain")]).await;
        assert_eq!(failure(&client(&server.base_url())).await.quote(), Some("why"));
    }

    #[test]
    fn a_busy_server_says_when_it_will_have_time() {
        let now = ("date", "Wed, 21 Oct 2015 07:28:00 GMT");
        for (status, headers, seconds) in [
            (429, vec![("retry-after", " 7 ")], Some(7.0)),
            (503, vec![("retry-after", "7"), ("retry-after-ms", "1500")], Some(1.5)),
            (429, vec![("retry-after", "Wed, 21 Oct 2015 07:28:30 GMT"), now], Some(30.0)),
            (429, vec![("retry-after", "Wed, 21 Oct 2015 07:28:30 GMT")], None),
            (429, vec![("retry-after", "Wed, 21 Oct 2015 07:00:00 GMT"), now], None),
            (429, vec![("retry-after", "99999999999")], Some(3600.0)),
            (429, vec![("retry-after", "-1")], None),
            (429, vec![], None),
            (500, vec![("retry-after", "7")], None),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let pairs = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            let found = retry_after(status, &pairs.collect());
            assert_eq!(found.map(|wait| wait.as_secs_f64()), seconds, "{headers:?}");
        }
    }

    #[tokio::test]
    async fn an_event_of_2_mib_is_too_large() {
        let big = "x".repeat(2 << 20);
        for acts in [vec![chunk("a"), chunk(&big)], vec![chunk("a"), sent(&big)]] {
            let server = scripted(acts).await;
            let (steps, error) = all(&client(&server.base_url())).await;
            assert_eq!((steps, error.unwrap().code()), (vec![text("a")], ErrorCode::EventTooLarge));
        }
        let fits = "x".repeat((1 << 20) - 200);
        let server = scripted(answer([fits.as_str()])).await;
        assert_eq!(all(&client(&server.base_url())).await.0[0], text(&fits));
    }

    #[tokio::test]
    async fn silence_ends_at_the_limit_that_is_named() {
        let cases = [
            (vec![Act::HangForever], "first_byte_timeout (200ms)", 0),
            (vec![sent(""), Act::HangForever], "first_byte_timeout (200ms)", 0),
            (vec![chunk("a"), Act::HangForever], "idle_timeout (200ms)", 1),
        ];
        for (acts, words, count) in cases {
            let server = scripted(acts).await;
            let client = client_with(&server.base_url(), |settings| {
                settings.first_byte_timeout = SHORT;
                settings.idle_timeout = SHORT;
            });
            let (steps, error) = all(&client).await;
            let error = error.unwrap();
            assert_eq!((steps.len(), error.code()), (count, ErrorCode::BackendTimeout));
            assert!(error.message().contains(words), "{error}");
            timeout(PATIENCE, server.until_dropped(1)).await.expect("the server sees it go");
        }
    }

    #[tokio::test]
    async fn an_answer_may_take_longer_than_its_pauses() {
        let limit = Duration::from_secs(1);
        let pause = || Act::Pause(limit / 4);
        let slow = (0..4).flat_map(|_| [pause(), chunk("a")]).chain([pause(), done()]).collect();
        let server = scripted(slow).await;
        let client = client_with(&server.base_url(), |settings| settings.idle_timeout = limit);
        let (steps, error) = all(&client).await;
        assert_eq!((steps.len(), error.is_none()), (5, true));
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_unreachable() {
        let server = scripted(Vec::new()).await;
        let gone = server.base_url();
        drop(server);
        for base_url in [gone.as_str(), "http://tidemark.invalid/v1", &gone.replace("http://", "https://")] {
            let error = failure(&client(base_url)).await;
            assert_eq!(error.code(), ErrorCode::BackendUnreachable, "{error}");
            assert_eq!(error.message(), "backend `local` cannot be reached");
        }
    }

    #[tokio::test]
    async fn a_connection_that_is_not_taken_ends_at_connect_timeout() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        // Nobody accepts: once the backlog is full, the next connection is left waiting.
        let mut waiting = Vec::new();
        while let Ok(connection) = timeout(SHORT, TcpStream::connect(address)).await {
            waiting.push(connection.unwrap());
        }
        let client =
            client_with(&format!("http://{address}/v1"), |settings| settings.connect_timeout = SHORT);
        let error = failure(&client).await;
        assert_eq!(error.code(), ErrorCode::BackendTimeout);
        assert!(error.message().contains("took no connection within connect_timeout (200ms)"), "{error}");
    }

    /// R-32: dropping stops the server, before its answer has begun and in the middle of it.
    #[tokio::test]
    async fn dropping_the_steps_drops_the_connection() {
        let gate = Gate::new();
        let server = scripted(vec![chunk("a"), Act::Await(gate), chunk("b")]).await;
        server.script("m", vec![Act::HangForever]);
        let client = client(&server.base_url());
        let mut steps = client.generate(generation()).await.unwrap();
        assert_eq!(steps.next().await.unwrap().unwrap(), text("a"));
        assert_eq!(server.dropped(), 0);
        drop(steps);
        timeout(PATIENCE, server.until_dropped(1)).await.expect("the server sees it go");

        let mut starting = client.generate(generation());
        timeout(PATIENCE, async {
            while server.asked().len() < 2 {
                tokio::select! {
                    _ = &mut starting => panic!("there is no answer"),
                    () = sleep(Duration::from_millis(1)) => {}
                }
            }
        })
        .await
        .expect("the request arrives");
        drop(starting);
        timeout(PATIENCE, server.until_dropped(2)).await.expect("the server sees it go");
    }

    #[tokio::test]
    async fn steps_come_as_they_are_sent() {
        let (one, two) = (Gate::new(), Gate::new());
        let server =
            scripted(vec![chunk("a"), Act::Await(one.clone()), chunk("b"), Act::Await(two.clone()), done()])
                .await;
        let client = client(&server.base_url());
        let mut steps = client.generate(generation()).await.unwrap();
        assert_eq!(steps.next().await.unwrap().unwrap(), text("a"));
        one.open();
        assert_eq!(steps.next().await.unwrap().unwrap(), text("b"));
        two.open();
        assert_eq!(steps.next().await.unwrap().unwrap(), Step::Finish(Finish::Stop));
        assert!(steps.next().await.is_none());
    }

    #[tokio::test]
    async fn what_a_chat_cannot_express_never_reaches_the_server() {
        let server = scripted(answer(["x"])).await;
        let mut generation = Arc::unwrap_or_clone(generation());
        generation.items.push(serde_json::value::to_raw_value(&json!({"type": "computer_call"})).unwrap());
        let error = client(&server.base_url()).generate(Arc::new(generation)).await.err().unwrap();
        assert_eq!((error.code(), error.param()), (ErrorCode::InvalidRequest, Some("input[1].type")));
        assert!(server.asked().is_empty());
    }

    #[tokio::test]
    async fn the_models_are_those_that_the_server_lists() {
        let server = scripted(Vec::new()).await;
        server.script("a", Vec::new());
        let models = client(&server.base_url()).models().await.unwrap();
        assert_eq!(models, ["a", "m"].map(|id| Model { id: id.to_owned(), created: 1 }));
        assert_eq!(server.listed(), 1);
        let error = client(&server.base_url().replace("/v1", "/v2")).models().await.unwrap_err();
        assert_eq!((error.code(), error.quote()), (ErrorCode::BackendError, Some("no such page")));
    }
}
