//! Things that happen at the same moment.

use super::*;
use crate::runs::testing::{stop, text};

const TERMINAL: [&str; 3] = ["completed", "incomplete", "failed"];

fn terminals(events: &[Event]) -> Vec<&str> {
    kinds(events).into_iter().filter(|kind| TERMINAL.contains(kind)).collect()
}

/// Check 5 of the acceptance checks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resume_at_the_moment_of_completion_always_ends_with_the_terminal_event() {
    let room = Arc::new(room([text("a"), text("b"), stop()]));
    for _ in 0..1000 {
        let id = room.create(request()).await.snapshot.id.to_string();
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let (room, id) = (Arc::clone(&room), id.clone());
                let tasks = room.tasks.clone();
                tasks.spawn(async move { room.events(&id).await })
            })
            .collect();
        for reader in readers {
            let events = reader.await.unwrap();
            let seqs: Vec<u64> = events.iter().map(|event| event.seq.get()).collect();
            assert_eq!(seqs, (0..10).collect::<Vec<u64>>());
            assert_eq!(terminals(&events), ["completed"]);
        }
    }
}

/// Check 6 of the acceptance checks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_that_races_with_completion_leaves_one_terminal_event_that_equals_the_status() {
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    for _ in 0..500 {
        let room = Arc::new(room([text("a"), Act::Hold, text("b"), stop()]));
        let id = room.create(request()).await.snapshot.id.to_string();
        let cancelling = {
            let (room, id) = (Arc::clone(&room), id.clone());
            let tasks = room.tasks.clone();
            tasks.spawn(async move { room.runs.cancel(&alice(), &id).await.unwrap() })
        };
        room.script.go_on();
        let answer = cancelling.await.unwrap();
        let events = room.events(&id).await;
        assert_eq!(terminals(&events).len(), 1, "{:?}", kinds(&events));
        let last = data(events.last().unwrap())["response"].clone();
        assert_eq!(last["status"], answer.status.name());
        assert_eq!(last, object(&room.get(&id).await));
        assert_eq!(last, object(&answer));
        *seen.entry(answer.status.name().to_owned()).or_default() += 1;
    }
    assert!(seen.keys().all(|status| ["completed", "cancelled"].contains(&status.as_str())), "{seen:?}");
}
