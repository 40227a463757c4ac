//! What callers do: create, read, get, cancel, continue.

use std::time::Duration;

use serde_json::json;
use tidemark_proto::v1::create_request::Input;
use tidemark_proto::v1::{CreateRequest, ErrorCode};
use tidemark_store::{Caps, Seq, Store};

use super::*;
use crate::backends::{Finish, Step, Usage};
use crate::json::Node;
use crate::runs::testing::{stop, text};
use crate::runs::{Cancelled, HEARTBEAT, Status};

#[tokio::test(start_paused = true)]
async fn a_background_text_answer_has_the_events_of_the_contract_in_their_order() {
    let usage = Usage { input_tokens: 1, output_tokens: 2, total_tokens: 3, ..Usage::default() };
    let room = room([text("Hel"), text("lo"), stop(), Act::Give(Step::Usage(usage))]);
    let created = room.create(background()).await;
    assert_eq!(
        (created.snapshot.status, object(&created.snapshot)["status"].as_str()),
        (Status::Queued, Some("queued"))
    );
    let id = created.snapshot.id.to_string();
    let events = all(room.runs.read(created).await.unwrap()).await.unwrap();
    let expected = [
        "created",
        "queued",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ];
    assert_eq!(kinds(&events), expected);
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event.seq, Seq::new(number as u64));
        assert_eq!(data(event)["sequence_number"], number);
        assert_eq!(data(event)["type"], *event.kind);
        assert!(!event.data.contains(&b'\n'));
    }
    let states: Vec<_> =
        [0, 1, 2, 10].iter().map(|at| data(&events[*at])["response"]["status"].clone()).collect();
    assert_eq!(states, ["queued", "queued", "in_progress", "completed"]);
    let last = data(&events[10])["response"].clone();
    assert_eq!(last["output"][0]["content"][0]["text"], "Hello");
    assert_eq!(last["usage"]["total_tokens"], 3);
    assert_eq!(last["completed_at"], last["created_at"]);
    assert_eq!(last.as_object().unwrap().len(), 31);
    assert_eq!(object(&room.get(&id).await), last);
}

#[tokio::test(start_paused = true)]
async fn a_foreground_answer_is_in_progress_from_its_first_event() {
    let room = room([text("x"), stop()]);
    let done = room.run(request()).await;
    let events = room.events(&done.id.to_string()).await;
    assert_eq!(kinds(&events)[..3], ["created", "in_progress", "output_item.added"]);
    assert_eq!(data(&events[0])["response"]["status"], "in_progress");
    assert_eq!(done.status, Status::Completed);
    assert_eq!(Status::from_byte(done.head.status), Some(Status::Completed));
    assert!(done.head.frontier.closed);
}

#[tokio::test(start_paused = true)]
async fn the_backend_gets_the_conversation_and_what_it_may_know() {
    let room = room([text("two"), stop()]);
    let extra = r#"{"instructions":"add","temperature":0.5,"stream":true,"seed":1}"#;
    let first = room.run(CreateRequest { extra: extra.into(), ..request() }).await;
    let chat_form = first.id.to_string().replace("resp_", "chatcmpl-");
    let second = CreateRequest {
        previous_response_id: Some(chat_form.clone()),
        input: Some(Input::Items(r#"[{"role":"user","content":"and?"}]"#.into())),
        ..request()
    };
    let second = room.run(second).await;
    assert_eq!(object(&second)["previous_response_id"], chat_form);
    let third = CreateRequest { previous_response_id: Some(second.id.to_string()), ..request() };
    room.run(third).await;
    let asked = room.script.asked();
    assert_eq!(asked[0].model, "m-at-backend");
    assert_eq!(asked[0].instructions.as_deref(), Some("add"));
    assert_eq!(asked[0].params.keys().collect::<Vec<_>>(), ["seed", "temperature"]);
    assert_eq!(asked[1].instructions, None, "instructions do not carry over");
    let lengths: Vec<usize> = asked.iter().map(|generation| generation.items.len()).collect();
    assert_eq!(lengths, [1, 3, 5]);
    let items: Vec<Value> =
        asked[2].items.iter().map(|item| serde_json::from_str(item.get()).unwrap()).collect();
    assert_eq!(items[0]["content"][0]["text"], "hi");
    assert_eq!((&items[1]["role"], &items[1]["content"][0]["text"]), (&json!("assistant"), &json!("two")));
    assert_eq!(items[2]["content"], "and?");
}

#[tokio::test(start_paused = true)]
async fn a_previous_response_must_be_ones_own_and_ended() {
    let room = room([text("x"), Act::Hang]);
    let running = room.create(request()).await.snapshot.id.to_string();
    let continuing = |id: &str| CreateRequest { previous_response_id: Some(id.to_owned()), ..request() };
    let unknown = format!("resp_{}", "0".repeat(31) + "9");
    let mut seen = Vec::new();
    for (principal, id) in [(alice(), unknown.as_str()), (bob(), &running), (alice(), "nonsense")] {
        let error = room.runs.create(&principal, continuing(id)).await.unwrap_err();
        seen.push((error.code(), error.message().to_owned(), error.param().map(str::to_owned)));
    }
    assert_eq!(seen[0].0, ErrorCode::PreviousResponseNotFound);
    assert_eq!(seen[0].2.as_deref(), Some("previous_response_id"));
    assert!(seen.iter().all(|error| *error == seen[0]));
    let error = room.runs.create(&alice(), continuing(&running)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::PreviousResponseNotTerminal);
    assert_eq!(room.script.asked().len(), 1, "no backend was asked");
}

#[tokio::test(start_paused = true)]
async fn foreign_unknown_expired_and_malformed_ids_are_one_error_on_every_path() {
    let room = room([text("x"), stop()]);
    let foreign = room.run(request()).await.id.to_string();
    let expired = room.runs.create(&bob(), unstored()).await.unwrap();
    let expired = room.runs.wait_terminal(expired).await.unwrap().id.to_string();
    tokio::time::advance(Duration::from_secs(601)).await;
    let unknown = format!("resp_{}", "f".repeat(32));
    let nothing = format!("resp_{}", "0".repeat(32));
    let mut seen = Vec::new();
    for id in [foreign.as_str(), &expired, &unknown, &nothing, "", "resp_", "resp_XYZ"] {
        seen.push(format!("{:?}", room.runs.get(&bob(), id).await.unwrap_err()));
        seen.push(format!("{:?}", room.runs.cancel(&bob(), id).await.unwrap_err()));
        seen.push(format!("{:?}", room.runs.attach(&bob(), id, None, OnGap::Fail).await.unwrap_err()));
    }
    assert!(seen[0].contains("NotFound"));
    assert!(seen.iter().all(|error| *error == seen[0]), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn get_shows_what_is_committed_so_far() {
    let room = room([text("so "), text("far"), Act::Hold, stop()]);
    let created = room.create(background()).await;
    let mut reader = room.runs.read(created).await.unwrap();
    let id = reader.id().to_string();
    while reader.next().await.unwrap().is_some_and(|delivery| match delivery {
        Delivery::Events { events, .. } => events.last().unwrap().seq < Seq::new(6),
        Delivery::Heartbeat { .. } => true,
    }) {}
    let now = room.get(&id).await;
    assert_eq!(now.status, Status::InProgress);
    assert_eq!(now.head.frontier.committed, Seq::new(6));
    let object = object(&now);
    assert_eq!(object["output"][0]["content"][0]["text"], "so far");
    assert_eq!(object["output"][0]["status"], "in_progress");
    assert_eq!((&object["usage"], &object["completed_at"]), (&Value::Null, &Value::Null));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_stream_ends_with_incomplete_and_the_backend_stops() {
    let room = room([text("partial"), Act::Hang]);
    let created = room.create(request()).await;
    let id = created.snapshot.id.to_string();
    let mut reader = room.runs.read(created).await.unwrap();
    while reader.next().await.unwrap().is_some_and(|delivery| match delivery {
        Delivery::Events { events, .. } => events.last().unwrap().seq < Seq::new(4),
        Delivery::Heartbeat { .. } => true,
    }) {}
    assert_eq!(room.script.running(), 1);
    let cancelled = room.runs.cancel(&alice(), &id).await.unwrap();
    assert_eq!(room.script.running(), 0, "the backend was dropped before the answer");
    assert_eq!(cancelled.status, Status::Cancelled(Cancelled::ByRequest));
    let object = object(&cancelled);
    assert_eq!(object["status"], "cancelled");
    assert_eq!(object["incomplete_details"], Value::Null);
    assert_eq!(object["output"][0]["status"], "in_progress");
    assert_eq!(object["output"][0]["content"][0]["text"], "partial");
    let rest = all(reader).await.unwrap();
    assert_eq!(kinds(&rest), ["incomplete"]);
    assert_eq!(data(&rest[0])["response"], object);
    let again = room.runs.cancel(&alice(), &id).await.unwrap();
    assert_eq!((again.json, again.head), (cancelled.json, cancelled.head), "a second cancel changes nothing");
}

#[tokio::test(start_paused = true)]
async fn a_queued_response_that_is_cancelled_never_begins() {
    let room = room([Act::Queue, text("never"), stop()]);
    let id = room.create(background()).await.snapshot.id.to_string();
    let cancelled = room.runs.cancel(&alice(), &id).await.unwrap();
    assert_eq!(object(&cancelled)["output"], json!([]));
    assert_eq!(kinds(&room.events(&id).await), ["created", "queued", "incomplete"]);
    room.script.go_on();
    assert_eq!(room.get(&id).await.json, cancelled.json);
}

#[tokio::test(start_paused = true)]
async fn a_finished_response_is_not_changed_by_cancel() {
    let room = room([text("x"), stop()]);
    let done = room.run(request()).await;
    let after = room.runs.cancel(&alice(), &done.id.to_string()).await.unwrap();
    assert_eq!((after.json, after.status), (done.json, Status::Completed));
}

#[tokio::test(start_paused = true)]
async fn a_cursor_gets_exactly_what_follows_it() {
    let room = room([text("x"), stop()]);
    let id = room.run(request()).await.id.to_string();
    let whole = room.events(&id).await;
    let last = whole.last().unwrap().seq.get();
    for after in 0..=last + 3 {
        let rest = all(room.attach(&id, Some(after)).await).await.unwrap();
        let expected: Vec<Event> = whole.iter().filter(|event| event.seq.get() > after).cloned().collect();
        assert_eq!(rest, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cursor_beyond_a_running_response_waits_for_it() {
    let room = room([text("a"), Act::Hold, text("b"), stop()]);
    let created = room.create(background()).await;
    let mut reader = room.attach(&created.snapshot.id.to_string(), Some(6)).await;
    assert_eq!(reader.next().await.unwrap(), Some(Delivery::Heartbeat { committed: Seq::new(5) }));
    room.script.go_on();
    let rest = all(reader).await.unwrap();
    assert_eq!(rest[0].seq, Seq::new(7));
    assert_eq!(kinds(&rest).last(), Some(&"completed"));
}

/// Check 8 of the acceptance checks.
#[tokio::test(start_paused = true)]
async fn a_silent_backend_of_40_s_costs_two_heartbeats() {
    let room = room([Act::Wait(Duration::from_secs(40)), text("x"), stop()]);
    let created = room.create(request()).await;
    let mut reader = room.runs.read(created).await.unwrap();
    let mut heartbeats = 0;
    let start = tokio::time::Instant::now();
    while let Some(delivery) = reader.next().await.unwrap() {
        if let Delivery::Heartbeat { .. } = delivery {
            heartbeats += 1;
            assert_eq!(start.elapsed().as_secs(), (HEARTBEAT * heartbeats).as_secs());
        }
    }
    assert_eq!(heartbeats, 2);
}

/// Check 7 of the acceptance checks.
#[tokio::test(start_paused = true)]
async fn a_reader_overtaken_by_eviction_is_told_and_may_go_on_behind_the_gap() {
    // Text with an annotation between any two words is nothing that could be merged.
    let annotation = Act::Give(Step::Annotation(Node::parse("{}").unwrap()));
    let words = (0..100).flat_map(|_| [text("word "), annotation.clone()]);
    let acts = [text("first "), Act::Hold].into_iter().chain(words).chain([stop()]);
    let room = room_with(acts, Options::default(), Caps { entries: Some(8), bytes: None });
    let created = room.create(background()).await;
    let id = created.snapshot.id.to_string();
    let mut strict = room.attach(&id, None).await;
    let mut lenient = room.runs.attach(&alice(), &id, None, OnGap::Earliest).await.unwrap();
    for reader in [&mut strict, &mut lenient] {
        assert!(matches!(reader.next().await.unwrap(), Some(Delivery::Events { gap: None, .. })));
    }
    room.script.go_on();
    let done = room.runs.wait_terminal(created).await.unwrap();
    let watermark = done.head.frontier.watermark.unwrap();

    let error = strict.next().await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::OffsetLost);
    let lost = error.lost().unwrap();
    assert_eq!((lost.watermark, lost.earliest), (Some(watermark), watermark.next()));
    assert_eq!(strict.next().await.unwrap(), None, "nothing follows the error");

    let Some(Delivery::Events { events, gap: Some(gap), .. }) = lenient.next().await.unwrap() else {
        panic!("a gap and events")
    };
    assert_eq!((gap.to, events[0].seq), (watermark, watermark.next()));
    assert_eq!(kinds(&events).last(), Some(&"completed"));

    let refused = room.runs.attach(&alice(), &id, None, OnGap::Fail).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::OffsetLost);
    assert!(room.runs.attach(&alice(), &id, Some(watermark), OnGap::Fail).await.is_ok());
    let whole = object(&room.get(&id).await)["output"][0]["content"][0]["text"].as_str().unwrap().len();
    assert_eq!(whole, "first ".len() + 100 * "word ".len(), "D-21");
}

#[tokio::test(start_paused = true)]
async fn steps_that_come_together_are_appended_together() {
    let words = std::iter::repeat_n(text("w"), 500);
    let room = room(words.chain([Act::Give(Step::Finish(Finish::Stop))]));
    let created = room.create(request()).await;
    let mut reader = room.runs.read(created).await.unwrap();
    let (mut deliveries, mut events) = (0, 0);
    while let Some(Delivery::Events { events: part, .. }) = reader.next().await.unwrap() {
        assert!(part.len() <= 64);
        deliveries += 1;
        events += part.len();
    }
    assert_eq!(events, 508);
    assert!(deliveries < 50, "{deliveries}");
    assert_eq!(room.store.open_logs(None, 10).await.unwrap(), []);
}
