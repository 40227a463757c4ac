//! All backends, and which one serves a model.
//!
//! It owns the way from a model's name to a backend, and what the backends have said about their models. It must never know how
//! a backend is spoken to.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::future::join_all;
use tidemark_proto::v1::ErrorCode;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::limit::Limited;
use super::{Backend, Kind, Model, Models, Settings, demo, openai};
use crate::error::Error;

/// How long a backend's list of models is good.
const LIST_TTL: Duration = Duration::from_secs(30);

/// A backend whose list lacks a model is asked again if the list is older than this.
const RECHECK_AFTER: Duration = Duration::from_secs(3);

/// How long a list is waited for, behind others who want it included.
const LIST_WAIT: Duration = Duration::from_secs(5);

/// Where a generation goes.
#[derive(Clone, Debug)]
pub struct Route {
    /// The backend.
    pub backend: Arc<dyn Backend>,
    /// What the backend calls the model.
    pub model: String,
    /// The name of the backend.
    pub backend_name: String,
}

/// A model that can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name here.
    pub id: String,
    /// When it was made, in seconds since 1970, as the backend says; 0 if it does not.
    pub created: i64,
    /// The name of the backend that serves it.
    pub owned_by: String,
}

/// All backends.
#[derive(Debug)]
pub struct Pool {
    entries: Vec<Entry>,
}

impl Pool {
    /// The backends of these settings. Of two that serve the same model, the first is asked. No connection is made yet.
    ///
    /// # Errors
    /// `invalid_request`, with the key path in `param`: a name that is empty or taken, no model in a list, an API key that no
    /// header can carry, a time limit of zero, `https` on a machine without root certificates.
    pub fn new(settings: Vec<Settings>) -> Result<Self, Error> {
        let mut names = HashSet::new();
        let mut entries = Vec::with_capacity(settings.len());
        for (index, settings) in settings.into_iter().enumerate() {
            let bad = |key: &str, problem: &str| Error::invalid(format!("backends[{index}].{key}"), problem);
            check(&settings, bad)?;
            if !names.insert(settings.name.clone()) {
                return Err(bad("name", "is the name of another backend, too"));
            }
            let backend: Arc<dyn Backend> = match &settings.kind {
                Kind::Demo => Arc::new(demo::Demo),
                Kind::OpenAi(server) => Arc::new(
                    openai::Client::new(&settings, server)
                        .map_err(|error| bad(error.key(), &error.to_string()))?,
                ),
            };
            entries.push(Entry::new(settings, backend));
        }
        Ok(Self { entries })
    }

    /// The backend that serves this model: one that has it in its settings, else one that lists it.
    ///
    /// What a list says is taken from memory while it is younger than 30 s. A model that nobody is known to serve is asked for
    /// again, at all backends at once, for at most 5 s.
    ///
    /// # Errors
    /// `model_not_found`; `no_backend` if a backend that might serve it cannot be asked.
    pub async fn route(&self, model: &str) -> Result<Route, Error> {
        if let Some(route) = self.configured(model).or_else(|| self.listed(model, LIST_TTL)) {
            return Ok(route);
        }
        self.refresh(RECHECK_AFTER).await;
        if let Some(route) = self.listed(model, Duration::MAX) {
            return Ok(route);
        }
        let failures: Vec<String> = self.lists().filter_map(|(_, list)| list.failure()).collect();
        if failures.is_empty() {
            let message = format!("no backend serves the model `{model}`");
            return Err(Error::new(ErrorCode::ModelNotFound, message).with_param("model"));
        }
        let message = format!("no backend that answers serves the model `{model}`");
        Err(Error::new(ErrorCode::NoBackend, message)
            .with_retry_after(RECHECK_AFTER)
            .with_cause(failures.join("; ")))
    }

    /// All models, sorted by id. A backend that is to be asked and does not answer within 5 s is left out.
    pub async fn models(&self) -> Vec<Listed> {
        self.refresh(LIST_TTL).await;
        let is_table = |entry: &&Entry| matches!(entry.serves, Serves::Table(_));
        let (tables, lists): (Vec<_>, Vec<_>) = self.entries.iter().rev().partition(is_table);
        let mut all = BTreeMap::new();
        // The last one to name a model is its owner: the one that `route` finds.
        for entry in lists.into_iter().chain(tables) {
            for Model { id, created } in entry.models() {
                let listed = Listed { id: id.clone(), created, owned_by: entry.name.clone() };
                all.insert(id, listed);
            }
        }
        all.into_values().collect()
    }

    fn configured(&self, model: &str) -> Option<Route> {
        self.entries.iter().find_map(|entry| match &entry.serves {
            Serves::Table(table) => table.get(model).map(|there| entry.route(there)),
            Serves::Listed(_) => None,
        })
    }

    fn listed(&self, model: &str, max_age: Duration) -> Option<Route> {
        self.lists().find(|(_, list)| list.has(model, max_age)).map(|(entry, _)| entry.route(model))
    }

    /// Asks every backend whose list was asked for longer ago than this.
    async fn refresh(&self, max_age: Duration) {
        join_all(self.lists().map(|(entry, list)| list.refresh(&*entry.backend, max_age))).await;
    }

    fn lists(&self) -> impl Iterator<Item = (&Entry, &List)> {
        self.entries.iter().filter_map(|entry| match &entry.serves {
            Serves::Listed(list) => Some((entry, list)),
            Serves::Table(_) => None,
        })
    }
}

fn check(settings: &Settings, bad: impl Fn(&str, &str) -> Error) -> Result<(), Error> {
    if settings.name.is_empty() {
        return Err(bad("name", "must not be empty"));
    }
    let listed = match &settings.models {
        Models::Discover => true,
        Models::List(models) => !models.is_empty(),
        Models::Table(models) => !models.is_empty(),
    };
    if !listed {
        return Err(bad("models", "must name a model, or be absent for all that the backend lists"));
    }
    for (key, limit) in [
        ("queue_timeout", settings.queue_timeout),
        ("connect_timeout", settings.connect_timeout),
        ("first_byte_timeout", settings.first_byte_timeout),
        ("idle_timeout", settings.idle_timeout),
    ] {
        if limit.is_zero() {
            return Err(bad(key, "must be longer than zero"));
        }
    }
    Ok(())
}

#[derive(Debug)]
struct Entry {
    name: String,
    backend: Arc<dyn Backend>,
    serves: Serves,
}

/// What a backend serves: by its settings, from the caller's name to its own, or by its list.
#[derive(Debug)]
enum Serves {
    Table(BTreeMap<String, String>),
    Listed(List),
}

impl Entry {
    fn new(settings: Settings, backend: Arc<dyn Backend>) -> Self {
        let Settings { name, models, max_concurrency, queue, queue_timeout, .. } = settings;
        let backend = match max_concurrency {
            Some(most) => Arc::new(Limited::new(&name, backend, most, queue, queue_timeout)),
            None => backend,
        };
        let serves = match models {
            Models::Discover => Serves::Listed(List::default()),
            Models::List(models) => {
                Serves::Table(models.into_iter().map(|model| (model.clone(), model)).collect())
            }
            Models::Table(table) => Serves::Table(table),
        };
        Self { name, backend, serves }
    }

    fn route(&self, model: &str) -> Route {
        Route { backend: Arc::clone(&self.backend), model: model.to_owned(), backend_name: self.name.clone() }
    }

    /// What it serves, as far as it is known; nothing if it did not answer when it was last asked.
    fn models(&self) -> Vec<Model> {
        match &self.serves {
            Serves::Table(table) => table.keys().map(|id| Model { id: id.clone(), created: 0 }).collect(),
            Serves::Listed(list) => list.answer(),
        }
    }
}

/// A backend's own list of models.
#[derive(Default)]
struct List {
    known: RwLock<Known>,
    /// Held by the one who asks.
    asking: Mutex<()>,
}

#[derive(Default)]
struct Known {
    /// When the backend was last asked; absent = never.
    asked: Option<Instant>,
    /// What it answered last.
    models: BTreeMap<String, Model>,
    /// Why it did not answer the last time.
    failure: Option<Error>,
}

impl Known {
    fn is_younger_than(&self, age: Duration) -> bool {
        self.asked.is_some_and(|asked| asked.elapsed() < age)
    }
}

impl List {
    /// Asks for the list if it was asked for longer ago than `max_age`. Of several at once, one asks and the others wait for it.
    async fn refresh(&self, backend: &dyn Backend, max_age: Duration) {
        let ask = async {
            if self.read(|known| known.is_younger_than(max_age)) {
                return;
            }
            let _asking = self.asking.lock().await;
            if self.read(|known| known.is_younger_than(max_age)) {
                return;
            }
            let answer = backend.models().await;
            self.store(answer);
        };
        if timeout(LIST_WAIT, ask).await.is_err() {
            let message = format!("the list of models did not come within {LIST_WAIT:?}");
            self.store(Err(Error::new(ErrorCode::BackendTimeout, message)));
        }
    }

    fn store(&self, answer: Result<Vec<Model>, Error>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.asked = Some(Instant::now());
        match answer {
            Ok(models) => {
                known.models = models.into_iter().map(|model| (model.id.clone(), model)).collect();
                known.failure = None;
            }
            Err(error) => known.failure = Some(error),
        }
    }

    fn has(&self, model: &str, max_age: Duration) -> bool {
        self.read(|known| known.is_younger_than(max_age) && known.models.contains_key(model))
    }

    fn failure(&self) -> Option<String> {
        self.read(|known| known.failure.as_ref().map(Error::to_string))
    }

    fn answer(&self) -> Vec<Model> {
        self.read(
            |known| {
                if known.failure.is_some() { Vec::new() } else { known.models.values().cloned().collect() }
            },
        )
    }

    fn read<T>(&self, what: impl FnOnce(&Known) -> T) -> T {
        what(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read(|known| f.debug_list().entries(known.models.keys()).finish())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use futures_util::{StreamExt, future};
    use tokio::time::advance;

    use super::*;
    use crate::backends::scripted::{Act, Scripted, chunk};
    use crate::backends::{Dialect, Generation, OpenAi, Step, Steps};

    /// Lists what the test says, and counts how often it is asked.
    #[derive(Debug, Default)]
    struct Fake {
        models: RwLock<Says>,
        asked: AtomicUsize,
    }

    #[derive(Clone, Debug, Default)]
    enum Says {
        #[default]
        Nothing,
        Models(Vec<&'static str>),
        Failure,
    }

    impl Fake {
        fn says(&self, what: Says) {
            *self.models.write().unwrap() = what;
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::SeqCst)
        }
    }

    #[async_trait]
    impl Backend for Fake {
        async fn models(&self) -> Result<Vec<Model>, Error> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(10)).await;
            let says = self.models.read().unwrap().clone();
            match says {
                Says::Nothing => future::pending().await,
                Says::Models(ids) => {
                    Ok(ids.into_iter().map(|id| Model { id: id.to_owned(), created: 7 }).collect())
                }
                Says::Failure => Err(Error::new(ErrorCode::BackendUnreachable, "down")),
            }
        }

        async fn generate(&self, _: Arc<Generation>) -> Result<Steps, Error> {
            Err(Error::internal("not asked for here"))
        }
    }

    fn fake(says: Says) -> Arc<Fake> {
        let fake = Arc::new(Fake::default());
        fake.says(says);
        fake
    }

    fn pool<const N: usize>(entries: [(&str, Models, &Arc<Fake>); N]) -> Pool {
        let entry = |(name, models, fake): (&str, Models, &Arc<Fake>)| {
            let mut settings = Settings::new(name, Kind::Demo);
            settings.models = models;
            Entry::new(settings, Arc::clone(fake) as Arc<dyn Backend>)
        };
        Pool { entries: entries.into_iter().map(entry).collect() }
    }

    async fn routed(pool: &Pool, model: &str) -> (String, String) {
        let route = pool.route(model).await.unwrap();
        (route.backend_name, route.model)
    }

    async fn refused(pool: &Pool, model: &str) -> Error {
        pool.route(model).await.unwrap_err()
    }

    fn pair(backend: &str, model: &str) -> (String, String) {
        (backend.to_owned(), model.to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn settings_come_before_lists_and_the_first_before_the_second() {
        let lists = fake(Says::Models(vec!["a", "b", "c"]));
        let silent = fake(Says::Nothing);
        let pool = pool([
            ("lists", Models::Discover, &lists),
            ("list", Models::List(vec!["a".to_owned()]), &silent),
            (
                "table",
                Models::Table(
                    [("b", "big"), ("a", "other")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
                ),
                &silent,
            ),
        ]);
        assert_eq!(routed(&pool, "a").await, pair("list", "a"));
        assert_eq!(routed(&pool, "b").await, pair("table", "big"));
        assert_eq!(lists.asked(), 0, "settings need no question");
        assert_eq!(routed(&pool, "c").await, pair("lists", "c"));
        assert_eq!(
            refused(&pool, "big").await.code(),
            ErrorCode::ModelNotFound,
            "what an alias stands for is no name"
        );
        assert_eq!(silent.asked(), 0);

        let owners: Vec<_> = pool.models().await.into_iter().map(|m| (m.id, m.owned_by, m.created)).collect();
        let expected = [("a", "list", 0), ("b", "table", 0), ("c", "lists", 7)];
        assert_eq!(owners, expected.map(|(id, owner, created)| (id.to_owned(), owner.to_owned(), created)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_is_kept_for_its_time_and_asked_for_once_by_many() {
        let backend = fake(Says::Models(vec!["a"]));
        let pool = pool([("b", Models::Discover, &backend)]);
        let all = join_all((0..20).map(|_| pool.route("a"))).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(backend.asked(), 1);

        advance(LIST_TTL - Duration::from_millis(20)).await;
        routed(&pool, "a").await;
        pool.models().await;
        assert_eq!(backend.asked(), 1);
        advance(Duration::from_millis(40)).await;
        routed(&pool, "a").await;
        assert_eq!(backend.asked(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_model_is_looked_for_again_but_not_at_each_call() {
        let backend = fake(Says::Models(vec!["a"]));
        let pool = pool([("b", Models::Discover, &backend)]);
        let error = refused(&pool, "new").await;
        assert_eq!((error.code(), error.param()), (ErrorCode::ModelNotFound, Some("model")));
        assert!(error.message().contains("`new`"));

        backend.says(Says::Models(vec!["a", "new"]));
        assert_eq!(refused(&pool, "new").await.code(), ErrorCode::ModelNotFound);
        assert_eq!(backend.asked(), 1, "the list is young");
        advance(RECHECK_AFTER).await;
        assert_eq!(routed(&pool, "new").await, pair("b", "new"));
        assert_eq!(backend.asked(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_backend_that_cannot_be_asked_is_no_backend_unless_another_has_the_model() {
        let (down, up) = (fake(Says::Failure), fake(Says::Models(vec!["a"])));
        let pool = pool([("down", Models::Discover, &down), ("up", Models::Discover, &up)]);
        assert_eq!(routed(&pool, "a").await, pair("up", "a"));
        let error = refused(&pool, "b").await;
        assert_eq!((error.code(), error.retry_after()), (ErrorCode::NoBackend, Some(RECHECK_AFTER)));
        assert!(error.cause().unwrap().contains("backend_unreachable"));
        assert_eq!(pool.models().await.len(), 1);
        assert_eq!(down.asked(), 1, "a failure, too, is remembered for a while");

        down.says(Says::Models(vec!["b"]));
        advance(RECHECK_AFTER).await;
        assert_eq!(routed(&pool, "b").await, pair("down", "b"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_model_that_was_listed_stays_while_its_backend_does_not_answer() {
        let backend = fake(Says::Models(vec!["a"]));
        let pool = pool([("b", Models::Discover, &backend)]);
        routed(&pool, "a").await;
        backend.says(Says::Failure);
        advance(LIST_TTL).await;
        assert_eq!(routed(&pool, "a").await, pair("b", "a"), "asking it will show whether it is there");
        assert_eq!(pool.models().await, []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_does_not_come_is_not_waited_for_longer_than_the_limit() {
        let silent = fake(Says::Nothing);
        let pool = pool([("silent", Models::Discover, &silent)]);
        let began = Instant::now();
        let errors = join_all((0..3).map(|_| pool.route("a"))).await;
        assert!(began.elapsed() < LIST_WAIT + Duration::from_millis(100), "{:?}", began.elapsed());
        for error in errors {
            assert_eq!(error.unwrap_err().code(), ErrorCode::NoBackend);
        }
        assert_eq!(pool.models().await, []);
    }

    #[tokio::test]
    async fn a_pool_of_settings_generates_with_every_kind_and_keeps_its_limits() {
        let server = Scripted::start().await.unwrap();
        server.script("m", vec![chunk("a"), Act::HangForever]);
        let base_url = server.base_url().parse().unwrap();
        let mut local =
            Settings::new("local", Kind::OpenAi(OpenAi { base_url, dialect: Dialect::Chat, api_key: None }));
        (local.max_concurrency, local.queue) = (NonZeroUsize::new(1), 0);
        let pool = Pool::new(vec![Settings::new("demo", Kind::Demo), local]).unwrap();
        let listed: Vec<_> =
            pool.models().await.into_iter().map(|model| (model.id, model.owned_by)).collect();
        assert_eq!(listed, [pair("demo", "demo"), pair("demo-long", "demo"), pair("m", "local")]);

        let generation = Generation {
            api: crate::backends::Api::Responses,
            model: "m".to_owned(),
            items: Vec::new(),
            earlier: 0,
            instructions: None,
            params: BTreeMap::new(),
            metadata: BTreeMap::new(),
        };
        let generate = async |model: &str| {
            let route = pool.route(model).await.unwrap();
            let generation = Generation { model: route.model, ..generation.clone() };
            route.backend.generate(Arc::new(generation)).await
        };
        let mut steps = generate("m").await.unwrap();
        assert_eq!(steps.next().await.unwrap().unwrap(), Step::Text("a".into()));
        assert_eq!(generate("m").await.err().unwrap().code(), ErrorCode::Overloaded);
        assert_eq!(server.asked().len(), 1);
        let mut demo = generate("demo-long").await.unwrap();
        assert!(matches!(demo.next().await.unwrap().unwrap(), Step::Text(_)));
    }

    #[test]
    fn settings_that_cannot_work_name_their_key() {
        let demo = || Settings::new("d", Kind::Demo);
        let with = |change: &dyn Fn(&mut Settings)| {
            let mut settings = demo();
            change(&mut settings);
            settings
        };
        let server = OpenAi {
            base_url: "http://127.0.0.1:1/v1".parse().unwrap(),
            dialect: Default::default(),
            api_key: Some("secret\n".into()),
        };
        for (settings, param) in [
            (vec![with(&|s| s.name.clear())], "backends[0].name"),
            (vec![demo(), demo()], "backends[1].name"),
            (vec![with(&|s| s.models = Models::List(Vec::new()))], "backends[0].models"),
            (vec![with(&|s| s.models = Models::Table(BTreeMap::new()))], "backends[0].models"),
            (vec![with(&|s| s.connect_timeout = Duration::ZERO)], "backends[0].connect_timeout"),
            (vec![with(&|s| s.first_byte_timeout = Duration::ZERO)], "backends[0].first_byte_timeout"),
            (vec![with(&|s| s.idle_timeout = Duration::ZERO)], "backends[0].idle_timeout"),
            (vec![with(&|s| s.kind = Kind::OpenAi(server.clone()))], "backends[0].api_key_env"),
        ] {
            let error = Pool::new(settings).unwrap_err();
            assert_eq!(error.param(), Some(param));
            assert!(!error.to_string().contains("secret"));
        }
    }
}
