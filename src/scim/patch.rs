//! PATCH (RFC 7644 section 3.5.2), with the shapes that Okta, Entra and others really send.
//!
//! [`parse`] reads the operations, [`split_members`] takes out those on a group's members, which live in a table
//! of their own, and [`apply`] carries out the rest on a document: all or nothing. Every name is resolved against
//! the schema; no path is ever built by splitting text. Pure.

mod apply;
mod document;
mod element;
mod members;
#[cfg(test)]
mod tests;

use std::fmt;

use serde_json::{Map, Value};

use super::error::{ScimError, quote};
use super::filter::{PathText, parse_path};
use super::schema::{Resource, check_limits, member};

pub use super::schema::Tolerance;
pub use apply::apply;
pub use members::{MemberOperation, split_members};

/// The URN of a PATCH body.
pub const PATCH_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

/// One PATCH may have this many operations.
pub const MOST_OPERATIONS: usize = 1000;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationKind {
    /// `add`
    Add,
    /// `remove`
    Remove,
    /// `replace`
    Replace,
}

/// One operation, its path read but not yet found in a schema. Its value may be a password, so `Debug` leaves it out.
#[derive(Clone, PartialEq)]
pub struct Operation {
    pub(in crate::scim) kind: OperationKind,
    pub(in crate::scim) path: Option<PathText>,
    /// For `add` and `replace` there is one, be it null.
    pub(in crate::scim) value: Option<Value>,
}

impl Operation {
    /// What it does.
    pub fn kind(&self) -> OperationKind {
        self.kind
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation").field("kind", &self.kind).field("path", &self.path).finish_non_exhaustive()
    }
}

/// What became of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Patched {
    /// The document now.
    pub resource: Resource,
    /// Whether it differs from before. A PATCH that changes nothing must not move `lastModified`.
    pub changed: bool,
}

/// Reads the body of a PATCH.
///
/// Errors: 400 `invalidSyntax` (no operations, an unknown `op`, nested too deep, or, when strict, without the
/// PatchOp URN), 400 `invalidPath`, 400 `invalidValue` (`add` or `replace` without a value), 400 `noTarget`
/// (`remove` without a path), 413 (more than [`MOST_OPERATIONS`]).
pub fn parse(body: &Value, tolerance: &Tolerance) -> Result<Vec<Operation>, ScimError> {
    check_limits(body)?;
    let whole = body.as_object().ok_or_else(|| ScimError::invalid_syntax("the body of a PATCH must be an object"))?;
    let schemas = whole.get("schemas").and_then(Value::as_array);
    let named = schemas.is_some_and(|urns| urns.iter().any(|urn| urn.as_str() == Some(PATCH_SCHEMA)));
    if !named && !tolerance.missing_schemas {
        return Err(ScimError::invalid_syntax(format!("`schemas` must be an array that holds {PATCH_SCHEMA}")));
    }
    let operations = get(whole, "Operations", tolerance).and_then(Value::as_array);
    let operations = operations.filter(|operations| !operations.is_empty());
    let operations = operations
        .ok_or_else(|| ScimError::invalid_syntax("`Operations` must be an array of at least one operation"))?;
    if operations.len() > MOST_OPERATIONS {
        let detail = format!("a PATCH may have at most {MOST_OPERATIONS} operations; send several");
        return Err(ScimError::too_large(detail));
    }
    operations.iter().map(|operation| parse_operation(operation, tolerance)).collect()
}

fn parse_operation(operation: &Value, tolerance: &Tolerance) -> Result<Operation, ScimError> {
    let members = operation.as_object().ok_or_else(|| ScimError::invalid_syntax("an operation must be an object"))?;
    let word = get(members, "op", tolerance).and_then(Value::as_str);
    let word = word.ok_or_else(|| ScimError::invalid_syntax("an operation needs `op`: add, remove or replace"))?;
    let lower = if tolerance.any_case_operations { word.to_ascii_lowercase() } else { word.to_owned() };
    let kind = match lower.as_str() {
        "add" => OperationKind::Add,
        "remove" => OperationKind::Remove,
        "replace" => OperationKind::Replace,
        _ => {
            return Err(ScimError::invalid_syntax(format!("`op` must be add, remove or replace, not {}", quote(word))));
        }
    };
    let path = match get(members, "path", tolerance) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.trim().is_empty() => None,
        Some(Value::String(text)) => Some(parse_path(text, tolerance)?),
        Some(_) => return Err(ScimError::invalid_path("`path` must be text")),
    };
    let value = get(members, "value", tolerance).cloned();
    match (kind, &path, &value) {
        (OperationKind::Remove, None, _) => {
            Err(ScimError::no_target("a remove needs a path; name the attribute to take away"))
        }
        (OperationKind::Add | OperationKind::Replace, _, None) => {
            Err(ScimError::invalid_value(format!("`op` {lower} needs a value; to clear an attribute send null")))
        }
        (OperationKind::Remove, _, Some(value)) if !value.is_null() && !tolerance.remove_with_value => {
            Err(ScimError::invalid_value("a remove takes no value; name the elements by a filter in the path"))
        }
        _ => Ok(Operation { kind, path, value }),
    }
}

fn get<'v>(object: &'v Map<String, Value>, name: &str, tolerance: &Tolerance) -> Option<&'v Value> {
    if tolerance.any_case_operations { member(object, name) } else { object.get(name) }
}
