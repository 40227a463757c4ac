//! The real binary, started with a configuration in a directory of its own.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::bridge::Bridge;

/// If this is set, every server has a bridge alone in front of it, which [`Server::url`] names: so the tests of the REST surface
/// run against that form too (D-2).
const BRIDGE_ENV: &str = "TIDEMARK_TEST_BRIDGE";

/// What a process says before its address, and before that of its admin port.
const LISTENING: &str = "listening on http://";
const METRICS: &str = "metrics   http://";

/// The configuration, in the directory of a server.
const CONFIG: &str = "tidemark.toml";

const BINARY: &str = env!("CARGO_BIN_EXE_tidemark");

/// How long a server may take to start or stop. `TIDEMARK_TEST_PATIENCE` (seconds) raises it on slow machines.
pub fn patience() -> Duration {
    let seconds = std::env::var("TIDEMARK_TEST_PATIENCE").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(60))
}

/// Runs the binary with these arguments to its end.
pub fn tidemark<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    tidemark_with([], args)
}

/// The same with these variables in its environment.
pub fn tidemark_with<S: AsRef<OsStr>>(
    env: impl IntoIterator<Item = (&'static str, String)>,
    args: impl IntoIterator<Item = S>,
) -> Output {
    Command::new(BINARY).args(args).envs(env).stdin(Stdio::null()).output().unwrap()
}

/// A running server. Dropping it kills it.
pub struct Server {
    child: Child,
    address: SocketAddr,
    admin: Option<SocketAddr>,
    dir: tempfile::TempDir,
    data_dir: PathBuf,
    how: How,
    bridge: Option<Bridge>,
}

/// How a server is started.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// Shell commands before the server takes the shell's place: limits, signals.
    pub prefix: Option<&'static str>,
    /// Whether it has an admin port, a free one.
    pub admin: bool,
}

impl Server {
    /// Starts a server with this configuration on a free port; its data live until the value is dropped.
    pub fn start(config: &str) -> Self {
        Self::start_as(config, How::default())
    }

    /// Like [`Self::start`], in another way.
    pub fn start_as(config: &str, how: How) -> Self {
        Self::launch(config, None, how)
    }

    /// Like [`Self::start`], over data that lie elsewhere and stay.
    pub fn start_over(config: &str, data_dir: &Path) -> Self {
        Self::launch(config, Some(data_dir), How::default())
    }

    fn launch(config: &str, data_dir: Option<&Path>, how: How) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(CONFIG), config).unwrap();
        let data_dir = data_dir.map_or_else(|| dir.path().join("data"), Path::to_owned);
        let (child, address, admin) = spawn(dir.path(), &data_dir, how);
        let bridge = bridge_before(dir.path(), address);
        Self { child, address, admin, dir, data_dir, how, bridge }
    }

    /// Where its REST surface is: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        self.bridge.as_ref().map_or_else(|| self.gateway_url(), Bridge::url)
    }

    /// The same, also if there is a bridge in front of it.
    pub fn gateway_url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT` of the admin port.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin.unwrap())
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
        match wait_for(&mut self.child) {
            Some(status) => status,
            None => panic!("the server did not end; its log:\n{}", self.log()),
        }
    }

    /// The most memory it has had at one time, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// Sets the configuration of the next start.
    pub fn configure(&self, config: &str) {
        fs::write(self.dir.path().join(CONFIG), config).unwrap();
    }

    /// Takes away the shell commands that it was started behind, for the next start.
    pub fn unwrap_shell(&mut self) {
        self.how.prefix = None;
    }

    /// Starts it again over the same data, on another port.
    pub fn restart(&mut self) {
        (self.child, self.address, self.admin) = spawn(self.dir.path(), &self.data_dir, self.how);
        self.bridge = bridge_before(self.dir.path(), self.address);
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

fn spawn(dir: &Path, data_dir: &Path, how: How) -> (Child, SocketAddr, Option<SocketAddr>) {
    let stderr = fs::OpenOptions::new().create(true).append(true).open(dir.join("stderr")).unwrap();
    let mut command = match how.prefix {
        Some(prefix) => {
            let mut shell = Command::new("bash");
            shell.arg("-c").arg(format!("{prefix}\nexec \"$0\" \"$@\"")).arg(BINARY);
            shell
        }
        None => Command::new(BINARY),
    };
    let admin = if how.admin { "127.0.0.1:0" } else { "off" };
    command.args(["serve", "--listen", "127.0.0.1:0", "--admin", admin, "--config"]).arg(dir.join(CONFIG));
    command.arg("--data-dir").arg(data_dir);
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
    let mut child = command.spawn().unwrap();
    let mut lines = lines_of(&mut child);
    let address = address_after(LISTENING, &mut lines);
    let admin = how.admin.then(|| address_after(METRICS, &mut lines)).flatten();
    drain(lines);
    let Some(address) = address else {
        let _ = child.wait();
        panic!("the server did not start:\n{}", fs::read_to_string(dir.join("stderr")).unwrap());
    };
    (child, address, admin)
}

/// A bridge with the settings of the server, if the tests are to run through one.
fn bridge_before(dir: &Path, gateway: SocketAddr) -> Option<Bridge> {
    std::env::var_os(BRIDGE_ENV)?;
    let config = fs::read_to_string(dir.join(CONFIG)).unwrap();
    Some(Bridge::start_with(&format!("http://{gateway}"), &config))
}

/// The address that a process says it listens on; `None` if it ends before.
pub(super) fn address_of(child: &mut Child) -> Option<SocketAddr> {
    let mut lines = lines_of(child);
    let address = address_after(LISTENING, &mut lines);
    drain(lines);
    address
}

fn lines_of(child: &mut Child) -> impl Iterator<Item = String> + Send + use<> {
    BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok)
}

/// The address on the first line that has these words before it.
fn address_after(words: &str, lines: &mut impl Iterator<Item = String>) -> Option<SocketAddr> {
    lines.find_map(|line| {
        let (_, rest) = line.split_once(words)?;
        rest.split(['/', ' ']).next()?.parse().ok()
    })
}

/// Whatever else a process prints must not fill the pipe.
fn drain(lines: impl Iterator<Item = String> + Send + 'static) {
    std::thread::spawn(move || lines.for_each(drop));
}

/// Waits for the end of a process, not for ever.
pub(super) fn wait_for(child: &mut Child) -> Option<ExitStatus> {
    let end = Instant::now() + patience();
    while Instant::now() < end {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    None
}
