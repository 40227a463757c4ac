//! The id of a response.

use std::fmt;
use std::str::FromStr;

use tidemark_store::LogId;

use crate::backends::Api;

/// The prefix of an id as the Responses API writes it.
const RESPONSE_PREFIX: &str = "resp_";

/// The prefix of the same id as the chat completions API writes it (S-4).
const CHAT_PREFIX: &str = "chatcmpl-";

/// How many hexadecimal digits follow the prefix.
const DIGITS: usize = 32;

/// The id of a response: `resp_` and the 32 lower-case hexadecimal digits of its log's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResponseId(LogId);

impl ResponseId {
    /// The response whose log has these bytes as its id.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(LogId::from_bytes(bytes))
    }

    /// The response of this log.
    pub const fn of_log(log: LogId) -> Self {
        Self(log)
    }

    /// The id as this API writes it (S-4).
    pub fn in_words_of(self, api: Api) -> String {
        match api {
            Api::Responses => self.to_string(),
            Api::Chat => format!("{CHAT_PREFIX}{}", self.0),
        }
    }

    /// The log of the response.
    pub const fn log(self) -> LogId {
        self.0
    }
}

impl fmt::Display for ResponseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{RESPONSE_PREFIX}{}", self.0)
    }
}

/// The text is not the id of any response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the id of a response")]
pub struct NoSuchId;

impl FromStr for ResponseId {
    type Err = NoSuchId;

    /// Accepts exactly what [`fmt::Display`] writes, and the same with the prefix of a chat completion.
    fn from_str(text: &str) -> Result<Self, NoSuchId> {
        let digits =
            text.strip_prefix(RESPONSE_PREFIX).or_else(|| text.strip_prefix(CHAT_PREFIX)).ok_or(NoSuchId)?;
        let lower_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if digits.len() != DIGITS || !digits.bytes().all(lower_hex) {
            return Err(NoSuchId);
        }
        let number = u128::from_str_radix(digits, 16).map_err(|_| NoSuchId)?;
        Ok(Self::from_bytes(number.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_in_both_forms() {
        let id = ResponseId::from_bytes([0xab; 16]);
        assert_eq!(id.to_string(), format!("resp_{}", "ab".repeat(16)));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(format!("chatcmpl-{}", "ab".repeat(16)).parse(), Ok(id));
    }

    #[test]
    fn anything_else_is_no_id() {
        let hex = "ab".repeat(16);
        let long = format!("resp_{hex}0");
        let upper = format!("resp_{}", hex.to_uppercase());
        let signed = format!("resp_+{}", &hex[1..]);
        let umlaut = format!("resp_ä{}", &hex[2..]);
        for text in ["", "resp_", &hex, &long, &upper, &signed, &umlaut, "msg_", " resp_", "resp_ab"] {
            assert_eq!(text.parse::<ResponseId>(), Err(NoSuchId), "{text}");
        }
    }
}
