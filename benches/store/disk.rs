//! The files of a store, seen from outside.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};

/// Has the system forget what it knows of the files in `dir`, so that reads of them go to the disk.
pub(crate) fn make_cold(dir: &Path) {
    for path in files(dir) {
        let file = File::open(path).unwrap();
        // What is not written yet cannot be forgotten.
        file.sync_all().unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    }
}

/// All files in `dir` and below it.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
