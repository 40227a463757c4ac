//! HTTP/2 streams whose client takes nothing of them (D-7).

use std::time::Duration;

use serde_json::json;
use tidemark_proto::v1::{CreateRequest, CreateStreamRequest, create_request::Input};

use crate::common::rest::Client;
use crate::common::server::{How, Server};
use crate::h2c::{Connection, stalled, whole};
use crate::{figures, in_time, until};

/// Shorter than the silence between two events of the slow response.
const CONFIG: &str = "server.write_timeout = \"500ms\"\n";

/// Less than the first event of a response.
const WINDOW: u32 = 256;

fn body(rate: &str, events: &str) -> serde_json::Value {
    json!({"model": "demo-long", "input": "go", "stream": true, "store": true,
        "metadata": {"demo.rate": rate, "demo.events": events}})
}

#[tokio::test]
async fn a_stream_that_is_not_taken_is_cut_alone() {
    let server = Server::start_as(CONFIG, How { admin: true, ..How::default() });
    let mut connection = Connection::open(&server, WINDOW).await;
    let mut over_sse = connection.post("/v1/responses", &body("0", "500")).await;
    let create = CreateRequest {
        model: "demo-long".to_owned(),
        input: Some(Input::Text("go".to_owned())),
        ..CreateRequest::default()
    };
    let create = CreateStreamRequest { create: Some(create) };
    let mut over_grpc = connection.grpc("/tidemark.v1.ResponsesService/CreateStream", &create).await;
    // One event a second: silent for longer than the limit, and taken at once.
    let mut slow = connection.post("/v1/responses", &body("1", "3")).await;
    for stream in [&mut over_sse, &mut over_grpc] {
        let error = stalled(stream.body_mut()).await.unwrap();
        assert_eq!(error.reason(), Some(h2::Reason::CANCEL), "{error}");
    }
    let text = String::from_utf8(whole(slow.body_mut()).await.unwrap()).unwrap();
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
    let mut reply = connection.post("/v1/responses", &body("0", "1000")).await;
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
