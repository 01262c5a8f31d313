//! How identity providers spell a role.

use serde_json::{Map, Value};

/// The name of a role in any of its spellings: text, `{"value"}`, JSON text inside either (Entra's complex role
/// assignments), and `display` or `displayName` where there is no `value` at all. `None` where no name is left.
pub(in crate::scim) fn role_name(value: &Value) -> Option<String> {
    let name = match value {
        Value::String(text) => unwrap_json(text),
        Value::Object(members) => match members.get("value") {
            Some(value) => value.as_str().and_then(unwrap_json),
            None => display_name(members),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
    };
    name.filter(|name| !name.is_empty())
}

fn unwrap_json(text: &str) -> Option<String> {
    if !text.trim_start().starts_with('{') {
        return Some(text.to_owned());
    }
    let Ok(members) = serde_json::from_str::<Map<String, Value>>(text) else { return Some(text.to_owned()) };
    match members.get("value") {
        Some(value) => value.as_str().map(str::to_owned),
        None => display_name(&members),
    }
}

fn display_name(members: &Map<String, Value>) -> Option<String> {
    members.get("display").or_else(|| members.get("displayName"))?.as_str().map(str::to_owned)
}
