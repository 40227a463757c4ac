//! Calls that end before a service sees them: the message is too large or no message, the method does not exist.
//!
//! It owns their codes, so that these errors have the details of all others (D-6). It must never touch what a service said: a
//! status with details is one.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use tidemark_proto::v1::ErrorCode;
use tonic::{Code, Status};

use crate::error::Error;
use crate::grpc::status;

/// Gives a bare status of the library a code of ours.
pub async fn name_faults(request: Request, next: Next) -> Response {
    let reply = next.run(request).await;
    match Status::from_header_map(reply.headers()).as_ref().and_then(fault) {
        Some(error) => status(&error).into_http(),
        None => reply,
    }
}

fn fault(bare: &Status) -> Option<Error> {
    let code = match bare.code() {
        _ if !bare.details().is_empty() => return None,
        Code::OutOfRange => ErrorCode::PayloadTooLarge,
        Code::Internal => ErrorCode::InvalidRequest,
        Code::Unimplemented => {
            return Some(Error::new(ErrorCode::MethodNotAllowed, "there is no such gRPC service or method"));
        }
        _ => return None,
    };
    Some(Error::new(code, bare.message()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_library_refuses_has_a_code_of_ours() {
        for (bare, code) in [
            (Status::out_of_range("decoded message length too large"), ErrorCode::PayloadTooLarge),
            (Status::internal("failed to decode"), ErrorCode::InvalidRequest),
            (Status::unimplemented(""), ErrorCode::MethodNotAllowed),
        ] {
            assert_eq!(fault(&bare).map(|error| error.code()), Some(code));
        }
    }

    #[test]
    fn what_a_service_said_stays() {
        assert!(fault(&Status::not_found("unknown service")).is_none());
        assert!(fault(&Status::new(Code::Ok, "")).is_none());
        for code in ErrorCode::ALL {
            assert!(fault(&status(&Error::new(code, "said by a service"))).is_none(), "{code:?}");
        }
    }
}
