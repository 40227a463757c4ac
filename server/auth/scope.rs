//! Scopes: what a credential is good for.

use std::fmt;
use std::str::FromStr;

/// One thing that a credential may be good for (S-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Read one's own responses.
    ResponsesRead,
    /// Create, cancel and delete responses.
    ResponsesWrite,
    /// Read one's own sessions.
    SessionsRead,
    /// Change one's own sessions.
    SessionsWrite,
    /// List the models.
    ModelsRead,
    /// Read one's own grants.
    GrantsRead,
    /// Revoke one's own grants.
    GrantsWrite,
    /// Manage the keys of one's own owner; those of all, together with [`Scope::ActAs`].
    KeysAdmin,
    /// Manage the grants of all owners.
    GrantsAdmin,
    /// Name another owner to act for (D-5).
    ActAs,
    /// All of the others.
    Admin,
}

/// The text is not the name of a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a scope")]
pub struct NoScope;

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 11] = [
        Self::ResponsesRead,
        Self::ResponsesWrite,
        Self::SessionsRead,
        Self::SessionsWrite,
        Self::ModelsRead,
        Self::GrantsRead,
        Self::GrantsWrite,
        Self::KeysAdmin,
        Self::GrantsAdmin,
        Self::ActAs,
        Self::Admin,
    ];

    /// Its name, such as `responses.read`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ResponsesRead => "responses.read",
            Self::ResponsesWrite => "responses.write",
            Self::SessionsRead => "sessions.read",
            Self::SessionsWrite => "sessions.write",
            Self::ModelsRead => "models.read",
            Self::GrantsRead => "grants.read",
            Self::GrantsWrite => "grants.write",
            Self::KeysAdmin => "keys.admin",
            Self::GrantsAdmin => "grants.admin",
            Self::ActAs => "owners.act_as",
            Self::Admin => "admin",
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scope {
    type Err = NoScope;

    fn from_str(name: &str) -> Result<Self, NoScope> {
        Self::ALL.into_iter().find(|scope| scope.name() == name).ok_or(NoScope)
    }
}

/// A set of scopes. One that holds [`Scope::Admin`] holds all of them.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Scopes(u16);

impl Scopes {
    /// No scope.
    pub const NONE: Self = Self(0);

    /// Every scope: what the operator has.
    pub fn all() -> Self {
        Scope::ALL.into_iter().collect()
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }

    /// Whether `scope` is one of them.
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Whether all of `others` are among them.
    pub fn covers(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// The first of them that is not among `others`.
    pub(super) fn first_beyond(self, others: Self) -> Option<Scope> {
        Scope::ALL.into_iter().find(|scope| self.contains(*scope) && !others.contains(*scope))
    }

    /// Those that are in both.
    #[must_use]
    pub fn narrowed_to(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }

    /// These but `scope`, and so not [`Scope::Admin`] either.
    #[must_use]
    pub fn without(self, scope: Scope) -> Self {
        Self(self.0 & !scope.bit() & !Scope::Admin.bit())
    }

    /// Their names in the order of [`Scope::ALL`]; of a set that holds all, `admin` alone.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let admin = self.contains(Scope::Admin);
        let named = move |scope: &Scope| self.contains(*scope) && (!admin || *scope == Scope::Admin);
        Scope::ALL.into_iter().filter(named).map(Scope::name)
    }

    /// The scopes of a list with blanks or commas between the names; an empty one holds none.
    ///
    /// # Errors
    /// The first name that is none.
    pub fn parse(list: &str) -> Result<Self, &str> {
        let names = list.split([' ', ',']).filter(|name| !name.is_empty());
        names.map(|name| name.parse::<Scope>().map_err(|NoScope| name)).collect()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<T: IntoIterator<Item = Scope>>(scopes: T) -> Self {
        let held = scopes.into_iter().fold(0, |held, scope| held | scope.bit());
        let all = Scope::ALL.into_iter().fold(0, |all, scope| all | scope.bit());
        Self(if held & Scope::Admin.bit() == 0 { held } else { all })
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scope_reads_back_by_its_name() {
        for scope in Scope::ALL {
            assert_eq!(scope.name().parse(), Ok(scope));
        }
        for wrong in ["", "Admin", "responses", "responses.read ", "*"] {
            assert_eq!(wrong.parse::<Scope>(), Err(NoScope), "{wrong}");
        }
    }

    #[test]
    fn admin_is_all_and_nothing_else_is() {
        let admin = Scopes::parse("admin").unwrap();
        assert_eq!((admin, admin.names().collect::<Vec<_>>()), (Scopes::all(), vec!["admin"]));
        let rest: Scopes = Scope::ALL.into_iter().filter(|scope| *scope != Scope::Admin).collect();
        assert!(!rest.contains(Scope::Admin) && admin.covers(rest) && !rest.covers(admin));
        assert!(!admin.without(Scope::KeysAdmin).contains(Scope::Admin));
    }

    #[test]
    fn a_list_takes_blanks_and_commas_and_refuses_what_is_no_scope() {
        let scopes = Scopes::parse(" models.read,responses.read  ").unwrap();
        assert_eq!(scopes.names().collect::<Vec<_>>(), ["responses.read", "models.read"]);
        assert_eq!(Scopes::parse(""), Ok(Scopes::NONE));
        assert_eq!(Scopes::parse("models.read, all"), Err("all"));
    }

    #[test]
    fn asking_for_scopes_only_narrows() {
        let held = Scopes::parse("responses.read models.read").unwrap();
        assert_eq!(held.narrowed_to(Scopes::all()), held);
        let asked = Scopes::parse("responses.read responses.write").unwrap();
        assert_eq!(held.narrowed_to(asked).names().collect::<Vec<_>>(), ["responses.read"]);
    }
}
