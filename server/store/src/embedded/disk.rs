//! The files of a store: what is done to the log and to blobs goes through here.
//!
//! It owns every call that reads or changes a file or a directory, so that a test can let any of them fail, one after the other
//! ([`faults`]); in a build that is no test it is nothing but these calls. It must never know what a file is for. The index is sled's,
//! and `index.rs` its door.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

#[cfg(test)]
pub(crate) mod faults;

#[cfg(test)]
use faults::Op;

/// A file that is open.
#[derive(Debug)]
pub(crate) struct File {
    inner: fs::File,
    #[cfg(test)]
    path: PathBuf,
}

impl File {
    /// Makes a file that is empty, whatever was there.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        Self::with(path, OpenOptions::new().create(true).truncate(true).read(true).write(true))
    }

    /// Makes a file that is not there.
    pub(crate) fn create_new(path: &Path) -> io::Result<Self> {
        Self::with(path, OpenOptions::new().create_new(true).read(true).write(true))
    }

    /// Opens a file that is there.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::with(path, OpenOptions::new().read(true).write(true))
    }

    fn with(path: &Path, options: &OpenOptions) -> io::Result<Self> {
        #[cfg(test)]
        faults::before(Op::Open, path)?;
        let inner = options.open(path)?;
        #[cfg(test)]
        return Ok(Self { inner, path: path.to_owned() });
        #[cfg(not(test))]
        Ok(Self { inner })
    }

    pub(crate) fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        #[cfg(test)]
        faults::before_write(&self.inner, &self.path, bytes, at)?;
        self.inner.write_all_at(bytes, at)
    }

    pub(crate) fn set_len(&self, length: u64) -> io::Result<()> {
        #[cfg(test)]
        faults::before(Op::Cut, &self.path)?;
        self.inner.set_len(length)
    }

    pub(crate) fn sync_data(&self) -> io::Result<()> {
        #[cfg(test)]
        faults::before(Op::Sync, &self.path)?;
        self.inner.sync_data()
    }

    /// Makes the file durable with all that is known of it, its length after a cut too.
    pub(crate) fn sync_all(&self) -> io::Result<()> {
        #[cfg(test)]
        faults::before(Op::Sync, &self.path)?;
        self.inner.sync_all()
    }

    /// Its length in bytes.
    pub(crate) fn length(&self) -> io::Result<u64> {
        #[cfg(test)]
        faults::before(Op::Read, &self.path)?;
        Ok(self.inner.metadata()?.len())
    }

    pub(crate) fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        #[cfg(test)]
        faults::before(Op::Read, &self.path)?;
        self.inner.read_exact_at(bytes, at)
    }
}

/// The bytes of a file from `from` on, at most `limit` of them. A file that gives fewer than it has is an error.
pub(crate) fn read(path: &Path, from: u64, limit: u64) -> io::Result<Vec<u8>> {
    #[cfg(test)]
    faults::before(Op::Read, path)?;
    let mut file = fs::File::open(path)?;
    let expected = file.metadata()?.len().saturating_sub(from).min(limit);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    #[cfg(test)]
    faults::shorten(path, &mut bytes);
    if (bytes.len() as u64) < expected {
        let problem = format!("it gave {} of {expected} bytes", bytes.len());
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, problem));
    }
    Ok(bytes)
}

/// The files and directories in a directory, with their lengths.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    #[cfg(test)]
    faults::before(Op::Read, dir)?;
    let entries = fs::read_dir(dir)?.map(|entry| {
        let entry = entry?;
        Ok((entry.path(), entry.metadata()?.len()))
    });
    entries.collect()
}

/// Makes a directory, and those above it.
pub(crate) fn create_dir_all(dir: &Path) -> io::Result<()> {
    #[cfg(test)]
    faults::before(Op::Open, dir)?;
    fs::create_dir_all(dir)
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    #[cfg(test)]
    faults::before(Op::SyncDir, dir)?;
    fs::File::open(dir)?.sync_all()
}

/// Gives a file another name in its directory, in the place of what has it.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(test)]
    faults::before_rename(from, to)?;
    fs::rename(from, to)
}

pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    faults::before(Op::Remove, path)?;
    fs::remove_file(path)
}

/// Removes a directory with all that is in it. None there is fine.
pub(crate) fn remove_dir_all(dir: &Path) -> io::Result<()> {
    #[cfg(test)]
    faults::before(Op::Remove, dir)?;
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
