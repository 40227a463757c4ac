//! D-6: every error code has a page, and no page is left over.

use std::collections::BTreeSet;

use tidemark_proto::errors::Row;
use tidemark_proto::v1::ErrorCode;

use crate::tree::{files, read};

const SECTIONS: [&str; 3] = ["\n## What it means\n", "\n## What to check\n", "\n## What to change\n"];

/// The line under the title of a page.
fn facts(row: &Row) -> String {
    let name = format!("{:?}", row.grpc);
    let spelled = name.chars().enumerate().map(|(index, letter)| match letter {
        letter if letter.is_uppercase() && index > 0 => format!("_{letter}"),
        letter => letter.to_ascii_uppercase().to_string(),
    });
    format!("HTTP {} · gRPC `{}` · type `{}`", row.http, spelled.collect::<String>(), row.kind)
}

#[test]
fn every_error_code_has_its_page() {
    for code in ErrorCode::ALL {
        let page = read(format!("docs/errors/{}.md", code.code()));
        let head = format!("# `{}`\n\n{}\n", code.code(), facts(&code.row()));
        assert!(page.starts_with(&head), "docs/errors/{}.md must begin with\n{head}", code.code());
        for section in SECTIONS {
            let text =
                page.split(section).nth(1).unwrap_or_default().split("\n## ").next().unwrap_or_default();
            assert!(text.trim().len() > 20, "docs/errors/{}.md says nothing under{section}", code.code());
        }
    }
}

#[test]
fn every_page_has_its_code_and_is_in_the_list() {
    let codes: BTreeSet<_> = ErrorCode::ALL.iter().map(|code| code.code().to_owned()).collect();
    let stems = files("docs/errors", "md")
        .into_iter()
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned());
    let pages: BTreeSet<_> = stems.filter(|stem| stem != "README").collect();
    assert_eq!(pages, codes);
    let list = read("docs/errors/README.md");
    for code in codes {
        assert!(list.contains(&format!("[`{code}`]({code}.md)")), "{code} is not in docs/errors/README.md");
    }
}
