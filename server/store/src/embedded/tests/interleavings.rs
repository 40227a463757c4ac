//! The orders in which the writer, the indexer and readers may meet: a scheduler tries many of them, and repeats one that fails.
//!
//! With the feature `shuttle` only: `cargo test -p tidemark-store --features shuttle --lib interleavings`.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use shuttle::sync::Mutex;
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::thread::{JoinHandle, spawn};

use super::super::account::Accounts;
use super::super::backlog::{Backlog, Work};
use super::super::change::{Origin, Payload};
use super::super::frame::Lsn;
use super::super::log::{LogState, Logs, Stored};
use super::super::read::{Looked, look};
use super::super::standing::{End, Standing};
use super::super::writer::{Effect, extent_of, new_stored, show};
use crate::api::{Close, ReadLimit};
use crate::quota::Quotas;
use crate::tail::Tail;
use crate::types::{LogId, Owner, Seq, UnixMillis};

/// How many orders of each.
const ORDERS: usize = 2000;

/// How many changes the writer makes.
const CHANGES: u64 = 3;

fn work(number: u64) -> Work {
    Work { records: vec![Bytes::from(number.to_string())], ..Work::default() }
}

/// Hands over changes, then closes.
fn writer(backlog: &Arc<Backlog>) -> JoinHandle<()> {
    let backlog = Arc::clone(backlog);
    spawn(move || {
        for number in 1..=CHANGES {
            backlog.add(work(number), Lsn(number));
            backlog.wait_for_index();
        }
        backlog.close();
    })
}

#[test]
fn who_waits_for_the_index_finds_in_it_what_was_durable() {
    let meet = || {
        let backlog = Arc::new(Backlog::new(Lsn(0)));
        let index = Arc::new(Mutex::new(BTreeSet::new()));
        let indexer = {
            let (backlog, index) = (Arc::clone(&backlog), Arc::clone(&index));
            spawn(move || {
                while let Some((work, through)) = backlog.next() {
                    index.lock().unwrap().extend(work.records);
                    backlog.set_covered(through);
                }
                backlog.end();
            })
        };
        let waiting = || {
            let (backlog, index) = (Arc::clone(&backlog), Arc::clone(&index));
            spawn(move || {
                let (through, _) = backlog.progress();
                backlog.catch_up().unwrap();
                let index = index.lock().unwrap();
                for number in 1..=through.0 {
                    assert!(index.contains(number.to_string().as_bytes()), "{number} of {through}");
                }
            })
        };
        let threads = [waiting(), writer(&backlog), waiting(), indexer];
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(index.lock().unwrap().len() as u64, CHANGES);
        assert_eq!(backlog.covered(), Lsn(CHANGES));
    };
    shuttle::check_random(meet, ORDERS);
}

#[test]
fn an_indexer_that_fails_leaves_nobody_waiting_and_keeps_what_it_had() {
    let meet = || {
        let backlog = Arc::new(Backlog::new(Lsn(0)));
        let indexer = {
            let backlog = Arc::clone(&backlog);
            spawn(move || {
                let (work, _) = backlog.next().unwrap();
                backlog.put_back(work);
                backlog.end();
            })
        };
        let waiting = {
            let backlog = Arc::clone(&backlog);
            spawn(move || {
                let (through, _) = backlog.progress();
                assert!(through == Lsn(0) || backlog.catch_up().is_err(), "the index never had {through}");
            })
        };
        let threads = [waiting, writer(&backlog), indexer];
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let kept: BTreeSet<_> = backlog.next().unwrap().0.records.into_iter().collect();
        assert_eq!(kept.len() as u64, CHANGES, "what the index does not have is forgotten");
    };
    shuttle::check_random(meet, ORDERS);
}

fn owner() -> Owner {
    Owner::new("acme").unwrap()
}

/// A log whose last change was the one with this number.
fn stored(number: u64, closed: bool) -> Stored {
    let document = Payload::Inline(Bytes::new());
    let origin = Origin { owner: owner(), created_at: UnixMillis(0), document };
    let mut stored = new_stored(&origin, Lsn(1));
    let close = Close { compacts_at: None, expires_at: None };
    let end = if closed { End::Closed(close) } else { End::Open };
    let standing = Standing { end, ..Standing::of(&stored) };
    standing.apply(&mut stored, Seq::new(number), Lsn(1 + number));
    stored
}

/// A log is changed, brought into the index and leaves memory, while others look it up: whoever looks after the change sees it.
#[test]
fn no_look_finds_a_log_as_it_was_before_a_change_that_was_shown() {
    let id = LogId::from_bytes([1; 16]);
    let meet = move || {
        let logs = Logs::new();
        let index = Arc::new(Mutex::new(stored(0, true)));
        let shown = Arc::new(AtomicBool::new(false));
        // As `Shared::pin` does.
        let look_up = move |logs: &Arc<Logs>, index: &Mutex<Stored>| {
            let mut absent = match logs.get(id) {
                Ok(pin) => return pin,
                Err(absent) => absent,
            };
            loop {
                let state = LogState::new(Some(index.lock().unwrap().clone()));
                match logs.insert(absent, id, state) {
                    Ok(pin) => return pin,
                    Err(moved_on) => absent = moved_on,
                }
            }
        };
        let change = {
            let (logs, index, shown) = (Arc::clone(&logs), Arc::clone(&index), Arc::clone(&shown));
            spawn(move || {
                let pin = look_up(&logs, &index);
                {
                    let mut state = pin.state();
                    state.committed = Some(stored(1, true));
                    state.dirty = true;
                }
                shown.store(true, Ordering::SeqCst);
                *index.lock().unwrap() = stored(1, true);
                pin.state().dirty = false;
            })
        };
        let reader = || {
            let (logs, index, shown) = (Arc::clone(&logs), Arc::clone(&index), Arc::clone(&shown));
            spawn(move || {
                for _ in 0..2 {
                    let was_shown = shown.load(Ordering::SeqCst);
                    let pin = look_up(&logs, &index);
                    let committed = pin.state().committed.as_ref().unwrap().head.frontier.committed;
                    assert!(!was_shown || committed == Seq::new(1), "an old state came back");
                }
            })
        };
        let threads = [reader(), change, reader()];
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(logs.len(), 0, "nothing stays in memory");
    };
    shuttle::check_random(meet, ORDERS);
}

/// The writer shows entries one by one; a reader that has read all there is sleeps until there is more, and gets every one.
#[test]
fn a_reader_gets_every_entry_and_the_end_and_is_never_left_asleep() {
    let id = LogId::from_bytes([2; 16]);
    let meet = move || {
        let logs = Logs::new();
        let accounts = Arc::new(Accounts::new(Quotas::default()));
        let pin = logs.insert(logs.get(id).unwrap_err(), id, LogState::new(None)).unwrap();
        let entry = |number: u64| vec![Payload::Inline(Bytes::from(number.to_string()))];
        let shown = {
            let (logs, accounts, pin) = (Arc::clone(&logs), Arc::clone(&accounts), pin.clone());
            move |number: u64| {
                let extent = extent_of(Seq::new(number), &entry(number), Lsn(1 + number), 40);
                let effect = Effect::Appended(extent, entry(number));
                show(&logs, &accounts, &pin, stored(number, number == CHANGES), effect, &mut Work::default());
            }
        };
        shown(0);
        let reader = || {
            let pin = pin.clone();
            spawn(move || {
                let mut tail = Tail::new(pin.frontier.subscribe(), Box::new(pin.clone()));
                let (mut read, mut position) = (Vec::new(), None);
                loop {
                    let Ok(Looked::Found(batch)) = look(&pin, position, ReadLimit::default()) else {
                        panic!("all of it is in memory")
                    };
                    position = batch.entries.last().map(|entry| entry.seq).or(position);
                    read.extend(batch.entries.into_iter().map(|entry| entry.payload));
                    if batch.frontier.closed && position == Some(batch.frontier.committed) {
                        break;
                    }
                    shuttle::future::block_on(tail.past(position));
                }
                let expected: Vec<_> = (0..=CHANGES).map(|number| Bytes::from(number.to_string())).collect();
                assert_eq!(read, expected);
            })
        };
        let writer = spawn(move || (1..=CHANGES).for_each(shown));
        let threads = [reader(), writer, reader()];
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    };
    shuttle::check_random(meet, ORDERS);
}
