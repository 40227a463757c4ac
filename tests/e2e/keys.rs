//! Who is calling, over REST (also through a bridge alone) and gRPC: keys, their scopes, the operator (D-31, D-34).

use std::fs;

use serde_json::{Value, json};
use tidemark::auth::methods::METHODS;
use tidemark::auth::{Need, Scope};
use tidemark_proto::names::{OWNER, REQUEST_ID, SCOPES};
use tidemark_proto::v1::{CancelRequest, GetRequest, ListRequest};
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::common::rest::{Client, bytes_of};
use crate::common::server::Server;
use crate::grpc::responses;
use crate::setup::{paced, until};

/// The operator's secret.
pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// An id that nobody has.
pub(crate) const UNKNOWN: &str = "resp_00000000000000000000000000000000";

/// A gateway that asks for credentials, and a client with the operator's.
pub(crate) struct Gate {
    pub(crate) server: Server,
    pub(crate) anybody: Client,
    pub(crate) operator: Client,
    _dir: tempfile::TempDir,
}

/// A key that was made.
pub(crate) struct Made {
    pub(crate) id: String,
    pub(crate) key: String,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self::with_settings("")
    }

    /// The same with more settings.
    pub(crate) fn with_settings(settings: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        fs::write(&file, format!("{SECRET}\n")).unwrap();
        let server =
            Server::start(&format!("{settings}\n[auth]\nmode = \"keys\"\noperator_secret_file = {file:?}\n"));
        let anybody = Client::new(&server.url());
        Self { operator: anybody.with_key(SECRET), server, anybody, _dir: dir }
    }

    pub(crate) async fn make(&self, body: &Value) -> Made {
        let (status, made) = Client::json(self.operator.post("/v1/keys", body)).await;
        assert_eq!(status, 200, "{made}");
        let text = |field: &str| made[field].as_str().unwrap().to_owned();
        Made { id: text("id"), key: text("key") }
    }

    pub(crate) async fn key(&self, owner: &str, scopes: &[&str]) -> Made {
        self.make(&json!({"owner": owner, "scopes": scopes})).await
    }

    /// A client with a key of this owner that may do what an application does.
    pub(crate) async fn user(&self, owner: &str) -> Client {
        self.with(&self.key(owner, &["responses.read", "responses.write", "models.read"]).await)
    }

    pub(crate) fn with(&self, made: &Made) -> Client {
        self.anybody.with_key(&made.key)
    }

    pub(crate) fn with_ticket(&self, ticket: &str) -> Client {
        self.anybody.with_key(ticket)
    }

    /// What becomes of a key: `POST /v1/keys/{id}/{what}`.
    pub(crate) async fn change(&self, made: &Made, what: &str) -> Value {
        let path = format!("/v1/keys/{}/{what}", made.id);
        let (status, key) = Client::json(self.operator.request(reqwest::Method::POST, &path)).await;
        assert_eq!(status, 200, "{key}");
        key
    }
}

pub(crate) fn code(reply: &Value) -> &str {
    reply["error"]["code"].as_str().unwrap()
}

pub(crate) fn with_bearer<T>(message: T, key: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    request.metadata_mut().insert(REQUEST_ID, "the-same".parse().unwrap());
    request
}

/// A refusal as bytes, the date left out.
pub(crate) fn status_bytes(status: &Status) -> String {
    let mut metadata: MetadataMap = status.metadata().clone();
    metadata.remove("date");
    format!("{:?} {:?} {:?} {:?}", status.code(), status.message(), status.details(), metadata)
}

#[tokio::test]
async fn a_key_is_made_listed_rotated_disabled_enabled_and_deleted() {
    let gate = Gate::new();
    let body = json!({"owner": "acme", "scopes": ["models.read"], "expires_at": null});
    let reply = gate.operator.post("/v1/keys", &body).send().await.unwrap();
    assert_eq!(reply.headers()["cache-control"], "no-store");
    let made: Value = reply.json().await.unwrap();
    let made =
        Made { id: made["id"].as_str().unwrap().to_owned(), key: made["key"].as_str().unwrap().to_owned() };
    let models = async |key: &str| Client::json(gate.anybody.with_key(key).get("/v1/models")).await.0;
    assert_eq!(models(&made.key).await, 200);

    let (_, list) = Client::json(gate.operator.get("/v1/keys?owner=acme")).await;
    assert_eq!((&list["data"][0]["id"], &list["data"][0]["state"]), (&json!(made.id), &json!("active")));
    assert!(!list.to_string().contains(&made.key), "a list shows no key");

    let rotate =
        gate.operator.post(&format!("/v1/keys/{}/rotate", made.id), &json!({"overlap_seconds": 3600}));
    let (_, rotated) = Client::json(rotate).await;
    assert_eq!((&rotated["id"], &rotated["state"]), (&json!(made.id), &json!("rotating")));
    let second = rotated["key"].as_str().unwrap();
    assert_eq!((models(&made.key).await, models(second).await), (200, 200));
    let third = gate.change(&made, "rotate").await;
    let third = third["key"].as_str().unwrap();
    assert_eq!((models(&made.key).await, models(second).await, models(third).await), (401, 401, 200));

    assert_eq!(gate.change(&made, "disable").await["state"], "disabled");
    assert_eq!(models(third).await, 401);
    assert_eq!(gate.change(&made, "enable").await["state"], "active");
    assert_eq!(models(third).await, 200);
    let path = format!("/v1/keys/{}", made.id);
    let delete = || gate.operator.request(reqwest::Method::DELETE, &path);
    assert_eq!(Client::json(delete()).await, (200, json!({"id": made.id, "object": "key", "deleted": true})));
    assert_eq!(models(third).await, 401);
    assert_eq!(Client::json(delete()).await.0, 404);
}

#[tokio::test]
async fn what_is_wrong_with_a_key_to_be_made_is_named() {
    let gate = Gate::new();
    for (body, param) in [
        (json!({"scopes": ["all"]}), "scopes"),
        (json!({"scopes": []}), "scopes"),
        (json!({"scopes": ["admin"], "owner": "a b"}), "owner"),
        (json!({"scopes": ["admin"], "expires_at": 1}), "expires_at"),
        (json!({"scopes": ["admin"], "expires_at": -1}), "expires_at"),
    ] {
        let (status, reply) = Client::json(gate.operator.post("/v1/keys", &body)).await;
        assert_eq!((status, &reply["error"]["param"]), (400, &json!(param)), "{reply}");
    }
    for query in ["limit=0", "owner=a%20b", "after=x", "owner=a&owner=b"] {
        let (status, reply) = Client::json(gate.operator.get(&format!("/v1/keys?{query}"))).await;
        assert_eq!(status, 400, "{reply}");
    }
    let made = gate.key("acme", &["models.read"]).await;
    let path = format!("/v1/keys/{}/rotate", made.id);
    let too_long = gate.operator.post(&path, &json!({"overlap_seconds": 30 * 24 * 3600 + 1}));
    let (status, reply) = Client::json(too_long).await;
    assert_eq!((status, &reply["error"]["param"]), (400, &json!("overlap_seconds")), "{reply}");
}

#[tokio::test]
async fn check_3_two_keys_of_different_owners_do_not_see_each_others_responses() {
    let gate = Gate::new();
    let (alice, bob) = (gate.user("alice").await, gate.user("bob").await);
    let id = alice.background(paced(3, 0)).await;
    alice.ended(&id).await;
    for path in ["", "?stream=true", "/input_items"] {
        let ask = |id: &str| bytes_of(bob.get(&format!("/v1/responses/{id}{path}")));
        assert_eq!(ask(&id).await, ask(UNKNOWN).await, "{path}");
        assert!(ask(&id).await.starts_with("404 "), "{path}");
    }
    let (_, list) = Client::json(bob.get("/v1/responses")).await;
    assert_eq!(list["data"], json!([]));
    let (_, list) = Client::json(gate.operator.get("/v1/responses")).await;
    assert_eq!(list["data"], json!([]), "the operator sees its own, unless it names an owner");
    let path = format!("/v1/responses/{id}");
    assert_eq!(Client::json(gate.operator.of("alice").get(&path)).await.0, 200);
    let again = gate.user("alice").await;
    assert_eq!(Client::json(again.get(&path)).await.0, 200, "another key of the same owner sees it");
}

#[tokio::test]
async fn a_credential_that_is_not_good_gives_the_same_bytes_whatever_is_wrong_with_it() {
    let gate = Gate::new();
    let make = async || gate.key("acme", &["responses.read", "models.read"]).await;
    let (good, other, disabled, deleted) = (make().await, make().await, make().await, make().await);
    gate.change(&disabled, "disable").await;
    let delete = gate.operator.request(reqwest::Method::DELETE, &format!("/v1/keys/{}", deleted.id));
    assert_eq!(delete.send().await.unwrap().status(), 200);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let expired =
        gate.make(&json!({"owner": "acme", "scopes": ["models.read"], "expires_at": now + 2})).await;
    let models = |key: &str| gate.anybody.with_key(key).get("/v1/models");
    until("the key has expired", async || (Client::json(models(&expired.key)).await.0 == 401).then_some(()))
        .await;

    let secret_of_another = format!("{}{}", &good.key[..36], &other.key[36..]);
    let unknown = good.key.replace(&good.id[4..], &"0".repeat(32));
    let malformed = &good.key[..good.key.len() - 1];
    let bad = [&disabled.key, &deleted.key, &expired.key, &secret_of_another, &unknown, malformed, "unused"];
    let missing = bytes_of(gate.anybody.get("/v1/models")).await;
    assert!(missing.starts_with("401 ") && missing.contains("\"www-authenticate\": \"Bearer\""), "{missing}");
    let mut client = responses(&gate.server).await;
    let mut over_grpc = Vec::new();
    for key in bad {
        assert_eq!(bytes_of(models(key)).await, missing, "{key}");
        let get = GetRequest { id: UNKNOWN.to_owned(), ..Default::default() };
        over_grpc.push(status_bytes(&client.get(with_bearer(get, key)).await.unwrap_err()));
    }
    assert!(over_grpc[0].starts_with("Unauthenticated"), "{}", over_grpc[0]);
    assert!(over_grpc.iter().all(|bytes| *bytes == over_grpc[0]), "{over_grpc:#?}");
    assert_eq!(Client::json(models(&good.key)).await.0, 200);
}

#[tokio::test]
async fn a_scope_that_is_missing_is_named_before_anything_is_looked_up() {
    let gate = Gate::new();
    let reader = gate.key("acme", &["responses.read"]).await;
    let client = gate.with(&reader);
    for (request, scope) in [
        (client.post("/v1/responses", &paced(1, 0)), "responses.write"),
        (client.post("/v1/responses", &json!("not even a body")), "responses.write"),
        (client.request(reqwest::Method::DELETE, &format!("/v1/responses/{UNKNOWN}")), "responses.write"),
        (client.get("/v1/models"), "models.read"),
        (client.get("/v1/keys"), "keys.admin"),
        (client.of("acme").get("/v1/responses"), "owners.act_as"),
        (client.get("/v1/responses").header(SCOPES, "models.read"), "responses.read"),
        (client.get("/v1/responses").header(SCOPES, ""), "responses.read"),
    ] {
        // A bridge alone reads the body first; what it cannot read it refuses itself.
        let reply = request.send().await.unwrap();
        let challenge =
            reply.headers().get("www-authenticate").map(|value| value.to_str().unwrap().to_owned());
        let (status, reply) = (reply.status(), reply.json::<Value>().await.unwrap());
        if status == 400 && std::env::var_os("TIDEMARK_TEST_BRIDGE").is_some() {
            continue;
        }
        assert_eq!((status.as_u16(), code(&reply)), (403, "insufficient_scope"), "{reply}");
        assert!(reply["error"]["message"].as_str().unwrap().contains(scope), "{reply}");
        assert_eq!(challenge, Some(format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"")));
    }
    assert_eq!(Client::json(client.get("/v1/responses")).await.0, 200);
    let asked = client.get("/v1/responses").header(SCOPES, "responses.read models.read");
    assert_eq!(Client::json(asked).await.0, 200);
    let none = client.get("/v1/responses").header(SCOPES, "everything");
    assert_eq!(Client::json(none).await.0, 400);

    let mut grpc = responses(&gate.server).await;
    let refused = grpc
        .cancel(with_bearer(CancelRequest { id: UNKNOWN.to_owned(), ..Default::default() }, &reader.key))
        .await;
    let refused = refused.unwrap_err();
    let info = refused.get_details_error_info().unwrap();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(
        (info.reason.as_str(), info.metadata["scope"].as_str()),
        ("insufficient_scope", "responses.write")
    );
    assert!(grpc.list(with_bearer(ListRequest::default(), &reader.key)).await.is_ok());
}

#[tokio::test]
async fn an_owner_is_named_only_by_who_may_act_for_others() {
    let gate = Gate::new();
    let deputy =
        gate.with(&gate.key("agency", &["responses.read", "responses.write", "owners.act_as"]).await);
    let id = deputy.of("acme").background(paced(1, 0)).await;
    let acme = gate.user("acme").await;
    assert_eq!(Client::json(acme.get(&format!("/v1/responses/{id}"))).await.0, 200);
    assert_eq!(Client::json(deputy.get(&format!("/v1/responses/{id}"))).await.0, 404);
    let (status, reply) = Client::json(acme.of("agency").get("/v1/responses")).await;
    assert_eq!((status, &reply["error"]["param"]), (403, &json!(OWNER)));
}

#[tokio::test]
async fn two_credentials_are_ambiguous_and_foreign_kinds_are_none() {
    let gate = Gate::new();
    let key = gate.key("acme", &["models.read"]).await.key;
    let ask = || gate.anybody.get("/v1/models");
    for request in [
        ask().bearer_auth(&key).bearer_auth(&key),
        ask().bearer_auth(&key).header("x-api-key", &key),
        ask().header("api-key", &key).header("x-api-key", &key),
    ] {
        let (status, reply) = Client::json(request).await;
        assert_eq!((status, code(&reply)), (400, "ambiguous_credentials"));
    }
    for request in [
        ask().header("x-api-key", &key),
        ask().basic_auth("key", Some(&key)),
        ask().header("authorization", "Bearer "),
        ask().header("authorization", format!("Bearer\t{key}")),
        ask().header("authorization", format!("Bearer {key} {key}")),
        gate.anybody.get(&format!("/v1/models?api_key={key}&access_token={key}")),
    ] {
        let (status, reply) = Client::json(request).await;
        assert_eq!((status, code(&reply)), (401, "unauthorized"));
    }
    let shouted = ask().header("authorization", format!("BEARER  {key} "));
    assert_eq!(Client::json(shouted).await.0, 200);
}

#[tokio::test]
async fn a_key_outlives_kill_nine_and_the_log_names_it_by_its_id_alone() {
    let mut gate = Gate::new();
    let made = gate.key("acme", &["models.read"]).await;
    let gone = gate.key("acme", &["models.read"]).await;
    gate.change(&gone, "disable").await;
    gate.server.kill();
    gate.server.restart();
    let anybody = Client::new(&gate.server.url());
    let models = async |key: &str| Client::json(anybody.with_key(key).get("/v1/models")).await.0;
    assert_eq!((models(&made.key).await, models(&gone.key).await), (200, 401));
    let named = format!("credential={}", made.id);
    until("the call is in the log", async || gate.server.log().contains(&named).then_some(())).await;
    let log = gate.server.log();
    assert!(log.contains("credential=operator"), "{log}");
    for secret in [SECRET, &made.key[36..], &gone.key[36..]] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test]
async fn while_keys_are_asked_for_any_page_and_any_host_may_try() {
    let gate = Gate::new();
    let key = gate.key("acme", &["models.read"]).await.key;
    let ask = |client: &Client| {
        client.get("/v1/models").header("origin", "https://evil.example").header("host", "evil.example")
    };
    assert_eq!(Client::json(ask(&gate.anybody)).await.0, 401);
    let reply = ask(&gate.anybody.with_key(&key)).send().await.unwrap();
    assert_eq!(reply.status(), 200);
    assert!(!reply.headers().contains_key("access-control-allow-origin"), "the page may not read it");
}

#[tokio::test]
async fn no_header_and_no_metadata_makes_anybody_somebody_else() {
    let gate = Gate::new();
    let acme = gate.user("acme").await;
    let id = acme.background(paced(1, 0)).await;
    let rival = gate.key("rival", &["responses.read"]).await;
    let mut grpc = responses(&gate.server).await;
    let claims = [
        ("principal", "acme"),
        ("x-tidemark-principal", "acme"),
        ("x-tidemark-credential", "operator"),
        ("x-forwarded-user", "acme"),
        ("x-authenticated-user", "acme"),
        ("x-tidemark-scopes", "admin,responses.write"),
    ];
    for (name, value) in claims {
        let path = format!("/v1/responses/{id}");
        let nobody = gate.anybody.get(&path).header(name, value);
        assert_eq!(Client::json(nobody).await.0, 401, "{name}");
        let foreign = gate.anybody.get(&path).bearer_auth(&rival.key).header(name, value);
        let foreign = Client::json(foreign).await.0;
        assert!(foreign == 404 || (name == "x-tidemark-scopes" && foreign == 403), "{name}: {foreign}");
        let mut request = with_bearer(GetRequest { id: id.clone(), ..Default::default() }, &rival.key);
        request.metadata_mut().insert(name, value.parse().unwrap());
        let refused = grpc.get(request).await.unwrap_err();
        assert!(matches!(refused.code(), Code::NotFound | Code::PermissionDenied), "{name}: {refused}");
    }
}

#[tokio::test]
async fn no_content_type_leads_around_the_scopes_of_a_grpc_method() {
    let gate = Gate::new();
    let weak = gate.key("acme", &["models.read"]).await;
    let h2 = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let empty_message = [0; 5];
    for (path, need) in METHODS {
        for kind in [None, Some("application/json"), Some("Application/GRPC"), Some("text/plain")] {
            let call = h2.post(format!("{}{path}", gate.server.gateway_url())).bearer_auth(&weak.key);
            let call = call.body(empty_message.to_vec());
            let reply = kind.into_iter().fold(call, |call, kind| call.header("content-type", kind));
            let reply = reply.send().await.unwrap();
            let allowed = match need {
                Need::Nothing | Need::Credential | Need::Scope(Scope::ModelsRead) => [405, 405],
                Need::Scope(_) | Need::ScopeOrTicket(_) => [403, 405],
            };
            assert!(allowed.contains(&reply.status().as_u16()), "{path} {kind:?}: {reply:?}");
            assert!(!reply.headers().contains_key("grpc-status"), "{path} {kind:?}: {reply:?}");
        }
    }
}
