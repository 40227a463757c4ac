//! What must hold for any bytes: for the fuzzer in `fuzz/`, and for its seeds as tests.
//!
//! Each function panics if it does not hold.

#![expect(clippy::indexing_slicing, reason = "a test, whoever runs it")]

use crate::backends::sse::{DecodeError, Decoder};
pub use crate::runs::fuzzing::{cut_table, merged_entry};

/// The largest event that the decoder is to take here, in bytes.
const LIMIT: usize = 64;

/// Where to split, and then a stream of server-sent events: however it is split, the same events come out, none of them too large.
pub fn sse(data: &[u8]) {
    let Some((at, stream)) = data.split_first() else { return };
    let whole = decode(&[stream]);
    let at = usize::from(*at).min(stream.len());
    assert_eq!(decode(&[&stream[..at], &stream[at..]]), whole);
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(decode(&bytes), whole);
}

/// The events of a stream that comes in these parts, and why there are no more.
fn decode(parts: &[&[u8]]) -> (Vec<(String, String)>, Option<DecodeError>) {
    let (mut decoder, mut events) = (Decoder::new(LIMIT), Vec::new());
    for part in parts {
        decoder.push(part);
        loop {
            match decoder.next_event() {
                Ok(Some(event)) => {
                    assert!(event.name.len() + event.data.len() <= LIMIT);
                    assert!(!event.name.contains(['\r', '\n']) && !event.data.contains('\r'));
                    events.push((event.name.to_owned(), event.data.to_owned()));
                }
                Ok(None) => break,
                Err(error) => return (events, Some(error)),
            }
        }
    }
    (events, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every seed of a target, cut off and changed at every byte.
    fn every_seed(target: &str, holds: fn(&[u8])) {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
        let mut count = 0;
        for seed in std::fs::read_dir(&dir).unwrap() {
            let seed = std::fs::read(seed.unwrap().path()).unwrap();
            holds(&seed);
            for at in 0..seed.len() {
                holds(&seed[..at]);
                let mut changed = seed.clone();
                for change in [1, 0x07, 0x80, 0xff] {
                    changed[at] = seed[at] ^ change;
                    holds(&changed);
                }
            }
            count += 1;
        }
        assert!(count > 0, "{} has no seeds", dir.display());
    }

    #[test]
    fn seeds_of_streams() {
        every_seed("sse", sse);
    }

    #[test]
    fn seeds_of_cut_tables() {
        every_seed("cut_table", cut_table);
    }

    #[test]
    fn seeds_of_merged_entries() {
        every_seed("merged_entry", merged_entry);
    }
}
