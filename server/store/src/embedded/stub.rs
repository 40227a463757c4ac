//! Stubs: what stands for segments that have left the disk while older ones stay.
//!
//! It owns their format. A stub holds the tombstones of its part of the log that older segments still need: without them, an index
//! that is made anew would find again what was removed. Each frame keeps its LSN.
//!
//! ```text
//!  0  `TIDEMARK`
//!  8  u32  version of the format
//! 12  u32  1: a stub
//! 16  u64  LSN at which its part of the log begins, and after which the file is named
//! 24  u64  LSN at which that ends
//! 32  u32  CRC32C over bytes 0..32
//! 36  u32  zero
//! 40       frames
//! ```

use std::io;
use std::path::Path;

use bytes::Bytes;

use super::OpenError;
use super::disk::{self, File};
use super::frame::{self, Frame, Lsn};
use super::segment::{FORMAT_VERSION, MAGIC, Sealed};

/// The length of a stub's header, in bytes.
pub(crate) const HEADER_BYTES: u64 = 40;

/// How the name of a stub ends that is being written.
pub(crate) const UNFINISHED: &str = ".new";

const KIND_STUB: u32 = 1;

fn header(stands_for: Sealed) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES as usize);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    out.extend_from_slice(&KIND_STUB.to_le_bytes());
    out.extend_from_slice(&stands_for.base.0.to_le_bytes());
    out.extend_from_slice(&stands_for.end.0.to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out
}

/// Where the part of the log ends that a stub stands for; `None` if these bytes do not begin with the header of one at `base`.
pub(crate) fn end_of(bytes: &[u8], base: Lsn) -> Option<Lsn> {
    let end = Lsn(u64::from_le_bytes(bytes.get(24..32)?.try_into().ok()?));
    (end > base && bytes.starts_with(&header(Sealed { base, end }))).then_some(end)
}

/// Writes a stub at `path`, over what is there; durable, but for its name.
pub(crate) fn write(dir: &Path, path: &Path, stands_for: Sealed, frames: &[Frame]) -> io::Result<()> {
    let mut bytes = header(stands_for);
    for frame in frames {
        let begun = frame::begin(&mut bytes);
        bytes.extend_from_slice(&frame.payload);
        let _ = frame::finish(&mut bytes, begun, frame.kind, frame.lsn, frame.durable);
    }
    let beside = dir.join(format!("{:020}{UNFINISHED}", stands_for.base.0));
    let file = File::create(&beside)?;
    file.write_all_at(&bytes, 0)?;
    file.sync_data()?;
    disk::rename(&beside, path)?;
    disk::sync_dir(dir)
}

/// The frames of the stub at `path`.
pub(crate) fn read(path: &Path) -> Result<Vec<Frame>, OpenError> {
    let bytes = Bytes::from(disk::read(path, 0, u64::MAX).map_err(OpenError::io("read", path))?);
    let mut frames = Vec::new();
    let mut at = HEADER_BYTES as usize;
    while at < bytes.len() {
        let Some(frame) = frame::decode_anywhere(&bytes.slice(at..)) else {
            let problem = "a frame is damaged".to_owned();
            return Err(OpenError::Damaged { path: path.to_owned(), position: at as u64, problem });
        };
        at += frame.len();
        frames.push(frame);
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_stub_reads_back_and_a_damaged_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stub");
        let frame =
            |lsn| Frame { lsn: Lsn(lsn), durable: Lsn(lsn - 5), kind: 4, payload: vec![7; 20].into() };
        let stands_for = Sealed { base: Lsn(100), end: Lsn(5000) };
        write(dir.path(), &path, stands_for, &[frame(200), frame(4000)]).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(end_of(&bytes, Lsn(100)), Some(Lsn(5000)));
        assert_eq!(end_of(&bytes, Lsn(101)), None);
        let frames = read(&path).unwrap();
        assert_eq!(frames.iter().map(|frame| frame.lsn.0).collect::<Vec<_>>(), [200, 4000]);
        for at in [10, 26, 33, 50, bytes.len() - 1] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).unwrap();
            assert!(end_of(&damaged, Lsn(100)).is_none() || read(&path).is_err(), "{at}");
        }
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(read(&path).is_err());
    }
}
