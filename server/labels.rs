//! Labels: what callers write on responses and sessions, as `metadata`.
//!
//! It owns their bounds.

use std::collections::BTreeMap;

use crate::error::Error;

/// The most labels of one thing.
const MAX_METADATA: usize = 16;

/// The longest key of a label, in characters.
const MAX_METADATA_KEY_CHARS: usize = 64;

/// The longest value of a label, in characters.
const MAX_METADATA_VALUE_CHARS: usize = 512;

/// # Errors
/// `invalid_request` for too many labels, or one that is too long.
pub(crate) fn check(metadata: &BTreeMap<String, String>) -> Result<(), Error> {
    let wrong = |text: String| Err(Error::invalid("metadata", text));
    if metadata.len() > MAX_METADATA {
        return wrong(format!("metadata must have at most {MAX_METADATA} pairs"));
    }
    for (key, value) in metadata {
        if key.chars().count() > MAX_METADATA_KEY_CHARS {
            return wrong(format!("a key of metadata must have at most {MAX_METADATA_KEY_CHARS} characters"));
        }
        if value.chars().count() > MAX_METADATA_VALUE_CHARS {
            return wrong(format!(
                "a value of metadata must have at most {MAX_METADATA_VALUE_CHARS} characters"
            ));
        }
    }
    Ok(())
}
