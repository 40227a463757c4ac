//! The program: reads the command line and the settings, and does what it is asked to.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use secrecy::SecretString;
use tidemark::app::{self, Failure};
use tidemark::cli::{
    Bridge, CONFIG_ENV, Cli, Command, ConfigCommand, ConfigFile, Export, KEY_ENV, SERVER_ENV, Serve,
    StoreCommand, Way, Where, exit,
};
use tidemark::config::{Config, Loaded, Overrides, Problems, check_exposure, load};
use tidemark::manage::{Manager, Refused, Source};
use tidemark::operator::{self, Output};
use tidemark::telemetry;
use tidemark_store::embedded::Options as StoreOptions;
use tikv_jemallocator::Jemalloc;

/// What one thread makes another one lets go of: an event is written by a worker, and leaves the tail of its log by the writer. Here
/// that costs neither a lock nor the bookkeeping of the memory around it (ADR 0015).
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    match Cli::parse().command() {
        Command::Serve(serve) => run_serve(&serve),
        Command::Bridge(bridge) => run_bridge(&bridge),
        Command::Config(ConfigCommand::Print(file)) => print_config(&file),
        Command::Config(ConfigCommand::Check(file)) => check_config(&file),
        Command::Store(command) => store(&command),
        Command::Keys(keys) => manage(keys.place(), async |manager| manager.keys(&keys).await),
        Command::Users(users) => manage(users.place(), async |manager| manager.users(&users).await),
        Command::Grants(grants) => manage(grants.place(), async |manager| manager.grants(&grants).await),
        Command::Clients(clients) => {
            manage(clients.place(), async |manager| manager.oauth_clients(&clients).await)
        }
    }
}

fn settings(file: &ConfigFile, overrides: Overrides) -> Result<Loaded, Problems> {
    let path = file.path(std::env::var_os(CONFIG_ENV).map(PathBuf::from));
    load(path.as_deref(), overrides, &|name| std::env::var(name).ok())
}

fn run_serve(serve: &Serve) -> ExitCode {
    let checked = exposed(&serve.file, serve.overrides(), serve.insecure_no_auth);
    run(checked, async |config| app::serve(config, |banner| print(&banner.to_string())).await)
}

fn run_bridge(bridge: &Bridge) -> ExitCode {
    let checked = exposed(&bridge.file, bridge.overrides(), bridge.insecure_no_auth);
    run(checked, async |config| {
        app::bridge(config, &bridge.gateway, |banner| print(&banner.to_string())).await
    })
}

/// The settings of a command that listens.
fn exposed(file: &ConfigFile, overrides: Overrides, insecure_no_auth: bool) -> Result<Config, Problems> {
    let config = settings(file, overrides)?.config;
    check_exposure(&config, insecure_no_auth)?;
    Ok(config)
}

/// Runs what serves until it ends, under these settings.
fn run(
    config: Result<Config, Problems>,
    serve: impl AsyncFnOnce(&Config) -> Result<(), Failure>,
) -> ExitCode {
    let config = match config {
        Ok(config) => config,
        Err(problems) => return refuse(&problems),
    };
    let rust_log = std::env::var("RUST_LOG").ok();
    if let Err(error) = telemetry::init(&config.log, rust_log.as_deref()) {
        return fail(exit::USAGE, &error.to_string());
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(exit::FAILED, &format!("cannot start the runtime: {error}")),
    };
    let served = runtime.block_on(serve(&config));
    // Whatever still blocks on the disk shall not hold up the end of the process.
    runtime.shutdown_background();
    match served {
        Ok(()) => ExitCode::from(exit::OK),
        Err(failure) => {
            let code = match failure {
                Failure::NoCredentials => exit::USAGE,
                Failure::Open(_) | Failure::Store(_) => exit::STORE,
                Failure::Listen { .. }
                | Failure::System { .. }
                | Failure::Start { .. }
                | Failure::Stuck(_) => exit::FAILED,
            };
            fail(code, &with_causes(&failure))
        }
    }
}

fn print_config(file: &ConfigFile) -> ExitCode {
    match settings(file, Overrides::default()) {
        Ok(loaded) => {
            print(&loaded.print());
            ExitCode::from(exit::OK)
        }
        Err(problems) => refuse(&problems),
    }
}

fn check_config(file: &ConfigFile) -> ExitCode {
    match settings(file, Overrides::default()) {
        Ok(_) => {
            print("ok\n");
            ExitCode::from(exit::OK)
        }
        Err(problems) => refuse(&problems),
    }
}

fn store(command: &StoreCommand) -> ExitCode {
    let place = match command {
        StoreCommand::Stats(look) | StoreCommand::Check(look) | StoreCommand::Rebuild(look) => &look.place,
        StoreCommand::Export(export) => &export.place,
    };
    let config = match settings(&place.file, place.overrides()) {
        Ok(loaded) => loaded.config,
        Err(problems) => return refuse(&problems),
    };
    let (dir, options) = (&config.server.data_dir, app::store_options(&config));
    let done = match command {
        StoreCommand::Stats(look) => operator::stats(dir, look.form(), Output::stdout()).map(|()| exit::OK),
        StoreCommand::Check(look) => operator::check(dir, look.form(), Output::stdout())
            .map(|problems| if problems == 0 { exit::OK } else { exit::STORE }),
        StoreCommand::Rebuild(look) => {
            operator::rebuild(dir, options, look.form(), Output::stdout()).map(|()| exit::OK)
        }
        StoreCommand::Export(export) => export_responses(dir, options, export),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            let code = match failure {
                operator::Failure::Open(_) | operator::Failure::Unreadable(_) => exit::STORE,
                operator::Failure::Unknown { .. }
                | operator::Failure::Output { .. }
                | operator::Failure::System { .. } => exit::FAILED,
            };
            fail(code, &with_causes(&failure))
        }
    }
}

fn export_responses(dir: &Path, options: StoreOptions, export: &Export) -> Result<u8, operator::Failure> {
    let output = export.output.as_deref().map_or_else(|| Ok(Output::stdout()), Output::file)?;
    let exported = operator::export_blocking(dir, options, &export.selection(), output)?;
    let operator::Exported { responses, events, sessions, faults } = exported;
    if let Some(path) = &export.output {
        let path = path.display();
        print(&format!("{responses} responses with {events} events and {sessions} sessions are in {path}\n"));
    }
    if faults == 0 {
        return Ok(exit::OK);
    }
    let text = format!(
        "{faults} responses or sessions could not be read whole; `tidemark store check` says what is wrong"
    );
    let _ = fail(exit::STORE, &text);
    Ok(exit::STORE)
}

/// Does something with keys or users, and prints what came of it.
fn manage(place: &Where, work: impl AsyncFnOnce(&Manager) -> Result<String, Refused>) -> ExitCode {
    let env = |name: &str| std::env::var(name).ok();
    let source = match place.way(env(CONFIG_ENV).map(PathBuf::from), env(SERVER_ENV)) {
        Ok(Way::Online(gateway)) => {
            Source::Gateway(gateway, env(KEY_ENV).filter(|key| !key.is_empty()).map(SecretString::from))
        }
        Ok(Way::Offline(file, overrides)) => match load(file.as_deref(), overrides, &env) {
            Ok(loaded) => Source::Store(Box::new(loaded.config)),
            Err(problems) => return refuse(&problems),
        },
        Err(wrong) => return fail(exit::USAGE, &wrong),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(exit::FAILED, &format!("cannot start the runtime: {error}")),
    };
    let done = runtime.block_on(async {
        let manager = Manager::open(&source).await?;
        let done = work(&manager).await;
        manager.close().await;
        done
    });
    match done {
        Ok(text) => {
            print(&text);
            ExitCode::from(exit::OK)
        }
        Err(refused) => {
            let code = match refused {
                Refused::Open(_) | Refused::InUse(_) => exit::STORE,
                Refused::NoCredential(_) => exit::USAGE,
                Refused::Call(_) | Refused::Fault(_) => exit::FAILED,
            };
            fail(code, &with_causes(&refused))
        }
    }
}

/// An error and what lies behind it, on one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

fn refuse(problems: &Problems) -> ExitCode {
    fail(exit::USAGE, &problems.to_string())
}

#[expect(clippy::print_stderr, reason = "this is the program's own voice")]
fn fail(code: u8, text: &str) -> ExitCode {
    eprintln!("tidemark: {}", text.replace('\n', "\ntidemark: "));
    ExitCode::from(code)
}

/// Writes to stdout; that nobody reads it is no reason to stop.
fn print(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
