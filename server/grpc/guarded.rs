//! A reader for as long as whoever reads has access (D-33).
//!
//! It owns that nothing goes out once access is lost, and how that is said. It must never decide whether it is: a [`Lease`] does.

use tidemark_proto::v1::ErrorCode;
use tonic::Status;

use crate::auth::{Access, Lease, Principal};
use crate::error::Error;
use crate::grpc::status::status;
use crate::runs::{Delivery, Reader};

/// A reader and the access of who reads.
#[derive(Debug)]
pub(super) struct Guarded {
    reader: Reader,
    lease: Lease,
    ended: bool,
}

impl Guarded {
    /// Guards a reader, whose opening may have taken long: access is checked again before anything is sent (O-31).
    ///
    /// # Errors
    /// Those of [`Lease::check`]: nothing was sent yet, so the call is refused like any other.
    pub(super) async fn new(reader: Reader, access: Access, principal: Principal) -> Result<Self, Status> {
        let mut lease = Lease::new(access, principal);
        lease.check().await.map_err(|error| status(&error))?;
        Ok(Self { reader, lease, ended: false })
    }

    /// The next item of the stream. Nothing follows an error. The run goes on whatever becomes of its reader.
    pub(super) async fn next(&mut self) -> Option<Result<Delivery, Status>> {
        if self.ended {
            return None;
        }
        let item = self.pull().await.transpose();
        self.ended = !matches!(item, Some(Ok(_)));
        item.map(|item| item.map_err(|error| status(&error)))
    }

    async fn pull(&mut self) -> Result<Option<Delivery>, Error> {
        let delivery = tokio::select! {
            // A reader that has something at hand does not begin to wait for a loss: it looks, below.
            biased;
            delivery = self.reader.next() => delivery?,
            error = self.lease.lost() => return Err(forbidden(&error)),
        };
        if delivery.is_some() {
            self.lease.check().await.map_err(|error| forbidden(&error))?;
        }
        Ok(delivery)
    }
}

/// What a stream says whose reader lost access (U-1). If that cannot be found out, it says so, and the reader may come again.
fn forbidden(why: &Error) -> Error {
    let text = "access to this stream was lost while it was open";
    match why.code() {
        ErrorCode::Unauthorized => Error::new(ErrorCode::StreamForbidden, text).of_dead_credential(),
        ErrorCode::InsufficientScope => Error::new(ErrorCode::StreamForbidden, text),
        _ => why.clone(),
    }
}
