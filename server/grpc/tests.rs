//! The services over the store in memory and a scripted backend.

mod handover;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tidemark_proto::errors::DOMAIN;
use tidemark_proto::v1::create_request::Input;
use tidemark_proto::v1::grants_service_server::GrantsService;
use tidemark_proto::v1::keys_service_server::KeysService;
use tidemark_proto::v1::models_service_server::ModelsService;
use tidemark_proto::v1::responses_service_server::ResponsesService;
use tidemark_proto::v1::sessions_service_server::SessionsService;
use tidemark_proto::v1::users_service_server::UsersService;
use tidemark_proto::v1::{
    AddUserRequest, CancelRequest, CreateKeyRequest, CreateRequest, CreateStreamRequest, CreateTicketRequest,
    DeleteKeyRequest, DeleteRequest, DisableKeyRequest, DisableUserRequest, EnableKeyRequest, ErrorCode,
    GetRequest, ListInputItemsRequest, ListKeysRequest, ListModelsRequest, ListRequest, ListUsersRequest,
    OnGap, Order, ResumeRequest, RotateKeyRequest, Status as State, Wait,
};
use tidemark_proto::v1::{
    CreateClientRequest, DeleteClientRequest, ListClientsRequest, ListGrantsRequest, RevokeGrantRequest,
    RevokeGrantsRequest,
};
use tidemark_store::memory::MemoryStore;
use tidemark_store::{Caps, Owner};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::auth::grants::RedirectRules;
use crate::auth::{Access, Directory, Mode, Principal};
use crate::backends::{Step, Usage};
use crate::error::Error;
use crate::grpc::{ConnectedApps, Keys, Models, Responses, Services, SessionsOf, methods, routes};
use crate::runs::testing::{Act, OneModel, Script, TestClock, stop, text};
use crate::runs::{Options, Runs};
use crate::tasks::Tasks;
use crate::telemetry::RunMeters;

fn runs(acts: impl IntoIterator<Item = Act>) -> Runs {
    let models = Arc::new(OneModel(Script::new(acts)));
    let store = Arc::new(MemoryStore::new(Caps::default()));
    Runs::new(
        store,
        models,
        Arc::new(TestClock::default()),
        Tasks::new(),
        Options::default(),
        RunMeters::default(),
    )
}

fn service(acts: impl IntoIterator<Item = Act>) -> Responses {
    Responses::new(runs(acts), access())
}

/// While everybody may call: a listener that lets callers in by keys is tested where the listener is.
fn access() -> Access {
    Access::new(Mode::Off, directory())
}

fn directory() -> Directory {
    let store = Arc::new(MemoryStore::new(Caps::default()));
    Directory::new(store, Arc::new(TestClock::default()), Tasks::new())
}

fn keys() -> Keys {
    Keys::new(directory())
}

fn apps() -> ConnectedApps {
    ConnectedApps::new(directory(), RedirectRules::default())
}

fn call<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Principal::local(Owner::new("alice").unwrap()));
    request
}

fn create() -> CreateRequest {
    let metadata = [("k".to_owned(), "v".to_owned())].into();
    let input = Some(Input::Text("hi".into()));
    CreateRequest {
        model: "m".into(),
        input,
        metadata,
        wait: Wait::Terminal.into(),
        ..CreateRequest::default()
    }
}

fn reason(status: &Status) -> (Code, String) {
    let info = status.get_error_details().error_info().unwrap().clone();
    assert_eq!(info.domain, DOMAIN);
    (status.code(), info.reason)
}

#[tokio::test]
async fn every_method_refuses_a_call_without_a_principal() {
    let responses = service([stop()]);
    let stream = CreateStreamRequest { create: Some(create()), after: None };
    let sessions = SessionsOf::new(runs([]).sessions().clone(), access());
    let refused = [
        responses.create(Request::new(create())).await.map(drop),
        responses.create_stream(Request::new(stream)).await.map(drop),
        responses.get(Request::new(GetRequest::default())).await.map(drop),
        responses.cancel(Request::new(CancelRequest::default())).await.map(drop),
        responses.resume(Request::new(ResumeRequest::default())).await.map(drop),
        responses.delete(Request::new(DeleteRequest::default())).await.map(drop),
        responses.list(Request::new(ListRequest::default())).await.map(drop),
        responses.list_input_items(Request::new(ListInputItemsRequest::default())).await.map(drop),
        responses.create_ticket(Request::new(CreateTicketRequest::default())).await.map(drop),
        sessions.create_session(Request::new(Default::default())).await.map(drop),
        sessions.get_session(Request::new(Default::default())).await.map(drop),
        sessions.update_session(Request::new(Default::default())).await.map(drop),
        sessions.list_sessions(Request::new(Default::default())).await.map(drop),
        sessions.reset_session(Request::new(Default::default())).await.map(drop),
        sessions.delete_session(Request::new(Default::default())).await.map(drop),
        sessions.list_history(Request::new(Default::default())).await.map(drop),
        sessions.watch_history(Request::new(Default::default())).await.map(drop),
        sessions.add_items(Request::new(Default::default())).await.map(drop),
        sessions.list_items(Request::new(Default::default())).await.map(drop),
        sessions.get_item(Request::new(Default::default())).await.map(drop),
        sessions.delete_item(Request::new(Default::default())).await.map(drop),
        Models::new(runs([])).list_models(Request::new(ListModelsRequest {})).await.map(drop),
        keys().create_key(Request::new(CreateKeyRequest::default())).await.map(drop),
        keys().list_keys(Request::new(ListKeysRequest::default())).await.map(drop),
        keys().rotate_key(Request::new(RotateKeyRequest::default())).await.map(drop),
        keys().disable_key(Request::new(DisableKeyRequest::default())).await.map(drop),
        keys().enable_key(Request::new(EnableKeyRequest::default())).await.map(drop),
        keys().delete_key(Request::new(DeleteKeyRequest::default())).await.map(drop),
        keys().add_user(Request::new(AddUserRequest::default())).await.map(drop),
        keys().disable_user(Request::new(DisableUserRequest::default())).await.map(drop),
        keys().list_users(Request::new(ListUsersRequest::default())).await.map(drop),
        apps().list_grants(Request::new(ListGrantsRequest::default())).await.map(drop),
        apps().revoke_grant(Request::new(RevokeGrantRequest::default())).await.map(drop),
        apps().revoke_grants(Request::new(RevokeGrantsRequest::default())).await.map(drop),
        apps().create_client(Request::new(CreateClientRequest::default())).await.map(drop),
        apps().list_clients(Request::new(ListClientsRequest::default())).await.map(drop),
        apps().delete_client(Request::new(DeleteClientRequest::default())).await.map(drop),
    ];
    let ours = methods().unwrap().into_iter().filter(|method| method.starts_with("/tidemark."));
    assert_eq!(refused.len(), ours.count(), "a method is not called here");
    for result in refused {
        assert_eq!(reason(&result.unwrap_err()), (Code::Unauthenticated, "unauthorized".to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_buffered_create_returns_the_whole_response_with_its_typed_fields() {
    let usage = Usage {
        input_tokens: 1,
        cached_tokens: 2,
        cache_write_tokens: 0,
        output_tokens: 3,
        reasoning_tokens: 4,
        total_tokens: 5,
    };
    let responses = service([text("x"), stop(), Act::Give(Step::Usage(usage))]);
    let response = responses.create(call(create())).await.unwrap().into_inner().response.unwrap();
    assert_eq!(response.status(), State::Completed);
    assert_eq!((response.model.as_str(), response.store, response.background), ("m", true, false));
    assert_eq!(response.metadata["k"], "v");
    assert_eq!(response.completed_at, response.created_at);
    let counted = response.usage.unwrap();
    let counted = [
        counted.input_tokens,
        counted.cached_tokens,
        counted.output_tokens,
        counted.reasoning_tokens,
        counted.total_tokens,
    ];
    assert_eq!(counted, [1, 2, 3, 4, 5]);
    assert_eq!((response.committed, response.watermark), (Some(8), None));
    let got = responses
        .get(call(GetRequest { id: response.id.clone(), ..Default::default() }))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(got.response.as_ref(), Some(&response));
    let cancelled = responses
        .cancel(call(CancelRequest { id: response.id.clone(), ..Default::default() }))
        .await
        .unwrap();
    assert_eq!(cancelled.into_inner().response, Some(response));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_an_error_only_if_nothing_was_put_out() {
    let fault = || Error::new(ErrorCode::BackendTimeout, "too slow");
    let error = service([Act::Refuse(fault())]).create(call(create())).await.unwrap_err();
    assert_eq!(reason(&error), (Code::DeadlineExceeded, "backend_timeout".to_owned()));
    let details = error.get_error_details();
    assert!(details.error_info().unwrap().metadata["response_id"].starts_with("resp_"));

    let response =
        service([text("x"), Act::Fail(fault())]).create(call(create())).await.unwrap().into_inner();
    let response = response.response.unwrap();
    assert_eq!(response.status(), State::Failed);
    assert_eq!(response.error.unwrap().code, "backend_timeout");
}

#[tokio::test(start_paused = true)]
async fn a_created_stream_names_the_response_once_and_can_be_resumed() {
    let responses = service([text("a"), Act::Wait(Duration::from_secs(20)), text("b"), stop()]);
    let request = CreateStreamRequest { create: Some(create()), after: None };
    let messages: Vec<_> = responses.create_stream(call(request)).await.unwrap().into_inner().collect().await;
    let messages: Vec<_> = messages.into_iter().collect::<Result<_, _>>().unwrap();
    let id = messages[0].id.clone();
    assert!(id.starts_with("resp_"));
    assert!(messages[1..].iter().all(|message| message.id.is_empty()));
    assert_eq!(messages.iter().filter(|message| message.events.is_empty()).count(), 1, "one heartbeat");
    let events: Vec<_> = messages.into_iter().flat_map(|message| message.events).collect();
    assert_eq!(events.last().unwrap().r#type, "response.completed");
    for after in [None, Some(0), Some(4), Some(9), Some(99)] {
        let request =
            ResumeRequest { id: id.clone(), after, on_gap: OnGap::Fail.into(), ..Default::default() };
        let rest: Vec<_> = responses.resume(call(request)).await.unwrap().into_inner().collect().await;
        let rest: Vec<_> = rest.into_iter().flat_map(|message| message.unwrap().events).collect();
        let first = after.map_or(0, |after| after + 1);
        assert_eq!(rest, events[usize::try_from(first).unwrap().min(events.len())..]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_created_is_listed_and_can_be_deleted() {
    let responses = service([text("x"), stop()]);
    let mut made = Vec::new();
    for _ in 0..3 {
        made.insert(0, responses.create(call(create())).await.unwrap().into_inner().response.unwrap());
    }
    let list = async |page_size, page_token: &str| {
        let request = ListRequest { page_size, page_token: page_token.to_owned(), ..Default::default() };
        responses.list(call(request)).await.unwrap().into_inner()
    };
    let first = list(2, "").await;
    assert_eq!((&first.responses[..], first.page_size), (&made[..2], 2));
    let last = list(0, &first.next_page_token).await;
    assert_eq!((&last.responses[..], last.page_size), (&made[2..], 50));
    assert_eq!(last.next_page_token, "");

    let id = made[1].id.clone();
    let request = ListInputItemsRequest { id: id.clone(), order: Order::Asc.into(), ..Default::default() };
    let input = responses.list_input_items(call(request)).await.unwrap().into_inner();
    assert_eq!((input.items.len(), input.has_more, input.page_size), (1, false, 20));
    assert!(input.items[0].id.starts_with("msg_"), "{:?}", input.items);
    let deleted = responses
        .delete(call(DeleteRequest { id: id.clone(), ..Default::default() }))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(deleted.id, id);
    assert_eq!(list(0, "").await.responses.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn wrong_calls_are_named() {
    let responses = service([stop()]);
    let model = CreateRequest { model: "x".into(), ..create() };
    let wait = CreateRequest { wait: 9, ..create() };
    let gap = ResumeRequest { on_gap: 9, ..ResumeRequest::default() };
    let order = ListInputItemsRequest { order: 9, ..ListInputItemsRequest::default() };
    let token = ListRequest { page_token: "x".to_owned(), ..ListRequest::default() };
    let id = responses.create(call(create())).await.unwrap().into_inner().response.unwrap().id;
    let after = ListInputItemsRequest { id, after: "msg_0".to_owned(), ..ListInputItemsRequest::default() };
    let table = [
        (responses.create(call(model)).await.map(drop), "model_not_found", "model"),
        (responses.create(call(wait)).await.map(drop), "invalid_request", "wait"),
        (
            responses.create_stream(call(CreateStreamRequest::default())).await.map(drop),
            "invalid_request",
            "create",
        ),
        (responses.resume(call(gap)).await.map(drop), "invalid_request", "on_gap"),
        (responses.get(call(GetRequest::default())).await.map(drop), "not_found", ""),
        (responses.delete(call(DeleteRequest::default())).await.map(drop), "not_found", ""),
        (responses.list_input_items(call(order)).await.map(drop), "invalid_request", "order"),
        (responses.list_input_items(call(after)).await.map(drop), "invalid_cursor", "after"),
        (responses.list_input_items(call(ListInputItemsRequest::default())).await.map(drop), "not_found", ""),
        (responses.list(call(token)).await.map(drop), "invalid_cursor", "page_token"),
    ];
    for (result, code, param) in table {
        let status = result.unwrap_err();
        assert_eq!(reason(&status).1, code);
        let metadata = &status.get_error_details().error_info().unwrap().metadata.clone();
        assert_eq!(metadata.get("param").map_or("", String::as_str), param);
        let details = status.get_error_details();
        let violations = details.bad_request().map_or(&[][..], |request| &request.field_violations);
        assert_eq!(violations.iter().map(|violation| violation.field.as_str()).collect::<String>(), param);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_no_longer_counts_as_a_reader() {
    let responses = service([text("x"), Act::Hang]);
    let create = CreateRequest { store: Some(false), ..create() };
    let request = CreateStreamRequest { create: Some(create), after: None };
    let mut stream = responses.create_stream(call(request)).await.unwrap().into_inner();
    let id = stream.next().await.unwrap().unwrap().id;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let get = || async {
        responses
            .get(call(GetRequest { id: id.clone(), ..Default::default() }))
            .await
            .unwrap()
            .into_inner()
            .response
            .unwrap()
    };
    assert_eq!(get().await.status(), State::InProgress);
    drop(stream);
    tokio::time::sleep(Duration::from_secs(16)).await;
    let response = get().await;
    assert_eq!(
        (response.status(), response.cancel_reason.as_str()),
        (State::Cancelled, "client_disconnected")
    );
}

#[tokio::test]
async fn the_models_and_all_services_are_there() {
    let list = Models::new(runs([])).list_models(call(ListModelsRequest {})).await.unwrap().into_inner();
    assert_eq!((list.models[0].id.as_str(), list.models[0].owned_by.as_str()), ("m", "script"));
    assert!(
        routes(Services {
            runs: runs([]),
            directory: directory(),
            access: access(),
            redirects: RedirectRules::default()
        })
        .await
        .is_ok()
    );
}
