//! The scenario of endless logs.

use super::{Tested, append, compact, id, new_log, owner, read_all, run};
use crate::api::{Append, Close, NewLog, ReadLimit};
use crate::types::{Head, Seq, UnixMillis};

fn due(at: u64) -> Option<Close> {
    Some(Close { compacts_at: None, expires_at: Some(UnixMillis(at)) })
}

/// Scenario: a log that never closes keeps every entry whatever the caps, is due when its last append says, is in no list of logs
/// that end, and its entries can be replaced.
pub async fn an_endless_log_goes_on(store: Tested) {
    let (id, mortal) = (id(), super::id());
    store.create(NewLog { endless: due(100), ..new_log(id, owner()) }).await.unwrap();
    store.create(new_log(mortal, owner())).await.unwrap();
    for indexed in [false, true] {
        if indexed {
            store.open_logs(None, 1).await.unwrap();
        }
        assert_eq!(store.open_logs(None, 10).await.unwrap(), [mortal]);
        assert_eq!(store.logs_of(&owner(), None, 10).await.unwrap(), [mortal]);
    }
    for seq in 1..40 {
        let close = (seq % 10 == 0).then(|| due(100 + seq)).flatten();
        let head = store.append(Append { close, ..append(&store, id, seq, seq + 1) }).await.unwrap();
        let expected = (true, false, None, Some(UnixMillis(100 + seq / 10 * 10)), seq + 1);
        let Head { endless, frontier, expires_at, retained_entries, .. } = head;
        assert_eq!((endless, frontier.closed, frontier.watermark, expires_at, retained_entries), expected);
    }
    assert_eq!(read_all(&store, id, None).await.len(), 40);
    assert_eq!(store.due(UnixMillis(129), 10).await.unwrap(), []);
    assert_eq!(store.due(UnixMillis(130), 10).await.unwrap(), [id]);
    let head = store.compact(compact(&store, id, 7, &[7]).await).await.unwrap();
    assert_eq!((head.generation, head.frontier.watermark, head.endless), (1, None, true));
    let replaced = store.read(id, Some(Seq::new(6)), ReadLimit::default()).await.unwrap();
    assert_eq!((replaced.entries.len(), &replaced.entries[0].payload), (33, &run(7)));
    store.append(append(&store, id, 40, 300)).await.unwrap();
    let (entries, head) = (read_all(&store, id, None).await, store.head(id).await.unwrap().unwrap());
    assert_eq!(entries.len(), 300);
    let bytes = entries.iter().map(|(_, payload)| payload.len() as u64).sum();
    assert_eq!((head.retained_entries, head.retained_bytes), (300, bytes));
    store.purge(id).await.unwrap();
    assert_eq!(
        (store.head(id).await.unwrap(), store.due(UnixMillis(999), 10).await.unwrap()),
        (None, vec![])
    );
}
