//! A policy taken apart into the conditions that must all hold for it to speak, each a small policy of its own that
//! Cedar evaluates. For explanations and for the coverage of tests; never on the way of a decision.

use cedar_policy::{Policy, PolicyId};
use serde_json::{Value, json};

use super::analysis::{is_attribute, password_age};
use super::explain::{Own, own_changes, own_parent};

/// What a condition asks for, as far as somebody could change it. The order is that of the effort.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Piece {
    /// A password that is young enough.
    FreshPassword,
    /// A role by its name.
    Role(String),
    /// Membership of a group, by its id.
    Group(String),
    /// A product of the account.
    Product(String),
    /// The account that is asked about.
    AccountAtHand,
    /// The account that the context names.
    AccountNamed,
    /// An account that the person acted on has, too.
    AccountShared,
    /// An account by its id.
    Account(String),
    /// An access method by its name.
    AccessMethod(String),
    /// An administration level by its name.
    Level(String),
    /// That no role is assigned at all.
    NoRole,
    /// A change of an entity of the bundle's own.
    Own(Own),
    /// That a condition holds, in its own words, where no change is known that makes it hold.
    Assumed(String),
    /// What the request itself says.
    Request,
    /// Nothing that a change of rights would bring about.
    Unchangeable,
}

/// Which part of the policy a condition stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clause {
    /// Who and what the policy is about.
    Scope,
    /// `when`.
    When,
    /// `unless`.
    Unless,
}

impl Clause {
    /// `scope`, `when` or `unless`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scope => "scope",
            Self::When => "when",
            Self::Unless => "unless",
        }
    }
}

/// One condition. The policy speaks where all of its conditions hold.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    /// Permits exactly where the condition holds.
    pub(super) probe: Policy,
    /// In Cedar's words, as it stands in the policy.
    pub(super) text: String,
    pub(super) clause: Clause,
    pub(super) piece: Piece,
    /// Whether the condition wants the piece there, or away.
    pub(super) wanted: bool,
    /// Changes of entities of the bundle's own: made, the condition holds, or (where `false`) does not.
    pub(super) own: Vec<(Own, bool)>,
}

impl Condition {
    /// Takes a policy apart; `json` is its JSON form. `None` for a part that Cedar does not read back.
    pub(super) fn all_of(json: &Value) -> Option<Vec<Self>> {
        let mut all = Vec::new();
        for variable in ["principal", "resource"] {
            let scope = json.get(variable)?;
            if scope.get("op").and_then(Value::as_str) != Some("All") {
                all.push(Self::scope(variable, scope)?);
            }
        }
        for condition in json.get("conditions").and_then(Value::as_array).into_iter().flatten() {
            let body = condition.get("body")?;
            let unless = condition.get("kind").and_then(Value::as_str) == Some("unless");
            let mut parts = Vec::new();
            split(body, if unless { "||" } else { "&&" }, &mut parts);
            for part in parts {
                all.push(Self::clause(part, unless)?);
            }
        }
        Some(all)
    }

    fn scope(variable: &str, scope: &Value) -> Option<Self> {
        let mut policy = skeleton();
        *policy.get_mut(variable)? = scope.clone();
        let probe = Policy::from_json(None, policy).ok()?;
        let entity = |of: &Value| {
            let entity = of.get("entity")?;
            Some((entity.get("type")?.as_str()?.to_owned(), entity.get("id")?.as_str()?.to_owned()))
        };
        let within = scope.get("in").and_then(entity).or_else(|| entity(scope));
        let shown = |(kind, id): &(String, String)| format!("{kind}::{id:?}");
        let kind = scope.get("entity_type").and_then(Value::as_str);
        let text = match (scope.get("op").and_then(Value::as_str)?, kind, &within) {
            ("is", Some(kind), None) => format!("{variable} is {kind}"),
            ("is", Some(kind), Some(within)) => format!("{variable} is {kind} in {}", shown(within)),
            (operator, _, Some(within)) => format!("{variable} {operator} {}", shown(within)),
            (_, _, None) => return None,
        };
        let joined = within.as_ref().filter(|_| scope.get("in").is_some() || scope.get("op") == Some(&json!("in")));
        let own = joined.and_then(|named| own_parent(variable, &shown(named))).map(|own| (own, true));
        let piece = within.filter(|_| variable == "principal").map_or(Piece::Unchangeable, parent);
        Some(Self { probe, text, clause: Clause::Scope, piece, wanted: true, own: own.into_iter().collect() })
    }

    fn clause(body: &Value, unless: bool) -> Option<Self> {
        let probe = |kind: &str| {
            let mut policy = skeleton();
            *policy.get_mut("conditions")? = json!([{"kind": kind, "body": body}]);
            Policy::from_json(None, policy).ok()
        };
        let (piece, present) = piece(body);
        let clause = if unless { Clause::Unless } else { Clause::When };
        let text = text_of(&probe("when")?);
        let probe = if unless { probe("unless") } else { probe("when") }?;
        let own = own_changes(body).into_iter().map(|(own, present)| (own, present != unless)).collect();
        Some(Self { probe, text, clause, piece, wanted: present != unless, own })
    }

    /// The probe under a name.
    pub(super) fn probe(&self, name: &str) -> Policy {
        self.probe.new_id(PolicyId::new(name))
    }
}

/// A policy that permits everything.
fn skeleton() -> Value {
    let all = json!({"op": "All"});
    json!({"effect": "permit", "principal": all, "action": all, "resource": all, "conditions": []})
}

/// The parts that stand between the operator.
fn split<'a>(body: &'a Value, operator: &str, into: &mut Vec<&'a Value>) {
    match body.get(operator).and_then(|both| Some((both.get("left")?, both.get("right")?))) {
        Some((left, right)) => {
            split(left, operator, into);
            split(right, operator, into);
        }
        None => into.push(body),
    }
}

/// An expression in Cedar's words, in one line; `None` where Cedar does not read it back.
pub(super) fn text_of_body(body: &Value) -> Option<String> {
    let mut policy = skeleton();
    *policy.get_mut("conditions")? = json!([{"kind": "when", "body": body}]);
    Some(text_of(&Policy::from_json(None, policy).ok()?)).filter(|text| !text.is_empty())
}

/// The condition between the braces, in one line.
fn text_of(probe: &Policy) -> String {
    let whole = probe.to_cedar().unwrap_or_default();
    let inner = whole.split_once("when {").and_then(|(_, rest)| rest.rsplit_once('}'));
    let words: Vec<&str> = inner.map_or("", |(inner, _)| inner).split_whitespace().collect();
    without_outer_parentheses(&words.join(" ")).to_owned()
}

fn without_outer_parentheses(text: &str) -> &str {
    let Some(inner) = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) else { return text };
    let mut depth = 0_i32;
    let mut quoted = false;
    let mut escaped = false;
    for character in inner.chars() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return text;
        }
    }
    without_outer_parentheses(inner)
}

fn parent((kind, id): (String, String)) -> Piece {
    match kind.as_str() {
        "Role" => Piece::Role(id),
        "Group" => Piece::Group(id),
        _ => Piece::Unchangeable,
    }
}

/// What an expression asks for, and whether it is true where that is there.
fn piece(body: &Value) -> (Piece, bool) {
    if password_age(body).is_some() {
        let older = body.get(">").or_else(|| body.get(">=")).is_some();
        return (Piece::FreshPassword, !older);
    }
    if let Some(inner) = body.get("!").and_then(|not| not.get("arg")) {
        let (piece, present) = piece(inner);
        return (piece, !present);
    }
    let sides = |operator: &str| {
        let both = body.get(operator)?;
        Some((both.get("left")?, both.get("right")?))
    };
    if let Some((left, right)) = sides("||") {
        // Either will do: the easier one.
        let (one, other) = (piece(left), piece(right));
        return if one.0 <= other.0 { one } else { other };
    }
    for operator in ["==", "!="] {
        if let Some((left, right)) = sides(operator) {
            let (piece, present) = equality(left, right);
            return (piece, present == (operator == "=="));
        }
    }
    if let Some((left, right)) = sides("in")
        && variable(left) == Some("principal")
    {
        return (entities(right).into_iter().next().map_or(Piece::Unchangeable, parent), true);
    }
    for operator in ["contains", "containsAny", "containsAll"] {
        if let Some((left, right)) = sides(operator) {
            return (contained(left, right), true);
        }
    }
    if is_attribute(body, "principal", "hasAssignedRole") {
        return (Piece::NoRole, false);
    }
    (if speaks_of(body, "context") { Piece::Request } else { Piece::Unchangeable }, true)
}

fn equality(left: &Value, right: &Value) -> (Piece, bool) {
    let text = right.get("Value").and_then(Value::as_str);
    if is_attribute(left, "principal", "administrationLevel") {
        return (text.map_or(Piece::Unchangeable, |level| Piece::Level(level.to_owned())), true);
    }
    if is_attribute(left, "principal", "accessMethods") {
        let methods: Vec<&str> = right.get("Set").and_then(Value::as_array).map_or(Vec::new(), |members| {
            members.iter().filter_map(|member| member.get("Value").and_then(Value::as_str)).collect()
        });
        // "Exactly this one" is the other one missing.
        return match methods.as_slice() {
            ["dashboard"] => (Piece::AccessMethod("api".into()), false),
            ["api"] => (Piece::AccessMethod("dashboard".into()), false),
            _ => (Piece::Unchangeable, true),
        };
    }
    if is_attribute(left, "principal", "hasAssignedRole") {
        return (Piece::NoRole, right.get("Value").and_then(Value::as_bool) != Some(true));
    }
    let request = speaks_of(left, "context") || speaks_of(right, "context");
    (if request { Piece::Request } else { Piece::Unchangeable }, true)
}

fn contained(left: &Value, right: &Value) -> Piece {
    if is_attribute(left, "principal", "accounts") {
        if variable(right) == Some("resource") {
            return Piece::AccountAtHand;
        }
        if is_attribute(right, "context", "account") {
            return Piece::AccountNamed;
        }
        if is_attribute(right, "resource", "accounts") {
            return Piece::AccountShared;
        }
        return entities(right).into_iter().next().map_or(Piece::Unchangeable, |(_, id)| Piece::Account(id));
    }
    if is_attribute(left, "resource", "products") {
        return entities(right).into_iter().next().map_or(Piece::Unchangeable, |(_, id)| Piece::Product(id));
    }
    if is_attribute(left, "principal", "accessMethods")
        && let Some(method) = right.get("Value").and_then(Value::as_str)
    {
        return Piece::AccessMethod(method.to_owned());
    }
    if speaks_of(left, "context") || speaks_of(right, "context") { Piece::Request } else { Piece::Unchangeable }
}

fn variable(value: &Value) -> Option<&str> {
    value.get("Var").and_then(Value::as_str)
}

/// Entities by name: one, or a set of them.
fn entities(value: &Value) -> Vec<(String, String)> {
    if let Some(members) = value.get("Set").and_then(Value::as_array) {
        return members.iter().flat_map(entities).collect();
    }
    let named = value
        .pointer("/Value/__entity")
        .and_then(|entity| Some((entity.get("type")?.as_str()?.to_owned(), entity.get("id")?.as_str()?.to_owned())));
    named.into_iter().collect()
}

fn speaks_of(value: &Value, name: &str) -> bool {
    match value {
        Value::Object(map) => {
            map.get("Var").and_then(Value::as_str) == Some(name) || map.values().any(|child| speaks_of(child, name))
        }
        Value::Array(items) => items.iter().any(|child| speaks_of(child, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<(String, Piece, bool)> {
        let policy: Policy = text.parse().expect("a policy");
        let all = Condition::all_of(&policy.to_json().expect("json")).expect("conditions");
        all.into_iter().map(|one| (one.text, one.piece, one.wanted)).collect()
    }

    #[test]
    fn a_policy_falls_into_its_conditions() {
        let parts = of(r#"permit (principal in Role::"Ordering", action, resource is Account)
            when { resource.products.contains(Product::"UC") && (context.channel == "api" || principal in Group::"g") }
            unless { principal.accounts.contains(resource) || !principal.accessMethods.contains("api") };"#);
        let shown: Vec<&str> = parts.iter().map(|(text, _, _)| text.as_str()).collect();
        assert_eq!(
            shown,
            [
                r#"principal in Role::"Ordering""#,
                "resource is Account",
                r#"resource.products.contains(Product::"UC")"#,
                r#"(context.channel == "api") || (principal in Group::"g")"#,
                "principal.accounts.contains(resource)",
                r#"!principal.accessMethods.contains("api")"#,
            ]
        );
        let pieces: Vec<(Piece, bool)> = parts.into_iter().map(|(_, piece, wanted)| (piece, wanted)).collect();
        assert_eq!(
            pieces,
            [
                (Piece::Role("Ordering".into()), true),
                (Piece::Unchangeable, true),
                (Piece::Product("UC".into()), true),
                (Piece::Group("g".into()), true),
                (Piece::AccountAtHand, false),
                (Piece::AccessMethod("api".into()), true),
            ]
        );
    }

    #[test]
    fn the_password_rule_wants_an_old_password() {
        let parts = of(r#"forbid (principal, action, resource) when { principal.accessMethods == ["dashboard"]
            && context.now.durationSince(principal.passwordChangedAt) > duration("90d") };"#);
        let pieces: Vec<(Piece, bool)> = parts.into_iter().map(|(_, piece, wanted)| (piece, wanted)).collect();
        assert_eq!(pieces, [(Piece::AccessMethod("api".into()), false), (Piece::FreshPassword, false)]);
    }
}
