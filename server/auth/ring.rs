//! The secrets that tickets are sealed with, as one record of the store.
//!
//! It owns when a secret is made and when it goes. The first is made when the first ticket is; a secret is replaced after
//! [`ROTATE_AFTER`], and the one before it stays as long as a ticket of it can be good. Secrets never leave the process.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidemark_store::UnixMillis;

use crate::auth::directory::{Directory, unavailable};
use crate::auth::record::{self, Malformed};
use crate::auth::ticket::{MAX_LIFETIME, SECRET_BYTES};
use crate::clock::millis;
use crate::error::Error;

/// The name of the record.
const RING: &str = "ticket-secrets";

/// How long new tickets are sealed with the same secret.
const ROTATE_AFTER: Duration = Duration::from_secs(30 * 24 * 3600);

/// How many secrets there are at most: the one in use, and the one before it. No ticket outlives the second.
const MAX_SECRETS: usize = 2;
const _: () = assert!(ROTATE_AFTER.as_secs() > MAX_LIFETIME.as_secs());

/// The secrets, the one in use first.
#[derive(Debug)]
pub(super) struct Ring(Vec<Secret>);

/// One secret.
#[derive(Clone)]
pub(super) struct Secret {
    pub(super) number: u32,
    pub(super) bytes: [u8; SECRET_BYTES],
    made_at: UnixMillis,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("number", &self.number).finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RingForm {
    version: u8,
    secrets: Vec<SecretForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretForm {
    number: u32,
    secret: String,
    made_at: u64,
}

impl Ring {
    /// The secret of this number, if it is still good for something.
    pub(super) fn find(&self, number: u32) -> Option<&Secret> {
        self.0.iter().find(|secret| secret.number == number)
    }

    /// The secret for new tickets, if it is not too old for that.
    fn in_use(&self, now: UnixMillis) -> Option<&Secret> {
        self.0.first().filter(|secret| now.0 < secret.made_at.0.saturating_add(millis(ROTATE_AFTER)))
    }

    /// The same with a new secret in front.
    fn with_new(&self, bytes: [u8; SECRET_BYTES], made_at: UnixMillis) -> Self {
        let number = self.0.first().map_or(0, |secret| secret.number.wrapping_add(1));
        let new = Secret { number, bytes, made_at };
        Self(std::iter::once(new).chain(self.0.iter().cloned()).take(MAX_SECRETS).collect())
    }

    fn encode(&self) -> Bytes {
        let form = |secret: &Secret| SecretForm {
            number: secret.number,
            secret: URL_SAFE_NO_PAD.encode(secret.bytes),
            made_at: secret.made_at.0,
        };
        record::json(&RingForm { version: record::VERSION, secrets: self.0.iter().map(form).collect() })
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let RingForm { version, secrets } = record::read(bytes)?;
        record::check_version(version)?;
        let secret = |form: SecretForm| {
            let bytes = URL_SAFE_NO_PAD.decode(form.secret).ok().and_then(|bytes| bytes.try_into().ok());
            let bytes = bytes.ok_or_else(|| record::malformed("secret"))?;
            Ok(Secret { number: form.number, bytes, made_at: UnixMillis(form.made_at) })
        };
        secrets.into_iter().map(secret).collect::<Result<_, _>>().map(Self)
    }
}

impl Directory {
    /// The secrets that tickets may be sealed with; absent = none was ever made.
    pub(super) async fn ring(&self) -> Result<Option<Arc<Ring>>, Error> {
        if let Some(ring) = self.0.cache.ring() {
            return Ok(Some(ring));
        }
        let epoch = self.0.cache.epoch();
        let Some(found) = self.0.store.record(RING.as_bytes()).await.map_err(unavailable)? else {
            return Ok(None);
        };
        let ring = Arc::new(Ring::decode(&found.value).map_err(unavailable)?);
        self.0.cache.keep_ring(epoch, &ring);
        Ok(Some(ring))
    }

    /// The secret for a new ticket: made if there is none, replaced if it is too old.
    pub(super) async fn ticket_secret(&self) -> Result<Secret, Error> {
        let now = self.0.clock.now();
        if let Some(secret) = self.ring().await?.and_then(|ring| ring.in_use(now).cloned()) {
            return Ok(secret);
        }
        let mut bytes = [0; SECRET_BYTES];
        getrandom::fill(&mut bytes).map_err(Error::internal)?;
        self.change(RING.to_owned(), |found| {
            let known = found.map(|value| Ring::decode(&value)).transpose().map_err(unavailable)?;
            let known = known.unwrap_or_else(|| Ring(Vec::new()));
            // Somebody else may have been faster: then theirs it is, and what is written is what was there.
            let ring = if known.in_use(now).is_some() { known } else { known.with_new(bytes, now) };
            let secret =
                ring.in_use(now).cloned().ok_or_else(|| Error::internal("a new secret is too old"))?;
            Ok((Some(ring.encode()), secret))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_read_back_follow_each_other_and_are_not_printed() {
        let day = millis(Duration::from_secs(24 * 3600));
        let first = Ring(Vec::new()).with_new([1; SECRET_BYTES], UnixMillis(0));
        let second = first.with_new([2; SECRET_BYTES], UnixMillis(30 * day));
        let third = second.with_new([3; SECRET_BYTES], UnixMillis(60 * day));
        let numbers = |ring: &Ring| ring.0.iter().map(|secret| secret.number).collect::<Vec<_>>();
        assert_eq!((numbers(&first), numbers(&second), numbers(&third)), (vec![0], vec![1, 0], vec![2, 1]));
        assert!(
            first.in_use(UnixMillis(30 * day - 1)).is_some() && first.in_use(UnixMillis(30 * day)).is_none()
        );
        assert!(third.find(1).is_some() && third.find(0).is_none());
        let back = Ring::decode(&third.encode()).unwrap();
        assert_eq!(back.0[1].bytes, [2; SECRET_BYTES]);
        assert_eq!(format!("{:?}", third.0[0]), "Secret { number: 2, .. }");
        assert!(Ring::decode(b"{\"version\":2,\"secrets\":[]}").is_err());
        assert!(
            Ring::decode(b"{\"version\":1,\"secrets\":[{\"number\":1,\"secret\":\"AA\",\"made_at\":0}]}")
                .is_err()
        );
    }
}
