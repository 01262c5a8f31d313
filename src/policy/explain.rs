//! Why an outcome is what it is, and what would change it: every policy that the action can meet, condition by
//! condition, and the nearest changes that turn the answer round.
//!
//! Nothing here is guessed. Conditions are evaluated by Cedar one by one, and a change is only told after the
//! outcome under it has been evaluated. Costs far more than a decision; never on the way of one.

mod nearest;
mod own;
mod steps;

use std::sync::Arc;

use cedar_policy::{ActionConstraint, Authorizer, Effect, Entities, PolicySet, Request, ResourceConstraint};

use super::action::Action;
use super::conditions::{Clause, Condition, Piece};
use super::engine::Evaluation;
use super::entities::{Asker, Facts, ResourceFacts};
use super::load::Bundle;
use super::policies::Loaded;
use super::prepare::PolicyFailure;
use crate::domain::{ContextValue, Reason};

pub use own::{Change, Own, Side};
pub(super) use own::{of as own_changes, of_scope as own_parent};
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
    /// Changes of entities of the bundle's own that decide on it: made, it holds, or (where `false`) does not.
    pub own: Vec<(Own, bool)>,
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
    /// For a deny: the nearest grants, the nearest first. Each was evaluated and permits; what a step only assumes
    /// ([`Piece::Assumed`]) was taken for given.
    pub grants: Vec<Grant>,
    /// For a permit: single changes after which it would be a deny, the easiest first. Each was evaluated.
    pub undone_by: Vec<Step>,
}

/// A group that the person could join, with everything that it brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupFacts<'a> {
    /// The SCIM id.
    pub id: &'a str,
    /// The display name.
    pub name: &'a str,
    /// Ids of the groups above it.
    pub above: Vec<&'a str>,
    /// Role names, those of the groups above it too.
    pub roles: Vec<&'a str>,
    /// Ids of accounts, those of the groups above it too.
    pub accounts: Vec<&'a str>,
}

impl Bundle {
    /// Explains the outcome of an evaluation of the same inputs. `groups` are those that the person could join.
    ///
    /// # Errors
    /// As [`Bundle::evaluate`].
    pub fn explain(
        &self,
        action: &Action,
        facts: &Facts<'_>,
        sent: &[(String, ContextValue)],
        outcome: &Evaluation,
        groups: &[GroupFacts<'_>],
    ) -> Result<Explanation, PolicyFailure> {
        let asking = Asking { bundle: self, action, sent, groups };
        let now = asking.now(facts)?;
        let policies = asking.consider(&now, Some(outcome))?;
        let (mut grants, mut undone_by) = (Vec::new(), Vec::new());
        if outcome.reason.permits() {
            undone_by = asking.undoing(&now, &policies)?;
        } else {
            grants = asking.nearest(&now, &policies)?;
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
        let asking = Asking { bundle: self, action, sent: &[], groups: &[] };
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
        let asking = Asking { bundle: self, action, sent, groups: &[] };
        asking.consider(&asking.now(facts)?, Some(outcome))
    }
}

/// One action with the context of its question.
struct Asking<'a> {
    bundle: &'a Bundle,
    action: &'a Action,
    sent: &'a [(String, ContextValue)],
    groups: &'a [GroupFacts<'a>],
}

/// What the action is asked about: as it is, or after some changes.
struct World<'a> {
    facts: Facts<'a>,
    request: Request,
    entities: Entities,
    /// The entities say more than the facts: some of the bundle's own were changed.
    beyond: bool,
}

impl World<'_> {
    /// Whether an entity of the bundle's own asks, or is asked about.
    const fn has_own(&self) -> bool {
        self.is_own(Side::Principal) || self.is_own(Side::Resource)
    }

    const fn is_own(&self, side: Side) -> bool {
        match side {
            Side::Principal => matches!(self.facts.principal, Asker::Entity(_)),
            Side::Resource => matches!(self.facts.resource, ResourceFacts::Entity(_)),
        }
    }
}

impl Asking<'_> {
    /// As it is.
    fn now<'f>(&self, facts: &Facts<'f>) -> Result<World<'f>, PolicyFailure> {
        let (request, entities) = self.bundle.prepare(self.action, facts, self.sent)?;
        Ok(World { facts: facts.clone(), request, entities, beyond: false })
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
    /// Of a policy that cannot be taken apart only `outcome` knows whether it speaks; without one it counts as erring.
    fn consider(&self, world: &World<'_>, outcome: Option<&Evaluation>) -> Result<Vec<Considered>, PolicyFailure> {
        let failed = |error: &dyn std::fmt::Display| PolicyFailure::Facts(error.to_string());
        let concerned = self.concerned(world.facts.resource.kind());
        let mut probes = PolicySet::new();
        for (at, loaded) in concerned.iter().enumerate() {
            for (nth, condition) in loaded.conditions().iter().flat_map(|all| all.iter()).enumerate() {
                probes.add(condition.probe(&format!("{at}.{nth}"))).map_err(|error| failed(&error))?;
            }
        }
        let response = Authorizer::new().is_authorized(&world.request, &probes, &world.entities);
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
                let whole = match outcome.map(|outcome| outcome.policies.contains(&loaded.id)) {
                    Some(true) => Outcome::Speaks,
                    Some(false) => Outcome::Silent,
                    None => Outcome::Errs,
                };
                return considered(loaded, Vec::new(), whole);
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
        own: condition.own.clone(),
    }
}
