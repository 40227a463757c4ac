//! The gRPC surface over a real connection, with the generated client.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use tidemark_proto::errors::DOMAIN;
use tidemark_proto::names::{OWNER, detail};
use tidemark_proto::v1::create_request::Input;
use tidemark_proto::v1::models_service_client::ModelsServiceClient;
use tidemark_proto::v1::responses_service_client::ResponsesServiceClient;
use tidemark_proto::v1::{
    CancelRequest, CreateRequest, CreateStreamRequest, Event, GetRequest, ListModelsRequest, OnGap, Response,
    ResumeRequest, Status as State, Wait,
};
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_types::{ErrorInfo, StatusExt};

use crate::common::rest::{Frame, id_of};
use crate::common::scripted::{Act, Gate, answer, chunk};
use crate::common::server::{Server, patience};
use crate::setup::{Stage, ask_streamed, demo, paced};

/// A connection to a server.
pub(crate) async fn channel(server: &Server) -> Channel {
    Channel::from_shared(server.gateway_url()).unwrap().connect().await.unwrap()
}

/// A client of the responses of a server.
pub(crate) async fn responses(server: &Server) -> ResponsesServiceClient<Channel> {
    ResponsesServiceClient::new(channel(server).await)
}

/// A create of a text.
pub(crate) fn text_request(model: &str, text: &str) -> CreateRequest {
    let input = Some(Input::Text(text.to_owned()));
    CreateRequest { model: model.to_owned(), input, ..CreateRequest::default() }
}

/// A create that waits for the end.
fn buffered(model: &str) -> CreateRequest {
    CreateRequest { wait: Wait::Terminal.into(), ..text_request(model, "Hello wide world") }
}

fn resume(id: &str, after: Option<u64>) -> ResumeRequest {
    ResumeRequest { id: id.to_owned(), after, ..ResumeRequest::default() }
}

async fn create(client: &mut ResponsesServiceClient<Channel>, request: CreateRequest) -> Response {
    client.create(request).await.unwrap().into_inner().response.unwrap()
}

/// All events of a resumed stream up to its end.
async fn events(client: &mut ResponsesServiceClient<Channel>, request: ResumeRequest) -> Vec<Event> {
    let messages = client.resume(request).await.unwrap().into_inner();
    let batches: Vec<_> = messages.map_ok(|message| message.events).try_collect().await.unwrap();
    batches.concat()
}

/// The number, name and bytes of an event, the same for both surfaces.
fn seen_over_grpc(events: &[Event]) -> Vec<(u64, String, String)> {
    let text = |event: &Event| String::from_utf8(event.data.to_vec()).unwrap();
    events.iter().map(|event| (event.seq, event.r#type.clone(), text(event))).collect()
}

fn seen_over_sse(frames: &[Frame]) -> Vec<(u64, String, String)> {
    frames.iter().map(|frame| (frame.seq(), frame.name().to_owned(), frame.data.clone())).collect()
}

fn reason(status: &Status) -> ErrorInfo {
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.domain, DOMAIN);
    info
}

#[tokio::test]
async fn a_create_waits_for_the_end_or_for_nothing() {
    let (server, _) = demo("");
    let mut client = responses(&server).await;
    let done = create(&mut client, buffered("demo")).await;
    assert_eq!(done.status(), State::Completed);
    assert_eq!((done.usage.unwrap().total_tokens, done.committed, done.watermark), (6, Some(10), None));
    let begun = create(&mut client, CreateRequest { background: true, ..text_request("demo", "x") }).await;
    assert_eq!((begun.status(), begun.background, begun.usage), (State::Queued, true, None));
    let all = events(&mut client, resume(&begun.id, None)).await;
    assert_eq!(all.last().unwrap().r#type, "response.completed");
    let ended = client
        .get(GetRequest { id: begun.id, ..Default::default() })
        .await
        .unwrap()
        .into_inner()
        .response
        .unwrap();
    assert_eq!((ended.status(), ended.committed), (State::Completed, Some(all.len() as u64 - 1)));
}

#[tokio::test]
async fn a_created_stream_is_read_in_one_round_trip() {
    let (server, client) = demo("");
    let create = Some(text_request("demo", "Hello wide world"));
    let reply =
        responses(&server).await.create_stream(CreateStreamRequest { create, after: None }).await.unwrap();
    let messages: Vec<_> = reply.into_inner().try_collect().await.unwrap();
    let ids: Vec<_> = messages.iter().map(|message| message.id.as_str()).collect();
    assert!(ids[0].starts_with("resp_") && ids[1..].iter().all(|id| id.is_empty()), "{ids:?}");
    let events: Vec<_> = messages.iter().flat_map(|message| message.events.clone()).collect();
    assert_eq!(seen_over_grpc(&events), seen_over_sse(&client.whole(ids[0]).await));
    for message in &messages {
        assert!(message.events.iter().all(|event| event.seq <= message.committed));
    }
}

#[tokio::test]
async fn readers_of_both_surfaces_see_the_same_bytes_live_and_replayed() {
    let (server, client) = demo("");
    let mut grpc = responses(&server).await;
    let id = client.background(paced(100, 100)).await;
    let live = async { client.resume(&id, None).await.events().await };
    let (over_grpc, over_sse) = tokio::join!(events(&mut grpc, resume(&id, None)), live);
    assert_eq!(seen_over_grpc(&over_grpc), seen_over_sse(&over_sse));
    for after in [0, 1, 50, over_sse.len() as u64 - 1, 9999] {
        let rest = events(&mut grpc, resume(&id, Some(after))).await;
        let expected = over_sse.iter().filter(|frame| frame.seq() > after).cloned().collect::<Vec<_>>();
        assert_eq!(seen_over_grpc(&rest), seen_over_sse(&expected), "after {after}");
    }
}

#[tokio::test]
async fn a_cancel_ends_the_response_and_its_readers() {
    let stage = Stage::with("m", vec![chunk("a"), Act::HangForever]).await;
    let mut client = responses(&stage.server).await;
    let begun = create(&mut client, CreateRequest { background: true, ..text_request("m", "x") }).await;
    let mut reading = client.resume(resume(&begun.id, None)).await.unwrap().into_inner();
    let mut seen = Vec::new();
    while seen.len() < 6 {
        seen.extend(reading.message().await.unwrap().unwrap().events);
    }
    let cancelled = client
        .cancel(CancelRequest { id: begun.id.clone(), ..Default::default() })
        .await
        .unwrap()
        .into_inner();
    let cancelled = cancelled.response.unwrap();
    assert_eq!((cancelled.status(), cancelled.cancel_reason.as_str()), (State::Cancelled, ""));
    timeout(patience(), stage.backend.until_dropped(1)).await.unwrap();
    while let Some(message) = reading.message().await.unwrap() {
        seen.extend(message.events);
    }
    assert_eq!(seen_over_grpc(&seen), seen_over_sse(&stage.client.whole(&begun.id).await));
    let again =
        client.cancel(CancelRequest { id: begun.id, ..Default::default() }).await.unwrap().into_inner();
    assert_eq!(again.response.unwrap(), cancelled);
}

#[tokio::test]
async fn a_lost_position_has_its_details_and_can_be_skipped() {
    let (server, client) = demo("[limits]\nbytes_per_response = \"16KiB\"\n");
    let mut grpc = responses(&server).await;
    let id = client.background(paced(2000, 0)).await;
    client.ended(&id).await;
    let lost = grpc.resume(resume(&id, Some(3))).await.unwrap_err();
    assert_eq!((lost.code(), reason(&lost).reason.as_str()), (Code::OutOfRange, "offset_lost"));
    let details = reason(&lost).metadata;
    let number = |key: &str| details[key].parse::<u64>().unwrap();
    let (watermark, earliest) = (number(detail::WATERMARK), number(detail::EARLIEST));
    assert_eq!(earliest, watermark + 1);

    let skipping = ResumeRequest { on_gap: OnGap::Earliest.into(), ..resume(&id, Some(3)) };
    let messages: Vec<_> = grpc.resume(skipping).await.unwrap().into_inner().try_collect().await.unwrap();
    let gap = messages[0].gap.unwrap();
    assert_eq!((gap.from, gap.to), (4, watermark));
    assert!(messages[1..].iter().all(|message| message.gap.is_none()), "it is said once");
    let seqs: Vec<_> = messages.iter().flat_map(|message| &message.events).map(|event| event.seq).collect();
    assert_eq!(seqs, (earliest..=number(detail::COMMITTED)).collect::<Vec<_>>());
    let response =
        grpc.get(GetRequest { id, ..Default::default() }).await.unwrap().into_inner().response.unwrap();
    assert_eq!((response.watermark, response.committed), (Some(watermark), seqs.last().copied()));
}

#[tokio::test]
async fn errors_carry_their_reason_and_what_is_wrong() {
    let (server, client) = demo("[limits]\nlive = 1\n");
    let mut grpc = responses(&server).await;
    let empty = CreateRequest { model: String::new(), ..buffered("demo") };
    let wrong = grpc.create(empty).await.unwrap_err();
    assert_eq!((wrong.code(), reason(&wrong).reason.as_str()), (Code::InvalidArgument, "invalid_request"));
    assert_eq!(wrong.get_details_bad_request().unwrap().field_violations[0].field, "model");
    let unknown = grpc.create(buffered("nobody")).await.unwrap_err();
    assert_eq!((unknown.code(), reason(&unknown).reason.as_str()), (Code::NotFound, "model_not_found"));
    let id = client.background(paced(1000, 10)).await;
    let full = grpc.create(buffered("demo")).await.unwrap_err();
    assert_eq!((full.code(), reason(&full).reason.as_str()), (Code::Unavailable, "overloaded"));
    assert!(full.get_details_retry_info().unwrap().retry_delay.unwrap() > Duration::ZERO);
    client.cancel(&id).await;
}

#[tokio::test]
async fn a_backend_that_fails_before_any_output_is_the_error_of_a_buffered_create() {
    let stage = Stage::with("m", vec![Act::Status(500, "oops".into(), "text/plain")]).await;
    let failed = responses(&stage.server).await.create(buffered("m")).await.unwrap_err();
    assert_eq!((failed.code(), reason(&failed).reason.as_str()), (Code::Unavailable, "backend_error"));
    let id = &reason(&failed).metadata[detail::RESPONSE_ID];
    assert_eq!(stage.client.snapshot(id).await["status"], "failed");
}

#[tokio::test]
async fn the_owner_travels_as_metadata() {
    let (server, client) = demo("");
    let mut grpc = responses(&server).await;
    let owned = |owner: &'static str| {
        let mut request = Request::new(buffered("demo"));
        request.metadata_mut().insert(OWNER, owner.parse().unwrap());
        request
    };
    let response = grpc.create(owned("alice")).await.unwrap().into_inner().response.unwrap();
    assert_eq!(client.of("alice").snapshot(&response.id).await["id"], response.id.as_str());
    let anonymous = grpc.get(GetRequest { id: response.id, ..Default::default() }).await.unwrap_err();
    assert_eq!(anonymous.code(), Code::NotFound);
    assert_eq!(grpc.create(owned("not an owner")).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_call_that_meets_its_deadline_frees_its_reader() {
    let gate = Gate::new();
    let acts = [vec![chunk("a"), Act::Await(gate.clone())], answer(["b"])].concat();
    let stage = Stage::set([("m", acts)], "", "[runs]\ndisconnect_grace = \"300ms\"\n").await;
    let mut client = responses(&stage.server).await;
    let unstored = || CreateRequest { store: Some(false), ..buffered("m") };

    let mut buffered = Request::new(unstored());
    buffered.set_timeout(Duration::from_secs(1));
    assert!(matches!(
        client.create(buffered).await.unwrap_err().code(),
        Code::DeadlineExceeded | Code::Cancelled
    ));
    timeout(patience(), stage.backend.until_dropped(1)).await.unwrap();

    let create = CreateStreamRequest { create: Some(unstored()), after: None };
    let mut reading = client.create_stream(create).await.unwrap().into_inner();
    let id = reading.message().await.unwrap().unwrap().id;
    let rest = async |mut reading: Streaming<_>| while reading.message().await.unwrap().is_some() {};
    assert!(timeout(Duration::from_secs(1), rest(reading)).await.is_err(), "the backend waits");
    timeout(patience(), stage.backend.until_dropped(2)).await.unwrap();
    stage.client.ended(&id).await;
    let ended =
        client.get(GetRequest { id, ..Default::default() }).await.unwrap().into_inner().response.unwrap();
    assert_eq!((ended.status(), ended.cancel_reason.as_str()), (State::Cancelled, "client_disconnected"));
}

#[tokio::test]
async fn models_health_and_reflection_answer() {
    let (server, _) = demo("");
    let channel = channel(&server).await;
    let models = ModelsServiceClient::new(channel.clone()).list_models(ListModelsRequest {}).await.unwrap();
    let models: Vec<_> =
        models.into_inner().models.into_iter().map(|model| (model.id, model.owned_by)).collect();
    let expected = ["demo", "demo-long"].map(|id| (id.to_owned(), "demo".to_owned()));
    assert_eq!(models, expected);

    for service in ["", "tidemark.v1.ResponsesService", "tidemark.v1.ModelsService"] {
        let check = HealthCheckRequest { service: service.to_owned() };
        let status = HealthClient::new(channel.clone()).check(check).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service}");
    }

    let question = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let asking = futures_util::stream::iter([question]);
    let mut answers =
        ServerReflectionClient::new(channel).server_reflection_info(asking).await.unwrap().into_inner();
    let answer = answers.next().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for expected in ["tidemark.v1.ResponsesService", "tidemark.v1.ModelsService", "grpc.health.v1.Health"] {
        assert!(names.contains(&expected), "{names:?}");
    }
}

#[tokio::test]
async fn a_reader_of_one_surface_resumes_on_the_other() {
    let gate = Gate::new();
    let acts = [vec![chunk("a"), Act::Await(gate.clone())], answer(["b"])].concat();
    let stage = Stage::with("m", acts).await;
    let mut stream = stage.client.stream(&ask_streamed("m")).await;
    let begun = stream.take(5).await;
    let id = id_of(&begun);
    drop(stream);
    gate.open();
    let rest = events(&mut responses(&stage.server).await, resume(&id, Some(4))).await;
    let whole = stage.client.whole(&id).await;
    assert_eq!([seen_over_sse(&begun), seen_over_grpc(&rest)].concat(), seen_over_sse(&whole));
}
