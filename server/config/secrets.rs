//! Reads secrets from where the settings say they are.
//!
//! It owns what a secret may look like. No message of it shows one.

use std::fs;
use std::io::Read;
use std::path::Path;

use secrecy::SecretString;

use super::load::Environment;
use super::tree::Secret;

/// The largest secret, in bytes.
const MAX_BYTES: u64 = 8192;

/// The secret in the environment variable of this name.
pub(super) fn from_env(name: &str, env: Environment<'_>) -> Result<Secret, String> {
    let secret = env(name).ok_or_else(|| format!("the environment variable {name} is not set"))?;
    check(&secret).map_err(|wrong| format!("the environment variable {name} {wrong}"))
}

/// The secret that a file holds, without the end of its line.
pub(super) fn from_file(path: &str) -> Result<Secret, String> {
    let path = Path::new(path);
    let failed = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let mut secret = String::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(MAX_BYTES + 1).read_to_string(&mut secret).map_err(failed)?;
    check(&secret).map_err(|wrong| format!("{} {wrong}", path.display()))
}

fn check(secret: &str) -> Result<Secret, &'static str> {
    let secret = secret.trim_end_matches(['\r', '\n']);
    match secret {
        "" => Err("is empty"),
        secret if secret.len() as u64 > MAX_BYTES => Err("is larger than 8192 bytes"),
        secret if secret.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(Secret(SecretString::from(secret)))
        }
        _ => Err("holds more than visible ASCII: it cannot go into a header"),
    }
}
