//! Streams: frames, how they begin, how they end.

use std::time::Duration;

use http_body_util::BodyExt as _;
use tidemark_proto::v1::{
    Api, CreateRequest, CreateStreamRequest, ErrorCode, Event, Gap, OnGap, ResumeRequest, Wait,
};
use tokio::time::Instant;
use tonic::Status;

use crate::fake::{Asked, Fake, ID, Script, Step, event, status};
use crate::http::{ask, both, chunks, get, post, send};

const DONE: &str = "data: [DONE]\n\n";

fn stream(query: &str) -> http::Request<axum::body::Body> {
    get(&format!("/v1/responses/{ID}?stream=true{query}"))
}

fn whole_run() -> Vec<Step> {
    vec![
        Step::Events(vec![event(0, "response.created"), event(1, "response.in_progress")]),
        Step::Heartbeat,
        Step::Events(vec![event(2, "response.completed")]),
    ]
}

#[tokio::test]
async fn create_streams_from_the_first_event() {
    let fake = Fake::streaming(whole_run());
    let (bridges, _server) = both(&fake).await;
    for (way, bridge) in &bridges {
        for background in [true, false] {
            let body = format!("{{\"stream\":true,\"background\":{background}}}");
            assert_eq!(
                ask(bridge, post("/v1/responses", body)).await,
                format!(
                    "200\ncache-control: no-cache\ncontent-type: text/event-stream; charset=utf-8\n\
                     x-accel-buffering: no\nx-tidemark-response-id: {ID}\n\n\
                     event: response.created\ndata: {{\"n\":0}}\n\nevent: response.in_progress\ndata: {{\"n\":1}}\n\n\
                     : heartbeat\nevent: response.completed\ndata: {{\"n\":2}}\n\ndata: [DONE]\n\n"
                ),
                "{way}",
            );
        }
    }
    let create = |background| {
        let create = CreateRequest { background, wait: Wait::None.into(), ..CreateRequest::default() };
        Asked::CreateStream(CreateStreamRequest { create: Some(create), after: None })
    };
    assert_eq!(fake.asked(), vec![[create(true), create(false)]; 2].concat());
}

#[tokio::test]
async fn resume_streams_from_the_position() {
    let fake = Fake::streaming(whole_run());
    let (bridges, _server) = both(&fake).await;
    for (way, bridge) in &bridges {
        assert_eq!(
            ask(bridge, stream("&starting_after=7&on_gap=earliest")).await,
            format!(
                "200\ncache-control: no-cache\ncontent-type: text/event-stream; charset=utf-8\n\
                 x-accel-buffering: no\nx-tidemark-response-id: {ID}\n\n\
                 event: response.created\ndata: {{\"n\":0}}\n\nevent: response.in_progress\ndata: {{\"n\":1}}\n\n\
                 : heartbeat\nevent: response.completed\ndata: {{\"n\":2}}\n\ndata: [DONE]\n\n"
            ),
            "{way}",
        );
        chunks(bridge, stream("")).await;
    }
    let asked = |after, on_gap: OnGap| {
        Asked::Resume(ResumeRequest {
            id: ID.to_owned(),
            after,
            on_gap: on_gap.into(),
            api: Api::Responses.into(),
        })
    };
    assert_eq!(fake.asked(), vec![[asked(Some(7), OnGap::Earliest), asked(None, OnGap::Fail)]; 2].concat());
}

#[tokio::test]
async fn a_message_is_a_chunk() {
    let bridge = Fake::streaming(whole_run()).local();
    assert_eq!(
        chunks(&bridge, stream("")).await,
        [
            "event: response.created\ndata: {\"n\":0}\n\nevent: response.in_progress\ndata: {\"n\":1}\n\n",
            ": heartbeat\n",
            "event: response.completed\ndata: {\"n\":2}\n\n",
            DONE,
        ],
    );
}

#[tokio::test]
async fn event_ids_are_numbers_of_logged_events() {
    let gap = Gap { from: 5, to: 8 };
    let fake = Fake::streaming(vec![
        Step::Gap(gap, vec![event(9, "a")]),
        Step::Heartbeat,
        Step::Fail(status(ErrorCode::StreamForbidden, &[])),
    ]);
    let (bridges, _server) = both(&fake).await;
    for (way, bridge) in &bridges {
        let expected = [
            "event: tidemark:gap\nid: 4\ndata: {\"type\":\"tidemark:gap\",\"sequence_number\":4,\"from\":5,\"to\":8}\n\n\
             event: a\nid: 9\ndata: {\"n\":9}\n\n",
            ": heartbeat\n",
            "event: error\nid: 9\ndata: {\"type\":\"error\",\"sequence_number\":9,\"code\":\"STREAM_FORBIDDEN\",\
             \"message\":\"what happened\",\"param\":null,\"error\":{\"message\":\"what happened\",\
             \"type\":\"permission_error\",\"param\":null,\"code\":\"STREAM_FORBIDDEN\"}}\n\ndata: [DONE]\n\n",
        ];
        assert_eq!(chunks(bridge, stream("&event_ids=true&starting_after=4")).await, expected, "{way}");
        let mut reconnected = stream("&starting_after=2");
        reconnected.headers_mut().insert("last-event-id", "4".parse().unwrap());
        assert_eq!(chunks(bridge, reconnected).await, expected, "{way}");
    }
    let create = post("/v1/responses?event_ids=true", r#"{"stream":true}"#);
    assert_eq!(chunks(&fake.local(), create).await[0], "event: a\nid: 9\ndata: {\"n\":9}\n\n");
}

#[tokio::test]
async fn at_the_end_of_a_finished_response() {
    let fake = Fake::streaming(Vec::new());
    let (bridges, _server) = both(&fake).await;
    for (way, bridge) in &bridges {
        assert_eq!(chunks(bridge, stream("&starting_after=9")).await, [DONE], "{way}");

        let no_content = format!("204\nx-tidemark-response-id: {ID}\n\n");
        assert_eq!(ask(bridge, stream("&starting_after=9&event_ids=true")).await, no_content, "{way}");
        let mut reconnected = stream("");
        reconnected.headers_mut().insert("last-event-id", "9".parse().unwrap());
        assert_eq!(ask(bridge, reconnected).await, no_content, "{way}");
    }
}

#[tokio::test]
async fn a_last_event_id_before_the_position_is_a_conflict() {
    let fake = Fake::streaming(whole_run());
    let mut request = stream("&starting_after=5");
    request.headers_mut().insert("last-event-id", "4".parse().unwrap());
    let reply = ask(&fake.local(), request).await;
    assert!(reply.starts_with("400\n"), "{reply}");
    assert!(reply.contains("\"param\":\"last-event-id\",\"code\":\"conflicting_cursor\""), "{reply}");
    assert_eq!(fake.asked(), []);
}

#[tokio::test]
async fn a_lost_offset_is_409_before_any_sse_header() {
    let lost = status(
        ErrorCode::OffsetLost,
        &[("param", "starting_after"), ("watermark", "41"), ("earliest", "42"), ("committed", "99")],
    );
    let at_once = Fake::new(Script { open: Err(lost.clone()), ..Script::default() });
    let first_in_stream = Fake::streaming(vec![Step::Fail(lost)]);
    for fake in [at_once, first_in_stream] {
        let (bridges, _server) = both(&fake).await;
        for (way, bridge) in &bridges {
            assert_eq!(
                ask(bridge, stream("&starting_after=3")).await,
                "409\ncontent-type: application/json\nx-should-retry: false\n\n\
                 {\"error\":{\"message\":\"what happened\",\"type\":\"invalid_request_error\",\"param\":\"starting_after\",\
                 \"code\":\"offset_lost\",\"watermark\":41,\"earliest\":42,\"committed\":99}}",
                "{way}",
            );
        }
    }
}

#[tokio::test]
async fn an_overtaken_reader_gets_the_same_as_its_last_frame() {
    let lost = status(ErrorCode::OffsetLost, &[("watermark", "41"), ("earliest", "42"), ("committed", "99")]);
    let fake = Fake::streaming(vec![Step::Events(vec![event(3, "a")]), Step::Fail(lost)]);
    let (bridges, _server) = both(&fake).await;
    for (way, bridge) in &bridges {
        assert_eq!(
            chunks(bridge, stream("")).await,
            [
                "event: a\ndata: {\"n\":3}\n\n",
                "event: error\ndata: {\"type\":\"error\",\"sequence_number\":3,\"code\":\"offset_lost\",\
                 \"message\":\"what happened\",\"param\":null,\"error\":{\"message\":\"what happened\",\
                 \"type\":\"invalid_request_error\",\"param\":null,\"code\":\"offset_lost\",\"watermark\":41,\
                 \"earliest\":42,\"committed\":99}}\n\ndata: [DONE]\n\n",
            ],
            "{way}",
        );
    }
}

#[tokio::test]
async fn a_drain_ends_without_done() {
    let fake = Fake::streaming(vec![
        Step::Events(vec![event(0, "a")]),
        Step::Fail(status(ErrorCode::Draining, &[])),
    ]);
    let (bridges, _server) = both(&fake).await;
    for (way, bridge) in &bridges {
        let only_event = ["event: a\ndata: {\"n\":0}\n\n"];
        assert_eq!(chunks(bridge, stream("")).await, only_event, "{way}");
        assert_eq!(chunks(bridge, post("/v1/responses", r#"{"stream":true}"#)).await, only_event, "{way}");
    }
}

#[tokio::test]
async fn a_drain_before_the_first_event_is_503() {
    let fake = Fake::streaming(vec![Step::Fail(status(ErrorCode::Draining, &[]))]);
    let reply = send(&fake.local(), stream("")).await;
    assert_eq!((reply.status().as_u16(), reply.headers()["retry-after"].to_str().unwrap()), (503, "1"));
}

#[tokio::test]
async fn a_failure_without_our_reason_tells_nothing_of_itself() {
    let secret = Status::out_of_range("decoded 10.0.0.7");
    let fake = Fake::streaming(vec![Step::Events(vec![event(0, "a")]), Step::Fail(secret)]);
    let got = chunks(&fake.local(), stream("")).await;
    assert!(got[1].starts_with("event: error\n") && got[1].contains("\"code\":\"internal\""), "{got:?}");
    assert!(!got[1].contains("10.0.0.7"), "{got:?}");
}

#[tokio::test(start_paused = true)]
async fn a_reader_with_nothing_to_get_has_its_headers_soon() {
    let fake = Fake::streaming(vec![Step::Pause(Duration::from_secs(15)), Step::Heartbeat, Step::Hang]);
    let start = Instant::now();
    let reply = send(&fake.local(), stream("&starting_after=9")).await;
    assert_eq!(reply.status(), 200);
    assert!(start.elapsed() <= Duration::from_secs(1), "{:?}", start.elapsed());

    let mut body = reply.into_body();
    let heartbeat = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!((heartbeat.as_ref(), start.elapsed().as_secs()), (b": heartbeat\n".as_slice(), 15));
    drop(body);
    fake.until_open(0).await;
}

#[tokio::test]
async fn dropping_the_body_drops_the_call() {
    let fake = Fake::streaming(vec![Step::Events(vec![event(0, "a")]), Step::Hang]);
    let (bridges, _server) = both(&fake).await;
    for (_, bridge) in &bridges {
        for request in [stream(""), post("/v1/responses", r#"{"stream":true}"#)] {
            let mut body = send(bridge, request).await.into_body();
            assert!(body.frame().await.is_some());
            fake.until_open(1).await;
            drop(body);
            fake.until_open(0).await;
        }
    }
}

#[tokio::test]
async fn a_create_stream_without_its_id_is_a_fault_of_ours() {
    let fake = Fake::streaming(Vec::new());
    let reply = send(&fake.local(), post("/v1/responses", r#"{"stream":true}"#)).await;
    assert_eq!(reply.status(), 500);
}

#[tokio::test]
async fn a_terminal_event_of_many_megabytes_passes_whole() {
    let mut big = event(0, "response.completed");
    big.data = vec![b'x'; 20 << 20].into();
    let fake = Fake::streaming(vec![Step::Events(vec![big])]);
    let (bridges, _server) = both(&fake).await;
    for (way, bridge) in &bridges {
        let got = chunks(bridge, stream("")).await;
        let frame = (20 << 20) + "event: response.completed\ndata: \n\n".len();
        assert_eq!(got.iter().map(String::len).collect::<Vec<_>>(), [frame, DONE.len()], "{way}");
    }
}

fn chat() -> http::Request<axum::body::Body> {
    post("/v1/chat/completions", "{\"stream\":true}".to_owned())
}

/// The event of a chat that failed.
fn failed(seq: u64) -> Event {
    let data = r#"{"response":{"id":"chatcmpl-1","error":{"message":"m","type":"server_error","param":null,"code":"backend_timeout"}}}"#;
    Event { seq, r#type: "chat.completion.failed".to_owned(), data: data.into() }
}

/// R-29: what fails before the first chunk has its own status, but nobody waits for headers longer than for a heartbeat.
#[tokio::test]
async fn the_headers_of_a_chat_wait_for_its_first_chunk_or_the_first_heartbeat() {
    let begun = || Step::Events(vec![event(0, "chat.completion.created")]);
    let asked = || Step::Events(vec![event(1, "chat.completion.in_progress")]);
    let end = "data: {\"error\":{\"message\":\"m\",\"type\":\"server_error\",\"param\":null,\"code\":\"backend_timeout\"}}\n\n";

    let bridge = Fake::streaming(vec![begun(), asked(), Step::Events(vec![failed(2)])]).local();
    let refused = ask(&bridge, chat()).await;
    assert!(refused.starts_with("504\n") && refused.contains("backend_timeout"), "{refused}");

    let silent = vec![begun(), asked(), Step::Heartbeat, Step::Heartbeat, Step::Events(vec![failed(2)])];
    let bridge = Fake::streaming(silent).local();
    let expected = [": heartbeat\n", ": heartbeat\n", &format!("id: 2\n{end}")];
    assert_eq!(chunks(&bridge, chat()).await, expected);

    let late = vec![begun(), Step::Heartbeat, asked(), Step::Events(vec![event(2, "chat.completion.chunk")])];
    let bridge = Fake::streaming(late).local();
    let expected = [": heartbeat\n", "id: 2\ndata: {\"n\":2}\n\n", DONE];
    assert_eq!(chunks(&bridge, chat()).await, expected);
}
