//! Segment files: the log as a whole, cut into files of some 64 MiB.
//!
//! It owns their names, headers and order, and reading frames back by position. It must never know what a frame says.
//!
//! A file is named after the LSN of its first byte, in 20 digits. It begins with 32 bytes: `TIDEMARK`, the version of the format,
//! the LSN again, and a CRC32C over these. Frames follow without gaps.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::OpenError;
use super::frame::{self, Frame, Lsn};

/// A segment takes no further group when it is this long, in bytes.
pub(crate) const SEGMENT_BYTES: u64 = 64 << 20;

/// The length of a segment's header, in bytes.
pub(crate) const HEADER_BYTES: u64 = 32;

/// The version of the format that this code reads and writes.
const FORMAT_VERSION: u32 = 2;

const MAGIC: &[u8; 8] = b"TIDEMARK";

/// How many files are kept open for reading.
const MAX_OPEN_FILES: usize = 256;

fn file_name(base: Lsn) -> String {
    format!("{:020}.log", base.0)
}

fn header(base: Lsn) -> [u8; HEADER_BYTES as usize] {
    let mut out = [0; HEADER_BYTES as usize];
    let mut fields = Vec::with_capacity(HEADER_BYTES as usize);
    fields.extend_from_slice(MAGIC);
    fields.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    fields.extend_from_slice(&[0; 4]);
    fields.extend_from_slice(&base.0.to_le_bytes());
    fields.extend_from_slice(&crc32c::crc32c(&fields).to_le_bytes());
    for (to, from) in out.iter_mut().zip(fields) {
        *to = from;
    }
    out
}

/// Makes the segment that begins at `base`, durable with its name.
pub(crate) fn create(dir: &Path, base: Lsn) -> io::Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(dir.join(file_name(base)))?;
    file.write_all_at(&header(base), 0)?;
    file.sync_data()?;
    File::open(dir)?.sync_all()?;
    Ok(file)
}

/// All segments of a directory, oldest first.
#[derive(Debug)]
pub(crate) struct Segments {
    dir: PathBuf,
    bases: Mutex<BTreeMap<Lsn, Option<Arc<File>>>>,
}

/// A file of the log, as found at the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) base: Lsn,
    pub(crate) length: u64,
}

/// Lists the segments of `dir` and checks that each begins where the one before it ends.
///
/// A last file that is too short to hold its header was being made when the process died; it is removed.
pub(crate) fn list(dir: &Path) -> Result<Vec<Found>, OpenError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(OpenError::io("list", dir))? {
        let entry = entry.map_err(OpenError::io("list", dir))?;
        let name = entry.file_name();
        let base =
            name.to_str().and_then(|name| name.strip_suffix(".log")).and_then(|digits| digits.parse().ok());
        let Some(base) = base else { continue };
        let length = entry.metadata().map_err(OpenError::io("read the size of", &entry.path()))?.len();
        found.push(Found { base: Lsn(base), length });
    }
    found.sort_unstable_by_key(|found| found.base);
    if let Some(last) = found.last().copied()
        && last.length <= HEADER_BYTES
        && !header_is_good(dir, last.base)?
    {
        let path = dir.join(file_name(last.base));
        fs::remove_file(&path).map_err(OpenError::io("remove", &path))?;
        found.pop();
    }
    for (this, next) in found.iter().zip(found.iter().skip(1)) {
        let end = this.base.plus(usize::try_from(this.length).unwrap_or(usize::MAX));
        if end != next.base {
            let path = dir.join(file_name(next.base));
            let problem =
                format!("the segment before it ends at {end}; a segment is missing or has been cut");
            return Err(OpenError::Damaged { path, position: 0, problem });
        }
    }
    for segment in &found {
        if !header_is_good(dir, segment.base)? {
            let path = dir.join(file_name(segment.base));
            let problem = "its header is damaged, or of a version this program does not know".to_owned();
            return Err(OpenError::Damaged { path, position: 0, problem });
        }
    }
    Ok(found)
}

fn header_is_good(dir: &Path, base: Lsn) -> Result<bool, OpenError> {
    let path = dir.join(file_name(base));
    let file = File::open(&path).map_err(OpenError::io("open", &path))?;
    let mut bytes = [0; HEADER_BYTES as usize];
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => Ok(bytes == header(base)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(OpenError::io("read", &path)(error)),
    }
}

impl Segments {
    pub(crate) fn new(dir: PathBuf, bases: impl IntoIterator<Item = Lsn>) -> Self {
        Self { dir, bases: Mutex::new(bases.into_iter().map(|base| (base, None)).collect()) }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn path(&self, base: Lsn) -> PathBuf {
        self.dir.join(file_name(base))
    }

    /// Where the oldest segment begins.
    pub(crate) fn first(&self) -> Option<Lsn> {
        self.lock().keys().next().copied()
    }

    /// Where the segment begins that holds `lsn`.
    pub(crate) fn base_of(&self, lsn: Lsn) -> Option<Lsn> {
        self.lock().range(..=lsn).next_back().map(|(base, _)| *base)
    }

    /// Makes a new last segment.
    pub(crate) fn add(&self, base: Lsn) -> io::Result<Arc<File>> {
        let file = Arc::new(create(&self.dir, base)?);
        self.lock().insert(base, Some(Arc::clone(&file)));
        Ok(file)
    }

    /// The frame of `length` bytes at `lsn`.
    pub(crate) fn read(&self, lsn: Lsn, length: usize) -> io::Result<Frame> {
        let (base, file) = self.file_of(lsn)?;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, lsn.since(base))?;
        frame::decode(&bytes.into(), lsn).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("the frame at {lsn} is damaged"))
        })
    }

    /// The segment that holds `lsn`, opened.
    pub(crate) fn file_of(&self, lsn: Lsn) -> io::Result<(Lsn, Arc<File>)> {
        let mut bases = self.lock();
        let opened = bases.values().filter(|file| file.is_some()).count();
        let (base, file) = bases
            .range_mut(..=lsn)
            .next_back()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no segment holds {lsn}")))?;
        let base = *base;
        if let Some(file) = file {
            return Ok((base, Arc::clone(file)));
        }
        let opened_now =
            Arc::new(OpenOptions::new().read(true).write(true).open(self.dir.join(file_name(base)))?);
        *file = Some(Arc::clone(&opened_now));
        if opened >= MAX_OPEN_FILES {
            Self::close_one(&mut bases, base);
        }
        Ok((base, opened_now))
    }

    /// Makes what was written to the newest segment durable; the older ones were synced before it was begun.
    pub(crate) fn sync_newest(&self) -> io::Result<()> {
        self.file_of(Lsn(u64::MAX))?.1.sync_data()
    }

    /// Closes the oldest opened file but `keep`: readers of old responses are rare.
    fn close_one(bases: &mut BTreeMap<Lsn, Option<Arc<File>>>, keep: Lsn) {
        let oldest = bases.iter_mut().find(|(base, file)| **base != keep && file.is_some());
        if let Some((_, file)) = oldest {
            *file = None;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Lsn, Option<Arc<File>>>> {
        self.bases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Goes through the frames of one segment.
#[derive(Debug)]
pub(crate) struct Scan {
    /// The bytes not gone through yet.
    rest: Bytes,
    /// Where they begin in the log.
    reached: Lsn,
}

impl Scan {
    /// Reads the segment that begins at `base` from `from` on, or as a whole if that lies before it.
    pub(crate) fn open(segments: &Segments, base: Lsn, from: Lsn) -> Result<Self, OpenError> {
        let path = segments.path(base);
        let offset = from.since(base).max(HEADER_BYTES);
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(offset))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let rest = read().map_err(OpenError::io("read", &path))?.into();
        Ok(Self { rest, reached: Lsn(base.0.saturating_add(offset)) })
    }

    /// Where the next frame begins.
    pub(crate) fn reached(&self) -> Lsn {
        self.reached
    }

    /// Whether there are bytes after the last good frame.
    pub(crate) fn has_rest(&self) -> bool {
        !self.rest.is_empty()
    }

    /// How many bytes there are after the last good frame.
    pub(crate) fn rest(&self) -> u64 {
        self.rest.len() as u64
    }

    /// Whether a good frame further on says that what lies here was durable: then it is damage, not a torn tail.
    pub(crate) fn rest_was_durable(&self) -> bool {
        self.frames_further_on().any(|(_, frame)| frame.durable > self.reached)
    }

    /// Goes on at the next good frame; returns how many bytes were passed over, or `None` if no good one follows.
    pub(crate) fn skip_damage(&mut self) -> Option<u64> {
        let (at, _) = self.frames_further_on().next()?;
        self.rest = self.rest.split_off(at);
        self.reached = self.reached.plus(at);
        Some(at as u64)
    }

    /// Good frames after a bad one, and how far from here they begin.
    fn frames_further_on(&self) -> impl Iterator<Item = (usize, Frame)> {
        (1..self.rest.len().saturating_sub(frame::HEADER_BYTES - 1)).filter_map(|at| {
            let lsn = self.reached.plus(at);
            // The frame must say its own position: eight bytes to compare before anything is summed.
            let says = self.rest.get(at + 8..at + 16) == Some(&lsn.0.to_le_bytes()[..]);
            if says { Some((at, frame::decode(&self.rest.slice(at..), lsn)?)) } else { None }
        })
    }
}

impl Iterator for Scan {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        let frame = frame::decode(&self.rest, self.reached)?;
        self.rest = self.rest.split_off(frame.len());
        self.reached = self.reached.plus(frame.len());
        Some(frame)
    }
}
