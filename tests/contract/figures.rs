//! Every figure is documented, and nothing else is.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidemark::telemetry::Metrics;
use tidemark_store::embedded::{EmbeddedStore, Options};

use crate::tree::read;

/// The names on the page, a counter with its suffix.
fn exported() -> BTreeSet<String> {
    let (metrics, dir) = (Metrics::new(), tempfile::tempdir().unwrap());
    metrics.watch(Arc::new(EmbeddedStore::open(dir.path(), Options::default()).unwrap()));
    let page = metrics.text().unwrap();
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let name = |(name, kind)| if kind == "counter" { format!("{name}_total") } else { String::from(name) };
    types.map(name).collect()
}

#[test]
fn every_figure_is_in_the_operators_page_and_no_other() {
    let page = read("docs/operations.md");
    let documented = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let documented: BTreeSet<_> =
        documented.filter(|name| name.starts_with("tidemark_")).map(str::to_owned).collect();
    assert_eq!(documented, exported());
}
