//! The room alone, over the store in memory and the one on the disk.

mod watching;

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;
use tidemark_proto::v1::ErrorCode;
use tidemark_store::embedded::EmbeddedStore;
use tidemark_store::memory::MemoryStore;
use tidemark_store::{Caps, LogId, Seq};

use super::*;
use crate::runs::testing::TestClock;
use crate::sizes::Order;

const KEY: &str = "k";

fn owner() -> Owner {
    Owner::new("alice").unwrap()
}

fn over(store: Arc<dyn Store>, clock: &Arc<TestClock>) -> Sessions {
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    Sessions::new(store, clock, Options::default(), CancellationToken::new(), Gauge::default())
}

/// A room with one empty session.
async fn room() -> Sessions {
    let sessions = over(Arc::new(MemoryStore::new(Caps::default())), &Arc::default());
    sessions.create(&owner(), Some(KEY), BTreeMap::new(), b"").await.unwrap();
    sessions
}

/// An item of a kind: a message, or none.
fn item(number: usize, is_message: bool) -> Vec<u8> {
    let kind = if is_message { r#""role":"user""# } else { r#""type":"reasoning""# };
    format!(r#"[{{"id":"item_{number}",{kind},"content":"text {number}"}}]"#).into_bytes()
}

async fn add(sessions: &Sessions, number: usize, is_message: bool) -> HistoryItem {
    sessions.add_items(&owner(), KEY, &item(number, is_message)).await.unwrap().remove(0)
}

async fn page(sessions: &Sessions, view: View, page_size: u32, page_token: &str) -> HistoryPage {
    let query = HistoryQuery { view, page_size, page_token };
    sessions.history(&owner(), KEY, query).await.unwrap()
}

fn seqs(items: &[HistoryItem]) -> Vec<u64> {
    items.iter().map(|item| item.seq.get()).collect()
}

fn ids(items: &[HistoryItem]) -> Vec<&str> {
    items.iter().map(|item| item.id.as_str()).collect()
}

#[tokio::test]
async fn o_18_o_19_the_newest_window_comes_first_and_the_oldest_item_first_in_it() {
    let sessions = room().await;
    for number in 1..=3 {
        add(&sessions, number, true).await;
    }
    let first = page(&sessions, View::Messages, 2, "").await;
    assert_eq!(seqs(&first.items), [2, 3]);
    let older = page(&sessions, View::Messages, 2, first.next_page_token.as_deref().unwrap()).await;
    assert_eq!((seqs(&older.items), older.next_page_token, older.position), (vec![1], None, None));
    assert_eq!((first.page_size, first.generation, first.position.is_some()), (2, 0, true));
}

#[tokio::test]
async fn o_s4_u_15_a_page_has_fifty_items_unless_asked_and_a_thousand_at_most() {
    let sessions = room().await;
    for (asked, used) in [(0, 50), (1, 1), (1000, 1000), (1001, 1000), (u32::MAX, 1000)] {
        assert_eq!(page(&sessions, View::All, asked, "").await.page_size, used);
    }
}

#[tokio::test]
async fn o_34_a_tail_that_is_hidden_is_passed_over_and_an_endless_one_said_honestly() {
    let sessions = room().await;
    add(&sessions, 0, true).await;
    for number in 1..=900 {
        add(&sessions, number, false).await;
    }
    let found = page(&sessions, View::Messages, 1, "").await;
    assert_eq!((seqs(&found.items), found.next_page_token), (vec![1], None));
    for number in 901..=2300 {
        add(&sessions, number, false).await;
    }
    let nothing_yet = page(&sessions, View::Messages, 1, "").await;
    assert_eq!(nothing_yet.items, []);
    let found = page(&sessions, View::Messages, 1, nothing_yet.next_page_token.as_deref().unwrap()).await;
    assert_eq!(seqs(&found.items), [1]);
}

#[tokio::test]
async fn o_35_u_16_a_cursor_from_before_a_reset_is_stale_and_a_foreign_one_wrong() {
    let sessions = room().await;
    for number in 1..=3 {
        add(&sessions, number, true).await;
    }
    let cursor = page(&sessions, View::Messages, 1, "").await.next_page_token.unwrap();
    let refused = async |owner: Owner, key: &str, view| {
        let query = HistoryQuery { view, page_size: 1, page_token: &cursor };
        let error = sessions.history(&owner, key, query).await.unwrap_err();
        (error.code(), error.param().map(str::to_owned))
    };
    sessions.create(&owner(), Some("other"), BTreeMap::new(), b"").await.unwrap();
    let wrong = |code| (code, Some("page_token".to_owned()));
    let invalid = wrong(ErrorCode::InvalidCursor);
    assert_eq!(refused(owner(), "other", View::Messages).await, invalid);
    assert_eq!(refused(owner(), KEY, View::All).await, invalid);
    assert_eq!(refused(Owner::new("bob").unwrap(), KEY, View::Messages).await, invalid);
    assert_eq!(page(&sessions, View::Messages, 1, &cursor).await.items.len(), 1);
    sessions.reset(&owner(), KEY).await.unwrap();
    assert_eq!(refused(owner(), KEY, View::Messages).await, wrong(ErrorCode::CursorStale));
    assert_eq!(page(&sessions, View::All, 0, "").await.items, []);
    assert_eq!(seqs(&[add(&sessions, 9, true).await]), [1], "numbers begin anew");
}

#[derive(Clone, Debug)]
enum Happens {
    Add(bool),
    Remove(prop::sample::Index),
    Page,
}

fn happens() -> impl Strategy<Value = Vec<Happens>> {
    let one = prop_oneof![
        6 => any::<bool>().prop_map(Happens::Add),
        1 => any::<prop::sample::Index>().prop_map(Happens::Remove),
        4 => Just(Happens::Page),
    ];
    prop::collection::vec(one, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    /// Whatever is added and taken out while somebody goes through the pages: they get everything that was there from the beginning
    /// and still is, once, in order, and nothing that is hidden.
    #[test]
    fn check_14_pages_of_any_size_are_all_visible_items_and_each_once(
        before in prop::collection::vec(any::<bool>(), 0..60),
        meanwhile in happens(),
        page_size in 1u32..7,
        all in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (sessions, view) = (room().await, if all { View::All } else { View::Messages });
            let mut there = BTreeMap::new();
            for (number, is_message) in before.into_iter().enumerate() {
                let added = add(&sessions, number, is_message).await;
                if all || is_message {
                    there.insert(added.seq.get(), added.id);
                }
            }
            let first = page(&sessions, view, page_size, "").await;
            let mut got: Vec<HistoryItem> = first.items.into_iter().rev().collect();
            let mut next = first.next_page_token;
            let mut number = 1000;
            let turn = async |next: &mut Option<String>, got: &mut Vec<HistoryItem>| {
                let Some(token) = next.take() else { return };
                let older = page(&sessions, view, page_size, &token).await;
                assert!(older.items.len() <= page_size as usize);
                got.extend(older.items.into_iter().rev());
                *next = older.next_page_token;
            };
            for event in meanwhile {
                match event {
                    Happens::Add(is_message) => {
                        number += 1;
                        add(&sessions, number, is_message).await;
                    }
                    Happens::Remove(index) if !there.is_empty() => {
                        let (seq, id) = there.iter().nth(index.index(there.len())).unwrap();
                        let (seq, id) = (*seq, id.clone());
                        there.remove(&seq);
                        sessions.remove_item(&owner(), KEY, &id).await.unwrap();
                    }
                    Happens::Remove(_) => {}
                    Happens::Page => turn(&mut next, &mut got).await,
                }
            }
            while next.is_some() {
                turn(&mut next, &mut got).await;
            }
            let numbers = seqs(&got);
            assert!(numbers.is_sorted_by(|one, other| one > other), "{numbers:?}");
            for seq in there.keys() {
                assert!(numbers.contains(seq), "{seq} is missing in {numbers:?}");
            }
        });
    }
}

#[tokio::test]
async fn items_are_listed_in_both_orders_found_and_taken_out() {
    let sessions = room().await;
    for number in 0..25 {
        add(&sessions, number, number % 2 == 0).await;
    }
    for order in [Order::Ascending, Order::Descending] {
        for page_size in [1, 7, 100] {
            let (mut got, mut after) = (Vec::new(), String::new());
            loop {
                let query = ItemQuery { page_size, order, after: &after };
                let page = sessions.list_items(&owner(), KEY, query).await.unwrap();
                got.extend(page.items.iter().map(|item| item.id.clone()));
                match page.items.last() {
                    Some(last) if page.has_more => after = last.id.clone(),
                    _ => break,
                }
            }
            let mut expected: Vec<String> = (0..25).map(|number| format!("item_{number}")).collect();
            if order == Order::Descending {
                expected.reverse();
            }
            assert_eq!(got, expected, "{order:?} {page_size}");
        }
    }
    let found = sessions.item(&owner(), KEY, "item_3").await.unwrap();
    assert_eq!(found.seq, Seq::new(4));
    sessions.remove_item(&owner(), KEY, "item_3").await.unwrap();
    for _ in 0..2 {
        let gone = sessions.item(&owner(), KEY, "item_3").await.unwrap_err();
        let again = sessions.remove_item(&owner(), KEY, "item_3").await.unwrap_err();
        assert_eq!((gone.code(), again.code()), (ErrorCode::NotFound, ErrorCode::NotFound));
    }
    let query = ItemQuery { page_size: 1, order: Order::Ascending, after: "item_3" };
    let error = sessions.list_items(&owner(), KEY, query).await.unwrap_err();
    assert_eq!((error.code(), error.param()), (ErrorCode::InvalidCursor, Some("after")));
    // Of two items with one id the newest is meant.
    add(&sessions, 7, true).await;
    assert_eq!(sessions.item(&owner(), KEY, "item_7").await.unwrap().seq.get(), 27);
}

#[tokio::test]
async fn o_3_what_is_wrong_is_refused_and_nothing_is_added() {
    let sessions = room().await;
    let many = format!("[{}]", vec![r#"{"role":"user"}"#; 21].join(","));
    for wrong in ["", "{}", "[]", "[1]", r#"[{"role":"user"},"x"]"#, &many, "[{}"] {
        let error = sessions.add_items(&owner(), KEY, wrong.as_bytes()).await.unwrap_err();
        assert!(error.param().unwrap().starts_with("items"), "{wrong}: {error}");
    }
    assert_eq!(sessions.get(&owner(), KEY).await.unwrap().committed, Seq::FIRST);
    let taken = sessions.create(&owner(), Some(KEY), BTreeMap::new(), b"").await.unwrap_err();
    assert_eq!((taken.code(), taken.param()), (ErrorCode::SessionExists, Some("key")));
    let labels = (0..17).map(|n| (n.to_string(), String::new())).collect();
    assert_eq!(sessions.update(&owner(), KEY, labels).await.unwrap_err().param(), Some("metadata"));
}

#[tokio::test]
async fn sessions_are_listed_by_key_in_pages_and_only_ones_own() {
    let sessions = room().await;
    for key in ["b", "a", "c"] {
        sessions.create(&owner(), Some(key), BTreeMap::new(), b"").await.unwrap();
        sessions.create(&Owner::new("bob").unwrap(), Some(key), BTreeMap::new(), b"").await.unwrap();
    }
    for size in 1..=5 {
        let (mut got, mut token) = (Vec::new(), String::new());
        loop {
            let page = sessions.list(&owner(), size, &token).await.unwrap();
            got.extend(page.sessions.iter().map(|session| session.key.to_string()));
            match page.next_page_token {
                Some(next) => token = next,
                None => break,
            }
        }
        assert_eq!(got, ["a", "b", "c", "k"], "{size}");
    }
    assert_eq!(sessions.list(&owner(), 501, "").await.unwrap().page_size, 500);
    assert_eq!(sessions.list(&owner(), 0, "x").await.unwrap_err().code(), ErrorCode::InvalidCursor);
}

#[tokio::test]
async fn a_session_at_rest_costs_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(EmbeddedStore::open(dir.path(), Default::default()).unwrap());
    let sessions = over(Arc::clone(&store) as Arc<dyn Store>, &Arc::default());
    for number in 0..200 {
        let key = format!("k{number}");
        sessions.create(&owner(), Some(&key), BTreeMap::new(), &item(1, true)).await.unwrap();
        sessions.get(&owner(), &key).await.unwrap();
    }
    store.open_logs(None, 1).await.unwrap();
    assert_eq!(store.usage().logs_in_memory, 0);
    assert_eq!(store.open_logs(None, 10).await.unwrap(), [], "a start has nothing to do for them");
}

#[tokio::test]
async fn a_member_that_has_entered_in_part_enters_with_the_rest() {
    let sessions = room().await;
    let member = sessions.join(&owner(), KEY, 1).await.unwrap();
    let response = LogId::from_bytes([9; 16]);
    sessions.announce(response).await.unwrap();
    let items = |count: usize| -> Vec<Entrant> {
        let item = |n: usize| {
            let json = format!(r#"{{"id":"msg_{n}","role":"user"}}"#);
            Entrant::new(format!("msg_{n}"), json.into_bytes().into()).unwrap()
        };
        (0..count).map(item).collect()
    };
    // More than one append holds; a process that dies in between leaves the first ones.
    let entering = sessions.entering(&owner(), &member).await.unwrap();
    sessions.enter(&entering, &owner(), &member, response, items(1500), false).await.unwrap();
    drop(entering);
    add(&sessions, 1, true).await;
    let entering = sessions.entering(&owner(), &member).await.unwrap();
    sessions.enter(&entering, &owner(), &member, response, items(2500), true).await.unwrap();
    drop(entering);
    let context = sessions.join(&owner(), KEY, 1).await.unwrap();
    let context = sessions.context(&context).await.unwrap();
    assert_eq!(context.len(), 2501);
    let mut ids: Vec<String> = context
        .iter()
        .map(|item| serde_json::from_str::<Value>(item.get()).unwrap()["id"].as_str().unwrap().to_owned())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 2501, "each once");
    assert_eq!(sessions.pending(None).await.unwrap(), []);
}

/// How long a page takes, the median of many, in a session of so many items; and how much of it memory holds afterwards.
async fn page_time(items: usize) -> (Duration, u64) {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(EmbeddedStore::open(dir.path(), Default::default()).unwrap());
    let sessions = over(Arc::clone(&store) as Arc<dyn Store>, &Arc::default());
    let member = sessions.join(&owner(), KEY, 1).await.unwrap();
    let entrant = |n: usize| {
        let json = format!(r#"{{"id":"msg_{n}","role":"user","content":"{}"}}"#, "x".repeat(300));
        Entrant::new(format!("msg_{n}"), json.into_bytes().into()).unwrap()
    };
    let entering = sessions.entering(&owner(), &member).await.unwrap();
    let all = (0..items).map(entrant).collect();
    sessions.enter(&entering, &owner(), &member, LogId::from_bytes([9; 16]), all, false).await.unwrap();
    drop(entering);
    store.open_logs(None, 1).await.unwrap();
    let (mut times, mut token) = (Vec::new(), String::new());
    // From the newest page back, and again: places all over the history.
    for _ in 0..60 {
        let begun = std::time::Instant::now();
        let found = page(&sessions, View::Messages, 100, &token).await;
        times.push(begun.elapsed());
        assert_eq!(found.items.len(), 100);
        token = found.next_page_token.unwrap_or_default();
    }
    times.sort();
    (times[times.len() / 2], store.usage().logs_in_memory)
}

#[tokio::test]
async fn a_hundred_thousand_items_page_in_the_time_of_a_thousand() {
    let (small, large) = (page_time(1000).await, page_time(100_000).await);
    eprintln!("a page of 100 of 1000 items: {:?}, of 100 000: {:?}", small.0, large.0);
    assert!(large.0 < small.0 * 5, "{small:?} {large:?}");
    assert_eq!((small.1, large.1), (0, 0), "nothing stays in memory");
}
