//! What would turn an outcome round: ways from a deny to a permit, and single changes that take a permit away.
//!
//! A way is told only after the outcome under it has been evaluated.

use std::sync::Arc;

use cedar_policy::{Authorizer, Decision};

use super::super::conditions::{Clause, Piece};
use super::super::entities::Facts;
use super::super::prepare::PolicyFailure;
use super::own::Own;
use super::steps::{Step, assumption, change, effort, own_step, step};
use super::{Asking, Considered, Grant, GroupFacts, Outcome, Seen, Side, State, World};

/// The most grants that are told.
const MOST_GRANTS: usize = 5;
/// The most groups that are tried for one grant.
const MOST_GROUPS: usize = 2;
/// How often a grant is looked at anew, because its own changes woke another condition.
const ROUNDS: usize = 3;

/// How hard a way is: the fewest steps first, then the easiest.
type Effort = (usize, Vec<Piece>);

impl<'a> Asking<'a> {
    /// Ways to a permit: for each permit its missing conditions, and for each forbid in the way the easiest one to
    /// take away; and groups that bring what is missing.
    pub(super) fn nearest(&self, now: &World<'_>, policies: &[Considered]) -> Result<Vec<Grant>, PolicyFailure> {
        // What a permit seems to lack is known without asking; the nearest ones are asked about first, and the
        // first that hold are told.
        let open = policies.iter().filter(|policy| policy.permits && policy.outcome != Outcome::Errs);
        let mut nearest: Vec<(Effort, &Considered)> =
            open.filter_map(|permit| Some((weight(&self.wanted(now, policies, &permit.id)?), permit))).collect();
        nearest.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut grants: Vec<Grant> = Vec::new();
        for (_, permit) in nearest {
            if grants.len() >= MOST_GRANTS {
                break;
            }
            let Some(steps) = self.steps_to(now, policies, &permit.id)? else { continue };
            let mut ways = self.through_groups(now, &steps)?;
            ways.insert(0, steps);
            for steps in ways {
                // What asks for more than another one asks for helps nobody.
                if !grants.iter().any(|known| known.steps.iter().all(|step| steps.contains(step))) {
                    let (policy, title) = (Arc::clone(&permit.id), Arc::clone(&permit.title));
                    grants.push(Grant { policy, title, steps });
                }
            }
        }
        grants.sort_by_cached_key(|grant| weight(&grant.steps));
        grants.truncate(MOST_GRANTS);
        Ok(grants)
    }

    /// What turns the outcome into a permit by this policy, evaluated; `None` where nothing does.
    fn steps_to(
        &self,
        now: &World<'_>,
        policies: &[Considered],
        permit: &str,
    ) -> Result<Option<Vec<Step>>, PolicyFailure> {
        let mut steps: Vec<Step> = Vec::new();
        let mut seen = policies.to_vec();
        for _ in 0..ROUNDS {
            let Some(wanted) = self.wanted(now, &seen, permit) else { return Ok(None) };
            let before = steps.len();
            for one in wanted {
                if !steps.contains(&one) {
                    steps.push(one);
                }
            }
            if steps.len() == before {
                break;
            }
            let Some(changed) = self.after(now, &steps)? else { return Ok(None) };
            if self.permits(&changed)? {
                steps.sort_by_key(effort);
                return Ok(Some(steps));
            }
            seen = self.consider(&changed, None)?;
        }
        if !now.has_own() {
            return Ok(None);
        }
        Ok(assumed(&seen, permit).map(|rest| {
            steps.sort_by_key(effort);
            steps.extend(rest);
            steps
        }))
    }

    /// The changes that bring the permit about, and take away what forbids. `None` where one of them cannot be made.
    fn wanted(&self, now: &World<'_>, policies: &[Considered], permit: &str) -> Option<Vec<Step>> {
        let mut wanted = Vec::new();
        for policy in policies {
            if *policy.id == *permit {
                for condition in &policy.conditions {
                    let lacks = match condition.state {
                        State::True | State::Error(_) => false,
                        State::False => true,
                        // An attribute that another change brings.
                        State::NotReached => now.has_own(),
                    };
                    match self.step(now, condition, true).filter(|_| lacks) {
                        Some(step) => wanted.push(step),
                        None if lacks && !now.has_own() => return None,
                        None => {}
                    }
                }
            } else if !policy.permits && policy.outcome != Outcome::Silent {
                let ways = policy.conditions.iter().filter(|one| one.state == State::True);
                wanted.push(ways.filter_map(|one| self.step(now, one, false)).min_by_key(effort)?);
            }
        }
        Some(wanted)
    }

    /// The change that makes a condition hold, or not hold.
    fn step(&self, now: &World<'_>, condition: &Seen, hold: bool) -> Option<Step> {
        let own = condition.own.iter().filter(|(own, _)| now.is_own(own.side));
        let own = own.filter_map(|(own, holds)| self.own_step(now, own, *holds == hold));
        let of_directory = || step(&condition.piece, condition.wanted == hold, &now.facts, self.groups);
        own.min_by_key(effort).or_else(of_directory)
    }

    fn own_step(&self, now: &World<'_>, own: &Own, gain: bool) -> Option<Step> {
        let nouns = &self.bundle.nouns;
        let meant = own.meant(gain, &now.request, &now.entities, nouns)?;
        let by_request = |kind: &str| meant.attribute.as_ref().is_some_and(|name| nouns.is_said(kind, name));
        let kind = match own.side {
            Side::Principal => now.request.principal()?.type_name(),
            Side::Resource => now.request.resource()?.type_name(),
        };
        Some(own_step(own, gain, meant.what.clone(), by_request(&kind.to_string())))
    }

    /// The same by groups that bring what is missing: each way with one group in the place of its roles and accounts.
    fn through_groups(&self, now: &World<'_>, steps: &[Step]) -> Result<Vec<Vec<Step>>, PolicyFailure> {
        let brings = |group: &GroupFacts<'_>, step: &Step| {
            let role = matches!(&step.piece, Piece::Role(name) if group.roles.contains(&name.as_str()));
            let account = matches!(&step.piece, Piece::Account(id) if group.accounts.contains(&id.as_str()));
            step.gain && (role || account)
        };
        let in_it = |group: &GroupFacts<'_>| {
            now.facts.principal.person().is_some_and(|person| person.groups.contains(&group.id))
        };
        let mut ways = Vec::new();
        let groups = self.groups.iter().filter(|group| !in_it(group));
        for group in groups.filter(|group| steps.iter().any(|step| brings(group, step))).take(MOST_GROUPS) {
            let join = step(&Piece::Group(group.id.to_owned()), true, &now.facts, self.groups);
            let mut way: Vec<Step> = steps.iter().filter(|step| !brings(group, step)).cloned().chain(join).collect();
            let permits = match self.after(now, &way)? {
                Some(changed) => self.permits(&changed)?,
                None => false,
            };
            if permits {
                way.sort_by_key(effort);
                ways.push(way);
            }
        }
        Ok(ways)
    }

    /// Single changes after which the permit is gone.
    pub(super) fn undoing(&self, now: &World<'_>, policies: &[Considered]) -> Result<Vec<Step>, PolicyFailure> {
        let mut tried: Vec<Step> = Vec::new();
        for policy in policies {
            let lacking = policy.conditions.iter().filter(|one| one.state != State::True).count();
            let ways = policy.conditions.iter().filter_map(|one| match (policy.permits, policy.outcome) {
                (true, Outcome::Speaks) => self.step(now, one, false),
                (false, Outcome::Silent) if lacking == 1 && one.state == State::False => self.step(now, one, true),
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
            let gone = match self.after(now, std::slice::from_ref(&step))? {
                Some(changed) => !self.permits(&changed)?,
                None => false,
            };
            if gone {
                undoing.push(step);
            }
        }
        undoing.sort_by_key(effort);
        Ok(undoing)
    }

    /// The world after the steps; `None` where one of them cannot be made.
    fn after<'w>(&'w self, now: &World<'w>, steps: &'w [Step]) -> Result<Option<World<'w>>, PolicyFailure> {
        let mut facts: Facts<'w> = now.facts.clone();
        for step in steps {
            if change(&mut facts, step, self.groups).is_none() {
                return Ok(None);
            }
        }
        let (request, mut entities) = self.bundle.prepare(self.action, &facts, self.sent)?;
        let mut beyond = false;
        for step in steps {
            let Piece::Own(own) = &step.piece else { continue };
            let meant = own.meant(step.gain, &request, &entities, &self.bundle.nouns);
            let Some(made) = meant.and_then(|meant| meant.made(&entities)) else { return Ok(None) };
            (entities, beyond) = (made, true);
        }
        Ok(Some(World { facts, request, entities, beyond }))
    }

    fn permits(&self, world: &World<'_>) -> Result<bool, PolicyFailure> {
        if !world.beyond {
            return Ok(self.bundle.evaluate(self.action, &world.facts, self.sent)?.reason.permits());
        }
        let response = Authorizer::new().is_authorized(&world.request, &self.bundle.plain, &world.entities);
        let erring = response.diagnostics().errors().any(|error| {
            let cedar_policy::AuthorizationError::PolicyEvaluationError(error) = error;
            self.bundle
                .loaded(error.policy_id().as_ref())
                .is_none_or(|policy| policy.effect != cedar_policy::Effect::Permit)
        });
        Ok(response.decision() == Decision::Allow && !erring)
    }
}

fn weight(steps: &[Step]) -> Effort {
    let mut pieces: Vec<Piece> = steps.iter().map(|step| step.piece.clone()).collect();
    pieces.sort_by(|a, b| b.cmp(a));
    (pieces.len(), pieces)
}

/// What must be taken for given so that the permit speaks, where nothing forbids.
fn assumed(policies: &[Considered], permit: &str) -> Option<Vec<Step>> {
    if policies.iter().any(|policy| !policy.permits && policy.outcome != Outcome::Silent) {
        return None;
    }
    let permit = policies.iter().find(|policy| *policy.id == *permit)?;
    let mut steps = Vec::new();
    for condition in &permit.conditions {
        match (&condition.state, condition.clause) {
            (State::True, _) => {}
            // Nobody becomes somebody else, or of another type.
            (_, Clause::Scope) | (State::Error(_), _) => return None,
            (State::False | State::NotReached, Clause::When | Clause::Unless) => steps.push(assumption(condition)),
        }
    }
    Some(steps).filter(|steps| !steps.is_empty())
}
