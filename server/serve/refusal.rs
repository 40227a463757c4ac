//! The answer to a call that no service sees.
//!
//! It owns which of the two shapes an answer has, and leaves both to the rooms that speak them. It must never know why a call is
//! refused.

use axum::body::Body;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use tidemark_proto::v1::ErrorCode;

use crate::error::Error;
use crate::grpc::status;

/// What every gRPC and grpc-web content type begins with.
const GRPC: &[u8] = b"application/grpc";

/// The refusal of a gRPC call that nobody serves.
pub(super) fn no_such_method() -> Error {
    Error::new(ErrorCode::MethodNotAllowed, "there is no such gRPC service or method")
}

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
        let status = status(error);
        match self {
            Self::Grpc(kind) => {
                let mut answer = status.into_http::<Body>();
                answer.headers_mut().insert(CONTENT_TYPE, kind.clone());
                answer
            }
            Self::Rest => tidemark_bridge::error_reply(&status, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use http_body_util::BodyExt;
    use serde_json::json;
    use tonic::Status;
    use tonic_types::StatusExt;

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
