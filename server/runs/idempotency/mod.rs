//! Creates that can be repeated: one key of one owner is one response (D-35, U-3).
//!
//! It owns the records of idempotency keys and what a repeat means. The first create with a key makes a response; a repeat that asks
//! for the same gets that response, as if it had made it. A record never says how the response fares: that is read from the
//! response. So a crash between the record and the log leaves a key that is free, because what it names does not exist.
//! It must never know how an answer is delivered.

mod canonical;
mod fingerprint;
mod number;
mod record;

use serde::Deserialize;
use serde::de::IgnoredAny;
use tidemark_proto::v1::{CreateRequest, ErrorCode};
use tidemark_store::{Head, LogId, Owner, Version, WriteError};

use self::fingerprint::Fingerprint;
use self::record::{Key, Name, Record};

/// Who comes first of those that use one key at the same time.
pub(super) type Turns = crate::turns::Turns<Name>;
use crate::auth::Principal;
use crate::error::Error;
use crate::runs::create::Created;
use crate::runs::document::{Document, KEYED};
use crate::runs::faults;
use crate::runs::handle::{Found, Runs, Shared, Snapshot};
use crate::runs::id::ResponseId;
use crate::runs::status::{Cancelled, Status};

/// What a create with a key asks for.
#[derive(Debug)]
pub(super) struct Claim {
    name: Name,
    fingerprint: Fingerprint,
}

/// The right to make the response of a key. Nobody else can use the key until it is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    claim: Claim,
    /// That of the record to be replaced.
    replaces: Option<Version>,
    _turn: crate::turns::Turn<Name>,
}

/// Whether a key is in use.
enum Standing {
    /// By nothing that counts: a record of this version, or none.
    Free(Option<Version>),
    /// By this response, which was asked for in the same words.
    Taken(Box<Created>),
}

/// What a response object says about a failure.
#[derive(Deserialize)]
struct Outcome {
    #[serde(alias = "choices")]
    output: Vec<IgnoredAny>,
    error: Option<Fault>,
}

#[derive(Deserialize)]
struct Fault {
    code: String,
}

impl Claim {
    /// What `request` asks for with its key; `None` if it has none.
    ///
    /// # Errors
    /// `invalid_idempotency_key`; `invalid_request` for a body that cannot be compared.
    pub(super) fn of(owner: &Owner, request: &CreateRequest) -> Result<Option<Self>, Error> {
        let Some(text) = &request.idempotency_key else { return Ok(None) };
        let key = Key::new(text).ok_or_else(faults::invalid_idempotency_key)?;
        Ok(Some(Self { name: Name::of(owner, &key), fingerprint: Fingerprint::of(request)? }))
    }
}

impl Reservation {
    /// Records that the key belongs to `id`. To be done before the log of `id` is made.
    ///
    /// # Errors
    /// `storage_unavailable`.
    pub(super) async fn write(&self, shared: &Shared, id: ResponseId) -> Result<(), Error> {
        let record = Record { fingerprint: self.claim.fingerprint, response: id }.encode();
        let name = self.claim.name.as_bytes();
        let put = shared.store.put_record(name, self.replaces, Some(record.clone())).await;
        let put = match put {
            // The end of the response that had the key before removed its record meanwhile.
            Err(WriteError::Conflict { found: None }) => {
                shared.store.put_record(name, None, Some(record)).await
            }
            other => other,
        };
        put.map(drop).map_err(faults::of_write)
    }
}

/// Whether a response was created with a key.
pub(super) fn has_key(head: &Head) -> bool {
    head.status & KEYED != 0
}

impl Runs {
    /// The response of a key: made, or, if a create before has made it, that one.
    ///
    /// # Errors
    /// `idempotency_key_reused`, `idempotency_unavailable`, and those of a create without a key.
    pub(super) async fn create_once(
        &self,
        principal: &Principal,
        document: Document,
        claim: Claim,
    ) -> Result<Created, Error> {
        let turn = self.0.turns.take(&claim.name).await;
        match self.standing(principal, &claim).await? {
            Standing::Taken(created) => {
                self.0.meters.replayed.increment();
                Ok(*created)
            }
            Standing::Free(replaces) => {
                let reservation = Reservation { claim, replaces, _turn: turn };
                self.begin(principal, document, Some(reservation)).await
            }
        }
    }

    async fn standing(&self, principal: &Principal, claim: &Claim) -> Result<Standing, Error> {
        let found = self.0.store.record(claim.name.as_bytes()).await;
        let Some(found) = found.map_err(faults::idempotency_unavailable)? else {
            return Ok(Standing::Free(None));
        };
        let free = Standing::Free(Some(found.version));
        let record = Record::decode(&found.value)?;
        match self.taken(principal, claim, record).await {
            Ok(Some(created)) => Ok(Standing::Taken(Box::new(created))),
            // It went away while it was looked at.
            Err(error) if error.code() == ErrorCode::NotFound => Ok(free),
            other => other.map(|_| free),
        }
    }

    /// The response of a record, unless it does not exist (any more) or has freed its key.
    async fn taken(
        &self,
        principal: &Principal,
        claim: &Claim,
        record: Record,
    ) -> Result<Option<Created>, Error> {
        let Some(found) = self.find(principal, record.response.log()).await? else { return Ok(None) };
        if self.is_freed(&found).await? {
            return Ok(None);
        }
        if record.fingerprint != claim.fingerprint {
            return Err(faults::idempotency_key_reused());
        }
        self.join(found).await.map(Some)
    }

    /// Whether a response ended in a way that leaves its key free: nothing was put out, and another try may do better (U-18).
    async fn is_freed(&self, found: &Found) -> Result<bool, Error> {
        match Status::from_byte(found.head.status) {
            Some(Status::Failed | Status::Cancelled(Cancelled::ClientDisconnected)) => {
                let ended = Found { id: found.id, head: found.head.clone() };
                leaves_key_free(&self.finished(ended).await?)
            }
            _ => Ok(false),
        }
    }

    /// Removes the record of the key that a response was created with, if it has one and the key was not used again since. To be
    /// done before the log goes, which alone knows the key.
    ///
    /// # Errors
    /// Those of the store's writes. A key that cannot be found out is said in the log: its record names nothing from then on.
    pub(super) async fn forget_key(&self, log: LogId) -> Result<(), WriteError> {
        match self.record_of(log).await {
            Ok(Some((name, version))) => {
                match self.0.store.put_record(name.as_bytes(), Some(version), None).await {
                    // A create has just taken the key.
                    Ok(_) | Err(WriteError::Conflict { .. }) => Ok(()),
                    Err(error) => Err(error),
                }
            }
            Ok(None) => Ok(()),
            Err(error) => {
                tracing::warn!(response = %ResponseId::of_log(log), %error, "an idempotency record is left behind");
                Ok(())
            }
        }
    }

    /// The record that names this response.
    async fn record_of(&self, log: LogId) -> Result<Option<(Name, Version)>, Error> {
        let store = &self.0.store;
        let head = store.head(log).await.map_err(Error::internal)?;
        let Some(head) = head.filter(has_key) else { return Ok(None) };
        let document = store.document(log).await.map_err(Error::internal)?;
        let Some(key) = Document::decode(&document)?.idempotency_key.as_deref().and_then(Key::new) else {
            return Ok(None);
        };
        let name = Name::of(&head.owner, &key);
        let Some(found) = store.record(name.as_bytes()).await.map_err(Error::internal)? else {
            return Ok(None);
        };
        let names_it = Record::decode(&found.value)?.response.log() == log;
        Ok(names_it.then_some((name, found.version)))
    }
}

/// Whether a create that ended so may be tried again with its key. A refusal that depends on the body alone is as final as an
/// answer.
fn leaves_key_free(ended: &Snapshot) -> Result<bool, Error> {
    let outcome: Outcome = serde_json::from_slice(&ended.json).map_err(Error::internal)?;
    let code = outcome.error.map(|fault| ErrorCode::from_code(&fault.code).unwrap_or(ErrorCode::Internal));
    let is_final = |code: ErrorCode| match code.row().http {
        401 | 403 | 408 | 429 => false,
        status => (400..500).contains(&status),
    };
    Ok(outcome.output.is_empty() && !code.is_some_and(is_final))
}

#[cfg(test)]
mod tests {
    use tidemark_store::{Frontier, Head, Seq, UnixMillis};

    use super::*;

    fn ended(output: &str, error: &str) -> Snapshot {
        let frontier = Frontier { committed: Seq::new(2), watermark: None, closed: true, gone: false };
        Snapshot {
            id: ResponseId::from_bytes([1; 16]),
            status: Status::Failed,
            head: Head {
                generation: 0,
                compacts_at: None,
                owner: Owner::new("a").unwrap(),
                created_at: UnixMillis(0),
                frontier,
                status: Status::Failed.to_byte(),
                epoch: 1,
                recovered_through: None,
                expires_at: None,
                retained_entries: 3,
                retained_bytes: 3,
                endless: false,
            },
            json: format!(r#"{{"output":{output},"error":{error}}}"#).into(),
            fault: None,
        }
    }

    #[test]
    fn only_a_failure_that_another_try_may_mend_and_that_put_nothing_out_frees_a_key() {
        let fault = |code: &str| format!(r#"{{"code":"{code}","message":"x"}}"#);
        for code in
            ["backend_error", "backend_timeout", "overloaded", "gateway_restarted", "quota_exceeded", "?"]
        {
            assert!(leaves_key_free(&ended("[]", &fault(code))).unwrap(), "{code}");
            assert!(!leaves_key_free(&ended("[{}]", &fault(code))).unwrap(), "{code}");
        }
        for code in ["invalid_request", "model_not_found", "payload_too_large"] {
            assert!(!leaves_key_free(&ended("[]", &fault(code))).unwrap(), "{code}");
        }
        assert!(leaves_key_free(&ended("[]", "null")).unwrap(), "a caller who went away");
        assert!(leaves_key_free(&ended("0", "null")).is_err());
    }
}
