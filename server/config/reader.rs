//! Reads tables of settings: looks a key up in its layers, checks it, and collects what is wrong.
//!
//! It owns layers, key paths, line numbers and the messages about them. It must never know which settings there are.

use std::cell::RefCell;
use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::problem::{Problem, Problems};

/// The most letters by which a misspelt key may differ from the one that is meant.
const HINT_DISTANCE: usize = 3;

/// Values from the command line: key path → flag and value. They win over every file.
pub(super) type Flags = BTreeMap<&'static str, (&'static str, DeValue<'static>)>;

/// What one reading of the settings finds.
#[derive(Debug)]
pub(super) struct Reading<'t> {
    text: &'t str,
    flags: &'t Flags,
    problems: RefCell<Vec<Problem>>,
    /// The values in force, as TOML literals by key path.
    literals: RefCell<BTreeMap<String, String>>,
}

impl<'t> Reading<'t> {
    /// Begins to read `text`, the settings file.
    pub(super) fn new(text: &'t str, flags: &'t Flags) -> Self {
        Self { text, flags, problems: RefCell::default(), literals: RefCell::default() }
    }

    /// Parses the file; what is not TOML becomes a problem of `place`.
    pub(super) fn parse(&self, place: &str) -> DeTable<'t> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            self.report(
                place.to_owned(),
                error.span().map(|span| self.line(span.start)),
                error.message().to_owned(),
            );
        }
        table.into_inner()
    }

    /// Notes a problem, once per line and text. A line that is not even TOML has no other problem.
    pub(super) fn report(&self, place: String, line: Option<usize>, text: String) {
        let mut problems = self.problems.borrow_mut();
        let known =
            |known: &Problem| line.is_some() && known.line == line && !known.place.contains(['.', '[']);
        let problem = Problem { place, line, text };
        if !problems.iter().any(|old| known(old) || *old == problem) {
            problems.push(problem);
        }
    }

    /// The end: the values in force as TOML literals by key path, or the problems.
    pub(super) fn end(self) -> Result<BTreeMap<String, String>, Problems> {
        match Problems::some(self.problems.into_inner()) {
            Some(problems) => Err(problems),
            None => Ok(self.literals.into_inner()),
        }
    }

    fn line(&self, offset: usize) -> usize {
        self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
    }
}

/// Where a value may stand: a table, its key path, and whether it is part of the file.
#[derive(Clone, Debug)]
struct Layer<'t> {
    path: String,
    table: &'t DeTable<'t>,
    in_file: bool,
}

/// A value that was found.
struct Found<'t> {
    place: String,
    line: Option<usize>,
    value: &'t DeValue<'t>,
}

/// One table of settings, with the tables that stand behind it: the first layer that has a key gives its value.
#[derive(Debug)]
pub(super) struct Section<'r, 't> {
    reading: &'r Reading<'t>,
    path: String,
    layers: Vec<Layer<'t>>,
    known: RefCell<Vec<&'static str>>,
}

impl<'r, 't> Section<'r, 't> {
    /// The whole file, with the defaults behind it.
    pub(super) fn root(reading: &'r Reading<'t>, file: &'t DeTable<'t>, defaults: &'t DeTable<'t>) -> Self {
        let layer = |table, in_file| Layer { path: String::new(), table, in_file };
        Self::new(reading, String::new(), vec![layer(file, true), layer(defaults, false)])
    }

    fn new(reading: &'r Reading<'t>, path: String, layers: Vec<Layer<'t>>) -> Self {
        Self { reading, path, layers, known: RefCell::default() }
    }

    /// The table `key` of this one.
    pub(super) fn table(&self, key: &'static str) -> Self {
        self.known.borrow_mut().push(key);
        let layers = self.layers.iter().filter_map(|layer| {
            let value = layer.table.get(key)?;
            let path = join(&layer.path, key);
            match value.get_ref().as_table() {
                Some(table) => Some(Layer { path, table, in_file: layer.in_file }),
                None => {
                    self.wrong(
                        path,
                        layer,
                        value,
                        format!("must be a table, found {}", kind(value.get_ref())),
                    );
                    None
                }
            }
        });
        Self::new(self.reading, join(&self.path, key), layers.collect())
    }

    /// The tables of the array `key`, from the first layer that has it; `behind` gives them what they do not say themselves.
    pub(super) fn tables(&self, key: &'static str, behind: &Self) -> Vec<Self> {
        self.known.borrow_mut().push(key);
        let path = join(&self.path, key);
        let Some((layer, value)) = self.layers.iter().find_map(|layer| Some((layer, layer.table.get(key)?)))
        else {
            return Vec::new();
        };
        let entries =
            value.get_ref().as_array().map(|array| array.iter().collect::<Vec<_>>()).unwrap_or_default();
        if entries.is_empty() {
            self.wrong(path, layer, value, format!("must be at least one table, written as [[{key}]]"));
            return Vec::new();
        }
        let section = |(index, entry): (usize, &'t Spanned<DeValue<'t>>)| {
            let path = format!("{path}[{index}]");
            let Some(table) = entry.get_ref().as_table() else {
                self.wrong(path, layer, entry, format!("must be a table, found {}", kind(entry.get_ref())));
                return None;
            };
            let own = Layer { path: path.clone(), table, in_file: layer.in_file };
            Some(Self::new(
                self.reading,
                path,
                std::iter::once(own).chain(behind.layers.iter().cloned()).collect(),
            ))
        };
        entries.into_iter().enumerate().filter_map(section).collect()
    }

    /// The value of `key`, checked by `parse`, whose error says what is wrong. Reports a key that is nowhere: `want` says what
    /// it should have been.
    pub(super) fn required<T>(
        &self,
        key: &'static str,
        want: &str,
        parse: impl FnOnce(&DeValue<'t>) -> Result<T, String>,
    ) -> Option<T> {
        let before = self.reading.problems.borrow().len();
        let value = self.optional(key, parse);
        if value.is_none() && self.find(key).is_none() && self.reading.problems.borrow().len() == before {
            self.report(key, format!("is missing: {want}"));
        }
        value
    }

    /// The value of `key`, checked by `parse`, or `None` if it is nowhere or wrong.
    pub(super) fn optional<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&DeValue<'t>) -> Result<T, String>,
    ) -> Option<T> {
        self.known.borrow_mut().push(key);
        let found = self.find(key)?;
        match parse(found.value) {
            Ok(value) => {
                self.reading.literals.borrow_mut().insert(join(&self.path, key), literal(found.value));
                Some(value)
            }
            Err(text) => {
                self.reading.report(found.place, found.line, text);
                None
            }
        }
    }

    /// Whether this table itself, not one behind it, has `key`.
    pub(super) fn has(&self, key: &str) -> bool {
        self.layers.first().is_some_and(|own| own.table.contains_key(key))
    }

    /// Reports `key` of this table.
    pub(super) fn report(&self, key: &str, text: String) {
        let found = self.find(key);
        let place = found.as_ref().map_or_else(|| join(&self.path, key), |found| found.place.clone());
        self.reading.report(place, found.and_then(|found| found.line), text);
    }

    /// Marks `keys` as known and reports those that this table has.
    pub(super) fn refuse(&self, keys: &[&'static str], text: &str) {
        self.known.borrow_mut().extend_from_slice(keys);
        for key in keys.iter().filter(|key| self.has(key)) {
            self.report(key, text.to_owned());
        }
    }

    /// Reports every key of the file that nobody asked for.
    pub(super) fn end(self) {
        let Some(own) = self.layers.first().filter(|own| own.in_file) else { return };
        let known = self.known.borrow();
        for key in own.table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let name = key.get_ref().as_ref();
            let hint =
                nearest(name, &known).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            let line = self.reading.line(key.span().start);
            self.reading.report(join(&own.path, name), Some(line), format!("is not a setting{hint}"));
        }
    }

    fn find(&self, key: &str) -> Option<Found<'t>> {
        let path = join(&self.path, key);
        if let Some((flag, value)) = self.reading.flags.get(path.as_str()) {
            return Some(Found { place: (*flag).to_owned(), line: None, value });
        }
        self.layers.iter().find_map(|layer| {
            let value = layer.table.get(key)?;
            let line = layer.in_file.then(|| self.reading.line(value.span().start));
            Some(Found { place: join(&layer.path, key), line, value: value.get_ref() })
        })
    }

    fn wrong(&self, path: String, layer: &Layer<'t>, value: &Spanned<DeValue<'t>>, text: String) {
        let line = layer.in_file.then(|| self.reading.line(value.span().start));
        self.reading.report(path, line, text);
    }
}

/// What a value is, for a message.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The value as TOML in one line.
fn literal(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(array) => literal_list(array),
        DeValue::Table(table) => {
            let pairs = table
                .iter()
                .map(|(key, value)| format!("{} = {}", quoted(key.get_ref()), literal(value.get_ref())));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
    }
}

fn literal_list(array: &DeArray<'_>) -> String {
    let values = array.iter().map(|value| literal(value.get_ref()));
    format!("[{}]", values.collect::<Vec<_>>().join(", "))
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The known key that was probably meant: one that continues `name`, or the one that differs least.
fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let continued = known.iter().find(|key| key.starts_with(name) && !name.is_empty());
    let closest =
        || known.iter().map(|key| (distance(name, key), key)).filter(|(far, _)| *far <= HINT_DISTANCE).min();
    continued.or_else(|| closest().map(|(_, key)| key)).copied()
}

/// How many letters must be put in, taken out or changed to make `left` into `right`.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (index, a) in left.chars().enumerate() {
        let mut next = vec![index + 1];
        for ((b, above), diagonal) in right.chars().zip(row.iter().skip(1)).zip(&row) {
            let beside = next.last().copied().unwrap_or_default();
            next.push((diagonal + usize::from(a != b)).min(above + 1).min(beside + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        for (left, right, edits) in
            [("", "", 0), ("lisen", "listen", 1), ("abc", "", 3), ("drain", "brain", 1), ("ab", "ba", 2)]
        {
            assert_eq!(distance(left, right), edits, "{left} {right}");
            assert_eq!(distance(right, left), edits, "{right} {left}");
        }
    }

    #[test]
    fn a_hint_is_given_only_for_what_is_near() {
        let known = ["listen", "api_key_env", "queue"];
        assert_eq!(nearest("lisen", &known), Some("listen"));
        assert_eq!(nearest("api_key", &known), Some("api_key_env"));
        assert_eq!(nearest("something_else", &known), None);
    }

    #[test]
    fn an_earlier_layer_wins_and_flags_win_over_all() {
        let flags = Flags::from([("server.b", ("--b", DeValue::String("flag".into())))]);
        let (text, defaults) =
            ("[server]\na = 'file'\nb = 'file'", "[server]\na = 'x'\nb = 'x'\nc = 'default'");
        let reading = Reading::new(text, &flags);
        let (file, defaults) = (reading.parse("file"), DeTable::parse(defaults).unwrap().into_inner());
        let section = Section::root(&reading, &file, &defaults).table("server");
        let read = |key| {
            section.optional(key, |value| value.as_str().map(str::to_owned).ok_or_else(String::new)).unwrap()
        };
        assert_eq!([read("a"), read("b"), read("c")], ["file", "flag", "default"]);
        section.end();
        let literals = reading.end().unwrap();
        assert_eq!(literals["server.c"], "\"default\"");
    }

    #[test]
    fn unknown_keys_and_wrong_shapes_have_their_line() {
        let flags = Flags::new();
        let reading = Reading::new("server = 3\nother = 1\n", &flags);
        let (file, defaults) = (reading.parse("file"), DeTable::new());
        let root = Section::root(&reading, &file, &defaults);
        root.table("server").end();
        root.end();
        let problems = reading.end().unwrap_err().to_string();
        assert_eq!(
            problems,
            "server (line 1): must be a table, found a whole number\nother (line 2): is not a setting"
        );
    }
}
