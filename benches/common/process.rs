//! A server under test: a process of its own, so that its CPU time is its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What a server prints before its address, once it serves.
const READY: &str = "listening on http://";

/// The environment variable that names another build of the gateway, to be compared with this one.
const OTHER_BINARY: &str = "TIDEMARK_BINARY";

/// A running server. Dropping it kills it.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
}

impl Process {
    /// Starts a server that says when it is ready and where it listens.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let address = lines.by_ref().find_map(|line| {
            let (_, address) = line.split_once(READY)?;
            address.split_whitespace().next()?.parse().ok()
        });
        // Whatever else it prints must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address: address.unwrap() }
    }

    /// Starts the gateway over a new store in `dir`. `more` is added to its settings.
    pub(crate) fn tidemark(dir: &Path, durability: &str, more: &str) -> Self {
        fs::create_dir_all(dir).unwrap();
        let config = dir.join("tidemark.toml");
        fs::write(&config, format!("[log]\nlevel = \"error\"\n{more}")).unwrap();
        let binary = std::env::var_os(OTHER_BINARY).unwrap_or_else(|| env!("CARGO_BIN_EXE_tidemark").into());
        let mut command = Command::new(binary);
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin", "off", "--durability", durability]);
        Self::start(command.arg("--config").arg(config).arg("--data-dir").arg(dir.join("data")))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
