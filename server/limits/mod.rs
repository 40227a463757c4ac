//! How often a caller may ask, and how often it may be wrong.
//!
//! It owns two limits: wrong credentials per client address, before it is known who is calling, and calls per principal and
//! area, after it (U-5, D-34). Both have fixed memory and no task of their own. It must never know how a call came in, what a
//! credential is, or what a call does.

mod area;
mod failures;
mod quotas;
mod table;

pub use area::Area;
pub use failures::{FailureRule, Failures, MAX_ADDRESSES, network};
pub use quotas::{Holder, MAX_BUDGETS, Quotas, Rates};
