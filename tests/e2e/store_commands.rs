//! `tidemark store …`: what an operator sees of a directory, whole, damaged, in use, empty, or of another version.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::common::rest::Client;
use crate::common::server::{Server, tidemark};
use crate::setup::{demo, paced};

/// Runs `tidemark store ARGS` on a directory; returns exit code, stdout and stderr.
fn store(dir: &Path, args: &[&str]) -> (i32, String, String) {
    let mut all = vec!["store"];
    all.extend(args);
    all.extend(["--data-dir", dir.to_str().unwrap()]);
    let output = tidemark(all);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A server that has made `responses`, and was killed.
async fn stopped(responses: usize) -> (Server, Vec<String>) {
    let (mut server, client) = demo("");
    let mut ids = Vec::new();
    for _ in 0..responses {
        let id = client.background(paced(5, 0)).await;
        client.ended(&id).await;
        ids.push(id);
    }
    server.kill();
    (server, ids)
}

fn log_file(dir: &Path) -> PathBuf {
    fs::read_dir(dir.join("log")).unwrap().next().unwrap().unwrap().path()
}

#[tokio::test]
async fn stats_say_how_much_there_is_in_both_forms() {
    let (server, _) = stopped(3).await;
    let dir = server.data_dir();
    // The index of a killed server may be behind; a rebuilt one is not.
    assert_eq!(store(&dir, &["rebuild"]).0, 0);
    let (code, text, _) = store(&dir, &["stats"]);
    assert_eq!(code, 0);
    assert!(text.contains("logs            3, 0 of them open\n"), "{text}");
    assert!(text.contains("B behind the log\n"), "{text}");
    let (code, json, _) = store(&dir, &["stats", "--json"]);
    let stats: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &stats["segments"], &stats["index"]["logs"]), (0, &1.into(), &3.into()));
    assert_eq!(stats["log_bytes"], fs::metadata(log_file(&dir)).unwrap().len());
    assert!(stats["index"]["live_bytes"].as_u64() > Some(0) && stats["free_bytes"].as_u64() > Some(0));
}

#[tokio::test]
async fn check_passes_a_killed_server_and_names_damage_its_place_and_what_to_do() {
    let (server, ids) = stopped(2).await;
    let dir = server.data_dir();
    let (code, text, err) = store(&dir, &["check"]);
    assert_eq!((code, err.as_str()), (0, ""), "{text}");
    assert!(text.ends_with(": ok\n"), "{text}");

    let path = log_file(&dir);
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 300).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 300).unwrap();
    let (code, text, _) = store(&dir, &["check"]);
    assert_eq!(code, 3, "{text}");
    let first = text.lines().next().unwrap();
    assert!(first.starts_with(path.to_str().unwrap()) && first.contains(" at byte "), "{first}");
    assert!(first.ends_with("restore the data directory from a copy"), "{first}");
    let (code, json, _) = store(&dir, &["check", "--json"]);
    let found = lines(&json);
    assert_eq!((code, &found[0]["kind"]), (3, &"problem".into()));
    let position = found[0]["position"].as_u64().unwrap();
    assert!(position <= 300, "{position}");
    let last = found.last().unwrap();
    assert_eq!((&last["kind"], &last["problems"]), (&"checked".into(), &(found.len() - 1).into()));
    assert!(last["frames"].as_u64() > Some(2), "what follows the damage was read: {last}");

    file.write_all_at(&byte, 300).unwrap();
    fs::remove_dir_all(dir.join("index")).unwrap();
    let (code, text, _) = store(&dir, &["check"]);
    assert_eq!(code, 3);
    assert!(text.contains("run `tidemark store rebuild`"), "{text}");
    let (code, json, _) = store(&dir, &["rebuild", "--json"]);
    assert_eq!((code, &lines(&json)[0]["kind"]), (0, &"rebuilt".into()));
    let (code, text, _) = store(&dir, &["check"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(&format!(" {} logs with ", ids.len())), "{text}");
}

#[tokio::test]
async fn export_writes_what_readers_got() {
    let (mut server, ids) = stopped(3).await;
    server.restart();
    let client = Client::new(&server.url());
    let mut seen = Vec::new();
    for id in &ids {
        seen.push(client.whole(id).await);
    }
    server.kill();
    let dir = server.data_dir();
    let (code, out, err) = store(&dir, &["export"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let all = lines(&out);
    for (id, frames) in ids.iter().zip(&seen) {
        let of: Vec<&Value> = all.iter().filter(|line| line["id"] == **id).collect();
        assert_eq!((&of[0]["kind"], &of[0]["status"]), (&"response".into(), &"completed".into()));
        assert_eq!(of[0]["request"]["model"], "demo");
        let events: Vec<&Value> = of[1..].iter().map(|line| &line["data"]).collect();
        let frames: Vec<Value> =
            frames.iter().filter(|frame| !frame.is_done()).map(|frame| frame.json()).collect();
        assert_eq!(events, frames.iter().collect::<Vec<_>>());
        assert!(of[1..].iter().enumerate().all(|(seq, line)| line["seq"] == seq));
    }

    let one = store(&dir, &["export", "--id", &ids[1]]).1;
    assert!(lines(&one).iter().all(|line| line["id"] == *ids[1]) && !one.is_empty());
    assert_eq!(store(&dir, &["export", "--owner", "nobody"]), (0, String::new(), String::new()));
    let owner = all[0]["owner"].as_str().unwrap();
    assert_eq!(lines(&store(&dir, &["export", "--owner", owner]).1).len(), all.len());
    let (code, out, err) = store(&dir, &["export", "--id", &format!("resp_{}", "0".repeat(32))]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("holds no response resp_000"), "{err}");

    let file = dir.join("out.jsonl");
    let to_file = ["export", "--output", file.to_str().unwrap()];
    let (code, said, _) = store(&dir, &to_file);
    assert_eq!(code, 0);
    assert!(said.starts_with("3 responses with "), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), store(&dir, &["export"]).1);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let (code, _, err) = store(&dir, &to_file);
    assert_eq!(code, 1);
    assert!(err.contains("it is there already"), "{err}");
}

#[tokio::test]
async fn an_export_goes_on_after_a_response_that_cannot_be_read_and_says_so() {
    let (server, ids) = stopped(2).await;
    let dir = server.data_dir();
    // With an index that covers all of it, a start does not read this part of the log.
    assert_eq!(store(&dir, &["rebuild"]).0, 0);
    let path = log_file(&dir);
    let bytes = fs::read(&path).unwrap();
    let at = bytes.windows(10).position(|window| window == b"text.delta").unwrap();
    OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"X", at as u64).unwrap();
    let (code, out, err) = store(&dir, &["export"]);
    assert_eq!(code, 3);
    assert!(err.contains("1 responses or sessions could not be read whole"), "{err}");
    let all = lines(&out);
    let faults: Vec<&Value> = all.iter().filter(|line| line["kind"] == "fault").collect();
    assert_eq!((faults.len(), &faults[0]["id"]), (1, &ids[0].as_str().into()));
    assert!(all.iter().any(|line| line["id"] == *ids[1] && line["kind"] == "event"));
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_is_refused_with_its_name_and_the_reason() {
    let every = [&["stats"][..], &["check"], &["export"], &["rebuild"]];
    let (mut server, _) = demo("");
    let dir = server.data_dir();
    for args in every {
        let (code, out, err) = store(&dir, args);
        assert_eq!((code, out.as_str()), (3, ""), "{args:?}");
        let pid = format!("in use by another process (pid {})", server.pid());
        assert!(err.contains(dir.to_str().unwrap()) && err.contains(&pid), "{args:?}: {err}");
    }
    server.kill();

    let empty = tempfile::tempdir().unwrap();
    for args in every {
        let (code, _, err) = store(empty.path(), args);
        assert_eq!(code, 3, "{args:?}");
        assert!(err.contains("holds no store"), "{args:?}: {err}");
    }
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);

    let path = log_file(&dir);
    let mut bytes = fs::read(&path).unwrap();
    bytes[8..12].copy_from_slice(&99u32.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..24]);
    bytes[24..28].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    for args in every {
        let (code, _, err) = store(&dir, args);
        assert_eq!(code, 3, "{args:?}");
        assert!(err.contains("has format 99, this program knows"), "{args:?}: {err}");
    }
    fs::write(&path, vec![7; bytes.len()]).unwrap();
    for args in every {
        let (code, _, err) = store(&dir, args);
        assert_eq!(code, 3, "{args:?}");
        assert!(err.contains("is damaged at byte 0"), "{args:?}: {err}");
    }
}
