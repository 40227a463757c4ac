//! The processes that this one starts: one that is killed while it writes, one whose memory is measured.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::{memory, opening};

/// What comes before the role of a process that was started by another.
const MARK: &str = "--role";

/// A process with a role, and what it prints. Dropping it kills it.
pub(crate) struct Role {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Role {
    pub(crate) fn start(role: &str, dir: &Path, number: u64) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([MARK, role]).arg(dir).arg(number.to_string());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next number that it prints; waits for it.
    pub(crate) fn number(&mut self) -> f64 {
        self.lines.next().unwrap().unwrap().parse().unwrap()
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The role of this process, if another has started it.
pub(crate) fn role(arguments: &[String]) -> Option<(&str, &[String])> {
    match arguments {
        [mark, role, rest @ ..] if mark == MARK => Some((role, rest)),
        _ => None,
    }
}

pub(crate) fn run(role: &str, arguments: &[String]) {
    let (dir, number) = (Path::new(&arguments[0]), arguments[1].parse().unwrap());
    match role {
        opening::WRITES => opening::write_until_killed(dir, number),
        memory::HOLDS => memory::hold_live(dir, number),
        _ => unreachable!("no such role: {role}"),
    }
}
