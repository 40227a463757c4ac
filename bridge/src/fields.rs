//! A JSON body, read field by field.
//!
//! It owns what makes a body malformed, and that values are carried as the bytes that came. It must never know what a field means.

use std::collections::BTreeMap;
use std::fmt;

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::de::{DeserializeOwned, Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;
use tidemark_proto::v1::ErrorCode;

use crate::error::Failure;

/// The most fields that a body, or its `metadata`, may have.
pub(crate) const MAX_FIELDS: usize = 256;

/// The longest name of a field, in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 256;

/// What a switch must be.
pub(crate) const BOOL: &str = "`true` or `false`";

/// `metadata`: labels, or nothing.
pub(crate) fn metadata(value: &RawValue) -> Result<BTreeMap<String, String>, Failure> {
    const RIGHT: &str = "an object with string values, or null";
    object_or_null("metadata", value, RIGHT)?
        .into_iter()
        .map(|(name, value)| Ok((name, typed("metadata", value, RIGHT)?)))
        .collect()
}

/// The fields of a nested object; none if it is null.
pub(crate) fn object_or_null<'a>(
    name: &str,
    value: &'a RawValue,
    right: &str,
) -> Result<Fields<'a>, Failure> {
    match value.get() {
        "null" => Ok(Fields::new()),
        object if object.starts_with('{') => {
            fields(object.as_bytes()).map_err(|failure| failure.with_param(name))
        }
        _ => Err(wrong(name, right)),
    }
}

/// A value of this type.
pub(crate) fn typed<T: DeserializeOwned>(name: &str, value: &RawValue, right: &str) -> Result<T, Failure> {
    serde_json::from_str(value.get()).map_err(|_| wrong(name, right))
}

/// A value of this type, or null.
pub(crate) fn nullable<T: DeserializeOwned>(
    name: &str,
    value: &RawValue,
    right: &str,
) -> Result<Option<T>, Failure> {
    typed(name, value, right)
}

/// The refusal of a field that is not what is right.
pub(crate) fn wrong(name: &str, right: &str) -> Failure {
    Failure::invalid(name, format!("`{name}` must be {right}"))
}

/// The fields that are not typed, as one JSON object under construction.
#[derive(Default)]
pub(crate) struct Rest(BytesMut);

impl Rest {
    /// Adds a field.
    pub(crate) fn push(&mut self, name: &str, value: &RawValue) {
        self.0.put_u8(if self.0.is_empty() { b'{' } else { b',' });
        self.0.put(crate::error::json(&name));
        self.0.put_u8(b':');
        self.0.put_slice(value.get().as_bytes());
    }

    /// Empty if there was no such field.
    pub(crate) fn finish(mut self) -> Bytes {
        if !self.0.is_empty() {
            self.0.put_u8(b'}');
        }
        self.0.freeze()
    }
}

/// The fields of a JSON object in their order, each value as the bytes that came.
pub(crate) type Fields<'a> = Vec<(String, &'a RawValue)>;

/// Reads an object.
///
/// # Errors
/// `invalid_request`: not JSON (with line and column), not an object, a field twice, too many fields.
pub(crate) fn fields(json: &[u8]) -> Result<Fields<'_>, Failure> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let read = reader.deserialize_map(FieldsVisitor).and_then(|read| reader.end().map(|()| read));
    match read {
        Ok(read) => read,
        Err(error) if error.classify() == Category::Data => {
            Err(Failure::new(ErrorCode::InvalidRequest, "the body must be a JSON object"))
        }
        Err(error) => {
            Err(Failure::new(ErrorCode::InvalidRequest, format!("the body is not valid JSON: {error}")))
        }
    }
}

/// Reads on to the end after a refusal, so that a body which is no JSON at all is called just that.
struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Result<Fields<'de>, Failure>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields::new();
        while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
            if let Err(refusal) = check_name(&name, &fields) {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                return Ok(Err(refusal));
            }
            fields.push((name, value));
        }
        Ok(Ok(fields))
    }
}

fn check_name(name: &str, known: &[(String, &RawValue)]) -> Result<(), Failure> {
    if name.len() > MAX_NAME_BYTES {
        let message = format!("the name of a field is longer than {MAX_NAME_BYTES} bytes");
        return Err(Failure::new(ErrorCode::InvalidRequest, message));
    }
    if known.iter().any(|(other, _)| other == name) {
        return Err(Failure::invalid(name, format!("`{name}` is given twice")));
    }
    if known.len() == MAX_FIELDS {
        let message = format!("there are more than {MAX_FIELDS} fields");
        return Err(Failure::new(ErrorCode::InvalidRequest, message));
    }
    Ok(())
}
