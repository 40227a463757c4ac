//! Responses over real backends: the runs, the pool and a scripted model server, without the listener.

mod backends;
mod responses;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tidemark_proto::v1::CreateRequest;
use tidemark_proto::v1::create_request::Input;
use tidemark_store::memory::MemoryStore;
use tidemark_store::{Caps, Owner};
use tokio::time::timeout;

use crate::auth::Principal;
use crate::backends::scripted::{Act, Scripted};
use crate::backends::{Dialect, Kind, OpenAi, Pool, Settings};
use crate::runs::testing::TestClock;
use crate::runs::{Delivery, Event, OnGap, Options, Runs, Snapshot};
use crate::tasks::Tasks;
use crate::telemetry::RunMeters;

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// A limit of time that shall be reached.
const SHORT: Duration = Duration::from_millis(200);

fn alice() -> Principal {
    Principal::local(Owner::new("alice").unwrap())
}

fn settings(name: &str, server: &Scripted, dialect: Dialect) -> Settings {
    let base_url = server.base_url().parse().unwrap();
    Settings::new(name, Kind::OpenAi(OpenAi { base_url, dialect, api_key: None }))
}

/// Responses over these backends.
struct Room(Runs);

impl Room {
    fn new(settings: Vec<Settings>) -> Self {
        let pool = Arc::new(Pool::new(settings).unwrap());
        let store = Arc::new(MemoryStore::new(Caps::default()));
        let clock = Arc::new(TestClock::default());
        Self(Runs::new(store, pool, clock, Tasks::new(), Options::default(), RunMeters::default()))
    }

    /// Creates a response and waits for its end.
    async fn run(&self, request: CreateRequest) -> Snapshot {
        let created = self.0.create(&alice(), request).await.unwrap();
        timeout(PATIENCE, self.0.wait_terminal(created)).await.expect("it ends").unwrap()
    }

    /// All events of a response, up to the terminal one.
    async fn events(&self, id: &str) -> Vec<Event> {
        let mut reader = self.0.attach(&alice(), id, None, OnGap::Fail).await.unwrap();
        let mut all = Vec::new();
        while let Some(delivery) = timeout(PATIENCE, reader.next()).await.expect("it goes on").unwrap() {
            if let Delivery::Events { events, .. } = delivery {
                all.extend(events);
            }
        }
        all
    }

    /// Waits until a response has put out something, and gives it.
    async fn with_output(&self, id: &str) -> Snapshot {
        let wait = async {
            loop {
                let snapshot = self.0.get(&alice(), id).await.unwrap();
                if object(&snapshot)["output"] != Value::Array(Vec::new()) {
                    return snapshot;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, wait).await.expect("there is output")
    }
}

/// A server that plays these acts for the model `m`, and a room over it.
async fn scripted(dialect: Dialect, acts: Vec<Act>) -> (Scripted, Room) {
    let server = Scripted::start().await.unwrap();
    server.script("m", acts);
    let room = Room::new(vec![settings("local", &server, dialect)]);
    (server, room)
}

fn request() -> CreateRequest {
    CreateRequest { model: "m".into(), input: Some(Input::Text("hi".into())), ..CreateRequest::default() }
}

fn background() -> CreateRequest {
    CreateRequest { background: true, ..request() }
}

fn with_items(items: &Value) -> CreateRequest {
    CreateRequest { input: Some(Input::Items(items.to_string().into())), ..request() }
}

fn with_extra(extra: &Value) -> CreateRequest {
    CreateRequest { extra: extra.to_string().into(), ..request() }
}

fn object(snapshot: &Snapshot) -> Value {
    serde_json::from_slice(&snapshot.json).unwrap()
}

fn data(event: &Event) -> Value {
    serde_json::from_slice(&event.data).unwrap()
}
