//! What an operator says about a backend.
//!
//! It owns the shape, the defaults and the rules of `[[backends]]`. It must never know where settings are written down.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;

use reqwest::Url;
use secrecy::SecretString;

/// One `[[backends]]`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name, unique among the backends: `owned_by` of its models, and what errors call it.
    pub name: String,
    /// What kind of server it is.
    pub kind: Kind,
    /// Which models it is asked for.
    pub models: Models,
    /// How many generations it does at once; absent = any number.
    pub max_concurrency: Option<NonZeroUsize>,
    /// How many generations may wait while `max_concurrency` are under way; one more is `overloaded`.
    pub queue: usize,
    /// How long a generation may wait while `max_concurrency` are under way; then it is `overloaded`, too.
    pub queue_timeout: Duration,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// How long the first byte of an answer may take, counted from the start of the request.
    pub first_byte_timeout: Duration,
    /// How long a begun answer may be silent: not one byte, not even a comment.
    pub idle_timeout: Duration,
}

impl Settings {
    /// Default of `queue`: 64 generations.
    pub const QUEUE: usize = 64;
    /// Default of `queue_timeout`: 60 s.
    pub const QUEUE_TIMEOUT: Duration = Duration::from_secs(60);
    /// Default of `connect_timeout`: 10 s.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
    /// Default of `first_byte_timeout`: 120 s.
    pub const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(120);
    /// Default of `idle_timeout`: 120 s.
    pub const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

    /// A backend with all else at its default: whatever models it lists, any number at once.
    pub fn new(name: impl Into<String>, kind: Kind) -> Self {
        Self {
            name: name.into(),
            kind,
            models: Models::Discover,
            max_concurrency: None,
            queue: Self::QUEUE,
            queue_timeout: Self::QUEUE_TIMEOUT,
            connect_timeout: Self::CONNECT_TIMEOUT,
            first_byte_timeout: Self::FIRST_BYTE_TIMEOUT,
            idle_timeout: Self::IDLE_TIMEOUT,
        }
    }
}

/// What kind of server a backend is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A server that speaks an OpenAI protocol.
    OpenAi(OpenAi),
    /// The one that is built in (S-11).
    Demo,
}

/// A server that speaks an OpenAI protocol.
#[derive(Clone, Debug)]
pub struct OpenAi {
    /// Where it is, for example `http://127.0.0.1:8080/v1`.
    pub base_url: BaseUrl,
    /// Which protocol.
    pub dialect: Dialect,
    /// What it is sent as `authorization: Bearer …`; absent = nothing.
    pub api_key: Option<SecretString>,
}

/// How a generation is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// `POST {base_url}/chat/completions`.
    #[default]
    Chat,
    /// `POST {base_url}/responses`.
    Responses,
}

/// Which models a backend is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Models {
    /// Those it lists itself.
    #[default]
    Discover,
    /// These, under their own names.
    List(Vec<String>),
    /// These: what callers say, and what the backend calls it.
    Table(BTreeMap<String, String>),
}

/// The address of a server: `http` or `https`, a host, perhaps a port and a path. It never holds a credential, so that it may be
/// shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(Url);

impl BaseUrl {
    /// Whether the connection is encrypted.
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The address of `path`, for example `models`, below this one.
    pub fn join(&self, path: &str) -> Url {
        let mut joined = self.0.clone();
        joined.set_path(&format!("{}/{path}", self.0.path().trim_end_matches('/')));
        joined
    }
}

/// Why a text is no [`BaseUrl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBaseUrl {
    /// It is no URL at all.
    #[error("must be a URL such as http://127.0.0.1:8080/v1")]
    NoUrl,
    /// Neither `http` nor `https`.
    #[error("must begin with http:// or https://")]
    Scheme,
    /// A user or password in it would be shown where the address is shown.
    #[error("must not hold a user or password; a credential belongs into api_key_env")]
    Credential,
    /// There is a `?` or a `#` in it, behind which no path can be added.
    #[error("must end with its path, without ? and #")]
    Query,
}

impl FromStr for BaseUrl {
    type Err = BadBaseUrl;

    fn from_str(text: &str) -> Result<Self, BadBaseUrl> {
        let url = Url::parse(text).map_err(|_| BadBaseUrl::NoUrl)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(BadBaseUrl::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadBaseUrl::Credential);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(BadBaseUrl::Query);
        }
        Ok(Self(url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_joined_with_one_slash() {
        for (base, models) in [
            ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1/models"),
            ("http://127.0.0.1:8080/v1/", "http://127.0.0.1:8080/v1/models"),
            ("https://models.example", "https://models.example/models"),
        ] {
            assert_eq!(base.parse::<BaseUrl>().unwrap().join("models").as_str(), models);
        }
    }

    #[test]
    fn a_base_url_that_cannot_be_used_is_refused() {
        for (text, problem) in [
            ("", BadBaseUrl::NoUrl),
            ("127.0.0.1:8080", BadBaseUrl::NoUrl),
            ("http://", BadBaseUrl::NoUrl),
            ("ftp://host/v1", BadBaseUrl::Scheme),
            ("localhost:8080/v1", BadBaseUrl::Scheme),
            ("http://user@host/v1", BadBaseUrl::Credential),
            ("http://:secret@host/v1", BadBaseUrl::Credential),
            ("http://host/v1?key=secret", BadBaseUrl::Query),
            ("http://host/v1#top", BadBaseUrl::Query),
        ] {
            assert_eq!(text.parse::<BaseUrl>(), Err(problem), "{text}");
        }
    }
}
