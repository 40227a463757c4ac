//! `store stats`: how much a store holds.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use tidemark_store::embedded::{EmbeddedStore, Stats};

use super::output::About;
use super::{Failure, Form, Output};

/// Prints how much the store in `dir` holds.
///
/// # Errors
/// [`Failure::Open`], [`Failure::Output`].
pub fn stats(dir: &Path, form: Form, mut output: Output) -> Result<(), Failure> {
    let stats = EmbeddedStore::stats(dir)?;
    match form {
        Form::Text => output.text(&text(dir, &stats))?,
        Form::Json => output.json(&object(dir, &stats))?,
    }
    output.finish()
}

fn text(dir: &Path, stats: &Stats) -> String {
    let Stats { segments, log_bytes, blobs, blob_bytes, index_bytes, free_bytes, index } = stats;
    let mut out = String::new();
    let mut line = |name: &str, what: String| {
        let _ = writeln!(out, "{name:<16}{what}");
    };
    line("directory", dir.display().to_string());
    let live = index.as_ref().map(|index| format!(", {} live", About(index.live_bytes))).unwrap_or_default();
    line("log", format!("{} in {segments} segments{live}", About(*log_bytes)));
    line("large payloads", format!("{} in {blobs} files", About(*blob_bytes)));
    line("disk", format!("{} free", About(*free_bytes)));
    match index {
        Ok(index) => {
            line("index", format!("{}, {} behind the log", About(*index_bytes), About(index.lag_bytes)));
            line("logs", format!("{}, {} of them open", index.logs, index.open_logs));
            line("entries", format!("{}, {} with the documents", index.entries, About(index.bytes)));
            line("records", index.records.to_string());
        }
        Err(why) => line("index", format!("cannot be used ({why}); the next start makes it anew")),
    }
    out
}

fn object(dir: &Path, stats: &Stats) -> Value {
    let Stats { segments, log_bytes, blobs, blob_bytes, index_bytes, free_bytes, index } = stats;
    let index = match index {
        Ok(index) => json!({
            "bytes": index_bytes,
            "lag_bytes": index.lag_bytes,
            "logs": index.logs,
            "open_logs": index.open_logs,
            "entries": index.entries,
            "kept_bytes": index.bytes,
            "live_bytes": index.live_bytes,
            "records": index.records,
        }),
        Err(why) => json!({"bytes": index_bytes, "error": why}),
    };
    json!({
        "directory": dir.display().to_string(),
        "segments": segments,
        "log_bytes": log_bytes,
        "blobs": blobs,
        "blob_bytes": blob_bytes,
        "free_bytes": free_bytes,
        "index": index,
    })
}
