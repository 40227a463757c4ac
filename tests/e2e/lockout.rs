//! Wrong credentials, from one address and from many (U-5, S-7).

use serde_json::Value;
use tidemark_proto::names::CLIENT;

use crate::common::rest::Client;
use crate::common::server::{How, Server};
use crate::setup::{many, until};

const SECRET: &str = "operator-operator-operator-operator";

/// The shell command before the server that gives it [`SECRET`].
const WITH_SECRET: How =
    How { prefix: Some("export TIDEMARK_OPERATOR_SECRET=operator-operator-operator-operator"), admin: true };

/// How many wrong credentials are tried.
const TRIES: usize = 10_000;

/// A server that wants a credential and listens to a proxy on this machine.
fn start() -> (Server, Client) {
    let server = Server::start_as(
        "[auth]\nmode = \"keys\"\n[server]\ntrusted_proxies = [\"127.0.0.1\"]\n[log]\nformat = \"json\"\n",
        WITH_SECRET,
    );
    let client = Client::new(&server.gateway_url());
    (server, client)
}

/// The status of a call for the models with this credential, which a proxy says came from `address`.
async fn status(client: &Client, address: &str, credential: &str) -> u16 {
    let request = client.get("/v1/models").header(CLIENT, address).bearer_auth(credential);
    request.send().await.unwrap().status().as_u16()
}

/// A figure of a server.
async fn figure(server: &Server, name: &str) -> usize {
    let page = reqwest::get(format!("{}/metrics", server.admin_url())).await.unwrap().text().await.unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    line.unwrap_or_else(|| panic!("no {name} in\n{page}"))
}

#[tokio::test]
async fn ten_thousand_wrong_keys_of_one_address_are_ten_answers_and_shut_nobody_out() {
    let (server, client) = start();
    let wrong = {
        let client = client.clone();
        many(TRIES, move |number| {
            let client = client.clone();
            async move {
                let status = status(&client, "203.0.113.1", &format!("wrong-{number}")).await;
                assert!([401, 429].contains(&status), "{status}");
            }
        })
    };
    wrong.await;
    assert_eq!(figure(&server, "tidemark_wrong_credentials_total").await, TRIES);
    assert_eq!(figure(&server, "tidemark_locked_out_total").await, TRIES - 10);
    assert_eq!(figure(&server, "tidemark_locks_total").await, 1);
    let refused =
        client.get("/v1/models").header(CLIENT, "203.0.113.1").bearer_auth("wrong").send().await.unwrap();
    let number = |name: &str| refused.headers()[name].to_str().unwrap().parse::<u64>().unwrap();
    assert!(number("retry-after") >= number("retry-after-ms") / 1000 && number("retry-after") <= 300);
    assert_eq!(refused.json::<Value>().await.unwrap()["error"]["code"], "auth_rate_limited");
    assert_eq!(status(&client, "203.0.113.1", SECRET).await, 200, "a valid one passes");
    assert_eq!(status(&client, "203.0.113.2", "wrong").await, 401, "another address");
    assert_eq!(
        status(&client, "1.2.3.4, 203.0.113.1", "wrong").await,
        429,
        "what it says of itself does not help it"
    );
    let none = client.get("/v1/models").header(CLIENT, "203.0.113.1").send().await.unwrap().status();
    assert_eq!(none, 401, "none is not a wrong one");
    let locked = async || server.log().contains("the address is locked").then_some(());
    until("the log names the address", locked).await;
    let named: Vec<_> =
        server.log().lines().filter(|line| line.contains("203.0.113.1")).map(str::to_owned).collect();
    assert_eq!(named.len(), 1, "an address is in the log only when it is locked: {named:?}");
    assert!(!server.log().contains("wrong-"), "no credential is in the log");
}

#[tokio::test]
async fn ten_thousand_addresses_with_a_wrong_key_each_are_told_so_and_shut_nobody_out() {
    let (server, client) = start();
    let addresses = client.clone();
    many(TRIES, move |number| {
        let client = addresses.clone();
        async move {
            let address = format!("198.18.{}.{}", number / 256, number % 256);
            assert_eq!(status(&client, &address, "wrong").await, 401, "{address}");
        }
    })
    .await;
    assert_eq!(figure(&server, "tidemark_wrong_credentials_total").await, TRIES);
    assert_eq!(figure(&server, "tidemark_locks_total").await, 0);
    for address in ["198.18.0.1", "203.0.113.9"] {
        assert_eq!(status(&client, address, SECRET).await, 200, "{address}");
    }
}
