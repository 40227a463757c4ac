//! The end of what is of no more use (B-29 to B-31).

use futures_util::FutureExt as _;
use tidemark_store::UnixMillis;
use tokio::time::timeout;

use super::record::{GrantRecord, grant_name};
use super::sweep::Swept;
use super::*;

async fn sweep(room: &Room) -> Swept {
    room.grants.sweep_once(30 * DAY, 60 * MINUTE).await.unwrap()
}

fn swept(requests: u64, grants: u64, clients: u64) -> Swept {
    Swept { requests, grants, clients }
}

#[tokio::test(start_paused = true)]
async fn b_29_a_sweep_removes_requests_then_grants_then_clients_and_keeps_what_lives() {
    let room = Room::new().await;
    let (key, _) = room.key("acme", "models.read").await;
    room.consent(&room.client, &key).await.unwrap();
    let denied = room.request(&room.client, None).await;
    room.grants.deny(&denied, None).await.unwrap();
    room.grants.start_device(Some(&room.client), None, None).await.unwrap();
    let dead = room.granted("acme").await;
    let other = room.register("Other").await;
    let code = room.consent(&other, &key).await.unwrap();
    let live = room.redeem_as(&other, &code, BACK, VERIFIER).await.unwrap();
    let kept = NewClient { redirects: vec![BACK.to_owned()], ..NewClient::default() };
    room.directory.create_client(kept, &RedirectRules::default()).await.unwrap();
    assert_eq!(sweep(&room).await, swept(0, 0, 0), "all of it is young");
    tokio::time::advance(5 * MINUTE).await;
    // The answers to four pages, and a code that nobody redeemed.
    assert_eq!(sweep(&room).await, swept(5, 0, 0));
    tokio::time::advance(5 * MINUTE).await;
    assert_eq!(sweep(&room).await, swept(1, 0, 0), "the device");
    room.grants.revoke_token(&dead.refresh_token, &room.client).await.unwrap();
    tokio::time::advance(29 * DAY).await;
    let live = room.refresh_as(&other, &live.refresh_token, None).await.unwrap();
    assert_eq!(sweep(&room).await, swept(0, 0, 0));
    tokio::time::advance(DAY).await;
    assert_eq!(sweep(&room).await, swept(0, 1, 1), "the client became an orphan in the same pass");
    assert_eq!(room.directory.list_clients("", 0).await.unwrap().clients.len(), 2);
    assert!(room.refresh_as(&other, &live.refresh_token, None).await.is_ok());
    tokio::time::advance(31 * DAY).await;
    assert_eq!(sweep(&room).await, swept(0, 0, 0), "b_s13: it has ended, and is kept for a while");
    tokio::time::advance(30 * DAY).await;
    assert_eq!(sweep(&room).await, swept(0, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn check_26_a_sweep_with_a_duration_of_nothing_removes_nothing() {
    let room = Room::new().await;
    let issued = room.granted("acme").await;
    room.grants.revoke_token(&issued.refresh_token, &room.client).await.unwrap();
    room.register("Orphan").await;
    tokio::time::advance(365 * DAY).await;
    let nothing = room.grants.sweep_once(Duration::ZERO, Duration::ZERO).await.unwrap();
    assert_eq!((nothing.grants, nothing.clients), (0, 0));
    assert_eq!(room.grants.sweep_once(Duration::ZERO, MINUTE).await.unwrap().clients, 1, "but the orphan");
    let never = Grants::new(room.directory.clone(), Rules { sweep_period: Duration::ZERO, ..rules() });
    assert!(never.sweep().now_or_never().is_some(), "a period of nothing never starts");
}

#[tokio::test(start_paused = true)]
async fn a_sweep_works_by_itself_and_ends_when_it_is_told_to() {
    let room = Room::new().await;
    room.register("Orphan").await;
    let grants = room.grants.clone();
    let worker = room.tasks.spawn(async move { grants.sweep().await });
    tokio::time::sleep(71 * MINUTE).await;
    assert!(room.directory.list_clients("", 0).await.unwrap().clients.is_empty());
    room.tasks.stop();
    room.tasks.stop();
    timeout(Duration::from_secs(1), worker).await.unwrap().unwrap();
}

#[tokio::test]
async fn check_28_a_sweep_of_100_000_dead_grants_ends_within_a_second_and_stops_nobody_else() {
    let room = Room::new().await;
    let issued = room.granted("acme").await;
    let id = room.listed(GrantQuery::default()).await[0].id;
    let record = room.directory.grant(id).await.unwrap().unwrap();
    let dead = GrantRecord { revoked_at: Some(UnixMillis(1)), ..record };
    // Ids of the clock begin at 1.
    let dead_id = |number: u128| GrantId::new(&owner("acme"), ((1 << 64) + number).to_be_bytes());
    for number in 0..100_000 {
        let name = grant_name(dead_id(number));
        room.store.put_record(name.as_bytes(), None, Some(dead.encode())).await.unwrap();
    }
    let grants = room.grants.clone();
    let worker = room.tasks.spawn(async move { grants.sweep().await });
    let hangs = room.tasks.spawn(std::future::pending::<()>());
    let newest = grant_name(dead_id(99_999));
    let begun = async {
        while room.store.record(newest.as_bytes()).await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), begun).await.unwrap();
    let start = std::time::Instant::now();
    room.tasks.stop();
    worker.await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(!hangs.is_finished());
    hangs.abort();
    let left = room.store.records(b"grant/", None, usize::MAX).await.unwrap().len();
    assert!(left > 1, "it was cut off in the middle");
    assert!(room.refresh(&issued.refresh_token).await.is_ok());
    while sweep(&room).await != swept(0, 0, 0) {}
    assert_eq!(
        room.store.records(b"grant/", None, usize::MAX).await.unwrap().len(),
        1,
        "the next pass goes on"
    );
}
