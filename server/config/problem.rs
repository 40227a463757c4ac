//! What is wrong with the settings, all of it at once.
//!
//! It owns how problems are collected and shown. It must never know what a setting means.

use std::fmt;

/// One thing that is wrong. Its text never holds the value of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: a key path such as `backends[1].base_url`, a flag such as `--listen`, or the file.
    pub place: String,
    /// The line of the file, from 1; absent for what stands in no file.
    pub line: Option<usize>,
    /// What was found and what would be right.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{} (line {line}): {}", self.place, self.text),
            None => write!(f, "{}: {}", self.place, self.text),
        }
    }
}

/// Everything that is wrong; never empty. Shown one to a line, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// The problems, or `None` if there is none.
    pub(super) fn some(mut found: Vec<Problem>) -> Option<Self> {
        found.sort_by_key(|problem| problem.line);
        (!found.is_empty()).then_some(Self(found))
    }

    /// One problem alone.
    pub(super) fn one(place: impl Into<String>, text: impl Into<String>) -> Self {
        Self(vec![Problem { place: place.into(), line: None, text: text.into() }])
    }

    /// The problems, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let end = if index + 1 == self.0.len() { "" } else { "\n" };
            write!(f, "{problem}{end}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
