//! Random histories: the embedded store must answer like its twin in memory, whatever happened to its process, its disk or its index.
//!
//! A crash is a disk that fails at some call and from then on, and perhaps a power cut. The change that was under way then is there
//! whole or not at all; everything before it is there. What has once gone wrong stays in `proptest-regressions/`.

mod both;
mod change;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use tokio::runtime::Runtime;

use self::both::Both;
use super::*;
use crate::embedded::disk::faults::{Area, Fault};

/// One thing that happens. Logs and records are named by small numbers, so that things meet.
#[derive(Clone, Debug)]
enum Event {
    Create {
        log: u8,
        entries: Vec<u32>,
    },
    Append {
        log: u8,
        entries: Vec<u32>,
        close: Option<u64>,
    },
    /// An append that expects the log elsewhere.
    Misplaced {
        log: u8,
    },
    /// Entries, chosen by their places among those that can be read, are merged by `group`.
    Compact {
        log: u8,
        places: (prop::sample::Index, prop::sample::Index),
        group: usize,
        size: u32,
    },
    Purge {
        log: u8,
    },
    /// What is due by then goes.
    Expire {
        now: u64,
    },
    /// A reader comes with a position.
    Resume {
        log: u8,
        place: prop::sample::Index,
    },
    Put {
        key: u8,
        value: Option<u8>,
        stale: bool,
    },
    /// The index catches up.
    Index,
    /// Segments that are mostly dead leave the disk.
    Clean,
    Reopen,
    ReopenWithoutIndex,
    Rebuild,
    /// The disk fails for good at the `nth` call from here.
    Crash {
        area: Area,
        nth: usize,
        fault: Fault,
        cut: bool,
    },
}

fn sizes() -> impl Strategy<Value = Vec<u32>> {
    let size = prop_oneof![20 => 0u32..400, 1 => 60_000u32..140_000];
    prop::collection::vec(size, 1..12)
}

fn event() -> impl Strategy<Value = Event> {
    let log = 0u8..6;
    prop_oneof![
        4 => (log.clone(), sizes()).prop_map(|(log, entries)| Event::Create { log, entries }),
        16 => (log.clone(), sizes(), prop_oneof![6 => Just(None), 1 => (0u64..100).prop_map(Some)])
            .prop_map(|(log, entries, close)| Event::Append { log, entries, close }),
        1 => log.clone().prop_map(|log| Event::Misplaced { log }),
        4 => (log.clone(), any::<(prop::sample::Index, prop::sample::Index)>(), 1usize..9, 0u32..90_000)
            .prop_map(|(log, places, group, size)| Event::Compact { log, places, group, size }),
        1 => log.clone().prop_map(|log| Event::Purge { log }),
        1 => (0u64..60).prop_map(|now| Event::Expire { now }),
        3 => (log, any::<prop::sample::Index>()).prop_map(|(log, place)| Event::Resume { log, place }),
        3 => (0u8..4, any::<Option<u8>>(), any::<bool>()).prop_map(|(key, value, stale)| Event::Put { key, value, stale }),
        2 => Just(Event::Index),
        3 => Just(Event::Clean),
        1 => Just(Event::Reopen),
        1 => Just(Event::ReopenWithoutIndex),
        1 => Just(Event::Rebuild),
        3 => crash(),
    ]
}

fn crash() -> impl Strategy<Value = Event> {
    let area = prop_oneof![4 => Just(Area::Log), 1 => Just(Area::Blobs), 2 => Just(Area::Index)];
    let fault = prop_oneof![Just(Fault::Broken), Just(Fault::Full), Just(Fault::Short)];
    let crash = |(area, nth, fault, cut)| Event::Crash { area, nth, fault, cut };
    (area, 0usize..30, fault, any::<bool>()).prop_map(crash)
}

/// How many histories: `PROPTEST_CASES` says it, `tests/deep` wants more.
fn config() -> ProptestConfig {
    let config = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_some() { config } else { ProptestConfig { cases: 40, ..config } }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn random_histories_read_like_the_twin_in_memory(
        durability in prop_oneof![3 => Just(Durability::Sync), 1 => Just(Durability::Os)],
        events in prop::collection::vec(event(), 1..120),
    ) {
        Runtime::new().unwrap().block_on(history(durability, events));
    }
}

async fn history(durability: Durability, events: impl IntoIterator<Item = Event>) {
    let mut both = Both::new(durability);
    for event in events {
        both.apply(event).await;
    }
    // A disk that was to fail does not any more.
    if both.plan.is_some() {
        both.recover().await;
    }
    both.compare().await;
    both.recover().await;
    both.compare().await;
    both.end();
    let checked = EmbeddedStore::check(both.dir.path(), &mut |problem| panic!("{problem}"));
    assert_eq!(checked.unwrap().problems, 0);
}

/// A cut brings a directory back that was removed, and the file that was removed from it before.
#[tokio::test]
async fn the_power_goes_after_a_blob_and_then_its_log_were_removed() {
    // Of one entry, every place is the first.
    let place = any::<prop::sample::Index>().new_tree(&mut TestRunner::deterministic()).unwrap().current();
    history(
        Durability::Sync,
        [
            Event::Create { log: 3, entries: vec![65_537] },
            Event::Crash { area: Area::Blobs, nth: 99, fault: Fault::Broken, cut: true },
            Event::Compact { log: 3, places: (place, place), group: 1, size: 0 },
            Event::Index,
            Event::Purge { log: 3 },
            Event::Index,
        ],
    )
    .await;
}
