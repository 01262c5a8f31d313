//! Candidate policies to an [`Evaluation`]: the only evaluator in the house is Cedar's.
//!
//! Pure. A policy that errs never lets anybody in: Cedar skips it, so a forbid that errs becomes a deny here,
//! and a permit that errs grants nothing and is reported.

use std::sync::Arc;

use cedar_policy::{Authorizer, Context, Decision, Effect, Entities, PolicySet, Request, RestrictedExpression};

use super::analysis::TimeDependence;
use super::context::{self, ContextFault, datetime_text};
use super::entities::{Facts, ResourceFacts, account_uid};
use super::load::{Action, Bundle};
use super::policies::Loaded;
use crate::domain::{ContextValue, Reason, Timestamp};

/// The policies that one action on one resource type can meet.
#[derive(Debug)]
pub(super) struct Candidates {
    set: PolicySet,
}

impl Candidates {
    pub(super) fn new(policies: &[Loaded], chosen: &[usize]) -> Self {
        let mut set = PolicySet::new();
        for loaded in chosen.iter().filter_map(|index| policies.get(*index)) {
            // Ids are unique in a bundle that loads; one that is not never gets here.
            let _ = set.add(loaded.policy.clone());
        }
        Self { set }
    }
}

/// The outcome of an evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// Why.
    pub reason: Reason,
    /// A sentence for a person.
    pub message: Arc<str>,
    /// Ids of the determining policies, sorted.
    pub policies: Arc<[Arc<str>]>,
    /// Policies that could not be evaluated, with Cedar's words. The caller raises the alarm.
    pub errors: Vec<String>,
    /// The outcome holds before this moment and must be asked anew from then on; `None` holds for ever.
    pub until: Option<Timestamp>,
    /// The outcome may change at any moment.
    pub momentary: bool,
}

/// Cedar could not even be asked. Never an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyFailure {
    /// The question's context has a wrong type.
    #[error(transparent)]
    Context(#[from] ContextFault),
    /// The facts do not make entities or a request.
    #[error("the facts could not be put to the policies: {0}")]
    Facts(String),
}

impl Bundle {
    /// Evaluates an action. `sent` is the context of the question.
    pub fn evaluate(
        &self,
        action: &Action,
        facts: &Facts<'_>,
        sent: &[(String, ContextValue)],
    ) -> Result<Evaluation, PolicyFailure> {
        let context = self.context(action, facts, sent)?;
        let Some(candidates) = action.candidates.get(facts.resource.kind()) else {
            return Err(PolicyFailure::Facts(format!(
                "`{}` does not apply to a {}",
                action.name,
                facts.resource.kind()
            )));
        };
        let request = Request::new(facts.principal_uid(), action.uid.clone(), facts.resource_uid(), context, None)
            .map_err(|error| PolicyFailure::Facts(error.to_string()))?;
        let mut slice = facts.entities().map_err(|error| PolicyFailure::Facts(error.to_string()))?;
        slice.push(action.entity.clone());
        let entities = Entities::from_entities(slice, None).map_err(|error| PolicyFailure::Facts(error.to_string()))?;
        let response = Authorizer::new().is_authorized(&request, &candidates.set, &entities);

        let mut determining: Vec<&Loaded> =
            response.diagnostics().reason().filter_map(|id| self.loaded(id.as_ref())).collect();
        let mut errors = Vec::new();
        let mut erring_forbids = Vec::new();
        for error in response.diagnostics().errors() {
            errors.push(error.to_string());
            let cedar_policy::AuthorizationError::PolicyEvaluationError(error) = error;
            match self.loaded(error.policy_id().as_ref()) {
                Some(loaded) if loaded.effect == Effect::Permit => {}
                Some(loaded) => erring_forbids.push(loaded),
                None => return Err(PolicyFailure::Facts("an unknown policy erred".into())),
            }
        }
        if !erring_forbids.is_empty() {
            if response.decision() == Decision::Allow {
                determining.clear();
            }
            determining.extend(erring_forbids.iter().copied());
        }
        determining.sort_by(|a, b| a.id.cmp(&b.id));
        let reason_of = |loaded: &Loaded| {
            if erring_forbids.iter().any(|erring| erring.id == loaded.id) { Reason::PolicyError } else { loaded.reason }
        };
        let (reason, message) = match determining.iter().copied().min_by_key(|loaded| reason_of(loaded)) {
            Some(first) => (reason_of(first), sentence(first, reason_of(first))),
            None => self.nearest(action, facts),
        };
        let (until, momentary) = next_change(&action.time, facts);
        Ok(Evaluation {
            reason,
            message: message.into(),
            policies: determining.iter().map(|loaded| Arc::clone(&loaded.id)).collect(),
            errors,
            until,
            momentary,
        })
    }

    fn context(
        &self,
        action: &Action,
        facts: &Facts<'_>,
        sent: &[(String, ContextValue)],
    ) -> Result<Context, PolicyFailure> {
        let mut pairs = context::express(&action.shapes, sent, &["channel", "now", "account"])?;
        let mut know = |key: &str, value: RestrictedExpression| {
            if action.shapes.contains_key(key) {
                pairs.push((key.to_owned(), value));
            }
        };
        know("channel", RestrictedExpression::new_string(facts.channel.to_owned()));
        know("now", RestrictedExpression::new_datetime(datetime_text(facts.now.0)));
        if let Some(account) = &facts.account {
            know("account", RestrictedExpression::new_entity_uid(account_uid(account.id)));
        }
        Context::from_pairs(pairs).map_err(|error| PolicyFailure::Facts(error.to_string()))
    }

    /// What a default deny says: the latest check, in the order of the reasons, that one of the action's
    /// permits fails; the nearest thing to a permit.
    fn nearest(&self, action: &Action, facts: &Facts<'_>) -> (Reason, String) {
        let permits: Vec<&Loaded> = action.permits.iter().filter_map(|index| self.policies.get(*index)).collect();
        let held = |role: &str| facts.principal.as_ref().is_some_and(|person| person.roles.contains(&role));
        let account = match (&facts.resource, &facts.account) {
            (ResourceFacts::Account(account), _) | (_, Some(account)) => Some(account),
            (ResourceFacts::User(_) | ResourceFacts::Organization(_) | ResourceFacts::Dashboard, None) => None,
        };
        let mut best = (Reason::NotCovered, format!("no role of the catalogue covers {}", action.name));
        let mut better = |reason: Reason, message: String| {
            if reason > best.0 {
                best = (reason, message);
            }
        };
        let mut wanted: Vec<String> = Vec::new();
        for permit in &permits {
            let Some(role) = permit.analysis.role.as_deref() else {
                if let Some(missing) = permit.missing {
                    better(missing, sentence(permit, missing));
                }
                continue;
            };
            if !held(role) {
                wanted.push(with_products(role, &permit.analysis.products));
                continue;
            }
            let lacking: Vec<&str> = (permit.analysis.products.iter().map(String::as_str))
                .filter(|product| account.is_none_or(|account| !account.products.contains(product)))
                .collect();
            if lacking.is_empty() {
                let missing = permit.missing.unwrap_or(Reason::RoleMissing);
                better(missing, sentence(permit, missing));
            } else {
                let where_ = account.map_or("no granted account has".to_owned(), |a| format!("account {} lacks", a.id));
                let message = format!(
                    "the role {role} covers this on accounts with {}; {where_} {}",
                    listing(&permit.analysis.products, "and"),
                    listing(&lacking, "and"),
                );
                better(Reason::ProductInactive, message);
            }
        }
        if !wanted.is_empty() {
            wanted.sort();
            wanted.dedup();
            let message = match wanted.as_slice() {
                [one] => format!("needs the role {one}"),
                many => format!("needs one of the roles {}", listing(many, "or")),
            };
            better(Reason::RoleMissing, message);
        }
        best
    }
}

/// The sentence of a policy that spoke.
fn sentence(loaded: &Loaded, reason: Reason) -> String {
    let title = loaded.title.as_deref().unwrap_or(&loaded.id).trim_end_matches('.');
    if reason == Reason::PolicyError {
        return format!("the policy `{}` could not be evaluated, so nobody is let in", loaded.id);
    }
    match loaded.advice.as_deref() {
        Some(advice) if !reason.permits() => format!("{title}. {advice}"),
        _ => title.to_owned(),
    }
}

fn with_products(role: &str, products: &[String]) -> String {
    if products.is_empty() {
        role.to_owned()
    } else {
        format!("{role} (on accounts with {})", listing(products, "and"))
    }
}

/// `a`, `a and b`, `a, b and c`.
fn listing<T: AsRef<str>>(items: &[T], last: &str) -> String {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    match items.split_last() {
        None => String::new(),
        Some((one, [])) => (*one).to_owned(),
        Some((end, before)) => format!("{} {last} {end}", before.join(", ")),
    }
}

/// The next moment at which the time could change the outcome.
fn next_change(time: &TimeDependence, facts: &Facts<'_>) -> (Option<Timestamp>, bool) {
    match time {
        TimeDependence::Never => (None, false),
        TimeDependence::Always => (None, true),
        TimeDependence::PasswordAge(ages) => {
            let changed = facts.principal.as_ref().and_then(|person| person.password_changed_at);
            let Some(changed) = changed else { return (None, false) };
            // A comparison changes at the age itself (`>=`) or one millisecond after it (`>`).
            let moments = ages.iter().filter_map(|age| changed.0.checked_add(*age));
            let next = moments.flat_map(|at| [at, at.saturating_add(1)]).filter(|at| *at > facts.now.0).min();
            (next.map(Timestamp), false)
        }
    }
}

/// For tests: what plain Cedar says over all policies, candidates or not.
#[cfg(test)]
impl Bundle {
    pub(super) fn evaluate_plainly(&self, action: &Action, facts: &Facts<'_>) -> (Decision, Vec<String>, usize) {
        let set = PolicySet::from_policies(self.policies.iter().map(|loaded| loaded.policy.clone())).expect("a set");
        let context = self.context(action, facts, &[]).expect("a context");
        let request = Request::new(facts.principal_uid(), action.uid.clone(), facts.resource_uid(), context, None)
            .expect("a request");
        let mut slice = facts.entities().expect("entities");
        slice.push(action.entity.clone());
        let entities = Entities::from_entities(slice, None).expect("entities");
        let response = Authorizer::new().is_authorized(&request, &set, &entities);
        let mut ids: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
        ids.sort();
        (response.decision(), ids, response.diagnostics().errors().count())
    }
}
