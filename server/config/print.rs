//! Shows the settings in force, in the form of the file.
//!
//! It owns `config print`. It must never know the value of a secret: settings hold only where one comes from.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::load::{DEFAULTS, Loaded};

/// The array of tables whose entries the operator gives.
const BACKENDS: &str = "[[backends]]";

impl Loaded {
    /// The settings in force as TOML, with the comments of `defaults.toml`. Reads back as the same settings.
    pub fn print(&self) -> String {
        let mut out = String::with_capacity(2 * DEFAULTS.len());
        let mut section = "";
        for line in DEFAULTS.lines() {
            if let Some(name) = line.strip_prefix('[') {
                section = name.trim_end_matches(']');
            }
            if line == BACKENDS {
                out.push_str(&entries(&self.literals));
            }
            // The entry in the defaults is one of many; those in force were just written in its place.
            if section == "[backends" && !line.is_empty() {
                continue;
            }
            let value = line.split_once(" = ").filter(|_| !line.starts_with('#'));
            let value =
                value.and_then(|(key, _)| Some((key, self.literals.get(&format!("{section}.{key}"))?)));
            // A `String` takes every write.
            let _ = match value {
                Some((key, literal)) => writeln!(out, "{key} = {literal}"),
                None => writeln!(out, "{line}"),
            };
        }
        out
    }
}

fn entries(literals: &BTreeMap<String, String>) -> String {
    let of = |index: usize| {
        let prefix = format!("backends[{index}].");
        let mine = literals.iter().filter_map(|(path, literal)| Some((path.strip_prefix(&prefix)?, literal)));
        mine.fold(String::new(), |lines, (key, literal)| format!("{lines}{key} = {literal}\n"))
    };
    let blocks = (0..).map(of).take_while(|lines| !lines.is_empty());
    blocks.map(|lines| format!("{BACKENDS}\n{lines}")).collect::<Vec<_>>().join("\n")
}
