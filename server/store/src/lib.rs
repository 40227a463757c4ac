//! The durable log of Tidemark.
//!
//! It owns logs (numbered entries of one response or session, with a head that says where the log stands) and records (single
//! keys with compare-and-set), and the promise that what was acknowledged is found again. It knows bytes, ids, seqs and
//! owners; it must never know JSON, the contract, HTTP or what a model is.
//!
//! [`Store`] is the trait; [`embedded::EmbeddedStore`] keeps everything in one data directory; [`memory::MemoryStore`] is its twin
//! in memory, for tests.

mod api;
mod compaction;
mod quota;
mod retained;
mod tail;
mod types;

pub mod embedded;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod memory;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use api::*;
pub use compaction::*;
pub use quota::*;
pub use tail::*;
pub use types::*;
