//! What takes real time.

use std::time::Duration;

use crate::common::rest::{Client, Piece};
use crate::common::scripted::{Act, answer, chunk};
use crate::setup::{Stage, ask_streamed, demo, paced_stream};

/// Check 8: a backend that says nothing for 40 s; returns how many heartbeats came.
async fn heartbeats_of_a_silence() -> usize {
    let acts = [vec![chunk("a"), Act::Pause(Duration::from_secs(40))], answer(["b"])].concat();
    let stage = Stage::with("m", acts).await;
    let mut stream = stage.client.stream(&ask_streamed("m")).await;
    let (mut heartbeats, mut ended) = (0, false);
    while let Some(piece) = stream.piece().await {
        match piece {
            Piece::Comment(text) => {
                assert_eq!(text, "heartbeat");
                heartbeats += 1;
            }
            Piece::Frame(frame) => ended = frame.is_done(),
        }
    }
    assert!(ended, "the stream goes on after the silence");
    heartbeats
}

/// Check 21: two deltas a second for 45 s, past every timeout that is set; returns how many came.
async fn deltas_of_a_long_stream(client: &Client) -> usize {
    let frames = client.stream(&paced_stream(90, 2)).await.events().await;
    assert_eq!(frames.last().unwrap().name(), "response.completed");
    frames.iter().filter(|frame| frame.name() == "response.output_text.delta").count()
}

#[tokio::test]
async fn checks_8_and_21_a_silence_is_bridged_by_heartbeats_and_a_long_stream_is_not_cut() {
    let (_server, client) = demo("[server]\nheader_timeout = \"1s\"\nwrite_timeout = \"2s\"\n");
    let (heartbeats, deltas) = tokio::join!(heartbeats_of_a_silence(), deltas_of_a_long_stream(&client));
    assert!((2..=3).contains(&heartbeats), "{heartbeats}");
    assert_eq!(deltas, 90);
}
