//! Reads `[auth]`, and judges who may be let in where.
//!
//! It owns what must be set before anybody is let in (D-32). It must never know how a credential is checked.

use secrecy::ExposeSecret as _;

use super::load::Environment;
use super::problem::Problems;
use super::reader::Section;
use super::secrets;
use super::tree::{Auth, Config, KeysAuth, Secret};

/// The environment variable that holds the operator's secret (S-8).
const OPERATOR_SECRET_ENV: &str = "TIDEMARK_OPERATOR_SECRET";

/// The shortest secret of the operator, in bytes.
const MIN_OPERATOR_BYTES: usize = 32;

/// How the absence of a file is spelled.
const OFF: &str = "off";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Off,
    Keys,
}

/// Who may call, or `None` if something is wrong.
pub(super) fn auth(section: Section<'_, '_>, env: Environment<'_>) -> Option<Auth> {
    let auth = match section.word("mode", &[("off", Mode::Off), ("keys", Mode::Keys)]) {
        Some(Mode::Keys) => operator(&section, env).map(|operator| Auth::Keys(KeysAuth { operator })),
        Some(Mode::Off) => {
            let file = section.string("operator_secret_file", "a file or \"off\"", |file| match file {
                OFF => Ok(()),
                _ => Err("means nothing with mode = \"off\": take it out".to_owned()),
            });
            file.map(|()| Auth::Off)
        }
        None => None,
    };
    section.end();
    auth
}

/// The operator's secret: absent if there is none, `None` if it cannot be had.
fn operator(section: &Section<'_, '_>, env: Environment<'_>) -> Option<Option<Secret>> {
    let from_file = section.string("operator_secret_file", "a file or \"off\"", |file| match file {
        OFF => Ok(None),
        file => check(secrets::from_file(file)?).map_err(|wrong| format!("{file} {wrong}")).map(Some),
    })?;
    if env(OPERATOR_SECRET_ENV).is_none() {
        return Some(from_file);
    }
    let from_env = secrets::from_env(OPERATOR_SECRET_ENV, env).and_then(|secret| {
        check(secret).map_err(|wrong| format!("the environment variable {OPERATOR_SECRET_ENV} {wrong}"))
    });
    let problem = match (from_env, from_file) {
        (Ok(secret), None) => return Some(Some(secret)),
        (Ok(_), Some(_)) => format!("{OPERATOR_SECRET_ENV} is set too: the secret comes from one place"),
        (Err(problem), _) => problem,
    };
    section.report("operator_secret_file", problem);
    None
}

fn check(secret: Secret) -> Result<Secret, String> {
    let text = secret.0.expose_secret();
    if text.len() < MIN_OPERATOR_BYTES {
        return Err(format!(
            "is shorter than {MIN_OPERATOR_BYTES} characters: make one with `openssl rand -hex 32`"
        ));
    }
    if crate::auth::Key::looks_like(text) {
        return Err(
            "looks like a key of the gateway: the operator's secret must be something else".to_owned()
        );
    }
    Ok(secret)
}

/// Refuses to serve others without auth (D-32).
///
/// # Errors
/// `listen` is not a loopback address, auth is off, and the operator did not insist.
pub fn check_exposure(config: &Config, insecure_no_auth: bool) -> Result<(), Problems> {
    let checked = matches!(config.auth, Auth::Keys(_));
    if checked || insecure_no_auth || config.server.listen.ip().is_loopback() {
        return Ok(());
    }
    let listen = config.server.listen;
    Err(Problems::one(
        "server.listen",
        format!(
            "{listen} can be reached from other machines and auth is off: everybody could read and create. Listen on \
             127.0.0.1, set auth.mode = \"keys\", or say --insecure-no-auth if something else keeps strangers away"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::load::{Overrides, parse};
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn read_with(secret: Option<&str>, text: &str) -> Result<Config, String> {
        let env = |name: &str| secret.filter(|_| name == OPERATOR_SECRET_ENV).map(str::to_owned);
        let loaded = parse("file", text, Overrides::default(), &env).map_err(|error| error.to_string())?;
        let shown = format!("{loaded:?}{}", loaded.print());
        assert!(!shown.contains(SECRET), "{shown}");
        Ok(loaded.config)
    }

    fn read(text: &str) -> Result<Config, String> {
        read_with(None, text)
    }

    fn secret_of(config: &Config) -> Option<&str> {
        match &config.auth {
            Auth::Keys(keys) => keys.operator.as_ref().map(|secret| secret.0.expose_secret()),
            Auth::Off => panic!("auth is off"),
        }
    }

    #[test]
    fn the_operators_secret_comes_from_one_place() {
        let keys = "[auth]\nmode = \"keys\"\n";
        assert_eq!(secret_of(&read(keys).unwrap()), None);
        assert_eq!(secret_of(&read_with(Some(SECRET), keys).unwrap()), Some(SECRET));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{SECRET}\n")).unwrap();
        let with_file = format!("{keys}operator_secret_file = {:?}\n", file.path());
        assert_eq!(secret_of(&read(&with_file).unwrap()), Some(SECRET));
        let both = read_with(Some(SECRET), &with_file).unwrap_err();
        assert!(both.contains("comes from one place"), "{both}");
        let off = read(&with_file.replace("keys", "off")).unwrap_err();
        assert!(off.contains("means nothing with mode = \"off\""), "{off}");
        assert!(matches!(read_with(Some("x"), "").unwrap().auth, Auth::Off), "not read while auth is off");
    }

    #[test]
    fn a_secret_that_is_none_stops_the_start_and_is_not_shown() {
        let key = format!("tmk_{SECRET}");
        for (wrong, why) in [
            ("", "is empty"),
            ("short-hush", "is shorter than 32 characters"),
            (key.as_str(), "looks like a key"),
            ("0123456789abcdef 0123456789abcdef", "more than visible ASCII"),
        ] {
            let problem = read_with(Some(wrong), "[auth]\nmode = \"keys\"\n").unwrap_err();
            assert!(problem.contains(why), "{problem}");
            assert!(wrong.is_empty() || !problem.contains(wrong), "{problem}");
        }
        let missing =
            read("[auth]\nmode = \"keys\"\noperator_secret_file = \"/no/such/file\"\n").unwrap_err();
        assert!(
            missing.starts_with("auth.operator_secret_file (line 3): /no/such/file cannot be read"),
            "{missing}"
        );
    }

    #[test]
    fn a_public_address_without_auth_needs_the_operators_word() {
        let config = |listen: &str| read(&format!("[server]\nlisten = {listen:?}")).unwrap();
        for loopback in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1"] {
            assert_eq!(check_exposure(&config(loopback), false), Ok(()), "{loopback}");
        }
        for public in ["0.0.0.0:1", "192.168.0.1:1", "[::]:1"] {
            let refused = check_exposure(&config(public), false).unwrap_err().to_string();
            assert!(refused.contains("--insecure-no-auth"), "{refused}");
            assert_eq!(check_exposure(&config(public), true), Ok(()), "{public}");
            let keys = read(&format!("[server]\nlisten = {public:?}\n[auth]\nmode = \"keys\"")).unwrap();
            assert_eq!(check_exposure(&keys, false), Ok(()), "{public}");
        }
    }
}
