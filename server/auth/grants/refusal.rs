//! Why the authorization server says no, in the words of the OAuth specifications.
//!
//! It owns the codes and which status goes with each. A fault of ours is never a fault of the client (B-24): it is a 5xx, so that the
//! client keeps what it has and tries again.

use std::fmt;
use std::time::Duration;

use tidemark_proto::v1::ErrorCode;

use crate::error::Error;

/// A code of RFC 6749, 7591, 8628 or 8707.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// A parameter is missing, malformed or given twice.
    InvalidRequest,
    /// No client of this id.
    InvalidClient,
    /// The code or the refresh token is no longer good, or never was.
    InvalidGrant,
    /// The client may not do this.
    UnauthorizedClient,
    /// No such way to a token here.
    UnsupportedGrantType,
    /// No such way to a code here.
    UnsupportedResponseType,
    /// A scope that cannot be given.
    InvalidScope,
    /// Another resource than this gateway.
    InvalidTarget,
    /// A redirect URI that is not allowed, or not registered.
    InvalidRedirectUri,
    /// A client cannot be registered like this.
    InvalidClientMetadata,
    /// The person said no, or may not say yes.
    AccessDenied,
    /// A device was not let in yet.
    AuthorizationPending,
    /// A device asks too often.
    SlowDown,
    /// The time of a device is over.
    ExpiredToken,
    /// A fault of ours, for a while.
    TemporarilyUnavailable,
    /// A fault of ours.
    ServerError,
}

impl Code {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidRedirectUri => "invalid_redirect_uri",
            Self::InvalidClientMetadata => "invalid_client_metadata",
            Self::AccessDenied => "access_denied",
            Self::AuthorizationPending => "authorization_pending",
            Self::SlowDown => "slow_down",
            Self::ExpiredToken => "expired_token",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::ServerError => "server_error",
        }
    }
}

/// A no.
#[derive(Clone, Debug)]
pub struct Refusal {
    code: Code,
    text: String,
    cause: Option<Error>,
}

impl Refusal {
    /// A no with a text for the developer of the client, which holds nothing that was sent but names.
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), cause: None }
    }

    /// A parameter that is missing or malformed.
    pub fn request(text: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, text)
    }

    /// Whatever is wrong with a code or a refresh token: which of many things it was is not said.
    pub(super) fn grant() -> Self {
        Self::new(
            Code::InvalidGrant,
            "the code or the token is not good, or not any more, or not for this client",
        )
    }

    /// Its code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The HTTP status of an answer that says it.
    pub fn status(&self) -> u16 {
        match (self.code, &self.cause) {
            (_, Some(cause)) if cause.retry_after().is_some() => 429,
            (Code::TemporarilyUnavailable, _) => 503,
            (Code::ServerError, _) => 500,
            _ => 400,
        }
    }

    /// When another try makes sense.
    pub fn retry_after(&self) -> Option<Duration> {
        self.cause.as_ref().and_then(Error::retry_after)
    }

    /// The fault of ours that it stands for, if it does.
    pub fn fault(&self) -> Option<&Error> {
        self.cause.as_ref()
    }

    /// The field of a client's metadata that is wrong.
    pub fn field(&self) -> &'static str {
        match self.code {
            Code::InvalidRedirectUri => "redirect_uris",
            Code::InvalidScope => "scopes",
            _ => "name",
        }
    }

    /// What the log may hold.
    pub fn for_log(&self) -> String {
        self.cause.as_ref().map_or_else(|| self.code.name().to_owned(), Error::for_log)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.text)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let code = match error.code() {
            ErrorCode::StorageUnavailable | ErrorCode::RateLimited | ErrorCode::AuthRateLimited => {
                Code::TemporarilyUnavailable
            }
            ErrorCode::InvalidRequest => Code::InvalidRequest,
            _ => Code::ServerError,
        };
        Self { code, text: error.message().to_owned(), cause: Some(error) }
    }
}
