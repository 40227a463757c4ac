//! Opening a store: the lock, the segments, the index, and the replay of what the index does not cover.
//!
//! It decides between a torn tail, which is cut off, and damage, which is refused. An index that is missing, will not open or is
//! ahead of the log is made anew from the whole log: its faults cost time, never data (D-37).

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::blob::Blobs;
use super::change::{Change, Create, Durability, KIND_OPEN, Payload};
use super::codec::Malformed;
use super::frame::{self, Frame, Lsn};
use super::index::{Index, IndexError};
use super::keys::Covered;
use super::log::{LogState, Pin, Stored};
use super::segment::{self, Found, Scan, Segments};
use super::shared::{Shared, Work};
use super::writer::{Writer, apply_append, extent_of, show};
use super::{OpenError, Options};
use crate::api::Version;
use crate::types::{Frontier, Head, LogId, Seq};

/// The index is brought up to date when this many bytes were replayed, so that a rebuild needs little memory.
const REPLAY_STEP_BYTES: u64 = 32 << 20;

/// A store that was opened and brought up to date; nothing runs yet.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) shared: Arc<Shared>,
    pub(crate) writer: Writer,
    pub(crate) lock: File,
}

/// The parts of a data directory.
#[derive(Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.root.join("index")
    }

    fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Makes the directories, and their names durable: a log in a directory that a power cut takes is lost too.
    fn make(&self) -> Result<(), OpenError> {
        for dir in [self.root.clone(), self.log(), self.blobs()] {
            fs::create_dir_all(&dir).map_err(OpenError::io("make", &dir))?;
        }
        let above = self.root.canonicalize().map_err(OpenError::io("find", &self.root))?;
        for dir in above.ancestors().take(2) {
            let synced = File::open(dir).and_then(|dir| dir.sync_all());
            synced.map_err(OpenError::io("sync", dir))?;
        }
        Ok(())
    }

    /// Takes the directory for this process, and says so in the file that it locks.
    pub(crate) fn take(&self) -> Result<File, OpenError> {
        let path = self.lock();
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
        let mut file = file.map_err(OpenError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {
                let named = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
                named.map_err(OpenError::io("write", &path)).map(|()| file)
            }
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let read = file.read_to_string(&mut holder);
                let pid = read.ok().and_then(|_| holder.parse().ok());
                Err(OpenError::InUse { dir: self.root.clone(), pid })
            }
            Err(TryLockError::Error(error)) => Err(OpenError::io("lock", &path)(error)),
        }
    }

    /// Takes the directory for this process if there is a store in it.
    pub(crate) fn take_existing(&self) -> Result<File, OpenError> {
        if !self.log().is_dir() {
            return Err(OpenError::NoStore { dir: self.root.clone() });
        }
        self.take()
    }
}

/// Opens the store in `dir`, and makes it if there is none.
pub(crate) fn open(dir: &Path, options: Options) -> Result<Opened, OpenError> {
    let layout = Layout::new(dir);
    layout.make()?;
    let lock = layout.take()?;
    let mut found = segment::list(&layout.log())?;
    if found.is_empty() {
        let _ = segment::create(&layout.log(), Lsn(0))
            .map_err(OpenError::io("make a segment in", &layout.log()))?;
        found = segment::list(&layout.log())?;
    }
    let end = log_end(&found);
    let (index, covered) = open_index(&layout, &options, end)?;
    match replay(&layout, options, index, covered, &found)? {
        Replayed::Done(opened) => Ok(opened.with_lock(lock)),
        Replayed::IndexIsWrong(index) => {
            tracing::warn!("the index does not fit the log; it is made anew");
            drop(index);
            remove_index(&layout)?;
            let (index, covered) = open_index(&layout, &options, end)?;
            match replay(&layout, options, index, covered, &found)? {
                Replayed::Done(opened) => Ok(opened.with_lock(lock)),
                Replayed::IndexIsWrong(_) => Err(OpenError::Damaged {
                    path: layout.log(),
                    position: 0,
                    problem: "the log appends to a response that it never made; a segment is missing"
                        .to_owned(),
                }),
            }
        }
    }
}

/// Where the last byte of the log lies.
fn log_end(found: &[Found]) -> Lsn {
    found.last().map_or(Lsn(0), |last| Lsn(last.base.0.saturating_add(last.length)))
}

fn is_empty(found: &[Found]) -> bool {
    found.iter().all(|segment| segment.length <= segment::HEADER_BYTES)
}

fn remove_index(layout: &Layout) -> Result<(), OpenError> {
    match fs::remove_dir_all(layout.index()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(OpenError::io("remove", &layout.index())(error))
        }
        _ => Ok(()),
    }
}

/// Removes the index of a store that no process has open; the next opening makes it anew.
pub(crate) fn forget_index(dir: &Path) -> Result<(), OpenError> {
    let layout = Layout::new(dir);
    let _lock = layout.take_existing()?;
    remove_index(&layout)
}

/// The index, or an empty one if the one there is of no use.
fn open_index(layout: &Layout, options: &Options, end: Lsn) -> Result<(Index, Option<Covered>), OpenError> {
    let existed = layout.index().join("db").exists();
    let opened = Index::open(&layout.index(), options.index_cache_bytes).and_then(|index| {
        let covered = index.covered()?;
        Ok((index, covered))
    });
    let why = match opened {
        Ok((index, Some(covered))) if covered.lsn <= end => return Ok((index, Some(covered))),
        Ok((_, Some(_))) => "it is ahead of the log".to_owned(),
        Ok((_, None)) => "it does not say what it covers".to_owned(),
        Err(error) => error.to_string(),
    };
    if existed {
        tracing::warn!(why, "the index is made anew from the log");
    }
    remove_index(layout)?;
    let index =
        Index::open(&layout.index(), options.index_cache_bytes).map_err(|error| OpenError::index(&error))?;
    Ok((index, None))
}

enum Replayed {
    Done(Unlocked),
    /// The log speaks of logs that the index should have and does not.
    IndexIsWrong(Box<Shared>),
}

struct Unlocked {
    shared: Arc<Shared>,
    writer: Writer,
}

impl Unlocked {
    fn with_lock(self, lock: File) -> Opened {
        Opened { shared: self.shared, writer: self.writer, lock }
    }
}

/// Goes through what `index` does not cover, and begins a new epoch.
fn replay(
    layout: &Layout,
    options: Options,
    index: Index,
    covered: Option<Covered>,
    found: &[Found],
) -> Result<Replayed, OpenError> {
    let oldest = found.first().map_or(Lsn(0), |first| first.base);
    // With nothing known of an earlier process, the careful guess is that it did not sync.
    let durability = if is_empty(found) { Durability::Sync } else { Durability::Os };
    let known = covered.unwrap_or(Covered { lsn: oldest, epoch: 0, durability });
    let segments = Segments::new(layout.log(), found.iter().map(|found| found.base));
    let before = newest_opening(&segments, found, known)?;
    let epoch = before.epoch + 1;
    let opened = Covered { lsn: known.lsn, epoch, durability: options.durability };
    let blobs = Blobs::new(layout.blobs(), options.durability, epoch);
    let shared = Shared::new(options, opened, before.durability, index, segments, blobs);
    let mut replay =
        Replay { shared: &shared, work: Work::default(), orphans: HashSet::new(), indexed: known.lsn };
    let end = replay.run(found, known.lsn)?;
    if !replay.orphans.is_empty() {
        drop(replay);
        return Ok(Replayed::IndexIsWrong(Box::new(shared)));
    }
    replay.index_to(end)?;
    let writer = begin_epoch(Arc::new(shared), end)?;
    Ok(Replayed::Done(writer))
}

/// The last opening that the log or the index knows of.
fn newest_opening(segments: &Segments, found: &[Found], known: Covered) -> Result<Covered, OpenError> {
    let mut newest = known;
    for segment in from_covered(found, known.lsn) {
        for frame in Scan::open(segments, segment.base, known.lsn)? {
            if frame.kind == KIND_OPEN
                && let Ok(Change::Open { epoch, durability }) = Change::read(frame.kind, &frame.payload)
            {
                newest = Covered { epoch, durability, ..known };
            }
        }
    }
    Ok(newest)
}

fn from_covered(found: &[Found], covered: Lsn) -> impl Iterator<Item = &Found> {
    found.iter().filter(move |segment| segment.base.0.saturating_add(segment.length) > covered.0)
}

struct Replay<'a> {
    shared: &'a Shared,
    work: Work,
    /// Logs that were appended to or removed, but whose making neither the log nor the index has shown.
    orphans: HashSet<LogId>,
    indexed: Lsn,
}

impl Replay<'_> {
    /// Applies every frame from `covered` on; returns where the log ends, after cutting off a torn tail.
    fn run(&mut self, found: &[Found], covered: Lsn) -> Result<Lsn, OpenError> {
        let newest = found.last().map_or(Lsn(0), |last| last.base);
        let mut end = covered;
        for segment in from_covered(found, covered) {
            let path = self.shared.segments.path(segment.base);
            let mut scan = Scan::open(&self.shared.segments, segment.base, covered)?;
            while let Some(frame) = scan.next() {
                self.apply(&frame)
                    .map_err(|problem| damaged(&path, frame.lsn, segment.base, problem.to_string()))?;
                if scan.reached().since(self.indexed) >= REPLAY_STEP_BYTES {
                    self.index_to(scan.reached())?;
                }
            }
            end = scan.reached();
            if scan.has_rest() {
                if segment.base != newest || scan.rest_was_durable() {
                    let problem = "a frame is damaged and good ones follow it".to_owned();
                    return Err(damaged(&path, end, segment.base, problem));
                }
                cut(&path, end.since(segment.base))?;
            }
        }
        Ok(end)
    }

    fn index_to(&mut self, through: Lsn) -> Result<(), OpenError> {
        self.indexed = through;
        self.shared
            .index_work(std::mem::take(&mut self.work), through)
            .map_err(|error| OpenError::index(&error))
    }

    fn apply(&mut self, frame: &Frame) -> Result<(), ApplyError> {
        match Change::read(frame.kind, &frame.payload)? {
            Change::Open { .. } => {}
            Change::Create(create) => self.apply_create(create, frame)?,
            Change::Append(append) => {
                let Some((pin, mut stored)) = self.known(append.id, frame.lsn)? else { return Ok(()) };
                let count = (append.entries.len() as u64).saturating_sub(1);
                let last = Seq::new(append.first.get().saturating_add(count));
                self.retain(&pin, append.first, &append.entries);
                apply_append(&mut stored, &append, last, frame.lsn);
                self.show(&pin, stored, append.first, &append.entries, frame);
            }
            Change::Purge(id) => {
                let Some((pin, mut stored)) = self.known(id, frame.lsn)? else {
                    self.orphans.remove(&id);
                    return Ok(());
                };
                stored.head.frontier.gone = true;
                stored.changed_in = frame.lsn;
                show(self.shared, &pin, stored, None, &mut self.work);
            }
            Change::Record { key, value } => {
                let newer =
                    self.shared.index.record(&key)?.is_some_and(|record| record.version.0 >= frame.lsn.0);
                if !newer {
                    // Copies, so that the memory of a whole segment does not stay for a few bytes.
                    let (key, value) = (key.to_vec().into(), value.map(|value| value.to_vec().into()));
                    self.shared.set_record(bytes::Bytes::clone(&key), Version(frame.lsn.0), value);
                    self.work.records.push(key);
                }
            }
        }
        Ok(())
    }

    fn apply_create(&mut self, create: Create, frame: &Frame) -> Result<(), ApplyError> {
        if self.shared.pin(create.id)?.is_some_and(|pin| pin.state().committed.is_some()) {
            return Ok(());
        }
        let pin = self.shared.pin_new(create.id).map_err(|_| Malformed("a log made twice"))?;
        let count = (create.entries.len() as u64).saturating_sub(1);
        self.retain(&pin, Seq::FIRST, &create.entries);
        let (retained_entries, retained_bytes) = retained(&pin.state());
        let head = Head {
            owner: create.owner,
            created_at: create.created_at,
            frontier: Frontier {
                committed: Seq::new(count),
                watermark: create.watermark,
                closed: false,
                gone: false,
            },
            status: create.status,
            epoch: create.epoch,
            recovered_through: None,
            generation: 0,
            compacts_at: None,
            expires_at: None,
            retained_entries,
            retained_bytes,
        };
        let has_blobs = create.document.is_blob() || create.entries.iter().any(Payload::is_blob);
        let created_in = (frame.lsn, frame.len() as u64);
        let stored = Stored { head, created_in, changed_in: frame.lsn, has_blobs };
        self.show(&pin, stored, Seq::FIRST, &create.entries, frame);
        Ok(())
    }

    /// The log that a frame changes, unless the index has that change already or nothing is known of the log.
    fn known(&mut self, id: LogId, lsn: Lsn) -> Result<Option<(Pin, Stored)>, IndexError> {
        let pin = self.shared.pin(id)?;
        let stored = pin.as_ref().and_then(|pin| pin.state().committed.clone());
        match (pin, stored) {
            (Some(pin), Some(stored)) => Ok((stored.changed_in < lsn).then_some((pin, stored))),
            _ => {
                self.orphans.insert(id);
                Ok(None)
            }
        }
    }

    fn retain(&self, pin: &Pin, first: Seq, entries: &[Payload]) {
        let caps = self.shared.options.caps;
        let mut state = pin.state();
        for (seq, entry) in (first.get()..).map(Seq::new).zip(entries) {
            state.retained.push(&caps, seq, 1, entry.len());
        }
        let _ = state.retained.evict(&caps);
    }

    fn show(&mut self, pin: &Pin, mut stored: Stored, first: Seq, entries: &[Payload], frame: &Frame) {
        let extent = extent_of(first, entries, frame.lsn, frame.len() as u64);
        (stored.head.retained_entries, stored.head.retained_bytes) = retained(&pin.state());
        // No entries for the tail: they would hold the whole segment in memory.
        show(self.shared, pin, stored, Some((extent, Vec::new())), &mut self.work);
    }
}

fn retained(state: &LogState) -> (u64, u64) {
    (state.retained.entries(), state.retained.bytes())
}

#[derive(Debug, thiserror::Error)]
enum ApplyError {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    Index(#[from] IndexError),
}

fn damaged(path: &Path, lsn: Lsn, base: Lsn, problem: String) -> OpenError {
    OpenError::Damaged { path: path.to_owned(), position: lsn.since(base), problem }
}

/// Cuts off what a crash left half-written.
fn cut(path: &Path, length: u64) -> Result<(), OpenError> {
    tracing::warn!(path = %path.display(), length, "a torn write at the end of the log is cut off");
    let file = OpenOptions::new().write(true).open(path).map_err(OpenError::io("open", path))?;
    file.set_len(length).and_then(|()| file.sync_all()).map_err(OpenError::io("cut", path))
}

/// Writes down that a new epoch begins, and makes the writer that goes on from there.
fn begin_epoch(shared: Arc<Shared>, end: Lsn) -> Result<Unlocked, OpenError> {
    let dir = shared.segments.dir().to_owned();
    let opened = || -> io::Result<(Lsn, Arc<File>, Lsn)> {
        let (base, file) = shared.segments.file_of(end)?;
        let end = Lsn(end.0.max(base.0.saturating_add(segment::HEADER_BYTES)));
        let change = Change::Open { epoch: shared.epoch, durability: shared.options.durability };
        let mut bytes = Vec::new();
        let begun = frame::begin(&mut bytes);
        change.put(&mut bytes);
        let _ = frame::finish(&mut bytes, begun, change.kind(), end, end);
        std::os::unix::fs::FileExt::write_all_at(&*file, &bytes, end.since(base))?;
        file.sync_data()?;
        Ok((base, file, end.plus(bytes.len())))
    };
    let (base, file, end) = opened().map_err(OpenError::io("write to the log in", &dir))?;
    let writer = Writer::new(Arc::clone(&shared), file, base, end);
    Ok(Unlocked { shared, writer })
}
