//! D-1: which crate of ours may depend on which, and what the store and the bridge must not know.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::tree::root;

/// Crates of ours that each crate may use.
const ALLOWED: [(&str, &[&str]); 5] = [
    ("tidemark", &["tidemark-bridge", "tidemark-proto", "tidemark-store"]),
    ("tidemark-bridge", &["tidemark-proto"]),
    ("tidemark-client", &["tidemark-proto"]),
    ("tidemark-proto", &[]),
    ("tidemark-store", &[]),
];

/// Crates of others that a crate must never use.
const FORBIDDEN: [(&str, &[&str]); 3] = [
    ("tidemark-store", &["axum", "http", "hyper", "prost", "reqwest", "serde_json", "tonic"]),
    ("tidemark-bridge", &["reqwest", "sled"]),
    ("tidemark-proto", &["axum", "hyper", "reqwest", "sled"]),
];

/// Direct dependencies of each package, tests and build scripts left out.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let package = |package: &Value| {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let normal = dependencies.filter(|dependency| dependency["kind"].is_null());
        (text(&package["name"]), normal.map(|dependency| text(&dependency["name"])).collect())
    };
    metadata["packages"].as_array().unwrap().iter().map(package).collect()
}

#[test]
fn arrows_point_down() {
    let allowed = BTreeMap::from(ALLOWED);
    let packages = dependencies();
    assert!(packages.len() >= 4, "{packages:?}");
    for (package, dependencies) in &packages {
        let allowed =
            allowed.get(package.as_str()).unwrap_or_else(|| panic!("{package} has no row in ALLOWED"));
        for ours in dependencies.iter().filter(|name| packages.contains_key(*name)) {
            assert!(allowed.contains(&ours.as_str()), "{package} must not depend on {ours}");
        }
    }
}

#[test]
fn crates_do_not_know_what_they_must_not() {
    let packages = dependencies();
    for (package, forbidden) in FORBIDDEN {
        for name in forbidden {
            assert!(!packages[package].contains(*name), "{package} must not depend on {name}");
        }
    }
}
