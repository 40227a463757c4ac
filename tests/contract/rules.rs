//! `docs/rules.md` names a test for every rule, `docs/guarantees.md` one for every promise, and the tests exist.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::tree::read;

/// The rules of what is built so far, by family.
const RULES: [(&str, &[RangeInclusive<u32>]); 12] = [
    ("A", &[6..=8]),
    ("B", &[1..=31, 33..=37]),
    ("B-s", &[1..=15]),
    ("C", &[6..=6]),
    ("D", &[1..=41]),
    ("F", &[1..=9]),
    ("L", &[27..=29]),
    ("O", &[1..=36]),
    ("R", &[4..=33]),
    ("S", &[1..=11]),
    ("U", &[1..=1, 3..=5, 10..=13, 15..=16, 18..=18, 20..=25]),
    ("W", &[1..=10, 12..=36]),
];

/// A cell for a rule that has no test yet.
const OPEN: &str = "open";

/// Begins a cell for a rule that no test can prove.
const BY_REVIEW: &str = "by review: ";

/// Cells of the table: rule → its tests.
fn table() -> Vec<(String, String)> {
    let page = read("docs/rules.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |").map(str::to_owned));
    let cells = rows.map(|row| row.split(" | ").map(str::to_owned).collect::<Vec<_>>());
    cells
        .filter(|cells| cells[0].contains('-') && cells.len() == 3)
        .map(|cells| (cells[0].clone(), cells[2].clone()))
        .collect()
}

fn rules() -> Vec<String> {
    let family = |(name, ranges): (&str, &[RangeInclusive<u32>])| {
        // What the seeds lack is numbered `B-s1` and so on.
        let dash = if name.contains('-') { "" } else { "-" };
        ranges.iter().cloned().flatten().map(|number| format!("{name}{dash}{number}")).collect::<Vec<_>>()
    };
    RULES.into_iter().flat_map(family).collect()
}

/// Whether `path::name` is a test: the file has a function of that name, or a test in JavaScript that is called so.
fn exists(test: &str) -> bool {
    let Some((path, name)) = test.split_once("::") else { return false };
    let declared =
        [format!("fn {name}("), format!("def {name}("), format!("fn {name}<"), format!("test(\"{name}\"")];
    crate::tree::root().join(path).is_file() && declared.iter().any(|declared| read(path).contains(declared))
}

#[test]
fn every_rule_has_one_row() {
    let mut rows = BTreeMap::<_, u32>::new();
    for (rule, _) in table() {
        *rows.entry(rule).or_default() += 1;
    }
    let expected: BTreeMap<_, _> = rules().into_iter().map(|rule| (rule, 1)).collect();
    assert_eq!(rows, expected);
}

#[test]
fn every_test_that_is_named_exists() {
    for (rule, cell) in table() {
        if cell == OPEN || cell.starts_with(BY_REVIEW) {
            continue;
        }
        for test in cell.split("<br>") {
            let test = test.trim().trim_matches('`');
            assert!(exists(test), "{rule}: there is no test {test}");
        }
    }
}

#[test]
fn every_promise_names_a_test_that_exists() {
    let page = read("docs/guarantees.md");
    for promise in page.split("\n- ").skip(1) {
        let mut tests = promise.split('`').filter(|quoted| quoted.contains("::")).peekable();
        assert!(tests.peek().is_some(), "no test proves: {promise}");
        for test in tests {
            assert!(exists(test), "there is no test {test}, which shall prove: {promise}");
        }
    }
}

#[test]
fn no_rule_is_open() {
    let open: Vec<_> = table().into_iter().filter(|(_, cell)| cell == OPEN).map(|(rule, _)| rule).collect();
    assert!(open.is_empty(), "no test proves {open:?}");
}

#[test]
fn a_test_that_does_not_exist_is_noticed() {
    assert!(exists("tests/contract/rules.rs::a_test_that_does_not_exist_is_noticed"));
    for wrong in ["tests/contract/rules.rs::no_such_test", "tests/none.rs::table", "table", ""] {
        assert!(!exists(wrong), "{wrong}");
    }
}
