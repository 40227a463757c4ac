//! How a GET wants to see a response: as it is now, or as a stream from a position.
//!
//! It owns the cursor rules (D-8, D-9, S-2), checked before anything is looked up. It must never know whether the response
//! exists or how far it is.

use http::HeaderMap;
use http::request::Parts;
use tidemark_proto::v1::{ErrorCode, OnGap};

use crate::error::Failure;
use crate::params::{Params, is_decimal};

const STARTING_AFTER: &str = "starting_after";
const ON_GAP: &str = "on_gap";
const LAST_EVENT_ID: &str = "last-event-id";

/// Turns `id:` lines on (D-9).
pub(crate) const EVENT_IDS: &str = "event_ids";

/// How a GET wants to see a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// The whole object, as it is now.
    Snapshot,
    /// Its events.
    Stream(Position),
}

/// From where to stream, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// The last seq the reader has; none = from the first event.
    pub(crate) after: Option<u64>,
    /// What to do when events after it are gone (D-20).
    pub(crate) on_gap: OnGap,
    /// Whether frames carry `id:` lines.
    pub(crate) event_ids: bool,
}

impl View {
    /// Reads query and headers of a GET. `Last-Event-ID` counts only for a stream.
    ///
    /// # Errors
    /// `invalid_cursor` for a position that is not an unsigned decimal, is given twice, or without `stream=true`;
    /// `conflicting_cursor` if `Last-Event-ID` lies before `starting_after`; `invalid_request` for the other parameters.
    pub(crate) fn of(parts: &Parts) -> Result<Self, Failure> {
        let params = Params::of(&parts.uri)?;
        let stream = params.flag("stream")?;
        let starting_after = starting_after(&params)?;
        let on_gap = on_gap(&params)?;
        let event_ids = params.flag(EVENT_IDS)?;
        if !stream {
            return match starting_after {
                Some(_) => Err(invalid_cursor(STARTING_AFTER, "`starting_after` needs `stream=true`")),
                None => Ok(Self::Snapshot),
            };
        }
        let (after, event_ids) = behind(&parts.headers, starting_after, event_ids)?;
        Ok(Self::Stream(Position { after, on_gap, event_ids }))
    }
}

/// From where a POST that is sent again wants to go on, and whether its frames carry `id:` lines: like a GET of the stream.
///
/// # Errors
/// `invalid_cursor`, `conflicting_cursor`, `invalid_request`, as in [`View::of`].
pub(crate) fn of_repeat(headers: &HeaderMap, params: &Params) -> Result<(Option<u64>, bool), Failure> {
    behind(headers, starting_after(params)?, params.flag(EVENT_IDS)?)
}

/// `Last-Event-ID` turns `id:` lines on and wins over a `starting_after` that it has passed.
fn behind(
    headers: &HeaderMap,
    starting_after: Option<u64>,
    event_ids: bool,
) -> Result<(Option<u64>, bool), Failure> {
    let last_event_id = last_event_id(headers)?;
    Ok((later(starting_after, last_event_id)?, event_ids || last_event_id.is_some()))
}

fn starting_after(params: &Params) -> Result<Option<u64>, Failure> {
    let text = params.one(STARTING_AFTER, ErrorCode::InvalidCursor)?;
    text.map(|text| cursor(STARTING_AFTER, text)).transpose()
}

fn on_gap(params: &Params) -> Result<OnGap, Failure> {
    match params.one(ON_GAP, ErrorCode::InvalidRequest)? {
        None | Some("fail") => Ok(OnGap::Fail),
        Some("earliest") => Ok(OnGap::Earliest),
        Some(_) => Err(Failure::invalid(ON_GAP, "`on_gap` must be `fail` or `earliest`")),
    }
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Failure> {
    let mut values = headers.get_all(LAST_EVENT_ID).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid_cursor(LAST_EVENT_ID, "`Last-Event-ID` is given twice"));
    }
    cursor(LAST_EVENT_ID, value.to_str().unwrap_or_default()).map(Some)
}

/// A browser that reconnects asks the old URL again, so its header may only have moved on from there.
fn later(starting_after: Option<u64>, last_event_id: Option<u64>) -> Result<Option<u64>, Failure> {
    match (starting_after, last_event_id) {
        (Some(after), Some(last)) if last < after => {
            let message = "`Last-Event-ID` lies before `starting_after`";
            Err(Failure::new(ErrorCode::ConflictingCursor, message).with_param(LAST_EVENT_ID))
        }
        (after, last) => Ok(last.or(after)),
    }
}

fn cursor(name: &str, text: &str) -> Result<u64, Failure> {
    is_decimal(text)
        .then(|| text.parse().ok())
        .flatten()
        .ok_or_else(|| invalid_cursor(name, "a position is an unsigned decimal number below 2^64"))
}

fn invalid_cursor(name: &str, message: &str) -> Failure {
    Failure::new(ErrorCode::InvalidCursor, message).with_param(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(query: &str, last_event_ids: &[&str]) -> Result<View, Failure> {
        let mut request = http::Request::builder().uri(format!("/v1/responses/resp_1{query}"));
        for id in last_event_ids {
            request = request.header("last-event-id", *id);
        }
        View::of(&request.body(()).unwrap().into_parts().0)
    }

    fn stream(after: Option<u64>) -> Position {
        Position { after, on_gap: OnGap::Fail, event_ids: false }
    }

    #[test]
    fn without_stream_it_is_a_snapshot_whatever_else_is_asked() {
        for query in [
            "",
            "?",
            "?stream=false",
            "?include[]=x&include[]=y&include=z&include_obfuscation=maybe&foo=1&foo=2",
        ] {
            assert_eq!(view(query, &["x"]), Ok(View::Snapshot), "{query}");
        }
    }

    #[test]
    fn absent_is_not_zero() {
        for (query, after) in [
            ("?stream=true", None),
            ("?stream=true&starting_after=0", Some(0)),
            ("?starting_after=10&stream=true", Some(10)),
            ("?stream=true&starting_after=%31%32", Some(12)),
            ("?stream=true&starting_after=18446744073709551615", Some(u64::MAX)),
        ] {
            assert_eq!(view(query, &[]), Ok(View::Stream(stream(after))), "{query}");
        }
    }

    #[test]
    fn a_position_that_is_no_unsigned_decimal_is_refused() {
        for value in [
            "12abc",
            "+1",
            "%2B1",
            "-1",
            "%201",
            "1%20",
            "",
            "1.0",
            "0x1",
            "1_0",
            "١",
            "18446744073709551616",
        ] {
            let query = format!("?stream=true&starting_after={value}");
            let message = "a position is an unsigned decimal number below 2^64";
            // A bare `١` is no URI; it travels escaped.
            let query = query.replace('١', "%D9%A1");
            assert_eq!(view(&query, &[]), Err(invalid_cursor("starting_after", message)), "{query}");
        }
    }

    #[test]
    fn parameters_are_checked() {
        let twice = "`starting_after` is given twice";
        let needs = "`starting_after` needs `stream=true`";
        for (query, failure) in [
            ("?stream=true&starting_after=1&starting_after=1", invalid_cursor("starting_after", twice)),
            ("?starting_after=1", invalid_cursor("starting_after", needs)),
            ("?stream=false&starting_after=1", invalid_cursor("starting_after", needs)),
            ("?stream=1", Failure::invalid("stream", "`stream` must be `true` or `false`")),
            ("?stream", Failure::invalid("stream", "`stream` must be `true` or `false`")),
            ("?stream=True", Failure::invalid("stream", "`stream` must be `true` or `false`")),
            ("?stream=true&stream=true", Failure::invalid("stream", "`stream` is given twice")),
            (
                "?stream=true&event_ids=1",
                Failure::invalid("event_ids", "`event_ids` must be `true` or `false`"),
            ),
            ("?stream=true&on_gap=skip", Failure::invalid("on_gap", "`on_gap` must be `fail` or `earliest`")),
        ] {
            assert_eq!(view(query, &[]), Err(failure), "{query}");
        }
    }

    #[test]
    fn a_gap_may_be_accepted() {
        let position = Position { on_gap: OnGap::Earliest, ..stream(Some(3)) };
        assert_eq!(view("?stream=true&starting_after=3&on_gap=earliest", &[]), Ok(View::Stream(position)));
    }

    #[test]
    fn last_event_id_wins_unless_it_lies_before_starting_after() {
        let ids = |after| Ok(View::Stream(Position { event_ids: true, ..stream(after) }));
        assert_eq!(view("?stream=true&event_ids=true", &[]), ids(None));
        assert_eq!(view("?stream=true", &["7"]), ids(Some(7)));
        assert_eq!(view("?stream=true&starting_after=5", &["7"]), ids(Some(7)));
        assert_eq!(view("?stream=true&starting_after=7", &["7"]), ids(Some(7)));

        let conflict =
            Failure::new(ErrorCode::ConflictingCursor, "`Last-Event-ID` lies before `starting_after`");
        assert_eq!(view("?stream=true&starting_after=8", &["7"]), Err(conflict.with_param("last-event-id")));
    }

    #[test]
    fn a_bad_last_event_id_is_refused() {
        for bad in ["", "x", "-1", "7,8"] {
            let message = "a position is an unsigned decimal number below 2^64";
            assert_eq!(view("?stream=true", &[bad]), Err(invalid_cursor("last-event-id", message)), "{bad}");
        }
        let twice = invalid_cursor("last-event-id", "`Last-Event-ID` is given twice");
        assert_eq!(view("?stream=true", &["7", "7"]), Err(twice));
    }
}
