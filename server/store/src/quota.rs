//! What is kept in a store, and how much of it may be (D-18).

/// What is kept: by one owner, or by all of them together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Logs, open ones too.
    pub logs: u64,
    /// Bytes of their documents and of the entries that they retain.
    pub bytes: u64,
}

/// How much may be kept; absent = any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Logs.
    pub logs: Option<u64>,
    /// Bytes. A log that would begin beyond them is refused; one that exists may grow beyond them, up to its caps.
    pub bytes: Option<u64>,
}

/// Limits of what is kept (D-18). It is the new log that is refused; one that exists is never touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Of each owner.
    pub owner: Quota,
    /// Of all owners together.
    pub total: Quota,
}

impl Quotas {
    /// Whether so much may be kept.
    pub(crate) fn check(&self, own: Kept, total: Kept) -> Result<(), Full> {
        let over = |limit: Option<u64>, kept: u64| limit.is_some_and(|limit| kept > limit);
        if over(self.total.logs, total.logs) {
            Err(Full::Logs)
        } else if over(self.total.bytes, total.bytes) {
            Err(Full::Bytes)
        } else if over(self.owner.logs, own.logs) {
            Err(Full::OwnerLogs)
        } else if over(self.owner.bytes, own.bytes) {
            Err(Full::OwnerBytes)
        } else {
            Ok(())
        }
    }
}

/// Which quota is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The logs of this owner.
    #[error("the owner keeps as many logs as it may")]
    OwnerLogs,
    /// The bytes of this owner.
    #[error("the owner keeps as many bytes as it may")]
    OwnerBytes,
    /// All logs.
    #[error("the store keeps as many logs as it may")]
    Logs,
    /// All bytes.
    #[error("the store keeps as many bytes as it may")]
    Bytes,
}
