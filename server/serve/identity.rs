//! Who is calling, while auth is off.
//!
//! It owns how `x-tidemark-owner` becomes a principal (D-5, U-4). It must never know what the principal may do.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderMap;
use tidemark_proto::names::OWNER;
use tidemark_store::Owner;

use super::completion::Caller;
use super::refusal::Surface;
use crate::auth::Principal;
use crate::error::Error;

/// Puts the principal into the request's extensions, or refuses a malformed owner.
pub(super) async fn identify(mut request: Request, next: Next) -> Response {
    match owner(request.headers()) {
        Ok(owner) => {
            let principal = Principal::local(owner);
            if let Some(caller) = request.extensions().get::<Caller>() {
                caller.note(&principal);
            }
            request.extensions_mut().insert(principal);
            next.run(request).await
        }
        Err(error) => Surface::of(request.headers()).refuse(&error),
    }
}

fn owner(headers: &HeaderMap) -> Result<Owner, Error> {
    let mut values = headers.get_all(OWNER).iter();
    let named = values.next();
    if values.next().is_some() {
        return Err(Error::invalid(OWNER, "the owner is given more than once"));
    }
    let name = named.map_or(Ok(Principal::ANONYMOUS_OWNER), |value| value.to_str());
    let refused =
        || Error::invalid(OWNER, format!("an owner is 1 to {} visible ASCII characters", Owner::MAX_BYTES));
    name.ok().and_then(Owner::new).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use tidemark_proto::v1::ErrorCode;

    use super::*;

    fn read(values: &[&[u8]]) -> Result<String, Error> {
        let name = http::HeaderName::from_static(OWNER);
        let headers = values.iter().map(|value| (name.clone(), HeaderValue::from_bytes(value).unwrap()));
        owner(&headers.collect()).map(|owner| owner.as_str().to_owned())
    }

    #[test]
    fn the_owner_is_the_one_named_or_the_anonymous_one() {
        assert_eq!(read(&[]).unwrap(), "anonymous-local");
        assert_eq!(read(&[b"acme/team:1"]).unwrap(), "acme/team:1");
        assert_eq!(read(&[&[b'a'; 256]]).unwrap().len(), 256);
    }

    #[test]
    fn a_malformed_owner_is_refused_and_never_repaired() {
        let too_long = [b'a'; 257];
        let wrong: [&[&[u8]]; 5] = [&[b""], &[b"a b"], &[b"\xc3\xbc"], &[&too_long], &[b"a", b"a"]];
        for values in wrong {
            let error = read(values).unwrap_err();
            assert_eq!((error.code(), error.param()), (ErrorCode::InvalidRequest, Some(OWNER)), "{values:?}");
        }
    }
}
