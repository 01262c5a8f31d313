//! Elements: parts written into a complex value, elements added to a list, elements made from a filter.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::OperationKind;
use crate::domain::fold;
use crate::scim::error::{ScimError, quote};
use crate::scim::filter::{Filter, Literal, Operator};
use crate::scim::schema::{Attribute, Mutability, Path, Reader, comparable, equal_values};

/// Parts that say what an element is for and nothing else.
const LABELS: [&str; 2] = ["type", "primary"];

/// Writes parts into a complex value: what is named is set, or cleared when it is null (or, where forgiven, `""`);
/// what is not named stays. `None`: nothing worth keeping is left.
///
/// A value that is identified by its `value` (`manager`, `emails`) goes as a whole when that is cleared. The
/// parts of a single one (`manager.$ref`) do not outlive a change of it.
pub(super) fn write_parts(
    reader: &mut Reader<'_>,
    kind: OperationKind,
    path: &Path<'_>,
    before: Map<String, Value>,
    parts: &Map<String, Value>,
) -> Result<Option<Map<String, Value>>, ScimError> {
    let mut changes: Vec<(&Attribute, Option<Value>)> = Vec::with_capacity(parts.len());
    for (name, value) in parts {
        let Some(sub) = path.attribute.sub_attribute(name) else {
            if !reader.tolerance.unknown_attributes {
                return Err(ScimError::invalid_path(format!(
                    "{} has no part {}; check its spelling or leave it out",
                    path.with_sub(None),
                    quote(name)
                )));
            }
            reader.ignore(&format!("{}.{name}", path.with_sub(None)));
            continue;
        };
        if sub.is_read_only() {
            continue;
        }
        if changes.iter().any(|(other, _)| other.name == sub.name) {
            return Err(ScimError::invalid_syntax(format!(
                "{} is given twice; send it once",
                path.with_sub(Some(sub))
            )));
        }
        changes.push((sub, reader.attribute(&path.with_sub(Some(sub)), sub, value)?));
    }
    let mut after = before;
    let mut cleared = false;
    for (sub, value) in &changes {
        let present = after.get(&sub.name);
        let differs = present.is_some() && present != value.as_ref();
        if sub.mutability == Mutability::Immutable && differs {
            let detail = format!("{} is immutable; remove the element and add another", path.with_sub(Some(sub)));
            return Err(ScimError::mutability(detail));
        }
        let identity = sub.name == "value";
        match value {
            None if kind == OperationKind::Add => continue,
            None if identity => return Ok(None),
            None => cleared |= after.shift_remove(&sub.name).is_some(),
            Some(_) if identity && differs && !path.attribute.multi_valued => after.clear(),
            Some(_) => {}
        }
    }
    for (sub, value) in changes {
        let Some(value) = value else { continue };
        match (after.get_mut(&sub.name), value) {
            (Some(Value::Array(present)), Value::Array(more)) if kind == OperationKind::Add => {
                present.extend(more.into_iter().filter(|one| !present.contains(one)).collect::<Vec<_>>());
            }
            (_, value) => {
                after.insert(sub.name.clone(), value);
            }
        }
    }
    let only_labels = cleared && after.keys().all(|name| LABELS.contains(&name.as_str()));
    Ok((!after.is_empty() && !only_labels).then_some(after))
}

/// Adds elements to a list. One that is there already changes nothing; one with the same `value` and `type` takes
/// the new parts. Answers the places that were written.
pub(super) fn add_elements(attribute: &Attribute, list: &mut Vec<Value>, more: Vec<Value>) -> Vec<usize> {
    let mut places: HashMap<String, usize> = HashMap::new();
    for (place, element) in list.iter().enumerate() {
        places.entry(identity(attribute, element)).or_insert(place);
    }
    let mut written = Vec::new();
    for element in more {
        match places.get(&identity(attribute, &element)).copied() {
            Some(place) => {
                if let (Some(Value::Object(present)), Value::Object(parts)) = (list.get_mut(place), element) {
                    present.extend(parts);
                }
                written.push(place);
            }
            None => {
                places.insert(identity(attribute, &element), list.len());
                written.push(list.len());
                list.push(element);
            }
        }
    }
    written
}

/// What makes two elements the same one: `value` and `type` as they compare, else all parts.
fn identity(attribute: &Attribute, element: &Value) -> String {
    let Value::Object(parts) = element else {
        return comparable(attribute, element).unwrap_or_else(|| element.to_string());
    };
    let value = attribute.sub_attribute("value").zip(parts.get("value"));
    match value.and_then(|(sub, value)| comparable(sub, value)) {
        Some(value) => {
            let label = parts.get("type").and_then(Value::as_str).map(fold);
            serde_json::json!([value, label]).to_string()
        }
        None => {
            let mut sorted: Vec<(&String, &Value)> = parts.iter().collect();
            sorted.sort_by_key(|(name, _)| name.as_str());
            serde_json::json!(sorted).to_string()
        }
    }
}

/// Puts the parts of an element into the schema's order, so that equal elements have equal text.
pub(super) fn ordered(attribute: &Attribute, element: &mut Value) {
    if let Value::Object(parts) = element {
        let mut taken = std::mem::take(parts);
        let names = attribute.sub_attributes.iter().map(|sub| &sub.name);
        parts.extend(names.filter_map(|name| taken.remove_entry(name)));
    }
}

/// Whether an element is one of those that a `remove` with a value lists: by `value` where the listed one has it,
/// else by all of its parts.
pub(super) fn is_listed(attribute: &Attribute, element: &Value, listed: &[Value]) -> bool {
    listed.iter().any(|item| match (element, item) {
        (Value::Object(element), Value::Object(item)) => match (attribute.sub_attribute("value"), item.get("value")) {
            (Some(sub), Some(value)) => element.get("value").is_some_and(|own| equal_values(sub, own, value)),
            _ => item.iter().all(|(name, value)| element.get(name) == Some(value)),
        },
        _ => equal_values(attribute, element, item),
    })
}

/// The element that a filter describes: the values of its `eq` terms, when it is nothing but such terms.
pub(super) fn from_filter(reader: &mut Reader<'_>, path: &Path<'_>, filter: &Filter) -> Option<Value> {
    let terms = if let Filter::And(terms) = filter { terms.as_slice() } else { std::slice::from_ref(filter) };
    let mut element = Map::new();
    for term in terms {
        let Filter::Compare { path: name, operator: Operator::Equal, value } = term else { return None };
        let value = match value {
            Literal::Text(text) => Value::from(text.as_str()),
            Literal::Number(text) => serde_json::from_str(text).ok()?,
            Literal::Boolean(value) => Value::Bool(*value),
            Literal::Null => continue,
        };
        if !path.attribute.is_complex() {
            return reader.element(path, path.attribute, &value).ok()?;
        }
        let sub = path.attribute.sub_attribute(name).filter(|sub| !sub.is_read_only())?;
        let value = reader.attribute(path, sub, &value).ok()??;
        if element.insert(sub.name.clone(), value.clone()).is_some_and(|before| before != value) {
            return None;
        }
    }
    Some(Value::Object(element))
}
