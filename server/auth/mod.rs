//! Who may do what.
//!
//! It owns the principal of a call. It must never know how a call came in or what it wants.

pub mod principal;

pub use principal::Principal;
