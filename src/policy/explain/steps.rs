//! Changes of single facts: as orders for people, and made in the facts to see what comes of them.

use super::super::conditions::{Clause, Piece};
use super::super::entities::{Asker, Facts, PrincipalFacts, ResourceFacts};
use super::own::Own;
use super::{GroupFacts, Seen};
use crate::domain::AdministrationLevel;

/// A change of one fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which fact.
    pub piece: Piece,
    /// Whether it comes, or goes.
    pub gain: bool,
    /// As an order: `assign the role Ordering`.
    pub what: String,
    /// Who can do it.
    pub by: String,
    /// Some of the people who may, by their usernames; empty where nobody is known.
    pub administrators: Vec<String>,
}

/// The most roles of a group that are named.
const MOST_NAMED: usize = 5;

/// How hard a step is.
pub(super) fn effort(step: &Step) -> (Piece, bool) {
    (step.piece.clone(), step.gain)
}

/// The account that a question is about.
fn account_at_hand<'a>(facts: &'a Facts<'_>) -> Option<&'a str> {
    match (&facts.resource, &facts.account) {
        (ResourceFacts::Account(account), _) | (_, Some(account)) => Some(account.id),
        (
            ResourceFacts::User(_)
            | ResourceFacts::Organization(_)
            | ResourceFacts::Dashboard
            | ResourceFacts::Entity(_),
            None,
        ) => None,
    }
}

impl Step {
    fn new(piece: Piece, gain: bool, what: String, by: &str) -> Self {
        Self { piece, gain, what, by: by.to_owned(), administrators: Vec::new() }
    }
}

/// The change of an entity of the bundle's own. `by_request`: questions may say what changes.
pub(super) fn own_step(own: &Own, gain: bool, what: String, by_request: bool) -> Step {
    let by = if by_request { "the application that asks" } else { "whoever keeps the entities of this folder" };
    Step::new(Piece::Own(own.clone()), gain, what, by)
}

/// That a condition holds, where nobody knows how to bring that about.
pub(super) fn assumption(condition: &Seen) -> Step {
    let holds = if condition.clause == Clause::Unless { "does not hold" } else { "holds" };
    let (verb, by) = if condition.piece == Piece::Request {
        ("ask so that", "the application that asks")
    } else {
        ("see to it that", "whoever keeps what it reads")
    };
    let what = format!("{verb} this {holds}: {}", condition.text);
    Step::new(Piece::Assumed(condition.text.clone()), true, what, by)
}

/// The change that brings the piece, or takes it away; `None` where nobody can.
pub(super) fn step(piece: &Piece, gain: bool, facts: &Facts<'_>, groups: &[GroupFacts<'_>]) -> Option<Step> {
    const ADMIN: &str = "an Account Admin, or the identity provider";
    const OPERATOR: &str = "the operator of this service";
    let verb = |gains: &str, loses: &str| if gain { gains.to_owned() } else { loses.to_owned() };
    let account = |id: &str| {
        let what = verb(&format!("grant account {id}"), &format!("take account {id} away"));
        (Piece::Account(id.to_owned()), what, ADMIN)
    };
    let (piece, what, by) = match piece {
        Piece::Role(name) => {
            let what = verb(&format!("assign the role {name}"), &format!("take the role {name} away"));
            (piece.clone(), what, ADMIN)
        }
        Piece::Group(id) => (piece.clone(), membership(id, gain, groups), "the identity provider"),
        Piece::Product(name) => {
            let on = account_at_hand(facts)?;
            let what = verb(&format!("activate {name} on account {on}"), &format!("deactivate {name} on account {on}"));
            (piece.clone(), what, OPERATOR)
        }
        Piece::Account(id) => account(id),
        Piece::AccountAtHand => account(account_at_hand(facts)?),
        Piece::AccountNamed => account(facts.account.as_ref()?.id),
        Piece::AccountShared => account(shared_account(facts)?),
        Piece::AccessMethod(name) => {
            let what = verb(&format!("add the access method {name}"), &format!("take the access method {name} away"));
            (piece.clone(), what, ADMIN)
        }
        Piece::Level(name) => {
            let (level, what) = if gain {
                (name.clone(), format!("make them {name}"))
            } else {
                let other = other_level(name)?;
                (other.name().to_owned(), format!("make them {}", other.name()))
            };
            return Some(Step::new(Piece::Level(level), true, what, ADMIN));
        }
        Piece::FreshPassword => {
            (piece.clone(), verb("set a new password", "let the password expire"), "the person, with the reset link")
        }
        Piece::NoRole => (piece.clone(), verb("take every role away", "assign any role"), ADMIN),
        Piece::Own(_) | Piece::Assumed(_) | Piece::Request | Piece::Unchangeable => return None,
    };
    Some(Step::new(piece, gain, what, by))
}

fn membership(id: &str, gain: bool, groups: &[GroupFacts<'_>]) -> String {
    let Some(group) = groups.iter().find(|group| group.id == id) else {
        return if gain { format!("add to the group {id}") } else { format!("remove from the group {id}") };
    };
    if !gain {
        return format!("remove from the group `{}`", group.name);
    }
    let named = group.roles.iter().take(MOST_NAMED).copied().collect::<Vec<_>>().join(", ");
    let gives = match group.roles.len() {
        0 => String::new(),
        1 => format!(", which gives the role {named}"),
        2..=MOST_NAMED => format!(", which gives the roles {named}"),
        more => format!(", which gives the roles {named} and {} more", more - MOST_NAMED),
    };
    format!("add to the group `{}`{gives}", group.name)
}

fn other_level(name: &str) -> Option<AdministrationLevel> {
    AdministrationLevel::parse(name).map(|level| match level {
        AdministrationLevel::AccountAdmin => AdministrationLevel::BasicUser,
        AdministrationLevel::BasicUser => AdministrationLevel::AccountAdmin,
    })
}

/// An account of the person acted on.
fn shared_account<'a>(facts: &'a Facts<'_>) -> Option<&'a str> {
    if let ResourceFacts::User(person) = &facts.resource { person.accounts.first().copied() } else { None }
}

/// Makes one change in the facts; those of the bundle's own entities are not among the facts. `None` where it cannot
/// be made.
pub(super) fn change<'a>(facts: &mut Facts<'a>, step: &'a Step, groups: &'a [GroupFacts<'a>]) -> Option<()> {
    let toggle = |list: &mut Vec<&'a str>, name: &'a str| {
        list.retain(|one| *one != name);
        if step.gain {
            list.push(name);
        }
    };
    if let Piece::Product(name) = &step.piece {
        if let ResourceFacts::Account(account) = &mut facts.resource {
            toggle(&mut account.products, name);
        }
        if let Some(account) = &mut facts.account {
            toggle(&mut account.products, name);
        }
        return Some(());
    }
    if let Piece::Own(_) | Piece::Assumed(_) = &step.piece {
        return Some(());
    }
    let now = facts.now;
    let person = person(facts)?;
    match &step.piece {
        Piece::Role(name) => {
            toggle(&mut person.roles, name);
            person.has_assigned_role = step.gain || !person.roles.is_empty();
        }
        Piece::Group(id) => {
            toggle(&mut person.groups, id);
            // What a group gave when it is left stays here: another one may give it, too.
            if let Some(group) = groups.iter().find(|group| step.gain && group.id == *id) {
                let join = |into: &mut Vec<&'a str>, from: &[&'a str]| {
                    let new: Vec<&'a str> = from.iter().filter(|one| !into.contains(one)).copied().collect();
                    into.extend(new);
                };
                join(&mut person.groups, &group.above);
                join(&mut person.roles, &group.roles);
                join(&mut person.accounts, &group.accounts);
                person.has_assigned_role |= !group.roles.is_empty();
            }
        }
        Piece::Account(id) => toggle(&mut person.accounts, id),
        Piece::AccessMethod(name) => match name.as_str() {
            "api" => person.methods.api = step.gain,
            "dashboard" => person.methods.dashboard = step.gain,
            _ => return None,
        },
        Piece::Level(name) => person.level = AdministrationLevel::parse(name)?,
        Piece::FreshPassword if step.gain => person.password_changed_at = Some(now),
        Piece::FreshPassword => person.password_changed_at = Some(crate::domain::Timestamp(0)),
        Piece::NoRole => {
            person.has_assigned_role = !step.gain;
            if step.gain {
                person.roles.clear();
            }
        }
        Piece::Product(_)
        | Piece::AccountAtHand
        | Piece::AccountNamed
        | Piece::AccountShared
        | Piece::Own(_)
        | Piece::Assumed(_)
        | Piece::Request
        | Piece::Unchangeable => return None,
    }
    Some(())
}

fn person<'f, 'a>(facts: &'f mut Facts<'a>) -> Option<&'f mut PrincipalFacts<'a>> {
    match &mut facts.principal {
        Asker::Person(person) => Some(person),
        Asker::Anonymous | Asker::Entity(_) => None,
    }
}
