//! Users: owners that an operator knows as people. The keys of an owner end while the user of this name is disabled.
//!
//! An owner needs no user: without one, its keys alone decide.

use bytes::Bytes;
use tidemark_proto::v1::ErrorCode;
use tidemark_store::{Owner, UnixMillis};

use crate::auth::directory::{Directory, PAGES, owner_named, unavailable};
use crate::auth::record::{self, UserRecord};
use crate::error::Error;

/// What may be shown of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserInfo {
    /// The name, which is that of the owner too.
    pub name: Owner,
    /// Whether its keys are refused.
    pub disabled: bool,
    /// When it was added.
    pub created_at: UnixMillis,
}

/// A page of users.
#[derive(Clone, Debug)]
pub struct UserPage {
    /// In the order of their names.
    pub users: Vec<UserInfo>,
    /// Whether there are more after the last one.
    pub has_more: bool,
    /// The most users that this page could have had.
    pub page_size: u32,
}

impl Directory {
    /// Adds a user, or enables one that was disabled.
    ///
    /// # Errors
    /// `storage_unavailable`.
    pub async fn add_user(&self, name: &Owner) -> Result<UserInfo, Error> {
        let now = self.0.clock.now();
        self.change(record::user_name(name), |found| {
            let known = found.map(|value| UserRecord::decode(&value)).transpose().map_err(unavailable)?;
            let user = known.unwrap_or(UserRecord { created_at: now, disabled: false, epoch: 0 });
            Ok(changed(name, &user.with_disabled(false)))
        })
        .await
    }

    /// Disables a user: from the next call or batch on, its keys are refused.
    ///
    /// # Errors
    /// `not_found`, `storage_unavailable`.
    pub async fn disable_user(&self, name: &Owner) -> Result<UserInfo, Error> {
        self.change(record::user_name(name), |found| {
            let found = found.ok_or_else(|| Error::new(ErrorCode::NotFound, "no user of this name"))?;
            let user = UserRecord::decode(&found).map_err(unavailable)?;
            Ok(changed(name, &user.with_disabled(true)))
        })
        .await
    }

    /// The users in the order of their names: at most `page_size` (0 = 50, more than 1000 = 1000) after the one named `after` (empty =
    /// from the first on).
    ///
    /// # Errors
    /// `invalid_request` for what is no name; `storage_unavailable`.
    pub async fn list_users(&self, after: &str, page_size: u32) -> Result<UserPage, Error> {
        let after =
            if after.is_empty() { None } else { Some(record::user_name(&owner_named(after, "after")?)) };
        let page_size = PAGES.of(page_size);
        let room = usize::try_from(page_size).unwrap_or(usize::MAX);
        // One more, to know whether there is another page.
        let after = after.as_ref().map(String::as_bytes);
        let found = self.0.store.records(record::USERS.as_bytes(), after, room.saturating_add(1)).await;
        let found = found.map_err(unavailable)?;
        let has_more = found.len() > room;
        let users = found.into_iter().take(room).map(|(name, value)| info(&name, &value.value));
        Ok(UserPage { users: users.collect::<Result<_, _>>()?, has_more, page_size })
    }
}

/// The new value of a user's record, and what is shown of it.
fn changed(name: &Owner, user: &UserRecord) -> (Option<Bytes>, UserInfo) {
    (
        Some(user.encode()),
        UserInfo { name: name.clone(), disabled: user.disabled, created_at: user.created_at },
    )
}

fn info(record_name: &[u8], value: &[u8]) -> Result<UserInfo, Error> {
    let name = std::str::from_utf8(record_name).ok().and_then(|name| name.strip_prefix(record::USERS));
    let name = name
        .and_then(Owner::new)
        .ok_or_else(|| unavailable("the name of a record of a user holds no name"))?;
    let UserRecord { created_at, disabled, .. } = UserRecord::decode(value).map_err(unavailable)?;
    Ok(UserInfo { name, disabled, created_at })
}
