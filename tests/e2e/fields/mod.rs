//! Each row of the tables in `docs/compatibility.md`: the fields of both APIs, to backends of both dialects.
//!
//! The rows of requests are walked over here; for those of answers and calls the test is named that proves them. A row that is not
//! here, and one that is here and not in the document, fails.

mod chats;
mod proven;
mod responses;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::chats as calls;
use crate::common::rest::Client;
use crate::common::scripted::{answer, response};
use crate::setup::Stage;

const TEXT: &str = include_str!("../../../docs/compatibility.md");

/// What becomes of a request at a backend of one dialect.
#[derive(Clone, Debug)]
enum Told {
    /// The fields of the case as they are.
    AsItIs,
    /// These fields, of which those that are null are not there.
    As(Value),
    /// Nothing: 400 with this param.
    Refused(&'static str),
}

use Told::{As, AsItIs, Refused};

/// A request, and what backends of the chat dialect and of the Responses dialect are told.
struct Case(Value, Told, Told);

/// A row by its first cell.
type Row = (&'static str, Vec<Case>);

fn items(items: Value) -> Value {
    json!({ "input": items })
}

fn tool() -> Value {
    json!([{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": true}])
}

fn nested_tool() -> Value {
    json!([{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": true}}])
}

/// The first cells of the table with this head; only the n-th of several that have the same one.
fn first_cells(head: &str, nth: usize) -> Vec<&'static str> {
    let table = TEXT.split("\n\n").filter(|paragraph| paragraph.starts_with(head)).nth(nth);
    let rows = table.unwrap_or_else(|| panic!("no table with the head {head}")).lines().skip(2);
    rows.map(|row| row.split(" | ").next().unwrap().trim_start_matches("| ")).collect()
}

#[test]
fn every_row_of_every_table_is_proven() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut walked = BTreeSet::new();
    for (head, rows) in proven::ROWS {
        assert_eq!(first_cells(head, 0), rows.iter().map(|(row, _)| *row).collect::<Vec<_>>());
        walked.insert(head);
        for (row, test) in rows {
            let (path, name) = test.split_once("::").unwrap_or_else(|| panic!("{row}: {test}"));
            let source = std::fs::read_to_string(root.join(path)).unwrap();
            assert!(source.contains(&format!("fn {name}(")), "{row}: there is no {test}");
        }
    }
    let heads = [
        ("| field | chat dialect | responses dialect | note |", responses::rows()),
        ("| field | chat dialect | responses dialect, demo |", chats::rows()),
    ];
    for (head, rows) in heads {
        assert_eq!(first_cells(head, 0), rows.iter().map(|(row, _)| *row).collect::<Vec<_>>());
        walked.insert(head);
    }
    let tables = TEXT.split("\n\n").filter(|paragraph| paragraph.starts_with('|')).count();
    assert_eq!(tables, walked.len(), "a table that nobody walks over");
}

/// Compares what a backend was asked with what it should have been.
fn assert_told(asked: &Value, fields: &Value, told: &Told, row: &str) {
    let expected = match told {
        AsItIs => fields,
        As(expected) => expected,
        Refused(param) => panic!("{row}: {param} was not refused: {asked}"),
    };
    for (name, value) in expected.as_object().unwrap() {
        let found = asked.get(name);
        let fits = if value.is_null() { found.is_none() } else { found == Some(value) };
        assert!(fits, "{row}: {name} is {found:?} and not {value}");
    }
}

async fn walk(rows: Vec<Row>, path: &str, base: &Value) {
    let chat = answer(["x"]);
    let stages = [
        Stage::set([("m", chat)], "models = { m = \"m\", alias = \"m\" }", "").await,
        Stage::set(
            [("m", response([], &json!([])))],
            "dialect = \"responses\"\nmodels = { m = \"m\", alias = \"m\" }",
            "",
        )
        .await,
    ];
    for (row, cases) in rows {
        for Case(fields, chat, responses) in cases {
            for (stage, told) in stages.iter().zip([chat, responses]) {
                let mut body = base.clone();
                body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
                let before = stage.backend.asked().len();
                let (status, reply) = Client::json(stage.client.post(path, &body)).await;
                let asked = stage.backend.asked();
                if let Refused(param) = told {
                    let error = &reply["error"];
                    assert_eq!(
                        (status, &error["code"], &error["param"]),
                        (400, &json!("invalid_request"), &json!(param)),
                        "{row}: {reply}"
                    );
                    assert_eq!(asked.len(), before, "{row}");
                } else {
                    assert_eq!((status, asked.len()), (200, before + 1), "{row}: {reply}");
                    assert_told(&asked[before].body, &fields, &told, row);
                }
            }
        }
    }
}

#[tokio::test]
async fn every_field_of_a_response_reaches_each_dialect_as_the_table_says() {
    walk(responses::rows(), "/v1/responses", &json!({"model": "m", "input": "x"})).await;
}

#[tokio::test]
async fn every_field_of_a_chat_reaches_each_dialect_as_the_table_says() {
    let base = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
    walk(chats::rows(), calls::PATH, &base).await;
}
