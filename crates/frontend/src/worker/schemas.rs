//! What a handler's type hints say of its requests and answers, as the worker tells it.
//!
//! It ends up in the API description, which other people's tools read, so it is taken apart and only
//! what a schema may say in few words is kept.

use serde_json::{Map, Value};

/// Most values in one schema, nested ones included.
const MAX_VALUES: usize = 2_000;
/// Deepest nesting.
const MAX_DEPTH: usize = 40;
/// Longest name or word.
const MAX_TEXT_BYTES: usize = 256;

/// Schemas of one request and of its answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Schemas {
    /// What the body of a request holds.
    pub request: Option<Value>,
    /// What the body of an answer holds.
    pub response: Option<Value>,
}

impl Schemas {
    /// Keeps what is a schema; `None` when neither is.
    pub(super) fn checked(said: Value) -> Option<Self> {
        let Value::Object(mut said) = said else {
            return None;
        };
        let mut take = |name: &str| said.remove(name).filter(is_schema);
        let schemas = Self {
            request: take("request"),
            response: take("response"),
        };
        (schemas != Self::default()).then_some(schemas)
    }
}

fn is_schema(value: &Value) -> bool {
    let mut left = MAX_VALUES;
    check(value, MAX_DEPTH, &mut left).is_some()
}

/// Checks one schema and counts its values. `None`: it is none, or there is too much of it.
fn check(schema: &Value, depth: usize, left: &mut usize) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    let schema = schema.as_object()?;
    for (key, value) in schema {
        spend(left)?;
        match key.as_str() {
            "type" | "format" | "title" => text(value)?,
            "nullable" => value.as_bool().map(drop)?,
            "minItems" | "maxItems" => value.as_u64().map(drop)?,
            "enum" => each(value, |word| scalar(word, left))?,
            "required" => each(value, |word| spend(left).and_then(|()| text(word)))?,
            "items" | "additionalProperties" => check(value, depth, left)?,
            "anyOf" => each(value, |part| check(part, depth, left))?,
            "properties" => properties(value.as_object()?, depth, left)?,
            _ => return None,
        }
    }
    Some(())
}

fn properties(found: &Map<String, Value>, depth: usize, left: &mut usize) -> Option<()> {
    for (name, schema) in found {
        if name.len() > MAX_TEXT_BYTES {
            return None;
        }
        check(schema, depth, left)?;
    }
    Some(())
}

fn each(list: &Value, mut check: impl FnMut(&Value) -> Option<()>) -> Option<()> {
    list.as_array()?.iter().try_for_each(&mut check)
}

fn scalar(value: &Value, left: &mut usize) -> Option<()> {
    spend(left)?;
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => Some(()),
        Value::String(_) => text(value),
        Value::Array(_) | Value::Object(_) => None,
    }
}

fn text(value: &Value) -> Option<()> {
    (value.as_str()?.len() <= MAX_TEXT_BYTES).then_some(())
}

fn spend(left: &mut usize) -> Option<()> {
    *left = left.checked_sub(1)?;
    Some(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn schemas_are_kept() {
        let house = json!({
            "type": "object", "title": "House", "required": ["area"],
            "properties": {
                "area": { "type": "number" },
                "kind": { "enum": ["a", 1, null] },
                "rooms": { "type": "array", "items": {}, "minItems": 1, "nullable": true },
                "more": { "anyOf": [{ "type": "string" }, { "additionalProperties": {} }] },
            },
        });
        let kept = Schemas::checked(json!({ "request": house, "response": 7, "other": {} }));
        let kept = kept.unwrap();
        assert_eq!((kept.request, kept.response), (Some(house), None));
    }

    #[test]
    fn nonsense_is_dropped() {
        for said in [json!(null), json!([]), json!({}), json!("text")] {
            assert_eq!(Schemas::checked(said), None);
        }
        let mut deep = json!({});
        for _ in 0..100 {
            deep = json!({ "items": deep });
        }
        let many: Vec<_> = (0..3000).map(|n| json!(n)).collect();
        for schema in [
            json!({ "$ref": "http://example.org" }),
            json!({ "type": 7 }),
            json!({ "type": "x".repeat(300) }),
            json!({ "properties": [] }),
            json!({ "properties": { "x".repeat(300): {} } }),
            json!({ "enum": [[]] }),
            json!({ "enum": many }),
            json!({ "required": "all" }),
            json!({ "minItems": -1 }),
            deep,
        ] {
            assert_eq!(
                Schemas::checked(json!({ "request": schema })),
                None,
                "{schema}"
            );
        }
    }
}
