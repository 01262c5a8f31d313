//! What a write changed in a document, attribute by attribute. Pure. Secrets are told by the schema and never shown.

use std::borrow::Cow;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::super::schema::{Attribute, Definition, Target};
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

/// A change, in the documents themselves.
#[derive(Clone, Copy, Debug)]
pub(in crate::scim) struct Changed<'d> {
    extension: Option<&'d str>,
    name: &'d str,
    before: Option<&'d Value>,
    after: Option<&'d Value>,
}

impl Changed<'_> {
    /// To be kept.
    pub fn to_change(self) -> AttributeChange {
        AttributeChange {
            extension: self.extension.map(str::to_owned),
            name: self.name.to_owned(),
            before: self.before.cloned(),
            after: self.after.cloned(),
        }
    }
}

/// Every attribute that differs, in the order of the documents.
pub(in crate::scim) fn difference<'d>(
    definition: &Definition,
    before: Option<&'d Map<String, Value>>,
    after: Option<&'d Map<String, Value>>,
) -> Vec<Changed<'d>> {
    let mut changes = Vec::new();
    for change in members(None, before, after) {
        if matches!(definition.target(change.name), Some(Target::Extension(_))) {
            let object = |value: Option<&'d Value>| value.and_then(Value::as_object);
            changes.extend(members(Some(change.name), object(change.before), object(change.after)));
        } else {
            changes.push(change);
        }
    }
    changes
}

/// The members of an object that differ, those that were there first.
fn members<'d>(
    extension: Option<&'d str>,
    before: Option<&'d Map<String, Value>>,
    after: Option<&'d Map<String, Value>>,
) -> impl Iterator<Item = Changed<'d>> {
    let was = move |name: &str| before.and_then(|before| before.get(name));
    let is = move |name: &str| after.and_then(|after| after.get(name));
    let old = before.into_iter().flatten().map(move |(name, value)| (name, Some(value), is(name)));
    let new = after.into_iter().flatten().filter(move |(name, _)| was(name).is_none());
    let all = old.chain(new.map(|(name, value)| (name, None, Some(value))));
    all.filter(|(_, before, after)| before != after).map(move |(name, before, after)| Changed {
        extension,
        name,
        before,
        after,
    })
}

/// The changes as the log shows them: `{"attribute", "before", "after"}`, null where there was nothing.
pub(in crate::scim) fn shown<'d>(definition: &'d Definition, changes: &[Changed<'d>]) -> Vec<Shown<'d>> {
    let mut shown: Vec<_> = changes.iter().take(MOST_CHANGES).map(|change| one(definition, change)).collect();
    if changes.len() > MOST_CHANGES {
        shown.push(Shown::More { attribute: format!("and {} more", changes.len() - MOST_CHANGES) });
    }
    shown
}

/// An entry of the log's list of changes.
#[derive(Serialize)]
#[serde(untagged)]
pub(in crate::scim) enum Shown<'d> {
    /// One change.
    One { attribute: Cow<'d, str>, before: Brief<'d>, after: Brief<'d> },
    /// What is left out.
    More { attribute: String },
}

fn one<'d>(definition: &'d Definition, change: &Changed<'d>) -> Shown<'d> {
    let attribute = match change.extension {
        Some(urn) => Cow::from([urn, ":", change.name].concat()),
        None => Cow::from(change.name),
    };
    let path = definition.resolve(&attribute).filter(|path| !path.is_secret());
    let value = |value: Option<&'d Value>| match (value, path) {
        (None, _) => Brief::Nothing,
        (Some(value), Some(path)) => brief(Open { attribute: path.attribute, value }),
        (Some(_), None) => Brief::Instead("(secret)".to_owned()),
    };
    Shown::One { before: value(change.before), after: value(change.after), attribute }
}

/// A value as the log shows it.
#[derive(Serialize)]
#[serde(untagged)]
pub(in crate::scim) enum Brief<'d> {
    Nothing,
    Value(Open<'d>),
    /// This stands in its place.
    Instead(String),
}

/// A value of which those parts may be shown that the schema knows to be open.
pub(in crate::scim) struct Open<'d> {
    attribute: &'d Attribute,
    value: &'d Value,
}

impl Open<'_> {
    fn is_open(&self, part: &str) -> bool {
        let attribute = self.attribute;
        let is_own_value = || !attribute.is_complex() && attribute.multi_valued && part.eq_ignore_ascii_case("value");
        attribute.sub_attribute(part).map_or_else(is_own_value, |sub| !sub.is_secret())
    }
}

impl Serialize for Open<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Value::Array(elements) => {
                serializer.collect_seq(elements.iter().map(|value| Open { attribute: self.attribute, value }))
            }
            Value::Object(parts) => serializer.collect_map(parts.iter().filter(|(name, _)| self.is_open(name))),
            value @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => value.serialize(serializer),
        }
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

fn brief(open: Open<'_>) -> Brief<'_> {
    // Most values are short, and seen to be so without writing them.
    if at_most(open.value) <= LONGEST_VALUE {
        return Brief::Value(open);
    }
    let length = json_text(&open).len();
    if length <= LONGEST_VALUE {
        return Brief::Value(open);
    }
    Brief::Instead(match open.value.as_array() {
        Some(elements) => format!("({} values, {length} bytes)", elements.len()),
        None => format!("({length} bytes)"),
    })
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
        let changes = difference(user, Some(&before), Some(&after));
        let shown = shown(user, &changes);
        let changes: Vec<AttributeChange> = changes.iter().map(|change| change.to_change()).collect();
        let methods = format!("{USER_EXTENSION}:accessMethods");
        assert_eq!(
            json!(shown),
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
        let shown = json!(shown(user, &difference(user, None, Some(&after)))).to_string();
        assert!(!shown.contains("hunter2") && shown.contains("(secret)"), "{shown}");
        assert!(shown.len() < 1_000 && shown.contains("(500 values, "), "{shown}");
    }
}
