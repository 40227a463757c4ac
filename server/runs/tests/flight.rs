//! A run and its append that is under way.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::wrapped::Wrapped;
use super::*;
use crate::runs::testing::{stop, text};

/// Longer than anything takes that nobody holds up; the clock of these tests does not cost time.
const LONG: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn one_append_is_under_way_and_nobody_is_told_more_than_it_brings() {
    let acks = Arc::new(Semaphore::new(0));
    let store = Arc::new(MemoryStore::new(Caps::default()));
    let store = Wrapped { acks: Arc::clone(&acks), ..Wrapped::new(store) };
    let submitted = Arc::clone(&store.submitted);
    let pause = Act::Wait(Duration::from_millis(1));
    let script = Script::new([text("a"), pause.clone(), text("b"), pause, text("c"), Act::Hold, stop()]);
    let models = Arc::new(OneModel(Arc::clone(&script)));
    let (clock, meters) = (Arc::new(TestClock::default()), RunMeters::default());
    let runs = Runs::new(Arc::new(store), models, clock, Tasks::new(), Options::default(), meters.clone());
    let id = runs.create(&alice(), request()).await.unwrap().snapshot.id.to_string();

    // Until the backend has said all that it says before it holds.
    tokio::time::sleep(LONG).await;
    assert!(timeout(LONG, runs.get(&alice(), &id)).await.is_err(), "it waits for the append");
    assert_eq!(submitted.load(Ordering::SeqCst), 1, "what comes meanwhile waits, too");
    acks.add_permits(2);
    let snapshot = timeout(LONG, runs.get(&alice(), &id)).await.unwrap().unwrap();
    assert_eq!(submitted.load(Ordering::SeqCst), 2, "and is one append");
    assert_eq!(object(&snapshot)["output"][0]["content"][0]["text"], "abc");
    let reader = runs.attach(&alice(), &id, None, OnGap::Fail).await.unwrap();

    script.go_on();
    acks.add_permits(1);
    let events = all(reader).await.unwrap();
    let seqs: Vec<u64> = events.iter().map(|event| event.seq.get()).collect();
    assert_eq!(seqs, (0..11).collect::<Vec<u64>>());
    assert_eq!(snapshot.head.frontier.committed.get(), 6, "the last delta");
    assert_eq!((meters.events.get(), meters.append.count()), (11, 4), "each append is counted once");
}
