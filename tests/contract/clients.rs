//! The clients: what their pages show is what is tried, their versions are ours, and the rules are the same for all.

use crate::tree::read;

/// Pages of clients, and the examples that they show.
const SHOWN: [(&str, &str); 4] = [
    ("clients/rust/README.md", "clients/rust/examples/chat.rs"),
    ("clients/python/README.md", "clients/python/examples/chat.py"),
    ("clients/python/README.md", "clients/python/examples/chat_asyncio.py"),
    ("clients/web/README.md", "clients/web/examples/chat.mjs"),
];

#[test]
fn pages_show_the_examples_that_are_tried() {
    for (page, example) in SHOWN {
        assert!(read(page).contains(read(example).trim_end()), "{page} does not show {example} as it is");
    }
}

#[test]
fn all_clients_have_the_version_of_the_workspace() {
    let workspace = read("Cargo.toml");
    let version = workspace.lines().find_map(|line| line.strip_prefix("version = ")).unwrap();
    assert!(read("clients/python/pyproject.toml").lines().any(|line| line == format!("version = {version}")));
    assert!(read("clients/web/package.json").contains(&format!("\"version\": {version}")));
    assert!(workspace.contains(&format!("tidemark-proto = {{ path = \"proto\", version = {version} }}")));
}

#[test]
fn every_rule_of_the_clients_is_on_their_page() {
    let page = read("clients/README.md");
    for rule in 1..=9 {
        assert!(page.contains(&format!("- **F-{rule}** ")), "F-{rule}");
    }
}
