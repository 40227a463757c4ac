//! The formats of this room, for [`crate::fuzzing`].

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test, whoever runs it")]

use bytes::Bytes;

use super::change::Change;
use super::frame;
use super::keys;

pub(crate) fn frame(data: &[u8]) {
    let Some(found) = frame::decode_anywhere(&Bytes::copy_from_slice(data)) else { return };
    let mut written = Vec::new();
    let begun = frame::begin(&mut written);
    written.extend_from_slice(&found.payload);
    frame::finish(&mut written, begun, found.kind, found.lsn, found.durable).unwrap();
    assert_eq!(written, data[..found.len()]);
    change(found.kind, &found.payload);
}

/// Makes the sum of a header fit, and the length that it says.
pub(crate) fn fit_sum(data: &mut [u8]) {
    let length = (data.len() - frame::HEADER_BYTES).min(frame::MAX_PAYLOAD_BYTES) as u32;
    data[..3].copy_from_slice(&length.to_le_bytes()[..3]);
    let sum = crc32c::crc32c(&data[..4]);
    let sum = crc32c::crc32c_append(sum, &data[8..frame::HEADER_BYTES + length as usize]);
    data[4..8].copy_from_slice(&sum.to_le_bytes());
}

pub(crate) fn change(kind: u8, payload: &Bytes) {
    let Ok(change) = Change::read(kind, payload) else { return };
    let mut written = Vec::new();
    change.put(&mut written);
    assert!(written.len() <= payload.len(), "numbers have their shortest form");
    assert_eq!(Change::read(change.kind(), &written.into()), Ok(change));
}

pub(crate) fn extents(first: &[u8], value: &[u8]) {
    let Ok(extents) = keys::decode_extents(first, value) else { return };
    let written = keys::encode_extents(&extents);
    assert_eq!(keys::decode_extents(first, &written), Ok(extents));
}

pub(crate) fn index_value(kind: u8, value: &[u8]) {
    match kind {
        keys::HEAD => {
            if let Ok(stored) = keys::decode_head(value) {
                assert_eq!(keys::decode_head(&keys::encode_head(&stored)), Ok(stored));
            }
        }
        keys::COUNT => {
            if let Ok(count) = keys::decode_count(value) {
                assert_eq!(keys::decode_count(&keys::encode_count(&count)), Ok(count));
            }
        }
        keys::RECORD => {
            if let Ok(stored) = keys::decode_record(value) {
                assert_eq!(keys::decode_record(&keys::encode_record(&stored)), Ok(stored));
            }
        }
        _ => {
            if let Ok(covered) = keys::Covered::decode(value) {
                assert_eq!(keys::Covered::decode(&covered.encode()), Ok(covered));
            }
        }
    }
}
