//! JSON as the dialects read it: I-JSON (RFC 7493) within stated limits, and its values as policies may see them.
//!
//! A member named twice is refused, since a gateway might have read the other one. Knows no dialect.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::domain::ContextValue;
use crate::http::Refusal;

/// How deep arrays and objects may nest.
pub(super) const DEEPEST: usize = 32;

/// A JSON object.
pub(super) type Members = Map<String, Value>;

/// Reads a body whole.
///
/// # Errors
/// 400 where the body is no JSON, names a member twice or nests deeper than [`DEEPEST`].
pub(super) fn parse(body: &[u8]) -> Result<Value, Refusal> {
    let refused = |error: serde_json::Error| Refusal::bad_request(format!("the body cannot be read: {error}"));
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = Strict { depth: DEEPEST }.deserialize(&mut reader).map_err(refused)?;
    reader.end().map_err(refused)?;
    Ok(value)
}

/// A member that may be left out; null counts as left out.
pub(super) fn member<'v>(of: &'v Members, name: &str) -> Option<&'v Value> {
    of.get(name).filter(|value| !value.is_null())
}

/// An object that may be left out. `path` is what the message calls it.
///
/// # Errors
/// 400 where it is something else.
pub(super) fn object<'v>(of: &'v Members, name: &str, path: &str) -> Result<Option<&'v Members>, Refusal> {
    let Some(value) = member(of, name) else { return Ok(None) };
    value.as_object().map(Some).ok_or_else(|| Refusal::bad_request(format!("`{path}` must be an object")))
}

/// A text that may be left out.
///
/// # Errors
/// 400 where it is something else.
pub(super) fn text<'v>(of: &'v Members, name: &str, path: &str) -> Result<Option<&'v str>, Refusal> {
    let Some(value) = member(of, name) else { return Ok(None) };
    value.as_str().map(Some).ok_or_else(|| Refusal::bad_request(format!("`{path}` must be text")))
}

/// The members as policies may see them; nulls count as left out.
pub(super) fn values(of: &Members) -> Vec<(String, ContextValue)> {
    of.iter().filter_map(|(name, value)| Some((name.clone(), value_of(value)?))).collect()
}

/// Cedar has neither null nor fractions: a null counts as left out; what a declared key may hold is the schema's to say.
pub(super) fn value_of(value: &Value) -> Option<ContextValue> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(truth) => ContextValue::Boolean(*truth),
        Value::String(text) => ContextValue::Text(text.clone()),
        Value::Number(number) => {
            number.as_i64().map_or_else(|| ContextValue::OtherNumber(number.to_string()), ContextValue::Integer)
        }
        Value::Array(items) => ContextValue::Set(items.iter().filter_map(value_of).collect()),
        Value::Object(fields) => ContextValue::Record(values(fields)),
    })
}

/// One value with so many levels left below it.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn below<E: Error>(self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth }),
            None => Err(E::custom(format!("it nests deeper than {DEEPEST} levels"))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Number::from_f64(number).map(Value::Number).ok_or_else(|| E::custom("a number is not finite"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut all = Vec::new();
        while let Some(item) = items.next_element_seed(below)? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut all = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if all.contains_key(&name) {
                return Err(A::Error::custom(format!("the member `{name}` stands there twice")));
            }
            let value = members.next_value_seed(below)?;
            all.insert(name, value);
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(levels: usize) -> String {
        format!("{}{}", "[".repeat(levels), "]".repeat(levels))
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for body in ["", "{", "{}{}", "{\"a\":1,\"a\":2}", "{\"b\":{\"a\":1,\"\\u0061\":2}}", "\"\\ud800\"", "1e400"] {
            assert!(parse(body.as_bytes()).is_err(), "{body}");
        }
        assert!(parse(b"\"\xff\"").is_err(), "no UTF-8");
        let twice = parse(b"{\"a\":1,\"a\":2}").unwrap_err();
        assert!(twice.message.contains("`a` stands there twice"), "{}", twice.message);
    }

    #[test]
    fn nesting_has_a_limit() {
        assert!(parse(nested(DEEPEST).as_bytes()).is_ok());
        let refusal = parse(nested(DEEPEST + 1).as_bytes()).unwrap_err();
        assert!(refusal.message.contains("deeper than 32"), "{}", refusal.message);
    }

    #[test]
    fn values_keep_their_types_and_nulls_are_left_out() {
        let body = parse(br#"{"a":null,"b":[1,null,2.5],"c":{"d":true,"e":null},"f":18446744073709551615}"#).unwrap();
        let read = values(body.as_object().unwrap());
        let wanted = vec![
            (
                "b".to_owned(),
                ContextValue::Set(vec![ContextValue::Integer(1), ContextValue::OtherNumber("2.5".to_owned())]),
            ),
            ("c".to_owned(), ContextValue::Record(vec![("d".to_owned(), ContextValue::Boolean(true))])),
            ("f".to_owned(), ContextValue::OtherNumber("18446744073709551615".to_owned())),
        ];
        assert_eq!(read, wanted);
    }
}
