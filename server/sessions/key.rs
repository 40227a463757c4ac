//! The key of a session.
//!
//! It owns what a key looks like and which keys nobody may take. It must never know whether a session exists.

use std::fmt;

use tidemark_store::LogId;

use crate::error::Error;

/// What the keys begin with that the gateway makes up. Nobody else may take one: whoever names one means a session that was made.
const MADE: &str = "conv_";

/// What keys must not begin with that a caller takes, in any case and also behind `agent:NAME:` (O-28). Reading is not refused
/// (O-29): there is nothing to read.
const RESERVED: [&str; 5] = [MADE, "tidemark:", "subagent:", "cron:", "acp:"];

/// What scopes a key to an agent.
const AGENT: &str = "agent:";

/// The key of a session of one owner.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionKey(String);

impl SessionKey {
    /// The longest key, in bytes.
    pub const MAX_BYTES: usize = 256;

    /// The key with this text; `param` is what the caller calls it.
    ///
    /// # Errors
    /// `invalid_request` if it is empty, too long, or not visible ASCII (O-3).
    pub fn parse(text: &str, param: &str) -> Result<Self, Error> {
        let fits = (1..=Self::MAX_BYTES).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(text.to_owned()));
        }
        let most = Self::MAX_BYTES;
        Err(Error::invalid(param, format!("the key of a session has 1 to {most} visible ASCII characters")))
    }

    /// A key that the gateway makes up.
    pub(super) fn made(id: [u8; 16]) -> Self {
        Self(format!("{MADE}{}", LogId::from_bytes(id)))
    }

    /// Whether it looks like one that the gateway makes up.
    pub(super) fn is_made(&self) -> bool {
        self.0.starts_with(MADE)
    }

    /// Refuses a key that a caller may not take for a new session.
    ///
    /// # Errors
    /// `invalid_request`.
    pub(super) fn check_free(&self, param: &str) -> Result<(), Error> {
        let lower = self.0.to_ascii_lowercase();
        let mut rest = lower.as_str();
        while let Some((_, behind)) = rest.strip_prefix(AGENT).and_then(|scoped| scoped.split_once(':')) {
            rest = behind;
        }
        let is_reserved = |prefix: &&str| lower.starts_with(*prefix) || rest.starts_with(*prefix);
        match RESERVED.into_iter().find(is_reserved) {
            None => Ok(()),
            Some(prefix) => {
                let text = format!("a new session must not have a key that begins with `{prefix}`");
                Err(Error::invalid(param, text))
            }
        }
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> SessionKey {
        SessionKey::parse(text, "session").unwrap()
    }

    #[test]
    fn o_3_a_blank_or_impossible_key_is_refused() {
        for wrong in ["", " ", "a b", "\t", "a\n", "ä", "a\u{0}", &"k".repeat(257)] {
            let error = SessionKey::parse(wrong, "conversation").unwrap_err();
            assert_eq!(error.param(), Some("conversation"), "{wrong:?}");
        }
        for right in ["a", "~!/%?#:", &"k".repeat(256)] {
            assert_eq!(key(right).as_str(), right);
        }
    }

    #[test]
    fn o_28_reserved_prefixes_are_nobodys_in_any_case_and_scoped_to_an_agent() {
        for reserved in [
            "conv_0",
            "CONV_x",
            "tidemark:a",
            "subagent:a",
            "SubAgent:a",
            "cron:a",
            "acp:a",
            "agent:main:subagent:a",
            "Agent:main:CRON:a",
            "agent:a:agent:b:acp:c",
        ] {
            let error = key(reserved).check_free("session").unwrap_err();
            assert_eq!(error.param(), Some("session"), "{reserved}");
        }
        for free in ["a", "conv", "subagent", "my-cron:a", "agent:main:main", "agent:cron", "support-4711"] {
            assert!(key(free).check_free("session").is_ok(), "{free}");
        }
        assert!(SessionKey::made([7; 16]).is_made() && !key("Conv_a").is_made());
    }
}
