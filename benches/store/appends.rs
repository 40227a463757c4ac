//! What a durable append costs: its rate, its CPU time and how long its acknowledgement takes, beside a plain file.

use std::path::Path;

use crate::contender::Contender;
use crate::goal::{Aim, Row};
use crate::load::{Load, Outcome, Until};
use crate::scratch::scratch;
use crate::stats::{median, quantile};
use crate::{Effort, block_on};

/// How a contender is opened in a directory.
type Open = fn(&Path) -> Contender;

/// What came of a load in each round: on a plain file, and on stores.
struct Rounds {
    file: Vec<Outcome>,
    store: Vec<Outcome>,
    store_os: Vec<Outcome>,
}

impl Rounds {
    /// Runs the load on each of them in turn, each a new one.
    fn run(load: Load, effort: Effort) -> Self {
        let mut rounds = Self { file: Vec::new(), store: Vec::new(), store_os: Vec::new() };
        for _ in 0..effort.rounds {
            let contenders: [(Open, &mut Vec<Outcome>); 3] = [
                (Contender::file, &mut rounds.file),
                (Contender::store, &mut rounds.store),
                (Contender::store_os, &mut rounds.store_os),
            ];
            for (open, outcomes) in contenders {
                let dir = scratch();
                outcomes.push(block_on(async {
                    let contender = open(dir.path());
                    let outcome = load.run(&contender, Until::Time(effort.time)).await;
                    contender.close().await;
                    outcome
                }));
            }
        }
        rounds
    }

    /// The medians of a figure: of the file, and of the store.
    fn medians(&self, pick: impl Fn(&Outcome) -> f64) -> (f64, f64) {
        (median(self.file.iter().map(&pick)), median(self.store.iter().map(&pick)))
    }

    /// The median of a figure of the store that does not wait for the disk.
    fn median_os(&self, pick: impl Fn(&Outcome) -> f64) -> f64 {
        median(self.store_os.iter().map(pick))
    }
}

/// Durable appends as fast as acknowledgements come.
pub(crate) fn rates(effort: Effort) -> Vec<Row> {
    [1, 16].into_iter().flat_map(|batch| rates_of(batch, effort)).collect()
}

fn rates_of(batch: u64, effort: Effort) -> Vec<Row> {
    let load = Load { live: 1000, rate: None, batch, length: 2000 };
    let rounds = Rounds::run(load, effort);
    let what = format!("1000 responses, {batch} per append");
    let (file, store) = rounds.medians(Outcome::events_per_second);
    let cpu = |pick: fn(&Outcome) -> f64| rounds.medians(|outcome| outcome.us_per_event(pick(outcome)));
    let (writer_of_file, writer) = cpu(|outcome| outcome.cpu.writer);
    let (load, callers) = cpu(|outcome| outcome.cpu.callers);
    let behind = cpu(|outcome| outcome.cpu.behind).1;
    // What the callers of the plain file cost is the load: the same tasks, queue and answers.
    let on_ack_path = writer + (callers - load).max(0.0);
    let us =
        |goal, file, store, aim| Row { goal: format!("{what}: {goal}"), unit: "µs/event", file, store, aim };
    vec![
        Row {
            goal: format!("{what}: durable events"),
            unit: "1/s",
            file: Some(file),
            store,
            aim: Aim::AtLeast(0.5 * file),
        },
        Row {
            goal: format!("{what}: with durability `os`"),
            unit: "1/s",
            file: Some(file),
            store: rounds.median_os(Outcome::events_per_second),
            aim: Aim::None,
        },
        us("CPU of the writer", Some(writer_of_file), writer, Aim::None),
        us("CPU of the callers, the load among them", Some(load), callers, Aim::None),
        us("CPU on the ack path: writer, callers without the load", None, on_ack_path, Aim::AtMost(1.0)),
        us("the same with indexing", None, on_ack_path + behind, Aim::AtMost(2.0)),
    ]
}

/// Acknowledgements at a steady pace.
pub(crate) fn latencies(effort: Effort) -> Vec<Row> {
    [1000, 5000].into_iter().flat_map(|live| latencies_of(live, effort)).collect()
}

fn latencies_of(live: u64, effort: Effort) -> Vec<Row> {
    let load = Load { live, rate: Some(50.0), batch: 1, length: u64::MAX };
    let rounds = Rounds::run(load, effort);
    let what = format!("{live} responses × 50 events/s");
    let row = |goal, unit, (file, store): (f64, f64), aim| Row {
        goal: format!("{what}: {goal}"),
        unit,
        file: Some(file),
        store,
        aim,
    };
    let ack = |part| rounds.medians(|outcome| quantile(outcome.waits.iter().copied(), part));
    let (p50, p99) = (ack(0.5), ack(0.99));
    let p99_os = rounds.median_os(|outcome| quantile(outcome.waits.iter().copied(), 0.99));
    vec![
        row("acknowledged", "1/s", rounds.medians(Outcome::events_per_second), Aim::None),
        row("ack p50", "ms", p50, Aim::None),
        row("ack p99", "ms", p99, Aim::AtMost((1.5 * p99.0).max(p99.0 + 1.0))),
        row("ack p99 with durability `os`", "ms", (p99.0, p99_os), Aim::None),
    ]
}
