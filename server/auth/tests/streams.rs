//! Access while a stream is open (D-33).

use tidemark_store::Store as _;
use tokio::time::timeout;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

impl Room {
    /// Changes the record of a key as no call can, and moves the epoch.
    async fn rewrite(&self, id: KeyId, change: impl Fn(&str) -> String) {
        let name = format!("key/{id}");
        let found = self.store.record(name.as_bytes()).await.unwrap().unwrap();
        let before = String::from_utf8(found.value.to_vec()).unwrap();
        let after = change(&before);
        assert_ne!(after, before);
        self.store.put_record(name.as_bytes(), Some(found.version), Some(after.into())).await.unwrap();
        self.directory.add_user(&owner("bob")).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_ends_when_its_key_does_and_not_before() {
    let room = Room::new();
    let (key, id) = room.key("acme", "responses.read", None).await;
    let (_, other) = room.key("bob", "responses.read", None).await;
    let mut lease = Lease::new(room.access.clone(), room.enter(&key).await.unwrap());
    assert!(!lease.is_current(), "nobody has looked yet");
    lease.check().await.unwrap();
    assert!(lease.is_current());
    room.directory.delete_key(&operator(), &other.to_string()).await.unwrap();
    assert!(!lease.is_current());
    assert!(timeout(100 * SECOND, lease.lost()).await.is_err(), "another key is nothing to it");
    assert!(lease.is_current());
    let waiting = async {
        tokio::time::sleep(SECOND).await;
        room.directory.set_key_disabled(&operator(), &id.to_string(), true).await.unwrap();
    };
    let start = tokio::time::Instant::now();
    let (error, ()) = tokio::join!(lease.lost(), waiting);
    assert_eq!((error.code(), start.elapsed()), (ErrorCode::Unauthorized, SECOND), "at once");
    assert_eq!(lease.check().await.unwrap_err().code(), ErrorCode::Unauthorized);
}

#[tokio::test(start_paused = true)]
async fn a_change_before_the_first_look_is_not_missed() {
    let room = Room::new();
    let (key, id) = room.key("acme", "responses.read", None).await;
    let principal = room.enter(&key).await.unwrap();
    room.directory.set_key_disabled(&operator(), &id.to_string(), true).await.unwrap();
    let mut lease = Lease::new(room.access.clone(), principal);
    assert_eq!(lease.check().await.unwrap_err().code(), ErrorCode::Unauthorized);
}

#[tokio::test(start_paused = true)]
async fn a_lease_ends_at_the_time_its_credential_does() {
    let room = Room::new();
    for seconds in [3, 40] {
        let (key, _) = room.key("acme", "responses.read", Some(room.in_seconds(seconds))).await;
        let mut lease = Lease::new(room.access.clone(), room.enter(&key).await.unwrap());
        lease.check().await.unwrap();
        let start = tokio::time::Instant::now();
        assert_eq!(lease.lost().await.code(), ErrorCode::Unauthorized);
        assert_eq!(start.elapsed().as_secs(), seconds);
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_stream_is_checked_every_period_too() {
    let room = Room::new();
    let (key, _) = room.key("acme", "responses.read", Some(room.in_seconds(20))).await;
    let mut lease = Lease::new(room.access.clone(), room.enter(&key).await.unwrap());
    for second in 0..20 {
        assert!(lease.check().await.is_ok(), "{second}");
        tokio::time::advance(SECOND).await;
    }
    assert!(lease.is_current(), "no key has changed");
    assert_eq!(lease.check().await.unwrap_err().code(), ErrorCode::Unauthorized);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_checked_is_lost() {
    let room = Room::new();
    let (key, id) = room.key("acme", "responses.read", None).await;
    let mut lease = Lease::new(room.access.clone(), room.enter(&key).await.unwrap());
    lease.check().await.unwrap();
    // A record that this version does not understand.
    room.rewrite(id, |_| "{}".to_owned()).await;
    assert_eq!(lease.check().await.unwrap_err().code(), ErrorCode::StorageUnavailable);
}

#[tokio::test(start_paused = true)]
async fn scopes_that_are_narrowed_end_a_lease() {
    let room = Room::new();
    let (key, id) = room.key("acme", "responses.read models.read", None).await;
    let mut lease = Lease::new(room.access.clone(), room.enter(&key).await.unwrap());
    lease.check().await.unwrap();
    room.rewrite(id, |record| record.replace("\"responses.read\",", "")).await;
    assert_eq!(lease.check().await.unwrap_err().scope(), Some("responses.read"));
}
