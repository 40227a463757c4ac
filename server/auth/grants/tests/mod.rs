//! The authorization server over the store in memory.

mod device;
mod faults;
mod flows;
mod lists;
mod races;
mod standing;
mod sweeps;

use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use tidemark_proto::v1::ErrorCode;
use tidemark_store::memory::MemoryStore;
use tidemark_store::{Caps, Owner, Store};
use url::Url;

use super::*;
use crate::auth::{Access, Digest, KeyId, Lease, Mode, NewKey, Presented, Principal};
use crate::error::Error;
use crate::runs::testing::TestClock;
use crate::tasks::Tasks;

pub(super) const ISSUER: &str = "https://gate.example";
const BACK: &str = "https://app.example/cb";
const VERIFIER: &str = "a-verifier-of-enough-letters-0123456789-abcdef";
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) fn rules() -> Rules {
    Rules {
        issuer: ISSUER.to_owned(),
        keys: true,
        users: true,
        open_registration: true,
        max_clients: 100,
        redirects: RedirectRules::default(),
        code_ttl: 5 * MINUTE,
        access_ttl: 10 * MINUTE,
        refresh_idle: 30 * DAY,
        refresh_absolute: 90 * DAY,
        keep_dead: 30 * DAY,
        orphan_after: 60 * MINUTE,
        sweep_period: 10 * MINUTE,
        rotate_after: 30 * DAY,
    }
}

struct Room {
    store: Arc<dyn Store>,
    clock: Arc<TestClock>,
    tasks: Tasks,
    directory: Directory,
    grants: Grants,
    access: Access,
    client: String,
}

impl Room {
    async fn new() -> Self {
        Self::with(rules()).await
    }

    async fn with(rules: Rules) -> Self {
        let store = Arc::new(MemoryStore::new(Caps::default()));
        let mut room = Self::over(store, Arc::new(TestClock::default()), rules);
        room.client = room.register("App").await;
        room
    }

    fn over(store: Arc<dyn Store>, clock: Arc<TestClock>, rules: Rules) -> Self {
        let tasks = Tasks::new();
        let directory = Directory::new(Arc::clone(&store), clock.clone(), tasks.clone());
        let grants = Grants::new(directory.clone(), rules);
        let mode = Mode::Keys { operator: Some(Digest::of(SECRET.as_bytes())) };
        let access = Access::new(mode, directory.clone()).with_grants(grants.clone(), false);
        Self { store, clock, tasks, directory, grants, access, client: String::new() }
    }

    async fn register(&self, name: &str) -> String {
        let new = NewClient {
            name: name.to_owned(),
            redirects: vec![BACK.to_owned()],
            device: true,
            ..NewClient::default()
        };
        self.grants.register(new).await.unwrap().id.to_string()
    }

    async fn key(&self, name: &str, scopes: &str) -> (String, KeyId) {
        let new =
            NewKey { owner: Some(owner(name)), scopes: Scopes::parse(scopes).unwrap(), expires_at: None };
        let (key, info) = self.directory.create_key(&operator(), new).await.unwrap();
        (key.reveal().expose_secret().to_owned(), info.id)
    }

    async fn request(&self, client: &str, user: Option<&str>) -> Request {
        let challenge = Digest::of(VERIFIER.as_bytes()).encode();
        let asked = Asked { client_id: Some(client), code_challenge: Some(&challenge), ..asked() };
        self.grants.request(&asked, user.map(owner)).await.unwrap()
    }

    /// What a client gets that asks the holder of this key.
    async fn consent(&self, client: &str, key: &str) -> Result<String, Refusal> {
        let request = self.request(client, None).await;
        self.consent_to(&request, key).await
    }

    async fn consent_to(&self, request: &Request, key: &str) -> Result<String, Refusal> {
        let holder = Identity::Holder(self.access.key_holder(key).await?);
        let approval = self.grants.approval(&holder, request.user.as_ref(), request.scopes).await?;
        let location = self.grants.consent(request, approval, request.user.as_ref()).await?;
        Ok(param(&location, "code").unwrap())
    }

    async fn consent_of_user(&self, name: &str) -> Result<String, Refusal> {
        let request = self.request(&self.client, Some(name)).await;
        let user = Some(owner(name));
        let approval = self.grants.approval(&Identity::User, user.as_ref(), request.scopes).await?;
        let location = self.grants.consent(&request, approval, user.as_ref()).await?;
        Ok(param(&location, "code").unwrap())
    }

    async fn redeem(&self, code: &str) -> Result<Issued, Refusal> {
        self.redeem_as(&self.client, code, BACK, VERIFIER).await
    }

    async fn redeem_as(
        &self,
        client: &str,
        code: &str,
        back: &str,
        verifier: &str,
    ) -> Result<Issued, Refusal> {
        let asked = TokenRequest::Code {
            code: code.to_owned(),
            redirect_uri: back.to_owned(),
            verifier: verifier.to_owned(),
        };
        self.grants.token(client.to_owned(), asked, None).await
    }

    async fn refresh(&self, token: &str) -> Result<Issued, Refusal> {
        self.refresh_as(&self.client, token, None).await
    }

    async fn refresh_as(&self, client: &str, token: &str, scope: Option<&str>) -> Result<Issued, Refusal> {
        let asked = TokenRequest::Refresh { token: token.to_owned(), scope: scope.map(str::to_owned) };
        self.grants.token(client.to_owned(), asked, None).await
    }

    /// Tokens of a new grant of this owner.
    async fn granted(&self, name: &str) -> Issued {
        let (key, _) = self.key(name, "responses.read models.read").await;
        let code = self.consent(&self.client, &key).await.unwrap();
        self.redeem(&code).await.unwrap()
    }

    async fn enter(&self, bearer: &str) -> Result<Principal, Error> {
        self.access.identify(Presented { bearer: Some(bearer), ..Presented::default() }).await
    }

    /// Whether an access token opens the API.
    async fn opens(&self, token: &str) -> bool {
        match self.enter(token).await {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.code(), ErrorCode::Unauthorized);
                false
            }
        }
    }

    async fn listed(&self, query: GrantQuery) -> Vec<GrantInfo> {
        self.directory.list_grants(&operator(), &query).await.unwrap().grants
    }
}

fn asked() -> Asked<'static> {
    Asked {
        redirect_uri: Some(BACK),
        response_type: Some("code"),
        state: Some("ünd=&#"),
        code_challenge_method: Some("S256"),
        ..Asked::default()
    }
}

fn owner(name: &str) -> Owner {
    Owner::new(name).unwrap()
}

fn operator() -> Principal {
    Principal::operator(owner(Principal::OPERATOR_OWNER))
}

/// A principal of this owner with these scopes.
fn holder(name: &str, scopes: &str) -> Principal {
    let scopes = Scopes::parse(scopes).unwrap();
    Principal::key(KeyId::from_bytes([9; 16]), Digest::of(b"x"), owner(name), scopes, None)
}

fn param(location: &str, name: &str) -> Option<String> {
    let url = Url::parse(location).unwrap();
    url.query_pairs().find(|(other, _)| other == name).map(|(_, value)| value.into_owned())
}

fn code_of<T: std::fmt::Debug>(refused: Result<T, Refusal>) -> &'static str {
    refused.unwrap_err().code().name()
}
