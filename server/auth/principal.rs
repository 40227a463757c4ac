//! Who is calling.

use tidemark_store::Owner;

/// Who is calling: put into a request's extensions by the listener, and by nothing else (D-34). Services refuse a call without
/// one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    owner: Owner,
}

impl Principal {
    /// The owner of calls that name none while auth is off (U-4).
    pub const ANONYMOUS_OWNER: &str = "anonymous-local";

    /// The principal of a call with auth off, acting as `owner`.
    pub fn local(owner: Owner) -> Self {
        Self { owner }
    }

    /// The tenant the call acts for.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }
}
