//! What decides whether a call may come in: credentials, failures, budgets.
//!
//! It owns what the verdict on a credential means for its address. It must never know how a call carries one.

use std::sync::Arc;

use tidemark_proto::v1::ErrorCode;
use tokio::time::Instant;

use super::forwarded::Client;
use crate::auth::{Access, Credential, Principal};
use crate::error::Error;
use crate::limits::{Failures, Quotas};

/// What decides whether a call may come in. Clones share it.
#[derive(Clone, Debug)]
pub struct Gate {
    pub(super) access: Access,
    pub(super) quotas: Arc<Quotas>,
    failures: Arc<Failures>,
}

impl Gate {
    /// The gate with this check of credentials and these limits.
    pub fn new(access: Access, failures: impl Into<Arc<Failures>>, quotas: impl Into<Arc<Quotas>>) -> Self {
        Self { access, quotas: quotas.into(), failures: failures.into() }
    }

    /// Notes what became of a credential that `client` has shown.
    ///
    /// # Errors
    /// `auth_rate_limited` in place of `unauthorized` if its address is locked.
    pub(super) fn judged(&self, client: Client, found: &Result<Principal, Error>) -> Result<(), Error> {
        match found {
            Ok(principal) => {
                // Where no credential counts, none is right.
                if *principal.credential() != Credential::Anonymous {
                    self.failures.right(client.address);
                }
                Ok(())
            }
            Err(error) if error.code() == ErrorCode::Unauthorized => {
                self.failures.wrong(client.address, Instant::now())
            }
            Err(_) => Ok(()),
        }
    }
}
