//! Changes of a bundle's own entities that make a condition true or false, as the condition itself spells them.
//!
//! Knows nothing of the dashboard: any schema, any attribute. A change is only a proposal; whoever proposes it evaluates
//! what comes of it.

use cedar_policy::{Entities, Entity, EvalResult, Expression, Request, RestrictedExpression, eval_expression};
use serde_json::Value;

use super::super::conditions::text_of_body;
use super::super::nouns::Nouns;

/// Which entity of the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The one who asks.
    Principal,
    /// The one asked about.
    Resource,
}

/// What becomes of the entity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// It is put below an entity: a Cedar expression.
    Parent(String),
    /// A set gets a member: a Cedar expression.
    Member {
        /// The attribute that is the set.
        attribute: String,
        /// The member.
        member: String,
    },
    /// An attribute takes a value: a Cedar expression.
    Value {
        /// The attribute.
        attribute: String,
        /// The value.
        value: String,
    },
    /// An attribute is there at all; only the taking away can be made.
    Presence(String),
}

/// A change of one side.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Own {
    /// Whose.
    pub side: Side,
    /// Which.
    pub change: Change,
}

/// The changes that make an expression true, or false where the flag says so; the first that can be made is enough.
pub(in super::super) fn of(body: &Value) -> Vec<(Own, bool)> {
    let sides = |operator: &str| {
        let both = body.get(operator)?;
        Some((both.get("left")?, both.get("right")?))
    };
    if let Some(inner) = body.get("!").and_then(|not| not.get("arg")) {
        return of(inner).into_iter().map(|(own, present)| (own, !present)).collect();
    }
    if let Some((left, right)) = sides("&&").or_else(|| sides("||")) {
        return of(left).into_iter().chain(of(right)).collect();
    }
    let as_wanted =
        |present: bool, all: [Option<Own>; 2]| all.into_iter().flatten().map(|own| (own, present)).collect();
    if let Some((left, right)) = sides("==") {
        return as_wanted(true, [equal(left, right), equal(right, left)]);
    }
    if let Some((left, right)) = sides("!=") {
        return as_wanted(false, [equal(left, right), equal(right, left)]);
    }
    if let Some((left, right)) = sides("contains") {
        return as_wanted(true, [member(left, right), first_of(left).and_then(|first| equal(right, first))]);
    }
    if let Some((left, right)) = sides("containsAny") {
        let some = |set: &Value, of: &Value| member(set, first_of(of)?);
        return as_wanted(true, [some(left, right), some(right, left)]);
    }
    if let Some((left, right)) = sides("in") {
        return as_wanted(true, [parent(left, first_of(right).unwrap_or(right)), None]);
    }
    as_wanted(true, [attribute(body).map(|(side, attribute)| truth(side, attribute)), presence(body)])
}

/// The change that fulfils `principal in …` or `resource in …` of a policy's scope.
pub(in super::super) fn of_scope(variable: &str, parent: &str) -> Option<Own> {
    Some(Own { side: Side::of(variable)?, change: Change::Parent(parent.to_owned()) })
}

fn truth(side: Side, attribute: String) -> Own {
    Own { side, change: Change::Value { attribute, value: "true".into() } }
}

fn equal(of: &Value, to: &Value) -> Option<Own> {
    let (side, attribute) = attribute(of)?;
    Some(Own { side, change: Change::Value { attribute, value: text_of_body(to)? } })
}

fn member(set: &Value, member: &Value) -> Option<Own> {
    let (side, attribute) = attribute(set)?;
    Some(Own { side, change: Change::Member { attribute, member: text_of_body(member)? } })
}

fn parent(child: &Value, parent: &Value) -> Option<Own> {
    Some(Own { side: variable(child)?, change: Change::Parent(text_of_body(parent)?) })
}

fn presence(body: &Value) -> Option<Own> {
    let has = body.get("has")?;
    Some(Own { side: variable(has.get("left")?)?, change: Change::Presence(has.get("attr")?.as_str()?.to_owned()) })
}

fn variable(value: &Value) -> Option<Side> {
    Side::of(value.get("Var")?.as_str()?)
}

/// `principal.name` or `resource.name`.
fn attribute(value: &Value) -> Option<(Side, String)> {
    let access = value.get(".")?;
    Some((variable(access.get("left")?)?, access.get("attr")?.as_str()?.to_owned()))
}

fn first_of(set: &Value) -> Option<&Value> {
    set.get("Set")?.as_array()?.first()
}

impl Side {
    fn of(variable: &str) -> Option<Self> {
        match variable {
            "principal" => Some(Self::Principal),
            "resource" => Some(Self::Resource),
            _ => None,
        }
    }
}

/// A change with what it means for the question at hand.
pub(super) struct Meant {
    /// As an order.
    pub(super) what: String,
    /// The attribute that changes, where one does.
    pub(super) attribute: Option<String>,
    /// The entity afterwards.
    entity: Entity,
}

impl Own {
    /// What the change is here; `None` where it cannot be made.
    pub(super) fn meant(&self, gain: bool, request: &Request, entities: &Entities, nouns: &Nouns) -> Option<Meant> {
        let uid = match self.side {
            Side::Principal => request.principal()?,
            Side::Resource => request.resource()?,
        };
        let entity = entities.get(uid).cloned().unwrap_or_else(|| Entity::with_uid(uid.clone()));
        let (uid, mut attributes, mut above) = entity.into_inner();
        let value_of = |text: &str| eval_expression(request, entities, &text.parse::<Expression>().ok()?).ok();
        let (what, attribute) = match &self.change {
            Change::Parent(text) => {
                let EvalResult::EntityUid(parent) = value_of(text)? else { return None };
                if gain {
                    above.extend(nouns.listed(&parent).into_iter().flat_map(|parent| parent.clone().into_inner().2));
                    above.insert(parent.clone());
                    (format!("put {uid} into {parent}"), None)
                } else {
                    above.remove(&parent);
                    (format!("take {uid} out of {parent}"), None)
                }
            }
            Change::Member { attribute, member } => {
                let member = value_of(member)?;
                let now = entities.get(&uid).and_then(|entity| entity.attr(attribute)).and_then(Result::ok);
                let before: Vec<EvalResult> = match now {
                    Some(EvalResult::Set(set)) => set.iter().filter(|one| **one != member).cloned().collect(),
                    Some(_) => return None,
                    None => Vec::new(),
                };
                let what = if gain {
                    format!("add {member} to `{attribute}` of {uid}")
                } else {
                    format!("take {member} out of `{attribute}` of {uid}")
                };
                let members = before.iter().chain(gain.then_some(&member)).map(expressed);
                let members: Option<Vec<RestrictedExpression>> = members.collect();
                attributes.insert(attribute.clone(), RestrictedExpression::new_set(members?));
                (what, Some(attribute.clone()))
            }
            Change::Value { attribute, value } => {
                let value = match (value_of(value)?, gain) {
                    (EvalResult::Bool(truth), false) => EvalResult::Bool(!truth),
                    (value, true) => value,
                    // Any other value would do; which one is not for us to say.
                    (_, false) => return None,
                };
                attributes.insert(attribute.clone(), expressed(&value)?);
                (format!("set `{attribute}` of {uid} to {value}"), Some(attribute.clone()))
            }
            // What a new attribute would say is for another condition to tell.
            Change::Presence(_) if gain => return None,
            Change::Presence(attribute) => {
                attributes.remove(attribute)?;
                (format!("remove `{attribute}` of {uid}"), Some(attribute.clone()))
            }
        };
        let entity = Entity::new(uid, attributes, above).ok()?;
        Some(Meant { what, attribute, entity })
    }
}

impl Meant {
    /// The entities after the change.
    pub(super) fn made(self, entities: &Entities) -> Option<Entities> {
        let uid = self.entity.uid();
        let others = entities.iter().filter(|entity| entity.uid() != uid).cloned();
        Entities::from_entities(others.chain([self.entity]), None).ok()
    }
}

/// A value as an expression; `None` for records, which no change builds.
fn expressed(value: &EvalResult) -> Option<RestrictedExpression> {
    Some(match value {
        EvalResult::Bool(truth) => RestrictedExpression::new_bool(*truth),
        EvalResult::Long(number) => RestrictedExpression::new_long(*number),
        EvalResult::String(text) => RestrictedExpression::new_string(text.clone()),
        EvalResult::EntityUid(uid) => RestrictedExpression::new_entity_uid(uid.clone()),
        EvalResult::Set(set) => {
            RestrictedExpression::new_set(set.iter().map(expressed).collect::<Option<Vec<RestrictedExpression>>>()?)
        }
        EvalResult::ExtensionValue(text) => text.parse().ok()?,
        EvalResult::Record(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use cedar_policy::Policy;

    use super::*;

    fn of_text(condition: &str) -> Vec<(Own, bool)> {
        let policy: Policy =
            format!("permit (principal, action, resource) when {{ {condition} }};").parse().expect("a policy");
        let json = policy.to_json().expect("json");
        of(json.pointer("/conditions/0/body").expect("a condition"))
    }

    fn value(side: Side, attribute: &str, value: &str) -> Own {
        Own { side, change: Change::Value { attribute: attribute.into(), value: value.into() } }
    }

    #[test]
    fn every_known_shape_spells_its_change() {
        let owner = of_text("resource.owner == principal.name");
        assert_eq!(
            owner,
            [
                (value(Side::Resource, "owner", "principal.name"), true),
                (value(Side::Principal, "name", "resource.owner"), true),
            ]
        );
        assert_eq!(of_text("!resource.public"), [(value(Side::Resource, "public", "true"), false)]);
        assert_eq!(of_text("resource.state != \"closed\""), [(value(Side::Resource, "state", "\"closed\""), false)]);
        let member = |side, member: &str| Own {
            side,
            change: Change::Member { attribute: "tags".into(), member: member.into() },
        };
        assert_eq!(of_text("resource.tags.contains(\"a\")"), [(member(Side::Resource, "\"a\""), true)]);
        assert_eq!(of_text("principal.tags.containsAny([\"b\", \"c\"])"), [(member(Side::Principal, "\"b\""), true)]);
        assert_eq!(
            of_text("[\"x\", \"y\"].contains(principal.role)"),
            [(value(Side::Principal, "role", "\"x\""), true)]
        );
        let team = Own { side: Side::Principal, change: Change::Parent("Team::\"blue\"".into()) };
        assert_eq!(of_text("principal in Team::\"blue\""), [(team, true)]);
        let there = Own { side: Side::Resource, change: Change::Presence("seal".into()) };
        assert_eq!(of_text("resource has seal"), [(there, true)]);
        assert_eq!(of_text("resource.size < 5 || context.mfa"), []);
    }
}
