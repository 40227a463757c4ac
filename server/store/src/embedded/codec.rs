//! Reading and writing of the small parts that frames and index values are made of.
//!
//! It owns integers as LEB128 varints and byte strings with a length in front. Reading never panics and never allocates what the
//! input does not back.

use bytes::{Buf, Bytes};

/// The bytes do not have the form they should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed bytes: {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// The longest varint of a u64, in bytes.
const MAX_VARINT_BYTES: u32 = 10;

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Numbers near 0, of either sign, are short.
pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// `None` as 0, `Some(n)` as n + 1.
pub(crate) fn put_option(out: &mut Vec<u8>, value: Option<u64>) {
    put_varint(out, value.map_or(0, |value| value.saturating_add(1)));
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Takes parts off the front of a buffer; byte strings are references into it.
#[derive(Debug)]
pub(crate) struct Reader {
    rest: Bytes,
}

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        if self.rest.is_empty() { Err(Malformed("too short")) } else { Ok(self.rest.get_u8()) }
    }

    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for position in 0..MAX_VARINT_BYTES {
            let byte = u64::from(self.byte()?);
            let (part, shift) = (byte & 0x7f, 7 * position);
            if part << shift >> shift != part {
                break;
            }
            value |= part << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed("varint too long"))
    }

    /// A byte that says yes or no.
    pub(crate) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("neither yes nor no")),
        }
    }

    pub(crate) fn signed(&mut self) -> Result<i64, Malformed> {
        let word = self.varint()?;
        Ok((word >> 1) as i64 ^ -((word & 1) as i64))
    }

    pub(crate) fn option(&mut self) -> Result<Option<u64>, Malformed> {
        Ok(self.varint()?.checked_sub(1))
    }

    pub(crate) fn take(&mut self, length: u64) -> Result<Bytes, Malformed> {
        match usize::try_from(length) {
            Ok(length) if length <= self.rest.len() => Ok(self.rest.split_to(length)),
            _ => Err(Malformed("too short")),
        }
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes, Malformed> {
        let length = self.varint()?;
        self.take(length)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let bytes = self.take(N as u64)?;
        <[u8; N]>::try_from(bytes.as_ref()).map_err(|_| Malformed("too short"))
    }

    pub(crate) fn end(&self) -> Result<(), Malformed> {
        if self.is_empty() { Ok(()) } else { Err(Malformed("bytes left over")) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_varint_of_more_than_64_bits_is_refused() {
        let bytes = |last: u8| [&[0xff; 9][..], &[last]].concat();
        assert_eq!(Reader::new(bytes(1).into()).varint(), Ok(u64::MAX));
        for last in [2, 3, 0x7f, 0x81] {
            assert!(Reader::new(bytes(last).into()).varint().is_err(), "{last}");
        }
    }

    proptest! {
        #[test]
        fn parts_read_back_as_written(numbers: Vec<u64>, text: Vec<u8>, option: Option<u32>, signed: i64) {
            let mut out = Vec::new();
            for number in &numbers {
                put_varint(&mut out, *number);
            }
            put_bytes(&mut out, &text);
            put_option(&mut out, option.map(u64::from));
            put_signed(&mut out, signed);
            let mut reader = Reader::new(out.into());
            for number in &numbers {
                prop_assert_eq!(reader.varint(), Ok(*number));
            }
            prop_assert_eq!(reader.bytes().unwrap(), text);
            prop_assert_eq!(reader.option(), Ok(option.map(u64::from)));
            prop_assert_eq!(reader.signed(), Ok(signed));
            prop_assert_eq!(reader.end(), Ok(()));
        }

        #[test]
        fn a_varint_is_one_of_64_bits_or_none(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let mut reader = Reader::new(bytes.into());
            if let Ok(value) = reader.varint() {
                let mut out = Vec::new();
                put_varint(&mut out, value);
                prop_assert_eq!(Reader::new(out.into()).varint(), Ok(value));
            }
        }

        #[test]
        fn garbage_never_panics(garbage: Vec<u8>) {
            let mut reader = Reader::new(garbage.into());
            while reader.varint().is_ok() && reader.bytes().is_ok() {}
        }
    }
}
