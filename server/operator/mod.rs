//! What an operator can do with a store that no server has open: look at it, check it, take it out.
//!
//! It owns the words and the JSON that these commands print. It must never serve anybody, nor know how a store lies on the disk.

mod check;
mod export;
mod output;
mod rebuild;
mod stats;

use std::io;
use std::path::PathBuf;

use tidemark_store::embedded::OpenError;

pub use check::check;
pub use export::{Exported, Selection, export, export_blocking};
pub use output::{Form, Output};
pub use rebuild::rebuild;
pub use stats::stats;

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The store cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What was asked for is not in the store.
    #[error("{} holds no response {id}", dir.display())]
    Unknown {
        /// The data directory.
        dir: PathBuf,
        /// What was asked for.
        id: String,
    },
    /// The store does not say what it holds.
    #[error("the store cannot be read: {0}")]
    Unreadable(String),
    /// The system refused what the command needs.
    #[error("cannot {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The result could not be written.
    #[error("cannot write {name}")]
    Output {
        /// Where to.
        name: String,
        /// What the system said.
        source: io::Error,
    },
}
