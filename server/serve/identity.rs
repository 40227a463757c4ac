//! Who is calling, and whether they may make this call: found out before any of the body is read (D-34).
//!
//! It owns how headers become what [`Access`] judges, and the way from a request to its row in the table of scopes. It must never
//! decide whether a credential is good.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use tidemark_bridge::Route;
use tidemark_proto::names::{FOREIGN_CREDENTIALS, OWNER, SCOPES};
use tidemark_proto::v1::ErrorCode;
use tidemark_store::Owner;

use super::completion::Caller;
use super::forwarded::Client;
use super::gate::Gate;
use super::refusal::{Surface, no_such_method};
use crate::auth::{Need, Presented, Principal, Scopes, methods, owner_named};
use crate::error::Error;

/// The scheme of the credentials that are taken.
const SCHEME: &str = "bearer";

/// Puts the principal into the request's extensions, or refuses the call.
pub(super) async fn identify(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let surface = Surface::of(request.headers());
    if need(&surface, &request) == Some(Need::Nothing) {
        return next.run(request).await;
    }
    let client = request.extensions().get::<Client>().copied().unwrap_or_default();
    match principal(&gate, client, request.headers()).await {
        Ok(principal) => {
            if let Some(caller) = request.extensions().get::<Caller>() {
                caller.note(&principal);
            }
            request.extensions_mut().insert(principal);
            next.run(request).await
        }
        Err(error) => surface.refuse(&error),
    }
}

/// Refuses a call for which the principal lacks a scope, and one that nobody serves.
pub(super) async fn authorize(request: Request, next: Next) -> Response {
    let surface = Surface::of(request.headers());
    let checked = match (need(&surface, &request), request.extensions().get::<Principal>()) {
        (None, _) => Err(no_such_method()),
        (Some(need), Some(principal)) => need.check(principal),
        // Nothing is needed; or else the services refuse whom nobody has named.
        (Some(_), None) => Ok(()),
    };
    match checked {
        Ok(()) => next.run(request).await,
        Err(error) => surface.refuse(&error),
    }
}

/// Who is calling, after what became of the credential was counted.
async fn principal(gate: &Gate, client: Client, headers: &HeaderMap) -> Result<Principal, Error> {
    let found = gate.access.identify(presented(headers)?).await;
    if headers.contains_key(AUTHORIZATION) {
        gate.judged(client, &found)?;
    }
    found
}

/// What the call needs; `None` if it is one that nobody serves.
fn need(surface: &Surface, request: &Request) -> Option<Need> {
    match surface {
        Surface::Grpc(_) => methods::need(request.uri().path()),
        Surface::Rest => {
            let template = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
            let route = template.and_then(|template| Route::of(request.method(), template));
            match route {
                // All calls of a route need the same.
                Some(route) => route.calls.first().and_then(|call| methods::need(call)),
                // A gRPC method needs the same by whatever content type it is called. What else is no route the bridge refuses.
                None => methods::need(request.uri().path()).or(Some(Need::Credential)),
            }
        }
    }
}

/// What the headers say about the caller.
fn presented(headers: &HeaderMap) -> Result<Presented<'_>, Error> {
    let credentials = headers.get_all(AUTHORIZATION).iter();
    let foreign = FOREIGN_CREDENTIALS.map(|name| headers.get_all(name).iter());
    if credentials.chain(foreign.into_iter().flatten()).count() > 1 {
        let message = "more than one credential came with this call; send one, as `authorization: Bearer …`";
        return Err(Error::new(ErrorCode::AmbiguousCredentials, message));
    }
    Ok(Presented { bearer: bearer(headers), owner: owner(headers)?, scopes: scopes(headers)? })
}

/// The token of the only `authorization`: one word after the scheme, of visible ASCII.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim_matches(' ').split_once(' ')?;
    let token = token.trim_matches(' ');
    let word = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    Some(token).filter(|_| word && scheme.eq_ignore_ascii_case(SCHEME))
}

fn owner(headers: &HeaderMap) -> Result<Option<Owner>, Error> {
    single(headers, OWNER)?.map(|name| owner_named(name, OWNER)).transpose()
}

fn scopes(headers: &HeaderMap) -> Result<Option<Scopes>, Error> {
    let refused = |_: &str| Error::invalid(SCOPES, "the header lists what is not a scope");
    single(headers, SCOPES)?.map(|list| Scopes::parse(list).map_err(refused)).transpose()
}

/// The only value of a header. What is not ASCII reads as something that nothing is called.
fn single<'h>(headers: &'h HeaderMap, name: &'static str) -> Result<Option<&'h str>, Error> {
    let mut values = headers.get_all(HeaderName::from_static(name)).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => Ok(Some(value.to_str().unwrap_or("\u{fffd}"))),
        (Some(_), Some(_)) => Err(Error::invalid(name, "the header is given more than once")),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(name: &str, values: &[&[u8]]) -> HeaderMap {
        let name: HeaderName = name.parse().unwrap();
        values.iter().map(|value| (name.clone(), HeaderValue::from_bytes(value).unwrap())).collect()
    }

    #[test]
    fn a_bearer_is_one_word_after_its_scheme() {
        for good in ["Bearer abc", "bearer abc", "BEARER   abc ", " Bearer abc"] {
            assert_eq!(bearer(&headers("authorization", &[good.as_bytes()])), Some("abc"), "{good:?}");
        }
        let wrong: [&[u8]; 10] = [
            b"",
            b"Bearer",
            b"Bearer ",
            b"Bearer a b",
            b"Bearer\tabc",
            b"Bearer a\tb",
            b"Bearer \xc3\xbc",
            b"Basic abc",
            b"abc",
            b"Bearer: abc",
        ];
        for value in wrong {
            assert_eq!(bearer(&headers("authorization", &[value])), None, "{value:?}");
        }
    }

    #[test]
    fn two_credentials_of_whatever_kind_are_refused() {
        let one = |name| headers(name, &[b"Bearer abc"]);
        assert!(presented(&one("authorization")).unwrap().bearer.is_some());
        assert!(presented(&one("x-api-key")).unwrap().bearer.is_none());
        let mut mixed = one("authorization");
        mixed.insert("api-key", HeaderValue::from_static("abc"));
        for two in
            [mixed, headers("authorization", &[b"Bearer a", b"Bearer a"]), headers("x-api-key", &[b"", b""])]
        {
            let error = presented(&two).unwrap_err();
            assert_eq!(error.code(), ErrorCode::AmbiguousCredentials, "{two:?}");
        }
    }

    #[test]
    fn the_owner_is_the_one_named() {
        let read = |values: &[&[u8]]| owner(&headers(OWNER, values)).unwrap();
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[b"acme/team:1"]).unwrap().as_str(), "acme/team:1");
        assert_eq!(read(&[&[b'a'; 256]]).unwrap().as_str().len(), 256);
    }

    #[test]
    fn a_malformed_owner_is_refused_and_never_repaired() {
        let too_long = [b'a'; 257];
        let wrong: [&[&[u8]]; 5] = [&[b""], &[b"a b"], &[b"\xc3\xbc"], &[&too_long], &[b"a", b"a"]];
        for values in wrong {
            let error = owner(&headers(OWNER, values)).unwrap_err();
            assert_eq!((error.code(), error.param()), (ErrorCode::InvalidRequest, Some(OWNER)), "{values:?}");
        }
    }

    #[test]
    fn scopes_that_are_asked_for_must_be_scopes_and_may_be_none() {
        let read = |values: &[&[u8]]| scopes(&headers(SCOPES, values));
        assert_eq!(read(&[]).unwrap(), None);
        assert_eq!(read(&[b""]).unwrap(), Some(Scopes::NONE));
        assert_eq!(read(&[b"admin"]).unwrap(), Some(Scopes::all()));
        let wrong: [&[&[u8]]; 3] = [&[b"all"], &[b"\xff"], &[b"admin", b"admin"]];
        for values in wrong {
            let error = read(values).unwrap_err();
            assert_eq!((error.code(), error.param()), (ErrorCode::InvalidRequest, Some(SCOPES)));
        }
    }

    #[test]
    fn every_rest_route_becomes_calls_of_the_table_that_need_the_same() {
        for route in tidemark_bridge::ROUTES {
            let needs: Vec<_> = route.calls.iter().map(|call| methods::need(call)).collect();
            assert!(
                needs.iter().all(|need| matches!(need, Some(Need::Scope(_) | Need::ScopeOrTicket(_)))),
                "{route:?} {needs:?}"
            );
            assert!(needs.windows(2).all(|pair| pair[0] == pair[1]), "{route:?} {needs:?}");
        }
    }
}
