//! The parts of the API that have a rate of their own.
//!
//! It owns which call belongs to which part, over gRPC and REST alike. It must never know who calls.

use http::Method;

/// The package of our gRPC services, as their paths begin.
const PACKAGE: &str = "/tidemark.v1.";

/// The prefix that REST paths may have or lack (D-15).
const VERSION: &str = "/v1";

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
}

impl Area {
    /// Every area.
    pub const ALL: [Self; 4] = [Self::Creates, Self::Responses, Self::Models, Self::Admin];

    /// Its name in logs and figures.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Creates => "creates",
            Self::Responses => "responses",
            Self::Models => "models",
            Self::Admin => "admin",
        }
    }

    /// The area of a call: `route` is the path of a gRPC method, or the template of a REST path. `None` for what is of none:
    /// health, reflection, and paths that nobody serves.
    pub fn of(method: &Method, route: &str) -> Option<Self> {
        match route.strip_prefix(PACKAGE) {
            Some(rpc) => Self::of_rpc(rpc),
            None => Self::of_path(method, route),
        }
    }

    fn of_rpc(rpc: &str) -> Option<Self> {
        match rpc.split_once('/')? {
            ("ResponsesService", "Create" | "CreateStream") => Some(Self::Creates),
            ("ResponsesService" | "SessionsService", _) => Some(Self::Responses),
            ("ModelsService", _) => Some(Self::Models),
            ("KeysService" | "UsersService" | "GrantsService", _) => Some(Self::Admin),
            _ => None,
        }
    }

    fn of_path(method: &Method, path: &str) -> Option<Self> {
        let path = path.strip_prefix(VERSION).filter(|rest| rest.starts_with('/')).unwrap_or(path);
        let mut parts = path.strip_prefix('/')?.splitn(2, '/');
        match (parts.next()?, parts.next()) {
            ("responses", None) | ("chat", Some("completions")) if *method == Method::POST => {
                Some(Self::Creates)
            }
            ("responses" | "chat" | "sessions", _) => Some(Self::Responses),
            ("models", _) => Some(Self::Models),
            ("keys" | "users" | "grants" | "oauth2", _) => Some(Self::Admin),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_call_are_of_the_same_area() {
        for (method, rpc, path, area) in [
            (Method::POST, "ResponsesService/Create", "/responses", Area::Creates),
            (Method::POST, "ResponsesService/CreateStream", "/chat/completions", Area::Creates),
            (Method::GET, "ResponsesService/Get", "/responses/{id}", Area::Responses),
            (Method::POST, "ResponsesService/Cancel", "/responses/{id}/cancel", Area::Responses),
            (Method::GET, "ResponsesService/List", "/responses", Area::Responses),
            (Method::GET, "SessionsService/ListHistory", "/sessions/{key}/history", Area::Responses),
            (Method::GET, "ModelsService/ListModels", "/models", Area::Models),
            (Method::POST, "KeysService/Create", "/keys", Area::Admin),
            (Method::DELETE, "GrantsService/Revoke", "/oauth2/sessions/{id}", Area::Admin),
        ] {
            let over_grpc = Area::of(&Method::POST, &format!("/tidemark.v1.{rpc}"));
            assert_eq!(over_grpc, Some(area), "{rpc}");
            for path in [path.to_owned(), format!("/v1{path}")] {
                assert_eq!(Area::of(&method, &path), Some(area), "{method} {path}");
            }
        }
    }

    #[test]
    fn what_is_of_no_area_has_no_rate() {
        for route in ["/grpc.health.v1.Health/Check", "unmatched", "/", "", "/v1", "/v1responses", "/health"]
        {
            assert_eq!(Area::of(&Method::GET, route), None, "{route}");
        }
    }
}
