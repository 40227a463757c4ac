//! A run and its append that is under way.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::*;
use crate::runs::testing::{stop, text};

/// Longer than anything takes that nobody holds up; the clock of these tests does not cost time.
const LONG: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn one_append_is_under_way_and_nobody_is_told_more_than_it_brings() {
    let pause = Act::Wait(Duration::from_millis(1));
    let room = room([text("a"), pause.clone(), text("b"), pause, text("c"), Act::Hold, stop()]);
    room.store.withhold_acks();
    let created = room.create(request()).await;
    let id = created.snapshot.id;
    let committed =
        async || room.store.head(id.log()).await.unwrap().map(|head| head.frontier.committed.get());

    // Until the backend has said all that it says before it holds.
    sleep(LONG).await;
    let id = id.to_string();
    assert!(timeout(LONG, room.runs.get(&alice(), &id)).await.is_err(), "it waits for the append");
    assert_eq!(committed().await, Some(1), "what comes meanwhile waits, too");
    room.store.give_acks(2);
    let snapshot = timeout(LONG, room.get(&id)).await.unwrap();
    assert_eq!(object(&snapshot)["output"][0]["content"][0]["text"], "abc");
    assert_eq!((snapshot.head.frontier.committed.get(), committed().await), (6, Some(6)), "the last delta");
    let reader = room.attach(&id, None).await;

    room.script.go_on();
    room.store.give_acks(1);
    let seqs: Vec<u64> = all(reader).await.unwrap().iter().map(|event| event.seq.get()).collect();
    assert_eq!(seqs, (0..11).collect::<Vec<u64>>());
    let counted = (room.meters.events.get(), room.meters.append.count());
    assert_eq!(counted, (11, 4), "created, in progress, the deltas as one, the end");
}
