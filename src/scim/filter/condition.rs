//! A filter with its attributes found and its literals typed.

use crate::domain::Number;
use crate::scim::error::{ScimError, quote};
use crate::scim::filter::{Filter, Literal, Operator};
use crate::scim::schema::{
    Attribute, AttributeType, Definition, Path, Tolerance, comparable_text, decimal_key, integer_key, parse_boolean,
    parse_time,
};
use crate::store::{Comparison, Predicate, time_key};

/// Where memberships are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scim) enum Memberships {
    /// In the store's table: by id alone.
    InTable,
    /// In the document, as any other attribute.
    InDocument,
}

/// What a filter means.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::scim) enum Condition<'a> {
    All(Vec<Condition<'a>>),
    Any(Vec<Condition<'a>>),
    Not(Box<Condition<'a>>),
    /// Decided by the schema alone.
    Constant(bool),
    Present(Path<'a>),
    /// Some value at the path compares so.
    Compare(Path<'a>, Comparison, String),
    /// One element of the attribute fulfils the inner condition.
    Element(Path<'a>, Box<Condition<'a>>),
    /// There is a membership with this id.
    Member(String),
    /// There is any membership.
    AnyMember,
}

/// The path of a simple value: of a complex attribute its `value`.
pub(super) fn simple(path: Path<'_>) -> Option<Path<'_>> {
    if !path.leaf().is_complex() {
        return Some(path);
    }
    path.attribute.sub_attribute("value").map(|sub| path.with_sub(Some(sub)))
}

struct Builder<'a> {
    definition: &'a Definition,
    tolerance: &'a Tolerance,
    memberships: Memberships,
    /// The attribute whose value path is being read.
    element: Option<Path<'a>>,
}

impl<'a> Condition<'a> {
    /// Finds and types everything. See [`super::to_predicate`] for the errors.
    pub fn new(
        filter: &Filter,
        definition: &'a Definition,
        tolerance: &'a Tolerance,
        memberships: Memberships,
    ) -> Result<Self, ScimError> {
        Builder { definition, tolerance, memberships, element: None }.build(filter)
    }

    /// The inner condition of a value path on this attribute, for [`Self::holds_in_element`].
    pub fn within(
        filter: &Filter,
        definition: &'a Definition,
        tolerance: &'a Tolerance,
        attribute: Path<'a>,
    ) -> Result<Self, ScimError> {
        let memberships = Memberships::InDocument;
        Builder { definition, tolerance, memberships, element: Some(attribute) }.build(filter)
    }

    /// The same for the store.
    pub fn into_predicate(self, definition: &Definition, numbers: &dyn Fn(&str) -> Option<Number>) -> Predicate {
        let users = definition.kind() == crate::scim::schema::ResourceKind::User;
        let many = |conditions: Vec<Self>| {
            conditions.into_iter().map(|condition| condition.into_predicate(definition, numbers)).collect()
        };
        match self {
            Self::All(conditions) => Predicate::All(many(conditions)),
            Self::Any(conditions) => Predicate::Any(many(conditions)),
            Self::Not(condition) => Predicate::Not(Box::new(condition.into_predicate(definition, numbers))),
            Self::Constant(true) => Predicate::All(Vec::new()),
            Self::Constant(false) => Predicate::Any(Vec::new()),
            Self::Present(path) => Predicate::Present { path: path.key() },
            Self::Compare(path, comparison, value) => Predicate::Compare { path: path.key(), comparison, value },
            Self::Element(path, inner) => {
                Predicate::Element { path: path.key(), inner: Box::new(inner.into_predicate(definition, numbers)) }
            }
            Self::Member(id) => match numbers(&id) {
                Some(number) if users => Predicate::MemberOf(number),
                Some(number) => Predicate::Member(number),
                None => Predicate::Any(Vec::new()),
            },
            Self::AnyMember if users => Predicate::HasGroups,
            Self::AnyMember => Predicate::HasMembers,
        }
    }
}

impl<'a> Builder<'a> {
    fn build(&self, filter: &Filter) -> Result<Condition<'a>, ScimError> {
        let many = |filters: &[Filter]| filters.iter().map(|filter| self.build(filter)).collect::<Result<Vec<_>, _>>();
        match filter {
            Filter::And(filters) if self.in_table(self.element) => Err(self.only_by_id(filters.first())),
            Filter::Not(inner) if self.in_table(self.element) => Err(self.only_by_id(Some(inner))),
            Filter::And(filters) => many(filters).map(Condition::All),
            Filter::Or(filters) => many(filters).map(Condition::Any),
            Filter::Not(inner) => Ok(negate(self.build(inner)?)),
            Filter::Present { path } => self.present(self.find(path)?),
            Filter::Compare { path, operator, value } => self.compare(self.find(path)?, *operator, value),
            Filter::Element { path, filter } => self.element(path, filter),
        }
    }

    fn find(&self, text: &str) -> Result<Path<'a>, ScimError> {
        let path = match self.element {
            None => self.definition.resolve(text).or_else(|| {
                let unqualified = || self.definition.resolve_unqualified(text);
                self.tolerance.unqualified_names.then(unqualified).flatten()
            }),
            Some(element) if element.attribute.is_complex() => {
                element.attribute.sub_attribute(text).map(|sub| element.with_sub(Some(sub)))
            }
            Some(element) => text.eq_ignore_ascii_case("value").then_some(element),
        };
        let path = path.ok_or_else(|| {
            let place = self.element.map(|element| format!(" of {element}")).unwrap_or_default();
            ScimError::invalid_filter(format!(
                "the attribute {}{place} is in no schema; check its spelling",
                quote(text)
            ))
        })?;
        if path.is_secret() {
            return Err(ScimError::sensitive(format!("{path} may not stand in a filter: it is never returned")));
        }
        Ok(path)
    }

    fn element(&self, text: &str, filter: &Filter) -> Result<Condition<'a>, ScimError> {
        let path = self.find(text)?;
        if path.sub.is_some() || !(path.attribute.multi_valued || path.attribute.is_complex()) {
            return Err(ScimError::invalid_filter(format!("{path} has no elements: leave out the brackets")));
        }
        let inner = Builder { element: Some(path), ..*self }.build(filter)?;
        if self.in_table(Some(path)) || !path.attribute.multi_valued {
            return Ok(inner);
        }
        Ok(Condition::Element(path, Box::new(inner)))
    }

    fn in_table(&self, path: Option<Path<'_>>) -> bool {
        self.memberships == Memberships::InTable && path.is_some_and(|path| self.definition.is_membership(&path))
    }

    fn only_by_id(&self, filter: Option<&Filter>) -> ScimError {
        let place = filter.map(ToString::to_string).unwrap_or_default();
        ScimError::invalid_filter(format!(
            "memberships are found by `value eq \"id\"` alone; leave out {}",
            quote(&place)
        ))
    }

    fn present(&self, path: Path<'a>) -> Result<Condition<'a>, ScimError> {
        if self.in_table(Some(path)) {
            return Ok(Condition::AnyMember);
        }
        let known = path.extension.is_none() && matches!(path.attribute.name.as_str(), "id" | "meta" | "schemas");
        if known && self.element.is_none() { Ok(Condition::Constant(true)) } else { Ok(Condition::Present(path)) }
    }

    fn compare(&self, path: Path<'a>, operator: Operator, literal: &Literal) -> Result<Condition<'a>, ScimError> {
        let path = simple(path).ok_or_else(|| {
            ScimError::invalid_filter(format!("{path} has parts: compare one of them, such as {path}.formatted"))
        })?;
        if self.in_table(Some(path)) {
            return self.membership(path, operator, literal);
        }
        if path.extension.is_none() && self.memberships == Memberships::InTable {
            match (path.attribute.name.as_str(), path.sub.map(|sub| sub.name.as_str())) {
                ("schemas", _) => return self.schemas(operator, literal),
                ("meta", Some("resourceType")) => {
                    return self.typed(path, operator, literal).map(|condition| self.resource_type(condition));
                }
                ("meta", Some("location" | "version")) => {
                    return Err(ScimError::invalid_filter(format!(
                        "{path} cannot be searched; use id or meta.lastModified"
                    )));
                }
                _ => {}
            }
        }
        self.typed(path, operator, literal)
    }

    fn membership(&self, path: Path<'a>, operator: Operator, literal: &Literal) -> Result<Condition<'a>, ScimError> {
        let by_id = path.sub.is_some_and(|sub| sub.name == "value");
        match (operator, literal) {
            (Operator::Equal, Literal::Text(id)) if by_id => Ok(Condition::Member(id.clone())),
            (Operator::Equal, Literal::Null) => Ok(negate(Condition::AnyMember)),
            (Operator::NotEqual, Literal::Null) => Ok(Condition::AnyMember),
            _ => Err(ScimError::invalid_filter(format!("{path} can only be compared by `eq \"id\"`"))),
        }
    }

    /// `schemas eq urn` holds for the core schema always and for an extension where any of its attributes is there.
    fn schemas(&self, operator: Operator, literal: &Literal) -> Result<Condition<'a>, ScimError> {
        let (Operator::Equal, Literal::Text(urn)) = (operator, literal) else {
            return Err(ScimError::invalid_filter("schemas can only be compared by `eq \"urn\"`"));
        };
        if urn.eq_ignore_ascii_case(self.definition.core().urn()) {
            return Ok(Condition::Constant(true));
        }
        let extensions = self.definition.attributes().filter(|path| !path.is_secret());
        let of_urn = |path: &Path<'_>| path.extension.is_some_and(|own| own.urn().eq_ignore_ascii_case(urn));
        Ok(Condition::Any(extensions.filter(of_urn).map(Condition::Present).collect()))
    }

    /// The resource type is the same for everything that this definition describes.
    fn resource_type(&self, condition: Condition<'a>) -> Condition<'a> {
        let meta = serde_json::json!({"meta": {"resourceType": self.definition.kind().name()}});
        Condition::Constant(meta.as_object().is_some_and(|meta| condition.holds(meta)))
    }

    /// `ne` and null, then the comparison itself. Absent is not equal to anything but null and `""`.
    fn typed(&self, path: Path<'a>, operator: Operator, literal: &Literal) -> Result<Condition<'a>, ScimError> {
        let many = self.element.is_none() && path.attribute.multi_valued;
        match (operator, literal) {
            (Operator::Equal, Literal::Null) => Ok(negate(Condition::Present(path))),
            (Operator::NotEqual, Literal::Null) => Ok(Condition::Present(path)),
            (Operator::Equal, Literal::Text(text)) if text.is_empty() => {
                let empty = Condition::Compare(path, Comparison::Equal, String::new());
                Ok(Condition::Any(vec![negate(Condition::Present(path)), empty]))
            }
            (Operator::NotEqual, Literal::Text(text)) if text.is_empty() => {
                Ok(negate(self.typed(path, Operator::Equal, literal)?))
            }
            // "Matches if any value matches": some element differs. A single attribute differs when it is absent, too.
            (Operator::NotEqual, _) => {
                let differs = negate(self.value(path, Comparison::Equal, literal)?);
                let element = || Condition::Element(path.with_sub(None), Box::new(differs.clone()));
                Ok(if many { element() } else { differs })
            }
            (Operator::Equal, _) => self.value(path, Comparison::Equal, literal),
            (Operator::Contains, _) => self.value(path, Comparison::Contains, literal),
            (Operator::StartsWith, _) => self.value(path, Comparison::StartsWith, literal),
            (Operator::EndsWith, _) => self.value(path, Comparison::EndsWith, literal),
            (Operator::Greater, _) => self.value(path, Comparison::Greater, literal),
            (Operator::GreaterOrEqual, _) => self.value(path, Comparison::GreaterOrEqual, literal),
            (Operator::Less, _) => self.value(path, Comparison::Less, literal),
            (Operator::LessOrEqual, _) => self.value(path, Comparison::LessOrEqual, literal),
        }
    }

    fn value(&self, path: Path<'a>, comparison: Comparison, literal: &Literal) -> Result<Condition<'a>, ScimError> {
        let value = self.key(path.leaf(), comparison, literal).ok_or_else(|| {
            let literal = quote(&literal.to_string());
            let kind = path.leaf().kind;
            ScimError::invalid_filter(format!("{path} is of type {kind:?}: it cannot be compared so with {literal}"))
        })?;
        Ok(Condition::Compare(path, comparison, value))
    }

    /// The comparable form of a literal, where the attribute's type allows the comparison (RFC 7644 table 3).
    fn key(&self, leaf: &Attribute, comparison: Comparison, literal: &Literal) -> Option<String> {
        let equal = comparison == Comparison::Equal;
        let part = matches!(comparison, Comparison::Contains | Comparison::StartsWith | Comparison::EndsWith);
        let bare = self.tolerance.unquoted_literals;
        match (leaf.kind, literal) {
            (AttributeType::Binary, Literal::Text(text)) => (equal || part).then(|| comparable_text(leaf, text)),
            (AttributeType::String | AttributeType::Reference, Literal::Text(text)) => {
                Some(comparable_text(leaf, text))
            }
            (AttributeType::String | AttributeType::Reference, Literal::Number(text)) if bare => {
                Some(comparable_text(leaf, text))
            }
            (AttributeType::String, Literal::Boolean(value)) if bare => Some(value.to_string()),
            (AttributeType::Boolean, Literal::Boolean(value)) => equal.then(|| value.to_string()),
            (AttributeType::Boolean, Literal::Text(text)) if self.tolerance.string_booleans => {
                parse_boolean(text).filter(|_| equal).map(|value| value.to_string())
            }
            (AttributeType::Integer, Literal::Number(text)) if !part => text.parse().ok().map(integer_key),
            (AttributeType::Decimal, Literal::Number(text)) if !part => text.parse().ok().map(decimal_key),
            (AttributeType::DateTime, Literal::Text(text)) if !part => parse_time(text).map(time_key),
            _ => None,
        }
    }
}

fn negate(condition: Condition<'_>) -> Condition<'_> {
    Condition::Not(Box::new(condition))
}
