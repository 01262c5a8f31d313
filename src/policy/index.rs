//! The scope index: which policies a question meets, without looking at the others.
//!
//! Every policy stands under what its scope asks of action, principal and resource: nothing, a type, one entity, what
//! stands below an entity, or that of one type. A question visits the buckets of its own keys alone, and the keys of an
//! entity are exactly the scopes that admit it: so every policy in a visited bucket is meant by the question, and Cedar's
//! evaluator is asked about its conditions only. Whatever a scope does not narrow is in every visit, forbids like permits.
//! Memory grows with the policies alone, not with actions times policies.
//!
//! Pure: policies in, answers out. Knows no facts and no reasons.

use std::collections::HashMap;

use cedar_policy::{
    ActionConstraint, Authorizer, Decision, Effect, EntityUid, Policy, PolicySet, PrincipalConstraint,
    ResourceConstraint,
};
use cedar_policy_core::ast::{self, EntityType, EntityUID, Expr, Literal, Request, Value, ValueKind};
use cedar_policy_core::authorizer::AuthorizationError;
use cedar_policy_core::entities::Entities;
use cedar_policy_core::evaluator::Evaluator;
use cedar_policy_core::extensions::Extensions;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) const SEEDED: tests::Seeded = tests::Seeded::NoPrincipalTypes;

/// A number for everything that some scope names; [`ANY`] for what narrows nothing.
pub(super) type Key = u32;

const ANY: Key = 0;

/// The policies of one action key, by the keys of principal and resource: their places among the rules.
type Table = HashMap<Key, HashMap<Key, Vec<usize>>>;

/// A policy as the evaluator takes it.
#[derive(Debug)]
struct Rule {
    effect: Effect,
    /// Its `when` and `unless` together; without any it speaks whenever its scope does.
    conditions: Option<Expr>,
    policy: ast::Policy,
}

/// Where scopes that name entities stand.
#[derive(Debug, Default)]
struct Scopes {
    /// `is`.
    kinds: HashMap<EntityType, Key>,
    /// `==`.
    equal: HashMap<EntityUID, Key>,
    /// `in`.
    below: HashMap<EntityUID, Key>,
    /// `is … in`.
    kinds_below: HashMap<EntityType, HashMap<EntityUID, Key>>,
    last: Key,
}

/// All policies, found by scope.
#[derive(Debug, Default)]
pub(super) struct Index {
    rules: Vec<Rule>,
    scopes: Scopes,
    /// Which of `tables` holds the policies for exactly this action, and for what this action or group stands above.
    of_action: HashMap<EntityUid, usize>,
    of_group: HashMap<EntityUid, usize>,
    /// The first one holds the policies for any action.
    tables: Vec<Table>,
    #[cfg(test)]
    pub(super) seeded: Option<tests::Seeded>,
}

/// Where the policies of one action stand; made once, when a bundle is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place(Vec<usize>);

/// What Cedar says. Policies go by their place in the order in which the index was given them.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) decision: Decision,
    /// The determining policies, each once, in order.
    pub(super) determining: Vec<usize>,
    /// Policies that erred, each once, in order, with Cedar's words.
    pub(super) errors: Vec<(usize, String)>,
}

/// A question as Cedar takes it, with what the index goes by.
pub(super) struct Asked<'a> {
    pub(super) request: Request,
    pub(super) entities: &'a Entities,
    /// The keys of principal and resource ([`Index::keys`]).
    pub(super) principal: &'a [Key],
    pub(super) resource: &'a [Key],
}

impl Scopes {
    const fn next(&mut self) -> Key {
        self.last = self.last.saturating_add(1);
        self.last
    }

    fn of_principal(&mut self, constraint: PrincipalConstraint) -> Key {
        match constraint {
            PrincipalConstraint::Any => ANY,
            PrincipalConstraint::Is(kind) => self.kind(kind.as_ref()),
            PrincipalConstraint::Eq(uid) => self.equal(uid.as_ref()),
            PrincipalConstraint::In(uid) => self.below(uid.as_ref()),
            PrincipalConstraint::IsIn(kind, uid) => self.kind_below(kind.as_ref(), uid.as_ref()),
        }
    }

    fn of_resource(&mut self, constraint: ResourceConstraint) -> Key {
        match constraint {
            ResourceConstraint::Any => ANY,
            ResourceConstraint::Is(kind) => self.kind(kind.as_ref()),
            ResourceConstraint::Eq(uid) => self.equal(uid.as_ref()),
            ResourceConstraint::In(uid) => self.below(uid.as_ref()),
            ResourceConstraint::IsIn(kind, uid) => self.kind_below(kind.as_ref(), uid.as_ref()),
        }
    }

    fn kind(&mut self, kind: &EntityType) -> Key {
        let next = self.next();
        *self.kinds.entry(kind.clone()).or_insert(next)
    }

    fn equal(&mut self, uid: &EntityUID) -> Key {
        let next = self.next();
        *self.equal.entry(uid.clone()).or_insert(next)
    }

    fn below(&mut self, uid: &EntityUID) -> Key {
        let next = self.next();
        *self.below.entry(uid.clone()).or_insert(next)
    }

    fn kind_below(&mut self, kind: &EntityType, uid: &EntityUID) -> Key {
        let next = self.next();
        *self.kinds_below.entry(kind.clone()).or_default().entry(uid.clone()).or_insert(next)
    }
}

impl Index {
    /// Sorts policies into buckets. Ids are unique; one that is not never gets here.
    pub(super) fn new<'p>(policies: impl IntoIterator<Item = &'p Policy>) -> Self {
        let mut index = Self { tables: vec![Table::new()], ..Self::default() };
        for policy in policies {
            let principal = index.scopes.of_principal(policy.principal_constraint());
            let resource = index.scopes.of_resource(policy.resource_constraint());
            let rule = index.rules.len();
            let inner: &ast::Policy = policy.as_ref();
            let conditions = inner.non_scope_constraints().cloned();
            index.rules.push(Rule { effect: policy.effect(), conditions, policy: inner.clone() });
            let tables = match policy.action_constraint() {
                ActionConstraint::Any => vec![0],
                ActionConstraint::Eq(uid) => vec![table(&mut index.of_action, &mut index.tables, uid)],
                // Under each that is listed: a visit that meets it twice evaluates it twice and counts it once.
                ActionConstraint::In(uids) => {
                    uids.into_iter().map(|uid| table(&mut index.of_group, &mut index.tables, uid)).collect()
                }
            };
            for table in tables {
                if let Some(table) = index.tables.get_mut(table) {
                    table.entry(principal).or_default().entry(resource).or_default().push(rule);
                }
            }
        }
        index
    }

    /// Where the policies of an action stand, given the groups above it.
    pub(super) fn place<'a>(&self, action: &'a EntityUid, groups: impl IntoIterator<Item = &'a EntityUid>) -> Place {
        let above = std::iter::once(action).chain(groups).filter_map(|uid| self.of_group.get(uid));
        let named = self.of_action.get(action).into_iter().chain(above).copied();
        let mut tables: Vec<usize> = std::iter::once(0).chain(named).collect();
        tables.sort_unstable();
        tables.dedup();
        #[cfg(test)]
        tests::seed_place(self.seeded, &mut tables);
        Place(tables)
    }

    /// The keys of all scopes that admit this entity, given what it stands below.
    pub(super) fn keys<'e>(&self, uid: &'e EntityUID, above: impl IntoIterator<Item = &'e EntityUID>) -> Vec<Key> {
        let (scopes, kind) = (&self.scopes, uid.entity_type());
        let mut keys = vec![ANY];
        keys.extend(scopes.kinds.get(kind));
        keys.extend(scopes.equal.get(uid));
        let of_kind = scopes.kinds_below.get(kind);
        for one in std::iter::once(uid).chain(above) {
            keys.extend(scopes.below.get(one));
            keys.extend(of_kind.and_then(|below| below.get(one)));
        }
        keys
    }

    /// Asks the policies that the question meets.
    pub(super) fn ask(&self, place: &Place, asked: Asked<'_>) -> Answer {
        let Asked { request, entities, principal, resource } = asked;
        #[cfg(test)]
        let (principal, resource) = &tests::seed_keys(self.seeded, principal.to_vec(), resource.to_vec());
        let evaluator = Evaluator::new(request, entities, Extensions::all_available());
        let mut merged = Merged::default();
        for table in place.0.iter().filter_map(|at| self.tables.get(*at)) {
            for by_resource in principal.iter().filter_map(|key| table.get(key)) {
                for bucket in resource.iter().filter_map(|key| by_resource.get(key)) {
                    for at in bucket {
                        if let Some(rule) = self.rules.get(*at) {
                            merged.add(*at, rule, &evaluator);
                        }
                    }
                    #[cfg(test)]
                    if tests::stops_early(self.seeded, &merged) {
                        return merged.answer();
                    }
                }
            }
        }
        #[cfg(test)]
        tests::seed_answer(self.seeded, &mut merged);
        merged.answer()
    }
}

fn table(of: &mut HashMap<EntityUid, usize>, tables: &mut Vec<Table>, uid: EntityUid) -> usize {
    let next = tables.len();
    let at = *of.entry(uid).or_insert(next);
    if at == next {
        tables.push(Table::new());
    }
    at
}

/// What plain Cedar says over all policies: the measure of the index, and what is asked where the index is mistrusted.
/// `place` tells where a policy stands in the index's order; `None` where Cedar names a policy that it does not know.
pub(super) fn ask_plainly(
    policies: &PolicySet,
    request: &cedar_policy::Request,
    entities: &cedar_policy::Entities,
    place: impl Fn(&str) -> Option<usize>,
) -> Option<Answer> {
    let response = Authorizer::new().is_authorized(request, policies, entities);
    let mut merged = Merged::default();
    let determining = match response.decision() {
        Decision::Allow => &mut merged.permits,
        Decision::Deny => &mut merged.forbids,
    };
    for id in response.diagnostics().reason() {
        determining.push(place(id.as_ref())?);
    }
    for error in response.diagnostics().errors() {
        let cedar_policy::AuthorizationError::PolicyEvaluationError(erring) = error;
        merged.errors.push((place(erring.policy_id().as_ref())?, error.to_string()));
    }
    Some(merged.answer())
}

/// The answers of policies together: what one forbids is forbidden, else what one permits is permitted.
#[derive(Debug, Default)]
struct Merged {
    permits: Vec<usize>,
    forbids: Vec<usize>,
    errors: Vec<(usize, String)>,
}

impl Merged {
    fn add(&mut self, at: usize, rule: &Rule, evaluator: &Evaluator<'_>) {
        let satisfied = match &rule.conditions {
            None => Ok(true),
            Some(conditions) => match evaluator.interpret(conditions, rule.policy.env()) {
                Ok(Value { value: ValueKind::Lit(Literal::Bool(truth)), .. }) => Ok(truth),
                // Whatever else comes of it, Cedar says what that means.
                Ok(_) | Err(_) => evaluator.evaluate(&rule.policy),
            },
        };
        match (satisfied, rule.effect) {
            (Ok(true), Effect::Permit) => self.permits.push(at),
            (Ok(true), Effect::Forbid) => self.forbids.push(at),
            (Ok(false), Effect::Permit | Effect::Forbid) => {}
            (Err(error), Effect::Permit | Effect::Forbid) => {
                let error = AuthorizationError::PolicyEvaluationError { id: rule.policy.id().clone(), error };
                self.errors.push((at, cedar_policy::AuthorizationError::from(error).to_string()));
            }
        }
    }

    fn answer(self) -> Answer {
        let (decision, mut determining) = match (self.forbids.is_empty(), self.permits.is_empty()) {
            (false, _) => (Decision::Deny, self.forbids),
            (true, false) => (Decision::Allow, self.permits),
            (true, true) => (Decision::Deny, Vec::new()),
        };
        determining.sort_unstable();
        determining.dedup();
        let mut errors = self.errors;
        errors.sort();
        errors.dedup_by_key(|(at, _)| *at);
        Answer { decision, determining, errors }
    }
}
