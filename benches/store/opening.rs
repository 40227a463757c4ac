//! How long a store takes to open: after its process was killed, and without an index.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemark_store::Store;
use tidemark_store::embedded::{EmbeddedStore, Options};

use crate::child::Role;
use crate::contender::{Contender, open_store};
use crate::cpu::cpu_seconds;
use crate::disk::make_cold;
use crate::goal::{Aim, Row};
use crate::load::{Load, Until};
use crate::scratch::scratch;
use crate::stats::median;
use crate::{Effort, block_on};

/// The role of a process that is killed.
pub(crate) const WRITES: &str = "writes";

/// The events that are stored when it is.
const EVENTS: u64 = 1_000_000;

const LIVE: u64 = 1000;

pub(crate) fn measure(effort: Effort) -> Vec<Row> {
    let (mut killed, mut lags, mut rebuilt) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        let dir = scratch();
        let mut writer = Role::start(WRITES, dir.path(), EVENTS);
        lags.push(writer.number());
        drop(writer);
        make_cold(dir.path());
        killed.push(Spent::on(|| drop(open_store(dir.path()))));
        make_cold(dir.path());
        rebuilt.push(Spent::on(|| EmbeddedStore::rebuild(dir.path(), Options::default()).unwrap()));
    }
    let what = format!("{} M events", EVENTS / 1_000_000);
    let row = |goal, unit, store, aim| Row { goal: format!("{what}: {goal}"), unit, file: None, store, aim };
    let of = |spent: &[Spent], pick: fn(&Spent) -> f64| median(spent.iter().map(pick));
    vec![
        row("the index lagged when the process was killed, by", "MB", median(lags), Aim::None),
        row("cold open after that, per million", "s", of(&killed, |spent| spent.wall), Aim::AtMost(1.0)),
        row("CPU of that", "s", of(&killed, |spent| spent.cpu), Aim::None),
        row("the index made anew, per million", "s", of(&rebuilt, |spent| spent.wall), Aim::None),
        row("CPU of that", "s", of(&rebuilt, |spent| spent.cpu), Aim::None),
    ]
}

/// Seconds per million events.
struct Spent {
    wall: f64,
    cpu: f64,
}

impl Spent {
    fn on(work: impl FnOnce()) -> Self {
        let (began, cpu) = (Instant::now(), cpu_seconds(std::process::id()));
        work();
        let per_million = |seconds: f64| seconds * 1e6 / EVENTS as f64;
        let cpu = cpu_seconds(std::process::id()) - cpu;
        Self { wall: per_million(began.elapsed().as_secs_f64()), cpu: per_million(cpu) }
    }
}

/// Appends as fast as acknowledgements come; says how far the index lags, in MB, once so many events are durable.
pub(crate) fn write_until_killed(dir: &Path, events: u64) {
    block_on(async {
        let store = Arc::new(open_store(dir));
        let contender = Contender::Store(Arc::clone(&store));
        let load = Load { live: LIVE, rate: None, batch: 1, length: events / LIVE };
        load.run(&contender, Until::Ended).await;
        println!("{}", store.usage().index_lag_bytes as f64 / 1e6);
        let go_on = Load { length: u64::MAX, ..load };
        go_on.run(&contender, Until::Time(Duration::MAX)).await;
    });
}
