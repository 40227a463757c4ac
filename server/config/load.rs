//! Reads all settings: flags over the file over `defaults.toml`.
//!
//! It owns which settings there are and their bounds. It must never know how a file is spelled.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use ipnet::IpNet;
use tidemark_proto::MAX_MESSAGE_BYTES;
use toml::de::{DeTable, DeValue};
use tracing_subscriber::EnvFilter;

use super::auth::auth;
use super::backends::backends;
use super::oauth::oauth;
use super::problem::Problems;
use super::reader::{Flags, Reading, Section};
use super::tree::{
    Config, Cors, Durability, ForwardedHeader, Idempotency, Limits, Log, LogFormat, OnRestart, Retention,
    Runs, Server, Store,
};
use super::units::ByteSize;

/// Every setting with its default value and a comment.
pub const DEFAULTS: &str = include_str!("defaults.toml");

/// The largest settings file, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Room in a message for what a request body becomes besides its own bytes.
const MESSAGE_ROOM: u64 = 1 << 20;

/// The highest limit on the number of stored responses.
const MAX_STORED: u32 = 4_000_000_000;

/// The longest host name, in bytes.
const MAX_HOST_BYTES: usize = 253;

/// Looks up an environment variable; absent or not UTF-8 = `None`.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// Settings from the command line; absent = not given.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--listen`.
    pub listen: Option<String>,
    /// `--admin`.
    pub admin: Option<String>,
    /// `--data-dir`.
    pub data_dir: Option<String>,
    /// `--durability`.
    pub durability: Option<String>,
}

impl Overrides {
    fn flags(self) -> Flags {
        let given = [
            ("server.listen", "--listen", self.listen),
            ("server.admin", "--admin", self.admin),
            ("server.data_dir", "--data-dir", self.data_dir),
            ("server.durability", "--durability", self.durability),
        ];
        let value = |text: String| DeValue::String(text.into());
        given.into_iter().filter_map(|(path, flag, text)| Some((path, (flag, value(text?))))).collect()
    }
}

/// Settings that were read and checked.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// The values in force as TOML literals by key path, for `config print`.
    pub(super) literals: BTreeMap<String, String>,
}

/// Reads the settings from `file`, or from the defaults alone if there is none.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn load(file: Option<&Path>, overrides: Overrides, env: Environment<'_>) -> Result<Loaded, Problems> {
    let (name, text) = match file {
        Some(path) => {
            let name = path.display().to_string();
            let text = read_file(path).map_err(|error| Problems::one(&name, error.to_string()))?;
            (name, text)
        }
        None => ("defaults".to_owned(), String::new()),
    };
    parse(&name, &text, overrides, env)
}

fn read_file(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "is larger than 1MiB"));
    }
    fs::read_to_string(path)
}

/// Reads the settings from `text`; `name` is what messages call it.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn parse(name: &str, text: &str, overrides: Overrides, env: Environment<'_>) -> Result<Loaded, Problems> {
    let flags = overrides.flags();
    let reading = Reading::new(text, &flags);
    let defaults =
        DeTable::parse(DEFAULTS).map_err(|error| Problems::one("defaults.toml", error.to_string()))?;
    let file = reading.parse(name);
    let config = config(Section::root(&reading, &file, defaults.get_ref()), env);
    let literals = reading.end()?;
    let config = config.ok_or_else(|| Problems::one(name, "the settings cannot be read"))?;
    Ok(Loaded { config, literals })
}

pub(super) const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub(super) const fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 3600)
}

fn config(root: Section<'_, '_>, env: Environment<'_>) -> Option<Config> {
    let server = server(root.table("server"));
    let auth = auth(root.table("auth"), env);
    let oauth = oauth(root.table("oauth"), auth.as_ref(), server.as_ref());
    let backends = backends(&root, env);
    let durability = server.as_ref().map(|server| server.durability);
    let runs = runs(root.table("runs"), durability);
    let idempotency = idempotency(root.table("idempotency"));
    let limits = limits(root.table("limits"));
    let retention = retention(root.table("retention"));
    let store = store(root.table("store"));
    let cors = cors(root.table("cors"));
    let log = log(root.table("log"));
    root.end();
    Some(Config {
        server: server?,
        auth: auth?,
        oauth: oauth?,
        backends: backends?,
        runs: runs?,
        idempotency: idempotency?,
        limits: limits?,
        retention: retention?,
        store: store?,
        cors: cors?,
        log: log?,
    })
}

fn server(section: Section<'_, '_>) -> Option<Server> {
    let largest_body = ByteSize::bytes(MAX_MESSAGE_BYTES as u64 - MESSAGE_ROOM);
    let listen = section.address("listen");
    let admin = section.address_or_off("admin");
    let data_dir = section.string("data_dir", "a directory", |text| match text {
        "" => Err("must be a directory, found \"\"".to_owned()),
        text => Ok(PathBuf::from(text)),
    });
    let durability = section.word("durability", &[("sync", Durability::Sync), ("os", Durability::Os)]);
    let drain = section.duration("drain", &(millis(1000)..=hours(1)));
    let body_limit = section.size("body_limit", &(ByteSize::kib(1)..=largest_body));
    let header_timeout = section.duration("header_timeout", &(millis(100)..=millis(600_000)));
    let header_limit = section.size("header_limit", &(ByteSize::kib(8)..=ByteSize::mib(1)));
    let write_timeout = section.duration("write_timeout", &(millis(100)..=hours(1)));
    let hosts = section.list("hosts", check_host);
    let trusted_proxies = section.list("trusted_proxies", network);
    let forwarded_header = section.word(
        "forwarded_header",
        &[("x-forwarded-for", ForwardedHeader::XForwardedFor), ("forwarded", ForwardedHeader::Forwarded)],
    );
    if let (Some(listen), Some(Some(admin))) = (listen, admin) {
        check_ports(&section, listen, admin);
    }
    section.end();
    Some(Server {
        listen: listen?,
        admin: admin?,
        data_dir: data_dir?,
        durability: durability?,
        drain: drain?,
        body_limit: body_limit?,
        header_timeout: header_timeout?,
        header_limit: header_limit?,
        write_timeout: write_timeout?,
        hosts: hosts?,
        trusted_proxies: trusted_proxies?,
        forwarded_header: forwarded_header?,
    })
}

fn check_ports(section: &Section<'_, '_>, listen: SocketAddr, admin: SocketAddr) {
    if listen == admin && listen.port() != 0 {
        section.report("admin", format!("must not be the same as listen, {listen}"));
    }
}

pub(super) fn check_host(host: &str) -> Result<String, String> {
    let letters = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if letters && (1..=MAX_HOST_BYTES).contains(&host.len()) {
        return Ok(host.to_ascii_lowercase());
    }
    Err(format!("{host:?} is no host name: write it without scheme and port, such as \"tidemark.internal\""))
}

/// A network of proxies, or the address of one. Everybody is not among them: any client could name any address.
fn network(found: &str) -> Result<IpNet, String> {
    let network = found.parse::<IpNet>().or_else(|_| found.parse::<IpAddr>().map(IpNet::from));
    let network = network
        .map_err(|_| format!("{found:?} is no network: write it as \"10.0.0.0/8\" or \"10.0.0.1\""))?;
    if network.prefix_len() == 0 {
        return Err(format!("{found:?} is everybody: name the networks of your proxies"));
    }
    if network != network.trunc() {
        return Err(format!("{found:?} names an address within a network: write \"{}\"", network.trunc()));
    }
    Ok(network)
}

fn runs(section: Section<'_, '_>, durability: Option<Durability>) -> Option<Runs> {
    let max_time = section.duration("max_time", &(millis(1000)..=hours(30 * 24)));
    let disconnect_grace = section.duration("disconnect_grace", &(millis(1)..=hours(1)));
    let on_restart = section.word("on_restart", &[("fail", OnRestart::Fail), ("retry", OnRestart::Retry)]);
    if on_restart == Some(OnRestart::Retry) && durability == Some(Durability::Os) {
        section.report(
            "on_restart",
            "\"retry\" needs durability = \"sync\": else what was shown may be unknown".to_owned(),
        );
    }
    section.end();
    Some(Runs { max_time: max_time?, disconnect_grace: disconnect_grace?, on_restart: on_restart? })
}

fn idempotency(section: Section<'_, '_>) -> Option<Idempotency> {
    let wait = section.word("wait", &[("on", true), ("off", false)]);
    section.end();
    Some(Idempotency { wait: wait? })
}

fn limits(section: Section<'_, '_>) -> Option<Limits> {
    let live = section.count("live", &(1..=1_000_000));
    let live_per_owner = section.per_owner("live_per_owner", &(1..=1_000_000));
    let stored = section.count_or_off("stored", &(1..=MAX_STORED));
    let stored_per_owner = section.count_or_off("stored_per_owner", &(1..=MAX_STORED));
    let bytes = ByteSize::mib(1)..=ByteSize::gib(1 << 20);
    let stored_bytes = section.size_or_off("stored_bytes", &bytes);
    let stored_bytes_per_owner = section.size_or_off("stored_bytes_per_owner", &bytes);
    let events_per_response = section.count("events_per_response", &(16..=1_000_000));
    let bytes_per_response = section.size("bytes_per_response", &(ByteSize::kib(16)..=ByteSize::gib(4)));
    let output = section.size("output", &(ByteSize::bytes(1)..=ByteSize::mib(8)));
    let sessions_per_owner = section.count_or_off("sessions_per_owner", &(1..=1_000_000));
    let items_per_session = section.count_or_off("items_per_session", &(1..=10_000_000));
    let bytes_per_session = section.size_or_off("bytes_per_session", &(ByteSize::kib(16)..=ByteSize::gib(4)));
    let auth_failures = section.rate_or_off("auth_failures", &(1..=100), &(millis(1000)..=hours(1)));
    let auth_lock = section.duration("auth_lock", &(millis(1000)..=hours(24)));
    let rate = |key| section.rate_or_off(key, &(1..=1_000_000), &(millis(1000)..=hours(24)));
    let (rate_creates, rate_responses) = (rate("rate_creates"), rate("rate_responses"));
    let (rate_models, rate_admin) = (rate("rate_models"), rate("rate_admin"));
    section.end();
    Some(Limits {
        live: live?,
        live_per_owner: live_per_owner?,
        stored: stored?,
        stored_per_owner: stored_per_owner?,
        stored_bytes: stored_bytes?,
        stored_bytes_per_owner: stored_bytes_per_owner?,
        events_per_response: events_per_response?,
        bytes_per_response: bytes_per_response?,
        output: output?,
        sessions_per_owner: sessions_per_owner?,
        items_per_session: items_per_session?,
        bytes_per_session: bytes_per_session?,
        auth_failures: auth_failures?,
        auth_lock: auth_lock?,
        rate_creates: rate_creates?,
        rate_responses: rate_responses?,
        rate_models: rate_models?,
        rate_admin: rate_admin?,
    })
}

fn retention(section: Section<'_, '_>) -> Option<Retention> {
    let bounds: RangeInclusive<Duration> = millis(1000)..=hours(3650 * 24);
    let events = section.duration_or_off("events", &bounds);
    let responses = section.duration("responses", &bounds);
    let unstored = section.duration("unstored", &bounds);
    let sessions = section.duration_or_off("sessions", &bounds);
    section.end();
    Some(Retention { events: events?, responses: responses?, unstored: unstored?, sessions: sessions? })
}

fn store(section: Section<'_, '_>) -> Option<Store> {
    let min_free = section.size("min_free", &(ByteSize::bytes(1)..=ByteSize::gib(1024)));
    let index_cache = section.size("index_cache", &(ByteSize::mib(1)..=ByteSize::gib(64)));
    section.end();
    Some(Store { min_free: min_free?, index_cache: index_cache? })
}

fn cors(section: Section<'_, '_>) -> Option<Cors> {
    let origins = section.list("origins", check_origin);
    section.end();
    Some(Cors { origins: origins? })
}

/// The origin as a browser sends it.
fn check_origin(found: &str) -> Result<String, String> {
    let refused =
        || format!("{found:?} is no origin: write scheme, host and port as in \"https://app.example.com\"");
    let url = reqwest::Url::parse(found).map_err(|_| refused())?;
    let origin = url.origin();
    let bare = matches!(url.scheme(), "http" | "https")
        && found.trim_end_matches('/').eq_ignore_ascii_case(&origin.ascii_serialization());
    if bare { Ok(origin.ascii_serialization()) } else { Err(refused()) }
}

fn log(section: Section<'_, '_>) -> Option<Log> {
    let format = section.word("format", &[("pretty", LogFormat::Pretty), ("json", LogFormat::Json)]);
    let level =
        section.string("level", "a level such as \"info\"", |text| match EnvFilter::builder().parse(text) {
            Ok(_) if !text.is_empty() => Ok(text.to_owned()),
            _ => Err(format!(
                "{text:?} is no level: write \"info\", or levels by target such as \"info,tidemark=debug\""
            )),
        });
    section.end();
    Some(Log { format: format?, level: level? })
}

#[cfg(test)]
mod tests {
    use super::super::tree::PerOwner;
    use super::*;

    fn no_env(_: &str) -> Option<String> {
        None
    }

    fn read(text: &str) -> Result<Loaded, Problems> {
        parse("file.toml", text, Overrides::default(), &no_env)
    }

    fn problems(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn without_a_file_the_defaults_hold() {
        let config = load(None, Overrides::default(), &no_env).unwrap().config;
        assert_eq!(config.server.listen.to_string(), "127.0.0.1:4700");
        assert_eq!(config.server.durability, Durability::Sync);
        assert_eq!((config.limits.live.get(), config.limits.live_per_owner), (10_000, PerOwner::Auto));
        assert_eq!(
            (config.limits.events_per_response.get(), config.limits.bytes_per_response),
            (8192, ByteSize::mib(64))
        );
        assert_eq!((config.runs.max_time, config.retention.responses), (hours(1), hours(720)));
        assert_eq!(config.backends.len(), 1);
    }

    #[test]
    fn every_problem_is_said_at_once_with_its_place() {
        let text = r#"
[server]
lisen = "127.0.0.1:1"
listen = "localhost:4700"
drain = "30"
header_timeout = "0s"
body_limit = 16
durability = "always"
[limits]
live = 0
live_per_owner = "none"
stored = -1
stored_per_owner = 0
stored_bytes = 17
stored_bytes_per_owner = "0MiB"
output = "1TiB"
[auth]
mode = "key"
[retentoin]
events = "1h"
[cors]
origins = ["https://a.example/path", 3]
[log]
level = "info=loud"
[[backends]]
kind = "openai"
"#;
        insta::assert_snapshot!(problems(text), @r#"
        backends[0].name: is missing: the name of the backend
        backends[0].base_url: is missing: kind = "openai" needs the URL before /chat/completions or /responses, such as "http://127.0.0.1:8080/v1"
        server.lisen (line 3): is not a setting; did you mean `listen`?
        server.listen (line 4): "localhost:4700" is no address (invalid socket address syntax): write an IP address and a port, such as "127.0.0.1:4700" or "[::1]:4700"
        server.drain (line 5): "30" is no duration: write a whole number and ms, s, m, h or d, such as "15s"
        server.header_timeout (line 6): must be "100ms" to "10m", found "0s"
        server.body_limit (line 7): must be a size such as "64MiB", found a whole number
        server.durability (line 8): must be "sync" or "os", found "always"
        limits.live (line 10): must be 1 to 1000000, found 0
        limits.live_per_owner (line 11): must be a whole number, "auto" or "off", found "none"
        limits.stored (line 12): must be 1 to 4000000000, found -1
        limits.stored_per_owner (line 13): must be 1 to 4000000000, found 0
        limits.stored_bytes (line 14): must be a size such as "64MiB", or "off", found a whole number
        limits.stored_bytes_per_owner (line 15): must be "1MiB" to "1048576GiB", found "0MiB"
        limits.output (line 16): "1TiB" is no size: write a whole number and B, KiB, MiB or GiB, such as "64MiB"
        auth.mode (line 18): must be "off" or "keys", found "key"
        retentoin (line 19): is not a setting; did you mean `retention`?
        cors.origins (line 22): "https://a.example/path" is no origin: write scheme, host and port as in "https://app.example.com"; must be a list of strings, found a whole number
        log.level (line 24): "info=loud" is no level: write "info", or levels by target such as "info,tidemark=debug"
        "#);
    }

    #[test]
    fn what_is_not_toml_hides_nothing_else() {
        let found = problems("[server]\nlisten = \n[limits]\nlive = -1\n");
        assert!(found.starts_with("file.toml (line 2): "), "{found}");
        assert!(found.contains("limits.live (line 4): must be 1 to 1000000, found -1"), "{found}");
        assert!(problems("[log]\n[log]\n").contains("(line 2)"));
    }

    #[test]
    fn flags_win_and_are_named_in_problems() {
        let flags = |listen: &str| Overrides {
            listen: Some(listen.to_owned()),
            admin: Some("off".to_owned()),
            data_dir: Some("/d".to_owned()),
            durability: Some("os".to_owned()),
        };
        let loaded = parse("f", "[server]\nlisten = \"127.0.0.1:1\"", flags("[::1]:0"), &no_env).unwrap();
        let server = &loaded.config.server;
        assert_eq!((server.listen.to_string().as_str(), server.admin), ("[::1]:0", None));
        assert_eq!((server.data_dir.as_path(), server.durability), (Path::new("/d"), Durability::Os));
        let wrong = parse("f", "", flags("here"), &no_env).unwrap_err().to_string();
        assert!(wrong.starts_with("--listen: \"here\" is no address"), "{wrong}");
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        assert!(problems("[server]\nadmin = \"127.0.0.1:4700\"").contains("must not be the same as listen"));
        let restart = problems("[server]\ndurability = \"os\"\n[runs]\non_restart = \"retry\"");
        assert!(restart.contains("runs.on_restart (line 4)"), "{restart}");
    }

    #[test]
    fn limits_of_nothing_and_proxies_that_are_anybody_stop_the_start() {
        let text = "[server]\ntrusted_proxies = [\"10.0.0.0/8\", \"::/0\", \"10.1.2.3/8\", \"proxy\"]\n\
                    forwarded_header = \"via\"\n\
                    [limits]\nauth_failures = \"0 per 60s\"\nauth_lock = \"0s\"\nrate_creates = \"30 per 0s\"\n\
                    rate_models = \"0 per 60s\"\nrate_admin = 60\nrate_responses = \"none\"\nlive_per_owner = 0\n";
        insta::assert_snapshot!(problems(text), @r#"
        server.trusted_proxies (line 2): "::/0" is everybody: name the networks of your proxies; "10.1.2.3/8" names an address within a network: write "10.0.0.0/8"; "proxy" is no network: write it as "10.0.0.0/8" or "10.0.0.1"
        server.forwarded_header (line 3): must be "x-forwarded-for" or "forwarded", found "via"
        limits.auth_failures (line 5): must be 1 to 100 in a time, found "0 per 60s"
        limits.auth_lock (line 6): must be "1s" to "1d", found "0s"
        limits.rate_creates (line 7): must be "1s" to "1d", found "30 per 0s"
        limits.rate_models (line 8): must be 1 to 1000000 in a time, found "0 per 60s"
        limits.rate_admin (line 9): must be a rate such as "30 per 60s", or "off", found a whole number
        limits.rate_responses (line 10): "none" is no rate: write it as "30 per 60s", or "off"
        limits.live_per_owner (line 11): must be 1 to 1000000, found 0
        "#);
    }

    #[test]
    fn proxies_are_networks_or_addresses() {
        let text = "[server]\ntrusted_proxies = [\"10.0.0.0/8\", \"192.0.2.1\", \"fd00::/8\"]";
        let networks = read(text).unwrap().config.server.trusted_proxies;
        let networks: Vec<_> = networks.iter().map(ToString::to_string).collect();
        assert_eq!(networks, ["10.0.0.0/8", "192.0.2.1/32", "fd00::/8"]);
    }

    #[test]
    fn origins_are_kept_as_browsers_send_them() {
        let config = read("[cors]\norigins = [\"https://App.Example\", \"http://h:8080/\", \"http://h:80\"]")
            .unwrap_err();
        assert!(
            config.to_string().contains("\"http://h:80\" is no origin"),
            "the default port is never sent: {config}"
        );
        let config = read("[cors]\norigins = [\"https://App.Example\", \"http://h:8080/\"]").unwrap().config;
        assert_eq!(config.cors.origins, ["https://app.example", "http://h:8080"]);
    }

    #[test]
    fn what_is_printed_reads_back_as_the_same() {
        let text = "[server]\ndrain = \"7s\"\nhosts = [\"a\", \"b\"]\n\
                    [[backends]]\nname = \"x\"\nkind = \"openai\"\nbase_url = \"http://h\"\nmodels = { \"a b\" = \"c\" }\n\
                    [[backends]]\nname = \"demo\"\nkind = \"demo\"\nmax_concurrency = 4\n";
        let loaded = read(text).unwrap();
        let again = read(&loaded.print()).unwrap();
        assert_eq!(format!("{:?}", again.config), format!("{:?}", loaded.config));
        assert_eq!(again.print(), loaded.print());
        assert!(
            loaded
                .print()
                .contains("# How long a shutdown waits for responses that run. 1s to 1h.\ndrain = \"7s\"")
        );
        let printed = load(None, Overrides::default(), &no_env).unwrap().print();
        let (before, rest) = DEFAULTS.split_once("\n[[backends]]\n").unwrap();
        let (_, after) = rest.split_once("\n\n").unwrap();
        assert!(printed.starts_with(before) && printed.ends_with(after), "{printed}");
    }

    #[test]
    fn a_file_that_is_missing_is_a_problem_of_the_file() {
        let missing = load(Some(Path::new("/no/such.toml")), Overrides::default(), &no_env).unwrap_err();
        assert!(missing.to_string().starts_with("/no/such.toml: "), "{missing}");
    }
}
