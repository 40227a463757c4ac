//! How much memory a store takes that holds a million responses, of which few thousand are live.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::child::Role;
use crate::contender::Contender;
use crate::goal::{Aim, Row};
use crate::load::{Load, Until};
use crate::scratch::scratch;
use crate::{Effort, block_on};

/// The role of a process that holds live responses.
pub(crate) const HOLDS: &str = "holds";

/// Responses that are stored, and their events.
const STORED: u64 = 1_000_000;
const EVENTS: u64 = 5;

/// How many of them are stored at a time.
const AT_A_TIME: u64 = 5000;

const LIVE: u64 = 5000;

/// How long they are live until the memory is looked at: tails are full by then.
const TIME: Duration = Duration::from_secs(10);

pub(crate) fn measure(_: Effort) -> Vec<Row> {
    let dir = scratch();
    block_on(async {
        let contender = Contender::store(dir.path());
        let load = Load { live: AT_A_TIME, rate: None, batch: EVENTS, length: EVENTS };
        for _ in 0..STORED / AT_A_TIME {
            load.run(&contender, Until::Ended).await;
        }
        contender.close().await;
    });
    let mut holder = Role::start(HOLDS, dir.path(), LIVE);
    let (opened, live, highest) = (holder.number(), holder.number(), holder.number());
    let row = |goal: &str, store, aim| Row {
        goal: format!("1 M stored: {goal}"),
        unit: "MB",
        file: None,
        store,
        aim,
    };
    vec![
        row("memory once it is open", opened, Aim::None),
        row("memory with 5000 live × 50 events/s", live, Aim::AtMost(300.0)),
        row("the most memory since its start", highest, Aim::None),
    ]
}

/// Opens the store, keeps responses live for a while, and says how much memory the process takes, in MB: after the opening, at
/// the end, and at most.
pub(crate) fn hold_live(dir: &Path, live: u64) {
    block_on(async {
        let contender = Contender::store(dir);
        println!("{}", memory("VmRSS:"));
        let load = Load { live, rate: Some(50.0), batch: 1, length: u64::MAX };
        load.run(&contender, Until::Time(TIME)).await;
        println!("{}", memory("VmRSS:"));
        println!("{}", memory("VmHWM:"));
        contender.close().await;
    });
}

/// A line of `/proc/self/status`, in MB.
fn memory(field: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_whitespace().next().unwrap().parse::<f64>().unwrap() * 1024.0 / 1e6
}
