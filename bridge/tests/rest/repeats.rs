//! Creates with an idempotency key (W-35).

use axum::body::Body;
use http::{HeaderValue, Request};
use tidemark_proto::v1::{CreateRequest, CreateStreamRequest, ErrorCode, Wait};

use crate::fake::{Asked, Fake, ID, Script, Step, event, status};
use crate::http::{ask, both, post, send};

fn keyed(query: &str, body: &str, headers: &[(&'static str, &[u8])]) -> Request<Body> {
    let mut request = post(&format!("/v1/responses{query}"), body.to_owned());
    for (name, value) in headers {
        request.headers_mut().append(*name, HeaderValue::from_bytes(value).unwrap());
    }
    request
}

fn create(wait: Wait) -> CreateRequest {
    let key = Some("k 1".to_owned());
    CreateRequest {
        model: "m".to_owned(),
        wait: wait.into(),
        idempotency_key: key,
        ..CreateRequest::default()
    }
}

#[tokio::test]
async fn the_key_becomes_a_field_and_a_repeat_is_said_to_be_one() {
    for (replayed, extra) in [(false, ""), (true, "idempotency-replayed: true\n")] {
        let fake = Fake::new(Script {
            replayed,
            steps: vec![Step::Events(vec![event(0, "response.created")])],
            ..Script::default()
        });
        let (bridges, _server) = both(&fake).await;
        for (way, bridge) in &bridges {
            let key = [("idempotency-key", &b"k 1"[..])];
            let reply = ask(bridge, keyed("", r#"{"model":"m"}"#, &key)).await;
            let head =
                format!("200\ncontent-type: application/json\n{extra}x-tidemark-response-id: {ID}\n\n");
            assert!(reply.starts_with(&head), "{way}: {reply}");

            let reply = ask(bridge, keyed("", r#"{"model":"m","stream":true}"#, &key)).await;
            let stream = "event: response.created\ndata: {\"n\":0}\n\ndata: [DONE]\n\n";
            let head = format!(
                "200\ncache-control: no-cache\ncontent-type: text/event-stream; charset=utf-8\n{extra}\
                 x-accel-buffering: no\nx-tidemark-response-id: {ID}\n\n"
            );
            assert_eq!(reply, format!("{head}{stream}"), "{way}");
        }
        let streamed = CreateStreamRequest { create: Some(create(Wait::None)), after: None };
        let pair = [Asked::Create(create(Wait::Terminal)), Asked::CreateStream(streamed)];
        assert_eq!(fake.asked(), vec![pair; 2].concat());
    }
}

#[tokio::test]
async fn a_repeat_may_bring_its_position() {
    let fake = Fake::new(Script { replayed: true, steps: vec![Step::Heartbeat], ..Script::default() });
    let bridge = fake.local();
    let key = ("idempotency-key", &b"k 1"[..]);
    let body = r#"{"model":"m","stream":true}"#;
    ask(&bridge, keyed("?starting_after=3", body, &[key])).await;
    ask(&bridge, keyed("?starting_after=3", body, &[key, ("last-event-id", b"7")])).await;
    ask(&bridge, keyed("?starting_after=3", body, &[("last-event-id", b"7")])).await;
    let asked = |after| Asked::CreateStream(CreateStreamRequest { create: Some(create(Wait::None)), after });
    let unkeyed = CreateRequest { idempotency_key: None, ..create(Wait::None) };
    let unkeyed = Asked::CreateStream(CreateStreamRequest { create: Some(unkeyed), after: None });
    assert_eq!(fake.asked(), [asked(Some(3)), asked(Some(7)), unkeyed], "only with a key");

    let refused = keyed("", body, &[key, ("last-event-id", b"x")]);
    assert_eq!(send(&bridge, refused).await.status(), 400);
    assert_eq!(fake.asked().len(), 3);
}

#[tokio::test]
async fn a_key_that_is_no_text_is_refused_before_the_gateway_is_asked() {
    let fake = Fake::new(Script::default());
    let bridge = fake.local();
    let twice = [("idempotency-key", &b"a"[..]), ("idempotency-key", &b"a"[..])];
    let latin = [("idempotency-key", &b"\xe4"[..])];
    for headers in [&twice[..], &latin[..]] {
        let reply = ask(&bridge, keyed("", r#"{"model":"m"}"#, headers)).await;
        assert!(reply.starts_with("400\n"), "{reply}");
        assert!(reply.contains(r#""param":"idempotency-key","code":"invalid_idempotency_key""#), "{reply}");
    }
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn refusals_of_the_gateway_name_the_header_and_say_whether_to_try_again() {
    for (code, http, retry) in [
        (ErrorCode::IdempotencyKeyReused, 409, Some("false")),
        (ErrorCode::IdempotencyRequestInProgress, 409, None),
        (ErrorCode::IdempotencyUnavailable, 503, None),
    ] {
        let refusal = status(code, &[("param", "idempotency_key")]);
        let fake =
            Fake::new(Script { reply: Some(Err(refusal.clone())), open: Err(refusal), ..Script::default() });
        let (bridges, _server) = both(&fake).await;
        for (way, bridge) in &bridges {
            for body in [r#"{"model":"m"}"#, r#"{"model":"m","stream":true}"#] {
                let reply = send(bridge, keyed("", body, &[("idempotency-key", b"k")])).await;
                assert_eq!(reply.status(), http, "{way}");
                let said =
                    reply.headers().get("x-should-retry").map(|value| value.to_str().unwrap().to_owned());
                assert_eq!(said.as_deref(), retry, "{way} {code:?}");
                assert_eq!(reply.headers().contains_key("retry-after"), retry.is_none(), "{way} {code:?}");
            }
        }
    }
}
