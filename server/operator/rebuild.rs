//! `store rebuild`: the index anew from the log.

use std::path::Path;

use serde_json::json;
use tidemark_store::embedded::{EmbeddedStore, Options};

use super::{Failure, Form, Output};

/// Makes the index of the store in `dir` anew.
///
/// # Errors
/// [`Failure::Open`], [`Failure::Output`].
pub fn rebuild(dir: &Path, options: Options, form: Form, mut output: Output) -> Result<(), Failure> {
    EmbeddedStore::rebuild(dir, options)?;
    match form {
        Form::Text => output.text(&format!("the index of {} is made anew\n", dir.display()))?,
        Form::Json => output.json(&json!({"kind": "rebuilt", "directory": dir.display().to_string()}))?,
    }
    output.finish()
}
