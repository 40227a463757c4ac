//! The size of source files: at most 500 lines without tests, 700 with.

use crate::tree::{files, read};

const MAX_LINES: usize = 500;
const MAX_LINES_WITH_TESTS: usize = 700;

/// Lines before the test module at the end of a file, and all lines.
fn lines(source: &str) -> (usize, usize) {
    let all = source.lines().count();
    let tests =
        source.lines().collect::<Vec<_>>().windows(2).position(|pair| {
            pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
        });
    (tests.unwrap_or(all), all)
}

#[test]
fn no_source_file_is_too_long() {
    let sizes = files("", "rs").into_iter().map(|path| (lines(&read(&path)), path));
    let long: Vec<_> =
        sizes.filter(|((code, all), _)| *code > MAX_LINES || *all > MAX_LINES_WITH_TESTS).collect();
    assert!(long.is_empty(), "too long (lines without tests, with tests): {long:#?}");
}

#[test]
fn tests_are_told_from_code() {
    assert_eq!(lines("code\n\n#[cfg(test)]\nmod tests {\n}\n"), (2, 5));
    assert_eq!(lines("code\n#[cfg(test)]\nmod elsewhere;\n"), (3, 3));
}
