//! Coming back: at every position, by any number of readers, after a drop.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::common::rest::{Client, Frame, Stream, id_of};
use crate::common::scripted::{Act, Gate, answer, chunk};
use crate::setup::{Stage, ask, ask_streamed, demo, many, paced, paced_stream};

/// How many runs are resumed at the moment of their completion, by how many readers each.
const RUNS: usize = 1000;
const READERS: usize = 3;

#[tokio::test]
async fn check_4_no_position_is_from_event_0_and_a_bad_one_is_refused() {
    let (_server, client) = demo("");
    let (_, response) = Client::json(client.post("/v1/responses", &paced(3, 0))).await;
    let path = format!("/v1/responses/{}?stream=true", response["id"].as_str().unwrap());
    let first = Stream::open(client.get(&path)).await.take(1).await;
    assert_eq!((first[0].seq(), first[0].name()), (0, "response.created"));
    for bad in ["12abc", "-1", "+1", "1.0", "", "18446744073709551616"] {
        let (status, error) = Client::json(client.get(&format!("{path}&starting_after={bad}"))).await;
        let error = &error["error"];
        let expected = (&json!("invalid_cursor"), &json!("starting_after"));
        assert_eq!((status, (&error["code"], &error["param"])), (400, expected), "{bad}");
    }
}

#[tokio::test]
async fn a_resume_at_every_position_gets_exactly_what_follows() {
    let (_server, client) = demo("");
    let (_, response) = Client::json(client.post("/v1/responses", &paced(70, 0))).await;
    let id = response["id"].as_str().unwrap();
    let whole = client.whole(id).await;
    assert!(whole.len() > 75, "more than one batch");
    for after in 0..whole.len() + 2 {
        let frames = client.resume(id, Some(after as u64)).await.events().await;
        assert_eq!(frames, whole[whole.len().min(after + 1)..], "after {after}");
    }
}

#[tokio::test]
async fn a_reader_that_drops_again_and_again_misses_nothing() {
    let (_server, client) = demo("");
    let mut stream = client.stream(&paced_stream(120, 200)).await;
    let mut seen = stream.take(1).await;
    let id = id_of(&seen);
    let mut drops = 0;
    'reading: loop {
        for _ in 0..7 {
            let frame = stream.frame().await.unwrap();
            if frame.is_done() {
                break 'reading;
            }
            seen.push(frame);
        }
        drops += 1;
        stream = client.resume(&id, seen.last().map(Frame::seq)).await;
    }
    assert_eq!(seen, client.whole(&id).await);
    assert!(drops > 10);
}

#[tokio::test]
async fn readers_that_come_at_different_times_see_the_same_bytes() {
    let (_server, client) = demo("");
    let mut first = client.stream(&paced_stream(100, 100)).await;
    let mut begun = first.take(1).await;
    let id = id_of(&begun);
    let mut readers = JoinSet::new();
    for _ in 0..5 {
        begun.extend(first.take(15).await);
        let (client, id) = (client.clone(), id.clone());
        readers.spawn(async move { client.resume(&id, None).await.events().await });
    }
    begun.extend(first.events().await);
    for frames in readers.join_all().await {
        assert_eq!(frames, begun);
    }
    assert_eq!(client.whole(&id).await, begun);
}

#[tokio::test]
async fn a_position_beyond_a_running_response_waits() {
    let gate = Gate::new();
    let stage = Stage::with("m", [vec![chunk("a"), Act::Await(gate.clone())], answer(["b"])].concat()).await;
    let mut live = stage.client.stream(&ask_streamed("m")).await;
    let begun = live.take(5).await;
    let id = id_of(&begun);
    let ahead = stage.client.resume(&id, Some(6)).await;
    gate.open();
    let whole = [begun, live.events().await].concat();
    assert_eq!(ahead.events().await, whole[7..]);
}

#[tokio::test]
async fn ids_of_events_let_a_browser_come_back_by_itself() {
    let (_server, client) = demo("");
    let (_, response) = Client::json(client.post("/v1/responses", &paced(5, 0))).await;
    let id = response["id"].as_str().unwrap();
    let path = format!("/v1/responses/{id}?stream=true&event_ids=true&starting_after=2");
    let frames = Stream::open(client.get(&path)).await.events().await;
    for frame in &frames {
        assert_eq!(frame.id, Some(frame.seq().to_string()));
    }
    let again = |last: u64| client.get(&path).header("last-event-id", last);
    let rest = Stream::open(again(6)).await.events().await;
    assert_eq!(rest, frames[4..]);
    let end = again(frames.last().unwrap().seq()).send().await.unwrap();
    assert_eq!((end.status().as_u16(), end.text().await.unwrap().as_str()), (204, ""));
    let (status, error) = Client::json(again(1)).await;
    assert_eq!((status, &error["error"]["code"]), (400, &json!("conflicting_cursor")));
}

#[tokio::test]
async fn a_response_of_a_buffered_create_can_be_streamed_while_it_runs() {
    let gate = Gate::new();
    let stage = Stage::with("m", [vec![chunk("a"), Act::Await(gate.clone())], answer(["b"])].concat()).await;
    let id = stage.client.background(ask("m")).await;
    let mut stream = stage.client.resume(&id, None).await;
    assert_eq!(stream.take(5).await[4].json()["type"], "response.content_part.added");
    gate.open();
    assert_eq!(stream.events().await.last().unwrap().name(), "response.completed");
}

/// One run, with readers that come when it has got so far.
async fn resumed_at_its_end(client: Client, at: usize) {
    let mut stream = client.stream(&paced_stream(2, 0)).await;
    let begun = stream.take(at).await;
    let id = id_of(&begun);
    let mut readers = JoinSet::new();
    for after in 0..READERS as u64 {
        let (client, id) = (client.clone(), id.clone());
        readers.spawn(async move {
            let frames = client.resume(&id, after.checked_sub(1)).await.events().await;
            (after, frames)
        });
    }
    let whole = [begun, stream.events().await].concat();
    for (after, frames) in readers.join_all().await {
        assert_eq!(frames, whole[usize::try_from(after).unwrap()..]);
        assert!(frames.last().unwrap().is_terminal());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_5_a_resume_at_the_moment_of_completion_ends_with_the_terminal_event() {
    let (_server, client) = demo("[server]\ndurability = \"os\"\n");
    // A run has 10 events: readers come between the first and the last of them.
    many(RUNS, |number| resumed_at_its_end(client.clone(), 1 + number % 10)).await;
}

#[tokio::test]
async fn a_stream_that_is_asked_for_wrongly_is_refused_before_the_look_up() {
    let (_server, client) = demo("");
    for (query, code) in [
        ("starting_after=1", "invalid_cursor"),
        ("stream=true&starting_after=1&starting_after=2", "invalid_cursor"),
        ("stream=1", "invalid_request"),
        ("stream=true&on_gap=maybe", "invalid_request"),
    ] {
        let (status, error) = Client::json(client.get(&format!("/v1/responses/resp_unknown?{query}"))).await;
        assert_eq!((status, &error["error"]["code"]), (400, &Value::from(code)), "{query}");
    }
}
