//! The tip of the log: the end of the newest segment, where the writer adds to it.
//!
//! It owns what makes a group durable at little cost. A file system commits its journal when a sync follows a write that made the
//! file longer, and has only the data to sync when the write went over blocks that were there. So a small group that reaches beyond
//! the end of the file takes zeros along, which the groups after it are written over. Zeros are no frame: to whoever reads the log
//! it ends where they begin. A segment that takes no more frames loses them.

use std::io;
use std::sync::Arc;

use super::disk::File;
use super::frame::Lsn;

/// How many zeros a group takes along, in bytes: some hundred lone events.
const AHEAD_BYTES: u64 = 256 << 10;

/// A group of more bytes takes none: the journal costs it little in proportion, and the zeros much.
const MAX_SMALL_BYTES: u64 = AHEAD_BYTES / 4;

/// Where the log ends, and the file in which it goes on.
#[derive(Debug)]
pub(crate) struct Tip {
    file: Arc<File>,
    base: Lsn,
    end: Lsn,
    /// The length of the file, zeros included.
    file_bytes: u64,
    /// The length at which the segment takes no more groups.
    full_bytes: u64,
}

impl Tip {
    /// Continues the segment `file`, which begins at `base` and whose frames end at `end`.
    pub(crate) fn new(file: Arc<File>, base: Lsn, end: Lsn, full_bytes: u64) -> io::Result<Self> {
        let file_bytes = file.length()?;
        Ok(Self { file, base, end, file_bytes, full_bytes })
    }

    pub(crate) fn base(&self) -> Lsn {
        self.base
    }

    pub(crate) fn end(&self) -> Lsn {
        self.end
    }

    pub(crate) fn is_full(&self) -> bool {
        self.length() >= self.full_bytes
    }

    fn length(&self) -> u64 {
        self.end.since(self.base)
    }

    /// Adds a group, and makes it durable if `sync` says so. `group` is empty afterwards.
    pub(crate) fn write(&mut self, group: &mut Vec<u8>, sync: bool) -> io::Result<()> {
        let (at, length) = (self.length(), group.len());
        let end = at.saturating_add(length as u64);
        if sync && end > self.file_bytes && length as u64 <= MAX_SMALL_BYTES {
            let ahead = AHEAD_BYTES.min(self.full_bytes.saturating_sub(end));
            group.resize(length.saturating_add(usize::try_from(ahead).unwrap_or(0)), 0);
        }
        self.file.write_all_at(group, at)?;
        if sync {
            self.file.sync_data()?;
        }
        self.file_bytes = self.file_bytes.max(at.saturating_add(group.len() as u64));
        self.end = self.end.plus(length);
        group.clear();
        Ok(())
    }

    /// Takes off what was never written over, and makes the segment durable as it is.
    pub(crate) fn seal(&mut self) -> io::Result<()> {
        if self.file_bytes > self.length() {
            self.file.set_len(self.length())?;
            self.file_bytes = self.length();
        }
        self.file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: u64 = 1 << 20;

    fn tip(full_bytes: u64) -> (Tip, Arc<File>) {
        // It is open: its name may go.
        let dir = tempfile::tempdir().unwrap();
        let file = Arc::new(File::create(&dir.path().join("log")).unwrap());
        (Tip::new(Arc::clone(&file), Lsn(100), Lsn(100), full_bytes).unwrap(), file)
    }

    fn bytes(file: &File) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(file.length().unwrap()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    #[test]
    fn a_small_group_takes_zeros_along_for_the_next_ones_to_write_over() {
        let (mut tip, file) = tip(FULL);
        tip.write(&mut b"one".to_vec(), true).unwrap();
        assert_eq!((tip.end(), file.length().unwrap()), (Lsn(103), 3 + AHEAD_BYTES));
        tip.write(&mut b"two".to_vec(), true).unwrap();
        assert_eq!((tip.end(), file.length().unwrap()), (Lsn(106), 3 + AHEAD_BYTES));
        let written = bytes(&file);
        assert_eq!(written[..6], *b"onetwo");
        assert!(written[6..].iter().all(|byte| *byte == 0));
        tip.seal().unwrap();
        assert_eq!(bytes(&file), b"onetwo");
    }

    #[test]
    fn a_large_group_and_one_that_is_not_synced_take_none() {
        let (mut tip, file) = tip(FULL);
        tip.write(&mut b"one".to_vec(), false).unwrap();
        assert_eq!(bytes(&file), b"one");
        tip.write(&mut vec![7; 64 << 10], true).unwrap();
        tip.write(&mut b"more".to_vec(), false).unwrap();
        tip.write(&mut vec![7; 65 << 10], true).unwrap();
        assert_eq!(file.length().unwrap(), 3 + AHEAD_BYTES.max(129 << 10) + (64 << 10));
    }

    #[test]
    fn a_segment_is_never_filled_beyond_its_length() {
        let (mut tip, file) = tip(10);
        tip.write(&mut b"seven..".to_vec(), true).unwrap();
        assert_eq!((tip.is_full(), file.length().unwrap()), (false, 10));
        tip.write(&mut b"seven..".to_vec(), true).unwrap();
        assert_eq!((tip.is_full(), file.length().unwrap()), (true, 14));
    }

    #[test]
    fn what_was_filled_before_is_used_and_a_seal_takes_it_off() {
        let (mut first, file) = tip(FULL);
        first.write(&mut b"one".to_vec(), true).unwrap();
        let length = file.length().unwrap();
        let mut again = Tip::new(Arc::clone(&file), Lsn(100), first.end(), FULL).unwrap();
        again.write(&mut b"two".to_vec(), true).unwrap();
        assert_eq!(file.length().unwrap(), length);
        again.seal().unwrap();
        assert_eq!(bytes(&file), b"onetwo");
    }
}
