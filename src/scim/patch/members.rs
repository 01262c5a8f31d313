//! Operations on a group's members, in every spelling, without the members.

use serde_json::{Map, Value};

use super::{Operation, OperationKind};
use crate::scim::error::ScimError;
use crate::scim::filter::{Filter, Literal, Operator};
use crate::scim::schema::{Definition, Path, kind_of, member_ids};

/// What happens to the members of a group. Ids stand each once, in the order sent.
#[derive(Clone, Debug, PartialEq)]
pub enum MemberOperation {
    /// These join; those who are members already stay.
    Add(Vec<String>),
    /// These leave; strangers are no fault.
    Remove(Vec<String>),
    /// Everybody leaves.
    RemoveAll,
    /// Those leave who fulfil the filter (its paths are sub-attributes; see [`crate::scim::filter::matches_element`]).
    RemoveWhere(Filter),
    /// These are the members from now on; an empty list empties the group.
    Replace(Vec<String>),
}

/// Takes the operations on `members` out of a PATCH; both lists keep their order. An operation without a path is
/// divided: its `members` go here, its other attributes stay.
///
/// Errors: 400 `invalidValue` for an element without an id, 400 `mutability` for a change inside an element:
/// members come and go whole.
pub fn split_members(
    operations: &[Operation],
    definition: &Definition,
) -> Result<(Vec<Operation>, Vec<MemberOperation>), ScimError> {
    let mut others = Vec::with_capacity(operations.len());
    let mut members = Vec::new();
    for operation in operations {
        match &operation.path {
            Some(text) => match definition.resolve(&text.attribute).filter(|path| is_members(definition, path)) {
                Some(path) => {
                    let part = path.sub.map(|sub| sub.name.as_str()).or(text.sub.as_deref());
                    members.extend(with_path(operation, part, text.filter.as_ref())?);
                }
                None => others.push(operation.clone()),
            },
            None => match without_path(operation, definition)? {
                Some((rest, found)) => {
                    members.push(found);
                    others.extend(rest);
                }
                None => others.push(operation.clone()),
            },
        }
    }
    Ok((others, members))
}

fn is_members(definition: &Definition, path: &Path<'_>) -> bool {
    definition.kind() == crate::scim::schema::ResourceKind::Group && definition.is_membership(path)
}

fn with_path(
    operation: &Operation,
    part: Option<&str>,
    filter: Option<&Filter>,
) -> Result<Option<MemberOperation>, ScimError> {
    let value = operation.value.as_ref().unwrap_or(&Value::Null);
    let whole = part.is_none_or(|part| part.eq_ignore_ascii_case("value") && filter.is_none());
    if !whole {
        return Err(ScimError::mutability("a member cannot be changed in place; remove it and add another"));
    }
    Ok(match (operation.kind, filter) {
        (OperationKind::Add, None) => Some(MemberOperation::Add(member_ids(value)?)),
        (OperationKind::Replace, None) => Some(MemberOperation::Replace(member_ids(value)?)),
        (OperationKind::Remove, None) if value.is_null() => Some(MemberOperation::RemoveAll),
        (OperationKind::Remove, None) => Some(MemberOperation::Remove(member_ids(value)?)),
        (OperationKind::Remove, Some(filter)) => Some(match ids_of(filter) {
            Some(ids) => MemberOperation::Remove(ids),
            None => MemberOperation::RemoveWhere(filter.clone()),
        }),
        // `add members[value eq "x"]` says no more than that x is a member.
        (OperationKind::Add, Some(filter)) => match ids_of(filter) {
            Some(ids) if ids.len() == 1 => Some(MemberOperation::Add(ids)),
            _ => return Err(ScimError::no_target("name the members to add in the value, not in a filter")),
        },
        (OperationKind::Replace, Some(_)) => {
            return Err(ScimError::mutability("a member cannot be changed in place; remove it and add another"));
        }
    })
}

/// The ids of `value eq "a"` and `value eq "a" or value eq "b"`.
fn ids_of(filter: &Filter) -> Option<Vec<String>> {
    let terms = if let Filter::Or(terms) = filter { terms.as_slice() } else { std::slice::from_ref(filter) };
    let mut ids = Vec::with_capacity(terms.len());
    for term in terms {
        let Filter::Compare { path, operator: Operator::Equal, value: Literal::Text(id) } = term else { return None };
        if !path.eq_ignore_ascii_case("value") {
            return None;
        }
        if !ids.contains(id) {
            ids.push(id.clone());
        }
    }
    Some(ids)
}

/// The rest of the operation, where anything is left, and what it says of members.
type Divided = (Option<Operation>, MemberOperation);

fn without_path(operation: &Operation, definition: &Definition) -> Result<Option<Divided>, ScimError> {
    let attributes = match &operation.value {
        Some(Value::Object(attributes)) => attributes,
        Some(_) | None => return Ok(None),
    };
    let mut found = None;
    let mut rest = Map::new();
    for (name, value) in attributes {
        if definition.resolve(name).is_some_and(|path| path.sub.is_none() && is_members(definition, &path)) {
            if found.replace(value).is_some() {
                return Err(ScimError::invalid_syntax("members is given twice, in different spellings; send it once"));
            }
        } else {
            rest.insert(name.clone(), value.clone());
        }
    }
    let Some(value) = found else { return Ok(None) };
    let ids = member_ids(value)?;
    let members = match operation.kind {
        OperationKind::Add => MemberOperation::Add(ids),
        OperationKind::Replace => MemberOperation::Replace(ids),
        OperationKind::Remove => {
            let detail = format!("a remove needs a path, not {}", kind_of(value));
            return Err(ScimError::no_target(detail));
        }
    };
    let rest = (!rest.is_empty()).then(|| Operation { value: Some(Value::Object(rest)), ..operation.clone() });
    Ok(Some((rest, members)))
}
