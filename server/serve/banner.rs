//! What the server says when it has started.
//!
//! It owns the text. It must never hold a secret: of a backend it knows the name and where it is.

use std::fmt;
use std::net::SocketAddr;

use crate::config::{Auth, Backend, BackendKind, Config, Durability, Models};

/// The text on stdout when the server has started: where it is, and what to try. Its first line is
/// `listening on http://ADDRESS` with the real port, for whoever started it with port 0.
#[derive(Clone, Copy, Debug)]
pub struct Banner<'c> {
    /// The address that is bound.
    pub address: SocketAddr,
    /// The address of the health pages and the figures; absent = none.
    pub admin: Option<SocketAddr>,
    /// The settings in force.
    pub config: &'c Config,
}

impl Banner<'_> {
    /// A model that the examples can name.
    fn model(&self) -> &str {
        let named = self.config.backends.iter().find_map(|backend| match (&backend.models, &backend.kind) {
            (Models::Named(models), _) => models.keys().next().map(String::as_str),
            (Models::Listed, BackendKind::Demo) => Some("demo"),
            (Models::Listed, BackendKind::OpenAi(_)) => None,
        });
        named.unwrap_or("MODEL")
    }

    fn has_real_model(&self) -> bool {
        self.config.backends.iter().any(|backend| matches!(backend.kind, BackendKind::OpenAi(_)))
    }
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, server) = (self.address, &self.config.server);
        writeln!(f, "listening on http://{address}")?;
        if let Some(admin) = self.admin {
            writeln!(f, "  health    http://{admin}/health/ready")?;
            writeln!(f, "  metrics   http://{admin}/metrics")?;
        }
        writeln!(f, "  data      {} ({})", server.data_dir.display(), survives(server.durability))?;
        let backends = self.config.backends.iter().map(describe).collect::<Vec<_>>();
        writeln!(f, "  backends  {}", backends.join(", "))?;
        let key = match &self.config.auth {
            Auth::Off => None,
            Auth::Keys(_) => Some("YOUR_KEY"),
        };
        write!(f, "\n{}\n{}", curl(address, self.model(), key), python(address, self.model(), key))?;
        if self.has_real_model() { Ok(()) } else { write!(f, "\n{REAL_MODEL}") }
    }
}

/// The same for a bridge alone.
#[derive(Clone, Copy, Debug)]
pub struct BridgeBanner<'g> {
    /// The address that is bound.
    pub address: SocketAddr,
    /// The address of the health pages and the figures; absent = none.
    pub admin: Option<SocketAddr>,
    /// The address of the gateway.
    pub gateway: &'g str,
}

impl fmt::Display for BridgeBanner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "listening on http://{}", self.address)?;
        if let Some(admin) = self.admin {
            writeln!(f, "  health    http://{admin}/health/ready")?;
            writeln!(f, "  metrics   http://{admin}/metrics")?;
        }
        writeln!(f, "  gateway   {}", self.gateway)
    }
}

const fn survives(durability: Durability) -> &'static str {
    match durability {
        Durability::Sync => "sync: every event survives a power cut before it is seen",
        Durability::Os => "os: every event survives a crash of the process, not a power cut",
    }
}

fn describe(backend: &Backend) -> String {
    match &backend.kind {
        BackendKind::Demo => format!("{} (built in)", backend.name),
        BackendKind::OpenAi(openai) => format!("{} ({})", backend.name, openai.base_url),
    }
}

fn curl(address: SocketAddr, model: &str, key: Option<&str>) -> String {
    let credential = key.map(|key| format!("-H 'authorization: Bearer {key}' ")).unwrap_or_default();
    format!(
        "Try it:\n  curl -N http://{address}/v1/responses -H 'content-type: application/json' {credential}\\\n    \
         -d '{{\"model\": \"{model}\", \"input\": \"Hello\", \"stream\": true}}'\n"
    )
}

fn python(address: SocketAddr, model: &str, key: Option<&str>) -> String {
    let key = key.unwrap_or("unused");
    format!(
        "With the OpenAI SDK for Python:\n  from openai import OpenAI\n  \
         client = OpenAI(base_url=\"http://{address}/v1\", api_key=\"{key}\")\n  \
         for event in client.responses.create(model=\"{model}\", input=\"Hello\", background=True, stream=True):\n      \
         print(event.sequence_number, event.type)\n  # Cut off? Go on after the last event you have:\n  \
         # client.responses.retrieve(RESPONSE_ID, stream=True, starting_after=LAST_SEQUENCE_NUMBER)\n"
    )
}

const REAL_MODEL: &str = "\
With a real model: write this into tidemark.toml and start with --config tidemark.toml
  [[backends]]
  name = \"local\"
  kind = \"openai\"
  base_url = \"http://127.0.0.1:8080/v1\"  # any OpenAI-compatible server: llama.cpp, vLLM, Ollama, a hosted one
  # api_key_env = \"OPENAI_API_KEY\"
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, parse};

    fn banner(text: &str, admin: Option<&str>) -> String {
        let env = |_: &str| Some("sk-very-secret-and-long-enough-for-all".to_owned());
        let loaded = parse("file", text, Overrides::default(), &env).unwrap();
        let address = "127.0.0.1:4711".parse().unwrap();
        Banner { address, admin: admin.map(|admin| admin.parse().unwrap()), config: &loaded.config }
            .to_string()
    }

    #[test]
    fn says_what_to_try_with_the_demo() {
        insta::assert_snapshot!(banner("", Some("127.0.0.1:4701")), @r#"
        listening on http://127.0.0.1:4711
          health    http://127.0.0.1:4701/health/ready
          metrics   http://127.0.0.1:4701/metrics
          data      ./tidemark-data (sync: every event survives a power cut before it is seen)
          backends  demo (built in)

        Try it:
          curl -N http://127.0.0.1:4711/v1/responses -H 'content-type: application/json' \
            -d '{"model": "demo", "input": "Hello", "stream": true}'

        With the OpenAI SDK for Python:
          from openai import OpenAI
          client = OpenAI(base_url="http://127.0.0.1:4711/v1", api_key="unused")
          for event in client.responses.create(model="demo", input="Hello", background=True, stream=True):
              print(event.sequence_number, event.type)
          # Cut off? Go on after the last event you have:
          # client.responses.retrieve(RESPONSE_ID, stream=True, starting_after=LAST_SEQUENCE_NUMBER)

        With a real model: write this into tidemark.toml and start with --config tidemark.toml
          [[backends]]
          name = "local"
          kind = "openai"
          base_url = "http://127.0.0.1:8080/v1"  # any OpenAI-compatible server: llama.cpp, vLLM, Ollama, a hosted one
          # api_key_env = "OPENAI_API_KEY"
        "#);
    }

    #[test]
    fn names_the_place_of_a_key_where_one_is_needed() {
        let banner = banner("auth.mode = \"keys\"", None);
        assert!(banner.contains("-H 'authorization: Bearer YOUR_KEY' \\\n"), "{banner}");
        assert!(banner.contains("api_key=\"YOUR_KEY\""), "{banner}");
    }

    #[test]
    fn a_bridge_says_where_it_is_and_whom_it_asks() {
        let (address, admin) = ("127.0.0.1:1".parse().unwrap(), Some("127.0.0.1:2".parse().unwrap()));
        let text = BridgeBanner { address, admin, gateway: "http://gate:3" }.to_string();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let (health, metrics) =
            ("health    http://127.0.0.1:2/health/ready", "metrics   http://127.0.0.1:2/metrics");
        assert_eq!(lines, ["listening on http://127.0.0.1:1", health, metrics, "gateway   http://gate:3"]);
    }

    #[test]
    fn names_a_model_of_the_operators_and_no_secret() {
        let text = "server.durability = \"os\"\n[[backends]]\nname = \"llama\"\nkind = \"openai\"\n\
                    base_url = \"http://127.0.0.1:8080/v1\"\nmodels = [\"gemma\"]\napi_key_env = \"KEY\"";
        let banner = banner(text, None);
        assert!(banner.starts_with("listening on http://127.0.0.1:4711\n"), "{banner}");
        assert!(
            banner.contains("llama (http://127.0.0.1:8080/v1)") && banner.contains("\"model\": \"gemma\""),
            "{banner}"
        );
        assert!(
            !banner.contains("secret") && !banner.contains("With a real model") && !banner.contains("health"),
            "{banner}"
        );
    }
}
