//! Whether everything that a store holds can be read, and whether its index says what its log says.
//!
//! It reads every frame of the log, then every log that the index knows: its document, the frames that hold its entries, their
//! blobs. What it finds is reported at once, so that a large store needs no more memory than a small one.

use std::fmt;
use std::path::{Path, PathBuf};

use super::against::{Against, Ahead, Sums};
use super::{KnownIndex, Parts};
use crate::embedded::OpenError;
use crate::embedded::blob::Blobs;
use crate::embedded::change::{BlobRef, Change, Durability, Payload};
use crate::embedded::frame::{Frame, Lsn};
use crate::embedded::index::IndexError;
use crate::embedded::log::Stored;
use crate::embedded::read::{Fault, read_extent, read_origin};
use crate::embedded::segment::{Found, Scan};
use crate::embedded::stub;
use crate::types::{LogId, Seq};

/// Something that is wrong with a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file or directory.
    pub path: PathBuf,
    /// Where in the file, in bytes; absent = as a whole.
    pub position: Option<u64>,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: Remedy,
}

/// What an operator can do about a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Make the index anew.
    Rebuild,
    /// Take the data directory from a copy.
    Restore,
    /// Take the data directory from a copy, or give up what the log has lost and make the index anew from what is left.
    RestoreOrRebuild,
    /// The program is older than what wrote the file.
    OtherVersion,
    /// Take one file from a copy, or give up the response that it belongs to.
    RestoreOrDelete,
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rebuild => "run `tidemark store rebuild`",
            Self::Restore => "restore the data directory from a copy",
            Self::RestoreOrRebuild => {
                "restore the data directory from a copy, or give up what is missing with `tidemark store rebuild`"
            }
            Self::OtherVersion => "use the version of the program that wrote it",
            Self::RestoreOrDelete => "restore the file from a copy, or delete the response",
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(position) = self.position {
            write!(f, " at byte {position}")?;
        }
        write!(f, ": {}; {}", self.problem, self.remedy)
    }
}

/// What was gone through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Frames of the log that are whole.
    pub frames: u64,
    /// Bytes at the end of the log that a crash left half-written; the next start cuts them off.
    pub torn_bytes: u64,
    /// Logs that the index knows.
    pub logs: u64,
    /// Entries of these that were found.
    pub entries: u64,
    /// Large payloads that were read.
    pub blobs: u64,
    /// Problems that were reported.
    pub problems: u64,
}

/// Checks the store in `dir`; `report` gets each problem as it is found.
pub(super) fn check(dir: &Path, report: &mut dyn FnMut(Problem)) -> Result<Checked, OpenError> {
    let parts = Parts::open(dir)?;
    // Nothing is written: neither the durability nor the epoch matters.
    let blobs = Blobs::new(parts.layout.blobs(), Durability::Sync, 0);
    let mut check = Check { parts: &parts, blobs, report, checked: Checked::default(), log_is_whole: true };
    let mut against = match &parts.index {
        Ok(known) => Some(Against::new(known)),
        Err(why) => {
            let problem = format!("the index cannot be used ({why}); what it points to was not checked");
            check.problem(parts.layout.index(), None, problem, why.remedy());
            None
        }
    };
    for segment in &parts.found {
        check.segment(*segment, against.as_mut())?;
    }
    if let (Some(against), Ok(known)) = (against, &parts.index) {
        let (missing, ahead) = against.end();
        for missing in missing {
            check.problem(parts.layout.index(), None, missing, Remedy::Rebuild);
        }
        if let Err(error) = check.index(known, &ahead) {
            check.problem(parts.layout.index(), None, error.to_string(), Remedy::Rebuild);
        }
    }
    Ok(check.checked)
}

/// A check under way.
struct Check<'a> {
    parts: &'a Parts,
    blobs: Blobs,
    report: &'a mut dyn FnMut(Problem),
    checked: Checked,
    /// Whether every frame of the log is good: then what cannot be found is the fault of the index.
    log_is_whole: bool,
}

impl Check<'_> {
    fn problem(&mut self, path: PathBuf, position: Option<u64>, problem: String, remedy: Remedy) {
        self.checked.problems += 1;
        (self.report)(Problem { path, position, problem, remedy });
    }

    fn segment(&mut self, segment: Found, mut against: Option<&mut Against<'_>>) -> Result<(), OpenError> {
        let is_newest = self.parts.found.last().is_some_and(|last| last.base == segment.base);
        let path = self.parts.segments.path(segment.base);
        if segment.is_stub {
            self.stub(&path, segment.base, against);
            return Ok(());
        }
        let mut scan = Scan::open(&self.parts.segments, segment.base, Lsn(0))?;
        loop {
            for frame in scan.by_ref() {
                self.frame(&path, segment.base, &frame, against.as_deref_mut());
            }
            if !scan.has_rest() {
                return Ok(());
            }
            if is_newest && !scan.rest_was_durable() {
                self.checked.torn_bytes = scan.rest();
                return Ok(());
            }
            self.log_is_whole = false;
            let (position, rest) = (scan.reached().since(segment.base), scan.rest());
            let skipped = scan.skip_damage();
            let problem = format!("{} bytes are damaged", skipped.unwrap_or(rest));
            self.problem(path.clone(), Some(position), problem, Remedy::Restore);
            if skipped.is_none() {
                return Ok(());
            }
        }
    }

    /// What stands for segments that have left the disk.
    fn stub(&mut self, path: &Path, base: Lsn, mut against: Option<&mut Against<'_>>) {
        match stub::read(path) {
            Ok(frames) => {
                for frame in &frames {
                    self.frame(path, base, frame, against.as_deref_mut());
                }
            }
            Err(error) => {
                self.log_is_whole = false;
                self.problem(path.to_owned(), None, error.to_string(), Remedy::Restore);
            }
        }
    }

    fn frame(&mut self, path: &Path, base: Lsn, frame: &Frame, against: Option<&mut Against<'_>>) {
        self.checked.frames += 1;
        let change = match Change::read(frame.kind, &frame.payload) {
            Ok(change) => change,
            Err(malformed) => {
                self.log_is_whole = false;
                let position = Some(frame.lsn.since(base));
                let problem = format!("not damaged, but not understood either ({malformed})");
                return self.problem(path.to_owned(), position, problem, Remedy::OtherVersion);
            }
        };
        let Some(against) = against else { return };
        let problem = match against.see(frame.lsn, &change) {
            Ok(problem) => problem,
            Err(error) => Some(error.to_string()),
        };
        if let Some(problem) = problem {
            self.problem(self.parts.layout.index(), None, problem, Remedy::Rebuild);
        }
    }

    /// Goes through every log that the index knows.
    fn index(&mut self, known: &KnownIndex, ahead: &Ahead) -> Result<(), IndexError> {
        let mut sums = Sums::default();
        for item in known.index.heads(None) {
            let (id, stored) = item?;
            sums.add(&stored);
            self.checked.logs += 1;
            if ahead.has(id) {
                continue;
            }
            for problem in super::against::finds(&known.index, id, &stored)? {
                self.problem(self.parts.layout.index(), None, problem, Remedy::Rebuild);
            }
            match read_origin(&self.parts.segments, id, &stored) {
                Ok(origin) => self.payload(id, &origin.document),
                Err(fault) => self.fault(id, fault),
            }
            self.entries(known, id, &stored)?;
        }
        let mut wrong = sums.against(&known.index)?;
        wrong.extend(super::against::counts(&known.index, self.checked.logs, ahead)?);
        for problem in wrong {
            self.problem(self.parts.layout.index(), None, problem, Remedy::Rebuild);
        }
        Ok(())
    }

    /// Goes through the entries of a log, of which none may be missing.
    fn entries(&mut self, known: &KnownIndex, id: LogId, stored: &Stored) -> Result<(), IndexError> {
        let frontier = stored.head.frontier;
        let mut next = Seq::after(frontier.watermark);
        for record in known.index.extent_records(id, next) {
            for extent in record? {
                // What lies behind the head was written by an index run that a crash cut short.
                if extent.last < next || extent.first > frontier.committed {
                    continue;
                }
                if extent.first > next {
                    break;
                }
                let entries = match read_extent(&self.parts.segments, id, &extent) {
                    Ok(entries) => entries,
                    Err(fault) => {
                        self.fault(id, fault);
                        Vec::new()
                    }
                };
                for entry in entries.iter().filter(|entry| entry.last >= next) {
                    self.checked.entries += 1;
                    self.payload(id, &entry.payload);
                }
                next = extent.last.next();
            }
        }
        if next <= frontier.committed {
            let problem = format!("it does not say where entry {next} of log {id} lies");
            self.problem(self.parts.layout.index(), None, problem, Remedy::Rebuild);
        }
        Ok(())
    }

    /// Something that a log needs cannot be read from the log files.
    fn fault(&mut self, id: LogId, fault: Fault) {
        let (problem, remedy) = match fault {
            // An index that is made anew would not know of it any more.
            Fault::Missing(problem) => (problem, Remedy::RestoreOrRebuild),
            Fault::Broken(problem) if self.log_is_whole => (problem, Remedy::Rebuild),
            Fault::Broken(problem) => (problem, Remedy::Restore),
        };
        self.problem(
            self.parts.layout.log(),
            None,
            format!("log {id} cannot be read whole: {problem}"),
            remedy,
        );
    }

    fn payload(&mut self, id: LogId, payload: &Payload) {
        let Payload::Blob(blob) = payload else { return };
        match self.blobs.read(id, *blob) {
            Ok(_) => self.checked.blobs += 1,
            Err(error) => self.lost_blob(id, *blob, &error),
        }
    }

    fn lost_blob(&mut self, id: LogId, blob: BlobRef, error: &std::io::Error) {
        let problem = format!("a large payload of log {id} cannot be read: {error}");
        self.problem(self.blobs.path(id, blob), None, problem, Remedy::RestoreOrDelete);
    }
}
