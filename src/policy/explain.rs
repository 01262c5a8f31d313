//! Why an outcome is what it is, and what would change it: every policy that the action can meet, condition by
//! condition, and the nearest changes that turn the answer round.
//!
//! Nothing here is guessed. Conditions are evaluated by Cedar one by one, and a change is only told after the
//! outcome under it has been evaluated. Costs far more than a decision; never on the way of one.

mod steps;

use std::sync::Arc;

use cedar_policy::{ActionConstraint, Authorizer, Effect, PolicySet, ResourceConstraint};

use super::action::Action;
use super::conditions::{Clause, Condition, Piece};
use super::engine::{Evaluation, PolicyFailure};
use super::entities::Facts;
use super::load::Bundle;
use super::policies::Loaded;
use crate::domain::{ContextValue, Reason};
use steps::{apply, apply_all, effort, step};

pub use steps::Step;

/// How a condition stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It holds.
    True,
    /// It does not.
    False,
    /// One before it does not hold, and by itself it cannot be evaluated.
    NotReached,
    /// It could not be evaluated, in Cedar's words.
    Error(String),
}

impl State {
    /// `true`, `false`, `not reached` or `error`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::True => "true",
            Self::False => "false",
            Self::NotReached => "not reached",
            Self::Error(_) => "error",
        }
    }
}

/// One condition, seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// In Cedar's words. What stands in an `unless` holds where these words are false.
    pub text: String,
    /// Where it stands.
    pub clause: Clause,
    /// Whether it holds.
    pub state: State,
    /// What it asks for.
    pub piece: Piece,
    /// Whether it wants the piece there, or away.
    pub wanted: bool,
}

/// What a policy did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of its conditions hold.
    Speaks,
    /// One does not.
    Silent,
    /// It could not be evaluated.
    Errs,
}

/// A policy that the action can meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered {
    /// Its `@id`.
    pub id: Arc<str>,
    /// A permit, or else a forbid.
    pub permits: bool,
    /// Its `@title`, or the id.
    pub title: Arc<str>,
    /// Its `@advice`.
    pub advice: Option<Arc<str>>,
    /// What it did.
    pub outcome: Outcome,
    /// Its conditions in order.
    pub conditions: Vec<Seen>,
}

/// Changes that together turn a deny into a permit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The policy that would permit.
    pub policy: Arc<str>,
    /// Its title.
    pub title: Arc<str>,
    /// What is missing, the easiest first.
    pub steps: Vec<Step>,
}

/// An outcome with everything that it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Why.
    pub reason: Reason,
    /// Every policy that the action can meet, in the order of the files.
    pub policies: Vec<Considered>,
    /// For a deny: the nearest grants, the nearest first. Each was evaluated and permits.
    pub grants: Vec<Grant>,
    /// For a permit: single changes after which it would be a deny, the easiest first. Each was evaluated.
    pub undone_by: Vec<Step>,
}

/// The most grants that are told.
const MOST_GRANTS: usize = 5;
/// How often a grant is looked at anew, because its own changes woke another condition.
const ROUNDS: usize = 3;

impl Bundle {
    /// Explains the outcome of an evaluation of the same inputs.
    ///
    /// # Errors
    /// As [`Bundle::evaluate`].
    pub fn explain(
        &self,
        action: &Action,
        facts: &Facts<'_>,
        sent: &[(String, ContextValue)],
        outcome: &Evaluation,
    ) -> Result<Explanation, PolicyFailure> {
        let asking = Asking { bundle: self, action, sent };
        let policies = asking.consider(facts, outcome)?;
        let (mut grants, mut undone_by) = (Vec::new(), Vec::new());
        if outcome.reason.permits() {
            undone_by = asking.undoing(facts, &policies)?;
        } else {
            grants = asking.nearest(facts, &policies)?;
        }
        Ok(Explanation { reason: outcome.reason, policies, grants, undone_by })
    }

    /// Everything that policies see of an action, beside the facts, as one text: actions of one signature get the same
    /// verdicts on the same facts, in any bundle.
    pub fn signature(&self, action: &Action) -> String {
        use std::fmt::Write as _;

        let (_, _, parents) = action.entity.clone().into_inner();
        let mut groups: Vec<String> = parents.iter().map(ToString::to_string).collect();
        groups.sort();
        let mut text = format!("{groups:?} {:?} {:?} {}", action.principals, action.resources, action.anonymous);
        let mut keys: Vec<&String> = action.shapes.keys().collect();
        keys.sort();
        let _ = write!(text, " {keys:?}");
        let asking = Asking { bundle: self, action, sent: &[] };
        let own = action.uid.to_string();
        for kind in &action.resources {
            let mut policies: Vec<String> = Vec::new();
            for loaded in asking.concerned(kind) {
                let policy = loaded.policy.to_string();
                // Only a policy that names the action can tell it from others of the same groups.
                let named = if policy.contains(&own) { own.as_str() } else { "" };
                policies.push(format!("{named} {} {policy}", loaded.id));
            }
            policies.sort();
            let _ = write!(text, "\n{kind}: {policies:?}");
        }
        text
    }

    /// How every condition of every policy that the action can meet stands.
    ///
    /// # Errors
    /// As [`Bundle::evaluate`].
    pub fn consider(
        &self,
        action: &Action,
        facts: &Facts<'_>,
        sent: &[(String, ContextValue)],
        outcome: &Evaluation,
    ) -> Result<Vec<Considered>, PolicyFailure> {
        Asking { bundle: self, action, sent }.consider(facts, outcome)
    }
}

/// One action with the context of its question.
struct Asking<'a> {
    bundle: &'a Bundle,
    action: &'a Action,
    sent: &'a [(String, ContextValue)],
}

impl Asking<'_> {
    fn permits(&self, facts: &Facts<'_>) -> Result<bool, PolicyFailure> {
        Ok(self.bundle.evaluate(self.action, facts, self.sent)?.reason.permits())
    }

    /// The policies whose scope admits action and resource type, whoever asks.
    fn concerned(&self, kind: &str) -> Vec<&Loaded> {
        let (uid, _, parents) = self.action.entity.clone().into_inner();
        let admits = |loaded: &&Loaded| {
            let of_action = match loaded.policy.action_constraint() {
                ActionConstraint::Any => true,
                ActionConstraint::Eq(wanted) => wanted == uid,
                ActionConstraint::In(wanted) => wanted.iter().any(|one| *one == uid || parents.contains(one)),
            };
            let of_resource = match loaded.policy.resource_constraint() {
                ResourceConstraint::Any | ResourceConstraint::In(_) => true,
                ResourceConstraint::Eq(wanted) => wanted.type_name().to_string() == kind,
                ResourceConstraint::Is(wanted) | ResourceConstraint::IsIn(wanted, _) => wanted.to_string() == kind,
            };
            of_action && of_resource
        };
        self.bundle.policies.iter().filter(admits).collect()
    }

    /// One evaluation of all conditions of all policies, each as a small policy of its own.
    fn consider(&self, facts: &Facts<'_>, outcome: &Evaluation) -> Result<Vec<Considered>, PolicyFailure> {
        let failed = |error: &dyn std::fmt::Display| PolicyFailure::Facts(error.to_string());
        let concerned = self.concerned(facts.resource.kind());
        let mut probes = PolicySet::new();
        for (at, loaded) in concerned.iter().enumerate() {
            for (nth, condition) in loaded.conditions().iter().flat_map(|all| all.iter()).enumerate() {
                probes.add(condition.probe(&format!("{at}.{nth}"))).map_err(|error| failed(&error))?;
            }
        }
        let (request, entities) = self.bundle.prepare(self.action, facts, self.sent)?;
        let response = Authorizer::new().is_authorized(&request, &probes, &entities);
        let holding: std::collections::HashSet<&str> =
            response.diagnostics().reason().map(AsRef::<str>::as_ref).collect();
        let erring: std::collections::HashMap<&str, String> = (response.diagnostics().errors())
            .map(|error| {
                let cedar_policy::AuthorizationError::PolicyEvaluationError(error) = error;
                (error.policy_id().as_ref(), error.inner().to_string())
            })
            .collect();
        let see = |(at, loaded): (usize, &&Loaded)| {
            let Some(conditions) = loaded.conditions() else {
                // Only the whole can be asked.
                let speaks = outcome.policies.contains(&loaded.id);
                return considered(loaded, Vec::new(), if speaks { Outcome::Speaks } else { Outcome::Silent });
            };
            let mut seen = Vec::with_capacity(conditions.len());
            let mut overall = Outcome::Speaks;
            for (nth, condition) in conditions.iter().enumerate() {
                let name = format!("{at}.{nth}");
                let state = match (holding.contains(name.as_str()), erring.get(name.as_str()), overall) {
                    (true, _, _) => State::True,
                    (false, Some(_), Outcome::Silent | Outcome::Errs) => State::NotReached,
                    (false, Some(error), Outcome::Speaks) => State::Error(error.clone()),
                    (false, None, _) => State::False,
                };
                overall = match (&state, overall) {
                    (State::False, Outcome::Speaks) => Outcome::Silent,
                    (State::Error(_), Outcome::Speaks) => Outcome::Errs,
                    (State::True | State::False | State::NotReached | State::Error(_), before) => before,
                };
                seen.push(saw(condition, state));
            }
            considered(loaded, seen, overall)
        };
        Ok(concerned.iter().enumerate().map(see).collect())
    }

    /// Ways to a permit: for each permit its missing conditions, and for each forbid in the way the easiest one to
    /// take away.
    fn nearest(&self, facts: &Facts<'_>, policies: &[Considered]) -> Result<Vec<Grant>, PolicyFailure> {
        let mut grants: Vec<Grant> = Vec::new();
        for permit in policies.iter().filter(|policy| policy.permits && policy.outcome != Outcome::Errs) {
            let Some(steps) = self.steps_to(facts, policies, &permit.id)? else { continue };
            if !grants.iter().any(|known| known.steps == steps) {
                let (policy, title) = (Arc::clone(&permit.id), Arc::clone(&permit.title));
                grants.push(Grant { policy, title, steps });
            }
        }
        let effort = |grant: &Grant| -> (usize, Vec<Piece>) {
            let mut pieces: Vec<Piece> = grant.steps.iter().map(|step| step.piece.clone()).collect();
            pieces.sort_by(|a, b| b.cmp(a));
            (pieces.len(), pieces)
        };
        grants.sort_by_cached_key(effort);
        // What asks for more than another one asks for helps nobody.
        let all = grants.clone();
        grants.retain(|grant| {
            !all.iter().any(|other| {
                other.steps.len() < grant.steps.len() && other.steps.iter().all(|step| grant.steps.contains(step))
            })
        });
        grants.truncate(MOST_GRANTS);
        Ok(grants)
    }

    /// What turns the outcome into a permit by this policy, evaluated; `None` where nothing does.
    fn steps_to(
        &self,
        facts: &Facts<'_>,
        policies: &[Considered],
        permit: &str,
    ) -> Result<Option<Vec<Step>>, PolicyFailure> {
        let mut steps: Vec<Step> = Vec::new();
        let mut now = policies.to_vec();
        for _ in 0..ROUNDS {
            let mut wanted: Vec<Step> = Vec::new();
            for policy in &now {
                if *policy.id == *permit {
                    for condition in policy.conditions.iter().filter(|one| one.state == State::False) {
                        let Some(step) = step(&condition.piece, condition.wanted, facts) else { return Ok(None) };
                        wanted.push(step);
                    }
                } else if !policy.permits && policy.outcome != Outcome::Silent {
                    let ways = policy.conditions.iter().filter(|one| one.state == State::True);
                    let easiest = ways.filter_map(|one| step(&one.piece, !one.wanted, facts)).min_by_key(effort);
                    let Some(step) = easiest else { return Ok(None) };
                    wanted.push(step);
                }
            }
            let before = steps.len();
            for one in wanted {
                if !steps.contains(&one) {
                    steps.push(one);
                }
            }
            let Some(changed) = apply_all(facts, &steps) else { return Ok(None) };
            let outcome = self.bundle.evaluate(self.action, &changed, self.sent)?;
            if outcome.reason.permits() {
                steps.sort_by_key(effort);
                return Ok(Some(steps));
            }
            if steps.len() == before {
                return Ok(None);
            }
            now = self.consider(&changed, &outcome)?;
        }
        Ok(None)
    }

    /// Single changes after which the permit is gone.
    fn undoing(&self, facts: &Facts<'_>, policies: &[Considered]) -> Result<Vec<Step>, PolicyFailure> {
        let mut tried: Vec<Step> = Vec::new();
        for policy in policies {
            let lacking = policy.conditions.iter().filter(|one| one.state != State::True).count();
            let ways = policy.conditions.iter().filter_map(|one| match (policy.permits, policy.outcome) {
                (true, Outcome::Speaks) => step(&one.piece, !one.wanted, facts),
                (false, Outcome::Silent) if lacking == 1 && one.state == State::False => {
                    step(&one.piece, one.wanted, facts)
                }
                (true, Outcome::Silent | Outcome::Errs) | (false, _) => None,
            });
            for step in ways {
                if !tried.contains(&step) {
                    tried.push(step);
                }
            }
        }
        let mut undoing = Vec::new();
        for step in tried {
            if let Some(changed) = apply(facts, &step)
                && !self.permits(&changed)?
            {
                undoing.push(step);
            }
        }
        undoing.sort_by_key(effort);
        Ok(undoing)
    }
}

fn considered(loaded: &Loaded, conditions: Vec<Seen>, outcome: Outcome) -> Considered {
    Considered {
        id: Arc::clone(&loaded.id),
        permits: loaded.effect == Effect::Permit,
        title: loaded.title.clone().unwrap_or_else(|| Arc::clone(&loaded.id)),
        advice: loaded.advice.clone(),
        outcome,
        conditions,
    }
}

fn saw(condition: &Condition, state: State) -> Seen {
    Seen {
        text: condition.text.clone(),
        clause: condition.clause,
        state,
        piece: condition.piece.clone(),
        wanted: condition.wanted,
    }
}
