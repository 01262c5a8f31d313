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
    ActionConstraint, AuthorizationError, Authorizer, Decision, Entities, EntityTypeName, EntityUid, Policy, PolicyId,
    PolicySet, PrincipalConstraint, Request, ResourceConstraint,
};

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) const SEEDED: tests::Seeded = tests::Seeded::NoPrincipalTypes;

/// A number for everything that some scope names; [`ANY`] for what narrows nothing.
type Key = u32;

const ANY: Key = 0;

/// The policies of one action key, by the keys of principal and resource.
type Table = HashMap<Key, HashMap<Key, PolicySet>>;

/// All policies, found by scope.
#[derive(Debug, Default)]
pub(super) struct Index {
    types: HashMap<EntityTypeName, Key>,
    entities: HashMap<EntityUid, Key>,
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
    pub(super) errors: Vec<AuthorizationError>,
}

/// A question as Cedar takes it, with what the index goes by.
pub(super) struct Asked<'a> {
    pub(super) request: &'a Request,
    pub(super) principal: &'a EntityUid,
    pub(super) resource: &'a EntityUid,
    pub(super) entities: &'a Entities,
}

impl Index {
    /// Sorts policies into buckets. Ids are unique; one that is not never gets here.
    pub(super) fn new<'p>(policies: impl IntoIterator<Item = &'p Policy>) -> Self {
        let mut index = Self { tables: vec![Table::new()], ..Self::default() };
        for policy in policies {
            let principal = match policy.principal_constraint() {
                PrincipalConstraint::Any => ANY,
                PrincipalConstraint::Is(kind) => index.kind(kind),
                PrincipalConstraint::Eq(uid) | PrincipalConstraint::In(uid) | PrincipalConstraint::IsIn(_, uid) => {
                    index.entity(uid)
                }
            };
            let resource = match policy.resource_constraint() {
                ResourceConstraint::Any => ANY,
                ResourceConstraint::Is(kind) => index.kind(kind),
                ResourceConstraint::Eq(uid) | ResourceConstraint::In(uid) | ResourceConstraint::IsIn(_, uid) => {
                    index.entity(uid)
                }
            };
            let tables = match policy.action_constraint() {
                ActionConstraint::Any => vec![0],
                ActionConstraint::Eq(uid) => vec![index.table(uid)],
                // Under each that is listed: a visit that meets it twice evaluates it twice and counts it once.
                ActionConstraint::In(uids) => uids.into_iter().map(|uid| index.table(uid)).collect(),
            };
            for table in tables {
                if let Some(table) = index.tables.get_mut(table) {
                    let bucket = table.entry(principal).or_default().entry(resource).or_default();
                    let _twice_in_one_list = bucket.add(policy.clone());
                }
            }
        }
        index
    }

    fn next(&self) -> Key {
        Key::try_from(self.types.len() + self.entities.len() + 1).unwrap_or(Key::MAX)
    }

    fn kind(&mut self, kind: EntityTypeName) -> Key {
        let next = self.next();
        *self.types.entry(kind).or_insert(next)
    }

    fn entity(&mut self, uid: EntityUid) -> Key {
        let next = self.next();
        *self.entities.entry(uid).or_insert(next)
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

    /// The keys under which policies for this entity can stand.
    fn keys(&self, uid: &EntityUid, entities: &Entities) -> Vec<Key> {
        let mut keys = vec![ANY];
        keys.extend(self.types.get(uid.type_name()));
        keys.extend(self.entities.get(uid));
        keys.extend(entities.ancestors(uid).into_iter().flatten().filter_map(|above| self.entities.get(above)));
        keys
    }

    /// Asks the policies that the question can meet.
    pub(super) fn ask(&self, place: &Place, asked: &Asked<'_>) -> Answer {
        let principals = self.keys(asked.principal, asked.entities);
        let resources = self.keys(asked.resource, asked.entities);
        #[cfg(test)]
        let (principals, resources) = tests::seed_keys(self.seeded, principals, resources);
        let authorizer = Authorizer::new();
        let mut merged = Merged::default();
        for table in place.0.iter().filter_map(|at| self.tables.get(*at)) {
            for by_resource in principals.iter().filter_map(|key| table.get(key)) {
                for bucket in resources.iter().filter_map(|key| by_resource.get(key)) {
                    merged.add(&authorizer.is_authorized(asked.request, bucket, asked.entities));
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
pub(super) fn ask_plainly(policies: &PolicySet, asked: &Asked<'_>) -> Answer {
    let mut merged = Merged::default();
    merged.add(&Authorizer::new().is_authorized(asked.request, policies, asked.entities));
    merged.answer()
}

/// The answers of buckets together: what is forbidden in one is forbidden, else what is permitted in one is permitted.
#[derive(Debug, Default)]
struct Merged {
    permits: Vec<PolicyId>,
    forbids: Vec<PolicyId>,
    errors: Vec<AuthorizationError>,
}

impl Merged {
    fn add(&mut self, response: &cedar_policy::Response) {
        let into = match response.decision() {
            Decision::Allow => &mut self.permits,
            Decision::Deny => &mut self.forbids,
        };
        into.extend(response.diagnostics().reason().cloned());
        self.errors.extend(response.diagnostics().errors().cloned());
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
        let id = |error: &AuthorizationError| {
            let AuthorizationError::PolicyEvaluationError(error) = error;
            error.policy_id().clone()
        };
        errors.sort_by_key(id);
        errors.dedup_by_key(|error| id(error));
        Answer { decision, determining, errors }
    }
}
