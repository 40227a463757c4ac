//! A fault of the store is never a fault of the client (B-24, check 27).

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::runs::tests::faulty::Faulty;

/// What is tried, and what a success of it is.
#[derive(Clone, Copy, Debug)]
enum Try {
    Redeem,
    RedeemAgain,
    Refresh,
    RefreshAgain,
    Consent,
    Poll,
    Revoke,
    List,
    Enter,
}

const TRIES: [Try; 9] = [
    Try::Redeem,
    Try::RedeemAgain,
    Try::Refresh,
    Try::RefreshAgain,
    Try::Consent,
    Try::Poll,
    Try::Revoke,
    Try::List,
    Try::Enter,
];

/// Does what is tried with a store whose call of this number fails, counted from the moment that it begins; returns what came of it, and
/// whether the call was made at all.
async fn with_fault(what: Try, failing: usize) -> (Result<(), Refusal>, bool) {
    let store = Arc::new(MemoryStore::new(Caps::default()));
    let clock = Arc::new(TestClock::default());
    let mut calm = Room::over(store.clone(), Arc::clone(&clock), rules());
    calm.client = calm.register("App").await;
    let (key, _) = calm.key("acme", "models.read").await;
    let code = calm.consent(&calm.client, &key).await.unwrap();
    let issued = if matches!(what, Try::Redeem) { None } else { Some(calm.redeem(&code).await.unwrap()) };
    let token = issued.as_ref().map(|issued| issued.refresh_token.clone()).unwrap_or_default();
    if matches!(what, Try::RefreshAgain) {
        calm.refresh(&token).await.unwrap();
    }
    let device = calm.grants.start_device(Some(&calm.client), None, None).await.unwrap();
    let waiting = calm.grants.waiting_device(device.user_code, None).await.unwrap();
    let holder = Identity::Holder(calm.access.key_holder(&key).await.unwrap());
    let approval = calm.grants.approval(&holder, None, waiting.scopes).await.unwrap();
    calm.grants.allow_device(&waiting, approval).await.unwrap();

    // A process that remembers nothing, over the same store.
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let fails = move |_| counted.fetch_add(1, Ordering::Relaxed) == failing;
    let mut room = Room::over(Arc::new(Faulty { store, fails }), clock, rules());
    room.client = calm.client.clone();
    let came = match what {
        Try::Redeem | Try::RedeemAgain => room.redeem(&code).await.map(drop),
        Try::Refresh | Try::RefreshAgain => room.refresh(&token).await.map(drop),
        Try::Consent => room.consent_or_page(&key).await,
        Try::Poll => {
            let code = device.device_code;
            room.grants.token(room.client.clone(), TokenRequest::Device { code }, None).await.map(drop)
        }
        Try::Revoke => room.grants.revoke_token(&token, &room.client).await,
        Try::List => {
            let listed = room.directory.list_grants(&operator(), &GrantQuery::default()).await;
            listed.map(drop).map_err(Refusal::from)
        }
        Try::Enter => room.enter(&issued.unwrap().access_token).await.map(drop).map_err(Refusal::from),
    };
    (came, count.load(Ordering::Relaxed) > failing)
}

impl Room {
    async fn consent_or_page(&self, key: &str) -> Result<(), Refusal> {
        let challenge = Digest::of(VERIFIER.as_bytes()).encode();
        let asked = Asked { client_id: Some(&self.client), code_challenge: Some(&challenge), ..asked() };
        let request = match self.grants.request(&asked, None).await {
            Ok(request) => request,
            Err(BadRequest::Page(refusal)) => return Err(refusal),
            Err(BadRequest::Back(location)) => panic!("a fault leads to {location}"),
        };
        let request = self.grants.unseal(&self.grants.seal(&request).await?).await?;
        self.consent_to(&request, key).await.map(drop)
    }
}

#[tokio::test(start_paused = true)]
async fn check_27_a_fault_at_any_step_is_a_5xx_and_never_a_bad_token() {
    for what in TRIES {
        let mut steps = 0;
        loop {
            let (came, made) = with_fault(what, steps).await;
            if !made {
                break;
            }
            let refused = came.expect_err(&format!("{what:?} with a fault at {steps} was done"));
            assert!(refused.status() >= 500, "{what:?} at {steps}: {refused}");
            assert_ne!(refused.code().name(), "invalid_grant", "{what:?} at {steps}");
            steps += 1;
        }
        assert!(steps > 0, "{what:?} asks nothing of the store");
    }
}

#[tokio::test(start_paused = true)]
async fn what_failed_once_can_be_tried_again() {
    // With the fault behind the last step nothing fails: the second uses are refused, all else is done.
    for what in TRIES {
        let (came, _) = with_fault(what, usize::MAX).await;
        match what {
            Try::RedeemAgain | Try::RefreshAgain => assert_eq!(code_of(came), "invalid_grant"),
            _ => assert!(came.is_ok(), "{what:?}: {came:?}"),
        }
    }
}
