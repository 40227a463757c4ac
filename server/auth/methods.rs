//! What each method needs: the one table of scopes (S-8).
//!
//! REST calls are calls of these methods, and need what they need. `docs/security.md` shows the same table.

use crate::auth::{Principal, Scope};
use crate::error::Error;

/// What a caller must bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing, not even a credential: health checks.
    Nothing,
    /// A credential with whatever scopes.
    Credential,
    /// A credential with this scope.
    Scope(Scope),
    /// The same, or a ticket for the response that the call is about.
    ScopeOrTicket(Scope),
}

impl Need {
    /// Refuses a principal that lacks what is needed.
    ///
    /// # Errors
    /// `insufficient_scope`.
    pub fn check(self, principal: &Principal) -> Result<(), Error> {
        match self {
            Self::Nothing | Self::Credential => Ok(()),
            Self::Scope(scope) => principal.require(scope),
            Self::ScopeOrTicket(scope) => principal.require_for_one(scope),
        }
    }
}

/// Every method that is served, with what it needs.
pub const METHODS: &[(&str, Need)] = &[
    ("/tidemark.v1.ResponsesService/Create", Need::Scope(Scope::ResponsesWrite)),
    ("/tidemark.v1.ResponsesService/CreateStream", Need::Scope(Scope::ResponsesWrite)),
    ("/tidemark.v1.ResponsesService/Get", Need::ScopeOrTicket(Scope::ResponsesRead)),
    ("/tidemark.v1.ResponsesService/Cancel", Need::ScopeOrTicket(Scope::ResponsesWrite)),
    ("/tidemark.v1.ResponsesService/Resume", Need::ScopeOrTicket(Scope::ResponsesRead)),
    ("/tidemark.v1.ResponsesService/Delete", Need::Scope(Scope::ResponsesWrite)),
    ("/tidemark.v1.ResponsesService/List", Need::Scope(Scope::ResponsesRead)),
    ("/tidemark.v1.ResponsesService/ListInputItems", Need::Scope(Scope::ResponsesRead)),
    ("/tidemark.v1.ResponsesService/CreateTicket", Need::Scope(Scope::ResponsesRead)),
    ("/tidemark.v1.SessionsService/CreateSession", Need::Scope(Scope::SessionsWrite)),
    ("/tidemark.v1.SessionsService/GetSession", Need::Scope(Scope::SessionsRead)),
    ("/tidemark.v1.SessionsService/UpdateSession", Need::Scope(Scope::SessionsWrite)),
    ("/tidemark.v1.SessionsService/ListSessions", Need::Scope(Scope::SessionsRead)),
    ("/tidemark.v1.SessionsService/ResetSession", Need::Scope(Scope::SessionsWrite)),
    ("/tidemark.v1.SessionsService/DeleteSession", Need::Scope(Scope::SessionsWrite)),
    ("/tidemark.v1.SessionsService/ListHistory", Need::Scope(Scope::SessionsRead)),
    ("/tidemark.v1.SessionsService/WatchHistory", Need::Scope(Scope::SessionsRead)),
    ("/tidemark.v1.SessionsService/AddItems", Need::Scope(Scope::SessionsWrite)),
    ("/tidemark.v1.SessionsService/ListItems", Need::Scope(Scope::SessionsRead)),
    ("/tidemark.v1.SessionsService/GetItem", Need::Scope(Scope::SessionsRead)),
    ("/tidemark.v1.SessionsService/DeleteItem", Need::Scope(Scope::SessionsWrite)),
    ("/tidemark.v1.ModelsService/ListModels", Need::Scope(Scope::ModelsRead)),
    ("/tidemark.v1.KeysService/CreateKey", Need::Scope(Scope::KeysAdmin)),
    ("/tidemark.v1.KeysService/ListKeys", Need::Scope(Scope::KeysAdmin)),
    ("/tidemark.v1.KeysService/RotateKey", Need::Scope(Scope::KeysAdmin)),
    ("/tidemark.v1.KeysService/DisableKey", Need::Scope(Scope::KeysAdmin)),
    ("/tidemark.v1.KeysService/EnableKey", Need::Scope(Scope::KeysAdmin)),
    ("/tidemark.v1.KeysService/DeleteKey", Need::Scope(Scope::KeysAdmin)),
    ("/tidemark.v1.UsersService/AddUser", Need::Scope(Scope::Admin)),
    ("/tidemark.v1.UsersService/DisableUser", Need::Scope(Scope::Admin)),
    ("/tidemark.v1.UsersService/ListUsers", Need::Scope(Scope::Admin)),
    ("/tidemark.v1.GrantsService/ListGrants", Need::Scope(Scope::GrantsRead)),
    ("/tidemark.v1.GrantsService/RevokeGrant", Need::Scope(Scope::GrantsWrite)),
    ("/tidemark.v1.GrantsService/RevokeGrants", Need::Scope(Scope::GrantsAdmin)),
    ("/tidemark.v1.GrantsService/CreateClient", Need::Scope(Scope::GrantsAdmin)),
    ("/tidemark.v1.GrantsService/ListClients", Need::Scope(Scope::GrantsAdmin)),
    ("/tidemark.v1.GrantsService/DeleteClient", Need::Scope(Scope::GrantsAdmin)),
    ("/grpc.health.v1.Health/Check", Need::Nothing),
    ("/grpc.health.v1.Health/Watch", Need::Nothing),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Need::Credential),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Need::Credential),
];

/// What a method needs, such as `/tidemark.v1.ResponsesService/Get`; `None` for one that is not in the table: it must be refused.
pub fn need(path: &str) -> Option<Need> {
    METHODS.iter().find(|(known, _)| *known == path).map(|(_, need)| *need)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_method_that_is_served_is_in_the_table_once_and_no_other_is() {
        let table: Vec<_> = METHODS.iter().map(|(path, _)| (*path).to_owned()).collect();
        let served = crate::grpc::methods().unwrap();
        assert_eq!(BTreeSet::from_iter(table.clone()), served);
        assert_eq!(table.len(), served.len());
    }
}
