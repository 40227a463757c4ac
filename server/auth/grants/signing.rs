//! The keys that access tokens are signed with, as one record of the store (B-s6).
//!
//! It owns when a key is made and when it goes: the first is made when the first token is, one that is too old is replaced, and the
//! one before it stays as long as a token of it can be good. They never leave the process.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidemark_store::UnixMillis;

use super::Grants;
use super::jws::{Jwk, SigningKey};
use crate::auth::directory::{Directory, unavailable};
use crate::auth::record::{Malformed, VERSION, check_version, json, malformed, read};
use crate::clock::millis;
use crate::error::Error;

/// The name of the record.
const RING: &str = "oauth-signing-keys";

/// How many keys there are at most: the one in use, and the one before it.
const MAX_KEYS: usize = 2;

/// The keys, the one in use first.
#[derive(Debug)]
pub(in crate::auth) struct SigningRing(Vec<SigningKey>);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RingForm {
    version: u8,
    keys: Vec<KeyForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyForm {
    pkcs8: String,
    made_at: u64,
}

impl SigningRing {
    /// All of them.
    pub(super) fn keys(&self) -> &[SigningKey] {
        &self.0
    }

    /// The key for new tokens, if it is not too old for that.
    pub(super) fn in_use(&self, now: UnixMillis, rotate_after: Duration) -> Option<&SigningKey> {
        self.0.first().filter(|key| now.0 < key.made_at.0.saturating_add(millis(rotate_after)))
    }

    /// The public halves.
    pub(super) fn public(&self) -> Vec<Jwk> {
        self.0.iter().filter_map(SigningKey::jwk).collect()
    }

    fn encode(&self) -> Bytes {
        let form = |key: &SigningKey| KeyForm {
            pkcs8: URL_SAFE_NO_PAD.encode(&key.document),
            made_at: key.made_at.0,
        };
        json(&RingForm { version: VERSION, keys: self.0.iter().map(form).collect() })
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let RingForm { version, keys } = read(bytes)?;
        check_version(version)?;
        let key = |form: KeyForm| {
            let document = URL_SAFE_NO_PAD.decode(form.pkcs8).ok();
            let key = document.and_then(|document| SigningKey::read(document, UnixMillis(form.made_at)));
            key.ok_or_else(|| malformed("key"))
        };
        keys.into_iter().map(key).collect::<Result<_, _>>().map(Self)
    }
}

impl Directory {
    /// The keys that tokens may be signed with; absent = none was ever made.
    pub(super) async fn signing_keys(&self) -> Result<Option<Arc<SigningRing>>, Error> {
        if let Some(ring) = self.0.cache.signing() {
            return Ok(Some(ring));
        }
        let epoch = self.0.cache.epoch();
        let Some(found) = self.0.store.record(RING.as_bytes()).await.map_err(unavailable)? else {
            return Ok(None);
        };
        let ring = Arc::new(SigningRing::decode(&found.value).map_err(unavailable)?);
        self.0.cache.keep_signing(epoch, &ring);
        Ok(Some(ring))
    }

    /// The keys with one that is good for new tokens: made if there is none, replaced if it is older than `rotate_after`.
    pub(super) async fn keys_for_signing(&self, rotate_after: Duration) -> Result<Arc<SigningRing>, Error> {
        let now = self.0.clock.now();
        if let Some(ring) = self.signing_keys().await?.filter(|ring| ring.in_use(now, rotate_after).is_some())
        {
            return Ok(ring);
        }
        self.rotate_signing_key(rotate_after).await?;
        self.signing_keys().await?.ok_or_else(|| Error::internal("a key that was made is not there"))
    }

    /// Puts a new key in front, unless the first one is younger than `unless_younger`.
    pub(super) async fn rotate_signing_key(&self, unless_younger: Duration) -> Result<(), Error> {
        let (now, document) = (self.0.clock.now(), SigningKey::generate()?);
        self.change(RING.to_owned(), |found| {
            let known = found.map(|value| SigningRing::decode(&value)).transpose().map_err(unavailable)?;
            let known = known.unwrap_or_else(|| SigningRing(Vec::new()));
            // Somebody else may have been faster: then theirs it is, and what is written is what was there.
            if known.in_use(now, unless_younger).is_some() {
                return Ok((Some(known.encode()), ()));
            }
            let new = SigningKey::read(document.clone(), now)
                .ok_or_else(|| Error::internal("a new key cannot be read"))?;
            let ring = SigningRing(std::iter::once(new).chain(known.0).take(MAX_KEYS).collect());
            Ok((Some(ring.encode()), ()))
        })
        .await
    }
}

impl Grants {
    /// The public halves of the keys that tokens are signed with; the first is made if there is none.
    ///
    /// # Errors
    /// `storage_unavailable`.
    pub async fn public_keys(&self) -> Result<Vec<Jwk>, Error> {
        Ok(self.directory.keys_for_signing(self.rules.rotate_after).await?.public())
    }
}
