//! The parameters of a URL's query.
//!
//! It owns their syntax: each known one at most once, exact values. Parameters that nobody asks for are ignored (W-4). It must
//! never know what a parameter does.

use axum::extract::Query;
use http::Uri;
use tidemark_proto::v1::ErrorCode;

use crate::error::Failure;

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
