//! The scope index: which policies a question can meet, without looking at the others.
//!
//! Every policy stands in one bucket, by what its scope asks of action, principal and resource: nothing, a type, or an
//! entity (as itself or as an ancestor). A question visits the buckets of its own keys alone: its action with groups,
//! its principal with roles and groups, its resource with what it stands below. Whatever a scope does not narrow is
//! in every visit, forbids like permits. A bucket only saves work: Cedar still evaluates the whole policy, scope
//! included, so a policy in a visited bucket can do no harm, and one in an unvisited bucket could not have matched.
//! Memory grows with the policies alone, not with actions times policies.
//!
//! Pure: policies in, answers out. Knows no facts and no reasons.

use std::collections::HashMap;

use cedar_policy::{
    ActionConstraint, Authorizer, Decision, Effect, EntityUid, Policy, PolicyId, PolicySet, PrincipalConstraint,
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

/// A policy as the evaluator takes it: the whole condition (scope and clauses), put together once.
#[derive(Debug)]
struct Rule {
    id: PolicyId,
    effect: Effect,
    policy: ast::Policy,
    condition: Expr,
}

/// All policies, found by scope.
#[derive(Debug, Default)]
pub(super) struct Index {
    rules: Vec<Rule>,
    types: HashMap<EntityType, Key>,
    entities: HashMap<EntityUID, Key>,
    /// Which of `tables` holds the policies whose scope names this action or group.
    of_action: HashMap<EntityUid, usize>,
    /// The first one holds the policies for any action.
    tables: Vec<Table>,
    #[cfg(test)]
    pub(super) seeded: Option<tests::Seeded>,
}

/// Where the policies of one action stand; made once, when a bundle is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place(Vec<usize>);

/// What Cedar says, over however many buckets.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) decision: Decision,
    /// The determining policies, each once, in no order.
    pub(super) determining: Vec<PolicyId>,
    /// Policies that erred, each once, with Cedar's words.
    pub(super) errors: Vec<(PolicyId, String)>,
}

/// A question as Cedar takes it, with what the index goes by.
pub(super) struct Asked<'a> {
    pub(super) request: Request,
    pub(super) entities: &'a Entities,
    /// The keys of principal and resource ([`Index::keys`]).
    pub(super) principal: &'a [Key],
    pub(super) resource: &'a [Key],
}

impl Index {
    /// Sorts policies into buckets. Ids are unique; one that is not never gets here.
    pub(super) fn new<'p>(policies: impl IntoIterator<Item = &'p Policy>) -> Self {
        let mut index = Self { tables: vec![Table::new()], ..Self::default() };
        for policy in policies {
            let principal = match policy.principal_constraint() {
                PrincipalConstraint::Any => ANY,
                PrincipalConstraint::Is(kind) => index.kind(kind.as_ref()),
                PrincipalConstraint::Eq(uid) | PrincipalConstraint::In(uid) | PrincipalConstraint::IsIn(_, uid) => {
                    index.entity(uid.as_ref())
                }
            };
            let resource = match policy.resource_constraint() {
                ResourceConstraint::Any => ANY,
                ResourceConstraint::Is(kind) => index.kind(kind.as_ref()),
                ResourceConstraint::Eq(uid) | ResourceConstraint::In(uid) | ResourceConstraint::IsIn(_, uid) => {
                    index.entity(uid.as_ref())
                }
            };
            let rule = index.rule(policy);
            let tables = match policy.action_constraint() {
                ActionConstraint::Any => vec![0],
                ActionConstraint::Eq(uid) => vec![index.table(uid)],
                // Under each that is listed: a visit that meets it twice evaluates it twice and counts it once.
                ActionConstraint::In(uids) => uids.into_iter().map(|uid| index.table(uid)).collect(),
            };
            for table in tables {
                if let Some(table) = index.tables.get_mut(table) {
                    let bucket = table.entry(principal).or_default().entry(resource).or_default();
                    bucket.push(rule);
                }
            }
        }
        index
    }

    fn next(&self) -> Key {
        Key::try_from(self.types.len() + self.entities.len() + 1).unwrap_or(Key::MAX)
    }

    fn kind(&mut self, kind: &EntityType) -> Key {
        let next = self.next();
        *self.types.entry(kind.clone()).or_insert(next)
    }

    fn entity(&mut self, uid: &EntityUID) -> Key {
        let next = self.next();
        *self.entities.entry(uid.clone()).or_insert(next)
    }

    fn rule(&mut self, policy: &Policy) -> usize {
        let inner: &ast::Policy = policy.as_ref();
        let (id, condition) = (policy.id().clone(), inner.condition());
        self.rules.push(Rule { id, effect: policy.effect(), policy: inner.clone(), condition });
        self.rules.len() - 1
    }

    fn table(&mut self, action: EntityUid) -> usize {
        let next = self.tables.len();
        let at = *self.of_action.entry(action).or_insert(next);
        if at == next {
            self.tables.push(Table::new());
        }
        at
    }

    /// Where the policies of an action stand, given the groups above it.
    pub(super) fn place<'a>(&self, action: &'a EntityUid, groups: impl IntoIterator<Item = &'a EntityUid>) -> Place {
        let named = std::iter::once(action).chain(groups).filter_map(|uid| self.of_action.get(uid).copied());
        let mut tables: Vec<usize> = std::iter::once(0).chain(named).collect();
        tables.sort_unstable();
        tables.dedup();
        #[cfg(test)]
        tests::seed_place(self.seeded, &mut tables);
        Place(tables)
    }

    /// The keys under which policies for this entity can stand, given what it stands below.
    pub(super) fn keys<'e>(&self, uid: &EntityUID, above: impl IntoIterator<Item = &'e EntityUID>) -> Vec<Key> {
        let mut keys = vec![ANY];
        keys.extend(self.types.get(uid.entity_type()));
        keys.extend(self.entities.get(uid));
        keys.extend(above.into_iter().filter_map(|above| self.entities.get(above)));
        keys
    }

    /// Asks the policies that the question can meet.
    pub(super) fn ask(&self, place: &Place, asked: Asked<'_>) -> Answer {
        let Asked { request, entities, principal, resource } = asked;
        #[cfg(test)]
        let (principal, resource) = &tests::seed_keys(self.seeded, principal.to_vec(), resource.to_vec());
        let evaluator = Evaluator::new(request, entities, Extensions::all_available());
        let mut merged = Merged::default();
        for table in place.0.iter().filter_map(|at| self.tables.get(*at)) {
            for by_resource in principal.iter().filter_map(|key| table.get(key)) {
                for bucket in resource.iter().filter_map(|key| by_resource.get(key)) {
                    for rule in bucket.iter().filter_map(|at| self.rules.get(*at)) {
                        merged.add(rule, &evaluator);
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

/// What plain Cedar says over all policies: the measure of the index, and what is asked where the index is mistrusted.
pub(super) fn ask_plainly(
    policies: &PolicySet,
    request: &cedar_policy::Request,
    entities: &cedar_policy::Entities,
) -> Answer {
    let response = Authorizer::new().is_authorized(request, policies, entities);
    let mut merged = Merged::default();
    let determining = response.diagnostics().reason().cloned();
    match response.decision() {
        Decision::Allow => merged.permits.extend(determining),
        Decision::Deny => merged.forbids.extend(determining),
    }
    for error in response.diagnostics().errors() {
        let cedar_policy::AuthorizationError::PolicyEvaluationError(erring) = error;
        merged.errors.push((erring.policy_id().clone(), error.to_string()));
    }
    merged.answer()
}

/// The answers of policies together: what one forbids is forbidden, else what one permits is permitted.
#[derive(Debug, Default)]
struct Merged {
    permits: Vec<PolicyId>,
    forbids: Vec<PolicyId>,
    errors: Vec<(PolicyId, String)>,
}

impl Merged {
    fn add(&mut self, rule: &Rule, evaluator: &Evaluator<'_>) {
        let satisfied = match evaluator.interpret(&rule.condition, rule.policy.env()) {
            Ok(Value { value: ValueKind::Lit(Literal::Bool(truth)), .. }) => Ok(truth),
            // Whatever else comes of it, Cedar says what that means.
            Ok(_) | Err(_) => evaluator.evaluate(&rule.policy),
        };
        match (satisfied, rule.effect) {
            (Ok(true), Effect::Permit) => self.permits.push(rule.id.clone()),
            (Ok(true), Effect::Forbid) => self.forbids.push(rule.id.clone()),
            (Ok(false), Effect::Permit | Effect::Forbid) => {}
            (Err(error), Effect::Permit | Effect::Forbid) => {
                let error = AuthorizationError::PolicyEvaluationError { id: rule.policy.id().clone(), error };
                self.errors.push((rule.id.clone(), cedar_policy::AuthorizationError::from(error).to_string()));
            }
        }
    }

    fn answer(self) -> Answer {
        let (decision, mut determining) = match (self.forbids.is_empty(), self.permits.is_empty()) {
            (false, _) => (Decision::Deny, self.forbids),
            (true, false) => (Decision::Allow, self.permits),
            (true, true) => (Decision::Deny, Vec::new()),
        };
        determining.sort();
        determining.dedup();
        let mut errors = self.errors;
        errors.sort();
        errors.dedup_by(|one, other| one.0 == other.0);
        Answer { decision, determining, errors }
    }
}
