//! Nothing that callers or operators must keep to themselves is in the log (R-16, D-28).

use serde_json::json;

use crate::common::rest::Client;
use crate::common::scripted::{Scripted, answer};
use crate::common::server::{How, Server};

const PROMPT: &str = "prompt-6f1c";
const ANSWER: &str = "answer-77ab";
const BEARER: &str = "bearer-93d0";
const BACKEND_KEY: &str = "backend-key-41fe";

/// What every ticket begins with.
const TICKET: &str = "tmt_";

#[tokio::test]
async fn prompts_answers_and_credentials_are_in_no_line_of_the_log() {
    let backend = Scripted::start().await.unwrap();
    backend.script("good", answer([ANSWER]));
    backend.script("bad", vec![crate::common::scripted::Act::Status(400, PROMPT.into(), "text/plain")]);
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), BACKEND_KEY).unwrap();
    let config = format!(
        "[log]\nformat = \"json\"\nlevel = \"info,tidemark=debug,tidemark_bridge=debug,tidemark_store=debug\"\n\
         [[backends]]\nname = \"scripted\"\nkind = \"openai\"\nbase_url = \"{}\"\napi_key_file = \"{}\"\n",
        backend.base_url(),
        key.path().display()
    );
    let mut server = Server::start_as(&config, How::default());
    let client = Client::new(&server.gateway_url());
    for model in ["good", "bad", "unknown"] {
        for stream in [false, true] {
            let body = json!({"model": model, "input": PROMPT, "instructions": PROMPT, "stream": stream});
            let request = client.post("/v1/responses", &body).bearer_auth(BEARER);
            let reply = request.header("x-stainless-retry-count", "2").send().await.unwrap();
            let _ = reply.text().await.unwrap();
        }
    }
    let create = client.post("/v1/responses", &json!({"model": "good", "input": PROMPT}));
    let created = create.header("x-tidemark-ticket", "read").send().await.unwrap();
    let (id, ticket) =
        (&created.headers()["x-tidemark-response-id"], &created.headers()["x-tidemark-ticket"]);
    for (ticket, expected) in [(ticket.to_str().unwrap(), 200), ("tmt_wrong", 401)] {
        let path = format!("/v1/responses/{}?stream=true&ticket={ticket}", id.to_str().unwrap());
        let reply = client.get(&path).send().await.unwrap();
        assert_eq!(reply.status(), expected);
        let _ = reply.text().await.unwrap();
    }
    let malformed = [
        format!("{{\"input\": \"{PROMPT}"),
        json!({"model": "good", "input": [{"type": PROMPT}]}).to_string(),
        json!({"model": "good", "input": "x", "tools": PROMPT}).to_string(),
        json!({"model": "good", "input": "x", "max_output_tokens": PROMPT}).to_string(),
        json!({"model": "good", "input": "x", "reasoning": PROMPT, "metadata": {"a": PROMPT}}).to_string(),
        json!({"model": "good", "input": "x", "previous_response_id": PROMPT}).to_string(),
    ];
    for body in &malformed {
        let request = client.request(reqwest::Method::POST, "/v1/responses").body(body.clone());
        let reply = request.header("content-type", "application/json").send().await.unwrap();
        assert!(reply.status().as_u16() >= 400, "{body}");
    }
    let asked = backend.asked();
    assert_eq!(asked[0].headers["authorization"].to_str().unwrap(), format!("Bearer {BACKEND_KEY}"));
    server.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(server.wait().success());
    let log = server.log();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let calls: Vec<_> = lines.iter().filter(|line| line["message"] == "call ended").collect();
    assert_eq!(calls.len(), 6 + 3 + malformed.len(), "{log}");
    assert_eq!(calls.iter().filter(|line| line["retry_count"] == 2).count(), 6, "W-34\n{log}");
    assert!(lines.iter().any(|line| line["level"] == "DEBUG"), "{log}");
    for secret in [PROMPT, ANSWER, BEARER, BACKEND_KEY, TICKET] {
        assert!(!log.contains(secret), "{secret} is in\n{log}");
    }
}
