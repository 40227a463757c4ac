//! Who races: how each is started in front of the backend, and how it is asked for a stream.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::backend::Script;
use crate::client::Client;
use crate::process::Process;
use crate::scratch::scratch;

/// How long nginx may take to listen.
const START: Duration = Duration::from_secs(10);

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    Nginx,
    FloorPass,
    FloorDurable,
    TidemarkSync,
    TidemarkOs,
}

impl Contender {
    pub(crate) const ALL: [Self; 5] =
        [Self::Nginx, Self::FloorPass, Self::FloorDurable, Self::TidemarkSync, Self::TidemarkOs];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx, 1 worker",
            Self::FloorPass => "floor-pass",
            Self::FloorDurable => "floor-durable",
            Self::TidemarkSync => "tidemark, sync",
            Self::TidemarkOs => "tidemark, os",
        }
    }

    fn is_tidemark(self) -> bool {
        matches!(self, Self::TidemarkSync | Self::TidemarkOs)
    }
}

/// A contender that runs.
pub(crate) struct Running {
    contender: Contender,
    process: Process,
    /// Taken away after the process has ended.
    _dir: TempDir,
}

impl Running {
    /// Starts it in front of `backend`. `scripts` are all that it will be asked for.
    pub(crate) fn start(contender: Contender, backend: SocketAddr, scripts: &[Script]) -> Self {
        let scratch = scratch();
        let dir = scratch.path();
        let process = match contender {
            Contender::Nginx => nginx(dir, backend),
            Contender::FloorPass => floor("floor-pass", dir, backend),
            Contender::FloorDurable => floor("floor-durable", dir, backend),
            Contender::TidemarkSync => tidemark("sync", dir, backend, scripts),
            Contender::TidemarkOs => tidemark("os", dir, backend, scripts),
        };
        Self { contender, process, _dir: scratch }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The memory of the process that lies in RAM, in bytes.
    pub(crate) fn resident_bytes(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let (_, rest) = status.split_once("VmRSS:").unwrap();
        rest.split_whitespace().next().unwrap().parse::<f64>().unwrap() * 1024.0
    }

    pub(crate) fn client(&self) -> Client {
        let address = self.process.address;
        if self.contender.is_tidemark() {
            Client::new(address, "/v1/responses", "\"delta\":\"")
        } else {
            Client::new(address, "/v1/chat/completions", "\"content\":\"")
        }
    }

    /// The body of the request for a stream.
    pub(crate) fn question(&self, script: Script) -> String {
        let model = script.model();
        if self.contender.is_tidemark() {
            format!(r#"{{"model":"{model}","input":"x","stream":true}}"#)
        } else {
            format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"x"}}],"stream":true}}"#)
        }
    }
}

fn tidemark(durability: &str, dir: &Path, backend: SocketAddr, scripts: &[Script]) -> Process {
    let models: Vec<String> = scripts.iter().map(|script| format!("{:?}", script.model())).collect();
    let more = format!(
        "[[backends]]\nname = \"race\"\nkind = \"openai\"\nbase_url = \"http://{backend}/v1\"\nmodels = [{}]\n",
        models.join(", ")
    );
    Process::tidemark(dir, durability, &more)
}

/// The floors and the backend are this program under another name.
pub(crate) fn ourselves(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(role);
    command
}

fn floor(role: &str, dir: &Path, backend: SocketAddr) -> Process {
    Process::start(ourselves(role).arg(backend.to_string()).arg(dir))
}

fn nginx(dir: &Path, backend: SocketAddr) -> Process {
    // nginx cannot say which port it got: one that was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).unwrap();
    let config = dir.join("nginx.conf");
    let text = format!(
        "daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log; worker_rlimit_nofile 20000;\n\
         events {{ worker_connections 8192; }}\n\
         http {{ access_log off; client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;\n\
         fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n\
         upstream backend {{ server {backend}; keepalive 512; }}\n\
         server {{ listen {address} backlog=4096; location / {{ proxy_pass http://backend; proxy_buffering off;\n\
         proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_read_timeout 600s; }} }} }}\n",
        dir = dir.display(),
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-p").arg(dir).arg("-c").arg(&config).stderr(Stdio::null());
    let child = command.spawn().unwrap();
    let end = Instant::now() + START;
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < end, "nginx does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    Process { child, address }
}
