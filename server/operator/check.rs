//! `store check`: what is wrong with a store, where, and what to do.

use std::path::Path;

use serde_json::{Value, json};
use tidemark_store::embedded::{Checked, EmbeddedStore, Problem};

use super::{Failure, Form, Output};

/// Reads all of the store in `dir` and prints each problem as it is found, then what was gone through; returns how many problems
/// there are.
///
/// # Errors
/// [`Failure::Open`], [`Failure::Output`].
pub fn check(dir: &Path, form: Form, mut output: Output) -> Result<u64, Failure> {
    let mut printed = Ok(());
    let checked = EmbeddedStore::check(dir, &mut |problem| {
        if printed.is_ok() {
            printed = match form {
                Form::Text => output.text(&format!("{problem}\n")),
                Form::Json => output.json(&object(&problem)),
            };
        }
    })?;
    printed?;
    match form {
        Form::Text => output.text(&summary(&checked))?,
        Form::Json => output.json(&totals(&checked))?,
    }
    output.finish()?;
    Ok(checked.problems)
}

fn summary(checked: &Checked) -> String {
    let Checked { frames, torn_bytes, logs, entries, blobs, problems } = checked;
    let torn = match torn_bytes {
        0 => String::new(),
        torn => format!("{torn} bytes at the end are a torn write, which the next start cuts off\n"),
    };
    let verdict = match problems {
        0 => "ok".to_owned(),
        1 => "1 problem".to_owned(),
        more => format!("{more} problems"),
    };
    format!("{torn}{frames} frames, {logs} logs with {entries} entries, {blobs} large payloads: {verdict}\n")
}

fn object(problem: &Problem) -> Value {
    json!({
        "kind": "problem",
        "path": problem.path.display().to_string(),
        "position": problem.position,
        "problem": problem.problem,
        "remedy": problem.remedy.to_string(),
    })
}

fn totals(checked: &Checked) -> Value {
    let Checked { frames, torn_bytes, logs, entries, blobs, problems } = checked;
    json!({
        "kind": "checked",
        "frames": frames,
        "torn_bytes": torn_bytes,
        "logs": logs,
        "entries": entries,
        "blobs": blobs,
        "problems": problems,
    })
}
