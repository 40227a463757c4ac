//! Segment files: the log as a whole, cut into files of some 64 MiB.
//!
//! It owns their names, headers and order, and reading frames back by position. It must never know what a frame says.
//!
//! A file is named after the LSN of its first byte, in 20 digits. It begins with 32 bytes: `TIDEMARK`, the version of the format,
//! the LSN again, and a CRC32C over these. Frames follow without gaps; the newest one may go on with zeros ([`tip`](super::tip)).
//! Where segments have left the disk a [`stub`] stands for them, but for the oldest ones: so that a file that is missing is found
//! out.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::OpenError;
use super::disk::{self, File};
use super::frame::{self, Frame, Lsn};
use super::stub;

/// The length of a segment's header, in bytes.
pub(crate) const HEADER_BYTES: u64 = 32;

/// The version of the format that this code reads and writes.
pub(crate) const FORMAT_VERSION: u32 = 2;

pub(crate) const MAGIC: &[u8; 8] = b"TIDEMARK";

/// How many files are kept open for reading.
const MAX_OPEN_FILES: usize = 256;

fn file_name(base: Lsn) -> String {
    format!("{:020}.log", base.0)
}

/// The file in `dir` of the segment that begins at `base`.
pub(crate) fn path(dir: &Path, base: Lsn) -> PathBuf {
    dir.join(file_name(base))
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
    let file = File::create(&path(dir, base))?;
    file.write_all_at(&header(base), 0)?;
    file.sync_data()?;
    disk::sync_dir(dir)?;
    Ok(file)
}

/// All segments of a directory, oldest first.
#[derive(Debug)]
pub(crate) struct Segments {
    dir: PathBuf,
    segments: Mutex<BTreeMap<Lsn, Known>>,
}

/// A segment that is known.
#[derive(Debug, Default)]
struct Known {
    /// Where it ends; absent for the newest one.
    end: Option<Lsn>,
    is_stub: bool,
    file: Option<Arc<File>>,
}

/// A file of the log, as found at the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) base: Lsn,
    /// Where the part of the log ends that it stands for.
    pub(crate) end: Lsn,
    pub(crate) is_stub: bool,
}

/// A segment that takes no more frames.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sealed {
    pub(crate) base: Lsn,
    pub(crate) end: Lsn,
}

impl Sealed {
    pub(crate) fn holds(&self, lsn: Lsn) -> bool {
        (self.base..self.end).contains(&lsn)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.end.since(self.base)
    }
}

/// Lists the segments of `dir` and checks that each begins where the one before it ends.
///
/// A last file that is too short to hold its header was being made when the process died; it is removed. So is what a stub stands
/// for, and a stub that was not finished.
pub(crate) fn list(dir: &Path) -> Result<Vec<Found>, OpenError> {
    let mut files = files(dir)?;
    if let Some((base, length)) = files.last().copied()
        && length <= HEADER_BYTES
        && header_of(dir, base, length)?.is_none()
    {
        remove(&path(dir, base))?;
        files.pop();
    }
    let mut found: Vec<Found> = Vec::new();
    for (base, length) in files {
        let path = path(dir, base);
        let damaged = |problem| OpenError::Damaged { path: path.clone(), position: 0, problem };
        let Some(segment) = header_of(dir, base, length)? else {
            return Err(match other_version(&path)? {
                Some(found) => OpenError::OtherVersion { path: path.clone(), found, known: FORMAT_VERSION },
                None => damaged("its header is damaged".to_owned()),
            });
        };
        match found.last() {
            Some(before) if before.is_stub && segment.end <= before.end => {
                remove(&path)?;
                continue;
            }
            Some(before) if before.end != base => {
                let end = before.end;
                return Err(damaged(format!(
                    "the segment before it ends at {end}; a segment is missing or has been cut"
                )));
            }
            _ => found.push(segment),
        }
    }
    if let Some(newest) = found.last_mut().filter(|newest| !newest.is_stub) {
        newest.end = end_of_newest(&dir.join(file_name(newest.base)), *newest)?;
    }
    Ok(found)
}

/// Where the newest segment ends: before the zeros that follow its frames if it was not closed.
fn end_of_newest(path: &Path, newest: Found) -> Result<Lsn, OpenError> {
    let mut last = [0];
    let read = File::open(path)
        .and_then(|file| file.read_exact_at(&mut last, newest.end.since(newest.base).saturating_sub(1)));
    read.map_err(OpenError::io("read", path))?;
    if last != [0] {
        return Ok(newest.end);
    }
    let mut scan = Scan::of(path, newest.base, newest.base)?;
    scan.by_ref().for_each(drop);
    Ok(Lsn(scan.reached().0.saturating_add(scan.rest())))
}

/// The files that are named like segments, with their lengths, in order. What was not finished is removed.
fn files(dir: &Path) -> Result<Vec<(Lsn, u64)>, OpenError> {
    let mut files = Vec::new();
    for (path, length) in disk::list(dir).map_err(OpenError::io("list", dir))? {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if name.ends_with(stub::UNFINISHED) {
            remove(&path)?;
        } else if let Some(base) = name.strip_suffix(".log").and_then(|digits| digits.parse().ok()) {
            files.push((Lsn(base), length));
        }
    }
    files.sort_unstable();
    Ok(files)
}

fn remove(path: &Path) -> Result<(), OpenError> {
    disk::remove_file(path).map_err(OpenError::io("remove", path))
}

/// What the header of a file says, or `None` if that is not good.
fn header_of(dir: &Path, base: Lsn, length: u64) -> Result<Option<Found>, OpenError> {
    let path = path(dir, base);
    let bytes = disk::read(&path, 0, stub::HEADER_BYTES).map_err(OpenError::io("read", &path))?;
    if bytes.starts_with(&header(base)) {
        return Ok(Some(Found { base, end: Lsn(base.0.saturating_add(length)), is_stub: false }));
    }
    Ok(stub::end_of(&bytes, base).map(|end| Found { base, end, is_stub: true }))
}

/// The version of the format if the header of a file is whole, but of another version.
fn other_version(path: &Path) -> Result<Option<u32>, OpenError> {
    let header = disk::read(path, 0, HEADER_BYTES).map_err(OpenError::io("read", path))?;
    let sum = header
        .get(24..28)
        .zip(header.get(..24))
        .map(|(sum, fields)| sum == crc32c::crc32c(fields).to_le_bytes());
    let version = header.get(8..12).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    let is_ours = header.starts_with(MAGIC) && sum == Some(true);
    Ok(version.filter(|version| is_ours && *version != FORMAT_VERSION))
}

impl Segments {
    pub(crate) fn new(dir: PathBuf, found: &[Found]) -> Self {
        let known = |found: &Found| Known { end: Some(found.end), is_stub: found.is_stub, file: None };
        let mut segments: BTreeMap<Lsn, Known> =
            found.iter().map(|found| (found.base, known(found))).collect();
        if let Some(mut newest) = segments.last_entry() {
            newest.get_mut().end = None;
        }
        Self { dir, segments: Mutex::new(segments) }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn path(&self, base: Lsn) -> PathBuf {
        path(&self.dir, base)
    }

    /// Where the segment begins that holds `lsn`.
    pub(crate) fn base_of(&self, lsn: Lsn) -> Option<Lsn> {
        self.lock().range(..=lsn).next_back().filter(|(_, known)| !known.is_stub).map(|(base, _)| *base)
    }

    /// How many segments there are, and how many bytes they hold if the newest ends at `end`. Stubs do not count.
    pub(crate) fn count(&self, end: Lsn) -> (u64, u64) {
        let segments = self.lock();
        let data = segments.iter().filter(|(_, known)| !known.is_stub);
        data.fold((0, 0), |(count, bytes), (base, known)| {
            (count + 1, bytes + known.end.unwrap_or(end).since(*base))
        })
    }

    /// Where the newest segment begins.
    pub(crate) fn newest(&self) -> Option<Lsn> {
        self.lock().last_key_value().map(|(base, _)| *base)
    }

    /// The segments that take no more frames, oldest first.
    pub(crate) fn sealed(&self) -> Vec<Sealed> {
        self.list(false)
    }

    /// What stands for segments that have left the disk, oldest first.
    pub(crate) fn stubs(&self) -> Vec<Sealed> {
        self.list(true)
    }

    fn list(&self, is_stub: bool) -> Vec<Sealed> {
        let segments = self.lock();
        let known = segments.iter().filter(|(_, known)| known.is_stub == is_stub);
        known.filter_map(|(base, known)| Some(Sealed { base: *base, end: known.end? })).collect()
    }

    /// Whether a part of the log between these positions lies in segments that are there, the one at `but` aside.
    pub(crate) fn holds_any(&self, from: Lsn, to: Lsn, but: Lsn) -> bool {
        let segments = self.lock();
        let is_other = |base: &Lsn, known: &Known| !known.is_stub && *base != but;
        let mut before = segments.range(..to).rev().filter(|(base, known)| is_other(base, known));
        before.next().is_some_and(|(_, known)| known.end.is_none_or(|end| end > from))
    }

    /// Makes a new last segment.
    pub(crate) fn add(&self, base: Lsn) -> io::Result<Arc<File>> {
        let file = Arc::new(create(&self.dir, base)?);
        let mut segments = self.lock();
        if let Some(mut newest) = segments.last_entry() {
            newest.get_mut().end = Some(base);
        }
        segments.insert(base, Known { end: None, is_stub: false, file: Some(Arc::clone(&file)) });
        Ok(file)
    }

    /// Lets a stub that holds these frames stand for `gone`, and for the stubs that it takes in.
    pub(crate) fn replace(&self, gone: Sealed, taken_in: &[Sealed], tombstones: &[Frame]) -> io::Result<()> {
        stub::write(&self.dir, &self.path(gone.base), gone, tombstones)?;
        {
            let mut segments = self.lock();
            for stub in taken_in {
                segments.remove(&stub.base);
            }
            segments.insert(gone.base, Known { end: Some(gone.end), is_stub: true, file: None });
        }
        for stub in taken_in.iter().filter(|stub| stub.base != gone.base) {
            disk::remove_file(&self.path(stub.base))?;
        }
        disk::sync_dir(&self.dir)
    }

    /// Takes the oldest segments or stubs off the disk: all before `end`, oldest first.
    pub(crate) fn remove_before(&self, end: Lsn) -> io::Result<()> {
        loop {
            let oldest = self.lock().first_key_value().map(|(base, known)| (*base, known.end));
            let Some((base, Some(to))) = oldest else { break };
            if to > end {
                break;
            }
            disk::remove_file(&self.path(base))?;
            // Were a later one gone before this one, the log would have a hole.
            disk::sync_dir(&self.dir)?;
            self.lock().remove(&base);
        }
        Ok(())
    }

    /// The frame of `length` bytes at `lsn`. An error of kind `NotFound` says that its segment has left the disk.
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
        let mut segments = self.lock();
        let opened = segments.values().filter(|known| known.file.is_some()).count();
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no segment holds {lsn}"));
        let found = segments.range_mut(..=lsn).next_back().filter(|(_, known)| !known.is_stub);
        let (base, known) = found.ok_or_else(missing)?;
        let base = *base;
        if let Some(file) = &known.file {
            return Ok((base, Arc::clone(file)));
        }
        let opened_now = Arc::new(File::open(&self.path(base))?);
        known.file = Some(Arc::clone(&opened_now));
        if opened >= MAX_OPEN_FILES {
            Self::close_one(&mut segments, base);
        }
        Ok((base, opened_now))
    }

    /// Makes what was written to the newest segment durable; the older ones were synced before it was begun.
    pub(crate) fn sync_newest(&self) -> io::Result<()> {
        self.file_of(Lsn(u64::MAX))?.1.sync_data()
    }

    /// Closes the oldest opened file but `keep`: readers of old responses are rare.
    fn close_one(segments: &mut BTreeMap<Lsn, Known>, keep: Lsn) {
        let oldest = segments.iter_mut().find(|(base, known)| **base != keep && known.file.is_some());
        if let Some((_, known)) = oldest {
            known.file = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Lsn, Known>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
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
        Self::of(&segments.path(base), base, from)
    }

    fn of(path: &Path, base: Lsn, from: Lsn) -> Result<Self, OpenError> {
        let offset = from.since(base).max(HEADER_BYTES);
        let rest = disk::read(path, offset, u64::MAX).map_err(OpenError::io("read", path))?.into();
        Ok(Self { rest, reached: Lsn(base.0.saturating_add(offset)) })
    }

    /// Where the next frame begins.
    pub(crate) fn reached(&self) -> Lsn {
        self.reached
    }

    /// Whether there is anything after the last good frame but zeros, over which nothing was written yet ([`tip`](super::tip)).
    pub(crate) fn has_rest(&self) -> bool {
        self.rest() > 0
    }

    /// How many bytes there are after the last good frame, without the zeros at the end.
    pub(crate) fn rest(&self) -> u64 {
        self.rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
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
