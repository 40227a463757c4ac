//! Scenarios of what owners keep, and of its limits (D-18).

use super::*;
use crate::quota::{Full, Kept, Quota, Quotas};

/// The quotas that a scenario runs with.
pub fn quotas_of(scenario: &str) -> Quotas {
    let logs = |logs| Quota { logs: Some(logs), bytes: None };
    let bytes = |bytes| Quota { logs: None, bytes: Some(bytes) };
    match scenario {
        "a_full_quota_refuses_new_logs_alone" => Quotas { owner: logs(3), total: logs(5) },
        "a_full_quota_of_bytes_refuses_new_logs_alone" => {
            Quotas { owner: bytes(10_000), total: bytes(25_000) }
        }
        "concurrent_creates_never_pass_a_quota" => Quotas { owner: logs(10), total: Quota::default() },
        _ => Quotas::default(),
    }
}

fn of(name: &str) -> Owner {
    Owner::new(name).unwrap()
}

/// A log of `owner` with a document of `bytes` bytes and one byte of entry.
fn sized(owner: &Owner, bytes: usize) -> NewLog {
    NewLog {
        id: id(),
        owner: owner.clone(),
        created_at: UnixMillis(1),
        status: 1,
        document: vec![7; bytes].into(),
        entries: vec!["x".into()],
        endless: None,
    }
}

/// Asserts what an owner keeps by the heads of its logs.
async fn assert_kept(store: &Tested, owner: &Owner) -> Kept {
    let mut kept = Kept::default();
    for id in store.logs_of(owner, None, 1000).await.unwrap() {
        kept.logs += 1;
        kept.bytes += store.head(id).await.unwrap().unwrap().retained_bytes;
        kept.bytes += store.document(id).await.unwrap().len() as u64;
    }
    assert_eq!(store.usage_of(owner).await.unwrap(), kept);
    kept
}

/// Scenario: what an owner keeps is known exactly, before and after the store has written it elsewhere.
pub async fn what_owners_keep_is_counted(store: Tested) {
    let (a, b) = (of("a"), of("b"));
    let (one, two, other) = (id(), id(), id());
    for (id, owner) in [(one, &a), (two, &a), (other, &b)] {
        create_for(&store, id, owner.clone()).await;
    }
    store.append(append(&store, one, 1, 500)).await.unwrap();
    for _ in 0..2 {
        let (of_a, of_b) = (assert_kept(&store, &a).await, assert_kept(&store, &b).await);
        assert_eq!((of_a.logs, of_b), (2, Kept { logs: 1, bytes: 8 + payload(0).len() as u64 }));
        let both = Kept { logs: 3, bytes: of_a.bytes + of_b.bytes };
        assert_eq!(store.usage().kept, both);
        // What waits to be written elsewhere is written by now.
        store.due(UnixMillis(0), 1).await.unwrap();
    }
    let close = Some(Close { compacts_at: None, expires_at: Some(UnixMillis(5)) });
    store.append(Append { close, ..append(&store, one, 500, 600) }).await.unwrap();
    store.purge(two).await.unwrap();
    assert_eq!(assert_kept(&store, &a).await.logs, 1);
    store.due(UnixMillis(0), 1).await.unwrap();
    assert_kept(&store, &a).await;
    assert_eq!(store.purge_many(&[one, other]).await.unwrap(), 2);
    assert_eq!(assert_kept(&store, &a).await, Kept::default());
    assert_eq!(store.usage_of(&of("nobody")).await.unwrap(), Kept::default());
}

/// Scenario: when an owner, or all, keep as many logs as they may, a new one is refused, and nothing else.
pub async fn a_full_quota_refuses_new_logs_alone(store: Tested) {
    let (a, b, c) = (of("a"), of("b"), of("c"));
    let full = |result: Result<Head, WriteError>| result.unwrap_err();
    let first = sized(&a, 1);
    let purged = first.id;
    store.create(first).await.unwrap();
    for owner in [&a, &a, &b] {
        store.create(sized(owner, 1)).await.unwrap();
    }
    assert_eq!(full(store.create(sized(&a, 1)).await), WriteError::Full(Full::OwnerLogs));
    store.append(append(&store, purged, 1, 200)).await.unwrap();
    store.create(sized(&c, 1)).await.unwrap();
    assert_eq!(full(store.create(sized(&b, 1)).await), WriteError::Full(Full::Logs));
    store.purge(purged).await.unwrap();
    store.create(sized(&a, 1)).await.unwrap();
    assert_eq!(full(store.create(sized(&a, 1)).await), WriteError::Full(Full::Logs));
    assert_eq!(store.usage().kept.logs, 5);
    assert_kept(&store, &a).await;
}

/// Scenario: the same of bytes; a log that exists may grow beyond them.
pub async fn a_full_quota_of_bytes_refuses_new_logs_alone(store: Tested) {
    let (a, b, c) = (of("a"), of("b"), of("c"));
    let full = |result: Result<Head, WriteError>| result.unwrap_err();
    assert_eq!(full(store.create(sized(&a, 100_000)).await), WriteError::Full(Full::Bytes));
    assert_eq!(full(store.create(sized(&a, 10_000)).await), WriteError::Full(Full::OwnerBytes));
    assert_eq!(store.usage().kept, Kept::default());
    let growing = sized(&a, 9_000);
    let log = growing.id;
    store.create(growing).await.unwrap();
    store.create(sized(&a, 998)).await.unwrap();
    assert_eq!(full(store.create(sized(&a, 0)).await), WriteError::Full(Full::OwnerBytes));
    store.append(append(&store, log, 1, 100)).await.unwrap();
    assert!(assert_kept(&store, &a).await.bytes > 10_000);
    store.create(sized(&b, 9_000)).await.unwrap();
    assert_eq!(full(store.create(sized(&c, 9_000)).await), WriteError::Full(Full::Bytes));
    store.purge(log).await.unwrap();
    store.create(sized(&c, 9_000)).await.unwrap();
}

/// Scenario: of many new logs at the same moment, exactly as many are made as there is room for.
pub async fn concurrent_creates_never_pass_a_quota(store: Tested) {
    for round in 0..4 {
        let owner = of(&format!("owner-{round}"));
        let creates: Vec<_> = (0..64)
            .map(|_| {
                let (store, new) = (Arc::clone(&store), sized(&owner, 10));
                spawn(async move { store.create(new).await })
            })
            .collect();
        let mut made = 0;
        for create in creates {
            match create.await.unwrap() {
                Ok(_) => made += 1,
                Err(error) => assert_eq!(error, WriteError::Full(Full::OwnerLogs)),
            }
        }
        assert_eq!(made, 10);
        assert_eq!(assert_kept(&store, &owner).await.logs, 10);
    }
}
