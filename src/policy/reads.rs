//! What an outcome may depend on of the person who asks and of what is asked about, found by walking conditions at
//! load. Searches and comparisons share one decision between everybody who looks the same through these eyes.
//!
//! A shape that is not known here counts as reading the whole entity: nothing is then shared, and nothing is wrong.

use std::collections::BTreeSet;

use serde_json::Value;

use super::analysis::{is_attribute, password_age};

/// What policies read of their entities. Levels, access methods, organizations and whether a role is assigned are not
/// listed: whoever shares decisions must tell these apart in any case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reads {
    /// Role names asked for by `in Role::"…"`.
    pub roles: BTreeSet<String>,
    /// Ids of groups asked for by `in Group::"…"`.
    pub groups: BTreeSet<String>,
    /// Ids of accounts that are named.
    pub accounts: BTreeSet<String>,
    /// Ids of people that are named.
    pub people: BTreeSet<String>,
    /// Products of an account asked for by name; other ones make no difference unless `all_products`.
    pub products: BTreeSet<String>,
    /// An account's products are read otherwise than by asking for named ones.
    pub all_products: bool,
    /// A person's set of accounts is read otherwise than by asking for the one at hand, or for a shared one.
    pub account_sets: bool,
    /// Ages of the password, in milliseconds, at which an outcome may change.
    pub password_ages: BTreeSet<i64>,
    /// The asking person's identity is read: the name, the exact password time, or in a way that is not known.
    pub principal: bool,
    /// The same of the resource.
    pub resource: bool,
}

impl Reads {
    /// What one policy reads; `json` is its JSON form.
    pub(super) fn of(json: &Value) -> Self {
        let mut reads = Self::default();
        reads.literals(json);
        for condition in json.get("conditions").and_then(Value::as_array).into_iter().flatten() {
            reads.walk(condition.get("body").unwrap_or(&Value::Null));
        }
        reads
    }

    /// Both together.
    pub fn join(&mut self, other: &Self) {
        let join = |into: &mut BTreeSet<String>, from: &BTreeSet<String>| into.extend(from.iter().cloned());
        join(&mut self.roles, &other.roles);
        join(&mut self.groups, &other.groups);
        join(&mut self.accounts, &other.accounts);
        join(&mut self.people, &other.people);
        join(&mut self.products, &other.products);
        self.all_products |= other.all_products;
        self.account_sets |= other.account_sets;
        self.password_ages.extend(&other.password_ages);
        self.principal |= other.principal;
        self.resource |= other.resource;
    }

    /// Everything that is named, wherever it stands.
    fn literals(&mut self, value: &Value) {
        match value {
            Value::Object(map) => {
                if let (Some(kind), Some(id)) =
                    (map.get("type").and_then(Value::as_str), map.get("id").and_then(Value::as_str))
                {
                    let into = match kind {
                        "Role" => &mut self.roles,
                        "Group" => &mut self.groups,
                        "Account" => &mut self.accounts,
                        "User" => &mut self.people,
                        "Product" => &mut self.products,
                        _ => return,
                    };
                    into.insert(id.to_owned());
                }
                map.values().for_each(|child| self.literals(child));
            }
            Value::Array(items) => items.iter().for_each(|child| self.literals(child)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn walk(&mut self, body: &Value) {
        if let Some(age) = password_age(body) {
            self.password_ages.insert(age);
            return;
        }
        if let Value::Array(items) = body {
            return items.iter().for_each(|child| self.walk(child));
        }
        let Value::Object(map) = body else { return };
        for (operator, operand) in map {
            self.operator(operator, operand);
        }
    }

    fn operator(&mut self, operator: &str, operand: &Value) {
        let side = |name: &str| operand.get(name).unwrap_or(&Value::Null);
        let (left, right) = (side("left"), side("right"));
        match operator {
            "Var" => self.whole(operand.as_str()),
            "." => self.attribute(left, side("attr").as_str().unwrap_or(""), false),
            "has" => self.attribute(left, side("attr").as_str().unwrap_or(""), true),
            "is" if variable(left).is_some() => {
                if operand.get("in").is_some_and(|within| !is_named(within)) {
                    self.whole(variable(left));
                }
            }
            // Who is named is in the lists already; whether the two are one is always told apart.
            "==" | "!=" if comparable(left) && comparable(right) => {}
            "in" if variable(left).is_some() && is_named(right) => {}
            // Whether all of the resource's accounts are held depends on each of them, not on the shared ones alone.
            "containsAll" if is_attribute(right, "resource", "accounts") => self.account_sets = true,
            "contains" | "containsAny" | "containsAll" if is_account_set(left, right) => {}
            "contains" | "containsAny" | "containsAll" if is_attribute(left, "resource", "products") => {
                if !is_named(right) {
                    self.all_products = true;
                    self.walk(right);
                }
            }
            _ => self.walk(operand),
        }
    }

    fn attribute(&mut self, of: &Value, name: &str, presence: bool) {
        let Some(variable) = variable(of) else { return self.walk(of) };
        match (variable, name) {
            ("context" | "action", _) => {}
            (_, "administrationLevel" | "accessMethods" | "hasAssignedRole" | "organization") => {}
            (_, "accounts") => self.account_sets = true,
            (_, "products") => self.all_products = true,
            // Whether there is one at all is told apart wherever its age matters.
            ("principal", "passwordChangedAt") if presence => drop(self.password_ages.insert(0)),
            (other, _) => self.whole(Some(other)),
        }
    }

    /// The entity is read in a way that nobody else shares.
    fn whole(&mut self, variable: Option<&str>) {
        match variable {
            Some("principal") => self.principal = true,
            Some("resource") => self.resource = true,
            Some(_) | None => {}
        }
    }
}

fn variable(value: &Value) -> Option<&str> {
    value.get("Var").and_then(Value::as_str)
}

/// An entity, or a set of entities, by name.
fn is_named(value: &Value) -> bool {
    match value.get("Set").and_then(Value::as_array) {
        Some(members) => members.iter().all(is_named),
        None => value.pointer("/Value/__entity").is_some(),
    }
}

/// One of the two entities themselves, or one by name.
fn comparable(value: &Value) -> bool {
    matches!(variable(value), Some("principal" | "resource")) || is_named(value)
}

/// `principal.accounts` asked for the account at hand, for named ones, or for one that the resource shares.
fn is_account_set(left: &Value, right: &Value) -> bool {
    is_attribute(left, "principal", "accounts")
        && (variable(right) == Some("resource")
            || is_attribute(right, "context", "account")
            || is_attribute(right, "resource", "accounts")
            || is_named(right))
}

#[cfg(test)]
mod tests {
    use cedar_policy::Policy;

    use super::*;

    fn of(text: &str) -> Reads {
        let policy: Policy = text.parse().expect("a policy");
        Reads::of(&policy.to_json().expect("json"))
    }

    #[test]
    fn the_shapes_of_the_dashboard_are_known() {
        let known = of(r#"permit (principal in Role::"Ordering", action, resource is Account)
            when { principal.accounts.contains(resource) && resource.products.contains(Product::"UC")
                && principal.administrationLevel == "Account Admin" && principal in Group::"g"
                && principal.accounts.containsAny(resource.accounts) && resource == principal
                && principal has passwordChangedAt
                && context.now.durationSince(principal.passwordChangedAt) > duration("90d") };"#);
        assert_eq!(known.roles.iter().collect::<Vec<_>>(), ["Ordering"]);
        assert_eq!(known.groups.iter().collect::<Vec<_>>(), ["g"]);
        assert_eq!(known.products.iter().collect::<Vec<_>>(), ["UC"]);
        assert_eq!(known.password_ages.iter().copied().collect::<Vec<_>>(), [0, 90 * 86_400_000]);
        assert!(!known.principal && !known.resource && !known.account_sets && !known.all_products);
    }

    #[test]
    fn what_is_not_known_reads_the_whole() {
        for (text, principal, resource) in [
            (r#"principal.username == "mia""#, true, false),
            (r#"principal.passwordChangedAt < datetime("2026-01-01")"#, true, false),
            ("[principal].contains(resource)", true, true),
            ("principal in resource", true, true),
            (r#"resource.username like "a*""#, false, true),
            ("if true then true else context.attributes.contains(principal.username)", true, false),
        ] {
            let reads = of(&format!("permit (principal, action, resource) when {{ {text} }};"));
            assert_eq!((reads.principal, reads.resource), (principal, resource), "{text}");
        }
        assert!(of("permit (principal, action, resource) when { principal.accounts.isEmpty() };").account_sets);
        assert!(
            of("permit (principal, action, resource) when { resource.accounts == principal.accounts };").account_sets
        );
        assert!(of("permit (principal, action, resource) when { resource.products.isEmpty() };").all_products);
        let named = of(r#"permit (principal == User::"u", action, resource == Account::"100");"#);
        assert!(named.people.contains("u") && named.accounts.contains("100"));
    }
}
