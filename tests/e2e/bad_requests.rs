//! What callers send wrongly: each a typed error, nothing made, nobody asked.

use serde_json::{Value, json};

use crate::common::rest::Client;
use crate::common::scripted::answer;
use crate::setup::{Stage, ask};

/// Sends a body as it is; returns the status and the error object.
async fn refused(client: &Client, body: &'static str) -> (u16, Value) {
    let request = client.request(reqwest::Method::POST, "/v1/responses").body(body);
    let (status, mut reply) = Client::json(request.header("content-type", "application/json")).await;
    (status, reply["error"].take())
}

#[tokio::test]
async fn a_bad_body_is_named_and_asks_no_backend() {
    let stage = Stage::with("m", answer(["x"])).await;
    let cases = [
        ("", 400, "invalid_request", None),
        ("{\"model\":", 400, "invalid_request", None),
        ("[1]", 400, "invalid_request", None),
        ("{\"model\":\"m\",\"input\":\"x\"} trailing", 400, "invalid_request", None),
        (r#"{"model":7,"input":"x"}"#, 400, "invalid_request", Some("model")),
        (r#"{"input":"x"}"#, 400, "invalid_request", Some("model")),
        (r#"{"model":"m"}"#, 400, "invalid_request", Some("input")),
        (r#"{"model":"m","input":{}}"#, 400, "invalid_request", Some("input")),
        (r#"{"model":"m","input":"x","stream":"yes"}"#, 400, "invalid_request", Some("stream")),
        (r#"{"model":"m","input":"x","background":1}"#, 400, "invalid_request", Some("background")),
        (r#"{"model":"m","input":"x","temperature":9}"#, 400, "invalid_request", Some("temperature")),
        (r#"{"model":"m","input":"x","tools":{}}"#, 400, "invalid_request", Some("tools")),
        (r#"{"model":"m","input":"x","metadata":{"a":1}}"#, 400, "invalid_request", Some("metadata")),
        (r#"{"model":"m","model":"m","input":"x"}"#, 400, "invalid_request", Some("model")),
        (r#"{"model":"gpt-none","input":"x"}"#, 404, "model_not_found", Some("model")),
        (
            r#"{"model":"m","input":"x","previous_response_id":"resp_none"}"#,
            404,
            "previous_response_not_found",
            Some("previous_response_id"),
        ),
    ];
    for (body, status, code, param) in cases {
        let (found, error) = refused(&stage.client, body).await;
        assert_eq!((found, &error["code"], &error["param"]), (status, &json!(code), &json!(param)), "{body}");
        assert_eq!(error["type"], "invalid_request_error", "{body}");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
    }
    assert!(stage.backend.asked().is_empty());
    let (status, response) = Client::json(stage.client.post("/v1/responses", &ask("m"))).await;
    assert_eq!((status, &response["status"]), (200, &json!("completed")), "it still works");
}

#[tokio::test]
async fn a_body_of_17_mib_is_too_large_and_the_next_request_is_served() {
    let stage = Stage::with("m", answer(["x"])).await;
    let body = json!({"model": "m", "input": "x".repeat(17 << 20)});
    let (status, error) = Client::json(stage.client.post("/v1/responses", &body)).await;
    assert_eq!((status, &error["error"]["code"]), (413, &json!("payload_too_large")));
    assert_eq!(Client::json(stage.client.post("/v1/responses", &ask("m"))).await.0, 200);
}

#[tokio::test]
async fn an_id_a_path_or_a_method_that_is_not_there_is_named() {
    let stage = Stage::with("m", answer(["x"])).await;
    let cancel = stage.client.request(reqwest::Method::POST, "/v1/responses/resp_none/cancel");
    let put = stage.client.request(reqwest::Method::PUT, "/v1/responses");
    for (request, status, code) in [
        (stage.client.get("/v1/responses/resp_none"), 404, "not_found"),
        (stage.client.get("/v1/responses/%00%ff"), 400, "invalid_request"),
        (stage.client.get("/v1/responses/resp_none?stream=true&starting_after=-1"), 400, "invalid_cursor"),
        (cancel, 404, "not_found"),
        (stage.client.get("/v1/nothing"), 404, "not_found"),
        (put, 405, "method_not_allowed"),
    ] {
        let (found, reply) = Client::json(request).await;
        assert_eq!((found, &reply["error"]["code"]), (status, &json!(code)));
        for field in ["message", "type", "param", "code"] {
            assert!(reply["error"].get(field).is_some(), "{field} of {reply}");
        }
    }
}
