//! The document that operations work on: attributes set, taken and put back as wholes.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::OperationKind;
use super::element::ordered;
use crate::scim::error::ScimError;
use crate::scim::schema::{MOST_ELEMENTS, Path, Schema, is_primary, object};

/// A document in the course of being changed. Paths name attributes here; their parts do not matter.
pub(super) struct Document {
    pub map: Map<String, Value>,
}

impl Document {
    /// The value of an attribute.
    pub fn value(&self, path: &Path<'_>) -> Option<&Value> {
        match path.extension {
            Some(extension) => self.map.get(extension.urn())?.get(&path.attribute.name),
            None => self.map.get(&path.attribute.name),
        }
    }

    /// The elements of a multi-valued attribute.
    pub fn list(&self, path: &Path<'_>) -> &[Value] {
        self.value(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// Takes the elements out, for [`Self::put_list`] to put back. After an error the whole document is dropped.
    pub fn take_list(&mut self, path: &Path<'_>) -> Vec<Value> {
        let holder = match path.extension {
            Some(extension) => self.map.get_mut(extension.urn()).and_then(Value::as_object_mut),
            None => Some(&mut self.map),
        };
        let list = holder.and_then(|holder| holder.get_mut(&path.attribute.name)).and_then(Value::as_array_mut);
        list.map(std::mem::take).unwrap_or_default()
    }

    /// Sets a whole attribute; `None` takes it away, unless something is being added.
    pub fn put(&mut self, kind: OperationKind, path: &Path<'_>, value: Option<Value>) {
        let holder = match path.extension {
            Some(extension) => object(&mut self.map, extension.urn()),
            None => Some(&mut self.map),
        };
        let Some(holder) = holder else { return };
        match value {
            Some(value) => {
                holder.insert(path.attribute.name.clone(), value);
            }
            None if kind == OperationKind::Add => {}
            None => {
                holder.shift_remove(&path.attribute.name);
            }
        }
    }

    /// Sets a multi-valued attribute. Where a written element is the primary one, the others no longer are.
    pub fn put_list(&mut self, path: &Path<'_>, mut list: Vec<Value>, written: &[usize]) -> Result<(), ScimError> {
        if list.len() > MOST_ELEMENTS {
            let detail = format!("{} may have at most {MOST_ELEMENTS} elements", path.with_sub(None));
            return Err(ScimError::invalid_value(detail));
        }
        let written: HashSet<usize> = written.iter().copied().collect();
        let primary = |place: &usize| list.get(*place).is_some_and(is_primary);
        let chosen = written.iter().filter(|place| primary(place)).count();
        if chosen > 1 {
            let detail = format!("{} would have more than one element with primary true", path.with_sub(None));
            return Err(ScimError::invalid_value(detail));
        }
        if chosen == 1 {
            for (place, element) in list.iter_mut().enumerate() {
                if let Some(parts) = element.as_object_mut().filter(|_| !written.contains(&place))
                    && parts.get("primary") == Some(&Value::Bool(true))
                {
                    parts.insert("primary".to_owned(), Value::Bool(false));
                }
            }
        }
        for element in &mut list {
            ordered(path.attribute, element);
        }
        let mut seen = HashSet::new();
        list.retain(|element| seen.insert(element.to_string()));
        let list = (!list.is_empty()).then_some(Value::Array(list));
        self.put(OperationKind::Replace, path, list);
        Ok(())
    }

    /// Takes a whole extension away.
    pub fn remove_extension(&mut self, extension: &Schema) {
        self.map.shift_remove(extension.urn());
    }
}
