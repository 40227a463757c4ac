//! `/openapi.json`: what the REST surface is, for programs (D-2).
//!
//! It owns how the document is served: to everybody, because it says no more than the sources do. It must never know what is in it:
//! that is made of `server/openapi/parts` and of the tables of routes, scopes and errors by a test, which fails when it is old.

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use tidemark_proto::v1::ErrorCode;

use super::refusal::Surface;
use crate::error::Error;

/// Where it is.
pub const OPENAPI_PATH: &str = "/openapi.json";

/// The document: OpenAPI 3.1, as JSON.
pub const OPENAPI: &str = include_str!("../openapi/openapi.json");

/// The page.
pub(super) fn page() -> Router {
    let document = || async { ([(CONTENT_TYPE, "application/json")], OPENAPI) };
    Router::new().route(OPENAPI_PATH, get(document).fallback(other_method))
}

/// What the page says to a method that it does not have; the router adds `Allow`. OPTIONS asks for just that.
async fn other_method(request: Request) -> Response {
    if request.method() == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    let error =
        Error::new(ErrorCode::MethodNotAllowed, "the path has no such method; `Allow` names those it has");
    Surface::of(request.headers()).refuse(&error)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn call(method: Method) -> (Response, usize) {
        let request = Request::builder().method(method).uri(OPENAPI_PATH).body(Body::empty()).unwrap();
        let (parts, body) = page().oneshot(request).await.unwrap().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes().len();
        (Response::from_parts(parts, Body::empty()), bytes)
    }

    #[tokio::test]
    async fn the_page_is_read_and_nothing_else() {
        for (method, status, bytes) in [
            (Method::GET, StatusCode::OK, OPENAPI.len()),
            (Method::HEAD, StatusCode::OK, 0),
            (Method::OPTIONS, StatusCode::NO_CONTENT, 0),
        ] {
            let (reply, got) = call(method.clone()).await;
            assert_eq!((reply.status(), got), (status, bytes), "{method}");
        }
        let (reply, bytes) = call(Method::POST).await;
        assert_eq!(
            (reply.status(), &reply.headers()["allow"]),
            (StatusCode::METHOD_NOT_ALLOWED, &"GET,HEAD".parse().unwrap())
        );
        assert!(bytes > 0);
    }
}
