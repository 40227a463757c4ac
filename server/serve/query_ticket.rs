//! `?ticket=`: the one credential that may stand in a URL (D-40), because a browser's `EventSource` can send no header.
//!
//! It owns where that is allowed: on GET of one response as a stream. There it becomes the credential of the call, and leaves the
//! URL before anything else looks at it; anywhere else it is a parameter that nobody knows.

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::header::AUTHORIZATION;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Uri};
use tidemark_bridge::Route;
use tidemark_proto::names::TICKET_PREFIX;

/// What the parameter of a ticket begins with. No character of a ticket needs to be escaped.
const TICKET: &str = "ticket=";

/// The parameter that asks for a stream.
const STREAM: &str = "stream=true";

/// The method whose callers may show their ticket so.
const RESUME: &str = "/tidemark.v1.ResponsesService/Resume";

/// Makes tickets of the URL credentials like those of the header: two are two.
pub(super) async fn take(mut request: Request, next: Next) -> Response {
    if is_resume(&request)
        && let Some((tickets, uri)) = split(request.uri())
    {
        let headers = request.headers_mut();
        tickets.into_iter().for_each(|ticket| {
            headers.append(AUTHORIZATION, ticket);
        });
        *request.uri_mut() = uri;
    }
    next.run(request).await
}

fn is_resume(request: &Request) -> bool {
    let template = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let route = template.and_then(|template| Route::of(request.method(), template));
    request.method() == Method::GET && route.is_some_and(|route| route.calls.contains(&RESUME))
}

/// The credentials in a URL that asks for a stream, and the URL without them; `None` if there are none.
fn split(uri: &Uri) -> Option<(Vec<HeaderValue>, Uri)> {
    let (tickets, rest): (Vec<_>, Vec<_>) =
        uri.query()?.split('&').partition(|pair| pair.starts_with(TICKET));
    if tickets.is_empty() || !rest.contains(&STREAM) {
        return None;
    }
    let mut parts = uri.clone().into_parts();
    let path: PathAndQuery = format!("{}?{}", uri.path(), rest.join("&")).parse().ok()?;
    parts.path_and_query = Some(path);
    let credentials = tickets.into_iter().filter_map(|pair| pair.strip_prefix(TICKET)).map(credential);
    Some((credentials.collect(), Uri::from_parts(parts).ok()?))
}

/// What the header would say. A key in a URL is no credential, and neither is anything else but a ticket.
fn credential(text: &str) -> HeaderValue {
    let bearer = HeaderValue::from_str(&format!("Bearer {text}")).ok();
    let bearer = bearer.filter(|_| text.starts_with(TICKET_PREFIX));
    let mut credential = bearer.unwrap_or(HeaderValue::from_static("Bearer"));
    credential.set_sensitive(true);
    credential
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(uri: &'static str) -> Option<(Vec<String>, String)> {
        let (tickets, uri) = split(&Uri::from_static(uri))?;
        Some((tickets.iter().map(|value| value.to_str().unwrap().to_owned()).collect(), uri.to_string()))
    }

    #[test]
    fn tickets_leave_the_url_and_become_credentials() {
        let one = |ticket: &str, uri: &str| Some((vec![ticket.to_owned()], uri.to_owned()));
        assert_eq!(said("/r/x?ticket=tmt_a&stream=true"), one("Bearer tmt_a", "/r/x?stream=true"));
        let full = said("http://h/r/x?starting_after=4&stream=true&ticket=tmt_a");
        assert_eq!(full, one("Bearer tmt_a", "http://h/r/x?starting_after=4&stream=true"));
        let (two, _) = said("/r/x?ticket=tmt_a&ticket=tmt_b&stream=true").unwrap();
        assert_eq!(two, ["Bearer tmt_a", "Bearer tmt_b"]);
    }

    #[test]
    fn nothing_else_in_a_url_is_a_credential() {
        for key in ["", "tmk_a", "%74mt_a", "0123456789abcdef"] {
            assert_eq!(credential(key), "Bearer", "{key}");
        }
        for uri in [
            "/r/x",
            "/r/x?stream=true",
            "/r/x?ticket=tmt_a",
            "/r/x?stream=false&ticket=tmt_a",
            "/r/x?tickets=1&stream=true",
        ] {
            assert_eq!(said(uri), None, "{uri}");
        }
    }
}
