//! The real binary as a bridge alone, in front of a gateway.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::server::{address_of, wait_for};

/// A running bridge. Dropping it kills it.
pub struct Bridge {
    child: Child,
    address: SocketAddr,
}

impl Bridge {
    /// Starts a bridge on a free port, in front of the gateway at this URL.
    pub fn start(gateway: &str) -> Self {
        Self::start_with(gateway, "")
    }

    /// The same with a configuration.
    pub fn start_with(gateway: &str, config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (file, log) = (dir.path().join("tidemark.toml"), dir.path().join("stderr"));
        fs::write(&file, config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidemark"));
        command.args([
            "bridge",
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "off",
            "--gateway",
            gateway,
            "--config",
        ]);
        command.arg(&file).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
        let mut child = command.process_group(0).spawn().unwrap();
        let Some(address) = address_of(&mut child) else {
            let _ = child.wait();
            panic!("the bridge did not start:\n{}", fs::read_to_string(log).unwrap());
        };
        Self { child, address }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self) -> ExitStatus {
        wait_for(&mut self.child).unwrap_or_else(|| panic!("the bridge did not end"))
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
