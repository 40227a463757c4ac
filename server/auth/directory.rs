//! Keys and users in the store, and the way to every other record of access.
//!
//! It owns how they are found, remembered and changed. It must never decide who may ask for that.

use std::sync::Arc;

use bytes::Bytes;
use tidemark_proto::v1::ErrorCode;
use tidemark_store::{Owner, Record, Store, Version, WriteError};

use crate::auth::KeyId;
use crate::auth::cache::{Cache, Known};
use crate::auth::record::{self, KeyRecord, UserRecord};
use crate::clock::Clock;
use crate::error::Error;
use crate::sizes::Sizes;
use crate::tasks::Tasks;

/// How large the pages of keys and users are.
pub(super) const PAGES: Sizes = Sizes { default: 50, max: 1000 };

/// The keys and users of one store. Clones share what they remember of it; nobody else may change the records.
#[derive(Clone, Debug)]
pub struct Directory(pub(super) Arc<Shared>);

/// What the clones share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tasks: Tasks,
    pub(super) cache: Cache,
    /// Whose turn it is to add an OAuth client.
    pub(super) registering: tokio::sync::Mutex<()>,
}

impl Directory {
    /// The keys and users of this store.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, tasks: Tasks) -> Self {
        Self(Arc::new(Shared {
            store,
            clock,
            tasks,
            cache: Cache::default(),
            registering: tokio::sync::Mutex::default(),
        }))
    }

    /// Whether there is no key.
    ///
    /// # Errors
    /// `storage_unavailable`.
    pub async fn is_empty(&self) -> Result<bool, Error> {
        let found = self.0.store.records(record::KEYS.as_bytes(), None, 1).await;
        Ok(found.map_err(unavailable)?.is_empty())
    }

    /// What is known of a key.
    pub(super) async fn find(&self, id: KeyId) -> Result<Option<Arc<Known>>, Error> {
        let Shared { store, cache, .. } = &*self.0;
        if let Some(known) = cache.get(id) {
            return Ok(Some(known));
        }
        let epoch = cache.epoch();
        let found = store.record(record::key_name(id).as_bytes()).await.map_err(unavailable)?;
        let Some(found) = found else { return Ok(None) };
        let record = KeyRecord::decode(&found.value).map_err(unavailable)?;
        let user = self.user(&record.owner).await?;
        let known = Arc::new(Known { record, user });
        cache.insert(epoch, id, &known);
        Ok(Some(known))
    }

    /// The user of this name.
    pub(super) async fn user(&self, name: &Owner) -> Result<Option<UserRecord>, Error> {
        let found = self.0.store.record(record::user_name(name).as_bytes()).await.map_err(unavailable)?;
        found.map(|found| UserRecord::decode(&found.value)).transpose().map_err(unavailable)
    }

    /// Changes a record as one step. `decide` gets the value that it has, and gives the one that it shall have (`None` = none) with the
    /// answer; it is asked again if somebody else was faster.
    pub(super) async fn change<T, E: From<Error>>(
        &self,
        name: String,
        decide: impl FnMut(Option<Bytes>) -> Result<(Option<Bytes>, T), E>,
    ) -> Result<T, E> {
        self.change_as(Effect::OnAccess, name, decide).await
    }

    /// The same for a change that takes access from nobody: what is remembered stays, and no stream is told.
    pub(super) async fn change_quietly<T, E: From<Error>>(
        &self,
        name: String,
        decide: impl FnMut(Option<Bytes>) -> Result<(Option<Bytes>, T), E>,
    ) -> Result<T, E> {
        self.change_as(Effect::None, name, decide).await
    }

    async fn change_as<T, E: From<Error>>(
        &self,
        effect: Effect,
        name: String,
        mut decide: impl FnMut(Option<Bytes>) -> Result<(Option<Bytes>, T), E>,
    ) -> Result<T, E> {
        let name = Bytes::from(name);
        loop {
            let found = self.0.store.record(&name).await.map_err(unavailable)?;
            let (version, value) = found.map(|Record { version, value }| (version, value)).unzip();
            let (value, answer) = decide(value)?;
            match self.put(effect, name.clone(), version, value).await? {
                Ok(_) => return Ok(answer),
                Err(WriteError::Conflict { .. }) => {}
                Err(error) => return Err(unavailable(error).into()),
            }
        }
    }

    /// Writes a record, and forgets what was remembered if it has an effect on that: in a task of its own, because a caller that goes away in between must not
    /// leave the old value in the cache.
    async fn put(
        &self,
        effect: Effect,
        name: Bytes,
        expected: Option<Version>,
        value: Option<Bytes>,
    ) -> Result<Result<Version, WriteError>, Error> {
        let shared = Arc::clone(&self.0);
        let put = self.0.tasks.spawn(async move {
            let put = shared.store.put_record(&name, expected, value).await;
            if effect == Effect::OnAccess {
                shared.cache.forget();
            }
            put
        });
        put.await.map_err(Error::internal)
    }
}

/// What a change of a record means to those who have access.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Some may lose it.
    OnAccess,
    None,
}

/// The owner of this name; `field` is what the caller called it.
///
/// # Errors
/// `invalid_request` that names the field.
pub fn owner_named(name: &str, field: &'static str) -> Result<Owner, Error> {
    let refused = || format!("an owner is 1 to {} visible ASCII characters", Owner::MAX_BYTES);
    Owner::new(name).ok_or_else(|| Error::invalid(field, refused()))
}

/// What went wrong in the store, as far as it is the caller's business. Access is never given because it cannot be checked.
pub(super) fn unavailable(cause: impl std::fmt::Display) -> Error {
    Error::new(ErrorCode::StorageUnavailable, "keys and grants cannot be looked up or changed now")
        .with_cause(cause)
}
