//! The plain evaluator: looks at one document, without any index.

use serde_json::{Map, Value};

use super::condition::Condition;
use crate::scim::schema::{Path, comparable, elements};
use crate::store::Comparison;

/// What paths are looked up in.
#[derive(Clone, Copy)]
enum Scope<'v> {
    Resource(&'v Map<String, Value>),
    Element(&'v Value),
}

impl Condition<'_> {
    /// Whether a full representation fulfils this.
    pub fn holds(&self, resource: &Map<String, Value>) -> bool {
        self.holds_in(Scope::Resource(resource))
    }

    /// Whether an element does: for a condition made by [`Condition::within`].
    pub fn holds_in_element(&self, element: &Value) -> bool {
        self.holds_in(Scope::Element(element))
    }

    fn holds_in(&self, scope: Scope<'_>) -> bool {
        match self {
            Self::All(conditions) => conditions.iter().all(|condition| condition.holds_in(scope)),
            Self::Any(conditions) => conditions.iter().any(|condition| condition.holds_in(scope)),
            Self::Not(condition) => !condition.holds_in(scope),
            Self::Constant(value) => *value,
            Self::Present(path) => scope.values(path).iter().any(|value| is_present(value)),
            Self::Compare(path, comparison, wanted) => scope
                .values(path)
                .iter()
                .filter_map(|value| comparable(path.leaf(), value))
                .any(|value| compares(&value, *comparison, wanted)),
            Self::Element(path, inner) => {
                scope.values(path).iter().any(|element| inner.holds_in(Scope::Element(element)))
            }
            // Made for the store's table only.
            Self::Member(_) | Self::AnyMember => false,
        }
    }
}

impl<'v> Scope<'v> {
    /// All values at a path: through all elements where there are many.
    fn values(self, path: &Path<'_>) -> Vec<&'v Value> {
        let whole = match self {
            Self::Element(element) => Some(element),
            Self::Resource(map) => match path.extension {
                Some(extension) => map.get(extension.urn()).and_then(|object| object.get(&path.attribute.name)),
                None => map.get(&path.attribute.name),
            },
        };
        let found = whole.into_iter().flat_map(elements);
        match path.sub {
            None => found.collect(),
            Some(sub) => found.filter_map(|element| element.get(&sub.name)).flat_map(elements).collect(),
        }
    }
}

fn is_present(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        Value::Array(elements) => elements.iter().any(is_present),
        Value::Object(parts) => parts.values().any(is_present),
    }
}

/// By Unicode code points, as the store compares.
fn compares(value: &str, comparison: Comparison, wanted: &str) -> bool {
    match comparison {
        Comparison::Equal => value == wanted,
        Comparison::Contains => value.contains(wanted),
        Comparison::StartsWith => value.starts_with(wanted),
        Comparison::EndsWith => value.ends_with(wanted),
        Comparison::Greater => value > wanted,
        Comparison::GreaterOrEqual => value >= wanted,
        Comparison::Less => value < wanted,
        Comparison::LessOrEqual => value <= wanted,
    }
}
