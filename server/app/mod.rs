//! The composition root: the only room that knows all others.
//!
//! It owns the order in which the parts are made, started and stopped. It must never do the work of one of them.
//!
//! Start: store, backends, runs, sockets, recovery, then the first caller. Stop: NOT_SERVING and no new responses, while
//! everything else goes on; runs end or are ended; then no new connections, readers are sent away to resume later, and the store
//! is closed.

mod bridge;
mod gateway;
mod models;
mod settings;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use axum::Router;
use http::HeaderValue;
use tidemark_bridge::Clients;
use tidemark_store::embedded::{EmbeddedStore, OpenError};
use tidemark_store::{Health as StoreHealth, Store};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use uuid::Uuid;

pub use bridge::bridge;
pub use gateway::{Gateway, NoGateway};
pub use settings::{redirects as redirect_rules, store as store_options};

use crate::auth::{Access, Directory, Grants};
use crate::backends::Pool;
use crate::clock::{Clock, SystemClock};
use crate::config::{Auth, Config, KeysAuth};
use crate::error::Error;
use crate::grpc::{self, Services};
use crate::limits::{Failures, Quotas};
use crate::oauth::{self, OAuth};
use crate::runs::Runs;
use crate::serve::{
    self, Banner, Bounds, Control, Drained, Gate, Health, Listener, Proxies, Record, RequestIds, Signals,
    Visitors,
};
use crate::tasks::Tasks;
use crate::telemetry::Metrics;

/// How long runs that are told to end may take; and after them, readers and other open calls.
const CLOSING: Duration = Duration::from_secs(5);

/// How long the store may take to close, and what is left of the tasks to end.
const LAST: Duration = Duration::from_secs(5);

/// The most connections of the admin port.
const ADMIN_CONNECTIONS: usize = 64;

/// Why the server did not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The store was not opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store failed while the server ran (D-24).
    #[error("the store failed: {0}")]
    Store(String),
    /// An address could not be taken.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused something else.
    #[error("cannot {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The server was asked to stop and something did not end.
    #[error("not everything ended within {} s after the last wait", .0.as_secs())]
    Stuck(Duration),
    /// Callers must show a credential, and there is none.
    #[error(
        "auth.mode is \"keys\", but there is no key and no operator's secret: nobody could call. Make a key with `tidemark keys \
         create --data-dir`, or set TIDEMARK_OPERATOR_SECRET"
    )]
    NoCredentials,
    /// A part could not be made, or an earlier process's responses could not be ended.
    #[error("{what}: {error}")]
    Start {
        /// What was tried.
        what: &'static str,
        /// What came of it.
        error: String,
    },
}

impl Failure {
    fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }

    fn start<E: fmt::Display>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Start { what, error: error.to_string() }
    }
}

/// Serves until a signal comes or the store fails. `ready` gets the banner when the first caller can get in.
///
/// # Errors
/// All of [`Failure`].
pub async fn serve(config: &Config, ready: impl FnOnce(Banner<'_>)) -> Result<(), Failure> {
    let mut signals = Signals::listen().map_err(Failure::system("listen for signals"))?;
    let metrics = Metrics::new();
    let (listener, admin) = bind(config, &metrics)?;
    let (address, admin_address) = (listener.address(), admin.as_ref().map(Listener::address));
    let app = App::start(config, metrics, listener, admin).await?;
    ready(Banner { address, admin: admin_address, config });
    let mut store = app.store.health();
    let failed = tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, "stopping; a second signal waits for nothing");
            false
        }
        _ = store.wait_for(|health| *health != StoreHealth::Serving) => true,
    };
    let reason = if failed { Some(poisoned(&store)) } else { None };
    let stopped = app.stop(config.server.drain, failed, &mut signals).await;
    reason.map_or(stopped, |reason| Err(Failure::Store(reason)))
}

/// The public port, and the one for the operator if there is one.
fn bind(config: &Config, metrics: &Metrics) -> Result<(Listener, Option<Listener>), Failure> {
    let bind = |address, connections| {
        let bounds = Bounds::new(&config.server, connections);
        Listener::bind(address, bounds, metrics.serve()).map_err(|source| Failure::Listen { address, source })
    };
    let public = bind(config.server.listen, serve::connections())?;
    let admin = config.server.admin.map(|address| bind(address, ADMIN_CONNECTIONS)).transpose()?;
    Ok((public, admin))
}

fn poisoned(health: &watch::Receiver<StoreHealth>) -> String {
    match &*health.borrow() {
        StoreHealth::Poisoned { reason } => reason.clone(),
        StoreHealth::Serving | StoreHealth::Closed => "it no longer says how it is".to_owned(),
    }
}

/// Everything that runs.
struct App {
    store: Arc<dyn Store>,
    runs: Runs,
    tasks: Tasks,
    health: watch::Sender<Health>,
    reporter: HealthReporter,
    public: Served,
    admin: Option<Served>,
}

/// A listener that serves.
struct Served {
    control: Control,
    task: JoinHandle<()>,
}

impl App {
    async fn start(
        config: &Config,
        metrics: Metrics,
        listener: Listener,
        admin: Option<Listener>,
    ) -> Result<Self, Failure> {
        let tasks = Tasks::new();
        let (health, _) = watch::channel(Health::Starting);
        let pages = serve::admin(health.subscribe(), metrics.clone());
        let admin = admin.map(|listener| Served::start(&tasks, listener, pages));
        let store = open(config).await?;
        metrics.watch(Arc::clone(&store));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let directory = Directory::new(Arc::clone(&store), Arc::clone(&clock), tasks.clone());
        let grants =
            config.oauth.as_ref().map(|oauth| Grants::new(directory.clone(), settings::oauth(oauth)));
        let access = access(config, directory.clone(), grants.as_ref()).await?;
        let pool =
            Pool::new(settings::backends(config)?).map_err(Failure::start("cannot use the backends"))?;
        let runs = Runs::new(
            Arc::clone(&store),
            Arc::new(pool),
            Arc::clone(&clock),
            tasks.clone(),
            settings::runs(config),
            metrics.runs(),
        );
        let recovered =
            runs.recover().await.map_err(Failure::start("cannot end the responses of the last run"))?;
        if recovered > 0 {
            tracing::info!(count = recovered, "responses of an earlier process were found");
        }
        let redirects = settings::redirects(config);
        let services = Services { runs: runs.clone(), directory, access: access.clone(), redirects };
        let (routes, reporter) =
            grpc::routes(services.clone()).await.map_err(Failure::start("cannot make the services"))?;
        let app = public(config, routes, services, access, grants.clone(), clock, &metrics)?;
        let public = Served::start(&tasks, listener, app);
        let sweeper = runs.clone();
        tasks.spawn(async move { sweeper.sweep().await });
        if let Some(grants) = grants {
            tasks.spawn(async move { grants.sweep().await });
        }
        health.send_replace(Health::Serving);
        Ok(Self { store, runs, tasks, health, reporter, public, admin })
    }

    /// Ends everything in order; `failed` says that the store did, so that there is nothing to wait for. Takes at most `drain`,
    /// twice [`CLOSING`] and [`LAST`].
    ///
    /// # Errors
    /// [`Failure::Stuck`].
    async fn stop(self, drain: Duration, failed: bool, signals: &mut Signals) -> Result<(), Failure> {
        self.health.send_replace(if failed { Health::Failed } else { Health::Draining });
        for service in grpc::SERVICES {
            self.reporter.set_service_status(service, ServingStatus::NotServing).await;
        }
        let patience = if failed { Duration::ZERO } else { drain };
        let waited = serve::drain(self.runs.drain(patience), patience + CLOSING, signals.next()).await;
        let skipped = waited == Drained::Skipped;
        if skipped {
            tracing::info!("a second signal: nothing is waited for any more");
            // They still write their last event; nothing but the disk can hold that up.
            let _ = timeout(CLOSING, self.runs.drain(Duration::ZERO)).await;
        }
        self.public.end(if skipped { Duration::ZERO } else { CLOSING }, signals).await;
        self.tasks.stop();
        if let Some(admin) = self.admin {
            admin.control.stop();
        }
        let last = async {
            self.store.close().await;
            self.tasks.ended().await;
        };
        timeout(LAST, last).await.map_err(|_| {
            // Its drop would wait for the disk, which does not answer.
            std::mem::forget(Arc::clone(&self.store));
            Failure::Stuck(LAST)
        })
    }
}

impl Served {
    fn start(tasks: &Tasks, listener: Listener, app: Router) -> Self {
        let control = listener.control();
        let task = tasks.spawn(async move {
            if let Err(error) = listener.serve(app).await {
                tracing::error!(%error, "a listener failed");
            }
        });
        Self { control, task }
    }

    /// Takes no more connections and waits for open calls, not longer than `limit` and not once another signal has come, then
    /// cuts them.
    async fn end(self, limit: Duration, signals: &mut Signals) {
        let Self { control, task } = self;
        control.close();
        let ended = async {
            // A listener that panicked has ended too.
            let _ = task.await;
        };
        if serve::drain(ended, limit, signals.next()).await != Drained::Done {
            control.stop();
        }
    }
}

/// The store. It is opened where blocking holds up nobody.
///
/// # Errors
/// [`Failure::Open`], [`Failure::Start`].
pub(crate) async fn open(config: &Config) -> Result<Arc<dyn Store>, Failure> {
    let (dir, options) = (config.server.data_dir.clone(), settings::store(config));
    let opened = spawn_blocking(move || EmbeddedStore::open(&dir, options)).await;
    Ok(Arc::new(opened.map_err(Failure::start("opening the store panicked"))??))
}

/// The check of credentials. Where nobody could ever pass it, there is nothing to serve (D-32).
async fn access(config: &Config, directory: Directory, grants: Option<&Grants>) -> Result<Access, Failure> {
    if let Auth::Keys(KeysAuth { operator: None }) = &config.auth
        && directory.is_empty().await.map_err(Failure::start("cannot look for keys"))?
    {
        return Err(Failure::NoCredentials);
    }
    let access = Access::new(settings::auth(&config.auth), directory);
    Ok(match (grants, &config.oauth) {
        (Some(grants), Some(oauth)) => access.with_grants(grants.clone(), oauth.only),
        _ => access,
    })
}

/// The public port: gRPC and the bridge, which calls the same services without a socket.
fn public(
    config: &Config,
    routes: Routes,
    services: Services,
    access: Access,
    grants: Option<Grants>,
    clock: Arc<dyn Clock>,
    metrics: &Metrics,
) -> Result<Router, Failure> {
    let rest = tidemark_bridge::router(Clients::new(grpc::contract(services)), bridge_options(config)?);
    let methods = grpc::methods().map_err(Failure::start("cannot read the contract"))?;
    let record = Record::new(methods, metrics.serve());
    let failures = Arc::new(Failures::new(settings::failures(config), metrics.limits()));
    let quotas = Arc::new(Quotas::new(settings::rates(config), metrics.limits()));
    let gate = Gate::new(access.clone(), Arc::clone(&failures), Arc::clone(&quotas));
    let identity_header = config.oauth.as_ref().and_then(|oauth| oauth.identity_header.clone());
    let oauth = grants.map(|grants| OAuth { grants, access, failures, quotas, identity_header });
    let (rest, open) = match oauth {
        Some(oauth) => (rest.merge(oauth::operator(oauth.clone())), oauth::router(oauth)),
        None => (rest, oauth::absent()),
    };
    Ok(serve::app(routes, rest, open, &gate, &stack_options(config, clock, record)))
}

/// What the settings mean to the bridge, in this process or alone.
fn bridge_options(config: &Config) -> Result<tidemark_bridge::Options, Failure> {
    let options = tidemark_bridge::Options::new(config.server.body_limit.as_usize());
    options.map_err(Failure::start("server.body_limit"))
}

/// What the settings mean to the layers before it.
fn stack_options(config: &Config, clock: Arc<dyn Clock>, record: Record) -> serve::Options {
    let (listen, hosts, origins) =
        (config.server.listen.ip(), config.server.hosts.clone(), config.cors.origins.clone());
    let visitors = match config.auth {
        Auth::Off => Some(Visitors::new(listen, hosts, origins.clone())),
        // A page that must show a credential cannot be made to call by a stranger's.
        Auth::Keys(_) => None,
    };
    serve::Options {
        visitors,
        origins,
        request_ids: RequestIds::new(move || Uuid::from_bytes(clock.new_id())),
        proxies: Proxies::new(config.server.trusted_proxies.clone(), config.server.forwarded_header),
        record,
        resource_metadata: config.oauth.as_ref().and_then(|oauth| {
            HeaderValue::from_str(&format!("{}{}", oauth.issuer, oauth::RESOURCE_METADATA)).ok()
        }),
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::start("the settings cannot be used")(error)
    }
}
