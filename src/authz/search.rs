//! The three searches: who can do this, on what can somebody do this, what can somebody do here.
//!
//! Every id that is found gets a permit when asked about singly, and nobody else would: a decision is shared only
//! between those whom the policies cannot tell apart ([`super::classes`]). Work is bounded for each call; a search
//! that has more to look at gives the place to go on from. Callers run it off the async runtime.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use super::classes::{Interest, Lens, PersonClass};
use super::find::Who;
use super::{Failure, View, find, judge};
use crate::directory::{Account, Person};
use crate::domain::{Asked, Channel, ContextValue, EntityName, Number, Question, Subject, Verdict};
use crate::policy::Target;

/// Which part of all results is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// Where the part before ended: its [`Found::next`].
    pub after: Option<&'a str>,
    /// The most ids.
    pub limit: usize,
}

impl Page<'_> {
    /// Everything that one call may find.
    pub const ALL: Self = Self { after: None, limit: usize::MAX };

    /// The number that the part before ended with; `None` for a place that we never gave.
    fn number(&self) -> Option<Option<Number>> {
        self.after.map(|after| after.parse().ok()).map_or(Some(None), |number| number.map(Some))
    }
}

/// What was found, in an order that does not change while the world does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Ids, each of which gets a permit.
    pub ids: Vec<String>,
    /// Where to go on; `None` where everything was looked at. A part may hold fewer ids than the limit, even
    /// none, and still not be the last.
    pub next: Option<String>,
}

/// The most people, accounts or actions that one call looks at.
const MOST_SEEN: usize = 250_000;
/// The most decisions that one call makes.
const MOST_ASKED: usize = 20_000;

/// Decisions shared between equals, counted.
struct Shared<K> {
    known: HashMap<K, bool>,
    asked: usize,
}

impl<K: Eq + Hash> Shared<K> {
    fn new() -> Self {
        Self { known: HashMap::new(), asked: 0 }
    }

    fn permits(&mut self, class: K, ask: impl FnOnce() -> Result<bool, Failure>) -> Result<bool, Failure> {
        if let Some(known) = self.known.get(&class) {
            return Ok(*known);
        }
        self.asked += 1;
        let permits = ask()?;
        self.known.insert(class, permits);
        Ok(permits)
    }
}

/// Collects one part of the results.
struct Part {
    limit: usize,
    seen: usize,
    ids: Vec<String>,
    /// Where each id was found.
    places: Vec<String>,
    last: Option<String>,
    /// Ended before everything was looked at.
    broken_off: bool,
}

impl Part {
    fn new(limit: usize) -> Self {
        let limit = limit.max(1);
        Self { limit, seen: 0, ids: Vec::new(), places: Vec::new(), last: None, broken_off: false }
    }

    /// Whether there is room for one more to look at. One more than the limit is looked for, to know whether
    /// there is a next part.
    fn goes_on(&mut self, asked: usize) -> bool {
        self.broken_off = self.seen >= MOST_SEEN || asked >= MOST_ASKED;
        self.ids.len() <= self.limit && !self.broken_off
    }

    fn saw(&mut self, place: String, id: Option<String>) {
        self.seen += 1;
        if let Some(id) = id {
            self.ids.push(id);
            self.places.push(place.clone());
        }
        self.last = Some(place);
    }

    fn found(mut self) -> Found {
        let mut next = if self.broken_off { self.last } else { None };
        if self.ids.len() > self.limit {
            self.ids.truncate(self.limit);
            next = self.places.get(self.limit - 1).cloned();
        }
        Found { ids: self.ids, next }
    }
}

impl View<'_> {
    /// Who of a type can do this: usernames, in the order of the ledger. `kind` is an entity type.
    ///
    /// # Errors
    /// As [`View::decide`].
    pub fn subjects(
        &self,
        kind: &str,
        asked: &Asked<'_>,
        channel: Channel,
        context: &[(String, ContextValue)],
        page: Page<'_>,
    ) -> Result<Found, Failure> {
        let view = self.aside();
        let bundle = &view.serving.bundle;
        let Ok(found) = find::find(bundle, asked, view.authz.strict_hosts) else { return Ok(Found::default()) };
        let Some(kind) = bundle.entity_type(kind) else { return Ok(Found::default()) };
        if !bundle.from_directory(kind) {
            let ask = |id: &str| view.permits(Subject::Entity(EntityName::new(kind, id)), *asked, channel, context);
            return view.listed(kind, page, ask);
        }
        let ("User", Some(after)) = (&**kind, page.number()) else { return Ok(Found::default()) };
        let target = (found.target == Target::User).then(|| view.named(found.id.as_deref()?)).flatten();
        let mut accounts: Vec<Number> = target.map_or_else(Vec::new, |person| view.snapshot.rights(person).accounts);
        let named = context.iter().find_map(|(key, value)| match value {
            ContextValue::Text(id) if key == "account" => Some(id.as_str()),
            _ => None,
        });
        let at_hand = (found.target == Target::Account).then_some(found.id.as_deref()).flatten();
        accounts
            .extend([named, at_hand].into_iter().flatten().filter_map(|id| Some(view.snapshot.account(id)?.number)));
        let interest = match found.target {
            Target::Organization => Interest::Reach(accounts),
            Target::Account | Target::User | Target::Entity(_) => Interest::These(accounts),
        };
        let mut lens = Lens::new(&view.snapshot, &found.action.reads, interest, view.authz.clock.now());
        let mut shared: Shared<PersonClass> = Shared::new();
        let mut part = Part::new(page.limit);
        // Without an id a person is asked about themselves.
        let themselves = found.target == Target::User && found.id.is_none();
        for person in view.snapshot.everybody().filter(|person| after.is_none_or(|after| person.number > after)) {
            if !part.goes_on(shared.asked) {
                break;
            }
            let permits = judge::standing(person).is_none() && {
                let rights = view.snapshot.rights(person);
                let apart = themselves || target.is_some_and(|target| target.number == person.number);
                let class = lens.principal(person, &rights, apart);
                shared.permits(class, || view.permits(Subject::Id(&person.id()), *asked, channel, context))?
            };
            part.saw(person.number.to_string(), permits.then(|| view.name_of(person)).flatten());
        }
        Ok(part.found())
    }

    /// What of a type somebody can do this on: ids, in the order of the ledger.
    ///
    /// # Errors
    /// As [`View::decide`].
    #[expect(clippy::too_many_arguments, reason = "a question without its resource, and which part of the answer")]
    pub fn resources(
        &self,
        subject: Subject<'_>,
        action: &str,
        properties: &[(String, ContextValue)],
        kind: &str,
        channel: Channel,
        context: &[(String, ContextValue)],
        page: Page<'_>,
    ) -> Result<Found, Failure> {
        let view = self.aside();
        let bundle = &view.serving.bundle;
        let declared = bundle.action_named(action).and_then(|index| bundle.action(index));
        let (Some(declared), Some(kind)) = (declared, bundle.entity_type(kind)) else { return Ok(Found::default()) };
        let who = match view.who(subject, declared, view.authz.clock.now()) {
            Ok(who) => who,
            Err(_) if declared.anonymous => Who::Nobody,
            Err(_) => return Ok(Found::default()),
        };
        let asking = who.person();
        if !declared.applies_to(kind) || asking.is_some_and(|person| judge::standing(person).is_some()) {
            return Ok(Found::default());
        }
        let ask = |id: &str| {
            let resource = Some(EntityName::new(kind, id));
            view.permits(subject, Asked::Action { action, properties, resource }, channel, context)
        };
        if !bundle.from_directory(kind) {
            return view.listed(kind, page, ask);
        }
        let (Some(after), rights) = (page.number(), asking.map(|person| view.snapshot.rights(person))) else {
            return Ok(Found::default());
        };
        let granted = rights.map(|rights| rights.accounts).unwrap_or_default();
        let interest = Interest::These(granted.clone());
        let mut lens = Lens::new(&view.snapshot, &declared.reads, interest, view.authz.clock.now());
        let mut part = Part::new(page.limit);
        let is_new = |number: Number| after.is_none_or(|after| number > after);
        match &**kind {
            "Account" => {
                let mut shared: Shared<(u32, bool)> = Shared::new();
                for account in view.snapshot.accounts().filter(|account| is_new(account.number)) {
                    if !part.goes_on(shared.asked) {
                        break;
                    }
                    let Account { number, id, .. } = &**account;
                    let class = lens.account(*number).unwrap_or(u32::MAX);
                    let permits = shared.permits((class, granted.binary_search(number).is_ok()), || ask(id))?;
                    part.saw(number.to_string(), permits.then(|| id.to_string()));
                }
            }
            "User" => {
                let mut shared: Shared<PersonClass> = Shared::new();
                for person in view.snapshot.everybody().filter(|person| is_new(person.number)) {
                    if !part.goes_on(shared.asked) {
                        break;
                    }
                    let apart = asking.is_some_and(|asking| asking.number == person.number);
                    let class = lens.target(person, &view.snapshot.rights(person), apart);
                    let name = view.name_of(person);
                    let permits = match &name {
                        Some(name) => shared.permits(class, || ask(name))?,
                        None => false,
                    };
                    part.saw(person.number.to_string(), name.filter(|_| permits));
                }
            }
            _ if after.is_some() => {}
            "Organization" => {
                let own = asking.map_or("", |person| view.snapshot.organization(person.organization));
                part.saw(String::new(), ask(own)?.then(|| own.to_owned()));
            }
            _ => part.saw(String::new(), ask("dashboard")?.then(|| "dashboard".to_owned())),
        }
        Ok(part.found())
    }

    /// What somebody can do here: names of actions, in the order of their declaration. Without a resource, every
    /// action that needs none.
    ///
    /// # Errors
    /// As [`View::decide`].
    pub fn actions(
        &self,
        subject: Subject<'_>,
        resource: Option<EntityName<'_>>,
        channel: Channel,
        context: &[(String, ContextValue)],
        page: Page<'_>,
    ) -> Result<Found, Failure> {
        let view = self.aside();
        let bundle = &view.serving.bundle;
        let start = match page.after {
            None => 0,
            Some(after) => match bundle.action_named(after) {
                Some(index) => index + 1,
                None => return Ok(Found::default()),
            },
        };
        let resource = match resource {
            None => None,
            Some(named) => match bundle.entity_type(named.kind) {
                Some(kind) => Some(EntityName { kind, ..named }),
                None => return Ok(Found::default()),
            },
        };
        let mut part = Part::new(page.limit);
        for action in bundle.actions().iter().skip(start) {
            if !part.goes_on(0) {
                break;
            }
            let name = action.name.to_string();
            let fits = resource.is_none_or(|named| action.applies_to(named.kind));
            let asked = Asked::Action { action: &name, properties: &[], resource };
            let permits = fits && view.permits(subject, asked, channel, context)?;
            part.saw(name.clone(), permits.then_some(name));
        }
        Ok(part.found())
    }

    /// Those of the bundle's own entities of a type that are permitted, in the order of their ids.
    fn listed(
        &self,
        kind: &str,
        page: Page<'_>,
        ask: impl Fn(&str) -> Result<bool, Failure>,
    ) -> Result<Found, Failure> {
        let ids = self.serving.bundle.listed_ids(kind);
        let start = page.after.map_or(0, |after| ids.partition_point(|id| **id <= *after));
        let mut part = Part::new(page.limit);
        for id in ids.iter().skip(start) {
            if !part.goes_on(part.seen) {
                break;
            }
            part.saw(id.to_string(), ask(id)?.then(|| id.to_string()));
        }
        Ok(part.found())
    }

    fn permits(
        &self,
        subject: Subject<'_>,
        asked: Asked<'_>,
        channel: Channel,
        context: &[(String, ContextValue)],
    ) -> Result<bool, Failure> {
        let question = Question { subject, asked, channel, context, least_revision: None };
        Ok(self.decide(&question)?.verdict() == Verdict::Permit)
    }

    /// The name under which a person is found again: the username, or the id where another one's id is spelled so.
    fn name_of(&self, person: &Arc<Person>) -> Option<String> {
        let finds = |name: &String| self.named(name).is_some_and(|found| found.number == person.number);
        Some(person.username().to_owned()).filter(finds).or_else(|| Some(person.id()).filter(finds))
    }
}
