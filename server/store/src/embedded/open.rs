//! Opening a store: the lock, the segments, the index, and a new epoch.
//!
//! It decides which index is of use. One that is missing or will not open is made anew from the whole log: its faults cost time,
//! never data (D-37). One that has seen more of the log than there is tells that the end of the log is gone.

use std::fs::{self, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::blob::Blobs;
use super::change::{Change, Durability, KIND_OPEN};
use super::disk;
use super::frame::{self, Lsn};
use super::index::Index;
use super::keys::Covered;
use super::replay::{Replay, from_covered};
use super::segment::{self, Found, Scan, Segments};
use super::shared::Shared;
use super::space::Space;
use super::tip::Tip;
use super::writer::Writer;
use super::{OpenError, Options};

/// A store that was opened and brought up to date; nothing runs yet.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) shared: Arc<Shared>,
    pub(crate) writer: Writer,
    pub(crate) lock: Lock,
}

/// A data directory belongs to this process as long as this is open.
pub(crate) type Lock = fs::File;

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
            disk::create_dir_all(&dir).map_err(OpenError::io("make", &dir))?;
        }
        let above = self.root.canonicalize().map_err(OpenError::io("find", &self.root))?;
        for dir in above.ancestors().take(2) {
            disk::sync_dir(dir).map_err(OpenError::io("sync", dir))?;
        }
        Ok(())
    }

    /// Takes the directory for this process, and says so in the file that it locks.
    pub(crate) fn take(&self) -> Result<Lock, OpenError> {
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
    pub(crate) fn take_existing(&self) -> Result<Lock, OpenError> {
        self.find()?;
        self.take()
    }

    fn find(&self) -> Result<(), OpenError> {
        if self.log().is_dir() { Ok(()) } else { Err(OpenError::NoStore { dir: self.root.clone() }) }
    }
}

/// Whether there is a store in `dir`.
pub(crate) fn find(dir: &Path) -> Result<(), OpenError> {
    Layout::new(dir).find()
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
    let (index, covered) = open_index(&layout, &options, &found)?;
    match replay(&layout, options, index, covered, &found)? {
        Replayed::Done(opened) => Ok(opened.with_lock(lock)),
        Replayed::IndexIsWrong(index) => {
            tracing::warn!("the index does not fit the log; it is made anew");
            drop(index);
            remove_index(&layout)?;
            let (index, covered) = open_index(&layout, &options, &found)?;
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
    found.last().map_or(Lsn(0), |last| last.end)
}

/// From where on nothing of the log has left the disk: what an index may be behind by.
fn whole_from(found: &[Found]) -> Lsn {
    let stubs = found.iter().rev().find(|segment| segment.is_stub).map(|stub| stub.end);
    stubs.or_else(|| found.first().map(|first| first.base)).unwrap_or_default()
}

fn is_empty(found: &[Found]) -> bool {
    found.iter().all(|segment| segment.end.since(segment.base) <= segment::HEADER_BYTES)
}

fn remove_index(layout: &Layout) -> Result<(), OpenError> {
    disk::remove_dir_all(&layout.index()).map_err(OpenError::io("remove", &layout.index()))
}

/// Removes the index of a store that no process has open; the next opening makes it anew.
pub(crate) fn forget_index(dir: &Path) -> Result<(), OpenError> {
    let layout = Layout::new(dir);
    let _lock = layout.take_existing()?;
    remove_index(&layout)
}

/// The index, or an empty one if the one there is of no use.
fn open_index(
    layout: &Layout,
    options: &Options,
    found: &[Found],
) -> Result<(Index, Option<Covered>), OpenError> {
    let (whole, end) = (whole_from(found), log_end(found));
    let existed = layout.index().join("db").exists();
    let opened = Index::open(&layout.index(), options.index_cache_bytes).and_then(|index| {
        let covered = index.covered()?;
        Ok((index, covered))
    });
    let why = match opened {
        Ok((index, Some(covered))) if (whole..=end).contains(&covered.lsn) => {
            check_segments(layout, &index, found)?;
            return Ok((index, Some(covered)));
        }
        Ok((_, Some(covered))) if covered.lsn > end => {
            // The index never has what the log has not: it did not run ahead, the log has lost its end.
            return Err(OpenError::EndMissing { log: layout.log(), end: end.0, covered: covered.lsn.0 });
        }
        Ok((_, Some(_))) => "it is older than segments that have left the disk".to_owned(),
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

/// Refuses a log without a segment in which, as the index says, something lives.
fn check_segments(layout: &Layout, index: &Index, found: &[Found]) -> Result<(), OpenError> {
    let live = index.live().map_err(|error| OpenError::index(&error))?;
    let is_there = |base: Lsn| found.iter().any(|found| found.base == base && !found.is_stub);
    match live.into_iter().find(|(base, bytes)| *bytes > 0 && !is_there(*base)) {
        None => Ok(()),
        Some((base, _)) => Err(OpenError::SegmentMissing { path: segment::path(&layout.log(), base) }),
    }
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
    fn with_lock(self, lock: Lock) -> Opened {
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
    let segments = Segments::new(layout.log(), found);
    let before = newest_opening(&segments, found, known)?;
    let epoch = before.epoch + 1;
    let opened = Covered { lsn: known.lsn, epoch, durability: options.durability };
    let blobs = Blobs::new(layout.blobs(), options.durability, epoch);
    let space = Space::load(&index).map_err(|error| OpenError::index(&error))?;
    let shared = Shared::new(options, opened, before.durability, index, segments, blobs, space);
    let Some(end) = Replay::new(&shared, known.lsn).run(found)? else {
        return Ok(Replayed::IndexIsWrong(Box::new(shared)));
    };
    let writer = begin_epoch(Arc::new(shared), end)?;
    Ok(Replayed::Done(writer))
}

/// The last opening that the log or the index knows of.
fn newest_opening(segments: &Segments, found: &[Found], known: Covered) -> Result<Covered, OpenError> {
    let mut newest = known;
    for segment in from_covered(found, known.lsn).filter(|segment| !segment.is_stub) {
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

/// Writes down that a new epoch begins, and makes the writer that goes on from there.
fn begin_epoch(shared: Arc<Shared>, end: Lsn) -> Result<Unlocked, OpenError> {
    let dir = shared.segments.dir().to_owned();
    let opened = || -> io::Result<Tip> {
        let (base, file) = shared.segments.file_of(end)?;
        let end = Lsn(end.0.max(base.0.saturating_add(segment::HEADER_BYTES)));
        let mut tip = Tip::new(file, base, end, shared.options.segment_bytes)?;
        let change = Change::Open { epoch: shared.epoch, durability: shared.options.durability };
        let mut bytes = Vec::new();
        let begun = frame::begin(&mut bytes);
        change.put(&mut bytes);
        let _ = frame::finish(&mut bytes, begun, change.kind(), end, end);
        let sync = shared.options.durability == Durability::Sync;
        tip.write(&mut bytes, sync)?;
        if !sync {
            tip.seal()?;
        }
        Ok(tip)
    };
    let tip = opened().map_err(OpenError::io("write to the log in", &dir))?;
    let writer = Writer::new(Arc::clone(&shared), tip);
    Ok(Unlocked { shared, writer })
}
