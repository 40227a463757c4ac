//! The settings of the room, with their defaults.

use std::time::Duration;

/// How many and how large sessions may be, and how long they are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The most sessions of one owner; absent = no limit. Default 10 000.
    pub max_per_owner: Option<u64>,
    /// Nothing is added to a history that has so many entries; absent = no limit. One addition may go beyond. Default 100 000.
    pub max_items: Option<u64>,
    /// Nothing is added to a history that has so many bytes; absent = no limit. One addition may go beyond. Default 64 MiB.
    pub max_bytes: Option<u64>,
    /// How long a session is kept after something was last added to it; absent = until it is deleted. Default absent.
    pub retention: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_per_owner: Some(10_000),
            max_items: Some(100_000),
            max_bytes: Some(64 << 20),
            retention: None,
        }
    }
}
