//! Conversations: what a link costs, and what its backend is told.

use tidemark_store::Store as _;

use super::*;
use crate::runs::testing::{stop, text};

/// So many responses that were really run; `chain.rs` reads one of the longest that there may be.
const LINKS: usize = 100;

/// Bytes of a link in the store: its document and its log.
async fn bytes_of(room: &Room, id: crate::runs::ResponseId) -> u64 {
    let document = room.store.document(id.log()).await.unwrap();
    document.len() as u64 + room.store.head(id.log()).await.unwrap().unwrap().retained_bytes
}

/// D-27: each response stores only its own input, however long the conversation is that it continues.
#[tokio::test]
async fn every_link_of_a_conversation_costs_the_same_and_it_is_told_whole() {
    let room = room([text("answer"), stop()]);
    let (mut previous, mut sizes) = (None, Vec::new());
    for link in 0..LINKS {
        let input = Some(Input::Text(format!("question {link:04}")));
        let request = CreateRequest { input, previous_response_id: previous.take(), ..request() };
        let done = room.run(request).await;
        sizes.push(bytes_of(&room, done.id).await);
        previous = Some(done.id.to_string());
    }
    // The first has no previous id; all others are the same to the byte.
    assert!(sizes[1..].iter().all(|size| *size == sizes[1]), "{sizes:?}");
    assert!(sizes[1] - sizes[0] < 1000, "{sizes:?}");
    let done = room.run(CreateRequest { previous_response_id: previous.take(), ..request() }).await;
    assert_eq!(bytes_of(&room, done.id).await / 100, sizes[1] / 100);
    let asked = room.script.asked();
    let last = asked.last().unwrap();
    assert_eq!((last.items.len(), last.earlier), (2 * LINKS + 1, 2 * LINKS));
    for (link, pair) in last.items.chunks_exact(2).enumerate() {
        assert!(pair[0].get().contains(&format!("question {link:04}")), "{}", pair[0]);
        assert!(pair[1].get().contains("answer"), "{}", pair[1]);
    }
}
