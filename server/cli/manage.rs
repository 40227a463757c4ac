//! The flags of `keys …` and `users …`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::ConfigFile;
use crate::app::Gateway;
use crate::config::{Overrides, parse_duration};

/// The environment variable that names the gateway when neither `--server` nor `--data-dir` is given (S-9).
pub const SERVER_ENV: &str = "TIDEMARK_SERVER";

/// The environment variable that holds the key, or the operator's secret, for calls of a gateway (S-9).
pub const KEY_ENV: &str = "TIDEMARK_KEY";

/// `keys …`
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key, and print it on the last line: it is never shown again.
    Create(CreateKey),
    /// List the keys.
    List(ListKeys),
    /// Give a key a new value, and print it on the last line.
    Rotate(RotateKey),
    /// Make a key unusable until it is enabled.
    Disable(OneKey),
    /// Make a disabled key usable again.
    Enable(OneKey),
    /// Remove a key for good.
    Delete(OneKey),
}

/// `users …`
#[derive(Debug, Subcommand)]
pub enum UsersCommand {
    /// Add a user, or enable one that was disabled.
    Add(OneUser),
    /// Disable a user: all keys of the owner of this name are refused.
    Disable(OneUser),
    /// List the users.
    List(ListUsers),
}

/// Where the keys are: in a data directory that no server has open, or at a gateway that runs.
#[derive(Args, Clone, Debug)]
pub struct Where {
    #[command(flatten)]
    file: ConfigFile,
    /// Directory of the store; no server may have it open.
    #[arg(long, value_name = "DIR", conflicts_with = "server")]
    data_dir: Option<String>,
    /// The gateway to call, such as http://127.0.0.1:4700 [env: TIDEMARK_SERVER]; TIDEMARK_KEY holds the key to call it with.
    #[arg(long, value_name = "URL")]
    server: Option<Gateway>,
}

/// The way to the keys.
#[derive(Clone, Debug)]
pub enum Way {
    /// Through the store of these settings.
    Offline(Option<PathBuf>, Overrides),
    /// Through a gateway.
    Online(Gateway),
}

impl Where {
    /// The way; `config` and `server` are the values of [`super::CONFIG_ENV`] and [`SERVER_ENV`], an empty one counts as absent. Flags
    /// win over both.
    ///
    /// # Errors
    /// What is wrong with the address in the environment.
    pub fn way(&self, config: Option<PathBuf>, server: Option<String>) -> Result<Way, String> {
        if let Some(gateway) = &self.server {
            return Ok(Way::Online(gateway.clone()));
        }
        let named = server.filter(|server| self.data_dir.is_none() && !server.is_empty());
        if let Some(server) = named {
            return server.parse().map(Way::Online).map_err(|error| format!("{SERVER_ENV}: {error}"));
        }
        let overrides = Overrides { data_dir: self.data_dir.clone(), ..Overrides::default() };
        Ok(Way::Offline(self.file.path(config), overrides))
    }
}

/// Flags of `keys create`.
#[derive(Args, Clone, Debug)]
pub struct CreateKey {
    /// Whose key it shall be: what it creates belongs to this owner.
    #[arg(long, value_name = "NAME")]
    pub owner: String,
    /// What it shall be good for, such as "responses.read,responses.write,models.read".
    #[arg(long, value_name = "LIST", value_delimiter = ',', required = true)]
    pub scopes: Vec<String>,
    /// When it shall end by itself, from now, such as 90d.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub expires_in: Option<Duration>,
    /// Print one line of JSON instead.
    #[arg(long)]
    pub json: bool,
    /// Where the keys are.
    #[command(flatten)]
    pub place: Where,
}

/// Flags of `keys list`.
#[derive(Args, Clone, Debug)]
pub struct ListKeys {
    /// Only the keys of this owner.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub owner: String,
    /// Print a line of JSON for each key instead.
    #[arg(long)]
    pub json: bool,
    /// Where the keys are.
    #[command(flatten)]
    pub place: Where,
}

/// Flags of `keys rotate`.
#[derive(Args, Clone, Debug)]
pub struct RotateKey {
    /// The id of the key, key_….
    pub id: String,
    /// How long the old value stays good, such as 24h; at most 30d. Without it, the old value ends now.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub overlap: Option<Duration>,
    /// Print one line of JSON instead.
    #[arg(long)]
    pub json: bool,
    /// Where the keys are.
    #[command(flatten)]
    pub place: Where,
}

/// Names a key.
#[derive(Args, Clone, Debug)]
pub struct OneKey {
    /// The id of the key, key_….
    pub id: String,
    /// Where the keys are.
    #[command(flatten)]
    pub place: Where,
}

/// Names a user.
#[derive(Args, Clone, Debug)]
pub struct OneUser {
    /// The name, which is that of an owner.
    pub name: String,
    /// Where the users are.
    #[command(flatten)]
    pub place: Where,
}

/// Flags of `users list`.
#[derive(Args, Clone, Debug)]
pub struct ListUsers {
    /// Where the users are.
    #[command(flatten)]
    pub place: Where,
}

impl KeysCommand {
    /// Where the keys are.
    pub fn place(&self) -> &Where {
        match self {
            Self::Create(create) => &create.place,
            Self::List(list) => &list.place,
            Self::Rotate(rotate) => &rotate.place,
            Self::Disable(key) | Self::Enable(key) | Self::Delete(key) => &key.place,
        }
    }
}

impl UsersCommand {
    /// Where the users are.
    pub fn place(&self) -> &Where {
        match self {
            Self::Add(user) | Self::Disable(user) => &user.place,
            Self::List(list) => &list.place,
        }
    }
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    parse_duration(text).ok_or("write a whole number and ms, s, m, h or d, such as 24h")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, Command};
    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(std::iter::once("tidemark").chain(line.split_whitespace())).map(Cli::command)
    }

    fn place(line: &str) -> Where {
        match parse(&format!("keys list {line}")).unwrap() {
            Command::Keys(keys) => keys.place().clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_key_is_made_of_flags() {
        let line = "keys create --owner acme --scopes responses.read,models.read --expires-in 90d --json";
        let Command::Keys(KeysCommand::Create(create)) = parse(line).unwrap() else { panic!("{line}") };
        assert_eq!(create.scopes, ["responses.read", "models.read"]);
        assert_eq!(create.expires_in, Some(Duration::from_secs(90 * 24 * 3600)));
        let Command::Users(users) = parse("users disable ann --data-dir d").unwrap() else { panic!("users") };
        assert!(matches!(users, UsersCommand::Disable(user) if user.name == "ann"));
        for wrong in [
            "keys",
            "keys create --owner acme",
            "keys create --scopes admin",
            "keys create --owner a --scopes admin --expires-in soon",
            "keys rotate",
            "keys delete key_1 key_2",
            "keys list --server https://x",
            "keys list --server http://x --data-dir d",
            "users add",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn flags_win_over_the_environment() {
        let online = |place: Where, env: Option<&str>| match place.way(None, env.map(str::to_owned)) {
            Ok(Way::Online(gateway)) => Some(gateway.to_string()),
            Ok(Way::Offline(..)) => None,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(online(place(""), None), None);
        assert_eq!(online(place(""), Some("")), None);
        assert_eq!(online(place(""), Some("http://env:1")).as_deref(), Some("http://env:1"));
        assert_eq!(online(place("--data-dir d"), Some("http://env:1")), None);
        let flag = online(place("--server http://flag:1"), Some("http://env:1"));
        assert_eq!(flag.as_deref(), Some("http://flag:1"));
        let wrong = place("").way(None, Some("env:1".to_owned())).unwrap_err();
        assert!(wrong.starts_with("TIDEMARK_SERVER: a gateway's address is"), "{wrong}");
    }
}
