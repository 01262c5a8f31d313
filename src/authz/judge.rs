//! A question to a decision, check by check in the order of the reasons.

mod keep;

use std::collections::HashSet;
use std::sync::Arc;

use super::cache::{ResourceKey, Stamped};
use super::explain::Evaluated;
use super::facts::{self, Known};
use super::find::{Denied, Found, Who, denied, find};
use super::rows::RowKey;
use super::{Failure, PersonName, View};
use crate::directory::{Account, Person, Snapshot};
use crate::domain::{Channel, ContextValue, Decision, EntityName, Question, Reason, ResourceName, Timestamp};
use crate::policy::{
    AccountFacts, Asker, ContextFault, Evaluation, Facts, PolicyFailure, ResourceFacts, Slice, Target,
};
use crate::telemetry::{CacheUse, Miss, Stage};
use keep::{holds_until, never_kept};

/// How many different accounts an endpoint without an account in its path is tried on; more deny.
pub(super) const MOST_ACCOUNTS: usize = 256;

impl View<'_> {
    /// Answers one question on this state of the world.
    ///
    /// # Errors
    /// No decision could be made: not fresh enough, a context of a wrong type, something that must not happen.
    pub fn decide(&self, question: &Question<'_>) -> Result<Decision, Failure> {
        self.judge(question).map(|(decision, _)| decision)
    }

    /// As [`Self::decide`], with its stages measured where it is one to measure.
    ///
    /// # Errors
    /// As [`Self::decide`].
    pub fn decide_sampled(&self, question: &Question<'_>) -> Result<Decision, Failure> {
        let Some(laps) = self.authz.sample() else { return self.decide(question) };
        let decided = self.clone().timed(Some(&laps)).decide(question);
        self.authz.measured(&laps);
        decided
    }

    /// As [`Self::decide`], with the person whom the decision judged. Nobody where anybody may ask: who they are was
    /// not looked at, and nothing may rest on it.
    pub fn decide_naming(&self, question: &Question<'_>) -> Result<(Decision, Option<PersonName>), Failure> {
        let (decision, person) = self.judge(question)?;
        let person = person.filter(|_| decision.reason != Reason::Public);
        Ok((decision, person.map(|person| PersonName { username: person.username().to_owned(), id: person.id() })))
    }

    fn judge<'a>(&'a self, question: &Question<'a>) -> Result<(Decision, Option<&'a Person>), Failure> {
        let have = self.snapshot.revision();
        if let Some(want) = question.least_revision
            && (want.epoch != have.epoch || want.number > have.number)
        {
            return Err(Failure::NotFresh { have, want });
        }
        let now = self.now();
        // The self-check cannot make these again; it waits for the next decision and not for ever.
        let early = |denial, found: Option<&Found<'_>>| {
            if !self.aside {
                self.authz.self_check.picks();
            }
            self.deny(denial, found, now)
        };
        let found = find(&self.serving.bundle, &question.asked, self.authz.strict_hosts);
        self.lap(Stage::Route);
        let found = match found {
            Ok(found) => found,
            Err(denial) => return Ok((early(denial, None), None)),
        };
        let who = self.who(question.subject, found.action, now);
        self.lap(Stage::Principal);
        let who = match who {
            Ok(who) => who,
            Err(_) if found.action.anonymous => Who::Nobody,
            Err(denial) => return Ok((early(denial, Some(&found)), None)),
        };
        if let Some(denial) = who.person().and_then(standing) {
            return Ok((early(denial, Some(&found)), who.person()));
        }
        let row = who.person().and_then(|person| self.row_of(question, &found, person, now));
        let kept = row.as_ref().and_then(|row| Some((row, self.authz.rows.get(&row.key)?)));
        self.lap(Stage::Cache);
        let decision = match kept {
            Some((row, kept)) => {
                let (kind, id) = (row.kind, Arc::clone(row.id));
                Decision { until: row.until, ..self.decision(&found, &kept, kind, id, now, CacheUse::Row) }
            }
            None => self.evaluate(question, &found, who, row.map(|row| row.key), now)?,
        };
        if !self.aside && self.authz.self_check.picks() {
            self.authz.self_check.offer(self, question, &who, now, &decision);
        }
        Ok((decision, who.person()))
    }

    fn evaluate(
        &self,
        question: &Question<'_>,
        found: &Found<'_>,
        who: Who<'_>,
        row: Option<RowKey>,
        now: Timestamp,
    ) -> Result<Decision, Failure> {
        let snapshot = &*self.snapshot;
        let named = match question.context.iter().find(|(key, _)| key == "account") {
            Some((_, ContextValue::Text(id))) => Some(id.as_str()),
            // The server says what the account is, so the schema never sees what was sent: it is refused here.
            Some((key, _)) => return Err(Failure::Context(ContextFault::new(key, "the id of an account, as text"))),
            None => None,
        };
        let inputs = Inputs {
            view: self,
            context: read_context(found, question.context),
            found,
            row,
            known: who.person().map(|person| self.known(person)),
            who,
            account: named.map(|id| (id, snapshot.account(id).map(|account| &**account))),
            dashboard: found.dashboard || question.channel == Channel::Dashboard,
            now,
        };
        if found.action.applies_to("Dashboard") {
            return inputs.on(
                ResourceFacts::Dashboard,
                Some(ResourceKey::Dashboard),
                Arc::clone(&self.authz.dashboard),
            );
        }
        match (&found.target, found.id.as_deref(), named) {
            (Target::Entity(kind), id, _) => inputs.on_entity(kind, id),
            (Target::Account, Some(id), _) | (Target::Account, None, Some(id)) => inputs.on_account(id),
            (Target::Account, None, None) => inputs.without_account(),
            (Target::User, id, _) => inputs.on_user(id),
            (Target::Organization, id, None) => inputs.on_organization(id),
            (Target::Organization, id, Some(account)) => inputs.on_organization_with(id, account),
        }
    }

    fn deny(&self, denial: Denied, found: Option<&Found<'_>>, now: Timestamp) -> Decision {
        self.count(denial.reason, CacheUse::None);
        Decision {
            reason: denial.reason,
            message: denial.message.into(),
            policies: Arc::new([]),
            action: found.map(|found| Arc::clone(&found.action.name)),
            resource: found.and_then(named_resource),
            revision: self.snapshot.revision(),
            bundle: Arc::clone(self.serving.bundle.id()),
            at: now,
            until: None,
        }
    }
}

/// The resource as far as the path names it.
fn named_resource(found: &Found<'_>) -> Option<ResourceName> {
    let kind = match &found.target {
        Target::Account => "Account",
        Target::User => "User",
        Target::Organization => "Organization",
        Target::Entity(kind) => kind,
    };
    Some(ResourceName { kind: kind.into(), id: found.id.as_deref()?.into() })
}

/// The order of outcomes on several accounts: permits, then the nearest deny, then by policies and words.
fn rank(one: &Evaluation) -> ((bool, i32), &[Arc<str>], &str) {
    let reason = one.reason as i32;
    let reason = if one.reason.permits() { (false, reason) } else { (true, -reason) };
    (reason, &one.policies, &one.message)
}

/// Whether the person may be judged by policy at all.
pub(super) fn standing(person: &Person) -> Option<Denied> {
    if !person.active() {
        return Some(denied(
            Reason::Deactivated,
            "this person is deactivated; the identity provider can reactivate them",
        ));
    }
    person.locked().then(|| denied(Reason::Locked, "this person is locked; an administrator can unlock them"))
}

/// The keys that the schema declares for the action. Attribute names compare without case (RFC 7643 2.1), and
/// Cedar cannot, so `attributes` are read in lower case.
fn read_context(found: &Found<'_>, sent: &[(String, ContextValue)]) -> Vec<(String, ContextValue)> {
    let reads = |key: &str| found.action.reads(key) && (key != "action" || found.properties.is_empty());
    let mut read: Vec<(String, ContextValue)> = sent.iter().filter(|(key, _)| reads(key)).cloned().collect();
    if !found.properties.is_empty() && found.action.reads("action") {
        read.push(("action".to_owned(), ContextValue::Record(found.properties.to_vec())));
    }
    for (_, value) in read.iter_mut().filter(|(key, _)| key == "attributes") {
        let ContextValue::Set(names) = value else { continue };
        for name in names {
            if let ContextValue::Text(text) = name {
                text.make_ascii_lowercase();
            }
        }
    }
    read
}

/// Everything that one evaluation takes, before its resource is known.
struct Inputs<'a> {
    view: &'a View<'a>,
    /// What of the question's context the action reads.
    context: Vec<(String, ContextValue)>,
    found: &'a Found<'a>,
    /// Where the outcome is kept for everybody who looks the same.
    row: Option<RowKey>,
    who: Who<'a>,
    known: Option<Known<'a>>,
    account: Option<(&'a str, Option<&'a Account>)>,
    dashboard: bool,
    now: Timestamp,
}

impl Inputs<'_> {
    fn snapshot(&self) -> &Snapshot {
        &self.view.snapshot
    }

    fn on_account(&self, id: &str) -> Result<Decision, Failure> {
        let person = self.known.as_ref().map(|known| known.person);
        match self.snapshot().account(id) {
            Some(account) => {
                let key = ResourceKey::Account(Stamped { number: account.number, stamp: account.revision });
                let facts = facts::account(self.snapshot(), account, person);
                self.on(ResourceFacts::Account(facts), Some(key), Arc::clone(&account.id))
            }
            None => self.on(ResourceFacts::Account(facts::unknown_account(id)), None, id.into()),
        }
    }

    /// On an entity of the bundle's own.
    fn on_entity(&self, kind: &str, id: Option<&str>) -> Result<Decision, Failure> {
        let Some(id) = id else {
            let message = format!("{} acts on a {kind}; name it", self.found.action.name);
            return Ok(self.view.deny(denied(Reason::MalformedRequest, message), Some(self.found), self.now));
        };
        if !self.view.serving.bundle.admits(kind, id) {
            let denial = denied(Reason::NoRoute, format!("no {kind} of this id is known here"));
            return Ok(self.view.deny(denial, Some(self.found), self.now));
        }
        self.on(ResourceFacts::Entity(EntityName { kind, id, properties: self.found.resource }), None, id.into())
    }

    /// Without an id: the principal's own record.
    fn on_user(&self, id: Option<&str>) -> Result<Decision, Failure> {
        let asking = self.known.as_ref().map(|known| known.person);
        let person = match id {
            Some(id) => self.view.named(id).map(|person| &**person),
            None => asking,
        };
        // Behind the wall a person of another organization is nobody.
        let person = person.filter(|person| asking.is_some_and(|asking| asking.organization == person.organization));
        let Some(person) = person else {
            let id = id.unwrap_or("");
            return self.on(ResourceFacts::User(Box::new(facts::stranger(id))), None, id.into());
        };
        let target = self.view.known(person);
        let key = ResourceKey::User(Stamped { number: person.number, stamp: target.rights.stamp });
        self.on(ResourceFacts::User(Box::new(target.facts())), Some(key), person.id().into())
    }

    /// An action on an account that names none. What is checked before the account speaks first.
    fn without_account(&self) -> Result<Decision, Failure> {
        let outcome = self.ask(ResourceFacts::Account(facts::unknown_account("")), None)?;
        if outcome.reason < Reason::AccountRequired {
            let missed = never_kept(&outcome).unwrap_or(Miss::Unkeyed);
            return Ok(self.decision(&outcome, "Account", "".into(), Some(missed)));
        }
        let message = format!("{} acts on an account; name it", self.found.action.name);
        let until = holds_until(&outcome, self.now);
        Ok(Decision { until, ..self.view.deny(denied(Reason::AccountRequired, message), Some(self.found), self.now) })
    }

    /// An endpoint without an account in its path, asked about one: what is forbidden on the organization is
    /// forbidden on every account of it.
    fn on_organization_with(&self, id: Option<&str>, account: &str) -> Result<Decision, Failure> {
        let Some(known) = &self.known else { return self.on_account(account) };
        let organization = self.snapshot().organization(known.person.organization);
        let key = ResourceKey::Organization(Stamped { number: known.person.organization, stamp: 0 });
        let asked = id.unwrap_or(organization);
        let key = (asked == organization).then_some(key);
        let (first, missed) = self.outcome(ResourceFacts::Organization(asked), key)?;
        if !first.reason.permits() && !first.policies.is_empty() || asked != organization {
            return Ok(self.decision(&first, "Organization", asked.into(), missed));
        }
        self.on_account(account)
    }

    /// An endpoint without an account in its path: on the organization itself, else on any granted account.
    fn on_organization(&self, id: Option<&str>) -> Result<Decision, Failure> {
        let Some(known) = &self.known else {
            return self.on(ResourceFacts::Organization(""), None, "".into());
        };
        let organization = self.snapshot().organization(known.person.organization);
        if let Some(other) = id.filter(|id| *id != organization) {
            return self.on(ResourceFacts::Organization(other), None, other.into());
        }
        let name = self.snapshot().organization_id(known.person.organization);
        let name = name.map_or_else(|| organization.into(), Arc::clone);
        let stamp = known.accounts_stamp();
        let key = ResourceKey::Organization(Stamped { number: known.person.organization, stamp });
        let key = self.place(Some(key));
        if let Some(kept) = self.kept(&key) {
            return Ok(self.decision(&kept, "Organization", name, None));
        }
        let mut best = self.ask(ResourceFacts::Organization(organization), None)?;
        // A forbid on the organization holds for every account of it; only a default deny goes on.
        if !best.reason.permits() && best.policies.is_empty() && self.found.action.applies_to("Account") {
            best = self.on_any_account(known, best)?;
        }
        let evaluation = Arc::new(best);
        let missed = self.keep(key, &evaluation);
        Ok(self.decision(&evaluation, "Organization", name, Some(missed)))
    }

    /// Permit if any granted account permits, else the nearest deny; of several that say the same, the first by its
    /// policies and words, so that the order of accounts means nothing. Accounts with the same products are the same to
    /// policies that name none of them.
    fn on_any_account(&self, known: &Known<'_>, mut best: Evaluation) -> Result<Evaluation, Failure> {
        let mut accounts = self.snapshot().accounts_of(&known.rights).peekable();
        if accounts.peek().is_none() && best.reason >= Reason::RoleMissing {
            best.reason = Reason::AccountRequired;
            best.message = "this acts on an account, and none is granted to this person".into();
        }
        let mut seen: HashSet<&[Box<str>]> = HashSet::new();
        let mut asked = 0;
        for account in accounts {
            if asked == MOST_ACCOUNTS {
                tracing::warn!(action = %self.found.action.name, "a person has more accounts than are tried");
                break;
            }
            if self.found.action.reads.accounts.is_empty() && !seen.insert(&account.products) {
                continue;
            }
            asked += 1;
            let facts = facts::account(self.snapshot(), account, Some(known.person));
            let key = ResourceKey::Account(Stamped { number: account.number, stamp: account.revision });
            let next = self.ask(ResourceFacts::Account(facts), Some(key))?;
            let until = [best.until, next.until].into_iter().flatten().min();
            let momentary = best.momentary || next.momentary;
            if rank(&next) < rank(&best) {
                best = next;
            }
            (best.until, best.momentary) = (until, momentary);
        }
        Ok(best)
    }

    /// Evaluates on one resource, or finds what was evaluated before.
    fn on(&self, resource: ResourceFacts<'_>, key: Option<ResourceKey>, id: Arc<str>) -> Result<Decision, Failure> {
        let kind = resource.kind();
        let (evaluation, missed) = self.outcome(resource, key)?;
        Ok(self.decision(&evaluation, kind, id, missed))
    }

    /// Whether resource or named account belong to another organization than the person, or to nobody.
    fn outside(&self, resource: &ResourceFacts<'_>, account: Option<&AccountFacts<'_>>) -> bool {
        let Some(known) = &self.known else { return false };
        let own = self.snapshot().organization(known.person.organization);
        let of = match resource {
            ResourceFacts::Account(account) => account.organization,
            ResourceFacts::User(person) => person.organization,
            ResourceFacts::Organization(id) => id,
            ResourceFacts::Dashboard | ResourceFacts::Entity(_) => own,
        };
        of != own || account.is_some_and(|account| account.organization != own)
    }

    /// Evaluates. `key`: what the resource is made of, where it is one of the directory.
    fn ask(&self, resource: ResourceFacts<'_>, key: Option<ResourceKey>) -> Result<Evaluation, Failure> {
        let person = self.known.as_ref().map(|known| known.person);
        let account: Option<AccountFacts<'_>> = self.account.map(|(id, account)| match account {
            Some(account) => facts::account(self.snapshot(), account, person),
            None => facts::unknown_account(id),
        });
        let channel = if self.dashboard { Channel::Dashboard } else { Channel::Api };
        let outside = self.outside(&resource, account.as_ref());
        let facts = Facts {
            principal: match (&self.who, &self.known) {
                (Who::Entity(name), _) => Asker::Entity(*name),
                (_, Some(known)) => Asker::Person(Box::new(known.facts())),
                (_, None) => Asker::Anonymous,
            },
            resource,
            account,
            channel: channel.name(),
            now: self.now,
        };
        let evaluation = self.evaluated(&facts, key);
        self.view.lap(Stage::Engine);
        match evaluation {
            Ok(mut evaluation) => {
                if !evaluation.errors.is_empty() {
                    self.view.authz.metrics.policy_error();
                    tracing::error!(action = %self.found.action.name, errors = ?evaluation.errors, "a policy erred");
                }
                // The wall does not depend on a policy; what is checked before it keeps its say.
                if outside && evaluation.reason > Reason::AccountNotGranted {
                    evaluation.reason = Reason::AccountNotGranted;
                    evaluation.message = "this lies outside the organization of the person who asks".into();
                    evaluation.policies = Arc::new([]);
                }
                if let Some(observe) = self.view.observer {
                    let (action, context) = (self.found.action, &self.context);
                    observe(&Evaluated { action, facts: &facts, context, evaluation: &evaluation, outside });
                }
                Ok(evaluation)
            }
            Err(PolicyFailure::Context(fault)) => Err(Failure::Context(fault)),
            // Other questions on the same entities may be sound, so this is an answer, and no error.
            Err(PolicyFailure::Property(fault)) => Ok(Evaluation::malformed(&fault.to_string())),
            Err(PolicyFailure::Facts(cause)) => {
                tracing::error!(action = %self.found.action.name, cause, "a decision could not be made");
                Err(Failure::Internal)
            }
        }
    }

    fn evaluated(&self, facts: &Facts<'_>, key: Option<ResourceKey>) -> Result<Evaluation, PolicyFailure> {
        let (view, bundle, action) = (self.view, &self.view.serving.bundle, self.found.action);
        if view.plainly {
            return bundle.evaluate_plainly(action, facts, &self.context);
        }
        let principal = match (&self.known, facts.principal.person()) {
            (Some(known), Some(person)) => view.ready_person(known, person)?,
            (None, _) | (_, None) => None,
        };
        let resource = view.ready_resource(&facts.resource, key)?;
        let account = match (&facts.account, self.account) {
            (Some(named), Some((_, Some(account)))) => {
                view.ready_account(named, Stamped { number: account.number, stamp: account.revision })?
            }
            (None, _) | (_, None | Some((_, None))) => None,
        };
        let slice =
            Slice { principal: principal.as_deref(), resource: resource.as_deref(), account: account.as_deref() };
        bundle.evaluate_ready(action, facts, &self.context, slice)
    }

    fn decision(&self, evaluation: &Evaluation, kind: &str, id: Arc<str>, missed: Option<Miss>) -> Decision {
        if let (Some(miss), false) = (missed, self.view.aside) {
            self.view.authz.metrics.cache_miss(miss);
        }
        let cache = if missed.is_some() { CacheUse::Miss } else { CacheUse::Hit };
        self.view.decision(self.found, evaluation, kind, id, self.now, cache)
    }
}

impl View<'_> {
    fn decision(
        &self,
        found: &Found<'_>,
        evaluation: &Evaluation,
        kind: &str,
        id: Arc<str>,
        now: Timestamp,
        cache: CacheUse,
    ) -> Decision {
        self.count(evaluation.reason, cache);
        let kinds = found.action.resources.iter();
        let kind = kinds.clone().find(|one| &***one == kind).map_or_else(|| Arc::from(kind), Arc::clone);
        Decision {
            reason: evaluation.reason,
            message: Arc::clone(&evaluation.message),
            policies: Arc::clone(&evaluation.policies),
            action: Some(Arc::clone(&found.action.name)),
            resource: Some(ResourceName { kind, id }),
            revision: self.snapshot.revision(),
            bundle: Arc::clone(self.serving.bundle.id()),
            at: now,
            until: holds_until(evaluation, now),
        }
    }
}
