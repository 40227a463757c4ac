//! Every type of event and of item that the two published schemas know, through a backend of the Responses dialect: ids, places and
//! numbers are ours, and all else is as it came.
//!
//! `response_types.json` names them: those of OpenAI (a test of the SDK for Python compares them with the SDK's) and of Open Responses.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::common::rest::{Client, Frame};
use crate::common::scripted::{Act, response, tell};
use crate::setup::{Stage, ask, ask_streamed};

/// How many types of events there are: those of OpenAI, and two that Open Responses calls by other names.
const EVENTS: usize = 61;

/// Events that tell of an item as a whole.
const OF_ITEMS: [&str; 2] = ["response.output_item.added", "response.output_item.done"];

const RESPONSES: &str = "dialect = \"responses\"";

/// Types of items whose id is ours alone, so that no backend gets it.
const WITHOUT_ID: [&str; 6] = [
    "message",
    "reasoning",
    "function_call",
    "function_call_output",
    "custom_tool_call",
    "custom_tool_call_output",
];

#[derive(Deserialize)]
struct Types {
    /// Events that the gateway writes itself.
    own: Vec<String>,
    events: BTreeMap<String, Sample>,
    /// Items by their type, with what they need.
    items: BTreeMap<String, Map<String, Value>>,
}

#[derive(Deserialize)]
struct Sample {
    /// The type of the item that the event is about, if it is about one.
    item: Option<String>,
    fields: Map<String, Value>,
}

fn types() -> Types {
    serde_json::from_str(include_str!("../common/response_types.json")).unwrap()
}

fn with(fields: &Map<String, Value>, more: &Value) -> Value {
    let mut all = fields.clone();
    all.extend(more.as_object().unwrap().clone());
    Value::Object(all)
}

/// An event about the only item of an answer, which is called and placed as no answer of ours would.
fn script(name: &str, sample: &Sample) -> Vec<Act> {
    let more = json!({"sequence_number": 77, "x_new": {"b": 1.5, "a": []}});
    let Some(item) = &sample.item else {
        return response([tell(name, with(&sample.fields, &more))], &json!([]));
    };
    let item = json!({"type": item, "id": "th_1", "status": "in_progress"});
    let mut fields = with(&sample.fields, &more);
    fields["item_id"] = "th_1".into();
    fields["output_index"] = 4.into();
    let added = tell(OF_ITEMS[0], json!({"output_index": 4, "item": item}));
    let done = tell(OF_ITEMS[1], json!({"output_index": 4, "item": item}));
    response([added, tell(name, fields), done], &json!([item]))
}

#[tokio::test]
async fn every_type_of_event_passes_with_ids_and_numbers_of_ours() {
    let types = types();
    assert_eq!(types.events.len() + types.own.len() + OF_ITEMS.len(), EVENTS);
    let scripts = types.events.iter().map(|(name, sample)| (name.as_str(), script(name, sample)));
    let stage = Stage::set(scripts, RESPONSES, "").await;
    for (name, sample) in &types.events {
        let stream = stage.client.stream(&ask_streamed(name)).await.events().await;
        assert_eq!(stream.last().unwrap().name(), "response.completed", "{name}: {:?}", stream.last());
        let told: Vec<&Frame> = stream.iter().filter(|frame| frame.name() == name).collect();
        // A part may have to begin before its text, by the same type of event.
        let told = told.last().unwrap_or_else(|| panic!("{name} is not there")).json();
        let mut expected = with(&sample.fields, &json!({"type": name, "x_new": {"b": 1.5, "a": []}}));
        let number = stream.iter().position(|frame| frame.json() == told).unwrap();
        expected["sequence_number"] = number.into();
        if sample.item.is_some() {
            let id = stream[2].json()["item"]["id"].clone();
            assert_ne!(id, "th_1", "{name}");
            expected["item_id"] = id;
            expected["output_index"] = 0.into();
        }
        if expected.get("response_id").is_some() {
            expected["response_id"] = stream[0].json()["response"]["id"].clone();
        }
        assert_eq!(told, expected, "{name}");
    }
}

/// `created`, `queued` and so on are told by the gateway; how the backend ends is how the response ends.
#[tokio::test]
async fn the_events_of_the_life_of_a_response_are_the_gateways_own() {
    let types = types();
    let life = |name: &str| {
        let status = name.trim_start_matches("response.");
        let mut response = json!({"id": "resp_theirs", "status": status, "output": []});
        if name == "response.incomplete" {
            response["incomplete_details"] = json!({"reason": "max_output_tokens"});
        }
        let fields = if name == "error" { json!({"message": "m"}) } else { json!({ "response": response }) };
        let ends = !["response.created", "response.queued", "response.in_progress"].contains(&name);
        let end = (!ends).then(|| tell("response.completed", json!({"response": {"output": []}})));
        [tell(name, fields)].into_iter().chain(end).collect::<Vec<_>>()
    };
    let scripts = types.own.iter().map(|name| (name.as_str(), life(name)));
    let stage = Stage::set(scripts, RESPONSES, "").await;
    for name in &types.own {
        let mut body = ask_streamed(name);
        body["background"] = true.into();
        let stream = stage.client.stream(&body).await.events().await;
        let names: Vec<&str> = stream.iter().map(Frame::name).collect();
        let last = match name.as_str() {
            "error" | "response.failed" => "response.failed",
            "response.incomplete" => "response.incomplete",
            _ => "response.completed",
        };
        let expected = ["response.created", "response.queued", "response.in_progress", last];
        assert_eq!(names, expected, "{name}");
        assert!(stream.iter().all(|frame| !frame.data.contains("resp_theirs")), "{name}");
    }
}

#[tokio::test]
async fn every_type_of_item_passes_as_output_as_input_and_as_history() {
    let types = types();
    let theirs = |name: &str, fields: &Map<String, Value>| {
        with(fields, &json!({"type": name, "id": "th_1", "x_new": {"b": 1.5}}))
    };
    let script = |name: &str, fields: &Map<String, Value>| {
        let item = theirs(name, fields);
        let events = OF_ITEMS.map(|event| tell(event, json!({"output_index": 2, "item": item})));
        response(events, &json!([item]))
    };
    let scripts = types.items.iter().map(|(name, fields)| (name.as_str(), script(name, fields)));
    let stage = Stage::set(scripts, RESPONSES, "").await;
    for (name, fields) in &types.items {
        let (status, told) = Client::json(stage.client.post("/v1/responses", &ask(name))).await;
        assert_eq!((status, &told["status"]), (200, &json!("completed")), "{name}: {told}");
        let id = told["output"][0]["id"].clone();
        let ours = with(fields, &json!({"type": name, "id": id, "x_new": {"b": 1.5}}));
        assert_eq!(told["output"], json!([ours]), "{name}");
        assert_ne!(id, "th_1", "{name}");

        // What was put out is told again to the backend in the next turn, beside what the caller brings.
        let body =
            json!({"model": name, "previous_response_id": told["id"], "input": [theirs(name, fields)]});
        let (status, next) = Client::json(stage.client.post("/v1/responses", &body)).await;
        assert_eq!(status, 200, "{name}: {next}");
        let asked = stage.backend.asked().pop().unwrap();
        let sent = |mut item: Value| {
            if WITHOUT_ID.contains(&name.as_str()) {
                item.as_object_mut().unwrap().remove("id");
            }
            item
        };
        let input = asked.body["input"].as_array().unwrap();
        assert_eq!(input[1..], [sent(ours), sent(theirs(name, fields))], "{name}");
        let path = format!("/v1/responses/{}/input_items", next["id"].as_str().unwrap());
        let (_, listed) = Client::json(stage.client.get(&path)).await;
        assert_eq!(listed["data"], json!([theirs(name, fields)]), "{name}");
    }
}
