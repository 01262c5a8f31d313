//! Why a question gets the answer that it gets: the decision itself, with everything that its evaluation saw.
//!
//! The decision is made the ordinary way, by the same code, while an observer looks on; so the two cannot disagree.

use std::sync::{Mutex, PoisonError};

use super::{Failure, View};
use crate::domain::{ContextValue, Decision, Question, Reason, ResourceName};
use crate::policy::{Action, Evaluation, Explanation, Facts, Piece, PolicyFailure, ResourceFacts, Step};

/// One evaluation, as an observer sees it.
pub(super) struct Evaluated<'a> {
    pub(super) action: &'a Action,
    pub(super) facts: &'a Facts<'a>,
    pub(super) context: &'a [(String, ContextValue)],
    /// What came of it, the wall between organizations considered.
    pub(super) evaluation: &'a Evaluation,
    /// Beyond the wall: no change of rights helps.
    pub(super) outside: bool,
}

/// Looks on while a question is decided. A question may take several evaluations.
pub(super) type Observer<'a> = dyn Fn(&Evaluated<'_>) + Sync + 'a;

/// A decision with its explanation.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The decision, as a gateway would get it.
    pub decision: Decision,
    /// What the policies were asked about: for an endpoint without an account in its path the account that came
    /// nearest.
    pub about: Option<ResourceName>,
    /// What the policies said; `None` where none was asked.
    pub explanation: Option<Explanation>,
}

impl View<'_> {
    /// Decides, and says why. Not counted as a decision and not kept.
    ///
    /// # Errors
    /// As [`View::decide`].
    pub fn explain(&self, question: &Question<'_>) -> Result<Explained, Failure> {
        type Nearest = Option<(ResourceName, Result<Explanation, PolicyFailure>, Reason)>;
        let nearest: Mutex<Nearest> = Mutex::new(None);
        let observe = |seen: &Evaluated<'_>| {
            let reason = seen.evaluation.reason;
            let mut nearest = nearest.lock().unwrap_or_else(PoisonError::into_inner);
            let nearer = nearest.as_ref().is_none_or(|(_, _, before)| reason.permits() || reason > *before);
            if nearer {
                let bundle = &self.serving.bundle;
                let mut explanation = bundle.explain(seen.action, seen.facts, seen.context, seen.evaluation);
                if let Ok(explanation) = &mut explanation
                    && seen.outside
                {
                    explanation.grants.clear();
                }
                *nearest = Some((name(&seen.facts.resource), explanation, reason));
            }
        };
        let decision = self.watched(&observe).decide(question)?;
        let Some((about, explanation, _)) = nearest.into_inner().unwrap_or_else(PoisonError::into_inner) else {
            return Ok(Explained { decision, about: None, explanation: None });
        };
        let mut explanation = explanation.map_err(|failure| match failure {
            PolicyFailure::Context(fault) | PolicyFailure::Property(fault) => Failure::Context(fault),
            PolicyFailure::Facts(cause) => {
                tracing::error!(cause, "a decision could not be explained");
                Failure::Internal
            }
        })?;
        for grant in &mut explanation.grants {
            grant.steps.iter_mut().for_each(|step| self.name_group(step));
        }
        explanation.undone_by.iter_mut().for_each(|step| self.name_group(step));
        if decision.reason == Reason::AccountRequired {
            // Which account is meant is for the request to say.
            explanation.grants.clear();
        }
        Ok(Explained { decision, about: Some(about), explanation: Some(explanation) })
    }

    /// People know groups by their display names.
    fn name_group(&self, step: &mut Step) {
        let Piece::Group(id) = &step.piece else { return };
        if let Some(group) = self.snapshot.groups().find(|group| *group.id == **id) {
            step.what = step.what.replace(id.as_str(), &format!("`{}`", group.name));
        }
    }
}

fn name(resource: &ResourceFacts<'_>) -> ResourceName {
    let id = match resource {
        ResourceFacts::Account(account) => account.id,
        ResourceFacts::User(person) => person.username,
        ResourceFacts::Organization(id) => id,
        ResourceFacts::Dashboard => "dashboard",
        ResourceFacts::Entity(name) => name.id,
    };
    ResourceName { kind: resource.kind().into(), id: id.into() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::authz::search::tests::{authz, bundle, directory};
    use crate::domain::{Asked, Channel, EntityName, Subject, Verdict};
    use crate::policy::{Outcome, State};

    /// Who spoke in the explanation decided, and nothing is told that contradicts the verdict.
    #[test]
    fn an_explanation_never_contradicts_its_decision() {
        let bundle = bundle(None);
        let authz = authz(&bundle, directory(3));
        let view = authz.view();
        let (mut permits, mut forbids, mut defaults, mut grants, mut undone) = (0, 0, 0, 0, 0);
        for number in (500..540).step_by(2) {
            let who = format!("person{number}");
            for (at, action) in bundle.actions().iter().enumerate().skip(number % 7).step_by(29) {
                let account = (10 + at % 8).to_string();
                let resource = action.applies_to("Account").then(|| EntityName::new("Account", &account));
                let asked = Asked::Action { action: &action.name, properties: &[], resource };
                let subject = Subject::User(&who);
                let question = Question { subject, asked, channel: Channel::Api, context: &[], least_revision: None };
                let plain = view.decide(&question).expect("a decision");
                let explained = view.explain(&question).expect("an explanation");
                assert_eq!(explained.decision.reason, plain.reason, "{who} {}", action.name);
                let Some(explanation) = explained.explanation else {
                    assert!(plain.policies.is_empty());
                    continue;
                };
                let speaking = |permits: bool| -> BTreeSet<&str> {
                    let all = explanation.policies.iter().filter(|policy| policy.permits == permits);
                    all.filter(|policy| policy.outcome == Outcome::Speaks).map(|policy| &*policy.id).collect()
                };
                let determining: BTreeSet<&str> = plain.policies.iter().map(|id| &**id).collect();
                if plain.verdict() == Verdict::Permit {
                    assert_eq!(speaking(true), determining, "{who} {}", action.name);
                    assert!(speaking(false).is_empty() && explanation.grants.is_empty());
                    permits += 1;
                    undone += usize::from(!explanation.undone_by.is_empty());
                } else {
                    assert!(explanation.undone_by.is_empty());
                    grants += usize::from(!explanation.grants.is_empty());
                    if determining.is_empty() {
                        // Beyond the wall policies are asked, and have no say.
                        if plain.reason != Reason::AccountNotGranted {
                            assert!(speaking(true).is_empty(), "{who} {} {:?}", action.name, explanation.policies);
                        }
                        defaults += 1;
                    } else {
                        assert_eq!(speaking(false), determining, "{who} {}", action.name);
                        forbids += 1;
                    }
                }
                for policy in &explanation.policies {
                    let holds = policy.conditions.iter().all(|one| one.state == State::True);
                    assert_eq!(holds, policy.outcome == Outcome::Speaks);
                }
            }
        }
        let counts = [permits, forbids, defaults, grants, undone];
        assert!(counts.iter().all(|count| *count > 5), "{counts:?}: the questions test too little");
    }
}
