//! Who may do what.
//!
//! It owns principals and scopes; keys, users and the grants of OAuth clients as records of the store; and the table of what each
//! method needs. It must never know how a call came in, nor what it wants beyond the name of its method.
//!
//! A secret of a caller is here only while it is made or compared: what is stored is its SHA-256, what is logged is the id of the key.

mod access;
mod cache;
mod directory;
pub mod grants;
mod key;
mod keys;
mod lease;
pub mod methods;
mod principal;
mod record;
mod ring;
mod scope;
#[cfg(test)]
mod tests;
mod ticket;
mod tickets;
mod users;

pub use access::{Access, Mode, Presented};
pub use directory::{Directory, owner_named};
pub use grants::{GrantId, Grants};
pub use key::{Digest, Key, KeyId, NoKey};
pub use keys::{KeyInfo, KeyPage, KeyQuery, KeyState, MAX_OVERLAP, NewKey};
pub use lease::Lease;
pub use methods::Need;
pub use principal::{Credential, Principal};
pub use scope::{NoScope, Scope, Scopes};
pub use ticket::{DEFAULT_LIFETIME, MAX_LIFETIME, Minted, Rights, TicketOrder};
pub use users::{UserInfo, UserPage};
