//! Apps that are let in by OAuth 2, against the binary (§7).

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tidemark_proto::v1::grants_service_client::GrantsServiceClient;
use tidemark_proto::v1::{ListGrantsRequest, RevokeGrantRequest};
use tokio::time::timeout;
use tonic::Code;
use tonic::transport::Channel;

use crate::common::app::{App, SETTINGS};
use crate::common::rest::Client;
use crate::common::server::{patience, tidemark, tidemark_with};
use crate::keys::{Gate, SECRET, code, with_bearer};
use crate::setup::paced;

/// The grants that somebody sees, as REST shows them.
pub(crate) async fn sessions(client: &Client) -> Vec<Value> {
    let (status, page) = Client::json(client.get("/v1/oauth2/sessions")).await;
    assert_eq!(status, 200, "{page}");
    page["data"].as_array().unwrap().clone()
}

/// A gateway that lets apps in, with somebody who has a key and sees their own.
async fn gate() -> (Gate, Client, String) {
    let gate = Gate::with_settings(SETTINGS);
    let scopes = ["responses.read", "responses.write", "models.read", "grants.read", "grants.write"];
    let made = gate.key("acme", &scopes).await;
    let owner = gate.with(&made);
    (gate, owner, made.key)
}

#[tokio::test]
async fn b_27_revoking_a_session_ends_its_open_streams_within_a_second_over_both_surfaces() {
    let (gate, owner, key) = gate().await;
    let app = App::register(&gate.server.gateway_url()).await;
    let (first, second) = (app.ask(&key).await, app.ask(&key).await);
    let id = owner.background(paced(600, 1)).await;
    let mut sse = gate.anybody.with_key(&first.access).resume(&id, None).await;
    let mut stays = gate.anybody.with_key(&second.access).resume(&id, None).await;
    sse.frame().await.unwrap();
    stays.frame().await.unwrap();
    let resume = tidemark_proto::v1::ResumeRequest { id: id.clone(), ..Default::default() };
    let mut over_grpc = crate::grpc::responses(&gate.server).await;
    let mut over_grpc = over_grpc.resume(with_bearer(resume, &first.access)).await.unwrap().into_inner();
    assert!(over_grpc.message().await.unwrap().is_some());

    let listed = sessions(&owner).await;
    assert_eq!(listed.len(), 2);
    let oldest = listed[1]["id"].as_str().unwrap();
    let path = format!("/v1/oauth2/sessions/{oldest}");
    let start = Instant::now();
    let revoked = owner.request(Method::DELETE, &path).send().await.unwrap();
    assert_eq!(revoked.status(), 204);
    let ended = async { (sse.rest().await, over_grpc_end(&mut over_grpc).await) };
    let (frames, status) = timeout(patience(), ended).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    let [.., error, done] = frames.as_slice() else { panic!("{frames:?}") };
    assert_eq!(error.json()["code"], "STREAM_FORBIDDEN");
    assert!(done.is_done());
    assert_eq!(status, Code::Unauthenticated);
    assert!(stays.frame().await.is_some(), "another grant of the same owner and app");
    assert_eq!(owner.request(Method::DELETE, &path).send().await.unwrap().status(), 204, "again");
    assert_eq!(Client::json(gate.anybody.with_key(&first.access).get("/v1/models")).await.0, 401);
    assert!(app.refresh(&first.refresh).await.is_none() && app.refresh(&second.refresh).await.is_some());
}

async fn channel(gate: &Gate) -> Channel {
    Channel::from_shared(gate.server.gateway_url()).unwrap().connect().await.unwrap()
}

async fn over_grpc_end(stream: &mut tonic::Streaming<tidemark_proto::v1::ResumeResponse>) -> Code {
    loop {
        match stream.message().await {
            Ok(message) => assert!(message.is_some(), "the run goes on"),
            Err(status) => return status.code(),
        }
    }
}

#[tokio::test]
async fn b_25_sessions_are_listed_filtered_and_paged_over_rest_and_grpc() {
    let (gate, owner, key) = gate().await;
    let (app, other) =
        (App::register(&gate.server.gateway_url()).await, App::register(&gate.server.gateway_url()).await);
    for app in [&app, &other, &app] {
        app.ask(&key).await;
    }
    let page = async |query: &str| Client::json(owner.get(&format!("/v1/oauth2/sessions{query}"))).await;
    let (_, all) = page("").await;
    let (ids, limit): (Vec<_>, _) =
        (all["data"].as_array().unwrap().iter().map(|grant| grant["id"].clone()).collect(), &all["limit"]);
    assert_eq!((ids.len(), limit, &all["has_more"]), (3, &json!(50), &json!(false)));
    let (_, first) = page("?limit=2").await;
    let next = first["next"].as_str().unwrap();
    let (_, second) = page(&format!("?limit=2&after={next}")).await;
    assert_eq!(
        (first["data"][1]["id"].clone(), second["data"][0]["id"].clone()),
        (ids[1].clone(), ids[2].clone())
    );
    assert_eq!(
        page(&format!("?client_id={}&mode=vk&q=app", app.client)).await.1["data"].as_array().unwrap().len(),
        2
    );
    assert_eq!(page("?mode=user").await.1["data"], json!([]));
    assert_eq!(page("?limit=501").await.1["limit"], 500);
    for (query, param) in [
        ("?limit=0", "limit"),
        ("?limit=x", "limit"),
        ("?mode=session", "mode"),
        ("?after=", "after"),
        ("?after=x", "after"),
        ("?client_id=x", "client_id"),
    ] {
        let (status, refusal) = page(query).await;
        assert_eq!((status, &refusal["error"]["param"]), (400, &json!(param)), "{query}");
    }
    let mut grants = GrantsServiceClient::new(channel(&gate).await);
    let listed =
        grants.list_grants(with_bearer(ListGrantsRequest::default(), &key)).await.unwrap().into_inner();
    assert_eq!(listed.grants.iter().map(|grant| json!(grant.id)).collect::<Vec<_>>(), ids);
    let id = listed.grants[0].id.clone();
    grants.revoke_grant(with_bearer(RevokeGrantRequest { id }, &key)).await.unwrap();
    assert_eq!(sessions(&owner).await.len(), 2);
}

#[tokio::test]
async fn after_kill_nine_grants_revocations_and_used_tokens_are_what_they_were() {
    let (mut gate, owner, key) = gate().await;
    let app = App::register(&gate.server.gateway_url()).await;
    let (kept, revoked, renewed) = (app.ask(&key).await, app.ask(&key).await, app.ask(&key).await);
    let newer = app.refresh(&renewed.refresh).await.unwrap();
    let id = sessions(&owner).await[1]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/oauth2/sessions/{id}");
    assert_eq!(owner.request(Method::DELETE, &path).send().await.unwrap().status(), 204);
    gate.server.kill();
    gate.server.restart();
    let app = app.at(&gate.server.gateway_url());
    let models = async |token: &str| {
        let client = Client::new(&gate.server.url()).with_key(token);
        Client::json(client.get("/v1/models")).await.0
    };
    assert_eq!((models(&kept.access).await, models(&revoked.access).await), (200, 401));
    assert!(app.refresh(&kept.refresh).await.is_some() && app.refresh(&revoked.refresh).await.is_none());
    assert_eq!(models(&newer.access).await, 200);
    assert!(app.refresh(&renewed.refresh).await.is_none(), "it was used before the kill");
    assert_eq!(models(&newer.access).await, 401, "and its second use ends the grant");
}

#[tokio::test]
async fn b_28_the_command_line_sees_and_ends_what_apps_were_given() {
    let (gate, _, key) = gate().await;
    let app = App::register(&gate.server.gateway_url()).await;
    let given = app.ask(&key).await;
    let run = |line: &str| {
        let env = [("TIDEMARK_SERVER", gate.server.gateway_url()), ("TIDEMARK_KEY", SECRET.to_owned())];
        let output = tidemark_with(env, line.split(' '));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    let (_, listed, _) = run("grants list --owner acme --mode vk");
    let id = listed.split(' ').next().unwrap();
    assert!(
        id.starts_with("grant_") && listed.contains(&app.client) && listed.ends_with("\"App\"\n"),
        "{listed}"
    );
    let (_, as_json, _) = run("grants list --json");
    let as_json: Value = serde_json::from_str(&as_json).unwrap();
    assert_eq!((&as_json["id"], &as_json["owner"]), (&json!(id), &json!("acme")));
    assert_eq!(run("grants list --mode user").1, "");
    let (code, _, said) = run("grants revoke-all");
    assert_ne!(code, 0);
    assert!(said.contains("name an owner, a mode or a client"), "{said}");
    assert_eq!(run(&format!("grants revoke-all --client {}", app.client)).1, "1 revoked\n");
    assert_eq!(Client::json(gate.anybody.with_key(&given.access).get("/v1/models")).await.0, 401);
    assert_eq!(run(&format!("grants revoke {id}")).1, format!("{id} revoked\n"));
    assert_ne!(run("grants revoke grant_x").0, 0);

    let (_, made, _) =
        run("clients create --name Mine --redirect-uri https://app.example/cb --scopes models.read");
    let client = made.lines().last().unwrap();
    assert!(client.starts_with("client_"), "{made}");
    assert!(run("clients list").1.contains(&format!("{client} operator models.read \"Mine\"")));
    assert_eq!(
        run(&format!("clients delete {client}")).1,
        format!("{client} deleted, 0 of its grants revoked\n")
    );
    assert_ne!(run("clients create --name Bad --redirect-uri http://app.example/cb").0, 0);
    let offline = tidemark(["grants", "list", "--data-dir", gate.server.data_dir().to_str().unwrap()]);
    assert!(!offline.status.success(), "a server has the store open");
}

#[tokio::test]
async fn b_1_a_gateway_without_it_and_a_bridge_let_no_app_in() {
    let gate = Gate::new();
    let base = gate.anybody.at(&gate.server.gateway_url());
    for path in ["/oauth2/authorize", "/oauth2/token", "/.well-known/oauth-authorization-server"] {
        let (status, refusal) = Client::json(base.get(path)).await;
        assert_eq!((status, code(&refusal)), (404, "not_found"), "{path}");
    }
    let token = "eyJhbGciOiJub25lIn0.e30.";
    assert_eq!(Client::json(gate.anybody.with_key(token).get("/v1/models")).await.0, 401);
}
