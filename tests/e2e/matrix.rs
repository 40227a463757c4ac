//! Who may call what: every method and every route, by every kind of caller, against a table (D-30, U-1).
//!
//! The table is compared with the methods and routes that are served: one without a row fails the test.

use std::collections::BTreeSet;

use prost::Message;
use reqwest::Method;
use serde_json::{Value, json};
use tidemark::auth::methods::METHODS;
use tidemark_bridge::{ROUTES, VERSION};
use tidemark_proto::names::REQUEST_ID;
use tidemark_proto::v1::create_request::Input;
use tidemark_proto::v1::{
    AddItemsRequest, AddUserRequest, CreateClientRequest, CreateKeyRequest, CreateRequest,
    CreateStreamRequest, GetItemRequest, GetRequest, ResumeRequest, RevokeGrantsRequest,
};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

use crate::chats;
use crate::common::app::{App, SETTINGS};
use crate::common::rest::Client;
use crate::keys::{Gate, Made, UNKNOWN};
use crate::oauth;
use crate::setup::{paced, until};

/// Callers in the order of the columns of [`TABLE`].
const CALLERS: [&str; 12] = [
    "the owner",
    "another owner",
    "no key",
    "a wrong key",
    "a disabled key",
    "an expired key",
    "a key without the scope",
    "the operator",
    "the operator for the owner",
    "a ticket",
    "a ticket for another response",
    "a ticket that has ended",
];

/// What each caller gets: `ok`, or the HTTP status of the refusal, over gRPC the status that stands for it. `Service/Method` is a
/// method, `VERB /path` a route; behind `?` is a variant of one.
#[rustfmt::skip]
const TABLE: &[(&str, [&str; 12])] = &[
    ("ResponsesService/Create", OWN),
    ("ResponsesService/CreateStream", OWN),
    ("ResponsesService/Get", ONE_OR_TICKET),
    ("ResponsesService/Cancel", ONE_OR_TICKET),
    ("ResponsesService/Resume", ONE_OR_TICKET),
    ("ResponsesService/Delete", ONE),
    ("ResponsesService/List", OWN),
    ("ResponsesService/ListInputItems", ONE),
    ("ResponsesService/CreateTicket", ONE),
    ("SessionsService/CreateSession", OWN),
    ("SessionsService/GetSession", ONE),
    ("SessionsService/UpdateSession", ONE),
    ("SessionsService/ListSessions", OWN),
    ("SessionsService/ResetSession", ONE),
    ("SessionsService/DeleteSession", ONE),
    ("SessionsService/ListHistory", ONE),
    ("SessionsService/WatchHistory", ONE),
    ("SessionsService/AddItems", ONE),
    ("SessionsService/ListItems", ONE),
    ("SessionsService/GetItem", ONE),
    ("SessionsService/DeleteItem", ONE),
    ("ModelsService/ListModels", OWN),
    ("KeysService/CreateKey", OWN),
    ("KeysService/ListKeys", OWN),
    ("KeysService/RotateKey", KEY),
    ("KeysService/DisableKey", KEY),
    ("KeysService/EnableKey", KEY),
    ("KeysService/DeleteKey", KEY),
    ("UsersService/AddUser", ADMIN),
    ("UsersService/DisableUser", ADMIN),
    ("UsersService/ListUsers", ADMIN),
    ("GrantsService/ListGrants", OWN),
    ("GrantsService/RevokeGrant", KEY),
    ("GrantsService/RevokeGrants", ADMIN),
    ("GrantsService/CreateClient", ADMIN),
    ("GrantsService/ListClients", ADMIN),
    ("GrantsService/DeleteClient", ADMIN),
    ("Health/Check", ANYBODY),
    ("Health/Watch", ANYBODY),
    ("v1.ServerReflection/ServerReflectionInfo", CREDENTIAL),
    ("v1alpha.ServerReflection/ServerReflectionInfo", CREDENTIAL),
    ("GET /responses", OWN),
    ("POST /responses", OWN),
    ("POST /responses?stream", OWN),
    ("GET /responses/{id}", ONE_OR_TICKET),
    ("GET /responses/{id}?stream=true", ONE_OR_TICKET),
    ("DELETE /responses/{id}", ONE),
    ("POST /responses/{id}/cancel", ONE_OR_TICKET),
    ("POST /responses/{id}/tickets", ONE),
    ("GET /responses/{id}/input_items", ONE),
    ("GET /chat/completions", OWN),
    ("POST /chat/completions", OWN),
    ("POST /chat/completions?stream", OWN),
    ("GET /chat/completions/{id}", ONE_OR_TICKET),
    ("GET /chat/completions/{id}?stream=true", ONE_OR_TICKET),
    ("DELETE /chat/completions/{id}", ONE),
    ("GET /chat/completions/{id}/messages", ONE),
    ("POST /chat/completions/{id}/cancel", ONE_OR_TICKET),
    ("POST /chat/completions/{id}/tickets", ONE),
    ("GET /sessions", OWN),
    ("POST /sessions", OWN),
    ("GET /sessions/{key}", ONE),
    ("DELETE /sessions/{key}", ONE),
    ("POST /sessions/{key}/reset", ONE),
    ("GET /sessions/{key}/history", ONE),
    ("GET /sessions/{key}/history?sse", ONE),
    ("POST /conversations", OWN),
    ("GET /conversations/{id}", ONE),
    ("POST /conversations/{id}", ONE),
    ("DELETE /conversations/{id}", ONE),
    ("GET /conversations/{id}/items", ONE),
    ("POST /conversations/{id}/items", ONE),
    ("GET /conversations/{id}/items/{item}", ONE),
    ("DELETE /conversations/{id}/items/{item}", ONE),
    ("GET /keys", OWN),
    ("POST /keys", OWN),
    ("DELETE /keys/{id}", KEY),
    ("POST /keys/{id}/rotate", KEY),
    ("POST /keys/{id}/disable", KEY),
    ("POST /keys/{id}/enable", KEY),
    ("GET /oauth2/sessions", OWN),
    ("DELETE /oauth2/sessions/{id}", KEY),
    ("GET /models", OWN),
    ("GET /models/{*id}", OWN),
];

//                               owner  other  none   wrong  disab. expir. scope  oper.  act_as ticket foreign ended
const OWN: [&str; 12] = ["ok", "ok", "401", "401", "401", "401", "403", "ok", "ok", "403", "403", "401"];
const ONE: [&str; 12] = ["ok", "404", "401", "401", "401", "401", "403", "404", "ok", "403", "403", "401"];
const ONE_OR_TICKET: [&str; 12] =
    ["ok", "404", "401", "401", "401", "401", "403", "404", "ok", "ok", "404", "401"];
const KEY: [&str; 12] = ["ok", "404", "401", "401", "401", "401", "403", "ok", "ok", "403", "403", "401"];
const ADMIN: [&str; 12] = ["403", "403", "401", "401", "401", "401", "403", "ok", "ok", "403", "403", "401"];
const CREDENTIAL: [&str; 12] = ["ok", "ok", "401", "401", "401", "401", "ok", "ok", "ok", "ok", "ok", "401"];
const ANYBODY: [&str; 12] = ["ok"; 12];

/// What the owners' keys are good for: all that is not for operators alone.
const SCOPES: [&str; 8] = [
    "responses.read",
    "responses.write",
    "sessions.read",
    "sessions.write",
    "models.read",
    "keys.admin",
    "grants.read",
    "grants.write",
];

/// The only item of the session that callers ask for.
const ITEM: &str = "msg_of_the_matrix";

/// The name of a method in the table. Reflection has two versions.
fn short(path: &str) -> &str {
    let start = path.find("v1.Server").or_else(|| path.find("v1alpha.Server"));
    start.and_then(|start| path.get(start..)).unwrap_or_else(|| path.rsplit_once('.').unwrap().1)
}

#[test]
fn every_method_and_every_route_has_a_row() {
    let methods = METHODS.iter().map(|(path, _)| short(path).to_owned());
    let routes = ROUTES.iter().map(|route| format!("{} {}", route.method, route.path));
    let served: BTreeSet<_> = methods.chain(routes).collect();
    let rows = TABLE.iter().map(|(name, _)| name.split_once('?').map_or(*name, |(name, _)| name).to_owned());
    assert_eq!(rows.collect::<BTreeSet<_>>(), served);
}

/// What callers ask for.
struct Target {
    response: String,
    key: Made,
    /// A grant or a client, for rows about these.
    app: String,
}

/// Callers that stay the same, and the way to make the others.
struct Cast {
    gate: Gate,
    owner: Client,
    other: Client,
    disabled: String,
    expired: String,
    scopeless: String,
    ended_ticket: String,
    foreign_ticket: String,
    app: App,
}

impl Cast {
    async fn new() -> Self {
        let gate = Gate::with_settings(SETTINGS);
        let app = App::register(&gate.server.gateway_url()).await;
        let owner = gate.with(&gate.key("acme", &SCOPES).await);
        let other = gate.with(&gate.key("bob", &SCOPES).await);
        let disabled = gate.key("acme", &SCOPES).await;
        gate.change(&disabled, "disable").await;
        let soon = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() + 2;
        let expired = gate.make(&json!({"owner": "acme", "scopes": SCOPES, "expires_at": soon})).await.key;
        let scopeless = gate.key("acme", &["owners.act_as"]).await.key;
        let response = owner.background(paced(1, 0)).await;
        let ended_ticket = ticket(&owner, &response, 1).await;
        let foreign_ticket = ticket(&owner, &response, 3600).await;
        let refused = async |key: &str| {
            let request = gate.anybody.with_key(key).get(&format!("/v1/responses/{response}"));
            (request.send().await.unwrap().status() == 401).then_some(())
        };
        until("the key ends", async || refused(&expired).await).await;
        until("the ticket ends", async || refused(&ended_ticket).await).await;
        let disabled = disabled.key;
        Self { gate, owner, other, disabled, expired, scopeless, ended_ticket, foreign_ticket, app }
    }

    /// Something new of acme to ask for, so that no call finds what an earlier one has done to it.
    async fn target(&self, row: &str) -> Target {
        let response = if is_of_session(row) {
            let item = json!({"id": ITEM, "role": "user", "content": "hi"});
            let (_, made) =
                Client::json(self.owner.post("/v1/conversations", &json!({"items": [item]}))).await;
            made["id"].as_str().unwrap().to_owned()
        } else if row.contains(" /chat/") {
            let (_, made) = Client::json(self.owner.post(chats::PATH, &chats::chat("demo"))).await;
            made["id"].as_str().unwrap().to_owned()
        } else {
            self.owner.background(paced(1, 0)).await
        };
        let key = self.gate.key("acme", &["models.read"]).await;
        let app = match row {
            "GrantsService/DeleteClient" => App::register(&self.gate.server.gateway_url()).await.client,
            _ if row.contains("RevokeGrant") || row.contains("sessions/") => {
                self.app.ask(&key.key).await;
                oauth::sessions(&self.owner).await[0]["id"].as_str().unwrap().to_owned()
            }
            _ => String::new(),
        };
        Target { response, key, app }
    }

    async fn caller(&self, name: &str, target: &Target) -> Client {
        let with = |key: &str| self.gate.anybody.with_key(key);
        match name {
            "the owner" => self.owner.clone(),
            "another owner" => self.other.clone(),
            "no key" => self.gate.anybody.clone(),
            "a wrong key" => with("tmk_00000000000000000000000000000000_wrong"),
            "a disabled key" => with(&self.disabled),
            "an expired key" => with(&self.expired),
            "a key without the scope" => with(&self.scopeless),
            "the operator" => self.gate.operator.clone(),
            "the operator for the owner" => self.gate.operator.of("acme"),
            "a ticket" if target.response.starts_with("conv_") => with(&self.foreign_ticket),
            "a ticket" => with(&ticket(&self.owner, &target.response, 3600).await),
            "a ticket for another response" => with(&self.foreign_ticket),
            "a ticket that has ended" => with(&self.ended_ticket),
            other => panic!("nobody is called {other}"),
        }
    }

    /// The request that a row stands for.
    fn request(
        &self,
        row: &str,
        caller: &Client,
        [response, key, app]: [&str; 3],
    ) -> reqwest::RequestBuilder {
        let named = if row.contains("Grants") || row.contains("sessions") { app } else { key };
        match row.split_once(' ') {
            Some((method, path)) => rest(method, path, caller, response, named),
            None => self.grpc_web(row, caller, response, named),
        }
    }

    /// A call over grpc-web, whose frames are gRPC's.
    fn grpc_web(&self, row: &str, caller: &Client, response: &str, key: &str) -> reqwest::RequestBuilder {
        let (path, _) = METHODS.iter().find(|(path, _)| short(path) == row).unwrap();
        let message = message(row, response, key);
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let frame = [&[0][..], &length, &message].concat();
        let caller = caller.at(&self.gate.server.gateway_url());
        caller.request(Method::POST, path).header("content-type", "application/grpc-web+proto").body(frame)
    }
}

/// A ticket with all rights that a ticket can have.
async fn ticket(owner: &Client, response: &str, seconds: u32) -> String {
    let body = json!({"rights": ["read", "cancel"], "lifetime_seconds": seconds});
    let (_, made) = Client::json(owner.post(&format!("/v1/responses/{response}/tickets"), &body)).await;
    made["ticket"].as_str().unwrap().to_owned()
}

fn rest(method: &str, path: &str, caller: &Client, response: &str, key: &str) -> reqwest::RequestBuilder {
    let id = if path.starts_with("/keys") || path.starts_with("/oauth2") { key } else { response };
    let streamed = path.ends_with("?stream");
    let sse = path.ends_with("?sse");
    let path = path.trim_end_matches("?stream").trim_end_matches("?sse").replace("{*id}", "demo");
    let path = path.replace("{id}", id).replace("{key}", id).replace("{item}", ITEM);
    let request = caller.request(method.parse().unwrap(), &format!("{VERSION}{path}"));
    let body = match (method, path.as_str()) {
        ("POST", "/responses") => {
            let mut body: Value = paced(1, 0);
            body["stream"] = streamed.into();
            body
        }
        ("POST", "/chat/completions") => chats::chat_with("demo", &json!({"stream": streamed})),
        ("POST", "/keys") => json!({"scopes": ["models.read"]}),
        ("POST", "/sessions" | "/conversations") => json!({"metadata": {"a": "b"}}),
        ("POST", path) if path.ends_with("/items") => json!({"items": [{"role": "user", "content": "x"}]}),
        ("POST", path) if path.starts_with("/conversations/") => json!({"metadata": {"a": "b"}}),
        _ if sse => return request.header("accept", "text/event-stream"),
        _ => return request,
    };
    request.json(&body)
}

/// The request message of a method. Those that name something have its id as their first field.
fn message(row: &str, response: &str, key: &str) -> Vec<u8> {
    let input = Some(Input::Text("x".to_owned()));
    let create = CreateRequest { model: "demo".to_owned(), input, ..CreateRequest::default() };
    let named = |id: &str| GetRequest { id: id.to_owned(), ..Default::default() }.encode_to_vec();
    match row {
        "ResponsesService/Create" => create.encode_to_vec(),
        "ResponsesService/CreateStream" => {
            CreateStreamRequest { create: Some(create), ..CreateStreamRequest::default() }.encode_to_vec()
        }
        "ResponsesService/Resume" => {
            ResumeRequest { id: response.to_owned(), ..ResumeRequest::default() }.encode_to_vec()
        }
        "ResponsesService/List"
        | "ModelsService/ListModels"
        | "KeysService/ListKeys"
        | "UsersService/ListUsers"
        | "GrantsService/ListGrants"
        | "GrantsService/ListClients"
        | "Health/Check"
        | "Health/Watch" => Vec::new(),
        "SessionsService/CreateSession" | "SessionsService/ListSessions" => Vec::new(),
        "SessionsService/AddItems" => {
            let items = br#"[{"role":"user","content":"x"}]"#.to_vec().into();
            AddItemsRequest { key: response.to_owned(), items }.encode_to_vec()
        }
        "SessionsService/GetItem" | "SessionsService/DeleteItem" => {
            GetItemRequest { key: response.to_owned(), id: ITEM.to_owned() }.encode_to_vec()
        }
        "KeysService/CreateKey" => {
            let scopes = vec!["models.read".to_owned()];
            CreateKeyRequest { scopes, ..CreateKeyRequest::default() }.encode_to_vec()
        }
        "GrantsService/RevokeGrants" => {
            RevokeGrantsRequest { owner: "nobody".to_owned(), ..Default::default() }.encode_to_vec()
        }
        "GrantsService/CreateClient" => {
            let redirect_uris = vec!["https://app.example/cb".to_owned()];
            CreateClientRequest { redirect_uris, ..Default::default() }.encode_to_vec()
        }
        "UsersService/AddUser" | "UsersService/DisableUser" => {
            AddUserRequest { name: "ann".to_owned() }.encode_to_vec()
        }
        _ if row.contains("ServerReflection/") => {
            let message_request = Some(MessageRequest::ListServices(String::new()));
            ServerReflectionRequest { message_request, ..ServerReflectionRequest::default() }.encode_to_vec()
        }
        _ if row.starts_with("KeysService/") || row.starts_with("GrantsService/") => named(key),
        _ => named(response),
    }
}

/// Whether a row is about a session.
fn is_of_session(row: &str) -> bool {
    row.starts_with("SessionsService/") || row.contains(" /sessions") || row.contains(" /conversations")
}

/// What came: as in the table, and as bytes.
async fn answer(request: reqwest::RequestBuilder) -> (String, String) {
    let mut reply = request.header(REQUEST_ID, "the-same").send().await.unwrap();
    reply.headers_mut().remove("date");
    let head = format!("{} {:?}", reply.status(), reply.headers());
    let status = match reply.headers().get("grpc-status") {
        Some(status) => over_grpc(status.to_str().unwrap()),
        // What is read of it may never end.
        None if reply.status() == 204 || reply.status() == 200 && !is_grpc(&reply) => {
            return ("ok".to_owned(), head);
        }
        None if reply.status() == 200 => return (first_frame(reply).await, head),
        None => reply.status().as_u16().to_string(),
    };
    let body = if status == "ok" { String::new() } else { reply.text().await.unwrap() };
    (status, format!("{head}\n{body}"))
}

fn is_grpc(reply: &reqwest::Response) -> bool {
    reply.headers()["content-type"].as_bytes().starts_with(b"application/grpc")
}

/// A message is what a stream that may never end begins with; what ends without one says why in its trailers.
async fn first_frame(mut reply: reqwest::Response) -> String {
    let bytes = reply.chunk().await.unwrap().unwrap();
    if bytes[0] & 0x80 == 0 {
        return "ok".to_owned();
    }
    let trailers = String::from_utf8_lossy(&bytes[5..]).into_owned();
    over_grpc(trailers.split("grpc-status:").nth(1).unwrap().split("\r\n").next().unwrap().trim())
}

fn over_grpc(status: &str) -> String {
    match status {
        "0" => "ok",
        "5" => "404",
        "7" => "403",
        "16" => "401",
        other => other,
    }
    .to_owned()
}

/// Rows that answer within what a response is: of these, a refusal must not tell unknown from foreign.
fn hides(row: &[&str; 12]) -> bool {
    row.contains(&"404")
}

#[tokio::test]
async fn every_caller_gets_what_the_table_says_and_nobody_learns_what_is_there() {
    let cast = Cast::new().await;
    let add_ann = cast.request("UsersService/AddUser", &cast.gate.operator, [""; 3]);
    assert_eq!(answer(add_ann).await.0, "ok");
    let mut wrong = Vec::new();
    for (row, expected) in TABLE {
        let unknown_key = "key_00000000000000000000000000000000";
        let unknown_grant = format!("grant_{}", "0".repeat(64));
        let unknown = [UNKNOWN, unknown_key, &unknown_grant];
        let unknown = answer(cast.request(row, &cast.owner, unknown)).await;
        assert!(!hides(expected) || unknown.0 == "404", "{row}: {unknown:?}");
        let mut refusals = BTreeSet::new();
        for (name, expected) in CALLERS.iter().zip(expected) {
            let target = cast.target(row).await;
            let caller = cast.caller(name, &target).await;
            let (status, bytes) =
                answer(cast.request(row, &caller, [&target.response, &target.key.id, &target.app])).await;
            if status != *expected {
                wrong.push(format!("{row} by {name}: {status} and not {expected}\n{bytes}"));
            }
            match status.as_str() {
                "404" => assert_eq!(bytes, unknown.1, "{row} by {name}: foreign is not as unknown"),
                "401" => {
                    refusals.insert(bytes);
                }
                _ => {}
            }
        }
        assert!(refusals.len() <= 1, "{row}: whoever is nobody can tell why: {refusals:#?}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
