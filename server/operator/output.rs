//! Where a command's result goes, and how sizes are spelled in it.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Failure;

/// What is added to the name of a file that is not whole yet.
const PARTIAL: &str = "partial";

/// Who reads a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A person.
    Text,
    /// A program: one JSON object a line.
    Json,
}

/// A result on its way: to stdout, or to a new file that has its name only once it is whole.
#[derive(Debug)]
pub struct Output {
    to: To,
    /// Whether whoever read it has gone: there is nothing left to do.
    abandoned: bool,
}

#[derive(Debug)]
enum To {
    Stdout(BufWriter<io::Stdout>),
    File { file: BufWriter<File>, partial: PathBuf, path: PathBuf },
}

impl Output {
    /// To stdout.
    pub fn stdout() -> Self {
        Self { to: To::Stdout(BufWriter::new(io::stdout())), abandoned: false }
    }

    /// To the file `path`, which must not be there; only its owner may read it.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub fn file(path: &Path) -> Result<Self, Failure> {
        let refused = |source| Failure::Output { name: path.display().to_string(), source };
        if path.exists() {
            return Err(refused(io::Error::new(io::ErrorKind::AlreadyExists, "it is there already")));
        }
        let mut partial = path.as_os_str().to_owned();
        partial.push(".");
        partial.push(PARTIAL);
        let partial = PathBuf::from(partial);
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial);
        let file = BufWriter::new(file.map_err(refused)?);
        Ok(Self { to: To::File { file, partial, path: path.to_owned() }, abandoned: false })
    }

    /// Whether nobody takes more of it.
    pub fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    /// Adds text.
    ///
    /// # Errors
    /// [`Failure::Output`]. That the other end of a pipe is closed is none.
    pub fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.write(|out| out.write_all(text.as_bytes()))
    }

    /// Adds a line of JSON.
    ///
    /// # Errors
    /// [`Failure::Output`]. That the other end of a pipe is closed is none.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        self.write(|out| {
            serde_json::to_writer(&mut *out, value)?;
            out.write_all(b"\n")
        })
    }

    /// Says that all was written: makes a file durable, and gives it its name.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub fn finish(mut self) -> Result<(), Failure> {
        self.write(|out| out.flush())?;
        let To::File { file, partial, path } = &self.to else { return Ok(()) };
        let named = file.get_ref().sync_all().and_then(|()| fs::rename(partial, path));
        named.map_err(|source| Failure::Output { name: path.display().to_string(), source })
    }

    fn write(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
        if self.abandoned {
            return Ok(());
        }
        let (out, name): (&mut dyn Write, _) = match &mut self.to {
            To::Stdout(out) => (out, "to stdout".to_owned()),
            To::File { file, partial, .. } => (file, partial.display().to_string()),
        };
        match write(out) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.abandoned = true;
                Ok(())
            }
            Err(source) => Err(Failure::Output { name, source }),
        }
    }
}

/// A number of bytes as a person reads it: `17B`, `1.5KiB`, `64.0MiB`.
#[derive(Clone, Copy, Debug)]
pub(super) struct About(pub(super) u64);

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match units.into_iter().find(|(unit, _)| self.0 >= *unit) {
            None => write!(f, "{}B", self.0),
            Some((unit, name)) => {
                let tenths = u128::from(self.0) * 10 / u128::from(unit);
                write!(f, "{}.{}{name}", tenths / 10, tenths % 10)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_spelled_for_people() {
        let spelled: Vec<String> = [0, 1023, 1024, 1536, 64 << 20, u64::MAX]
            .into_iter()
            .map(|bytes| About(bytes).to_string())
            .collect();
        assert_eq!(spelled, ["0B", "1023B", "1.0KiB", "1.5KiB", "64.0MiB", "17179869183.9GiB"]);
    }

    #[test]
    fn a_file_has_its_name_once_it_is_whole_and_none_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.jsonl");
        let mut output = Output::file(&path).unwrap();
        output.json(&[1, 2]).unwrap();
        output.text("x").unwrap();
        assert!(!path.exists());
        output.finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "[1,2]\nx");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let refused = Output::file(&path).unwrap_err();
        assert!(refused.to_string().contains("out.jsonl"), "{refused}");
        assert!(Output::file(&dir.path().join("no/such/dir")).is_err());
    }
}
