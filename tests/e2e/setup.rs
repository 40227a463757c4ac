//! What the tests begin with: a server, a backend, requests.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::common::rest::Client;
use crate::common::scripted::{Act, Scripted};
use crate::common::server::{Server, patience};

/// A server in front of a scripted backend.
pub(crate) struct Stage {
    pub(crate) server: Server,
    pub(crate) client: Client,
    pub(crate) backend: Scripted,
}

impl Stage {
    /// A stage with one script.
    pub(crate) async fn with(model: &str, acts: Vec<Act>) -> Self {
        Self::set([(model, acts)], "", "").await
    }

    /// A stage with scripts by model, more keys of the backend, and more settings.
    pub(crate) async fn set<'a>(
        scripts: impl IntoIterator<Item = (&'a str, Vec<Act>)>,
        backend_keys: &str,
        settings: &str,
    ) -> Self {
        let backend = Scripted::start().await.unwrap();
        for (model, acts) in scripts {
            backend.script(model, acts);
        }
        let url = backend.base_url();
        let server = Server::start(&format!(
            "{settings}\n[[backends]]\nname = \"scripted\"\nkind = \"openai\"\nbase_url = \"{url}\"\n{backend_keys}\n"
        ));
        let client = Client::new(&server.url());
        Self { server, client, backend }
    }
}

/// A server with the demo backend.
pub(crate) fn demo(settings: &str) -> (Server, Client) {
    let server = Server::start(settings);
    let client = Client::new(&server.url());
    (server, client)
}

/// A question to a model.
pub(crate) fn ask(model: &str) -> Value {
    json!({"model": model, "input": "Hello wide world"})
}

/// The same, to be streamed.
pub(crate) fn ask_streamed(model: &str) -> Value {
    json!({"model": model, "input": "Hello wide world", "stream": true})
}

/// A question that the demo backend answers with so many deltas, at so many a second (0 = as fast as it goes).
pub(crate) fn paced(events: usize, rate: usize) -> Value {
    let labels = json!({"demo.events": events.to_string(), "demo.rate": rate.to_string()});
    json!({"model": "demo", "input": "one two three ", "metadata": labels})
}

/// The same, to be streamed.
pub(crate) fn paced_stream(events: usize, rate: usize) -> Value {
    let mut body = paced(events, rate);
    body["stream"] = true.into();
    body
}

/// How many of [`many`] are under way at once.
const AT_ONCE: usize = 16;

/// Does something many times, a few at once, and numbers them.
pub(crate) async fn many<F>(count: usize, one: impl Fn(usize) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut under_way = JoinSet::new();
    for number in 0..count {
        if under_way.len() >= AT_ONCE {
            under_way.join_next().await.unwrap().unwrap();
        }
        under_way.spawn(one(number));
    }
    under_way.join_all().await;
}

/// Looks again and again until it finds something.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + patience();
    while Instant::now() < end {
        if let Some(found) = look().await {
            return found;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("waited in vain: {what}")
}
