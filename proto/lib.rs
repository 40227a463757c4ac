//! The contract of Tidemark: package `tidemark.v1`, generated from the `.proto` files of this folder, with the table of errors,
//! the names of metadata keys and headers, and what a stream is to a caller in the same process.
//!
//! It owns what both sides of a call must agree on. It must never know how a call is served or where its data lies.

pub mod codec;
pub mod errors;
pub mod handover;
pub mod names;

/// Messages, clients and servers of package `tidemark.v1`.
#[allow(
    clippy::allow_attributes,
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated from documented .proto files"
)]
pub mod v1 {
    tonic::include_proto!("tidemark.v1");
}

/// All of `proto/` as an encoded `google.protobuf.FileDescriptorSet`, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("descriptors");

/// The largest message either side accepts, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 32 << 20;
