//! Delete, the list of responses, the list of input items.

use std::time::Duration;

use tidemark_proto::v1::ErrorCode;

use super::*;
use crate::runs::testing::{stop, text};
use crate::runs::{InputQuery, ListQuery, Retention};
use crate::sizes::Order;

fn not_found<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert_eq!(result.unwrap_err().code(), ErrorCode::NotFound);
}

fn paged(page_size: u32, page_token: &str) -> ListQuery<'_> {
    ListQuery { page_size, page_token, ..ListQuery::default() }
}

impl Room {
    /// The ids of a page of alice's responses, and the token of the next one.
    async fn page(&self, size: u32, token: &str) -> (Vec<String>, Option<String>) {
        let page = self.runs.list(&alice(), paged(size, token)).await.unwrap();
        (page.responses.iter().map(|response| response.id.to_string()).collect(), page.next_page_token)
    }

    async fn listed(&self, principal: &Principal) -> usize {
        self.runs.list(principal, ListQuery::default()).await.unwrap().responses.len()
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_response_is_unknown_on_every_path() {
    let room = room([text("x"), stop()]);
    let id = room.run(request()).await.id.to_string();
    not_found(room.runs.delete(&bob(), &id).await);
    assert_eq!(room.runs.delete(&alice(), &id).await.unwrap().to_string(), id);
    not_found(room.runs.delete(&alice(), &id).await);
    not_found(room.runs.get(&alice(), &id).await);
    not_found(room.runs.cancel(&alice(), &id).await);
    not_found(room.runs.attach(&alice(), &id, None, OnGap::Fail).await);
    let query = InputQuery { api: None, page_size: 0, order: Order::Ascending, after: "" };
    not_found(room.runs.input_items(&alice(), &id, query).await);
    let continued = CreateRequest { previous_response_id: Some(id), ..request() };
    let refused = room.runs.create(&alice(), continued).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::PreviousResponseNotFound);
    assert_eq!(room.listed(&alice()).await, 0);
}

/// S-3.
#[tokio::test(start_paused = true)]
async fn a_running_response_is_stopped_before_it_is_deleted() {
    let room = room([text("x"), Act::Hang]);
    let id = room.create(background()).await.snapshot.id.to_string();
    let mut reader = room.attach(&id, None).await;
    while room.script.running() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    room.runs.delete(&alice(), &id).await.unwrap();
    assert_eq!(room.script.running(), 0, "the backend is no longer asked");
    not_found(room.runs.get(&alice(), &id).await);
    let end = loop {
        match reader.next().await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    not_found(end);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_deletes_of_a_running_response_one_succeeds() {
    for _ in 0..50 {
        let room = Arc::new(room([text("x"), Act::Hang]));
        let id = room.create(background()).await.snapshot.id.to_string();
        let deletes: Vec<_> = (0..8)
            .map(|_| {
                let (room, id) = (Arc::clone(&room), id.clone());
                let tasks = room.tasks.clone();
                tasks.spawn(async move { room.runs.delete(&alice(), &id).await })
            })
            .collect();
        let mut succeeded = 0;
        for delete in deletes {
            match delete.await.unwrap() {
                Ok(_) => succeeded += 1,
                refused => not_found(refused),
            }
        }
        assert_eq!(succeeded, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn responses_are_listed_newest_first_in_pages_that_follow_each_other() {
    let room = room([text("x"), stop()]);
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.insert(0, room.run(request()).await.id.to_string());
        room.runs.create(&bob(), request()).await.unwrap();
    }
    assert_eq!(room.page(0, "").await, (ids.clone(), None));
    for size in 1..=8 {
        let (mut listed, mut token) = (Vec::new(), String::new());
        loop {
            let (page, next) = room.page(size, &token).await;
            assert!((1..=size as usize).contains(&page.len()), "no page is empty, also not the last");
            listed.extend(page);
            // What is made meanwhile is newer than the page, and moves nothing.
            room.runs.create(&alice(), request()).await.unwrap();
            match next {
                Some(next) => token = next,
                None => break,
            }
        }
        assert_eq!(listed[listed.len() - 7..], ids);
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_has_what_get_returns_running_or_not() {
    let room = room([text("x"), Act::Hang]);
    let running = room.create(background()).await.snapshot.id.to_string();
    let cancelled = room.create(background()).await.snapshot.id.to_string();
    room.runs.cancel(&alice(), &cancelled).await.unwrap();
    let page = room.runs.list(&alice(), ListQuery::default()).await.unwrap();
    assert_eq!(page.page_size, 50);
    let names: Vec<&str> = page.responses.iter().map(|response| response.status.name()).collect();
    assert_eq!(names, ["cancelled", "in_progress"]);
    for (listed, id) in page.responses.iter().zip([cancelled, running]) {
        assert_eq!(object(listed), object(&room.get(&id).await));
    }
    assert_eq!(room.runs.list(&alice(), paged(u32::MAX, "")).await.unwrap().page_size, 1000);
}

/// As the SDKs page: behind the last id that they have, in either form, also when its response is gone.
#[tokio::test(start_paused = true)]
async fn a_page_begins_behind_the_id_of_any_response() {
    let room = room([text("x"), stop()]);
    for _ in 0..3 {
        room.run(request()).await;
    }
    let (ids, _) = room.page(0, "").await;
    let behind = async |after: &str, page_token: &str| {
        let query = ListQuery { after, page_token, ..ListQuery::default() };
        let page = room.runs.list(&alice(), query).await?;
        Ok::<_, Error>(page.responses.iter().map(|response| response.id.to_string()).collect::<Vec<_>>())
    };
    assert_eq!(behind(&ids[0], "").await.unwrap(), ids[1..]);
    assert_eq!(behind(&ids[0].replace("resp_", "chatcmpl-"), "").await.unwrap(), ids[1..]);
    room.runs.delete(&alice(), &ids[1]).await.unwrap();
    assert_eq!(behind(&ids[1], "").await.unwrap(), ids[2..]);
    assert_eq!(behind(&ids[2], "").await.unwrap(), [""; 0]);
    for (after, token) in [("resp_1", ""), (ids[0].as_str(), "token")] {
        let refused = behind(after, token).await.unwrap_err();
        assert_eq!((refused.code(), refused.param()), (ErrorCode::InvalidCursor, Some("after")));
    }
}

/// D-30 and U-16.
#[tokio::test(start_paused = true)]
async fn foreign_expired_and_deleted_responses_are_not_listed_and_foreign_tokens_are_refused() {
    let minute = Some(Duration::from_secs(60));
    let options =
        Options { retention: Retention { unstored: minute, ..Retention::default() }, ..Options::default() };
    let room = room_with([text("x"), stop()], options, Caps::default());
    for request in [request(), unstored(), request(), unstored(), request()] {
        room.run(request).await;
    }
    let (page, token) = room.page(2, "").await;
    assert_eq!(room.listed(&bob()).await, 0);
    let refused = room.runs.list(&bob(), paged(0, token.as_ref().unwrap())).await.unwrap_err();
    assert_eq!((refused.code(), refused.param()), (ErrorCode::InvalidCursor, Some("page_token")));

    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(room.listed(&alice()).await, 3, "expired, although nothing was swept");
    room.runs.delete(&alice(), &page[0]).await.unwrap();
    let (rest, next) = room.page(2, &token.unwrap()).await;
    assert_eq!((rest.len(), next), (2, None), "the position outlives what it names");
}

#[tokio::test(start_paused = true)]
async fn a_page_of_large_responses_ends_early_and_the_next_one_goes_on() {
    let room = room([text(&"x".repeat(7 << 20)), stop()]);
    for _ in 0..5 {
        room.run(request()).await;
    }
    let (first, token) = room.page(0, "").await;
    let (second, token) = room.page(0, &token.unwrap()).await;
    let (third, end) = room.page(0, &token.unwrap()).await;
    assert_eq!([first.len(), second.len(), third.len()], [2, 2, 1]);
    assert_eq!(end, None);
}

#[tokio::test(start_paused = true)]
async fn the_input_of_a_response_is_its_own_and_stays_the_same() {
    let room = room([text("x"), stop()]);
    let first = room.run(request()).await.id.to_string();
    let items = r#"[{"role":"user","content":"one"},{"id":"msg_own","role":"user","content":"two"}]"#;
    let continued = CreateRequest {
        input: Some(Input::Items(items.into())),
        previous_response_id: Some(first.clone()),
        ..request()
    };
    let second = room.run(continued).await.id.to_string();
    let input = async |id: &str, principal: Principal| {
        let query = InputQuery { api: None, page_size: 0, order: Order::Descending, after: "" };
        room.runs.input_items(&principal, id, query).await
    };
    let page = input(&second, alice()).await.unwrap();
    let ids: Vec<&str> = page.items.iter().map(|item| item.id.as_str()).collect();
    assert_eq!(ids, ["msg_own", &format!("msg_{}0000", second.trim_start_matches("resp_"))]);
    assert_eq!(input(&second, alice()).await.unwrap(), page);
    let text = input(&first, alice()).await.unwrap();
    let item: Value = serde_json::from_slice(&text.items[0].json).unwrap();
    assert_eq!(item["content"][0], serde_json::json!({"type": "input_text", "text": "hi"}));
    not_found(input(&second, bob()).await);
}
