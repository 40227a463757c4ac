//! The parameters of a URL's query.
//!
//! It owns their syntax: each known one at most once, exact values. Parameters that nobody asks for are ignored (W-4). It must
//! never know what a parameter does.

use axum::extract::Query;
use http::Uri;
use tidemark_proto::v1::ErrorCode;

use crate::error::Failure;

const LIMIT: &str = "limit";

/// All parameters of one request, decoded, in their order.
#[derive(Debug)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// The parameters of `uri`; none if it has no query.
    pub(crate) fn of(uri: &Uri) -> Result<Self, Failure> {
        match Query::try_from_uri(uri) {
            Ok(Query(pairs)) => Ok(Self(pairs)),
            Err(_) => Err(Failure::new(ErrorCode::InvalidRequest, "the query is malformed")),
        }
    }

    /// The value of `name`, if it is there.
    ///
    /// # Errors
    /// `code` if it is there twice (S-2).
    pub(crate) fn one(&self, name: &str, code: ErrorCode) -> Result<Option<&str>, Failure> {
        let mut values = self.0.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str());
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(Failure::new(code, format!("`{name}` is given twice")).with_param(name)),
            (value, None) => Ok(value),
        }
    }

    /// Whether `name` is there, or a member of it as `name[member]`.
    pub(crate) fn has(&self, name: &str) -> bool {
        let is = |other: &str| {
            other.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
        };
        self.0.iter().any(|(other, _)| is(other))
    }

    /// The place in a list that `name` gives, if it is there. What it must look like is for the gateway to say.
    ///
    /// # Errors
    /// `invalid_cursor` if it is empty, or there twice.
    pub(crate) fn position(&self, name: &str) -> Result<Option<&str>, Failure> {
        match self.one(name, ErrorCode::InvalidCursor)? {
            Some("") => {
                let message = format!("`{name}` must not be empty: leave it out to begin at the beginning");
                Err(Failure::new(ErrorCode::InvalidCursor, message).with_param(name))
            }
            position => Ok(position),
        }
    }

    /// How many entries a page shall have; 0 if the caller does not say. The gateway clamps what is too large (U-15).
    ///
    /// # Errors
    /// `invalid_request` if it is not a positive decimal number, or there twice.
    pub(crate) fn limit(&self) -> Result<u32, Failure> {
        let Some(text) = self.one(LIMIT, ErrorCode::InvalidRequest)? else { return Ok(0) };
        // A number that is too large to be read is too large for a page as well.
        let number = if is_decimal(text) { text.parse().unwrap_or(u32::MAX) } else { 0 };
        match number {
            0 => Err(Failure::invalid(LIMIT, "`limit` must be a positive decimal number")),
            limit => Ok(limit),
        }
    }

    /// Whether `name` is on. Absent is off.
    ///
    /// # Errors
    /// `invalid_request` if it is neither `true` nor `false`, or there twice.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Failure> {
        match self.one(name, ErrorCode::InvalidRequest)? {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Failure::invalid(name, format!("`{name}` must be `true` or `false`"))),
        }
    }
}

/// Whether `text` is an unsigned decimal number, of any size.
pub(crate) fn is_decimal(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Params {
        Params::of(&format!("/x?{query}").parse().unwrap()).unwrap()
    }

    #[test]
    fn a_limit_is_a_positive_decimal_of_any_size() {
        let good =
            [("", 0), ("limit=1", 1), ("limit=007", 7), ("limit=100", 100), ("limit=4294967296", u32::MAX)];
        for (query, limit) in good {
            assert_eq!(params(query).limit(), Ok(limit), "{query}");
        }
        let refused = Failure::invalid("limit", "`limit` must be a positive decimal number");
        for value in ["", "0", "00", "-1", "%2B1", "1.0", "1e2", "x", "%201", "%D9%A1"] {
            assert_eq!(params(&format!("limit={value}")).limit(), Err(refused.clone()), "{value}");
        }
        let twice = Failure::invalid("limit", "`limit` is given twice");
        assert_eq!(params("limit=1&limit=1").limit(), Err(twice));
    }

    #[test]
    fn a_position_is_anything_but_empty() {
        assert_eq!(params("").position("after"), Ok(None));
        assert_eq!(params("after=msg_1%2F").position("after"), Ok(Some("msg_1/")));
        let empty = "`after` must not be empty: leave it out to begin at the beginning";
        for (query, message) in
            [("after=", empty), ("after", empty), ("after=a&after=a", "`after` is given twice")]
        {
            let expected = Failure::new(ErrorCode::InvalidCursor, message).with_param("after");
            assert_eq!(params(query).position("after"), Err(expected), "{query}");
        }
    }
}
