//! Where a response stands, and how it ended.
//!
//! It owns the states of annex 4 and their encoding in the head of a log. The encoding is stable: a number is never given a new
//! meaning.

use crate::error::Error;
use crate::runs::document::MARKS;

/// Where a response stands. All but the first two are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Accepted, not begun.
    Queued,
    /// The backend is generating.
    InProgress,
    /// Ended whole.
    Completed,
    /// Ended at a limit.
    Incomplete(Incomplete),
    /// Ended by a fault, which the terminal event names.
    Failed,
    /// Stopped.
    Cancelled(Cancelled),
}

/// Which limit ended a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incomplete {
    /// The limit of output tokens.
    MaxOutputTokens,
    /// The limit of output bytes (D-18).
    MaxOutputBytes,
    /// The backend withheld the rest.
    ContentFilter,
}

/// What stopped a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// A Cancel call.
    ByRequest,
    /// Nobody read a response that nobody may keep (D-26).
    ClientDisconnected,
}

impl Status {
    /// The byte that stands for it in the head of a log.
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Queued => 0x01,
            Self::InProgress => 0x02,
            Self::Completed => 0x03,
            Self::Incomplete(Incomplete::MaxOutputTokens) => 0x10,
            Self::Incomplete(Incomplete::MaxOutputBytes) => 0x11,
            Self::Incomplete(Incomplete::ContentFilter) => 0x12,
            Self::Failed => 0x20,
            Self::Cancelled(Cancelled::ByRequest) => 0x30,
            Self::Cancelled(Cancelled::ClientDisconnected) => 0x31,
        }
    }

    /// The status that a byte stands for, whatever else is marked in it, or `None` if a later version wrote it.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte & !MARKS {
            0x01 => Self::Queued,
            0x02 => Self::InProgress,
            0x03 => Self::Completed,
            0x10 => Self::Incomplete(Incomplete::MaxOutputTokens),
            0x11 => Self::Incomplete(Incomplete::MaxOutputBytes),
            0x12 => Self::Incomplete(Incomplete::ContentFilter),
            0x20 => Self::Failed,
            0x30 => Self::Cancelled(Cancelled::ByRequest),
            0x31 => Self::Cancelled(Cancelled::ClientDisconnected),
            _ => return None,
        })
    }

    /// `status` of the response object (W-15).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete(_) => "incomplete",
            Self::Failed => "failed",
            Self::Cancelled(_) => "cancelled",
        }
    }

    /// Whether it is final.
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Queued | Self::InProgress)
    }
}

impl Incomplete {
    /// The exact code, as gRPC carries it.
    pub const fn code(self) -> &'static str {
        match self {
            Self::MaxOutputTokens => "max_output_tokens",
            Self::MaxOutputBytes => "max_output_bytes",
            Self::ContentFilter => "content_filter",
        }
    }

    /// `incomplete_details.reason` of the response object: the public schema knows two of them (S-1).
    pub const fn wire_reason(self) -> &'static str {
        match self {
            Self::MaxOutputTokens | Self::MaxOutputBytes => "max_output_tokens",
            Self::ContentFilter => "content_filter",
        }
    }
}

impl Cancelled {
    /// The code of the cause, as gRPC carries it; empty for a Cancel call.
    pub const fn code(self) -> &'static str {
        match self {
            Self::ByRequest => "",
            Self::ClientDisconnected => "client_disconnected",
        }
    }
}

/// How a run ends, with all that the terminal event says.
#[derive(Clone, Debug)]
pub(super) enum Ending {
    Completed,
    Incomplete(Incomplete),
    Failed(Error),
    Cancelled(Cancelled),
}

impl Ending {
    pub(super) fn status(&self) -> Status {
        match self {
            Self::Completed => Status::Completed,
            Self::Incomplete(reason) => Status::Incomplete(*reason),
            Self::Failed(_) => Status::Failed,
            Self::Cancelled(cause) => Status::Cancelled(*cause),
        }
    }

    pub(super) fn error(&self) -> Option<&Error> {
        match self {
            Self::Failed(error) => Some(error),
            Self::Completed | Self::Incomplete(_) | Self::Cancelled(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Below it all bytes are statuses alone.
    const FIRST_MARK: u8 = 0x40;

    #[test]
    fn every_byte_reads_back_and_only_two_states_are_not_final() {
        let known: Vec<Status> = (0..FIRST_MARK).filter_map(Status::from_byte).collect();
        for status in &known {
            assert_eq!(Status::from_byte(status.to_byte()), Some(*status));
            assert_eq!(Status::from_byte(status.to_byte() | MARKS), Some(*status));
        }
        assert_eq!(known.len(), 9);
        assert_eq!(known.iter().filter(|status| !status.is_terminal()).count(), 2);
    }

    #[test]
    fn the_encoding_is_the_one_on_disk() {
        let bytes: Vec<u8> = (0..FIRST_MARK).filter_map(Status::from_byte).map(Status::to_byte).collect();
        assert_eq!(bytes, [0x01, 0x02, 0x03, 0x10, 0x11, 0x12, 0x20, 0x30, 0x31]);
    }
}
