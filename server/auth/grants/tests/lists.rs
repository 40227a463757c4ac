//! Connected apps, seen and ended.

use super::*;

fn page(size: u32, after: &str) -> GrantQuery {
    GrantQuery { page_size: size, after: after.to_owned(), ..GrantQuery::default() }
}

#[tokio::test(start_paused = true)]
async fn check_25_an_id_that_was_listed_is_good_after_a_renewal() {
    let room = Room::new().await;
    let issued = room.granted("acme").await;
    let id = room.listed(GrantQuery::default()).await[0].id;
    tokio::time::advance(MINUTE).await;
    let next = room.refresh(&issued.refresh_token).await.unwrap();
    let listed = room.listed(GrantQuery::default()).await;
    assert_eq!((listed.len(), listed[0].id), (1, id), "b_s4");
    assert_eq!(listed[0].used_at.0 - listed[0].created_at.0, 60_000);
    room.directory.revoke_grant(&holder("acme", "grants.write"), &id.to_string()).await.unwrap();
    assert!(!room.opens(&next.access_token).await);
    assert!(room.listed(GrantQuery::default()).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn b_26_owners_see_and_end_their_own_and_nobody_learns_of_others() {
    let room = Room::new().await;
    room.granted("acme").await;
    let id = room.listed(GrantQuery::default()).await[0].id.to_string();
    let acme = holder("acme", "grants.read grants.write");
    let bob = holder("bob", "grants.read grants.write");
    let seen = async |caller: &Principal| {
        room.directory.list_grants(caller, &page(0, "")).await.unwrap().grants.len()
    };
    assert_eq!((seen(&acme).await, seen(&bob).await, seen(&operator()).await), (1, 0, 1));
    let unknown = GrantId::new(&owner("bob"), [1; 16]).to_string();
    let mut said = Vec::new();
    for (caller, id) in [(&bob, id.as_str()), (&bob, &unknown), (&acme, &unknown), (&bob, "x"), (&bob, "")] {
        let error = room.directory.revoke_grant(caller, id).await.unwrap_err();
        said.push((error.code(), error.message().to_owned()));
    }
    assert!(said.iter().all(|one| one.0 == ErrorCode::NotFound && *one == said[0]), "{said:?}");
    assert_eq!(seen(&acme).await, 1);
    room.directory.revoke_grant(&acme, &id).await.unwrap();
    room.directory.revoke_grant(&acme, &id).await.unwrap();
    assert_eq!(seen(&acme).await, 0);
    let of_bob = GrantFilter::new("acme", Vec::new(), "", "").unwrap();
    let asked = GrantQuery { filter: of_bob, ..GrantQuery::default() };
    let error = room.directory.list_grants(&bob, &asked).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InsufficientScope);
}

#[tokio::test(start_paused = true)]
async fn b_25_pages_of_every_size_hold_each_grant_once_the_newest_first() {
    let room = Room::new().await;
    let other = room.register("Other App").await;
    let (key, _) = room.key("acme", "models.read").await;
    for number in 0..7 {
        let client = if number % 3 == 0 { &other } else { &room.client };
        let code = room.consent(client, &key).await.unwrap();
        room.redeem_as(client, &code, BACK, VERIFIER).await.unwrap();
    }
    room.granted("bob").await;
    room.consent(&room.client, &key).await.unwrap();
    let acme = holder("acme", "grants.read");
    for size in [1, 2, 3, 7, 8, 500] {
        let (mut after, mut ids) = (String::new(), Vec::new());
        loop {
            let found = room.directory.list_grants(&acme, &page(size, &after)).await.unwrap();
            assert!(found.grants.len() <= usize::try_from(size).unwrap() && found.page_size == size);
            ids.extend(found.grants.iter().map(|grant| (grant.created_at, grant.id)));
            match found.next {
                Some(next) => after = next.to_string(),
                None => break,
            }
        }
        let mut sorted = ids.clone();
        // Ids of an owner are lower the newer they are.
        sorted.sort_by_key(|(_, id)| *id);
        sorted.dedup();
        assert_eq!((ids.len(), &ids), (7, &sorted), "{size}");
    }
    let clamped = room.directory.list_grants(&acme, &page(100_000, "")).await.unwrap();
    assert_eq!(clamped.page_size, 500);
    let found = async |owner: &str, modes: Vec<GrantMode>, client: &str, text: &str| {
        let filter = GrantFilter::new(owner, modes, client, text).unwrap();
        room.listed(GrantQuery { filter, ..GrantQuery::default() }).await.len()
    };
    assert_eq!(found("", Vec::new(), "", "").await, 8);
    assert_eq!(found("acme", Vec::new(), &other, "").await, 3);
    assert_eq!(found("", Vec::new(), "", "oTHER").await, 3);
    assert_eq!(
        (found("", vec![GrantMode::Vk], "", "").await, found("", vec![GrantMode::User], "", "").await),
        (8, 0)
    );
    let foreign = GrantId::new(&owner("bob"), [1; 16]).to_string();
    for wrong in ["x", foreign.as_str()] {
        let error = room.directory.list_grants(&acme, &page(0, wrong)).await.unwrap_err();
        assert_eq!((error.code(), error.param()), (ErrorCode::InvalidCursor, Some("after")));
    }
    assert!(GrantFilter::new("a b", Vec::new(), "", "").is_err());
    assert!(GrantFilter::new("", Vec::new(), "app", "").is_err());
    assert!(GrantFilter::new("", Vec::new(), "", &"x".repeat(257)).is_err());
}

#[tokio::test(start_paused = true)]
async fn b_28_the_operator_ends_all_of_a_mode_or_a_client_and_no_others() {
    let room = Room::new().await;
    room.directory.add_user(&owner("ann")).await.unwrap();
    let code = room.consent_of_user("ann").await.unwrap();
    let of_ann = room.redeem(&code).await.unwrap();
    let of_acme = room.granted("acme").await;
    let other = room.register("Other").await;
    let (key, _) = room.key("acme", "models.read").await;
    let code = room.consent(&other, &key).await.unwrap();
    let of_other = room.redeem_as(&other, &code, BACK, VERIFIER).await.unwrap();
    let end = async |modes: Vec<GrantMode>, client: &str| {
        let filter = GrantFilter::new("", modes, client, "").unwrap();
        room.directory.revoke_grants(&operator(), &filter).await.unwrap()
    };
    let open = async || {
        let mut open = Vec::new();
        for issued in [&of_ann, &of_acme, &of_other] {
            open.push(room.opens(&issued.access_token).await);
        }
        open
    };
    assert_eq!((end(Vec::new(), &other).await, open().await), (1, vec![true, true, false]));
    assert_eq!((end(vec![GrantMode::User], "").await, open().await), (1, vec![false, true, false]));
    assert_eq!((end(Vec::new(), "").await, open().await), (1, vec![false, false, false]));
    assert_eq!(end(Vec::new(), "").await, 0);
}
