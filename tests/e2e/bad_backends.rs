//! Backends that do what no backend should: each a typed error, and a log that is whole.

use serde_json::{Value, json};

use crate::common::rest::{Client, text_of, text_of_deltas};
use crate::common::scripted::{Act, answer, chunk, crlf, done, finish, split_every_byte};
use crate::common::server::Server;
use crate::setup::{Stage, ask, ask_streamed};

/// Short enough to wait for, long enough for a slow machine to say something in.
const SHORT: &str = "first_byte_timeout = \"1s\"\nidle_timeout = \"1s\"\n";

fn raw(text: &'static str) -> Act {
    Act::Send(text.into())
}

/// Checks the failed response behind a foreground create, over both forms of it.
async fn assert_failed(client: &Client, model: &str, expected: (u16, &str), output: &str) {
    let (status, code) = expected;
    let reply = client.post("/v1/responses", &ask(model)).send().await.unwrap();
    assert_eq!(reply.status(), status, "{model}");
    let id = reply.headers()["x-tidemark-response-id"].to_str().unwrap().to_owned();
    let body: Value = reply.json().await.unwrap();
    assert_eq!(body["error"]["code"], code, "{model}");
    let frames = client.whole(&id).await;
    let last = frames.last().unwrap();
    assert_eq!(last.name(), "response.failed", "{model}");
    let response = &last.json()["response"];
    assert_eq!(
        (&response["status"], &response["error"]["code"]),
        (&json!("failed"), &json!(code)),
        "{model}"
    );
    assert_eq!((text_of(response), text_of_deltas(&frames)), (output.into(), output.into()), "{model}");
    if status == 200 {
        assert_eq!(&body, response, "{model}");
    }
    let streamed = client.stream(&ask_streamed(model)).await.events().await;
    assert!(streamed.iter().all(|frame| frame.name() != "error"), "{model}: the fault is the backend's");
    let last = streamed.last().unwrap();
    assert_eq!(last.json()["response"]["error"]["code"], code, "{model}");
}

#[tokio::test]
async fn a_backend_that_fails_before_any_output_is_the_error_of_the_create() {
    let html = Act::Status(200, "<html>hello</html>".into(), "text/html");
    let cases = [
        ("html", vec![html], (502, "backend_error")),
        ("closes", vec![Act::ClosePrematurely], (502, "backend_error")),
        ("never-answers", vec![Act::HangForever], (504, "backend_timeout")),
        ("status-500", vec![Act::Status(500, "{}".into(), "application/json")], (502, "backend_error")),
        ("garbage", vec![raw("data: {]\n\n")], (502, "backend_error")),
        ("not-text", vec![Act::Send(b"data: \xff\xfe\n\n"[..].into())], (502, "backend_error")),
        ("reports", vec![raw("data: {\"error\":{\"message\":\"no memory\"}}\n\n")], (502, "backend_error")),
        ("2-mib-event", vec![chunk(&"x".repeat(2 << 20))], (502, "event_too_large")),
        ("silent", vec![Act::Send("".into()), Act::HangForever], (504, "backend_timeout")),
        ("empty", vec![Act::Send("".into())], (502, "backend_error")),
    ];
    let stage = Stage::set(cases.iter().map(|(model, acts, _)| (*model, acts.clone())), SHORT, "").await;
    for (model, _, expected) in cases {
        assert_failed(&stage.client, model, expected, "").await;
    }
}

#[tokio::test]
async fn a_backend_that_fails_after_some_output_leaves_a_failed_response_with_it() {
    let after = |act: Act| vec![chunk("Hel"), chunk("lo"), act];
    let cases = [
        ("hangs", after(Act::HangForever), "backend_timeout"),
        ("closes", after(Act::ClosePrematurely), "backend_error"),
        ("garbage", after(raw("data: {]\n\n")), "backend_error"),
        ("ends", vec![chunk("Hel"), chunk("lo")], "backend_error"),
        ("2-mib-event", after(chunk(&"x".repeat(2 << 20))), "event_too_large"),
    ];
    let stage = Stage::set(cases.iter().map(|(model, acts, _)| (*model, acts.clone())), SHORT, "").await;
    for (model, _, code) in cases {
        assert_failed(&stage.client, model, (200, code), "Hello").await;
    }
}

#[tokio::test]
async fn a_backend_that_is_not_there_is_unreachable() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Server::start(&format!(
        "[[backends]]\nname = \"gone\"\nkind = \"openai\"\nbase_url = \"http://{free}/v1\"\nmodels = [\"m\"]\n"
    ));
    assert_failed(&Client::new(&server.url()), "m", (502, "backend_unreachable"), "").await;
}

#[tokio::test]
async fn an_answer_that_says_why_it_ends_is_complete_however_the_connection_closes() {
    let stage = Stage::set(
        [
            ("no-done", vec![chunk("x"), finish("stop")]),
            ("cut", vec![chunk("x"), finish("stop"), Act::ClosePrematurely]),
        ],
        SHORT,
        "",
    )
    .await;
    for model in ["no-done", "cut"] {
        let (status, response) = Client::json(stage.client.post("/v1/responses", &ask(model))).await;
        assert_eq!((status, &response["status"]), (200, &json!("completed")), "{model}");
        stage.client.whole(response["id"].as_str().unwrap()).await;
    }
}

#[tokio::test]
async fn check_20_every_form_of_the_grammar_is_the_same_answer() {
    let plain = || answer(["Hello", " w\u{f6}rld \u{1f30a}"]);
    let multi_line = "data: {\"choices\":[{\"index\":0,\ndata: \"delta\":{\"content\":\"Hello\"}}]}\n\n";
    let compact = "data:{\"choices\":[{\"index\":0,\"delta\":{\"content\":\" w\u{f6}rld \u{1f30a}\"}}]}\n\n";
    let odd = vec![
        raw("\u{feff}: a comment\n\nevent: message\nid: 1\nretry: 10\n"),
        raw(multi_line),
        raw(":\n\nunknown: field\n"),
        raw(compact),
        raw("event: message\r"),
        finish("stop"),
        done(),
    ];
    let one_piece = vec![Act::Send(pieces(plain()).concat().into())];
    let cr_only =
        vec![Act::Send(String::from_utf8(pieces(plain()).concat()).unwrap().replace('\n', "\r").into())];
    let cases = [
        ("plain", plain()),
        ("crlf", crlf(plain())),
        ("cr", cr_only),
        ("odd", odd.clone()),
        ("one-piece", one_piece),
        ("split", split_every_byte(plain())),
        ("split-crlf", split_every_byte(crlf(plain()))),
        ("split-odd", split_every_byte(odd)),
    ];
    let stage = Stage::set(cases.iter().map(|(model, acts)| (*model, acts.clone())), "", "").await;
    for (model, _) in cases {
        let frames = stage.client.stream(&ask_streamed(model)).await.events().await;
        let last = frames.last().unwrap();
        assert_eq!(last.name(), "response.completed", "{model}");
        assert_eq!(text_of_deltas(&frames), "Hello w\u{f6}rld \u{1f30a}", "{model}");
        assert_eq!(text_of(&last.json()["response"]), "Hello w\u{f6}rld \u{1f30a}", "{model}");
    }
}

/// The bytes that a script sends.
fn pieces(acts: Vec<Act>) -> Vec<Vec<u8>> {
    acts.into_iter()
        .filter_map(|act| if let Act::Send(bytes) = act { Some(bytes.to_vec()) } else { None })
        .collect()
}
