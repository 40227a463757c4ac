//! The command line.
//!
//! It owns commands, flags and exit codes. It must never know what a command does; values are checked by the settings.

mod apps;
mod manage;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use tidemark_store::Owner;

use crate::app::Gateway;
use crate::config::Overrides;
use crate::operator::{Form, Selection};
use crate::runs::ResponseId;

pub use apps::{
    ClientsCommand, CreateClient, Filter, GrantsCommand, ListClients, ListGrants, Mode as GrantMode,
    OneClient, OneGrant, RevokeGrants,
};
pub use manage::{
    CreateKey, KEY_ENV, KeysCommand, ListKeys, ListUsers, OneKey, OneUser, RotateKey, SERVER_ENV,
    UsersCommand, Way, Where,
};

/// The environment variable that names the settings file when no `--config` is given (S-9).
pub const CONFIG_ENV: &str = "TIDEMARK_CONFIG";

/// What the process says when it ends.
pub mod exit {
    /// It did what it was asked to; a drain that a signal began counts as that.
    pub const OK: u8 = 0;
    /// It failed while it was running.
    pub const FAILED: u8 = 1;
    /// The command line or the settings are wrong; nothing was started.
    pub const USAGE: u8 = 2;
    /// The store could not be opened or read, something is wrong with it, or it failed while the process was running (D-24).
    pub const STORE: u8 = 3;
}

/// A gateway that makes the answers of language models durable streams.
///
/// Without a command it serves.
#[derive(Debug, Parser)]
#[command(name = "tidemark", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

impl Cli {
    /// What to do.
    pub fn command(self) -> Command {
        self.command.unwrap_or(Command::Serve(self.serve))
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve gRPC, REST and SSE until a signal comes.
    Serve(Serve),
    /// Serve REST and SSE alone, in front of a gateway elsewhere.
    Bridge(Bridge),
    /// Look at the settings.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Work on a store that no server has open.
    #[command(subcommand)]
    Store(StoreCommand),
    /// Manage the keys that callers show.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Manage users: a disabled one ends all keys of the owner of its name.
    #[command(subcommand)]
    Users(UsersCommand),
    /// See and end what apps were given.
    #[command(subcommand)]
    Grants(GrantsCommand),
    /// Manage the apps that may ask for grants.
    #[command(subcommand)]
    Clients(ClientsCommand),
}

/// Flags of `serve`.
#[derive(Args, Clone, Debug, Default)]
pub struct Serve {
    /// Which settings to read.
    #[command(flatten)]
    pub file: ConfigFile,
    /// Address of gRPC, REST and SSE, such as 127.0.0.1:4700; port 0 = a free one.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Address of the health pages, or "off".
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<String>,
    /// Directory of the store.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// What an event must survive before it is seen: sync = a power cut, os = a crash of the process.
    #[arg(long, value_name = "sync|os")]
    pub durability: Option<String>,
    /// Serve other machines although auth is off.
    #[arg(long)]
    pub insecure_no_auth: bool,
}

impl Serve {
    /// The flags that stand over the settings file.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            listen: self.listen.clone(),
            admin: self.admin.clone(),
            data_dir: self.data_dir.clone(),
            durability: self.durability.clone(),
        }
    }
}

/// Flags of `bridge`. Of the settings it goes by `[server]` (but `data_dir` and `durability`), `[cors]` and `[log]`.
#[derive(Args, Clone, Debug)]
pub struct Bridge {
    /// Which settings to read.
    #[command(flatten)]
    pub file: ConfigFile,
    /// The gateway to call, such as http://10.0.0.7:4700.
    #[arg(long, value_name = "URL")]
    pub gateway: Gateway,
    /// Address of REST and SSE, such as 127.0.0.1:4800; port 0 = a free one.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Address of the health pages, or "off".
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<String>,
    /// Serve other machines although auth is off.
    #[arg(long)]
    pub insecure_no_auth: bool,
}

impl Bridge {
    /// The flags that stand over the settings file.
    pub fn overrides(&self) -> Overrides {
        Overrides { listen: self.listen.clone(), admin: self.admin.clone(), ..Overrides::default() }
    }
}

/// `config …`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the settings in force, without secrets.
    Print(ConfigFile),
    /// Print "ok", or everything that is wrong.
    Check(ConfigFile),
}

/// `store …`
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Say how much it holds.
    Stats(Look),
    /// Read all of it, compare the index with the log, and say what is wrong. Exit code 3 if something is.
    Check(Look),
    /// Write responses as JSON: a line for each, and one for each of its events.
    Export(Export),
    /// Throw the index away and make it anew from the log.
    Rebuild(Look),
}

/// Flags of `store stats`, `store check` and `store rebuild`.
#[derive(Args, Clone, Debug)]
pub struct Look {
    /// Where the store is.
    #[command(flatten)]
    pub place: Place,
    /// Print JSON, one object a line.
    #[arg(long)]
    json: bool,
}

impl Look {
    /// Who reads the result.
    pub fn form(&self) -> Form {
        if self.json { Form::Json } else { Form::Text }
    }
}

/// Flags of `store export`.
#[derive(Args, Clone, Debug)]
pub struct Export {
    /// Where the store is.
    #[command(flatten)]
    pub place: Place,
    /// Only the responses of this owner, the newest first.
    #[arg(long, value_name = "NAME", value_parser = owner, conflicts_with = "id")]
    owner: Option<Owner>,
    /// Only this response.
    #[arg(long, value_name = "ID")]
    id: Option<ResponseId>,
    /// Write to this file, which must not be there yet, instead of stdout.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

impl Export {
    /// Which responses are asked for.
    pub fn selection(&self) -> Selection {
        match (&self.owner, self.id) {
            (Some(owner), _) => Selection::OfOwner(owner.clone()),
            (None, Some(id)) => Selection::One(id),
            (None, None) => Selection::All,
        }
    }
}

fn owner(name: &str) -> Result<Owner, &'static str> {
    Owner::new(name).ok_or("an owner has 1 to 256 visible ASCII characters")
}

/// Where a store is.
#[derive(Args, Clone, Debug)]
pub struct Place {
    /// Which settings to read.
    #[command(flatten)]
    pub file: ConfigFile,
    /// Directory of the store.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
}

impl Place {
    /// The flags that stand over the settings file.
    pub fn overrides(&self) -> Overrides {
        Overrides { data_dir: self.data_dir.clone(), ..Overrides::default() }
    }
}

/// Which settings to read.
#[derive(Args, Clone, Debug, Default)]
pub struct ConfigFile {
    /// Settings in TOML [env: TIDEMARK_CONFIG]. Without a file the defaults hold.
    #[arg(long = "config", value_name = "FILE")]
    path: Option<PathBuf>,
}

impl ConfigFile {
    /// The file, if there is one; `env` is the value of [`CONFIG_ENV`], an empty one counts as absent.
    pub fn path(&self, env: Option<PathBuf>) -> Option<PathBuf> {
        self.path.clone().or(env).filter(|path| !path.as_os_str().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(std::iter::once("tidemark").chain(line.split_whitespace())).map(Cli::command)
    }

    #[test]
    fn the_definition_is_sound() {
        <Cli as CommandFactory>::command().debug_assert();
    }

    #[test]
    fn serve_is_the_default_with_the_same_flags() {
        let flags = "--config f.toml --listen 127.0.0.1:0 --admin off --data-dir d --durability os --insecure-no-auth";
        for line in [flags.to_owned(), format!("serve {flags}")] {
            let Command::Serve(serve) = parse(&line).unwrap() else { panic!("{line}") };
            assert_eq!(serve.file.path(None), Some("f.toml".into()));
            assert_eq!((serve.listen.as_deref(), serve.admin.as_deref()), (Some("127.0.0.1:0"), Some("off")));
            assert_eq!((serve.data_dir.as_deref(), serve.durability.as_deref()), (Some("d"), Some("os")));
            assert!(serve.insecure_no_auth);
        }
        assert!(matches!(parse("").unwrap(), Command::Serve(serve) if serve.listen.is_none()));
    }

    #[test]
    fn the_other_commands_are_there_and_nothing_else() {
        assert!(matches!(parse("config print").unwrap(), Command::Config(ConfigCommand::Print(_))));
        assert!(matches!(
            parse("config check --config x").unwrap(),
            Command::Config(ConfigCommand::Check(_))
        ));
        assert!(matches!(
            parse("store rebuild --data-dir d").unwrap(),
            Command::Store(StoreCommand::Rebuild(_))
        ));
        let Command::Store(StoreCommand::Check(look)) = parse("store check --json").unwrap() else {
            panic!()
        };
        assert_eq!(look.form(), Form::Json);
        let selection = |flags: &str| match parse(&format!("store export {flags}")) {
            Ok(Command::Store(StoreCommand::Export(export))) => export.selection(),
            other => panic!("{flags}: {other:?}"),
        };
        let id = format!("resp_{}", "ab".repeat(16));
        assert_eq!(selection("--output f"), Selection::All);
        assert_eq!(selection("--owner a"), Selection::OfOwner(Owner::new("a").unwrap()));
        assert_eq!(selection(&format!("--id {id}")), Selection::One(id.parse().unwrap()));
        let both = format!("store export --owner a --id {id}");
        for wrong in [&both, "store export --id x", "store export --owner \u{e4}", "store stats --owner a"] {
            assert_eq!(parse(wrong).unwrap_err().exit_code(), i32::from(exit::USAGE), "{wrong}");
        }
        for wrong in ["config", "store", "serv", "--lisen x", "--listen x serve", "serve extra"] {
            assert_eq!(parse(wrong).unwrap_err().exit_code(), i32::from(exit::USAGE), "{wrong}");
        }
    }

    #[test]
    fn a_bridge_needs_a_gateway() {
        let line = "bridge --gateway http://gate:1 --listen 127.0.0.1:0 --admin off --config f.toml";
        let Command::Bridge(bridge) = parse(line).unwrap() else { panic!("{line}") };
        assert_eq!(bridge.gateway.to_string(), "http://gate:1");
        assert_eq!(bridge.overrides().listen.as_deref(), Some("127.0.0.1:0"));
        assert_eq!(bridge.overrides().admin.as_deref(), Some("off"));
        for wrong in
            ["bridge", "bridge --gateway https://gate:1", "bridge --gateway http://gate:1 --data-dir d"]
        {
            assert_eq!(parse(wrong).unwrap_err().exit_code(), i32::from(exit::USAGE), "{wrong}");
        }
    }

    #[test]
    fn the_flag_wins_over_the_environment() {
        let file = |path: Option<&str>| ConfigFile { path: path.map(PathBuf::from) };
        assert_eq!(file(Some("a")).path(Some("b".into())), Some("a".into()));
        assert_eq!(file(None).path(Some("b".into())), Some("b".into()));
        assert_eq!(file(None).path(Some("".into())), None);
    }
}
