//! The gRPC services.
//!
//! It owns the way from a message to a call of [`Runs`](crate::runs::Runs) and back, and the mapping of errors to status. It must
//! never decide anything: who may do what, and what happens then, is decided before and behind it.

mod codec;
mod grants;
mod guarded;
mod keys;
mod message;
mod models;
mod responses;
mod routes;
mod sessions;
mod status;
#[cfg(test)]
mod tests;
mod ticket;

pub use codec::name_faults;
pub use grants::ConnectedApps;
pub use keys::Keys;
pub use message::events;
pub use models::Models;
pub use responses::Responses;
pub use routes::{SERVICES, Services, contract, keys, methods, routes};
pub use sessions::SessionsOf;
pub use status::{status, unauthorized};

use crate::auth::{Access, Principal};
use crate::error::Error;

/// Answers with what was read, unless access was lost meanwhile (O-31).
async fn answer<T>(
    access: &Access,
    principal: &Principal,
    read: Result<T, Error>,
) -> Result<tonic::Response<T>, tonic::Status> {
    let answer = match read {
        Ok(answer) => access.check(principal).await.map(|()| answer),
        Err(error) => Err(error),
    };
    answer.map(tonic::Response::new).map_err(|error| status(&error))
}

/// The principal of a call; without one it is refused (D-34).
fn principal<T>(request: &tonic::Request<T>) -> Result<Principal, tonic::Status> {
    request.extensions().get::<Principal>().cloned().ok_or_else(unauthorized)
}
