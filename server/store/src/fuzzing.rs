//! What must hold for any bytes that claim to be ours: for the fuzzer in `fuzz/`, and for its seeds as tests.
//!
//! Each function panics if it does not hold.

#![expect(clippy::indexing_slicing, reason = "a test, whoever runs it")]

use bytes::Bytes;

use crate::embedded::fuzzing as embedded;

/// Bytes as a frame of the log: what is read is written again as it was, and a header with a sum that fits is read without a panic.
pub fn frame(data: &[u8]) {
    embedded::frame(data);
    if data.len() >= 20 {
        let mut fitting = data.to_vec();
        embedded::fit_sum(&mut fitting);
        embedded::frame(&fitting);
    }
}

/// The kind of a frame and its payload: what is read says the same when it was written and read again.
pub fn change(data: &[u8]) {
    if let Some((kind, payload)) = data.split_first() {
        embedded::change(*kind, &Bytes::copy_from_slice(payload));
    }
}

/// A first seq in 8 bytes, and the value of a record of extents.
pub fn extents(data: &[u8]) {
    if data.len() >= 8 {
        embedded::extents(&data[..8], &data[8..]);
    }
}

/// A byte that says which kind of key, and the value that it has.
pub fn index_value(data: &[u8]) {
    if let Some((kind, value)) = data.split_first() {
        embedded::index_value(*kind, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every seed of a target, cut off and changed at every byte.
    fn every_seed(target: &str, holds: fn(&[u8])) {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
        let mut count = 0;
        for seed in std::fs::read_dir(&dir).unwrap() {
            let seed = std::fs::read(seed.unwrap().path()).unwrap();
            holds(&seed);
            for at in 0..seed.len() {
                holds(&seed[..at]);
                let mut changed = seed.clone();
                for change in [1, 0x80, 0xff] {
                    changed[at] = seed[at] ^ change;
                    holds(&changed);
                }
            }
            count += 1;
        }
        assert!(count > 0, "{} has no seeds", dir.display());
    }

    #[test]
    fn seeds_of_frames() {
        every_seed("frame", frame);
    }

    #[test]
    fn seeds_of_changes() {
        every_seed("change", change);
    }

    #[test]
    fn seeds_of_extents() {
        every_seed("extents", extents);
    }

    #[test]
    fn seeds_of_index_values() {
        every_seed("index_value", index_value);
    }
}
