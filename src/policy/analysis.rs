//! What a policy's conditions ask and read, found by walking them once at load.
//!
//! Shapes that are not known here are never guessed at: a requirement is then simply not named, and a
//! reading of the time counts as "may change at any moment".

use cedar_policy::{Policy, PrincipalConstraint};
use serde_json::Value;

use super::reads::Reads;
use crate::domain::Timestamp;

/// What one policy asks of principal and resource, and how time enters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Analysis {
    /// The role in the policy's scope: `principal in Role::"…"`.
    pub(super) role: Option<String>,
    /// Products that every way through the conditions needs on the resource.
    pub(super) products: Vec<String>,
    /// How the outcome depends on the time.
    pub(super) time: TimeDependence,
    /// What the outcome may depend on.
    pub(super) reads: Reads,
}

/// How an outcome depends on the time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum TimeDependence {
    /// Not at all.
    #[default]
    Never,
    /// It can change only when the principal's password reaches one of these ages, in milliseconds.
    PasswordAge(Vec<i64>),
    /// It may change at any moment.
    Always,
}

impl TimeDependence {
    /// Both together.
    pub(super) fn and(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Always, _) | (_, Self::Always) => Self::Always,
            (Self::Never, known) | (known, Self::Never) => known.clone(),
            (Self::PasswordAge(one), Self::PasswordAge(two)) => {
                let mut ages = one.clone();
                ages.extend(two.iter().filter(|age| !one.contains(age)));
                Self::PasswordAge(ages)
            }
        }
    }

    /// The next moment at which the time could change an outcome about somebody whose password was `changed` then, and
    /// whether any moment could.
    pub(super) fn next_change(&self, changed: Option<Timestamp>, now: Timestamp) -> (Option<Timestamp>, bool) {
        match (self, changed) {
            (Self::Always, _) => (None, true),
            (Self::Never, _) | (Self::PasswordAge(_), None) => (None, false),
            (Self::PasswordAge(ages), Some(changed)) => {
                // A comparison changes at the age itself (`>=`) or one millisecond after it (`>`).
                let moments = ages.iter().filter_map(|age| changed.0.checked_add(*age));
                let next = moments.flat_map(|at| [at, at.saturating_add(1)]).filter(|at| *at > now.0).min();
                (next.map(Timestamp), false)
            }
        }
    }

    /// Whether an outcome about them is the same at both moments, as far as the time goes.
    pub(super) fn is_same(&self, changed: Option<Timestamp>, one: Timestamp, other: Timestamp) -> bool {
        match (self, changed) {
            (Self::Always, _) => one == other,
            (Self::Never, _) | (Self::PasswordAge(_), None) => true,
            (Self::PasswordAge(ages), Some(changed)) => {
                let (Some(one), Some(other)) = (one.0.checked_sub(changed.0), other.0.checked_sub(changed.0)) else {
                    return one == other;
                };
                ages.iter().all(|age| one.cmp(age) == other.cmp(age))
            }
        }
    }
}

/// Walks a policy; `json` is its JSON form.
pub(super) fn analyse(policy: &Policy, json: &Value) -> Analysis {
    let role = match policy.principal_constraint() {
        PrincipalConstraint::In(uid) | PrincipalConstraint::IsIn(_, uid) if uid.type_name().to_string() == "Role" => {
            Some(uid.id().unescaped().to_owned())
        }
        PrincipalConstraint::Any
        | PrincipalConstraint::In(_)
        | PrincipalConstraint::Eq(_)
        | PrincipalConstraint::Is(_)
        | PrincipalConstraint::IsIn(..) => None,
    };
    let mut analysis = Analysis { role, reads: Reads::of(json), ..Analysis::default() };
    for condition in json.get("conditions").and_then(Value::as_array).into_iter().flatten() {
        let body = condition.get("body").unwrap_or(&Value::Null);
        if condition.get("kind").and_then(Value::as_str) == Some("when") {
            required_products(body, &mut analysis.products);
        }
        analysis.time = analysis.time.and(&time_dependence(body));
    }
    analysis
}

/// Follows the conjunction; whatever stands below an "or", a "not" or an "if" is not needed on every way.
fn required_products(body: &Value, products: &mut Vec<String>) {
    if let Some(and) = body.get("&&") {
        required_products(and.get("left").unwrap_or(&Value::Null), products);
        required_products(and.get("right").unwrap_or(&Value::Null), products);
        return;
    }
    for operator in ["contains", "containsAll"] {
        let Some(call) = body.get(operator) else { continue };
        if call.get("left").is_some_and(|left| is_attribute(left, "resource", "products")) {
            collect_products(call.get("right").unwrap_or(&Value::Null), products);
        }
    }
}

fn collect_products(value: &Value, products: &mut Vec<String>) {
    if let Some(members) = value.get("Set").and_then(Value::as_array) {
        members.iter().for_each(|member| collect_products(member, products));
    } else if let Some(entity) = value.pointer("/Value/__entity")
        && entity.get("type").and_then(Value::as_str) == Some("Product")
        && let Some(id) = entity.get("id").and_then(Value::as_str)
        && !products.iter().any(|known| known == id)
    {
        products.push(id.to_owned());
    }
}

pub(super) fn is_attribute(value: &Value, variable: &str, attribute: &str) -> bool {
    value.get(".").is_some_and(|access| {
        access.pointer("/left/Var").and_then(Value::as_str) == Some(variable)
            && access.get("attr").and_then(Value::as_str) == Some(attribute)
    })
}

fn time_dependence(body: &Value) -> TimeDependence {
    if let Some(age) = password_age(body) {
        return TimeDependence::PasswordAge(vec![age]);
    }
    // `context` by itself (compared, passed on) may carry the time along.
    if is_attribute(body, "context", "now") || body.get("Var").and_then(Value::as_str) == Some("context") {
        return TimeDependence::Always;
    }
    if let Some(access) = body.get(".").or_else(|| body.get("has"))
        && access.pointer("/left/Var").is_some()
    {
        return TimeDependence::Never;
    }
    let children: Vec<&Value> = match body {
        Value::Object(map) => map.values().collect(),
        Value::Array(items) => items.iter().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    children.into_iter().fold(TimeDependence::Never, |known, child| known.and(&time_dependence(child)))
}

/// `context.now.durationSince(principal.passwordChangedAt)` compared with a literal `duration(…)`.
pub(super) fn password_age(body: &Value) -> Option<i64> {
    let comparison = [">", ">=", "<", "<="].iter().find_map(|operator| body.get(*operator))?;
    let call = comparison.pointer("/left/durationSince")?.as_array()?;
    let (now, since) = (call.first()?, call.get(1)?);
    if !is_attribute(now, "context", "now") || !is_attribute(since, "principal", "passwordChangedAt") {
        return None;
    }
    duration(comparison.pointer("/right/duration/0/Value")?.as_str()?)
}

/// Reads Cedar's duration text (`90d`, `1d12h`, `-5ms`) as milliseconds.
fn duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let amount: i64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let units = [("ms", 1), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
        let (unit, milliseconds) = units.into_iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = rest.get(unit.len()..)?;
        total = total.checked_add(amount.checked_mul(milliseconds)?)?;
    }
    Some(sign * total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Analysis {
        let policy: Policy = text.parse().expect("a policy");
        analyse(&policy, &policy.to_json().expect("json"))
    }

    #[test]
    fn finds_role_and_products_on_every_way() {
        let found = of(r#"permit (principal in Role::"E911", action, resource is Account)
            when { resource.products.contains(Product::"UC") && resource.products.containsAll([Product::"A", Product::"B"]) };"#);
        assert_eq!(found.role.as_deref(), Some("E911"));
        assert_eq!(found.products, ["UC", "A", "B"]);
        let either = of(r#"permit (principal in Role::"E911", action, resource is Account)
            when { resource.products.contains(Product::"UC") || principal.username == "x" };"#);
        assert!(either.products.is_empty());
        let without =
            of(r#"permit (principal, action, resource) unless { resource.products.contains(Product::"UC") };"#);
        assert!(without.products.is_empty() && without.role.is_none());
    }

    #[test]
    fn moments_are_the_same_exactly_until_the_next_change() {
        let (ages, changed) = (TimeDependence::PasswordAge(vec![90, 30]), Some(Timestamp(1_000)));
        for one in 1_000..1_100 {
            let (next, momentary) = ages.next_change(changed, Timestamp(one));
            assert!(!momentary);
            for other in one..1_100 {
                let same = next.is_none_or(|next| Timestamp(other) < next);
                assert_eq!(ages.is_same(changed, Timestamp(one), Timestamp(other)), same, "{one} {other}");
                assert_eq!(ages.is_same(changed, Timestamp(other), Timestamp(one)), same, "{other} {one}");
            }
        }
        assert!(!ages.is_same(changed, Timestamp(i64::MIN), Timestamp(i64::MIN + 1)), "nothing is known of them");
        assert!(ages.is_same(None, Timestamp(0), Timestamp(i64::MAX)));
        assert!(!TimeDependence::Always.is_same(None, Timestamp(0), Timestamp(1)));
        assert!(TimeDependence::Never.is_same(changed, Timestamp(0), Timestamp(1)));
    }

    #[test]
    fn knows_the_password_rule_and_mistrusts_other_uses_of_time() {
        let rule = of(r#"forbid (principal is User, action, resource) when { principal has passwordChangedAt
            && context.now.durationSince(principal.passwordChangedAt) > duration("90d") };"#);
        assert_eq!(rule.time, TimeDependence::PasswordAge(vec![90 * 86_400_000]));
        let hours = of(r#"permit (principal, action, resource) when { context.now < datetime("2027-01-01") };"#);
        assert_eq!(hours.time, TimeDependence::Always);
        let hidden = of(r#"permit (principal, action, resource) when { context["now"] < datetime("2027-01-01") };"#);
        assert_eq!(hidden.time, TimeDependence::Always);
        let channel =
            of(r#"permit (principal, action, resource) when { context.channel == "api" && context has account };"#);
        assert_eq!(channel.time, TimeDependence::Never);
        let whole = of(r#"permit (principal, action, resource) when { [context].contains(context) };"#);
        assert_eq!(whole.time, TimeDependence::Always);
    }

    #[test]
    fn sees_accounts_that_are_named() {
        assert!(of(r#"permit (principal, action, resource == Account::"100");"#).reads.accounts.contains("100"));
        assert!(
            of(r#"permit (principal, action, resource) when { resource == Account::"100" };"#)
                .reads
                .accounts
                .contains("100")
        );
        assert!(
            of(r#"permit (principal, action, resource is Account) when { principal.accounts.contains(resource) };"#)
                .reads
                .accounts
                .is_empty()
        );
    }

    #[test]
    fn reads_durations() {
        assert_eq!(duration("90d"), Some(7_776_000_000));
        assert_eq!(duration("1d2h3m4s5ms"), Some(93_784_005));
        assert_eq!(duration("-5ms"), Some(-5));
        assert_eq!(duration("5"), None);
        assert_eq!(duration("9223372036854775807d"), None);
    }
}
