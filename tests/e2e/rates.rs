//! How often a caller may ask, and who the caller is behind proxies (U-5, U-23).

use std::time::Duration;

use serde_json::Value;
use tidemark_proto::names::CLIENT;
use tidemark_proto::v1::ListModelsRequest;
use tidemark_proto::v1::models_service_client::ModelsServiceClient;
use tokio::time::sleep;
use tonic::{Code, Request};
use tonic_types::StatusExt;

use crate::common::bridge::Bridge;
use crate::common::rest::Client;
use crate::common::server::Server;
use crate::grpc::channel;
use crate::setup::{demo, paced};

/// One call for the models in a time that no test lives to see, and proxies on this machine.
const ONCE: &str = "[limits]\nrate_models = \"1 per 24h\"\n";
const BEHIND_A_PROXY: &str = "[server]\ntrusted_proxies = [\"127.0.0.1\"]\n";

/// The status of a call for the models whose address is said to be `said`.
async fn models(client: &Client, said: &[&str]) -> u16 {
    let request = client.get("/v1/models");
    let request = said.iter().fold(request, |request, said| request.header(CLIENT, *said));
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_call_beyond_the_budget_is_refused_and_passes_after_the_time_that_the_refusal_says() {
    let (_server, client) = demo("[limits]\nrate_creates = \"3 per 12s\"\n");
    let create = || client.post("/v1/responses", &paced(1, 0)).send();
    for _ in 0..3 {
        assert_eq!(create().await.unwrap().status(), 200);
    }
    let refused = loop {
        // Creates that took long have filled the budget again.
        let reply = create().await.unwrap();
        if reply.status() != 200 {
            break reply;
        }
    };
    assert_eq!(refused.status(), 429);
    let number = |name: &str| refused.headers()[name].to_str().unwrap().parse::<u64>().unwrap();
    let (seconds, millis) = (number("retry-after"), number("retry-after-ms"));
    assert!((1..=4000).contains(&millis) && seconds == millis.div_ceil(1000), "{millis} ms, {seconds} s");
    let error = refused.json::<Value>().await.unwrap();
    assert_eq!(
        (&error["error"]["code"], &error["error"]["type"]),
        (&"rate_limited".into(), &"too_many_requests".into())
    );
    assert_eq!(models(&client, &[]).await, 200, "other areas have budgets of their own");
    sleep(Duration::from_millis(millis)).await;
    assert_eq!(create().await.unwrap().status(), 200);
}

#[tokio::test]
async fn grpc_says_the_same_in_its_own_form() {
    let (server, client) = demo(ONCE);
    assert_eq!(models(&client, &[]).await, 200);
    let status =
        ModelsServiceClient::new(channel(&server).await).list_models(ListModelsRequest {}).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "rate_limited");
    assert!(details.retry_info().unwrap().retry_delay.unwrap() > Duration::from_secs(23 * 3600));
}

#[tokio::test]
async fn check_19_the_client_of_a_trusted_proxy_is_the_address_that_it_saw() {
    let (_server, client) = demo(&format!("{BEHIND_A_PROXY}{ONCE}"));
    assert_eq!(models(&client, &["203.0.113.1"]).await, 200);
    assert_eq!(models(&client, &["203.0.113.2"]).await, 200);
    for forged in ["1.2.3.4, 203.0.113.1", "garbage, 203.0.113.1", "203.0.113.9,203.0.113.1,127.0.0.1"] {
        assert_eq!(models(&client, &[forged]).await, 429, "{forged}");
    }
    assert_eq!(models(&client, &["203.0.113.9", "203.0.113.2"]).await, 429, "several lines are one list");
    for (garbage, status) in [("unknown", 200), ("", 429), (",,,", 429), ("\u{fc}", 429)] {
        assert_eq!(models(&client, &[garbage]).await, status, "{garbage:?}: it counts for the proxy");
    }
}

#[tokio::test]
async fn nobody_else_can_say_who_the_client_is() {
    let (server, client) = demo(ONCE);
    assert_eq!(models(&client, &["203.0.113.1"]).await, 200);
    assert_eq!(models(&client, &["203.0.113.2"]).await, 429);
    let mut request = Request::new(ListModelsRequest {});
    request.metadata_mut().insert(CLIENT, "203.0.113.3".parse().unwrap());
    let refused = ModelsServiceClient::new(channel(&server).await).list_models(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn a_bridge_names_its_clients_to_a_gateway_that_trusts_it() {
    let server = Server::start(&format!("{BEHIND_A_PROXY}{ONCE}"));
    let bridge = Bridge::start_with(&server.gateway_url(), BEHIND_A_PROXY);
    let client = Client::new(&bridge.url());
    assert_eq!(models(&client, &["203.0.113.1"]).await, 200);
    assert_eq!(models(&client, &["1.2.3.4, 203.0.113.1"]).await, 429);
    assert_eq!(models(&client, &["203.0.113.2"]).await, 200);
    let untrusting = Bridge::start(&server.gateway_url());
    let client = Client::new(&untrusting.url());
    assert_eq!(models(&client, &["203.0.113.3"]).await, 200);
    assert_eq!(models(&client, &["203.0.113.4"]).await, 429, "what a client says of itself goes no further");
}
