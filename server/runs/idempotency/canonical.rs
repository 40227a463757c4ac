//! JSON in the canonical form of RFC 8785: one text for one value.
//!
//! It owns the order of names, the spelling of strings and the bounds of what can be compared. Libraries for this form read
//! numbers as doubles and let the last of two members with one name win; both would make two bodies one.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::value::RawValue;

use super::number;

/// How deeply lists and objects may lie in each other, the outermost one counted.
pub(super) const MAX_DEPTH: usize = 128;

/// Why a value has no canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// An object has two members of this name.
    Twice(String),
    /// Deeper than [`MAX_DEPTH`].
    TooDeep,
    /// A string has half of a surrogate pair.
    NotUnicode,
    /// Not JSON.
    Malformed,
}

/// An object under construction. Its members come in any order and end up in that of RFC 8785.
pub(super) struct Object<'t, 'n> {
    text: &'t mut String,
    /// Where its first member begins.
    start: usize,
    members: Vec<(Cow<'n, str>, Range<usize>)>,
}

/// Appends a value.
pub(super) fn write(value: &RawValue, to: &mut String) -> Result<(), Wrong> {
    Scanner { rest: value.get(), depth: 0 }.value(to)
}

impl<'t, 'n> Object<'t, 'n> {
    /// Begins an object at the end of `text`.
    pub(super) fn begin(text: &'t mut String) -> Self {
        text.push('{');
        let start = text.len();
        Self { text, start, members: Vec::new() }
    }

    /// Adds a member; `value` appends its value.
    pub(super) fn put(
        &mut self,
        name: Cow<'n, str>,
        value: impl FnOnce(&mut String) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        if !self.members.is_empty() {
            self.text.push(',');
        }
        let begin = self.text.len();
        write_string(&name, self.text)?;
        self.text.push(':');
        value(self.text)?;
        self.members.push((name, begin..self.text.len()));
        Ok(())
    }

    /// Adds those members of another object whose names are wanted.
    pub(super) fn extend(
        &mut self,
        object: &'n RawValue,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<(), Wrong> {
        let mut scanner = Scanner { rest: object.get(), depth: 0 };
        let mut unwanted = String::new();
        let mut left_out = Object::begin(&mut unwanted);
        scanner.members(|name, scanner| match wanted(&name) {
            true => self.put(name, |to| scanner.value(to)),
            false => left_out.put(name, |to| scanner.value(to)),
        })?;
        // A name that stands twice is wrong also there.
        left_out.end()
    }

    /// Puts the members into their order.
    pub(super) fn end(mut self) -> Result<(), Wrong> {
        let by_utf16 =
            |one: &Cow<'_, str>, other: &Cow<'_, str>| one.encode_utf16().cmp(other.encode_utf16());
        if !self.members.is_sorted_by(|(one, _), (other, _)| by_utf16(one, other).is_lt()) {
            self.members.sort_by(|(one, _), (other, _)| by_utf16(one, other));
            self.rearrange()?;
        }
        self.text.push('}');
        Ok(())
    }

    fn rearrange(&mut self) -> Result<(), Wrong> {
        let mut sorted = String::with_capacity(self.text.len() - self.start);
        let mut last: Option<&str> = None;
        for (name, range) in &self.members {
            if last.replace(name) == Some(name) {
                return Err(Wrong::Twice(name.clone().into_owned()));
            }
            if !sorted.is_empty() {
                sorted.push(',');
            }
            sorted.push_str(self.text.get(range.clone()).ok_or(Wrong::Malformed)?);
        }
        self.text.truncate(self.start);
        self.text.push_str(&sorted);
        Ok(())
    }
}

/// Walks over a text that is JSON already, so that it only needs to find the ends of things.
struct Scanner<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Scanner<'a> {
    fn value(&mut self, to: &mut String) -> Result<(), Wrong> {
        match self.peek()? {
            b'{' => {
                let mut object = Object::begin(to);
                self.members(|name, scanner| object.put(name, |to| scanner.value(to)))?;
                object.end()
            }
            b'[' => self.list(to),
            b'"' => write_string(&self.string()?, to),
            b'-' | b'0'..=b'9' => {
                number::write(self.token(), to);
                Ok(())
            }
            _ => {
                to.push_str(self.token());
                Ok(())
            }
        }
    }

    fn list(&mut self, to: &mut String) -> Result<(), Wrong> {
        self.open(b'[')?;
        to.push('[');
        let begin = to.len();
        while self.peek()? != b']' {
            if to.len() > begin {
                self.expect(b',')?;
                to.push(',');
            }
            self.value(to)?;
        }
        to.push(']');
        self.close(b']')
    }

    /// Walks over an object; `member` is called behind each name and walks over the value.
    fn members(
        &mut self,
        mut member: impl FnMut(Cow<'a, str>, &mut Self) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        self.open(b'{')?;
        let mut first = true;
        while self.peek()? != b'}' {
            if !std::mem::take(&mut first) {
                self.expect(b',')?;
                self.peek()?;
            }
            let name = self.string()?;
            self.expect(b':')?;
            member(name, self)?;
        }
        self.close(b'}')
    }

    fn open(&mut self, byte: u8) -> Result<(), Wrong> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Wrong::TooDeep);
        }
        self.expect(byte)
    }

    fn close(&mut self, byte: u8) -> Result<(), Wrong> {
        self.depth -= 1;
        self.expect(byte)
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Result<u8, Wrong> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
        self.rest.bytes().next().ok_or(Wrong::Malformed)
    }

    fn expect(&mut self, byte: u8) -> Result<(), Wrong> {
        if self.peek()? != byte {
            return Err(Wrong::Malformed);
        }
        self.take(1).map(drop)
    }

    fn take(&mut self, count: usize) -> Result<&'a str, Wrong> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Wrong::Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A number or a word, up to what can follow it.
    fn token(&mut self) -> &'a str {
        let end = self.rest.find([',', ']', '}', ' ', '\t', '\n', '\r']).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        token
    }

    /// A string, decoded.
    fn string(&mut self) -> Result<Cow<'a, str>, Wrong> {
        let inner = self.rest.strip_prefix('"').ok_or(Wrong::Malformed)?;
        let mut escaped = false;
        let mut has_escapes = false;
        let is_end = |byte: u8| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            has_escapes |= escaped;
            ends
        };
        let end = inner.bytes().position(is_end).ok_or(Wrong::Malformed)?;
        let quoted = self.take(end + 2)?;
        if has_escapes {
            return serde_json::from_str(quoted).map(Cow::Owned).map_err(|_| Wrong::NotUnicode);
        }
        inner.get(..end).map(Cow::Borrowed).ok_or(Wrong::Malformed)
    }
}

/// Appends a string. Its escapes are those of RFC 8785: the short ones, and `\u00xx` in lower case for the other controls.
fn write_string(text: &str, to: &mut String) -> Result<(), Wrong> {
    to.push_str(&serde_json::to_string(text).map_err(|_| Wrong::Malformed)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn canonical(json: &str) -> Result<String, Wrong> {
        let mut text = String::new();
        write(&RawValue::from_string(json.to_owned()).unwrap(), &mut text).map(|()| text)
    }

    #[test]
    fn the_examples_of_rfc_8785_have_its_form() {
        // Section 3.2.2, with the one number that a double rounds written as the double that it is.
        let example = r#"{
            "numbers": [333333333.3333333, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
            "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
            "literals": [null, true, false]
          }"#;
        let expected = "{\"literals\":[null,true,false],\
            \"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
            \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}";
        assert_eq!(canonical(example).unwrap(), expected);
        // Section 3.2.3: names in the order of their UTF-16.
        let names = r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One",
            "\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"#;
        let text = canonical(names).unwrap();
        let places: Vec<_> = ["Carriage", "One", "Control", "Latin", "Euro", "Emoji", "Hebrew"]
            .map(|word| text.find(word).unwrap())
            .into();
        assert!(places.is_sorted(), "{text}");
    }

    #[test]
    fn white_space_order_and_escapes_do_not_count() {
        let one =
            canonical("{ \"b\" : [ ] ,\n\"a\":{\"y\":\"\\u00e9\",\"x\" : {} },\"c\":[1, [2 ,3]]\t}").unwrap();
        assert_eq!(one, r#"{"a":{"x":{},"y":"é"},"b":[],"c":[1,[2,3]]}"#);
        assert_eq!(canonical(&one).unwrap(), one);
        for (scalar, expected) in [("\"x\"", "\"x\""), (" 1.0 ", "1"), ("true", "true"), ("null", "null")] {
            assert_eq!(canonical(scalar.trim()).unwrap(), expected);
        }
    }

    #[test]
    fn a_name_that_stands_twice_is_refused_at_any_depth() {
        for (json, name) in [
            (r#"{"a":1,"a":1}"#, "a"),
            (r#"{"b":1,"a":2,"b":1}"#, "b"),
            (r#"[{"x":[{"\u0061b":1,"z":0,"ab":2}]}]"#, "ab"),
            (r#"{"":1,"":2}"#, ""),
        ] {
            assert_eq!(canonical(json), Err(Wrong::Twice(name.to_owned())), "{json}");
        }
        assert!(canonical(r#"{"a":{"a":{"a":1}},"b":{"a":1}}"#).is_ok());
    }

    #[test]
    fn depth_is_bounded_and_halves_of_letters_are_refused() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(canonical(&deep(MAX_DEPTH)).unwrap(), deep(MAX_DEPTH));
        assert_eq!(canonical(&deep(MAX_DEPTH + 1)), Err(Wrong::TooDeep));
        let beside = format!("[{}1]", "[[]],".repeat(1000));
        assert!(canonical(&beside).is_ok(), "depth is not length");
        assert_eq!(canonical(r#""\ud800""#), Err(Wrong::NotUnicode));
        assert_eq!(canonical(r#"{"\udc00":1}"#), Err(Wrong::NotUnicode));
    }

    #[test]
    fn members_of_two_objects_come_together() {
        let more = RawValue::from_string(r#"{ "c":1.0, "stream":true , "a":[] }"#.to_owned()).unwrap();
        let mut text = String::new();
        let mut object = Object::begin(&mut text);
        object.put("b".into(), |to| write_string("x", to)).unwrap();
        object.extend(&more, |name| name != "stream").unwrap();
        object.end().unwrap();
        assert_eq!(text, r#"{"a":[],"b":"x","c":1}"#);

        let mut text = String::new();
        let mut object = Object::begin(&mut text);
        object.put("a".into(), |to| write_string("x", to)).unwrap();
        object.extend(&more, |_| true).unwrap();
        assert_eq!(object.end(), Err(Wrong::Twice("a".to_owned())));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_filter("JSON has no other", |n| n.is_finite()).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..8)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// Whether two values are the same, numbers by their value.
    fn same(one: &Value, other: &Value) -> bool {
        match (one, other) {
            (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
            (Value::Array(one), Value::Array(other)) => {
                one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
            }
            (Value::Object(one), Value::Object(other)) => {
                one.len() == other.len()
                    && one.iter().all(|(name, value)| other.get(name).is_some_and(|other| same(value, other)))
            }
            (one, other) => one == other,
        }
    }

    proptest! {
        #[test]
        fn any_value_keeps_its_meaning_and_has_one_form(value in any_json()) {
            let form = canonical(&value.to_string()).unwrap();
            prop_assert!(same(&serde_json::from_str(&form).unwrap(), &value), "{form}");
            let spread = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(canonical(spread.trim()).unwrap(), form);
        }
    }
}
