//! A backend of the Responses dialect, end to end.

use serde_json::{Value, json};
use tokio::time::timeout;

use super::*;
use crate::backends::scripted::{Gate, crlf, response, split_every_byte, tell};
use crate::runs::{Cancelled, Status};

fn message(id: &str, status: &str, text: &str) -> Value {
    let content = if text.is_empty() {
        json!([])
    } else {
        json!([{"type": "output_text", "text": text, "annotations": [], "logprobs": [], "vendor": 1}])
    };
    json!({"type": "message", "id": id, "status": status, "role": "assistant", "content": content, "phase": "final_answer"})
}

fn delta(number: u64, item: u64, text: &str) -> Act {
    let at = json!({"sequence_number": number, "item_id": format!("item{item}"), "output_index": item, "content_index": 0,
        "delta": text, "logprobs": [], "obfuscation": "xxxx"});
    tell("response.output_text.delta", at)
}

/// Reasoning with a summary, an event that nobody knows, and two pieces of text.
fn rich() -> Vec<Act> {
    let reasoning = |status: &str, summary: Value| {
        json!({"output_index": 0, "item": {"type": "reasoning", "id": "rs_theirs", "status": status, "summary": summary,
            "encrypted_content": "gAAA"}})
    };
    let summary = |fields: Value| {
        let mut at = json!({"item_id": "rs_theirs", "output_index": 0, "summary_index": 0});
        at.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        at
    };
    let part = json!({"part": {"type": "summary_text", "text": ""}});
    let whole = json!([{"type": "summary_text", "text": "I think."}]);
    let item =
        |id: &str, status: &str, text: &str| json!({"output_index": 1, "item": message(id, status, text)});
    let events = vec![
        tell("response.output_item.added", reasoning("in_progress", json!([]))),
        tell("response.reasoning_summary_part.added", summary(part)),
        tell("response.reasoning_summary_text.delta", summary(json!({"delta": "I "}))),
        tell("response.reasoning_summary_text.delta", summary(json!({"delta": "think."}))),
        tell("response.reasoning_summary_text.done", summary(json!({"text": "I think."}))),
        tell("response.output_item.done", reasoning("completed", whole.clone())),
        tell("vendor:progress", json!({"sequence_number": 40, "item_id": "rs_theirs", "percent": 12.5})),
        tell("response.output_item.added", item("msg_theirs", "in_progress", "")),
        delta(41, 1, "Grüße "),
        delta(42, 1, "😀"),
        tell("response.output_item.done", item("msg_other", "completed", "Grüße 😀")),
    ];
    response(events, &json!([{"type": "reasoning"}, {"type": "message"}]))
}

/// Ids are counted per room: the same script gives the same bytes.
async fn log_of(acts: Vec<Act>) -> (Vec<Value>, Value) {
    let (_server, room) = scripted(Dialect::Responses, acts).await;
    let done = room.run(request()).await;
    let events: Vec<Value> = room.events(&done.id.to_string()).await.iter().map(data).collect();
    assert_eq!(events.last().unwrap()["response"], object(&done), "Get is what the last event carries");
    (events, object(&done))
}

#[tokio::test]
async fn the_events_are_the_backends_in_order_under_our_numbers_and_ids() {
    let (events, done) = log_of(rich()).await;
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let expected = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.output_item.done",
        "vendor:progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(kinds, expected);
    let numbers: Vec<u64> = events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..15).collect::<Vec<_>>());

    let (reasoning, message) = (&done["output"][0], &done["output"][1]);
    for event in &events[2..14] {
        let item = if event["output_index"] == 0 { reasoning } else { message };
        let named = event.get("item_id").or_else(|| event["item"].get("id"));
        assert_eq!(named, Some(&item["id"]), "{event}");
        assert_eq!(event.get("obfuscation"), None);
    }
    assert!(!serde_json::to_string(&events).unwrap().contains("theirs"), "no id of the backend is left");
    assert_eq!(events[8]["percent"], 12.5);
    assert_eq!(
        (&reasoning["encrypted_content"], &reasoning["summary"][0]["text"]),
        (&json!("gAAA"), &json!("I think."))
    );
    assert_eq!((&message["phase"], &message["content"][0]["vendor"]), (&json!("final_answer"), &json!(1)));
    assert_eq!(message["content"][0]["text"], "Grüße 😀");
    assert_eq!(
        (done["status"].as_str(), done["usage"]["total_tokens"].as_u64()),
        (Some("completed"), Some(5))
    );
    assert_eq!(done.as_object().unwrap().len(), 31);
}

#[tokio::test]
async fn the_form_of_the_stream_changes_nothing() {
    let expected = log_of(rich()).await;
    for acts in [crlf(rich()), split_every_byte(rich()), split_every_byte(crlf(rich()))] {
        assert_eq!(log_of(acts).await, expected);
    }
}

#[tokio::test]
async fn an_event_on_several_lines_is_one_line_in_the_log() {
    let item = "event: response.output_item.done\ndata: {\"output_index\": 0,\ndata:  \"item\": {\n\
                data: \"type\":\"message\", \"id\":\"m\", \"text\": \"a b\"}}\n\n";
    let (_server, room) = scripted(Dialect::Responses, response([Act::Send(item.into())], &json!([]))).await;
    let done = room.run(request()).await;
    for event in room.events(&done.id.to_string()).await {
        assert!(!event.data.contains(&b'\n'));
    }
    assert_eq!(object(&done)["output"][0]["text"], "a b");
}

#[tokio::test]
async fn a_stream_that_is_cut_fails_with_the_output_so_far() {
    for cut in [vec![Act::ClosePrematurely], vec![], vec![tell("error", json!({"message": "secret"}))]] {
        let mut acts = rich();
        acts.truncate(12);
        acts.extend(cut);
        let (_server, room) = scripted(Dialect::Responses, acts).await;
        let failed = room.run(request()).await;
        let object = object(&failed);
        assert_eq!(
            (failed.status, object["error"]["code"].as_str()),
            (Status::Failed, Some("backend_error"))
        );
        assert_eq!(object["output"][0]["status"], "completed");
        assert_eq!(object["output"][1]["status"], "incomplete");
        assert_eq!(object["output"][1]["content"][0]["text"], "Grüße 😀");
        assert!(!object.to_string().contains("secret"));
        let events = room.events(&failed.id.to_string()).await;
        assert_eq!(&*events.last().unwrap().kind, "response.failed");
    }
}

#[tokio::test]
async fn failed_and_incomplete_end_as_they_say_and_keep_what_was_used() {
    let usage = json!({"input_tokens": 8, "output_tokens": 1, "total_tokens": 9});
    let end = |kind: &str, more: Value| {
        let mut response = json!({"id": "resp_theirs", "usage": usage});
        response.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        tell(kind, json!({"response": response}))
    };
    let failed = end("response.failed", json!({"error": {"code": "server_error", "message": "secret"}}));
    let cut = end("response.incomplete", json!({"incomplete_details": {"reason": "max_output_tokens"}}));
    for (last, status, reason) in
        [(failed, "failed", Value::Null), (cut, "incomplete", json!("max_output_tokens"))]
    {
        let mut acts = rich();
        acts.truncate(12);
        acts.push(last);
        let (_server, room) = scripted(Dialect::Responses, acts).await;
        let ended = object(&room.run(request()).await);
        assert_eq!(
            (ended["status"].as_str(), &ended["incomplete_details"]["reason"]),
            (Some(status), &reason)
        );
        assert_eq!(ended["usage"]["total_tokens"], 9);
        assert_eq!(ended["output"][1]["status"], "incomplete");
        assert!(!ended.to_string().contains("secret"));
    }
}

#[tokio::test]
async fn cancel_stops_the_backend_and_keeps_the_output_so_far() {
    let mut acts = rich();
    acts.truncate(12);
    acts.push(Act::Await(Gate::new()));
    let (server, room) = scripted(Dialect::Responses, acts).await;
    let id = room.0.create(&alice(), background()).await.unwrap().snapshot.id.to_string();
    room.with_output(&id).await;
    let cancelled = timeout(PATIENCE, room.0.cancel(&alice(), &id)).await.expect("it ends").unwrap();
    assert_eq!(cancelled.status, Status::Cancelled(Cancelled::ByRequest));
    assert_eq!(object(&cancelled)["output"][0]["type"], "reasoning");
    timeout(PATIENCE, server.until_dropped(1)).await.expect("the server sees it go");
}

#[tokio::test]
async fn a_large_item_passes_whole_and_a_large_delta_does_not() {
    let text = "x".repeat(500_000);
    let item = json!({"output_index": 0, "item": message("msg_1", "completed", &text)});
    let acts =
        response([tell("response.output_item.done", item)], &json!([message("msg_1", "completed", &text)]));
    let (_server, room) = scripted(Dialect::Responses, acts).await;
    let done = room.run(request()).await;
    assert_eq!(object(&done)["output"][0]["content"][0]["text"].as_str().map(str::len), Some(500_000));

    let added = tell(
        "response.output_item.added",
        json!({"output_index": 1, "item": message("item1", "in_progress", "")}),
    );
    let acts = response([added, delta(0, 1, "kept"), delta(1, 1, &"x".repeat(2 << 20))], &json!([]));
    let (_server, room) = scripted(Dialect::Responses, acts).await;
    let failed = object(&room.run(request()).await);
    assert_eq!(failed["error"]["code"], "event_too_large");
    assert_eq!(failed["output"][0]["content"][0]["text"], "kept");
}

#[tokio::test]
async fn refusals_pass_as_their_own_part() {
    let at = |fields: Value| {
        let mut at = json!({"item_id": "msg_theirs", "output_index": 0, "content_index": 0});
        at.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        at
    };
    let events = vec![
        tell(
            "response.output_item.added",
            json!({"output_index": 0, "item": message("msg_theirs", "in_progress", "")}),
        ),
        tell("response.content_part.added", at(json!({"part": {"type": "refusal", "refusal": ""}}))),
        tell("response.refusal.delta", at(json!({"delta": "I will "}))),
        tell("response.refusal.delta", at(json!({"delta": "not."}))),
        tell("response.refusal.done", at(json!({"refusal": "I will not."}))),
        tell(
            "response.content_part.done",
            at(json!({"part": {"type": "refusal", "refusal": "I will not."}})),
        ),
    ];
    let (events, done) = log_of(response(events, &json!([]))).await;
    assert_eq!(done["output"][0]["content"], json!([{"type": "refusal", "refusal": "I will not."}]));
    assert_eq!(done["output"][0]["status"], "completed", "an item that the backend left open is ended");
    let done_events = events.iter().filter(|event| event["type"] == "response.output_item.done").count();
    assert_eq!(done_events, 1);
}
