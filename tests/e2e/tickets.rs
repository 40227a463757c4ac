//! Tickets, over REST (also through a bridge alone) and gRPC (D-40, S-5).

use serde_json::json;
use tidemark_proto::names::{OWNER, SCOPES, TICKET};
use tidemark_proto::v1::create_request::Input;
use tidemark_proto::v1::{
    CancelRequest, CreateRequest, CreateStreamRequest, CreateTicketRequest, GetRequest,
    ListInputItemsRequest, ListRequest, ResumeRequest, TicketOrder, TicketRights,
};
use tonic::{Code, Request};

use crate::chats;
use crate::common::rest::{Client, Stream, bytes_of};
use crate::grpc::responses;
use crate::keys::{Gate, UNKNOWN, code, with_bearer};
use crate::setup::{demo, paced, paced_stream, until};

/// A ticket for a response, made by `client`.
async fn ticket_for(client: &Client, id: &str, body: &serde_json::Value) -> String {
    let (status, made) = Client::json(client.post(&format!("/v1/responses/{id}/tickets"), body)).await;
    assert_eq!(status, 200, "{made}");
    assert_eq!((&made["object"], &made["response_id"]), (&json!("ticket"), &json!(id)));
    made["ticket"].as_str().unwrap().to_owned()
}

async fn status_of(request: reqwest::RequestBuilder) -> u16 {
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_create_answers_with_a_ticket_that_reads_its_response_alone() {
    let gate = Gate::new();
    let alice = gate.user("alice").await;
    let create = alice.post("/v1/responses", &paced_stream(20, 50)).header(TICKET, "read");
    let stream = Stream::open(create).await;
    let ticket = stream.headers[TICKET].to_str().unwrap().to_owned();
    let id = stream.headers["x-tidemark-response-id"].to_str().unwrap().to_owned();
    let holder = gate.with_ticket(&ticket);
    let read_by_holder = holder.resume(&id, None).await;
    assert!(!read_by_holder.headers.contains_key(TICKET));
    let (own, read) = tokio::join!(stream.events(), read_by_holder.events());
    assert_eq!(own, read);
    assert!(!format!("{own:?}").contains(&ticket), "never inside the response");
    assert_eq!(holder.snapshot(&id).await["status"], "completed");
    for body in
        [json!({"model": "demo", "input": "x", "background": true}), json!({"model": "demo", "input": "x"})]
    {
        let made = alice.post("/v1/responses", &body).header(TICKET, "read,cancel").send().await.unwrap();
        let ticket = made.headers()[TICKET].to_str().unwrap().to_owned();
        let text = made.text().await.unwrap();
        assert!(!text.contains("tmt_"), "{text}");
        let id = serde_json::from_str::<serde_json::Value>(&text).unwrap()["id"].as_str().unwrap().to_owned();
        assert_eq!(gate.with_ticket(&ticket).cancel(&id).await.0, 200);
    }
}

#[tokio::test]
async fn a_ticket_is_good_for_nothing_but_what_it_says() {
    let gate = Gate::new();
    let alice = gate.user("alice").await;
    let (id, other) = (alice.background(paced(500, 50)).await, alice.background(paced(1, 0)).await);
    let ticket = ticket_for(&alice, &id, &json!({})).await;
    let holder = gate.with_ticket(&ticket);
    let path = format!("/v1/responses/{id}");
    let unknown = bytes_of(holder.get(&format!("/v1/responses/{UNKNOWN}"))).await;
    assert!(unknown.starts_with("404 "), "{unknown}");
    assert_eq!(bytes_of(holder.get(&format!("/v1/responses/{other}"))).await, unknown);
    assert_eq!(bytes_of(holder.get(&format!("/v1/responses/{other}?stream=true"))).await, unknown);
    let post = reqwest::Method::POST;
    for (request, scope) in [
        (holder.post("/v1/responses", &paced(1, 0)), "responses.write"),
        (holder.get("/v1/responses"), "responses.read"),
        (holder.get(&format!("{path}/input_items")), "responses.read"),
        (holder.request(reqwest::Method::DELETE, &path), "responses.write"),
        (holder.request(post.clone(), &format!("{path}/cancel")), "responses.write"),
        (holder.request(post, &format!("{path}/tickets")), "responses.read"),
        (holder.get("/v1/models"), "models.read"),
        (holder.get("/v1/keys"), "keys.admin"),
        (holder.get(&path).header(OWNER, "alice"), "owners.act_as"),
        (holder.get(&path).header(SCOPES, "models.read"), "responses.read"),
    ] {
        let (status, reply) = Client::json(request).await;
        assert_eq!((status, code(&reply)), (403, "insufficient_scope"), "{reply}");
        assert!(reply["error"]["message"].as_str().unwrap().contains(scope), "{reply}");
    }
    let both = ticket_for(&alice, &id, &json!({"rights": ["read", "cancel"]})).await;
    assert_eq!(gate.with_ticket(&both).cancel(&id).await.1["status"], "cancelled");
}

/// The same for a chat.
#[tokio::test]
async fn a_ticket_of_a_chat_reads_it_in_the_url_too_and_no_other() {
    let gate = Gate::new();
    let alice = gate.user("alice").await;
    let stream =
        Stream::open(alice.post(chats::PATH, &chats::streamed("demo")).header(TICKET, "read,cancel")).await;
    let header = |name: &str| stream.headers[name].to_str().unwrap().to_owned();
    let (ticket, id) = (header(TICKET), header("x-tidemark-response-id"));
    let frames = stream.rest().await;
    let holder = gate.with_ticket(&ticket);
    let path = format!("{}/{id}", chats::PATH);
    assert_eq!(chats::resume(&holder, &id, "").await.rest().await, frames);
    let in_url = gate.anybody.get(&format!("{path}?stream=true&ticket={ticket}"));
    assert_eq!(Stream::open(in_url).await.rest().await, frames);
    assert_eq!(Client::json(holder.get(&path)).await.1["status"], "completed");
    let (_, other, _) = chats::reply_and_id(alice.post(chats::PATH, &chats::chat("demo"))).await;
    for unknown in [format!("{}/{other}", chats::PATH), format!("/v1/responses/{id}")] {
        assert_eq!(status_of(holder.get(&unknown)).await, 404, "{unknown}");
    }
    let cancel = |client: &Client| client.request(reqwest::Method::POST, &format!("{path}/cancel"));
    let (status, made) = Client::json(alice.post(&format!("{path}/tickets"), &json!({}))).await;
    assert_eq!((status, &made["response_id"]), (200, &json!(id)));
    let reader = gate.with_ticket(made["ticket"].as_str().unwrap());
    assert_eq!((status_of(reader.get(&path)).await, status_of(cancel(&reader)).await), (200, 403));
    assert_eq!(status_of(cancel(&holder)).await, 200);
}

#[tokio::test]
async fn a_ticket_stands_in_the_url_of_its_stream_and_nowhere_else() {
    let gate = Gate::new();
    let alice = gate.user("alice").await;
    let id = alice.background(paced(5, 0)).await;
    let ticket = ticket_for(&alice, &id, &json!({"lifetime_seconds": 600})).await;
    let url = |query: &str| gate.anybody.get(&format!("/v1/responses/{id}?{query}"));
    let whole =
        Stream::open(url(&format!("stream=true&ticket={ticket}&event_ids=true"))).await.events().await;
    assert_eq!(whole.last().unwrap().name(), "response.completed");
    let rest =
        Stream::open(url(&format!("ticket={ticket}&starting_after=2&stream=true"))).await.events().await;
    assert_eq!(rest.len(), whole.len() - 3);

    let key = gate.key("alice", &["responses.read"]).await.key;
    let tampered = format!("{}A", &ticket[..ticket.len() - 1]);
    for query in [
        format!("ticket={ticket}"),
        format!("stream=false&ticket={ticket}"),
        "stream=true&ticket=".to_owned(),
        "stream=true&ticket=tmt_".to_owned(),
        format!("stream=true&ticket={key}"),
        format!("stream=true&ticket={}", crate::keys::SECRET),
        format!("stream=true&key={ticket}"),
        format!("stream=true&ticket={tampered}"),
    ] {
        let (status, reply) = Client::json(url(&query)).await;
        // The last character of a ticket has bits that mean nothing: they must be zero all the same.
        assert_eq!((status, code(&reply)), (401, "unauthorized"), "{query}");
    }
    for path in ["/v1/responses", &format!("/v1/responses/{id}/input_items"), "/v1/models"] {
        let request = gate.anybody.get(&format!("{path}?stream=true&ticket={ticket}"));
        assert_eq!(status_of(request).await, 401, "{path}");
    }
    let query = format!("stream=true&ticket={ticket}");
    for two in [
        url(&query).bearer_auth(&key),
        url(&format!("{query}&ticket={ticket}")),
        url(&query).header("x-api-key", "x"),
    ] {
        let (status, reply) = Client::json(two).await;
        assert_eq!((status, code(&reply)), (400, "ambiguous_credentials"));
    }
    until("the calls are in the log", async || gate.server.log().contains("status=200").then_some(())).await;
    assert!(!gate.server.log().contains("tmt_"), "no ticket is in the log");
}

#[tokio::test]
async fn a_ticket_dies_with_its_key_and_outlives_a_restart() {
    let mut gate = Gate::new();
    let made = gate.key("alice", &["responses.read", "responses.write"]).await;
    let alice = gate.with(&made);
    let id = alice.background(paced(1, 0)).await;
    alice.ended(&id).await;
    let ticket = ticket_for(&alice, &id, &json!({})).await;
    let short = ticket_for(&alice, &id, &json!({"lifetime_seconds": 1})).await;
    gate.server.kill();
    gate.server.restart();
    gate.anybody = Client::new(&gate.server.url());
    gate.operator = gate.anybody.with_key(crate::keys::SECRET);
    let path = format!("/v1/responses/{id}");
    let read = |ticket: &str| gate.with_ticket(ticket).get(&path);
    assert_eq!(status_of(read(&ticket)).await, 200);
    until("it ends", async || (status_of(read(&short)).await == 401).then_some(())).await;
    let nobody = bytes_of(gate.anybody.get(&path)).await;
    gate.change(&made, "disable").await;
    assert_eq!(bytes_of(read(&ticket)).await, nobody, "as if none had come");
    assert_eq!(bytes_of(read(&short)).await, nobody);
    gate.change(&made, "enable").await;
    assert_eq!(status_of(read(&ticket)).await, 200);
    gate.change(&made, "rotate").await;
    assert_eq!(bytes_of(read(&ticket)).await, nobody);
}

#[tokio::test]
async fn what_is_wrong_with_a_ticket_to_be_made_is_named() {
    let gate = Gate::new();
    let alice = gate.user("alice").await;
    let id = alice.background(paced(1, 0)).await;
    let path = format!("/v1/responses/{id}/tickets");
    for (body, param) in [
        (json!({"lifetime_seconds": 0}), json!("lifetime_seconds")),
        (json!({"lifetime_seconds": 24 * 3600 + 1}), json!("lifetime_seconds")),
        (json!({"rights": ["cancel"]}), json!("rights")),
        (json!({"right": ["read"]}), json!(null)),
    ] {
        let (status, reply) = Client::json(alice.post(&path, &body)).await;
        assert_eq!((status, &reply["error"]["param"]), (400, &param), "{reply}");
    }
    let writer = gate.with(&gate.key("alice", &["responses.write"]).await);
    let wrong = writer.post("/v1/responses", &paced(1, 0)).header(TICKET, "read");
    assert_eq!(status_of(wrong).await, 403, "who may not read cannot let others read");
    let (_, list) = Client::json(alice.get("/v1/responses")).await;
    assert_eq!(list["data"].as_array().unwrap().len(), 1, "and nothing was begun");
    let bob = gate.user("bob").await;
    assert_eq!(status_of(bob.request(reqwest::Method::POST, &path)).await, 404);
}

#[tokio::test]
async fn over_grpc_tickets_are_fields_and_a_method() {
    let gate = Gate::new();
    let key = gate.key("alice", &["responses.read", "responses.write"]).await.key;
    let mut client = responses(&gate.server).await;
    let order = |rights: TicketRights| Some(TicketOrder { rights: rights.into(), lifetime: None });
    let create = CreateRequest {
        model: "demo".to_owned(),
        input: Some(Input::Text("x".to_owned())),
        ticket: order(TicketRights::Unspecified),
        ..CreateRequest::default()
    };
    let made = client.create(with_bearer(create.clone(), &key)).await.unwrap().into_inner();
    let (id, ticket) = (made.response.unwrap().id, made.ticket.unwrap());
    assert_eq!(ticket.rights(), TicketRights::Read);
    assert!(ticket.expires_at.is_some());
    let get =
        |id: &str, with: &str| with_bearer(GetRequest { id: id.to_owned(), ..Default::default() }, with);
    assert!(client.get(get(&id, &ticket.value)).await.is_ok());
    let resume = with_bearer(ResumeRequest { id: id.clone(), ..ResumeRequest::default() }, &ticket.value);
    assert!(client.resume(resume).await.unwrap().into_inner().message().await.unwrap().is_some());
    let cancel = with_bearer(CancelRequest { id: id.clone(), ..Default::default() }, &ticket.value);
    assert_eq!(client.cancel(cancel).await.unwrap_err().code(), Code::PermissionDenied);

    let stream = CreateStreamRequest { create: Some(create), ..CreateStreamRequest::default() };
    let mut stream = client.create_stream(with_bearer(stream, &key)).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    assert!(client.get(get(&first.id, &first.ticket.unwrap().value)).await.is_ok());
    while let Some(message) = stream.message().await.unwrap() {
        assert_eq!((message.id.as_str(), message.ticket), ("", None));
    }

    let minted = CreateTicketRequest { id: id.clone(), order: order(TicketRights::ReadAndCancel) };
    let minted = client.create_ticket(with_bearer(minted, &key)).await.unwrap().into_inner().ticket.unwrap();
    assert!(
        client
            .cancel(with_bearer(CancelRequest { id: id.clone(), ..Default::default() }, &minted.value))
            .await
            .is_ok()
    );
    let foreign = client.get(get(&first.id, &minted.value)).await.unwrap_err();
    assert_eq!(foreign.code(), Code::NotFound);
    let list = client.list(with_bearer(ListRequest::default(), &minted.value)).await.unwrap_err();
    let input = ListInputItemsRequest { id, ..ListInputItemsRequest::default() };
    let input = client.list_input_items(with_bearer(input, &minted.value)).await.unwrap_err();
    assert_eq!((list.code(), input.code()), (Code::PermissionDenied, Code::PermissionDenied));
}

#[tokio::test]
async fn without_auth_a_ticket_names_its_owner() {
    let (server, client) = demo("");
    let alice = client.of("alice");
    let id = alice.background(paced(1, 0)).await;
    let ticket = ticket_for(&alice, &id, &json!({})).await;
    assert_eq!(status_of(client.get(&format!("/v1/responses/{id}"))).await, 404);
    let url = format!("/v1/responses/{id}?stream=true&ticket={ticket}");
    assert_eq!(
        Stream::open(client.get(&url)).await.events().await.last().unwrap().name(),
        "response.completed"
    );
    let mut grpc = responses(&server).await;
    let request: Request<_> = with_bearer(GetRequest { id, ..Default::default() }, &ticket);
    assert!(grpc.get(request).await.is_ok());
    assert_eq!(status_of(client.with_key(&format!("{ticket}A")).get("/v1/models")).await, 401);
}
