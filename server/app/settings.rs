//! What the settings mean to each room.

use std::num::{NonZeroU32, NonZeroUsize};

use tidemark_store::embedded;
use tidemark_store::{Caps, Quota, Quotas};

use super::Failure;
use crate::backends::{Dialect, Kind, Models, OpenAi, Settings};
use crate::config::{self, ByteSize, Config};
use crate::runs::{OnRepeat, OnRestart, Options, Retention};

/// For the store, in a server or without one.
pub fn store(config: &Config) -> embedded::Options {
    let limits = &config.limits;
    embedded::Options {
        durability: match config.server.durability {
            config::Durability::Sync => embedded::Durability::Sync,
            config::Durability::Os => embedded::Durability::Os,
        },
        caps: Caps {
            entries: Some(u64::from(limits.events_per_response.get())),
            bytes: Some(limits.bytes_per_response.get()),
        },
        quotas: Quotas {
            owner: quota(limits.stored_per_owner, limits.stored_bytes_per_owner),
            total: quota(limits.stored, limits.stored_bytes),
        },
        index_cache_bytes: config.store.index_cache.get(),
        ..embedded::Options::default()
    }
}

fn quota(logs: Option<NonZeroU32>, bytes: Option<ByteSize>) -> Quota {
    Quota { logs: logs.map(|logs| u64::from(logs.get())), bytes: bytes.map(ByteSize::get) }
}

/// For the runs.
pub(super) fn runs(config: &Config) -> Options {
    let Config { runs, limits, retention, store, .. } = config;
    let count = |number: NonZeroU32| usize::try_from(number.get()).unwrap_or(usize::MAX);
    Options {
        max_time: runs.max_time,
        disconnect_grace: runs.disconnect_grace,
        on_restart: match runs.on_restart {
            config::OnRestart::Fail => OnRestart::Fail,
            config::OnRestart::Retry => OnRestart::Retry,
        },
        on_repeat: if config.idempotency.wait { OnRepeat::Wait } else { OnRepeat::Refuse },
        max_live: count(limits.live),
        max_live_per_owner: limits.live_per_owner.map(count),
        max_output_bytes: limits.output.as_usize(),
        retention: Retention {
            events: retention.events,
            responses: Some(retention.responses),
            unstored: Some(retention.unstored),
        },
        min_free_bytes: Some(store.min_free.get()),
        ..Options::default()
    }
}

/// For the backends.
pub(super) fn backends(config: &Config) -> Result<Vec<Settings>, Failure> {
    config.backends.iter().map(backend).collect()
}

fn backend(backend: &config::Backend) -> Result<Settings, Failure> {
    let count = |number: NonZeroU32| NonZeroUsize::try_from(number).unwrap_or(NonZeroUsize::MAX);
    let kind = match &backend.kind {
        config::BackendKind::Demo => Kind::Demo,
        config::BackendKind::OpenAi(openai) => Kind::OpenAi(OpenAi {
            base_url: openai.base_url.parse().map_err(Failure::start("backends.base_url"))?,
            dialect: match openai.dialect {
                config::Dialect::Chat => Dialect::Chat,
                config::Dialect::Responses => Dialect::Responses,
            },
            api_key: openai.api_key.as_ref().map(|key| key.0.clone()),
        }),
    };
    let models = match &backend.models {
        config::Models::Listed => Models::Discover,
        config::Models::Named(names) => Models::Table(names.clone()),
    };
    let mut settings = Settings::new(&backend.name, kind);
    settings.models = models;
    settings.max_concurrency = backend.max_concurrency.map(count);
    settings.queue = count(backend.queue).get();
    settings.queue_timeout = backend.queue_timeout;
    if let config::BackendKind::OpenAi(openai) = &backend.kind {
        settings.connect_timeout = openai.connect_timeout;
        settings.first_byte_timeout = openai.first_byte_timeout;
        settings.idle_timeout = openai.idle_timeout;
    }
    Ok(settings)
}
