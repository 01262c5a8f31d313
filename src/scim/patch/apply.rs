//! Operations carried out on a document.

use std::collections::{BTreeSet, HashSet};

use serde_json::{Map, Value};

use super::document::Document;
use super::element::{add_elements, from_filter, is_listed, write_parts};
use super::{Operation, OperationKind, Patched, Tolerance};
use crate::scim::error::{ScimError, quote};
use crate::scim::filter::{Condition, Filter, PathText, parse_path};
use crate::scim::schema::{
    Definition, Path, Reader, Resource, Schema, Target, check_size, elements, is_password, is_path, kind_of,
};
use crate::token::Password;

/// One PATCH may compare this many elements with terms of filters.
const MOST_COMPARISONS: usize = 5_000_000;

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
        document: Document { map: before.as_map().clone() },
        mentioned: BTreeSet::new(),
        password: None,
        spent: 0,
    };
    for operation in operations {
        patch.operation(operation)?;
    }
    let Patch { reader, document: Document { map }, mentioned, password, .. } = patch;
    let ignored = reader.ignored;
    check_size(&map)?;
    let after = Resource { map: definition.with_schemas(map), mentioned, password, ignored };
    definition.check_required(&after)?;
    definition.check_immutable(&before, &after)?;
    let changed = after.as_map() != before.as_map();
    Ok(Patched { resource: after, changed })
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
    document: Document,
    mentioned: BTreeSet<String>,
    password: Option<Password>,
    /// Comparisons made so far.
    spent: usize,
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
            return if harmless {
                Ok(())
            } else {
                Err(ScimError::mutability(format!("{path} is read-only; leave it out")))
            };
        }
        match operation.kind {
            OperationKind::Remove => self.remove(&place, value),
            kind @ (OperationKind::Add | OperationKind::Replace) => self.write(kind, &place, value),
        }
    }

    fn locate<'f>(&self, text: &'f PathText) -> Result<Place<'a, 'f>, ScimError> {
        let unknown = |name: &str| {
            ScimError::invalid_path(format!("the path {} is in no schema; check its spelling", quote(name)))
        };
        let target = self.definition.target_for(&text.attribute, self.reader.tolerance);
        let target = target.ok_or_else(|| unknown(&text.attribute))?;
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
            let place = match self.definition.target_for(full, self.reader.tolerance) {
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
                    return Err(ScimError::invalid_path(format!(
                        "the attribute {} is in no schema; leave it out",
                        quote(name)
                    )));
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
            Place::Extension(extension) => self.write_extension(kind, extension, value),
            Place::Attribute(path) if is_password(path) => {
                if let Some(Value::String(text)) = self.reader.attribute(path, path.attribute, value)? {
                    self.password = Some(Password::new(text));
                }
                Ok(())
            }
            Place::Attribute(path) => {
                self.mention(path);
                self.spend(path, 0)?;
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
                        self.document.put(kind, path, read);
                        Ok(())
                    }
                }
            }
            Place::Elements(path, filter, condition) => {
                self.mention(path);
                self.spend(path, filter.terms())?;
                self.write_elements(kind, path, filter, condition, value)
            }
        }
    }

    fn write_extension(&mut self, kind: OperationKind, extension: &Schema, value: &Value) -> Result<(), ScimError> {
        if let Some(members) = value.as_object() {
            return self.members(kind, Some(extension), members, &mut HashSet::new());
        }
        if !self.clears(value) {
            let detail = format!("{} must be an object, not {}", extension.urn(), kind_of(value));
            return Err(ScimError::invalid_value(detail));
        }
        if kind == OperationKind::Replace {
            self.remove_extension(extension);
        }
        Ok(())
    }

    fn write_list(&mut self, kind: OperationKind, path: &Path<'a>, value: &Value) -> Result<(), ScimError> {
        let read = self.reader.attribute(path, path.attribute, value)?;
        if kind == OperationKind::Replace {
            self.document.put(kind, path, read);
            return Ok(());
        }
        let Some(Value::Array(more)) = read else { return Ok(()) };
        let mut list = self.document.take_list(path);
        let written = add_elements(path.attribute, &mut list, more);
        self.document.put_list(path, list, &written)
    }

    fn write_complex(&mut self, kind: OperationKind, path: &Path<'a>, value: &Value) -> Result<(), ScimError> {
        let whole = path.with_sub(None);
        let value = self.unwrapped(value);
        let Some(parts) = value.as_object() else {
            let read = self.reader.attribute(&whole, path.attribute, value)?;
            self.document.put(kind, &whole, read);
            return Ok(());
        };
        let before = self.document.value(&whole).and_then(Value::as_object).cloned().unwrap_or_default();
        let after = write_parts(&mut self.reader, kind, path, before, parts)?;
        self.document.put(OperationKind::Replace, &whole, after.map(Value::Object));
        Ok(())
    }

    /// A part of a multi-valued attribute without a filter: every element takes it.
    fn write_every(&mut self, kind: OperationKind, path: &Path<'a>, value: &Value) -> Result<(), ScimError> {
        let list = self.document.list(path);
        if list.is_empty() && !self.clears(value) {
            if !self.reader.tolerance.create_from_value_path {
                return Err(ScimError::no_target(format!("{} has no elements; add one first", path.with_sub(None))));
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
        let matched: Vec<bool> =
            self.document.list(path).iter().map(|element| condition.holds_in_element(element)).collect();
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
        let Some(element) = self.changed(kind, path, described.clone(), Some(&described), value)? else {
            return Ok(());
        };
        let mut list = self.document.take_list(path);
        list.push(element);
        let place = list.len() - 1;
        self.document.put_list(path, list, &[place])
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
        for (element, matched) in self.document.take_list(path).into_iter().zip(matched) {
            if !matched {
                list.push(element);
            } else if let Some(element) = self.changed(kind, path, element, described.as_ref(), value)? {
                written.push(list.len());
                list.push(element);
            }
        }
        self.document.put_list(path, list, &written)
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
        let value = self.unwrapped(value);
        let Value::Object(before) = element else {
            let keeps = kind == OperationKind::Add;
            return if keeps { Ok(Some(element)) } else { self.reader.element(path, path.attribute, value) };
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
        let parts = if value.is_object() {
            value
        } else {
            bare = self.reader.element(path, path.attribute, value)?.unwrap_or_default();
            &bare
        };
        let Some(parts) = parts.as_object() else { return Ok(Some(Value::Object(before))) };
        let replaced = kind == OperationKind::Replace;
        let base = described.and_then(Value::as_object).cloned().unwrap_or_default();
        let before = if replaced { base } else { before };
        Ok(write_parts(&mut self.reader, kind, path, before, parts)?.map(Value::Object))
    }

    fn remove(&mut self, place: &Place<'a, '_>, value: &Value) -> Result<(), ScimError> {
        let (path, condition, terms) = match place {
            Place::Extension(extension) => {
                self.remove_extension(extension);
                return Ok(());
            }
            Place::Attribute(path) if is_password(path) => return Ok(()),
            Place::Attribute(path) => (path, None, value.as_array().map_or(0, Vec::len)),
            Place::Elements(path, filter, condition) => (path, Some(condition), filter.terms()),
        };
        self.mention(path);
        self.spend(path, terms)?;
        if path.leaf().required && condition.is_none() {
            return Err(ScimError::mutability(format!("{path} is required and cannot be removed; replace it")));
        }
        let whole = path.with_sub(None);
        match (path.attribute.multi_valued, path.sub) {
            (true, None) if condition.is_none() && value.is_null() => {
                self.document.put(OperationKind::Replace, path, None)
            }
            (true, None) => {
                let mut list = self.document.take_list(path);
                let mut listed = Vec::new();
                if condition.is_none() {
                    listed = self.listed(path, value)?;
                }
                list.retain(|element| match condition {
                    Some(condition) => !condition.holds_in_element(element),
                    None => !is_listed(path.attribute, element, &listed),
                });
                self.document.put_list(path, list, &[])?;
            }
            (true, Some(_)) => {
                let holds = |element: &Value| condition.is_none_or(|condition| condition.holds_in_element(element));
                let matched: Vec<bool> = self.document.list(path).iter().map(holds).collect();
                self.rewrite(OperationKind::Replace, path, &matched, None, &Value::Null)?;
            }
            (false, None) => self.document.put(OperationKind::Replace, path, None),
            (false, Some(sub)) => {
                if self.document.value(&whole).is_some() {
                    let parts = Map::from_iter([(sub.name.clone(), Value::Null)]);
                    self.write_complex(OperationKind::Replace, path, &Value::Object(parts))?;
                }
            }
        }
        Ok(())
    }

    /// The elements that a `remove` lists. An empty list removes nothing.
    fn listed(&mut self, path: &Path<'a>, value: &Value) -> Result<Vec<Value>, ScimError> {
        let read = elements(value).iter().map(|item| self.reader.element(path, path.attribute, item));
        Ok(read.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// The one element of an array where a single value belongs.
    fn unwrapped<'v>(&self, value: &'v Value) -> &'v Value {
        match value.as_array().map(Vec::as_slice) {
            Some([single]) if self.reader.tolerance.one_element_array && !single.is_array() => single,
            _ => value,
        }
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
        self.document.remove_extension(extension);
    }

    /// Counts comparisons with elements, so that many operations on long lists end with an error in time.
    fn spend(&mut self, path: &Path<'_>, terms: usize) -> Result<(), ScimError> {
        self.spent += self.document.list(path).len().saturating_mul(1 + terms);
        if self.spent > MOST_COMPARISONS {
            return Err(ScimError::too_large("the operations ask for too many comparisons; send fewer at a time"));
        }
        Ok(())
    }
}
