//! `server/openapi/openapi.json` is what its parts and the tables of routes, scopes and errors say.
//!
//! The parts are written by hand, in the words of OpenAPI: `*.paths.json` has operations, `*.schemas.json` schemas, `document.json`
//! all else. What the code knows better is filled in here: the prefix of the paths, scopes, methods of the contract, headers that
//! every call may have, and the refusals. `tests/run openapi` writes the document anew.

use std::collections::BTreeSet;
use std::fs;

use serde::Serialize;
use serde_json::{Map, Value, json};
use tidemark::auth::methods::need;
use tidemark::auth::{Need, Scope};
use tidemark::serve::{OPENAPI, OPENAPI_PATH};
use tidemark_bridge::{ROUTES, Route, VERSION};
use tidemark_proto::errors::Retry;
use tidemark_proto::names;
use tidemark_proto::v1::ErrorCode;

use crate::tree::{files, read, root};

const PARTS: &str = "server/openapi/parts";
const DOCUMENT: &str = "server/openapi/openapi.json";

/// Makes the test write the document instead of comparing it.
const RENEW: &str = "TIDEMARK_RENEW_OPENAPI";

/// What is served besides the routes of the bridge.
const PAGES: [&str; 1] = [OPENAPI_PATH];

/// The method of the contract that a ticket in a URL is good for.
const RESUME: &str = "/tidemark.v1.ResponsesService/Resume";

/// Headers that a call of the contract may have.
const PARAMETERS: [&str; 3] = ["Owner", "Scopes", "RequestId"];

/// How every call of the contract may be refused.
const COMMON: [ErrorCode; 13] = [
    ErrorCode::InvalidRequest,
    ErrorCode::AmbiguousCredentials,
    ErrorCode::Unauthorized,
    ErrorCode::InsufficientScope,
    ErrorCode::ForbiddenOrigin,
    ErrorCode::RequestTimeout,
    ErrorCode::RateLimited,
    ErrorCode::AuthRateLimited,
    ErrorCode::Internal,
    ErrorCode::Overloaded,
    ErrorCode::StorageUnavailable,
    ErrorCode::Draining,
    ErrorCode::BackendTimeout,
];

/// How a create may be refused besides; parts call all of these `CREATE`.
const CREATE: [ErrorCode; 12] = [
    ErrorCode::InvalidIdempotencyKey,
    ErrorCode::IdempotencyKeyReused,
    ErrorCode::IdempotencyRequestInProgress,
    ErrorCode::IdempotencyUnavailable,
    ErrorCode::PayloadTooLarge,
    ErrorCode::QuotaExceeded,
    ErrorCode::StorageFull,
    ErrorCode::ModelNotFound,
    ErrorCode::NoBackend,
    ErrorCode::BackendError,
    ErrorCode::BackendUnreachable,
    ErrorCode::EventTooLarge,
];

type Object = Map<String, Value>;

/// The document, its sections in the order that people read them in.
#[derive(Serialize)]
struct Document {
    openapi: Value,
    info: Value,
    servers: Value,
    tags: Value,
    paths: Object,
    components: Value,
}

fn object(path: &std::path::Path) -> Object {
    serde_json::from_str(&read(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The members of all parts with this ending; none may be there twice.
fn merged(ending: &str) -> Object {
    let mut all = Object::new();
    for path in files(PARTS, "json") {
        if path.to_string_lossy().ends_with(ending) {
            for (name, value) in object(&path) {
                assert!(all.insert(name.clone(), value).is_none(), "{name} is in {} again", path.display());
            }
        }
    }
    all
}

fn render() -> String {
    let mut skeleton = object(format!("{PARTS}/document.json").as_ref());
    let mut components = skeleton.remove("components").unwrap();
    components["schemas"] = merged(".schemas.json").into();
    for (name, values) in [
        ("ErrorCode", ErrorCode::ALL.iter().map(|code| code.code()).collect::<Vec<_>>()),
        (
            "ErrorType",
            ErrorCode::ALL.iter().map(|code| code.row().kind).collect::<BTreeSet<_>>().into_iter().collect(),
        ),
        ("Scope", Scope::ALL.map(Scope::name).to_vec()),
    ] {
        components["schemas"][name] = json!({"type": "string", "enum": values});
    }
    let mut paths = Object::new();
    for (path, operations) in merged(".paths.json") {
        let Value::Object(operations) = operations else { panic!("{path} is no object") };
        for (method, mut operation) in operations {
            let full = match route(&method, &path) {
                Some(route) => {
                    complete(&mut operation, route, &mut components["responses"]);
                    format!("{VERSION}{path}")
                }
                None => {
                    assert!(PAGES.contains(&path.as_str()), "nobody serves {method} {path}");
                    path.clone()
                }
            };
            for reply in operation["responses"].as_object_mut().unwrap().values_mut() {
                put_request_id(reply);
            }
            paths.entry(full).or_insert_with(|| json!({}))[method] = operation;
        }
    }
    for reply in components["responses"].as_object_mut().unwrap().values_mut() {
        put_request_id(reply);
    }
    skeleton["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    let mut take = |name: &str| skeleton.remove(name).unwrap();
    let document = Document {
        openapi: take("openapi"),
        info: take("info"),
        servers: take("servers"),
        tags: take("tags"),
        paths,
        components,
    };
    serde_json::to_string_pretty(&document).unwrap() + "\n"
}

/// The path of a route as OpenAPI writes it.
fn template(route: &Route) -> String {
    route.path.replace("{*", "{")
}

fn route(method: &str, path: &str) -> Option<&'static Route> {
    ROUTES.iter().find(|route| route.method.as_str().eq_ignore_ascii_case(method) && template(route) == path)
}

/// Fills in what the tables know of an operation.
fn complete(operation: &mut Value, route: &Route, shared: &mut Value) {
    let need = need(route.calls[0]).unwrap();
    let key = |scopes: &[Scope]| json!({"key": scopes.iter().map(|scope| scope.name()).collect::<Vec<_>>()});
    let (security, sentence) = match need {
        Need::Nothing => (vec![json!({})], "Needs no credential.".to_owned()),
        Need::Credential => (vec![key(&[])], "Needs any credential.".to_owned()),
        Need::Scope(scope) => (vec![key(&[scope])], format!("Needs the scope `{scope}`.")),
        Need::ScopeOrTicket(scope) => {
            let mut ways = vec![key(&[scope]), json!({"ticket": []})];
            ways.extend(route.calls.contains(&RESUME).then(|| json!({"ticketInUrl": []})));
            (ways, format!("Needs the scope `{scope}`, or a ticket."))
        }
    };
    operation["security"] = security.into();
    let text = operation["description"].as_str().map(|text| format!("{text}\n\n")).unwrap_or_default();
    operation["description"] = format!("{text}{sentence}").into();
    operation["x-grpc-methods"] =
        route.calls.iter().map(|call| call.trim_start_matches('/')).collect::<Vec<_>>().into();

    let mut parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
    parameters
        .extend(PARAMETERS.iter().map(|name| json!({"$ref": format!("#/components/parameters/{name}")})));
    operation["parameters"] = parameters.into();

    let own = operation.as_object_mut().unwrap().remove("x-errors").unwrap_or_default();
    for (status, codes) in by_status(&own) {
        let names: Vec<_> = codes.iter().map(|code| code.code()).collect();
        let name = format!("{status}.{}", names.join("."));
        operation["responses"][status.to_string()] =
            json!({"$ref": format!("#/components/responses/{name}")});
        shared[name] = refusal(&codes);
    }
}

/// All refusals of an operation, in the order of their table.
fn by_status(own: &Value) -> Vec<(u16, Vec<ErrorCode>)> {
    let named = own.as_array().into_iter().flatten().map(|name| name.as_str().unwrap());
    let own = named.flat_map(|name| match name {
        "CREATE" => CREATE.to_vec(),
        name => vec![ErrorCode::from_code(name).unwrap_or_else(|| panic!("{name} is no error"))],
    });
    let wanted: Vec<_> = own.chain(COMMON).collect();
    let codes = ErrorCode::ALL.into_iter().filter(|code| wanted.contains(code));
    let mut all: Vec<(u16, Vec<ErrorCode>)> = Vec::new();
    for code in codes {
        let status = code.row().http;
        match all.iter_mut().find(|(known, _)| *known == status) {
            Some((_, codes)) => codes.push(code),
            None => all.push((status, vec![code])),
        }
    }
    all
}

/// The reply of these codes, which have one status.
fn refusal(codes: &[ErrorCode]) -> Value {
    let mut headers = Object::new();
    let mut header = |name: &str, component: &str| {
        headers.insert(name.to_owned(), json!({"$ref": format!("#/components/headers/{component}")}));
    };
    for row in codes.iter().map(|code| code.row()) {
        match row.retry {
            Retry::Later => {
                header("retry-after", "RetryAfter");
                header(names::RETRY_AFTER_MS, "RetryAfterMs");
            }
            Retry::Never if row.http == 409 => header(names::SHOULD_RETRY, "ShouldRetry"),
            Retry::Never => {}
            // A backend may have said when to come back, and the response that failed can be read.
            Retry::Unsaid if row.http > 500 => {
                header("retry-after", "RetryAfter");
                header(names::RETRY_AFTER_MS, "RetryAfterMs");
                header(names::RESPONSE_ID, "ResponseId");
            }
            Retry::Unsaid => {}
        }
    }
    if codes.iter().any(|code| matches!(code, ErrorCode::Unauthorized | ErrorCode::InsufficientScope)) {
        header("www-authenticate", "Challenge");
    }
    let names: Vec<_> = codes.iter().map(|code| code.code()).collect();
    let code = json!({"properties": {"error": {"properties": {"code": {"enum": names}}}}});
    let schema = json!({"allOf": [{"$ref": "#/components/schemas/Error"}, code]});
    let text = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    json!({"description": text, "headers": headers, "content": {"application/json": {"schema": schema}}})
}

fn put_request_id(reply: &mut Value) {
    if reply.get("$ref").is_none() {
        reply["headers"][names::REQUEST_ID] = json!({"$ref": "#/components/headers/RequestId"});
    }
}

/// Every `$ref` below a value.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value.as_str().filter(|_| name == "$ref") {
                    Some(target) => drop(found.insert(target.to_owned())),
                    None => references(value, found),
                }
            }
        }
        Value::Array(entries) => entries.iter().for_each(|entry| references(entry, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_document_is_what_its_parts_and_the_tables_say() {
    let rendered = render();
    if std::env::var_os(RENEW).is_some() {
        return fs::write(root().join(DOCUMENT), rendered).unwrap();
    }
    assert!(OPENAPI == rendered, "{DOCUMENT} is old: `tests/run openapi` writes it anew");
}

#[test]
fn every_route_is_in_the_document_and_no_other() {
    let document: Value = serde_json::from_str(&render()).unwrap();
    let paths = document["paths"].as_object().unwrap().iter();
    let documented: BTreeSet<_> = paths
        .flat_map(|(path, operations)| {
            operations
                .as_object()
                .unwrap()
                .keys()
                .map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let served = ROUTES.iter().map(|route| format!("{} {VERSION}{}", route.method, template(route)));
    let served: BTreeSet<_> = served.chain(PAGES.map(|path| format!("GET {path}"))).collect();
    assert_eq!(documented, served, "an operation is missing in {PARTS}, or left over");
}

#[test]
fn operations_have_names_of_their_own_and_a_summary() {
    let document: Value = serde_json::from_str(&render()).unwrap();
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap());
    let mut names = BTreeSet::new();
    for (_, operation) in operations {
        let name = operation["operationId"].as_str().unwrap();
        assert!(names.insert(name.to_owned()), "{name} is there twice");
        for member in ["summary", "description"] {
            assert!(
                operation[member].as_str().is_some_and(|text| !text.is_empty()),
                "{name} has no {member}"
            );
        }
        assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{name}");
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_component_is_used() {
    let document: Value = serde_json::from_str(&render()).unwrap();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for target in &found {
        let pointer = target.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{target} leads nowhere");
    }
    for kind in ["parameters", "headers", "responses", "schemas"] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            assert!(found.contains(&format!("#/components/{kind}/{name}")), "nobody uses {name} of {kind}");
        }
    }
}
