//! Blob files: payloads that are too large for the log.
//!
//! It owns `blobs/`: a directory per log, a file per payload, written and synced before the log refers to it. A file that nothing
//! refers to is harmless and goes with its log.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::change::{BlobRef, Durability, Payload};
use super::disk::{self, File};
use crate::types::LogId;

/// The directory of blobs and the number that the next one gets.
#[derive(Debug)]
pub(crate) struct Blobs {
    dir: PathBuf,
    durability: Durability,
    next: AtomicU64,
}

impl Blobs {
    /// Numbers begin with the epoch, so that none of an earlier process is used again.
    pub(crate) fn new(dir: PathBuf, durability: Durability, epoch: u64) -> Self {
        Self { dir, durability, next: AtomicU64::new(epoch << 32) }
    }

    fn dir_of(&self, id: LogId) -> PathBuf {
        let name = id.to_string();
        let shard = name.get(30..).unwrap_or_default();
        self.dir.join(shard).join(&name)
    }

    /// The file of a blob.
    pub(crate) fn path(&self, id: LogId, blob: BlobRef) -> PathBuf {
        self.dir_of(id).join(blob.number.to_string())
    }

    /// Writes a blob; it is durable, with its name, when this returns.
    pub(crate) fn write(&self, id: LogId, bytes: &Bytes) -> io::Result<Payload> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let dir = self.dir_of(id);
        disk::create_dir_all(&dir)?;
        let file = File::create_new(&dir.join(number.to_string()))?;
        file.write_all_at(bytes, 0)?;
        if self.durability == Durability::Sync {
            file.sync_data()?;
            disk::sync_dir(&dir)?;
            for parent in dir.ancestors().skip(1).take(2) {
                disk::sync_dir(parent)?;
            }
        }
        Ok(Payload::Blob(BlobRef { number, length: bytes.len() as u64, crc: crc32c::crc32c(bytes) }))
    }

    /// Reads a blob back and checks it.
    pub(crate) fn read(&self, id: LogId, blob: BlobRef) -> io::Result<Bytes> {
        let bytes = Bytes::from(disk::read(&self.path(id, blob), 0, u64::MAX)?);
        if bytes.len() as u64 != blob.length || crc32c::crc32c(&bytes) != blob.crc {
            let problem = format!("blob {} of log {id} is damaged", blob.number);
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        Ok(bytes)
    }

    /// Removes one blob. None there is fine.
    pub(crate) fn remove(&self, id: LogId, blob: BlobRef) -> io::Result<()> {
        match disk::remove_file(&self.path(id, blob)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes all blobs of a log. None left is fine.
    pub(crate) fn remove_all(&self, id: LogId) -> io::Result<()> {
        disk::remove_dir_all(&self.dir_of(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_reads_back_until_it_is_damaged_or_removed() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(dir.path().to_owned(), Durability::Sync, 1);
        let id = LogId::from_bytes([7; 16]);
        let bytes = Bytes::from(vec![42; 100_000]);
        let Payload::Blob(blob) = blobs.write(id, &bytes).unwrap() else { panic!("a blob was written") };
        assert_eq!(blobs.read(id, blob).unwrap(), bytes);
        assert!(blobs.read(id, BlobRef { crc: blob.crc ^ 1, ..blob }).is_err());
        let Payload::Blob(other) = blobs.write(id, &bytes).unwrap() else { panic!("a blob was written") };
        blobs.remove(id, other).unwrap();
        blobs.remove(id, other).unwrap();
        assert!(blobs.read(id, other).is_err());
        assert!(blobs.read(id, blob).is_ok());
        blobs.remove_all(id).unwrap();
        blobs.remove_all(id).unwrap();
        assert_eq!(blobs.read(id, blob).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
