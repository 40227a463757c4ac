//! A place for the data of a benchmark.

use std::fs;
use std::path::PathBuf;

/// An empty directory on the disk of the build, not in a file system in memory.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target").join(name);
    let _ = fs::remove_dir_all(&dir);
    dir
}
