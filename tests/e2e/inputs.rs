//! Images, files and sound in the input: over both surfaces, to backends of both dialects.

use serde_json::{Value, json};
use tidemark_proto::v1::create_request::Input;
use tidemark_proto::v1::{CreateRequest, Wait};
use tonic::Code;
use tonic_types::StatusExt;

use crate::common::rest::Client;
use crate::common::scripted::{Act, answer, response, tell};
use crate::grpc::{responses, text_request};
use crate::setup::Stage;

/// The length of the image in the input, as base64: more than one read, less than one message.
const IMAGE_CHARS: usize = 300_000;

const CHAT: &str = "";
const RESPONSES: &str = "dialect = \"responses\"";

fn image() -> String {
    format!("data:image/png;base64,{}", "iVBORw0K".repeat(IMAGE_CHARS / 8))
}

/// One message with everything that is not only text.
fn input() -> Value {
    json!([{"type": "message", "role": "user", "content": [
        {"type": "input_text", "text": "What is all this?"},
        {"type": "input_image", "image_url": image(), "detail": "low"},
        {"type": "input_image", "image_url": "https://images.example/a.png?x=1&y=%20", "detail": "auto"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
        {"type": "input_file", "file_id": "file-1"},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    ]}])
}

/// The content of the same message as a chat has it.
fn chat_content() -> Value {
    json!([
        {"type": "text", "text": "What is all this?"},
        {"type": "image_url", "image_url": {"url": image(), "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://images.example/a.png?x=1&y=%20", "detail": "auto"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    ])
}

/// An answer in the Responses dialect.
fn said(text: &str) -> Vec<Act> {
    let part = |text: &str| json!({"type": "output_text", "text": text, "annotations": []});
    let item = |status: &str, content: Value| json!({"type": "message", "id": "msg_theirs", "role": "assistant", "status": status, "content": content});
    let place = |mut fields: Value| {
        fields["item_id"] = "msg_theirs".into();
        fields["output_index"] = 0.into();
        fields["content_index"] = 0.into();
        fields
    };
    let done = item("completed", json!([part(text)]));
    let events = [
        tell(
            "response.output_item.added",
            json!({"output_index": 0, "item": item("in_progress", json!([]))}),
        ),
        tell("response.content_part.added", place(json!({"part": part("")}))),
        tell("response.output_text.delta", place(json!({"delta": text}))),
        tell("response.output_text.done", place(json!({"text": text}))),
        tell("response.content_part.done", place(json!({"part": part(text)}))),
        tell("response.output_item.done", json!({"output_index": 0, "item": done.clone()})),
    ];
    response(events, &json!([done]))
}

/// Asks over REST and over gRPC; gives the id of the first response.
async fn ask_both(stage: &Stage) -> String {
    let body = json!({"model": "m", "input": input()});
    let (status, reply) = Client::json(stage.client.post("/v1/responses", &body)).await;
    assert_eq!((status, &reply["status"]), (200, &json!("completed")), "{reply}");
    let items = Some(Input::Items(input().to_string().into()));
    let request = CreateRequest { input: items, wait: Wait::Terminal.into(), ..text_request("m", "") };
    let over_grpc = responses(&stage.server).await.create(request).await.unwrap().into_inner();
    assert_eq!(over_grpc.response.unwrap().error, None);
    reply["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn everything_in_the_input_reaches_a_chat_backend_in_the_form_of_a_chat() {
    let stage = Stage::set([("m", answer(["a picture"]))], CHAT, "").await;
    let id = ask_both(&stage).await;
    let asked = stage.backend.asked();
    assert_eq!(asked.len(), 2);
    for asked in asked {
        assert_eq!(asked.path, "/v1/chat/completions");
        assert_eq!(asked.body["messages"], json!([{"role": "user", "content": chat_content()}]));
    }
    // What was shown once is shown again in the next turn.
    let next = json!({"model": "m", "input": "And now?", "previous_response_id": id});
    assert_eq!(Client::json(stage.client.post("/v1/responses", &next)).await.0, 200);
    let messages = stage.backend.asked().pop().unwrap().body["messages"].clone();
    assert_eq!(messages[0], json!({"role": "user", "content": chat_content()}));
    assert_eq!((&messages[1]["content"], &messages[2]["content"]), (&json!("a picture"), &json!("And now?")));
}

#[tokio::test]
async fn everything_in_the_input_reaches_a_responses_backend_as_it_is() {
    let stage = Stage::set([("m", said("a picture"))], RESPONSES, "").await;
    let id = ask_both(&stage).await;
    let asked = stage.backend.asked();
    assert_eq!(asked.len(), 2);
    for asked in asked {
        assert_eq!((asked.path.as_str(), &asked.body["input"]), ("/v1/responses", &input()));
    }
    let next = json!({"model": "m", "input": "And now?", "previous_response_id": id});
    assert_eq!(Client::json(stage.client.post("/v1/responses", &next)).await.0, 200);
    let items = stage.backend.asked().pop().unwrap().body["input"].clone();
    assert_eq!(items[0], input()[0]);
    assert_eq!(items[1]["content"][0]["text"], "a picture");

    let (_, list) = Client::json(stage.client.get(&format!("/v1/responses/{id}/input_items"))).await;
    assert_eq!(list["data"][0]["content"], input()[0]["content"], "and it is listed as it came");
}

#[tokio::test]
async fn what_a_chat_cannot_say_is_refused_by_its_place_on_both_surfaces() {
    let stage = Stage::set([("m", answer(["x"]))], CHAT, "").await;
    for (part, field) in [
        (json!({"type": "input_file", "file_url": "https://files.example/a.pdf"}), "file_url"),
        (json!({"type": "input_image", "file_id": "file-1"}), "file_id"),
    ] {
        let param = format!("input[0].content[1].{field}");
        let text = json!({"type": "input_text", "text": "x"});
        let items = json!([{"role": "user", "content": [text, part]}]);
        let body = json!({"model": "m", "input": items});
        let (status, reply) = Client::json(stage.client.post("/v1/responses", &body)).await;
        let said = (status, &reply["error"]["code"], &reply["error"]["param"]);
        assert_eq!(said, (400, &json!("invalid_request"), &json!(param)), "{reply}");

        let items = Some(Input::Items(items.to_string().into()));
        let request = CreateRequest { input: items, wait: Wait::Terminal.into(), ..text_request("m", "") };
        let refused = responses(&stage.server).await.create(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(refused.get_details_bad_request().unwrap().field_violations[0].field, param);
    }
    assert!(stage.backend.asked().is_empty());
}
