//! A place for the data of a benchmark.

use tempfile::TempDir;

/// A new directory on the disk of the build, not in a file system in memory; its own, so that two runs at once do not take each
/// other's data away. It goes with the value.
pub(crate) fn scratch() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}
