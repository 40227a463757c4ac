//! The answer to a call that no service sees.
//!
//! It owns its two shapes, gRPC and OpenAI envelope. It must never know why a call is refused.

use std::collections::HashMap;

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;
use tidemark_proto::errors::DOMAIN;
use tidemark_proto::names::detail;
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt};

use crate::error::Error;

/// What every gRPC and grpc-web content type begins with.
const GRPC: &[u8] = b"application/grpc";

/// What kind of client called, as far as its answer must differ.
#[derive(Clone, Debug)]
pub(super) enum Surface {
    /// gRPC or grpc-web, with the content type of the request.
    Grpc(HeaderValue),
    /// Everything else.
    Rest,
}

impl Surface {
    /// The surface that a request with these headers came to.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        match headers.get(CONTENT_TYPE) {
            Some(kind) if kind.as_bytes().starts_with(GRPC) => Self::Grpc(kind.clone()),
            _ => Self::Rest,
        }
    }

    /// The answer that says `error`: trailers only over gRPC, the OpenAI envelope over REST. Its cause goes to the log.
    pub(super) fn refuse(&self, error: &Error) -> Response {
        if let Some(cause) = error.cause() {
            tracing::error!(code = error.code().code(), cause, "call failed");
        }
        match self {
            Self::Grpc(kind) => grpc(error, kind.clone()),
            Self::Rest => rest(error),
        }
    }
}

fn grpc(error: &Error, kind: HeaderValue) -> Response {
    let row = error.code().row();
    let param = error.param().map(|param| (detail::PARAM.to_owned(), param.to_owned()));
    let mut details =
        ErrorDetails::with_error_info(row.code, DOMAIN, param.into_iter().collect::<HashMap<_, _>>());
    if let Some(param) = error.param() {
        details.add_bad_request_violation(param, error.message());
    }
    let mut answer = Status::with_error_details(row.grpc, error.message(), details).into_http::<Body>();
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

fn rest(error: &Error) -> Response {
    let row = error.code().row();
    let status = StatusCode::from_u16(row.http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({"error": {"message": error.message(), "type": row.kind, "param": error.param(), "code": row.code}});
    (status, Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tidemark_proto::v1::ErrorCode;

    use super::*;

    fn surface(kind: &str) -> Surface {
        Surface::of(&HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_str(kind).unwrap())]))
    }

    #[tokio::test]
    async fn rest_gets_the_envelope_with_all_four_keys() {
        let answer = surface("application/json").refuse(&Error::new(ErrorCode::ForbiddenOrigin, "not you"));
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let error = json!({"message": "not you", "type": "permission_error", "param": null, "code": "forbidden_origin"});
        assert_eq!(body, json!({ "error": error }));
    }

    #[tokio::test]
    async fn grpc_gets_a_status_with_error_info_in_the_headers_alone() {
        for kind in ["application/grpc", "application/grpc+proto", "application/grpc-web+proto"] {
            let answer = surface(kind).refuse(&Error::invalid("x-tidemark-owner", "not an owner"));
            assert_eq!(
                (answer.status(), answer.headers()[CONTENT_TYPE].as_bytes()),
                (StatusCode::OK, kind.as_bytes())
            );
            let status = Status::from_header_map(answer.headers()).unwrap();
            assert_eq!((status.code(), status.message()), (tonic::Code::InvalidArgument, "not an owner"));
            let info = status.get_details_error_info().unwrap();
            assert_eq!((info.reason.as_str(), info.domain.as_str()), ("invalid_request", "tidemark"));
            assert_eq!(info.metadata["param"], "x-tidemark-owner");
            assert!(answer.into_body().collect().await.unwrap().to_bytes().is_empty());
        }
    }
}
