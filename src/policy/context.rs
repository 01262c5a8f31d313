//! The context of a question, given the types that the schema declares for it.

use std::collections::BTreeMap;

use cedar_policy::{EntityId, EntityTypeName, EntityUid, RestrictedExpression};
use serde_json::Value;

use crate::domain::ContextValue;

/// What the schema says of one key, as far as a client may send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Text,
    Integer,
    Boolean,
    Datetime,
    Entity(EntityTypeName),
    Set(Box<Shape>),
    Record(BTreeMap<String, Shape>),
    /// A type that cannot be sent (decimals, addresses).
    Other,
}

/// Keys of the context that the server says, whatever a client sends.
pub(super) const RESERVED: [&str; 3] = ["channel", "now", "account"];

/// The keys that one action's context declares.
pub(super) type Shapes = BTreeMap<String, Shape>;

/// A context key whose value has another type than the schema declares.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("context.{key} must be {wanted}")]
pub struct ContextFault {
    key: String,
    wanted: String,
}

impl ContextFault {
    /// For keys whose value the server itself reads.
    pub fn new(key: &str, wanted: &str) -> Self {
        Self { key: key.to_owned(), wanted: wanted.to_owned() }
    }
}

impl Shape {
    fn describe(&self) -> String {
        match self {
            Self::Text => "text".into(),
            Self::Integer => "a whole number".into(),
            Self::Boolean => "true or false".into(),
            Self::Datetime => "a time such as 2026-11-22T10:00:00Z".into(),
            Self::Entity(name) => format!("the id of a {name}, as text"),
            Self::Set(of) => format!("a list, each {}", of.describe()),
            Self::Record(_) => "an object".into(),
            Self::Other => "left out: it cannot be sent".into(),
        }
    }

    /// A value of this shape, or `None` where the type is another.
    fn express(&self, value: &ContextValue) -> Option<RestrictedExpression> {
        match (self, value) {
            (Self::Text, ContextValue::Text(text)) => Some(RestrictedExpression::new_string(text.clone())),
            (Self::Integer, ContextValue::Integer(number)) => Some(RestrictedExpression::new_long(*number)),
            (Self::Boolean, ContextValue::Boolean(truth)) => Some(RestrictedExpression::new_bool(*truth)),
            (Self::Datetime, ContextValue::Text(text)) => {
                // An extension value that does not parse would make the whole context fail later.
                let time: jiff::Timestamp = text.parse().ok()?;
                Some(RestrictedExpression::new_datetime(datetime_text(time.as_millisecond())))
            }
            (Self::Entity(name), ContextValue::Text(id)) => {
                let uid = EntityUid::from_type_name_and_id(name.clone(), EntityId::new(id));
                Some(RestrictedExpression::new_entity_uid(uid))
            }
            (Self::Set(of), ContextValue::Set(members)) => {
                let members: Option<Vec<_>> = members.iter().map(|member| of.express(member)).collect();
                Some(RestrictedExpression::new_set(members?))
            }
            (Self::Record(shapes), ContextValue::Record(fields)) => {
                let known = fields.iter().filter_map(|(key, value)| Some((key, shapes.get(key)?, value)));
                let fields: Option<Vec<_>> =
                    known.map(|(key, shape, value)| Some((key.clone(), shape.express(value)?))).collect();
                RestrictedExpression::new_record(fields?).ok()
            }
            (
                Self::Text
                | Self::Integer
                | Self::Boolean
                | Self::Datetime
                | Self::Entity(_)
                | Self::Set(_)
                | Self::Record(_)
                | Self::Other,
                _,
            ) => None,
        }
    }
}

/// Only keys that the schema declares pass; `reserved` ones are the server's to say.
pub(super) fn express(
    shapes: &Shapes,
    sent: &[(String, ContextValue)],
    reserved: &[&str],
) -> Result<Vec<(String, RestrictedExpression)>, ContextFault> {
    let mut pairs: Vec<(String, RestrictedExpression)> = Vec::new();
    for (key, value) in sent {
        let Some(shape) = shapes.get(key) else { continue };
        if reserved.contains(&key.as_str()) {
            continue;
        }
        match shape.express(value) {
            Some(expression) => pairs.push((key.clone(), expression)),
            None => return Err(ContextFault { key: key.clone(), wanted: shape.describe() }),
        }
    }
    Ok(pairs)
}

/// Milliseconds since 1970 as Cedar reads them.
pub(super) fn datetime_text(milliseconds: i64) -> String {
    jiff::Timestamp::from_millisecond(milliseconds)
        .map_or_else(|_| "1970-01-01T00:00:00.000Z".into(), |time| time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

/// The context shapes of every action, read from a schema in its JSON form.
pub(super) fn shapes(schema: &Value) -> BTreeMap<String, Shapes> {
    let mut all = BTreeMap::new();
    for (namespace, part) in schema.as_object().into_iter().flatten() {
        let types = part.get("commonTypes").unwrap_or(&Value::Null);
        let reader = Reader { namespace, types, entities: part.get("entityTypes").unwrap_or(&Value::Null) };
        for (name, action) in part.get("actions").and_then(Value::as_object).into_iter().flatten() {
            let context = action.pointer("/appliesTo/context").unwrap_or(&Value::Null);
            if let Shape::Record(shapes) = reader.shape(context, 0) {
                all.insert(name.clone(), shapes);
            }
        }
    }
    all
}

struct Reader<'a> {
    namespace: &'a str,
    types: &'a Value,
    entities: &'a Value,
}

/// Common types may name one another; Cedar refuses cycles, this only bounds the walk.
const DEEPEST_TYPE: usize = 16;

impl Reader<'_> {
    fn shape(&self, value: &Value, depth: usize) -> Shape {
        let name = value.get("type").and_then(Value::as_str).unwrap_or_default();
        if depth > DEEPEST_TYPE {
            return Shape::Other;
        }
        match name {
            "String" => Shape::Text,
            "Long" => Shape::Integer,
            "Boolean" | "Bool" => Shape::Boolean,
            "Set" => Shape::Set(Box::new(self.shape(value.get("element").unwrap_or(&Value::Null), depth + 1))),
            "Record" => {
                let attributes = value.get("attributes").and_then(Value::as_object).into_iter().flatten();
                Shape::Record(attributes.map(|(key, of)| (key.clone(), self.shape(of, depth + 1))).collect())
            }
            "Extension" | "Entity" | "EntityOrCommon" => {
                let of = value.get("name").and_then(Value::as_str).unwrap_or_default();
                if name != "Entity" && matches!(of, "datetime" | "__cedar::datetime") {
                    return Shape::Datetime;
                }
                self.named(of, depth)
            }
            other => self.named(other, depth),
        }
    }

    /// A common type, a primitive or an entity type by its name.
    fn named(&self, name: &str, depth: usize) -> Shape {
        match name.trim_start_matches("__cedar::") {
            "String" => return Shape::Text,
            "Long" => return Shape::Integer,
            "Bool" | "Boolean" => return Shape::Boolean,
            "datetime" => return Shape::Datetime,
            _ => {}
        }
        if let Some(common) = self.types.get(name) {
            return self.shape(common, depth + 1);
        }
        let qualified = match (self.entities.get(name).is_some(), self.namespace.is_empty()) {
            (true, false) => format!("{}::{name}", self.namespace),
            _ => name.to_owned(),
        };
        qualified.parse().map_or(Shape::Other, Shape::Entity)
    }
}
