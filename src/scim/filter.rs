//! Filters (RFC 7644 section 3.4.2.2): text, tree, and what they mean for the store or for one document.
//!
//! [`Filter::parse`] reads the whole grammar within stated limits and knows no schema. [`to_predicate`] and
//! [`matches`] share one typed stage, so that the index and a plain look at the document cannot disagree.
//! Pure: ids of members are turned into numbers by the caller.

mod condition;
mod evaluate;
mod parser;
#[cfg(test)]
mod tests;

use std::fmt;

use serde_json::{Map, Value};

use super::error::{ScimError, quote};
use super::schema::{AttributeType, Definition, Tolerance};
use crate::domain::Number;
use crate::store::Predicate;

pub(in crate::scim) use condition::{Condition, Memberships};
pub(in crate::scim) use parser::{PathText, parse_path};

/// The longest filter, in bytes.
pub const LONGEST_FILTER: usize = 16 * 1024;

/// The deepest nesting of groups, negations and value paths.
pub const DEEPEST_FILTER: usize = 32;

/// The most comparisons in one filter.
pub const MOST_TERMS: usize = 64;

/// A filter as written. `And` and `Or` hold two or more, and none of their own kind, so that a filter has one
/// tree. [`fmt::Display`] writes the canonical text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// All of these.
    And(Vec<Filter>),
    /// Any of these.
    Or(Vec<Filter>),
    /// Not this.
    Not(Box<Filter>),
    /// `path pr`: there is a value.
    Present {
        /// The attribute, as written.
        path: String,
    },
    /// `path operator literal`.
    Compare {
        /// The attribute, as written.
        path: String,
        /// How.
        operator: Operator,
        /// With what.
        value: Literal,
    },
    /// `path[filter]`: one element fulfils all of it. `path[filter].sub eq "x"` is read as one more condition
    /// on the same element.
    Element {
        /// The multi-valued attribute, as written.
        path: String,
        /// The condition; its paths are sub-attributes.
        filter: Box<Filter>,
    },
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `eq`
    Equal,
    /// `ne`
    NotEqual,
    /// `co`
    Contains,
    /// `sw`
    StartsWith,
    /// `ew`
    EndsWith,
    /// `gt`
    Greater,
    /// `ge`
    GreaterOrEqual,
    /// `lt`
    Less,
    /// `le`
    LessOrEqual,
}

impl Operator {
    /// Every operator.
    pub const ALL: [Self; 9] = [
        Self::Equal,
        Self::NotEqual,
        Self::Contains,
        Self::StartsWith,
        Self::EndsWith,
        Self::Greater,
        Self::GreaterOrEqual,
        Self::Less,
        Self::LessOrEqual,
    ];

    /// The word of the grammar.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Equal => "eq",
            Self::NotEqual => "ne",
            Self::Contains => "co",
            Self::StartsWith => "sw",
            Self::EndsWith => "ew",
            Self::Greater => "gt",
            Self::GreaterOrEqual => "ge",
            Self::Less => "lt",
            Self::LessOrEqual => "le",
        }
    }

    /// Reads a word in any case.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operator| operator.word().eq_ignore_ascii_case(word))
    }
}

/// What is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Literal {
    /// Quoted text, or forgiven bare text.
    Text(String),
    /// A JSON number, as written: the attribute's type says how to read it.
    Number(String),
    /// `true` or `false`.
    Boolean(bool),
    /// `null`: absent.
    Null,
}

impl Filter {
    /// Reads a filter.
    ///
    /// Errors: 400 `invalidFilter`, with the place of the fault; also beyond the limits of this room.
    pub fn parse(text: &str, tolerance: &Tolerance) -> Result<Self, ScimError> {
        parser::parse_filter(text, tolerance)
    }

    /// The ids that this filter compares memberships with (`members eq "…"`, `groups.value eq "…"`), for the
    /// caller to look up before [`to_predicate`].
    pub fn member_ids(&self, definition: &Definition) -> Vec<String> {
        let mut ids = Vec::new();
        self.collect_member_ids(definition, None, &mut ids);
        ids
    }

    /// How many comparisons it holds.
    pub(in crate::scim) fn terms(&self) -> usize {
        match self {
            Self::And(filters) | Self::Or(filters) => filters.iter().map(Self::terms).sum(),
            Self::Not(filter) | Self::Element { filter, .. } => filter.terms(),
            Self::Present { .. } | Self::Compare { .. } => 1,
        }
    }

    fn collect_member_ids(&self, definition: &Definition, element: Option<&str>, ids: &mut Vec<String>) {
        match self {
            Self::And(filters) | Self::Or(filters) => {
                filters.iter().for_each(|filter| filter.collect_member_ids(definition, element, ids));
            }
            Self::Not(filter) => filter.collect_member_ids(definition, element, ids),
            Self::Element { path, filter } => filter.collect_member_ids(definition, Some(path), ids),
            Self::Present { .. } => {}
            Self::Compare { path, value, .. } => {
                let path = definition.resolve(element.unwrap_or(path));
                if let (Some(path), Literal::Text(id)) = (path, value)
                    && definition.is_membership(&path)
                {
                    ids.push(id.clone());
                }
            }
        }
    }
}

/// What a filter asks of the store. `numbers` turns the id of a member or group into its number; an unknown id
/// matches nothing.
///
/// Errors: 400 `invalidFilter` where an attribute is in no schema or cannot be compared so; 403 `sensitive` for
/// attributes that are never returned, such as `password`.
pub fn to_predicate(
    filter: &Filter,
    definition: &Definition,
    tolerance: &Tolerance,
    numbers: &dyn Fn(&str) -> Option<Number>,
) -> Result<Predicate, ScimError> {
    let condition = Condition::new(filter, definition, tolerance, Memberships::InTable)?;
    let predicate = condition.into_predicate(definition, numbers);
    let (depth, terms) = size(&predicate);
    if depth > DEEPEST_FILTER || terms > MOST_TERMS {
        let detail =
            format!("the filter asks for {terms} comparisons, {depth} deep; at most {MOST_TERMS} and {DEEPEST_FILTER}");
        return Err(ScimError::invalid_filter(detail));
    }
    Ok(predicate)
}

/// Depth and number of conditions. Some comparisons become two conditions (`eq ""`), so the limits of the text
/// are not those of the predicate; stores have the same ones.
fn size(predicate: &Predicate) -> (usize, usize) {
    match predicate {
        Predicate::All(parts) | Predicate::Any(parts) if !parts.is_empty() => {
            let sizes = parts.iter().map(size);
            let (depth, terms) = sizes.fold((0, 0), |(depth, terms), (d, t)| (depth.max(d), terms + t));
            (depth + 1, terms)
        }
        Predicate::Not(inner) | Predicate::Element { inner, .. } => {
            let (depth, terms) = size(inner);
            (depth + 1, terms)
        }
        Predicate::All(_)
        | Predicate::Any(_)
        | Predicate::Compare { .. }
        | Predicate::Present { .. }
        | Predicate::Member(_)
        | Predicate::MemberOf(_)
        | Predicate::HasMembers
        | Predicate::HasGroups => (1, 1),
    }
}

/// Whether a full representation fulfils a filter, without any index. A filter that does not fit the schema
/// matches nothing.
pub fn matches(filter: &Filter, definition: &Definition, resource: &Map<String, Value>) -> bool {
    Condition::new(filter, definition, &Tolerance::GENERIC, Memberships::InDocument)
        .is_ok_and(|condition| condition.holds(resource))
}

/// Whether one element of a multi-valued attribute (such as `{"value": "…", "type": "User"}` of `members`) fulfils
/// the inner filter of a value path. One that does not fit the schema matches nothing.
pub fn matches_element(filter: &Filter, definition: &Definition, attribute: &str, element: &Value) -> bool {
    let Some(path) = definition.resolve(attribute) else { return false };
    Condition::within(filter, definition, &Tolerance::GENERIC, path)
        .is_ok_and(|condition| condition.holds_in_element(element))
}

/// The index path for `sortBy`: of a complex attribute its `value`.
///
/// Errors: 400 `invalidPath` where there is no such attribute or no order; 403 `sensitive`.
pub fn sort_path(text: &str, definition: &Definition) -> Result<String, ScimError> {
    let unsorted = |why: &str| ScimError::invalid_path(format!("cannot sort by {}: {why}", quote(text)));
    let path = definition.resolve(text).ok_or_else(|| unsorted("it is in no schema"))?;
    if path.is_secret() {
        return Err(ScimError::sensitive(format!("cannot sort by {path}: it is never returned")));
    }
    if definition.is_membership(&path) {
        return Err(unsorted("memberships have no order"));
    }
    let path = condition::simple(path).ok_or_else(|| unsorted("name one of its parts"))?;
    let known = path.attribute.name != "meta" || path.sub.is_some_and(|sub| sub.kind == AttributeType::DateTime);
    if known && path.attribute.name != "schemas" {
        Ok(path.key())
    } else {
        Err(unsorted("the server keeps no order of it"))
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::And(filters) => {
                for (place, filter) in filters.iter().enumerate() {
                    if place > 0 {
                        f.write_str(" and ")?;
                    }
                    match filter {
                        Self::Or(_) => write!(f, "({filter})")?,
                        Self::And(_)
                        | Self::Not(_)
                        | Self::Present { .. }
                        | Self::Compare { .. }
                        | Self::Element { .. } => write!(f, "{filter}")?,
                    }
                }
                Ok(())
            }
            Self::Or(filters) => {
                for (place, filter) in filters.iter().enumerate() {
                    if place > 0 {
                        f.write_str(" or ")?;
                    }
                    write!(f, "{filter}")?;
                }
                Ok(())
            }
            Self::Not(filter) => write!(f, "not ({filter})"),
            Self::Present { path } => write!(f, "{path} pr"),
            Self::Compare { path, operator, value } => write!(f, "{path} {} {value}", operator.word()),
            Self::Element { path, filter } => write!(f, "{path}[{filter}]"),
        }
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{}", Value::from(text.as_str())),
            Self::Number(text) => f.write_str(text),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Null => f.write_str("null"),
        }
    }
}
