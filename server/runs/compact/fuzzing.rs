//! The formats of this room, for [`crate::fuzzing`].

#![expect(clippy::indexing_slicing, reason = "a test, whoever runs it")]

use bytes::Bytes;
use tidemark_store::Seq;

use super::{bundle::Bundle, cuts::Cuts};

/// The last seq in 8 bytes, and a table of cuts: what is read is the same when it was written and read again.
pub fn cut_table(data: &[u8]) {
    let Some((last, table)) = last_and_rest(data) else { return };
    for tracks in 1..=2 {
        let Some(found) = Cuts::decode(table.clone(), last, tracks) else { continue };
        assert!(found.first() <= found.last());
        let written = Bytes::from(found.encode());
        assert_eq!(Cuts::decode(written, last, tracks), Some(found));
    }
}

/// The last seq in 8 bytes, and an entry: what is read is the same when it was written and read again.
pub fn merged_entry(data: &[u8]) {
    let Some((last, entry)) = last_and_rest(data) else { return };
    let Some(found) = Bundle::decode(&entry, last) else { return };
    assert_eq!(found.parts.last().map(|part| part.seq), Some(last));
    // What is written for one delta without a table is its event alone, which then says what it is.
    let is_plain = found.seams.is_empty() && found.parts.len() == 1 && found.parts[0].table.is_empty();
    if !is_plain {
        assert_eq!(Bundle::decode(&found.encode(last), last), Some(found));
    }
}

fn last_and_rest(data: &[u8]) -> Option<(Seq, Bytes)> {
    let (last, rest) = data.split_first_chunk::<8>()?;
    Some((Seq::new(u64::from_le_bytes(*last)), Bytes::copy_from_slice(rest)))
}
