//! Operations carried out on a document.

use std::collections::{BTreeSet, HashSet};

use serde_json::{Map, Value};

use super::element::{add_elements, from_filter, is_listed, write_parts};
use super::{Operation, OperationKind, Patched, Tolerance};
use crate::scim::error::{ScimError, quote};
use crate::scim::filter::{Condition, Filter, PathText, parse_path};
use crate::scim::schema::{
    Definition, MOST_ELEMENTS, Path, Reader, Resource, Schema, Target, is_password, is_path, is_primary, kind_of,
    object,
};

/// Carries out all operations in order, or none of them. The result fits the schema.
///
/// Errors: 400 `invalidPath` (no such attribute), 400 `noTarget` (a filter without a match), 400 `mutability`
/// (read-only, immutable, or the removal of what is required), 400 `invalidValue`, 400 `invalidFilter`.
pub fn apply(
    definition: &Definition,
    resource: Resource,
    operations: &[Operation],
    tolerance: &Tolerance,
) -> Result<Patched, ScimError> {
    let before = Resource::from_stored(definition.with_schemas(resource.into_map()));
    let mut patch = Patch {
        definition,
        reader: Reader::new(tolerance),
        map: before.as_map().clone(),
        mentioned: BTreeSet::new(),
        password_given: false,
    };
    for operation in operations {
        patch.operation(operation)?;
    }
    let Patch { reader, map, mentioned, password_given, .. } = patch;
    let ignored = reader.ignored;
    let after = Resource { map: definition.with_schemas(map), mentioned, password_given, ignored };
    definition.check_required(&after)?;
    definition.check_immutable(&before, &after)?;
    let changed = after.as_map() != before.as_map();
    Ok(Patched { resource: after, changed, password_given })
}

/// Where an operation goes.
enum Place<'a, 'f> {
    Extension(&'a Schema),
    Attribute(Path<'a>),
    /// The elements of a multi-valued attribute that a filter picks, and perhaps a part of each.
    Elements(Path<'a>, &'f Filter, Condition<'a>),
}

/// A document in the course of being changed.
struct Patch<'a> {
    definition: &'a Definition,
    reader: Reader<'a>,
    map: Map<String, Value>,
    mentioned: BTreeSet<String>,
    password_given: bool,
}

impl<'a> Patch<'a> {
    fn operation(&mut self, operation: &Operation) -> Result<(), ScimError> {
        let absent = Value::Null;
        let value = operation.value.as_ref().unwrap_or(&absent);
        let Some(path) = &operation.path else {
            return match (operation.kind, value) {
                (OperationKind::Remove, _) => Err(ScimError::no_target("a remove needs a path")),
                (kind, Value::Object(members)) => self.members(kind, None, members, &mut HashSet::new()),
                (_, other) => Err(ScimError::invalid_value(format!(
                    "without a path the value must be an object of attributes, not {}",
                    kind_of(other)
                ))),
            };
        };
        let place = self.locate(path)?;
        if let Place::Attribute(path) | Place::Elements(path, ..) = &place
            && path.is_read_only()
        {
            // `schemas` follows from what the resource holds; clients that add to it mean no harm.
            let harmless = path.attribute.name == "schemas" && operation.kind != OperationKind::Remove;
            return if harmless { Ok(()) } else { Err(ScimError::mutability(format!("{path} is read-only"))) };
        }
        match operation.kind {
            OperationKind::Remove => self.remove(&place, value),
            kind => self.write(kind, &place, value),
        }
    }

    fn locate<'f>(&self, text: &'f PathText) -> Result<Place<'a, 'f>, ScimError> {
        let unknown = |name: &str| {
            ScimError::invalid_path(format!("the path {} is in no schema; check its spelling", quote(name)))
        };
        let target = self.definition.target(&text.attribute).ok_or_else(|| unknown(&text.attribute))?;
        let (path, filter) = match (target, &text.filter) {
            (Target::Extension(extension), None) => return Ok(Place::Extension(extension)),
            (Target::Attribute(path), None) => return Ok(Place::Attribute(path)),
            (Target::Extension(_), Some(_)) => return Err(unknown(&text.attribute)),
            (Target::Attribute(path), Some(filter)) => (path, filter),
        };
        if path.sub.is_some() || !path.attribute.multi_valued {
            return Err(ScimError::invalid_path(format!("{path} has no elements to filter: leave out the brackets")));
        }
        let condition = Condition::within(filter, self.definition, self.reader.tolerance, path)?;
        let path = match text.sub.as_deref() {
            None => path,
            Some(sub) if path.attribute.is_complex() => {
                path.with_sub(Some(path.attribute.sub_attribute(sub).ok_or_else(|| unknown(sub))?))
            }
            Some(sub) if sub.eq_ignore_ascii_case("value") => path,
            Some(sub) => return Err(unknown(sub)),
        };
        Ok(Place::Elements(path, filter, condition))
    }

    /// The attributes of a path-less operation, or of an extension's object. What clients echo of read-only
    /// attributes (`id`, `meta`, `groups`) is passed over.
    fn members(
        &mut self,
        kind: OperationKind,
        extension: Option<&Schema>,
        members: &Map<String, Value>,
        seen: &mut HashSet<String>,
    ) -> Result<(), ScimError> {
        for (name, value) in members {
            let full = extension.map(|extension| format!("{}:{name}", extension.urn()));
            let full = full.as_deref().unwrap_or(name);
            let paths = self.reader.tolerance.path_keys;
            let place = match self.definition.target(full) {
                Some(Target::Extension(extension)) => Some(Place::Extension(extension)),
                Some(Target::Attribute(path)) => (paths || !is_path(name)).then_some(Place::Attribute(path)),
                None => None,
            };
            let text = if place.is_none() && paths && name.contains('[') {
                parse_path(full, self.reader.tolerance).ok()
            } else {
                None
            };
            let place = place.or_else(|| text.as_ref().and_then(|text| self.locate(text).ok()));
            let Some(place) = place else {
                if !self.reader.tolerance.unknown_attributes {
                    return Err(ScimError::invalid_path(format!("the attribute {} is in no schema", quote(name))));
                }
                self.reader.ignore(full);
                continue;
            };
            match &place {
                Place::Extension(extension) => {
                    if let Value::Object(members) = value {
                        self.members(kind, Some(extension), members, seen)?;
                        continue;
                    }
                }
                Place::Attribute(path) | Place::Elements(path, ..) if path.is_read_only() => continue,
                Place::Elements(..) => {}
                Place::Attribute(path) => {
                    if !seen.insert(path.to_string()) {
                        return Err(ScimError::invalid_syntax(format!("{path} is given twice; send it once")));
                    }
                }
            }
            self.write(kind, &place, value)?;
        }
        Ok(())
    }

    fn write(&mut self, kind: OperationKind, place: &Place<'a, '_>, value: &Value) -> Result<(), ScimError> {
        match place {
            Place::Extension(extension) => match value {
                Value::Object(members) => self.members(kind, Some(extension), members, &mut HashSet::new()),
                value if self.clears(value) => {
                    if kind == OperationKind::Replace {
                        self.remove_extension(extension);
                    }
                    Ok(())
                }
                other => {
                    let detail = format!("{} must be an object, not {}", extension.urn(), kind_of(other));
                    Err(ScimError::invalid_value(detail))
                }
            },
            Place::Attribute(path) if is_password(path) => {
                self.password_given |= self.reader.attribute(path, path.attribute, value)?.is_some();
                Ok(())
            }
            Place::Attribute(path) => {
                self.mention(path);
                match (path.attribute.multi_valued, path.sub) {
                    (true, None) => self.write_list(kind, path, value),
                    (true, Some(_)) => self.write_every(kind, path, value),
                    (false, None) if path.attribute.is_complex() => self.write_complex(kind, path, value),
                    (false, Some(sub)) => {
                        let parts = Map::from_iter([(sub.name.clone(), value.clone())]);
                        self.write_complex(kind, path, &Value::Object(parts))
                    }
                    (false, None) => {
                        let read = self.reader.attribute(path, path.attribute, value)?;
                        self.put(kind, path, read);
                        Ok(())
                    }
                }
            }
            Place::Elements(path, filter, condition) => {
                self.mention(path);
                self.write_elements(kind, path, filter, condition, value)
            }
        }
    }

    fn write_list(&mut self, kind: OperationKind, path: &Path<'a>, value: &Value) -> Result<(), ScimError> {
        let read = self.reader.attribute(path, path.attribute, value)?;
        if kind == OperationKind::Replace {
            self.put(kind, path, read);
            return Ok(());
        }
        let Some(Value::Array(more)) = read else { return Ok(()) };
        let mut list = self.take_list(path);
        let written = add_elements(path.attribute, &mut list, more);
        self.put_list(path, list, &written)
    }

    fn write_complex(&mut self, kind: OperationKind, path: &Path<'a>, value: &Value) -> Result<(), ScimError> {
        let whole = path.with_sub(None);
        match value {
            Value::Array(elements) if self.reader.tolerance.one_element_array && elements.len() == 1 => {
                let single = elements.first().filter(|single| !single.is_array());
                let single = single.ok_or_else(|| ScimError::invalid_value(format!("{path} takes one value")))?;
                self.write_complex(kind, path, single)
            }
            Value::Object(parts) => {
                let before = self.value(&whole).and_then(Value::as_object).cloned().unwrap_or_default();
                let after = write_parts(&mut self.reader, kind, path, before, parts)?;
                self.put(OperationKind::Replace, &whole, after.map(Value::Object));
                Ok(())
            }
            other => {
                let read = self.reader.attribute(&whole, path.attribute, other)?;
                self.put(kind, &whole, read);
                Ok(())
            }
        }
    }

    /// A part of a multi-valued attribute without a filter: every element takes it.
    fn write_every(&mut self, kind: OperationKind, path: &Path<'a>, value: &Value) -> Result<(), ScimError> {
        let list = self.list(path);
        if list.is_empty() && !self.clears(value) {
            if !self.reader.tolerance.create_from_value_path {
                return Err(ScimError::no_target(format!("{} has no elements", path.with_sub(None))));
            }
            return self.create(kind, path, Value::Object(Map::new()), value);
        }
        let all = vec![true; list.len()];
        self.rewrite(kind, path, &all, None, value)
    }

    fn write_elements(
        &mut self,
        kind: OperationKind,
        path: &Path<'a>,
        filter: &Filter,
        condition: &Condition<'_>,
        value: &Value,
    ) -> Result<(), ScimError> {
        let matched: Vec<bool> = self.list(path).iter().map(|element| condition.holds_in_element(element)).collect();
        let described = from_filter(&mut self.reader, path, filter);
        if matched.contains(&true) {
            return self.rewrite(kind, path, &matched, described, value);
        }
        match described.filter(|_| self.reader.tolerance.create_from_value_path) {
            Some(_) if self.clears(value) => Ok(()),
            Some(element) => self.create(kind, path, element, value),
            None => {
                let detail = format!("no element of {} fulfils {}", path.with_sub(None), quote(&filter.to_string()));
                Err(ScimError::no_target(detail))
            }
        }
    }

    fn create(
        &mut self,
        kind: OperationKind,
        path: &Path<'a>,
        described: Value,
        value: &Value,
    ) -> Result<(), ScimError> {
        let Some(element) = self.changed(kind, path, described, None, value)? else { return Ok(()) };
        let mut list = self.take_list(path);
        list.push(element);
        let place = list.len() - 1;
        self.put_list(path, list, &[place])
    }

    /// Writes a value into the matched elements.
    fn rewrite(
        &mut self,
        kind: OperationKind,
        path: &Path<'a>,
        matched: &[bool],
        described: Option<Value>,
        value: &Value,
    ) -> Result<(), ScimError> {
        let mut list = Vec::new();
        let mut written = Vec::new();
        for (element, matched) in self.list(path).to_vec().into_iter().zip(matched) {
            if !matched {
                list.push(element);
            } else if let Some(element) = self.changed(kind, path, element, described.as_ref(), value)? {
                written.push(list.len());
                list.push(element);
            }
        }
        self.put_list(path, list, &written)
    }

    /// One element after an operation; `None` where nothing of it is left. A whole element that is replaced keeps
    /// what the filter says of it (`type`), else it could not be found by the same path again.
    fn changed(
        &mut self,
        kind: OperationKind,
        path: &Path<'a>,
        element: Value,
        described: Option<&Value>,
        value: &Value,
    ) -> Result<Option<Value>, ScimError> {
        let value = match value {
            Value::Array(elements) if self.reader.tolerance.one_element_array && elements.len() == 1 => {
                elements.first().unwrap_or(value)
            }
            other => other,
        };
        let Value::Object(before) = element else {
            let read = self.reader.element(path, path.attribute, value)?;
            return Ok(if kind == OperationKind::Add { read.or(Some(element)) } else { read });
        };
        if let Some(sub) = path.sub {
            let parts = Map::from_iter([(sub.name.clone(), value.clone())]);
            let after = write_parts(&mut self.reader, kind, path, before, &parts)?;
            return Ok(after.map(Value::Object));
        }
        if self.clears(value) {
            return Ok((kind == OperationKind::Add).then_some(Value::Object(before)));
        }
        let bare;
        let parts = match value {
            Value::Object(parts) => parts,
            other => {
                bare = self.reader.element(path, path.attribute, other)?;
                match &bare {
                    Some(Value::Object(parts)) => parts,
                    _ => return Ok(Some(Value::Object(before))),
                }
            }
        };
        let before = match (kind, described.and_then(Value::as_object)) {
            (OperationKind::Replace, Some(described)) => described.clone(),
            (OperationKind::Replace, None) if described.is_none() => before,
            _ => before,
        };
        Ok(write_parts(&mut self.reader, kind, path, before, parts)?.map(Value::Object))
    }

    fn remove(&mut self, place: &Place<'a, '_>, value: &Value) -> Result<(), ScimError> {
        let (path, condition) = match place {
            Place::Extension(extension) => {
                self.remove_extension(extension);
                return Ok(());
            }
            Place::Attribute(path) if is_password(path) => return Ok(()),
            Place::Attribute(path) => (path, None),
            Place::Elements(path, _, condition) => (path, Some(condition)),
        };
        self.mention(path);
        if path.leaf().required && condition.is_none() {
            return Err(ScimError::mutability(format!("{path} is required and cannot be removed; replace it")));
        }
        if !value.is_null() && !self.reader.tolerance.remove_with_value {
            return Err(ScimError::invalid_value("a remove takes no value; name the elements by a filter in the path"));
        }
        let whole = path.with_sub(None);
        match (path.attribute.multi_valued, path.sub) {
            (true, None) if condition.is_none() && value.is_null() => self.put(OperationKind::Replace, path, None),
            (true, None) => {
                let mut list = self.take_list(path);
                let mut listed = Vec::new();
                if condition.is_none() {
                    listed = self.listed(path, value)?;
                }
                list.retain(|element| match condition {
                    Some(condition) => !condition.holds_in_element(element),
                    None => !is_listed(path.attribute, element, &listed),
                });
                self.put_list(path, list, &[])?;
            }
            (true, Some(_)) => {
                let holds = |element: &Value| condition.is_none_or(|condition| condition.holds_in_element(element));
                let matched: Vec<bool> = self.list(path).iter().map(holds).collect();
                self.rewrite(OperationKind::Replace, path, &matched, None, &Value::Null)?;
            }
            (false, None) => self.put(OperationKind::Replace, path, None),
            (false, Some(sub)) => {
                if self.value(&whole).is_some() {
                    let parts = Map::from_iter([(sub.name.clone(), Value::Null)]);
                    self.write_complex(OperationKind::Replace, path, &Value::Object(parts))?;
                }
            }
        }
        Ok(())
    }

    /// The elements that a `remove` lists. An empty list removes nothing.
    fn listed(&mut self, path: &Path<'a>, value: &Value) -> Result<Vec<Value>, ScimError> {
        let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        let read = items.iter().map(|item| self.reader.element(path, path.attribute, item));
        Ok(read.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// Whether a value means "nothing": null, an empty array, or, where forgiven, an empty text.
    fn clears(&self, value: &Value) -> bool {
        match value {
            Value::Null => true,
            Value::Array(elements) => elements.is_empty(),
            Value::String(text) => text.is_empty() && self.reader.tolerance.empty_string_clears,
            Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
        }
    }

    fn mention(&mut self, path: &Path<'_>) {
        self.mentioned.insert(path.with_sub(None).to_string());
    }

    fn remove_extension(&mut self, extension: &Schema) {
        for attribute in extension.attributes() {
            self.mentioned.insert(format!("{}:{}", extension.urn(), attribute.name));
        }
        self.map.shift_remove(extension.urn());
    }

    fn value(&self, path: &Path<'_>) -> Option<&Value> {
        match path.extension {
            Some(extension) => self.map.get(extension.urn())?.get(&path.attribute.name),
            None => self.map.get(&path.attribute.name),
        }
    }

    fn list(&self, path: &Path<'_>) -> &[Value] {
        self.value(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn take_list(&mut self, path: &Path<'_>) -> Vec<Value> {
        self.list(path).to_vec()
    }

    /// Sets a whole attribute; `None` takes it away, unless something is being added.
    fn put(&mut self, kind: OperationKind, path: &Path<'_>, value: Option<Value>) {
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
    fn put_list(&mut self, path: &Path<'_>, mut list: Vec<Value>, written: &[usize]) -> Result<(), ScimError> {
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
        let list = (!list.is_empty()).then_some(Value::Array(list));
        self.put(OperationKind::Replace, path, list);
        Ok(())
    }
}
