//! What a grant is worth while its key, its user and the keys of tokens change.

use tokio::time::timeout;

use super::jws::Claims;
use super::*;

#[tokio::test(start_paused = true)]
async fn b_34_a_grant_is_worth_nothing_without_its_key() {
    let room = Room::new().await;
    let granted = async || {
        let (key, id) = room.key("acme", "models.read").await;
        let code = room.consent(&room.client, &key).await.unwrap();
        (room.redeem(&code).await.unwrap(), id.to_string())
    };
    let (issued, id) = granted().await;
    room.directory.set_key_disabled(&operator(), &id, true).await.unwrap();
    assert!(!room.opens(&issued.access_token).await);
    assert_eq!(code_of(room.refresh(&issued.refresh_token).await), "invalid_grant");
    room.directory.set_key_disabled(&operator(), &id, false).await.unwrap();
    assert!(!room.opens(&issued.access_token).await, "b_36: it is of an epoch that has passed");
    let issued = room.refresh(&issued.refresh_token).await.unwrap();
    assert!(room.opens(&issued.access_token).await, "the refused refresh has not used the token up");
    room.directory.rotate_key(&operator(), &id, MINUTE).await.unwrap();
    assert!(!room.opens(&issued.access_token).await, "b_36");
    let issued = room.refresh(&issued.refresh_token).await.unwrap();
    room.directory.delete_key(&operator(), &id).await.unwrap();
    assert!(!room.opens(&issued.access_token).await);
    assert_eq!(code_of(room.refresh(&issued.refresh_token).await), "invalid_grant");

    let (issued, _) = granted().await;
    let no_keys =
        Room::over(Arc::clone(&room.store), Arc::clone(&room.clock), Rules { keys: false, ..rules() });
    let refused = no_keys.refresh_as(&room.client, &issued.refresh_token, None).await;
    assert_eq!(code_of(refused), "invalid_grant", "the mode was switched off");
    let (issued, _) = granted().await;
    room.directory.delete_client(&operator(), &room.client).await.unwrap();
    assert!(!room.opens(&issued.access_token).await, "its client is gone");
    assert_eq!(code_of(room.refresh(&issued.refresh_token).await), "invalid_grant");
}

#[tokio::test(start_paused = true)]
async fn b_34_a_grant_is_worth_nothing_without_its_user() {
    let room = Room::new().await;
    room.directory.add_user(&owner("ann")).await.unwrap();
    let code = room.consent_of_user("ann").await.unwrap();
    let issued = room.redeem(&code).await.unwrap();
    assert!(room.opens(&issued.access_token).await);
    room.directory.disable_user(&owner("ann")).await.unwrap();
    assert!(!room.opens(&issued.access_token).await);
    assert_eq!(code_of(room.refresh(&issued.refresh_token).await), "invalid_grant");
    room.directory.add_user(&owner("ann")).await.unwrap();
    assert!(!room.opens(&issued.access_token).await, "b_36");
    let issued = room.refresh(&issued.refresh_token).await.unwrap();
    assert!(room.opens(&issued.access_token).await);
    let no_users =
        Room::over(Arc::clone(&room.store), Arc::clone(&room.clock), Rules { users: false, ..rules() });
    let refused = no_users.refresh_as(&room.client, &issued.refresh_token, None).await;
    assert_eq!(code_of(refused), "invalid_grant", "there is no user directory");
}

#[tokio::test(start_paused = true)]
async fn b_s5_revoking_ends_open_streams_at_once_and_others_go_on() {
    let room = Room::new().await;
    let (issued, other) = (room.granted("acme").await, room.granted("acme").await);
    let principal = room.enter(&issued.access_token).await.unwrap();
    let mut lease = Lease::new(room.access.clone(), principal.clone());
    let mut stays = Lease::new(room.access.clone(), room.enter(&other.access_token).await.unwrap());
    lease.check().await.unwrap();
    stays.check().await.unwrap();
    room.refresh(&issued.refresh_token).await.unwrap();
    assert!(lease.is_current(), "a renewal disturbs nobody");
    let id = principal.credential().to_string();
    let start = tokio::time::Instant::now();
    let acme = holder("acme", "grants.write");
    let revoked = room.directory.revoke_grant(&acme, &id);
    let (lost, revoked) = tokio::join!(lease.lost(), revoked);
    revoked.unwrap();
    assert_eq!((lost.code(), start.elapsed()), (ErrorCode::Unauthorized, Duration::ZERO));
    assert!(timeout(MINUTE, stays.lost()).await.is_err());
    let end = timeout(20 * MINUTE, stays.lost()).await.unwrap();
    assert_eq!(end.code(), ErrorCode::Unauthorized, "a stream ends with its token");
}

#[tokio::test(start_paused = true)]
async fn a_ticket_made_with_an_access_token_ends_with_the_grant() {
    use crate::auth::{Rights, TicketOrder};
    let room = Room::new().await;
    let issued = room.granted("acme").await;
    let maker = room.enter(&issued.access_token).await.unwrap();
    let order = TicketOrder::new(Rights::Read, Some(MINUTE)).unwrap();
    let response = tidemark_store::LogId::from_bytes([1; 16]);
    let ticket = room.access.mint(&maker, response, &order).await.unwrap();
    let ticket = ticket.value.expose_secret();
    assert!(room.enter(ticket).await.unwrap().may_see(&owner("acme"), response));
    room.refresh(&issued.refresh_token).await.unwrap();
    assert!(room.opens(ticket).await, "it outlives a renewal");
    room.grants.revoke_token(&issued.access_token, &room.client).await.unwrap();
    assert!(!room.opens(ticket).await);
}

#[tokio::test(start_paused = true)]
async fn check_30_the_previous_key_is_good_and_the_one_before_is_not() {
    let room = Room::with(Rules { access_ttl: 60 * MINUTE, ..rules() }).await;
    let first = room.granted("acme").await;
    room.directory.rotate_signing_key(Duration::ZERO).await.unwrap();
    let second = room.granted("acme").await;
    assert!(room.opens(&first.access_token).await, "of the previous key");
    assert_eq!(room.grants.public_keys().await.unwrap().len(), 2);
    room.directory.rotate_signing_key(Duration::ZERO).await.unwrap();
    assert!(!room.opens(&first.access_token).await, "of the key before that");
    assert!(room.opens(&second.access_token).await);
    let before = room.grants.public_keys().await.unwrap();
    tokio::time::advance(30 * DAY).await;
    room.granted("acme").await;
    let after = room.grants.public_keys().await.unwrap();
    assert_ne!(before[0].kid, after[0].kid, "a key is replaced when it is old");
    assert_eq!(before[0].kid, after[1].kid);
}

#[tokio::test(start_paused = true)]
async fn check_30_a_token_of_another_issuer_time_or_grant_is_refused() {
    let room = Room::new().await;
    let issued = room.granted("acme").await;
    let good = room.grants.claims(&issued.access_token).await.unwrap().unwrap();
    let ring = room.directory.signing_keys().await.unwrap().unwrap();
    let sign = |claims: &Claims| ring.keys()[0].sign(claims).unwrap();
    assert!(room.opens(&sign(&good)).await);
    let unknown = GrantId::new(&owner("acme"), [0; 16]).to_string();
    let other_grant = room.listed(GrantQuery::default()).await[0].id.to_string();
    assert_eq!(good.sid, other_grant);
    for (what, claims) in [
        ("iss", Claims { iss: "https://evil.example".to_owned(), ..good.clone() }),
        ("aud", Claims { aud: ["https://gate.example".to_owned()], ..good.clone() }),
        ("sub", Claims { sub: "bob".to_owned(), ..good.clone() }),
        ("exp", Claims { exp: good.iat, ..good.clone() }),
        ("nbf", Claims { nbf: good.iat + 1, ..good.clone() }),
        ("iat", Claims { iat: good.iat + 1, ..good.clone() }),
        ("sid", Claims { sid: unknown, ..good.clone() }),
        ("no sid", Claims { sid: String::new(), ..good.clone() }),
        ("epoch", Claims { epoch: good.epoch + 1, ..good.clone() }),
        ("scope", Claims { scope: "everything".to_owned(), ..good.clone() }),
    ] {
        assert!(!room.opens(&sign(&claims)).await, "{what}");
    }
    let wide = sign(&Claims { scope: "admin".to_owned(), ..good.clone() });
    assert!(room.enter(&wide).await.unwrap().require(Scope::KeysAdmin).is_err(), "never more than the grant");
    room.grants.revoke_token(&issued.refresh_token, &room.client).await.unwrap();
    assert!(!room.opens(&issued.access_token).await, "of a revoked grant");
}

#[tokio::test(start_paused = true)]
async fn b_1_where_only_apps_may_come_in_keys_open_nothing_but_the_pages() {
    let room = Room::new().await;
    let (key, _) = room.key("acme", "models.read").await;
    let issued = room.granted("acme").await;
    let mode = Mode::Keys { operator: Some(Digest::of(SECRET.as_bytes())) };
    let only = Access::new(mode.clone(), room.directory.clone()).with_grants(room.grants.clone(), true);
    let none = Access::new(mode, room.directory.clone());
    let enter = async |access: &Access, bearer: &str| {
        access.identify(Presented { bearer: Some(bearer), ..Presented::default() }).await.is_ok()
    };
    assert!(
        !enter(&only, &key).await && enter(&only, SECRET).await && enter(&only, &issued.access_token).await
    );
    assert!(only.key_holder(&key).await.is_ok());
    assert!(enter(&none, &key).await && !enter(&none, &issued.access_token).await);
}
