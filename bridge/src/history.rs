//! `GET /v1/sessions/{key}/history`: a page as JSON, or the newest page and what comes after it as SSE.
//!
//! It owns the choice between the two (O-9), the shape of a page and the frames of the stream. It must never know what a cursor or a
//! position holds.

use std::convert::Infallible;

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::stream;
use http::request::Parts;
use http::{HeaderMap, header};
use serde::Serialize;
use serde_json::value::RawValue;
use tidemark_proto::v1::{
    ErrorCode, HistoryPage, ListHistoryRequest, SessionItem, View, WatchHistoryRequest, WatchHistoryResponse,
};

use crate::caller::Caller;
use crate::error::{self, Ending, Failure};
use crate::lists::{AFTER, CURSOR, PAGE_TOKEN};
use crate::messages::Messages;
use crate::params::Params;
use crate::responses::{self, Id};
use crate::router::Bridge;
use crate::sessions::seconds;
use crate::sse::{self, HEARTBEAT};

const VIEW: &str = "view";
const LAST_EVENT_ID: &str = "last-event-id";
const EVENT_STREAM: &str = "text/event-stream";

/// How long a browser waits before it comes back, in milliseconds (O-22).
const RETRY: &[u8] = b"retry: 1000\n\n";

/// A page as it is shown.
#[derive(Serialize)]
struct Page<'p> {
    object: &'static str,
    session: &'p str,
    generation: u64,
    data: Vec<Item<'p>>,
    has_more: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<&'p str>,
    /// From where to follow: in the newest page only.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<&'p str>,
    /// The page size that was used.
    limit: u32,
}

/// An item as it is shown; its time is seconds since 1970.
#[derive(Serialize)]
struct Item<'p> {
    object: &'static str,
    seq: u64,
    id: &'p str,
    response_id: Option<&'p str>,
    created_at: Option<i64>,
    item: &'p RawValue,
}

/// An item that is gone.
#[derive(Serialize)]
struct Removed<'p> {
    object: &'static str,
    seq: u64,
    id: &'p str,
}

impl<'p> Page<'p> {
    fn new(session: &'p str, page: &'p HistoryPage) -> Result<Self, Failure> {
        let some = |text: &'p str| Some(text).filter(|text| !text.is_empty());
        Ok(Self {
            object: "list",
            session,
            generation: page.generation,
            data: page.items.iter().map(Item::new).collect::<Result<_, _>>()?,
            has_more: !page.next_page_token.is_empty(),
            next_cursor: some(&page.next_page_token),
            position: some(&page.position),
            limit: page.page_size,
        })
    }
}

impl<'p> Item<'p> {
    fn new(item: &'p SessionItem) -> Result<Self, Failure> {
        let json = serde_json::from_slice::<&RawValue>(&item.json)
            .map_err(|_| Failure::broken_contract("an item of a history is not JSON"))?;
        Ok(Self {
            object: "session.item",
            seq: item.seq,
            id: &item.id,
            response_id: Some(item.response_id.as_str()).filter(|id| !id.is_empty()),
            created_at: seconds(item.created_at.as_ref()),
            item: json,
        })
    }
}

/// What is asked for.
struct Ask {
    view: View,
    limit: u32,
    cursor: String,
    after: String,
    as_stream: bool,
}

impl Ask {
    fn of(parts: &Parts) -> Result<Self, Failure> {
        let params = Params::of(&parts.uri)?;
        let view = match params.one(VIEW, ErrorCode::InvalidRequest)? {
            None | Some("messages") => View::Messages,
            Some("all") => View::All,
            Some(_) => return Err(Failure::invalid(VIEW, "`view` must be `messages` or `all`")),
        };
        let limit = params.limit()?;
        let cursor = params.position(CURSOR)?.unwrap_or_default().to_owned();
        let after = params.position(AFTER)?.unwrap_or_default().to_owned();
        let as_stream = wants_stream(&parts.headers);
        if as_stream && !cursor.is_empty() {
            let text =
                "`cursor` is for pages: a stream begins with the newest one, or behind `Last-Event-ID`";
            return Err(Failure::new(ErrorCode::InvalidCursor, text).with_param(CURSOR));
        }
        if !as_stream && !after.is_empty() {
            let text = "`after` is for streams: send `Accept: text/event-stream`, or use `cursor`";
            return Err(Failure::new(ErrorCode::InvalidCursor, text).with_param(AFTER));
        }
        // A browser that reconnects asks the old URL again: its header has moved on from there.
        let last = last_event_id(&parts.headers)?.filter(|_| as_stream);
        Ok(Self { view, limit, cursor, after: last.unwrap_or(after), as_stream })
    }
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let types = accepted.flat_map(|value| value.split(','));
    let mut essences = types.map(|kind| kind.split(';').next().unwrap_or_default().trim());
    essences.any(|essence| essence.eq_ignore_ascii_case(EVENT_STREAM))
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let wrong = |text: &str| Failure::new(ErrorCode::InvalidCursor, text).with_param(LAST_EVENT_ID);
    let mut values = headers.get_all(LAST_EVENT_ID).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(wrong("`Last-Event-ID` is given twice")),
        (Some(value), None) => match value.to_str() {
            Ok("") | Err(_) => Err(wrong("`Last-Event-ID` must be the `id` of an earlier frame")),
            Ok(id) => Ok(Some(id.to_owned())),
        },
    }
}

/// `GET /v1/sessions/{key}/history`.
pub(crate) async fn get(
    State(bridge): State<Bridge>,
    Id(key): Id,
    request: Request,
) -> Result<Response, Failure> {
    let (mut parts, _) = request.into_parts();
    let Ask { view, limit, cursor, after, as_stream } = Ask::of(&parts)?;
    let from_header = parts.headers.contains_key(LAST_EVENT_ID);
    let (view, caller) = (view.into(), Caller::take(&mut parts));
    if as_stream {
        let call = WatchHistoryRequest { key: key.clone(), view, page_size: limit, after };
        let messages = bridge.clients.sessions().watch_history(caller.call(call)).await;
        let named = if from_header { LAST_EVENT_ID } else { AFTER };
        let messages = messages.map_err(|status| Failure::from(status).rename_param(AFTER, named))?;
        let watching = Watching { key, messages: Messages::of(messages), last: None, begun: false };
        return Ok(sse::event_stream(stream::unfold(Some(watching), next_chunk)));
    }
    let call = ListHistoryRequest { key: key.clone(), view, page_size: limit, page_token: cursor };
    let reply = bridge.clients.sessions().list_history(caller.call(call)).await;
    let reply = reply.map_err(|status| Failure::from(status).rename_param(PAGE_TOKEN, CURSOR))?;
    let page = reply.into_inner().page;
    let page = page.ok_or_else(|| Failure::broken_contract("a reply came without its page"))?;
    Ok(responses::json(error::json(&Page::new(&key, &page)?)))
}

/// A stream being sent.
struct Watching {
    key: String,
    messages: Messages<WatchHistoryResponse>,
    /// The position and the number that frames repeat which are no news.
    last: Option<(String, u64)>,
    begun: bool,
}

async fn next_chunk(watching: Option<Watching>) -> Option<(Result<Bytes, Infallible>, Option<Watching>)> {
    let mut watching = watching?;
    if !std::mem::replace(&mut watching.begun, true) {
        // The headers and this go out at once, whatever there is to tell.
        return Some((Ok(Bytes::from_static(RETRY)), Some(watching)));
    }
    let failure = match watching.messages.message().await {
        Ok(None) => return None,
        Ok(Some(message)) => match watching.frames(&message) {
            Ok(chunk) => return Some((Ok(chunk), Some(watching))),
            Err(failure) => failure,
        },
        Err(status) => match Ending::from(status) {
            Ending::Resume => return None,
            Ending::Fault(failure) => failure,
        },
    };
    let (last, number) = watching.last.take().unwrap_or_default();
    let mut chunk = BytesMut::new();
    frame(&mut chunk, "error", &last, &failure.frame_data(number));
    Some((Ok(chunk.freeze()), None))
}

impl Watching {
    /// Everything a message brings, as one chunk; a heartbeat if that is nothing.
    fn frames(&mut self, message: &WatchHistoryResponse) -> Result<Bytes, Failure> {
        let mut chunk = BytesMut::new();
        let mut last = self.last.as_ref().map_or(0, |(_, number)| *number);
        if let Some(page) = &message.page {
            last = page.items.last().map_or(0, |item| item.seq);
            frame(&mut chunk, "history", &message.position, &error::json(&Page::new(&self.key, page)?));
        }
        for item in &message.items {
            last = item.seq;
            frame(&mut chunk, "item", &item.position, &error::json(&Item::new(item)?));
        }
        for removed in &message.removed {
            let data = Removed { object: "session.item.deleted", seq: removed.seq, id: &removed.id };
            frame(&mut chunk, "item.deleted", &message.position, &error::json(&data));
        }
        self.last = Some((message.position.clone(), last));
        if chunk.is_empty() { Ok(Bytes::from_static(HEARTBEAT)) } else { Ok(chunk.freeze()) }
    }
}

fn frame(chunk: &mut BytesMut, kind: &str, id: &str, data: &[u8]) {
    chunk.put_slice(b"event: ");
    chunk.put_slice(kind.as_bytes());
    if !id.is_empty() {
        chunk.put_slice(b"\nid: ");
        chunk.put_slice(id.as_bytes());
    }
    chunk.put_slice(b"\ndata: ");
    chunk.put_slice(data);
    chunk.put_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(query: &str, headers: &[(&str, &str)]) -> Result<Ask, Failure> {
        let mut request = http::Request::builder().uri(format!("/v1/sessions/k/history?{query}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Ask::of(&request.body(()).unwrap().into_parts().0)
    }

    const SSE: (&str, &str) = ("accept", "text/event-stream");

    #[test]
    fn o_9_a_stream_is_for_who_accepts_one() {
        for (accept, is_stream) in [
            ("text/event-stream", true),
            ("application/json, Text/Event-Stream;q=0.9", true),
            ("application/json", false),
            ("*/*", false),
            ("text/event-streams", false),
        ] {
            assert_eq!(ask("", &[("accept", accept)]).ok().unwrap().as_stream, is_stream, "{accept}");
        }
        assert!(!ask("", &[]).ok().unwrap().as_stream);
    }

    #[test]
    fn o_s3_what_is_wrong_is_refused_and_named() {
        for (query, headers, param) in [
            ("limit=0", &[][..], "limit"),
            ("limit=x", &[], "limit"),
            ("view=some", &[], "view"),
            ("view=all&view=all", &[], "view"),
            ("cursor=", &[], "cursor"),
            ("cursor=a&cursor=b", &[], "cursor"),
            ("after=a", &[], "after"),
            ("cursor=a", &[SSE], "cursor"),
            ("", &[SSE, ("last-event-id", "")], "last-event-id"),
            ("", &[SSE, ("last-event-id", "a"), ("last-event-id", "a")], "last-event-id"),
        ] {
            let failure = ask(query, headers).err().unwrap();
            assert_eq!(failure.clone().with_param(param), failure, "{query} {headers:?}");
        }
    }

    #[test]
    fn o_s1_the_header_of_a_browser_wins_over_its_old_url_and_means_nothing_to_a_page() {
        let after = |query, headers: &[(&str, &str)]| ask(query, headers).ok().unwrap().after;
        assert_eq!(after("after=a", &[SSE, ("last-event-id", "b")]), "b");
        assert_eq!(after("after=a", &[SSE]), "a");
        assert_eq!(after("", &[("last-event-id", "b")]), "");
    }
}
