//! One value: read as its attribute wants it, compared as its attribute compares.

use std::collections::{BTreeSet, HashSet};

use serde_json::{Map, Value};

use super::attribute::{Attribute, AttributeType};
use super::tolerance::Tolerance;
use crate::domain::{Timestamp, fold};
use crate::scim::error::{ScimError, quote};
use crate::store::time_key;

/// At most this many unknown names are reported.
const MOST_IGNORED: usize = 100;

/// A multi-valued attribute may have this many elements. Members of groups are counted by the body's limits only.
pub(in crate::scim) const MOST_ELEMENTS: usize = 5_000;

/// What is wrong with a value; completed by the path in front of it. A part's fault begins with `.part`.
type Fault = String;

/// Reads values as attributes want them.
pub(in crate::scim) struct Reader<'a> {
    /// What is forgiven.
    pub tolerance: &'a Tolerance,
    /// Names that no schema knows.
    pub ignored: Vec<String>,
}

impl<'a> Reader<'a> {
    /// A reader that has ignored nothing yet.
    pub fn new(tolerance: &'a Tolerance) -> Self {
        Self { tolerance, ignored: Vec::new() }
    }

    /// The whole value of an attribute: an array for a multi-valued one. `None` is absent: null, an empty array,
    /// an object without any known part, or, where forgiven, an empty text.
    pub fn attribute(
        &mut self,
        path: &dyn std::fmt::Display,
        attribute: &Attribute,
        value: &Value,
    ) -> Result<Option<Value>, ScimError> {
        self.whole(attribute, value).map_err(|fault| ScimError::invalid_value(format!("{path}{fault}")))
    }

    /// One element of a multi-valued attribute, or the value of a single-valued one.
    pub fn element(
        &mut self,
        path: &dyn std::fmt::Display,
        attribute: &Attribute,
        value: &Value,
    ) -> Result<Option<Value>, ScimError> {
        self.one(attribute, value).map_err(|fault| ScimError::invalid_value(format!("{path}{fault}")))
    }

    /// Notes a name that no schema knows.
    pub fn ignore(&mut self, name: &str) {
        if self.ignored.len() < MOST_IGNORED {
            self.ignored.push(name.chars().take(200).collect());
        }
    }

    fn whole(&mut self, attribute: &Attribute, value: &Value) -> Result<Option<Value>, Fault> {
        if !attribute.multi_valued {
            return self.one(attribute, value);
        }
        if value.is_null() {
            return Ok(None);
        }
        if !value.is_array() && !self.tolerance.single_object_as_array {
            return Err(format!(" has many values and must be an array, not {}", kind_of(value)));
        }
        let elements = elements(value);
        if elements.len() > MOST_ELEMENTS {
            return Err(format!(" may have at most {MOST_ELEMENTS} elements"));
        }
        let mut read = Vec::with_capacity(elements.len());
        let mut seen = HashSet::new();
        for element in elements {
            if let Some(element) = self.one(attribute, element)? {
                // Parts stand in the schema's order, so equal elements have equal text. One alone has no equal.
                if elements.len() == 1 || seen.insert(element.to_string()) {
                    read.push(element);
                }
            }
        }
        if read.iter().filter(|element| is_primary(element)).count() > 1 {
            return Err(" has more than one element with primary true; keep one (RFC 7643 section 2.4)".to_owned());
        }
        Ok((!read.is_empty()).then_some(Value::Array(read)))
    }

    fn one(&mut self, attribute: &Attribute, value: &Value) -> Result<Option<Value>, Fault> {
        if value.is_null() || (self.tolerance.empty_string_clears && value.as_str() == Some("")) {
            return Ok(None);
        }
        if let Some(elements) = value.as_array().filter(|_| self.tolerance.one_element_array) {
            return match elements.as_slice() {
                [] => Ok(None),
                [single] if !single.is_array() => self.one(attribute, single),
                _ => Err(" takes one value, not an array of several".to_owned()),
            };
        }
        match (attribute.is_complex(), value.as_object()) {
            (true, Some(parts)) => self.complex(attribute, parts),
            (true, None) => self.bare(attribute, value),
            (false, Some(parts)) if self.tolerance.bare_values => match member(parts, "value") {
                Some(inner) if !inner.is_object() => self.one(attribute, inner),
                _ => Err(mismatch(attribute, value)),
            },
            (false, _) => self.simple(attribute, value).map(Some),
        }
    }

    fn complex(&mut self, attribute: &Attribute, parts: &Map<String, Value>) -> Result<Option<Value>, Fault> {
        let mut slots: Vec<Option<&Value>> = vec![None; attribute.sub_attributes.len()];
        for (name, value) in parts {
            let place = attribute.sub_attributes.iter().position(|sub| sub.name.eq_ignore_ascii_case(name));
            match place.and_then(|place| slots.get_mut(place)) {
                Some(slot) if slot.is_none() => *slot = Some(value),
                Some(_) => return Err(format!(".{} is given twice, in different case", quote(name))),
                None if self.tolerance.unknown_attributes => self.ignore(&format!("{}.{name}", attribute.name)),
                None => return Err(format!(" has no part {}", quote(name))),
            }
        }
        let mut read = Map::with_capacity(parts.len());
        for (sub, value) in attribute.sub_attributes.iter().zip(slots) {
            let Some(value) = value.filter(|_| !sub.is_read_only()) else { continue };
            match self.whole(sub, value).map_err(|fault| format!(".{}{fault}", sub.name))? {
                Some(value) => {
                    read.insert(sub.name.clone(), value);
                }
                // What is identified by its `value` goes as a whole where that is cleared: a role whose value was
                // emptied must not come back by its display name.
                None if sub.name == "value" => return Ok(None),
                None => {}
            }
        }
        Ok((!read.is_empty()).then_some(Value::Object(read)))
    }

    /// Bare text (or a number) where a complex value with a `value` belongs.
    fn bare(&mut self, attribute: &Attribute, simple: &Value) -> Result<Option<Value>, Fault> {
        let sub = attribute.sub_attribute("value").filter(|_| self.tolerance.bare_values);
        let Some(sub) = sub else { return Err(mismatch(attribute, simple)) };
        let value = self.one(sub, simple)?;
        Ok(value.map(|value| Value::Object(Map::from_iter([(sub.name.clone(), value)]))))
    }

    fn simple(&self, attribute: &Attribute, value: &Value) -> Result<Value, Fault> {
        let fits = match (attribute.kind, value) {
            (AttributeType::String | AttributeType::Reference, Value::String(_))
            | (AttributeType::Boolean, Value::Bool(_))
            | (AttributeType::Decimal, Value::Number(_)) => true,
            (AttributeType::String, Value::Number(number)) if self.tolerance.numbers_as_text => {
                return Ok(Value::String(number.to_string()));
            }
            (AttributeType::Boolean, Value::String(text)) if self.tolerance.string_booleans => {
                return parse_boolean(text).map(Value::Bool).ok_or_else(|| mismatch(attribute, value));
            }
            (AttributeType::Integer, Value::Number(number)) => number.is_i64(),
            (AttributeType::DateTime, Value::String(text)) => parse_time(text).is_some(),
            (AttributeType::Binary, Value::String(text)) => text.bytes().all(is_base64),
            _ => false,
        };
        if fits { Ok(value.clone()) } else { Err(mismatch(attribute, value)) }
    }
}

fn mismatch(attribute: &Attribute, value: &Value) -> Fault {
    let wanted = match attribute.kind {
        AttributeType::String => "text",
        AttributeType::Boolean => "true or false",
        AttributeType::Decimal => "a number",
        AttributeType::Integer => "a whole number",
        AttributeType::DateTime => "a time such as 2026-01-31T12:00:00Z",
        AttributeType::Binary => "base64 text",
        AttributeType::Reference => "a URI as text",
        AttributeType::Complex => "an object",
    };
    match (attribute.kind, value) {
        (AttributeType::DateTime | AttributeType::Binary, Value::String(_)) => format!(" must be {wanted}"),
        _ => format!(" must be {wanted}, not {}", kind_of(value)),
    }
}

/// The JSON type, for messages.
pub(in crate::scim) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The elements of an array, or the one value that is no array.
pub(in crate::scim) fn elements(value: &Value) -> &[Value] {
    value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice)
}

/// A member of an object by its name without case.
pub(in crate::scim) fn member<'v>(object: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    object.get(name).or_else(|| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

/// Whether an element is marked as the preferred one.
pub(in crate::scim) fn is_primary(element: &Value) -> bool {
    element.get("primary") == Some(&Value::Bool(true))
}

/// The ids in a list of members: objects with `value` and whatever else (`$ref: null` included), bare texts, or a
/// single one of either; null is none. Each id once, in the order sent.
///
/// Errors: 400 `invalidValue` for an element without an id.
pub(in crate::scim) fn member_ids(value: &Value) -> Result<Vec<String>, ScimError> {
    let elements = if value.is_null() { &[] } else { elements(value) };
    let mut seen = BTreeSet::new();
    let mut ids = Vec::with_capacity(elements.len());
    for element in elements {
        let id = match element.as_object() {
            Some(parts) => member(parts, "value").and_then(Value::as_str),
            None => element.as_str(),
        };
        let id = id.filter(|id| !id.is_empty());
        let id =
            id.ok_or_else(|| ScimError::invalid_value("members: each element needs the member's id in `value`"))?;
        if seen.insert(id) {
            ids.push(id.to_owned());
        }
    }
    Ok(ids)
}

/// `true` or `false` in any case.
pub(in crate::scim) fn parse_boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// A time; without an offset it is UTC.
pub(in crate::scim) fn parse_time(text: &str) -> Option<Timestamp> {
    if !text.contains(['T', 't']) {
        return None;
    }
    let time = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        let local = text.parse::<jiff::civil::DateTime>().ok()?;
        Some(local.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    })?;
    Some(Timestamp(time.as_millisecond()))
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=' | b'\r' | b'\n')
}

/// The form in which a simple value is indexed and compared: text folded unless its case matters, times by
/// [`time_key`], numbers so that their order is that of the text. `None` where the value has another type.
pub(in crate::scim) fn comparable(attribute: &Attribute, value: &Value) -> Option<String> {
    match (attribute.kind, value) {
        (AttributeType::String | AttributeType::Reference | AttributeType::Binary, Value::String(text)) => {
            Some(comparable_text(attribute, text))
        }
        (AttributeType::Boolean, Value::Bool(value)) => Some(value.to_string()),
        (AttributeType::Integer, Value::Number(number)) => number.as_i64().map(integer_key),
        (AttributeType::Decimal, Value::Number(number)) => number.as_f64().map(decimal_key),
        (AttributeType::DateTime, Value::String(text)) => parse_time(text).map(time_key),
        _ => None,
    }
}

/// See [`comparable`].
pub(in crate::scim) fn comparable_text(attribute: &Attribute, text: &str) -> String {
    if attribute.case_exact { text.to_owned() } else { fold(text) }
}

/// 20 digits, moved up so that none is negative.
pub(in crate::scim) fn integer_key(number: i64) -> String {
    format!("{:020}", i128::from(number) - i128::from(i64::MIN))
}

/// The bits of the number, turned so that they sort as the numbers do.
pub(in crate::scim) fn decimal_key(number: f64) -> String {
    let bits = if number == 0.0 { 0 } else { number.to_bits() };
    let key = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    format!("{key:016x}")
}

/// Whether two simple values of an attribute are equal as the attribute compares them; complex ones must be the
/// same in every part.
pub(in crate::scim) fn equal_values(attribute: &Attribute, one: &Value, other: &Value) -> bool {
    if one == other {
        return true;
    }
    match (comparable(attribute, one), comparable(attribute, other)) {
        (Some(one), Some(other)) => one == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn attribute(kind: &str) -> Attribute {
        serde_json::from_value(json!({"name": "a", "type": kind})).unwrap()
    }

    #[test]
    fn simple_types_are_checked() {
        let cases = [
            ("string", json!("x"), true),
            ("string", json!(true), false),
            ("boolean", json!(true), true),
            ("boolean", json!("yes"), false),
            ("boolean", json!(1), false),
            ("integer", json!(-3), true),
            ("integer", json!(1.5), false),
            ("integer", json!(u64::MAX), false),
            ("decimal", json!(1.5), true),
            ("decimal", json!("1.5"), false),
            ("dateTime", json!("2011-05-13T04:42:34Z"), true),
            ("dateTime", json!("2011-05-13T04:42:34.123+02:00"), true),
            ("dateTime", json!("2011-05-13T04:42:34"), true),
            ("dateTime", json!("2011-05-13"), false),
            ("dateTime", json!("yesterdayT"), false),
            ("binary", json!("aGVsbG8="), true),
            ("binary", json!("no spaces"), false),
            ("reference", json!("../Users/1"), true),
            ("string", json!([["x"]]), false),
            ("string", json!({"x": 1}), false),
        ];
        for (kind, value, good) in cases {
            let read = Reader::new(&Tolerance::GENERIC).attribute(&"a", &attribute(kind), &value);
            assert_eq!(read.is_ok(), good, "{kind} {value}");
        }
    }

    #[test]
    fn forgiven_shapes_become_canonical_and_strict_refuses_them() {
        let cases = [
            ("boolean", json!("True"), json!(true)),
            ("boolean", json!("false"), json!(false)),
            ("string", json!(701_984), json!("701984")),
            ("string", json!(["x"]), json!("x")),
            ("string", json!({"$ref": null, "value": "x"}), json!("x")),
            ("string", json!([{"$ref": null, "value": "x"}]), json!("x")),
        ];
        for (kind, value, canonical) in cases {
            let read = Reader::new(&Tolerance::GENERIC).attribute(&"a", &attribute(kind), &value);
            assert_eq!(read.unwrap(), Some(canonical), "{kind} {value}");
            let read = Reader::new(&Tolerance::STRICT).attribute(&"a", &attribute(kind), &value);
            assert_eq!(read.unwrap_err().scim_type, Some("invalidValue"), "{kind} {value}");
        }
    }

    #[test]
    fn a_fault_names_the_part() {
        let emails = json!({"name": "emails", "type": "complex", "multiValued": true,
            "subAttributes": [{"name": "value"}, {"name": "primary", "type": "boolean"}]});
        let emails: Attribute = serde_json::from_value(emails).unwrap();
        let value = json!([{"value": "a", "primary": "maybe"}]);
        let fault = Reader::new(&Tolerance::GENERIC).attribute(&"emails", &emails, &value).unwrap_err();
        assert_eq!(fault.detail, "emails.primary must be true or false, not text");
        let value = json!([{"value": "a", "VALUE": "b"}]);
        assert!(Reader::new(&Tolerance::GENERIC).attribute(&"emails", &emails, &value).is_err());
    }

    #[test]
    fn members_are_read_in_every_spelling() {
        let ids = |value| member_ids(&value);
        assert_eq!(ids(json!([{"$ref": null, "value": "1"}, "2", {"Value": "1"}])).unwrap(), ["1", "2"]);
        assert_eq!(ids(json!({"value": "1", "display": "x"})).unwrap(), ["1"]);
        assert_eq!(ids(json!("1")).unwrap(), ["1"]);
        assert!(ids(json!(null)).unwrap().is_empty());
        for wrong in [json!([{"display": "x"}]), json!([""]), json!([7]), json!([["1"]])] {
            assert_eq!(ids(wrong).unwrap_err().scim_type, Some("invalidValue"));
        }
    }

    proptest! {
        #[test]
        fn keys_sort_as_numbers_do(a: i64, b: i64, x in -1e300..1e300_f64, y in -1e300..1e300_f64) {
            prop_assert_eq!(integer_key(a).cmp(&integer_key(b)), a.cmp(&b));
            prop_assert_eq!(Some(decimal_key(x).cmp(&decimal_key(y))), x.partial_cmp(&y));
        }
    }
}
