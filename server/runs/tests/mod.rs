//! The room as a whole, over the store in memory and a scripted backend.

mod chains;
mod compaction;
mod damage;
mod ends;
pub(crate) mod faulty;
mod flight;
mod flows;
mod hostile;
mod idempotency;
mod lists;
mod quotas;
mod races;
mod recovery;
mod sessions;

use std::sync::Arc;

use serde_json::Value;
use tidemark_proto::v1::CreateRequest;
use tidemark_proto::v1::create_request::Input;
use tidemark_store::memory::MemoryStore;
use tidemark_store::{Caps, Owner, Store};

use self::faulty::{Call, Faulty};
use crate::auth::Principal;
use crate::clock::Clock;
use crate::error::Error;
use crate::runs::testing::{Act, OneModel, Script, TestClock};
use crate::runs::{Created, Delivery, Event, OnGap, Options, Reader, Runs, Snapshot};
use crate::tasks::Tasks;
use crate::telemetry::RunMeters;

/// A room with everything a test needs to look into it.
struct Room {
    runs: Runs,
    store: Arc<MemoryStore>,
    clock: Arc<TestClock>,
    script: Arc<Script>,
    tasks: Tasks,
    meters: RunMeters,
}

fn room(acts: impl IntoIterator<Item = Act>) -> Room {
    room_with(acts, Options::default(), Caps::default())
}

fn room_with(acts: impl IntoIterator<Item = Act>, options: Options, caps: Caps) -> Room {
    room_over(Arc::new(MemoryStore::new(caps)), Arc::new(TestClock::default()), acts, options)
}

fn room_over(
    store: Arc<MemoryStore>,
    clock: Arc<TestClock>,
    acts: impl IntoIterator<Item = Act>,
    options: Options,
) -> Room {
    room_seeing(Arc::clone(&store) as Arc<dyn Store>, store, clock, acts, options)
}

/// A room over a store that fails when a test wants it to.
fn room_behind<F: Fn(Call) -> bool + Send + Sync + 'static>(
    faulty: Faulty<F>,
    clock: Arc<TestClock>,
    acts: impl IntoIterator<Item = Act>,
    options: Options,
) -> Room {
    let store = Arc::clone(&faulty.store);
    room_seeing(Arc::new(faulty), store, clock, acts, options)
}

/// A room that sees `store` as `seen`.
fn room_seeing(
    seen: Arc<dyn Store>,
    store: Arc<MemoryStore>,
    clock: Arc<TestClock>,
    acts: impl IntoIterator<Item = Act>,
    options: Options,
) -> Room {
    let (script, tasks, meters) = (Script::new(acts), Tasks::new(), RunMeters::default());
    let models = Arc::new(OneModel(Arc::clone(&script)));
    let runs =
        Runs::new(seen, models, Arc::clone(&clock) as Arc<dyn Clock>, tasks.clone(), options, meters.clone());
    Room { runs, store, clock, script, tasks, meters }
}

fn alice() -> Principal {
    Principal::local(Owner::new("alice").unwrap())
}

fn bob() -> Principal {
    Principal::local(Owner::new("bob").unwrap())
}

fn request() -> CreateRequest {
    CreateRequest { model: "m".into(), input: Some(Input::Text("hi".into())), ..CreateRequest::default() }
}

fn background() -> CreateRequest {
    CreateRequest { background: true, ..request() }
}

fn unstored() -> CreateRequest {
    CreateRequest { store: Some(false), ..request() }
}

fn object(snapshot: &Snapshot) -> Value {
    serde_json::from_slice(&snapshot.json).unwrap()
}

fn data(event: &Event) -> Value {
    serde_json::from_slice(&event.data).unwrap()
}

fn kinds(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.kind.trim_start_matches("response.")).collect()
}

/// All events until the reader ends.
async fn all(mut reader: Reader) -> Result<Vec<Event>, Error> {
    let mut found = Vec::new();
    while let Some(delivery) = reader.next().await? {
        if let Delivery::Events { events, .. } = delivery {
            found.extend(events);
        }
    }
    Ok(found)
}

impl Room {
    async fn create(&self, request: CreateRequest) -> Created {
        self.runs.create(&alice(), request).await.unwrap()
    }

    /// Creates and waits for the end.
    async fn run(&self, request: CreateRequest) -> Snapshot {
        let created = self.create(request).await;
        self.runs.wait_terminal(created).await.unwrap()
    }

    async fn attach(&self, id: &str, after: Option<u64>) -> Reader {
        let after = after.map(tidemark_store::Seq::new);
        self.runs.attach(&alice(), id, after, OnGap::Fail).await.unwrap()
    }

    async fn events(&self, id: &str) -> Vec<Event> {
        all(self.attach(id, None).await).await.unwrap()
    }

    async fn get(&self, id: &str) -> Snapshot {
        self.runs.get(&alice(), id).await.unwrap()
    }
}
