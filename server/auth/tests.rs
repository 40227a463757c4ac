//! Keys, users and access over the store in memory.

mod streams;
mod tickets;

use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use tidemark_proto::v1::ErrorCode;
use tidemark_store::memory::MemoryStore;
use tidemark_store::{Caps, Owner, UnixMillis};

use super::keys::{KeyQuery, KeyState, MAX_OVERLAP, NewKey};
use super::*;
use crate::clock::Clock;
use crate::error::Error;
use crate::runs::testing::TestClock;
use crate::tasks::Tasks;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

struct Room {
    store: Arc<MemoryStore>,
    clock: Arc<TestClock>,
    directory: Directory,
    access: Access,
}

impl Room {
    fn new() -> Self {
        let (store, clock) = (Arc::new(MemoryStore::new(Caps::default())), Arc::new(TestClock::default()));
        let directory = Directory::new(store.clone(), clock.clone(), Tasks::new());
        let operator = Some(Digest::of(SECRET.as_bytes()));
        let access = Access::new(Mode::Keys { operator }, directory.clone());
        Self { store, clock, directory, access }
    }

    fn in_seconds(&self, seconds: u64) -> UnixMillis {
        UnixMillis(self.clock.now().0 + 1000 * seconds)
    }

    /// Makes a key of `name`, as the operator.
    async fn key(&self, name: &str, scopes: &str, expires_at: Option<UnixMillis>) -> (String, KeyId) {
        let new = NewKey { owner: Some(owner(name)), scopes: Scopes::parse(scopes).unwrap(), expires_at };
        let (key, info) = self.directory.create_key(&operator(), new).await.unwrap();
        (key.reveal().expose_secret().to_owned(), info.id)
    }

    async fn enter(&self, bearer: &str) -> Result<Principal, Error> {
        self.access.identify(Presented { bearer: Some(bearer), ..Presented::default() }).await
    }

    /// Asserts that a credential is refused, in the words that every one is refused in.
    async fn refused(&self, bearer: &str) {
        let error = self.enter(bearer).await.unwrap_err();
        assert_eq!(error.to_string(), "unauthorized: no valid credential came with this call", "{bearer}");
        assert_eq!((error.param(), error.scope()), (None, None));
    }
}

fn owner(name: &str) -> Owner {
    Owner::new(name).unwrap()
}

fn operator() -> Principal {
    Principal::operator(owner(Principal::OPERATOR_OWNER))
}

/// Who manages the keys of acme and no other.
fn manager() -> Principal {
    let scopes = Scopes::parse("keys.admin responses.read").unwrap();
    Principal::key(KeyId::from_bytes([9; 16]), Digest::of(b"x"), owner("acme"), scopes, None)
}

#[tokio::test(start_paused = true)]
async fn a_key_gives_its_owner_and_its_scopes_and_no_more() {
    let room = Room::new();
    let (key, id) = room.key("acme", "responses.read", Some(room.in_seconds(60))).await;
    let principal = room.enter(&key).await.unwrap();
    assert_eq!(principal.owner(), &owner("acme"));
    assert_eq!(principal.credential().to_string(), id.to_string());
    assert_eq!(principal.until(), Some(room.in_seconds(60)));
    assert!(principal.require(Scope::ResponsesRead).is_ok());
    assert_eq!(principal.require(Scope::ResponsesWrite).unwrap_err().scope(), Some("responses.write"));
    assert_eq!(principal.acting_as(owner("bob")).unwrap_err().code(), ErrorCode::InsufficientScope);
}

#[tokio::test(start_paused = true)]
async fn every_credential_that_is_not_good_is_refused_with_the_same_words() {
    let room = Room::new();
    let made = async |name: &str| room.key(name, "responses.read", None).await;
    let (good, _) = made("acme").await;
    let (other, _) = made("acme").await;
    let (disabled, id) = made("acme").await;
    room.directory.set_key_disabled(&operator(), &id.to_string(), true).await.unwrap();
    let (deleted, id) = made("acme").await;
    room.directory.delete_key(&operator(), &id.to_string()).await.unwrap();
    let (of_a_disabled_user, _) = made("ann").await;
    room.directory.add_user(&owner("ann")).await.unwrap();
    assert!(room.enter(&of_a_disabled_user).await.is_ok());
    room.directory.disable_user(&owner("ann")).await.unwrap();
    let (expired, _) = room.key("acme", "responses.read", Some(room.in_seconds(1))).await;
    assert!(room.enter(&expired).await.is_ok());
    tokio::time::advance(Duration::from_secs(1)).await;

    let (head, _) = good.split_at("tmk_".len() + 32);
    let wrong = format!("{head}{}", &other[head.len()..]);
    for bearer in [&wrong, &disabled, &deleted, &of_a_disabled_user, &expired] {
        room.refused(bearer).await;
    }
    for bearer in ["", "unused", "sk-abc", &good[1..], &SECRET[1..], &format!("{SECRET}0")] {
        room.refused(bearer).await;
    }
    let nothing = room.access.identify(Presented::default()).await.unwrap_err();
    assert_eq!(nothing.to_string(), "unauthorized: no valid credential came with this call");
    assert!(room.enter(&good).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_operator_has_every_scope_and_an_owner_of_its_own() {
    let room = Room::new();
    let principal = room.enter(SECRET).await.unwrap();
    assert_eq!((principal.owner(), principal.scopes()), (&owner("operator"), Scopes::all()));
    let presented = |scopes| Presented { bearer: Some(SECRET), owner: Some(owner("acme")), scopes };
    assert_eq!(room.access.identify(presented(None)).await.unwrap().owner(), &owner("acme"));
    let narrowed = room.access.identify(presented(Scopes::parse("models.read").ok())).await.unwrap_err();
    assert_eq!(narrowed.scope(), Some("owners.act_as"));
    let no_secret = Access::new(Mode::Keys { operator: None }, room.directory.clone());
    let error = no_secret.identify(presented(None)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unauthorized);
}

#[tokio::test(start_paused = true)]
async fn without_auth_everybody_is_who_they_say() {
    let room = Room::new();
    let access = Access::new(Mode::Off, room.directory.clone());
    let anonymous =
        access.identify(Presented { bearer: Some("unused"), ..Presented::default() }).await.unwrap();
    assert_eq!(anonymous.owner(), &owner("anonymous-local"));
    let named = Presented { owner: Some(owner("acme")), ..Presented::default() };
    assert_eq!(access.identify(named).await.unwrap().owner(), &owner("acme"));
    assert!(anonymous.require(Scope::KeysAdmin).is_err(), "a key outlives the time without auth");
}

#[tokio::test(start_paused = true)]
async fn both_values_of_a_rotated_key_are_good_during_the_overlap() {
    let room = Room::new();
    let (first, id) = room.key("acme", "responses.read", None).await;
    let rotate = async |seconds| {
        let overlap = Duration::from_secs(seconds);
        let (key, info) = room.directory.rotate_key(&operator(), &id.to_string(), overlap).await.unwrap();
        (key.reveal().expose_secret().to_owned(), info)
    };
    let (second, info) = rotate(60).await;
    assert_eq!(
        (info.id, info.state, info.previous_until),
        (id, KeyState::Rotating, Some(room.in_seconds(60)))
    );
    assert_eq!(room.enter(&first).await.unwrap().until(), Some(room.in_seconds(60)));
    assert_eq!(room.enter(&second).await.unwrap().until(), None);
    tokio::time::advance(Duration::from_secs(60)).await;
    room.refused(&first).await;
    let (third, _) = rotate(60).await;
    assert!(room.enter(&second).await.is_ok() && room.enter(&third).await.is_ok());
    let (fourth, info) = rotate(0).await;
    assert_eq!(info.state, KeyState::Active);
    for gone in [&first, &second, &third] {
        room.refused(gone).await;
    }
    assert!(room.enter(&fourth).await.is_ok());
    let too_long = MAX_OVERLAP + Duration::from_secs(1);
    let error = room.directory.rotate_key(&operator(), &id.to_string(), too_long).await.unwrap_err();
    assert_eq!(error.param(), Some("overlap"));
}

#[tokio::test(start_paused = true)]
async fn a_disabled_key_comes_back_and_a_deleted_one_does_not() {
    let room = Room::new();
    let (key, id) = room.key("acme", "responses.read", None).await;
    let id = id.to_string();
    for disabled in [true, true, false, false] {
        let info = room.directory.set_key_disabled(&operator(), &id, disabled).await.unwrap();
        assert_eq!(info.state == KeyState::Disabled, disabled);
        assert_eq!(room.enter(&key).await.is_err(), disabled);
    }
    room.directory.delete_key(&operator(), &id).await.unwrap();
    room.refused(&key).await;
    let error = room.directory.set_key_disabled(&operator(), &id, false).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound);
    assert!(room.directory.is_empty().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_principal_is_checked_again_when_the_epoch_changes() {
    let room = Room::new();
    let (key, id) = room.key("acme", "responses.read models.read", None).await;
    let id = id.to_string();
    let principal = room.enter(&key).await.unwrap();
    let epoch = room.access.epoch();
    assert!(room.access.check(&principal).await.is_ok());
    assert_eq!(room.access.epoch(), epoch, "looking changes nothing");
    room.directory.set_key_disabled(&operator(), &id, true).await.unwrap();
    assert_ne!(room.access.epoch(), epoch);
    assert_eq!(room.access.check(&principal).await.unwrap_err().code(), ErrorCode::Unauthorized);
    room.directory.set_key_disabled(&operator(), &id, false).await.unwrap();
    assert!(room.access.check(&principal).await.is_ok());
    room.directory.rotate_key(&operator(), &id, Duration::ZERO).await.unwrap();
    assert_eq!(room.access.check(&principal).await.unwrap_err().code(), ErrorCode::Unauthorized);

    room.directory.add_user(&owner("acme")).await.unwrap();
    let (key, _) = room.key("acme", "responses.read", None).await;
    let principal = room.enter(&key).await.unwrap();
    let epoch = room.access.epoch();
    room.directory.disable_user(&owner("acme")).await.unwrap();
    assert_ne!(room.access.epoch(), epoch);
    assert!(room.access.check(&principal).await.is_err());
    for lasting in [operator(), Principal::local(owner("acme"))] {
        assert!(room.access.check(&lasting).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn scopes_that_were_taken_away_end_access() {
    let room = Room::new();
    let (key, id) = room.key("acme", "responses.read", None).await;
    let held = room.enter(&key).await.unwrap();
    let Credential::Key { value, .. } = held.credential() else { panic!("not a key") };
    let more = Scopes::parse("responses.read responses.write").unwrap();
    let before = Principal::key(id, *value, owner("acme"), more, None);
    let error = room.access.check(&before).await.unwrap_err();
    assert_eq!(error.scope(), Some("responses.write"));
    let only_read = before.narrowed_to(Scopes::parse("responses.read").unwrap());
    assert!(room.access.check(&only_read).await.is_ok(), "what was not used cannot be lost");
}

#[tokio::test(start_paused = true)]
async fn nobody_hands_out_more_than_they_have() {
    let room = Room::new();
    let new = |name: Option<&str>, scopes: &str| NewKey {
        owner: name.map(owner),
        scopes: Scopes::parse(scopes).unwrap(),
        expires_at: None,
    };
    let create = async |new| room.directory.create_key(&manager(), new).await.map(|(_, info)| info);
    let own = create(new(None, "responses.read")).await.unwrap();
    assert_eq!(own.owner, owner("acme"));
    for (wrong, scope, param) in [
        (new(None, "responses.write"), "responses.write", "scopes"),
        (new(None, "admin"), "responses.write", "scopes"),
        (new(Some("bob"), "responses.read"), "owners.act_as", "owner"),
    ] {
        let error = create(wrong).await.unwrap_err();
        assert_eq!((error.scope(), error.param()), (Some(scope), Some(param)));
    }
    assert_eq!(create(new(None, "")).await.unwrap_err().param(), Some("scopes"));
    let ended = NewKey { expires_at: Some(room.clock.now()), ..new(None, "responses.read") };
    assert_eq!(create(ended).await.unwrap_err().param(), Some("expires_at"));

    let (_, admin) = room.key("acme", "admin", None).await;
    let rotate = room.directory.rotate_key(&manager(), &admin.to_string(), Duration::ZERO).await;
    assert_eq!(rotate.unwrap_err().code(), ErrorCode::InsufficientScope, "its secret would be admin's");
}

#[tokio::test(start_paused = true)]
async fn the_keys_of_another_owner_are_as_unknown() {
    let room = Room::new();
    let (_, foreign) = room.key("bob", "responses.read", None).await;
    let unknown = KeyId::from_bytes([7; 16]);
    let mut errors = Vec::new();
    for id in [foreign.to_string(), unknown.to_string(), "no id".to_owned()] {
        errors
            .push(room.directory.rotate_key(&manager(), &id, Duration::ZERO).await.unwrap_err().to_string());
        errors.push(room.directory.set_key_disabled(&manager(), &id, true).await.unwrap_err().to_string());
        errors.push(room.directory.delete_key(&manager(), &id).await.unwrap_err().to_string());
    }
    assert!(errors.iter().all(|error| error == "not_found: no key with this id"), "{errors:?}");
}

#[tokio::test(start_paused = true)]
async fn keys_are_listed_page_by_page_in_the_order_they_were_made() {
    let room = Room::new();
    let mut of_acme = Vec::new();
    for _ in 0..3 {
        of_acme.push(room.key("acme", "responses.read", None).await.1);
        room.key("bob", "responses.read", None).await;
    }
    let list = async |caller: &Principal, owner, page_size, after: Option<KeyId>| {
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        let page =
            room.directory.list_keys(caller, KeyQuery { owner, page_size, after: &after }).await.unwrap();
        (page.keys.iter().map(|key| key.id).collect::<Vec<_>>(), page.has_more)
    };
    assert_eq!(list(&manager(), "", 2, None).await, (of_acme[..2].to_vec(), true));
    assert_eq!(list(&manager(), "acme", 2, Some(of_acme[1])).await, (of_acme[2..].to_vec(), false));
    assert_eq!(list(&operator(), "acme", 3, None).await, (of_acme.clone(), false));
    assert_eq!(list(&operator(), "", 0, None).await.0.len(), 6);
    let query = KeyQuery { owner: "bob", ..KeyQuery::default() };
    assert_eq!(room.directory.list_keys(&manager(), query).await.unwrap_err().scope(), Some("owners.act_as"));
    for (query, param) in [
        (KeyQuery { owner: "a b", ..KeyQuery::default() }, "owner"),
        (KeyQuery { after: "x", ..KeyQuery::default() }, "after"),
    ] {
        assert_eq!(room.directory.list_keys(&operator(), query).await.unwrap_err().param(), Some(param));
    }
}

#[tokio::test(start_paused = true)]
async fn users_are_added_disabled_and_listed() {
    let room = Room::new();
    let unknown = room.directory.disable_user(&owner("ann")).await.unwrap_err();
    assert_eq!(unknown.code(), ErrorCode::NotFound);
    for name in ["bob", "ann"] {
        room.directory.add_user(&owner(name)).await.unwrap();
    }
    room.directory.disable_user(&owner("bob")).await.unwrap();
    let list = async |after, page_size| {
        let page = room.directory.list_users(after, page_size).await.unwrap();
        (
            page.users.iter().map(|user| (user.name.to_string(), user.disabled)).collect::<Vec<_>>(),
            page.has_more,
        )
    };
    let (ann, bob) = (("ann".to_owned(), false), ("bob".to_owned(), true));
    assert_eq!(list("", 0).await, (vec![ann.clone(), bob.clone()], false));
    assert_eq!(list("", 1).await, (vec![ann], true));
    assert_eq!(list("ann", 1).await, (vec![bob], false));
    assert_eq!(room.directory.list_users("a b", 0).await.unwrap_err().param(), Some("after"));
    assert!(!room.directory.add_user(&owner("bob")).await.unwrap().disabled, "added again, it is enabled");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_lets_nobody_in() {
    let room = Room::new();
    let (key, id) = room.key("acme", "responses.read", None).await;
    let name = format!("key/{id}");
    let record = tidemark_store::Store::record(&*room.store, name.as_bytes()).await.unwrap().unwrap();
    let put = tidemark_store::Store::put_record(
        &*room.store,
        name.as_bytes(),
        Some(record.version),
        Some("{}".into()),
    );
    put.await.unwrap();
    let error = room.enter(&key).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::StorageUnavailable);
    room.store.poison("on purpose");
    let new = NewKey { owner: None, scopes: Scopes::all(), expires_at: None };
    let error = room.directory.create_key(&operator(), new).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::StorageUnavailable);
}
