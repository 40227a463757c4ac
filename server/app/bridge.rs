//! The bridge alone: REST and SSE here, the gateway in another process (D-2).
//!
//! It owns the order in which the bridge starts and stops. It must never decide who is calling: that is found out at the gateway.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Failure, Gateway, Served, bind, bridge_options, stack_options};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::serve::{self, BridgeBanner, Health, Listener, Record, Signals};
use crate::tasks::Tasks;
use crate::telemetry::Metrics;

/// Serves REST and SSE in front of `gateway` until a signal comes. Open calls may then take up to `server.drain`; a second
/// signal cuts them. `ready` gets the banner when the first caller can get in.
///
/// # Errors
/// [`Failure::Listen`], [`Failure::System`], [`Failure::Start`].
pub async fn bridge(
    config: &Config,
    gateway: &Gateway,
    ready: impl FnOnce(BridgeBanner<'_>),
) -> Result<(), Failure> {
    let mut signals = Signals::listen().map_err(Failure::system("listen for signals"))?;
    let metrics = Metrics::new();
    let (listener, admin) = bind(config, &metrics)?;
    let banner = BridgeBanner {
        address: listener.address(),
        admin: admin.as_ref().map(Listener::address),
        gateway: &gateway.to_string(),
    };
    let rest = tidemark_bridge::router(gateway.clients(), bridge_options(config)?);
    let tasks = Tasks::new();
    let (health, _) = watch::channel(Health::Serving);
    let pages = serve::admin(health.subscribe(), metrics.clone());
    let admin = admin.map(|listener| Served::start(&tasks, listener, pages));
    let stack = stack_options(config, Arc::new(SystemClock), Record::new([], metrics.serve()));
    let public = Served::start(&tasks, listener, serve::rest(rest, &stack));
    ready(banner);
    let signal = signals.next().await;
    tracing::info!(signal, "stopping; a second signal waits for nothing");
    health.send_replace(Health::Draining);
    public.end(config.server.drain, &mut signals).await;
    tasks.stop();
    if let Some(admin) = admin {
        admin.control.stop();
    }
    tasks.ended().await;
    Ok(())
}
