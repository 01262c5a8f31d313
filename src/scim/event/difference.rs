//! What a write changed in a document, attribute by attribute. Pure. Secrets are told by the schema and never shown.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::schema::{Definition, Path, Target};
use super::super::state::json_text;

/// Values are shown up to so many bytes of JSON; what is longer is told by its length.
const LONGEST_VALUE: usize = 1_000;
/// Changes that are shown at most.
const MOST_CHANGES: usize = 64;

/// One attribute, of the core schema or of an extension, before and after; `None` where it was not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::scim) struct AttributeChange {
    /// The URN of the extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<String>,
    /// The name.
    pub name: String,
    /// Before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// After.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

impl AttributeChange {
    /// The attribute in a document.
    pub fn find<'d>(&self, document: &'d Map<String, Value>) -> Option<&'d Value> {
        match &self.extension {
            Some(urn) => document.get(urn)?.get(&self.name),
            None => document.get(&self.name),
        }
    }

    /// Puts the value from before back, where nobody has changed it since; answers whether it did.
    pub fn revert(&self, document: &mut Map<String, Value>) -> bool {
        if self.find(document) != self.after.as_ref() {
            return false;
        }
        let holder = match &self.extension {
            Some(urn) => document.entry(urn.as_str()).or_insert_with(|| json!({})).as_object_mut(),
            None => Some(&mut *document),
        };
        let Some(holder) = holder else { return false };
        match &self.before {
            Some(value) => {
                holder.insert(self.name.clone(), value.clone());
            }
            None => {
                holder.shift_remove(&self.name);
            }
        }
        if let Some(urn) = self.extension.as_ref().filter(|urn| document.get(*urn) == Some(&json!({}))) {
            document.shift_remove(urn);
        }
        true
    }
}

/// Every attribute that differs, in the order of the documents.
pub(in crate::scim) fn difference(
    definition: &Definition,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
) -> Vec<AttributeChange> {
    let mut changes = Vec::new();
    for name in names(before, after) {
        let (old, new) = (before.get(name), after.get(name));
        if old == new {
            continue;
        }
        if matches!(definition.target(name), Some(Target::Extension(_))) {
            let members = |value: Option<&'_ Value>| value.and_then(Value::as_object).cloned().unwrap_or_default();
            let (old, new) = (members(old), members(new));
            changes.extend(names(&old, &new).into_iter().filter(|part| old.get(*part) != new.get(*part)).map(|part| {
                AttributeChange {
                    extension: Some(name.to_owned()),
                    name: part.to_owned(),
                    before: old.get(part).cloned(),
                    after: new.get(part).cloned(),
                }
            }));
        } else {
            let change =
                AttributeChange { extension: None, name: name.to_owned(), before: old.cloned(), after: new.cloned() };
            changes.push(change);
        }
    }
    changes
}

fn names<'d>(before: &'d Map<String, Value>, after: &'d Map<String, Value>) -> Vec<&'d str> {
    let new = after.keys().filter(|name| !before.contains_key(*name));
    before.keys().chain(new).map(String::as_str).collect()
}

/// The changes as the log shows them: `{"attribute", "before", "after"}`, null where there was nothing.
pub(in crate::scim) fn shown(definition: &Definition, changes: &[AttributeChange]) -> Vec<Value> {
    let mut shown: Vec<Value> = changes.iter().take(MOST_CHANGES).map(|change| one(definition, change)).collect();
    if changes.len() > MOST_CHANGES {
        shown.push(json!({"attribute": format!("and {} more", changes.len() - MOST_CHANGES)}));
    }
    shown
}

fn one(definition: &Definition, change: &AttributeChange) -> Value {
    let attribute = match &change.extension {
        Some(urn) => format!("{urn}:{}", change.name),
        None => change.name.clone(),
    };
    let path = definition.resolve(&attribute);
    let value = |value: &Option<Value>| match value {
        None => Value::Null,
        Some(value) => match path.filter(|path| !path.is_secret()) {
            Some(path) => brief(without_secrets(&path, value)),
            None => json!("(secret)"),
        },
    };
    json!({"attribute": attribute, "before": value(&change.before), "after": value(&change.after)})
}

/// The parts of a complex value that may be shown: those that the schema knows to be open.
fn without_secrets(path: &Path<'_>, value: &Value) -> Value {
    match value {
        Value::Array(elements) => elements.iter().map(|element| without_secrets(path, element)).collect(),
        Value::Object(parts) => {
            let attribute = path.attribute;
            let is_own_value =
                |name: &str| !attribute.is_complex() && attribute.multi_valued && name.eq_ignore_ascii_case("value");
            let open =
                |name: &str| attribute.sub_attribute(name).map_or_else(|| is_own_value(name), |sub| !sub.is_secret());
            let shown = parts.iter().filter(|(name, _)| open(name));
            Value::Object(shown.map(|(name, value)| (name.clone(), value.clone())).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// No JSON of this value is longer: each character may need six for an escape.
fn at_most(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 32,
        Value::String(text) => text.len() * 6 + 2,
        Value::Array(elements) => elements.iter().map(|element| at_most(element) + 1).sum::<usize>() + 2,
        Value::Object(parts) => {
            parts.iter().map(|(name, value)| name.len() * 6 + 4 + at_most(value)).sum::<usize>() + 2
        }
    }
}

fn brief(value: Value) -> Value {
    // Most values are short, and seen to be so without writing them.
    if at_most(&value) <= LONGEST_VALUE {
        return value;
    }
    let length = json_text(&value).len();
    match value {
        short if length <= LONGEST_VALUE => short,
        Value::Array(elements) => json!(format!("({} values, {length} bytes)", elements.len())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            json!(format!("({length} bytes)"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::image::USER_EXTENSION;
    use super::super::super::schema::{ResourceKind, Schemas};
    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn attributes_are_told_apart_down_to_extensions_and_back() {
        let schemas = Schemas::builtin().unwrap();
        let user = schemas.definition(ResourceKind::User);
        let before = map(json!({"userName": "a", "active": true, "roles": [{"value": "R"}],
            (USER_EXTENSION): {"accounts": ["1"], "accessMethods": ["api"]}}));
        let after = map(json!({"userName": "a", "active": false, "title": "T", (USER_EXTENSION): {"accounts": ["1"]}}));
        let changes = difference(user, &before, &after);
        let shown = shown(user, &changes);
        let methods = format!("{USER_EXTENSION}:accessMethods");
        assert_eq!(
            Value::Array(shown),
            json!([
                {"attribute": "active", "before": true, "after": false},
                {"attribute": "roles", "before": [{"value": "R"}], "after": null},
                {"attribute": methods, "before": ["api"], "after": null},
                {"attribute": "title", "before": null, "after": "T"},
            ])
        );
        let mut reverted = after.clone();
        assert!(changes.iter().all(|change| change.revert(&mut reverted)));
        assert_eq!(reverted, before);
        let mut changed = map(json!({"active": true, "roles": [{"value": "Other"}]}));
        assert!(!changes[0].revert(&mut changed) && !changes[1].revert(&mut changed), "somebody was there since");
    }

    #[test]
    fn secrets_and_unknown_names_do_not_show_and_long_values_are_short() {
        let schemas = Schemas::builtin().unwrap();
        let user = schemas.definition(ResourceKind::User);
        let long: Vec<String> = (0..500).map(|n| n.to_string()).collect();
        let after = map(json!({"password": "hunter2", "unheard": "hunter2", "title": "x".repeat(5_000),
            (USER_EXTENSION): {"accounts": long}}));
        let shown = Value::Array(shown(user, &difference(user, &Map::new(), &after))).to_string();
        assert!(!shown.contains("hunter2") && shown.contains("(secret)"), "{shown}");
        assert!(shown.len() < 1_000 && shown.contains("(500 values, "), "{shown}");
    }
}
