//! How much a body may hold.

use serde_json::{Map, Value};

use crate::scim::error::ScimError;

/// Objects and arrays may be nested this deep.
const DEEPEST: usize = 16;

/// A body may hold this many values: a group of 100,000 members with four members each fits.
const MOST_VALUES: usize = 600_000;

/// One text may have this many bytes.
const LONGEST_TEXT: usize = 64 * 1024;

/// Checks depth, number of values and length of texts of a whole body without recursion. A NUL in a text is
/// refused: stores and clients disagree about it.
///
/// Errors: 400 `invalidSyntax` (depth), 400 `invalidValue` (NUL), 413 (the others).
pub fn check_limits(body: &Value) -> Result<(), ScimError> {
    let mut rest = vec![(body, 0_usize)];
    let mut values = 0_usize;
    while let Some((value, depth)) = rest.pop() {
        values += 1;
        if values > MOST_VALUES {
            let detail = format!("the body holds more than {MOST_VALUES} values; send it in parts");
            return Err(ScimError::too_large(detail));
        }
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => continue,
            Value::String(text) if text.len() > LONGEST_TEXT => {
                return Err(ScimError::too_large(format!("a text is longer than {LONGEST_TEXT} bytes; shorten it")));
            }
            Value::String(text) if text.contains('\0') => {
                return Err(ScimError::invalid_value("a text holds the character NUL; remove it"));
            }
            Value::String(_) => continue,
            Value::Array(_) | Value::Object(_) if depth == DEEPEST => {
                return Err(ScimError::invalid_syntax(format!(
                    "the body is nested deeper than {DEEPEST} levels; flatten it"
                )));
            }
            Value::Array(elements) => rest.extend(elements.iter().map(|element| (element, depth + 1))),
            Value::Object(members) => rest.extend(members.values().map(|member| (member, depth + 1))),
        }
    }
    Ok(())
}

/// A document without its members may have about this many bytes.
const LARGEST_DOCUMENT: usize = 1 << 20;

/// Checks the size of a document as it would be stored, so that many small writes cannot make it grow without end.
/// Members are stored elsewhere and do not count. Errors: 413.
pub(in crate::scim) fn check_size(document: &Map<String, Value>) -> Result<(), ScimError> {
    let mut rest: Vec<&Value> =
        document.iter().filter(|(name, _)| *name != "members").map(|(_, value)| value).collect();
    let mut size = 0_usize;
    while let Some(value) = rest.pop() {
        size += 8;
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
            Value::String(text) => size += text.len(),
            Value::Array(elements) => rest.extend(elements),
            Value::Object(members) => {
                size += members.keys().map(String::len).sum::<usize>();
                rest.extend(members.values());
            }
        }
        if size > LARGEST_DOCUMENT {
            return Err(ScimError::too_large(format!(
                "the resource would be larger than {LARGEST_DOCUMENT} bytes; leave something out"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn limits_hold() {
        let nested = (0..DEEPEST).fold(json!(1), |inner, _| json!([inner]));
        check_limits(&nested).unwrap();
        assert_eq!(check_limits(&json!([nested])).unwrap_err().scim_type, Some("invalidSyntax"));
        assert_eq!(check_limits(&json!({"a": "x\0"})).unwrap_err().scim_type, Some("invalidValue"));
        assert_eq!(check_limits(&json!(["x".repeat(LONGEST_TEXT + 1)])).unwrap_err().status.as_u16(), 413);
        assert_eq!(check_limits(&json!(vec![0; MOST_VALUES])).unwrap_err().status.as_u16(), 413);
    }

    #[test]
    fn json_itself_refuses_lone_surrogates_and_bottomless_nesting() {
        assert!(serde_json::from_str::<Value>(r#""\ud800""#).is_err());
        assert!(serde_json::from_str::<Value>(&"[".repeat(10_000)).is_err());
    }
}
