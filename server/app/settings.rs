//! What the settings mean to each room.

use std::num::{NonZeroU32, NonZeroUsize};

use secrecy::ExposeSecret as _;
use tidemark_store::embedded;
use tidemark_store::{Caps, Quota, Quotas};

use super::Failure;
use crate::auth::grants::{DEVICE_INTERVAL, RedirectRules, Rules};
use crate::auth::{Digest, Mode};
use crate::backends::{Dialect, Kind, Models, OpenAi, Settings};
use crate::config::{self, ByteSize, Config, PerOwner};
use crate::limits::{FailureRule, Rates};
use crate::runs::{OnRepeat, OnRestart, Options, Retention};
use crate::sessions;

/// The most live responses of one owner with auth on, unless the settings say otherwise (D-18).
const LIVE_PER_OWNER: NonZeroU32 = NonZeroU32::new(1000).unwrap();

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
        max_live_per_owner: live_per_owner(config).map(count),
        max_output_bytes: limits.output.as_usize(),
        retention: Retention {
            events: retention.events,
            responses: Some(retention.responses),
            unstored: Some(retention.unstored),
        },
        min_free_bytes: Some(store.min_free.get()),
        sessions: sessions::Options {
            max_per_owner: limits.sessions_per_owner.map(|count| count.get().into()),
            max_items: limits.items_per_session.map(|count| count.get().into()),
            max_bytes: limits.bytes_per_session.map(ByteSize::get),
            retention: retention.sessions,
        },
        ..Options::default()
    }
}

/// The most live responses of one owner.
fn live_per_owner(config: &Config) -> Option<NonZeroU32> {
    match (config.limits.live_per_owner, &config.auth) {
        (PerOwner::Max(count), _) => Some(count),
        (PerOwner::Auto, config::Auth::Keys(_)) => Some(LIVE_PER_OWNER),
        // Whoever may call may be any owner.
        (PerOwner::Off, _) | (PerOwner::Auto, config::Auth::Off) => None,
    }
}

/// For the limit on wrong credentials: also from this machine itself, if a proxy there may speak for others.
pub(super) fn failures(config: &Config) -> Option<FailureRule> {
    let (limits, loopback) = (&config.limits, !config.server.trusted_proxies.is_empty());
    limits.auth_failures.map(|allowed| FailureRule { allowed, lock: limits.auth_lock, loopback })
}

/// For the limit on calls.
pub(super) fn rates(config: &Config) -> Rates {
    let config::Limits { rate_creates, rate_responses, rate_models, rate_admin, .. } = config.limits;
    let oauth = config.oauth.as_ref();
    Rates {
        creates: rate_creates,
        responses: rate_responses,
        models: rate_models,
        admin: rate_admin,
        oauth: oauth.and_then(|oauth| oauth.rate),
        registrations: oauth.and_then(|oauth| oauth.registration_rate),
        device_polls: Some(config::Rate { count: NonZeroU32::MIN, period: DEVICE_INTERVAL }),
    }
}

/// For the clients that the operator makes, whether or not there is an authorization server now.
pub fn redirects(config: &Config) -> RedirectRules {
    config.oauth.as_ref().map(redirect_rules).unwrap_or_default()
}

fn redirect_rules(oauth: &config::OAuth) -> RedirectRules {
    RedirectRules { hosts: oauth.redirect_hosts.clone(), schemes: oauth.redirect_schemes.clone() }
}

/// For the authorization server.
pub(super) fn oauth(oauth: &config::OAuth) -> Rules {
    Rules {
        issuer: oauth.issuer.clone(),
        keys: oauth.keys,
        users: oauth.identity_header.is_some(),
        open_registration: oauth.open_registration,
        max_clients: oauth.max_clients.get(),
        redirects: redirect_rules(oauth),
        code_ttl: oauth.code_ttl,
        access_ttl: oauth.access_ttl,
        refresh_idle: oauth.refresh_idle,
        refresh_absolute: oauth.refresh_absolute,
        keep_dead: oauth.keep_ended,
        orphan_after: oauth.orphan_after,
        sweep_period: oauth.sweep_period,
        rotate_after: oauth.signing_rotation,
    }
}

/// For the check of credentials.
pub(super) fn auth(auth: &config::Auth) -> Mode {
    match auth {
        config::Auth::Off => Mode::Off,
        config::Auth::Keys(keys) => {
            let digest = |secret: &config::Secret| Digest::of(secret.0.expose_secret().as_bytes());
            Mode::Keys { operator: keys.operator.as_ref().map(digest) }
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, parse};

    fn config(text: &str) -> Config {
        parse("f", text, Overrides::default(), &|name| {
            (name == "TIDEMARK_OPERATOR_SECRET").then(|| "x".repeat(32))
        })
        .unwrap()
        .config
    }

    #[test]
    fn an_owner_has_a_limit_of_its_own_once_owners_are_proved() {
        let limit = |text: &str| live_per_owner(&config(text)).map(NonZeroU32::get);
        let (keys, off) = ("[auth]\nmode = \"keys\"\n", "");
        for (auth, setting, expected) in [
            (off, "", None),
            (keys, "", Some(1000)),
            (off, "live_per_owner = 7", Some(7)),
            (keys, "live_per_owner = 7", Some(7)),
            (keys, "live_per_owner = \"off\"", None),
        ] {
            assert_eq!(limit(&format!("{auth}[limits]\n{setting}\n")), expected, "{auth}{setting}");
        }
    }

    #[test]
    fn behind_a_proxy_calls_from_this_machine_can_be_locked_out() {
        assert!(!failures(&config("")).unwrap().loopback);
        assert!(failures(&config("[server]\ntrusted_proxies = [\"10.0.0.1\"]")).unwrap().loopback);
        assert!(failures(&config("[limits]\nauth_failures = \"off\"")).is_none());
    }
}
