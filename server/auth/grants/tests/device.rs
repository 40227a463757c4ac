//! The device flow (B-37).

use futures_util::future::join_all;

use super::*;

impl Room {
    async fn poll(&self, code: &str) -> Result<Issued, Refusal> {
        self.grants.token(self.client.clone(), TokenRequest::Device { code: code.to_owned() }, None).await
    }

    async fn allow(&self, code: UserCode, key: &str) -> Result<(), Refusal> {
        let waiting = self.grants.waiting_device(code, None).await?;
        let holder = Identity::Holder(self.access.key_holder(key).await?);
        let approval = self.grants.approval(&holder, None, waiting.scopes).await?;
        self.grants.allow_device(&waiting, approval).await
    }
}

#[tokio::test(start_paused = true)]
async fn b_37_a_device_waits_is_let_in_once_and_a_second_use_ends_it() {
    let room = Room::new().await;
    let (key, _) = room.key("acme", "models.read").await;
    let device = room.grants.start_device(Some(&room.client), Some("models.read"), None).await.unwrap();
    assert_eq!(device.expires_in, 10 * MINUTE);
    assert_eq!(code_of(room.poll(&device.device_code).await), "authorization_pending");
    room.allow(device.user_code, &key).await.unwrap();
    assert_eq!(code_of(room.allow(device.user_code, &key).await), "expired_token", "answered before");
    let other = room.register("Other").await;
    let stolen = TokenRequest::Device { code: device.device_code.clone() };
    assert_eq!(code_of(room.grants.token(other, stolen, None).await), "invalid_grant");
    let issued = room.poll(&device.device_code).await.unwrap();
    assert!(room.opens(&issued.access_token).await);
    let next = room.refresh(&issued.refresh_token).await.unwrap();
    assert_eq!(code_of(room.poll(&device.device_code).await), "invalid_grant");
    assert!(!room.opens(&next.access_token).await);

    let device = room.grants.start_device(Some(&room.client), None, None).await.unwrap();
    room.allow(device.user_code, &key).await.unwrap();
    let many = join_all((0..50).map(|_| room.poll(&device.device_code))).await;
    let won: Vec<_> = many.into_iter().flatten().collect();
    assert!(won.len() <= 1);
    for winner in won {
        assert!(!room.opens(&winner.access_token).await);
    }
}

#[tokio::test(start_paused = true)]
async fn b_37_a_device_is_turned_away_or_comes_too_late() {
    let room = Room::new().await;
    let (key, _) = room.key("acme", "models.read").await;
    let denied = room.grants.start_device(Some(&room.client), None, None).await.unwrap();
    let waiting = room.grants.waiting_device(denied.user_code, None).await.unwrap();
    room.grants.deny_device(&waiting).await.unwrap();
    assert_eq!(code_of(room.poll(&denied.device_code).await), "access_denied");
    assert_eq!(code_of(room.allow(denied.user_code, &key).await), "expired_token", "no is no");
    let late = room.grants.start_device(Some(&room.client), None, None).await.unwrap();
    let sealed = room.grants.waiting_device(late.user_code, Some(owner("ann"))).await.unwrap();
    let sealed = room.grants.seal_device(&sealed).await.unwrap();
    assert!(room.grants.unseal_device(&sealed, Some(owner("ann"))).await.is_ok());
    for other in [None, Some(owner("bob"))] {
        let refused = room.grants.unseal_device(&sealed, other).await;
        assert_eq!(code_of(refused), "expired_token", "a page of ann in another browser");
    }
    let page = room.grants.seal(&room.request(&room.client, None).await).await.unwrap();
    assert_eq!(
        code_of(room.grants.unseal_device(&page, None).await),
        "expired_token",
        "another kind of page"
    );
    assert_eq!(code_of(room.grants.unseal(&sealed).await), "invalid_request", "the other way round");
    tokio::time::advance(10 * MINUTE).await;
    assert_eq!(code_of(room.poll(&late.device_code).await), "expired_token");
    assert_eq!(code_of(room.allow(late.user_code, &key).await), "expired_token");
    assert_eq!(code_of(room.grants.unseal_device(&sealed, Some(owner("ann"))).await), "expired_token");
    for made_up in ["x", "tmd_x", &late.device_code[..late.device_code.len() - 1]] {
        assert_eq!(code_of(room.poll(made_up).await), "invalid_grant");
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_client_that_said_so_begins_the_device_flow() {
    let room = Room::new().await;
    let new = NewClient { redirects: vec![BACK.to_owned()], ..NewClient::default() };
    let plain = room.grants.register(new).await.unwrap().id.to_string();
    let start = async |client: &str, scope: Option<&str>, resource: Option<&str>| {
        code_of(room.grants.start_device(Some(client), scope, resource).await)
    };
    assert_eq!(start(&plain, None, None).await, "unauthorized_client");
    assert_eq!(start("x", None, None).await, "invalid_client");
    assert_eq!(start(&room.client, Some("admin"), None).await, "invalid_scope");
    assert_eq!(start(&room.client, None, Some("https://x.example")).await, "invalid_target");
}
