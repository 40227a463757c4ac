//! Every call to the disk fails, one after the other (D-24): nothing that was acknowledged is lost, nothing half-done is served.
//!
//! A history is told once without faults: what can be read after each of its steps. Then it is repeated for each call that it makes to
//! the log, the blobs and the index, and that call fails. After the step that fails nothing more is taken, and after a restart there is
//! what was there before that step, or after it, whole. `TIDEMARK_FAULTS=all` tries every kind of fault at every call, as `tests/deep`
//! does; else they take turns.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::Builder;

use super::*;
use crate::api::{Health, NewLog, Version};
use crate::compaction::{Compact, Span};
use crate::embedded::disk::faults::{Area, Fault, Op, Plan, Script};
use crate::testing::payload;

const SEGMENT_BYTES: u64 = 2 << 10;

fn options() -> Options {
    let caps = Caps { entries: Some(30), bytes: None };
    Options { caps, segment_bytes: SEGMENT_BYTES, ..Options::default() }
}

/// A process, and what it knows.
struct Process {
    dir: PathBuf,
    store: Option<Arc<EmbeddedStore>>,
    version: Option<Version>,
}

fn log(number: u8) -> LogId {
    LogId::from_bytes([number; 16])
}

/// A step failed, for this reason.
type Outcome = Result<(), String>;

/// The history. Every kind of change is in it, with small payloads and with large ones.
const STEPS: [(&str, Step); 23] = [
    ("open", Step::Open),
    ("create", Step::Create(1, 20)),
    ("create with blobs", Step::Create(2, 70_000)),
    ("put", Step::Put(Some("first"))),
    ("append", Step::Append(1, 20)),
    ("append a blob", Step::Append(2, 70_000)),
    ("index", Step::Index),
    ("compact", Step::Compact(1)),
    ("fill a segment with what stays", Step::Fill(3)),
    ("put again", Step::Put(Some("second"))),
    ("purge what has blobs", Step::Purge(2)),
    ("fill another segment", Step::Fill(4)),
    ("purge what filled it", Step::Purge(4)),
    ("have a stub made of it", Step::Clean),
    ("fill another segment", Step::Fill(5)),
    ("purge what filled it", Step::Purge(5)),
    ("have a stub take in the other", Step::Clean),
    ("reopen", Step::Open),
    ("purge what stayed", Step::Purge(3)),
    ("fill another segment", Step::Fill(6)),
    ("clean the oldest one", Step::Clean),
    ("remove the record", Step::Put(None)),
    ("close", Step::Close),
];

#[derive(Clone, Copy)]
enum Step {
    Open,
    Create(u8, usize),
    Append(u8, usize),
    Compact(u8),
    Purge(u8),
    Put(Option<&'static str>),
    /// Many small appends.
    Fill(u8),
    Index,
    Clean,
    Close,
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Process {
    fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), store: None, version: None }
    }

    fn store(&self) -> &EmbeddedStore {
        self.store.as_ref().unwrap()
    }

    async fn step(&mut self, step: Step) -> Outcome {
        match step {
            Step::Open => {
                if let Some(store) = self.store.take() {
                    store.close().await;
                }
                self.store = Some(Arc::new(EmbeddedStore::open(&self.dir, options()).map_err(text)?));
            }
            Step::Create(number, size) => {
                let (owner, created_at, document) = (owner(), UnixMillis(1), vec![number; size].into());
                let entries = vec![payload(0), vec![number; size].into()];
                let new = NewLog {
                    id: log(number),
                    owner,
                    created_at,
                    status: number,
                    document,
                    entries,
                    endless: None,
                };
                self.store().create(new).await.map_err(text)?;
            }
            Step::Append(number, size) => self.append(number, vec![payload(2), vec![9; size].into()]).await?,
            Step::Compact(number) => {
                let span = |last| Span { last: Seq::new(last), payload: payload(100 + last) };
                let spans = vec![span(1), span(2)];
                let compact =
                    Compact { id: log(number), generation: 0, from: Seq::FIRST, spans, settles: false };
                self.store().compact(compact).await.map_err(text)?;
            }
            Step::Purge(number) => self.store().purge(log(number)).await.map_err(text)?,
            Step::Put(value) => {
                let put = self.store().put_record(b"key", self.version, value.map(Into::into)).await;
                self.version = Some(put.map_err(text)?);
            }
            Step::Fill(number) => self.fill(number).await?,
            Step::Index => drop(self.store().open_logs(None, 10).await.map_err(text)?),
            Step::Clean => drop(self.store().clean().await.map_err(text)?),
            Step::Close => self.store().close().await,
        }
        // A fault may be behind the answer: in the index, or in what is cleaned.
        match &*self.store().health().borrow() {
            Health::Poisoned { reason } => Err(format!("poisoned: {reason}")),
            Health::Serving | Health::Closed => Ok(()),
        }
    }

    /// One log, in one frame that is larger than a segment.
    async fn fill(&self, number: u8) -> Outcome {
        let (owner, created_at) = (owner(), UnixMillis(1));
        let entries = (0..20).map(|seq| vec![seq; 150].into()).collect();
        let new = NewLog {
            id: log(number),
            owner,
            created_at,
            status: 1,
            document: "d".into(),
            entries,
            endless: None,
        };
        self.store().create(new).await.map_err(text)?;
        Ok(())
    }

    async fn append(&self, number: u8, entries: Vec<bytes::Bytes>) -> Outcome {
        let head = self.store().head(log(number)).await.map_err(text)?.ok_or("there is no such log")?;
        let (epoch, expected_last) = (self.store().epoch(), head.frontier.committed);
        let append = Append { id: log(number), epoch, expected_last, status: None, entries, close: None };
        self.store().append(append).await.map_err(text)?;
        Ok(())
    }
}

/// All that can be read. `None` if something cannot.
async fn tell(store: &EmbeddedStore) -> Result<String, ReadError> {
    let mut told = String::new();
    for number in 1..=6 {
        let Some(head) = store.head(log(number)).await? else { continue };
        told += &format!("log {number}:");
        let mut next = Seq::after(head.frontier.watermark);
        while next <= head.frontier.committed {
            let batch =
                store.read(log(number), next.previous(), ReadLimit { entries: 3, bytes: 1 << 20 }).await?;
            for entry in batch.entries {
                assert_eq!(entry.first, next, "a hole in log {number}");
                told += &format!(" {}:{:08x}", entry.seq, crc32c::crc32c(&entry.payload));
                next = entry.seq.next();
            }
        }
        told += &format!(", document {:08x}\n", crc32c::crc32c(&store.document(log(number)).await?));
    }
    let record = store.record(b"key").await?;
    Ok(told + &format!("record {:?}", record.map(|record| record.value)))
}

/// What can be read after each step.
async fn golden() -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::new(dir.path());
    let mut golden = vec!["record None".to_owned()];
    for (name, step) in STEPS {
        process.step(step).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        golden.push(tell(process.store()).await.unwrap());
    }
    golden
}

/// What one fault led to.
enum Struck {
    /// The history makes fewer calls.
    Never,
    /// This call failed, and all was as it should be.
    At(Op),
}

/// Repeats the history with one fault, and perhaps a power cut behind it.
async fn repeat(script: Script, cut: bool, golden: &[String]) -> Struck {
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan::set(dir.path(), Some(script));
    let mut process = Process::new(dir.path());
    let mut failed = None;
    for (at, (name, step)) in STEPS.into_iter().enumerate() {
        if let Err(error) = process.step(step).await {
            failed = Some((at, name, error));
            break;
        }
    }
    let Some(op) = plan.struck() else {
        plan.take_back();
        assert!(failed.is_none(), "{failed:?} without a fault");
        return Struck::Never;
    };
    let told = format!("{script:?} hit {op:?} and {failed:?}, power cut: {cut}");
    let changes = op != Op::Read;
    if let (Some((at, ..)), Some(store)) = (&failed, &process.store) {
        // Where nothing more can be read either, the store says that.
        if let Ok(now) = tell(store).await {
            assert!(golden[*at..=*at + 1].contains(&now), "{told}: it serves {now}");
        }
        let poisoned = matches!(*store.health().borrow(), Health::Poisoned { .. });
        let opens = matches!(STEPS[*at].1, Step::Open);
        if changes && !opens {
            assert!(poisoned, "{told}: it goes on");
        }
        if poisoned {
            let late = NewLog {
                id: log(99),
                owner: owner(),
                created_at: UnixMillis(1),
                status: 1,
                document: "late".into(),
                entries: vec![payload(0)],
                endless: None,
            };
            assert!(
                matches!(store.create(late).await, Err(WriteError::Poisoned(_))),
                "{told}: it takes more"
            );
        }
    }
    // Nothing may be running when the power goes.
    process.store = None;
    plan.take_back();
    if cut {
        plan.cut_power();
    }
    let at = failed.as_ref().map_or(STEPS.len(), |(at, ..)| *at);
    let checked = EmbeddedStore::check(dir.path(), &mut |problem| {
        // The next start makes it anew.
        let harmless =
            problem.remedy == Remedy::Rebuild && problem.problem.contains("the index cannot be used");
        assert!(harmless, "{told}: {problem}");
    });
    assert!(checked.is_ok() || at == 0, "{told}: {checked:?}");
    let again = EmbeddedStore::open(dir.path(), options()).unwrap_or_else(|error| panic!("{told}: {error}"));
    let found = tell(&again).await.unwrap_or_else(|error| panic!("{told}: {error}"));
    let last = golden.len() - 1;
    assert!(
        golden[at.min(last)..=(at + 1).min(last)].contains(&found),
        "{told}: after a restart there is {found}"
    );
    assert!(again.head(log(99)).await.unwrap().is_none(), "{told}");
    let process = Process { dir: dir.path().to_owned(), store: Some(Arc::new(again)), version: None };
    process.fill(7).await.unwrap_or_else(|error| panic!("{told}: {error}"));
    Struck::At(op)
}

/// How many histories go on at a time: they wait for the disk.
const THREADS: usize = 4;

/// What may happen to a call.
const WAYS: [(Fault, bool, bool); 6] = [
    (Fault::Broken, false, false),
    (Fault::Full, false, false),
    (Fault::Short, false, false),
    (Fault::Broken, true, false),
    (Fault::Broken, true, true),
    (Fault::Short, true, true),
];

fn process() -> tokio::runtime::Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Lets every call in an area fail; returns which kinds of calls there were.
fn every_call_fails(area: Area) -> BTreeMap<Op, usize> {
    let all = std::env::var("TIDEMARK_FAULTS").is_ok_and(|which| which == "all");
    let golden = process().block_on(golden());
    let (next, end) = (AtomicUsize::new(0), AtomicUsize::new(usize::MAX));
    let (found, wrong) = (Mutex::new(BTreeMap::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    if nth >= end.load(Ordering::Relaxed) {
                        return;
                    }
                    let ways = WAYS.iter().enumerate().filter(|(way, _)| all || nth % WAYS.len() == *way);
                    for (_, (fault, for_good, cut)) in ways {
                        let script = Script { area, nth, fault: *fault, for_good: *for_good };
                        let repeated = || process().block_on(repeat(script, *cut, &golden));
                        match catch_unwind(AssertUnwindSafe(repeated)) {
                            Ok(Struck::Never) => drop(end.fetch_min(nth, Ordering::Relaxed)),
                            Ok(Struck::At(op)) => *found.lock().unwrap().entry(op).or_default() += 1,
                            Err(_) => wrong.lock().unwrap().push((script, *cut)),
                        }
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} went wrong, as is said above: {wrong:#?}", wrong.len());
    found.into_inner().unwrap()
}

fn assert_seen(found: &BTreeMap<Op, usize>, expected: &[Op]) {
    for op in expected {
        assert!(found.contains_key(op), "no {op:?} failed: {found:?}");
    }
}

#[test]
fn every_call_to_the_log_may_fail() {
    let found = every_call_fails(Area::Log);
    assert_seen(&found, &[Op::Open, Op::Write, Op::Sync, Op::SyncDir, Op::Rename, Op::Remove, Op::Read]);
}

#[test]
fn every_call_to_the_blobs_may_fail() {
    let found = every_call_fails(Area::Blobs);
    assert_seen(&found, &[Op::Open, Op::Write, Op::Sync, Op::SyncDir, Op::Remove]);
}

#[test]
fn every_change_of_the_index_may_fail() {
    let found = every_call_fails(Area::Index);
    assert_seen(&found, &[Op::Index]);
}
