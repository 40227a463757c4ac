//! HTTP/2 streams whose client takes nothing of them (D-7).

use std::time::Duration;

use serde_json::json;
use tidemark_proto::v1::{CreateRequest, CreateStreamRequest, create_request::Input};

use crate::common::rest::Client;
use crate::common::scripted::{Act, Scripted, answer, chunk};
use crate::common::server::{How, Server};
use crate::h2c::{Connection, stalled, whole};
use crate::{figures, in_time, until};

/// Long enough for a client that takes what comes, also on a slow machine.
const CONFIG: &str = "server.write_timeout = \"3s\"\n";

/// Longer than that.
const SILENCE: Duration = Duration::from_secs(5);

/// Less than the first event of a response.
const WINDOW: u32 = 256;

fn body(model: &str) -> serde_json::Value {
    json!({"model": model, "input": "go", "stream": true, "metadata": {"demo.rate": "0"}})
}

/// The demo, and a model that is silent in the middle of its answer.
async fn backends() -> (Scripted, String) {
    let scripted = Scripted::start().await.unwrap();
    let acts = [vec![chunk("a"), Act::Pause(SILENCE)], answer(["b"])].concat();
    scripted.script("silent", acts);
    let config = format!(
        "{CONFIG}[[backends]]\nname = \"demo\"\nkind = \"demo\"\n\
         [[backends]]\nname = \"scripted\"\nkind = \"openai\"\nbase_url = \"{}\"\n",
        scripted.base_url()
    );
    (scripted, config)
}

#[tokio::test]
async fn a_stream_that_is_not_taken_is_cut_alone() {
    let (_scripted, config) = backends().await;
    let server = Server::start_as(&config, How { admin: true, ..How::default() });
    let mut connection = Connection::open(&server, WINDOW).await;
    let mut over_sse = connection.post("/v1/responses", &body("demo-long")).await;
    let create = CreateRequest {
        model: "demo-long".to_owned(),
        input: Some(Input::Text("go".to_owned())),
        ..CreateRequest::default()
    };
    let create = CreateStreamRequest { create: Some(create), after: None };
    let mut over_grpc = connection.grpc("/tidemark.v1.ResponsesService/CreateStream", &create).await;
    // Silent for longer than the limit, and taken at once.
    let mut silent = connection.post("/v1/responses", &body("silent")).await;
    let silent = tokio::spawn(async move { whole(silent.body_mut()).await });
    for stream in [&mut over_sse, &mut over_grpc] {
        let error = stalled(stream.body_mut()).await.unwrap();
        assert_eq!(error.reason(), Some(h2::Reason::CANCEL), "{error}");
    }
    let text = String::from_utf8(silent.await.unwrap().unwrap()).unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    assert!(!connection.task.is_finished(), "the connection goes on");
    assert_eq!(figures::value(&server, "tidemark_stalled_streams_total").await, 2.0);
    until("readers are let go", async || {
        (figures::value(&server, "tidemark_readers").await == 0.0).then_some(())
    })
    .await;
    // What was cut off can be read on.
    let id = over_sse.headers()["x-tidemark-response-id"].to_str().unwrap();
    let frames = Client::new(&server.gateway_url()).resume(id, None).await.rest().await;
    assert!(frames.last().unwrap().is_done());
}

#[tokio::test]
async fn a_client_that_takes_a_large_answer_slowly_is_served_to_the_end() {
    let server = Server::start(CONFIG);
    let mut connection = Connection::open(&server, 4096).await;
    let mut reply = connection.post("/v1/responses", &body("demo-long")).await;
    let read = async {
        let (mut taken, mut text) = (0, Vec::new());
        while let Some(data) = reply.body_mut().data().await {
            let data = data.unwrap();
            text.extend_from_slice(&data);
            reply.body_mut().flow_control().release_capacity(data.len()).unwrap();
            taken += data.len();
            if taken > 32 << 10 {
                // Slower than the server, faster than the limit.
                tokio::time::sleep(Duration::from_millis(20)).await;
                taken = 0;
            }
        }
        text
    };
    let text = String::from_utf8(in_time("a slow reader", read).await).unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"));
}
