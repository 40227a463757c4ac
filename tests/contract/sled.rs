//! How sled may be used (D-38): one version, and none of the calls that lose data or memory.

use crate::tree::{files, read};

/// Calls of sled that the measurements of the design rule out.
const RULED_OUT: [&str; 4] = [".flush_async(", ".watch_prefix(", ".apply_batch(", ".transaction("];

#[test]
fn sled_is_pinned_and_the_calls_that_are_ruled_out_are_not_made() {
    assert!(read("Cargo.toml").contains("\nsled = \"=0.34.7\"\n"), "the version is not pinned");
    let mut users = Vec::new();
    for path in files("", "rs").into_iter().filter(|path| !path.starts_with("tests/contract")) {
        let source = read(&path);
        for call in RULED_OUT {
            assert!(!source.contains(call), "{} calls sled's {call}…)", path.display());
        }
        if source.contains("sled::") {
            users.push(path.display().to_string());
        }
    }
    assert!(users.iter().all(|user| user.starts_with("server/store/src/embedded/")), "{users:?}");
    assert!(!users.is_empty());
}
