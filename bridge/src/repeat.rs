//! The headers of a POST that may be sent again (W-35).
//!
//! It owns what makes a create one that can be repeated. It must never know whether it is a repeat: the gateway says.

use http::{HeaderMap, HeaderName, HeaderValue};
use tidemark_proto::names;
use tidemark_proto::v1::ErrorCode;

use crate::error::Failure;

/// What the gateway calls the key.
const FIELD: &str = "idempotency_key";

/// On the reply to a repeat.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static(names::IDEMPOTENCY_REPLAYED);
pub(crate) const TRUE: HeaderValue = HeaderValue::from_static("true");

/// The idempotency key of a request, if it has one. Its form is for the gateway to check, but it must be one text.
///
/// # Errors
/// `invalid_idempotency_key` if it is not ASCII, or there twice.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let wrong = |message: &str| {
        Failure::new(ErrorCode::InvalidIdempotencyKey, message).with_param(names::IDEMPOTENCY_KEY)
    };
    let mut values = headers.get_all(names::IDEMPOTENCY_KEY).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(wrong("`Idempotency-Key` is given twice")),
        (Some(value), None) => match value.to_str() {
            Ok(key) => Ok(Some(key.to_owned())),
            Err(_) => Err(wrong("an idempotency key has 1 to 255 visible ASCII characters")),
        },
    }
}

/// A refusal of the gateway in the words of this surface.
pub(crate) fn refusal(status: tonic::Status) -> Failure {
    Failure::from(status).rename_param(FIELD, names::IDEMPOTENCY_KEY).rename_param("session", "conversation")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&[u8]]) -> Result<Option<String>, Failure> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("idempotency-key", HeaderValue::from_bytes(value).unwrap());
        }
        key(&headers)
    }

    #[test]
    fn a_key_is_one_text_and_its_form_is_for_the_gateway() {
        assert_eq!(read(&[]), Ok(None));
        for good in ["k", "", "a b", &"k".repeat(256)] {
            assert_eq!(read(&[good.as_bytes()]), Ok(Some(good.to_owned())));
        }
        for bad in [&[&b"a"[..], b"a"][..], &["ä".as_bytes()], &[b"\xff"], &[b"a\tb", b""]] {
            let failure = read(bad).unwrap_err();
            assert_eq!(failure, failure.clone().with_param("idempotency-key"), "{bad:?}");
        }
    }
}
