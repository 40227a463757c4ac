//! `tidemark keys` and `tidemark users`, in a data directory and at a gateway that runs (D-31, D-32, S-9).

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::common::rest::Client;
use crate::common::server::{Server, tidemark, tidemark_with};

const KEYS: &str = "[auth]\nmode = \"keys\"\n";

/// Exit code, stdout and stderr.
fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// What a command prints that must work.
fn done(output: &Output) -> String {
    let (code, out, err) = said(output);
    assert_eq!(code, 0, "{err}");
    out
}

/// Runs `keys` or `users` in a data directory.
fn offline(data: &Path, line: &str) -> Output {
    let data = data.to_str().unwrap();
    tidemark(line.split(' ').chain(["--data-dir", data]))
}

/// The same at a gateway, with this key.
fn online(server: &Server, key: &str, line: &str) -> Output {
    let env = [("TIDEMARK_SERVER", server.gateway_url()), ("TIDEMARK_KEY", key.to_owned())];
    tidemark_with(env, line.split(' '))
}

/// The last line, and the id on the first.
fn key_of(printed: &str) -> (&str, &str) {
    (printed.lines().last().unwrap(), printed.split(' ').next().unwrap())
}

async fn models(server: &Server, key: &str) -> u16 {
    Client::json(Client::new(&server.url()).with_key(key).get("/v1/models")).await.0
}

#[tokio::test]
async fn a_key_made_offline_opens_the_gateway_and_manages_it_online() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let printed = done(&offline(&data, "keys create --owner root --scopes admin"));
    let (admin, admin_id) = key_of(&printed);
    assert!(admin.starts_with("tmk_") && admin.len() > 70, "the key is alone on the last line: {printed}");
    let json = done(&offline(&data, "keys create --owner acme --scopes models.read --expires-in 1d --json"));
    let names: Vec<_> = json.split('"').skip(1).step_by(2).collect();
    assert_eq!(
        names.iter().filter(|name| ["id", "key", "owner", "scopes", "expires_at"].contains(name)).count(),
        5
    );
    let made: Value = serde_json::from_str(&json).unwrap();
    let (key, id) = (made["key"].as_str().unwrap(), made["id"].as_str().unwrap());

    let server = Server::start_over(KEYS, &data);
    assert_eq!((models(&server, admin).await, models(&server, key).await), (200, 200));
    let (code, _, err) = said(&offline(&data, "keys list"));
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("in use by another process") && err.contains("--server"), "{err}");

    let list = done(&online(&server, admin, "keys list"));
    assert!(list.contains(&format!("{admin_id} active root admin\n")), "{list}");
    assert!(list.contains(&format!("{id} active acme models.read until ")), "{list}");
    assert!(!list.contains("tmk_"), "{list}");
    done(&online(&server, admin, &format!("keys disable {id}")));
    assert_eq!(models(&server, key).await, 401);
    done(&online(&server, admin, &format!("keys enable {id}")));
    let rotated = done(&online(&server, admin, &format!("keys rotate {id} --overlap 1h")));
    let (second, same) = key_of(&rotated);
    assert_eq!(same, id);
    assert_eq!((models(&server, key).await, models(&server, second).await), (200, 200));
    done(&online(&server, admin, "users add acme"));
    done(&online(&server, admin, "users disable acme"));
    assert_eq!(done(&online(&server, admin, "users list")), "acme disabled\n");
    assert_eq!((models(&server, key).await, models(&server, second).await), (401, 401));
    done(&online(&server, admin, "users add acme"));
    done(&online(&server, admin, &format!("keys delete {id}")));
    assert_eq!(models(&server, second).await, 401);
    let listed = done(&online(&server, admin, "keys list --owner acme --json"));
    assert_eq!(listed, "");
}

#[tokio::test]
async fn what_cannot_be_done_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let printed = done(&offline(&data, "keys create --owner acme --scopes responses.read"));
    let (key, _) = key_of(&printed);
    let unknown = format!("keys delete key_{}", "0".repeat(32));
    for (line, why) in [
        (unknown.as_str(), "no key with this id"),
        ("keys disable nonsense", "no key with this id"),
        ("keys create --owner acme --scopes everything", "the scopes are responses.read, "),
        ("users disable nobody", "no user of this name"),
    ] {
        let (code, out, err) = said(&offline(&data, line));
        assert_eq!((code, out.as_str()), (1, ""), "{err}");
        assert!(err.contains(why), "{err}");
    }
    let server = Server::start_over(KEYS, &data);
    let (code, _, err) = said(&online(&server, key, "keys list"));
    assert_eq!(code, 1);
    assert!(err.contains("keys.admin"), "{err}");
    let (code, _, err) = said(&online(&server, "", "keys list"));
    assert_eq!(code, 2);
    assert!(err.contains("TIDEMARK_KEY must hold"), "{err}");
    let (code, _, err) = said(&online(&server, "wrong", "keys list"));
    assert_eq!(code, 1);
    assert!(err.contains("no valid credential"), "{err}");
}

#[test]
fn a_gateway_that_nobody_could_call_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let (config, data) = (dir.path().join("t.toml"), dir.path().join("data"));
    fs::write(&config, KEYS).unwrap();
    let serve = || {
        let places = ["--config", config.to_str().unwrap(), "--data-dir", data.to_str().unwrap()];
        ["serve", "--listen", "127.0.0.1:0", "--admin", "off"].into_iter().chain(places).collect::<Vec<_>>()
    };
    let (code, out, err) = said(&tidemark(serve()));
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.contains("nobody could call") && err.contains("TIDEMARK_OPERATOR_SECRET"), "{err}");
    let short = [("TIDEMARK_OPERATOR_SECRET", "short-hush".to_owned())];
    let (code, _, err) = said(&tidemark_with(short, serve()));
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("is shorter than 32 characters") && !err.contains("short-hush"), "{err}");
}
