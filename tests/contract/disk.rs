//! The store touches files in one place, so that a test can let any call fail (D-24).

use crate::tree::{files, read};

/// Who may call the file system, and why.
const DOORS: [(&str, &str); 4] = [
    ("disk.rs", "it is the door"),
    ("index.rs", "it syncs the file of sled, and lets tests have that fail too"),
    ("open.rs", "it locks the directory"),
    ("inspect/stats.rs", "it counts files and changes nothing"),
];

#[test]
fn only_the_door_calls_the_file_system() {
    for path in files("server/store/src/embedded", "rs") {
        let source = read(&path);
        let path = path.display().to_string();
        let below = path.strip_prefix("server/store/src/embedded/").unwrap();
        let code = source.split("#[cfg(test)]\nmod tests").next().unwrap();
        let is_test = below.starts_with("tests/") || below.starts_with("disk/");
        let calls = ["std::fs", "fs::File", "OpenOptions"].into_iter().find(|call| code.contains(call));
        let may = is_test || DOORS.iter().any(|(door, _)| *door == below);
        assert!(may || calls.is_none(), "{path} uses {calls:?}: let it go through disk.rs");
    }
}
