//! Scenarios of records.

use super::*;

/// Scenario: a record is put if absent, changed at the right version only, and removed.
pub async fn records_compare_and_set(store: Tested) {
    let key = format!("key {}", id());
    let key = key.as_bytes();
    assert_eq!(store.record(key).await.unwrap(), None);
    let first = store.put_record(key, None, Some("one".into())).await.unwrap();
    let conflict = store.put_record(key, None, Some("two".into())).await.unwrap_err();
    assert_eq!(conflict, WriteError::Conflict { found: Some(first) });
    let second = store.put_record(key, Some(first), Some("two".into())).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(store.record(key).await.unwrap().unwrap().value, "two");
    store.open_logs(None, 1).await.unwrap();
    assert_eq!(store.record(key).await.unwrap().unwrap().version, second);
    assert!(store.put_record(key, Some(first), None).await.is_err());
    store.put_record(key, Some(second), None).await.unwrap();
    assert_eq!(store.record(key).await.unwrap(), None);
    store.put_record(key, None, Some("three".into())).await.unwrap();
}

/// Scenario: records are listed by prefix, a page at a time in the order of keys, right after they changed and later.
pub async fn records_are_found_by_the_prefix_of_their_keys(store: Tested) {
    let put = async |key: &str, value: &str| {
        store.put_record(key.as_bytes(), None, Some(value.to_owned().into())).await.unwrap()
    };
    let list = async |prefix: &str, after: Option<&str>, limit| {
        let found = store.records(prefix.as_bytes(), after.map(str::as_bytes), limit).await.unwrap();
        found.into_iter().map(|(key, _)| String::from_utf8(key.to_vec()).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(list("a/", None, 9).await, [""; 0]);
    for key in ["a/2", "a", "a/1", "b/1", "a/\u{7f}", "a0"] {
        put(key, key).await;
    }
    for _ in 0..2 {
        assert_eq!(list("a/", None, 9).await, ["a/1", "a/2", "a/\u{7f}"]);
        assert_eq!(list("a/", None, 2).await, ["a/1", "a/2"]);
        assert_eq!(list("a/", Some("a/1"), 1).await, ["a/2"]);
        assert_eq!(list("a/", Some("a"), 1).await, ["a/1"]);
        assert_eq!(list("a/", Some("b"), 9).await, [""; 0]);
        // Lists of logs wait for the index: what was in memory alone is in it now.
        assert!(store.open_logs(None, 1).await.unwrap().is_empty());
    }
    let (_, found) = store.records(b"a/1", None, 1).await.unwrap().remove(0);
    assert_eq!(Some(&found), store.record(b"a/1").await.unwrap().as_ref());
    store.put_record(b"a/1", Some(found.version), None).await.unwrap();
    put("a/0", "x").await;
    for _ in 0..2 {
        assert_eq!(list("a/", None, 2).await, ["a/0", "a/2"]);
        assert!(store.open_logs(None, 1).await.unwrap().is_empty());
    }
}

/// Scenario: of 50 puts of an absent record one wins, however the index comes and goes meanwhile.
pub async fn concurrent_puts_of_a_record_have_one_winner(store: Tested) {
    for round in 0..10 {
        let key = format!("race {round}");
        let puts: Vec<_> = (0..50)
            .map(|n| {
                let (store, key) = (Arc::clone(&store), key.clone());
                spawn(async move {
                    store.put_record(key.as_bytes(), None, Some(format!("{n}").into())).await.is_ok()
                })
            })
            .collect();
        store.open_logs(None, 1).await.unwrap();
        let mut won = 0;
        for put in puts {
            won += usize::from(put.await.unwrap());
        }
        assert_eq!(won, 1);
    }
}
