//! Responses in sessions: what enters the history, when, and that it enters once whatever crashes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidemark_proto::v1::ErrorCode;

use super::*;
use crate::backends::{Finish, Step};
use crate::runs::testing::{stop, text};
use crate::runs::{ListQuery, OnRestart, Status};
use crate::sessions::{self, HistoryItem, HistoryQuery, Sessions, View};

const KEY: &str = "support-4711";

fn in_session(key: &str) -> CreateRequest {
    CreateRequest { session: key.to_owned(), ..request() }
}

fn says(text: &str) -> CreateRequest {
    CreateRequest { input: Some(Input::Text(text.to_owned())), ..in_session(KEY) }
}

async fn history_of(sessions: &Sessions, view: View) -> Vec<HistoryItem> {
    let query = HistoryQuery { view, page_size: 1000, page_token: "" };
    sessions.history(alice().owner(), KEY, query).await.unwrap().items
}

/// Role and text of each message.
fn told(items: &[HistoryItem]) -> Vec<(String, String)> {
    let tell = |item: &HistoryItem| {
        let json: Value = serde_json::from_slice(&item.json).unwrap();
        let part = &json["content"][0];
        (json["role"].as_str().unwrap().to_owned(), part["text"].as_str().unwrap().to_owned())
    };
    items.iter().map(tell).collect()
}

fn pairs<'a>(expected: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<(String, String)> {
    expected.into_iter().map(|(role, text)| (role.to_owned(), text.to_owned())).collect()
}

impl Room {
    async fn history(&self) -> Vec<HistoryItem> {
        history_of(self.runs.sessions(), View::Messages).await
    }

    /// The texts that the backend was given before the input of a question.
    fn given(&self, question: usize) -> Vec<String> {
        let asked = self.script.asked();
        let generation = &asked[question];
        let text = |item: &serde_json::value::RawValue| {
            let json: Value = serde_json::from_str(item.get()).unwrap();
            json["content"][0]["text"].as_str().unwrap_or("").to_owned()
        };
        let earlier = generation.items[..generation.earlier].iter();
        earlier.map(|item| text(item)).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_enters_its_session_and_the_next_one_is_given_what_was_said() {
    let room = room([text("hello"), stop()]);
    let first = room.run(says("one")).await;
    assert_eq!(object(&first)["conversation"], serde_json::json!({ "id": KEY }));
    let second = room.run(says("two")).await;
    let items = room.history().await;
    let expected = [("user", "one"), ("assistant", "hello"), ("user", "two"), ("assistant", "hello")];
    assert_eq!(told(&items), pairs(expected));
    assert_eq!(items.iter().map(|item| item.seq.get()).collect::<Vec<_>>(), [1, 2, 3, 4]);
    let responses: Vec<_> = items.iter().map(|item| item.response.unwrap()).collect();
    let (first, second) = (first.id.log(), second.id.log());
    assert_eq!(responses, [first, first, second, second]);
    assert_eq!((room.given(0), room.given(1)), (vec![], vec!["one".to_owned(), "hello".to_owned()]));
    let output = object(&room.get(&crate::runs::ResponseId::of_log(first).to_string()).await);
    assert_eq!(output["output"][0]["id"], items[1].id, "the item keeps the id that it had");
    // Nobody else has it, and the log of the session is no response.
    let error = room.runs.sessions().get(bob().owner(), KEY).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound);
    assert_eq!(room.runs.list(&alice(), ListQuery::default()).await.unwrap().responses.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_saw_the_end_of_a_response_finds_it_in_the_session() {
    let room = room([text("x"), stop()]);
    for turn in 0..50 {
        let created = room.create(says("hi")).await;
        let reader = room.runs.read(created).await.unwrap();
        all(reader).await.unwrap();
        // No task has run since the terminal event was read.
        let next = room.create(says("next")).await;
        assert_eq!(room.given(2 * turn + 1).len(), turn * 4 + 2);
        room.runs.wait_terminal(next).await.unwrap();
    }
    assert_eq!(room.history().await.len(), 200);
}

#[tokio::test(start_paused = true)]
async fn what_was_broken_off_enters_with_what_it_put_out_and_leaves_no_trace_without() {
    let refused = room([Act::Refuse(Error::internal("no"))]);
    assert_eq!(refused.run(says("one")).await.status, Status::Failed);
    assert_eq!(refused.history().await, []);
    let room = room([text("so far"), Act::Hang]);
    let created = room.create(says("one")).await;
    let id = created.snapshot.id.to_string();
    let mut reader = room.runs.read(created).await.unwrap();
    while !matches!(reader.next().await.unwrap(), Some(Delivery::Events { events, .. }) if events.iter().any(|e| e.kind.ends_with("delta")))
    {
    }
    room.runs.cancel(&alice(), &id).await.unwrap();
    let items = room.history().await;
    assert_eq!(told(&items), pairs([("user", "one"), ("assistant", "so far")]));
    let partial: Value = serde_json::from_slice(&items[1].json).unwrap();
    assert_eq!(partial["status"], "incomplete");
    let queued = super::room([Act::Queue]);
    let created = queued.create(says("one")).await;
    queued.runs.cancel(&alice(), &created.snapshot.id.to_string()).await.unwrap();
    assert_eq!(queued.history().await, []);
}

#[tokio::test(start_paused = true)]
async fn o_21_a_tool_call_is_hidden_and_a_broken_one_is_nobodys() {
    let call = |finish| {
        let begin = Step::ToolCall {
            index: 0,
            id: Some("call_1".into()),
            name: Some("f".into()),
            arguments: "{\"a\":".into(),
        };
        let rest = Step::ToolCall { index: 0, id: None, name: None, arguments: "1}".into() };
        [Act::Give(begin)].into_iter().chain(if finish {
            vec![Act::Give(rest), Act::Give(Step::Finish(Finish::Stop))]
        } else {
            vec![Act::Hang]
        })
    };
    let whole = room(call(true));
    whole.run(says("one")).await;
    assert_eq!(told(&whole.history().await), pairs([("user", "one")]));
    let all = history_of(whole.runs.sessions(), View::All).await;
    assert_eq!(all.iter().map(|item| item.seq.get()).collect::<Vec<_>>(), [1, 2]);
    whole.run(says("two")).await;
    assert_eq!(whole.given(1).len(), 2, "a model is given the call as well");
    let broken = room(call(false));
    let id = broken.create(says("one")).await.snapshot.id.to_string();
    while broken.get(&id).await.head.frontier.committed.get() < 3 {
        tokio::task::yield_now().await;
    }
    broken.runs.cancel(&alice(), &id).await.unwrap();
    let seqs: Vec<u64> =
        history_of(broken.runs.sessions(), View::All).await.iter().map(|item| item.seq.get()).collect();
    assert_eq!(seqs, [1]);
    assert_eq!(
        broken.runs.sessions().get(alice().owner(), KEY).await.unwrap().committed.get(),
        2,
        "it keeps its number"
    );
}

#[tokio::test(start_paused = true)]
async fn a_repeat_enters_nothing_again() {
    let room = room([text("x"), stop()]);
    let once = CreateRequest { idempotency_key: Some("k".into()), ..says("one") };
    let first = room.run(once.clone()).await;
    let again = room.runs.create(&alice(), once).await.unwrap();
    assert!(again.replayed && again.snapshot.id == first.id);
    assert_eq!(room.history().await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn responses_of_one_session_at_once_enter_one_by_one() {
    let room = room([text("x"), Act::Wait(Duration::from_millis(3)), stop()]);
    let mut running = Vec::new();
    for turn in 0..100 {
        running.push(room.create(says(&turn.to_string())).await);
    }
    for created in running {
        room.runs.wait_terminal(created).await.unwrap();
    }
    let items = room.history().await;
    assert_eq!(items.len(), 200);
    let mut of_response = BTreeMap::new();
    for pair in items.chunks(2) {
        assert_eq!(pair[0].response, pair[1].response, "input and output stay together");
        assert_eq!(of_response.insert(pair[0].response, ()), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_was_reset_or_removed_is_not_entered_by_what_began_before() {
    for remove in [false, true] {
        let room = room([text("x"), Act::Hold, stop()]);
        let created = room.create(says("old")).await;
        let sessions = room.runs.sessions();
        if remove {
            sessions.delete(alice().owner(), KEY).await.unwrap();
        } else {
            assert_eq!(sessions.reset(alice().owner(), KEY).await.unwrap().generation, 1);
        }
        room.script.go_on();
        assert_eq!(room.runs.wait_terminal(created).await.unwrap().status, Status::Completed);
        let found = sessions.get(alice().owner(), KEY).await;
        assert_eq!(found.is_err(), remove, "it is not brought back");
        if !remove {
            assert_eq!(room.history().await, []);
        }
        assert_eq!(sessions.pending(None).await.unwrap(), []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_excludes_another_past_and_one_that_was_made_up_must_exist() {
    let room = room([text("x"), stop()]);
    let refusal = async |request| {
        let error = room.runs.create(&alice(), request).await.unwrap_err();
        (error.code(), error.param().unwrap_or("").to_owned())
    };
    let both = CreateRequest { previous_response_id: Some("resp_x".into()), ..says("one") };
    let wrong = |code| (code, "session".to_owned());
    assert_eq!(refusal(both).await, wrong(ErrorCode::InvalidRequest));
    assert_eq!(refusal(in_session("conv_0")).await, wrong(ErrorCode::NotFound));
    assert_eq!(refusal(in_session("cron:x")).await, wrong(ErrorCode::InvalidRequest));
    assert_eq!(refusal(in_session("a b")).await, wrong(ErrorCode::InvalidRequest));
    let reader = alice().narrowed_to(crate::auth::Scopes::parse("responses.write sessions.read").unwrap());
    let error = room.runs.create(&reader, says("one")).await.unwrap_err();
    assert_eq!((error.code(), error.scope()), (ErrorCode::InsufficientScope, Some("sessions.write")));
    assert_eq!(room.store.usage().logs_in_memory, 0, "nothing was made");
}

#[tokio::test(start_paused = true)]
async fn a_full_session_takes_no_response_and_an_owner_no_session_more() {
    let sessions = sessions::Options { max_items: Some(6), max_per_owner: Some(2), ..Default::default() };
    let room = room_with([text("x"), stop()], Options { sessions, ..Options::default() }, Caps::default());
    for _ in 0..3 {
        room.run(says("one")).await;
    }
    let error = room.runs.create(&alice(), says("one")).await.unwrap_err();
    assert_eq!((error.code(), error.param()), (ErrorCode::SessionFull, Some("session")));
    assert_eq!(room.history().await.len(), 6);
    room.run(in_session("second")).await;
    let code = async |principal: Principal| {
        room.runs.create(&principal, in_session("third")).await.map(drop).map_err(|e| e.code())
    };
    assert_eq!(code(alice()).await, Err(ErrorCode::QuotaExceeded));
    assert_eq!(code(bob()).await, Ok(()));
    room.runs.sessions().delete(alice().owner(), "second").await.unwrap();
    assert_eq!(code(alice()).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_session_is_kept_as_long_as_something_is_added() {
    let day = Duration::from_secs(24 * 3600);
    let sessions = sessions::Options { retention: Some(day), ..Default::default() };
    let room = room_with([text("x"), stop()], Options { sessions, ..Options::default() }, Caps::default());
    room.run(says("one")).await;
    tokio::time::sleep(day / 2).await;
    room.run(says("two")).await;
    tokio::time::sleep(day / 2 + Duration::from_secs(1)).await;
    room.runs.sweep_once().await.unwrap();
    assert_eq!(room.history().await.len(), 4);
    tokio::time::sleep(day).await;
    let error = room.runs.sessions().get(alice().owner(), KEY).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound, "also before it is swept");
    room.run(says("anew")).await;
    assert_eq!(room.history().await.len(), 2, "one that has expired is in nobody's way");
    tokio::time::sleep(day * 2).await;
    let logs = room.store.usage().logs_in_memory;
    room.runs.sweep_once().await.unwrap();
    assert_eq!(room.store.usage().logs_in_memory, logs - 1);
    room.run(says("anew")).await;
    assert_eq!(room.history().await.len(), 2);
}

/// Fails every write from a certain one on, as the death of the process does.
fn dying(after: usize) -> (Faulty<impl Fn(Call) -> bool + Send + Sync>, Arc<AtomicUsize>) {
    let writes = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&writes);
    let fails = move |call| match call {
        Call::Head(_) | Call::Record => false,
        Call::Create | Call::Append | Call::PutRecord | Call::Purge => {
            count.fetch_add(1, Ordering::SeqCst) >= after
        }
    };
    (Faulty { store: Arc::new(MemoryStore::new(Caps::default())), fails }, writes)
}

/// What a next process finds.
async fn restarted(room: Room, acts: Vec<Act>) -> Room {
    let Room { runs, store, clock, tasks, script, meters } = room;
    tasks.stop();
    drop((runs, script, meters, tasks));
    for _ in 0..1000 {
        if Arc::strong_count(&store) == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let store = Arc::try_unwrap(store).expect("every task has ended").reopen();
    let room = room_over(Arc::new(store), clock, acts, Options::default());
    room.runs.recover().await.unwrap();
    room
}

#[tokio::test(start_paused = true)]
async fn a_response_enters_once_whatever_write_was_the_last() {
    let mut whole = false;
    for after in 0..40 {
        let (faulty, writes) = dying(after);
        let room =
            room_behind(faulty, Arc::new(TestClock::default()), [text("x"), stop()], Options::default());
        let mut done = Vec::new();
        for turn in 0..2 {
            if let Ok(created) = room.runs.create(&alice(), says(&turn.to_string())).await {
                done.extend(room.runs.wait_terminal(created).await.map(|snapshot| snapshot.id));
            }
        }
        whole = writes.load(Ordering::SeqCst) <= after;
        let room = restarted(room, vec![text("x"), stop()]).await;
        let sessions = room.runs.sessions();
        assert_eq!(sessions.pending(None).await.unwrap(), [], "after {after}");
        let listed = room.runs.list(&alice(), ListQuery::default()).await.unwrap().responses;
        let items = match sessions.get(alice().owner(), KEY).await {
            Ok(_) => room.history().await,
            Err(_) => Vec::new(),
        };
        for response in &listed {
            let output = !object(response)["output"].as_array().unwrap().is_empty();
            let entered = items.iter().filter(|item| item.response == Some(response.id.log())).count();
            assert_eq!(entered, if output { 2 } else { 0 }, "after {after}");
        }
        assert!(done.iter().all(|id| listed.iter().any(|response| response.id == *id)));
        assert_eq!(items.len() % 2, 0, "nothing of a response that is not there");
        // Whatever was left in between, the session goes on, and no log is left behind.
        room.run(says("on")).await;
        let now = room.history().await;
        assert_eq!(told(&now[items.len()..]), pairs([("user", "on"), ("assistant", "x")]));
        assert_eq!(room.store.usage().logs_in_memory, listed.len() as u64 + 2, "after {after}");
        if whole {
            break;
        }
    }
    assert!(whole, "the last round is one without a crash");
}

#[tokio::test(start_paused = true)]
async fn a_session_is_made_reset_and_removed_as_a_whole_whatever_write_was_the_last() {
    let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let (mut whole, mut seen) = (false, [0; 4]);
    for after in 0..40 {
        let (faulty, writes) = dying(after);
        let room = room_behind(faulty, Arc::new(TestClock::default()), [], Options::default());
        let (sessions, alice) = (room.runs.sessions(), alice());
        let owner = alice.owner();
        let items = br#"[{"role":"user","content":"hi"}]"#;
        let made = sessions.create(owner, Some(KEY), labels.clone(), items).await.is_ok();
        let reset = made && sessions.reset(owner, KEY).await.is_ok();
        let removed = reset && sessions.delete(owner, KEY).await.is_ok();
        whole = writes.load(Ordering::SeqCst) <= after;
        let room = restarted(room, vec![]).await;
        let sessions = room.runs.sessions();
        let (state, logs) = match sessions.get(owner, KEY).await {
            Ok(info) => {
                assert_eq!(info.metadata, labels, "after {after}");
                let items = room.history().await.len();
                assert_eq!(items, if info.generation == 0 { 1 } else { 0 }, "after {after}");
                (1 + info.generation, 1)
            }
            Err(_) => (if reset { 3 } else { 0 }, 0),
        };
        assert!(
            state >= u64::from(made) + u64::from(reset) + u64::from(removed),
            "after {after}: what was acknowledged is there"
        );
        assert_eq!(room.store.usage().logs_in_memory, logs, "no log is left behind after {after}");
        assert_eq!(room.runs.sessions().recover().await.unwrap(), 0);
        seen[usize::try_from(state).unwrap()] += 1;
        if whole {
            break;
        }
    }
    assert!(whole && seen.iter().all(|times| *times > 0), "{seen:?}");
}

#[test]
fn a_response_that_starts_again_is_given_what_it_was_given_first() {
    let process =
        || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let options = || Options { on_restart: OnRestart::Retry, ..Options::default() };
    let first = process();
    let (store, clock, id) = first.block_on(async {
        let room = room_with([text("x"), stop()], options(), Caps::default());
        room.run(says("one")).await;
        let queued = room_over(Arc::clone(&room.store), Arc::clone(&room.clock), [Act::Queue], options());
        let two = queued.create(CreateRequest { background: true, ..says("two") }).await;
        // Another one enters meanwhile.
        room.run(says("three")).await;
        (Arc::clone(&room.store), Arc::clone(&room.clock), two.snapshot.id.to_string())
    });
    drop(first);
    let store = Arc::try_unwrap(store).expect("the process is gone, and every task with it").reopen();
    process().block_on(async {
        let room = room_over(Arc::new(store), clock, [text("again"), stop()], options());
        room.runs.recover().await.unwrap();
        room.events(&id).await;
        assert_eq!(room.given(0), ["one", "x"]);
        let expected = [
            ("user", "one"),
            ("assistant", "x"),
            ("user", "three"),
            ("assistant", "x"),
            ("user", "two"),
            ("assistant", "again"),
        ];
        assert_eq!(told(&room.history().await), pairs(expected));
    });
}
