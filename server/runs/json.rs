//! JSON as text: what is echoed and counted without being understood.

use serde_json::value::RawValue;

use crate::error::Error;

/// The same value without white space between its tokens: order, numbers and strings keep their spelling. What is echoed must
/// be one line, because an event is.
pub(super) fn compact(value: &RawValue) -> Result<Box<RawValue>, Error> {
    let mut text = String::with_capacity(value.get().len());
    let mut in_string = false;
    let mut escaped = false;
    for letter in value.get().chars() {
        if in_string {
            in_string = escaped || letter != '"';
            escaped = !escaped && letter == '\\';
        } else if letter.is_ascii_whitespace() {
            continue;
        } else {
            in_string = letter == '"';
        }
        text.push(letter);
    }
    RawValue::from_string(text).map_err(Error::internal)
}

/// Any value as JSON text.
pub(super) fn raw<T: serde::Serialize + ?Sized>(value: &T) -> Result<Box<RawValue>, Error> {
    serde_json::value::to_raw_value(value).map_err(Error::internal)
}

/// How many bytes `text` needs inside a JSON string: escapes make it longer, up to six times.
pub(super) fn escaped_len(text: &str) -> usize {
    let bytes_of = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0x00..=0x1f => 6,
        _ => 1,
    };
    text.bytes().map(bytes_of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_goes_and_everything_else_stays() {
        let text = "{ \"b\" : [ 1.0 , 2e3,\n\"a \\\" \\\\\" ],\r\n\t\"a\" : \" ä \" , \"b\":null }";
        let value = RawValue::from_string(text.to_owned()).unwrap();
        assert_eq!(compact(&value).unwrap().get(), r#"{"b":[1.0,2e3,"a \" \\"],"a":" ä ","b":null}"#);
    }

    #[test]
    fn the_escaped_length_is_what_serde_writes() {
        let all: String = (0..0x3000).filter_map(char::from_u32).collect();
        assert_eq!(escaped_len(&all) + 2, serde_json::to_string(&all).unwrap().len());
    }
}
