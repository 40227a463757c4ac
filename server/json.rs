//! JSON that keeps its bytes: what is carried, echoed and counted without being understood.
//!
//! It owns [`Node`], which is opened only where it is read or changed: an event of a backend passes through with its spelling,
//! its order and its unknown fields. It must never know what a field means.

use std::borrow::Cow;
use std::fmt;

use memchr::memchr2;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::error::Error;

/// A JSON value on one line. It is equal to another if both are written the same.
#[derive(Clone)]
pub struct Node(Form);

#[derive(Clone)]
enum Form {
    /// Not opened: the bytes that came.
    Raw(Box<RawValue>),
    Text(String),
    List(Vec<Node>),
    Object(Members),
}

/// The members of an object in their order; a name stands once.
type Members = Vec<(Box<str>, Node)>;

impl Node {
    /// The value of a JSON text. White space goes if it has line ends: what is carried must be one line, because an event is.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Any value.
    ///
    /// # Errors
    /// `internal` for a value that JSON cannot express.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, Error> {
        raw(value).map(|raw| Self(Form::Raw(raw)))
    }

    /// A string.
    pub fn text(text: impl Into<String>) -> Self {
        Self(Form::Text(text.into()))
    }

    /// Nothing.
    pub fn null() -> Self {
        Self(Form::Raw(RawValue::NULL.to_owned()))
    }

    /// An object without members.
    pub fn object() -> Self {
        Self(Form::Object(Members::new()))
    }

    /// A list.
    pub fn list(nodes: Vec<Self>) -> Self {
        Self(Form::List(nodes))
    }

    /// Opens an object. `None` for any other value.
    fn members(&mut self) -> Option<&mut Members> {
        if let Form::Raw(raw) = &self.0 {
            self.0 = Form::Object(serde_json::from_str::<Opened>(raw.get()).ok()?.0);
        }
        match &mut self.0 {
            Form::Object(members) => Some(members),
            Form::Raw(_) | Form::Text(_) | Form::List(_) => None,
        }
    }

    /// Opens a list. `None` for any other value.
    pub fn items(&mut self) -> Option<&mut Vec<Self>> {
        if let Form::Raw(raw) = &self.0 {
            self.0 = Form::List(serde_json::from_str(raw.get()).ok()?);
        }
        match &mut self.0 {
            Form::List(nodes) => Some(nodes),
            Form::Raw(_) | Form::Text(_) | Form::Object(_) => None,
        }
    }

    /// Opens a string. `None` for any other value.
    pub fn string(&mut self) -> Option<&mut String> {
        if let Form::Raw(raw) = &self.0 {
            self.0 = Form::Text(serde_json::from_str(raw.get()).ok()?);
        }
        match &mut self.0 {
            Form::Text(text) => Some(text),
            Form::Raw(_) | Form::List(_) | Form::Object(_) => None,
        }
    }

    /// Whether it is an object.
    pub fn is_object(&self) -> bool {
        match &self.0 {
            Form::Raw(raw) => raw.get().starts_with('{'),
            Form::Object(_) => true,
            Form::Text(_) | Form::List(_) => false,
        }
    }

    /// A string's text. `None` for any other value.
    pub fn as_str(&self) -> Option<Cow<'_, str>> {
        match &self.0 {
            Form::Text(text) => Some(Cow::Borrowed(text)),
            Form::Raw(raw) => serde_json::from_str(raw.get()).ok().map(Cow::Owned),
            Form::List(_) | Form::Object(_) => None,
        }
    }

    /// A whole number from 0 on. `None` for any other value.
    pub fn as_u64(&self) -> Option<u64> {
        match &self.0 {
            Form::Raw(raw) => serde_json::from_str(raw.get()).ok(),
            Form::Text(_) | Form::List(_) | Form::Object(_) => None,
        }
    }

    /// A member of an object, unless it is absent or null.
    pub fn get(&mut self, name: &str) -> Option<&mut Self> {
        let member = self.members()?.iter_mut().find(|(found, _)| **found == *name);
        member.map(|(_, node)| node).filter(|node| !node.is_null())
    }

    /// A member of an object that was opened already, null included.
    pub fn peek(&self, name: &str) -> Option<&Self> {
        match &self.0 {
            Form::Object(members) => members.iter().find(|(found, _)| **found == *name).map(|(_, node)| node),
            Form::Raw(_) | Form::Text(_) | Form::List(_) => None,
        }
    }

    /// Sets a member of an object in its place, or behind the others. Any other value stays as it is.
    pub fn set(&mut self, name: &str, value: Self) {
        let Some(members) = self.members() else { return };
        match members.iter_mut().find(|(found, _)| **found == *name) {
            Some((_, node)) => *node = value,
            None => members.push((name.into(), value)),
        }
    }

    /// Takes a member out of an object.
    pub fn remove(&mut self, name: &str) -> Option<Self> {
        let members = self.members()?;
        let at = members.iter().position(|(found, _)| **found == *name)?;
        Some(members.remove(at).1)
    }

    /// The members of an object, in their order; none of any other value.
    pub fn entries(&mut self) -> &[(Box<str>, Self)] {
        self.members().map_or(&[], |members| members.as_slice())
    }

    /// The members of an object in their order, to be changed; none of any other value.
    pub fn each(&mut self) -> impl Iterator<Item = (&str, &mut Self)> {
        self.members().into_iter().flatten().map(|(name, node)| (&**name, node))
    }

    /// Takes an object apart; of any other value nothing is left.
    pub fn into_entries(mut self) -> Vec<(Box<str>, Self)> {
        self.members().map(std::mem::take).unwrap_or_default()
    }

    /// Appends the members of another object. A name that is there already stays as it is.
    pub fn extend(&mut self, mut other: Self) {
        let (Some(members), Some(more)) = (self.members(), other.members()) else { return };
        for (name, node) in std::mem::take(more) {
            if members.iter().all(|(found, _)| *found != name) {
                members.push((name, node));
            }
        }
    }

    /// Whether it is a string.
    pub fn is_text(&self) -> bool {
        match &self.0 {
            Form::Raw(raw) => raw.get().starts_with('"'),
            Form::Text(_) => true,
            Form::List(_) | Form::Object(_) => false,
        }
    }

    /// How many bytes it needs as JSON.
    pub fn json_len(&self) -> usize {
        let commas = |count: usize| count.saturating_sub(1) + 2;
        match &self.0 {
            Form::Raw(raw) => raw.get().len(),
            Form::Text(text) => escaped_len(text) + 2,
            Form::List(nodes) => commas(nodes.len()) + nodes.iter().map(Self::json_len).sum::<usize>(),
            Form::Object(members) => {
                let member = |(name, node): &(Box<str>, Self)| escaped_len(name) + 3 + node.json_len();
                commas(members.len()) + members.iter().map(member).sum::<usize>()
            }
        }
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(&self.0, Form::Raw(raw) if raw.get() == "null")
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Form::Raw(raw) => raw.serialize(to),
            Form::Text(text) => to.serialize_str(text),
            Form::List(nodes) => to.collect_seq(nodes),
            Form::Object(members) => to.collect_map(members.iter().map(|(name, node)| (name, node))),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    /// Only from JSON.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(from)?;
        // Inside a string a line end is escaped, so one that is found is white space.
        match memchr2(b'\n', b'\r', raw.get().as_bytes()) {
            Some(_) => compact(&raw).map(Form::Raw).map(Self).map_err(D::Error::custom),
            None => Ok(Self(Form::Raw(raw))),
        }
    }
}

/// An object that was just opened.
struct Opened(Members);

impl<'de> Deserialize<'de> for Opened {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Opened;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut from: A) -> Result<Opened, A::Error> {
                let mut members = Members::new();
                while let Some((name, node)) = from.next_entry::<Box<str>, Node>()? {
                    // Of two of one name the last one counts, as for most readers.
                    members.retain(|(found, _)| *found != name);
                    members.push((name, node));
                }
                Ok(Opened(members))
            }
        }

        from.deserialize_map(Visitor)
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        matches!((serde_json::to_string(self), serde_json::to_string(other)), (Ok(one), Ok(two)) if one == two)
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// The same value without white space between its tokens: order, numbers and strings keep their spelling. What is echoed must
/// be one line, because an event is.
pub(crate) fn compact(value: &RawValue) -> Result<Box<RawValue>, Error> {
    let mut text = String::with_capacity(value.get().len());
    let mut in_string = false;
    let mut escaped = false;
    for letter in value.get().chars() {
        if in_string {
            in_string = escaped || letter != '"';
            escaped = !escaped && letter == '\\';
        } else if letter.is_ascii_whitespace() {
            continue;
        } else {
            in_string = letter == '"';
        }
        text.push(letter);
    }
    RawValue::from_string(text).map_err(Error::internal)
}

/// Any value as JSON text.
pub(crate) fn raw<T: serde::Serialize + ?Sized>(value: &T) -> Result<Box<RawValue>, Error> {
    serde_json::value::to_raw_value(value).map_err(Error::internal)
}

/// How many bytes `text` needs inside a JSON string: escapes make it longer, up to six times.
pub(crate) fn escaped_len(text: &str) -> usize {
    let bytes_of = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0x00..=0x1f => 6,
        _ => 1,
    };
    text.bytes().map(bytes_of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_goes_and_everything_else_stays() {
        let text = "{ \"b\" : [ 1.0 , 2e3,\n\"a \\\" \\\\\" ],\r\n\t\"a\" : \" ä \" , \"b\":null }";
        let value = RawValue::from_string(text.to_owned()).unwrap();
        assert_eq!(compact(&value).unwrap().get(), r#"{"b":[1.0,2e3,"a \" \\"],"a":" ä ","b":null}"#);
    }

    #[test]
    fn the_escaped_length_is_what_serde_writes() {
        let all: String = (0..0x3000).filter_map(char::from_u32).collect();
        assert_eq!(escaped_len(&all) + 2, serde_json::to_string(&all).unwrap().len());
    }

    #[test]
    fn what_is_not_changed_keeps_its_bytes() {
        let text = r#"{"b" : 1.10,"a":{ "x":"\u00e4","y":[1e400, {"z":[]} ]},"t":"q\n"}"#;
        let mut node = Node::parse(text).unwrap();
        assert_eq!(serde_json::to_string(&node).unwrap(), text);
        node.get("a").unwrap().get("y").unwrap().items().unwrap().push(Node::text("n\"ew"));
        node.get("t").unwrap().string().unwrap().push('!');
        node.set("n", Node::of(&7).unwrap());
        let expected = r#"{"b":1.10,"a":{"x":"\u00e4","y":[1e400,{"z":[]},"n\"ew"]},"t":"q\n!","n":7}"#;
        assert_eq!(serde_json::to_string(&node).unwrap(), expected);
        assert_eq!(node.json_len(), expected.len());
        assert_eq!(node.remove("b"), Some(Node::parse("1.10").unwrap()));
        assert_eq!((node.remove("b"), node.get("n").unwrap().as_u64()), (None, Some(7)));
    }

    #[test]
    fn what_has_several_lines_becomes_one() {
        let node = Node::parse("{\n\"a\": \"x \\n y\"\r\n}").unwrap();
        assert_eq!(serde_json::to_string(&node).unwrap(), r#"{"a":"x \n y"}"#);
    }

    #[test]
    fn a_value_is_opened_only_as_what_it_is() {
        let mut node = Node::parse(r#"{"n":null,"d":1,"d":2}"#).unwrap();
        assert!(node.get("n").is_none() && node.get("x").is_none());
        assert_eq!(node.get("d").unwrap().as_u64(), Some(2));
        assert!(node.items().is_none() && node.string().is_none());
        let mut list = Node::parse("[1]").unwrap();
        list.set("a", Node::text("x"));
        assert!(list.get("a").is_none());
        assert_eq!(list.items().map(|items| items.len()), Some(1));
        assert!(Node::parse("{").is_err() && Node::parse("{} x").is_err());
    }

    #[test]
    fn members_of_two_objects_come_together() {
        let mut one = Node::parse(r#"{"a":1}"#).unwrap();
        one.extend(Node::parse(r#"{"a":2,"b":3}"#).unwrap());
        assert_eq!(serde_json::to_string(&one).unwrap(), r#"{"a":1,"b":3}"#);
    }
}
