//! Examples of JSON schemas.
//!
//! It owns making a value that a schema accepts: always the same for the same schema, and no larger than it must be. It knows
//! types, `enum`, `const`, required properties, items and their number, bounds of numbers and lengths, and the first of several
//! alternatives. What it does not know (`pattern`, `format`, `uniqueItems`, `if` …) it leaves out of account.

use serde_json::{Map, Number, Value};

/// How deep a value may be nested.
const MAX_DEPTH: usize = 16;

/// How many values may be made for one schema.
const MAX_VALUES: usize = 1000;

/// The longest text, in characters.
const MAX_TEXT: u64 = 4096;

/// The text where any text will do.
const TEXT: &str = "demo";

/// Why no example can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    #[error("uses `$ref` or `allOf`, which the demo backend does not follow")]
    Reference,
    #[error("needs a value that is deeper than 16 levels or larger than the demo backend makes")]
    TooLarge,
    #[error("accepts no value, or is not a JSON schema")]
    Nothing,
}

/// Arguments for a function with these parameters; none needed if it has no schema.
pub(super) fn arguments(parameters: &Value) -> Result<Value, Problem> {
    match parameters {
        Value::Null => Ok(Value::Object(Map::new())),
        schema => Maker { left: MAX_VALUES }.make(schema, MAX_DEPTH),
    }
}

struct Maker {
    /// How many values may still be made.
    left: usize,
}

impl Maker {
    fn make(&mut self, schema: &Value, depth: usize) -> Result<Value, Problem> {
        self.left = self.left.checked_sub(1).ok_or(Problem::TooLarge)?;
        let depth = depth.checked_sub(1).ok_or(Problem::TooLarge)?;
        let schema = match schema {
            Value::Object(schema) => schema,
            Value::Bool(true) => return Ok(TEXT.into()),
            _ => return Err(Problem::Nothing),
        };
        if schema.contains_key("$ref") || schema.contains_key("allOf") {
            return Err(Problem::Reference);
        }
        if let Some(value) = schema.get("const") {
            return Ok(value.clone());
        }
        if let Some(values) = schema.get("enum") {
            return values.get(0).cloned().ok_or(Problem::Nothing);
        }
        if let Some(schemas) = schema.get("anyOf").or_else(|| schema.get("oneOf")) {
            return self.make(schemas.get(0).ok_or(Problem::Nothing)?, depth);
        }
        match type_of(schema)? {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, depth),
            "string" => text(schema),
            "integer" => integer(schema),
            "number" => number(schema),
            "boolean" => Ok(true.into()),
            "null" => Ok(Value::Null),
            _ => Err(Problem::Nothing),
        }
    }

    fn object(&mut self, schema: &Map<String, Value>, depth: usize) -> Result<Value, Problem> {
        let mut object = Map::new();
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            let name = name.as_str().ok_or(Problem::Nothing)?;
            let property = schema.get("properties").and_then(|properties| properties.get(name));
            object.insert(name.to_owned(), self.make(property.unwrap_or(&Value::Bool(true)), depth)?);
        }
        Ok(Value::Object(object))
    }

    fn array(&mut self, schema: &Map<String, Value>, depth: usize) -> Result<Value, Problem> {
        let least = bound(schema, "minItems").unwrap_or(0);
        let items = schema.get("items").unwrap_or(&Value::Bool(true));
        (0..least).map(|_| self.make(items, depth)).collect()
    }
}

/// The type of the values of a schema; of several the first.
fn type_of(schema: &Map<String, Value>) -> Result<&str, Problem> {
    match schema.get("type") {
        Some(Value::String(kind)) => Ok(kind),
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str).ok_or(Problem::Nothing),
        Some(_) => Err(Problem::Nothing),
        None if schema.contains_key("properties") || schema.contains_key("required") => Ok("object"),
        None if schema.contains_key("items") => Ok("array"),
        None => Ok("string"),
    }
}

fn bound(schema: &Map<String, Value>, name: &str) -> Option<u64> {
    schema.get(name).and_then(Value::as_u64)
}

fn text(schema: &Map<String, Value>) -> Result<Value, Problem> {
    let least = bound(schema, "minLength").unwrap_or(0);
    let most = bound(schema, "maxLength").unwrap_or(u64::MAX);
    if least > most {
        return Err(Problem::Nothing);
    }
    let length = (TEXT.len() as u64).clamp(least, most);
    if length > MAX_TEXT {
        return Err(Problem::TooLarge);
    }
    let length = usize::try_from(length).map_err(|_| Problem::TooLarge)?;
    Ok(TEXT.chars().cycle().take(length).collect::<String>().into())
}

/// The whole number nearest to 0 that is within the bounds and a multiple as asked.
fn integer(schema: &Map<String, Value>) -> Result<Value, Problem> {
    let (least, most) = limits(schema);
    let step = schema.get("multipleOf").and_then(Value::as_f64).unwrap_or(1.0).max(1.0);
    let least = if schema.contains_key("exclusiveMinimum") { least.floor() + 1.0 } else { least.ceil() };
    let most = if schema.contains_key("exclusiveMaximum") { most.ceil() - 1.0 } else { most.floor() };
    let value = if least > 0.0 {
        (least / step).ceil() * step
    } else if most < 0.0 {
        (most / step).floor() * step
    } else {
        0.0
    };
    if value < least || value > most || value.abs() > MAX_EXACT || value.fract() != 0.0 {
        return Err(Problem::Nothing);
    }
    // Exact: the value is whole and within the whole numbers that a float can tell apart.
    Ok((value as i64).into())
}

/// Up to here a float is exact for every whole number.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// The number nearest to 0 that is within the bounds; next to an excluded bound the middle of the range, or one step inside.
fn number(schema: &Map<String, Value>) -> Result<Value, Problem> {
    if schema.contains_key("multipleOf") {
        return integer(schema);
    }
    let (least, most) = limits(schema);
    let open = schema.contains_key("exclusiveMinimum") || schema.contains_key("exclusiveMaximum");
    let value = match (open, least.is_finite(), most.is_finite()) {
        (true, true, true) => least + (most - least) / 2.0,
        (true, true, false) => (least + 1.0).max(0.0),
        (true, false, true) => (most - 1.0).min(0.0),
        _ => 0.0_f64.max(least).min(most),
    };
    let fits = if open { least < value && value < most } else { least <= value && value <= most };
    if !fits {
        return Err(Problem::Nothing);
    }
    Number::from_f64(value).map(Value::Number).ok_or(Problem::Nothing)
}

/// The lowest and the highest bound, whether they are themselves allowed or not.
fn limits(schema: &Map<String, Value>) -> (f64, f64) {
    let limit = |name: &str| schema.get(name).and_then(Value::as_f64);
    let least = limit("exclusiveMinimum").or_else(|| limit("minimum")).unwrap_or(f64::NEG_INFINITY);
    let most = limit("exclusiveMaximum").or_else(|| limit("maximum")).unwrap_or(f64::INFINITY);
    (least, most)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn examples_are_what_their_schema_asks_for() {
        for (schema, expected) in [
            (json!(null), json!({})),
            (json!({}), json!("demo")),
            (json!(true), json!("demo")),
            (json!({"type": "object"}), json!({})),
            (json!({"properties": {"a": {}}}), json!({})),
            (json!({"const": {"x": 1}}), json!({"x": 1})),
            (json!({"type": "string", "enum": ["b", "a"]}), json!("b")),
            (json!({"anyOf": [{"type": "integer"}, {"type": "null"}]}), json!(0)),
            (json!({"oneOf": [{"type": "boolean"}]}), json!(true)),
            (json!({"type": ["number", "null"]}), json!(0.0)),
            (json!({"type": "null"}), json!(null)),
            (json!({"type": "string", "minLength": 6}), json!("demode")),
            (json!({"type": "string", "maxLength": 2}), json!("de")),
            (json!({"type": "integer", "minimum": 3}), json!(3)),
            (json!({"type": "integer", "minimum": 2.5}), json!(3)),
            (json!({"type": "integer", "exclusiveMinimum": 3}), json!(4)),
            (json!({"type": "integer", "maximum": -3}), json!(-3)),
            (json!({"type": "integer", "exclusiveMaximum": 0, "multipleOf": 5}), json!(-5)),
            (json!({"type": "integer", "minimum": 6, "multipleOf": 5}), json!(10)),
            (json!({"type": "integer", "minimum": -2, "maximum": 2}), json!(0)),
            (json!({"type": "number", "exclusiveMinimum": 0, "maximum": 1}), json!(0.5)),
            (json!({"type": "number", "exclusiveMinimum": 0}), json!(1.0)),
            (json!({"type": "number", "minimum": 0.5}), json!(0.5)),
            (json!({"type": "array", "items": {"type": "integer"}}), json!([])),
            (json!({"type": "array", "minItems": 2, "items": {"type": "integer"}}), json!([0, 0])),
            (json!({"items": {}, "minItems": 1}), json!(["demo"])),
            (
                json!({"type": "object", "required": ["list", "free"], "properties": {
                    "list": {"type": "array", "minItems": 1, "items": {
                        "type": "object", "required": ["deep"], "properties": {"deep": {"enum": [7]}, "no": {}},
                    }},
                }}),
                json!({"list": [{"deep": 7}], "free": "demo"}),
            ),
        ] {
            assert_eq!(arguments(&schema), Ok(expected), "{schema}");
        }
    }

    #[test]
    fn schemas_that_have_no_example_say_why() {
        for (schema, problem) in [
            (json!(false), Problem::Nothing),
            (json!(3), Problem::Nothing),
            (json!({"enum": []}), Problem::Nothing),
            (json!({"type": "file"}), Problem::Nothing),
            (json!({"type": "integer", "minimum": 2, "maximum": 1}), Problem::Nothing),
            (json!({"type": "integer", "minimum": 1.2, "maximum": 1.8}), Problem::Nothing),
            (json!({"type": "number", "minimum": 2, "maximum": 1}), Problem::Nothing),
            (json!({"type": "string", "minLength": 2, "maxLength": 1}), Problem::Nothing),
            (json!({"type": "string", "minLength": 1_000_000}), Problem::TooLarge),
            (json!({"type": "array", "minItems": 4_000_000_000_000_u64}), Problem::TooLarge),
            (json!({"$ref": "#/$defs/x"}), Problem::Reference),
            (
                json!({"type": "object", "required": ["a"], "properties": {"a": {"allOf": []}}}),
                Problem::Reference,
            ),
        ] {
            assert_eq!(arguments(&schema), Err(problem), "{schema}");
        }
        let deep = (0..MAX_DEPTH)
            .fold(json!({}), |inner, _| json!({"type": "array", "minItems": 1, "items": inner}));
        assert_eq!(arguments(&deep), Err(Problem::TooLarge));
        let wide = (0..8).fold(json!({}), |inner, _| json!({"type": "array", "minItems": 9, "items": inner}));
        assert_eq!(arguments(&wide), Err(Problem::TooLarge));
    }
}
