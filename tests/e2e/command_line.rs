//! The command line and the settings, as an operator meets them.

use std::fs;
use std::net::TcpListener;
use std::process::Output;

use crate::common::server::tidemark;
use crate::setup::demo;

/// Exit code, stdout and stderr.
fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn all_that_is_wrong_with_the_settings_is_said_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("bad.toml");
    fs::write(
        &config,
        "[server]\nlisten = \"nowhere\"\ndrian = \"1s\"\n[runs]\nmax_time = \"0s\"\n[limits]\nlive = -1\n\
         [[backends]]\nname = \"x\"\nkind = \"magic\"\n",
    )
    .unwrap();
    let config = config.to_str().unwrap();
    let data = dir.path().join("data");
    let serve = ["serve", "--config", config, "--data-dir", data.to_str().unwrap(), "--admin", "off"];
    for args in [&["config", "check", "--config", config][..], &serve] {
        let (code, out, err) = said(&tidemark(args));
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        for place in ["server.listen", "server.drian", "runs.max_time", "limits.live", "backends[0].kind"] {
            assert!(err.contains(&format!("{place} (line ")), "{place} is not named:\n{err}");
        }
    }
    assert!(!data.exists(), "nothing was started");
}

#[test]
fn a_flag_or_a_command_that_is_not_there_is_refused() {
    for args in [&["serve", "--nonsense"][..], &["fly"], &["serve", "--durability", "maybe"]] {
        let (code, _, err) = said(&tidemark(args));
        assert_eq!(code, 2, "{err}");
        assert!(!err.is_empty());
    }
}

#[test]
fn without_auth_only_loopback_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (code, _, err) =
        said(&tidemark(["--listen", "0.0.0.0:0", "--admin", "off", "--data-dir", data.to_str().unwrap()]));
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("--insecure-no-auth"), "{err}");
    assert!(!data.exists());
}

#[test]
fn what_is_printed_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let (code, printed, _) = said(&tidemark(["config", "print"]));
    assert_eq!(code, 0);
    let config = dir.path().join("printed.toml");
    fs::write(&config, &printed).unwrap();
    let config = config.to_str().unwrap();
    assert_eq!(said(&tidemark(["config", "check", "--config", config])), (0, "ok\n".into(), String::new()));
    assert_eq!(said(&tidemark(["config", "print", "--config", config])).1, printed);
}

#[test]
fn a_data_directory_in_use_is_refused_by_name() {
    let (server, _) = demo("");
    let data = server.data_dir();
    let data = data.to_str().unwrap();
    for args in [
        &["serve", "--listen", "127.0.0.1:0", "--admin", "off", "--data-dir", data][..],
        &["store", "rebuild", "--data-dir", data],
    ] {
        let (code, _, err) = said(&tidemark(args));
        assert_eq!(code, 3, "{err}");
        assert!(err.contains(data) && err.contains("in use by another process"), "{err}");
    }
}

#[test]
fn a_port_in_use_is_refused_by_name() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (code, _, err) =
        said(&tidemark(["--listen", &address, "--admin", "off", "--data-dir", data.to_str().unwrap()]));
    assert_eq!(code, 1, "{err}");
    assert!(err.contains(&format!("cannot listen on {address}")), "{err}");
    assert!(!data.exists());
}
