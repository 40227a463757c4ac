//! `docs/formats.md` has every number and name that decides what lies on the disk, as the code has them.

use crate::tree::read;

const PAGE: &str = "docs/formats.md";

/// The constants of these names that a source file declares, as `NAME = value`.
fn constants(path: &str, is_format: impl Fn(&str) -> bool) -> Vec<String> {
    let declared = |line: &str| {
        let line = line.trim_start();
        let rest =
            line.strip_prefix("const ").or_else(|| line.split_once(") const ").map(|(_, rest)| rest))?;
        let (name, rest) = rest.split_once(": ")?;
        let value = rest.split_once(" = ")?.1.strip_suffix(';')?;
        is_format(name).then(|| format!("{name} = {value}"))
    };
    read(path).lines().filter_map(declared).collect()
}

/// Asserts that the page has all of these, and that there is something to look for.
fn assert_on_page(found: &[String], count: usize) {
    let page = read(PAGE);
    for constant in found {
        assert!(page.contains(&format!("`{constant}`")), "{PAGE} does not say `{constant}`");
    }
    assert!(found.len() >= count, "only {found:?}");
}

#[test]
fn every_kind_of_frame_and_every_flag_is_on_the_page() {
    let store = |file: &str| format!("server/store/src/embedded/{file}.rs");
    assert_on_page(&constants(&store("change"), |name| name.starts_with("KIND_")), 6);
    assert_on_page(&constants(&store("standing"), |name| name.starts_with("HAS_") || name == "CLOSED"), 5);
    assert_on_page(&constants(&store("segment"), |name| name == "FORMAT_VERSION"), 1);
    assert_on_page(&constants(&store("stub"), |name| name == "KIND_STUB"), 1);
    assert_on_page(&constants(&store("keys"), |name| name == "FORMAT"), 1);
}

#[test]
fn every_kind_of_key_of_the_index_is_on_the_page() {
    let source = read("server/store/src/embedded/keys.rs");
    let page = read(PAGE);
    let index = page.split("\n## ").find(|section| section.starts_with("The index")).unwrap();
    let kinds: Vec<&str> =
        source.split("b'").skip(1).filter_map(|rest| rest.split_once('\'')).map(|(kind, _)| kind).collect();
    let names: Vec<&str> = source
        .split(" = b\"")
        .skip(1)
        .filter_map(|rest| rest.split_once('"'))
        .map(|(name, _)| name)
        .collect();
    for kind in kinds.iter().chain(&names).filter(|kind| kind.len() == 1) {
        assert!(index.contains(&format!("\n| `{kind}`")), "{PAGE} does not say what the key {kind} is");
    }
    assert!(kinds.len() + names.len() >= 9, "{kinds:?} {names:?}");
}

#[test]
fn every_mark_is_on_the_page() {
    assert_on_page(&constants("server/runs/document.rs", |name| matches!(name, "KEYED" | "CHAT")), 2);
    assert_on_page(&constants("server/runs/compact/bundle.rs", |name| name == "MARK"), 1);
    let source = read("server/runs/status.rs");
    let bytes: Vec<&str> = source.split("=> 0x").skip(1).filter_map(|rest| rest.get(..2)).collect();
    let page = read(PAGE);
    for byte in &bytes {
        assert!(page.contains(&format!("`0x{byte}`")), "{PAGE} does not say what mark 0x{byte} is");
    }
    assert!(bytes.len() >= 9);
}

/// Whoever puts records has a kind of them, which the page describes and a chapter of `server/fixtures/` holds.
#[test]
fn everybody_who_puts_records_is_on_the_page() {
    let page = read(PAGE);
    for path in crate::tree::files("server", "rs") {
        let (path, source) = (path.display().to_string(), read(&path));
        let is_below = path.starts_with("server/store/") || path.contains("/tests");
        let puts = source.contains(".put_record(")
            || source.contains("record::json(")
            || source.contains("record::key_name(");
        if !is_below && puts {
            let room = path.rsplit_once('/').unwrap().0;
            assert!(page.contains(&format!("`{room}/")), "{PAGE} has no record of {path}");
        }
    }
}
