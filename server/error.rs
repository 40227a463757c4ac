//! The failure of a call: a stable code, a text for the caller, a text for the operator.
//!
//! It owns what every room says when it must refuse; only `grpc/status.rs` turns it into a gRPC status.

use std::fmt;
use std::time::Duration;

use tidemark_proto::v1::ErrorCode;
use tidemark_store::Lost;

/// Why a call was refused or a response failed.
#[derive(Clone, Debug)]
pub struct Error(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    code: ErrorCode,
    message: String,
    param: Option<String>,
    retry_after: Option<Duration>,
    lost: Option<Lost>,
    response_id: Option<String>,
    cause: Option<String>,
    quote: Option<String>,
    scope: Option<&'static str>,
    dead_credential: bool,
}

impl Error {
    /// An error with a text for the caller, which must not hold a credential or the text of a backend's error page.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            code,
            message: message.into(),
            param: None,
            retry_after: None,
            lost: None,
            response_id: None,
            cause: None,
            quote: None,
            scope: None,
            dead_credential: false,
        }))
    }

    /// A field or parameter that is wrong: `message` says what would be right.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message).with_param(param)
    }

    /// A fault of ours; the caller learns nothing but that.
    pub fn internal(cause: impl fmt::Display) -> Self {
        Self::new(ErrorCode::Internal, "the gateway failed to do this; the request id leads to the reason")
            .with_cause(cause)
    }

    /// Names the field or parameter that is wrong.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.0.param = Some(param.into());
        self
    }

    /// Says when another try makes sense. It is rounded up to whole milliseconds, which every form of the answer can say: one
    /// that comes even a moment earlier may be refused again.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        let millis = u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        self.0.retry_after = Some(Duration::from_millis(millis));
        self
    }

    /// Says from where a reader can go on.
    #[must_use]
    pub fn with_lost(mut self, lost: Lost) -> Self {
        self.0.lost = Some(lost);
        self
    }

    /// Names the response that the failed call made.
    #[must_use]
    pub fn with_response_id(mut self, id: impl Into<String>) -> Self {
        self.0.response_id = Some(id.into());
        self
    }

    /// Keeps what happened for the operator's log; never sent to the caller.
    #[must_use]
    pub fn with_cause(mut self, cause: impl fmt::Display) -> Self {
        self.0.cause = Some(cause.to_string());
        self
    }

    /// Keeps a text of somebody else, such as a backend's error page or a value that is wrong: it may hold parts of a prompt, so it
    /// is never sent and is logged at level `trace` only.
    #[must_use]
    pub fn with_quote(mut self, text: impl fmt::Display) -> Self {
        self.0.quote = Some(text.to_string());
        self
    }

    /// Names the scope that is missing.
    #[must_use]
    pub fn with_scope(mut self, scope: &'static str) -> Self {
        self.0.scope = Some(scope);
        self
    }

    /// Says that the credential itself is no longer good, where the code alone would say that it allows too little.
    #[must_use]
    pub fn of_dead_credential(mut self) -> Self {
        self.0.dead_credential = true;
        self
    }

    /// Whether the credential itself is no longer good.
    pub fn is_of_dead_credential(&self) -> bool {
        self.0.dead_credential
    }

    /// What the log may hold: the code alone for a mistake of the caller, because the message may repeat what the caller sent.
    pub fn for_log(&self) -> String {
        let of_the_caller = (400..500).contains(&self.0.code.row().http);
        if of_the_caller { self.0.code.code().to_owned() } else { self.to_string() }
    }

    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        self.0.code
    }

    /// The text for the caller.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The field or parameter that is wrong.
    pub fn param(&self) -> Option<&str> {
        self.0.param.as_deref()
    }

    /// The scope that is missing.
    pub fn scope(&self) -> Option<&'static str> {
        self.0.scope
    }

    /// When another try makes sense.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// From where a reader can go on.
    pub fn lost(&self) -> Option<Lost> {
        self.0.lost
    }

    /// The response that the failed call made.
    pub fn response_id(&self) -> Option<&str> {
        self.0.response_id.as_deref()
    }

    /// What happened, for the operator's log.
    pub fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    /// What somebody else said about it, for the operator's log at level `trace`.
    pub fn quote(&self) -> Option<&str> {
        self.0.quote.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code.code(), self.0.message)?;
        match &self.0.cause {
            Some(cause) => write!(f, " ({cause})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_another_try_is_rounded_up_to_milliseconds() {
        let after = |nanos| {
            Error::internal("x")
                .with_retry_after(Duration::from_nanos(nanos))
                .retry_after()
                .unwrap()
                .as_nanos()
        };
        assert_eq!([0, 1, 1_000_000, 1_000_001].map(after), [0, 1_000_000, 1_000_000, 2_000_000]);
    }

    #[test]
    fn the_log_gets_no_text_of_callers_and_no_quote() {
        let wrong = Error::invalid("input", "no item of type `secret`").with_quote("secret");
        assert_eq!(wrong.for_log(), "invalid_request");
        let failed = Error::new(ErrorCode::BackendError, "backend `a` hung up")
            .with_cause("reset")
            .with_quote("secret");
        assert_eq!(failed.for_log(), "backend_error: backend `a` hung up (reset)");
        assert_eq!(failed.quote(), Some("secret"));
    }
}
