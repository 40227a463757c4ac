//! Every setting is documented.

use tidemark::config::DEFAULTS;

use crate::tree::read;

/// Key paths of `defaults.toml`, those in its comments too.
fn keys() -> Vec<String> {
    let mut section = "";
    let mut keys = Vec::new();
    for line in DEFAULTS.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_matches(['[', ']']);
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            keys.push(format!("{section}.{key}"));
        }
    }
    keys.extend(["base_url", "api_key_env", "api_key_file", "models"].map(|key| format!("backends.{key}")));
    keys
}

#[test]
fn every_setting_is_in_the_operators_page() {
    let page = read("docs/operations.md");
    assert!(keys().len() > 30);
    for key in keys() {
        assert!(page.contains(&format!("| `{key}` |")), "docs/operations.md has no row for `{key}`");
    }
}

#[test]
fn every_setting_has_a_comment() {
    let lines: Vec<_> = DEFAULTS.lines().collect();
    for pair in lines.windows(2).filter(|pair| pair[1].contains(" = ") && !pair[1].starts_with('#')) {
        assert!(pair[0].starts_with("# "), "no comment above `{}`", pair[1]);
    }
}
