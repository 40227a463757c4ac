//! What goes wrong with a server, as errors.
//!
//! It owns the texts: what a caller reads comes from here and from our own settings, never from the server; what the server said
//! is cut, freed of our credential and kept as the cause, for the operator.

use std::error::Error as _;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use tidemark_proto::v1::ErrorCode;

use crate::backends::sse::DecodeError;
use crate::error::Error;

/// How much of what a server said is kept as a cause, in bytes.
const MAX_QUOTE: usize = 2048;

/// How much of an answer is read for that: more than is kept, so that a credential at the cut is seen whole.
pub(super) const MAX_QUOTE_READ: usize = 2 * MAX_QUOTE;

/// The longest content type that is repeated to the caller, in bytes.
const MAX_CONTENT_TYPE: usize = 64;

/// Which limit of time was reached.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    FirstByte(Duration),
    Idle(Duration),
}

/// Makes the errors of one server.
#[derive(Clone, Debug)]
pub(super) struct Failures {
    /// The name of the backend.
    name: Arc<str>,
    /// What must not be repeated.
    credential: Option<SecretString>,
    connect_timeout: Duration,
}

impl Failures {
    pub(super) fn new(name: &str, credential: Option<SecretString>, connect_timeout: Duration) -> Self {
        Self { name: name.into(), credential, connect_timeout }
    }

    /// The name of the backend.
    pub(super) fn backend(&self) -> &str {
        &self.name
    }

    /// No answer came.
    pub(super) fn request(&self, error: reqwest::Error) -> Error {
        let failure = match (error.is_connect(), error.is_timeout()) {
            (true, true) => {
                let what = format!("took no connection within connect_timeout ({:?})", self.connect_timeout);
                self.error(ErrorCode::BackendTimeout, &what)
            }
            (true, false) => self.error(ErrorCode::BackendUnreachable, "cannot be reached"),
            (false, _) => self.error(ErrorCode::BackendError, "closed the connection without an answer"),
        };
        failure.with_cause(self.quote(&chain(&error.without_url())))
    }

    /// The answer stopped coming.
    pub(super) fn connection(&self, error: reqwest::Error) -> Error {
        self.cut_off().with_cause(self.quote(&chain(&error.without_url())))
    }

    /// A limit of time was reached.
    pub(super) fn timeout(&self, limit: Limit) -> Error {
        let what = match limit {
            Limit::FirstByte(limit) => format!("sent no answer within first_byte_timeout ({limit:?})"),
            Limit::Idle(limit) => format!("was silent for longer than idle_timeout ({limit:?})"),
        };
        self.error(ErrorCode::BackendTimeout, &what)
    }

    /// It answered with this status, and this body.
    pub(super) fn status(&self, status: StatusCode, body: &[u8]) -> Error {
        let what = format!("answered with status {}", status.as_u16());
        self.error(ErrorCode::BackendError, &what).with_quote(self.quote(&String::from_utf8_lossy(body)))
    }

    /// It answered with something that is not an event stream.
    pub(super) fn content_type(&self, found: Option<&str>, body: &[u8]) -> Error {
        let what = match found.map(essence) {
            Some(Some(found)) => format!("answered with `{found}` where an event stream was expected"),
            Some(None) => {
                "answered with an unknown content type where an event stream was expected".to_owned()
            }
            None => "answered without a content type where an event stream was expected".to_owned(),
        };
        self.error(ErrorCode::BackendError, &what).with_quote(self.quote(&String::from_utf8_lossy(body)))
    }

    /// The stream is not server-sent events.
    pub(super) fn decode(&self, error: DecodeError) -> Error {
        match error {
            DecodeError::TooLarge { limit } => {
                self.error(ErrorCode::EventTooLarge, &format!("sent an event of more than {limit} bytes"))
            }
            DecodeError::NotUtf8 => self.malformed(error, ""),
        }
    }

    /// Something that is not the protocol: what is wrong about it, and its text.
    pub(super) fn malformed(&self, problem: impl fmt::Display, text: &str) -> Error {
        let quote = self.quote(&format!("{problem}: {text}"));
        self.error(ErrorCode::BackendError, "sent something that is not the protocol").with_quote(quote)
    }

    /// It said in the stream that it failed.
    pub(super) fn reported(&self, error: &str) -> Error {
        self.error(ErrorCode::BackendError, "reported an error in the middle of its answer")
            .with_quote(self.quote(error))
    }

    /// It stopped for a reason that has no meaning here.
    pub(super) fn finish_reason(&self, reason: &str) -> Error {
        self.error(ErrorCode::BackendError, "stopped for a reason that is not known")
            .with_quote(self.quote(reason))
    }

    /// The answer has an end, but no reason for it.
    pub(super) fn cut_off(&self) -> Error {
        self.error(ErrorCode::BackendError, "ended in the middle of its answer")
    }

    /// The list of models is longer than the limit, in bytes.
    pub(super) fn list_too_large(&self, limit: usize) -> Error {
        self.error(ErrorCode::BackendError, &format!("sent a list of models of more than {limit} bytes"))
    }

    fn error(&self, code: ErrorCode, what: &str) -> Error {
        Error::new(code, format!("backend `{}` {what}", self.name))
    }

    /// The text without our credential, on one line, cut to [`MAX_QUOTE`].
    fn quote(&self, text: &str) -> String {
        let credential =
            self.credential.as_ref().map(ExposeSecret::expose_secret).filter(|secret| !secret.is_empty());
        let text = credential.map_or_else(|| text.to_owned(), |secret| without(secret, text));
        let end = text.floor_char_boundary(MAX_QUOTE);
        text.chars()
            .scan(0, |at, c| {
                *at += c.len_utf8();
                (*at <= end).then(|| if c.is_control() { ' ' } else { c })
            })
            .collect()
    }
}

/// The text without a secret, and without the beginning of one where reading has stopped.
fn without(secret: &str, text: &str) -> String {
    let whole = text.replace(secret, "[redacted]");
    let begun = (1..secret.len())
        .rev()
        .filter_map(|length| secret.get(..length))
        .find(|begun| whole.ends_with(begun));
    match begun {
        Some(begun) if text.len() >= MAX_QUOTE_READ => {
            whole.strip_suffix(begun).unwrap_or_default().to_owned()
        }
        _ => whole,
    }
}

/// The type and subtype of a content type, if they are what they should be.
fn essence(content_type: &str) -> Option<&str> {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/+-._".contains(&byte);
    let typed = essence.split_once('/').is_some_and(|(kind, sub)| !kind.is_empty() && !sub.is_empty());
    (typed && essence.len() <= MAX_CONTENT_TYPE && essence.bytes().all(plain)).then_some(essence)
}

/// An error and what caused it, on one line.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failures() -> Failures {
        Failures::new("local", Some("sk-secret".into()), Duration::from_secs(10))
    }

    #[test]
    fn a_quote_is_short_on_one_line_and_without_the_credential() {
        let body = format!("bad key sk-secret\n\u{1b}[31m{}", "ü".repeat(MAX_QUOTE));
        let error = failures().status(StatusCode::UNAUTHORIZED, body.as_bytes());
        assert_eq!(error.message(), "backend `local` answered with status 401");
        let quote = error.quote().unwrap();
        assert!(quote.starts_with("bad key [redacted]  [31mü"), "{quote}");
        assert!((MAX_QUOTE - 1..=MAX_QUOTE).contains(&quote.len()));
        assert!(!error.to_string().contains("secret") && !format!("{:?}", failures()).contains("secret"));
    }

    #[test]
    fn a_credential_at_the_cut_does_not_show_a_part_of_it() {
        for before in MAX_QUOTE - 12..MAX_QUOTE {
            let body = format!("{}sk-secret and more", "x".repeat(before));
            let error = failures().status(StatusCode::BAD_GATEWAY, body.as_bytes());
            assert!(!error.quote().unwrap().contains("sk-"));
        }
    }

    #[test]
    fn a_credential_where_reading_has_stopped_does_not_show_a_part_of_it() {
        let mut body = "sk-secret".repeat(MAX_QUOTE_READ / 9 + 1);
        body.truncate(MAX_QUOTE_READ);
        assert!(body.ends_with('s'), "the last one is cut");
        let long = Failures::new("local", Some("sk-secret".repeat(20).into()), Duration::from_secs(1));
        for failures in [failures(), long] {
            let error = failures.status(StatusCode::BAD_GATEWAY, body.as_bytes());
            assert!(!error.quote().unwrap().contains("s"), "{error}");
        }
    }

    #[test]
    fn a_content_type_is_repeated_only_if_it_is_one() {
        let message = |found| failures().content_type(found, b"").message().to_owned();
        assert!(message(Some("text/html; charset=utf-8")).contains("`text/html`"));
        let long = format!("text/{}", "x".repeat(MAX_CONTENT_TYPE));
        for strange in ["", "text/<b>", "Bearer sk-secret", "sk-secret", "/", &long] {
            assert!(message(Some(strange)).contains("an unknown content type"), "{strange}");
        }
        assert!(message(None).contains("without a content type"));
    }
}
