//! The comparison on entities of the bundles' own: every one that may ask, on every one that may be asked about, singly.
//!
//! Listed entities alone, and the people of the directory where they ask; what only a request says is nobody's yet.

use std::collections::{BTreeMap, BTreeSet};

use super::{MOST_NAMES, Names};
use crate::authz::{Failure, View, judge};
use crate::domain::{Asked, Channel, EntityName, Question, Subject, Verdict};
use crate::policy::Bundle;

/// The most pairs that are asked about.
const MOST_PAIRS: usize = 200_000;

/// An entity by type and id.
type Entity = (String, String);

/// What changes on entities of the bundles' own: gains or losses of an action, by whom and on what.
pub(super) struct OwnChanges {
    pub(super) changes: Vec<(bool, String, Names, Names)>,
    pub(super) actions: usize,
    pub(super) decisions: usize,
    /// More pairs than were asked about.
    pub(super) cut: bool,
}

/// Compares every action that is not about the directory's accounts, people and organizations alone.
pub(super) fn compare(sides: [&View<'_>; 2]) -> Result<OwnChanges, Failure> {
    let bundles = sides.map(|side| &*side.serving.bundle);
    let mut all = OwnChanges { changes: Vec::new(), actions: 0, decisions: 0, cut: false };
    let names: BTreeSet<&str> =
        bundles.iter().flat_map(|bundle| bundle.actions()).map(|action| &*action.name).collect();
    for name in names.into_iter().filter(|name| bundles.iter().any(|bundle| is_own(bundle, name))) {
        all.actions += 1;
        if bundles.into_iter().all(|bundle| bundle.action_named(name).is_some()) && alike(bundles, name) {
            continue;
        }
        let kinds = |of: fn(&crate::policy::Action) -> &[std::sync::Arc<str>]| -> BTreeSet<String> {
            let actions = bundles.into_iter().filter_map(|bundle| bundle.action(bundle.action_named(name)?));
            actions.flat_map(|action| of(action).iter().map(|kind| kind.to_string())).collect()
        };
        let asking = entities(sides, &kinds(|action| &action.principals));
        let about = entities(sides, &kinds(|action| &action.resources));
        let mut touched: BTreeMap<bool, (BTreeSet<String>, BTreeSet<String>)> = BTreeMap::new();
        for (who, on) in asking.iter().flat_map(|who| about.iter().map(move |on| (who, on))) {
            if all.decisions >= 2 * MOST_PAIRS {
                all.cut = true;
                break;
            }
            all.decisions += 2;
            let [before, after] = [permits(sides[0], name, who, on)?, permits(sides[1], name, who, on)?];
            if before != after {
                let (people, things) = touched.entry(after).or_default();
                people.insert(shown(who));
                things.insert(shown(on));
            }
        }
        for (gains, (people, things)) in touched {
            all.changes.push((gains, name.to_owned(), named(&people), named(&things)));
        }
    }
    Ok(all)
}

/// Whether the action is about entities of the bundle's own, or asked by them.
fn is_own(bundle: &Bundle, name: &str) -> bool {
    let action = bundle.action_named(name).and_then(|at| bundle.action(at));
    action.is_some_and(|action| {
        action.resources.first().is_some_and(|kind| !bundle.from_directory(kind))
            || action.principals.iter().any(|kind| !bundle.from_directory(kind))
    })
}

/// Whether both bundles know the same policies and the same entities for it.
fn alike(bundles: [&Bundle; 2], name: &str) -> bool {
    let [one, other] = bundles.map(|bundle| {
        let action = bundle.action_named(name).and_then(|at| bundle.action(at));
        action.map(|action| bundle.signature(action))
    });
    one == other && bundles[0].lists_the_same(bundles[1])
}

/// The listed entities of these types in either bundle, and everybody active where people are among them.
fn entities(sides: [&View<'_>; 2], kinds: &BTreeSet<String>) -> Vec<Entity> {
    let mut all = BTreeSet::new();
    for kind in kinds {
        for side in sides {
            if !side.from_directory(kind) {
                all.extend(side.listed_ids(kind).iter().map(|id| (kind.clone(), id.to_string())));
            } else if kind == "User" {
                let active = side.snapshot.everybody().filter(|person| judge::standing(person).is_none());
                all.extend(active.take(MOST_PAIRS).map(|person| (kind.clone(), person.username().to_owned())));
            } else if kind == "Account" {
                all.extend(side.snapshot.accounts().map(|account| (kind.clone(), account.id.to_string())));
            }
        }
    }
    all.into_iter().collect()
}

fn permits(side: &View<'_>, action: &str, (kind, id): &Entity, (of, on): &Entity) -> Result<bool, Failure> {
    let subject = Subject::Entity(EntityName::new(kind, id));
    let asked = Asked::Action { action, properties: &[], resource: Some(EntityName::new(of, on)) };
    let question = Question { subject, asked, channel: Channel::Api, context: &[], least_revision: None };
    Ok(side.decide(&question)?.verdict() == Verdict::Permit)
}

fn shown((kind, id): &Entity) -> String {
    if kind == "User" { id.clone() } else { format!("{kind}::{id:?}") }
}

fn named(all: &BTreeSet<String>) -> Names {
    Names { count: all.len(), some: all.iter().take(MOST_NAMES).cloned().collect() }
}
