//! A question to a decision, check by check in the order of the reasons.

use std::sync::Arc;

use super::cache::{Key, ResourceKey, Stamped};
use super::facts::{self, Known};
use super::{Failure, View};
use crate::directory::{Account, Person, Snapshot};
use crate::domain::{Asked, Channel, ContextValue, Decision, Question, Reason, ResourceName, Subject, Timestamp};
use crate::policy::{
    AccountFacts, Action, Bundle, CanonicalPath, ContextFault, Evaluation, Facts, NoRoute, PolicyFailure,
    ResourceFacts, Target,
};
use crate::telemetry::CacheUse;
use crate::token::Identity;

/// What the question is about, found in the catalogue.
struct Found<'a> {
    index: usize,
    action: &'a Action,
    target: Target,
    /// The target's id; `None` where none was named.
    id: Option<String>,
    dashboard: bool,
}

/// A deny that no policy was asked about.
struct Denied {
    reason: Reason,
    message: String,
}

fn denied(reason: Reason, message: impl Into<String>) -> Denied {
    Denied { reason, message: message.into() }
}

impl View<'_> {
    /// Answers one question on this state of the world.
    pub fn decide(&self, question: &Question<'_>) -> Result<Decision, Failure> {
        let have = self.snapshot.revision();
        if let Some(want) = question.least_revision
            && (want.epoch != have.epoch || want.number > have.number)
        {
            return Err(Failure::NotFresh { have, want });
        }
        let found = match find(&self.serving.bundle, &question.asked, self.authz.strict_hosts) {
            Ok(found) => found,
            Err(denial) => return Ok(self.deny(denial, None, None)),
        };
        let now = self.authz.clock.now();
        let person = match self.person(question.subject, now) {
            Ok(person) => Some(person),
            Err(_) if found.action.anonymous => None,
            Err(denial) => return Ok(self.deny(denial, Some(&found), None)),
        };
        if let Some(denial) = person.and_then(standing) {
            return Ok(self.deny(denial, Some(&found), None));
        }
        self.evaluate(question, &found, person, now)
    }

    /// Whom the question is about.
    fn person(&self, subject: Subject<'_>, now: Timestamp) -> Result<&Person, Denied> {
        let unknown = |what: &str| denied(Reason::UnknownUser, format!("nobody {what} is provisioned here"));
        let found = match subject {
            Subject::User(name) => self.snapshot.user(name).ok_or_else(|| unknown("of this username"))?,
            Subject::Id(id) => self.snapshot.user_by_id(id).ok_or_else(|| unknown("of this id"))?,
            Subject::Authorization(header) => {
                let identity = (self.authz.verifier.verify(header, now))
                    .map_err(|error| denied(Reason::Unauthenticated, error.to_string()))?;
                let Identity(name) = &identity;
                let found = self.snapshot.user_by_id(name).or_else(|| self.snapshot.user(name));
                found.ok_or_else(|| unknown("named by this credential"))?
            }
        };
        Ok(found)
    }

    fn evaluate(
        &self,
        question: &Question<'_>,
        found: &Found<'_>,
        person: Option<&Person>,
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
            question,
            found,
            known: person.map(|person| Known::new(snapshot, person)),
            account: named.map(|id| (id, snapshot.account(id).map(|account| &**account))),
            dashboard: found.dashboard || question.channel == Channel::Dashboard,
            now,
        };
        match (found.target, found.id.as_deref(), named) {
            _ if found.action.resources.first().is_some_and(|kind| &**kind == "Dashboard") => {
                inputs.on(ResourceFacts::Dashboard, Some(ResourceKey::Dashboard), "dashboard")
            }
            (Target::Account, Some(id), _) | (Target::Account | Target::Organization, None, Some(id)) => {
                inputs.on_account(id)
            }
            (Target::Account, None, None) => Ok(self.deny(
                denied(Reason::AccountRequired, format!("{} acts on an account; name it", found.action.name)),
                Some(found),
                None,
            )),
            (Target::User, id, _) => inputs.on_user(id),
            (Target::Organization, _, _) => inputs.on_organization(),
        }
    }

    fn deny(&self, denial: Denied, found: Option<&Found<'_>>, resource: Option<ResourceName>) -> Decision {
        self.authz.metrics.decision(denial.reason, CacheUse::None);
        Decision {
            reason: denial.reason,
            message: denial.message.into(),
            policies: Arc::new([]),
            action: found.map(|found| Arc::clone(&found.action.name)),
            resource: resource.or_else(|| named_resource(found?)),
            revision: self.snapshot.revision(),
            bundle: Arc::clone(self.serving.bundle.id()),
        }
    }
}

/// The resource as far as the path names it.
fn named_resource(found: &Found<'_>) -> Option<ResourceName> {
    let kind = found.action.resources.first()?;
    Some(ResourceName { kind: Arc::clone(kind), id: found.id.clone()? })
}

/// Whether the person may be judged by policy at all.
fn standing(person: &Person) -> Option<Denied> {
    if !person.active() {
        return Some(denied(
            Reason::Deactivated,
            "this person is deactivated; the identity provider can reactivate them",
        ));
    }
    person.locked().then(|| denied(Reason::Locked, "this person is locked; an administrator can unlock them"))
}

/// Finds action and target of what is asked.
fn find<'a>(bundle: &'a Bundle, asked: &Asked<'_>, strict_hosts: bool) -> Result<Found<'a>, Denied> {
    let no_route = |message: String| denied(Reason::NoRoute, message);
    let malformed = |message: String| denied(Reason::MalformedRequest, message);
    let missing = || no_route("the catalogue is inconsistent".into());
    match *asked {
        Asked::Request { method, host, path } => {
            let canonical = CanonicalPath::parse(path).map_err(|fault| malformed(fault.to_string()))?;
            let matched = bundle.routes().find(method, host, canonical, strict_hosts).map_err(|none| match none {
                NoRoute::Path => no_route("no endpoint of the catalogue has this path".into()),
                NoRoute::Method(others) => {
                    no_route(format!("no endpoint answers this method here; this path answers {}", others.join(", ")))
                }
            })?;
            let action = bundle.action(matched.action).ok_or_else(missing)?;
            let id = (matched.target != Target::Organization).then_some(matched.id);
            Ok(Found { index: matched.action, action, target: matched.target, id, dashboard: false })
        }
        Asked::Action { action: name, resource } => {
            let index =
                bundle.action_named(name).ok_or_else(|| no_route("no action of the catalogue has this name".into()))?;
            let action = bundle.action(index).ok_or_else(missing)?;
            let own = action.resources.first().map_or("", |kind| &**kind);
            let (kind, id) = match resource {
                None => (own, None),
                Some((kind, id)) if action.resources.iter().any(|one| &**one == kind) => (kind, Some(id.to_owned())),
                Some(_) => {
                    let kinds: Vec<&str> = action.resources.iter().map(|kind| &**kind).collect();
                    return Err(malformed(format!("{name} acts on {}", kinds.join(" or "))));
                }
            };
            let target = match kind {
                "Account" => Target::Account,
                "User" => Target::User,
                _ => Target::Organization,
            };
            let id = id.filter(|_| target != Target::Organization);
            // Entering the dashboard is the one action that says its channel by itself.
            Ok(Found { index, action, target, id, dashboard: own == "Dashboard" })
        }
    }
}

/// Everything that one evaluation takes, before its resource is known.
struct Inputs<'a> {
    view: &'a View<'a>,
    question: &'a Question<'a>,
    found: &'a Found<'a>,
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
                self.on(ResourceFacts::Account(facts::account(self.snapshot(), account, person)), Some(key), id)
            }
            None => self.on(ResourceFacts::Account(facts::unknown_account(id)), None, id),
        }
    }

    /// Without an id: the principal's own record.
    fn on_user(&self, id: Option<&str>) -> Result<Decision, Failure> {
        let asking = self.known.as_ref().map(|known| known.person);
        let snapshot = self.snapshot();
        let person = match id {
            Some(id) => snapshot.user_by_id(id).or_else(|| snapshot.user(id)).map(|person| &**person),
            None => asking,
        };
        // Behind the wall a person of another organization is nobody.
        let person = person.filter(|person| asking.is_some_and(|asking| asking.organization == person.organization));
        let Some(person) = person else {
            let id = id.unwrap_or("");
            return self.on(ResourceFacts::User(Box::new(facts::stranger(id))), None, id);
        };
        let target = Known::new(snapshot, person);
        let key = ResourceKey::User(Stamped { number: person.number, stamp: target.rights.stamp });
        self.on(ResourceFacts::User(Box::new(target.facts())), Some(key), &person.id())
    }

    /// An endpoint without an account in its path: on the organization itself, else on any granted account.
    fn on_organization(&self) -> Result<Decision, Failure> {
        let Some(known) = &self.known else {
            return self.on(ResourceFacts::Organization(""), None, "");
        };
        let organization = self.snapshot().organization(known.person.organization);
        let stamp = known.accounts_stamp();
        let key = self.key(ResourceKey::Organization(Stamped { number: known.person.organization, stamp }));
        if let Some(kept) = key.as_ref().and_then(|key| self.view.authz.cache.get(key, self.now)) {
            return Ok(self.decision(&kept, "Organization", organization, true));
        }
        let mut best = self.ask(ResourceFacts::Organization(organization))?;
        // A forbid on the organization holds for every account of it; only a default deny goes on.
        let on_accounts = self.found.action.applies_to("Account");
        if !best.reason.permits() && best.policies.is_empty() && on_accounts {
            let mut accounts = self.snapshot().accounts_of(&known.rights).peekable();
            if accounts.peek().is_none() && best.reason >= Reason::RoleMissing {
                best.reason = Reason::AccountRequired;
                best.message = "this acts on an account, and none is granted to this person".into();
            }
            for account in accounts {
                let facts = facts::account(self.snapshot(), account, Some(known.person));
                let next = self.ask(ResourceFacts::Account(facts))?;
                let until = [best.until, next.until].into_iter().flatten().min();
                let momentary = best.momentary || next.momentary;
                let permits = next.reason.permits();
                if permits || next.reason > best.reason {
                    best = next;
                }
                (best.until, best.momentary) = (until, momentary);
                if permits {
                    break;
                }
            }
        }
        let evaluation = Arc::new(best);
        if let Some(key) = key {
            self.view.authz.cache.put(key, &evaluation);
        }
        Ok(self.decision(&evaluation, "Organization", organization, false))
    }

    /// Evaluates on one resource, or finds what was evaluated before.
    fn on(&self, resource: ResourceFacts<'_>, key: Option<ResourceKey>, id: &str) -> Result<Decision, Failure> {
        let kind = resource.kind();
        let key = key.and_then(|key| self.key(key));
        if let Some(kept) = key.as_ref().and_then(|key| self.view.authz.cache.get(key, self.now)) {
            return Ok(self.decision(&kept, kind, id, true));
        }
        let evaluation = Arc::new(self.ask(resource)?);
        if let Some(key) = key {
            self.view.authz.cache.put(key, &evaluation);
        }
        Ok(self.decision(&evaluation, kind, id, false))
    }

    fn ask(&self, resource: ResourceFacts<'_>) -> Result<Evaluation, Failure> {
        let person = self.known.as_ref().map(|known| known.person);
        let account: Option<AccountFacts<'_>> = self.account.map(|(id, account)| match account {
            Some(account) => facts::account(self.snapshot(), account, person),
            None => facts::unknown_account(id),
        });
        let channel = if self.dashboard { Channel::Dashboard } else { Channel::Api };
        let facts = Facts {
            principal: self.known.as_ref().map(Known::facts),
            resource,
            account,
            channel: channel.name(),
            now: self.now,
        };
        let evaluation = self.view.serving.bundle.evaluate(self.found.action, &facts, self.question.context);
        match evaluation {
            Ok(evaluation) => {
                if !evaluation.errors.is_empty() {
                    self.view.authz.metrics.policy_error();
                    tracing::error!(action = %self.found.action.name, errors = ?evaluation.errors, "a policy erred");
                }
                Ok(evaluation)
            }
            Err(PolicyFailure::Context(fault)) => Err(Failure::Context(fault)),
            Err(PolicyFailure::Facts(cause)) => {
                tracing::error!(action = %self.found.action.name, cause, "a decision could not be made");
                Err(Failure::Internal)
            }
        }
    }

    /// The key of an outcome; `None` where something that it reads has no number.
    fn key(&self, resource: ResourceKey) -> Option<Key> {
        let account = match self.account {
            None => None,
            Some((_, account)) => account.map(|account| Stamped { number: account.number, stamp: account.revision }),
        };
        if self.account.is_some() && account.is_none() {
            return None;
        }
        Some(Key {
            generation: self.view.serving.generation,
            action: self.found.index,
            principal: (self.known.as_ref())
                .map(|known| Stamped { number: known.person.number, stamp: known.rights.stamp }),
            resource,
            account,
            dashboard: self.dashboard,
            context: (!self.question.context.is_empty()).then(|| format!("{:?}", self.question.context).into()),
        })
    }

    fn decision(&self, evaluation: &Evaluation, kind: &str, id: &str, cached: bool) -> Decision {
        let cache = if cached { CacheUse::Hit } else { CacheUse::Miss };
        self.view.authz.metrics.decision(evaluation.reason, cache);
        let kinds = self.found.action.resources.iter();
        let kind = kinds.clone().find(|one| &***one == kind).map_or_else(|| Arc::from(kind), Arc::clone);
        Decision {
            reason: evaluation.reason,
            message: Arc::clone(&evaluation.message),
            policies: Arc::clone(&evaluation.policies),
            action: Some(Arc::clone(&self.found.action.name)),
            resource: Some(ResourceName { kind, id: id.to_owned() }),
            revision: self.view.snapshot.revision(),
            bundle: Arc::clone(self.view.serving.bundle.id()),
        }
    }
}
