//! The CPU time of this process, by what its threads are for.

use std::fs;

use crate::cpu::cpu_seconds;

/// The name of the threads that make the load, and that run what callers of the store do.
pub(crate) const LOAD: &str = "load";

/// The name of the thread that writes the log. The system cuts names off after 15 bytes.
const WRITERS: [&str; 2] = ["tidemark-writer", "plain-file"];

/// CPU time in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    /// The load, and callers on their way to the writer and back.
    pub(crate) callers: f64,
    /// The one thread that writes and syncs.
    pub(crate) writer: f64,
    /// Everything else: the indexer, the cleaner, the threads of sled.
    pub(crate) behind: f64,
}

impl Cpu {
    /// Used so far. Threads that have ended count as `behind`.
    pub(crate) fn now() -> Self {
        let (mut callers, mut writer) = (0.0, 0.0);
        for task in fs::read_dir("/proc/self/task").unwrap().flatten() {
            // A thread may end while it is looked at.
            let Ok(name) = fs::read_to_string(task.path().join("comm")) else { continue };
            let Ok(spent) = fs::read_to_string(task.path().join("schedstat")) else { continue };
            let nanoseconds: f64 = spent.split(' ').next().unwrap().parse().unwrap();
            match name.trim_end() {
                LOAD => callers += nanoseconds / 1e9,
                name if WRITERS.contains(&name) => writer += nanoseconds / 1e9,
                _ => {}
            }
        }
        let behind = cpu_seconds(std::process::id()) - callers - writer;
        Self { callers, writer, behind }
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            callers: self.callers - earlier.callers,
            writer: self.writer - earlier.writer,
            behind: self.behind - earlier.behind,
        }
    }
}
