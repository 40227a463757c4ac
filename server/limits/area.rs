//! The parts of the API that have a rate of their own.
//!
//! It owns which method belongs to which part; a REST call belongs where the method does that it is a call of. It must never know
//! who calls.

/// The package of our services, as the paths of their methods begin.
const PACKAGE: &str = "/tidemark.v1.";

/// A part of the API (the "surface" of U-5 and R-17).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Area {
    /// What starts a generation.
    Creates,
    /// Everything else about responses and sessions: reading, listing, cancelling, deleting.
    Responses,
    /// The list of models.
    Models,
    /// Keys, users and grants.
    Admin,
    /// What apps and people ask the authorization server.
    OAuth,
    /// The registration of apps.
    Registrations,
    /// The questions of one device whether it was let in.
    DevicePolls,
}

impl Area {
    /// Its name in logs and figures.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Creates => "creates",
            Self::Responses => "responses",
            Self::Models => "models",
            Self::Admin => "admin",
            Self::OAuth => "oauth",
            Self::Registrations => "registrations",
            Self::DevicePolls => "device_polls",
        }
    }

    /// The area of a method, such as `/tidemark.v1.ResponsesService/Get`. `None` for what is not ours: health, reflection, and what
    /// nobody serves.
    pub fn of(method: &str) -> Option<Self> {
        match method.strip_prefix(PACKAGE)?.split_once('/')? {
            ("ResponsesService", "Create" | "CreateStream") => Some(Self::Creates),
            ("ResponsesService" | "SessionsService", _) => Some(Self::Responses),
            ("ModelsService", _) => Some(Self::Models),
            ("KeysService" | "UsersService" | "GrantsService", _) => Some(Self::Admin),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use tidemark_bridge::ROUTES;

    use super::*;
    use crate::auth::methods::METHODS;

    #[test]
    fn each_of_our_methods_is_of_an_area_and_no_other() {
        for (method, _) in METHODS {
            assert_eq!(Area::of(method).is_some(), method.starts_with(PACKAGE), "{method}");
        }
        for other in [
            "",
            "/",
            "unmatched",
            "/tidemark.v1.",
            "/tidemark.v1.ResponsesService",
            "/tidemark.v2.ModelsService/List",
        ] {
            assert_eq!(Area::of(other), None, "{other}");
        }
    }

    #[test]
    fn both_forms_of_a_call_are_of_the_same_area() {
        for route in ROUTES {
            let areas: Vec<_> = route.calls.iter().map(|method| Area::of(method)).collect();
            assert!(areas.iter().all(|area| area.is_some() && *area == areas[0]), "{route:?}: {areas:?}");
        }
        let creates = ROUTES
            .iter()
            .filter(|route| route.calls.iter().any(|method| Area::of(method) == Some(Area::Creates)));
        let paths: Vec<_> = creates.map(|route| format!("{route:?}")).collect();
        assert_eq!(paths, ["POST /responses", "POST /chat/completions"]);
    }
}
