//! Forms and queries (RFC 6749): each parameter at most once, and an empty one is as good as none.
//!
//! It owns their syntax and size. It must never know what a parameter means.

use axum::extract::Request;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt as _, Limited};

use crate::auth::grants::Refusal;

/// The largest form, in bytes: a consent page with the longest request has about half of it.
const MAX_FORM_BYTES: usize = 64 << 10;

/// The parameters of a form or of a query, decoded, in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// The parameters of a query.
    pub(super) fn of_query(query: Option<&str>) -> Self {
        Self::parse(query.unwrap_or_default().as_bytes())
    }

    fn parse(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    /// The parameters of a body.
    ///
    /// # Errors
    /// `invalid_request` if it is no form, or too large.
    pub(super) async fn read(request: Request) -> Result<Self, Refusal> {
        let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
        if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")) {
            return Err(Refusal::request("the body is application/x-www-form-urlencoded"));
        }
        let body = Limited::new(request.into_body(), MAX_FORM_BYTES).collect().await;
        let text = "the body did not come to its end, or is larger than 64 KiB";
        Ok(Self::parse(&body.map_err(|_| Refusal::request(text))?.to_bytes()))
    }

    /// The value of a parameter, if it is there and not empty. One that is given twice is not there.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.values(name);
        values.next().filter(|_| values.next().is_none()).filter(|value| !value.is_empty())
    }

    /// Whether one of these is given twice.
    pub(super) fn repeats(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.values(name).count() > 1)
    }

    /// Refuses a form in which one of these is given twice.
    ///
    /// # Errors
    /// `invalid_request`.
    pub(super) fn once(&self, names: &[&str]) -> Result<(), Refusal> {
        if self.repeats(names) { Err(Refusal::request("a parameter is given twice")) } else { Ok(()) }
    }

    /// The value of a parameter that must be there.
    ///
    /// # Errors
    /// `invalid_request`.
    pub(super) fn need(&self, name: &str) -> Result<&str, Refusal> {
        self.get(name).ok_or_else(|| Refusal::request(format!("{name} is missing")))
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    async fn read(kind: &str, body: impl Into<Body>) -> Result<Form, Refusal> {
        Form::read(Request::builder().header("content-type", kind).body(body.into()).unwrap()).await
    }

    #[tokio::test]
    async fn a_parameter_counts_once_and_not_when_it_is_empty() {
        let kind = "Application/X-WWW-Form-URLEncoded; charset=utf-8";
        let form = read(kind, "a=1&b=&c=x+y%26&d=1&d=1&e").await.unwrap();
        assert_eq!((form.get("a"), form.get("c")), (Some("1"), Some("x y&")));
        assert_eq!((form.get("b"), form.get("d"), form.get("e"), form.get("z")), (None, None, None, None));
        assert!(form.repeats(&["a", "d"]) && !form.repeats(&["a", "b"]) && form.once(&["d"]).is_err());
        assert!(form.need("b").unwrap_err().text().contains("b is missing"));
    }

    #[tokio::test]
    async fn what_is_no_form_or_too_large_is_refused() {
        assert!(read("application/json", "{}").await.is_err());
        assert!(read("", "a=1").await.is_err());
        let form = "application/x-www-form-urlencoded";
        assert!(read(form, "a".repeat(MAX_FORM_BYTES)).await.is_ok());
        assert!(read(form, "a".repeat(MAX_FORM_BYTES + 1)).await.is_err());
    }
}
