//! What it takes to read a response: near its end, from the start, with and without the system knowing its files.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tidemark_store::embedded::EmbeddedStore;
use tidemark_store::{LogId, ReadLimit, Seq, Store};

use crate::contender::{Contender, next_id, open_store};
use crate::disk::{files, make_cold};
use crate::goal::{Aim, Row};
use crate::load::{Load, Until};
use crate::scratch::scratch;
use crate::stats::{median, quantile};
use crate::threads::Cpu;
use crate::{EVENT_BYTES, Effort, block_on};

/// Responses that are replayed, and their events.
const LONG: u64 = 200;
const EVENTS: u64 = 5000;

/// Responses that are in the store as well.
const SHORT: Load = Load { live: 10_000, rate: None, batch: 20, length: 20 };

/// How far behind the end a reader comes back.
const NEAR: u64 = 20;

/// How many responses of a round are asked for their first events, each at another place, and how many are replayed: so few that
/// one does not find what another has had read.
const FIRSTS: usize = 50;
const REPLAYS: usize = 5;

pub(crate) fn measure(effort: Effort) -> Vec<Row> {
    let mut rows = vec![near_the_end(effort)];
    for batch in [1, 16] {
        rows.extend(from_the_disk(batch, effort));
    }
    rows
}

/// A reader of a live response that missed a few events.
fn near_the_end(effort: Effort) -> Row {
    let dir = scratch();
    let waits = block_on(async {
        let store = Arc::new(open_store(dir.path()));
        let contender = Contender::Store(Arc::clone(&store));
        let mut ids = Vec::new();
        for _ in 0..1000 {
            let (id, event) = (next_id(), Bytes::from(vec![b'x'; EVENT_BYTES]));
            contender.create(id).await;
            contender.append(id, 0, vec![event; 2 * NEAR as usize], false).await;
            ids.push(id);
        }
        let mut waits = Vec::new();
        for _ in 0..effort.rounds {
            for id in &ids {
                let began = Instant::now();
                let tail = store.tail(*id).await.unwrap();
                let batch = store.read(*id, Some(Seq::new(NEAR)), ReadLimit::FIRST).await.unwrap();
                waits.push(began.elapsed().as_secs_f64() * 1e6);
                assert_eq!(batch.entries.first().unwrap().seq, Seq::new(NEAR + 1));
                drop(tail);
            }
        }
        contender.close().await;
        waits
    });
    let goal = "a resume near the end of a live response, p99".to_owned();
    Row { goal, unit: "µs", file: None, store: quantile(waits, 0.99), aim: Aim::AtMost(50.0) }
}

/// Ended responses whose events were appended `batch` at a time, all in turn.
fn from_the_disk(batch: u64, effort: Effort) -> Vec<Row> {
    let dir = scratch();
    let ids = fill(dir.path(), batch);
    let (mut firsts, mut cold, mut warm, mut cpu) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut plain_firsts, mut plain_cold, mut plain_warm) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..effort.rounds {
        let apart = |count: usize| ids.iter().skip(round % count).step_by(ids.len() / count).copied();
        make_cold(dir.path());
        let waits = plain_reads(dir.path(), batch);
        plain_cold.push(batch as f64 * 1e3 / mean(&waits));
        plain_firsts.extend(waits);
        plain_warm.push(batch as f64 * 1e3 / mean(&plain_reads(dir.path(), batch)));
        firsts.extend(first_events(dir.path(), apart(FIRSTS)));
        let [first, again] = replays(dir.path(), &apart(REPLAYS).collect::<Vec<_>>());
        cold.push(first.events as f64 / first.seconds);
        warm.push(again.events as f64 / again.seconds);
        cpu.push(again.cpu * 1e6 / again.events as f64);
    }
    let what = format!("{LONG} responses of {EVENTS} events, appended {batch} at a time");
    let row = |goal, unit, file, store, aim| Row { goal: format!("{what}: {goal}"), unit, file, store, aim };
    let first = |waits: &[f64], part| quantile(waits.iter().copied(), part);
    let firsts = |part| (Some(first(&plain_firsts, part)), first(&firsts, part));
    let (p50, p99) = (firsts(0.5), firsts(0.99));
    vec![
        row("cold first event p50", "ms", p50.0, p50.1, Aim::None),
        row("cold first event p99", "ms", p99.0, p99.1, Aim::AtMost(1.0)),
        row("warm replay", "1/s", Some(median(plain_warm)), median(warm), Aim::AtLeast(1e6)),
        row("CPU of that", "µs/event", None, median(cpu), Aim::None),
        row("cold replay", "1/s", Some(median(plain_cold)), median(cold), Aim::AtLeast(200e3)),
    ]
}

/// How long plain reads of the log take, in milliseconds: one for each append of a response, where these would lie, one after the
/// other, by nobody who knows what lies there.
fn plain_reads(dir: &Path, batch: u64) -> Vec<f64> {
    let bytes = (EVENT_BYTES as u64 * batch) as usize;
    let apart = LONG * EVENT_BYTES as u64 * batch;
    let (mut waits, mut read) = (Vec::new(), vec![0; bytes]);
    for path in files(&dir.join("log")) {
        let file = File::open(path).unwrap();
        let length = file.metadata().unwrap().len();
        for at in (0..length.saturating_sub(bytes as u64)).step_by(apart as usize) {
            let began = Instant::now();
            file.read_exact_at(&mut read, at).unwrap();
            waits.push(began.elapsed().as_secs_f64() * 1e3);
        }
    }
    waits
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn fill(dir: &Path, batch: u64) -> Vec<LogId> {
    block_on(async {
        let contender = Contender::store(dir);
        SHORT.run(&contender, Until::Ended).await;
        let long = Load { live: LONG, rate: None, batch, length: EVENTS };
        let outcome = long.run(&contender, Until::Ended).await;
        SHORT.run(&contender, Until::Ended).await;
        contender.close().await;
        outcome.ended
    })
}

/// A store of which neither it nor the system has read anything but what an opening needs.
fn open_cold(dir: &Path) -> EmbeddedStore {
    make_cold(dir);
    let store = open_store(dir);
    make_cold(dir);
    store
}

/// How long each of these responses takes to give its next events, in milliseconds: one from its start on, the next from a place
/// further on.
fn first_events(dir: &Path, ids: impl Iterator<Item = LogId>) -> Vec<f64> {
    block_on(async {
        let store = open_cold(dir);
        let mut waits = Vec::new();
        for (number, id) in (0u64..).zip(ids) {
            let after = Seq::new(number * EVENTS / FIRSTS as u64);
            let began = Instant::now();
            let batch = store.read(id, Some(after), ReadLimit::FIRST).await.unwrap();
            waits.push(began.elapsed().as_secs_f64() * 1e3);
            assert_eq!(batch.entries.first().unwrap().seq, after.next());
        }
        store.close().await;
        waits
    })
}

/// What it took to read responses.
#[derive(Clone, Copy, Debug, Default)]
struct Replay {
    events: u64,
    seconds: f64,
    cpu: f64,
}

/// Reads responses from the start, one after the other: the first time, and again.
fn replays(dir: &Path, ids: &[LogId]) -> [Replay; 2] {
    block_on(async {
        let store = Arc::new(open_cold(dir));
        let mut replays = [Replay::default(); 2];
        for replay in &mut replays {
            let (began, cpu) = (Instant::now(), Cpu::now());
            for id in ids {
                // What a reader does runs on the threads of the runtime, not on the one that waits here.
                replay.events += tokio::spawn(read_whole(Arc::clone(&store), *id)).await.unwrap();
            }
            (replay.seconds, replay.cpu) = (began.elapsed().as_secs_f64(), Cpu::now().since(cpu).callers);
        }
        store.close().await;
        replays
    })
}

/// Reads a response as a reader does: it follows the log, and takes a batch at a time.
async fn read_whole(store: Arc<EmbeddedStore>, id: LogId) -> u64 {
    let (mut events, mut after, mut limit) = (0, None, ReadLimit::FIRST);
    let _tail = store.tail(id).await.unwrap();
    loop {
        let batch = store.read(id, after, limit).await.unwrap();
        let Some(last) = batch.entries.last() else { break };
        limit = ReadLimit::default();
        (events, after) = (events + batch.entries.len() as u64, Some(last.seq));
    }
    assert!(events >= EVENTS, "{events} events");
    events
}
