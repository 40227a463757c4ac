//! What the pure work on one delta costs, without a socket, a task or a disk: from the bytes of a backend to the record of the log, and
//! from there to the bytes of a reader.
//!
//! `cargo bench --bench stages` prints medians in nanoseconds of CPU time of this thread. The record is what a run hands to the store;
//! the frames are what the listener is handed for one reader, the messages of the gRPC call between included, as a bridge in a process of
//! its own reads them; in the gateway itself they are handed over unencoded.

#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::indexing_slicing, reason = "a benchmark")]

#[path = "../common/stats.rs"]
mod stats;

use std::collections::VecDeque;
use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use tidemark::backends::openai::Reading;
use tidemark::backends::{Api, Dialect};
use tidemark::runs::{Writing, events_of};
use tidemark_bridge::Framing;
use tidemark_proto::v1::{self, ResumeResponse};
use tidemark_store::{Entry, Seq};

use stats::median;

/// Deltas of a round, and rounds.
const DELTAS: usize = 20_000;
const ROUNDS: usize = 15;

/// Deltas that come in one piece, or events that travel in one message.
const TOGETHER: [usize; 2] = [1, 16];

/// The texts of the deltas, as tokens are.
const WORDS: [&str; 8] = ["The", " tide", " comes", " in", ",\n", " \"and", " goes", " ö"];

/// Nanoseconds that this thread has been on a CPU.
fn cpu_nanos() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// The nanoseconds of one of [`DELTAS`] in the median round.
fn measure(what: &str, mut round: impl FnMut()) {
    round();
    let took = (0..ROUNDS).map(|_| {
        let start = cpu_nanos();
        round();
        (cpu_nanos() - start) / DELTAS as f64
    });
    println!("| {what} | {:.0} |", median(took.collect::<Vec<_>>()));
}

/// A delta as a server sends it, in this dialect.
fn delta(dialect: Dialect, number: usize) -> String {
    let text = serde_json::to_string(WORDS[number % WORDS.len()]).unwrap();
    match dialect {
        Dialect::Chat => format!(
            "data: {{\"id\":\"chatcmpl-DhL3qQm8J4b2Vt1ZbXvYpKcR0aNfE\",\"object\":\"chat.completion.chunk\",\"created\":1763769600,\
             \"model\":\"gpt-5-mini-2025-08-07\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_560af6e559\",\
             \"choices\":[{{\"index\":0,\"delta\":{{\"content\":{text}}},\"logprobs\":null,\"finish_reason\":null}}],\"usage\":null}}\n\n"
        ),
        Dialect::Responses => format!(
            "event: response.output_text.delta\ndata: {{\"type\":\"response.output_text.delta\",\"sequence_number\":{number},\
             \"item_id\":\"msg_68e4b9a0c1d88193a5f2e7b4\",\"output_index\":0,\"content_index\":0,\"delta\":{text},\"logprobs\":[],\
             \"obfuscation\":\"p2kX9vQ1\"}}\n\n"
        ),
    }
}

/// What a server says before the first delta.
fn opening(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Chat => {
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n"
        }
        Dialect::Responses => {
            "event: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"output_index\":0,\"item\":\
             {\"id\":\"msg_68e4b9a0c1d88193a5f2e7b4\",\"type\":\"message\",\"status\":\"in_progress\",\"role\":\"assistant\",\"content\":[]}}\n\n\
             event: response.content_part.added\ndata: {\"type\":\"response.content_part.added\",\"item_id\":\"msg_68e4b9a0c1d88193a5f2e7b4\",\
             \"output_index\":0,\"content_index\":0,\"part\":{\"type\":\"output_text\",\"text\":\"\",\"annotations\":[],\"logprobs\":[]}}\n\n"
        }
    }
}

/// The records of an answer that came in these pieces.
fn records(dialect: Dialect, api: Api, pieces: &[Bytes]) -> Vec<Bytes> {
    let (mut reading, mut writing) = (Reading::new(dialect, api, 1), Writing::new(api, usize::MAX).unwrap());
    let (mut steps, mut records) = (VecDeque::new(), Vec::with_capacity(DELTAS + 8));
    for piece in pieces {
        reading.read(piece, &mut steps).unwrap();
        for step in steps.drain(..) {
            writing.write(step).unwrap();
        }
        records.append(&mut writing.take());
    }
    records
}

fn pieces(dialect: Dialect, together: usize) -> Vec<Bytes> {
    let deltas: Vec<String> = (0..DELTAS).map(|number| delta(dialect, number)).collect();
    let pieces = deltas.chunks(together).map(|some| Bytes::from(some.concat()));
    std::iter::once(Bytes::from_static(opening(dialect).as_bytes())).chain(pieces).collect()
}

/// What a reader of these entries is sent, message by message.
fn frames(api: v1::Api, entries: &[Entry], together: usize) -> usize {
    let mut framing = Framing::new(api);
    let (mut buffer, mut sent) = (BytesMut::new(), 0);
    for some in entries.chunks(together) {
        let events = some.iter().flat_map(|entry| events_of(entry).unwrap()).collect();
        let events = tidemark::grpc::events(events);
        let message = ResumeResponse { events, committed: Some(7), ..ResumeResponse::default() };
        buffer.reserve(message.encoded_len());
        message.encode(&mut buffer).unwrap();
        let message = ResumeResponse::decode(buffer.split().freeze()).unwrap();
        sent += black_box(framing.frames(message.events)).len();
    }
    sent
}

fn main() {
    println!("| stage | together | ns CPU per delta |\n|---|---:|---:|");
    let ways = [
        ("chat", Dialect::Chat, Api::Responses),
        ("responses", Dialect::Responses, Api::Responses),
        ("chat", Dialect::Chat, Api::Chat),
        ("responses", Dialect::Responses, Api::Chat),
    ];
    for (name, dialect, api) in ways {
        let of = if api == Api::Chat { "a chat" } else { "a response" };
        for together in TOGETHER {
            let pieces = pieces(dialect, together);
            assert!(records(dialect, api, &pieces).len() >= DELTAS);
            measure(&format!("{name} dialect → record of {of} | {together}"), || {
                black_box(records(dialect, api, &pieces));
            });
        }
    }
    for (name, dialect, api, frames_of) in [
        ("response", Dialect::Chat, Api::Responses, v1::Api::Responses),
        ("chat", Dialect::Chat, Api::Chat, v1::Api::ChatCompletions),
    ] {
        let entry = |(seq, payload)| Entry { first: Seq::new(seq), seq: Seq::new(seq), payload };
        let entries: Vec<Entry> = (0..).zip(records(dialect, api, &pieces(dialect, 16))).map(entry).collect();
        for together in TOGETHER {
            measure(&format!("record of a {name} → frames of one reader | {together}"), || {
                black_box(frames(frames_of, &entries, together));
            });
        }
    }
}
