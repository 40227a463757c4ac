//! Grants of apps through `kill -9`: what was answered holds, and no token is good twice (B-23).
//!
//! Apps renew their tokens and an owner revokes grants while the server is killed. Of a renewal or a revocation that had no answer both
//! outcomes are right; of one that had, only that.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::common::app::{App, Given, SETTINGS};
use crate::common::model::{Random, rounds};
use crate::common::rest::Client;
use crate::common::server::Server;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// How many grants there are at each kill. The owner revokes every third one.
const GRANTS: usize = 12;

/// What is known of a grant.
#[derive(Clone)]
struct Known {
    id: String,
    /// The newest tokens that anybody was given.
    newest: Given,
    /// Those before them.
    used: Option<Given>,
    /// A renewal had no answer.
    renewing: bool,
    revoking: bool,
    revoked: bool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_apps_were_given_and_what_was_ended_stays_so_through_kill_nine() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, SECRET).unwrap();
    let auth = format!("[auth]\nmode = \"keys\"\noperator_secret_file = {file:?}\n");
    let mut server = Server::start(&format!("{SETTINGS}{auth}"));
    let key = make_key(&server).await;
    let app = App::register(&server.gateway_url()).await;
    let mut random = Random::seeded();
    let (mut renewals, mut revocations) = (0, 0);
    for round in 1..=rounds(10).div_ceil(2).max(2) {
        let app = app.at(&server.gateway_url());
        let grants = make_grants(&app, &server, &key).await;
        let known: Vec<_> = grants.into_iter().map(|known| Arc::new(Mutex::new(known))).collect();
        let owner = Client::new(&server.url()).with_key(&key);
        let renew = known.iter().map(|known| tokio::spawn(renew(app.clone(), Arc::clone(known))));
        let mut tasks: Vec<_> = renew.collect();
        tasks.push(tokio::spawn(revoke(owner, known.iter().step_by(3).cloned().collect())));
        tokio::time::sleep(Duration::from_millis(20 + random.below(150))).await;
        server.kill();
        for task in tasks {
            task.await.unwrap();
        }
        server.restart();
        let app = app.at(&server.gateway_url());
        for known in known {
            let known = known.lock().unwrap().clone();
            renewals += usize::from(known.used.is_some());
            revocations += usize::from(known.revoked);
            check(&app, &server, &known).await;
        }
        println!("round {round}: {renewals} renewals and {revocations} revocations were answered");
    }
    assert!(renewals > 0 && revocations > 0, "the kills came at the wrong times to prove anything");
}

async fn make_key(server: &Server) -> String {
    let operator = Client::new(&server.url()).with_key(SECRET);
    let scopes = ["responses.read", "responses.write", "models.read", "grants.read", "grants.write"];
    let body = json!({"owner": "acme", "scopes": scopes});
    let (status, made) = Client::json(operator.post("/v1/keys", &body)).await;
    assert_eq!(status, 200, "{made}");
    made["key"].as_str().unwrap().to_owned()
}

/// New grants, each with its id.
async fn make_grants(app: &App, server: &Server, key: &str) -> Vec<Known> {
    let owner = Client::new(&server.url()).with_key(key);
    let mut ids = ids(&owner).await;
    let mut grants = Vec::new();
    for _ in 0..GRANTS {
        let newest = app.ask(key).await;
        let all = self::ids(&owner).await;
        let id = all.iter().find(|id| !ids.contains(id)).unwrap().clone();
        ids = all;
        grants.push(Known { id, newest, used: None, renewing: false, revoking: false, revoked: false });
    }
    grants
}

async fn ids(owner: &Client) -> Vec<String> {
    let (status, page) = Client::json(owner.get("/v1/oauth2/sessions?limit=1000")).await;
    assert_eq!(status, 200, "{page}");
    page["data"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

/// Renews the tokens of a grant again and again until the server is gone, or the grant is.
async fn renew(app: App, known: Arc<Mutex<Known>>) {
    loop {
        let token = known.lock().unwrap().newest.refresh.clone();
        let answer = app.try_refresh(&token).await;
        let mut known = known.lock().unwrap();
        match answer {
            Ok(Some(given)) => {
                known.used = Some(std::mem::replace(&mut known.newest, given));
            }
            Ok(None) => {
                assert!(known.revoking, "a token that nobody has used was refused");
                return;
            }
            Err(_) => {
                known.renewing = true;
                return;
            }
        }
    }
}

/// Revokes grants, one after the other, until the server is gone.
async fn revoke(owner: Client, grants: Vec<Arc<Mutex<Known>>>) {
    for known in grants {
        tokio::time::sleep(Duration::from_millis(15)).await;
        let id = known.lock().unwrap().id.clone();
        known.lock().unwrap().revoking = true;
        match owner.request(Method::DELETE, &format!("/v1/oauth2/sessions/{id}")).send().await {
            Ok(reply) => assert_eq!(reply.status(), 204),
            Err(_) => return,
        }
        known.lock().unwrap().revoked = true;
    }
}

/// What must hold after the restart.
async fn check(app: &App, server: &Server, known: &Known) {
    let models = async |given: &Given| {
        let client = Client::new(&server.url()).with_key(&given.access);
        Client::json(client.get("/v1/models")).await.0
    };
    if known.revoked {
        assert_eq!(models(&known.newest).await, 401, "a revoked grant is alive again");
        assert!(app.refresh(&known.newest.refresh).await.is_none());
        return;
    }
    if !known.revoking {
        assert_eq!(models(&known.newest).await, 200, "a grant that nobody ended is gone");
    }
    let newer = app.refresh(&known.newest.refresh).await;
    assert!(newer.is_some() || known.renewing || known.revoking, "tokens that were given are lost");
    let Some(newer) = newer else { return };
    // A second use, of whatever was used, ends the grant.
    let twice = known.used.as_ref().unwrap_or(&known.newest);
    assert!(app.refresh(&twice.refresh).await.is_none(), "a token was good twice");
    assert!(app.refresh(&newer.refresh).await.is_none(), "a second use did not end the grant");
    assert_eq!(models(&newer).await, 401);
}
