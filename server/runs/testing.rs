//! What the tests of this room share: a clock that stands still, a backend that plays a script.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::Stream;
use serde_json::value::RawValue;
use tidemark_store::UnixMillis;
use tidemark_store::memory::MemoryStore;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep};

use crate::backends::{Api, Backend, Finish, Generation, Model, Step, Steps};
use crate::clock::{Clock, millis};
use crate::error::Error;
use crate::runs::document::Document;
use crate::runs::models::Models;
use crate::runs::{Options, Runs};
use crate::tasks::Tasks;
use crate::telemetry::RunMeters;

/// A clock whose ids count from 1 and whose time is 2025-11-22 plus what tokio's clock has gone since.
#[derive(Debug, Default)]
pub(crate) struct TestClock {
    ids: AtomicU64,
    start: std::sync::OnceLock<Instant>,
}

impl Clock for TestClock {
    fn now(&self) -> UnixMillis {
        let start = *self.start.get_or_init(Instant::now);
        UnixMillis(1_763_769_600_000 + millis(start.elapsed()))
    }

    fn new_id(&self) -> [u8; 16] {
        u128::from(self.ids.fetch_add(1, Ordering::Relaxed) + 1).to_be_bytes()
    }
}

pub(super) fn document() -> Document {
    Document {
        version: Document::VERSION,
        api: Api::Responses,
        created_at: 5,
        model: "m".to_owned(),
        items: vec![RawValue::from_string("{}".to_owned()).unwrap()],
        background: false,
        store: true,
        previous_response_id: None,
        metadata: BTreeMap::new(),
        instructions: None,
        joins: None,
        session: None,
        idempotency_key: None,
        params: BTreeMap::new(),
    }
}

/// A room over `store` whose backend says nothing.
pub(super) fn runs_over(store: Arc<MemoryStore>) -> Runs {
    let models = Arc::new(OneModel(Script::new([])));
    Runs::new(
        store,
        models,
        Arc::new(TestClock::default()),
        Tasks::new(),
        Options::default(),
        RunMeters::default(),
    )
}

/// One act of a scripted backend.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Give(Step),
    Fail(Error),
    Wait(Duration),
    /// Until [`Script::go_on`].
    Hold,
    Panic,
    /// Before the answer: refuses the question.
    Refuse(Error),
    /// Before the answer: accepts it only after [`Script::go_on`].
    Queue,
    Hang,
}

/// A backend that plays the same acts for every question, and remembers the questions.
#[derive(Debug, Default)]
pub(crate) struct Script {
    acts: Vec<Act>,
    asked: Mutex<Vec<Arc<Generation>>>,
    go: Arc<Notify>,
    running: Arc<AtomicUsize>,
}

pub(crate) fn text(text: &str) -> Act {
    Act::Give(Step::Text(text.into()))
}

pub(crate) fn stop() -> Act {
    Act::Give(Step::Finish(Finish::Stop))
}

impl Script {
    pub(crate) fn new(acts: impl IntoIterator<Item = Act>) -> Arc<Self> {
        Arc::new(Self { acts: acts.into_iter().collect(), ..Self::default() })
    }

    /// Ends one [`Act::Hold`] or [`Act::Queue`].
    pub(crate) fn go_on(&self) {
        self.go.notify_one();
    }

    pub(crate) fn asked(&self) -> Vec<Arc<Generation>> {
        self.asked.lock().unwrap().clone()
    }

    /// How many answers are being read.
    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }
}

#[derive(Debug)]
pub(crate) struct OneModel(pub(crate) Arc<Script>);

#[async_trait]
impl Models for OneModel {
    async fn route(&self, model: &str) -> Result<(Arc<dyn Backend>, String), Error> {
        if model != "m" {
            let code = tidemark_proto::v1::ErrorCode::ModelNotFound;
            return Err(Error::new(code, "no such model").with_param("model"));
        }
        Ok((Arc::clone(&self.0) as Arc<dyn Backend>, "m-at-backend".to_owned()))
    }

    async fn list(&self) -> Vec<(Model, String)> {
        vec![(Model { id: "m".to_owned(), created: 0 }, "script".to_owned())]
    }
}

#[async_trait]
impl Backend for Script {
    async fn models(&self) -> Result<Vec<Model>, Error> {
        Ok(Vec::new())
    }

    async fn generate(&self, generation: Arc<Generation>) -> Result<Steps, Error> {
        self.asked.lock().unwrap().push(generation);
        let mut acts = self.acts.clone();
        match acts.first() {
            Some(Act::Refuse(error)) => return Err(error.clone()),
            Some(Act::Queue) => {
                acts.remove(0);
                self.go.notified().await;
            }
            _ => {}
        }
        acts.reverse();
        self.running.fetch_add(1, Ordering::SeqCst);
        let play = Play { acts, pause: None, go: Arc::clone(&self.go), running: Arc::clone(&self.running) };
        Ok(Box::pin(play))
    }
}

struct Play {
    /// In reverse.
    acts: Vec<Act>,
    pause: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    go: Arc<Notify>,
    running: Arc<AtomicUsize>,
}

impl Drop for Play {
    fn drop(&mut self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Stream for Play {
    type Item = Result<Step, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                std::task::ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            match self.acts.pop() {
                None => return Poll::Ready(None),
                Some(Act::Give(step)) => return Poll::Ready(Some(Ok(step))),
                Some(Act::Fail(error) | Act::Refuse(error)) => return Poll::Ready(Some(Err(error))),
                Some(Act::Wait(time)) => {
                    let pause: Sleep = sleep(time);
                    self.pause = Some(Box::pin(pause));
                }
                Some(Act::Hold | Act::Queue) => {
                    let go = Arc::clone(&self.go);
                    self.pause = Some(Box::pin(async move { go.notified().await }));
                }
                Some(Act::Hang) => self.pause = Some(Box::pin(std::future::pending())),
                Some(Act::Panic) => panic!("scripted"),
            }
        }
    }
}
