//! Plays each row along with the stage, and reports what was read.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tidemark_client::{Client, CreateRequest, Error, Input, Item, OnGap, Reader, Settings};

/// `clients/faults/stage.py` as a child process; it ends when its standard input does.
struct Stage {
    child: Child,
    address: String,
}

impl Stage {
    fn start() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut command = Command::new("python3");
        // The gateway lies beside the tests of the workspace.
        if std::env::var_os("TIDEMARK_BIN").is_none() {
            let tests = std::env::current_exe().unwrap();
            command.env("TIDEMARK_BIN", tests.parent().unwrap().with_file_name("tidemark"));
        }
        command.arg("clients/faults/stage.py").current_dir(root).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().trim_start_matches("http://").to_owned();
        Self { child, address }
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let mut connection = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        write!(connection, "{method} {path} HTTP/1.0\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
        let mut reply = String::new();
        connection.read_to_string(&mut reply).unwrap();
        let (_, body) = reply.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path}: {reply:?}"));
        serde_json::from_str(body).unwrap()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.ask("POST", path, body)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// All that a client has read of one response, over all the readers that it took.
#[derive(Default)]
struct Told {
    text: String,
    seqs: Vec<u64>,
    gaps: Vec<[u64; 2]>,
    end: Option<String>,
    error: Option<Error>,
    id: Option<String>,
    after: Option<u64>,
}

impl Told {
    fn take(&mut self, item: &Item) {
        self.text += &item.text();
        match item {
            Item::Gap(gap) => self.gaps.push([gap.from, gap.to]),
            Item::Event(event) => {
                self.seqs.push(event.seq);
                if ["response.completed", "response.incomplete", "response.failed"]
                    .contains(&event.r#type.as_str())
                {
                    let data: Value = serde_json::from_slice(&event.data).unwrap();
                    self.end = data["response"]["status"].as_str().map(str::to_owned);
                }
            }
        }
    }

    /// Where the next reader goes on.
    fn keep(&mut self, reader: &Reader) {
        (self.id, self.after) = (reader.id().map(str::to_owned), reader.after());
    }

    fn report(&self) -> Value {
        let kind = self.error.as_ref().map(|error| match error {
            Error::Refused(_) => "Refused",
            Error::OffsetLost(_) => "OffsetLost",
            _ => "another",
        });
        json!({
            "text": self.text, "seqs": self.seqs, "gaps": self.gaps, "end": self.end,
            "error": self.error.as_ref().map(Error::code), "kind": kind,
        })
    }
}

/// A client as after a restart of its process: nothing is left of the one before.
fn client(play: &Value) -> Client {
    let settings = Settings {
        idle_timeout: Duration::from_secs(1),
        min_delay: Duration::from_millis(20),
        max_delay: Duration::from_millis(200),
        ..Settings::default()
    };
    let client = Client::new(play["url"].as_str().unwrap(), settings).unwrap();
    client.with_credential(play["credential"].as_str().unwrap()).unwrap()
}

async fn play(stage: &Stage, row: &str) -> Vec<String> {
    let mut play = stage.post("/play", &json!({ "row": row }));
    let mut leave = play["leave"].as_array().unwrap_or_else(|| panic!("{play}")).clone();
    let mut read =
        Told { id: play["id"].as_str().map(str::to_owned), after: play["after"].as_u64(), ..Told::default() };
    loop {
        let client = client(&play);
        let on_gap = if play["on_gap"] == "earliest" { OnGap::Earliest } else { OnGap::Fail };
        let mut reader = match &read.id {
            Some(id) => client.resume(id, read.after).on_gap(on_gap),
            None => client.create_stream(CreateRequest {
                model: play["create"]["model"].as_str().unwrap().to_owned(),
                input: Some(Input::Text("Hello".to_owned())),
                ..CreateRequest::default()
            }),
        };
        let mut stays = true;
        while let Some(item) = reader.next().await {
            match item {
                Ok(item) => read.take(&item),
                Err(error) => read.error = Some(error),
            }
            if leave.first().is_some_and(|at| reader.after() >= at.as_u64()) {
                leave.remove(0);
                stays = false;
                break;
            }
        }
        read.keep(&reader);
        if !stays {
            stage.post("/left", &json!({}));
        } else if read.error.is_some() && play["renew"] == true {
            play["credential"] = stage.post("/renew", &json!({}))["credential"].clone();
            play["renew"] = json!(false);
            read.error = None;
        } else {
            break;
        }
    }
    let wrong = stage.post("/judge", &read.report());
    wrong["wrong"].as_array().unwrap().iter().map(|line| format!("{row}: {line}")).collect()
}

#[tokio::test]
async fn the_table_of_faults() {
    let stage = Stage::start();
    let rows = stage.ask("GET", "/rows", &json!({}));
    let mut wrong = Vec::new();
    for row in rows.as_array().unwrap() {
        wrong.extend(play(&stage, row.as_str().unwrap()).await);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
