//! Delete, and the lists: their shape, their parameters, what they ask the gateway.

use axum::body::Body;
use http::Method;
use tidemark_proto::v1::{
    self, Api, ErrorCode, InputItem, ListInputItemsRequest, ListInputItemsResponse, ListRequest,
    ListResponse, Order,
};

use crate::fake::{Asked, Fake, ID, Script, response, status};
use crate::http::{ask, both, get, request, send};

fn ok(body: &str) -> String {
    format!("200\ncontent-type: application/json\n\n{body}")
}

fn refused(param: &str, code: &str, message: &str) -> String {
    format!(
        "400\ncontent-type: application/json\n\n{{\"error\":{{\"message\":\"{message}\",\
         \"type\":\"invalid_request_error\",\"param\":\"{param}\",\"code\":\"{code}\"}}}}"
    )
}

#[tokio::test]
async fn delete_says_what_is_gone() {
    let fake = Fake::new(Script::default());
    let (bridges, _server) = both(&fake).await;
    for (way, bridge) in &bridges {
        for prefix in ["/v1", ""] {
            let delete = request(Method::DELETE, &format!("{prefix}/responses/chatcmpl-1"), Body::empty());
            assert_eq!(
                ask(bridge, delete).await,
                format!(
                    "200\ncontent-type: application/json\nx-tidemark-response-id: {ID}\n\n\
                     {{\"id\":\"{ID}\",\"object\":\"response\",\"deleted\":true}}"
                ),
                "{way}",
            );
        }
    }
    assert_eq!(fake.asked(), vec![Asked::Delete("chatcmpl-1".to_owned()); 4]);
}

#[tokio::test]
async fn a_delete_without_the_id_of_what_is_gone_is_a_fault_of_ours() {
    let fake = Fake::new(Script { reply: Some(Ok(v1::Response::default())), ..Script::default() });
    let delete = request(Method::DELETE, "/v1/responses/x", Body::empty());
    assert_eq!(send(&fake.local(), delete).await.status(), 500);
}

#[tokio::test]
async fn responses_are_listed_byte_by_byte_with_the_cursor_of_the_next_page() {
    let older =
        v1::Response { id: "resp_0".to_owned(), json: r#"{"id":"resp_0"}"#.into(), ..Default::default() };
    let responses = vec![response(v1::Status::Completed), older];
    let page = ListResponse { responses, next_page_token: "next".to_owned(), page_size: 2 };
    let fake = Fake::new(Script { page, ..Script::default() });
    let (bridges, _server) = both(&fake).await;
    for (way, bridge) in &bridges {
        for path in ["/v1/responses?limit=2&cursor=to%2Fken", "/responses"] {
            assert_eq!(
                ask(bridge, get(path)).await,
                ok(&format!(
                    "{{\"object\":\"list\",\"data\":[{{ \"id\" : \"{ID}\",\"n\":1.0}},{{\"id\":\"resp_0\"}}],\
                     \"first_id\":\"{ID}\",\"last_id\":\"resp_0\",\"has_more\":true,\"next_cursor\":\"next\",\"limit\":2}}"
                )),
                "{way} {path}",
            );
        }
    }
    let asked = [
        Asked::List(ListRequest {
            page_size: 2,
            page_token: "to/ken".to_owned(),
            api: Api::Responses.into(),
            after: String::new(),
        }),
        Asked::List(ListRequest { api: Api::Responses.into(), ..ListRequest::default() }),
    ];
    assert_eq!(fake.asked(), vec![asked; 2].concat());
}

#[tokio::test]
async fn input_items_are_listed_byte_by_byte() {
    let item =
        |id: &str| InputItem { id: id.to_owned(), json: format!("{{\"id\":\"{id}\",\"n\":1.0}}").into() };
    let input = ListInputItemsResponse { items: vec![item("b"), item("a")], has_more: true, page_size: 100 };
    let fake = Fake::new(Script { input, ..Script::default() });
    let (bridges, _server) = both(&fake).await;
    for (way, bridge) in &bridges {
        for query in ["?limit=1000000000000&order=asc&after=msg_1", "?order=desc&include[]=x", ""] {
            for prefix in ["/v1", ""] {
                assert_eq!(
                    ask(bridge, get(&format!("{prefix}/responses/{ID}/input_items{query}"))).await,
                    ok("{\"object\":\"list\",\"data\":[{\"id\":\"b\",\"n\":1.0},{\"id\":\"a\",\"n\":1.0}],\
                        \"first_id\":\"b\",\"last_id\":\"a\",\"has_more\":true,\"limit\":100}"),
                    "{way} {query}",
                );
            }
        }
    }
    let asked = |page_size, order: Order, after: &str| {
        let (id, after, api) = (ID.to_owned(), after.to_owned(), Api::Responses.into());
        Asked::ListInputItems(ListInputItemsRequest { id, page_size, order: order.into(), after, api })
    };
    let ascending = asked(u32::MAX, Order::Asc, "msg_1");
    let newest = asked(0, Order::Desc, "");
    let once = [ascending.clone(), ascending, newest.clone(), newest.clone(), newest.clone(), newest];
    assert_eq!(fake.asked(), vec![once; 2].concat());
}

/// As the SDKs ask for them.
#[tokio::test]
async fn chats_and_their_messages_are_listed_behind_an_id() {
    let fake = Fake::new(Script::default());
    let (bridges, _server) = both(&fake).await;
    for (_, bridge) in &bridges {
        for path in ["?after=chatcmpl-1&order=desc", "/c/messages", "/c/messages?after=m&order=desc"] {
            let reply = ask(bridge, get(&format!("/v1/chat/completions{path}"))).await;
            assert!(reply.starts_with("200"), "{reply}");
        }
    }
    let api = Api::ChatCompletions.into();
    let list = ListRequest { api, after: "chatcmpl-1".to_owned(), ..ListRequest::default() };
    let messages = |order: Order, after: &str| ListInputItemsRequest {
        id: "c".to_owned(),
        order: order.into(),
        after: after.to_owned(),
        api,
        ..ListInputItemsRequest::default()
    };
    let first = Asked::ListInputItems(messages(Order::Asc, ""));
    let second = Asked::ListInputItems(messages(Order::Desc, "m"));
    assert_eq!(fake.asked(), vec![[Asked::List(list), first, second]; 2].concat());
}

#[tokio::test]
async fn an_empty_list_has_no_ids() {
    let fake = Fake::new(Script::default());
    let (bridges, _server) = both(&fake).await;
    let empty =
        "{\"object\":\"list\",\"data\":[],\"first_id\":null,\"last_id\":null,\"has_more\":false,\"limit\":0}";
    for (way, bridge) in &bridges {
        for path in ["/v1/responses", "/v1/responses/x/input_items"] {
            assert_eq!(ask(bridge, get(path)).await, ok(empty), "{way} {path}");
        }
    }
}

/// S-2 and U-15.
#[tokio::test]
async fn parameters_of_lists_are_refused_before_the_look_up() {
    let fake = Fake::new(Script { reply: Some(Err(status(ErrorCode::NotFound, &[]))), ..Script::default() });
    let (bridges, _server) = both(&fake).await;
    let limit = "`limit` must be a positive decimal number";
    let empty = |name: &str| format!("`{name}` must not be empty: leave it out to begin at the beginning");
    let table = [
        ("responses?limit=0", "limit", "invalid_request", limit.to_owned()),
        ("responses?limit=-1", "limit", "invalid_request", limit.to_owned()),
        ("responses?cursor=", "cursor", "invalid_cursor", empty("cursor")),
        ("responses?cursor=a&cursor=b", "cursor", "invalid_cursor", "`cursor` is given twice".to_owned()),
        (
            "chat/completions?order=asc",
            "order",
            "invalid_request",
            "`order` must be `desc`: the newest come first".to_owned(),
        ),
        (
            "chat/completions?metadata[a]=b",
            "metadata",
            "invalid_request",
            "`metadata`: the list cannot be filtered; leave it out".to_owned(),
        ),
        (
            "responses?model=m",
            "model",
            "invalid_request",
            "`model`: the list cannot be filtered; leave it out".to_owned(),
        ),
        ("responses/x/input_items?limit=x", "limit", "invalid_request", limit.to_owned()),
        ("responses/x/input_items?after=", "after", "invalid_cursor", empty("after")),
        (
            "responses/x/input_items?order=up",
            "order",
            "invalid_request",
            "`order` must be `asc` or `desc`".to_owned(),
        ),
        (
            "responses/x/input_items?order=asc&order=asc",
            "order",
            "invalid_request",
            "`order` is given twice".to_owned(),
        ),
    ];
    for (way, bridge) in &bridges {
        for (path, param, code, message) in &table {
            assert_eq!(
                ask(bridge, get(&format!("/v1/{path}"))).await,
                refused(param, code, message),
                "{way} {path}"
            );
        }
    }
    assert_eq!(fake.asked(), []);
}

#[tokio::test]
async fn a_cursor_that_the_gateway_refuses_has_its_name_of_here() {
    let refusal = status(ErrorCode::InvalidCursor, &[("param", "page_token")]);
    let fake = Fake::new(Script { reply: Some(Err(refusal)), ..Script::default() });
    let (bridges, _server) = both(&fake).await;
    for (way, bridge) in &bridges {
        let reply = ask(bridge, get("/v1/responses?cursor=x")).await;
        assert_eq!(reply, refused("cursor", "invalid_cursor", "what happened"), "{way}");
    }
}

#[tokio::test]
async fn an_entry_that_is_no_json_is_a_fault_of_ours() {
    let broken = v1::Response { id: ID.to_owned(), json: "{".into(), ..Default::default() };
    let page = ListResponse { responses: vec![broken], ..ListResponse::default() };
    let fake = Fake::new(Script { page, ..Script::default() });
    assert_eq!(send(&fake.local(), get("/v1/responses")).await.status(), 500);
}
