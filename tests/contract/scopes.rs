//! S-8: `docs/security.md` shows what every method and every REST route needs, as the table in the code has it.

use tidemark::auth::Need;
use tidemark::auth::methods::METHODS;
use tidemark_bridge::{ROUTES, VERSION};

use crate::tree::read;

/// The row of a method: its name, the REST routes that become calls of it, what it needs.
fn row(path: &str, need: Need) -> String {
    let routes = ROUTES.iter().filter(|route| route.calls.contains(&path));
    let routes: Vec<_> = routes.map(|route| format!("`{} {VERSION}{}`", route.method, route.path)).collect();
    let need = match need {
        Need::Nothing => "no credential".to_owned(),
        Need::Credential => "any credential".to_owned(),
        Need::Scope(scope) => format!("`{scope}`"),
        Need::ScopeOrTicket(scope) => format!("`{scope}`, or a ticket"),
    };
    format!("| `{}` | {} | {need} |", path.trim_start_matches('/'), routes.join(", "))
}

#[test]
fn the_page_has_the_table_of_scopes() {
    let page = read("docs/security.md");
    let table = METHODS.iter().map(|(path, need)| row(path, *need)).collect::<Vec<_>>().join("\n");
    assert!(page.contains(&table), "docs/security.md must have these rows:\n{table}");
}
