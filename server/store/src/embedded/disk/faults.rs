//! Faults of a disk, for tests: any one call fails, and what follows; or the power goes, and with it all that was not synced.
//!
//! A [`Plan`] is about one data directory, so that tests do not meet. It counts the calls of each [`Area`] and knows what a power cut
//! would take.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is asked of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Op {
    Open,
    Write,
    Cut,
    Sync,
    SyncDir,
    Rename,
    Remove,
    Read,
    /// Any change of the index.
    Index,
}

/// Where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Area {
    Log,
    Blobs,
    Index,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// With an error of the device.
    Broken,
    /// There is no space.
    Full,
    /// Half of it is done.
    Short,
}

/// What is to happen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Script {
    pub(crate) area: Area,
    /// Which call in that area, from 0.
    pub(crate) nth: usize,
    pub(crate) fault: Fault,
    /// Whether every later call fails too.
    pub(crate) for_good: bool,
}

/// The disk under one data directory.
#[derive(Debug)]
pub(crate) struct Plan {
    dir: PathBuf,
    script: Option<Script>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    calls: BTreeMap<Area, usize>,
    struck: Option<Op>,
    /// What unsynced writes have changed: the length of the file before, and the bytes that lay there.
    unsynced: BTreeMap<PathBuf, Vec<(u64, u64, Vec<u8>)>>,
    /// Names that changed and whose directory was not synced since, in the order of the changes.
    names: Vec<Name>,
}

/// A name, and what it stood for before it changed.
#[derive(Debug)]
struct Name {
    path: PathBuf,
    before: Before,
}

#[derive(Debug)]
enum Before {
    Nothing,
    File(Vec<u8>),
    /// Its files, and what had changed in it without a sync.
    Dir {
        files: Vec<(PathBuf, Vec<u8>)>,
        names: Vec<Name>,
    },
}

impl Name {
    /// Has the name stand for what it did before.
    fn undo(self) {
        match self.before {
            Before::Nothing => drop(fs::remove_file(self.path)),
            Before::File(bytes) => fs::write(self.path, bytes).unwrap(),
            Before::Dir { files, names } => {
                fs::create_dir_all(self.path).unwrap();
                for (path, bytes) in files {
                    fs::write(path, bytes).unwrap();
                }
                names.into_iter().rev().for_each(Self::undo);
            }
        }
    }
}

static PLANS: Mutex<Vec<Arc<Plan>>> = Mutex::new(Vec::new());

fn plans() -> MutexGuard<'static, Vec<Arc<Plan>>> {
    PLANS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn plan_of(path: &Path) -> Option<Arc<Plan>> {
    plans().iter().find(|plan| path.starts_with(&plan.dir)).cloned()
}

impl Plan {
    /// Lets this happen in `dir`, until the plan is taken back.
    pub(crate) fn set(dir: &Path, script: Option<Script>) -> Arc<Self> {
        let plan = Arc::new(Self { dir: dir.to_owned(), script, state: Mutex::default() });
        plans().push(Arc::clone(&plan));
        plan
    }

    /// Nothing fails any more.
    pub(crate) fn take_back(self: &Arc<Self>) {
        plans().retain(|plan| !Arc::ptr_eq(plan, self));
    }

    /// The call that failed, if one did.
    pub(crate) fn struck(&self) -> Option<Op> {
        self.state().struck
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn area(&self, path: &Path) -> Option<Area> {
        let below = path.strip_prefix(&self.dir).ok()?;
        match below.components().next()?.as_os_str().to_str()? {
            "log" => Some(Area::Log),
            "blobs" => Some(Area::Blobs),
            "index" => Some(Area::Index),
            _ => None,
        }
    }

    /// Counts a call; the fault if it fails.
    fn strike(&self, op: Op, path: &Path) -> Option<Fault> {
        let area = self.area(path)?;
        let script = self.script?;
        let mut state = self.state();
        let calls = state.calls.entry(area).or_default();
        let nth = *calls;
        *calls += 1;
        if area == script.area && nth == script.nth {
            state.struck = Some(op);
            return Some(script.fault);
        }
        (script.for_good && state.struck.is_some()).then_some(Fault::Broken)
    }

    /// Takes away all that was not synced. Nothing may be running.
    pub(crate) fn cut_power(&self) {
        let mut state = self.state();
        for (path, writes) in std::mem::take(&mut state.unsynced) {
            // What is not there any more loses nothing.
            let Ok(file) = fs::OpenOptions::new().write(true).open(&path) else { continue };
            for (length, at, before) in writes.into_iter().rev() {
                file.write_all_at(&before, at).unwrap();
                file.set_len(length).unwrap();
            }
        }
        std::mem::take(&mut state.names).into_iter().rev().for_each(Name::undo);
    }
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Self::Broken => io::Error::other("injected: the device is broken"),
            Self::Full | Self::Short => {
                io::Error::new(io::ErrorKind::StorageFull, "injected: no space is left")
            }
        }
    }
}

/// Comes before every call but those below.
pub(crate) fn before(op: Op, path: &Path) -> io::Result<()> {
    let Some(plan) = plan_of(path) else { return Ok(()) };
    match plan.strike(op, path) {
        // Half of what is read comes later.
        Some(Fault::Short) if op == Op::Read => return Ok(()),
        Some(fault) => return Err(fault.error()),
        None => {}
    }
    let mut state = plan.state();
    match op {
        Op::Sync => drop(state.unsynced.remove(path)),
        Op::SyncDir => state.names.retain(|name| name.path.parent() != Some(path)),
        Op::Open if !path.exists() => {
            state.names.push(Name { path: path.to_owned(), before: Before::Nothing });
        }
        Op::Remove if path.is_file() => {
            let before = Before::File(fs::read(path)?);
            state.names.push(Name { path: path.to_owned(), before });
        }
        // Of the files of the index nothing is known: they are sled's.
        Op::Remove if path.is_dir() && plan.area(path) != Some(Area::Index) => {
            let files = fs::read_dir(path)?.map(|file| {
                let path = file?.path();
                Ok((path.clone(), fs::read(path)?))
            });
            let files = files.collect::<io::Result<_>>()?;
            let names = state.names.extract_if(.., |name| name.path.starts_with(path)).collect();
            state.names.push(Name { path: path.to_owned(), before: Before::Dir { files, names } });
        }
        _ => {}
    }
    Ok(())
}

/// Comes before a write.
pub(crate) fn before_write(file: &fs::File, path: &Path, bytes: &[u8], at: u64) -> io::Result<()> {
    let Some(plan) = plan_of(path) else { return Ok(()) };
    let fault = plan.strike(Op::Write, path);
    if matches!(fault, Some(Fault::Broken | Fault::Full)) {
        return Err(Fault::Full.error());
    }
    let length = file.metadata()?.len();
    let over = bytes.len().min(usize::try_from(length.saturating_sub(at)).unwrap());
    let mut old = vec![0; over];
    file.read_exact_at(&mut old, at)?;
    plan.state().unsynced.entry(path.to_owned()).or_default().push((length, at, old));
    match fault {
        None => Ok(()),
        Some(fault) => {
            file.write_all_at(&bytes[..bytes.len() / 2], at)?;
            Err(fault.error())
        }
    }
}

/// Comes before a file takes the name of another.
pub(crate) fn before_rename(from: &Path, to: &Path) -> io::Result<()> {
    let Some(plan) = plan_of(to) else { return Ok(()) };
    if let Some(fault) = plan.strike(Op::Rename, to) {
        return Err(fault.error());
    }
    let (moved, before) = (fs::read(from)?, fs::read(to).map_or(Before::Nothing, Before::File));
    plan.state().names.extend([
        Name { path: to.to_owned(), before },
        Name { path: from.to_owned(), before: Before::File(moved) },
    ]);
    Ok(())
}

/// Takes half of what was read, if that is what is to happen to this call.
pub(crate) fn shorten(path: &Path, bytes: &mut Vec<u8>) {
    let Some(plan) = plan_of(path) else { return };
    let Some(script) = plan.script else { return };
    let calls = plan.state().calls.get(&script.area).copied();
    let just_now = plan.area(path) == Some(script.area) && calls == Some(script.nth + 1);
    if script.fault == Fault::Short && just_now && plan.struck() == Some(Op::Read) {
        bytes.truncate(bytes.len() / 2);
    }
}
