//! Creates that are sent again (D-35, W-35), over both surfaces.

use futures_util::TryStreamExt;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tidemark_proto::v1::responses_service_client::ResponsesServiceClient;
use tidemark_proto::v1::{CreateRequest, CreateStreamRequest, ErrorCode, Wait};
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Channel;
use tonic_types::StatusExt;

use crate::common::rest::{Client, Frame, Stream, id_of, text_of};
use crate::common::scripted::{Act, Gate, answer, chunk};
use crate::grpc::{responses, text_request};
use crate::setup::{Stage, ask, ask_streamed, demo, until};

/// How many creates come at once over REST, and how many over gRPC.
const OVER_REST: usize = 80;
const OVER_GRPC: usize = 20;

const KEY: &str = "retry-1";

fn keyed(client: &Client, body: &Value) -> RequestBuilder {
    client.post("/v1/responses", body).header("idempotency-key", KEY)
}

fn keyed_request() -> CreateRequest {
    CreateRequest { idempotency_key: Some(KEY.to_owned()), ..text_request("m", "Hello wide world") }
}

fn data(frames: &[Frame]) -> Vec<String> {
    frames.iter().map(|frame| frame.data.clone()).collect()
}

/// What a create brought: the object, or the data of each event.
type Brought = (String, Vec<String>);

async fn rest_create(client: Client, streamed: bool) -> Brought {
    let body = if streamed { ask_streamed("m") } else { ask("m") };
    let reply = keyed(&client, &body).send().await.unwrap();
    assert_eq!(reply.status(), 200);
    let id = reply.headers()["x-tidemark-response-id"].to_str().unwrap().to_owned();
    let bytes = match streamed {
        true => data(&Stream::from_reply(reply).events().await),
        false => vec![reply.text().await.unwrap()],
    };
    (id, bytes)
}

async fn grpc_create(mut client: ResponsesServiceClient<Channel>, streamed: bool) -> Brought {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    if streamed {
        let request = CreateStreamRequest { create: Some(keyed_request()), after: None };
        let messages: Vec<_> =
            client.create_stream(request).await.unwrap().into_inner().try_collect().await.unwrap();
        let events = messages.iter().flat_map(|message| message.events.iter().map(|event| text(&event.data)));
        return (messages[0].id.clone(), events.collect());
    }
    let request = CreateRequest { wait: Wait::Terminal.into(), ..keyed_request() };
    let response = client.create(request).await.unwrap().into_inner().response.unwrap();
    (response.id, vec![text(&response.json)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_16_a_hundred_equal_creates_are_one_response_and_one_call_of_the_backend() {
    let gate = Gate::new();
    let acts = [vec![chunk("a"), Act::Await(gate.clone())], answer(["b", "c"])].concat();
    let stage = Stage::with("m", acts).await;
    let grpc = responses(&stage.server).await;
    let mut calls = JoinSet::new();
    for number in 0..OVER_REST {
        calls.spawn(rest_create(stage.client.clone(), number % 2 == 0));
    }
    for number in 0..OVER_GRPC {
        calls.spawn(grpc_create(grpc.clone(), number % 2 == 0));
    }
    until("the backend is asked", async || (!stage.backend.asked().is_empty()).then_some(())).await;
    gate.open();
    let brought = calls.join_all().await;
    let (id, _) = &brought[0];
    let object = stage.client.get(&format!("/v1/responses/{id}")).send().await.unwrap().text().await.unwrap();
    let events = data(&stage.client.whole(id).await);
    for (other, bytes) in &brought {
        assert_eq!(other, id);
        assert!(*bytes == events || *bytes == [object.clone()], "{bytes:?}");
    }
    assert_eq!(stage.backend.asked().len(), 1);
    let (_, list) = Client::json(stage.client.get("/v1/responses")).await;
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_repeat_says_that_it_is_one_on_both_surfaces() {
    let stage = Stage::with("m", answer(["a"])).await;
    let first = keyed(&stage.client, &ask("m")).send().await.unwrap();
    assert!(!first.headers().contains_key("idempotency-replayed"));
    let id = first.headers()["x-tidemark-response-id"].to_str().unwrap().to_owned();
    for body in [ask("m"), ask_streamed("m")] {
        let again = keyed(&stage.client, &body).send().await.unwrap();
        assert_eq!(again.headers()["idempotency-replayed"], "true");
        assert_eq!(again.headers()["x-tidemark-response-id"].to_str().unwrap(), id);
    }
    let mut grpc = responses(&stage.server).await;
    let again = grpc.create(keyed_request()).await.unwrap().into_inner();
    assert_eq!((again.replayed, again.response.unwrap().id), (true, id.clone()));
    // A position at the end: the response is named all the same, and nothing follows.
    let end = stage.client.whole(&id).await.len() as u64 - 1;
    let request = CreateStreamRequest { create: Some(keyed_request()), after: Some(end) };
    let messages: Vec<_> =
        grpc.create_stream(request).await.unwrap().into_inner().try_collect().await.unwrap();
    assert_eq!(messages.len(), 1);
    assert_eq!((&messages[0].id, messages[0].replayed, messages[0].committed), (&id, true, end));

    let other = CreateRequest { extra: r#"{"top_p":1}"#.into(), ..keyed_request() };
    let refused = grpc.create(other).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert_eq!(refused.get_details_error_info().unwrap().reason, "idempotency_key_reused");
    let unkeyed = CreateStreamRequest { create: Some(text_request("m", "x")), after: Some(1) };
    let refused = grpc.create_stream(unkeyed).await.unwrap_err();
    assert_eq!(refused.get_details_bad_request().unwrap().field_violations[0].field, "after");
    assert_eq!(stage.backend.asked().len(), 1);
}

#[tokio::test]
async fn a_stream_that_was_cut_goes_on_when_its_post_is_sent_again() {
    let gate = Gate::new();
    let acts = [vec![chunk("a"), Act::Await(gate.clone())], answer(["b"])].concat();
    let stage = Stage::with("m", acts).await;
    let mut cut = Stream::open(keyed(&stage.client, &ask_streamed("m"))).await;
    let seen = cut.take(5).await;
    drop(cut);
    let again = keyed(&stage.client, &ask_streamed("m")).header("last-event-id", "4");
    let mut again = Stream::open(again).await;
    gate.open();
    let mut frames = Vec::new();
    while let Some(frame) = again.frame().await.filter(|frame| !frame.is_done()) {
        assert_eq!(frame.id, Some(frame.seq().to_string()), "a position turns ids on");
        frames.push(frame);
    }
    let whole = stage.client.whole(&id_of(&seen)).await;
    assert_eq!([data(&seen), data(&frames)].concat(), data(&whole));
    assert_eq!(stage.backend.asked().len(), 1);
}

/// Check 18 of the acceptance checks.
#[tokio::test]
async fn check_18_a_failure_without_output_lets_the_same_key_ask_again() {
    let stage = Stage::with("m", vec![Act::Status(503, "later".into(), "text/plain")]).await;
    stage.backend.script("m", answer(["a"]));
    let refused = keyed(&stage.client, &ask("m")).send().await.unwrap();
    assert_eq!(refused.status(), 502);
    let failed = refused.headers()["x-tidemark-response-id"].to_str().unwrap().to_owned();
    let (status, response) = Client::json(keyed(&stage.client, &ask("m"))).await;
    assert_eq!((status, text_of(&response).as_str()), (200, "a"));
    assert_ne!(response["id"], failed);
    assert_eq!(Client::json(keyed(&stage.client, &ask("m"))).await, (200, response));
    assert_eq!(stage.backend.asked().len(), 2);
}

/// Check 17 of the acceptance checks.
#[tokio::test]
async fn check_17_a_body_that_only_looks_different_is_the_same_and_a_field_given_twice_is_refused() {
    let (_server, client) = demo("");
    let send = async |body: &str| {
        let request = client.post("/v1/responses", &json!({})).header("idempotency-key", KEY);
        Client::json(request.body(body.to_owned())).await
    };
    let first =
        send(r#"{"model":"demo","input":"x","a":1,"seed":9007199254740993,"deep":{"x":[1e2],"y":"\u00e9"}}"#)
            .await;
    assert_eq!(first.0, 200);
    for body in [
        r#"{"model":"demo","input":"x","a":1.0,"seed":9007199254740993,"deep":{"x":[100],"y":"é"}}"#,
        "{ \"deep\":{\"y\":\"é\",\"x\" : [100.0]},\n\"seed\":9007199254740993,\"a\":1e0,\"input\":\"\\u0078\",\"model\":\"demo\",\"stream\":false }",
    ] {
        assert_eq!(send(body).await, first, "{body}");
    }
    for body in [
        r#"{"model":"demo","input":"x","a":1,"seed":9007199254740992,"deep":{"x":[1e2],"y":"\u00e9"}}"#,
        r#"{"model":"demo","input":"x","a":1,"seed":9007199254740993,"deep":{"y":"e","x":[1e2]}}"#,
        r#"{"model":"demo","input":"x","a":2,"seed":9007199254740993,"deep":{"x":[1e2],"y":"é"}}"#,
    ] {
        let (status, reply) = send(body).await;
        assert_eq!((status, &reply["error"]["code"]), (409, &json!("idempotency_key_reused")), "{body}");
        assert_eq!(reply["error"]["param"], "idempotency-key");
    }
    for (body, param) in [
        (r#"{"model":"demo","input":"x","a":1,"a":1}"#, "a"),
        (r#"{"model":"demo","input":"x","deep":{"x":[{"y":1,"z":2,"y":3}]}}"#, "y"),
        (r#"{"model":"demo","input":[{"role":"user","role":"user","content":"x"}]}"#, "role"),
    ] {
        let (status, reply) = send(body).await;
        assert_eq!((status, &reply["error"]["param"]), (400, &json!(param)), "{body}: {reply}");
    }
}

#[tokio::test]
async fn a_key_of_a_wrong_form_is_refused_on_both_surfaces() {
    let stage = Stage::with("m", answer(["a"])).await;
    let mut grpc = responses(&stage.server).await;
    let long = "k".repeat(256);
    for key in ["", "a b", "k\u{e4}", &long] {
        for body in [ask("m"), ask_streamed("m")] {
            let request = stage.client.post("/v1/responses", &body).header("idempotency-key", key);
            let (status, reply) = Client::json(request).await;
            let said = (status, &reply["error"]["code"], &reply["error"]["param"]);
            assert_eq!(said, (400, &json!("invalid_idempotency_key"), &json!("idempotency-key")), "{key:?}");
        }
        let request = CreateRequest { idempotency_key: Some(key.to_owned()), ..text_request("m", "x") };
        let refused = grpc.create(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        let reason = refused.get_details_error_info().unwrap().reason;
        assert_eq!(ErrorCode::from_code(&reason), Some(ErrorCode::InvalidIdempotencyKey), "{key:?}");
    }
    assert!(stage.backend.asked().is_empty());
    let longest = CreateRequest { idempotency_key: Some("k".repeat(255)), ..text_request("m", "x") };
    assert!(grpc.create(longest).await.is_ok());
}

#[tokio::test]
async fn a_repeat_need_not_wait_if_the_operator_does_not_want_it() {
    let gate = Gate::new();
    let acts = [vec![chunk("a"), Act::Await(gate.clone())], answer(["b"])].concat();
    let stage = Stage::set([("m", acts)], "", "[idempotency]\nwait = \"off\"\n").await;
    let mut first = Stream::open(keyed(&stage.client, &ask_streamed("m"))).await;
    let begun = first.take(1).await;
    let refused = keyed(&stage.client, &ask("m")).send().await.unwrap();
    assert_eq!(refused.status(), 409);
    assert_eq!(refused.headers()["x-tidemark-response-id"].to_str().unwrap(), id_of(&begun));
    assert_eq!(refused.headers()["retry-after"], "1");
    assert!(!refused.headers().contains_key("x-should-retry"), "the SDKs may come again");
    let error = refused.json::<Value>().await.unwrap();
    assert_eq!(error["error"]["code"], "idempotency_request_in_progress");
    gate.open();
    first.events().await;
    let (status, response) = Client::json(keyed(&stage.client, &ask("m"))).await;
    assert_eq!((status, &response["id"]), (200, &json!(id_of(&begun))));
}

#[tokio::test]
async fn a_key_is_good_after_a_restart_and_free_after_a_delete() {
    let (mut server, client) = demo("");
    let (_, first) = Client::json(keyed(&client, &ask("demo"))).await;
    server.kill();
    server.restart();
    let client = Client::new(&server.url());
    assert_eq!(Client::json(keyed(&client, &ask("demo"))).await, (200, first.clone()));
    let (_, foreign) = Client::json(keyed(&client.of("bob"), &ask("demo"))).await;
    assert_ne!(foreign["id"], first["id"]);
    let path = format!("/v1/responses/{}", first["id"].as_str().unwrap());
    client.request(reqwest::Method::DELETE, &path).send().await.unwrap();
    let (_, second) = Client::json(keyed(&client, &ask("demo"))).await;
    assert_ne!(second["id"], first["id"]);
    assert_eq!(Client::json(keyed(&client, &ask("demo"))).await, (200, second));
}

#[tokio::test]
async fn check_15_neither_a_crash_nor_a_cancel_makes_a_retry_wait() {
    let mut stage = Stage::with("m", vec![chunk("a"), Act::HangForever]).await;
    let mut body = ask("m");
    body["background"] = true.into();
    let create = async |client: &Client| {
        let reply = keyed(client, &body).send().await.unwrap();
        assert_eq!(reply.status(), 200);
        reply.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
    };
    let id = create(&stage.client).await;
    until("there is output", async || (!text_of(&stage.client.snapshot(&id).await).is_empty()).then_some(()))
        .await;
    stage.server.kill();
    stage.server.restart();
    stage.client = Client::new(&stage.server.url());
    assert_eq!(create(&stage.client).await, id, "with output, the failed response is the answer");
    let cancelled = json!({"model": "m", "input": "another", "background": true});
    let ask_again = async || {
        let request = stage.client.post("/v1/responses", &cancelled).header("idempotency-key", "another");
        let reply = request.send().await.unwrap();
        assert_eq!(reply.status(), 200);
        reply.json::<Value>().await.unwrap()
    };
    let first = ask_again().await;
    stage.client.cancel(first["id"].as_str().unwrap()).await;
    let again = ask_again().await;
    let same = again["id"] == first["id"];
    assert!(!same || again["status"] == "cancelled", "it is the one that was stopped, or a new one: {again}");
    stage.client.cancel(again["id"].as_str().unwrap()).await;
}
