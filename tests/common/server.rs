//! The real binary, started with a configuration in a directory of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a server may take to start or stop. `TIDEMARK_TEST_PATIENCE` (seconds) raises it on slow machines.
pub fn patience() -> Duration {
    let seconds = std::env::var("TIDEMARK_TEST_PATIENCE").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(60))
}

/// A running server. Dropping it kills it.
pub struct Server {
    child: Child,
    address: SocketAddr,
    dir: tempfile::TempDir,
    data_dir: PathBuf,
    shell_prefix: Option<String>,
}

impl Server {
    /// Starts a server with this configuration on a free port; its data live until the value is dropped.
    pub fn start(config: &str) -> Self {
        Self::start_behind(config, None)
    }

    /// Like [`Self::start`], with shell commands before the server takes the shell's place: limits, signals.
    pub fn start_behind(config: &str, shell_prefix: Option<&str>) -> Self {
        Self::launch(config, None, shell_prefix)
    }

    /// Like [`Self::start`], over data that lie elsewhere and stay.
    pub fn start_over(config: &str, data_dir: &Path) -> Self {
        Self::launch(config, Some(data_dir), None)
    }

    fn launch(config: &str, data_dir: Option<&Path>, shell_prefix: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("tidemark.toml"), config).unwrap();
        let data_dir = data_dir.map_or_else(|| dir.path().join("data"), Path::to_owned);
        let shell_prefix = shell_prefix.map(str::to_owned);
        let (child, address) = spawn(dir.path(), &data_dir, shell_prefix.as_deref());
        Self { child, address, dir, data_dir, shell_prefix }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.clone()
    }

    /// What the server has written to its log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("stderr")).unwrap()
    }

    /// `kill -9`, and waits until it is dead.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + patience();
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the server did not end; its log:\n{}", self.log());
    }

    /// Starts it again over the same data, on another port.
    pub fn restart(&mut self) {
        (self.child, self.address) = spawn(self.dir.path(), &self.data_dir, self.shell_prefix.as_deref());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the server ---\n{}", self.log());
        }
    }
}

fn spawn(dir: &Path, data_dir: &Path, shell_prefix: Option<&str>) -> (Child, SocketAddr) {
    let stderr = fs::OpenOptions::new().create(true).append(true).open(dir.join("stderr")).unwrap();
    let binary = env!("CARGO_BIN_EXE_tidemark");
    let mut command = match shell_prefix {
        Some(prefix) => {
            let mut shell = Command::new("bash");
            shell.arg("-c").arg(format!("{prefix}\nexec \"$0\" \"$@\"")).arg(binary);
            shell
        }
        None => Command::new(binary),
    };
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--admin", "off", "--config"])
        .arg(dir.join("tidemark.toml"));
    command.arg("--data-dir").arg(data_dir);
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
        let (_, rest) = line.split_once("listening on http://")?;
        rest.split_whitespace().next()?.parse().ok()
    });
    // Whatever else it prints must not fill the pipe.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    let Some(address) = address else {
        let _ = child.wait();
        panic!("the server did not start:\n{}", fs::read_to_string(dir.join("stderr")).unwrap());
    };
    (child, address)
}
