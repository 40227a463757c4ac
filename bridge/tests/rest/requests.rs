//! Everything but streams: routes, JSON replies, refusals.

use axum::body::Body;
use http::Method;
use tidemark_proto::v1::create_request::Input;
use tidemark_proto::v1::{self, CreateRequest, ErrorCode, Model, Wait};

use crate::fake::{Asked, Fake, From, ID, Principal, Script, response, status};
use crate::http::{ask, both, get, post, request, send};

fn object(extra: &str) -> String {
    format!(
        "200\ncontent-type: application/json\n{extra}x-tidemark-response-id: {ID}\n\n\
         {{ \"id\" : \"{ID}\",\"n\":1.0}}"
    )
}

const POLL: &str = "openai-poll-after-ms: 1000\n";

#[tokio::test]
async fn create_returns_the_object_byte_by_byte() {
    let fake = Fake::new(Script::default());
    let (bridges, _server) = both(&fake).await;
    let body = r#"{"model":"m","input":"hi","temperature":1.0}"#;
    for (way, bridge) in &bridges {
        for path in ["/v1/responses", "/responses"] {
            assert_eq!(ask(bridge, post(path, body)).await, object(""), "{way} {path}");
        }
    }
    let create = CreateRequest {
        model: "m".to_owned(),
        input: Some(Input::Text("hi".to_owned())),
        extra: r#"{"temperature":1.0}"#.into(),
        wait: Wait::Terminal.into(),
        ..CreateRequest::default()
    };
    assert_eq!(fake.asked(), vec![Asked::Create(create); 4]);
}

#[tokio::test]
async fn a_background_create_returns_at_once() {
    let fake = Fake::new(Script { reply: Some(Ok(response(v1::Status::Queued))), ..Script::default() });
    let (bridges, _server) = both(&fake).await;
    for (way, bridge) in &bridges {
        let reply = ask(bridge, post("/v1/responses", r#"{"background":true}"#)).await;
        assert_eq!(reply, object(POLL), "{way}");
    }
    let create = CreateRequest { background: true, wait: Wait::None.into(), ..CreateRequest::default() };
    assert_eq!(fake.asked(), vec![Asked::Create(create); 2]);
}

#[tokio::test]
async fn get_and_cancel_return_the_object() {
    for (state, extra) in [
        (v1::Status::Queued, POLL),
        (v1::Status::InProgress, POLL),
        (v1::Status::Completed, ""),
        (v1::Status::Cancelled, ""),
    ] {
        let fake = Fake::new(Script { reply: Some(Ok(response(state))), ..Script::default() });
        let (bridges, _server) = both(&fake).await;
        for (way, bridge) in &bridges {
            for prefix in ["/v1", ""] {
                let path = format!("{prefix}/responses/{ID}");
                assert_eq!(ask(bridge, get(&path)).await, object(extra), "{way} {path}");
                let cancel = post(&format!("{path}/cancel"), Body::empty());
                assert_eq!(ask(bridge, cancel).await, object(extra), "{way} {path}");
            }
        }
        let pair = [Asked::Get(ID.to_owned()), Asked::Cancel(ID.to_owned())];
        assert_eq!(fake.asked(), vec![pair; 4].concat());
    }
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let fake = Fake::new(Script { steps: vec![crate::fake::Step::Hang], ..Script::default() });
    let bridge = fake.local();
    let reply = ask(&bridge, request(Method::HEAD, &format!("/v1/responses/{ID}"), Body::empty())).await;
    assert_eq!(Some(reply.as_str()), object("").strip_suffix(&format!("{{ \"id\" : \"{ID}\",\"n\":1.0}}")));

    let stream = request(Method::HEAD, &format!("/v1/responses/{ID}?stream=true"), Body::empty());
    tokio::time::pause();
    let reply = ask(&bridge, stream).await;
    assert!(reply.starts_with("200\n") && reply.ends_with("\n\n"), "{reply}");
    fake.until_open(0).await;
}

#[tokio::test]
async fn models_are_listed_and_found() {
    let model = |id: &str| Model { id: id.to_owned(), created: 7, owned_by: "demo".to_owned() };
    let fake = Fake::new(Script { models: vec![model("a"), model("org/b")], ..Script::default() });
    let (bridges, _server) = both(&fake).await;
    let a = r#"{"id":"a","object":"model","created":7,"owned_by":"demo"}"#;
    let b = r#"{"id":"org/b","object":"model","created":7,"owned_by":"demo"}"#;
    let reply = |body: &str| format!("200\ncontent-type: application/json\n\n{body}");
    for (way, bridge) in &bridges {
        for prefix in ["/v1", ""] {
            let ask = async |path: &str| ask(bridge, get(&format!("{prefix}/models{path}"))).await;
            assert_eq!(ask("").await, reply(&format!(r#"{{"object":"list","data":[{a},{b}]}}"#)), "{way}");
            assert_eq!(ask("/a").await, reply(a), "{way}");
            assert_eq!(ask("/org/b").await, reply(b), "{way}");
            assert_eq!(ask("/org%2Fb").await, reply(b), "{way}");
            assert_eq!(
                ask("/c").await,
                "404\ncontent-type: application/json\n\n\
                 {\"error\":{\"message\":\"no backend serves this model; `GET /v1/models` lists those that are served\",\
                 \"type\":\"invalid_request_error\",\"param\":\"model\",\"code\":\"model_not_found\"}}",
                "{way}",
            );
        }
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_have_the_envelope() {
    let bridge = Fake::new(Script::default()).local();
    let not_found = "404\ncontent-type: application/json\n\n\
         {\"error\":{\"message\":\"there is nothing at this path\",\"type\":\"invalid_request_error\",\"param\":null,\
         \"code\":\"not_found\"}}";
    for path in ["/", "/v1", "/v2/responses", "/v1/responses/", "/v1/responses/a/b", "/v1/models/"] {
        assert_eq!(ask(&bridge, get(path)).await, not_found, "{path}");
    }
    for (method, path, allow) in [
        (Method::PUT, "/v1/responses", "GET,HEAD,POST"),
        (Method::DELETE, "/responses", "GET,HEAD,POST"),
        (Method::POST, "/v1/responses/x", "GET,HEAD,DELETE"),
        (Method::HEAD, "/v1/responses/x/cancel", "POST"),
        (Method::POST, "/responses/x/input_items", "GET,HEAD"),
        (Method::GET, "/v1/responses/x/cancel", "POST"),
        (Method::POST, "/v1/models", "GET,HEAD"),
        (Method::PUT, "/models/x", "GET,HEAD"),
    ] {
        let body = match method {
            Method::HEAD => "",
            _ => {
                "{\"error\":{\"message\":\"the path has no such method; `Allow` names those it has\",\
                 \"type\":\"invalid_request_error\",\"param\":null,\"code\":\"method_not_allowed\"}}"
            }
        };
        assert_eq!(
            ask(&bridge, request(method, path, Body::empty())).await,
            format!("405\nallow: {allow}\ncontent-type: application/json\n\n{body}"),
            "{path}",
        );
    }
}

#[tokio::test]
async fn options_names_the_methods_of_a_path() {
    let fake = Fake::new(Script::default());
    let (bridges, _server) = both(&fake).await;
    for (way, bridge) in &bridges {
        for (path, allow) in [
            ("/v1/responses", "GET,HEAD,POST"),
            ("/responses/x", "GET,HEAD,DELETE"),
            ("/v1/responses/x/cancel", "POST"),
            ("/v1/responses/x/input_items", "GET,HEAD"),
            ("/v1/models", "GET,HEAD"),
            ("/models/x/y", "GET,HEAD"),
        ] {
            let reply = ask(bridge, request(Method::OPTIONS, path, Body::empty())).await;
            assert_eq!(reply, format!("204\nallow: {allow}\n\n"), "{way} {path}");
        }
        let nowhere = ask(bridge, request(Method::OPTIONS, "/v1/nothing", Body::empty())).await;
        assert!(nowhere.starts_with("404\n"), "{way}: {nowhere}");
    }
    assert_eq!(fake.asked(), []);
}

#[tokio::test]
async fn a_path_that_is_not_utf8_is_refused() {
    let bridge = Fake::new(Script::default()).local();
    let reply = ask(&bridge, get("/v1/responses/%FF")).await;
    assert!(reply.starts_with("400\n") && reply.contains("\"the path is not UTF-8\""), "{reply}");
}

#[tokio::test]
async fn bad_bodies_never_reach_the_gateway() {
    let fake = Fake::new(Script::default());
    let bridge = fake.local();
    for (body, message, param) in [
        ("{", "the body is not valid JSON: EOF while parsing an object at line 1 column 1", "null"),
        ("[]", "the body must be a JSON object", "null"),
        (r#"{"stream":"true"}"#, "`stream` must be `true` or `false`", "\"stream\""),
        (r#"{"model":"a","model":"b"}"#, "`model` is given twice", "\"model\""),
    ] {
        let reply = ask(&bridge, post("/v1/responses", body)).await;
        let envelope = format!(
            "{{\"error\":{{\"message\":\"{message}\",\"type\":\"invalid_request_error\",\"param\":{param},\
             \"code\":\"invalid_request\"}}}}"
        );
        let expected = format!("400\ncontent-type: application/json\n\n{envelope}");
        assert_eq!(reply, expected, "{body}");
    }
    let mut form = post("/v1/responses", "{}");
    form.headers_mut().insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
    let reply = ask(&bridge, form).await;
    assert!(reply.starts_with("400\n") && reply.contains("\"param\":\"content-type\""), "{reply}");
    assert_eq!(fake.asked(), []);

    let untyped = request(Method::POST, "/v1/responses", Body::from("{}"));
    assert_eq!(ask(&bridge, untyped).await, object(""));
}

#[tokio::test]
async fn bad_parameters_are_refused_before_the_look_up() {
    let unknown = Err(status(ErrorCode::NotFound, &[]));
    let fake =
        Fake::new(Script { reply: Some(unknown.clone()), open: unknown.map(|_| ()), ..Script::default() });
    let bridge = fake.local();
    for query in ["stream=1", "starting_after=1", "stream=true&starting_after=12abc", "stream=true&on_gap=x"]
    {
        let reply = ask(&bridge, get(&format!("/v1/responses/{ID}?{query}"))).await;
        assert!(reply.starts_with("400\n"), "{query}: {reply}");
    }
    assert_eq!(fake.asked(), []);
}

#[tokio::test]
async fn a_refusal_of_the_gateway_has_its_status_on_every_route() {
    let refusal = status(ErrorCode::NotFound, &[]);
    let script = Script { reply: Some(Err(refusal.clone())), open: Err(refusal), ..Script::default() };
    let fake = Fake::new(script);
    let (bridges, _server) = both(&fake).await;
    for (way, bridge) in &bridges {
        for request in [
            post("/v1/responses", "{}"),
            post("/v1/responses", r#"{"stream":true}"#),
            get("/v1/responses/x"),
            get("/v1/responses/x?stream=true"),
            post("/v1/responses/x/cancel", Body::empty()),
            request(Method::DELETE, "/v1/responses/x", Body::empty()),
            get("/v1/responses"),
            get("/v1/responses/x/input_items"),
        ] {
            let path = request.uri().clone();
            assert_eq!(
                ask(bridge, request).await,
                "404\ncontent-type: application/json\n\n\
                 {\"error\":{\"message\":\"what happened\",\"type\":\"invalid_request_error\",\"param\":null,\
                 \"code\":\"not_found\"}}",
                "{way} {path}",
            );
        }
    }
}

#[tokio::test]
async fn a_failed_foreground_create_names_its_response() {
    let failed = status(ErrorCode::BackendTimeout, &[("response_id", ID)]);
    let fake = Fake::new(Script { reply: Some(Err(failed)), ..Script::default() });
    let reply = send(&fake.local(), post("/v1/responses", "{}")).await;
    assert_eq!(reply.status(), 504);
    assert_eq!(reply.headers()["x-tidemark-response-id"], ID);
}

#[tokio::test]
async fn a_reply_without_its_response_is_a_fault_of_ours() {
    for reply in
        [v1::Response::default(), v1::Response { id: "a\nb".to_owned(), ..response(v1::Status::Completed) }]
    {
        let fake = Fake::new(Script { reply: Some(Ok(reply)), ..Script::default() });
        assert_eq!(send(&fake.local(), get("/v1/responses/x")).await.status(), 500);
    }
}

#[tokio::test]
async fn who_asks_travels_with_the_call() {
    let fake = Fake::new(Script::default());
    let (bridges, _server) = both(&fake).await;
    for (way, bridge) in &bridges {
        let mut request = get("/v1/responses/x");
        for (name, value) in [
            ("authorization", "Bearer k"),
            ("x-tidemark-owner", "ada"),
            ("x-request-id", "req-1"),
            ("cookie", "c"),
        ] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        request.extensions_mut().insert(Principal("ada"));
        assert_eq!(send(bridge, request).await.status(), 200);
        let expected = From {
            authorization: Some("Bearer k".to_owned()),
            owner: Some("ada".to_owned()),
            request_id: Some("req-1".to_owned()),
            principal: (*way == "in process").then_some(Principal("ada")),
        };
        assert_eq!(fake.last_caller(), expected, "{way}");
    }
}

#[tokio::test]
async fn the_request_id_is_in_the_envelope() {
    let bridge = Fake::new(Script::default()).local();
    let mut request = get("/nowhere");
    request.headers_mut().insert("x-request-id", "req-1".parse().unwrap());
    let reply = ask(&bridge, request).await;
    assert!(reply.ends_with("\"param\":null,\"code\":\"not_found\",\"request_id\":\"req-1\"}}"), "{reply}");
}

#[tokio::test]
async fn dropping_a_buffered_create_cancels_its_call() {
    let fake = Fake::new(Script { reply: None, ..Script::default() });
    let (bridges, _server) = both(&fake).await;
    for (_, bridge) in &bridges {
        let waiting = Box::pin(send(bridge, post("/v1/responses", "{}")));
        let (early, waiting) = match futures_util::future::select(waiting, Box::pin(fake.until_open(1))).await
        {
            futures_util::future::Either::Left(_) => (true, None),
            futures_util::future::Either::Right(((), waiting)) => (false, Some(waiting)),
        };
        assert!(!early, "the fake never answers");
        drop(waiting);
        fake.until_open(0).await;
    }
}

#[tokio::test]
async fn a_gateway_that_is_not_there_is_503() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let channel = tonic::transport::Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    let clients = tidemark_bridge::Clients::new(channel);
    let bridge = tidemark_bridge::router(clients, tidemark_bridge::Options::default());
    let reply = ask(&bridge, get("/v1/models")).await;
    assert_eq!(
        reply,
        "503\ncontent-type: application/json\nretry-after-ms: 1000\nretry-after: 1\n\n\
         {\"error\":{\"message\":\"the gateway cannot be reached or has no room now\",\"type\":\"server_error\",\
         \"param\":null,\"code\":\"overloaded\"}}",
    );
}

#[tokio::test]
async fn tickets_are_asked_for_by_header_or_path_and_shown_once() {
    let fake = Fake::new(Script::default());
    let (bridges, _server) = both(&fake).await;
    for (way, bridge) in &bridges {
        let create = |rights: &str| {
            let mut request = post("/v1/responses", "{}");
            request.headers_mut().insert("x-tidemark-ticket", rights.parse().unwrap());
            request
        };
        let reply = ask(bridge, create("read")).await;
        assert_eq!(reply, object("").replacen("\n\n", "\nx-tidemark-ticket: tmt_Read\n\n", 1), "{way}");
        let reply = ask(bridge, create("read,cancel")).await;
        assert!(reply.contains("\nx-tidemark-ticket: tmt_ReadAndCancel\n"), "{way}: {reply}");
        let reply = ask(bridge, create("everything")).await;
        assert!(reply.starts_with("400\n") && reply.contains("\"param\":\"x-tidemark-ticket\""), "{reply}");

        let path = format!("/v1/responses/{ID}/tickets");
        let made = |rights: &str, names: &str, at: u32| {
            format!(
                "200\ncache-control: no-store\ncontent-type: application/json\n\n{{\"object\":\"ticket\",\"ticket\":\"tmt_{rights}\",\
                 \"response_id\":\"{ID}\",\"rights\":[{names}],\"expires_at\":{at}}}"
            )
        };
        assert_eq!(ask(bridge, post(&path, Body::empty())).await, made("Read", "\"read\"", 0), "{way}");
        let body = r#"{"rights":["read","cancel"],"lifetime_seconds":600}"#;
        let both = made("ReadAndCancel", "\"read\",\"cancel\"", 600);
        assert_eq!(ask(bridge, post(&path, body)).await, both, "{way}");
        for wrong in
            [r#"{"rights":[]}"#, r#"{"rights":["cancel"]}"#, r#"{"rights":"read"}"#, r#"{"right":["read"]}"#]
        {
            assert!(ask(bridge, post(&path, wrong)).await.starts_with("400\n"), "{wrong}");
        }
    }
}
