//! Everything in the contract is documented.

use crate::tree::{files, read};

/// Whether a line of a .proto file declares something.
fn declares(line: &str) -> bool {
    let word = line.split_whitespace().next().unwrap_or_default();
    let block = ["service", "rpc", "message", "enum", "oneof"].contains(&word);
    let member =
        line.ends_with(';') && line.contains(" = ") && !["syntax", "option", "reserved"].contains(&word);
    block || member
}

/// The declarations without a comment right above them.
fn bare(source: &str) -> Vec<&str> {
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    let pairs = std::iter::once("").chain(lines.iter().copied()).zip(lines.iter().copied());
    pairs.filter(|(above, line)| declares(line) && !above.starts_with("//")).map(|(_, line)| line).collect()
}

#[test]
fn every_declaration_has_a_comment() {
    for path in files("proto", "proto") {
        let bare = bare(&read(&path)).into_iter().map(str::to_owned).collect::<Vec<_>>();
        assert!(bare.is_empty(), "{}: no comment above {bare:#?}", path.display());
    }
}

#[test]
fn a_missing_comment_is_found() {
    assert_eq!(bare("// A.\nmessage A {\n  string a = 1;\n  // B.\n  string b = 2;\n}"), ["string a = 1;"]);
    assert_eq!(bare("service S {\n  rpc R(A) returns (B);\n}").len(), 2);
}
