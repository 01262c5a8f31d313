//! What a question says (its context, and the properties of what it names), given the types that the schema declares.
//! Knows no policy and no entity: names and values in, Cedar expressions or a fault out.

use std::collections::BTreeMap;
use std::fmt;

use crate::domain::ContextValue;
use cedar_policy::{EntityId, EntityTypeName, EntityUid, RestrictedExpression};

/// What the schema says of a value, as far as a client may send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Text,
    Integer,
    Boolean,
    Datetime,
    Decimal,
    Address,
    Entity(EntityTypeName),
    Set(Box<Shape>),
    Record(Shapes),
    /// A type that cannot be sent (durations, and records without a declared form).
    Other,
}

/// One key of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) shape: Shape,
    /// Declared without a question mark.
    pub(super) required: bool,
    /// Annotated `@authority("request")`: a question may say it.
    pub(super) from_request: bool,
}

/// The keys that a context or an entity type declares.
pub(super) type Shapes = BTreeMap<String, Field>;

/// Whether the server says this key of this form itself, whatever a client sends.
pub(super) fn reserved(key: &str, shape: &Shape) -> bool {
    match key {
        "channel" => *shape == Shape::Text,
        "now" => *shape == Shape::Datetime,
        "account" => matches!(shape, Shape::Entity(name) if name.to_string() == "Account"),
        _ => false,
    }
}

/// A value that a question gave and that the schema declares otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} must be {wanted}")]
pub struct ContextFault {
    /// Where: `context.attributes`, `subject.properties.role`.
    key: String,
    wanted: String,
}

impl ContextFault {
    /// For context keys whose value the server itself reads.
    pub fn new(key: &str, wanted: &str) -> Self {
        Self { key: format!("context.{key}"), wanted: wanted.to_owned() }
    }

    pub(super) fn at(key: &str, wanted: String) -> Self {
        Self { key: key.to_owned(), wanted }
    }
}

impl Shape {
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Text => "text".into(),
            Self::Integer => "a whole number".into(),
            Self::Boolean => "true or false".into(),
            Self::Datetime => "a time such as 2026-11-22T10:00:00Z".into(),
            Self::Decimal => "a number with at most four digits after the point".into(),
            Self::Address => "an IP address or range, as text".into(),
            Self::Entity(name) => format!("the id of a {name}, as text"),
            Self::Set(of) => format!("a list, each {}", of.describe()),
            Self::Record(_) => "an object".into(),
            Self::Other => "left out: it cannot be sent".into(),
        }
    }

    /// A value of this form. An extension value that does not parse would make the whole context fail later, so it is
    /// read here.
    pub(super) fn express(&self, value: &ContextValue, at: At<'_>) -> Result<RestrictedExpression, ContextFault> {
        let wrong = || ContextFault::at(&at.to_string(), self.describe());
        Ok(match (self, value) {
            // Policies have no type for fractions; where the schema says text, their digits are compared.
            (Self::Text, ContextValue::Text(text) | ContextValue::OtherNumber(text)) => {
                RestrictedExpression::new_string(text.clone())
            }
            (Self::Integer, ContextValue::Integer(number)) => RestrictedExpression::new_long(*number),
            (Self::Boolean, ContextValue::Boolean(truth)) => RestrictedExpression::new_bool(*truth),
            (Self::Datetime, ContextValue::Text(text)) => {
                let time: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
                RestrictedExpression::new_datetime(datetime_text(time.as_millisecond()))
            }
            (Self::Decimal, ContextValue::Integer(number)) => {
                RestrictedExpression::new_decimal(decimal(&number.to_string()).ok_or_else(wrong)?)
            }
            (Self::Decimal, ContextValue::Text(text) | ContextValue::OtherNumber(text)) => {
                RestrictedExpression::new_decimal(decimal(text).ok_or_else(wrong)?)
            }
            (Self::Address, ContextValue::Text(text)) if is_address(text) => RestrictedExpression::new_ip(text),
            (Self::Entity(name), ContextValue::Text(id)) => {
                let uid = EntityUid::from_type_name_and_id(name.clone(), EntityId::new(id));
                RestrictedExpression::new_entity_uid(uid)
            }
            (Self::Set(of), ContextValue::Set(members)) => {
                let members: Result<Vec<_>, _> = members.iter().map(|member| of.express(member, at)).collect();
                RestrictedExpression::new_set(members?)
            }
            (Self::Record(shapes), ContextValue::Record(fields)) => {
                RestrictedExpression::new_record(express(shapes, fields, at, |_| true)?).map_err(|_| wrong())?
            }
            (
                Self::Text
                | Self::Integer
                | Self::Boolean
                | Self::Datetime
                | Self::Decimal
                | Self::Address
                | Self::Entity(_)
                | Self::Set(_)
                | Self::Record(_)
                | Self::Other,
                _,
            ) => return Err(wrong()),
        })
    }
}

/// Where a value stands: a key, and what it is a key of. Spelled out only where there is a fault.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    above: Option<&'a At<'a>>,
    key: &'a str,
}

impl<'a> At<'a> {
    pub(super) const fn new(key: &'a str) -> Self {
        Self { above: None, key }
    }

    const fn key(&'a self, key: &'a str) -> Self {
        Self { above: Some(self), key }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(above) = self.above {
            write!(f, "{above}.")?;
        }
        f.write_str(self.key)
    }
}

/// The keys that are declared and wanted, each in its declared form; others are not read. A required key that is
/// missing is a fault.
pub(super) fn express(
    shapes: &Shapes,
    sent: &[(String, ContextValue)],
    at: At<'_>,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<(String, RestrictedExpression)>, ContextFault> {
    express_by(shapes, sent, at, wanted, Shape::express)
}

/// The same, with each value made in another way.
pub(super) fn express_by<T, F: From<ContextFault>>(
    shapes: &Shapes,
    sent: &[(String, ContextValue)],
    at: At<'_>,
    wanted: impl Fn(&str) -> bool,
    make: impl Fn(&Shape, &ContextValue, At<'_>) -> Result<T, F>,
) -> Result<Vec<(String, T)>, F> {
    let mut pairs: Vec<(String, T)> = Vec::new();
    for (key, field) in shapes.iter().filter(|(key, _)| wanted(key)) {
        match sent.iter().rev().find(|(name, _)| name == key) {
            Some((_, value)) => pairs.push((key.clone(), make(&field.shape, value, at.key(key))?)),
            None if field.required => {
                let (at, wanted) = (at.key(key).to_string(), format!("given: {}", field.shape.describe()));
                return Err(ContextFault::at(&at, wanted).into());
            }
            None => {}
        }
    }
    Ok(pairs)
}

/// The entities that a value names.
pub(super) fn entities_named(shape: &Shape, value: &ContextValue, into: &mut Vec<EntityUid>) {
    match (shape, value) {
        (Shape::Entity(name), ContextValue::Text(id)) => {
            into.push(EntityUid::from_type_name_and_id(name.clone(), EntityId::new(id)));
        }
        (Shape::Set(of), ContextValue::Set(members)) => {
            members.iter().for_each(|member| entities_named(of, member, into));
        }
        (Shape::Record(shapes), ContextValue::Record(fields)) => {
            for (key, value) in fields {
                if let Some(field) = shapes.get(key) {
                    entities_named(&field.shape, value, into);
                }
            }
        }
        (
            Shape::Text
            | Shape::Integer
            | Shape::Boolean
            | Shape::Datetime
            | Shape::Decimal
            | Shape::Address
            | Shape::Entity(_)
            | Shape::Set(_)
            | Shape::Record(_)
            | Shape::Other,
            _,
        ) => {}
    }
}

/// A number as Cedar's decimals are written: a point, one to four digits behind it.
fn decimal(text: &str) -> Option<String> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let fraction = match fraction.trim_end_matches('0') {
        "" => "0",
        digits => digits,
    };
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(digits) || !all_digits(fraction) || fraction.len() > 4 {
        return None;
    }
    // Cedar keeps decimals as 64-bit ten-thousandths.
    let scaled: i128 = format!("{digits}{fraction:0<4}").parse().ok()?;
    i64::try_from(scaled).ok()?;
    Some(format!("{whole}.{fraction}"))
}

fn is_address(text: &str) -> bool {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<std::net::IpAddr>() else { return false };
    let most = if address.is_ipv4() { 32 } else { 128 };
    // An IPv4 address inside an IPv6 one is a form that Cedar does not read.
    !text.contains("::ffff:") && prefix.is_none_or(|prefix| prefix.parse::<u8>().is_ok_and(|prefix| prefix <= most))
}

/// Milliseconds since 1970 as Cedar reads them.
pub(super) fn datetime_text(milliseconds: i64) -> String {
    jiff::Timestamp::from_millisecond(milliseconds)
        .map_or_else(|_| "1970-01-01T00:00:00.000Z".into(), |time| time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_decimals_where_cedar_can_hold_them() {
        for (sent, kept) in
            [("1", "1.0"), ("-0.5", "-0.5"), ("3.1400", "3.14"), ("922337203685477.5807", "922337203685477.5807")]
        {
            assert_eq!(decimal(sent).as_deref(), Some(kept), "{sent}");
        }
        for refused in ["1.23456", "1e9", "", ".", "922337203685478", "--1", "1.-5"] {
            assert_eq!(decimal(refused), None, "{refused}");
        }
    }

    #[test]
    fn a_wrong_value_is_named_by_its_whole_path() {
        let field = |shape, required| Field { shape, required, from_request: true };
        let shapes = Shapes::from([
            ("soft".to_owned(), field(Shape::Boolean, true)),
            ("weight".to_owned(), field(Shape::Decimal, false)),
        ]);
        let record = Shapes::from([("action".to_owned(), field(Shape::Record(shapes), false))]);
        let send = |fields: Vec<(String, ContextValue)>| {
            express(&record, &[("action".to_owned(), ContextValue::Record(fields))], At::new("context"), |_| true)
        };
        let said = |value| send(vec![("soft".to_owned(), value)]).map_err(|fault| fault.to_string());
        assert!(said(ContextValue::Boolean(true)).is_ok());
        assert_eq!(said(ContextValue::Integer(1)).unwrap_err(), "context.action.soft must be true or false");
        assert_eq!(send(vec![]).unwrap_err().to_string(), "context.action.soft must be given: true or false");
        let weight = |text: &str| {
            send(vec![
                ("soft".to_owned(), ContextValue::Boolean(true)),
                ("weight".to_owned(), ContextValue::OtherNumber(text.into())),
            ])
        };
        assert!(weight("0.25").is_ok() && weight("0.00001").is_err());
        assert!(
            express(&record, &[("other".to_owned(), ContextValue::Integer(1))], At::new("context"), |_| true)
                .unwrap()
                .is_empty()
        );
    }
}
