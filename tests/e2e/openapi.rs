//! `/openapi.json`, of a gateway that asks for credentials and of a bridge alone.

use reqwest::Method;
use tidemark::serve::{OPENAPI, OPENAPI_PATH};
use tidemark_proto::names::REQUEST_ID;

use crate::common::bridge::Bridge;
use crate::common::rest::Client;
use crate::keys::Gate;

#[tokio::test]
async fn everybody_may_read_what_there_is_to_call() {
    let gate = Gate::new();
    let bridge = Bridge::start(&gate.server.gateway_url());
    for client in [&gate.anybody, &gate.anybody.with_key("wrong"), &Client::new(&bridge.url())] {
        let reply = client.get(OPENAPI_PATH).send().await.unwrap();
        assert_eq!(
            (reply.status().as_u16(), &reply.headers()["content-type"]),
            (200, &"application/json".parse().unwrap())
        );
        assert!(reply.headers().contains_key(REQUEST_ID));
        assert_eq!(reply.text().await.unwrap(), OPENAPI);
        let (status, refusal) = Client::json(client.request(Method::POST, OPENAPI_PATH)).await;
        assert_eq!((status, &refusal["error"]["code"]), (405, &"method_not_allowed".into()));
    }
}
