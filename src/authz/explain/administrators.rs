//! Who may make the changes that an explanation asks for, and which groups bring them.
//!
//! The same policies are asked: may this administrator change that person in this attribute? The bundle says which
//! action changes people (`changes_people` in `catalogue.toml`); where it names none, nobody is named.

use std::collections::HashMap;

use super::super::{Failure, View, judge};
use crate::directory::{Group, Person, Snapshot};
use crate::domain::{
    AdministrationLevel, Asked, Channel, ContextValue, EntityName, Number, Question, Subject, Verdict,
};
use crate::policy::{GroupFacts, Piece, Step};

/// The most people who are named for one change.
const MOST_NAMED: usize = 3;
/// The most people who are asked about for one change.
const MOST_ASKED: usize = 32;
/// The most groups of an organization that are looked at.
const MOST_GROUPS: usize = 1_000;
/// The most groups above a group that are followed.
const MOST_ABOVE: usize = 100;

/// What an administrator changes of a person: the attribute, and the account that is meant.
type Touched<'a> = (&'static str, Option<&'a str>);

/// The people who administer one person.
pub(super) struct Administrators<'v> {
    view: &'v View<'v>,
    action: Option<&'v str>,
    person: &'v Person,
    /// Active Account Admins of the organization, by number; looked for once.
    admins: Option<Vec<&'v Person>>,
    known: HashMap<(&'static str, Option<String>), Vec<String>>,
}

impl<'v> Administrators<'v> {
    pub(super) fn of(view: &'v View<'v>, person: &'v Person) -> Self {
        let action = view.serving.bundle.catalogue().changes_people.as_deref();
        Self { view, action, person, admins: None, known: HashMap::new() }
    }

    /// Names those who may take the step, where it is one of a person's administrators.
    ///
    /// # Errors
    /// As [`View::decide`].
    pub(super) fn name(&mut self, step: &mut Step) -> Result<(), Failure> {
        let (Some(action), Some((attribute, account))) = (self.action, touched(&step.piece)) else { return Ok(()) };
        let key = (attribute, account.map(str::to_owned));
        let names = match self.known.get(&key) {
            Some(names) => names.clone(),
            None => {
                let names = self.who(action, attribute, account)?;
                self.known.insert(key, names.clone());
                names
            }
        };
        step.by = match names.as_slice() {
            [] => "the identity provider; no Account Admin may change this person so".to_owned(),
            names => format!("an Account Admin such as {}, or the identity provider", names.join(" or ")),
        };
        step.administrators = names;
        Ok(())
    }

    fn who(&mut self, action: &str, attribute: &str, account: Option<&str>) -> Result<Vec<String>, Failure> {
        let (view, person) = (self.view, self.person);
        let admins = self.admins.get_or_insert_with(|| admins(&view.snapshot, person.organization));
        let mut context =
            vec![("attributes".to_owned(), ContextValue::Set(vec![ContextValue::Text(attribute.into())]))];
        context.extend(account.map(|id| ("account".to_owned(), ContextValue::Text(id.to_owned()))));
        let id = person.id();
        let mut names = Vec::new();
        for admin in admins.iter().take(MOST_ASKED) {
            let who = admin.id();
            let resource = Some(EntityName::new("User", &id));
            let asked = Asked::Action { action, properties: &[], resource };
            let may = |channel| {
                let subject = Subject::Id(&who);
                let question = Question { subject, asked, channel, context: &context, least_revision: None };
                Ok::<bool, Failure>(view.decide(&question)?.verdict() == Verdict::Permit)
            };
            if may(Channel::Dashboard)? || may(Channel::Api)? {
                names.push(admin.username().to_owned());
            }
            if names.len() == MOST_NAMED {
                break;
            }
        }
        Ok(names)
    }
}

/// What of a person the step changes; `None` for steps that are nobody's who administers people.
fn touched(piece: &Piece) -> Option<Touched<'_>> {
    match piece {
        Piece::Role(_) | Piece::NoRole => Some(("roles", None)),
        Piece::Account(id) => Some(("accounts", Some(id))),
        Piece::AccessMethod(_) => Some(("accessmethods", None)),
        Piece::Level(_) => Some(("administrationlevel", None)),
        Piece::FreshPassword
        | Piece::Group(_)
        | Piece::Product(_)
        | Piece::AccountAtHand
        | Piece::AccountNamed
        | Piece::AccountShared
        | Piece::Own(_)
        | Piece::Assumed(_)
        | Piece::Request
        | Piece::Unchangeable => None,
    }
}

fn admins(snapshot: &Snapshot, organization: Number) -> Vec<&Person> {
    let of_it = |person: &&Person| {
        person.organization == organization
            && person.level() == AdministrationLevel::AccountAdmin
            && judge::standing(person).is_none()
    };
    snapshot.everybody().map(|person| &**person).filter(of_it).take(MOST_ASKED).collect()
}

/// The groups of an organization that bring anything, with what they bring.
pub(super) fn groups(snapshot: &Snapshot, organization: Number) -> Vec<GroupFacts<'_>> {
    let own = snapshot.groups().filter(|group| group.organization == organization).take(MOST_GROUPS);
    own.map(|group| brought(snapshot, group)).collect()
}

fn brought<'a>(snapshot: &'a Snapshot, group: &'a Group) -> GroupFacts<'a> {
    let mut all: Vec<&Group> = vec![group];
    let mut at = 0;
    while let Some(next) = all.get(at).copied().filter(|_| all.len() < MOST_ABOVE) {
        for above in next.parents.iter().filter_map(|number| snapshot.group(*number)) {
            if above.organization == group.organization && !all.iter().any(|known| known.number == above.number) {
                all.push(above);
            }
        }
        at += 1;
    }
    let mut facts =
        GroupFacts { id: &group.id, name: &group.name, above: Vec::new(), roles: Vec::new(), accounts: Vec::new() };
    for one in all {
        if one.number != group.number {
            facts.above.push(&one.id);
        }
        facts.roles.extend(one.roles.iter().map(|role| snapshot.role(*role)));
        let accounts = one.accounts.iter().filter_map(|number| snapshot.account_by_number(*number));
        facts.accounts.extend(accounts.filter(|one| one.organization == group.organization).map(|one| &*one.id));
    }
    for list in [&mut facts.roles, &mut facts.accounts] {
        list.sort_unstable();
        list.dedup();
    }
    facts
}
