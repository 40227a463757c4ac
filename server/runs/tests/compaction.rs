//! Logs that are compacted: while the response runs and after it has ended.

use std::time::Duration;

use serde_json::json;
use tidemark_proto::v1::ErrorCode;
use tidemark_store::{Caps, ReadLimit, Seq, Store};

use super::*;
use crate::backends::{ItemEvent, Step, Text};
use crate::json::Node;
use crate::runs::options::Retention;
use crate::runs::testing::{stop, text};
use crate::runs::{Gap, Status};

/// Small enough that a few hundred events are far too many.
const CAPS: Caps = Caps { entries: Some(64), bytes: Some(256 << 10) };

const DELTAS: usize = 2000;

/// What delta `n` says.
fn word(n: usize) -> String {
    format!("{n} 😀\"{} ", "é".repeat(n % 5))
}

fn words() -> Vec<Act> {
    let delta = |n| Act::Give(Step::Text(word(n).as_str().into()));
    (0..DELTAS).map(delta).chain([stop()]).collect()
}

fn whole() -> String {
    (0..DELTAS).map(word).collect()
}

/// The text of the deltas among these events.
fn text_of(events: &[Event]) -> String {
    let deltas = events.iter().filter(|event| event.kind.ends_with("output_text.delta"));
    deltas.map(|event| data(event)["delta"].as_str().unwrap().to_owned()).collect()
}

/// How many entries the log of a response has.
async fn entries(room: &Room, id: &str) -> usize {
    let id = id.parse::<crate::runs::ResponseId>().unwrap();
    let limit = ReadLimit { entries: usize::MAX, bytes: usize::MAX };
    room.store.read(id.log(), None, limit).await.unwrap().entries.len()
}

/// The words that a reader has who came to `after`, when every event was one delta: 3 events come before the first one.
fn words_before(after: u64) -> String {
    (0..DELTAS).take(usize::try_from(after.saturating_sub(3)).unwrap()).map(word).collect()
}

#[tokio::test]
async fn a_response_far_above_the_caps_is_kept_from_its_first_event_and_to_be_had_from_every_position() {
    let room = room_with(words(), Options::default(), CAPS);
    let done = room.run(request()).await;
    let id = done.id.to_string();
    assert_eq!((done.status, done.head.frontier.watermark), (Status::Completed, None));
    assert!(done.head.retained_entries <= 64 && done.head.retained_bytes <= 256 << 10, "{:?}", done.head);
    assert!(room.meters.compactions.get() > 0);
    assert_eq!(object(&done)["output"][0]["content"][0]["text"], whole());

    let events = room.events(&id).await;
    assert_eq!(text_of(&events), whole());
    let lifecycle: Vec<_> = kinds(&events).into_iter().filter(|kind| !kind.ends_with("delta")).collect();
    let expected = [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ];
    assert_eq!(lifecycle, expected);
    assert!(events.is_sorted_by(|one, next| one.seq < next.seq));
    let committed = done.head.frontier.committed.get();
    assert_eq!(events.last().unwrap().seq.get(), committed);
    for after in (0..=committed).step_by(37).chain([1, 2, 3, 4, 5, committed - 4, committed]) {
        let rest = all(room.attach(&id, Some(after)).await).await.unwrap();
        assert_eq!(words_before(after) + &text_of(&rest), whole(), "after {after}");
        assert!(rest.first().is_none_or(|event| event.seq.get() > after));
    }
}

#[tokio::test]
async fn a_reader_that_follows_is_not_disturbed_by_compaction() {
    let room = room_with(words(), Options::default(), CAPS);
    let created = room.create(background()).await;
    let events = all(room.runs.read(created).await.unwrap()).await.unwrap();
    assert_eq!(text_of(&events), whole());
    assert!(events.is_sorted_by(|one, next| one.seq < next.seq));
}

#[tokio::test]
async fn parts_that_grow_in_turn_with_logprobs_and_unknown_events_are_all_there() {
    let event = |name: &str, data: serde_json::Value| {
        Act::Give(Step::Event(ItemEvent::new(name.to_owned(), Node::of(&data).unwrap()).unwrap()))
    };
    let item = |index: usize, kind: &str| {
        let item = json!({"type": kind, "id": format!("i{index}"), "status": "in_progress"});
        event("response.output_item.added", json!({"output_index": index, "item": item}))
    };
    let grow = |n: usize| {
        let logprobs = json!([{"token": word(n), "logprob": -0.5}]);
        [
            event(
                "response.output_text.delta",
                json!({"output_index": 0, "content_index": 0, "delta": word(n), "logprobs": logprobs}),
            ),
            event(
                "response.function_call_arguments.delta",
                json!({"output_index": 1, "delta": format!("[{n}]")}),
            ),
        ]
    };
    let mut acts = vec![item(0, "message"), item(1, "function_call")];
    acts.extend((0..600).flat_map(grow));
    acts.push(event("vendor:note", json!({"x": 1})));
    acts.extend((600..DELTAS / 2).flat_map(grow));
    acts.push(stop());
    let caps = Caps { entries: Some(512), bytes: Some(512 << 10) };
    let room = room_with(acts, Options::default(), caps);
    let done = room.run(request()).await;
    let id = done.id.to_string();
    assert_eq!((done.status, done.head.frontier.watermark), (Status::Completed, None));
    let events = room.events(&id).await;
    let of = |kind: &str| {
        let deltas = events.iter().filter(|event| event.kind.ends_with(kind));
        deltas.map(|event| data(event)["delta"].as_str().unwrap().to_owned()).collect::<String>()
    };
    let words: String = (0..DELTAS / 2).map(word).collect();
    let calls: String = (0..DELTAS / 2).map(|n| format!("[{n}]")).collect();
    assert_eq!((of("output_text.delta"), of("arguments.delta")), (words, calls));
    assert_eq!(events.iter().filter(|event| *event.kind == *"vendor:note").count(), 1);
    let output = &object(&done)["output"];
    assert_eq!(output[0]["content"][0]["logprobs"].as_array().unwrap().len(), DELTAS / 2);

    // A position is either served exactly or refused, before anything is sent.
    let committed = done.head.frontier.committed.get();
    let mut refused = 0;
    for after in (0..committed).step_by(11).chain(200..400) {
        match room.runs.attach(&alice(), &id, Some(Seq::new(after)), OnGap::Fail).await {
            Ok(reader) => assert_eq!(all(reader).await.unwrap().last().unwrap().seq.get(), committed),
            Err(error) => {
                assert_eq!(error.code(), ErrorCode::OffsetLost);
                refused += 1;
            }
        }
    }
    assert!((1..40).contains(&refused), "{refused}");
}

#[tokio::test]
async fn what_cannot_be_merged_is_evicted_and_only_then() {
    let note = |n: usize| {
        let data = Node::of(&json!({"n": n})).unwrap();
        Act::Give(Step::Event(ItemEvent::new("vendor:note".to_owned(), data).unwrap()))
    };
    let room = room_with((0..200).map(note).chain([text("x"), stop()]), Options::default(), CAPS);
    let done = room.run(request()).await;
    let watermark = done.head.frontier.watermark.unwrap();
    let lost = room.runs.attach(&alice(), &done.id.to_string(), Some(Seq::new(5)), OnGap::Fail).await;
    let lost = lost.unwrap_err().lost().unwrap();
    assert_eq!((lost.watermark, lost.earliest), (Some(watermark), watermark.next()));
    assert!(done.head.retained_entries > 56);
}

#[tokio::test]
async fn what_repeats_the_text_at_the_end_pushes_out_nothing_that_can_be_merged() {
    // Four events repeat 40 KiB of text; with the single deltas that would be far more than may be kept.
    let caps = Caps { entries: None, bytes: Some(256 << 10) };
    let delta = "x".repeat(40);
    let room = room_with((0..1024).map(|_| text(&delta)).chain([stop()]), Options::default(), caps);
    let done = room.run(request()).await;
    assert_eq!((done.status, done.head.frontier.watermark), (Status::Completed, None));
    assert!(done.head.retained_bytes <= 256 << 10);
    assert_eq!(text_of(&room.events(&done.id.to_string()).await), delta.repeat(1024));
}

#[tokio::test(start_paused = true)]
async fn after_the_retention_of_events_only_the_whole_is_left() {
    let retention = Retention { events: Some(Duration::from_secs(60)), ..Retention::default() };
    let room = room_with(
        words(),
        Options { retention, ..Options::default() },
        Caps { entries: Some(4096), bytes: None },
    );
    let done = room.run(request()).await;
    let id = done.id.to_string();
    let before = room.get(&id).await.head.retained_bytes;
    let sweeper = room.runs.clone();
    room.tasks.spawn(async move { sweeper.sweep().await });
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert_eq!(entries(&room, &id).await, DELTAS + 8);
    while room.get(&id).await.head.compacts_at.is_some() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(entries(&room, &id).await, 9);
    let after = room.get(&id).await;
    assert_eq!(after.json, done.json);
    assert!(after.head.retained_bytes < before / 3, "{} of {before}", after.head.retained_bytes);
    let events = room.events(&id).await;
    assert_eq!(text_of(&events), whole());

    for after in [4, 100, DELTAS as u64 + 2] {
        let error = room.runs.attach(&alice(), &id, Some(Seq::new(after)), OnGap::Fail).await.unwrap_err();
        let lost = error.lost().unwrap();
        assert_eq!(error.code(), ErrorCode::OffsetLost, "{after}");
        assert_eq!(
            (lost.watermark, lost.earliest),
            (Some(Seq::new(DELTAS as u64 + 3)), Seq::new(DELTAS as u64 + 4))
        );
    }
    for after in [0, 3, DELTAS as u64 + 3] {
        let rest = all(room.attach(&id, Some(after)).await).await.unwrap();
        assert_eq!(words_before(after) + &text_of(&rest), whole());
    }
    let mut skipping = room.runs.attach(&alice(), &id, Some(Seq::new(9)), OnGap::Earliest).await.unwrap();
    let Some(Delivery::Events { mut events, gap, .. }) = skipping.next().await.unwrap() else {
        panic!("events")
    };
    events.extend(all(skipping).await.unwrap());
    assert_eq!(gap, Some(Gap { from: Seq::new(10), to: Seq::new(DELTAS as u64 + 3) }));
    assert_eq!(kinds(&events), ["output_text.done", "content_part.done", "output_item.done", "completed"]);
    room.tasks.stop();
    room.tasks.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_not_kept_as_long_as_its_events_is_not_compacted() {
    let retention = Retention { events: Some(Duration::from_secs(3600)), ..Retention::default() };
    let room = room_with([text("x"), stop()], Options { retention, ..Options::default() }, Caps::default());
    let unstored = room.run(unstored()).await;
    assert_eq!(unstored.head.compacts_at, None);
    let retention = Retention { events: None, ..Retention::default() };
    let room = room_with([text("x"), stop()], Options { retention, ..Options::default() }, Caps::default());
    assert_eq!(room.run(request()).await.head.compacts_at, None);
}

#[tokio::test]
async fn recovery_keeps_the_text_of_a_response_that_was_far_above_the_caps() {
    let mut acts = words();
    acts.pop();
    acts.push(Act::Hang);
    let room = room_with(acts, Options::default(), CAPS);
    let id = room.create(background()).await.snapshot.id.to_string();
    let all_here = 4 + DELTAS as u64;
    while room.get(&id).await.head.frontier.committed.get() < all_here {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let Room { runs, store, clock, .. } = room;
    // As a crash would: the log stays open. Only the fold of what is there matters.
    let log = id.parse::<crate::runs::ResponseId>().unwrap();
    crate::runs::recover::fail(&runs.0, log, &crate::runs::faults::restarted()).await.unwrap();
    let room = room_over(store, clock, [], Options::default());
    let failed = room.get(&id).await;
    assert_eq!((failed.status, failed.head.frontier.watermark), (Status::Failed, None));
    assert_eq!(object(&failed)["output"][0]["content"][0]["text"], whole());
}

#[tokio::test]
async fn logprobs_of_the_chat_dialect_are_cut_with_their_text() {
    let probe = |n: usize| {
        let logprobs = vec![Node::of(&json!({"token": word(n)})).unwrap()];
        Act::Give(Step::Text(Text { text: word(n), logprobs }))
    };
    let room =
        room_with((0..500).map(probe).chain([stop()]), Options::default(), Caps { bytes: None, ..CAPS });
    let id = room.run(request()).await.id.to_string();
    let rest = all(room.attach(&id, Some(103)).await).await.unwrap();
    let deltas = rest.iter().filter(|event| event.kind.ends_with("output_text.delta")).map(data);
    let tokens: Vec<_> = deltas.flat_map(|data| data["logprobs"].as_array().unwrap().clone()).collect();
    let expected: Vec<_> = (100..500).map(|n| json!({"token": word(n)})).collect();
    assert_eq!(tokens, expected);
}

/// A chat far above the caps, of two choices that are told one after the other, with a tool call behind them.
#[tokio::test]
async fn a_chat_far_above_the_caps_is_kept_from_its_first_chunk_and_to_be_had_from_every_position() {
    let give = |chunk: serde_json::Value| Act::Give(Step::Chunk(Node::of(&chunk).unwrap()));
    let piece = |choice: usize, delta: serde_json::Value| {
        give(
            json!({"id": "theirs", "choices": [{"index": choice, "delta": delta, "finish_reason": null}], "obfuscation": word(choice)}),
        )
    };
    let said = |choice: usize| (0..DELTAS / 2).map(move |n| json!({ "content": word(n + choice) }));
    let begin =
        json!({"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}});
    let mut acts: Vec<Act> =
        (0..2).map(|choice| piece(choice, json!({"role": "assistant", "content": ""}))).collect();
    for choice in 0..2 {
        acts.extend(said(choice).map(|delta| piece(choice, delta)));
    }
    acts.push(piece(0, json!({ "tool_calls": [begin] })));
    acts.extend(
        (0..100).map(|n| piece(0, json!({"tool_calls": [{"index": 0, "function": {"arguments": word(n)}}]}))),
    );
    acts.push(stop());
    let room = room_with(acts, Options::default(), CAPS);
    let messages = json!([{"role": "user", "content": "x"}]).to_string();
    let chat = CreateRequest {
        api: tidemark_proto::v1::Api::ChatCompletions.into(),
        input: Some(Input::Items(messages.into())),
        ..request()
    };
    let done = room.run(chat).await;
    let id = done.id.to_string();
    assert_eq!((done.status, done.head.frontier.watermark), (Status::Completed, None));
    assert!(done.head.retained_entries <= 64, "{:?}", done.head);
    let told = object(&done);
    let text = |choice: usize| (0..DELTAS / 2).map(|n| word(n + choice)).collect::<String>();
    let arguments: String = (0..100).map(word).collect();
    for choice in 0..2 {
        assert_eq!(told["choices"][choice]["message"]["content"], text(choice));
    }
    assert_eq!(told["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"], arguments);

    // What the chunks behind a position add up to.
    let sums = |events: &[Event]| {
        let mut sums = [String::new(), String::new(), String::new()];
        for event in events.iter().filter(|event| *event.kind == *"chat.completion.chunk") {
            let choice = &data(event)["choices"][0];
            let index = usize::try_from(choice["index"].as_u64().unwrap()).unwrap();
            sums[index].push_str(choice["delta"]["content"].as_str().unwrap_or_default());
            sums[2].push_str(
                choice["delta"]["tool_calls"][0]["function"]["arguments"].as_str().unwrap_or_default(),
            );
        }
        sums
    };
    let events = room.events(&id).await;
    assert_eq!(sums(&events), [text(0), text(1), arguments]);
    assert!(events.iter().all(|event| !String::from_utf8_lossy(&event.data).contains("obfuscation")));
    let whole = sums(&events);
    let committed = done.head.frontier.committed.get();
    for after in (0..=committed).step_by(53).chain([2, 3, 4, 5, committed - 2, committed]) {
        let rest = sums(&all(room.attach(&id, Some(after)).await).await.unwrap());
        for (whole, rest) in whole.iter().zip(rest) {
            assert!(whole.ends_with(&rest), "after {after}");
        }
        // Two events and two roles come before the first word.
        let of_first = usize::try_from(after.saturating_sub(3)).unwrap().min(DELTAS / 2);
        let rest = sums(&all(room.attach(&id, Some(after)).await).await.unwrap());
        let had: String = (0..of_first).map(word).collect();
        assert_eq!(had + &rest[0], whole[0], "after {after}");
    }
}
