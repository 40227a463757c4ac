//! Second uses, at whatever time (B-s1, B-s2).

use futures_util::future::join_all;

use super::*;

#[tokio::test(start_paused = true)]
async fn check_23_of_50_refreshes_at_once_one_wins_and_the_grant_is_revoked() {
    let room = Room::new().await;
    let issued = room.granted("acme").await;
    let other = room.granted("acme").await;
    let many = join_all((0..50).map(|_| room.refresh(&issued.refresh_token))).await;
    let (won, lost): (Vec<_>, Vec<_>) = many.into_iter().partition(Result::is_ok);
    assert!(won.len() <= 1, "{}", won.len());
    for refused in lost {
        assert_eq!(code_of(refused), "invalid_grant");
    }
    assert!(!room.opens(&issued.access_token).await);
    for winner in won.into_iter().flatten() {
        assert!(!room.opens(&winner.access_token).await, "what the winner got ends too");
        assert_eq!(code_of(room.refresh(&winner.refresh_token).await), "invalid_grant");
    }
    assert!(room.opens(&other.access_token).await, "another grant is left alone");
    assert!(room.refresh(&other.refresh_token).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn check_24_a_code_used_twice_ends_what_it_bought() {
    let room = Room::new().await;
    let (key, _) = room.key("acme", "models.read").await;
    let code = room.consent(&room.client, &key).await.unwrap();
    let issued = room.redeem(&code).await.unwrap();
    let issued = room.refresh(&issued.refresh_token).await.unwrap();
    assert!(room.opens(&issued.access_token).await);
    assert_eq!(code_of(room.redeem(&code).await), "invalid_grant");
    assert!(!room.opens(&issued.access_token).await);
    assert_eq!(code_of(room.refresh(&issued.refresh_token).await), "invalid_grant");
    let code = room.consent(&room.client, &key).await.unwrap();
    let many = join_all((0..50).map(|_| room.redeem(&code))).await;
    let won: Vec<_> = many.into_iter().flatten().collect();
    assert!(won.len() <= 1);
    for winner in won {
        assert!(!room.opens(&winner.access_token).await);
    }
}

#[tokio::test(start_paused = true)]
async fn b_23_an_old_refresh_token_ends_the_newest_one_and_a_made_up_one_does_nothing() {
    let room = Room::new().await;
    let first = room.granted("acme").await;
    let second = room.refresh(&first.refresh_token).await.unwrap();
    let third = room.refresh(&second.refresh_token).await.unwrap();
    let made_up = {
        // The id of the grant is no secret; whoever has it alone cannot end it.
        let id: GrantId =
            room.enter(&third.access_token).await.unwrap().credential().to_string().parse().unwrap();
        secret::Refresh::generate(id).unwrap().reveal()
    };
    assert_eq!(code_of(room.refresh(&made_up).await), "invalid_grant");
    assert!(room.opens(&third.access_token).await);
    assert_eq!(code_of(room.refresh(&first.refresh_token).await), "invalid_grant");
    assert!(!room.opens(&third.access_token).await);
    assert_eq!(code_of(room.refresh(&third.refresh_token).await), "invalid_grant");
}

#[tokio::test(start_paused = true)]
async fn of_many_answers_to_one_page_one_counts() {
    let room = Room::new().await;
    let (key, _) = room.key("acme", "models.read").await;
    let request = room.request(&room.client, None).await;
    let many = join_all((0..20).map(|_| room.consent_to(&request, &key))).await;
    assert_eq!(many.iter().filter(|answer| answer.is_ok()).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_hangs_up_takes_no_second_use_back() {
    let room = Room::new().await;
    let issued = room.granted("acme").await;
    let next = room.refresh(&issued.refresh_token).await.unwrap();
    let second_use = room.refresh(&issued.refresh_token);
    // Polled once, and dropped.
    assert!(futures_util::FutureExt::now_or_never(second_use).is_none());
    room.tasks.stop();
    room.tasks.ended().await;
    assert!(!room.opens(&next.access_token).await);
}
